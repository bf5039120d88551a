// The process that runs a tab, to be stopped or ended as a tab that hangs or crashes is; and what
// memory a browser has.
//
//   const process = await processOf(browser, tab);
//   process.signal('SIGSTOP');
//
// No browser says which one it is: it is the one that works when the tab does, and far more than
// any other. What a tab that was closed leaves its process to do ends soon, and is waited for.

import { readFile, readdir } from 'node:fs/promises';

/** How long the tab works, in milliseconds: a guess, enough on a busy machine. */
const WORK = 600;
/** And how often at most, until it is clear which process it is. */
const TRIALS = 10;

/** @param {import('./browsers.mjs').Tab} tab */
export async function processOf(browser, tab) {
  const group = browser.puppet.process().pid;
  let worked = [];
  for (let trial = 0; trial < TRIALS; trial += 1) {
    const before = await ticks(group);
    await tab.evaluate((milliseconds) => {
      const end = performance.now() + milliseconds;
      while (performance.now() < end);
    }, WORK);
    worked = [...await ticks(group)].map(([pid, time]) => ({ pid, time: time - (before.get(pid) ?? 0) }));
    worked.sort((a, b) => b.time - a.time);
    const [{ pid, time }, second] = worked;
    if (time >= 2 * (second?.time ?? 0)) return { pid, signal: (name) => process.kill(pid, name) };
  }
  throw new Error(`which process runs ${tab.page.url()} is not clear: ${JSON.stringify(worked.slice(0, 3))}`);
}

/** How the programs call processes that run pages. */
const RUNS_PAGES = /--type=renderer|-contentproc.*\btab\b/;

/** Those of a group that run pages, and the processor time each has had, in ticks. */
async function ticks(group) {
  const found = new Map();
  for (const { pid, fields } of await membersOf(group)) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (RUNS_PAGES.test(command.replaceAll('\0', ' '))) found.set(pid, Number(fields[11]) + Number(fields[12]));
  }
  return found;
}

/** Bytes of memory of all processes of a browser that no file backs. */
export async function memoryOf(browser) {
  let bytes = 0;
  for (const { pid } of await membersOf(browser.puppet.process().pid)) {
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
    bytes += 1024 * Number(/^RssAnon:\s+(\d+)/m.exec(status)?.[1] ?? 0);
  }
  return bytes;
}

/** The processes of a group, with the fields of proc(5)'s `stat` from the third on. */
async function membersOf(group) {
  const members = [];
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
    // The name before may have spaces and brackets.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (Number(fields[2]) === group) members.push({ pid: Number(pid), fields });
  }
  return members;
}
