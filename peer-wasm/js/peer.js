/** The peer as a page sees it: calls in, events out. The engine does the work. */

import { Connection } from './connection.js';
import { ShoalError, fromPlain } from './errors.js';
import {
  checkCallback, checkSignal, checkSupport, readCallOptions, readData, readFlag, readKey, readLimits, readMetadata, readOptions,
  readPriority, readTimeout,
} from './options.js';
import { PeerStorage } from './storage.js';
import { Tab } from './tab.js';
import { Transfer } from './transfer.js';

/**
 * @typedef {import('./index.js').Content} Content
 * @typedef {import('./index.js').Progress} Progress
 * @typedef {import('./transfer.js').Control} Control
 */

/** What a timer can wait for at most, in milliseconds; more than that ends it at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** Only `open` makes peers. */
const OPENING = Symbol('opening');

/** Not in every browser; where it is missing, nothing asks for it. */
const asyncDispose = Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose');

/** Events: `state`, `peer-join`, `peer-leave`, `catalog`, `content`, `transfer`, `error`. */
export class Peer extends EventTarget {
  #id = '';
  #namespace = '';
  #isTemporary = false;
  /** @type {import('./index.js').State} */
  #state = 'connecting';
  #connection;
  #storage;
  #leave;
  /** Settles with the first answer of an engine. */
  #opened = /** @type {PromiseWithResolvers<void>} */ ({});
  #isOpen = false;
  /** @type {import('./serving.js').Serving | undefined} */
  #serving;
  /** The running transfers of each key. @type {Map<string, Set<Control>>} */
  #transfers = new Map();
  /** Fetches of which nothing is known yet, and whom to tell. @type {Map<string, Set<(progress: Progress) => void>>} */
  #searches = new Map();
  /** Last heard of what is fetched. @type {Map<string, Progress>} */
  #progress = new Map();
  /** Keys of which old news may still be on its way. @type {Map<string, number>} */
  #stale = new Map();

