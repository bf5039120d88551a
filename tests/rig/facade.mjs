// The package's hand-written modules round a stand-in for the engine (stand-in/engine.js),
// served under /shoal/ like the real ones, on a page with tools for tests:
//
//   const site = await startFacadeSite({ until: suite });
//   const tab = await openFacade(browser, site, { until: t });
//   await tab.evaluate(() => order({ do: 'hang' }));
//   await tab.waitFor(() => calls.some(({ call }) => call === 'fetch'));

import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import { root } from './browsers.mjs';
import { startSite } from './site.mjs';

const PAGE = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Facade</title>
<script type="module" src="/page.js"></script>`;

const SCRIPT = `
  import * as shoal from '/shoal/index.js';

  const wire = new BroadcastChannel('stand-in');
  const rig = () => dispatchEvent(new Event('rig'));

  Object.assign(globalThis, {
    ...shoal,
    /** What the engines were asked, those of other tabs included. */
    calls: [],
    /** What the peers of this tab said. */
    events: [],
    order: (order) => wire.postMessage(order),
    /** Resolves when all that a peer's engine was asked up to now is in \`calls\`. */
    async noted(peer) {
      const count = () => calls.filter(({ call }) => call === 'peers').length;
      const before = count();
      await peer.peers();
      while (count() === before) await new Promise((resolve) => addEventListener('rig', resolve, { once: true }));
    },
    /** The first call of this name, as soon as it is known of. */
    async called(name) {
      for (;;) {
        const found = calls.find(({ call }) => call === name);
        if (found) return found;
        await new Promise((resolve) => addEventListener('rig', resolve, { once: true }));
      }
    },
    /** Opens a peer whose events are noted. */
    async open(options) {
      const peer = await shoal.Peer.open(options);
      for (const type of ['state', 'peer-join', 'peer-leave', 'catalog', 'content', 'transfer', 'error']) {
        peer.addEventListener(type, ({ detail }) => { events.push({ type, detail }); rig(); });
      }
      globalThis.peer = peer;
      return peer;
    },
    /** How a promise ends, in a form that can be passed on. */
    outcome: (promise) => promise.then(
      (value) => ({ value }),
      (error) => ({ error: { name: error?.name, code: error?.code, message: String(error?.message ?? error) } }),
    ),
    rig,
  });
  wire.onmessage = ({ data }) => { if (data.call) { calls.push(data); rig(); } };
  globalThis.isReady = true;
  rig();
`;

/** The modules and the engine's stand-in, by their address in a folder of a site. */
export async function modulesIn(place) {
  const folder = path.join(root, 'peer-wasm/js');
  const modules = { [`${place}/shoal_peer.js`]: await readFile(path.join(root, 'tests/stand-in/engine.js'), 'utf8') };
  for (const name of await readdir(folder)) {
    if (name.endsWith('.js')) modules[`${place}/${name}`] = await readFile(path.join(folder, name), 'utf8');
  }
  return modules;
}

/** Serves page and modules; `pages` adds more, or replaces what is there. */
export async function startFacadeSite({ pages = {}, ...options } = {}) {
  return startSite({ pages: { '/': PAGE, '/page.js': SCRIPT, ...await modulesIn('/shoal'), ...pages }, ...options });
}

/** Opens the page; `beside` another tab: sharing its storage and its engine. */
export async function openFacade(browser, site, { beside, until, url = site.url } = {}) {
  const tab = beside ? await browser.openBeside(beside, url, { until }) : await browser.open(url, { until });
  await tab.waitFor(() => globalThis.isReady);
  return tab;
}
