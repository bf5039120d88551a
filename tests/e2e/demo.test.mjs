// The demo page with the real package: a file goes from one browser to another, as a person
// would do it, and is still there after a reload.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { BROWSERS, launch, target, temporaryProfile } from '../rig/browsers.mjs';
import { openPeer, startBlankSite } from '../rig/peers.mjs';
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

for (const name of BROWSERS) {
  test(`${name}: a fetch that the page shows in two tabs is one, and stops where either says so`, async (t) => {
    const browser = await launch(name, { until: t });
    const namespace = `two-tabs-${name}`;
    const source = await openPeer(await launch('chromium', { until: t }), await startBlankSite(t), server, { options: { namespace, uploadLimit: 1_000_000 }, until: t });
    const size = 30_000_000;
    await source.publish({ name: 'slow.bin', size });
    const url = `${server.url}/?namespace=${namespace}`;
    const one = await browser.open(url, { until: t });
    const other = await browser.openBeside(one, url, { until: t });
    // Those that are not in front draw nothing.
    const is = async (tab, state) => {
      await tab.page.bringToFront();
      await tab.waitFor((state) => document.querySelector(`#held-rows > li[data-state=${state}]`), { args: [state], what: `a row that is ${state}` });
    };
    const press = async (tab, action) => {
      const label = `[aria-label="${action} slow.bin"]`;
      await tab.page.bringToFront();
      await tab.waitFor((label) => document.querySelector(label)?.checkVisibility(), { args: [label], what: label });
      await tab.evaluate((label) => document.querySelector(label).click(), label);
    };
    const rests = () => source.tab.waitFor(async () => {
      setTimeout(() => window.dispatchEvent(new Event('rig')), 100);
      return (await window.shoal.peer.peers()).every(({ link }) => !link?.sendRate);
    }, { what: 'nothing that is sent any more' });

    await press(one, 'Fetch');
    for (const tab of [one, other]) await is(tab, 'fetching');
    for (const [tab, begins] of [[one, other], [other, one]]) {
      await press(tab, 'Stop');
      for (const each of [one, other]) await is(each, 'partial');
      await rests();
      await press(begins, 'Go on');
      for (const each of [one, other]) await is(each, 'fetching');
    }
    for (const each of [one, other]) each.assertClean();
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
