// MB/s from tab to tab: this project, and beside it in the same run a bare data channel,
// which is the physical limit. Runs are interleaved, and each tab is new.

import { launch, temporaryProfile } from '../rig/browsers.mjs';
import { openPeer, startBlankSite } from '../rig/peers.mjs';
import { startServer } from '../rig/server.mjs';
import { Report, quick } from './report.mjs';

const MB = 1_000_000;
const SIZE = quick ? 32 * MB : 64 * MB;
const RUNS = quick ? 1 : 5;
/** Bytes of a message of the bare channel: what this project sends too. */
const MESSAGE = 64 * 1024;

const ends = [];
const until = { after: (done) => ends.unshift(done) };
try {
  const server = await startServer([], { until });
  const site = await startBlankSite(until);
  // On disk, as for a person: Chromium keeps other contexts in memory.
  const browsers = [];
  for (let each = 0; each < 2; each++) {
    browsers.push(await launch('chromium', { until, profile: await temporaryProfile() }));
  }
  const bare = [];
  const shoal = [];
  for (let run = 0; run < RUNS; run++) {
    bare.push(await bareChannel(browsers, site));
    shoal.push(await transfer(browsers, site, server, run));
  }
  const report = new Report('transfer');
  const name = `one source, ${SIZE / MB} MB, Chromium`;
  report.add({ case: name, system: 'bare channel', unit: 'MB/s', values: bare });
  report.add({ case: name, system: 'shoal', unit: 'MB/s', values: shoal });
  report.add({ case: name, system: 'shoal / bare', unit: '', values: shoal.map((rate, run) => rate / bare[run]) });
  await report.write();
} finally {
  for (const end of ends) await end();
}

/** From `fetch` to `done`: found, verified and stored. */
async function transfer(browsers, site, server, run) {
  const options = { namespace: `bench-${run}` };
  const publisher = await openPeer(browsers[0], site, server, { options, context: 'profile' });
  const fetcher = await openPeer(browsers[1], site, server, { options, context: 'profile' });
  const { key } = await publisher.publish({ name: 'bench', size: SIZE, seed: run + 1 });
  await fetcher.tab.waitFor(async () => (await window.shoal.peer.peers()).some(({ linked }) => linked), { what: 'a link' });
  const rate = await fetcher.tab.evaluate(async (key, size) => {
    const start = performance.now();
    const transfer = await window.shoal.peer.fetch(key);
    await transfer.done;
    const seconds = (performance.now() - start) / 1000;
    await window.shoal.peer.remove(key);
    return size / 1e6 / seconds;
  }, key, SIZE);
  await publisher.tab.evaluate((key) => window.shoal.peer.remove(key), key);
  await publisher.tab.close();
  await fetcher.tab.close();
  return rate;
}

async function bareChannel(browsers, site) {
  const [from, to] = [await browsers[0].open(site.url), await browsers[1].open(site.url)];
  for (const tab of [from, to]) {
    await tab.evaluate(() => {
      const pc = new RTCPeerConnection();
      const channel = pc.createDataChannel('bare', { negotiated: true, id: 0 });
      channel.binaryType = 'arraybuffer';
      const open = new Promise((resolve) => { channel.onopen = resolve; });
      const gathered = new Promise((resolve) => {
        pc.onicecandidate = ({ candidate }) => { if (candidate === null) resolve(); };
      });
      window.bare = { pc, channel, open, gathered };
    });
  }
  const offer = await from.evaluate(async () => {
    const { pc, gathered } = window.bare;
    await pc.setLocalDescription();
    await gathered;
    return pc.localDescription.toJSON();
  });
  const answer = await to.evaluate(async (offer) => {
    const { pc, gathered } = window.bare;
    await pc.setRemoteDescription(offer);
    await pc.setLocalDescription();
    await gathered;
    return pc.localDescription.toJSON();
  }, offer);
  await from.evaluate((answer) => window.bare.pc.setRemoteDescription(answer), answer);
  const received = to.evaluate((size) => new Promise((resolve) => {
    let bytes = 0;
    let start;
    window.bare.channel.onmessage = ({ data }) => {
      start ??= performance.now();
      bytes += data.byteLength;
      if (bytes >= size) resolve(size / 1e6 / ((performance.now() - start) / 1000));
    };
  }), SIZE);
  await from.evaluate(async (size, message) => {
    const { channel, open } = window.bare;
    await open;
    const bytes = new Uint8Array(message);
    channel.bufferedAmountLowThreshold = 512 * 1024;
    for (let sent = 0; sent < size; sent += message) {
      if (channel.bufferedAmount > 1024 * 1024) {
        await new Promise((resolve) => { channel.onbufferedamountlow = resolve; });
      }
      channel.send(bytes);
    }
  }, SIZE, MESSAGE);
  const rate = await received;
  await from.close();
  await to.close();
  return rate;
}
