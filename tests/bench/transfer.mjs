// MB/s from tab to tab, of bytes that nothing can compress: this project, WebTorrent, and in
// the same run a bare data channel, which is the physical limit. Of the bare channel several
// message sizes run, in page and worker, and the one that is best by its median counts.
//
// This project's clock runs from `fetch` to the last chunk verified and stored, over links
// that are there; WebTorrent's from the first bytes that come, so that its search, which is
// part of `start`, is not held against it. Every tab is new.

import { Report, median, quick } from './report.mjs';
import { VARIANTS, bareChannel } from './systems/bare.mjs';
import { MB, bench, browserOnDisk, rounds, startSites } from './systems/bench.mjs';
import * as shoal from './systems/shoal.mjs';
import * as webtorrent from './systems/webtorrent.mjs';
import { startServer } from '../rig/server.mjs';

const SMALL = quick ? 32 * MB : 64 * MB;
const LARGE = 256 * MB;
const ROUNDS = quick ? 2 : 5;
/** Of large contents, which take long and vary less. */
const LARGE_ROUNDS = quick ? 0 : 3;

await bench(async (until) => {
  const server = await startServer([], { until });
  const tracker = await webtorrent.startTracker(until);
  const sites = await startSites(4, until);
  const [from, to] = [await browserOnDisk('chromium', until), await browserOnDisk('chromium', until)];
  const firefox = await browserOnDisk('firefox', until);
  const pair = [sites[0], sites.at(-1)];
  const seedOf = (round, size) => round * 1000 + size / MB + 1;

  const bare = (size, variant, browsers = { from, to }) => () => bareChannel({ ...browsers, site: sites[0], size, variant });
  const ours = (size, sites, browsers = { from, to }) => (round) => shoal.transfer({ ...browsers, sites, server, size, seed: seedOf(round, size) });
  const theirs = (size, sites) => (round) => webtorrent.transfer({ from, to, sites, tracker, size, seed: seedOf(round, size) });

  const report = new Report('transfer');
  const variants = Object.fromEntries(VARIANTS.map((variant) => [`bare, ${variant.name}`, bare(SMALL, variant)]));
  const small = await rounds(ROUNDS, {
    ...variants,
    shoal: ours(SMALL, pair), 'shoal, 3': ours(SMALL, sites),
    webtorrent: theirs(SMALL, pair), 'webtorrent, 3': theirs(SMALL, sites),
  });
  for (const name of Object.keys(variants)) report.add({ case: `${SMALL / MB} MB, Chromium`, system: name, unit: 'MB/s', values: small[name] });
  const best = VARIANTS.toSorted((one, other) => median(small[`bare, ${other.name}`]) - median(small[`bare, ${one.name}`]))[0];
  compare(report, SMALL, { ...small, bare: small[`bare, ${best.name}`] });

  if (LARGE_ROUNDS > 0) {
    compare(report, LARGE, await rounds(LARGE_ROUNDS, {
      bare: bare(LARGE, best),
      shoal: ours(LARGE, pair), 'shoal, 3': ours(LARGE, sites),
      webtorrent: theirs(LARGE, pair), 'webtorrent, 3': theirs(LARGE, sites),
    }));
  }

  const mixed = { from, to: firefox };
  const name = `one source, ${SMALL / MB} MB, to Firefox`;
  const toFirefox = await rounds(ROUNDS, { bare: bare(SMALL, best, mixed), shoal: ours(SMALL, pair, mixed) });
  for (const system of ['bare', 'shoal']) report.add({ case: name, system, unit: 'MB/s', values: toFirefox[system] });
  report.ratio({ case: name, of: ['shoal', toFirefox.shoal], to: ['bare', toFirefox.bare], goal: 0.95 });
  await report.write();
});

/** The rows of one size, from Chromium to Chromium. */
function compare(report, size, { bare, shoal, webtorrent, 'shoal, 3': shoal3, 'webtorrent, 3': webtorrent3 }) {
  const one = `one source, ${size / MB} MB, Chromium`;
  report.add({ case: one, system: 'bare', unit: 'MB/s', values: bare });
  report.add({ case: one, system: 'shoal', unit: 'MB/s', values: shoal });
  report.add({ case: one, system: 'webtorrent', unit: 'MB/s', values: webtorrent });
  report.ratio({ case: one, of: ['shoal', shoal], to: ['bare', bare], goal: 0.95 });
  report.ratio({ case: one, of: ['shoal', shoal], to: ['webtorrent', webtorrent], goal: 1.5 });
  const three = `three sources, ${size / MB} MB, Chromium`;
  report.add({ case: three, system: 'shoal', unit: 'MB/s', values: shoal3 });
  report.add({ case: three, system: 'webtorrent', unit: 'MB/s', values: webtorrent3 });
  report.ratio({ case: three, of: ['shoal', shoal3], to: ['webtorrent', webtorrent3], goal: 1.7 });
}
