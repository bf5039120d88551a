// A browser that is killed at random moments, over and over, on one profile, while it publishes,
// fetches and removes: after each time it is looked at what its store says and what it has.
//
// Now and then Chromium finds the log of a database torn by the kill before, and makes it anew
// (google/leveldb, issue 1287): the identity goes with it, and nothing that was whole.
//
// SHOAL_KILLS says how many times instead of those below, SHOAL_SEED when.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { launch, temporaryProfile } from '../rig/browsers.mjs';
import { attachPeer, openPeer, startBlankSite } from '../rig/peers.mjs';
import { wasMadeAnew } from '../rig/profiles.mjs';
import { startServer } from '../rig/server.mjs';

const MIB = 1024 * 1024;
const KILLS = { chromium: 50, firefox: 10 };
/** The longest a browser works before it is killed, in milliseconds: it is done with most then. */
const SPAN = 1500;
const SIZE = 2 * MIB;
/** What a session publishes, and what it leaves of what was there before. */
const PUBLISHED = 4;
const KEPT = 8;
/** Contents that are fetched at a time, so that some come to an end. */
const FETCHED = 3;

for (const name of Object.keys(KILLS)) {
  const kills = Number(process.env.SHOAL_KILLS ?? KILLS[name]);
  const seed = Number(process.env.SHOAL_SEED ?? 20_261_122);

  test(`${name}: killed ${kills} times, it has what it says and loses nothing that was whole`, async (t) => {
    t.diagnostic(`SHOAL_SEED=${seed}`);
    const random = randomness(seed);
    const server = await startServer([], { until: t });
    const site = await startBlankSite(t);
    const other = await launch('chromium', { until: t, profile: await temporaryProfile() });
    const options = { uploadLimit: 4 * MIB };
    let source = await openPeer(other, site, server, { context: 'profile', until: t, options });
    /** Who comes and goes as often as this has to wait for a link, until all is forgotten. */
    const forget = async () => {
      await source.tab.evaluate(() => window.shoal.peer.close());
      source = await attachPeer(source.tab, server, options);
    };
    const profile = await temporaryProfile();

    let id;
    const whole = new Set();
    const removed = new Set();
    let lost = 0;
    const counts = { partial: 0, unpublished: 0, fetched: 0, published: 0 };
    /** Starts the browser and looks at its store, without anybody to get what it lacks from. */
    const look = async (when) => {
      const browser = await launch(name, { until: t, profile });
      const tab = await browser.open(site.url, { context: 'profile' });
      const seen = await tab.evaluate(readStore, server.url);
      if (id !== undefined && seen.id !== id) {
        assert.ok(name === 'chromium' && await wasMadeAnew(profile), `${when}: the identity is kept`);
        lost += 1;
      }
      id = seen.id;
      for (const { key, name, size, announced, held, readable, wrong, left } of seen.contents) {
        assert.deepEqual({ held, readable, wrong, left }, { held: announced, readable: announced, wrong: 0, left: announced }, `${when}: ${name} (${key}), ${size} bytes`);
      }
      const complete = seen.contents.filter(({ announced, size }) => announced === size).map(({ key }) => key);
      for (const key of whole) assert.ok(complete.includes(key), `${when}: ${key} was whole and is not`);
      return { browser, tab, contents: seen.contents, complete };
    };

    for (let run = 1; run <= kills; run += 1) {
      const when = `kill ${run - 1}`;
      const { browser, tab, contents, complete } = await look(when);
      for (const key of complete) whole.add(key);
      await forget();
      const partial = contents.filter(({ key }) => !complete.includes(key));
      counts.partial += partial.filter(({ announced }) => announced > 0).length;
      const wanted = partial.map(({ key }) => key);
      while (wanted.length < FETCHED) wanted.push((await source.publish({ name: `f${run}-${wanted.length}`, size: SIZE, seed: seedOf(`f${run}-${wanted.length}`) })).key);
      const surplus = complete.slice(0, Math.max(0, complete.length - KEPT));
      for (const key of surplus) {
        whole.delete(key);
        removed.add(key);
      }
      const fresh = Array.from({ length: PUBLISHED }, (_, at) => `p${run}-${at}`);
      const working = tab.evaluate(work, server.url, { wanted, surplus, fresh: fresh.map((each) => [each, seedOf(each)]), size: SIZE });
      working.catch(() => {}); // It is killed.
      await new Promise((resolve) => setTimeout(resolve, random() * SPAN));
      await browser.kill();
      for (const { text } of tab.log) {
        const [what, key] = text.split(' ');
        if (what === 'failed') throw new Error(`${when}: ${text}`);
        if (what !== 'fetched' && what !== 'published') continue;
        counts[what] += 1;
        whole.add(key);
      }
      counts.unpublished += fresh.length - tab.log.filter(({ text }) => text.startsWith('published')).length;
    }

    // And then it is left alone: it gets the rest, and gives all of it to somebody else.
    await forget();
    const { browser, tab } = await look(`kill ${kills}`);
    const peer = await attachPeer(tab, server);
    assert.equal(peer.id, id);
    for (const { key } of await peer.contents()) await peer.fetch(key);
    const contents = await peer.contents();
    const told = await source.tab.waitFor(async (id, expected) => {
      const catalog = await window.shoal.peer.catalog(id);
      const told = catalog.map(({ key, held }) => `${key} ${held}`).sort();
      return JSON.stringify(told) === JSON.stringify(expected) && told;
    }, { args: [id, contents.map(({ key, size }) => `${key} ${size}`).sort()], what: 'the catalog that is true' });
    assert.equal(told.length, contents.length);
    await source.tab.close();
    const last = await openPeer(other, site, server, { until: t });
    for (const { key } of contents) {
      await last.fetch(key);
      assert.equal(await last.sha256(key), await peer.sha256(key));
    }
    tab.assertClean();
    await browser.close();

    t.diagnostic(JSON.stringify({ ...counts, lost, removed: removed.size, left: contents.length }));
    // It was killed while it was at work, not before or after.
    for (const [what, count] of Object.entries(counts)) assert.ok(count >= kills / 10, `${what}: ${count}`);
  });
}

