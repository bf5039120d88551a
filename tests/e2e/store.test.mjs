// The engine's store on the disk, seen from both sides: through the engine's calls, and in the
// database and the files themselves. No peer connection and no rendezvous takes part.
//
// In a page the engine has the database only, in a worker files for the bytes of chunks.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, test } from 'node:test';
import path from 'node:path';
import { BROWSERS, launch, root, target, temporaryProfile } from '../rig/browsers.mjs';
import { startSite } from '../rig/site.mjs';

const CHUNK = 256 * 1024;
const HELLO = 'bafkr4ihkr4ld3m4gqkjf4reryxsy2s5tkbxprqkow6fin2iiyvreuzzab4';
const NAME = 'shoal-test';

/** What tests do with an engine, in the page and in the worker alike. */
const HELPERS = `
  import init, { Engine } from '/shoal_peer.js';
  import { openFiles } from '/files.js';
  await init();

  /** An engine with one client (or more), and a call that returns a promise. */
  async function open(store, options = {}) {
    const waiting = new Map();
    const opened = { isSuperseded: false, events: [] };
    let lastId = 0;
    const files = typeof store === 'string' ? await openFiles(store) : undefined;
    const engine = await Engine.open({ store, files }, {
      toClient(client, message) {
        if (message.event) return void opened.events.push(message);
        const { resolve, reject } = waiting.get(message.id);
        waiting.delete(message.id);
        if (message.error) reject(Object.assign(new Error(message.error.message), message.error));
        else resolve(message.ok);
      },
      toBroker() {},
      superseded() { opened.isSuperseded = true; },
    });
    const { id, state, damaged } = await engine.attach(1, { rendezvous: null, ...options });
    const callAs = (client, name, args) => new Promise((resolve, reject) => {
      lastId += 1;
      waiting.set(lastId, { resolve, reject });
      engine.call(client, lastId, name, args);
    });
    return Object.assign(opened, {
      engine, id, state, damaged, peer: engine.peer, callAs,
      call: (name, args) => callAs(1, name, args),
      close: () => engine.close(),
    });
  }

  function finished(request) {
    return new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  }

  /** Does something in the database, beside any engine. */
  async function raw(name, stores, work) {
    const database = await finished(indexedDB.open(name));
    try {
      const transaction = database.transaction(stores, 'readwrite');
      const done = new Promise((resolve, reject) => {
        transaction.oncomplete = resolve;
        transaction.onabort = () => reject(transaction.error);
      });
      const result = await work(...stores.map((store) => transaction.objectStore(store)));
      await done;
      return result;
    } finally {
      database.close();
    }
  }

  /** How many chunks the store knows of, by where they lie. */
  function chunks(name) {
    return raw(name, ['chunks', 'places'], (...stores) => Promise.all(stores.map((store) => finished(store.count()))));
  }

  /** The names of a store's files, and of those that have notes. */
  async function files(name) {
    let folder = await navigator.storage.getDirectory();
    for (const inner of ['shoal', name]) folder = await folder.getDirectoryHandle(inner, { create: true });
    const names = [];
    for await (const file of folder.keys()) if (file !== 'notes') names.push(file);
    const notes = [];
    const noted = await folder.getDirectoryHandle('notes', { create: true });
    for await (const note of noted.keys()) notes.push(note);
    return { names, notes, folder };
  }

  /** Bytes that are the same for the same seed, and different otherwise. */
  function bytes(length, seed = 1) {
    let state = seed;
    return Uint8Array.from({ length }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state >>> 24;
    });
  }

  /** Bytes that no browser can store in less room. */
  function noise(length) {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
    return bytes;
  }

  async function readAll(opened, { key, size }) {
    const parts = [];
    for (let index = 0; index < Math.max(1, Math.ceil(size / ${CHUNK})); index += 1) {
      parts.push(await opened.call('read', { key, index }));
    }
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  }

  const isSame = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at]);
  const codeOf = (promise) => promise.then(() => 'nothing', (error) => \`\${error.code}: \${error.message}\`);

  Object.assign(globalThis, { Engine, open, raw, finished, chunks, files, bytes, noise, readAll, isSame, codeOf, NAME: '${NAME}' });
`;

const WORKER = `import '/helpers.js';
  onmessage = async ({ data: { text, args } }) => {
    try {
      postMessage({ value: await (0, eval)('(' + text + ')')(...args) });
    } catch (error) {
      postMessage({ error: String(error?.stack ?? error) });
    }
  };
  postMessage({});
`;

const PAGE = `<!doctype html><html lang="en"><title>store</title><script type="module">
  import '/helpers.js';
  const worker = new Worker('/worker.js', { type: 'module' });
  const answer = () => new Promise((resolve, reject) => {
    worker.onmessage = ({ data: { value, error } }) => (error ? reject(new Error(error)) : resolve(value));
    worker.onerror = (event) => reject(new Error(event.message));
  });
  await answer();
  window.inWorker = (text, args) => { worker.postMessage({ text, args }); return answer(); };
  document.body.append('ready');
</script>`;

