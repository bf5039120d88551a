// How long control messages wait behind chunks on slow links: the round trip of pings that a
// fetcher sends while it fetches, less that without a fetch. Part of it is the network's: its
// queue takes what SCTP's congestion window sends, before any message of the other channel.

import { Report, median, quick } from './report.mjs';
import { MB, bench, browserOnDisk, call, rounds, startSites } from './systems/bench.mjs';
import { linked, openPeer, ownNamespace } from './systems/shoal.mjs';
import { startLinks } from '../rig/links.mjs';
import { startServer } from '../rig/server.mjs';

const ROUNDS = quick ? 1 : 3;
/** Bytes a second that the link carries. */
const RATES = [0.5 * MB, 1 * MB, 2 * MB, 5 * MB];
/** Below what lanes are made for, each of which would have a link of its own. */
const RTT = 2;
/** What the link's queue takes, in milliseconds of its rate: a router that is set up well. */
const QUEUE = 30;
const PINGS = quick ? 20 : 60;
/** Until the rate of the link is known. */
const SETTLE = 3000;
/** Longer than the pings take: each is answered within a fraction of a second. */
const SECONDS = quick ? 12 : 24;
const WAIT = 50;

await bench(async (until) => {
  const server = await startServer([], { until });
  const sites = await startSites(2, until);
  const [from, to] = [await browserOnDisk('chromium', until), await browserOnDisk('chromium', until)];
  const report = new Report('control');
  for (const rate of RATES) {
    const { measured } = await rounds(ROUNDS, { measured: (round) => run(rate, round) });
    const name = `${rate / MB} MB/s, ${RTT} ms`;
    const waits = measured.map(({ before, during }) => during.map((ms) => Math.max(0, ms - median(before))));
    report.add({ case: name, system: 'rate', unit: 'MB/s', values: measured.map((each) => each.rate) });
    report.add({ case: name, system: 'idle round trip', unit: 'ms', values: measured.map(({ before }) => median(before)) });
    report.add({ case: name, system: 'wait, median', unit: 'ms', values: waits.map(median), goal: WAIT, less: true });
    report.add({ case: name, system: 'wait, 9 of 10', unit: 'ms', values: waits.map((all) => all.sort((a, b) => a - b)[Math.floor(all.length * 0.9)]) });
    report.add({ case: name, system: 'wait, longest', unit: 'ms', values: waits.map((all) => Math.max(...all)) });
  }
  await report.write();

  async function run(rate, round) {
    const ends = [];
    const links = startLinks({ rate, queue: rate * QUEUE / 1000, delay: RTT / 2, loss: 0, seed: round + 1, until: { after: (end) => ends.push(end) } });
    try {
      const options = ownNamespace();
      const prepare = (tab) => links.put(tab);
      const source = await openPeer(from, sites[0], server, options, prepare);
      const { key } = await call(source, 'shoal', 'publish', { size: rate * SECONDS, seed: round + 1 });
      const fetcher = await openPeer(to, sites[1], server, options, prepare);
      await linked(fetcher, 1);
      const measured = await call(fetcher, 'shoal', 'pings', key, { count: PINGS, settle: SETTLE });
      for (const tab of [fetcher, source]) {
        await call(tab, 'shoal', 'leave', key);
        await tab.close();
      }
      return measured;
    } finally {
      for (const end of ends) await end();
    }
  }
});
