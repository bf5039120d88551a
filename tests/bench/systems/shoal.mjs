// Peers of this project in tabs.

import { call, openPage } from './bench.mjs';

let namespaces = 0;

/** Options that put the peers of one run among themselves. */
export function ownNamespace() {
  namespaces += 1;
  return { namespace: `bench-${namespaces}` };
}

export async function openPeer(browser, site, server, options, prepare = () => {}) {
  const tab = await openPage(browser, site);
  await prepare(tab);
  await call(tab, 'shoal', 'open', server.url, options);
  return tab;
}

export function linked(tab, count) {
  return call(tab, 'shoal', 'linked', count);
}

/**
 * MB/s of one fetch from `sites.length - 1` sources, which all are linked by then; the last
 * site is the fetcher's. The content is published by every source.
 */
export async function transfer({ from, to, sites, server, size, seed, prepare, options = ownNamespace() }) {
  const homes = sites.slice(0, -1);
  const sources = [];
  let key;
  for (const home of homes) {
    const tab = await openPeer(from, home, server, options, prepare);
    ({ key } = await call(tab, 'shoal', 'publish', { size, seed }));
    sources.push(tab);
  }
  const fetcher = await openPeer(to, sites.at(-1), server, options, prepare);
  await linked(fetcher, homes.length);
  const result = await call(fetcher, 'shoal', 'fetch', key);
  for (const tab of [fetcher, ...sources]) {
    await call(tab, 'shoal', 'leave', key);
    await tab.close();
  }
  if (result.sources !== homes.length) throw new Error(`${result.sources} of ${homes.length} sources gave something`);
  return result.rate;
}
