// The checks of looks, on pages made to pass and to fail them.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { launch, target } from '../rig/browsers.mjs';
import { looksRight, overflows, show, violations } from '../rig/screenshot.mjs';
import { startSite } from '../rig/site.mjs';

const suite = { after };
const page = (body) => `<!doctype html><html lang="en"><meta name="viewport" content="width=device-width">
  <title>looks</title><style>:root { color-scheme: light dark; } button { transition: background 1s; }</style>
  <main><h1>Looks</h1>${body}</main>`;
const site = await startSite({
  pages: {
    '/good': page('<p>Nothing to see, and it can be seen.</p>'),
    '/wide': page('<div style="width: 600px">wide</div>'),
    '/pale': page('<p style="color: #ccc; background: #fff">pale</p>'),
  },
  until: suite,
});
const chromium = await launch('chromium', { until: suite });

test('a page that holds passes, and leaves four pictures', async (t) => {
  const tab = await chromium.open(`${site.url}/good`, { until: t });
  await looksRight(tab, 'rig');
  const sizes = [360, 1280].flatMap((width) => ['light', 'dark'].map((scheme) => {
    const png = readFileSync(path.join(target, `screenshots/rig-${width}-${scheme}.png`));
    return png.readUInt32BE(16);
  }));
  assert.deepEqual(sizes, [360, 360, 1280, 1280]);
});

test('what is too wide is named, where it is too wide', async (t) => {
  const tab = await chromium.open(`${site.url}/wide`, { until: t });
  await show(tab, 1280, 'light');
  assert.deepEqual(await overflows(tab), []);
  await show(tab, 360, 'light');
  assert.match((await overflows(tab)).join(), /width: 600px/);
  await assert.rejects(looksRight(tab, 'rig-wide'), /360 px, dark: \d+ px wide/);
});

test('what cannot be read is named', async (t) => {
  const tab = await chromium.open(`${site.url}/pale`, { until: t });
  assert.match((await violations(tab)).join(), /color-contrast/);
});
