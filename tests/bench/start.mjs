// Milliseconds a person waits: from loading a page to the peer being open, and from there, as
// that is when it begins to join, to the first verified chunk from a peer it never met before
// and only the rendezvous knows. Each page is new: empty cache, empty store. Beside it
// WebTorrent, from adding a link to the first bytes, which it has not verified by then.

import { Report, quick } from './report.mjs';
import { MB, bench, browserOnDisk, call, openPage, rounds, startSites } from './systems/bench.mjs';
import { openPeer, ownNamespace } from './systems/shoal.mjs';
import { startTracker } from './systems/webtorrent.mjs';
import { BROWSERS, launch } from '../rig/browsers.mjs';
import { startServer } from '../rig/server.mjs';

const SIZE = 4 * MB;
const ROUNDS = quick ? 5 : 15;
/** Milliseconds to the first verified chunk. */
const GOAL = 400;

/** Each step with the marks it lies between; what comes first of link and answer differs. */
const STEPS = [
  ['document and script', undefined, 'began'],
  ['the package', 'began', 'loaded'],
  ['engine, identity, store', 'loaded', 'opened'],
  ['joined', 'opened', 'joined'],
  ['holder found, connection begun', 'joined', 'called'],
  ['connected', 'called', 'connected'],
  ['handshake, proof, content known', 'connected', 'found'],
  ['first chunk', 'found', 'arrived'],
];

await bench(async (until) => {
  const server = await startServer([], { until });
  const tracker = await startTracker(until);
  const [site] = await startSites(1, until);
  const holder = await browserOnDisk('chromium', until);
  const options = ownNamespace();
  const publisher = await openPeer(holder, site, server, options);
  const { key } = await call(publisher, 'shoal', 'publish', { size: SIZE, seed: 1 });
  const seeder = await openPage(holder, site);
  const { magnet } = await call(seeder, 'webtorrent', 'seed', tracker, { size: SIZE, seed: 1 });

  const browsers = {};
  for (const name of BROWSERS) browsers[name] = await launch(name, { until });
  const inNewTab = async (name, ...args) => {
    const tab = await browsers[name].open(site.url);
    await tab.waitFor(() => window.isReady);
    const result = await call(tab, ...args);
    await tab.close();
    return result;
  };
  const values = await rounds(ROUNDS, {
    ...Object.fromEntries(BROWSERS.map((name) => [name, () => inNewTab(name, 'start', 'run', server.url, options, key)])),
    webtorrent: async () => (await inNewTab('chromium', 'webtorrent', 'fetch', tracker, magnet)).search,
  });

  const report = new Report('start');
  for (const name of BROWSERS) {
    const between = (from, to) => values[name].map((marks) => marks[to] - (from ? marks[from] : 0));
    const row = (what, from, to, goal) => report.add({ case: `${name}: ${what}`, system: 'shoal', unit: 'ms', values: between(from, to), goal, less: true });
    row('page load to peer open', undefined, 'opened');
    row('join to first verified chunk', 'opened', 'arrived', GOAL);
    for (const [step, from, to] of STEPS) row(`  ${step}`, from, to);
  }
  report.add({ case: 'chromium: link to first bytes', system: 'webtorrent', unit: 'ms', values: values.webtorrent });
  await report.write();
});
