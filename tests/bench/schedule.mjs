// How long a flash crowd takes on virtual time, beside the lower bound: the same peer logic as
// in browsers, a simulated network (peer-core/benches/schedule.rs).

import { execFileSync } from 'node:child_process';
import { root } from '../rig/browsers.mjs';
import { Report, quick } from './report.mjs';

const MEBIBYTES = quick ? 16 : 64;
const CROWDS = quick ? [10, 100] : [10, 100, 1000];

const report = new Report('schedule');
const cargo = ['bench', '--quiet', '--package', 'shoal-peer-core', '--bench', 'schedule', '--'];
// Virtual time has no noise: one run is as good as many.
const output = execFileSync('cargo', [...cargo, String(MEBIBYTES), ...CROWDS.map(String)], {
  cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 24,
});
const crowds = output.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
if (crowds.length !== CROWDS.length) throw new Error(`${crowds.length} of ${CROWDS.length} crowds were reported`);
for (const { peers, bound, median, last, ...rest } of crowds) {
  const add = (system, unit, value, more) => report.add({
    case: `${peers} peers, ${MEBIBYTES} MiB`, system, unit, values: [value], ...more,
  });
  add('lower bound', 's', bound);
  add('median peer', 's', median);
  add('last peer', 's', last);
  add('median / bound', '', median / bound, { goal: 1.3, less: true });
  add('sent / received', '', rest.sent_per_received);
}
await report.write();
