// Peers in tabs: the package of a server under test, on a page of another origin.
//
//   const peer = await openPeer(browser, site, server);
//   const key = await peer.publish({ name: 'a', size: 1_000_000, seed: 7 });
//   await other.fetch(key);
//
// The page keeps what it makes in `window.shoal`, and dispatches `rig` on its window
// whenever something changes, for `tab.waitFor`.

import { startSite } from './site.mjs';

/** A page that is nothing but an origin. */
export function startBlankSite(until) {
  return startSite({ pages: { '/': '<!doctype html><html lang="en"><title>Test</title>' }, until });
}

/** Opens a tab on the site, and a peer in it; `beside` another tab: in the same context. */
export async function openPeer(browser, site, server, { options = {}, beside, context, until } = {}) {
  const tab = beside
    ? await browser.openBeside(beside.tab, site.url, { until })
    : await browser.open(site.url, { context, until });
  return attachPeer(tab, server, options);
}

/** Opens a peer in a tab that is there. */
export async function attachPeer(tab, server, options = {}) {
  const id = await tab.evaluate(async (url, options) => {
    const { Peer } = await import(`${url}/shoal/index.js`);
    const peer = await Peer.open(options);
    const shoal = { peer, events: [], progress: {}, transfers: {}, chunks: {} };
    window.shoal = shoal;
    const rig = () => window.dispatchEvent(new Event('rig'));
    for (const type of ['state', 'peer-join', 'peer-leave', 'catalog', 'content', 'transfer', 'error']) {
      peer.addEventListener(type, (event) => {
        const { code, message, peer, state } = event.detail ?? {};
        shoal.events.push({ type, code, message, peer, state });
        rig();
      });
    }
    return peer.id;
  }, server.url, options);
  return new TestPeer(tab, id);
}

class TestPeer {
  constructor(tab, id) {
    this.tab = tab;
    this.id = id;
  }

  /** Publishes bytes that follow from a seed; returns the content. */
  publish({ name, size, seed = 1, type = 'application/octet-stream' }) {
    return this.tab.evaluate(async (name, size, seed, type) => {
      // Noise, so that no store makes it smaller.
      const words = new Uint32Array(Math.ceil(size / 4));
      let state = seed >>> 0 || 1;
      for (let i = 0; i < words.length; i++) {
        state ^= state << 13; state ^= state >>> 17; state ^= state << 5;
        words[i] = state;
      }
      return window.shoal.peer.publish(new Blob([new Uint8Array(words.buffer, 0, size)]), { name, type });
    }, name, size, seed, type);
  }

  /** Begins a fetch; resolves when size and name are known. */
  start(key) {
    return this.tab.evaluate(async (key) => {
      const { shoal } = window;
      const rig = () => window.dispatchEvent(new Event('rig'));
      const onprogress = (progress) => { shoal.progress[key] = progress; rig(); };
      const transfer = await shoal.peer.fetch(key, { onprogress });
      shoal.transfers[key] = transfer;
      shoal.chunks[key] = [];
      transfer.addEventListener('chunk', ({ detail }) => { shoal.chunks[key].push(detail); rig(); });
      transfer.done.then(() => { transfer.isDone = true; rig(); }, (error) => { transfer.error = String(error); rig(); });
      return transfer.content;
    }, key);
  }

  /** Waits until a fetch is done. */
  async finished(key, timeout = 120_000) {
    await this.tab.waitFor((key) => {
      const transfer = window.shoal.transfers[key];
      if (transfer?.error) throw new Error(transfer.error);
      return transfer?.isDone;
    }, { args: [key], timeout, what: `the end of the fetch of ${key}` });
  }

  async fetch(key, timeout) {
    const content = await this.start(key);
    await this.finished(key, timeout);
    return content;
  }

  /** SHA-256 of a content as it is read back from the peer, in hex. */
  sha256(key) {
    return this.tab.evaluate(async (key) => {
      const transfer = await window.shoal.peer.fetch(key);
      const buffer = await transfer.arrayBuffer();
      const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', buffer));
      return [...hash].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    }, key);
  }

  /** Bytes that came from each source, by peer id. */
  sources(key) {
    return this.tab.evaluate((key) => {
      const { sources } = window.shoal.transfers[key].progress;
      return Object.fromEntries(sources.map(({ peer, bytes }) => [peer, bytes]));
    }, key);
  }

  /** How many chunks of a fetch came from each peer; under `held` those that were there. */
  chunks(key) {
    return this.tab.evaluate((key) => {
      const counts = {};
      for (const { peer = 'held' } of window.shoal.chunks[key]) counts[peer] = (counts[peer] ?? 0) + 1;
      return counts;
    }, key);
  }

  contents() {
    return this.tab.evaluate(() => window.shoal.peer.contents());
  }

  events(type) {
    return this.tab.evaluate((type) => window.shoal.events.filter((event) => event.type === type), type);
  }

  waitForState(state) {
    return this.tab.waitFor((state) => window.shoal.peer.state === state, { args: [state], what: `state ${state}` });
  }
}
