// What a benchmark leaves: a table for people, target/bench/<name>.json for machines.
//
//   const report = new Report('transfer');
//   report.add({ case: 'chromium to firefox', system: 'shoal', unit: 'MB/s', values: [13.9, 14.2], goal: 12 });
//   await report.write();

import { execFileSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { root, target } from '../rig/browsers.mjs';

/** Whether a short run was asked for. */
export const quick = process.argv.includes('--quick');

export class Report {
  #rows = [];

  constructor(bench) {
    this.bench = bench;
  }

  /**
   * Adds what was measured of one case in one system, a number for each run; the median
   * counts, or with `worst` the one that is farthest from the goal. A `goal` is a lower bound,
   * or with `less` an upper one.
   *
   * @param {{ case: string, system: string, unit: string, values: number[], goal?: number, less?: boolean, worst?: boolean }} row
   */
  add({ case: name, system, unit, values, goal, less = false, worst = false }) {
    const value = worst ? (less ? Math.max : Math.min)(...values) : median(values);
    const row = { case: name, system, unit, value, runs: values };
    if (goal !== undefined) Object.assign(row, { goal, met: less ? value <= goal : value >= goal });
    this.#rows.push(row);
    console.log(`    ${line(row)}`);
  }

  /**
   * Adds how many times as much one system did as another in the same round, for each round.
   *
   * @param {{ case: string, of: [string, number[]], to: [string, number[]], goal?: number, less?: boolean }} row
   */
  ratio({ case: name, of: [one, values], to: [other, bases], goal, less }) {
    const ratios = values.map((value, round) => value / bases[round]);
    this.add({ case: name, system: `${one} / ${other}`, unit: '', values: ratios, goal, less });
  }

  /** Prints the table and writes the file. */
  async write() {
    const report = { bench: this.bench, commit: commit(), machine: machine(), rows: this.#rows };
    const folder = path.join(target, 'bench');
    await mkdir(folder, { recursive: true });
    const file = path.join(folder, `${this.bench}.json`);
    await writeFile(file, `${JSON.stringify(report, null, 2)}\n`);
    console.log([`\n${this.bench}, ${report.commit}, ${report.machine}`, ...this.#rows.map(line), file].join('\n'));
  }
}

function line({ case: name, system, unit, value, runs, goal, met }) {
  const spread = runs.length > 1 ? ` (${tidy(Math.min(...runs))} to ${tidy(Math.max(...runs))})` : '';
  const verdict = goal === undefined ? '' : `  goal ${tidy(goal)}: ${met ? 'met' : 'missed'}`;
  return `${name.padEnd(40)} ${system.padEnd(22)} ${tidy(value).padStart(9)} ${unit}${spread}${verdict}`;
}

export function median(values) {
  if (values.length === 0) throw new Error('a row needs at least one run');
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function tidy(value) {
  return Number.isInteger(value) ? String(value) : value.toPrecision(value >= 100 ? 4 : 3);
}

function commit() {
  const git = (...args) => execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim();
  try {
    return git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain', '--untracked-files=no') ? '+' : '');
  } catch {
    return 'unknown';
  }
}

function machine() {
  const [cpu] = os.cpus();
  return `${os.cpus().length} x ${cpu?.model.trim() ?? 'unknown'}, ${Math.round(os.totalmem() / 2 ** 30)} GiB, Node ${process.versions.node}`;
}
