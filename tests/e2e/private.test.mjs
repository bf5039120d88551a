// Private namespaces and sealed signals with real browsers and the real server: who has the
// secret shares; who knows the id alone cannot join, link or see anybody; and the server reads
// no address, key or name out of all that goes through it.

import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { after, test } from 'node:test';
import { WebSocket } from 'ws';
import { launch, temporaryProfile } from '../rig/browsers.mjs';
import { openPeer, startBlankSite } from '../rig/peers.mjs';
import { startProxy } from '../rig/proxy.mjs';
import { peerIdOf } from '../rig/seal.mjs';
import { startServer } from '../rig/server.mjs';

const until = { after };
const server = await startServer([], { until });
const site = await startBlankSite(until);
const chromium = await launch('chromium', { until });
const firefox = await launch('firefox', { until });

/** A secret, as the package makes it. */
async function newSecret(browser, t) {
  const tab = await browser.open(site.url, { until: t });
  return tab.evaluate(async (url) => (await import(`${url}/shoal/index.js`)).createSecret(), server.url);
}

/** Somebody with a key and no secret, who speaks to the server without a browser. */
class Stranger {
  #keys = generateKeyPairSync('ed25519');
  /** Every text the server said. */
  heard = [];
  #waiting = () => {};

  constructor() {
    this.id = peerIdOf(this.#keys.publicKey);
  }

  signed(kind, payload) {
    const text = JSON.stringify(payload);
    const sig = sign(null, Buffer.from(`shoal/1/${kind}\0${text}`), this.#keys.privateKey).toString('base64url');
    return { peer: this.id, payload: text, sig };
  }

  /** Connects and asks to join; resolves with the answer. */
  async join(namespace, t, more = {}) {
    this.socket = new WebSocket(`${server.url.replace(/^http/, 'ws')}/v1/socket`);
    t.after(() => this.socket.terminate());
    this.socket.on('message', (data) => {
      this.heard.push(String(data));
      this.#waiting();
    });
    const { server: id, nonce, versions } = await this.next('challenge');
    this.send({ t: 'join', signed: { ...this.signed('join', { server: id, nonce, namespace, versions }), ...more } });
    return this.next('joined', 'error');
  }

  send(message) {
    this.socket.send(JSON.stringify(message));
  }

  /** The first message of these kinds, whether it is still to come or not. */
  async next(...kinds) {
    for (;;) {
      const found = this.heard.map((text) => JSON.parse(text)).find(({ t }) => kinds.includes(t));
      if (found) return found;
      await new Promise((resolve) => { this.#waiting = resolve; });
    }
  }
}

test('two with the secret share, and who knows the id alone is kept out', async (t) => {
  const options = { secret: await newSecret(chromium, t) };
  const publisher = await openPeer(chromium, site, server, { options, until: t });
  const fetcher = await openPeer(firefox, site, server, { options, until: t });
  const { key } = await publisher.publish({ name: 'family.bin', size: 1_000_000 });
  await fetcher.fetch(key);
  assert.equal(await fetcher.sha256(key), await publisher.sha256(key));
  const namespace = await publisher.tab.evaluate(() => window.shoal.peer.namespace);
  assert.match(namespace, /^~[a-z2-7]{52}$/);
  assert.equal(await fetcher.tab.evaluate(() => window.shoal.peer.namespace), namespace);

  // The id is no way in through the package,
  const tab = await chromium.open(site.url, { until: t });
  const refused = await tab.evaluate(async (url, namespace) => {
    const { Peer } = await import(`${url}/shoal/index.js`);
    return Peer.open({ namespace }).then(() => 'opened', ({ code }) => code);
  }, server.url, namespace);
  assert.equal(refused, 'invalid-argument');

  // nor through the server, with no proof or a made-up one.
  for (const more of [{}, { member: 'A'.repeat(86) }]) {
    const answer = await new Stranger().join(namespace, t, more);
    assert.equal(answer.code, 'unauthorized');
    assert.ok(!answer.message.includes(namespace), answer.message);
  }

  // Who is elsewhere hears nothing, and cannot ask for a link.
  const outside = new Stranger();
  const joined = await outside.join('public', t);
  assert.deepEqual(joined.view, []);
  const asked = {
    from: outside.id, to: publisher.id, namespace, link: createHash('md5').digest('base64url'), n: 0, nonce: 'A'.repeat(22),
    versions: [1], expires: Date.now() + 30_000, kind: 'link', body: 'A'.repeat(43),
  };
  outside.send({ t: 'signal', id: 1, to: publisher.id, signed: outside.signed('signal', asked) });
  assert.equal((await outside.next('receipts')).receipts[0].status, 'refused');
  outside.heard = outside.heard.filter((text) => !text.includes('"receipts"'));
  outside.send({ t: 'signal', id: 2, to: publisher.id, signed: outside.signed('signal', { ...asked, namespace: 'public' }) });
  assert.equal((await outside.next('receipts')).receipts[0].status, 'gone');
  outside.send({ t: 'find', key });
  assert.deepEqual((await outside.next('providers')).peers, []);
  for (const word of [namespace, publisher.id, fetcher.id]) assert.ok(!outside.heard.join('\n').includes(word), word);

  // Nor does HTTP tell of it.
  const paths = ['/v1/server', '/healthz', '/metrics', '/v1/peers', `/v1/peers?namespace=${encodeURIComponent(namespace)}`, `/v1/providers/${key}`, `/v1/providers/${key}?namespace=${encodeURIComponent(namespace)}`];
  for (const path of paths) {
    const text = await (await fetch(server.url + path)).text();
    for (const word of [publisher.id, fetcher.id]) assert.ok(!text.includes(word), `${path}: ${text}`);
    if (!path.includes(encodeURIComponent(namespace))) assert.ok(!text.includes(namespace), `${path}: ${text}`);
  }
  const peers = await publisher.tab.evaluate(() => window.shoal.peer.peers());
  assert.deepEqual(peers.map(({ id }) => id), [fetcher.id]);
});

/** All that peers say to the server and it says to them, of a session in which they share. */
async function overheard(t, options) {
  const said = [];
  const proxy = await startProxy(server, { until: t, listen: (text) => said.push(text) });
  const open = (browser) => openPeer(browser, site, server, { options: { rendezvous: proxy.url, ...options }, until: t });
  const publisher = await open(chromium);
  const fetcher = await open(firefox);
  for (const { tab } of [publisher, fetcher]) await tab.waitFor(() => window.shoal.peer.state === 'online');
  const { key } = await publisher.publish({ name: 'overheard.bin', size: 500_000 });
  await fetcher.fetch(key);
  const signals = said.map((text) => JSON.parse(text)).filter(({ t }) => t === 'signal');
  return { all: said.join('\n'), key, signals: signals.map(({ signed }) => JSON.parse(signed.payload)) };
}

test('a server sees no address of a candidate, and no ICE credentials or certificates', async (t) => {
  const { all, key, signals } = await overheard(t, { namespace: 'overheard' });
  const kinds = new Set(signals.map(({ kind }) => kind));
  for (const kind of ['link', 'accept', 'offer', 'answer', 'candidate']) assert.ok(kinds.has(kind), kind);
  // What an address, a name of mDNS, a credential or a fingerprint would stand in, and what they look like.
  for (const sign of [/candidate:/, /typ (host|srflx|relay)/, /\.local\b/, /ufrag\\*"/, /pwd\\*"/, /fingerprint/, /(?:[0-9A-F]{2}:){7}/,
    /\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b/]) {
    assert.doesNotMatch(all, sign);
  }
  for (const { kind, body } of signals) {
    if (kind === 'refuse' || kind === 'restart') continue;
    assert.match(body, /^[\w-]+$/, kind);
  }
  assert.ok(all.includes(key), 'what the server may know of a public namespace went this way');
});

test('a server of a private namespace sees no key and no name of a content', async (t) => {
  const { all, key, signals } = await overheard(t, { secret: await newSecret(chromium, t) });
  assert.ok(signals.length > 0);
  for (const word of [key, 'overheard.bin', '"catalog"', '"find"']) assert.ok(!all.includes(word), word);
});

test('the page opens a private namespace, and its link lets another in', async (t) => {
  const from = await launch('chromium', { until: t, profile: await temporaryProfile() });
  const to = await launch('firefox', { until: t, profile: await temporaryProfile() });
  const sharer = await from.open(server.url, { context: 'profile' });
  await sharer.waitFor(() => document.querySelector('#status[data-state=online]'));
  await sharer.evaluate(() => {
    [...document.querySelectorAll('#privacy button')].find(({ textContent }) => textContent === 'Share privately').click();
  });
  // The page loads anew, which ends other ways to wait.
  await sharer.page.waitForFunction(() => document.querySelector('#namespace')?.textContent === 'private to who has its link'
    && document.querySelector('#status[data-state=online]'));
  const link = await sharer.evaluate(() => location.href);
  assert.match(link, /\/#~[\w-]{43}$/);

  const friend = await to.open(link, { context: 'profile' });
  await friend.waitForText('#namespace', 'private to who has its link');
  await friend.waitForText('#peers-summary', '1');
  await friend.waitForText('#privacy', 'Copy its link');

  // Of a link that was cut off nobody is led to share in public.
  const cut = await to.open(link.slice(0, -3), { context: 'profile' });
  await cut.waitForText('.notice', 'This private link is not whole');
  assert.equal(await cut.evaluate(() => document.querySelector('#pick').disabled), true);
});
