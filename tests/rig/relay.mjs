// The man in the middle: a page with real connections to both peers of a link, and the
// rewriting of signals by which a rendezvous would lead the peers to it.

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { root } from './browsers.mjs';
import { startProxy } from './proxy.mjs';
import { newKey, open, seal } from './seal.mjs';

const PAGE = '<!doctype html><html lang="en"><title>Relay</title><script type="module" src="/relay-page.js"></script>';

/** A description of nobody. */
const NOBODY = { ufrag: 'none', pwd: '0123456789012345678901', fingerprint: Array(32).fill('AB').join(':'), maxMessageSize: 262144 };

/** The hash of an offer or answer (`description_hash` in protocol/src/signal.rs). */
function hashOf(payload, text) {
  const hash = createHash('sha256');
  for (const part of [payload, text]) {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(Buffer.byteLength(part)));
    hash.update(length).update(part);
  }
  return hash.digest('base64url');
}

/** What a site of the package serves besides, for the relay. */
export async function relayPages() {
  const script = await readFile(new URL('relay-page.js', import.meta.url), 'utf8');
  const sdp = await readFile(path.join(root, 'peer-wasm/js/sdp.js'), 'utf8');
  return { '/relay': PAGE, '/relay-page.js': script, '/sdp.js': sdp };
}

/**
 * Opens a relay, and puts it between a server and the peers that come by its `url`.
 *
 * @param {object} options
 * @param {boolean} [options.honestToo] whether peers get what they were sent after what was forged
 * @param {boolean} [options.swaps] whether it swaps the sealing keys of peers for one of its own;
 *   otherwise it forges descriptions without knowing those it puts them in the place of
 * @param {number[]} [options.versions] what all signals are to say
 * @param {'pass' | 'reflect' | 'replay' | { hello: number[] }} [options.manner] what is done with
 *   frames: see the page
 */
export async function openRelay(browser, site, server, { until, manner = 'pass', ...options } = {}) {
  const relay = new Relay(options);
  const { url } = await startProxy(server, { rewrite: relay.rewrite, until });
  relay.url = url;
  relay.tab = await browser.open(`${site.url}/relay`, { until });
  await relay.tab.waitFor(() => globalThis.relay, { what: 'the relay' });
  await relay.tab.evaluate((manner) => { globalThis.relay.manner = manner; }, manner);
  return relay;
}

class Relay {
  /** Who offers, and what, by link. */
  #offers = new Map();
  /** What the relay states in place of a peer's sealing key, and the true keys by link and peer. */
  #key = newKey();
  #keys = new Map();

  /** Signals whose key was swapped. */
  swapped = [];
  onswap = () => {};

  constructor({ honestToo = false, swaps = true, versions }) {
    this.honestToo = honestToo;
    this.swaps = swaps;
    this.versions = versions;
  }

  rewrite = async (signal, payload) => {
    const forged = await this.#forge(signal, payload);
    const payloads = forged.map((said) => {
      const body = said.text === undefined ? said.body : seal(this.#keys.get(`${signal.link} ${signal.to}`), signal, said.text);
      return JSON.stringify({ ...signal, versions: this.versions ?? signal.versions, body });
    });
    return this.honestToo ? [...payloads, payload] : payloads;
  };

  /** What a peer gets in the place of a body: a text, to be sealed, or a body. */
  async #forge(signal, payload) {
    const { link, kind, from } = signal;
    if (kind === 'link' || kind === 'accept') {
      this.#keys.set(`${link} ${from}`, signal.body);
      if (this.honestToo) return [];
      if (!this.swaps) return [{ body: signal.body }];
      this.swapped.push(kind);
      this.onswap();
      return [{ body: this.#key.text }];
    }
    // What needs no forging comes with what is true, and once.
    if (kind !== 'offer' && kind !== 'answer' && kind !== 'candidate') return this.honestToo ? [] : [{ body: signal.body }];
    const text = this.#read(signal);
    const body = text === undefined ? { ...NOBODY, setup: kind === 'offer' ? 'actpass' : 'active' } : JSON.parse(text);
    if (kind === 'offer') {
      this.#offers.set(link, { from, made: hashOf(payload, text ?? '') });
      return [{ text: JSON.stringify(await this.#ask('offer', link, body)) }];
    }
    if (kind === 'answer') {
      const description = await this.#ask('answer', link, body);
      // The answerer names the offer it got, which is not the one that was made.
      return [{ text: JSON.stringify({ ...description, offer: this.#offers.get(link).made }) }];
    }
    if (kind === 'candidate') {
      // One that knows address and password of a peer can lead its ICE astray, whatever it
      // signs: no more than a refusal to introduce it, but the true link would not come about.
      if (this.honestToo || text === undefined) return [];
      const role = this.#offers.get(link)?.from === from ? 'offerer' : 'answerer';
      await this.#ask('candidate', link, role, body);
      return [];
    }
    throw new Error(`a signal of kind ${kind}`);
  }

  /** What is sealed to the relay's key. Where it is a peer's, nobody in between can read it. */
  #read(signal) {
    try {
      return open(this.#key, signal);
    } catch (error) {
      if (this.swaps && !this.honestToo) throw error;
      return undefined;
    }
  }

  #ask(what, ...args) {
    return this.tab.evaluate((what, args) => globalThis.relay[what](...args), what, args);
  }

  /** What happened so far, by link. */
  report() {
    return this.tab.evaluate(() => globalThis.relay.report());
  }
}
