// Memory while a content is published that is far larger than memory should be, and while it
// is fetched: the wasm heap, which never shrinks, so that its size is its peak; the page's
// own heap; and the resident size of the renderer process, which has both. A small content
// goes before the large one in the same tabs: the heap is to be the same after both.

import { readFile, statfs } from 'node:fs/promises';
import { Report, quick } from './report.mjs';
import { MB, bench, browserOnDisk, call, fileOf, openPage, pick, startSites } from './systems/bench.mjs';
import { linked, ownNamespace } from './systems/shoal.mjs';
import { target } from '../rig/browsers.mjs';
import { startServer } from '../rig/server.mjs';

const SMALL = quick ? 64 * MB : 256 * MB;
const LARGE = quick ? 256 * MB : 4096 * MB;
const LEAST = 2048 * MB;
/** Of a content there is the file, what is published of it and what is fetched; and some room. */
const COPIES = 3.5;
/** MB the wasm heap may grow above idle. */
const GOAL = 64;

await bench(async (until) => {
  const server = await startServer([], { until });
  const sites = await startSites(2, until);
  const { bavail, bsize } = await statfs(target);
  const large = quick ? LARGE : Math.min(LARGE, Math.floor(bavail * bsize / COPIES / MB) * MB);
  if (!quick && large < LEAST) throw new Error(`there is room for a content of ${large / MB} MB only`);

  const options = ownNamespace();
  const ends = {};
  for (const [at, what] of ['publish', 'fetch'].entries()) {
    const browser = await browserOnDisk('chromium', until);
    const tab = await openPage(browser, sites[at]);
    await call(tab, 'memory', 'watch', server.url);
    await call(tab, 'shoal', 'open', server.url, options);
    ends[what] = { what, tab, browser };
  }
  await linked(ends.fetch.tab, 1);
  for (const end of Object.values(ends)) end.idle = await sample(end);

  const report = new Report('memory');
  const peaks = { publish: {}, fetch: {} };
  for (const size of [SMALL, large]) {
    await pick(ends.publish.tab, await fileOf(size));
    let key;
    for (const end of Object.values(ends)) {
      const { peak, value } = await watched(end, end.what === 'publish' ? { picked: true } : key);
      key ??= value.key;
      peaks[end.what][size] = peak;
      const row = (system, value, goal) => report.add({ case: `${end.what} ${size / MB} MB`, system, unit: 'MB', values: [value / MB], goal, less: true });
      row('wasm heap above idle', peak.wasm - end.idle.wasm, GOAL);
      row('wasm heap', peak.wasm);
      row('page heap above idle', peak.page - end.idle.page);
      row('renderer above idle', peak.resident - end.idle.resident);
    }
    for (const { tab } of Object.values(ends)) await tab.evaluate(async (key) => (await window.load('shoal')).peer.remove(key), key);
  }
  for (const [what, { [SMALL]: small, [large]: big }] of Object.entries(peaks)) {
    // What allocators do with their last few pages is nobody's matter.
    report.add({ case: what, system: `wasm heap, ${large / MB} / ${SMALL / MB} MB`, unit: '', values: [big.wasm / small.wasm], goal: 1.05, less: true });
  }
  await report.write();
});

/** Does it, and looks at memory every second: the largest of each. */
async function watched(end, argument) {
  await call(end.tab, 'shoal', 'begin', end.what, argument);
  let peak = end.idle;
  for (;;) {
    const outcome = await call(end.tab, 'shoal', 'outcome');
    const now = await sample(end);
    peak = Object.fromEntries(Object.entries(now).map(([name, bytes]) => [name, Math.max(bytes, peak[name])]));
    if (outcome?.error) throw new Error(`${end.what}: ${outcome.error}`);
    if (outcome) return { peak, value: outcome.value };
  }
}

async function sample({ tab, browser }) {
  return { ...await call(tab, 'memory', 'read'), resident: await resident(browser) };
}

/** Bytes of the largest renderer of a browser, which is the one with the peer. */
async function resident(browser) {
  const session = await browser.puppet.target().createCDPSession();
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  await session.detach();
  const sizes = processInfo.filter(({ type }) => type === 'renderer').map(async ({ id }) => {
    const status = await readFile(`/proc/${id}/status`, 'utf8').catch(() => '');
    return 1024 * Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0);
  });
  return Math.max(...await Promise.all(sizes));
}
