// WebTorrent in tabs, and its tracker on loopback.

import Server from 'bittorrent-tracker/server';
import { call, openPage } from './bench.mjs';

/** The address of a tracker of WebTorrent's own. */
export async function startTracker(until) {
  const tracker = new Server({ udp: false, http: false, ws: true, stats: false });
  await new Promise((resolve) => tracker.listen(0, '127.0.0.1', resolve));
  until.after(() => new Promise((resolve) => {
    tracker.http.closeAllConnections();
    tracker.close(resolve);
  }));
  return `ws://127.0.0.1:${tracker.http.address().port}`;
}

/** MB/s of one fetch from `sites.length - 1` seeders; the last site is the fetcher's. */
export async function transfer({ from, to, sites, tracker, size, seed, prepare = () => {} }) {
  const seeders = [];
  let magnet;
  for (const site of sites.slice(0, -1)) {
    const tab = await openPage(from, site);
    await prepare(tab);
    ({ magnet } = await call(tab, 'webtorrent', 'seed', tracker, { size, seed }));
    seeders.push(tab);
  }
  const fetcher = await openPage(to, sites.at(-1));
  await prepare(fetcher);
  const { rate, sources } = await call(fetcher, 'webtorrent', 'fetch', tracker, magnet);
  // Its clock runs from the first bytes, whoever they are from.
  if (sources < seeders.length) console.log(`    WebTorrent fetched from ${sources} of ${seeders.length}`);
  for (const tab of [fetcher, ...seeders]) {
    await call(tab, 'webtorrent', 'leave');
    await tab.close();
  }
  return rate;
}
