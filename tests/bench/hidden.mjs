// The rate of a fetch in a tab that is in the background, beside the same in front, in
// browsers with none of the switches by which tests keep such tabs awake: that a timer of
// 10 ms ticks twice a second or less is checked in each run.

import assert from 'node:assert/strict';
import { Report, quick } from './report.mjs';
import { MB, bench, browserOnDisk, call, rounds, startSites } from './systems/bench.mjs';
import { linked, openPeer, ownNamespace } from './systems/shoal.mjs';
import { BROWSERS } from '../rig/browsers.mjs';
import { startServer } from '../rig/server.mjs';

const SIZE = quick ? 24 * MB : 128 * MB;
const ROUNDS = quick ? 2 : 5;
/** Seconds for which the timer is watched. */
const WATCHED = 4;
/** How many times more, until a tab is throttled: Chromium takes ten seconds. */
const PATIENCE = 5;
/** Ticks a second. */
const THROTTLED = 2;

await bench(async (until) => {
  const server = await startServer([], { until });
  const sites = await startSites(2, until);
  const from = await browserOnDisk('chromium', until);
  const report = new Report('hidden');
  for (const name of BROWSERS) {
    const to = await browserOnDisk(name, until, { isAwake: false });
    const fetch = async (round, isHidden) => {
      const options = ownNamespace();
      const publisher = await openPeer(from, sites[0], server, options);
      const { key } = await call(publisher, 'shoal', 'publish', { size: SIZE, seed: round + 1 });
      const fetcher = await openPeer(to, sites[1], server, options);
      await fetcher.page.bringToFront();
      await linked(fetcher, 1);
      const other = isHidden ? await to.open('about:blank', { context: 'profile' }) : undefined;
      await other?.page.bringToFront();
      let seen = await call(fetcher, 'ticks', 'ticks', WATCHED);
      // Browsers begin some seconds after a tab has gone.
      for (let more = PATIENCE; isHidden && seen.rate > THROTTLED && more > 0; more--) {
        seen = await call(fetcher, 'ticks', 'ticks', WATCHED);
      }
      const { rate: ticks, visibility } = seen;
      assert.equal(visibility, isHidden ? 'hidden' : 'visible');
      if (isHidden) assert.ok(ticks <= THROTTLED, `${name}: ${ticks} ticks a second`);
      else assert.ok(ticks > 10 * THROTTLED, `${name}: ${ticks} ticks a second in front`);
      const { rate } = await call(fetcher, 'shoal', 'fetch', key);
      await call(fetcher, 'shoal', 'leave', key);
      await call(publisher, 'shoal', 'leave', key);
      for (const tab of [other, fetcher, publisher]) await tab?.close();
      return { rate, ticks };
    };
    const { front, hidden } = await rounds(ROUNDS, {
      front: (round) => fetch(round, false),
      hidden: (round) => fetch(round, true),
    });
    const rates = (runs) => runs.map(({ rate }) => rate);
    const row = `${SIZE / MB} MB, ${name}`;
    report.add({ case: row, system: 'ticks, hidden', unit: '/s', values: hidden.map(({ ticks }) => ticks), goal: THROTTLED, less: true });
    report.add({ case: row, system: 'front', unit: 'MB/s', values: rates(front) });
    report.add({ case: row, system: 'hidden', unit: 'MB/s', values: rates(hidden) });
    report.ratio({ case: row, of: ['hidden', rates(hidden)], to: ['front', rates(front)], goal: 0.9 });
    await to.close();
  }
  await report.write();
});
