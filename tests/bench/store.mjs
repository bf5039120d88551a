// MB/s of the two places a browser has for chunks, written and read in a worker, in records of
// 256 KiB: IndexedDB with relaxed durability, and files of the origin's private file system.
// What is read was written just before, so that it comes from the system's memory in both.

import { BROWSERS } from '../rig/browsers.mjs';
import { Report, median, quick } from './report.mjs';
import { MB, bench, browserOnDisk, call, openPage, rounds, startSites } from './systems/bench.mjs';

const SIZE = quick ? 64 * MB : 256 * MB;
const ROUNDS = quick ? 3 : 5;
const RECORD = 256 * 1024;
const SYSTEMS = {
  'IndexedDB, 1 record x 4': { perTransaction: 1, inFlight: 4 },
  'IndexedDB, 4 records x 4': { perTransaction: 4, inFlight: 4 },
  files: { isInFiles: true },
};

await bench(async (until) => {
  const [site] = await startSites(1, until);
  const report = new Report('store');
  for (const name of BROWSERS) {
    const browser = await browserOnDisk(name, until);
    const systems = Object.entries(SYSTEMS).map(([system, how]) => [system, async () => {
      const tab = await openPage(browser, site);
      const ms = await call(tab, 'store', 'run', { size: SIZE, record: RECORD, ...how });
      await tab.close();
      return ms;
    }]);
    const times = await rounds(ROUNDS, Object.fromEntries(systems));
    for (const what of ['write', 'read']) {
      const row = `${what}, ${SIZE / MB} MB, ${name}`;
      const rates = Object.fromEntries(Object.entries(times).map(([system, runs]) => (
        [system, runs.map((ms) => SIZE / 1e3 / ms[what])]
      )));
      for (const [system, values] of Object.entries(rates)) report.add({ case: row, system, unit: 'MB/s', values });
      const { files, ...databases } = rates;
      const [best] = Object.keys(databases).toSorted((one, other) => median(rates[other]) - median(rates[one]));
      report.ratio({ case: row, of: ['files', files], to: [best, rates[best]] });
    }
  }
  await report.write();
});
