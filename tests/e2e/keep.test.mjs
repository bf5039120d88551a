// What was begun is ended: browsers killed half-way, servers restarted, sources gone, a file
// larger than a hundred megabytes.

import { blake3 } from '@noble/hashes/blake3.js';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { after, test } from 'node:test';
import { BROWSERS, launch, temporaryProfile } from '../rig/browsers.mjs';
import { attachPeer, openPeer } from '../rig/peers.mjs';
import { startServer } from '../rig/server.mjs';
import { startSite } from '../rig/site.mjs';

const MIB = 1024 * 1024;
const PAGE = '<!doctype html><html lang="en"><title>Test</title><input type="file">';
const site = await startSite({ pages: { '/': PAGE }, until: { after } });
const open = (browser, server, options, extra) => openPeer(browser, site, server, { options, context: 'profile', ...extra });

for (const name of BROWSERS) {
  test(`${name}: a browser killed half-way goes on where it was`, async (t) => {
    const server = await startServer([], { until: t });
    const source = await launch('chromium', { until: t });
    const publisher = await openPeer(source, site, server, { until: t, options: { uploadLimit: 8 * MIB } });
    const { key, size } = await publisher.publish({ name: 'interrupted', size: 32 * MIB });

    const profile = await temporaryProfile();
    const first = await launch(name, { profile, until: t });
    const fetcher = await open(first, server);
    await fetcher.start(key);
    await fetcher.tab.waitFor((key, least) => window.shoal.progress[key]?.held >= least, { args: [key, 8 * MIB] });
    await first.kill();

    // Nobody sends anything until it is known what is there.
    await server.kill();
    const second = await launch(name, { profile, until: t });
    const tab = await second.open(site.url, { context: 'profile' });
    const stored = await tab.evaluate(countStored);
    await server.restart();
    await tab.evaluate(countReads, server.url);
    const alone = await attachPeer(tab, server, { rendezvous: null });
    assert.equal(alone.id, fetcher.id, 'the identity is kept');
    const before = (await alone.contents()).find((content) => content.key === key);
    assert.ok(before.held >= 4 * MIB && before.held < size, `${before.held} bytes were kept`);
    assert.equal(before.held, stored * MIB / 4, 'what is announced is what can be read');
    assert.equal(await tab.evaluate(() => window.chunksRead), 0, 'nothing is read to be hashed anew');
    await tab.evaluate(() => window.shoal.peer.close());
    const resumed = await attachPeer(tab, server);
    await resumed.start(key);
    await resumed.finished(key);
    const { held, [publisher.id]: came, ...others } = await resumed.chunks(key);
    assert.deepEqual(others, {});
    assert.equal(held + came, size / (MIB / 4), 'only what was missing came, and what was there is told of');
    assert.ok(held >= stored);
    assert.equal(await resumed.sha256(key), await publisher.sha256(key));
  });
}

/** In the page: the number of chunks in the store. */
function countStored() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open('shoal');
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const database = opening.result;
      const counting = database.transaction('places').objectStore('places').count();
      counting.onsuccess = () => { database.close(); resolve(counting.result); };
    };
  });
}

/** In the page: has its engine tell of every chunk it reads. */
function countReads(url) {
  const Plain = window.Worker;
  const source = `
    const { read } = FileSystemSyncAccessHandle.prototype;
    FileSystemSyncAccessHandle.prototype.read = function (into, options) {
      new BroadcastChannel('reads').postMessage(options.at);
      return read.call(this, into, options);
    };
    await import(${JSON.stringify(`${url}/shoal/worker.js`)});
  `;
  window.chunksRead = 0;
  window.reads = new BroadcastChannel('reads');
  window.reads.onmessage = () => { window.chunksRead += 1; };
  window.Worker = class extends Plain {
    constructor(_, how) {
      super(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })), how);
    }
  };
}

test('a fetch whose source goes waits, says so, and goes on when it is back', async (t) => {
  const server = await startServer([], { until: t });
  const profile = await temporaryProfile();
  let source = await launch('chromium', { profile, until: t });
  let publisher = await open(source, server, { uploadLimit: 8 * MIB });
  const { key } = await publisher.publish({ name: 'comes back', size: 24 * MIB });
  const expected = await publisher.sha256(key);
  const browser = await launch('firefox', { until: t });
  const fetcher = await openPeer(browser, site, server, { until: t });
  await fetcher.start(key);
  await fetcher.tab.waitFor((key, least) => window.shoal.progress[key]?.held >= least, { args: [key, 4 * MIB] });
  await source.kill();
  await fetcher.tab.waitFor((key) => window.shoal.progress[key]?.state === 'waiting', { args: [key], timeout: 60_000 });
  source = await launch('chromium', { profile, until: t });
  publisher = await open(source, server);
  await fetcher.finished(key);
  assert.equal(await fetcher.sha256(key), expected);
});

