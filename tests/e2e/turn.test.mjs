// Links through a TURN server and nothing else: with accounts that the rendezvous makes, in both
// browsers and between them; accounts that are renewed while a link is up; and a secret that is
// not the TURN server's.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { BROWSERS, launch, target } from '../rig/browsers.mjs';
import { attachPeer, openPeer, startBlankSite } from '../rig/peers.mjs';
import { startServer } from '../rig/server.mjs';
import { startTurn } from '../rig/turn.mjs';

const suite = { after };
const SECRET = 'a secret of the operator';
const FILE = { name: 'relayed', size: 3_000_000 };
/** How long a link may take to be given up, in milliseconds: the engine's own 30 s and a retry. */
const GIVEN_UP = 90_000;

const site = await startBlankSite(suite);
const turn = await startTurn({ secret: SECRET, until: suite });
const browsers = {};
for (const name of BROWSERS) browsers[name] = await launch(name, { until: suite });

/** A rendezvous that makes accounts; the secret comes from the environment or a file. */
function startRendezvous(secret, { args = [], until }) {
  return startServer(['--turn-url', turn.url, ...args], { env: { SHOAL_TURN_SECRET: secret }, until });
}

const RELAYED = { iceTransportPolicy: 'relay', syncInterval: 1000 };

function openRelayed(browser, server, until) {
  return openPeer(browser, site, server, { options: RELAYED, until });
}

/** A peer in Chromium, whose page counts the connections that are made. */
async function openCounted(server, until) {
  const tab = await browsers.chromium.open(site.url, { until });
  await tab.evaluate(() => {
    window.made = 0;
    window.RTCPeerConnection = class extends RTCPeerConnection {
      constructor(...args) {
        super(...args);
        window.made += 1;
      }
    };
  });
  return attachPeer(tab, server, RELAYED);
}

function connectionsMade({ tab }) {
  return tab.evaluate(() => window.made);
}

for (const [publishing, fetching] of [['chromium', 'chromium'], ['firefox', 'firefox'], ['chromium', 'firefox']]) {
  test(`${publishing} to ${fetching}: a file goes through the TURN server`, async (t) => {
    const server = await startRendezvous(SECRET, { until: t });
    const before = turn.allocations().length;
    const publisher = await openRelayed(browsers[publishing], server, t);
    const { key } = await publisher.publish(FILE);
    const fetcher = await openRelayed(browsers[fetching], server, t);
    await fetcher.fetch(key);
    assert.equal(await fetcher.sha256(key), await publisher.sha256(key));

    const users = new Set(turn.allocations().slice(before));
    for (const peer of [publisher, fetcher]) {
      const own = [...users].filter((user) => user.endsWith(`:${peer.id}`));
      assert.ok(own.length > 0, `${peer.id} has a relay address of its own: ${[...users]}`);
      for (const user of own) assert.ok(Number(user.split(':')[0]) > Date.now() / 1000, user);
    }
    assert.ok(!server.log.join('\n').includes(SECRET), 'the secret is in no log');
  });
}

test('accounts are renewed, for new links and for one that loses its way', async (t) => {
  // The shortest that is taken with such heartbeats: a new account each five seconds.
  const args = ['--turn-lifetime-seconds', '10', '--heartbeat-seconds', '1'];
  const server = await startRendezvous(SECRET, { args, until: t });
  const publisher = await openCounted(server, t);
  const first = await publisher.publish(FILE);
  const fetcher = await openCounted(server, t);
  await fetcher.fetch(first.key);
  const expiries = ({ id }, from = 0) => turn.allocations().slice(from)
    .flatMap((user) => (user.endsWith(`:${id}`) ? [Number(user.split(':')[0]) * 1000] : []));
  const ended = Math.max(...expiries(publisher), ...expiries(fetcher));
  await fetcher.tab.waitFor((ended) => new Promise((resolve) => { setTimeout(() => resolve(true), ended + 1000 - Date.now()); }), { args: [ended], what: 'the end of the first accounts' });

  // The same connections, by other ways: what the server had given out is gone.
  const before = turn.allocations().length;
  const made = await Promise.all([publisher, fetcher].map(connectionsMade));
  await turn.restart();
  const second = await publisher.publish({ ...FILE, seed: 2 });
  await fetcher.fetch(second.key);
  assert.equal(await fetcher.sha256(second.key), await publisher.sha256(second.key));
  assert.deepEqual(await Promise.all([publisher, fetcher].map(connectionsMade)), made, 'no other connection was made');
  for (const peer of [publisher, fetcher]) {
    const later = expiries(peer, before);
    assert.ok(later.length > 0 && later.every((expiry) => expiry > ended), `${later} after ${ended}`);
  }

  const late = await openRelayed(browsers.chromium, server, t);
  await late.fetch(first.key);
  assert.equal(await late.sha256(first.key), await publisher.sha256(first.key));
});

test('a secret that is not the TURN server\'s leaves peers unreachable, and says so', async (t) => {
  const folder = await mkdtemp(path.join(target, 'turn/secret-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const file = path.join(folder, 'secret');
  await writeFile(file, 'another secret\n', { mode: 0o600 });
  const server = await startServer(['--turn-url', turn.url, '--turn-secret-file', file], { until: t });
  const before = turn.allocations().length;
  const publisher = await openRelayed(browsers.chromium, server, t);
  const { key } = await publisher.publish(FILE);
  const fetcher = await openRelayed(browsers.chromium, server, t);
  await fetcher.tab.evaluate((key) => {
    const { peer } = window.shoal;
    peer.fetch(key, { timeout: 30_000 }).catch((error) => {
      window.shoal.failure = error.code;
      window.dispatchEvent(new Event('rig'));
    });
  }, key);
  await fetcher.tab.waitFor(() => window.shoal.events.some(({ code }) => code === 'unreachable'), { timeout: GIVEN_UP, what: 'the link given up' });
  const errors = await fetcher.events('error');
  assert.ok(errors.every(({ code }) => code === 'unreachable'), JSON.stringify(errors));
  assert.equal(errors[0].peer, publisher.id);
  const failure = await fetcher.tab.waitFor(() => window.shoal.failure, { timeout: GIVEN_UP, what: 'the fetch given up' });
  // It waited for any holder, for as long as it was told.
  assert.equal(failure, 'timeout');
  assert.deepEqual(turn.allocations().slice(before), [], 'nobody got a relay address');
  assert.ok(!server.log.join('\n').includes('another secret'));
});
