// What the store may hold: the cap, pins, clearing, a full disk, and what was damaged there or
// cannot be read.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { BROWSERS, launch, temporaryProfile } from '../rig/browsers.mjs';
import { attachPeer, openPeer } from '../rig/peers.mjs';
import { startServer } from '../rig/server.mjs';
import { startSite } from '../rig/site.mjs';

const MIB = 1024 * 1024;
const PAGE = '<!doctype html><html lang="en"><title>Test</title>';
const site = await startSite({ pages: { '/': PAGE, '/bare': PAGE }, until: { after } });

/** A server, and a browser with a publisher of contents of so many MiB each. */
async function scene(name, t, sizes, flags = {}) {
  const server = await startServer([], { until: t });
  const browser = await launch(name, { until: t, profile: await temporaryProfile(), ...flags });
  const publisher = await openPeer(browser, site, server, { until: t });
  const contents = [];
  for (const [at, size] of sizes.entries()) {
    contents.push(await publisher.publish({ name: `content ${at}`, size: size * MIB, seed: at + 1 }));
  }
  return { server, browser, publisher, keys: contents.map(({ key }) => key), contents };
}

const estimate = (peer) => peer.tab.evaluate(() => window.shoal.peer.storage.estimate());
const heldKeys = async (peer) => (await peer.contents()).filter(({ size, held }) => size === held).map(({ key }) => key);

function waitsForRoom(peer, key) {
  return peer.tab.waitFor((key) => {
    const { state, reason } = window.shoal.progress[key] ?? {};
    return state === 'waiting' && reason === 'quota';
  }, { args: [key], timeout: 60_000, what: 'a fetch that waits for room' });
}

