// Real browsers share contents: one publisher, fetchers in Chromium and Firefox, and every
// size at an edge.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { launch } from '../rig/browsers.mjs';
import { openPeer, startBlankSite } from '../rig/peers.mjs';
import { startServer } from '../rig/server.mjs';

const MIB = 1024 * 1024;
const server = await startServer([], { until: { after } });
const site = await startBlankSite({ after });
const chromium = await launch('chromium', { until: { after } });
const firefox = await launch('firefox', { until: { after } });

test('one publisher, three fetchers, Chromium and Firefox both ways', async (t) => {
  const open = (browser) => openPeer(browser, site, server, { options: { namespace: 'mixed' }, until: t });
  const publisher = await open(chromium);
  const { key, size } = await publisher.publish({ name: 'mixed "file" <b>&🐟.bin', size: 5 * MIB + 3 });
  const expected = await publisher.sha256(key);
  const fetchers = [await open(chromium), await open(firefox), await open(firefox)];
  for (const fetcher of fetchers) {
    const content = await fetcher.start(key);
    assert.equal(content.size, size);
    assert.equal(content.name, 'mixed "file" <b>&🐟.bin');
  }
  for (const fetcher of fetchers) {
    await fetcher.finished(key);
    assert.equal(await fetcher.sha256(key), expected);
  }
  const fromFirefox = await fetchers[1].publish({ name: 'back', size: MIB, seed: 9 });
  await publisher.fetch(fromFirefox.key);
  assert.equal(await publisher.sha256(fromFirefox.key), await fetchers[1].sha256(fromFirefox.key));
});

for (const [name, browser] of [['chromium', chromium], ['firefox', firefox]]) {
  test(`contents of every edge arrive in ${name}`, async (t) => {
    const options = { namespace: `edges-${name}` };
    const publisher = await openPeer(browser, site, server, { options, until: t });
    const fetcher = await openPeer(browser, site, server, { options, until: t });
    for (const size of [0, 1, MIB / 4, MIB / 4 + 1]) {
      const { key } = await publisher.publish({ name: `${size} bytes`, size });
      const content = await fetcher.fetch(key);
      assert.equal(content.size, size);
      assert.equal(await fetcher.sha256(key), await publisher.sha256(key));
    }
  });
}

test('three sources send parts of one content', async (t) => {
  const open = () => openPeer(chromium, site, server, { options: { namespace: 'three' }, until: t });
  const sources = [await open(), await open(), await open()];
  let key;
  for (const source of sources) {
    ({ key } = await source.publish({ name: 'shared', size: 24 * MIB, seed: 5 }));
  }
  const fetcher = await open();
  await fetcher.fetch(key);
  const counts = await fetcher.chunks(key);
  assert.deepEqual(Object.keys(counts).sort(), sources.map(({ id }) => id).sort());
  assert.equal(Object.values(counts).reduce((sum, count) => sum + count), 96);
});

test('the catalog of a peer lists what it offers, and removal withdraws it', async (t) => {
  const open = () => openPeer(chromium, site, server, { options: { namespace: 'catalogs' }, until: t });
  const publisher = await open();
  const reader = await open();
  const { key } = await publisher.publish({ name: 'listed', size: 100, type: 'text/plain' });
  const offers = () => reader.tab.waitFor(async (id) => {
    const offered = await window.shoal.peer.catalog(id);
    return offered.length > 0 && offered;
  }, { args: [publisher.id], what: 'an offer' });
  const [offer] = await offers();
  assert.deepEqual(offer, { key, size: 100, held: 100, pinned: false, name: 'listed', type: 'text/plain' });
  await publisher.tab.evaluate((key) => window.shoal.peer.remove(key), key);
  await reader.tab.waitFor(async (id) => (await window.shoal.peer.catalog(id)).length === 0,
    { args: [publisher.id], what: 'the withdrawal' });
});
