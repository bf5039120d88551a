// What a rendezvous server costs and carries: memory of an idle peer, signals at rising rate,
// peers that come and go, and all peers coming back at once. Beside it the servers of PeerJS,
// of WebTorrent and of matchbox, in turn, each on the terms that suit it best:
//
// - Signals of this project are its own, signed, and each is acknowledged and confirmed, as peers
//   do it: with the next signal of whoever has that to say, or after a second. The others carry a
//   description of 1.5 to 2.5 kB that nobody confirms.
// - Peers of this project are all in one namespace and hear who comes and goes, and those of the
//   tracker in one swarm. matchbox tells everybody of everybody, so its peers are in rooms of
//   two. PeerJS tells nobody of anybody.
// - The tracker relays answers, which cost it less than offers. matchbox logs errors only,
//   PeerJS takes more connections than by default, and both servers of npm collect their garbage
//   before memory is read.
//
// All load comes from this machine (tests/load), which shares its cores with the servers.

import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Report, quick } from './report.mjs';
import { bench, rounds } from './systems/bench.mjs';
import { START, load } from './systems/rendezvous.mjs';

const SYSTEMS = ['shoal', 'peerjs', 'tracker', 'matchbox'];
const OTHERS = SYSTEMS.slice(1);
const ROUNDS = quick ? 1 : 3;
const PEERS = quick ? 2_000 : 10_000;
/** Peers that exchange signals. */
const SPEAKERS = 1_000;
/** Signals a second at which processor time is compared: all systems sustain it. */
const RATE = 2_000;
/** Rates that follow, each a quarter more than the one before, until one is not sustained in three attempts. */
const RATES = [...Array(quick ? 8 : 14).keys()].map((step) => Math.round(4_000 * 1.25 ** step));
/** Milliseconds for each rate. */
const SPAN = quick ? 1_500 : 3_000;
/** KiB of a joined peer. */
const MEMORY_GOAL = 10;
/** Seconds until all are back after a restart. */
const BACK_GOAL = 10;

/** Does it with a server that is started for it. */
async function on(system, use, options) {
  const server = await START[system](options);
  try {
    return await use(server);
  } finally {
    await server.stop();
  }
}

/** A run of each system, in turn. */
const each = (systems, use) => rounds(ROUNDS, Object.fromEntries(systems.map((system) => (
  [system, () => on(system, (server) => use(server))]
))));

