// The network changes while a content is fetched: the only way between two peers goes for good,
// and ICE finds another. The connection, and what was signed inside it, stay; the page sees
// nothing but a pause.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { BROWSERS, launch } from '../rig/browsers.mjs';
import { startLinks } from '../rig/links.mjs';
import { attachPeer, startBlankSite } from '../rig/peers.mjs';
import { startServer } from '../rig/server.mjs';

const MIB = 1024 * 1024;
const PAIRS = [['chromium', 'chromium'], ['firefox', 'firefox'], ['chromium', 'firefox'], ['firefox', 'chromium']];
/** So slow that the fetch is far from its end when the way goes, and that one connection is
 *  enough for it. */
const LINK = { delay: 5, rate: 250e3, queue: 64 * 1024, loss: 0, seed: 1 };
const SIZE = 3 * MIB;
/** How long bytes may stay away, in milliseconds: some six seconds until a browser finds out, one
 *  of patience, and the time after which SCTP tries again. Twice what was measured. */
const WITHIN = 20_000;
/** What may come twice, in bytes: twice what a source is asked for at a time. */
const WINDOW = 2 * MIB;

const suite = { after };
const server = await startServer([], { until: suite });
const site = await startBlankSite(suite);
const browsers = {};
for (const name of BROWSERS) browsers[name] = await launch(name, { until: suite });

/** A peer whose page counts what it does with connections. */
async function open(name, namespace, links, t) {
  const tab = await browsers[name].open(site.url, { until: t });
  await links.put(tab);
  await tab.evaluate(() => {
    const made = [];
    const restarts = [];
    const Native = RTCPeerConnection;
    globalThis.RTCPeerConnection = class extends Native {
      constructor(...args) {
        super(...args);
        made.push(this);
        this.addEventListener('connectionstatechange', () => {
          globalThis.seen.states.push([Math.round(performance.now()), this.connectionState]);
          dispatchEvent(new Event('rig'));
        });
      }

      createOffer(options) {
        if (options?.iceRestart) restarts.push(performance.now());
        return super.createOffer(options);
      }
    };
    globalThis.seen = { made, restarts, states: [] };
  });
  return attachPeer(tab, server, { namespace });
}

/** Bytes that came over a page's bulk channels. */
function received({ tab }) {
  return tab.evaluate(async () => {
    const reports = await Promise.all(globalThis.seen.made.map((connection) => connection.getStats()));
    const channels = reports.flatMap((report) => [...report.values()].filter(({ type, label }) => type === 'data-channel' && label === 'bulk'));
    return channels.reduce((sum, { bytesReceived }) => sum + bytesReceived, 0);
  });
}

for (const [one, other] of PAIRS) {
  test(`a fetch in ${other} from ${one} goes on over its link when the way is lost`, async (t) => {
    const links = startLinks({ ...LINK, until: t });
    const namespace = `restart-${one}-${other}`;
    const publisher = await open(one, namespace, links, t);
    const fetcher = await open(other, namespace, links, t);
    const peers = [publisher, fetcher];
    const { key } = await publisher.publish({ name: 'on the move', size: SIZE });
    await fetcher.start(key);
    await fetcher.tab.evaluate((key) => {
      globalThis.seen.chunks = [];
      window.shoal.transfers[key].addEventListener('chunk', () => globalThis.seen.chunks.push(performance.now()));
    }, key);
    await fetcher.tab.waitFor((key, bytes) => window.shoal.progress[key]?.held > bytes, { args: [key, SIZE / 4], what: 'a part' });

    const ways = links.size;
    const held = await fetcher.tab.evaluate((key) => window.shoal.progress[key].held, key);
    assert.ok(held < SIZE, `${held} bytes held`);
    const before = await fetcher.tab.evaluate(() => performance.now());
    links.cut();
    // What had come by then is stored within that time.
    const gap = await fetcher.tab.waitFor((cut) => {
      const [first] = globalThis.seen.chunks.filter((time) => time > cut + 1500);
      return first && first - cut;
    }, { args: [before], timeout: WITHIN, what: 'bytes after the cut' });
    t.diagnostic(`${(gap / 1000).toFixed(1)} s from the cut to the next chunk`);

    await fetcher.finished(key);
    assert.equal(await fetcher.sha256(key), await publisher.sha256(key));
    let restarts = 0;
    for (const { tab } of peers) {
      const seen = await tab.evaluate(() => ({ ...globalThis.seen, made: globalThis.seen.made.length }));
      assert.equal(seen.made, 1, 'no further connection was made');
      restarts += seen.restarts.length;
      const states = seen.states.map(([time, state]) => `${state} at ${time}`);
      t.diagnostic(`${tab.browser}: ${states.join(', ')}; restarts at ${seen.restarts.map(Math.round).join(', ')}`);
      const gone = await tab.evaluate(() => window.shoal.events.filter(({ type }) => ['peer-leave', 'error'].includes(type)));
      assert.deepEqual(gone, []);
      tab.assertClean();
    }
    assert.ok(restarts >= 1, 'ICE was restarted');
    assert.ok(links.size > ways, 'it found another way');
    const twice = await received(fetcher) - SIZE;
    t.diagnostic(`${(twice / MIB).toFixed(1)} MiB came twice, headers included`);
    assert.ok(twice > 0 && twice < WINDOW, `${twice} bytes twice`);
  });
}
