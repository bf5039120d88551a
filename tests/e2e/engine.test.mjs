// The engine wherever it runs and whatever becomes of it: in tabs that are closed, in
// workers that trap or are gone, in the page itself, on an origin without HTTPS.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { BROWSERS, launch } from '../rig/browsers.mjs';
import { attachPeer, openPeer, startBlankSite } from '../rig/peers.mjs';
import { startServer } from '../rig/server.mjs';

const MIB = 1024 * 1024;
/** A name that is not of this machine: a page of it has no locks and no WebCrypto. */
const PLAIN = 'plain.test';
/** What the package and the browser write when a module traps. */
const TRAP = [/the engine crashed/, /unreachable/, /out of bounds/, /closure from previous WASM instance/];

const suite = { after };
const server = await startServer([], { until: suite });
const site = await startBlankSite(suite);
const browsers = {};
for (const name of BROWSERS) {
  browsers[name] = await launch(name, {
    until: suite,
    flags: [`--host-resolver-rules=MAP ${PLAIN} 127.0.0.1`],
    preferences: { 'network.dns.localDomains': PLAIN },
  });
}

for (const name of BROWSERS) {
  const browser = browsers[name];
  const options = (rest) => ({ namespace: `engine-${name}`, ...rest });
  const open = (t, { beside, ...rest } = {}) => openPeer(browser, site, server, { options: options(rest), beside, until: t });
  const atLeast = (peer, key, held) => peer.tab.waitFor(
    (key, held) => window.shoal.progress[key]?.held >= held, { args: [key, held], what: `${held} bytes` });

  test(`${name}: a fetch goes on when the tab of its engine is closed`, async (t) => {
    const publisher = await open(t, { uploadLimit: 8 * MIB });
    const { key, size } = await publisher.publish({ name: 'closed', size: 24 * MIB, seed: 11 });
    const host = await open(t);
    const guest = await open(t, { beside: host });
    assert.equal(guest.id, host.id, 'one engine, one identity');
    await guest.start(key);
    await atLeast(guest, key, 4 * MIB);
    await host.tab.close();
    await guest.finished(key);
    assert.equal(await guest.sha256(key), await publisher.sha256(key));
    const { held, [publisher.id]: came } = await guest.chunks(key);
    assert.equal((held ?? 0) + came, size / (MIB / 4), 'each chunk was told of once');
    assert.deepEqual(await guest.events('error'), []);
    guest.tab.assertClean();
  });

  test(`${name}: a fetch goes on when its engine traps, and when its worker is gone`, async (t) => {
    const publisher = await open(t, { uploadLimit: 8 * MIB });
    const { key } = await publisher.publish({ name: 'trapped', size: 24 * MIB, seed: 12 });
    const tab = await browser.open(site.url, { until: t });
    await tab.evaluate(spoilWorkers, server.url);
    const fetcher = await attachPeer(tab, server, options());
    await fetcher.start(key);
    const crashes = (count) => tab.waitFor(
      (count) => window.shoal.events.filter(({ code }) => code === 'engine-crashed').length === count,
      { args: [count], what: `${count} crashes` },
    );
    await atLeast(fetcher, key, 4 * MIB);
    await tab.evaluate(() => window.engines.at(-1).postMessage('trap'));
    await crashes(1);
    await atLeast(fetcher, key, 10 * MIB);
    await tab.evaluate(() => window.engines.at(-1).terminate());
    await crashes(2);
    await fetcher.finished(key);
    assert.equal(await fetcher.sha256(key), await publisher.sha256(key));
    assert.equal((await fetcher.contents())[0].held, 24 * MIB);
    tab.assertClean({ except: TRAP });
  });

  test(`${name}: large contents are published several at a time`, async (t) => {
    const publisher = await open(t);
    const sizes = [40 * MIB, 24 * MIB + 1, 9 * MIB];
    const contents = await Promise.all(sizes.map((size, seed) => publisher.publish({ name: `${seed}`, size, seed: 20 + seed })));
    assert.deepEqual(contents.map(({ held }) => held), sizes);
    assert.equal((await publisher.contents()).length, 3);
    publisher.tab.assertClean();
  });

  test(`${name}: the engine works in the page, and starts again there after a trap`, async (t) => {
    const publisher = await open(t, { worker: false, uploadLimit: 8 * MIB });
    const { key } = await publisher.publish({ name: 'in the page', size: 12 * MIB, seed: 13 });
    const fetcher = await open(t, { worker: false });
    await fetcher.start(key);
    await atLeast(fetcher, key, 3 * MIB);
    await fetcher.tab.evaluate(async (url) => {
      const { Engine } = await import(`${url}/shoal/shoal_peer.js`);
      // An engine where there is no memory: reading that is a trap.
      const nowhere = Object.assign(Object.create(Engine.prototype), { __wbg_ptr: 0xffff_fff0 });
      setTimeout(() => nowhere.abort(0, 0));
    }, server.url);
    await fetcher.tab.waitFor(() => window.shoal.events.some(({ code }) => code === 'engine-crashed'));
    await fetcher.finished(key);
    assert.equal(await fetcher.sha256(key), await publisher.sha256(key));
    const workers = await fetcher.tab.evaluate(() => performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('worker.js')).length);
    assert.equal(workers, 0);
    publisher.tab.assertClean();
    fetcher.tab.assertClean({ except: TRAP });
  });

  test(`${name}: on an origin without HTTPS each peer is someone else, in memory, and shares`, async (t) => {
    const url = new URL(site.url);
    url.hostname = PLAIN;
    const openPlain = async () => attachPeer(await browser.open(url.href, { until: t }), server, options());
    const publisher = await openPlain();
    const fetcher = await openPlain();
    assert.equal(await fetcher.tab.evaluate(() => isSecureContext), false);
    const { key } = await publisher.publish({ name: 'plain', size: MIB + 1, seed: 14 });
    await fetcher.fetch(key);
    assert.equal((await fetcher.contents())[0].held, MIB + 1);
    const second = await fetcher.tab.evaluate(async (url) => {
      const { Peer } = await import(`${url}/shoal/index.js`);
      const peer = await Peer.open({ namespace: 'elsewhere', rendezvous: null });
      const seen = { id: peer.id, contents: await peer.contents() };
      await peer.close();
      return seen;
    }, server.url);
    assert.notEqual(second.id, fetcher.id);
    assert.deepEqual(second.contents, []);
    assert.equal(await fetcher.tab.evaluate(async () => (await indexedDB.databases()).length), 0);
    for (const peer of [publisher, fetcher]) peer.tab.assertClean();
  });
}