for (const name of BROWSERS) {
  test(`${name}: what may go makes room, what is pinned stays, and a fetch goes on when it is let go`, async (t) => {
    const { server, browser, publisher, keys } = await scene(name, t, [4, 4, 4]);
    assert.ok((await publisher.contents()).every(({ pinned }) => pinned), 'what one publishes is pinned');
    const options = { storageLimit: 9 * MIB };
    const fetcher = await openPeer(browser, site, server, { until: t, options });
    for (const key of keys.slice(0, 2)) await fetcher.fetch(key);
    assert.deepEqual([(await estimate(fetcher)).held, (await estimate(fetcher)).limit], [8 * MIB, 9 * MIB]);
    assert.ok((await fetcher.contents()).every(({ pinned }) => !pinned), 'what one fetches is not');
    await fetcher.tab.evaluate((key) => window.shoal.peer.pin(key), keys[0]);
    // What was used just now stays as well.
    await fetcher.start(keys[2]);
    await waitsForRoom(fetcher, keys[2]);
    assert.deepEqual((await heldKeys(fetcher)).sort(), keys.slice(0, 2).sort());
    await fetcher.tab.evaluate((key) => window.shoal.peer.remove(key), keys[1]);
    await fetcher.finished(keys[2], 10_000);
    assert.equal(await fetcher.sha256(keys[2]), await publisher.sha256(keys[2]));

    // Uses are kept: in another session the older one goes, and what is pinned still does not.
    await fetcher.tab.evaluate(() => window.shoal.peer.close());
    await fetcher.tab.evaluate((last) => new Promise((resolve, reject) => {
      const opening = indexedDB.open('shoal');
      opening.onerror = () => reject(opening.error);
      opening.onsuccess = () => {
        const database = opening.result;
        const transaction = database.transaction('contents', 'readwrite');
        const records = transaction.objectStore('contents');
        records.get(last).onsuccess = ({ target }) => { records.put({ ...target.result, used: Date.now() - 60_000 }, last); };
        transaction.oncomplete = () => { database.close(); resolve(); };
      };
    }), keys[2]);
    const again = await attachPeer(fetcher.tab, server, options);
    await again.fetch(keys[1]);
    assert.deepEqual((await heldKeys(again)).sort(), keys.slice(0, 2).sort());
    assert.equal((await again.contents()).find(({ key }) => key === keys[0]).pinned, true);
    fetcher.tab.assertClean();
  });

  test(`${name}: a limit is raised and lowered, and clearing leaves what is pinned`, async (t) => {
    const { server, browser, publisher, keys } = await scene(name, t, [3, 3]);
    const fetcher = await openPeer(browser, site, server, { until: t, options: { storageLimit: 4 * MIB } });
    await fetcher.fetch(keys[0]);
    await fetcher.start(keys[1]);
    await waitsForRoom(fetcher, keys[1]);
    await fetcher.tab.evaluate((limit) => {
      window.told = [];
      window.shoal.peer.storage.addEventListener('change', ({ detail }) => window.told.push(detail));
      return window.shoal.peer.storage.setLimit(limit);
    }, 8 * MIB);
    await fetcher.finished(keys[1], 10_000);
    const told = await fetcher.tab.evaluate(() => window.told);
    assert.equal(told[0].limit, 8 * MIB);
    assert.equal(told.at(-1).held, 6 * MIB);
    await fetcher.tab.evaluate((key) => window.shoal.peer.pin(key), keys[1]);
    await fetcher.tab.evaluate(() => window.shoal.peer.storage.clear());
    assert.deepEqual(await heldKeys(fetcher), [keys[1]]);
    assert.equal((await estimate(fetcher)).held, 3 * MIB);
    // The publisher hears of it before it is asked for what has gone.
    await publisher.tab.waitFor(async (peer, key) => {
      const offered = await window.shoal.peer.catalog(peer);
      return offered.length === 1 && offered[0].key === key;
    }, { args: [fetcher.id, keys[1]] });
    const errors = await fetcher.tab.evaluate(() => Promise.all([
      window.shoal.peer.storage.setLimit(-1), window.shoal.peer.pin('no key'), window.shoal.peer.pin(7),
      window.shoal.peer.publish('a', { pinned: 'yes' }), window.shoal.peer.fetch('k', { pinned: 1 }),
    ].map((promise) => promise.then(() => 'nothing', (error) => error.code))));
    assert.deepEqual(errors, ['invalid-argument', 'invalid-key', 'invalid-key', 'invalid-argument', 'invalid-argument']);
    fetcher.tab.assertClean();
  });

  test(`${name}: a limit that one tab chose holds when the engine moves, also to a tab opened since`, async (t) => {
    const { server, browser, publisher, keys } = await scene(name, t, [3, 3]);
    const options = { storageLimit: 4 * MIB };
    const first = await openPeer(browser, site, server, { until: t, options });
    const second = await openPeer(browser, site, server, { until: t, options, beside: first });
    await first.tab.evaluate((limit) => window.shoal.peer.storage.setLimit(limit), 8 * MIB);
    for (const key of keys) await first.fetch(key);
    const seen = async (peer) => {
      const { held, limit } = await estimate(peer);
      return [held, limit];
    };
    await first.tab.close();
    assert.deepEqual(await seen(second), [6 * MIB, 8 * MIB]);
    const third = await openPeer(browser, site, server, { until: t, options, beside: second });
    await second.tab.close();
    assert.deepEqual(await seen(third), [6 * MIB, 8 * MIB]);
    assert.equal(await third.sha256(keys[0]), await publisher.sha256(keys[0]));
    third.tab.assertClean();
  });

  test(`${name}: what is being read stays when all is cleared, and goes when it is read`, async (t) => {
    const { server, browser, keys } = await scene(name, t, [3, 3]);
    const fetcher = await openPeer(browser, site, server, { until: t });
    for (const key of keys) await fetcher.fetch(key);
    const seen = await fetcher.tab.evaluate(async (key) => {
      const { peer } = window.shoal;
      const left = async () => {
        await peer.storage.clear();
        return (await peer.contents()).map(({ key }) => key);
      };
      const reader = (await peer.fetch(key)).stream().getReader();
      let { value: { length } } = await reader.read();
      const reading = await left();
      for (let part = await reader.read(); !part.done; part = await reader.read()) length += part.value.length;
      return { reading, length, read: await left() };
    }, keys[0]);
    assert.deepEqual(seen, { reading: [keys[0]], length: 3 * MIB, read: [] });
    fetcher.tab.assertClean();
  });

  test(`${name}: storage is estimated, and kept if the browser agrees`, async (t) => {
    const { publisher, server, browser } = await scene(name, t, [1]);
    const seen = await estimate(publisher);
    assert.equal(seen.held, MIB);
    assert.ok(seen.quota > 0 && seen.usage > 0);
    // Of a disk that others write to it is not the same twice.
    assert.ok(Math.abs(seen.limit / seen.quota - 0.5) < 0.01, 'half of the quota');
    assert.equal(seen.persisted, false);
    // What a browser without a person answers is its own affair; that it is asked is ours.
    const asked = await publisher.tab.evaluate(async () => {
      StorageManager.prototype.persist = async () => true;
      return window.shoal.peer.storage.persist();
    });
    assert.equal(asked, true);
    const memory = await openPeer(browser, site, server, { until: t, options: { store: false } });
    const small = await memory.tab.evaluate(async () => {
      const { storage } = window.shoal.peer;
      StorageManager.prototype.persist = () => { throw new Error('nobody is to be asked'); };
      return [(await storage.estimate()).limit, await storage.persist(), await storage.persisted()];
    });
    assert.deepEqual(small, [256 * MIB, false, false]);
  });

  test(`${name}: what was damaged in the store is fetched again`, async (t) => {
    const { server, browser, publisher, keys } = await scene(name, t, [2, 2, 2]);
    let fetcher = await openPeer(browser, site, server, { until: t });
    for (const key of keys) await fetcher.fetch(key);
    await fetcher.tab.evaluate(() => window.shoal.peer.close());
    await fetcher.tab.evaluate(damage, keys);
    fetcher = await attachPeer(fetcher.tab, server);
    const error = await fetcher.tab.waitFor(() => window.shoal.events.find(({ type }) => type === 'error'));
    assert.ok(error);
    const [told] = await fetcher.events('error');
    assert.equal(told.code, 'store-failed');
    assert.match(told.message, new RegExp(`The record of ${keys[0]} .* damaged`));
    // A truncated file, a damaged proof: reading repairs both.
    for (const key of keys.slice(1)) assert.equal(await fetcher.sha256(key), await publisher.sha256(key));
    await fetcher.fetch(keys[0]);
    assert.equal(await fetcher.sha256(keys[0]), await publisher.sha256(keys[0]));
    assert.deepEqual((await heldKeys(fetcher)).sort(), [...keys].sort());
  });
}

