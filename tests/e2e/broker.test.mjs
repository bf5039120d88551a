// The broker without an engine: two of them, told of each other what engines would tell.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import path from 'node:path';
import { BROWSERS, launch, root, within } from '../rig/browsers.mjs';
import { startSite } from '../rig/site.mjs';

const PAIRS = [['chromium', 'chromium'], ['firefox', 'firefox'], ['chromium', 'firefox'], ['firefox', 'chromium']];

/** More than Chromium allows at once, as `issues` of js-libp2p tell: 500. */
const MANY = 700;

/** How long the browsers may take to go over to another way, in milliseconds. A guess: they
 *  take one or two. */
const PATIENCE = 30_000;

// Says what happens to the channels, and echoes.
const WORKER = `
  const channels = new Map();
  onmessage = ({ data: { link, control, bulk, send } }) => {
    if (send) { channels.get(link).control.send(send); return; }
    channels.set(link, { control, bulk });
    for (const [name, channel] of Object.entries({ control, bulk })) {
      const { ordered, negotiated, id } = channel;
      channel.onopen = () => postMessage({ link, open: name, ordered, negotiated, id });
      channel.onmessage = ({ data }) => postMessage({ link, heard: data });
      channel.onclose = () => { channels.delete(link); postMessage({ link, closed: name }); };
    }
  };
`;

// A party: a broker, and a worker in place of the engine. What the broker says of itself is
// brought into the form in which the other side hears it.
const PAGE = `<!doctype html><meta charset="utf-8"><title>Broker</title><script type="module">
  import { Broker } from '/broker.js';

  globalThis.party = (worker, say) => {
    const said = [];
    const broker = new Broker((message, transfer) => {
      said.push(message.type);
      if (message.type === 'channels') worker.postMessage(message, transfer);
      else if (message.type === 'local') say({ ...message, type: 'remote' });
      else if (message.type === 'candidate') say(message);
      else {
        (globalThis.states ??= []).push(message);
        dispatchEvent(new Event('rig'));
      }
    });
    return { broker, said };
  };

  const worker = new Worker('/worker-end.js');
  globalThis.heard = [];
  worker.onmessage = ({ data }) => { heard.push(data); dispatchEvent(new Event('rig')); };

  let out;
  const outbox = new ReadableStream({ start(controller) { out = controller; } }).getReader();
  globalThis.here = party(worker, (message) => out.enqueue(message));
  globalThis.next = async () => (await outbox.read()).value;
  globalThis.send = (link, text) => worker.postMessage({ link, send: text });
</script>`;

const suite = { after };
const site = await startSite({
  pages: { '/': PAGE, '/worker-end.js': WORKER },
  folder: path.join(root, 'peer-wasm/js'),
  until: suite,
});
const browsers = {};
for (const name of BROWSERS) browsers[name] = await launch(name, { until: suite });

async function open(name, t) {
  const tab = await browsers[name].open(site.url, { until: t });
  await tab.waitFor(() => globalThis.here);
  await tab.evaluate(() => {
    const Native = RTCPeerConnection;
    globalThis.RTCPeerConnection = class extends Native {
      constructor(...args) {
        super(...args);
        globalThis.latest = this;
      }
    };
  });
  return tab;
}

/** Carries what one broker says to the other, until it has no more candidates; the description. */
async function carry(from, to) {
  let description;
  for (;;) {
    const message = await from.evaluate(() => globalThis.next());
    await to.evaluate((message) => globalThis.here.broker.handle(message), message);
    if (message.type === 'remote') description = message;
    if (message.type === 'candidate' && message.candidate === null) return description;
  }
}

/** Waits until a connection sends from one user fragment to another. */
async function usesWay(tab, ...way) {
  for (;;) {
    const used = await tab.evaluate(async () => {
      const report = [...(await globalThis.latest.getStats()).values()];
      const { selectedCandidatePairId } = report.find(({ type }) => type === 'transport') ?? {};
      const pair = report.find(({ id, selected }) => id === selectedCandidatePairId || selected);
      return [pair?.localCandidateId, pair?.remoteCandidateId]
        .map((id) => report.find((candidate) => candidate.id === id)?.usernameFragment);
    });
    if (used.join() === way.join()) return;
  }
}

