// Who answers at the address of a content: a page of its namespace only, first the one that asks
// and none that is frozen, also after the content was removed; and what becomes of a site's own
// service worker.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { ask, askAt, countAsked, openServing, publishFile, readAt, startPlayer, urlOf } from '../rig/addresses.mjs';
import { BROWSERS, launch, target } from '../rig/browsers.mjs';
import { attachPeer, openPeer, startBlankSite } from '../rig/peers.mjs';
import { startProxy } from '../rig/proxy.mjs';
import { startServer } from '../rig/server.mjs';
import { video } from '../rig/video.mjs';

const suite = { after };
const server = await startServer([], { until: suite });
const elsewhere = await startBlankSite(suite);
const site = await startPlayer(suite);
const browsers = {};
for (const name of BROWSERS) browsers[name] = await launch(name, { until: suite });
const { chromium } = browsers;
let namespaces = 0;

/** Longer than what was used counts as in use by itself, in milliseconds. */
const IN_USE = 31_000;

/** Options of peers that are alone with each other. */
function alone() {
  namespaces += 1;
  return { rendezvous: server.url, namespace: `serving-${namespaces}` };
}

/** How `serve` ends, and whose service worker answers for the page then. */
const serve = (peer, options) => peer.tab.evaluate(async (options) => {
  const end = await window.shoal.peer.serve(options).then(() => 'served', ({ code, message }) => `${code}: ${message}`);
  const { active, waiting } = await navigator.serviceWorker.getRegistration();
  const { pathname } = new URL(active.scriptURL);
  return { end, active: pathname, isWaiting: Boolean(waiting) };
}, options);

/** Has a page controlled by a service worker of its own, as sites have one. */
const workOnOwn = (tab, script) => tab.evaluate(async (script) => {
  const controlled = new Promise((resolve) => navigator.serviceWorker.addEventListener('controllerchange', resolve, { once: true }));
  await navigator.serviceWorker.register(script);
  await controlled;
}, script);
const CLAIM = "addEventListener('activate', (event) => event.waitUntil(clients.claim()));";

