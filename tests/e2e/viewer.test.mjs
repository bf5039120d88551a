// The page shows a film while it arrives: it is played, sought in, stopped and gone on with.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { BROWSERS, launch } from '../rig/browsers.mjs';
import { openPeer, startBlankSite } from '../rig/peers.mjs';
import { startServer } from '../rig/server.mjs';
import { DURATION, video } from '../rig/video.mjs';

const NAME = 'film.webm';
/** Bytes a second: some three times what the film needs, so that all of it takes a while. */
const RATE = 1_000_000;

const suite = { after };
const server = await startServer([], { until: suite });
const elsewhere = await startBlankSite(suite);
const film = await video();

for (const name of BROWSERS) {
  test(`${name}: a film is played and sought in while it arrives, and stops arriving when it is stopped`, async (t) => {
    const browser = await launch(name, { until: t });
    const options = { namespace: `viewer-${name}`, uploadLimit: RATE };
    const source = await openPeer(name === 'chromium' ? browser : await launch('chromium', { until: t }), elsewhere, server, { options, until: t });
    await source.tab.evaluate(() => document.body.append(Object.assign(document.createElement('input'), { type: 'file' })));
    await (await source.tab.page.$('input')).uploadFile(film);
    const { key, size } = await source.tab.evaluate((name) => window.shoal.peer.publish(document.querySelector('input').files[0], { type: 'video/webm', name }), NAME);

    const tab = await browser.open(`${server.url}/?namespace=viewer-${name}`, { until: t });
    const press = async (action) => {
      const label = `[aria-label="${action} ${NAME}"]`;
      await tab.waitFor((label) => document.querySelector(label)?.checkVisibility(), { args: [label], what: label });
      await tab.evaluate((label) => document.querySelector(label).click(), label);
    };
    await tab.evaluate(() => {
      for (const type of ['loadeddata', 'seeked', 'error']) addEventListener(type, () => window.dispatchEvent(new Event('rig')), true);
    });
    const isShown = () => {
      const shown = document.querySelector('#held-rows video');
      if (shown?.error) throw new Error(shown.error.message);
      return shown && shown.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA && !shown.seeking;
    };
    /** The chunk map as it is drawn: for each of its cells whether anything of it is there. */
    const map = () => tab.evaluate(async () => {
      const { palette } = await import('/colours.js');
      const canvas = document.querySelector('#held-rows .piece-map');
      const { width, height } = canvas;
      const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
      const colourAt = (x, y) => [...data.subarray(4 * (y * width + x), 4 * (y * width + x) + 4)].join();
      const probe = new OffscreenCanvas(1, 1).getContext('2d');
      probe.fillStyle = palette().empty;
      probe.fillRect(0, 0, 1, 1);
      const empty = probe.getImageData(0, 0, 1, 1).data.join();
      const blank = '0,0,0,0';
      /** Where something begins that is drawn. */
      const begins = (length, at) => Array.from({ length }, (_, i) => i).filter((i) => at(i) !== blank && (i === 0 || at(i - 1) === blank));
      const rows = begins(height, (y) => colourAt(1, y));
      return rows.flatMap((y) => begins(width, (x) => colourAt(x, y + 1)).map((x) => colourAt(x + 1, y + 1) !== empty));
    });
    const held = () => tab.evaluate(() => Number.parseInt(document.querySelector('#held-rows .chunks summary').textContent, 10));
    const all = Math.ceil(size / 262_144);
    await press('Fetch');
    await press('Play');
    await tab.waitFor(isShown, { what: 'the first picture' });
    // A cell for each chunk. The second that is sought lies between two of them.
    const before = await map();
    assert.equal(before.length, all, 'the map has a cell for each chunk');
    const at = Math.floor((50 / DURATION) * all);
    const around = (cells) => cells.slice(at - 3, at + 8).filter(Boolean).length;
    assert.ok(around(before) < 6, `${around(before)} of 11 chunks there before anybody goes there`);
    await tab.evaluate(() => Object.assign(document.querySelector('#held-rows video'), { muted: true, currentTime: 50 }));
    await tab.waitFor(isShown, { what: 'the picture sought' });
    assert.ok(await held() < all * 0.8, `${await held()} of ${all} chunks were there when it was shown`);
    await tab.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    const sought = await map();
    assert.ok(around(sought) > around(before), `the map jumps: ${around(before)} of 11 chunks there before, ${around(sought)} after`);

    // The player does not go on fetching it behind the person's back.
    await press('Stop');
    assert.equal(await tab.evaluate(() => document.querySelector('video')), null);
    await source.tab.waitFor(async () => {
      setTimeout(() => window.dispatchEvent(new Event('rig')), 100);
      return (await window.shoal.peer.peers()).every(({ link }) => !link?.sendRate);
    }, { what: 'nothing that is sent any more' });
    assert.equal(await tab.evaluate(() => document.querySelector('#held-rows > li').dataset.state), 'partial');
    const there = await held();
    assert.ok(there < all, `${there} of ${all} chunks`);

    await press('Play');
    await source.tab.evaluate(() => window.shoal.peer.setLimits({}));
    await tab.waitFor(() => document.querySelector('#held-rows > li[data-state=held]'), { what: 'all of it' });
    await press('Close');
    assert.equal(await tab.evaluate(() => document.querySelector('#held-rows > li').dataset.state), 'held');
    await source.tab.waitFor(async (key, size) => {
      const [{ id }] = await window.shoal.peer.peers();
      return (await window.shoal.peer.catalog(id)).find((content) => content.key === key)?.held === size;
    }, { args: [key, size], what: 'that it is offered' });
    // So Firefox calls it when a player gives up a response to ask for another range.
    tab.assertClean({ except: name === 'firefox' ? [/A ServiceWorker intercepted the request/] : [] });
  });
}
