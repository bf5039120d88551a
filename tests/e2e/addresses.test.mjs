// Contents at addresses: what `<img>`, `<video>`, `fetch` and downloads get of a content while
// it still arrives, and what a hostile one does not.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { BROWSERS, launch, target } from '../rig/browsers.mjs';
import { attachPeer, openPeer, startBlankSite } from '../rig/peers.mjs';
import { startServer } from '../rig/server.mjs';
import { startSite } from '../rig/site.mjs';
import { DURATION, video } from '../rig/video.mjs';

const suite = { after };
const server = await startServer([], { until: suite });
const elsewhere = await startBlankSite(suite);
const film = await video();
const filmSize = readFileSync(film).length;
/** A site that hosts the package itself, as service workers need it. */
const site = await startSite({
  pages: { '/': '<!doctype html><html lang="en"><title>Player</title><main></main>' },
  folder: path.join(target, 'site'),
  headers: { 'service-worker-allowed': '/' },
  until: suite,
});
const chromium = await launch('chromium', { until: suite });
const firefox = await launch('firefox', { until: suite });
const browsers = { chromium, firefox };
let namespaces = 0;

/** Options of peers that are alone with each other. */
function alone() {
  namespaces += 1;
  return { rendezvous: server.url, namespace: `addresses-${namespaces}` };
}

/** A peer of the site whose contents have addresses. */
async function openServing(t, browser, options, { beside, onDemand = false } = {}) {
  const tab = beside ? await browser.openBeside(beside.tab, site.url, { until: t }) : await browser.open(site.url, { until: t });
  const peer = await attachPeer(tab, site, options);
  await tab.evaluate((onDemand) => window.shoal.peer.serve({ onDemand }), onDemand);
  return peer;
}

/** Publishes a file of the disk from another site. */
async function publishFile(t, options, file, type) {
  const source = await openPeer(chromium, elsewhere, server, { options, until: t });
  await source.tab.evaluate(() => document.body.append(Object.assign(document.createElement('input'), { type: 'file' })));
  const input = await source.tab.page.$('input');
  await input.uploadFile(file);
  const content = await source.tab.evaluate((type) => {
    const [picked] = document.querySelector('input').files;
    return window.shoal.peer.publish(picked, type ? { type } : {});
  }, type);
  return { source, content };
}

/** Asks for an address, as a page does. */
const ask = (peer, key, { headers = {}, method = 'GET', hash = false } = {}) => peer.tab.evaluate(async (key, headers, method, hash) => {
  const response = await fetch(window.shoal.peer.url(key), { headers, method });
  const bytes = new Uint8Array(await response.arrayBuffer());
  const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    length: bytes.length,
    first: [...bytes.subarray(0, 4)],
    text: bytes.length < 500 ? new TextDecoder().decode(bytes) : undefined,
    sha256: hash ? hex(await crypto.subtle.digest('SHA-256', bytes)) : undefined,
  };
}, key, headers, method, hash);