test('with a cap on uploads a second fetcher gets a good part from each of two sources', async (t) => {
  const open = (browser) => openPeer(browser, site, server, { options: { namespace: 'capped', uploadLimit: 4 * MIB }, until: t });
  const publisher = await open(browsers.chromium);
  const { key, size } = await publisher.publish({ name: 'capped', size: 16 * MIB, seed: 15 });
  const first = await open(browsers.chromium);
  await first.fetch(key);
  const second = await open(browsers.firefox);
  await second.fetch(key);
  const sources = await second.chunks(key);
  const chunks = size / (MIB / 4);
  for (const { id } of [publisher, first]) {
    assert.ok(sources[id] >= chunks / 5, `${JSON.stringify(sources)} of ${chunks} chunks`);
  }
});

test('a fetch keeps to its limit, rests, and its link is told of', async (t) => {
  const LIMIT = 2 * MIB;
  const open = (options) => openPeer(browsers.chromium, site, server, { options: { namespace: 'limits', ...options }, until: t });
  const publisher = await open();
  const { key, size } = await publisher.publish({ name: 'limited', size: 24 * MIB, seed: 17 });
  const fetcher = await open({ downloadLimit: LIMIT });
  await fetcher.start(key);
  const atLeast = (held) => fetcher.tab.waitFor(
    (key, held) => window.shoal.progress[key]?.held >= held && performance.now(), { args: [key, held], what: `${held} bytes` });
  const start = await atLeast(2 * MIB);
  const end = await atLeast(8 * MIB);
  const rate = 6 * MIB / (end - start) * 1000;
  assert.ok(rate > 0.7 * LIMIT && rate < 1.3 * LIMIT, `${rate} bytes a second`);
  const paused = await fetcher.tab.evaluate(async (key) => {
    const { peer, transfers } = window.shoal;
    await transfers[key].pause();
    await peer.setLimits({});
    return (await peer.contents())[0].held;
  }, key);
  await fetcher.tab.waitFor((key) => window.shoal.progress[key].state === 'paused', { args: [key] });
  const link = await fetcher.tab.evaluate(async () => (await window.shoal.peer.peers())[0].link);
  assert.equal(link.connections, 1);
  assert.ok(link.received >= paused && link.received < paused + 4 * MIB, JSON.stringify([link, paused]));
  await fetcher.tab.evaluate((key) => window.shoal.transfers[key].resume(), key);
  await fetcher.finished(key);
  const { sent } = await publisher.tab.evaluate(async () => (await window.shoal.peer.peers())[0].link);
  assert.ok(sent >= size && sent < size + 4 * MIB, `${sent} bytes were sent for ${size}`);
  assert.equal(await fetcher.sha256(key), await publisher.sha256(key));
});

test('what matches a rule is fetched by itself, within the budget', async (t) => {
  const open = (replicate) => openPeer(browsers.chromium, site, server, { options: { namespace: 'rule', replicate }, until: t });
  const publisher = await open();
  const fitting = await publisher.publish({ name: 'fits', type: 'image/png', size: MIB, seed: 1 });
  await publisher.publish({ name: 'too large', type: 'image/png', size: 3 * MIB, seed: 2 });
  await publisher.publish({ name: 'other type', type: 'text/plain', size: 10, seed: 3 });
  const last = await publisher.publish({ name: 'small', type: 'image/gif', size: 10, seed: 4 });
  const replica = await open({ match: { type: 'image/' }, budget: 2 * MIB });
  await replica.tab.waitFor(async () => {
    const contents = await window.shoal.peer.contents();
    return contents.length === 2 && contents.every(({ held, size }) => held === size);
  }, { what: 'two contents' });
  const keys = (await replica.contents()).map(({ key }) => key).sort();
  assert.deepEqual(keys, [fitting.key, last.key].sort());
  assert.equal((await replica.events('transfer')).length, 2);
});

/** Runs in the page: its engines get a worker that traps when it is told to. */
function spoilWorkers(url) {
  const Plain = window.Worker;
  const trap = [0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 116, 0, 0, 10, 5, 1, 3, 0, 0, 11];
  const source = `
    import ${JSON.stringify(`${url}/shoal/worker.js`)};
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(${JSON.stringify(trap)})));
    addEventListener('message', ({ data }) => { if (data === 'trap') exports.t(); });
  `;
  window.engines = [];
  window.Worker = class extends Plain {
    constructor(_, how) {
      super(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })), how);
      window.engines.push(this);
    }
  };
}