  /**
   * @param {import('./index.js').OpenOptions} [options]
   * @returns {Promise<Peer>}
   */
  static async open(options = {}) {
    const opening = readOptions(options);
    checkSupport();
    const { signal } = opening;
    signal?.throwIfAborted();
    const peer = new Peer(OPENING, opening);
    const abort = () => peer.#opened.reject(signal?.reason);
    signal?.addEventListener('abort', abort);
    try {
      await peer.#opened.promise;
    } catch (error) {
      // Not awaited: who waits no longer should not wait for this.
      peer.close();
      throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
    return peer;
  }

  /**
   * @param {symbol} opening
   * @param {import('./options.js').Opening} options
   */
  constructor(opening, options) {
    if (opening !== OPENING) throw new TypeError('A peer is made by `await Peer.open()`.');
    super();
    const { engine, store, useWorker } = options;
    this.#opened.promise = new Promise((resolve, reject) => Object.assign(this.#opened, { resolve, reject }));
    this.#connection = new Connection(engine, {
      attached: ({ id, namespace, state, damaged = [], recovered, isTemporary }) => {
        this.#id = id;
        this.#namespace = namespace;
        this.#isTemporary = isTemporary;
        // What the engine before stored last may not have been heard.
        if (this.#isOpen) this.#transfers.forEach((running, key) => running.forEach((control) => this.#tellHeld(key, control)));
        this.#isOpen = true;
        this.#changeState(state);
        this.#opened.resolve();
        // Later, when who waits for the peer listens.
        setTimeout(() => {
          damaged.forEach((key) => this.#say('error', damage(key)));
          if (recovered !== undefined) this.#say('error', loss(recovered));
        });
      },
      refused: (error) => {
        if (this.#isOpen) this.#say('error', error);
        else this.#opened.reject(error);
      },
      lost: (crash) => {
        if (!this.#isOpen) return;
        this.#changeState('connecting');
        if (crash) this.#say('error', crash);
      },
      event: (message) => this.#hear(message),
    });
    this.#storage = new PeerStorage(this.#connection, store !== false && isSecureContext);
    this.#leave = Tab.enter(this.#connection, { store, useWorker });
  }

  get id() {
    return this.#id;
  }

  get namespace() {
    return this.#namespace;
  }

  get temporary() {
    return this.#isTemporary;
  }

  get state() {
    return this.#state;
  }

  get storage() {
    return this.#storage;
  }

  /**
   * @param {Blob | ArrayBuffer | Uint8Array | string} data
   * @param {import('./index.js').PublishOptions} [options]
   * @returns {Promise<Content>}
   */
  async publish(data, options) {
    const said = readCallOptions(options);
    const { signal, onprogress } = said;
    checkSignal(signal);
    checkCallback(onprogress, 'onprogress');
    const args = { data: readData(data), metadata: readMetadata(said, data), pinned: readFlag(said.pinned, 'pinned', true) };
    return this.#connection.call('publish', args, { signal, onprogress: onprogress && guarded(onprogress) });
  }

  /**
   * @param {string} key
   * @param {import('./index.js').FetchOptions} [options]
   * @returns {Promise<Transfer>}
   */
  async fetch(key, options) {
    const { signal, onprogress, timeout, priority, pinned, onDemand } = readCallOptions(options);
    readKey(key);
    const args = { key, priority: readPriority(priority), paused: false, pinned: readFlag(pinned, 'pinned'), onDemand: readFlag(onDemand, 'onDemand') };
    checkSignal(signal);
    checkCallback(onprogress, 'onprogress');
    const patience = readTimeout(timeout);
    signal?.throwIfAborted();

    /** @type {Control | undefined} */
    let control;
    const call = this.#connection.begin('fetch', args, (error) => control?.fail(error));
    const tell = onprogress && guarded(onprogress);
    const stopSearch = this.#search(key, tell);
    const abort = () => call.reject(signal?.reason);
    signal?.addEventListener('abort', abort);
    const timer = patience === Infinity ? undefined : setTimeout(() => {
      call.reject(new ShoalError('timeout', `No holder of ${key} was found within ${patience} ms.`));
    }, Math.min(patience, LONGEST_TIMER));
    /** @type {Content} */
    let content;
    try {
      content = await call.answer;
    } catch (error) {
      this.#end(key, call);
      throw error;
    } finally {
      stopSearch();
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    }

    const end = async () => this.#end(key, call);
    const transfer = this.#transfer(key, content, args, end, (made) => { control = made; });
    if (tell) transfer.addEventListener('progress', () => tell(transfer.progress));
    const aborted = () => {
      control?.fail(signal?.reason);
      end();
    };
    signal?.addEventListener('abort', aborted);
    transfer.done.catch(() => {}).finally(() => {
      signal?.removeEventListener('abort', aborted);
      this.#connection.forget(call);
    });
    return transfer;
  }

  /** @returns {Promise<import('./index.js').PeerInfo[]>} */
  async peers() {
    return this.#connection.call('peers');
  }

  /**
   * @param {string} peer
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<Content[]>}
   */
  async catalog(peer, options) {
    const { signal } = readCallOptions(options);
    checkSignal(signal);
    return this.#connection.call('catalog', { peer }, { signal });
  }

  /** @returns {Promise<Content[]>} */
  async contents() {
    return this.#connection.call('contents');
  }

  /** @param {string} key */
  async remove(key) {
    await this.#connection.call('remove', { key: readKey(key) });
  }

  /** @param {string} key */
  async pin(key) {
    await this.#connection.call('pin', { key: readKey(key), pinned: true });
  }

  /** @param {string} key */
  async unpin(key) {
    await this.#connection.call('pin', { key: readKey(key), pinned: false });
  }

  /** @param {import('./index.js').Limits} limits */
  async setLimits(limits) {
    const read = readLimits(limits);
    this.#connection.setOptions(read);
    await this.#connection.call('limit', read);
  }

  /** @param {import('./index.js').ServeOptions} [options] */
  async serve(options) {
    const { worker, scope, onDemand } = readCallOptions(options);
    const read = { worker, scope, onDemand: readFlag(onDemand, 'onDemand') };
    const isClosed = () => this.#state === 'closed';
    if (isClosed()) throw closed();
    // Not every page needs it.
    const { Serving } = await import('./serving.js');
    const serving = await Serving.start(this, read, (key, signal) => this.#hold(key, signal));
    this.#serving?.stop();
    this.#serving = serving;
    if (!isClosed()) return;
    serving.stop();
    throw closed();
  }

  /**
   * @param {string} key
   * @param {{ download?: boolean }} [options]
   */
  url(key, options) {
    const { download } = readCallOptions(options);
    if (!this.#serving) throw new ShoalError('unsupported', 'Contents have addresses once `await peer.serve()` has succeeded.');
    return this.#serving.url(readKey(key), readFlag(download, 'download'));
  }

  async close() {
    this.#connection.close();
    this.#serving?.stop();
    const reason = closed();
    this.#opened.reject(reason);
    this.#opened.promise.catch(() => {});
    for (const running of this.#transfers.values()) {
      for (const control of running) control.fail(reason);
    }
    this.#transfers.clear();
    this.#changeState('closed');
    await this.#leave();
  }

  async [asyncDispose]() {
    await this.close();
  }

  /** @param {any} message an event of the engine */
  #hear(message) {
    const { event, ...detail } = message;
    if (event === 'state') this.#changeState(detail.state);
    else if (event === 'progress') this.#progressed(detail);
    else if (event === 'stopped') this.#fail(detail.key, new ShoalError('aborted', 'The fetch was stopped.'));
    else if (event === 'chunk') this.#transfers.get(detail.key)?.forEach((control) => control.chunk(detail.index, detail.peer));
    else if (event === 'error') this.#say('error', fromPlain(detail.error));
    else if (event === 'content') this.#contentChanged(detail);
    else if (event === 'storage') this.#storage.dispatchEvent(new CustomEvent('change', { detail }));
    else if (event === 'peer-join' || event === 'peer-leave' || event === 'catalog') this.#say(event, detail);
  }

  /** @param {{ key: string, progress: Progress, content?: Content }} news */
  #progressed({ key, progress, content }) {
    const running = this.#transfers.get(key);
    const searches = this.#searches.get(key);
    if (progress.state === 'done') this.#progress.delete(key);
    else this.#progress.set(key, progress);
    running?.forEach((control) => control.update(progress, content));
    searches?.forEach((tell) => tell(progress));
    // A small content may be done with the first that is heard of it.
    const isNew = !running && !searches && !this.#stale.has(key);
    if (!isNew || !content) return;
    /** @type {import('./transfer.js').Terms} */
    const terms = { key, priority: 'auto', paused: progress.state === 'paused', onDemand: false };
    const stop = () => {
      const stopped = this.#connection.call('stopFetch', { key });
      this.#ignore(key);
      return stopped;
    };
    this.#say('transfer', { transfer: this.#transfer(key, content, terms, stop) });
  }

  /** @param {{ content: Content, removed: boolean }} detail */
  #contentChanged(detail) {
    if (detail.removed) this.#fail(detail.content.key, new ShoalError('not-held', 'It was removed while it was fetched.'));
    this.#say('content', detail);
  }

  /**
   * The fetch of a content is over, for all who wanted it.
   *
   * @param {string} key
   * @param {ShoalError} why
   */
  #fail(key, why) {
    this.#transfers.get(key)?.forEach((control) => control.fail(why));
  }

  /**
   * Makes a transfer and moves it on with what is heard of its key, until it is over.
   *
   * @param {string} key
   * @param {Content} content
   * @param {import('./transfer.js').Terms} terms what an engine is told that repeats the fetch
   * @param {() => Promise<void>} stop takes the fetch back
   * @param {(control: Control) => void} [take]
   */
  #transfer(key, content, terms, stop, take) {
    /** @type {import('./transfer.js').Engine} */
    const engine = {
      read: (index, signal) => this.#connection.call('read', { key, index }, { signal }),
      hold: (signal) => this.#hold(key, signal),
      setPaused: (paused) => {
        terms.paused = paused;
        return this.#connection.call(paused ? 'pause' : 'resume', { key });
      },
      setPriority: (priority) => {
        terms.priority = readPriority(priority);
        return this.#connection.call('prioritise', { key, priority: terms.priority });
      },
      stop,
    };
    return new Transfer(content, this.#progress.get(key), engine, (control) => {
      take?.(control);
      const running = this.#transfers.get(key) ?? new Set();
      this.#transfers.set(key, running.add(control));
      if (content.held > 0 && content.held < content.size) this.#tellHeld(key, control);
      const over = () => {
        running.delete(control);
        if (running.size === 0 && this.#transfers.get(key) === running) this.#transfers.delete(key);
      };
      control.done.then(over, over);
    });
  }

