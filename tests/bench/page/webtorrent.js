/** A WebTorrent client as its documentation has it, on loopback: no public tracker or STUN server. */

import { source } from './noise.js';

let client;

async function open(tracker) {
  const { default: WebTorrent } = await import('/webtorrent.min.js');
  client = new WebTorrent({ tracker: { announce: [tracker], rtcConfig: { iceServers: [] } } });
  client.on('error', (error) => console.warn(String(error)));
}

/** Seeds; the link, and milliseconds from the file to what is hashed and stored. */
export async function seed(tracker, what) {
  await open(tracker);
  const file = new File([source(what)], 'bench');
  const start = performance.now();
  const torrent = await new Promise((resolve) => client.seed(file, { announceList: [[tracker]] }, resolve));
  return { magnet: torrent.magnetURI, ms: performance.now() - start };
}

/**
 * Fetches. The rate is from the first bytes, so without the search; how long that took in
 * milliseconds is beside it.
 */
export async function fetch(tracker, magnet) {
  await open(tracker);
  const begun = performance.now();
  const torrent = client.add(magnet, { announce: [tracker] });
  let first;
  const wires = new Set();
  torrent.on('wire', (wire) => wire.on('download', () => wires.add(wire)));
  torrent.on('download', () => { first ??= performance.now(); });
  await new Promise((resolve) => torrent.on('done', resolve));
  const rate = torrent.length / 1e3 / (performance.now() - first);
  return { rate, search: first - begun, sources: wires.size };
}

/** Drops all, what is stored too. */
export async function leave() {
  await Promise.all(client.torrents.map((torrent) => new Promise((resolve) => client.remove(torrent, { destroyStore: true }, resolve))));
  await new Promise((resolve) => client.destroy(resolve));
}