const PLACES = ['page', 'worker'];

const suite = { after };
const site = await startSite({
  pages: { '/': PAGE, '/helpers.js': HELPERS, '/worker.js': WORKER, '/files.js': await readFile(path.join(root, 'peer-wasm/js/files.js')) },
  folder: path.join(target, 'package/shoal'),
  until: suite,
});
const browsers = {};
for (const name of BROWSERS) browsers[name] = await launch(name, { until: suite });

async function openPage(name, t, options) {
  const tab = await browsers[name].open(site.url, { until: t, ...options });
  await tab.waitForText('body', 'ready');
  return tab;
}

/** Runs a function where the engine is to be. */
function run(tab, place, task, ...args) {
  if (place === 'page') return tab.evaluate(task, ...args);
  return tab.evaluate((text, args) => window.inWorker(text, args), task.toString(), args);
}

for (const [name, place] of BROWSERS.flatMap((name) => PLACES.map((place) => [name, place]))) {
  test(`${name}, ${place}: the identity stays, the epoch rises`, async (t) => {
    const tab = await openPage(name, t);
    const seen = await run(tab, place, async () => {
      const epoch = () => globalThis.raw(NAME, ['meta'], (meta) => globalThis.finished(meta.get('epoch')));
      const runs = [];
      for (let run = 0; run < 3; run += 1) {
        const opened = await globalThis.open(NAME);
        runs.push({ peer: opened.peer, id: opened.id, state: opened.state, epoch: await epoch() });
        await opened.close();
      }
      // A clock that was set back must not bring an epoch back.
      const ahead = Date.now() + 3_600_000;
      await globalThis.raw(NAME, ['meta'], (meta) => { meta.put(ahead, 'epoch'); });
      await (await globalThis.open(NAME)).close();
      const key = await globalThis.raw(NAME, ['identity'], (identity) => globalThis.finished(identity.get('self')));
      return { runs, rise: (await epoch()) - ahead, extractable: key.privateKey.extractable };
    });
    const [{ peer }] = seen.runs;
    assert.match(peer, /^12D3KooW/);
    for (const run of seen.runs) assert.deepEqual([run.peer, run.id, run.state], [peer, peer, 'offline']);
    assert.ok(seen.runs[0].epoch < seen.runs[1].epoch && seen.runs[1].epoch < seen.runs[2].epoch);
    assert.equal(seen.rise, 1);
    assert.equal(seen.extractable, false);
    tab.assertClean();
  });

  test(`${name}, ${place}: what is published is held, is there again, and is gone when removed`, async (t) => {
    const tab = await openPage(name, t);
    const seen = await run(tab, place, async (CHUNK) => {
      const sizes = [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK + 17];
      let opened = await globalThis.open(NAME);
      const metadata = { name: '<b>"é🐟"</b>.txt', type: 'text/plain', title: 'T', keywords: ['a', 'b'] };
      const hello = await opened.call('publish', { data: new TextEncoder().encode('hello'), metadata });
      const published = [];
      for (const size of sizes) {
        const data = globalThis.bytes(size, size + 1);
        const forms = [data, data.buffer, new Blob([data])];
        published.push(await opened.call('publish', { data: forms[size % 3], metadata: { name: String(size) } }));
      }
      const inProgress = opened.events.filter(({ event }) => event === 'publishing').length;
      await opened.close();
      opened = await globalThis.open(NAME);
      const contents = await opened.call('contents', {});
      const same = [];
      for (const [at, content] of published.entries()) {
        same.push(globalThis.isSame(await globalThis.readAll(opened, content), globalThis.bytes(sizes[at], sizes[at] + 1)));
      }
      const gone = [];
      for (const { key } of [...published, hello]) gone.push(await opened.call('remove', { key }));
      const after = await opened.call('contents', {});
      await opened.close();
      const left = await globalThis.raw(NAME, ['contents', 'proofs', 'chunks', 'places'], (...stores) => Promise.all(
        stores.map((store) => globalThis.finished(store.count())),
      ));
      const { names, notes } = await globalThis.files(NAME);
      left.push(names.length, notes.length);
      return { hello, published, contents, same, after, left, inProgress };
    }, CHUNK);
    assert.equal(seen.hello.key, HELLO);
    assert.deepEqual(seen.hello, {
      key: HELLO, size: 5, held: 5, pinned: false, name: '<b>"é🐟"</b>.txt', type: 'text/plain', title: 'T', keywords: ['a', 'b'],
    });
    const byKey = (a, b) => (a.key < b.key ? -1 : 1);
    assert.deepEqual(seen.contents.sort(byKey), [seen.hello, ...seen.published].sort(byKey));
    assert.deepEqual(seen.same, [true, true, true, true, true]);
    assert.deepEqual([seen.after, seen.left], [[], [0, 0, 0, 0, 0, 0]]);
    tab.assertClean();
  });

  test(`${name}, ${place}: a content of two namespaces is stored once and stays until the last lets it go`, async (t) => {
    const tab = await openPage(name, t);
    const seen = await run(tab, place, async (CHUNK) => {
      const opened = await globalThis.open(NAME, { namespace: 'one' });
      await opened.engine.attach(2, { rendezvous: null, namespace: 'two' });
      const count = async () => [...await globalThis.chunks(NAME), (await globalThis.files(NAME)).names.length];
      const data = globalThis.bytes(2 * CHUNK);
      const { key } = await opened.callAs(1, 'publish', { data });
      const others = await opened.callAs(2, 'contents', {});
      const again = await opened.callAs(2, 'publish', { data, metadata: { name: 'other' } });
      const counts = [await count()];
      await opened.callAs(1, 'remove', { key });
      counts.push(await count());
      const left = [await opened.callAs(1, 'contents', {}), await opened.callAs(2, 'contents', {})];
      await opened.callAs(2, 'remove', { key });
      counts.push(await count());
      await opened.close();
      return { others, isSameKey: again.key === key, left: left.map((list) => list.length), counts };
    }, CHUNK);
    const kept = { page: [2, 0, 0], worker: [0, 2, 1] }[place];
    assert.deepEqual(seen, { others: [], isSameKey: true, left: [0, 1], counts: [kept, kept, [0, 0, 0]] });
    tab.assertClean();
  });

  test(`${name}, ${place}: a node goes with its last client, and the next one has a higher epoch`, async (t) => {
    const tab = await openPage(name, t);
    const seen = await run(tab, place, async () => {
      const opened = await globalThis.open(NAME);
      const { engine } = opened;
      const epochs = () => globalThis.raw(NAME, ['meta'], (meta) => Promise.all(
        ['epoch', 'claimed'].map(async (key) => (await globalThis.finished(meta.get(key))) ?? null),
      ));
      const { key } = await opened.call('publish', { data: globalThis.bytes(10) });
      const first = await epochs();
      await engine.attach(2, { rendezvous: null });
      engine.call(1, 1000, 'fetch', { key: key.replace(/.$/, (last) => (last === 'a' ? 'e' : 'a')) });
      engine.detach(1);
      const held = await opened.callAs(2, 'contents', {});
      const second = await epochs();
      engine.detach(2);
      engine.detach(2);
      const gone = await globalThis.codeOf(opened.callAs(2, 'contents', {}));
      await engine.attach(3, { rendezvous: null });
      const third = await epochs();
      const again = await opened.callAs(3, 'contents', {});
      await opened.close();
      const closed = await globalThis.codeOf(engine.attach(4, {}));
      return { held: held.length, again: again.length, gone, closed, first, second, third };
    });
    assert.deepEqual([seen.held, seen.again], [1, 1]);
    assert.match(seen.gone, /^closed: /);
    assert.match(seen.closed, /^closed: /);
    const [epoch, claimed] = seen.first;
    assert.equal(claimed, null);
    assert.deepEqual(seen.second, [epoch, null]);
    assert.equal(seen.third[0], epoch);
    assert.ok(seen.third[1] > epoch);
    tab.assertClean();
  });

  test(`${name}, ${place}: chunks nobody names are deleted, missing ones are not counted as held`, async (t) => {
    const tab = await openPage(name, t);
    const seen = await run(tab, place, async (CHUNK) => {
      let opened = await globalThis.open(NAME);
      const [kept, part] = [
        await opened.call('publish', { data: globalThis.bytes(2 * CHUNK, 1) }),
        await opened.call('publish', { data: globalThis.bytes(3 * CHUNK, 2) }),
      ];
      await opened.close();
      // What a browser that was killed leaves behind.
      await globalThis.raw(NAME, ['contents', 'chunks', 'places'], async (contents, chunks, places) => {
        for (const slot of [1, 2, Number.MAX_SAFE_INTEGER]) {
          for (const index of [0, 1]) {
            chunks.put(new Uint8Array(9), [slot, index]);
            places.put([index * CHUNK, 9], [slot, index]);
          }
        }
        const record = await globalThis.finished(contents.get(part.key));
        contents.put({ ...record, complete: false }, part.key);
        chunks.delete([record.slot, 1]);
        places.delete([record.slot, 1]);
      });
      const { folder } = await globalThis.files(NAME);
      await folder.getFileHandle('1', { create: true });
      await folder.getFileHandle('3', { create: true });
      opened = await globalThis.open(NAME);
      const contents = await opened.call('contents', {});
      const held = (key) => contents.find((content) => content.key === key).held;
      const same = globalThis.isSame(await globalThis.readAll(opened, kept), globalThis.bytes(2 * CHUNK, 1));
      await opened.close();
      const count = [...await globalThis.chunks(NAME), (await globalThis.files(NAME)).names.length];
      return { held: [held(kept.key), held(part.key)], same, count };
    }, CHUNK);
    assert.deepEqual(seen, { held: [2 * CHUNK, 2 * CHUNK], same: true, count: { page: [4, 0, 0], worker: [0, 4, 2] }[place] });
    tab.assertClean();
  });

  test(`${name}, ${place}: an engine that was overtaken writes nothing and says so`, async (t) => {
    const tab = await openPage(name, t);
    const seen = await run(tab, place, async () => {
      const old = await globalThis.open(NAME);
      const kept = await old.call('publish', { data: globalThis.bytes(10) });
      const dump = () => globalThis.raw(NAME, ['meta', 'contents', 'chunks', 'places'], async (...stores) => JSON.stringify(
        await Promise.all(stores.flatMap((store) => [globalThis.finished(store.getAllKeys()), globalThis.finished(store.getAll())])),
      ));
      const young = await globalThis.open(NAME);
      const before = await dump();
      const wrote = await globalThis.codeOf(old.call('publish', { data: globalThis.bytes(10, 2) }));
      const removed = await globalThis.codeOf(old.call('remove', { key: kept.key }));
      const after = await dump();
      const held = await young.call('contents', {});
      await young.close();
      return { wrote, removed, isSame: before === after, isSuperseded: old.isSuperseded, held: held.length, peers: old.peer === young.peer };
    });
    assert.match(seen.wrote, /^store-failed: /);
    assert.deepEqual([seen.isSame, seen.isSuperseded, seen.held, seen.peers], [true, true, 1, true]);
    tab.assertClean();
  });

  test(`${name}, ${place}: a database that is deleted under the engine lets go, and is missed`, async (t) => {
    const tab = await openPage(name, t);
    const seen = await run(tab, place, async () => {
      const opened = await globalThis.open(NAME);
      const { key } = await opened.call('publish', { data: globalThis.bytes(10) });
      await globalThis.finished(indexedDB.deleteDatabase(NAME));
      const wrote = await globalThis.codeOf(opened.call('publish', { data: globalThis.bytes(10, 2) }));
      const removed = await globalThis.codeOf(opened.call('remove', { key }));
      await opened.close();
      const anew = await globalThis.open(NAME);
      const contents = await anew.call('contents', {});
      await anew.close();
      return { wrote, removed, contents, isAnother: anew.peer !== opened.peer };
    });
    assert.match(seen.wrote, /^store-failed: .*closed or deleted/);
    assert.match(seen.removed, /^store-failed: /);
    assert.deepEqual([seen.contents, seen.isAnother], [[], true]);
    tab.assertClean();
  });

  test(`${name}, ${place}: a damaged record is taken out and named, and all others are held`, async (t) => {
    const tab = await openPage(name, t);
    const seen = await run(tab, place, async (CHUNK) => {
      let opened = await globalThis.open(NAME);
      const kept = await opened.call('publish', { data: globalThis.bytes(2 * CHUNK, 1) });
      const lost = await opened.call('publish', { data: globalThis.bytes(2 * CHUNK, 2) });
      await opened.close();
      await globalThis.raw(NAME, ['contents'], (contents) => {
        contents.put({ slot: 'x' }, lost.key);
        contents.put(5, 'no key');
      });
      opened = await globalThis.open(NAME);
      const { damaged } = opened;
      const contents = await opened.call('contents', {});
      const same = globalThis.isSame(await globalThis.readAll(opened, kept), globalThis.bytes(2 * CHUNK, 1));
      const again = await opened.call('publish', { data: globalThis.bytes(2 * CHUNK, 2) });
      await opened.close();
      opened = await globalThis.open(NAME);
      const after = [opened.damaged.length, (await opened.call('contents', {})).length];
      await opened.close();
      const [database, files] = await globalThis.chunks(NAME);
      return {
        isNamed: damaged.includes(lost.key) && damaged.includes('no key') && damaged.length === 2,
        held: contents.map(({ key }) => key === kept.key), same, isBack: again.key === lost.key, after, chunks: database + files,
      };
    }, CHUNK);
    assert.deepEqual(seen, { isNamed: true, held: [true], same: true, isBack: true, after: [0, 2], chunks: 4 });
    tab.assertClean();
  });

  test(`${name}, ${place}: whatever else is damaged is looked for elsewhere, and crashes nothing`, async (t) => {
    const tab = await openPage(name, t);
    const seen = await run(tab, place, async (CHUNK) => {
      let opened = await globalThis.open(NAME);
      const contents = [];
      for (const seed of [1, 2, 3, 4]) contents.push(await opened.call('publish', { data: globalThis.bytes(2 * CHUNK, seed) }));
      const [proof, chunk, file, sound] = contents;
      await opened.close();
      const slots = await globalThis.raw(NAME, ['contents', 'proofs', 'chunks', 'places'], async (records, proofs, chunks, places) => {
        const slots = await Promise.all(contents.map(async ({ key }) => (await globalThis.finished(records.get(key))).slot));
        proofs.put('no proof', proof.key);
        chunks.put(5e9, [slots[1], 0]);
        places.delete([slots[1], 0]);
        chunks.delete([slots[1], 1]);
        places.put(null, [slots[1], 1]);
        // In the page there are no files, so there these are missing.
        chunks.delete([slots[2], 0]);
        places.put([0, CHUNK], [slots[2], 0]);
        return slots;
      });
      await (await globalThis.files(NAME)).folder.removeEntry(String(slots[2])).catch(() => {});
      opened = await globalThis.open(NAME);
      const waits = ({ key }, index) => Promise.race([
        opened.call('read', { key, index }).then(() => 'read', (error) => error.code),
        new Promise((resolve) => setTimeout(resolve, 500, 'waits')),
      ]);
      const read = [await waits(proof, 0), await waits(chunk, 0), await waits(chunk, 1), await waits(file, 0), await waits(sound, 1)];
      const left = await opened.call('contents', {});
      await opened.close();
      const held = ({ key }) => left.find((content) => content.key === key)?.held ?? 'not offered';
      return { read, held: [held(proof), held(chunk), held(sound)], told: opened.events.filter(({ event }) => event === 'error').map(({ error }) => error.message.includes(proof.key)) };
    }, CHUNK);
    assert.deepEqual(seen, {
      read: ['waits', 'waits', 'waits', 'waits', 'read'], held: ['not offered', 0, 2 * CHUNK], told: [true],
    });
    tab.assertClean();
  });

  test(`${name}, ${place}: a store that cannot be read is named, with the format that could, and not touched`, async (t) => {
    const tab = await openPage(name, t);
    const seen = await run(tab, place, async () => {
      const attempt = (store) => globalThis.open(store).then(() => 'opened', ({ code, message, format }) => ({ code, message, format }));
      (await globalThis.finished(indexedDB.open('newer', 4))).close();
      const made = await globalThis.open('format');
      await made.call('publish', { data: globalThis.bytes(10) });
      await made.close();
      await globalThis.raw('format', ['meta'], (meta) => { meta.put(4, 'format'); });
      const dump = () => globalThis.raw('format', ['meta', 'identity', 'contents', 'proofs', 'chunks', 'places'], async (...stores) => JSON.stringify(
        await Promise.all(stores.flatMap((store) => [globalThis.finished(store.getAllKeys()), globalThis.finished(store.getAll())])),
      ));
      const before = await dump();
      (await globalThis.finished(indexedDB.open('foreign', 3))).close();
      const errors = [];
      for (const store of ['newer', 'format', 'foreign', 5]) errors.push(await attempt(store));
      return { errors, isSame: before === await dump() };
    });
    assert.deepEqual(seen.errors.map(({ code, format }) => [code, format]), [
      ['store-failed', 3], ['store-failed', 3], ['store-failed', 3], ['invalid-argument', undefined],
    ]);
    for (const { message } of seen.errors.slice(0, 3)) assert.match(message, /newer version/);
    assert.ok(seen.isSame);
    tab.assertClean();
  });

  test(`${name}, ${place}: an identity that cannot be read is put beside another, and the contents stay`, async (t) => {
    const tab = await openPage(name, t);
    const seen = await run(tab, place, async () => {
      const made = await globalThis.open(NAME);
      await made.call('publish', { data: globalThis.bytes(10) });
      await made.close();
      await globalThis.raw(NAME, ['identity'], (identity) => { identity.put({ of: 'another time' }, 'self'); });
      const runs = [];
      for (let run = 0; run < 2; run += 1) {
        const opened = await globalThis.open(NAME);
        runs.push([opened.peer, opened.damaged, (await opened.call('contents', {})).length]);
        await opened.close();
      }
      const unread = await globalThis.raw(NAME, ['identity'], (identity) => globalThis.finished(identity.get('unread')));
      return { before: made.peer, runs, unread };
    });
    const [[peer]] = seen.runs;
    assert.notEqual(peer, seen.before);
    assert.deepEqual(seen.runs, [[peer, ['identity'], 1], [peer, [], 1]]);
    assert.deepEqual(seen.unread, { of: 'another time' });
    tab.assertClean();
  });
}