  /**
   * Has a content stay while it is looked at.
   *
   * @param {string} key
   * @param {AbortSignal} signal
   */
  #hold(key, signal) {
    this.#connection.call('hold', { key }, { signal }).catch(() => {});
  }

  /**
   * Tells a transfer which chunks were held before it began.
   *
   * @param {string} key
   * @param {Control} control
   */
  async #tellHeld(key, control) {
    try {
      /** @type {[number, number][]} */
      const ranges = await this.#connection.call('held', { key });
      for (const [first, end] of ranges) {
        for (let index = first; index < end; index += 1) control.chunk(index);
      }
    } catch {
      // The peer was closed, and with it the transfer.
    }
  }

  /**
   * Tells of a fetch before there is a transfer.
   *
   * @param {string} key
   * @param {(progress: Progress) => void} [tell]
   */
  #search(key, tell = () => {}) {
    /** @param {Progress} progress */
    const each = (progress) => tell(progress);
    const searches = this.#searches.get(key) ?? new Set();
    this.#searches.set(key, searches.add(each));
    return () => {
      searches.delete(each);
      if (searches.size === 0 && this.#searches.get(key) === searches) this.#searches.delete(key);
    };
  }

  /**
   * Takes a fetch back.
   *
   * @param {string} key
   * @param {ReturnType<Connection['begin']>} call
   */
  #end(key, call) {
    this.#connection.end(call);
    this.#ignore(key);
  }

  /**
   * What is already on its way about a fetch is no news of another.
   *
   * @param {string} key
   */
  #ignore(key) {
    this.#stale.set(key, (this.#stale.get(key) ?? 0) + 1);
    const settled = () => {
      const left = (this.#stale.get(key) ?? 1) - 1;
      if (left > 0) this.#stale.set(key, left);
      else this.#stale.delete(key);
    };
    // Answers and events keep their order.
    this.#connection.call('ping').then(settled, settled);
  }

  /** @param {import('./index.js').State} state */
  #changeState(state) {
    if (this.#state === state || this.#state === 'closed') return;
    this.#state = state;
    this.#say('state', { state });
  }

  /**
   * @param {string} type
   * @param {any} detail
   */
  #say(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function closed() {
  return new ShoalError('closed', 'The peer is closed.');
}

/** @param {string} what a key, or what else could not be read */
function damage(what) {
  let text = `The record of ${what} in the store is damaged, and was dropped. Fetch or publish the content again; all others are held.`;
  if (what === 'store') text = 'The store was made by a newer version of Shoal, or not by Shoal. It is left as it is, and one beside it is used until there is a version that can read it: reload the page.';
  if (what === 'identity') text = 'The identity in the store cannot be read. It is kept there, and the peer has another; all contents are held.';
  return new ShoalError('store-failed', text);
}

/** @param {number} recovered */
function loss(recovered) {
  return new ShoalError('store-failed', `The browser lost the database of this site, as it does when it finds it damaged. The peer has another identity, and what was half fetched is gone. Contents taken up whole from their files: ${recovered}.`);
}

/**
 * A callback whose errors are the page's, not the transfer's.
 *
 * @param {(progress: Progress) => void} call
 */
function guarded(call) {
  return (/** @type {Progress} */ progress) => {
    try {
      call(progress);
    } catch (error) {
      reportError(error);
    }
  };
}