for (const name of BROWSERS) {
  const browser = browsers[name];

  test(`${name}: an address gives the bytes, whole and in parts`, async (t) => {
    const options = alone();
    const source = await openPeer(chromium, elsewhere, server, { options, until: t });
    const size = 3_000_001;
    const { key } = await source.publish({ name: 'Größe "1".bin', size, seed: 5, type: 'application/x-noise' });
    const peer = await openServing(t, browser, options);
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
    const peer = await openServing(t, browser, options);
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
    const { source, content } = await publishFile(t, { ...options, uploadLimit: 1_000_000 }, film, 'video/webm');
    const peer = await openServing(t, browser, options);
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
    const { content } = await publishFile(t, { ...options, uploadLimit: 4_000_000 }, film, 'video/webm');
    const peer = await openServing(t, browser, options, { onDemand: true });
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
    const { content } = await publishFile(t, { ...options, uploadLimit: 4_000_000 }, film, 'video/webm');
    const first = await openServing(t, browser, options);
    await first.start(content.key);
    const reader = await browser.openBeside(first.tab, site.url, { until: t });
    const url = await first.tab.evaluate((key) => window.shoal.peer.url(key), content.key);
    await reader.evaluate(async (url) => {
      const response = await fetch(url);
      window.got = 0;
      window.reading = (async () => {
        const parts = [];
        for await (const part of response.body) {
          parts.push(part);
          window.got += part.length;
          window.dispatchEvent(new Event('rig'));
        }
        const hash = await crypto.subtle.digest('SHA-256', await new Blob(parts).arrayBuffer());
        return [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
      })();
    }, url);
    await reader.waitFor(() => window.got > 1_000_000);
    const second = await openServing(t, browser, options, { beside: first });
    await first.tab.close();
    const hash = await reader.evaluate(() => window.reading);
    assert.equal(hash, await second.sha256(content.key));
  });

  test(`${name}: an address nobody can answer says why`, async (t) => {
    const options = alone();
    const peer = await openServing(t, browser, options);
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
  const { content } = await publishFile(t, { ...options, uploadLimit: 3_000_000 }, film, 'video/webm');
  const peer = await openServing(t, chromium, options);
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

test('chromium: a response that a stopped service worker broke off is taken up by a range', async (t) => {
  const options = alone();
  const { source, content } = await publishFile(t, { ...options, uploadLimit: 3_000_000 }, film, 'video/webm');
  const peer = await openServing(t, chromium, options);
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
  await peer.tab.evaluate((key) => {
    const url = window.shoal.peer.url(key);
    window.parts = [];
    window.got = 0;
    window.broken = 0;
    window.reading = (async () => {
      for (;;) {
        const headers = window.got > 0 ? { Range: `bytes=${window.got}-`, 'If-Range': `"${key}"` } : {};
        const response = await fetch(url, { headers });
        if (response.status !== (window.got > 0 ? 206 : 200)) throw new Error(String(response.status));
        try {
          for await (const part of response.body) {
            window.parts.push(part);
            window.got += part.length;
            window.dispatchEvent(new Event('rig'));
          }
          return;
        } catch {
          window.broken += 1;
        }
      }
    })();
  }, content.key);
  await peer.tab.waitFor(() => window.got > 2_000_000);
  for (const versionId of states.keys()) await session.send('ServiceWorker.stopWorker', { versionId });
  await stopped;
  const { hash, broken } = await peer.tab.evaluate(async () => {
    await window.reading;
    const bytes = await new Blob(window.parts).arrayBuffer();
    const hash = [...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    return { hash, broken: window.broken };
  });
  assert.equal(broken, 1, 'it was broken off');
  assert.equal(hash, await source.sha256(content.key));
});

test('chromium: a download has the name and the bytes of the content', async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'shoal-download-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const options = alone();
  const { source, content } = await publishFile(t, { ...options, uploadLimit: 8_000_000 }, film, 'video/webm');
  const peer = await openServing(t, chromium, options);
  await peer.start(content.key);
  const session = await chromium.puppet.target().createCDPSession();
  await session.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: folder, eventsEnabled: true, browserContextId: peer.tab.page.browserContext().id });
  const begun = new Promise((resolve) => session.once('Browser.downloadWillBegin', resolve));
  const completed = new Promise((resolve, reject) => session.on('Browser.downloadProgress', ({ state }) => {
    if (state === 'completed') resolve();
    if (state === 'canceled') reject(new Error('the download was broken off'));
  }));
  await peer.tab.evaluate((key) => {
    const anchor = Object.assign(document.createElement('a'), { href: window.shoal.peer.url(key, { download: true }) });
    document.body.append(anchor);
    anchor.click();
  }, content.key);
  const { suggestedFilename } = await begun;
  assert.equal(suggestedFilename, path.basename(film));
  await completed;
  assert.deepEqual(readFileSync(path.join(folder, suggestedFilename)).equals(readFileSync(film)), true);
  assert.equal(await source.tab.evaluate(() => window.shoal.peer.state), 'online');
});