for (const name of BROWSERS) {
  test(`${name}: what was written in a worker is read and added to in a page, and the other way round`, async (t) => {
    const tab = await openPage(name, t);
    const publish = async (seed, CHUNK) => {
      const opened = await globalThis.open(NAME);
      const { key } = await opened.call('publish', { data: globalThis.bytes(2 * CHUNK + 5, seed) });
      await opened.close();
      return { key, size: 2 * CHUNK + 5 };
    };
    const contents = [await run(tab, 'worker', publish, 1, CHUNK), await run(tab, 'page', publish, 2, CHUNK)];
    for (const place of PLACES) {
      const same = await run(tab, place, async (contents) => {
        const opened = await globalThis.open(NAME);
        const same = [];
        for (const [at, content] of contents.entries()) {
          same.push(globalThis.isSame(await globalThis.readAll(opened, content), globalThis.bytes(content.size, at + 1)));
        }
        await opened.close();
        return same;
      }, contents);
      assert.deepEqual([place, same], [place, [true, true]]);
    }
    assert.deepEqual(await run(tab, 'page', () => globalThis.chunks(NAME)), [3, 3]);
    const left = await run(tab, 'page', async (contents) => {
      const opened = await globalThis.open(NAME);
      for (const { key } of contents) await opened.call('remove', { key });
      await opened.close();
      return [...await globalThis.chunks(NAME), (await globalThis.files(NAME)).names.length];
    }, contents);
    assert.deepEqual(left, [0, 0, 0]);
    tab.assertClean();
  });

  test(`${name}: nothing is dropped because the files could not be opened for once`, async (t) => {
    const tab = await openPage(name, t);
    const seen = await run(tab, 'worker', async (CHUNK) => {
      let opened = await globalThis.open(NAME);
      const content = await opened.call('publish', { data: globalThis.bytes(2 * CHUNK, 1) });
      await opened.close();
      const { getDirectory } = StorageManager.prototype;
      StorageManager.prototype.getDirectory = async () => { throw new DOMException('not now', 'UnknownError'); };
      opened = await globalThis.open(NAME);
      StorageManager.prototype.getDirectory = getDirectory;
      const waits = new Promise((resolve) => setTimeout(resolve, 1000, 'waits'));
      const read = await Promise.race([globalThis.codeOf(opened.call('read', { key: content.key, index: 0 })), waits]);
      const [{ held }] = await opened.call('contents', {});
      await opened.close();
      const counts = await globalThis.chunks(NAME);
      opened = await globalThis.open(NAME);
      const same = globalThis.isSame(await globalThis.readAll(opened, content), globalThis.bytes(2 * CHUNK, 1));
      await opened.close();
      return { read, held, counts, same };
    }, CHUNK);
    assert.match(seen.read, /^store-failed: .*files cannot be opened/);
    assert.deepEqual([seen.held, seen.counts, seen.same], [2 * CHUNK, [0, 2], true]);
    tab.assertClean();
  });

  test(`${name}: a file that another engine has is read all the same`, async (t) => {
    const tab = await openPage(name, t);
    const seen = await run(tab, 'worker', async (CHUNK) => {
      const old = await globalThis.open(NAME);
      const content = await old.call('publish', { data: globalThis.bytes(2 * CHUNK, 1) });
      const young = await globalThis.open(NAME);
      const same = globalThis.isSame(await globalThis.readAll(young, content), globalThis.bytes(2 * CHUNK, 1));
      const { names, folder } = await globalThis.files(NAME);
      const locked = await globalThis.codeOf((await folder.getFileHandle(names[0])).createSyncAccessHandle());
      await young.close();
      await old.close();
      return { same, locked };
    }, CHUNK);
    assert.ok(seen.same);
    assert.match(seen.locked, /no ?modification ?allowed|access/i);
    tab.assertClean();
  });

  test(`${name}: a file that the browser does not open is not waited for, and used when it does`, async (t) => {
    const tab = await openPage(name, t);
    const seen = await run(tab, 'worker', async (CHUNK) => {
      const { prototype } = FileSystemFileHandle;
      const { createSyncAccessHandle } = prototype;
      let answer;
      prototype.createSyncAccessHandle = function () {
        return new Promise((resolve) => { answer = async () => resolve(await createSyncAccessHandle.call(this)); });
      };
      const opened = await globalThis.open(NAME);
      const content = await opened.call('publish', { data: globalThis.bytes(2 * CHUNK, 1) });
      const counts = [await globalThis.chunks(NAME)];
      await answer();
      prototype.createSyncAccessHandle = createSyncAccessHandle;
      await opened.call('publish', { data: globalThis.bytes(2 * CHUNK, 2) });
      counts.push(await globalThis.chunks(NAME));
      const same = globalThis.isSame(await globalThis.readAll(opened, content), globalThis.bytes(2 * CHUNK, 1));
      await opened.close();
      return { counts, same };
    }, CHUNK);
    assert.deepEqual(seen, { counts: [[2, 0], [2, 2]], same: true });
    tab.assertClean();
  });

  // Version 1 had no files; in neither did records say what is pinned and when it was used.
  for (const [version, place] of [[1, 'page'], [2, 'worker']]) test(`${name}, ${place}: a store of version ${version} is taken over whole`, async (t) => {
    const tab = await openPage(name, t);
    const seen = await run(tab, place, async (CHUNK, version) => {
      const stores = ['meta', 'identity', 'contents', 'proofs', 'chunks', ...(version > 1 ? ['places'] : [])];
      const made = await globalThis.open(NAME);
      const content = await made.call('publish', { data: globalThis.bytes(2 * CHUNK, 1) });
      await made.close();
      const rows = await globalThis.raw(NAME, stores, (...all) => Promise.all(all.map(async (store) => (
        [await globalThis.finished(store.getAllKeys()), await globalThis.finished(store.getAll())]
      ))));
      await globalThis.finished(indexedDB.deleteDatabase(NAME));
      await (await globalThis.files(NAME)).folder.removeEntry('notes', { recursive: true });
      const opening = indexedDB.open(NAME, version);
      opening.onupgradeneeded = () => { for (const store of stores) opening.result.createObjectStore(store); };
      (await globalThis.finished(opening)).close();
      await globalThis.raw(NAME, stores, (...all) => {
        for (const [at, store] of all.entries()) {
          const [keys, values] = rows[at];
          for (const [row, key] of keys.entries()) {
            if (stores[at] === 'contents') ['pinned', 'used'].forEach((name) => delete values[row][name]);
            store.put(values[row], key);
          }
        }
        all[0].put(version, 'format');
      });
      const opened = await globalThis.open(NAME);
      const same = globalThis.isSame(await globalThis.readAll(opened, content), globalThis.bytes(2 * CHUNK, 1));
      // Whether it was published or fetched is not known, so it is not to go unasked.
      const [{ pinned }] = await opened.call('contents', {});
      await opened.call('pin', { key: content.key, pinned: false });
      await opened.close();
      const again = await globalThis.open(NAME);
      const [{ pinned: after }] = await again.call('contents', {});
      await again.close();
      const format = await globalThis.raw(NAME, ['meta'], (meta) => globalThis.finished(meta.get('format')));
      return { same, isSamePeer: opened.peer === made.peer, format, pinned, after, chunks: await globalThis.chunks(NAME) };
    }, CHUNK, version);
    assert.deepEqual(seen, { same: true, isSamePeer: true, format: 3, pinned: true, after: false, chunks: version > 1 ? [0, 2] : [2, 0] });
    tab.assertClean();
  });

  test(`${name}: a chunk that is damaged or missing in its file is given to nobody`, async (t) => {
    const tab = await openPage(name, t);
    const seen = await run(tab, 'worker', async (CHUNK) => {
      let opened = await globalThis.open(NAME);
      const content = await opened.call('publish', { data: globalThis.bytes(3 * CHUNK, 1) });
      await opened.close();
      const { names, folder } = await globalThis.files(NAME);
      const handle = await (await folder.getFileHandle(names[0])).createSyncAccessHandle();
      handle.write(new Uint8Array([1, 2, 3]), { at: CHUNK + 7 });
      handle.truncate(2 * CHUNK + 9);
      handle.close();
      opened = await globalThis.open(NAME);
      const read = [];
      for (const index of [0, 1, 2]) {
        read.push(await Promise.race([
          opened.call('read', { key: content.key, index }).then((bytes) => bytes.size ?? bytes.byteLength, (error) => error.code),
          new Promise((resolve) => setTimeout(resolve, 1000, 'waits')),
        ]));
      }
      const [{ held }] = await opened.call('contents', {});
      await opened.close();
      const counts = await globalThis.chunks(NAME);
      return { read, held, counts, notes: (await globalThis.files(NAME)).notes };
    }, CHUNK);
    // The others are looked for elsewhere.
    assert.deepEqual(seen.read, [CHUNK, 'waits', 'waits']);
    assert.deepEqual(seen.counts, [0, 1]);
    assert.equal(seen.held, CHUNK);
    assert.deepEqual(seen.notes, [], 'it is not noted as whole any more');
    tab.assertClean();
  });
}

