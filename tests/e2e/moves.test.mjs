// Five tabs of a site are one peer; and whatever becomes of the tab its engine is in, the engine
// is soon in another, and what is fetched goes on from where it was.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { BROWSERS, launch } from '../rig/browsers.mjs';
import { attachPeer, openPeer, startBlankSite } from '../rig/peers.mjs';
import { processOf } from '../rig/processes.mjs';
import { startServer } from '../rig/server.mjs';

const MIB = 1024 * 1024;
/** From the end of one engine until the next has joined the rendezvous, in milliseconds. */
const MOVED = 2000;
/** What frames say besides the bytes of chunks, and proofs: less than this. */
const TALK = MIB / 4;

const suite = { after };
const server = await startServer([], { until: suite });
const site = await startBlankSite(suite);
const browsers = {};
for (const name of BROWSERS) {
  // Each tab in a process of its own, that one may end without another.
  browsers[name] = await launch(name, { until: suite, preferences: { 'dom.ipc.processCount.webIsolated': 8 } });
}

/** Opens five tabs, one after the other, with a peer each. */
async function openFive(name, t, options) {
  const peers = [await openPeer(browsers[name], site, server, { options, until: t })];
  while (peers.length < 5) peers.push(await openPeer(browsers[name], site, server, { options, beside: peers[0], until: t }));
  return peers;
}

/** Opens a peer that counts what it sends over its links. */
async function openSource(name, t, options) {
  const tab = await browsers[name].open(site.url, { until: t });
  await tab.evaluate(countSent, server.url);
  return attachPeer(tab, server, options);
}

/** In the page: has its engine count the bytes it sends on bulk channels. */
function countSent(url) {
  const Plain = window.Worker;
  const source = `
    const { send } = RTCDataChannel.prototype;
    const wire = new BroadcastChannel('sent');
    RTCDataChannel.prototype.send = function (data) {
      if (typeof data !== 'string') wire.postMessage(data.byteLength);
      return send.call(this, data);
    };
    await import(${JSON.stringify(`${url}/shoal/worker.js`)});
  `;
  window.sent = 0;
  window.wire = new BroadcastChannel('sent');
  window.wire.onmessage = ({ data }) => { window.sent += data; };
  window.Worker = class extends Plain {
    constructor(_, how) {
      super(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })), how);
    }
  };
}

/** In the page: whether the engine is in it. */
function hosts() {
  return navigator.locks.request(`probe:${Math.random()}`, async ({ name }) => {
    const { held } = await navigator.locks.query();
    const holder = (wanted) => held.find((lock) => lock.name === wanted)?.clientId;
    return holder(name) === holder('shoal:host:shoal');
  });
}

/** In the page: notes when its peer is online, and the largest window a source had. */
function watch(key) {
  window.online = [];
  window.window_ = 0;
  const { peer, transfers } = window.shoal;
  peer.addEventListener('state', ({ detail }) => {
    if (detail.state === 'online') window.online.push(Date.now());
  });
  transfers[key].addEventListener('progress', ({ detail }) => {
    for (const { window: size } of detail.sources) window.window_ = Math.max(window.window_, size);
  });
}