await bench(async (until) => {
  const report = new Report('rendezvous');
  const pick = (runs, what) => Object.fromEntries(Object.entries(runs).map(([system, values]) => [system, values.map(what)]));
  const row = (name, unit, values, more = {}) => {
    for (const [system, runs] of Object.entries(values)) {
      report.add({ case: name, system, unit, values: runs, ...(system === 'shoal' ? more : {}) });
    }
  };
  const beside = (name, values, less) => {
    for (const other of OTHERS) report.ratio({ case: name, of: ['shoal', values.shoal], to: [other, values[other]], goal: 1, less });
  };

  const idle = await each(SYSTEMS, (server) => load(server, PEERS, 'idle'));
  row(`${PEERS} idle peers: connected`, 'KiB each', pick(idle, ({ connectedKib }) => connectedKib));
  const joined = pick(idle, ({ joinedKib }) => joinedKib);
  row(`${PEERS} idle peers: joined`, 'KiB each', joined, { goal: MEMORY_GOAL, less: true });
  row('processor time to connect and join', 'ms', pick(idle, ({ cpuMillisPerJoin }) => cpuMillisPerJoin));
  beside('memory of a joined peer', joined, true);
  // As many as a process may have files, less those it needs itself.
  const most = quick ? 4_000 : Math.min(19_500, openFiles() - 500);
  const many = await on('shoal', (server) => load(server, most, 'idle'));
  report.add({ case: `${most} idle peers: joined`, system: 'shoal', unit: 'KiB each', values: [many.joinedKib], goal: MEMORY_GOAL, less: true });

  const rates = [RATE, ...RATES].join(',');
  const relay = await each(SYSTEMS, (server) => load(server, SPEAKERS, 'relay', { rates, span: SPAN }));
  const at = (steps) => steps.find(({ rate }) => rate === RATE);
  row('size of a signal', 'bytes', pick(relay, ({ steps }) => at(steps).bytes));
  row(`${RATE} signals/s: p50`, 'ms', pick(relay, ({ steps }) => at(steps).times.p50 ?? Infinity));
  row(`${RATE} signals/s: p99`, 'ms', pick(relay, ({ steps }) => at(steps).times.p99 ?? Infinity));
  const last = ({ steps }) => steps.findLast(({ sustained }) => sustained) ?? { rate: 0, loadBusy: 0 };
  row('highest rate with p99 below 50 ms', 'signals/s', pick(relay, (run) => last(run).rate));
  row('load generator at that rate', 'of a core', pick(relay, (run) => last(run).loadBusy));
  const cheap = pick(relay, ({ steps }) => at(steps).perCpuSecond);
  // Also of a rate that is not sustained: an overloaded server does more at a time.
  const fast = pick(relay, ({ steps }) => Math.max(...steps.map(({ perCpuSecond }) => perCpuSecond)));
  row(`relayed per processor second, at ${RATE}/s`, 'signals', cheap);
  row('relayed per processor second, at most', 'signals', fast);
  beside(`relayed per processor second, at ${RATE}/s`, cheap);
  beside('relayed per processor second, at most', fast);
  for (const [system, runs] of Object.entries(relay)) {
    const steps = runs.flatMap(({ steps }) => steps.filter(({ sustained }) => sustained));
    const missing = steps.map(({ count }) => count.lost + count.lied + count.unknown + count.repeated);
    report.add({ case: 'lost or repeated at sustained rates', system, unit: 'signals', values: [missing.reduce((a, b) => a + b, 0)], goal: 0, less: true });
  }

  const churn = await each(['shoal'], (server) => load(server, PEERS, 'churn', {
    churn: 100, staying: PEERS / 2, signals: 200, span: quick ? 5_000 : 15_000,
  }));
  const churned = (name, unit, what, more) => row(`${PEERS} peers, 100 come and go a second: ${name}`, unit, pick(churn, what), more);
  churned('join p50', 'ms', ({ joins }) => joins.p50);
  churned('join p99', 'ms', ({ joins }) => joins.p99);
  churned('signal p99', 'ms', ({ signals }) => signals.p99);
  churned('messages for one that comes or goes', '', ({ messagesPerChange }) => messagesPerChange);
  churned('kB for one that comes or goes', 'kB', ({ bytesPerChange }) => bytesPerChange / 1000);
  churned('processor', 'of a core', ({ cpuShare }) => cpuShare);
  churned('signals lost', '', ({ count }) => count.lost + count.lied + count.returned, { goal: 0, less: true });

  const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-bench-'));
  until.after(() => rm(folder, { recursive: true, force: true }));
  const args = ['--identity', path.join(folder, 'identity')];
  for (const [how, name] of [['stop', 'restart'], ['kill', 'kill and start']]) {
    const runs = [];
    for (let round = 0; round < ROUNDS; round++) {
      runs.push(await on('shoal', (server) => (
        load(server, PEERS, 'storm', { signals: 500 }, () => server.restart(how))
      ), { args }));
    }
    const storm = (what, unit, values, more) => report.add({ case: `${name} with ${PEERS} peers: ${what}`, system: 'shoal', unit, values, ...more });
    storm('all are back', 's', runs.map(({ backSeconds }) => backSeconds), { goal: BACK_GOAL, less: true, worst: true });
    storm('acknowledged but missing', 'signals', runs.map(({ interrupted, afterwards }) => interrupted.lied + afterwards.lied), { goal: 0, less: true, worst: true });
    storm('under way when it ended', 'signals', runs.map(({ interrupted }) => interrupted.lost + interrupted.returned));
    storm('lost when all are back', 'signals', runs.map(({ afterwards }) => afterwards.lost + afterwards.returned), { goal: 0, less: true, worst: true });
  }
  await report.write();
});

function openFiles() {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  return Number(/^Max open files\s+(\d+)/m.exec(limits)[1]);
}