for (const name of BROWSERS) {
  test(`${name}: a store in memory keeps to itself`, async (t) => {
    const tab = await openPage(name, t);
    const seen = await tab.evaluate(async (CHUNK) => {
      const [one, other] = [await globalThis.open(false), await globalThis.open(false)];
      const content = await one.call('publish', { data: globalThis.bytes(CHUNK + 1) });
      const same = globalThis.isSame(await globalThis.readAll(one, content), globalThis.bytes(CHUNK + 1));
      const others = await other.call('contents', {});
      await Promise.all([one.close(), other.close()]);
      return { same, others, isAnother: one.peer !== other.peer, databases: (await indexedDB.databases()).length };
    }, CHUNK);
    assert.deepEqual(seen, { same: true, others: [], isAnother: true, databases: 0 });
    tab.assertClean();
  });

  test(`${name}: without WebCrypto there is an identity for the time being`, async (t) => {
    const tab = await openPage(name, t);
    const seen = await tab.evaluate(async () => {
      Object.defineProperty(crypto, 'subtle', { value: undefined });
      const one = await globalThis.open(NAME);
      const { key } = await one.call('publish', { data: globalThis.bytes(10) });
      await one.close();
      const other = await globalThis.open(NAME);
      const [content] = await other.call('contents', {});
      await other.close();
      return { isAnother: one.peer !== other.peer, isKept: content.key === key };
    });
    assert.deepEqual(seen, { isAnother: true, isKept: true });
    tab.assertClean();
  });

  test(`${name}: arguments that cannot be are refused`, async (t) => {
    const tab = await openPage(name, t);
    const codes = await tab.evaluate(async (HELLO) => {
      const opened = await globalThis.open(false);
      const calls = [
        ['nothing', {}], ['publish', {}], ['publish', null], ['publish', { data: 'text' }],
        ['publish', { data: new Uint8Array(1), metadata: { name: 5 } }],
        ['publish', { data: new Uint8Array(1), metadata: { name: 'x'.repeat(300) } }],
        ['fetch', {}], ['fetch', { key: 5 }], ['fetch', { key: HELLO.toUpperCase() }], ['remove', undefined],
        ['read', { key: HELLO }], ['read', { key: HELLO, index: -1 }], ['read', { key: HELLO, index: 0.5 }],
        ['catalog', { peer: 'me' }],
      ];
      const codes = [];
      for (const [name, args] of calls) codes.push((await globalThis.codeOf(opened.call(name, args))).split(':')[0]);
      const options = [
        { rendezvous: 'nowhere' }, { rendezvous: 'ftp://127.0.0.1' }, { namespace: 'Not One' }, { syncInterval: -1 },
        { iceServers: 'stun:' }, { replicate: { budget: 'all' } }, { uploadLimit: NaN },
      ];
      for (const [at, option] of options.entries()) {
        codes.push((await globalThis.codeOf(opened.engine.attach(at + 10, option))).split(':')[0]);
      }
      codes.push((await globalThis.codeOf(opened.callAs(99, 'contents', {}))).split(':')[0]);
      for (const message of [undefined, null, 5, {}, { type: 'state', link: 5 }, { type: 'local', link: 'AAAAAAAAAAAAAAAAAAAAAA' }]) {
        opened.engine.fromBroker(message);
      }
      const contents = await opened.call('contents', {});
      await opened.close();
      return [...codes, contents.length];
    }, HELLO);
    const [argument, key] = ['invalid-argument', 'invalid-key'];
    assert.deepEqual(codes, [
      argument, argument, argument, argument, argument, argument,
      key, key, key, key, argument, argument, argument, argument,
      argument, argument, argument, argument, argument, argument, argument, 'closed', 0,
    ]);
    tab.assertClean();
  });
}

