// The man in the middle: a page with real connections to both peers of a link, and the
// rewriting of signals by which a rendezvous would lead the peers to it.

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { root } from './browsers.mjs';
import { startProxy } from './proxy.mjs';

const PAGE = '<!doctype html><html lang="en"><title>Relay</title><script type="module" src="/relay-page.js"></script>';

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

  constructor({ honestToo = false, versions }) {
    this.honestToo = honestToo;
    this.versions = versions;
  }

  rewrite = async (signal, payload) => {
    const forged = await this.#forge(signal, payload);
    const payloads = forged.map((body) => JSON.stringify({ ...signal, versions: this.versions ?? signal.versions, body }));
    return this.honestToo ? [...payloads, payload] : payloads;
  };

  /** The bodies a peer gets in the place of one. */
  async #forge({ link, kind, from, body }, payload) {
    if (kind === 'offer') {
      this.#offers.set(link, { from, payload });
      return [await this.#ask('offer', link, body)];
    }
    if (kind === 'answer') {
      const description = await this.#ask('answer', link, body);
      // The answerer names the offer it got, which is not the one that was made.
      const { payload: offer } = this.#offers.get(link);
      return [{ ...description, offer: createHash('sha256').update(offer).digest('base64url') }];
    }
    if (kind === 'candidate') {
      // One that knows address and password of a peer can lead its ICE astray, whatever it
      // signs: no more than a refusal to introduce it, but the true link would not come about.
      if (this.honestToo) return [];
      const role = this.#offers.get(link)?.from === from ? 'offerer' : 'answerer';
      await this.#ask('candidate', link, role, body);
      return [];
    }
    // What needs no forging comes with what is true, and once.
    return this.honestToo ? [] : [body];
  }

  #ask(what, ...args) {
    return this.tab.evaluate((what, args) => globalThis.relay[what](...args), what, args);
  }

  /** What happened so far, by link. */
  report() {
    return this.tab.evaluate(() => globalThis.relay.report());
  }
}
