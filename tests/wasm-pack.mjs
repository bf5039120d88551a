// What `wasm-pack build peer-wasm --target web` makes, in place of the package's own engine:
// the two share a file across browsers. `cargo xtask test --part wasm-pack` runs it.

import assert from 'node:assert/strict';
import { cpSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { BROWSERS, launch, root, target } from './rig/browsers.mjs';
import { startServer } from './rig/server.mjs';
import { startSite } from './rig/site.mjs';

const folder = path.join(target, 'wasm-pack-site');

rmSync(folder, { recursive: true, force: true });
cpSync(path.join(root, 'peer-wasm/js'), folder, { recursive: true });
cpSync(path.join(target, 'wasm-pack'), path.join(folder, 'engine'), { recursive: true });
const engine = './engine/shoal_peer_wasm.js';
writeFileSync(path.join(folder, 'shoal_peer.js'), `export * from '${engine}';\nexport { default } from '${engine}';\n`);

test('an engine that wasm-pack built shares with another, across browsers', async (t) => {
  const site = await startSite({ folder, pages: { '/': '<!doctype html><title>wasm-pack</title>' }, until: t });
  const server = await startServer([], { until: t });
  const tabs = [];
  for (const name of BROWSERS) {
    const browser = await launch(name, { until: t });
    const tab = await browser.open(site.url);
    await tab.evaluate(async (rendezvous) => {
      const { Peer } = await import('/index.js');
      globalThis.peer = await Peer.open({ namespace: 'wasm-pack', rendezvous });
    }, server.url);
    tabs.push(tab);
  }
  const [chromium, firefox] = tabs;
  const key = await chromium.evaluate(async () => (await globalThis.peer.publish('built by wasm-pack', { name: 'a.txt' })).key);
  const read = await firefox.evaluate(async (key) => {
    const transfer = await globalThis.peer.fetch(key, { timeout: 20_000 });
    return transfer.text();
  }, key);
  assert.equal(read, 'built by wasm-pack');
  for (const tab of tabs) {
    await tab.evaluate(() => globalThis.peer[Symbol.asyncDispose]());
    tab.assertClean();
  }
});
