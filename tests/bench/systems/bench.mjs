// What browser benchmarks have in common: they run inside `bench`, which ends whatever they
// started, and their pages are sites of tests/bench/page.

import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { mkdir, open, readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { launch, target, temporaryProfile, within } from '../../rig/browsers.mjs';
import { startSite } from '../../rig/site.mjs';

export const MB = 1_000_000;
/** Bytes of a file that are made at a time. */
const PART = 16 * MB;
/** Milliseconds one run of one system may take: a guess, some ten times what the slowest did. */
const PATIENCE = 600_000;

const folder = fileURLToPath(new URL('../page', import.meta.url));
const PAGE = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Bench</title>
<input type="file">
<script type="module">
  window.load = (name) => import('/' + name + '.js');
  window.isReady = true;
  dispatchEvent(new Event('rig'));
</script>`;

/** Runs a benchmark; all that it started with `until` ends with it, last first. */
export async function bench(run) {
  const ends = [];
  // Whatever waits for this process to exit cleans up then too.
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));
  try {
    await run({ after: (end) => ends.unshift(end) });
  } finally {
    for (const end of ends) await end();
  }
}

/** A browser with a profile on disk, as a person has it: Chromium keeps other contexts in memory. */
export async function browserOnDisk(name, until, options = {}) {
  return launch(name, { until, profile: await temporaryProfile(), ...options });
}

/** Sites with the pages of the benchmarks. Each is an origin of its own, and so has a store of its own. */
export async function startSites(count, until, pages = {}) {
  const bundle = new URL('../node_modules/webtorrent/dist/webtorrent.min.js', import.meta.url);
  const all = { '/': PAGE, '/webtorrent.min.js': await readFile(bundle, 'utf8'), ...pages };
  return Promise.all(Array.from({ length: count }, () => startSite({ pages: all, folder, until })));
}

/** Opens a page of a site in the browser's profile. */
export async function openPage(browser, site) {
  const tab = await browser.open(site.url, { context: 'profile' });
  await tab.waitFor(() => window.isReady, { what: 'the page' });
  return tab;
}

/** Gives the page a file of the disk, as a person would. */
export async function pick(tab, file) {
  const input = await tab.page.$('input');
  await input.uploadFile(file);
  await input.dispose();
}

/** A file of bytes that nothing can compress, removed when this process ends. */
export async function fileOf(size) {
  const files = path.join(target, 'bench');
  await mkdir(files, { recursive: true });
  const name = path.join(files, `noise-${process.pid}-${size}`);
  process.once('exit', () => rmSync(name, { force: true }));
  const file = await open(name, 'w');
  for (let left = size; left > 0; left -= PART) await file.write(randomBytes(Math.min(left, PART)));
  await file.close();
  return name;
}

/** Calls a function of a module of the page. */
export function call(tab, module, name, ...args) {
  return tab.evaluate(async (module, name, args) => (await window.load(module))[name](...args), module, name, args);
}

/** Runs the systems of a round, each round in another order, and returns what each measured, by name. */
export async function rounds(count, systems) {
  const values = Object.fromEntries(Object.keys(systems).map((name) => [name, []]));
  const names = Object.keys(systems);
  for (let round = 0; round < count; round++) {
    for (let at = 0; at < names.length; at++) {
      const name = names[(at + round) % names.length];
      const value = await within(PATIENCE, systems[name](round), () => `no end of ${name}, round ${round + 1}`);
      values[name].push(value);
      console.error(`    round ${round + 1}: ${name}: ${typeof value === 'number' ? value.toFixed(2) : JSON.stringify(value)}`);
    }
  }
  return values;
}
