// How long a flash crowd takes on virtual time, beside the lower bound: the same peer logic as
// in browsers, a simulated network (peer-core/benches/schedule.rs).

import { execFileSync } from 'node:child_process';
import { root } from '../rig/browsers.mjs';
import { Report, quick } from './report.mjs';

const MEBIBYTES = quick ? 16 : 64;
/** Crowds, and the seeds that each is tried with. Virtual time has no noise, but seeds have luck. */
const CROWDS = quick
  ? [[10, [2026]], [100, [2026]]]
  : [[10, [2026, 7, 42]], [100, [2026, 7, 42]], [1000, [2026]]];

const report = new Report('schedule');
for (const [peers, seeds] of CROWDS) {
  const crowds = seeds.map((seed) => crowd(seed, peers));
  const add = (system, unit, value, more) => report.add({
    case: `${peers} peers, ${MEBIBYTES} MiB`, system, unit, values: crowds.map(value), ...more,
  });
  add('lower bound', 's', ({ bound }) => bound);
  add('median peer', 's', ({ median }) => median);
  add('last peer', 's', ({ last }) => last);
  add('median / bound', '', ({ median, bound }) => median / bound, { goal: 1.3, less: true, worst: true });
  add('sent / received', '', (each) => each.sent_per_received);
}
await report.write();

function crowd(seed, peers) {
  const cargo = ['bench', '--quiet', '--package', 'shoal-peer-core', '--bench', 'schedule', '--'];
  const output = execFileSync('cargo', [...cargo, String(seed), String(MEBIBYTES), String(peers)], {
    cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 24,
  });
  const line = output.split('\n').find((each) => each.startsWith('{'));
  if (!line) throw new Error(`nothing was reported of ${peers} peers`);
  return JSON.parse(line);
}
