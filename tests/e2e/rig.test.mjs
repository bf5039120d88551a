// The rig itself: both browsers start here, tell what goes wrong in a page, and
// connect to each other over WebRTC when nothing but this process passes the signals.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { BROWSERS, launch, temporaryProfile } from '../rig/browsers.mjs';
import { startSite } from '../rig/site.mjs';

const PAGE = `<!doctype html><html lang="en"><title>rig</title><h1>rig</h1><script type="module">
  const connection = new RTCPeerConnection();
  const channel = connection.createDataChannel('rig', { negotiated: true, id: 0 });
  const heard = new Promise((resolve) => { channel.onmessage = ({ data }) => resolve(data); });
  const outbox = new ReadableStream({
    start(out) {
      connection.onicecandidate = ({ candidate }) => candidate ? out.enqueue(candidate.toJSON()) : out.close();
    },
  }).getReader();
  Object.assign(globalThis, {
    async offer() {
      await connection.setLocalDescription(await connection.createOffer());
      return connection.localDescription.toJSON();
    },
    async answer(offer) {
      await connection.setRemoteDescription(offer);
      await connection.setLocalDescription(await connection.createAnswer());
      return connection.localDescription.toJSON();
    },
    accept: (answer) => connection.setRemoteDescription(answer),
    candidate: async () => (await outbox.read()).value ?? null,
    add: (candidate) => connection.addIceCandidate(candidate),
    async talk(words) {
      if (channel.readyState !== 'open') await new Promise((resolve) => { channel.onopen = resolve; });
      channel.send(words);
      return heard;
    },
  });
</script>`;

const suite = { after };
const site = await startSite({ pages: { '/': PAGE }, until: suite });
const browsers = {};
for (const name of BROWSERS) browsers[name] = await launch(name, { until: suite });

/** Carries candidates from one page to the other until there are no more. */
async function carry(from, to) {
  for (;;) {
    const candidate = await from.evaluate(() => globalThis.candidate());
    if (candidate === null) return;
    await to.evaluate((candidate) => globalThis.add(candidate), candidate);
  }
}

for (const [one, other] of [['chromium', 'chromium'], ['firefox', 'firefox'], ['chromium', 'firefox'], ['firefox', 'chromium']]) {
  test(`a channel from ${one} to ${other}`, async (t) => {
    const a = await browsers[one].open(site.url, { until: t });
    const b = await browsers[other].open(site.url, { until: t });
    const offer = await a.evaluate(() => globalThis.offer());
    const answer = await b.evaluate((offer) => globalThis.answer(offer), offer);
    await a.evaluate((answer) => globalThis.accept(answer), answer);
    const carried = Promise.all([carry(a, b), carry(b, a)]);
    const heard = await Promise.all([
      a.evaluate(() => globalThis.talk('from a')),
      b.evaluate(() => globalThis.talk('from b')),
    ]);
    assert.deepEqual(heard, ['from b', 'from a']);
    await carried;
    a.assertClean();
    b.assertClean();
  });
}

for (const name of BROWSERS) {
  test(`${name}: tabs have storage of their own, and share it when opened beside each other`, async (t) => {
    const a = await browsers[name].open(site.url, { until: t });
    const b = await browsers[name].open(site.url, { until: t });
    const c = await browsers[name].openBeside(a, site.url, { until: t });
    await a.evaluate(() => localStorage.setItem('rig', 'a'));
    const seen = await Promise.all([a, b, c].map((tab) => tab.evaluate(() => localStorage.getItem('rig'))));
    assert.deepEqual(seen, ['a', null, 'a']);
  });

  test(`${name}: what goes wrong in a page is seen`, async (t) => {
    const tab = await browsers[name].open(site.url, { until: t });
    tab.assertClean();
    await tab.evaluate(() => {
      console.warn('only a warning');
      setTimeout(() => { throw new Error('planted'); });
      setTimeout(() => document.body.append('thrown'), 0);
    });
    await tab.waitForText('body', 'thrown');
    await tab.evaluate(() => new Promise((resolve) => setTimeout(resolve)));
    assert.throws(() => tab.assertClean(), /planted/);
    tab.assertClean({ except: [/planted/] });
  });

  test(`${name}: a condition is waited for, and named when it does not come`, async (t) => {
    const tab = await browsers[name].open(site.url, { until: t });
    const found = tab.waitFor(() => globalThis.answerToAll);
    await tab.evaluate(() => { globalThis.answerToAll = 42; dispatchEvent(new Event('rig')); });
    assert.equal(await found, 42);
    await assert.rejects(tab.waitFor(() => document.querySelector('#never'), { timeout: 50 }), /#never/);
  });

  test(`${name}: a profile on disk outlives a killed browser`, async (t) => {
    const profile = await temporaryProfile();
    const write = () => new Promise((resolve, reject) => {
      const request = indexedDB.open('rig', 1);
      request.onupgradeneeded = () => request.result.createObjectStore('rig');
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        const transaction = request.result.transaction('rig', 'readwrite', { durability: 'strict' });
        transaction.objectStore('rig').put('kept', 'key');
        transaction.oncomplete = () => resolve();
      };
    });
    const read = () => new Promise((resolve, reject) => {
      const request = indexedDB.open('rig', 1);
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        const get = request.result.transaction('rig').objectStore('rig').get('key');
        get.onsuccess = () => resolve(get.result);
        get.onerror = () => reject(get.error);
      };
    });
    const first = await launch(name, { profile });
    await (await first.open(site.url, { context: 'profile' })).evaluate(write);
    await first.kill();
    const second = await launch(name, { profile, until: t });
    const tab = await second.open(site.url, { context: 'profile' });
    assert.equal(await tab.evaluate(read), 'kept');
  });
}