for (const name of BROWSERS) {
  test(`${name}: a store that a newer version made is left as it is, and one beside it is used`, async (t) => {
    const { server, browser, publisher, keys: [key] } = await scene(name, t, [2]);
    const made = await openPeer(browser, site, server, { until: t });
    const { tab } = made;
    await made.fetch(key);
    const close = () => tab.evaluate(() => window.shoal.peer.close());
    await close();
    const before = await tab.evaluate(dump, 4);
    // Both times it is told; the second time what the first one fetched is there.
    let peer;
    for (const holds of [0, 1]) {
      const { id } = peer ?? {};
      peer = await attachPeer(tab, server);
      await tab.waitFor(() => window.shoal.events.some(({ type }) => type === 'error'));
      const [{ code, message }] = await peer.events('error');
      assert.equal(code, 'store-failed');
      assert.match(message, /newer version/);
      assert.notEqual(peer.id, made.id);
      assert.equal(peer.id, id ?? peer.id);
      assert.equal((await peer.contents()).length, holds);
      await peer.fetch(key);
      assert.equal(await peer.sha256(key), await publisher.sha256(key));
      await close();
    }
    assert.ok(before === await tab.evaluate(dump), 'not a row of it is another');
    // The version that made it finds it, and its files.
    await tab.evaluate(dump, 3);
    peer = await attachPeer(tab, server, { rendezvous: null });
    assert.equal(peer.id, made.id);
    assert.equal(await peer.sha256(key), await publisher.sha256(key));
    assert.deepEqual(await peer.events('error'), []);
    // Firefox writes down that a page which is loaded anew had a connection under way.
    tab.assertClean({ except: [/ws:\/\/127\.0\.0\.1:\d+\/v1\/socket/] });
  });

  test(`${name}: an identity that cannot be read is told, and the peer has another`, async (t) => {
    const { server, publisher: made, keys } = await scene(name, t, [1]);
    await made.tab.evaluate(() => window.shoal.peer.close());
    await made.tab.evaluate(dump, 3, 'identity');
    const peer = await attachPeer(made.tab, server);
    await made.tab.waitFor(() => window.shoal.events.some(({ type }) => type === 'error'));
    const [{ code, message }] = await peer.events('error');
    assert.equal(code, 'store-failed');
    assert.match(message, /identity/);
    assert.notEqual(peer.id, made.id);
    assert.deepEqual(await heldKeys(peer), keys);
  });
}

