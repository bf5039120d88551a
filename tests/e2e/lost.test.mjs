// A browser that loses the database of a site and leaves its files: Chromium does when a kill has
// torn the log of a database, and says nothing. What was whole is whole again.

import assert from 'node:assert/strict';
import { appendFile, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { BROWSERS, launch, temporaryProfile } from '../rig/browsers.mjs';
import { attachPeer, openPeer, startBlankSite } from '../rig/peers.mjs';
import { databasesOf, wasMadeAnew } from '../rig/profiles.mjs';
import { startServer } from '../rig/server.mjs';

const MIB = 1024 * 1024;
const NAMESPACE = 'another';

/** What a database log says of a record: checksum, length, and that it is whole (leveldb's log format). */
const RECORD_HEADER = 7;
const FULL = 1;

/** How a database is lost, once the browser is dead. */
const WAYS = {
  chromium: {
    'whose log was torn': {
      async lose(folder, next) {
        // A record of which a half was written: at the end of the log it is passed over, and the
        // next browser appends to it.
        const logs = (await readdir(folder)).filter((name) => name.endsWith('.log')).sort();
        const log = path.join(folder, logs.at(-1));
        const torn = Buffer.alloc(RECORD_HEADER + 100, 7);
        torn.writeUInt16LE(1000, 4);
        torn[6] = FULL;
        await appendFile(log, torn);
        await next();
      },
    },
    'that was deleted': { lose: (folder) => rm(folder, { recursive: true }) },
  },
  firefox: {
    'that was deleted': { lose: (folder) => rm(folder, { recursive: true }) },
  },
};

for (const name of BROWSERS) {
  for (const [how, { lose }] of Object.entries(WAYS[name])) {
    test(`${name}: with a database ${how}, what was whole is held again, as it was`, async (t) => {
      const server = await startServer([], { until: t });
      const site = await startBlankSite(t);
      const other = await launch('chromium', { until: t });
      const source = await openPeer(other, site, server, { until: t });
      const profile = await temporaryProfile();
      let browser = await launch(name, { profile, until: t });
      const open = (options) => openPeer(browser, site, server, { context: 'profile', until: t, options });

      const fetched = await source.publish({ name: 'fetched', size: 5 * MIB + 7, seed: 2 });
      const half = await source.publish({ name: 'half', size: 32 * MIB, seed: 3 });
      await source.tab.evaluate(() => window.shoal.peer.setLimits({ uploadLimit: 8 * 1024 * 1024 }));
      let peer = await open();
      const published = await peer.publish({ name: 'Größe "1"', size: 3 * MIB, seed: 1, type: 'text/plain' });
      const empty = await peer.publish({ name: 'empty', size: 0 });
      const removed = await peer.publish({ name: 'removed', size: MIB, seed: 4 });
      await peer.fetch(fetched.key);
      await peer.tab.evaluate(async (published, removed, fetched) => {
        const { peer } = window.shoal;
        await peer.unpin(published);
        await peer.pin(fetched);
        await peer.remove(removed);
      }, published.key, removed.key, fetched.key);
      const apart = await open({ namespace: NAMESPACE });
      const shared = await apart.publish({ name: 'in both', size: MIB, seed: 5 });
      assert.equal((await peer.publish({ name: 'in both', size: MIB, seed: 5 })).key, shared.key);
      const secret = await apart.publish({ name: 'elsewhere only', size: MIB, seed: 6 });
      await peer.start(half.key);
      await peer.tab.waitFor((key, least) => window.shoal.progress[key]?.held > least, { args: [half.key, MIB] });
      await browser.kill();

      // Nobody is there to get anything from.
      await server.kill();
      const [folder] = await databasesOf(name, profile);
      let last;
      await lose(folder, async () => {
        browser = await launch(name, { profile, until: t });
        const tab = await browser.open(site.url, { context: 'profile' });
        await server.restart();
        const next = await attachPeer(tab, server, { rendezvous: null });
        assert.equal(next.id, peer.id, 'the browser that finds a torn record at the end passes it over');
        last = await next.publish({ name: 'last', size: MIB, seed: 9 });
        await browser.kill();
        await server.kill();
      });
      await server.restart();
      browser = await launch(name, { profile, until: t });
      const tab = await browser.open(site.url, { context: 'profile' });
      const before = { id: peer.id };
      const opened = Date.now();
      peer = await attachPeer(tab, server, { rendezvous: null });
      t.diagnostic(`open after ${Date.now() - opened} ms`);
      assert.notEqual(peer.id, before.id, 'the database was lost');
      if (name === 'chromium') assert.ok(await wasMadeAnew(profile), 'and its log tells');
      const error = await tab.waitFor(() => window.shoal.events.find(({ type }) => type === 'error'));
      const here = [published, empty, fetched, shared, ...(last ? [last] : [])];
      assert.equal(error.code, 'store-failed');
      assert.match(error.message, new RegExp(`lost the database.*files: ${here.length + 1}\\.`));

      const contents = await peer.contents();
      const plain = ({ key, name, size, type, held, pinned }) => [key, name, size, type, held, pinned];
      const type = 'application/octet-stream';
      assert.deepEqual(contents.map(plain).sort(), [
        [published.key, 'Größe "1"', 3 * MIB, 'text/plain', 3 * MIB, false],
        [empty.key, 'empty', 0, type, 0, true],
        [fetched.key, 'fetched', 5 * MIB + 7, type, 5 * MIB + 7, true],
        [shared.key, 'in both', MIB, type, MIB, true],
        ...(last ? [[last.key, 'last', MIB, type, MIB, true]] : []),
      ].sort());
      const elsewhere = await attachPeer(await browser.open(site.url, { context: 'profile' }), server, { rendezvous: null, namespace: NAMESPACE });
      assert.deepEqual((await elsewhere.contents()).map(({ key }) => key).sort(), [shared.key, secret.key].sort());

      // All of it is given to others, who believe nothing.
      await peer.tab.evaluate(() => window.shoal.peer.close());
      peer = await attachPeer(tab, server);
      await source.tab.close();
      const reader = await openPeer(other, site, server, { until: t });
      for (const { key } of here) {
        await reader.fetch(key);
        assert.equal(await reader.sha256(key), await peer.sha256(key));
      }
      assert.equal((await peer.contents()).length, here.length);
      // And once more after a start in good order.
      await browser.close();
      browser = await launch(name, { profile, until: t });
      const again = await open({ rendezvous: null });
      assert.equal(again.id, peer.id);
      assert.equal((await again.contents()).length, here.length);
      assert.deepEqual(await again.events('error'), []);
    });
  }

  test(`${name}: a store without notes, as of the version before, has them once it was open`, async (t) => {
    const server = await startServer([], { until: t });
    const site = await startBlankSite(t);
    const profile = await temporaryProfile();
    let browser = await launch(name, { profile, until: t });
    const open = () => openPeer(browser, site, server, { context: 'profile', until: t, options: { rendezvous: null } });
    let peer = await open();
    const { key } = await peer.publish({ name: 'old', size: 2 * MIB });
    const notes = (tab, isGone) => tab.waitFor(async (isGone) => {
      let folder = await navigator.storage.getDirectory();
      for (const inner of ['shoal', 'shoal']) folder = await folder.getDirectoryHandle(inner);
      if (isGone) return (await folder.removeEntry('notes', { recursive: true }), true);
      const notes = await folder.getDirectoryHandle('notes', { create: true });
      for await (const note of notes.values()) if ((await note.getFile()).size > 0) return true;
      window.dispatchEvent(new Event('rig'));
      return undefined;
    }, { args: [isGone] });
    await peer.tab.evaluate(() => window.shoal.peer.close());
    await notes(peer.tab, true);
    await attachPeer(peer.tab, server, { rendezvous: null });
    await notes(peer.tab, false);
    await browser.kill();
    const [database] = await databasesOf(name, profile);
    await rm(database, { recursive: true });
    browser = await launch(name, { profile, until: t });
    peer = await open();
    assert.deepEqual((await peer.contents()).map((content) => [content.key, content.held]), [[key, 2 * MIB]]);
  });

  test(`${name}: of files whose notes or bytes are damaged only what is true is taken up`, async (t) => {
    const server = await startServer([], { until: t });
    const site = await startBlankSite(t);
    const profile = await temporaryProfile();
    let browser = await launch(name, { profile, until: t });
    let peer = await openPeer(browser, site, server, { context: 'profile', until: t });
    const names = ['sound', 'no json', 'another key', 'cut note', 'cut file', 'changed byte', 'places'];
    const contents = {};
    for (const [at, each] of names.entries()) contents[each] = await peer.publish({ name: each, size: 2 * MIB, seed: at + 1 });
    await peer.tab.evaluate(() => window.shoal.peer.close());
    await peer.tab.evaluate(async (contents) => {
      const slots = await new Promise((resolve, reject) => {
        const opening = indexedDB.open('shoal');
        opening.onerror = () => reject(opening.error);
        opening.onsuccess = () => {
          const records = opening.result.transaction('contents').objectStore('contents');
          const slots = {};
          records.openCursor().onsuccess = ({ target: { result } }) => {
            if (!result) { opening.result.close(); return resolve(slots); }
            slots[result.value.metadata.name] = String(result.value.slot);
            result.continue();
          };
        };
      });
      let folder = await navigator.storage.getDirectory();
      for (const inner of ['shoal', 'shoal']) folder = await folder.getDirectoryHandle(inner);
      const notes = await folder.getDirectoryHandle('notes');
      const change = async (folder, name, edit) => {
        const handle = await folder.getFileHandle(name);
        const bytes = new Uint8Array(await (await handle.getFile()).arrayBuffer());
        const writable = await handle.createWritable();
        await writable.write(edit(bytes));
        await writable.close();
      };
      const text = (edit) => (bytes) => {
        const end = bytes.indexOf(10);
        return new Blob([edit(new TextDecoder().decode(bytes.subarray(0, end))), bytes.subarray(end)]);
      };
      await change(notes, slots['no json'], text((said) => said.slice(1)));
      await change(notes, slots['another key'], text((said) => said.replace(contents['another key'].key, contents.sound.key)));
      await change(notes, slots['cut note'], (bytes) => bytes.subarray(0, bytes.length - 1));
      await change(notes, slots.places, text((said) => said.replace('"offsets":[0,', '"offsets":[262144,')));
      await change(folder, slots['cut file'], (bytes) => bytes.subarray(0, 262_144));
      await change(folder, slots['changed byte'], (bytes) => { bytes[300_000] ^= 1; return bytes; });
    }, contents);
    await browser.kill();
    const [database] = await databasesOf(name, profile);
    await rm(database, { recursive: true });

    browser = await launch(name, { profile, until: t });
    peer = await openPeer(browser, site, server, { context: 'profile', until: t, options: { rendezvous: null } });
    const held = await peer.contents();
    assert.deepEqual(held.map((content) => content.name).sort(), ['changed byte', 'places', 'sound']);
    const reads = await peer.tab.evaluate(async (held) => {
      const { peer } = window.shoal;
      const reads = {};
      for (const { key, name } of held) {
        const transfer = await peer.fetch(key);
        const late = new Promise((resolve) => setTimeout(resolve, 2000, 'waits'));
        reads[name] = await Promise.race([transfer.arrayBuffer().then(() => 'read'), late]);
      }
      return reads;
    }, held);
    assert.deepEqual(reads, { sound: 'read', 'changed byte': 'waits', places: 'waits' });
    const left = Object.fromEntries((await peer.contents()).map((content) => [content.name, content.size - content.held]));
    assert.deepEqual(left, { sound: 0, 'changed byte': MIB / 4, places: MIB / 4 });
    // What could not be taken up is gone.
    const files = await peer.tab.evaluate(async () => {
      let folder = await navigator.storage.getDirectory();
      for (const inner of ['shoal', 'shoal']) folder = await folder.getDirectoryHandle(inner);
      const names = [];
      for await (const name of folder.keys()) names.push(name);
      return names.length;
    });
    assert.equal(files, 1 + held.length);
  });
}
