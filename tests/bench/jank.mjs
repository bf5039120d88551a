// The page's main thread while its peer works: the longest task of all rounds, and the share
// of time in tasks of 50 ms and more, during a fetch and a publication. And the other way
// round: what a transfer loses while the page blocks its own thread most of the time, by
// synchronous requests to a handler that is slow, so that the block costs no processor time.

import { createServer } from 'node:http';
import { Report, quick } from './report.mjs';
import { MB, bench, browserOnDisk, call, rounds, startSites } from './systems/bench.mjs';
import { linked, openPeer, ownNamespace } from './systems/shoal.mjs';
import { startServer } from '../rig/server.mjs';

const SIZE = quick ? 64 * MB : 256 * MB;
const ROUNDS = quick ? 2 : 5;
/** Milliseconds: of every period the page is blocked for so long. */
const BLOCKED = 400;
const PERIOD = 500;
/** Bytes of the end of a fetch in which the page is not blocked, so as to see it when it comes. */
const REST = 8 * MB;
const LONGEST = 50;

await bench(async (until) => {
  const server = await startServer([], { until });
  const slow = await startSlowHandler(until);
  const sites = await startSites(2, until);
  const [from, to] = [await browserOnDisk('chromium', until), await browserOnDisk('chromium', until)];

  /** A new pair, of which one publishes and the other calls `fetch`; what both saw. */
  const share = async (round, fetch, ...args) => {
    const options = ownNamespace();
    const publisher = await openPeer(from, sites[0], server, options);
    const published = await call(publisher, 'shoal', 'publishWatched', { size: SIZE, seed: round + 1 });
    const fetcher = await openPeer(to, sites[1], server, options);
    await linked(fetcher, 1);
    const fetched = await call(fetcher, 'shoal', fetch, published.key, ...args);
    for (const tab of [fetcher, publisher]) {
      await call(tab, 'shoal', 'leave', published.key);
      await tab.close();
    }
    return { published, fetched };
  };
  const values = await rounds(ROUNDS, {
    watched: (round) => share(round, 'fetchWatched'),
    free: async (round) => (await share(round, 'fetchBlocked', { rest: REST })).fetched,
    blocked: async (round) => (await share(round, 'fetchBlocked', { slow, period: PERIOD, rest: REST })).fetched,
  });

  const report = new Report('jank');
  for (const what of ['fetched', 'published']) {
    const name = `${SIZE / MB} MB ${what}, Chromium`;
    const column = (of) => values.watched.map((seen) => of(seen[what]));
    report.add({ case: name, system: 'longest task', unit: 'ms', values: column(({ longest }) => longest), goal: LONGEST, less: true, worst: true });
    report.add({ case: name, system: 'time in long tasks', unit: '%', values: column(({ share }) => share * 100) });
  }
  const name = `${SIZE / MB} MB, page blocked ${BLOCKED} of ${PERIOD} ms`;
  report.add({ case: name, system: 'free', unit: 'MB/s', values: values.free });
  report.add({ case: name, system: 'blocked', unit: 'MB/s', values: values.blocked });
  report.ratio({ case: name, of: ['blocked', values.blocked], to: ['free', values.free], goal: 0.9 });
  await report.write();
});

/** The address of what answers after `BLOCKED` milliseconds. */
async function startSlowHandler(until) {
  const server = createServer((_, response) => {
    setTimeout(() => response.writeHead(200, { 'access-control-allow-origin': '*', 'cache-control': 'no-store' }).end(), BLOCKED);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  until.after(() => new Promise((resolve) => {
    server.closeAllConnections();
    server.close(resolve);
  }));
  return `http://127.0.0.1:${server.address().port}/`;
}
