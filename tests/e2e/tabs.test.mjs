// One engine for all tabs of a store, whichever of them are closed, frozen, or put aside,
// and whatever becomes of its worker. The engine is a stand-in.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { BROWSERS, launch } from '../rig/browsers.mjs';
import { openFacade, startFacadeSite } from '../rig/facade.mjs';
import { processOf } from '../rig/processes.mjs';

const suite = { after };
const site = await startFacadeSite({ until: suite });
const browsers = {};
for (const name of BROWSERS) browsers[name] = await launch(name, { until: suite });

/** Longer than a tab that is stopped keeps the engine, in milliseconds. */
const BUSY = 3000;

/** What a worker's end makes the browser write to the page's console. */
const TRAP = [/the engine crashed/, /unreachable/];

for (const name of BROWSERS) {
  /** Opens a tab with a peer in it, noting calls from before the engine is asked. */
  const openTab = async (t, beside) => {
    const tab = await openFacade(browsers[name], site, { beside, until: t });
    await tab.evaluate(() => open());
    return tab;
  };
  /** Waits until another engine than `before` was asked this, and says which. */
  const askedAnother = (tab, call, before = []) => tab.waitFor(
    (call, before) => calls.find((each) => each.call === call && !before.includes(each.engine))?.engine,
    { args: [call, before], what: `${call} of an engine other than ${before}` },
  );
  const engines = (tab) => tab.evaluate(() => [...new Set(calls.map(({ engine }) => engine))]);

  test(`${name}: tabs share an engine and see their own fetches`, async (t) => {
    const one = await openTab(t);
    const other = await openTab(t, one);
    const third = await openFacade(browsers[name], site, { until: t });
    const key = 'k700000';
    const ends = await Promise.all([one, other].map((tab) => tab.evaluate(async (key) => {
      globalThis.transfer = await peer.fetch(key);
      return peer.id;
    }, key)));
    assert.equal(ends[0], ends[1]);
    await other.evaluate((key) => order({ do: 'hold', key, chunks: 3 }), key);
    for (const tab of [one, other]) assert.equal((await tab.evaluate(() => transfer.done)).held, 700000);
    // Bytes that are read in one tab do not leave it, and are whole in the other.
    assert.equal(await other.evaluate(async () => (await transfer.text()).length), 700000);
    assert.equal(await third.evaluate(() => calls.length), 0, 'another storage, another engine');
    for (const tab of [one, other]) assert.equal((await engines(tab)).length, 1);
    await other.evaluate(() => peer.close());
    await one.waitFor(() => calls.some(({ call }) => call === 'detach'));
    for (const tab of [one, other]) tab.assertClean();
  });

  test(`${name}: when the engine's tab is closed another takes over, and fetches go on`, async (t) => {
    const host = await openTab(t);
    const guest = await openTab(t, host);
    const key = 'k600000';
    await guest.evaluate(async (key) => {
      globalThis.transfer = await peer.fetch(key);
      globalThis.publishing = outcome(peer.publish('a', { name: 'never' }));
      globalThis.searching = outcome(peer.fetch('never', { timeout: 20_000 }));
    }, key);
    await guest.waitFor(() => calls.filter(({ call }) => call === 'fetch').length === 2);
    const before = await engines(guest);
    await host.close();
    await askedAnother(guest, 'attach', before);
    // What can be repeated is; a publication may have been half read.
    await guest.waitFor((before) => calls.filter(({ call, engine }) => call === 'fetch' && !before.includes(engine)).length === 2, { args: [before] });
    assert.equal((await guest.evaluate(() => publishing)).error.code, 'engine-crashed');
    await guest.evaluate((key) => order({ do: 'hold', key, chunks: 3 }), key);
    assert.equal((await guest.evaluate(() => transfer.done)).held, 600000);
    // It was closed in good order, which is no crash.
    assert.deepEqual(await guest.evaluate(() => events.filter(({ type }) => type === 'error')), []);
    assert.deepEqual(
      await guest.evaluate(() => events.filter(({ type }) => type === 'state').map(({ detail }) => detail.state)),
      ['connecting', 'online'],
    );
    guest.assertClean();
  });

  test(`${name}: limits that one tab chose hold with the engine of another`, async (t) => {
    const host = await openTab(t);
    const guest = await openTab(t, host);
    const late = await openFacade(browsers[name], site, { beside: host, until: t });
    const elsewhere = await openFacade(browsers[name], site, { beside: host, until: t });
    await elsewhere.evaluate(() => open({ namespace: 'elsewhere', uploadLimit: 4e6 }));
    await host.evaluate(async () => {
      await peer.storage.setLimit(5e9);
      await peer.setLimits({ uploadLimit: 3e6 });
    });
    await late.evaluate(() => open({ storageLimit: 1e9, uploadLimit: 9e6 }));
    const before = await engines(guest);
    await host.close();
    const attached = await guest.waitFor((before) => {
      const made = calls.filter(({ call, engine }) => call === 'attach' && !before.includes(engine));
      return made.length >= 3 && made.map(({ args }) => [args.namespace, args.storageLimit, args.uploadLimit]);
    }, { args: [before] });
    assert.deepEqual(attached.sort(), [['elsewhere', 5e9, 4e6], ['public', 5e9, 3e6], ['public', 5e9, 3e6]]);
    for (const tab of [guest, late, elsewhere]) tab.assertClean();

    // And with the next, in a tab that was not there when they were chosen.
    const last = await openFacade(browsers[name], site, { beside: guest, until: t });
    await last.evaluate(() => open({ storageLimit: 1e9 }));
    const known = await engines(last);
    for (const tab of [guest, late, elsewhere]) await tab.close();
    const again = await last.waitFor((known) => {
      const made = calls.filter(({ call, args, engine }) => call === 'attach' && args.namespace === 'public' && !known.includes(engine));
      return made.length > 0 && made.map(({ args }) => [args.storageLimit, args.uploadLimit]);
    }, { args: [known] });
    for (const limits of again) assert.deepEqual(limits, [5e9, 3e6]);
    last.assertClean();
  });

  test(`${name}: what is read is held by each engine, however many crash`, async (t) => {
    const tab = await openTab(t);
    await tab.evaluate(async () => {
      order({ do: 'hold', key: 'k600000', chunks: 3 });
      globalThis.reader = (await peer.fetch('k600000')).stream().getReader();
      await reader.read();
    });
    for (let crash = 0; crash < 4; crash += 1) {
      const before = await engines(tab);
      await tab.evaluate(() => order({ do: 'trap' }));
      await askedAnother(tab, 'hold', before);
    }
    tab.assertClean({ except: TRAP });
  });

  for (const [how, order] of [['traps', 'trap'], ['vanishes', 'vanish'], ['hangs', 'hang']]) {
    test(`${name}: an engine that ${how} is reported and started again, in every tab`, async (t) => {
      const host = await openTab(t);
      const guest = await openTab(t, host);
      const key = 'k600000';
      for (const tab of [host, guest]) await tab.evaluate(async (key) => { globalThis.transfer = await peer.fetch(key); }, key);
      const before = await engines(host);
      // A hidden page has no pulse, and a busy engine no other sign.
      await host.page.bringToFront();
      await host.evaluate((order) => globalThis.order({ do: order }), order);
      for (const tab of [host, guest]) {
        await tab.waitFor(() => events.some(({ type, detail }) => type === 'error' && detail.code === 'engine-crashed'));
        await tab.waitFor(() => peer.state === 'online');
      }
      await askedAnother(host, 'fetch', before);
      await host.evaluate((key) => globalThis.order({ do: 'hold', key, chunks: 3 }), key);
      for (const tab of [host, guest]) {
        assert.equal((await tab.evaluate(() => transfer.done)).held, 600000);
        tab.assertClean({ except: TRAP });
      }
    });
  }

  test(`${name}: a call that crashes each engine is refused in the end`, async (t) => {
    const tab = await openTab(t);
    const end = await tab.evaluate(() => outcome(peer.fetch('trap')));
    assert.equal(end.error.code, 'engine-crashed');
    await tab.waitFor(() => peer.state === 'online');
    assert.deepEqual(await tab.evaluate(() => peer.peers()), []);
    tab.assertClean({ except: TRAP });
  });

  test(`${name}: an engine whose store was taken over leaves, and its clients follow`, async (t) => {
    const tab = await openTab(t);
    const before = await engines(tab);
    await tab.evaluate(() => order({ do: 'supersede' }));
    await askedAnother(tab, 'attach', before);
    await tab.waitFor(() => peer.state === 'online');
    tab.assertClean();
  });

  test(`${name}: an engine whose store is deleted says so in every tab, and another begins anew`, async (t) => {
    const host = await openTab(t);
    const guest = await openTab(t, host);
    await guest.evaluate(async () => { globalThis.transfer = await peer.fetch('k600000'); });
    const before = await engines(guest);
    await guest.evaluate(() => order({ do: 'lose' }));
    for (const tab of [host, guest]) {
      assert.equal(await tab.waitFor(() => events.find(({ type }) => type === 'error')?.detail.code), 'store-failed');
      await tab.waitFor(() => peer.state === 'online');
    }
    // It takes its leave: nobody is to be promised what is gone.
    await guest.waitFor((before) => calls.some(({ call, engine }) => call === 'close' && before.includes(engine)), { args: [before] });
    await askedAnother(guest, 'fetch', before);
    await guest.evaluate(() => order({ do: 'hold', key: 'k600000', chunks: 3 }));
    assert.equal((await guest.evaluate(() => transfer.done)).held, 600000);
    for (const tab of [host, guest]) tab.assertClean();
  });

  test(`${name}: neither a busy page nor a busy engine loses the engine`, async (t) => {
    const host = await openTab(t);
    const guest = await openTab(t, host);
    const before = await engines(guest);
    await guest.page.bringToFront();
    const busy = (milliseconds) => {
      const end = performance.now() + milliseconds;
      while (performance.now() < end);
    };
    await host.evaluate(busy, BUSY);
    await guest.evaluate((milliseconds) => order({ do: 'work', milliseconds }), BUSY);
    // Answered when that is over.
    await guest.evaluate(() => peer.peers());
    assert.deepEqual(await engines(guest), before);
    assert.deepEqual(await guest.evaluate(() => events), []);
    for (const tab of [host, guest]) tab.assertClean();
  });

  test(`${name}: a tab whose process is stopped loses the engine within two seconds`, async (t) => {
    const host = await openTab(t);
    const guest = await openTab(t, host);
    const before = await engines(guest);
    const process = await processOf(browsers[name], host);
    await guest.page.bringToFront();
    const stopped = await guest.evaluate(() => Date.now());
    process.signal('SIGSTOP');
    try {
      await askedAnother(guest, 'attach', before);
      const time = await guest.evaluate((stopped) => Date.now() - stopped, stopped);
      t.diagnostic(`after ${time} ms`);
      assert.ok(time < 2000, `${time} ms`);
    } finally {
      process.signal('SIGCONT');
    }
    await host.waitFor(() => peer.state === 'online');
    assert.deepEqual(await host.evaluate(() => peer.peers()), []);
    for (const tab of [host, guest]) tab.assertClean();
  });

  test(`${name}: tabs of another version are told so`, async (t) => {
    const tab = await openTab(t);
    const other = await openFacade(browsers[name], site, { beside: tab, until: t });
    const mismatch = await other.evaluate(() => new Promise((resolve) => {
      const channel = new BroadcastChannel('shoal:shoal');
      channel.onmessage = ({ data }) => { if (data.type === 'mismatch') resolve(data); };
      channel.postMessage({ shoal: 99, type: 'hello', client: 'later' });
    }));
    assert.deepEqual([mismatch.client, mismatch.shoal], ['later', 2]);

    // And the other way round: this tab's code is the one that does not match.
    const alone = await openFacade(browsers[name], site, { until: t });
    const late = await openFacade(browsers[name], site, { beside: alone, until: t });
    await alone.evaluate(() => {
      // The engine of a later version: it has the lock and does not understand us.
      navigator.locks.request('shoal:host:shoal', () => new Promise(() => {}));
      const channel = new BroadcastChannel('shoal:shoal');
      channel.onmessage = ({ data }) => {
        if (data.type === 'hello') channel.postMessage({ shoal: 99, type: 'mismatch', client: data.client });
      };
    });
    const end = await late.evaluate(() => outcome(Peer.open()));
    assert.equal(end.error.code, 'unsupported');
    assert.match(end.error.message, /version/);
    for (const each of [tab, other, alone, late]) each.assertClean();
  });

  test(`${name}: a page that is put aside lets the engine go, and has one again when it is shown`, async (t) => {
    const tab = await openTab(t);
    const before = await engines(tab);
    await tab.evaluate(async () => {
      globalThis.transfer = await peer.fetch('k600000');
      // As browsers tell a page that goes into the bfcache, which they do not under a driver.
      dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }));
    });
    await tab.waitFor(() => calls.some(({ call }) => call === 'close'));
    assert.equal(await tab.evaluate(() => peer.state), 'connecting');
    await tab.evaluate(() => dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })));
    await askedAnother(tab, 'fetch', before);
    await tab.evaluate(() => order({ do: 'hold', key: 'k600000', chunks: 3 }));
    assert.equal((await tab.evaluate(() => transfer.done)).held, 600000);
    tab.assertClean();
  });
}