for (const name of BROWSERS) {
  test(`${name}: five tabs are one peer, and no chunk comes twice`, async (t) => {
    const options = { namespace: `five-${name}` };
    const source = await openSource(name, t, options);
    const tabs = await openFive(name, t, options);
    const own = [];
    for (let seed = 1; seed <= tabs.length; seed += 1) own.push(await source.publish({ name: `own ${seed}`, size: 2 * MIB, seed }));
    const common = await source.publish({ name: 'common', size: 4 * MIB, seed: 99 });
    assert.equal(new Set(tabs.map(({ id }) => id)).size, 1, 'one identity');

    await Promise.all(tabs.flatMap((tab, at) => [tab.start(own[at].key), tab.start(common.key)]));
    await Promise.all(tabs.flatMap((tab, at) => [tab.finished(own[at].key), tab.finished(common.key)]));

    const all = [...own, common].map(({ key }) => key).sort();
    const linked = (peer) => peer.tab.evaluate(async () => (await window.shoal.peer.peers()).filter(({ linked }) => linked));
    for (const [at, tab] of tabs.entries()) {
      assert.deepEqual((await tab.contents()).map(({ key }) => key).sort(), all, 'the library is that of all');
      const heard = await tab.tab.evaluate(() => Object.keys(window.shoal.transfers));
      assert.deepEqual(heard.sort(), [own[at].key, common.key].sort(), 'fetches are those of the tab');
      assert.deepEqual((await linked(tab)).map(({ id }) => id), [source.id]);
      assert.equal(await tab.sha256(common.key), await source.sha256(common.key));
    }
    assert.deepEqual((await linked(source)).map(({ id }) => id), [tabs[0].id], 'one link for all of them');
    const sent = await source.tab.evaluate(() => window.sent);
    const size = [...own, common].reduce((sum, content) => sum + content.size, 0);
    assert.ok(sent >= size && sent < size + TALK, `${sent} bytes were sent for ${size}`);

    const apart = await openPeer(browsers[name], site, server, { options: { ...options, store: 'another' }, beside: tabs[0], until: t });
    assert.notEqual(apart.id, tabs[0].id, 'another store, another peer');
    assert.deepEqual(await apart.contents(), []);
    for (const { tab } of [source, ...tabs, apart]) tab.assertClean();
  });

  test(`${name}: the engine leaves a tab that is closed, crashes or is frozen within two seconds`, async (t) => {
    const options = { namespace: `moves-${name}` };
    const source = await openSource(name, t, { ...options, uploadLimit: 4 * MIB });
    const content = await source.publish({ name: 'long', size: 48 * MIB, seed: 3 });
    const { key } = content;
    const tabs = await openFive(name, t, options);
    const guest = tabs.at(-1);
    // As long as nothing else works.
    const processes = new Map();
    for (const { tab } of tabs) processes.set(tab, await processOf(browsers[name], tab));
    assert.equal(new Set([...processes.values()].map(({ pid }) => pid)).size, tabs.length, 'each tab has a process');
    await guest.start(key);
    await guest.tab.evaluate(watch, key);

    /** What happens to a tab; returns how it is undone. */
    const ways = {
      closed: (tab) => tab.close(),
      crashed: (tab) => { processes.get(tab).signal('SIGKILL'); },
      frozen: async (tab) => {
        const session = await tab.page.createCDPSession();
        await session.send('Page.setWebLifecycleState', { state: 'frozen' });
        return () => session.send('Page.setWebLifecycleState', { state: 'active' });
      },
    };
    // Firefox freezes no tab, or tells no page.
    if (name === 'firefox') delete ways.frozen;

    const left = new Set(tabs);
    const asides = [];
    const took = {};
    let held = 0;
    for (const [way, happen] of Object.entries(ways)) {
      await guest.tab.waitFor((key, least) => window.shoal.progress[key]?.held >= least, { args: [key, held + 4 * MIB] });
      const found = await Promise.all([...left].map(async (peer) => ((await peer.tab.evaluate(hosts)) ? peer : undefined)));
      const [host] = found.filter(Boolean);
      assert.notEqual(host, guest, `${way}: there is another to go to`);
      left.delete(host);
      await guest.tab.page.bringToFront();
      const before = Date.now();
      const undo = await happen(host.tab);
      if (undo) asides.push({ host, undo });
      const at = await guest.tab.waitFor((before) => window.online.find((at) => at > before), { args: [before], what: `another engine, ${way}` });
      took[way] = at - before;
      held = await guest.tab.evaluate((key) => window.shoal.progress[key].held, key);
    }
    await guest.finished(key);
    for (const { undo } of asides) await undo();
    t.diagnostic(`milliseconds until the engine was elsewhere: ${JSON.stringify(took)}`);
    for (const [way, time] of Object.entries(took)) assert.ok(time < MOVED, `${way}: ${time} ms`);

    assert.equal(await guest.sha256(key), await source.sha256(key));
    const [sent, window] = [await source.tab.evaluate(() => window.sent), await guest.tab.evaluate(() => window.window_)];
    t.diagnostic(`${sent - content.size} bytes were fetched anew; a window was ${window}`);
    assert.ok(sent - content.size < Object.keys(ways).length * window + TALK);
    // Who comes back follows the engine there is.
    for (const { host } of asides) {
      await host.waitForState('online');
      assert.deepEqual((await host.contents()).map(({ held }) => held), [content.size]);
      assert.equal(await host.tab.evaluate(() => window.shoal.peer.id), guest.id);
    }
    assert.deepEqual(await guest.events('error'), []);
    guest.tab.assertClean();
  });
}
