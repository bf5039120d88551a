// The demo page with the real package: a file goes from one browser to another, as a person
// would do it, and is still there after a reload.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { launch, target, temporaryProfile } from '../rig/browsers.mjs';
import { startServer } from '../rig/server.mjs';

const server = await startServer([], { until: { after } });
const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-demo-'));

const PAIRS = [['chromium', 'chromium'], ['chromium', 'firefox'], ['firefox', 'chromium']];
for (const [one, other] of PAIRS) {
  test(`a file goes from ${one} to ${other} and stays after a reload`, async (t) => {
    const from = await launch(one, { until: t, profile: await temporaryProfile() });
    const to = await launch(other, { until: t, profile: await temporaryProfile() });
    const url = `${server.url}/?namespace=demo-${one}-${other}`;
    const sharer = await from.open(url, { context: 'profile' });
    const fetcher = await to.open(url, { context: 'profile' });
    const name = `"quotes" & <b>markup 🐟.bin`;
    const file = path.join(folder, name);
    await writeFile(file, Buffer.alloc(3_000_000, 'shoal'));

    await sharer.waitFor(() => document.querySelector('#status[data-state=online]'));
    const pick = await sharer.page.waitForSelector('#files');
    await pick.uploadFile(file);
    await sharer.waitForText('dialog', 'namespace');
    await (await sharer.page.waitForSelector('dialog [value=yes]')).click();
    await sharer.waitFor(() => document.querySelector('#held-rows > li[data-state=held]'));

    const label = `[aria-label=${JSON.stringify(`Fetch ${name}`)}]`;
    await fetcher.waitFor((label) => document.querySelector(label), { args: [label], what: 'the offer' });
    await fetcher.evaluate((label) => document.querySelector(label).click(), label);
    await fetcher.waitFor(() => document.querySelector('#held-rows > li[data-state=held]'));
    await fetcher.waitForText('#held-rows', name);

    await fetcher.page.reload({ waitUntil: 'load' });
    await fetcher.waitFor(() => document.querySelector('#held-rows > li[data-state=held]'));
    await fetcher.waitForText('#held-rows', name);
    assert.equal(await fetcher.evaluate(() => document.querySelector('#held-rows b b')), null);
    sharer.assertClean();
    fetcher.assertClean();
    if (one === 'chromium' && other === 'chromium') {
      const pictures = path.join(target, 'screenshots');
      await mkdir(pictures, { recursive: true });
      await fetcher.page.screenshot({ path: path.join(pictures, 'real-1280.png') });
    }
  });
}

test('a page without WebRTC says that it does not run, and promises nothing', async (t) => {
  const browser = await launch('chromium', { until: t });
  const tab = await browser.open(undefined, { until: t });
  await tab.page.evaluateOnNewDocument(() => { delete globalThis.RTCPeerConnection; });
  await tab.goto(server.url);
  await tab.waitForText('.notice', 'This browser has no WebRTC');
  await tab.waitForText('#status', 'Not running');
  await tab.waitForText('#drop', 'Nothing can be shared from here');
  const seen = await tab.evaluate(() => ({
    notices: document.querySelectorAll('.notice').length,
    columns: document.querySelector('#columns').checkVisibility(),
    canPick: !document.querySelector('#pick').disabled,
  }));
  assert.deepEqual(seen, { notices: 1, columns: false, canPick: false });
  tab.assertClean();
});

test('the page says what the server is, and the package is there for any origin', async () => {
  const answer = await fetch(`${server.url}/shoal/index.js`);
  assert.equal(answer.headers.get('access-control-allow-origin'), '*');
  assert.match(await answer.text(), /Peer/);
  const page = await fetch(server.url);
  assert.match(page.headers.get('content-security-policy'), /default-src 'self'/);
  const wasm = await fetch(`${server.url}/shoal/shoal_peer_bg.wasm`);
  assert.equal(wasm.headers.get('content-type'), 'application/wasm');
  const built = await readFile(path.join(target, 'package/shoal/shoal_peer_bg.wasm'));
  assert.equal((await wasm.arrayBuffer()).byteLength, built.length);
});