test('a fetch that finds the disk full waits, says so, and goes on when there is room', async (t) => {
  const server = await startServer([], { until: t });
  const browser = await launch('chromium', { until: t, profile: await temporaryProfile() });
  const publisher = await openPeer(browser, site, server, { until: t });
  const { key } = await publisher.publish({ name: 'too large', size: 24 * MIB });
  const tab = await browser.open(site.url, { context: 'profile' });
  const session = await tab.page.createCDPSession();
  const { origin } = new URL(site.url);
  // Only a limit that is set before the store is opened is noticed in time.
  await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 8 * MIB });
  const fetcher = await attachPeer(tab, server);
  await fetcher.start(key);
  await fetcher.tab.waitFor((key) => window.shoal.progress[key]?.reason === 'quota', { args: [key], timeout: 60_000 });
  await session.send('Storage.overrideQuotaForOrigin', { origin });
  await fetcher.finished(key);
  assert.equal(await fetcher.sha256(key), await publisher.sha256(key));
});

test('a rendezvous that restarts is joined again, and fetches do not notice', async (t) => {
  const server = await startServer([], { until: t });
  const browser = await launch('chromium', { until: t });
  const publisher = await openPeer(browser, site, server, { until: t, options: { uploadLimit: 6 * MIB } });
  const fetcher = await openPeer(browser, site, server, { until: t });
  const { key } = await publisher.publish({ name: 'steady', size: 24 * MIB });
  await fetcher.start(key);
  await fetcher.tab.waitFor((key, least) => window.shoal.progress[key]?.held >= least, { args: [key, 2 * MIB] });
  await server.kill();
  await fetcher.waitForState('offline');
  const { held } = await fetcher.tab.evaluate((key) => window.shoal.progress[key], key);
  await fetcher.tab.waitFor((key, least) => window.shoal.progress[key]?.held > least, { args: [key, held] });
  await server.restart();
  await Promise.all([publisher.waitForState('online'), fetcher.waitForState('online')]);
  await fetcher.finished(key);
  assert.equal(await fetcher.sha256(key), await publisher.sha256(key));
  const late = await openPeer(browser, site, server, { until: t });
  await late.start(key);
  await late.finished(key);
});

test('a file of more than a hundred megabytes arrives with its BLAKE3 sum', async (t) => {
  const server = await startServer([], { until: t });
  const library = path.join(execFileSync('rustc', ['--print', 'sysroot']).toString().trim(), 'lib');
  const name = (await readdir(library)).find((file) => file.startsWith('librustc_driver'));
  const file = path.join(library, name);
  const { size } = await stat(file);
  assert.ok(size > 100e6, `${size} bytes`);

  const source = await launch('chromium', { until: t, profile: await temporaryProfile() });
  const publisher = await open(source, server);
  const input = await publisher.tab.page.$('input');
  await input.uploadFile(file);
  const content = await publisher.tab.evaluate(() => {
    const [file] = document.querySelector('input').files;
    return window.shoal.peer.publish(file, { name: file.name });
  });
  const [hash, sha256] = [blake3.create(), createHash('sha256')];
  for await (const part of createReadStream(file, { highWaterMark: MIB })) {
    hash.update(part);
    sha256.update(part);
  }
  assert.equal(content.key, keyOf(hash.digest()));

  const browser = await launch('firefox', { until: t, profile: await temporaryProfile() });
  const fetcher = await open(browser, server);
  await fetcher.fetch(content.key, 300_000);
  const [held] = await fetcher.contents();
  assert.deepEqual([held.key, held.held, held.name], [content.key, size, name]);
  assert.equal(await fetcher.sha256(content.key), sha256.digest('hex'), 'and the bytes are those of the file');
});

/** The content key of a BLAKE3 hash: CIDv1, codec raw, in base32. */
function keyOf(hash) {
  let bits = '';
  for (const byte of [0x01, 0x55, 0x1e, 0x20, ...hash]) bits += byte.toString(2).padStart(8, '0');
  const digits = bits.match(/.{1,5}/g).map((five) => Number.parseInt(five.padEnd(5, '0'), 2));
  return `b${digits.map((digit) => 'abcdefghijklmnopqrstuvwxyz234567'[digit]).join('')}`;
}
