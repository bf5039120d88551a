// A man in the middle: the rendezvous gives each of two peers a relay's description for the
// other's, and the relay has a real connection to both. What keeps it out are the signatures
// of signals and, should their check fail, the handshake inside the channel. The second is
// seen with an engine that leaves the first out.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import path from 'node:path';
import { BROWSERS, launch, target } from '../rig/browsers.mjs';
import { openPeer } from '../rig/peers.mjs';
import { startProxy } from '../rig/proxy.mjs';
import { openRelay, relayPages } from '../rig/relay.mjs';
import { startServer } from '../rig/server.mjs';
import { startSite } from '../rig/site.mjs';

const suite = { after };
const SECRET = { name: 'secret', size: 300_000 };
/** How long a link may take to be given up, in milliseconds: the engine's own 30 s and a retry. */
const GIVEN_UP = 90_000;

const server = await startServer([], { until: suite });
const pages = { '/': '<!doctype html><html lang="en"><title>Test</title>', ...await relayPages() };
const trusting = await startSite({ pages, folder: path.join(target, 'package-test-hooks'), until: suite });
const checking = await startSite({ pages, folder: path.join(target, 'package'), until: suite });
let scenes = 0;
const browsers = {};
for (const name of BROWSERS) browsers[name] = await launch(name, { until: suite });

/** Two peers behind a proxy or relay, of which one wants what the other has. */
async function openVictims(browser, site, proxy, t) {
  // Those who stand elsewhere are not to be met.
  const options = { rendezvous: proxy.url, namespace: `scene-${scenes += 1}`, syncInterval: 1000 };
  const open = () => openPeer(browser, site, site, { options, until: t });
  const publisher = await open();
  const { key } = await publisher.publish(SECRET);
  return { publisher, fetcher: await open(), key };
}

/** The scene with a relay; the fetch is begun, and nobody waits for its end. */
async function openScene(browser, site, t, options) {
  const relay = await openRelay(browser, site, server, { ...options, until: t });
  const victims = await openVictims(browser, site, relay, t);
  await victims.fetcher.tab.evaluate((key) => {
    window.shoal.peer.fetch(key).then(() => { window.shoal.hasCome = true; }, () => {});
  }, victims.key);
  return { relay, victims };
}

/** Waits until both peers have told of `count` failures of a link, each with this reason. */
async function assertLinkAuth({ victims: { publisher, fetcher, key }, relay }, reason, count = 1) {
  for (const [victim, other] of [[publisher, fetcher], [fetcher, publisher]]) {
    const errors = await victim.tab.waitFor((count) => {
      const errors = window.shoal.events.filter(({ code }) => code === 'link-auth');
      return errors.length >= count && errors;
    }, { args: [count], what: `${count} errors with link-auth` });
    for (const { message, peer } of errors) {
      assert.equal(peer, other.id);
      assert.match(message, reason);
      assert.match(message, /^The connection to 12D3KooW\w+ was dropped: .+\. Somebody may be in between/);
    }
    const peers = await victim.tab.evaluate(() => window.shoal.peer.peers());
    assert.deepEqual(peers.filter(({ linked }) => linked), []);
  }
  assert.equal(await fetcher.tab.evaluate(() => window.shoal.hasCome), undefined);
  const [content] = (await fetcher.contents()).filter((content) => content.key === key);
  assert.equal(content?.held ?? 0, 0);

  const links = await relay.report();
  assert.ok(links.length >= count, `${links.length} links`);
  for (const { sides } of links.slice(0, count)) {
    for (const { seen } of sides) {
      for (const state of ['connected', 'control open', 'bulk open']) assert.ok(seen.includes(state), `${state}: ${seen}`);
    }
  }
  // Of all links, those of further attempts too, nothing else ever came.
  for (const { sides } of links) {
    for (const { frames } of sides) {
      assert.ok(frames.every(({ channel }) => channel === 'control'), 'nothing on bulk');
      const kinds = frames.map(({ text }) => JSON.parse(text).t);
      assert.deepEqual(kinds, ['Hello', 'Auth'].slice(0, kinds.length));
    }
  }
  return links.slice(0, count);
}

function kindsSent({ sent }) {
  return sent.map((text) => JSON.parse(text).t);
}

