// Over a long way one connection carries what its window allows. A fetch over it is given
// further connections to the same peer, and they go when nobody needs them any more.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { launch } from '../rig/browsers.mjs';
import { startLinks } from '../rig/links.mjs';
import { attachPeer, startBlankSite } from '../rig/peers.mjs';
import { startServer } from '../rig/server.mjs';

const MIB = 1024 * 1024;
const PAIRS = [['chromium', 'chromium'], ['chromium', 'firefox']];
/** Far, and each connection carries 2 MB/s at most, so that four carry more than one. */
const LINK = { delay: 20, rate: 2e6, queue: 2e6, loss: 0, seed: 1 };
const SIZE = 24 * MIB;
/** Those of a link with all its lanes. */
const CONNECTIONS = 4;
/** Milliseconds after which lanes that nobody uses are closed, and some to do it. */
const IDLE = 20_000;

const suite = { after };
const server = await startServer([], { until: suite });
const site = await startBlankSite(suite);

for (const [one, other] of PAIRS) {
  test(`a fetch in ${other} from ${one} over a long way comes over several connections`, async (t) => {
    const links = startLinks({ ...LINK, until: t });
    const open = async (name) => {
      const browser = await launch(name, { until: t });
      const tab = await browser.open(site.url, { until: t });
      await links.put(tab);
      // No event tells of connections, so they are looked at now and then.
      await tab.evaluate(() => { setInterval(() => dispatchEvent(new Event('rig')), 250); });
      return attachPeer(tab, server, { namespace: `striping-${other}` });
    };
    const publisher = await open(one);
    const fetcher = await open(other);
    const { key } = await publisher.publish({ name: 'far away', size: SIZE });
    await fetcher.start(key);
    await fetcher.tab.waitFor(connections, { args: [CONNECTIONS], what: 'lanes' });
    const started = Date.now();
    const before = await fetcher.tab.evaluate((key) => window.shoal.progress[key].held, key);
    await fetcher.finished(key);
    const rate = (SIZE - before) / 1e3 / (Date.now() - started);
    t.diagnostic(`${rate.toFixed(1)} MB/s with lanes, ${(before / MIB).toFixed(1)} MiB came before`);
    assert.equal(await fetcher.sha256(key), await publisher.sha256(key));
    // On a busy machine answers may stay away for so long that the way is looked for once more.
    assert.ok(links.size < 2 * CONNECTIONS, `connections are not made again and again: ${links.size}`);
    await fetcher.tab.waitFor(connections, { args: [1], timeout: IDLE, what: 'the end of the lanes' });
    for (const { tab } of [publisher, fetcher]) tab.assertClean();
  });
}

/** In the page: whether the link has so many connections. */
async function connections(count) {
  const [peer] = await window.shoal.peer.peers();
  return peer.link?.connections === count;
}
