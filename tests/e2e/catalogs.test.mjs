// A peer whose catalog has several megabytes: its rendezvous is told of it in pieces, the connection
// stays, and others find what is in it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { launch } from '../rig/browsers.mjs';
import { attachPeer, openPeer, startBlankSite } from '../rig/peers.mjs';
import { startServer } from '../rig/server.mjs';

/** Contents, and bytes of their catalog; in messages it has twice as many, for what is quoted. */
const CONTENTS = 240;
const LEAST = 1_600_000;
/** Bytes that the change of one page costs at most, the head with all hashes included. */
const CHANGE = 150_000;

test('a peer with a catalog of several megabytes stays connected and is found', async (t) => {
  const server = await startServer([], { until: t });
  const site = await startBlankSite(t);
  const browser = await launch('chromium', { until: t });
  const metric = async (name) => {
    const text = await (await fetch(`${server.url}/metrics`)).text();
    const lines = text.split('\n').filter((line) => line.startsWith(name));
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  };
  const isListed = async (key) => {
    const answer = await fetch(`${server.url}/v1/providers/${key}`);
    return (await answer.json()).peers.length > 0;
  };
  const listed = async (key) => {
    for (const end = Date.now() + 60_000; !await isListed(key);) {
      assert.ok(Date.now() < end, `${key} is not listed`);
      await new Promise((resolve) => { setTimeout(resolve, 100); });
    }
  };

  // Published without a rendezvous, so that it is told of all at once.
  const tab = await browser.open(site.url, { until: t });
  const lone = await attachPeer(tab, server, { rendezvous: null });
  const began = Date.now();
  const keys = await lone.tab.evaluate(async (contents) => {
    const { peer } = window.shoal;
    const quotes = (count) => '"'.repeat(count);
    const said = { title: quotes(500), description: quotes(2000), keywords: Array(16).fill(quotes(60)) };
    const publish = async (n) => (await peer.publish(`content ${n}`, { name: `${n}`, ...said })).key;
    const keys = await Promise.all(Array.from({ length: contents }, (_, n) => publish(n)));
    await peer.close();
    return keys;
  }, CONTENTS);
  t.diagnostic(`published in ${Date.now() - began} ms`);

  const joined = Date.now();
  const publisher = await attachPeer(tab, server);
  await publisher.waitForState('online');
  const fetcher = await openPeer(browser, site, server, { until: t });
  await listed(keys[0]);
  t.diagnostic(`listed after ${Date.now() - joined} ms`);
  assert.ok(await metric('shoal_catalog_bytes') >= LEAST);
  const content = await fetcher.fetch(keys.at(-1));
  assert.equal(content.name, `${CONTENTS - 1}`);

  // One more costs a page, not all.
  const before = await metric('shoal_received_bytes_total');
  const more = await publisher.publish({ name: 'more', size: 100 });
  await listed(more.key);
  const cost = await metric('shoal_received_bytes_total') - before;
  t.diagnostic(`a change costs ${cost} bytes`);
  assert.ok(cost < CHANGE, `${cost} bytes`);

  assert.equal(await metric('shoal_joins_total'), 2, 'nobody had to come back');
  assert.equal(await metric('shoal_connections_closed_total'), 0);
  for (const peer of [publisher, fetcher]) {
    assert.deepEqual(await peer.events('error'), []);
    peer.tab.assertClean();
  }
});
