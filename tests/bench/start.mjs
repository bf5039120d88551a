// Milliseconds a person waits: from loading a page to the peer being open, and from there, as
// that is when it begins to join, to the first verified chunk from a peer it never met before
// and only the rendezvous knows. Each page is new: empty cache, empty store. Beside it
// WebTorrent, from adding a link to the first bytes, which it has not verified by then.
//
// And what a person waits who watches: from the beginning of the join to the first picture of a
// video, and from a jump to a place that is not held, while all of a large content is fetched,
// to its first byte, out of the stream and from the content's address.

import { Report, quick } from './report.mjs';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { MB, bench, browserOnDisk, call, openPage, pick, rounds, startSites } from './systems/bench.mjs';
import { openPeer, ownNamespace } from './systems/shoal.mjs';
import { startTracker } from './systems/webtorrent.mjs';
import { BROWSERS, launch, target } from '../rig/browsers.mjs';
import { startServer } from '../rig/server.mjs';
import { video } from '../rig/video.mjs';

const SIZE = 4 * MB;
const ROUNDS = quick ? 5 : 15;
/** Milliseconds to the first verified chunk. */
const GOAL = 400;
/** What is jumped in, and how often. */
const LARGE = quick ? 64 * MB : 256 * MB;
const JUMPS = quick ? 5 : 15;
/** Milliseconds to the first byte after a jump. */
const JUMP_GOAL = 300;

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
  const worker = readFileSync(path.join(target, 'package/shoal/sw.js'), 'utf8');
  const [site] = await startSites(1, until, { '/sw.js': worker });
  const holder = await browserOnDisk('chromium', until);
  const options = ownNamespace();
  const publisher = await openPeer(holder, site, server, options);
  const { key } = await call(publisher, 'shoal', 'publish', { size: SIZE, seed: 1 });
  const seeder = await openPage(holder, site);
  const { magnet } = await call(seeder, 'webtorrent', 'seed', tracker, { size: SIZE, seed: 1 });

  await pick(publisher, await video());
  const { key: film } = await call(publisher, 'shoal', 'publish', { picked: true, type: 'video/webm' });
  const { key: large } = await call(publisher, 'shoal', 'publish', { size: LARGE, seed: 2 });

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
    ...Object.fromEntries(BROWSERS.map((name) => [`${name}, picture`, () => inNewTab(name, 'play', 'firstPicture', server.url, options, film)])),
    webtorrent: async () => (await inNewTab('chromium', 'webtorrent', 'fetch', tracker, magnet)).search,
  });

  const jumps = {};
  for (const name of BROWSERS) jumps[name] = await inNewTab(name, 'play', 'jump', server.url, options, large, JUMPS);

  const report = new Report('start');
  for (const name of BROWSERS) {
    const between = (from, to) => values[name].map((marks) => marks[to] - (from ? marks[from] : 0));
    const row = (what, from, to, goal) => report.add({ case: `${name}: ${what}`, system: 'shoal', unit: 'ms', values: between(from, to), goal, less: true });
    row('page load to peer open', undefined, 'opened');
    row('join to first verified chunk', 'opened', 'arrived', GOAL);
    for (const [step, from, to] of STEPS) row(`  ${step}`, from, to);
    report.add({ case: `${name}: join to first picture`, system: 'shoal', unit: 'ms', values: values[`${name}, picture`], less: true });
    for (const [what, times] of Object.entries(jumps[name])) {
      report.add({ case: `${name}: jump to first byte, ${what}`, system: 'shoal', unit: 'ms', values: times, goal: JUMP_GOAL, less: true });
    }
  }
  report.add({ case: 'chromium: link to first bytes', system: 'webtorrent', unit: 'ms', values: values.webtorrent });
  await report.write();
});
