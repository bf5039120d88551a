// Pages that are put aside, windows that keep nothing, and data that is cleared while a peer has
// it open: docs/tabs.md says what then happens.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { BROWSERS, launch } from '../rig/browsers.mjs';
import { attachPeer, openPeer } from '../rig/peers.mjs';
import { startServer } from '../rig/server.mjs';
import { startSite } from '../rig/site.mjs';

const MIB = 1024 * 1024;
const PAGE = '<!doctype html><html lang="en"><title>Test</title>';

const suite = { after };
const server = await startServer([], { until: suite });
// Pages that may not be stored are not put into the bfcache either.
const site = await startSite({
  pages: { '/': PAGE, '/away': PAGE, '/clear': PAGE },
  headers: { 'cache-control': 'max-age=60' },
  headersOf: { '/clear': { 'clear-site-data': '"storage"', 'cache-control': 'no-store' } },
  until: suite,
});
const browsers = {};
for (const name of BROWSERS) browsers[name] = await launch(name, { until: suite });

for (const name of BROWSERS) {
  const browser = browsers[name];

  // Firefox has none while a driver looks on.
  if (name === 'chromium') test(`${name}: a page comes out of the bfcache with its peer, whose engine was elsewhere meanwhile`, async (t) => {
    const options = { namespace: `bfcache-${name}` };
    const host = await openPeer(browser, site, server, { options, until: t });
    const guest = await openPeer(browser, site, server, { options, beside: host, until: t });
    const { key } = await host.publish({ name: 'kept', size: MIB });
    await host.tab.evaluate(() => {
      addEventListener('pageshow', ({ persisted }) => { window.wasPersisted = persisted; });
    });
    await host.tab.goto(`${site.url}/away`);
    await guest.tab.waitFor(() => window.shoal.events.filter(({ state }) => state === 'online').length > 0);
    await host.tab.page.goBack();
    assert.equal(await host.tab.evaluate(() => window.wasPersisted), true, 'the browser kept the page');
    await host.waitForState('online');
    assert.deepEqual((await host.contents()).map((content) => content.key), [key]);
    assert.equal(await host.tab.evaluate(() => window.shoal.peer.id), guest.id);
    assert.equal(await host.sha256(key), await guest.sha256(key));
    for (const { tab } of [host, guest]) tab.assertClean();
  });

  const ways = {
    'by a header': (tab) => tab.evaluate(() => fetch('/clear').then((response) => response.text())),
  };
  if (name === 'chromium') {
    ways['by the user'] = async (tab) => {
      const session = await tab.page.createCDPSession();
      await session.send('Storage.clearDataForOrigin', { origin: new URL(site.url).origin, storageTypes: 'all' });
    };
  }
  for (const [how, clear] of Object.entries(ways)) {
    test(`${name}: data that is cleared ${how} while it is open is offered no more, and the peer begins anew`, async (t) => {
      const options = { namespace: `cleared-${name}-${how.replaceAll(' ', '-')}` };
      const other = await openPeer(browser, site, server, { options, until: t });
      const host = await openPeer(browser, site, server, { options, until: t });
      const guest = await openPeer(browser, site, server, { options, beside: host, until: t });
      const { key } = await host.publish({ name: 'gone', size: 3 * MIB, seed: 5 });
      const long = await other.publish({ name: 'comes', size: 8 * MIB, seed: 6 });
      await other.tab.evaluate(() => window.shoal.peer.setLimits({ uploadLimit: 4 * 1024 * 1024 }));
      await guest.start(long.key);
      await guest.tab.waitFor((key) => window.shoal.progress[key]?.held > 1024 * 1024, { args: [long.key] });
      await other.tab.waitFor(async (id) => (await window.shoal.peer.catalog(id)).length > 0, { args: [host.id] });

      await clear(guest.tab);
      for (const peer of [host, guest]) {
        await peer.tab.waitFor(() => window.shoal.events.find(({ type, code }) => type === 'error' && code === 'store-failed'), { what: 'an error that says so' });
        await peer.waitForState('online');
      }
      // What was fetched goes on, from the start, by a peer that is another.
      await guest.finished(long.key);
      assert.equal(await guest.sha256(long.key), await other.sha256(long.key));
      const now = await host.contents();
      assert.deepEqual(now.map((content) => content.key), [long.key]);
      const id = await host.tab.evaluate(() => window.shoal.peer.id);
      assert.notEqual(id, host.id);
      await other.tab.waitFor(async (before, id) => {
        const here = (await window.shoal.peer.peers()).map((peer) => peer.id);
        return !here.includes(before) && (await window.shoal.peer.catalog(id)).length === 1;
      }, { args: [host.id, id], what: 'one peer in the place of the other' });
      // A tab that comes now is one of them.
      const late = await openPeer(browser, site, server, { options, beside: host, until: t });
      assert.equal(late.id, id);
      assert.deepEqual((await late.contents()).map((content) => content.key), [long.key]);
      // And it works as any other.
      const again = await host.publish({ name: 'gone', size: 3 * MIB, seed: 5 });
      assert.equal(again.key, key);
      assert.equal(await guest.sha256(key), await host.sha256(key));
      assert.equal(await late.sha256(key), await host.sha256(key));
      assert.equal((await guest.events('error')).length, 1);
      for (const { tab } of [host, guest, late, other]) tab.assertClean();
    });
  }

  test(`${name}: a window that keeps nothing says so where the browser does`, async (t) => {
    // Its contexts are what private windows are.
    const own = await openPeer(browser, site, server, { options: { namespace: 'temporary' }, until: t });
    assert.equal(await own.tab.evaluate(() => window.shoal.peer.temporary), false, 'the browser does not tell');
    const none = await openPeer(browser, site, server, { options: { store: false }, until: t });
    assert.equal(await none.tab.evaluate(() => window.shoal.peer.temporary), true);
  });
}

test('firefox: a private window works, and says that it keeps nothing', async (t) => {
  const browser = await launch('firefox', { until: t, preferences: { 'browser.privatebrowsing.autostart': true } });
  const options = { namespace: 'private' };
  const peer = await openPeer(browser, site, server, { options, context: 'profile', until: t });
  const said = await peer.tab.evaluate(() => window.shoal.peer.temporary);
  const { key } = await peer.publish({ name: 'secret', size: MIB });
  await peer.tab.evaluate(() => window.shoal.peer.close());
  // In the same window it is still there.
  const again = await attachPeer(peer.tab, server, options);
  assert.deepEqual((await again.contents()).map((content) => content.key), [key]);
  assert.equal(again.id, peer.id);
  assert.equal(said, true);
  peer.tab.assertClean();
});
