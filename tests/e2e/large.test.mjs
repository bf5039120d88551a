// A content larger than what a page may have in memory, on disk profiles: published from a file,
// fetched, read as a stream and saved, in each browser; and what memory that takes.
//
// It has 2 GB, or where CI is set, and time is short, 768 MB; or as many megabytes as SHOAL_LARGE
// says.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, open as openFile, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { after, test } from 'node:test';
import { BROWSERS, launch, target, temporaryProfile } from '../rig/browsers.mjs';
import { attachPeer } from '../rig/peers.mjs';
import { memoryOf } from '../rig/processes.mjs';
import { startServer } from '../rig/server.mjs';
import { startSite } from '../rig/site.mjs';

const MB = 1024 * 1024;
const SIZE = Number(process.env.SHOAL_LARGE ?? (process.env.CI ? 768 : 2048)) * MB;
/** What the browser as a whole may take above what it had, while it reads and saves, in bytes:
 *  buffers of several processes, which are not given back at once. Chromium had 192 MB at most. */
const ABOVE = 256 * MB;
/** What nobody frees lies in Firefox until it collects (519 of 768 MB, 701 of 2,048), so that all
 *  that is seen is that it is less than the content. No person saves so there, where there is no
 *  picker. */
const LAZY = 'firefox, saved through a file handle';
const LAZY_ABOVE = SIZE * 0.75;
const PATIENCE = 900_000;

const suite = { after };
const server = await startServer([], { until: suite });
/** A site that hosts the package and the module that saves, as the page does. */
const site = await startSite({
  pages: { '/': '<!doctype html><html lang="en"><title>Large</title><input type="file">' },
  folder: path.join(target, 'site'),
  headers: { 'service-worker-allowed': '/' },
  until: suite,
});
const folder = await mkdtemp(path.join(target, 'tmp-large-'));
after(() => rm(folder, { recursive: true, force: true }));

const sha256 = async (file) => {
  const hash = createHash('sha256');
  for await (const part of createReadStream(file, { highWaterMark: 4 * MB })) hash.update(part);
  return hash.digest('hex');
};

/** Bytes that nothing makes smaller, in a file. */
async function makeFile() {
  const file = path.join(folder, 'large.bin');
  const handle = await openFile(file, 'w');
  const { randomBytes } = await import('node:crypto');
  for (let at = 0; at < SIZE; at += 16 * MB) await handle.write(randomBytes(Math.min(16 * MB, SIZE - at)));
  await handle.close();
  return file;
}

/** Does it and looks at the memory of the browser meanwhile: what came on top at most. */
async function watched(browser, work) {
  const before = await memoryOf(browser);
  let peak = before;
  let isOver = false;
  const done = work().finally(() => { isOver = true; });
  while (!isOver) {
    peak = Math.max(peak, await memoryOf(browser));
    await Promise.race([done.catch(() => {}), new Promise((resolve) => setTimeout(resolve, 250))]);
  }
  return { value: await done, above: peak - before };
}

test(`${SIZE / MB} MB go from a file over peers to a file, and are never in memory`, { timeout: 3 * PATIENCE }, async (t) => {
  const file = await makeFile();
  const expected = await sha256(file);
  const options = { rendezvous: server.url, namespace: 'large' };
  const source = await launch('chromium', { until: t, profile: await temporaryProfile() });
  const publisher = await attachPeer(await source.open(site.url, { context: 'profile' }), site, options);
  await (await publisher.tab.page.$('input')).uploadFile(file);
  const published = await watched(source, () => publisher.tab.evaluate(() => window.shoal.peer.publish(document.querySelector('input').files[0])));
  const { key } = published.value;
  const above = { 'chromium, published': published.above };

  for (const name of BROWSERS) {
    const browser = await launch(name, { until: t, profile: await temporaryProfile() });
    const tab = await browser.open(site.url, { context: 'profile' });
    const peer = await attachPeer(tab, site, options);
    const step = async (what, work) => {
      const begun = Date.now();
      const { value, above: bytes } = await watched(browser, work);
      above[`${name}, ${what}`] = bytes;
      t.diagnostic(`${name}, ${what}: ${Math.round((Date.now() - begun) / 1000)} s, ${Math.round(bytes / MB)} MB above`);
      tab.assertClean();
      return value;
    };
    await step('fetched', () => peer.fetch(key, PATIENCE));
    await step('streamed', () => peer.tab.evaluate(async (key) => {
      const transfer = await window.shoal.peer.fetch(key);
      let [length, odd] = [0, 0];
      // Firefox collects nothing for seconds.
      const nowhere = new MessageChannel().port1;
      nowhere.close();
      for await (const part of transfer.stream()) {
        length += part.length;
        odd ^= part[0];
        nowhere.postMessage(undefined, [part.buffer]);
      }
      return [length, odd];
    }, key));
    await step('as a blob', () => peer.tab.evaluate(async (key, size) => {
      const blob = await (await window.shoal.peer.fetch(key)).blob();
      if (blob.size !== size) throw new Error(`${blob.size} bytes`);
      window.blob = blob;
      const tail = new Uint8Array(await blob.slice(size - 4).arrayBuffer());
      delete window.blob;
      return [...tail];
    }, key, SIZE));

    // No driver can use the picker: a file of the site's own stands in for the one a person picks.
    await step('saved through a file handle', () => peer.tab.evaluate(async (key) => {
      window.showSaveFilePicker = async () => {
        const folder = await navigator.storage.getDirectory();
        return folder.getFileHandle('picked', { create: true });
      };
      const { save } = await import('/saving.js');
      const [content] = await window.shoal.peer.contents();
      if (!await save(window.shoal.peer, content, false)) throw new Error('it was not saved');
      return key;
    }, key));
    const saved = await peer.tab.evaluate(async () => {
      const folder = await navigator.storage.getDirectory();
      const handle = await folder.getFileHandle('picked');
      const { size } = await handle.getFile();
      delete window.showSaveFilePicker;
      return size;
    });
    assert.equal(saved, SIZE);

    // And as a download, where there is no picker.
    if (name === 'chromium') {
      await peer.tab.evaluate(() => window.shoal.peer.serve());
      const session = await browser.puppet.target().createCDPSession();
      await session.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: folder, eventsEnabled: true });
      const done = new Promise((resolve, reject) => session.on('Browser.downloadProgress', ({ state, filePath }) => {
        if (state === 'completed') resolve(filePath);
        if (state === 'canceled') reject(new Error('the download was broken off'));
      }));
      const names = new Promise((resolve) => session.once('Browser.downloadWillBegin', ({ suggestedFilename }) => resolve(suggestedFilename)));
      await step('downloaded', async () => {
        await peer.tab.evaluate(async () => {
          const { save } = await import('/saving.js');
          const [content] = await window.shoal.peer.contents();
          await save(window.shoal.peer, { ...content, name: 'down.bin' }, true);
        });
        await done;
      });
      const down = path.join(folder, await names);
      assert.equal((await stat(down)).size, SIZE);
      assert.equal(await sha256(down), expected, 'the bytes are those of the file');
      await rm(down);
    }
    await browser.close();
  }
  t.diagnostic(JSON.stringify(Object.fromEntries(Object.entries(above).map(([what, bytes]) => [what, Math.round(bytes / MB)]))));
  for (const [what, bytes] of Object.entries(above)) assert.ok(bytes < (what === LAZY ? LAZY_ABOVE : ABOVE), `${what}: ${Math.round(bytes / MB)} MB more`);
});