for (const name of BROWSERS) {
  const browser = browsers[name];

  test(`${name}: what is looked at in a private namespace is in no other, and the server hears nothing of it`, async (t) => {
    const said = [];
    const proxy = await startProxy(server, { until: t, listen: (text) => said.push(text) });
    const options = { rendezvous: proxy.url, secret: await newSecret(browser, t) };
    const friend = await openPeer(chromium, elsewhere, server, { options, until: t });
    const { key, size } = await friend.tab.evaluate(async () => {
      const canvas = Object.assign(document.createElement('canvas'), { width: 1200, height: 1200 });
      const context = canvas.getContext('2d');
      const noise = context.createImageData(1200, 1200);
      for (let at = 0; at < noise.data.length; at += 1) noise.data[at] = at % 4 === 3 ? 255 : Math.random() * 256;
      context.putImageData(noise, 0, 0);
      const picture = await new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
      return window.shoal.peer.publish(picture, { name: 'family.png' });
    });
    const within = await openServing(t, browser, site, options, { onDemand: true });
    const outside = await openServing(t, browser, site, { rendezvous: proxy.url, namespace: 'outside' }, { beside: within, onDemand: true });
    await outside.waitForState('online');
    const url = await urlOf(within, key);
    await within.tab.evaluate((url) => new Promise((resolve, reject) => {
      document.body.append(Object.assign(new Image(), { src: url, onload: resolve, onerror: () => reject(new Error('it is not shown')) }));
    }), url);
    // Who has no peer has all pages asked.
    const visitor = await browser.openBeside(within.tab, site.url, { until: t });
    assert.equal((await askAt(visitor, url)).length, size);
    // What the other page heard before this has had its effects.
    const own = await outside.publish({ name: 'own', size: 1000 });
    assert.equal((await askAt(visitor, await urlOf(outside, own.key))).length, 1000);
    assert.deepEqual((await outside.contents()).map((content) => content.key), [own.key]);
    assert.ok(said.some((text) => text.includes(own.key)), 'what is said to the server is heard');
    assert.ok(!said.some((text) => text.includes(key)), 'the server heard the key');
  });

  test(`${name}: the page that asks for an address answers itself, if it can`, async (t) => {
    const options = alone();
    const one = await openServing(t, browser, site, options);
    const other = await openServing(t, browser, site, options, { beside: one });
    const { key } = await one.publish({ name: 'both have it', size: 1_000_000 });
    await countAsked(other.tab);
    for (let times = 0; times < 3; times += 1) assert.equal((await ask(one, key)).length, 1_000_000);
    assert.equal((await ask(other, key)).length, 1_000_000);
    assert.equal(await other.tab.evaluate(() => window.asked), 1, 'once, by itself');
  });

  test(`${name}: an address without a namespace, or a worker of before, is given what is here`, async (t) => {
    const one = await openServing(t, browser, site, alone());
    const { key } = await one.publish({ name: 'here', size: 300_000 });
    const bare = (await urlOf(one, key)).split('?')[0];
    assert.equal((await askAt(one.tab, bare)).length, 300_000);
    const asOfBefore = (key) => one.tab.evaluate((key) => new Promise((resolve) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = ({ data }) => {
        if (data.content) port1.postMessage({ start: 0, end: data.content.size });
        else if (!data.looks) resolve(data.bytes?.length > 0 ? 'bytes' : data.error?.code);
      };
      const data = { shoal: 'content', key, isNavigation: false };
      navigator.serviceWorker.dispatchEvent(new MessageEvent('message', { data, ports: [port2] }));
    }), key);
    assert.equal(await asOfBefore(key), 'bytes');
    assert.equal(await asOfBefore('bafkr4igjlahlj7wndqh72izh2tb46tvdzplgsk267yehxa5wojw5ymvca'), 'not-held');
  });

  test(`${name}: what was removed is fetched again when it is asked for again`, async (t) => {
    const options = alone();
    const source = await openPeer(chromium, elsewhere, server, { options, until: t });
    const { key } = await source.publish({ name: 'comes again', size: 1_000_000, seed: 3 });
    const peer = await openServing(t, browser, site, options);
    const hash = await source.sha256(key);
    assert.equal((await ask(peer, key, { hash: true })).sha256, hash);
    await peer.tab.evaluate((key) => window.shoal.peer.remove(key), key);
    assert.equal((await ask(peer, key, { hash: true })).sha256, hash);
    peer.tab.assertClean();
  });

  test(`${name}: a site's own service worker stays, whatever it is asked to give way to`, async (t) => {
    const pages = { '/own.js': CLAIM, '/app/own.js': CLAIM, '/app/': '<!doctype html><html lang="en"><title>App</title>' };
    const own = await startPlayer(t, pages);
    const peer = await attachPeer(await browser.open(own.url, { until: t }), own, alone());
    await workOnOwn(peer.tab, '/own.js');
    const { end, ...left } = await serve(peer);
    assert.match(end, /^unsupported: .*\/own\.js is the one here: import/);
    assert.deepEqual(left, { active: '/own.js', isWaiting: false });
    // It answers for this page alone: the registration that is asked for would be another.
    const app = await attachPeer(await browser.open(`${own.url}/app/`, { until: t }), own, alone());
    await workOnOwn(app.tab, '/app/own.js');
    assert.match((await serve(app)).end, /^unsupported: .*\/app\/own\.js is the one here/);
  });

  test(`${name}: a site's own service worker that imports the package's answers, and decides when it is replaced`, async (t) => {
    const pages = { '/own.js': `${CLAIM} importScripts('/shoal/sw.js');` };
    const own = await startPlayer(t, pages);
    const peer = await attachPeer(await browser.open(own.url, { until: t }), own, alone());
    const served = { end: 'served', active: '/own.js', isWaiting: false };
    assert.deepEqual(await serve(peer, { worker: '/own.js' }), served);
    const { key } = await peer.publish({ name: 'here', size: 1000 });
    assert.equal((await ask(peer, key)).length, 1000);
    pages['/own.js'] += ' // A later one.';
    await updated(peer.tab);
    for (let times = 0; times < 2; times += 1) {
      assert.deepEqual(await serve(peer, { worker: '/own.js' }), { ...served, isWaiting: true });
      assert.equal((await ask(peer, key)).length, 1000);
    }
  });

  test(`${name}: the package's own service worker gives way to a later one at once`, async (t) => {
    const pages = { '/sw.js': readFileSync(path.join(target, 'site/shoal/sw.js'), 'utf8') };
    const own = await startPlayer(t, pages);
    const peer = await attachPeer(await browser.open(own.url, { until: t }), own, alone());
    assert.equal((await serve(peer, { worker: '/sw.js' })).end, 'served');
    const { key } = await peer.publish({ name: 'here', size: 1000 });
    pages['/sw.js'] += ' // A later one.';
    await updated(peer.tab);
    const replaced = peer.tab.evaluate(() => new Promise((resolve) => {
      navigator.serviceWorker.addEventListener('controllerchange', () => resolve('replaced'), { once: true });
    }));
    assert.equal((await serve(peer, { worker: '/sw.js' })).end, 'served');
    assert.equal(await replaced, 'replaced');
    assert.equal((await ask(peer, key)).length, 1000);
  });
}

