// What sealing the bodies of signals costs: microseconds a body and bytes a signal, natively
// (protocol/benches/seal.rs).

import { execFileSync } from 'node:child_process';
import { root } from '../rig/browsers.mjs';
import { Report, quick } from './report.mjs';

const BODIES = quick ? 1_000 : 10_000;
const RUNS = quick ? 3 : 9;

const report = new Report('seal');
const cargo = ['bench', '--quiet', '--package', 'shoal-protocol', '--bench', 'seal', '--', String(BODIES)];
const runs = Array.from({ length: RUNS }, () => execFileSync('cargo', cargo, {
  cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'],
}).split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line)));
for (const [at, row] of runs[0].entries()) {
  const add = (system, unit, values) => report.add({ case: row.case, system, unit, values });
  if (row.micros === undefined) {
    add('in plain', 'bytes', [row.plain]);
    add('sealed', 'bytes', [row.sealed]);
  } else {
    add('shoal', 'µs', runs.map((rows) => rows[at].micros));
  }
}
await report.write();