test('chromium: a tab that is frozen lets the engine go, and follows when it thaws', async (t) => {
  const openTab = async (beside) => {
    const tab = await openFacade(browsers.chromium, site, { beside, until: t });
    await tab.evaluate(() => open());
    return tab;
  };
  const host = await openTab();
  const guest = await openTab(host);
  const key = 'k600000';
  await guest.evaluate(async (key) => { globalThis.transfer = await peer.fetch(key); }, key);
  const before = await guest.evaluate(() => calls[0].engine);
  const session = await host.page.createCDPSession();
  const frozen = Date.now();
  await session.send('Page.setWebLifecycleState', { state: 'frozen' });
  await guest.waitFor((before) => calls.some(({ call, engine }) => call === 'fetch' && engine !== before), { args: [before] });
  const time = Date.now() - frozen;
  t.diagnostic(`after ${time} ms`);
  assert.ok(time < 1000, `${time} ms: it is let go, and not missed first`);
  await guest.evaluate((key) => order({ do: 'hold', key, chunks: 3 }), key);
  assert.equal((await guest.evaluate(() => transfer.done)).held, 600000);
  await session.send('Page.setWebLifecycleState', { state: 'active' });
  await host.waitFor(() => peer.state === 'online');
  assert.deepEqual(await host.evaluate(() => peer.peers()), []);
  // The old engine wrote nothing and is gone.
  const ids = await Promise.all([host, guest].map((tab) => tab.evaluate(() => peer.id)));
  assert.equal(ids[0], ids[1]);
  guest.assertClean();
});
