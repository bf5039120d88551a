// MB/s from a file on disk to a publication, hashed and stored in a profile on disk: this
// project, WebTorrent, and in the same run bare stores, written in a worker in records of 256
// KiB: IndexedDB with relaxed durability, whose best counts for the goal, and the same reading
// the file too; and a file of the origin, as this project has them, with and without reading.

import { Report, median, quick } from './report.mjs';
import { MB, bench, browserOnDisk, call, fileOf, openPage, pick, rounds, startSites } from './systems/bench.mjs';
import { openPeer, ownNamespace } from './systems/shoal.mjs';
import { startTracker } from './systems/webtorrent.mjs';
import { startServer } from '../rig/server.mjs';

const SIZES = quick ? [64 * MB] : [64 * MB, 1000 * MB];
const ROUNDS = quick ? 3 : 5;
const RECORD = 256 * 1024;
const VARIANTS = [
  { perTransaction: 1, inFlight: 4 },
  { perTransaction: 4, inFlight: 4 },
].map((how) => ({ name: `bare, ${how.perTransaction} records x ${how.inFlight}`, ...how }));

await bench(async (until) => {
  const server = await startServer([], { until });
  const tracker = await startTracker(until);
  const [site] = await startSites(1, until);
  const browser = await browserOnDisk('chromium', until);
  const report = new Report('publish');
  for (const size of SIZES) {
    const file = await fileOf(size);
    const rate = (ms) => size / 1e3 / ms;
    const bare = (how) => inTab(browser, site, file, async (tab) => (
      rate((await call(tab, 'store', 'run', { size, record: RECORD, ...how })).write)
    ));
    const systems = Object.fromEntries(VARIANTS.map(({ name, ...how }) => [name, () => bare(how)]));
    const values = await rounds(ROUNDS, {
      ...systems,
      'bare, reading': () => bare({ picked: true, ...VARIANTS[1] }),
      'files': () => bare({ isInFiles: true }),
      'files, reading': () => bare({ isInFiles: true, picked: true }),
      shoal: async () => {
        const tab = await openPeer(browser, site, server, ownNamespace());
        await pick(tab, file);
        const { key, ms } = await call(tab, 'shoal', 'publish', { picked: true });
        await call(tab, 'shoal', 'leave', key);
        await tab.close();
        return rate(ms);
      },
      webtorrent: () => inTab(browser, site, file, async (tab) => {
        const { ms } = await call(tab, 'webtorrent', 'seed', tracker, { picked: true });
        await call(tab, 'webtorrent', 'leave');
        return rate(ms);
      }),
    });
    const name = `${size / MB} MB, Chromium`;
    for (const [system, rates] of Object.entries(values)) report.add({ case: name, system, unit: 'MB/s', values: rates });
    const best = Object.keys(systems).toSorted((one, other) => median(values[other]) - median(values[one]))[0];
    report.ratio({ case: name, of: ['shoal', values.shoal], to: ['bare', values[best]], goal: 0.8 });
    report.ratio({ case: name, of: ['shoal', values.shoal], to: ['bare, reading', values['bare, reading']] });
    report.ratio({ case: name, of: ['shoal', values.shoal], to: ['files, reading', values['files, reading']] });
    report.ratio({ case: name, of: ['shoal', values.shoal], to: ['webtorrent', values.webtorrent], goal: 8 });
  }
  await report.write();
});

async function inTab(browser, site, file, run) {
  const tab = await openPage(browser, site);
  await pick(tab, file);
  const result = await run(tab);
  await tab.close();
  return result;
}
