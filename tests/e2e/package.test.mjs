// The npm package as others use it: from TypeScript, and through a bundler.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { after, test } from 'node:test';
import { build } from 'vite';
import { BROWSERS, launch, root } from '../rig/browsers.mjs';
import { install } from '../rig/installed.mjs';
import { startServer } from '../rig/server.mjs';
import { startSite } from '../rig/site.mjs';

const suite = { after };

test('a page in TypeScript compiles, and what it may not do does not', () => {
  compiles('consumer');
});

test('the code is what its types say', () => {
  compiles('shape');
});

/** Compiles one part of tests/consumer with its settings. */
function compiles(part) {
  const project = install('consumer');
  const tsc = path.join(root, 'tests/node_modules/typescript/bin/tsc');
  const { status, stdout } = spawnSync(process.execPath, [tsc, '--project', `tsconfig.${part}.json`], {
    cwd: project, encoding: 'utf8',
  });
  assert.equal(status, 0, stdout);
}

test('a page bundled by Vite shares with another, across browsers', async (t) => {
  const project = install('vite');
  // Where the page will live is not known, so its files are named relative to each other.
  await build({ root: project, base: './', logLevel: 'error', build: { target: 'esnext' } });
  const site = await startSite({ folder: path.join(project, 'dist'), until: t });
  const server = await startServer([], { until: t });
  const tabs = [];
  for (const name of BROWSERS) {
    const browser = await launch(name, { until: suite });
    const tab = await browser.open(site.url, { until: t });
    await tab.waitFor(() => globalThis.open);
    await tab.evaluate((url) => globalThis.open(url), server.url);
    tabs.push(tab);
  }
  const [chromium, firefox] = tabs;
  const key = await chromium.evaluate(async () => (await globalThis.peer.publish('from a bundle', { name: 'a.txt' })).key);
  const read = await firefox.evaluate(async (key) => {
    const transfer = await globalThis.peer.fetch(key, { timeout: 20_000 });
    return [transfer.content.name, await transfer.text()];
  }, key);
  assert.deepEqual(read, ['a.txt', 'from a bundle']);
  for (const tab of tabs) {
    await tab.evaluate(() => globalThis.peer[Symbol.asyncDispose]());
    tab.assertClean();
  }
});
