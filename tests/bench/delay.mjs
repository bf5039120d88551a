// MB/s over links with delay and loss: this project and WebTorrent from one source and from three,
// beside one bare peer connection, which sends no faster than its window allows, and beside eight of
// them, which are what this machine carries, whoever asks of whom. Every peer connection has a link
// of its own (rig/links.mjs), so that further connections to one peer are not held back by the
// first; the page's candidates are rewritten on their way into the browser.

import { Report, quick } from './report.mjs';
import { bareChannel } from './systems/bare.mjs';
import { MB, bench, browserOnDisk, rounds, startSites } from './systems/bench.mjs';
import { startLinks } from '../rig/links.mjs';
import { transfer } from './systems/shoal.mjs';
import { startServer } from '../rig/server.mjs';
import * as webtorrent from './systems/webtorrent.mjs';

const ROUNDS = quick ? 1 : 3;
/** Bytes a second and bytes that may wait: a fast line whose router takes a small window's worth. */
const LINK = { rate: 125 * MB, queue: 2 * MB };
/** What is carried is less where it is slow; `striped` is what one source is to be of bare. */
const CASES = [
  { name: 'no delay', rtt: 0, loss: 0, size: 64 * MB },
  { name: '40 ms', rtt: 40, loss: 0, size: 32 * MB, striped: 3, spread: 2.5 },
  { name: '100 ms', rtt: 100, loss: 0, size: 16 * MB, spread: 2.5 },
  { name: '40 ms, 1 % lost', rtt: 40, loss: 0.01, size: 8 * MB },
];
/** Bare connections at a time that the machine is measured with. */
const MANY = 8;
/** As Chromium's own examples have it, and not the worst in `transfer`. */
const VARIANT = { message: 64 * 1024, inWorker: true };

await bench(async (until) => {
  const server = await startServer([], { until });
  const tracker = await webtorrent.startTracker(until);
  const sites = await startSites(4, until);
  const [from, to] = [await browserOnDisk('chromium', until), await browserOnDisk('chromium', until)];
  const report = new Report('delay');
  for (const { name, rtt, loss, size: full, striped, spread } of CASES) {
    const size = quick ? full / 2 : full;
    const bare = (connections) => through({ rtt, loss }, (prepare) => (
      bareChannel({ from, to, site: sites[0], size, variant: VARIANT, connections, prepare })
    ));
    const ours = (sites) => through({ rtt, loss }, (prepare, round) => (
      transfer({ from, to, sites, server, size, seed: round + 1, prepare })
    ));
    const theirs = (sites) => through({ rtt, loss }, (prepare, round) => (
      webtorrent.transfer({ from, to, sites, tracker, size, seed: round + 1, prepare })
    ));
    const pair = [sites[0], sites.at(-1)];
    const values = await rounds(ROUNDS, {
      bare: bare(1),
      [`bare, ${MANY}`]: bare(MANY),
      shoal: ours(pair),
      'shoal, 3': ours(sites),
      webtorrent: theirs(pair),
      'webtorrent, 3': theirs(sites),
    });
    const row = `${name}, ${size / MB} MB`;
    for (const [system, rates] of Object.entries(values)) report.add({ case: row, system, unit: 'MB/s', values: rates });
    report.ratio({ case: row, of: ['shoal', values.shoal], to: ['bare', values.bare], goal: striped });
    report.ratio({ case: row, of: ['shoal, 3', values['shoal, 3']], to: ['shoal', values.shoal], goal: spread });
    report.ratio({ case: row, of: ['shoal', values.shoal], to: ['webtorrent', values.webtorrent] });
    report.ratio({ case: row, of: ['shoal, 3', values['shoal, 3']], to: ['webtorrent, 3', values['webtorrent, 3']] });
    report.ratio({ case: row, of: [`bare, ${MANY}`, values[`bare, ${MANY}`]], to: ['bare', values.bare] });
  }
  await report.write();

  /** A run over links of its own. */
  function through({ rtt, loss }, run) {
    return async (round) => {
      const ends = [];
      const links = startLinks({ ...LINK, delay: rtt / 2, loss, seed: round + 1, until: { after: (end) => ends.push(end) } });
      try {
        return await run((tab) => links.put(tab), round);
      } finally {
        for (const end of ends) await end();
      }
    };
  }
});