/** In the page: what is in the database, once it has this format, and of a store nothing readable. */
async function dump(format, damaged) {
  const finished = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const database = await finished(indexedDB.open('shoal'));
  const transaction = database.transaction([...database.objectStoreNames], 'readwrite');
  if (format) transaction.objectStore('meta').put(format, 'format');
  if (damaged) transaction.objectStore(damaged).put({}, 'self');
  const rows = await Promise.all([...database.objectStoreNames].map(async (name) => {
    const store = transaction.objectStore(name);
    return [name, await finished(store.getAllKeys()), await finished(store.getAll())];
  }));
  database.close();
  return JSON.stringify(rows);
}

/** In the page: damages the record of one content, the file of another, the proof of a third. */
async function damage([record, file, proof]) {
  const finished = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const database = await finished(indexedDB.open('shoal'));
  const transaction = database.transaction(['contents', 'proofs'], 'readwrite');
  const [contents, proofs] = ['contents', 'proofs'].map((store) => transaction.objectStore(store));
  const { slot } = await finished(contents.get(file));
  contents.put({ slot: -1 }, record);
  proofs.put(new Uint8Array(40), proof);
  await new Promise((resolve) => { transaction.oncomplete = resolve; });
  database.close();
  let folder = await navigator.storage.getDirectory();
  for (const inner of ['shoal', 'shoal']) folder = await folder.getDirectoryHandle(inner);
  const handle = await folder.getFileHandle(String(slot));
  const writable = await handle.createWritable({ keepExistingData: true });
  await writable.write({ type: 'write', position: 70, data: 'damaged' });
  await writable.truncate(700_000);
  await writable.close();
}

test('chromium: a large blob for which there is no room on the disk is refused, and not made in memory', async (t) => {
  const server = await startServer([], { until: t });
  const browser = await launch('chromium', { until: t, profile: await temporaryProfile() });
  const peer = await openPeer(browser, site, server, { context: 'profile', until: t });
  const { key } = await peer.publish({ name: 'large', size: 65 * MIB });
  const session = await peer.tab.page.createCDPSession();
  await session.send('Storage.overrideQuotaForOrigin', { origin: new URL(site.url).origin, quotaSize: 80 * MIB });
  const told = await peer.tab.evaluate(async (key) => {
    const { code } = await (await window.shoal.peer.fetch(key)).blob().catch((error) => error);
    const left = [];
    for await (const name of (await (await navigator.storage.getDirectory()).getDirectoryHandle('shoal-blobs')).keys()) left.push(name);
    return { code, left };
  }, key);
  assert.deepEqual(told, { code: 'quota', left: [] });
});

test('firefox: a fetch that finds the disk full waits, and goes on when something is removed', async (t) => {
  const { server, publisher, keys } = await scene('chromium', t, [4, 8]);
  // Of a small disk Firefox gives 10 MiB to a site.
  const browser = await launch('firefox', {
    until: t, profile: await temporaryProfile(), preferences: { 'dom.quotaManager.temporaryStorage.fixedLimit': 20 * 1024 },
  });
  // A limit above what the browser gives, so that it is the browser that says no.
  const options = { storageLimit: 1e12 };
  const fetcher = await openPeer(browser, site, server, { until: t, context: 'profile', options });
  await fetcher.fetch(keys[0]);
  await fetcher.start(keys[1]);
  await waitsForRoom(fetcher, keys[1]);
  assert.deepEqual(await heldKeys(fetcher), [keys[0]], 'nothing goes for it');
  await fetcher.tab.evaluate((key) => window.shoal.peer.remove(key), keys[0]);
  await fetcher.finished(keys[1], 30_000);
  assert.equal(await fetcher.sha256(keys[1]), await publisher.sha256(keys[1]));
});