test('chromium: a page that is frozen while it sends leaves that to another, and sends again when it thaws', async (t) => {
  const options = alone();
  const { source, content: { key } } = await publishFile(t, chromium, { site: elsewhere, server }, { ...options, uploadLimit: 4_000_000 }, await video(), 'video/webm');
  const first = await openServing(t, chromium, site, options);
  await first.start(key);
  const reader = await chromium.openBeside(first.tab, site.url, { until: t });
  await readAt(reader, await urlOf(first, key));
  await reader.waitFor(() => window.got > 1_000_000);
  const second = await openServing(t, chromium, site, options, { beside: first });
  const session = await first.tab.page.createCDPSession();
  await session.send('Page.setWebLifecycleState', { state: 'frozen' });
  assert.equal(await reader.evaluate(() => window.reading), await source.sha256(key));
  assert.equal(await reader.evaluate(() => window.broken), 0);
  // Nor is it waited for by who asks anew.
  const url = await urlOf(second, key);
  assert.equal((await askAt(reader, url, { headers: { Range: 'bytes=0-3' } })).status, 206);
  await session.send('Page.setWebLifecycleState', { state: 'active' });
  await second.tab.close();
  assert.equal((await askAt(reader, url, { headers: { Range: 'bytes=0-3' } })).status, 206);
});

test('chromium: what is read at an address stays when room is needed, however long the reader rests', async (t) => {
  const options = alone();
  const source = await openPeer(chromium, elsewhere, server, { options, until: t });
  const [film, other] = [await source.publish({ name: 'film', size: 2_000_000, seed: 8 }), await source.publish({ name: 'other', size: 2_000_000, seed: 9 })];
  const peer = await openServing(t, chromium, site, { ...options, storageLimit: 3_000_000 });
  const hash = await source.sha256(film.key);
  const url = await urlOf(peer, film.key);
  assert.equal((await askAt(peer.tab, url, { hash: true })).sha256, hash);
  await peer.tab.evaluate(async (url, rest) => {
    const response = await fetch(url);
    window.parts = [];
    window.reader = response.body.getReader();
    window.parts.push((await window.reader.read()).value);
    await new Promise((resolve) => setTimeout(resolve, rest));
  }, url, IN_USE);
  await peer.start(other.key);
  await peer.tab.waitFor((key) => window.shoal.progress[key]?.reason === 'quota', { args: [other.key], what: 'no room' });
  const read = await peer.tab.evaluate(async () => {
    for (let part = await window.reader.read(); !part.done; part = await window.reader.read()) window.parts.push(part.value);
    const bytes = await crypto.subtle.digest('SHA-256', await new Blob(window.parts).arrayBuffer());
    return [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  });
  assert.equal(read, hash);
});

/** Has a service worker looked for again, until a later one waits. */
async function updated(tab) {
  await tab.evaluate(async () => {
    const registration = await navigator.serviceWorker.getRegistration();
    const { installing } = await registration.update();
    await new Promise((resolve) => {
      if (registration.waiting) resolve();
      else installing.addEventListener('statechange', () => { if (registration.waiting) resolve(); });
    });
  });
}

/** A secret, as the package makes it. */
async function newSecret(browser, t) {
  const tab = await browser.open(elsewhere.url, { until: t });
  return tab.evaluate(async (url) => (await import(`${url}/shoal/index.js`)).createSecret(), server.url);
}
