// The JavaScript of the package: what pages call, what they are told, what they are
// refused. The engine is a stand-in.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { BROWSERS, launch } from '../rig/browsers.mjs';
import { modulesIn, openFacade, startFacadeSite } from '../rig/facade.mjs';

const suite = { after };
const site = await startFacadeSite({ until: suite });

/** A name that is not of this machine: a page of it has no locks and no WebCrypto. */
const PLAIN = 'plain.test';

const browsers = {};
for (const name of BROWSERS) {
  browsers[name] = await launch(name, {
    until: suite,
    flags: [`--host-resolver-rules=MAP ${PLAIN} 127.0.0.1`],
    preferences: { 'network.dns.localDomains': PLAIN },
  });
}

for (const name of BROWSERS) {
  const open = (t, options) => openFacade(browsers[name], site, { until: t, ...options });

  test(`${name}: mistakes are named where they are made`, async (t) => {
    const tab = await open(t);
    const refused = await tab.evaluate(() => Promise.all([
      { rendezvous: 'ftp://shoal.example' }, { rendezvous: 'https://user@shoal.example' }, { rendezvous: 'https://' },
      { namespace: 7 }, { secret: 7 }, { secret: 'short' }, { namespace: 'reef', secret: 'A'.repeat(43) }, { store: true }, { store: '' }, { worker: 'yes' }, { syncInterval: 0 }, { syncInterval: '1' },
      { uploadLimit: -1 }, { downloadLimit: '1' }, { uploadSlots: 0 }, { storageLimit: 0 }, { storageLimit: '1 GB' }, { iceServers: 'stun:x' }, { iceTransportPolicy: 'some' }, { iceServers: [{}] }, { iceServers: [null] }, { iceServers: [{ urls: [] }] },
      { iceServers: [{ urls: 'http://x' }] }, { iceServers: [{ urls: ['stun:x', 'x'] }] }, { iceServers: [{ urls: 'turn:x' }] },
      { iceServers: [{ urls: 'turns:x', username: 'u' }] }, { replicate: 'all' }, { replicate: {} }, { replicate: { budget: 1, match: 'all' } },
      { replicate: { budget: 1, match: { keywords: 'a' } } }, { signal: 'now' }, null,
    ].map((options) => outcome(Peer.open(options)))));
    for (const { error } of refused) {
      assert.equal(error?.code, 'invalid-argument', JSON.stringify(error));
      assert.ok(error.message.length > 10);
    }
    const calls = await tab.evaluate(async () => {
      const peer = await open({ store: false });
      return Promise.all([
        peer.fetch(7), peer.fetch('k1', { timeout: 'soon' }), peer.fetch('k1', { signal: {} }), peer.fetch('no key'),
        peer.publish(7), peer.publish('a', { name: 7 }), peer.publish('a', { keywords: 'x' }), peer.publish('a', { onprogress: 1 }),
        peer.remove(undefined), peer.catalog('somebody'), peer.fetch('k1', { timeout: '5' }), peer.fetch('k1', { timeout: -1 }),
        peer.fetch('k1', { timeout: NaN }), peer.fetch('k1', 5), peer.publish('a', 'b'), peer.catalog('12D3KooWnobody', 'now'),
      ].map(outcome));
    });
    assert.deepEqual(calls.map(({ error }) => error?.code), [
      'invalid-key', 'invalid-argument', 'invalid-argument', 'invalid-key',
      'invalid-argument', 'invalid-argument', 'invalid-argument', 'invalid-argument', 'invalid-key', 'invalid-argument',
      ...Array(6).fill('invalid-argument'),
    ]);
    const bare = await tab.evaluate(() => Promise.all(['shoal.example', 'shoal.example/socket', 'shoal.example:443']
      .map((rendezvous) => outcome(Peer.open({ rendezvous })))));
    for (const { error } of bare) {
      assert.equal(error?.code, 'invalid-argument');
      assert.match(error.message, /Write it with its scheme, as `https:/);
    }
    const { error: relay } = await tab.evaluate(() => outcome(Peer.open({ iceServers: [{ urls: 'turn:x' }] })));
    assert.match(relay.message, /turn:x has no `username`/);
    const [error, made, nobody] = await tab.evaluate(async () => {
      const error = await peer.catalog('somebody').catch((error) => error);
      let made;
      try { new Peer(); } catch (thrown) { made = thrown.message; }
      return [[error instanceof ShoalError, error instanceof Error], made, await peer.catalog('12D3KooWnobody')];
    });
    assert.deepEqual(error, [true, true]);
    assert.match(made, /Peer\.open/);
    assert.deepEqual(nobody, []);
    tab.assertClean();
  });

  test(`${name}: what a browser lacks is named, and a store that cannot be opened`, async (t) => {
    const tab = await open(t);
    const full = await tab.evaluate(() => outcome(Peer.open({ store: 'full' })));
    assert.equal(full.error?.code, 'quota');
    const lacking = await tab.evaluate(() => {
      delete globalThis.RTCPeerConnection;
      return outcome(Peer.open());
    });
    assert.equal(lacking.error?.code, 'unsupported');
    assert.match(lacking.error.message, /RTCPeerConnection/);
    tab.assertClean();
  });

  test(`${name}: the options reach the engine, the rendezvous is the package's server`, async (t) => {
    const tab = await open(t);
    const attached = (options) => tab.evaluate(async (options) => {
      calls.length = 0;
      const peer = await open(options);
      await peer.peers();
      await peer.close();
      return JSON.parse(JSON.stringify((await called('attach')).args));
    }, options);
    const host = new URL(site.url).host;
    assert.deepEqual(await attached({}), {
      rendezvous: `ws://${host}/v1/socket`, namespace: 'public', iceTransportPolicy: 'all', replicate: null, uploadLimit: null,
      downloadLimit: null, uploadSlots: null, storageLimit: null, store: 'shoal',
    });
    const { rendezvous, iceServers, iceTransportPolicy, replicate, uploadLimit, downloadLimit, uploadSlots, store } = await attached({
      rendezvous: 'https://shoal.example', iceServers: [{ urls: 'turn:a', username: 'u', credential: 'c' }], iceTransportPolicy: 'relay',
      replicate: { budget: 5, match: { type: 'image/' } }, uploadLimit: 100, downloadLimit: 200, uploadSlots: 3, store: 'other',
    });
    assert.deepEqual({ rendezvous, iceServers, iceTransportPolicy, replicate, uploadLimit, downloadLimit, uploadSlots, store }, {
      rendezvous: 'wss://shoal.example/v1/socket', iceServers: [{ urls: ['turn:a'], username: 'u', credential: 'c' }], iceTransportPolicy: 'relay',
      replicate: { budget: 5, match: { type: 'image/' } }, uploadLimit: 100, downloadLimit: 200, uploadSlots: 3, store: 'other',
    });
    assert.equal((await attached({ rendezvous: 'wss://shoal.example/deep/socket?x=1' })).rendezvous, 'wss://shoal.example/deep/socket?x=1');
    assert.equal((await attached({ rendezvous: null, store: false })).rendezvous, null);
    assert.equal((await attached({ rendezvous: '/deep/socket' })).rendezvous, `ws://${host}/deep/socket`);
    assert.deepEqual((await attached({ iceServers: [{ urls: ['stun:a', 'stuns:b:5349'] }] })).iceServers, [{ urls: ['stun:a', 'stuns:b:5349'] }]);
    assert.deepEqual((await attached({ replicate: { budget: 1, match: null } })).replicate, { budget: 1, match: {} });
    tab.assertClean();
  });

  test(`${name}: publishing`, async (t) => {
    const tab = await open(t);
    const told = await tab.evaluate(async () => {
      const peer = await open();
      const states = [];
      const bytes = new Uint8Array([1, 2, 3]);
      const copied = peer.publish(bytes, { onprogress: ({ state }) => states.push(state) });
      // What is published is what there was when it was called.
      structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
      const contents = [
        await copied,
        await peer.publish('äx', { title: 'T', keywords: ['a'] }),
        await peer.publish(new File(['xyzw'], 'a.png', { type: 'image/png' }), { name: 'b.png' }),
        // A file system may give a file half a character for a name.
        await peer.publish(Object.defineProperty(new File(['abc'], ''), 'name', { value: 'a\ud83d.png' })),
        await peer.publish('abcd', { name: '\ude00 \ud83d\ude00', keywords: ['\ud83d'] }),
      ];
      const stop = new AbortController();
      const never = outcome(peer.publish('a', { name: 'never', signal: stop.signal }));
      const early = await outcome(peer.publish('a', { signal: AbortSignal.abort('early') }));
      stop.abort(new RangeError('enough'));
      return { contents, states, never: await never, early };
    });
    assert.deepEqual(told.contents, [
      { key: 'k3', size: 3, held: 3 },
      { key: 'k3', size: 3, held: 3, type: 'text/plain', title: 'T', keywords: ['a'] },
      { key: 'k4', size: 4, held: 4, name: 'b.png', type: 'image/png' },
      { key: 'k3', size: 3, held: 3, name: 'a\ufffd.png' },
      { key: 'k4', size: 4, held: 4, type: 'text/plain', name: '\ufffd \ud83d\ude00', keywords: ['\ufffd'] },
    ]);
    assert.deepEqual(told.states, ['fetching']);
    assert.equal(told.never.error.name, 'RangeError');
    assert.equal(told.never.error.message, 'enough');
    assert.equal(told.early.error.message, 'early');
    await tab.waitFor(() => calls.some(({ call }) => call === 'abort'));
    tab.assertClean();
  });

  test(`${name}: a fetch waits, and is ended by time, by its caller, by closing`, async (t) => {
    const tab = await open(t);
    const ends = await tab.evaluate(async () => {
      const peer = await open();
      const stop = new AbortController();
      const states = [];
      const ends = [
        peer.fetch('never', { timeout: 20, onprogress: ({ state }) => states.push(state) }),
        peer.fetch('never', { signal: stop.signal }),
        peer.fetch('never'),
      ].map(outcome);
      const late = await ends[0];
      stop.abort();
      const stopped = await ends[1];
      const transfer = await peer.fetch('k10');
      await peer.close();
      return { late, stopped, closed: await ends[2], transfer: await outcome(transfer.done), after: await outcome(peer.peers()), states, state: peer.state };
    });
    assert.equal(ends.late.error.code, 'timeout');
    assert.match(ends.late.error.message, /20 ms/);
    assert.equal(ends.stopped.error.name, 'AbortError');
    assert.equal(ends.closed.error.code, 'closed');
    assert.equal(ends.transfer.error.code, 'closed');
    assert.equal(ends.after.error.code, 'closed');
    assert.equal(ends.state, 'closed');
    assert.ok(ends.states.includes('searching'));
    await tab.waitFor(() => calls.filter(({ call }) => call === 'abort').length === 2);
    assert.equal((await tab.evaluate(() => events.filter(({ type }) => type === 'transfer').length)), 0);
    tab.assertClean();
  });

  test(`${name}: no options are no mistake, and no wait is too long`, async (t) => {
    const tab = await open(t);
    const told = await tab.evaluate(async () => {
      const peer = await open();
      const ends = [(await peer.fetch('k1', null)).content.size, (await peer.publish('ab', null)).size, (await peer.catalog('12D3KooWnobody', null)).length];
      const waiting = [3e9, null, Infinity].map((timeout) => outcome(peer.fetch('never', { timeout })));
      const soon = outcome(peer.fetch('never', { timeout: 20 }));
      const first = await Promise.race([soon.then(() => 'soon'), ...waiting.map((each) => each.then(() => 'early'))]);
      await peer.close();
      return { ends, first, codes: (await Promise.all(waiting)).map(({ error }) => error.code) };
    });
    assert.deepEqual(told, { ends: [1, 2, 0], first: 'soon', codes: ['closed', 'closed', 'closed'] });
    tab.assertClean();
  });

  test(`${name}: a transfer tells how far it is, and is read while it arrives`, async (t) => {
    const tab = await open(t);
    const read = await tab.evaluate(async () => {
      const peer = await open();
      const size = 3 * 262144 + 5;
      const key = `k${size}`;
      const transfer = await peer.fetch(key);
      const seen = { before: { ...transfer.progress }, chunks: [], states: [], order: [] };
      transfer.addEventListener('chunk', ({ detail }) => seen.chunks.push(detail));
      transfer.addEventListener('progress', ({ detail }) => seen.states.push(detail.state));
      const reader = transfer.stream().getReader();
      order({ do: 'hold', key, chunks: 1 });
      seen.first = (await reader.read()).value[0];
      order({ do: 'hold', key, chunks: 4 });
      seen.done = await transfer.done;
      for (let part = await reader.read(); !part.done; part = await reader.read()) seen.order.push([part.value[0], part.value.length]);
      const blob = await transfer.blob();
      seen.blob = [blob.size, blob.type];
      seen.buffer = (await transfer.arrayBuffer()).byteLength;
      seen.text = (await transfer.text()).slice(-6);
      const again = await peer.fetch(key);
      seen.again = [again.progress.state, (await again.done).held];
      return seen;
    });
    assert.equal(read.before.state, 'fetching');
    assert.deepEqual(read.chunks.map(({ index, peer }) => [index, peer]), [0, 1, 2, 3].map((index) => [index, 'somebody']));
    assert.deepEqual(read.states, ['fetching', 'done']);
    assert.equal(read.first, 97);
    assert.deepEqual(read.order, [[98, 262144], [99, 262144], [100, 5]]);
    assert.deepEqual(read.blob, [786437, 'text/x-test']);
    assert.equal(read.buffer, 786437);
    assert.equal(read.text, 'cddddd');
    assert.equal(read.done.held, 786437);
    assert.deepEqual(read.again, ['done', 786437]);
    tab.assertClean();
  });

  test(`${name}: what is read is held from the first bytes to the last, or until it is read no more`, async (t) => {
    const tab = await open(t);
    const told = await tab.evaluate(async () => {
      const peer = await open();
      const key = `k${3 * 262144}`;
      order({ do: 'hold', key, chunks: 3 });
      const transfer = await peer.fetch(key);
      await transfer.done;
      const holding = async () => {
        await noted(peer);
        const of = (name) => new Set(calls.filter(({ call }) => call === name).map(({ id }) => id));
        return [...of('hold')].filter((id) => !of('abort').has(id)).length;
      };
      const told = [];
      const stream = transfer.stream();
      told.push(await holding());
      const reader = stream.getReader();
      await reader.read();
      const another = transfer.stream().getReader();
      await another.read();
      told.push(await holding());
      await another.cancel();
      told.push(await holding());
      while (!(await reader.read()).done);
      told.push(await holding());
      await transfer.text();
      told.push(await holding());
      return told;
    });
    assert.deepEqual(told, [0, 2, 1, 0, 0]);
    tab.assertClean();
  });

  test(`${name}: where locks are refused, as to pages of opaque origins, large blobs are made in memory`, async (t) => {
    const tab = await open(t);
    const made = await tab.evaluate(async () => {
      const { onDisk } = await import('/shoal/blobs.js');
      const late = new Promise((resolve) => setTimeout(resolve, 2000, 'it hangs'));
      LockManager.prototype.request = async () => { throw new DOMException('not here', 'SecurityError'); };
      return Promise.race([onDisk(new Blob(['a']).stream(), ''), late]);
    });
    assert.equal(made, undefined);
    tab.assertClean();
  });

  test(`${name}: a transfer tells of the chunks that were held before, once`, async (t) => {
    const tab = await open(t);
    await tab.evaluate(async () => {
      globalThis.told = [];
      const peer = await open();
      const key = `k${3 * 262144}`;
      order({ do: 'hold', key, chunks: 2 });
      await new Promise((resolve) => peer.addEventListener('transfer', resolve, { once: true }));
      const transfer = await peer.fetch(key);
      transfer.addEventListener('chunk', ({ detail }) => { told.push([detail.index, detail.peer ?? null]); rig(); });
    });
    await tab.waitFor(() => told.length === 2);
    await tab.evaluate(() => order({ do: 'hold', key: `k${3 * 262144}`, chunks: 3 }));
    await tab.waitFor(() => told.length === 3);
    assert.deepEqual(await tab.evaluate(() => told), [[0, null], [1, null], [2, 'somebody']]);
    tab.assertClean();
  });

  test(`${name}: a stream reads no further ahead than it must, and stops when told`, async (t) => {
    const tab = await open(t);
    const [unread, one, cancelled] = await tab.evaluate(async () => {
      const peer = await open();
      const key = `k${100 * 262144}`;
      order({ do: 'hold', key, chunks: 100 });
      const transfer = await peer.fetch(key);
      const reads = () => calls.filter(({ call }) => call === 'read').length;
      const reader = transfer.stream().getReader();
      await noted(peer);
      const unread = reads();
      await reader.read();
      await noted(peer);
      const one = reads();
      await reader.cancel();
      await noted(peer);
      return [unread, one, reads()];
    });
    assert.equal(unread, 0);
    assert.ok(one >= 1 && one <= 5, `${one} reads`);
    assert.equal(cancelled, one);
    tab.assertClean();
  });

  test(`${name}: any range can be read, and what is none is named`, async (t) => {
    const tab = await open(t);
    const { lengths, errors, reads } = await tab.evaluate(async () => {
      const peer = await open();
      const size = 3 * 262144 + 10;
      const key = `k${size}`;
      order({ do: 'hold', key, chunks: 4 });
      const transfer = await peer.fetch(key);
      const runs = (bytes) => [...bytes].reduce((found, byte) => ({ ...found, [byte]: (found[byte] ?? 0) + 1 }), {});
      const ranges = [undefined, {}, { start: 262143, end: 262145 }, { start: 5, end: 5 }, { start: size - 1 }, { start: size }, { end: 1 }];
      const lengths = [];
      for (const range of ranges) lengths.push(runs(await transfer.read(range)));
      await noted(peer);
      const before = calls.filter(({ call }) => call === 'read').length;
      const errors = [];
      for (const range of [{ start: -1 }, { end: size + 1 }, { start: 2, end: 1 }, { start: 0.5 }, { start: '1' }, { end: NaN }, 'all', { end: Infinity }]) {
        errors.push((await outcome((async () => transfer.stream(range))())).error?.code);
      }
      const flag = await outcome(peer.fetch(key, { onDemand: 'yes' }));
      const early = await outcome((async () => peer.url(key))());
      return { lengths, errors: [...errors, flag.error.code, early.error.code], reads: before };
    });
    // Each chunk of the stand-in's is filled with a letter.
    const all = { 97: 262144, 98: 262144, 99: 262144, 100: 10 };
    assert.deepEqual(lengths, [all, all, { 97: 1, 98: 1 }, {}, { 100: 1 }, {}, { 97: 1 }]);
    assert.deepEqual(errors, [...Array(8).fill('invalid-argument'), 'invalid-argument', 'unsupported']);
    assert.equal(reads, 4 + 4 + 2 + 0 + 1 + 0 + 1);
    tab.assertClean();
  });

  test(`${name}: a transfer that is stopped says so everywhere, and stops for all who wanted it`, async (t) => {
    const tab = await open(t);
    const told = await tab.evaluate(async () => {
      const peer = await open();
      const [one, other] = [new AbortController(), new AbortController()];
      const first = await peer.fetch('k900000', { signal: one.signal });
      const second = await peer.fetch('k900000', { signal: other.signal });
      const stream = outcome(first.stream().getReader().read());
      one.abort(new Error('no longer'));
      await peer.peers();
      other.abort();
      return { stream: await stream, done: await outcome(first.done), second: await outcome(second.done) };
    });
    assert.equal(told.stream.error.message, 'no longer');
    assert.equal(told.done.error.message, 'no longer');
    assert.equal(told.second.error.name, 'AbortError');
    await tab.waitFor(() => calls.some(({ call }) => call === 'stopFetch'));
    // Not before the last of them let it go.
    const order = await tab.evaluate(() => calls.map(({ call }) => call).filter((call) => call === 'abort' || call === 'stopFetch'));
    assert.deepEqual(order, ['abort', 'abort', 'stopFetch']);
    tab.assertClean();
  });

  test(`${name}: a fetch ends with the last who wants it, and of all of it with the last who wants all`, async (t) => {
    const tab = await open(t);
    const told = await tab.evaluate(async () => {
      const peer = await open();
      const fetching = async (peer, key, options) => {
        const abort = new AbortController();
        await peer.fetch(key, { signal: abort.signal, ...options });
        return async () => { abort.abort(); await noted(peer); };
      };
      const stops = () => calls.splice(0).filter(({ call }) => call === 'stopFetch').map(({ args }) => [args.key, args.onDemand, args.unlessWanted]);
      const stopAll = await fetching(peer, 'k700000');
      const stopRead = await fetching(peer, 'k700000', { onDemand: true });
      await stopAll();
      const told = { all: stops() };
      await stopRead();
      told.read = stops();

      // Who fetched what was here, and what is gone, wants it no more.
      order({ do: 'hold', key: 'k500000', chunks: 2 });
      await peer.fetch('k500000');
      order({ do: 'hold', key: 'k500000', chunks: 1 });
      await peer.fetch('k500000').then(({ done }) => {
        order({ do: 'say', message: { event: 'content', content: { key: 'k500000', size: 500_000, held: 0 }, removed: true } });
        return outcome(done);
      });
      await (await fetching(peer, 'k500000'))();
      told.again = stops();

      const other = await open({ namespace: 'another' });
      const stopHere = await fetching(peer, 'k600000');
      await fetching(other, 'k600000');
      await stopHere();
      told.here = stops();
      return told;
    });
    assert.deepEqual(told, {
      all: [['k700000', true, false]], read: [['k700000', false, true]], again: [['k500000', false, false]], here: [['k600000', false, false]],
    });
    tab.assertClean();
  });

  test(`${name}: a fetch is paused, prioritised and taken back, limits are changed`, async (t) => {
    const tab = await open(t);
    const seen = await tab.evaluate(async () => {
      const peer = await open();
      const key = 'k600000';
      calls.length = 0;
      const transfer = await peer.fetch(key, { priority: 'high' });
      await transfer.pause();
      await transfer.resume();
      await transfer.setPriority('low');
      await peer.setLimits({ downloadLimit: 5 });
      const odd = await Promise.all([
        outcome(peer.fetch(key, { priority: 'now' })), outcome(transfer.setPriority('now')),
        outcome(peer.setLimits({ uploadLimit: -1 })), outcome(peer.setLimits()),
      ]);
      await transfer.cancel();
      const end = await outcome(transfer.done);
      // Of what is over there is nothing to be paused.
      await transfer.pause();
      await transfer.cancel();
      await noted(peer);
      return { odd: odd.map(({ error }) => error.code), end: end.error.code, calls: calls.map(({ call, args }) => [call, args]) };
    });
    const key = 'k600000';
    assert.deepEqual(seen.odd, ['invalid-argument', 'invalid-argument', 'invalid-argument', 'invalid-argument']);
    assert.equal(seen.end, 'aborted');
    const told = seen.calls.filter(([call]) => !['attach', 'ping', 'peers'].includes(call));
    assert.deepEqual(told.map(([call]) => call), ['fetch', 'pause', 'resume', 'prioritise', 'limit', 'abort', 'stopFetch']);
    assert.deepEqual(told.slice(0, 5).map(([, args]) => args), [
      { key, priority: 'high', paused: false, pinned: false, onDemand: false }, { key }, { key }, { key, priority: 'low' },
      { uploadLimit: null, downloadLimit: 5, uploadSlots: null },
    ]);
    tab.assertClean();
  });

  test(`${name}: events reach the page, and what it did not ask for is a \`transfer\``, async (t) => {
    const tab = await open(t);
    await tab.evaluate(() => open());
    await tab.evaluate(() => {
      const say = (message) => order({ do: 'say', message });
      say({ event: 'peer-join', peer: 'a' });
      say({ event: 'catalog', peer: 'a' });
      say({ event: 'peer-leave', peer: 'a' });
      say({ event: 'state', state: 'offline' });
      say({ event: 'content', content: { key: 'k1', size: 1, held: 1 }, removed: false });
      say({ event: 'error', error: { code: 'unreachable', message: 'far away', peer: 'b', candidates: { local: { host: 1 }, remote: { host: 0 } } } });
      say({ event: 'who-knows', of: 'a later version' });
      say({ event: 'progress', key: 'k9', progress: { state: 'done', held: 9, rate: 0, sources: [] } });
      order({ do: 'hold', key: 'k600000', chunks: 1 });
      order({ do: 'hold', key: 'k600000', chunks: 3 });
      const small = { key: 'k1', size: 1, held: 1 };
      say({ event: 'progress', key: 'k1', content: small, progress: { state: 'done', held: 1, rate: 0, sources: [] } });
    });
    const done = await tab.waitFor(async () => {
      const transfers = events.filter(({ type }) => type === 'transfer').map(({ detail }) => detail.transfer.done);
      return transfers.length === 2 && Promise.all(transfers);
    });
    assert.deepEqual(done.map(({ key, held }) => [key, held]), [['k600000', 600000], ['k1', 1]]);
    const told = await tab.evaluate(() => events.map(({ type, detail }) => [type, detail.peer ?? null, detail.state ?? null, detail.code ?? null, detail instanceof ShoalError, detail.candidates?.local.host]));
    assert.deepEqual(told.map((each) => each.slice(0, 5)), [
      ['peer-join', 'a', null, null, false], ['catalog', 'a', null, null, false], ['peer-leave', 'a', null, null, false],
      ['state', null, 'offline', null, false], ['content', null, null, null, false],
      ['error', 'b', null, 'unreachable', true], ['transfer', null, null, null, false],
      ['transfer', null, null, null, false],
    ]);
    assert.equal(told[5][5], 1);
    tab.assertClean();
  });

  test(`${name}: opening can be taken back`, async (t) => {
    const tab = await open(t);
    const ends = await tab.evaluate(async () => {
      const early = await outcome(Peer.open({ signal: AbortSignal.abort(new Error('never mind')) }));
      const stop = new AbortController();
      const opening = outcome(Peer.open({ signal: stop.signal }));
      stop.abort(new Error('too slow'));
      return [early, await opening, (await open()).state];
    });
    assert.equal(ends[0].error.message, 'never mind');
    assert.equal(ends[1].error.message, 'too slow');
    assert.equal(ends[2], 'online');
    tab.assertClean();
  });

  test(`${name}: on a plain-HTTP origin each peer is alone, in memory`, async (t) => {
    const url = new URL(site.url);
    url.hostname = PLAIN;
    const tab = await open(t, { url: url.href });
    const seen = await tab.evaluate(async () => {
      const one = await open({ rendezvous: null });
      const other = await open({ rendezvous: null });
      const hasLocks = 'locks' in navigator;
      await noted(one);
      await one.close();
      await noted(other);
      return { hasLocks, ids: [one.id, other.id], stores: calls.filter(({ call }) => call === 'attach').map(({ args }) => args.store) };
    });
    assert.equal(seen.hasLocks, false);
    assert.notEqual(seen.ids[0], seen.ids[1]);
    assert.deepEqual(seen.stores, [false, false]);
    tab.assertClean();
  });

  test(`${name}: works under a content policy, and from another origin`, async (t) => {
    const policy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; connect-src 'self'; style-src 'self'; img-src 'self'";
    const strict = await startFacadeSite({ headers: { 'content-security-policy': policy }, until: t });
    const tab = await open(t, { url: strict.url });
    assert.deepEqual(await tab.evaluate(async () => (await open()).peers()), []);
    tab.assertClean();

    const shared = await startFacadeSite({ headers: { 'access-control-allow-origin': '*' }, until: t });
    const far = await open(t);
    const attached = await far.evaluate(async (url) => {
      const { Peer } = await import(`${url}/shoal/index.js`);
      const peer = await Peer.open();
      await peer.peers();
      return (await called('attach')).args.rendezvous;
    }, shared.url);
    assert.equal(attached, `${shared.url.replace('http', 'ws')}/v1/socket`);
    assert.ok(!far.log.some(({ type }) => type === 'warn'), JSON.stringify(far.log));
    far.assertClean();
  });

  test(`${name}: a package from elsewhere is told its server`, async (t) => {
    const elsewhere = await startFacadeSite({ pages: await modulesIn('/assets'), until: t });
    const tab = await open(t, { url: elsewhere.url });
    const { error } = await tab.evaluate(async () => outcome((await import('/assets/index.js')).Peer.open()));
    assert.equal(error.code, 'invalid-argument');
    assert.match(error.message, /rendezvous/);
    assert.deepEqual(await tab.evaluate(async () => (await (await import('/assets/index.js')).Peer.open({ rendezvous: 'https://shoal.example' })).peers()), []);
    tab.assertClean();
  });
}