// What the two browsers take to have a full disk.
const LIMIT = 20 * 1024 * 1024;
for (const [name, place] of BROWSERS.flatMap((name) => PLACES.map((place) => [name, place]))) {
  test(`${name}, ${place}: a full disk gives \`quota\` and keeps what is there`, async (t) => {
    const browser = await launch(name, {
      until: t, profile: await temporaryProfile(),
      preferences: { 'dom.quotaManager.temporaryStorage.fixedLimit': LIMIT / 1024 },
    });
    const tab = await browser.open(site.url, { context: 'profile', until: t });
    await tab.waitForText('body', 'ready');
    const limit = async (quotaSize) => {
      if (name !== 'chromium') return;
      const session = await tab.page.createCDPSession();
      await session.send('Storage.overrideQuotaForOrigin', { origin: new URL(site.url).origin, quotaSize });
    };
    await limit(LIMIT);
    const seen = await run(tab, place, async (CHUNK, LIMIT) => {
      // A limit that the browser does not reach: it is the disk that is full.
      const opened = await globalThis.open(NAME, { storageLimit: 1e12 });
      const small = await opened.call('publish', { data: globalThis.bytes(CHUNK + 1) });
      const code = await globalThis.codeOf(opened.call('publish', { data: globalThis.noise(2 * LIMIT) }));
      const same = globalThis.isSame(await globalThis.readAll(opened, small), globalThis.bytes(CHUNK + 1));
      const contents = await opened.call('contents', {});
      // What the failed publication wrote has made room again.
      const again = await opened.call('publish', { data: globalThis.bytes(2 * CHUNK, 3) });
      await opened.close();
      return { code, same, contents: contents.length, again: again.held };
    }, CHUNK, LIMIT);
    assert.match(seen.code, /^quota: /);
    assert.deepEqual([seen.same, seen.contents, seen.again], [true, 1, 2 * CHUNK]);
  });
}