for (const [name, browser] of Object.entries(browsers)) {
  test(`${name}: with an honest proxy, the scene shares`, async (t) => {
    const proxy = await startProxy(server, { until: t });
    const { publisher, fetcher, key } = await openVictims(browser, trusting, proxy, t);
    await fetcher.fetch(key);
    assert.equal(await fetcher.sha256(key), await publisher.sha256(key));
  });

  test(`${name}: a relay whose signals are trusted gets no further than the handshake`, async (t) => {
    const scene = await openScene(browser, trusting, t);
    const [{ sides }] = await assertLinkAuth(scene, /: the channel is not the one that was negotiated\./);
    for (const side of sides) assert.deepEqual(kindsSent(side), ['Hello', 'Auth'], 'the relay has passed on both');
  });
}

const { chromium } = browsers;

test('an Auth that is reflected is refused', async (t) => {
  const scene = await openScene(chromium, trusting, t, { manner: 'reflect' });
  const [{ sides }] = await assertLinkAuth(scene, /: another peer than was called\./);
  for (const { frames, sent } of sides) assert.deepEqual(sent, frames.map(({ text }) => text));
});

test('an Auth of an earlier link is refused', async (t) => {
  const scene = await openScene(chromium, trusting, t, { manner: 'replay' });
  const [first, second] = await assertLinkAuth(scene, /: the channel is not the one that was negotiated\./, 2);
  assert.notEqual(second.link, first.link);
  for (const [at, side] of second.sides.entries()) {
    const { signed } = JSON.parse(side.sent[1]);
    assert.equal(JSON.parse(signed.payload).link, first.link);
    assert.deepEqual(side.sent[1], first.sides[at].sent[1]);
  }
});

test('a version that is stripped from signals or from Hello is missed', async (t) => {
  for (const options of [
    // Of two versions the signals still have one, and Hello both.
    { manner: { hello: [2, 1] } },
    // The signals have both, and Hello only one.
    { versions: [2, 1] },
    { manner: { hello: [] } },
  ]) {
    const scene = await openScene(chromium, trusting, t, options);
    const [{ sides }] = await assertLinkAuth(scene, /: other versions than were signed\./);
    for (const { sent } of sides) assert.equal(JSON.parse(sent[0]).t, 'Hello');
  }
});

function assertNeverOpened(links) {
  assert.ok(links.length > 0, 'signals were forged');
  for (const { sides } of links) {
    for (const { seen, frames } of sides) {
      assert.ok(!seen.some((state) => state === 'connected' || state.endsWith('open')), String(seen));
      assert.deepEqual(frames, []);
    }
  }
}

test('where signatures are checked, forged signals lead nowhere', async (t) => {
  const { relay, victims } = await openScene(chromium, checking, t, { swaps: false });
  for (const { tab } of [victims.publisher, victims.fetcher]) {
    await tab.waitFor(() => window.shoal.events.some(({ code }) => code === 'unreachable'), { timeout: GIVEN_UP, what: 'the link given up' });
    const errors = await tab.evaluate(() => window.shoal.events.filter(({ type }) => type === 'error').map(({ code }) => code));
    assert.ok(errors.every((code) => code === 'unreachable'), String(errors));
  }
  assertNeverOpened(await relay.report());
});

test('where signatures are checked, a sealing key that was swapped is not believed', async (t) => {
  const { relay, victims: { publisher, fetcher } } = await openScene(chromium, checking, t);
  await fetcher.tab.waitFor(() => window.shoal.events.some(({ type }) => type === 'peer-join'), { what: 'the other peer' });
  // Each attempt of a peer is given up when nobody answers, and made again.
  await new Promise((resolve) => {
    relay.onswap = () => { if (relay.swapped.length >= 3) resolve(); };
    relay.onswap();
  });
  assert.ok(relay.swapped.every((kind) => kind === 'link'), String(relay.swapped));
  assert.deepEqual(await relay.report(), []);
  for (const { tab } of [publisher, fetcher]) {
    assert.deepEqual((await tab.evaluate(() => window.shoal.peer.peers())).filter(({ linked }) => linked), []);
  }
});

test('where signatures are checked, forged signals do not get in the way of true ones', async (t) => {
  const relay = await openRelay(chromium, checking, server, { honestToo: true, until: t });
  const { publisher, fetcher, key } = await openVictims(chromium, checking, relay, t);
  await fetcher.fetch(key);
  assert.equal(await fetcher.sha256(key), await publisher.sha256(key));
  assertNeverOpened(await relay.report());
});
