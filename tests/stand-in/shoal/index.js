// A stand-in for the package, with its API and no engine: it holds still what a real run
// passes through, and fills the page to volumes that would take hours to fetch. Pictures
// are made with it, nothing is proven with it. The page's query says which scenario of
// scenarios.js is played: `?scenario=fetching`. Options, what a browser must have and errors
// are the package's own.

import { ShoalError } from './errors.js';
import { checkSupport, readOptions } from './options.js';
import { scenarios } from './scenarios.js';

export { createSecret, secretLink, secretOf } from './secret.js';
export { ShoalError };

// What the page did, and the transfers it follows, for tests that look or go on.
const standIn = { published: [], transfers: new Map() };
globalThis.standIn = standIn;

const scenario = scenarios[new URLSearchParams(location.search).get('scenario') ?? 'swarm'];

export class Transfer extends EventTarget {
  #fail;

  constructor(content, progress) {
    super();
    this.content = content;
    this.progress = progress;
    this.done = new Promise((resolve, reject) => {
      this.#fail = reject;
      if (progress.state === 'done') setTimeout(() => resolve(content), 100);
    });
    this.done.catch(() => {});
  }

  stream() {
    return new Blob([`bytes of ${this.content.key}`]).stream();
  }

  async blob() {
    return new Blob([`bytes of ${this.content.key}`]);
  }

  async cancel() {
    this.#fail(failure({ code: 'aborted', message: 'The fetch was cancelled.' }));
  }

  async pause() {
    this.#move({ state: 'paused', rate: 0, secondsLeft: undefined });
  }

  async resume() {
    this.#move({ state: 'fetching' });
  }

  #move(change) {
    this.progress = { ...this.progress, ...change };
    this.dispatchEvent(new CustomEvent('progress', { detail: this.progress }));
  }
}

class PeerStorage extends EventTarget {
  isPersisted = scenario.storage?.persisted ?? false;
  #contents;
  #remove;

  constructor(contents, remove) {
    super();
    this.#contents = contents;
    this.#remove = remove;
  }

  async clear() {
    for (const { key, pinned } of [...this.#contents.values()]) if (!pinned) await this.#remove(key);
  }

  async estimate() {
    const held = [...this.#contents.values()].reduce((sum, content) => sum + content.held, 0);
    const { limit = 6e9, quota = 12e9 } = scenario.storage ?? {};
    return { held, limit, quota, usage: held, persisted: this.isPersisted };
  }

  async persist() {
    this.isPersisted = scenario.storage?.grants ?? true;
    return this.isPersisted;
  }
}

export class Peer extends EventTarget {
  #contents = new Map((scenario.contents ?? []).map((content) => [content.key, content]));
  #people = new Map((scenario.people ?? []).map((person) => [person.id, person]));
  id = '12D3KooWQ7sKJgkw5vRo3MZs8ufhJHnWb4dRtEcyGpL2xVaNThis';
  state = scenario.state ?? 'online';
  storage = new PeerStorage(this.#contents, (key) => this.remove(key));

  static async open(options) {
    readOptions(options);
    checkSupport();
    if (scenario.open === 'never') await new Promise(() => {});
    if (scenario.open) throw failure(scenario.open);
    const peer = new Peer();
    setTimeout(() => peer.#play(), 50);
    return peer;
  }

  #play() {
    for (const key of scenario.resumed ?? []) this.#say('transfer', { transfer: this.#transfer(scenario.fetches[key]) });
    for (const error of scenario.errors ?? []) this.#say('error', failure(error));
  }

  async publish(file, { name, type, signal, onprogress } = {}) {
    standIn.published.push(name);
    const { held, error } = scenario.publish ?? {};
    if (held !== undefined) {
      onprogress?.({ state: 'fetching', held: Math.floor(file.size * held), size: file.size, rate: 0, sources: [] });
      await ended(signal);
    }
    if (error) throw failure(error);
    const key = `bafkr4i${[...`${name}${file.size}`].map((letter) => ALPHABET[letter.codePointAt(0) % 32]).join('').padEnd(52, 'q').slice(0, 52)}`;
    const content = { key, name, type, size: file.size, held: file.size, pinned: true };
    this.#contents.set(key, content);
    this.#say('content', { content });
    return content;
  }

  async fetch(key, { signal, onprogress } = {}) {
    const held = this.#contents.get(key);
    if (held && held.held === held.size) {
      return new Transfer(held, { state: 'done', held: held.size, size: held.size, rate: 0, sources: [] });
    }
    const script = scenario.fetches?.[key] ?? { progress: { state: 'searching', held: 0, rate: 0, sources: [] } };
    if (script.error) throw failure(script.error);
    if (!script.content) {
      onprogress?.(script.progress);
      await ended(signal);
    }
    const transfer = this.#transfer(script);
    signal?.addEventListener('abort', () => transfer.cancel());
    return transfer;
  }

  // A scripted fetch: `progress` is where it stays, `chunks` who sent which chunk.
  #transfer({ content, progress, chunks }) {
    const transfer = new Transfer(content, progress);
    standIn.transfers.set(content.key, transfer);
    setTimeout(() => {
      for (const [index, peer] of chunks()) {
        transfer.dispatchEvent(new CustomEvent('chunk', { detail: { index, peer } }));
      }
    });
    return transfer;
  }

  async peers() {
    return [...this.#people.values()].map(({ id, linked, rtt }) => ({ id, linked, rtt }));
  }

  async catalog(id) {
    return this.#people.get(id)?.catalog ?? [];
  }

  /** Contents have no addresses here. */
  async serve() {
    throw Object.assign(new Error('there are no service workers here'), { code: 'unsupported' });
  }

  async contents() {
    return [...this.#contents.values()];
  }

  async pin(key) {
    this.#setPinned(key, true);
  }

  async unpin(key) {
    this.#setPinned(key, false);
  }

  #setPinned(key, pinned) {
    const content = { ...this.#contents.get(key), pinned };
    this.#contents.set(key, content);
    this.#say('content', { content });
  }

  async remove(key) {
    const content = this.#contents.get(key);
    this.#contents.delete(key);
    if (content) this.#say('content', { content, removed: true });
  }

  async close() {
    this.state = 'closed';
    this.#say('state', { state: 'closed' });
  }

  #say(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';

function failure({ code, message, ...more }) {
  return new ShoalError(code, message, more);
}

// Rejects when the signal is aborted, and otherwise never ends.
function ended(signal) {
  return new Promise((_, reject) => {
    signal?.addEventListener('abort', () => reject(signal.reason));
  });
}
