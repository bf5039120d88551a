/** A peer of this project, through the public package only. */

import { block, seen, watch } from './jank.js';
import { source } from './noise.js';

export let peer;

export async function open(server, options) {
  const { Peer } = await import(`${server}/shoal/index.js`);
  peer = await Peer.open(options);
  peer.addEventListener('error', ({ detail }) => console.warn(`${detail.code}: ${detail.message}`));
  return peer.id;
}

/** Publishes; the key, and milliseconds from the file to what is hashed and stored. */
export async function publish(what) {
  const file = source(what);
  const start = performance.now();
  const { key } = await peer.publish(file, { name: 'bench', type: what.type ?? 'application/octet-stream' });
  return { key, ms: performance.now() - start };
}

/** Waits for links to so many peers, of which no event tells. */
export async function linked(count) {
  const deadline = performance.now() + 60_000;
  while ((await peer.peers()).filter(({ linked }) => linked).length < count) {
    if (performance.now() > deadline) throw new Error(`no links to ${count} peers`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Fetches, from the call to the last chunk verified and stored: MB/s, and how many sources gave some. */
export async function fetch(key) {
  const start = performance.now();
  const transfer = await peer.fetch(key);
  const { size } = await transfer.done;
  const rate = size / 1e3 / (performance.now() - start);
  return { rate, sources: transfer.progress.sources.filter(({ bytes }) => bytes > 0).length };
}

export async function leave(key) {
  if (key) await peer.remove(key);
  await peer.close();
}

/** As `fetch`, and tells how the page's main thread fared, which is told of all that happens. */
export async function fetchWatched(key) {
  const start = await watch();
  let events = 0;
  const transfer = await peer.fetch(key, { onprogress() { events += 1; } });
  transfer.addEventListener('chunk', () => { events += 1; });
  await transfer.done;
  return { ...seen(start), events };
}

export async function publishWatched(what) {
  const file = source(what);
  const start = await watch();
  const { key } = await peer.publish(file, { name: 'bench', onprogress() {} });
  return { key, ...seen(start) };
}

/**
 * MB/s of a fetch whose page is blocked most of the time, but for the last `rest` bytes, so
 * that it sees the end when it comes; without `slow` it is not blocked.
 */
export async function fetchBlocked(key, { slow, period, rest }) {
  const start = performance.now();
  const transfer = await peer.fetch(key);
  const { size } = transfer.content;
  let blocking;
  if (slow) blocking = block(slow, period, () => transfer.progress.held >= size - rest);
  await transfer.done;
  const rate = size / 1e3 / (performance.now() - start);
  await blocking;
  return rate;
}

/** Begins a publication or a fetch that may take longer than a driver waits; see `outcome`. */
export function begin(what, ...args) {
  running = { publish, fetch }[what](...args).then((value) => ({ value }), (error) => ({ error: String(error) }));
}

/** What came of it, or after a second nothing. */
export function outcome() {
  return Promise.race([running, new Promise((resolve) => setTimeout(resolve, 1000))]);
}

let running;

/** Round trips of pings over the only link, in milliseconds: before a fetch, and during it once its rate is known. */
export async function pings(key, { count, settle }) {
  const before = await roundTrips(Math.ceil(count / 4));
  const start = performance.now();
  const transfer = await peer.fetch(key);
  while (performance.now() - start < settle) await new Promise((resolve) => setTimeout(resolve, 50));
  const during = await roundTrips(count);
  if (transfer.progress.state !== 'fetching') throw new Error('the fetch ended before the pings');
  const { size } = await transfer.done;
  return { before, during, rate: size / 1e3 / (performance.now() - start) };
}

/**
 * The engine pings when it is told that the network is back, and says what the last ping took.
 * Clocks are coarse: two in a row may take the same, so it is told again after a second.
 */
async function roundTrips(count) {
  const all = [];
  const last = async () => (await peer.peers()).find(({ linked }) => linked)?.rtt;
  for (let at = 0; at < count; at++) {
    const former = await last();
    const deadline = performance.now() + 10_000;
    let rtt = former;
    let again = 0;
    while (rtt === former) {
      if (performance.now() > deadline) throw new Error(`of ${count} pings the one after ${at} was not answered`);
      if (performance.now() > again) {
        dispatchEvent(new Event('online'));
        again = performance.now() + 1000;
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
      rtt = await last();
    }
    all.push(rtt);
  }
  return all;
}
