// Contents at addresses: what `<img>`, `<video>`, `fetch` and downloads get of a content while
// it still arrives, and what a hostile one does not.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { ask, countAsked, openServing, publishFile, readAt, startPlayer, urlOf } from '../rig/addresses.mjs';
import { BROWSERS, launch } from '../rig/browsers.mjs';
import { downloaded, downloadsTo } from '../rig/downloads.mjs';
import { openPeer, startBlankSite } from '../rig/peers.mjs';
import { startServer } from '../rig/server.mjs';
import { DURATION, video } from '../rig/video.mjs';

const suite = { after };
const server = await startServer([], { until: suite });
const elsewhere = await startBlankSite(suite);
const film = await video();
const filmSize = readFileSync(film).length;
const site = await startPlayer(suite);
const folder = mkdtempSync(path.join(os.tmpdir(), 'shoal-download-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const chromium = await launch('chromium', { until: suite });
const firefox = await launch('firefox', { until: suite, preferences: downloadsTo(folder) });
const browsers = { chromium, firefox };
let namespaces = 0;

/** Options of peers that are alone with each other. */
function alone() {
  namespaces += 1;
  return { rendezvous: server.url, namespace: `addresses-${namespaces}` };
}

/** Publishes the film from another site. */
const publishFilm = (t, options) => publishFile(t, chromium, { site: elsewhere, server }, options, film, 'video/webm');

/** Follows a link, as a person does. */
const follow = (tab, url) => tab.evaluate((url) => {
  const anchor = Object.assign(document.createElement('a'), { href: url });
  document.body.append(anchor);
  anchor.click();
}, url);

/** A page that was read from lets go of all it was asked for, by workers that were stopped too. */
const leavesNothing = (peer) => peer.tab.waitFor(() => window.asked > 0 && window.ended === window.asked, { what: 'the end of all that was sent' });

for (const name of BROWSERS) {
  const browser = browsers[name];

  test(`${name}: an address gives the bytes, whole and in parts`, async (t) => {
    const options = alone();
    const source = await openPeer(chromium, elsewhere, server, { options, until: t });
    const size = 3_000_001;
    const { key } = await source.publish({ name: 'Größe "1".bin', size, seed: 5, type: 'application/x-noise' });
    const peer = await openServing(t, browser, site, options);
    const whole = await ask(peer, key, { hash: true });
    assert.equal(whole.status, 200);
    assert.equal(whole.sha256, await source.sha256(key));
    assert.equal(whole.headers['content-type'], 'application/x-noise');
    assert.equal(whole.headers['content-length'], String(size));
    assert.equal(whole.headers['accept-ranges'], 'bytes');
    assert.equal(whole.headers.etag, `"${key}"`);
    assert.equal(whole.headers['content-disposition'], `attachment; filename="Gr__e _1_.bin"; filename*=UTF-8''Gr%C3%B6%C3%9Fe%20_1_.bin`);

    const bytesAt = (start, end) => source.tab.evaluate(async (key, start, end) => {
      const transfer = await window.shoal.peer.fetch(key);
      return [...await transfer.read({ start, end })];
    }, key, start, end);
    for (const [range, start, end] of [
      ['bytes=0-3', 0, 4], ['bytes=262142-262145', 262_142, 262_146], [`bytes=${size - 4}-`, size - 4, size],
      ['bytes=-4', size - 4, size], [`bytes=${size - 4}-${size + 100}`, size - 4, size],
    ]) {
      const part = await ask(peer, key, { headers: { Range: range } });
      assert.equal(part.status, 206, range);
      assert.equal(part.headers['content-range'], `bytes ${start}-${end - 1}/${size}`);
      assert.deepEqual(part.first, await bytesAt(start, end), range);
      assert.equal(part.length, end - start);
    }
    const past = await ask(peer, key, { headers: { Range: `bytes=${size}-` } });
    assert.deepEqual([past.status, past.headers['content-range']], [416, `bytes */${size}`]);
    for (const odd of ['bytes=-', 'bytes=5-2', 'bytes=0-1,5-6', 'lines=1-2', 'bytes=a-b']) {
      const all = await ask(peer, key, { headers: { Range: odd } });
      assert.deepEqual([all.status, all.length], [200, size], odd);
    }
    const other = await ask(peer, key, { headers: { Range: 'bytes=0-3', 'If-Range': '"another"' } });
    assert.deepEqual([other.status, other.length], [200, size]);
    const head = await ask(peer, key, { method: 'HEAD' });
    assert.deepEqual([head.status, head.length, head.headers['content-length']], [200, 0, String(size)]);
    assert.equal((await ask(peer, key, { method: 'DELETE' })).status, 405);
    peer.tab.assertClean({ except: [/405|416/] });
  });

  test(`${name}: a content that can act as the site is given no occasion to`, async (t) => {
    const options = alone();
    const peer = await openServing(t, browser, site, options);
    const publish = (text, type) => peer.tab.evaluate(async (text, type) => {
      const { key } = await window.shoal.peer.publish(text, { type, name: 'hostile' });
      return window.shoal.peer.url(key);
    }, text, type);
    const attack = 'window.top.attacked = true; globalThis.attacked = true;';
    const html = await publish(`<!doctype html><script>${attack}</script>`, 'text/html');
    const script = await publish(attack, 'text/javascript');
    const svg = await publish(`<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><script>${attack}</script></svg>`, 'image/svg+xml');
    const result = await peer.tab.evaluate(async (html, script, svg, attack) => {
      const type = async (url) => {
        const { headers } = await fetch(url);
        return [headers.get('content-type'), headers.get('content-disposition').split(';')[0], headers.get('x-content-type-options')];
      };
      const loads = (element) => new Promise((resolve) => {
        element.onload = () => resolve(true);
        element.onerror = () => resolve(false);
        document.body.append(element);
      });
      const { key } = await window.shoal.peer.publish(`${attack} `, { type: 'text/plain' });
      const plain = window.shoal.peer.url(key);
      const frame = document.createElement('iframe');
      frame.src = plain;
      await loads(frame);
      let opened = 'blocked';
      try {
        opened = frame.contentWindow.document ? 'open' : 'blocked';
      } catch { /* It is another origin. */ }
      return {
        html: await type(html),
        script: await type(script),
        svg: await type(svg),
        imported: await import(script).then(() => true, () => false),
        scripted: await loads(Object.assign(document.createElement('script'), { src: script })),
        plainScripted: await loads(Object.assign(document.createElement('script'), { src: plain })),
        drawn: await loads(Object.assign(new Image(), { src: svg })),
        opened,
        attacked: globalThis.attacked ?? false,
      };
    }, html, script, svg, attack);
    const bytes = ['application/octet-stream', 'attachment', 'nosniff'];
    assert.deepEqual(result, {
      html: bytes, script: bytes, svg: ['image/svg+xml', 'attachment', 'nosniff'],
      imported: false, scripted: false, plainScripted: false, drawn: true, opened: 'blocked', attacked: false,
    });
  });

  test(`${name}: a video plays and is sought in while it arrives`, async (t) => {
    const options = alone();
    const { source, content } = await publishFilm(t, { ...options, uploadLimit: 1_000_000 });
    const peer = await openServing(t, browser, site, options);
    await peer.start(content.key);
    await peer.tab.evaluate((key) => {
      const video = Object.assign(document.createElement('video'), { src: window.shoal.peer.url(key), muted: true, preload: 'auto' });
      document.querySelector('main').append(video);
      window.video = video;
      for (const type of ['loadeddata', 'seeked', 'error', 'ended', 'timeupdate']) video.addEventListener(type, () => window.dispatchEvent(new Event('rig')));
    }, content.key);
    const ready = () => {
      if (window.video.error) throw new Error(window.video.error.message);
      return window.video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA && !window.video.seeking;
    };
    await peer.tab.waitFor(ready, { what: 'the first picture' });
    assert.equal(Math.round(await peer.tab.evaluate(() => window.video.duration)), DURATION);

    const held = await peer.tab.evaluate(() => { window.video.currentTime = 50; return window.shoal.chunks[Object.keys(window.shoal.chunks)[0]].length; });
    const chunks = Math.ceil(filmSize / 262_144);
    assert.ok(held < chunks / 2, `${held} of ${chunks} chunks are held when it is sought in`);
    await peer.tab.waitFor(ready, { what: 'the picture sought' });
    const { played, last } = await peer.tab.evaluate(async (key) => {
      const before = window.shoal.chunks[key].length;
      await window.video.play();
      return { played: !window.video.paused, last: before };
    }, content.key);
    assert.ok(played);
    assert.ok(last < chunks / 2, `it played when ${last} of ${chunks} chunks were there`);
    await source.tab.evaluate(() => window.shoal.peer.setLimits({}));
    await peer.finished(content.key);
    assert.equal(await peer.sha256(content.key), await source.sha256(content.key));
  });

  test(`${name}: who reads on demand is sent what it reads`, async (t) => {
    const options = alone();
    // What is read ahead, in each of three places, follows the rate.
    const { content } = await publishFilm(t, { ...options, uploadLimit: 4_000_000 });
    const peer = await openServing(t, browser, site, options, { onDemand: true });
    const part = await ask(peer, content.key, { headers: { Range: 'bytes=10000000-10000003' } });
    assert.equal(part.status, 206);
    const stalled = await peer.tab.evaluate(async (key) => {
      const response = await fetch(window.shoal.peer.url(key));
      const reader = response.body.getReader();
      const { value } = await reader.read();
      // Some round trips, in which all of it would come.
      const transfer = await window.shoal.peer.fetch(key, { onDemand: true });
      await transfer.read({ start: 12_000_000, end: 12_000_001 });
      await transfer.read({ start: transfer.content.size - 1 });
      const [{ held }] = await window.shoal.peer.contents();
      await reader.cancel();
      return { first: value.length, held };
    }, content.key);
    assert.ok(stalled.first > 0);
    assert.ok(stalled.held < filmSize / 2 + 8e6, `${stalled.held} of ${filmSize} bytes came`);
  });

  test(`${name}: when the page that sends goes, another one goes on`, async (t) => {
    const options = alone();
    const { content } = await publishFilm(t, { ...options, uploadLimit: 4_000_000 });
    const first = await openServing(t, browser, site, options);
    await first.start(content.key);
    const reader = await browser.openBeside(first.tab, site.url, { until: t });
    await readAt(reader, await urlOf(first, content.key));
    await reader.waitFor(() => window.got > 1_000_000);
    const second = await openServing(t, browser, site, options, { beside: first });
    await first.tab.close();
    const hash = await reader.evaluate(() => window.reading);
    assert.equal(hash, await second.sha256(content.key));
    assert.equal(await reader.evaluate(() => window.broken), 0);
  });

  test(`${name}: an address nobody can answer says why`, async (t) => {
    const options = alone();
    const peer = await openServing(t, browser, site, options);
    const { key } = await peer.publish({ name: 'here', size: 1000, type: 'text/plain' });
    const unknown = `${key.slice(0, -6)}aaaaaa`;
    const url = await peer.tab.evaluate((key) => window.shoal.peer.url(key), key);
    // A link from anywhere fetches nothing.
    const visitor = await browser.openBeside(peer.tab, undefined, { until: t });
    const response = await visitor.page.goto(url.replace(key, unknown)).catch((error) => error);
    if (name === 'chromium') assert.equal(response.status(), 404);
    assert.match(await visitor.evaluate(() => document.body.textContent), /not held in this browser/);
    await visitor.page.goto(url);
    assert.equal(await visitor.evaluate(() => origin), 'null', 'documents are sandboxed');
    await peer.tab.evaluate(() => window.shoal.peer.close());
    const gone = await visitor.page.goto(url).catch((error) => error);
    if (name === 'chromium') assert.equal(gone.status(), 503);
    assert.match(await visitor.evaluate(() => document.body.textContent), /No page of this site has a Shoal peer open/);
  });
}

test('chromium: a service worker that is stopped in the middle costs nothing', async (t) => {
  const options = alone();
  const { content } = await publishFilm(t, { ...options, uploadLimit: 3_000_000 });
  const peer = await openServing(t, chromium, site, options);
  await peer.start(content.key);
  const session = await peer.tab.page.createCDPSession();
  const versions = [];
  session.on('ServiceWorker.workerVersionUpdated', ({ versions: now }) => versions.push(...now));
  await session.send('ServiceWorker.enable');
  await peer.tab.evaluate(async (key) => {
    const video = Object.assign(document.createElement('video'), { src: window.shoal.peer.url(key), muted: true, playbackRate: 4 });
    document.querySelector('main').append(video);
    window.video = video;
    for (const type of ['timeupdate', 'ended', 'error']) video.addEventListener(type, () => window.dispatchEvent(new Event('rig')));
    await video.play();
  }, content.key);
  await peer.tab.waitFor(() => window.video.currentTime > 2);
  await session.send('ServiceWorker.stopAllWorkers');
  await peer.tab.waitFor((until) => {
    if (window.video.error) throw new Error(window.video.error.message);
    return window.video.ended || window.video.currentTime > until;
  }, { args: [DURATION - 1], timeout: 90_000, what: 'the end of the video' });
  assert.ok(versions.some(({ runningStatus }) => runningStatus === 'stopped'), 'it was stopped');
});

test('chromium: a response that a stopped service worker broke off is taken up by a range, and leaves nothing', async (t) => {
  const options = alone();
  const { source, content } = await publishFilm(t, { ...options, uploadLimit: 3_000_000 });
  const peer = await openServing(t, chromium, site, options);
  await peer.start(content.key);
  const session = await peer.tab.page.createCDPSession();
  const states = new Map();
  const stopped = new Promise((resolve) => session.on('ServiceWorker.workerVersionUpdated', ({ versions }) => {
    for (const { versionId, runningStatus } of versions) {
      if (runningStatus === 'stopped' && states.has(versionId)) resolve();
      if (runningStatus !== 'stopped') states.set(versionId, runningStatus);
    }
  }));
  await session.send('ServiceWorker.enable');
  await countAsked(peer.tab);
  await readAt(peer.tab, await urlOf(peer, content.key));
  await peer.tab.waitFor(() => window.got > 2_000_000);
  for (const versionId of states.keys()) await session.send('ServiceWorker.stopWorker', { versionId });
  await stopped;
  assert.equal(await peer.tab.evaluate(() => window.reading), await source.sha256(content.key));
  assert.equal(await peer.tab.evaluate(() => window.broken), 1, 'it was broken off');
  await leavesNothing(peer);
});

test('firefox: a response that a stopped service worker broke off is taken up by a range, and leaves nothing', async (t) => {
  // Nothing else stops one there.
  const impatient = { 'dom.serviceWorkers.idle_timeout': 1000, 'dom.serviceWorkers.idle_extended_timeout': 1000 };
  const browser = await launch('firefox', { until: t, preferences: impatient });
  const options = alone();
  const { source, content } = await publishFilm(t, { ...options, uploadLimit: 3_000_000 });
  const peer = await openServing(t, browser, site, options);
  await peer.start(content.key);
  await countAsked(peer.tab);
  await readAt(peer.tab, await urlOf(peer, content.key));
  assert.equal(await peer.tab.evaluate(() => window.reading), await source.sha256(content.key));
  assert.ok(await peer.tab.evaluate(() => window.broken) > 0, 'it was broken off');
  await leavesNothing(peer);
});

for (const name of BROWSERS) {
  test(`${name}: a download has the name and the bytes of the content`, async (t) => {
    const options = alone();
    const { source, content } = await publishFilm(t, { ...options, uploadLimit: 8_000_000 });
    const peer = await openServing(t, browsers[name], site, options);
    await peer.start(content.key);
    if (name === 'chromium') {
      const session = await chromium.puppet.target().createCDPSession();
      await session.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: folder, browserContextId: peer.tab.page.browserContext().id });
    }
    await follow(peer.tab, await urlOf(peer, content.key, { download: true }));
    const file = await downloaded(folder, filmSize);
    assert.equal(path.basename(file), path.basename(film));
    assert.ok(readFileSync(file).equals(readFileSync(film)));
    rmSync(file);
    assert.equal(await source.tab.evaluate(() => window.shoal.peer.state), 'online');
  });

  test(`${name}: a download that is refused leaves the page where it is`, async (t) => {
    const options = alone();
    const peer = await openServing(t, browsers[name], site, options);
    const { key } = await peer.publish({ name: 'here', size: 1000 });
    const url = await urlOf(peer, key, { download: true });
    await peer.tab.evaluate(() => { window.isHere = true; });
    const unknown = url.replace(key, `${key.slice(0, -6)}aaaaaa`);
    const answered = peer.tab.page.waitForResponse(unknown);
    await follow(peer.tab, unknown);
    assert.equal((await answered).status(), 204);
    assert.equal(await peer.tab.evaluate(() => window.isHere), true);
    assert.equal(await peer.tab.evaluate(() => window.shoal.peer.state), 'online');
  });
}