for (const [one, other] of PAIRS) {
  test(`both channels open in workers, ${one} offers to ${other}`, async (t) => {
    const a = await open(one, t);
    const b = await open(other, t);
    for (const [tab, role] of [[a, 'offerer'], [b, 'answerer']]) {
      await tab.evaluate((role) => globalThis.here.broker.handle({ type: 'open', link: 'one', role, iceServers: [] }), role);
    }
    const carried = Promise.all([carry(a, b), carry(b, a)]);
    for (const tab of [a, b]) {
      const opened = await tab.waitFor(() => {
        const opened = globalThis.heard.filter(({ open }) => open);
        return opened.length === 2 && opened.sort((x, y) => x.id - y.id);
      });
      assert.deepEqual(opened, [
        { link: 'one', open: 'control', ordered: true, negotiated: true, id: 0 },
        { link: 'one', open: 'bulk', ordered: false, negotiated: true, id: 1 },
      ]);
    }
    const first = await carried;
    await a.evaluate(() => globalThis.send('one', 'over the channel'));
    await b.waitFor(() => globalThis.heard.some(({ heard }) => heard === 'over the channel'));

    // ICE is restarted: other credentials, and all else as it was.
    await a.evaluate(() => globalThis.here.broker.handle({ type: 'restart', link: 'one' }));
    const second = await Promise.all([carry(a, b), carry(b, a)]);
    for (const [at, { ufrag, pwd, ...rest }] of second.entries()) {
      const { ufrag: oldUfrag, pwd: oldPwd, ...oldRest } = first[at];
      assert.notEqual(ufrag, oldUfrag);
      assert.notEqual(pwd, oldPwd);
      assert.deepEqual(rest, oldRest);
    }
    const [{ ufrag: ofA }, { ufrag: ofB }] = second;
    // Firefox leaves the old way, so both must go over; two Chromiums may keep to it.
    if (one !== 'chromium' || other !== 'chromium') {
      await within(PATIENCE, usesWay(a, ofA, ofB), () => `${one} does not use the new way`);
      await within(PATIENCE, usesWay(b, ofB, ofA), () => `${other} does not use the new way`);
    }
    for (const [from, to] of [[a, b], [b, a]]) {
      await from.evaluate(() => globalThis.send('one', 'over the new way'));
      await to.waitFor(() => globalThis.heard.some(({ heard }) => heard === 'over the new way'));
    }
    assert.equal((await a.evaluate(() => globalThis.heard)).some(({ closed }) => closed), false);

    const states = await Promise.all([a, b].map((tab) => tab.waitFor(
      () => globalThis.states?.find(({ value }) => value === 'connected'),
    )));
    const names = [states[0].remoteFingerprint, states[1].remoteFingerprint];
    for (const name of names) assert.match(name, /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/);
    assert.notEqual(names[0], names[1]);

    await a.evaluate(() => globalThis.here.broker.handle({ type: 'close', link: 'one' }));
    await b.waitFor(() => globalThis.heard.some(({ closed }) => closed === 'control'));
    assert.equal(await a.evaluate(() => globalThis.here.broker.size), 0);
    a.assertClean();
    b.assertClean();
  });
}

for (const name of BROWSERS) {
  test(`${name}: what is reported is what was used`, async (t) => {
    const tab = await open(name, t);
    const { local, connected } = await tab.evaluate(async () => {
      const [seen, mirror] = [{}, {}];
      const worker = new Worker('/worker-end.js');
      const one = globalThis.party(worker, (message) => {
        if (message.type === 'remote') seen.local = message.fingerprint;
        mirror.other.broker.handle(message);
      });
      mirror.other = globalThis.party(new Worker('/worker-end.js'), (message) => one.broker.handle(message));
      // A candidate that is there before the description waits for it.
      mirror.other.broker.handle({ type: 'open', link: 'two', role: 'answerer', iceServers: [] });
      mirror.other.broker.handle({ type: 'candidate', link: 'two', candidate: 'candidate:1 1 udp 1 127.0.0.1 9 typ host' });
      one.broker.handle({ type: 'open', link: 'two', role: 'offerer', iceServers: [] });
      while ((globalThis.states ?? []).filter(({ value }) => value === 'connected').length < 2) {
        await new Promise((resolve) => { addEventListener('rig', resolve, { once: true }); });
      }
      seen.connected = globalThis.states.filter(({ value }) => value === 'connected').map(({ remoteFingerprint }) => remoteFingerprint);
      one.broker.close();
      mirror.other.broker.close();
      return seen;
    });
    assert.ok(connected.includes(local), `${local} is not among ${connected}`);
    tab.assertClean();
  });

  test(`${name}: what cannot be is reported, and nothing stays`, async (t) => {
    const tab = await open(name, t);
    await tab.evaluate(() => {
      const { broker } = globalThis.here;
      broker.handle({ type: 'open', link: 'ice', role: 'offerer', iceServers: [{ urls: ['http://no.such.scheme'] }] });
      broker.handle({ type: 'open', link: 'remote', role: 'answerer', iceServers: [] });
      broker.handle({ type: 'remote', link: 'remote', ufrag: 'abcd', pwd: 'x', fingerprint: 'none', setup: 'actpass', maxMessageSize: 0 });
      // Of links it does not know, or no longer.
      broker.handle({ type: 'candidate', link: 'none', candidate: null });
      broker.handle({ type: 'close', link: 'none' });
    });
    const failed = await tab.waitFor(() => {
      const failed = (globalThis.states ?? []).filter(({ type }) => type === 'failed');
      return failed.length === 2 && failed;
    });
    assert.deepEqual(failed.map(({ link }) => link).sort(), ['ice', 'remote']);
    for (const { code, detail } of failed) {
      assert.equal(code, 'unreachable');
      assert.ok(detail.length > 10, detail);
    }
    tab.assertClean();
  });

  test(`${name}: ${MANY} connections are opened and closed one after the other`, async (t) => {
    const tab = await open(name, t);
    const took = await tab.evaluate(async (many) => {
      const worker = new Worker('/worker-end.js');
      let opened;
      worker.onmessage = ({ data }) => { if (data.open === 'control') opened(); };
      const one = globalThis.party(worker, (message) => other.broker.handle(message));
      const other = globalThis.party(new Worker('/worker-end.js'), (message) => one.broker.handle(message));
      const start = performance.now();
      for (let link = 0; link < many; link += 1) {
        const isOpen = new Promise((resolve) => { opened = resolve; });
        other.broker.handle({ type: 'open', link: `${link}`, role: 'answerer', iceServers: [] });
        one.broker.handle({ type: 'open', link: `${link}`, role: 'offerer', iceServers: [] });
        await isOpen;
        for (const { broker } of [one, other]) broker.handle({ type: 'close', link: `${link}` });
      }
      return performance.now() - start;
    }, MANY);
    t.diagnostic(`${(took / MANY).toFixed(1)} ms each`);
    tab.assertClean();
  });
}