/** In the page: all that a store says it holds, read by an engine that has nobody to ask. */
async function readStore(url) {
  const CHUNK = 256 * 1024;
  const PATIENCE = 10_000;
  const source = `import ${JSON.stringify(`${url}/shoal/worker.js`)};`;
  const worker = new Worker(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })), { type: 'module' });
  const said = (type) => new Promise((resolve, reject) => {
    worker.addEventListener('message', ({ data }) => {
      if (data.type === type) resolve();
      else if (data.type === 'failed' || data.type === 'crashed') reject(new Error(JSON.stringify(data)));
    });
  });
  await said('ready');
  const opened = said('opened');
  worker.postMessage({ type: 'start', store: 'shoal', name: 'reader', isShared: false, isWatched: false });
  await opened;
  const { port1, port2 } = new MessageChannel();
  worker.postMessage({ type: 'client', port: port2 }, [port2]);
  const waiting = new Map();
  port1.onmessage = ({ data: { id, ok, error } }) => {
    if (error) waiting.get(id)?.reject(new Error(error.message));
    else waiting.get(id)?.resolve(ok);
  };
  const call = (name, args) => new Promise((resolve, reject) => {
    const id = waiting.size + 1;
    waiting.set(id, { resolve, reject });
    port1.postMessage({ id, call: name, args });
  });
  const { id } = await call('attach', { rendezvous: null, namespace: 'public' });
  const contents = [];
  for (const { key, name, size, held: announced } of await call('contents', {})) {
    const length = (index) => Math.min(CHUNK, size - index * CHUNK);
    const expected = noise(seedOf(name), size);
    let [held, readable, wrong] = [0, 0, 0];
    for (const [first, end] of await call('held', { key })) {
      for (let index = first; index < end; index += 1) {
        held += length(index);
        // One that is not there is waited for, in vain.
        const late = new Promise((resolve) => setTimeout(resolve, PATIENCE));
        const bytes = await Promise.race([call('read', { key, index }), late]);
        if (!bytes) continue;
        readable += bytes.byteLength;
        const at = index * CHUNK;
        if (!new Uint8Array(bytes).every((byte, offset) => byte === expected[at + offset])) wrong += 1;
      }
    }
    contents.push({ key, name, size, announced, held, readable, wrong });
  }
  // Nothing had to be dropped for it.
  const after = await call('contents', {});
  for (const content of contents) content.left = after.find(({ key }) => key === content.key)?.held;
  const closed = said('closed');
  worker.postMessage({ type: 'close' });
  await closed;
  return { id, contents };

  function noise(seed, size) {
    const words = new Uint32Array(Math.ceil(size / 4));
    let state = seed >>> 0 || 1;
    for (let i = 0; i < words.length; i++) {
      state ^= state << 13; state ^= state >>> 17; state ^= state << 5;
      words[i] = state;
    }
    return new Uint8Array(words.buffer, 0, size);
  }

  // As below.
  function seedOf(name) {
    return [...name].reduce((seed, letter) => (Math.imul(seed, 31) + letter.charCodeAt(0)) >>> 0, 7);
  }
}

/** In the page: publishes, fetches and removes, and says what it has done. */
async function work(url, { wanted, surplus, fresh, size }) {
  const { Peer } = await import(`${url}/shoal/index.js`);
  const peer = await Peer.open();
  const fail = (error) => {
    // A link may take a while to come about with one who has just gone.
    if (error?.code !== 'unreachable') console.log(`failed ${error?.code} ${error?.message}`);
  };
  peer.addEventListener('error', ({ detail }) => fail(detail));
  const fetch = async (key) => {
    await (await peer.fetch(key)).done;
    console.log(`fetched ${key}`);
  };
  const publish = async () => {
    for (const [name, seed] of fresh) {
      const words = new Uint32Array(Math.ceil(size / 4));
      let state = seed >>> 0 || 1;
      for (let i = 0; i < words.length; i++) {
        state ^= state << 13; state ^= state >>> 17; state ^= state << 5;
        words[i] = state;
      }
      const { key } = await peer.publish(new Blob([words]), { name });
      console.log(`published ${key}`);
    }
  };
  const remove = async () => {
    for (const key of surplus) await peer.remove(key);
  };
  await Promise.all([publish(), remove(), ...wanted.map(fetch)]).catch(fail);
}

/** A content's bytes follow from its name. */
function seedOf(name) {
  return [...name].reduce((seed, letter) => (Math.imul(seed, 31) + letter.charCodeAt(0)) >>> 0, 7);
}

/** Numbers from 0 to 1 that follow from a seed (mulberry32). */
function randomness(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
