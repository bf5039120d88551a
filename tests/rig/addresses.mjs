// Pages whose contents have addresses, on a site that hosts the package itself, as service workers
// need it; and what is asked for there.

import path from 'node:path';
import { target } from './browsers.mjs';
import { attachPeer, openPeer } from './peers.mjs';
import { startSite } from './site.mjs';

/** `pages` adds to the site, and may change while it runs. */
export function startPlayer(until, pages = {}) {
  pages['/'] = '<!doctype html><html lang="en"><title>Player</title><main></main>';
  return startSite({ pages, folder: path.join(target, 'site'), headers: { 'service-worker-allowed': '/' }, until });
}

/** A peer of the site whose contents have addresses. */
export async function openServing(t, browser, site, options, { beside, onDemand = false } = {}) {
  const tab = beside ? await browser.openBeside(beside.tab, site.url, { until: t }) : await browser.open(site.url, { until: t });
  const peer = await attachPeer(tab, site, options);
  await tab.evaluate((onDemand) => window.shoal.peer.serve({ onDemand }), onDemand);
  return peer;
}

/** Publishes a file of the disk from another site. */
export async function publishFile(t, browser, { site, server }, options, file, type) {
  const source = await openPeer(browser, site, server, { options, until: t });
  await source.tab.evaluate(() => document.body.append(Object.assign(document.createElement('input'), { type: 'file' })));
  const input = await source.tab.page.$('input');
  await input.uploadFile(file);
  const content = await source.tab.evaluate((type) => {
    const [picked] = document.querySelector('input').files;
    return window.shoal.peer.publish(picked, type ? { type } : {});
  }, type);
  return { source, content };
}

export const urlOf = (peer, key, options) => peer.tab.evaluate((key, options) => window.shoal.peer.url(key, options), key, options);

/** Asks for an address, as a page does. */
export const askAt = (tab, url, { headers = {}, method = 'GET', hash = false } = {}) => tab.evaluate(async (url, headers, method, hash) => {
  const response = await fetch(url, { headers, method });
  const bytes = new Uint8Array(await response.arrayBuffer());
  const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    length: bytes.length,
    first: [...bytes.subarray(0, 4)],
    text: bytes.length < 500 ? new TextDecoder().decode(bytes) : undefined,
    sha256: hash ? hex(await crypto.subtle.digest('SHA-256', bytes)) : undefined,
  };
}, url, headers, method, hash);

export const ask = async (peer, key, options) => askAt(peer.tab, await urlOf(peer, key), options);

/** Reads an address in a tab from end to end, and from where it broke off if it did: `window.got`
 *  bytes so far, `window.broken` times; `window.reading` resolves with the SHA-256 of all. When a
 *  service worker is stopped Firefox (153) ends what is read as if that were all. */
export const readAt = (tab, url) => tab.evaluate((url) => {
  const parts = [];
  Object.assign(window, { got: 0, broken: 0 });
  window.reading = (async () => {
    for (let size = 1; window.got < size;) {
      const headers = window.got > 0 ? { Range: `bytes=${window.got}-` } : {};
      const response = await fetch(url, { headers });
      if (response.status !== (window.got > 0 ? 206 : 200)) throw new Error(String(response.status));
      if (window.got === 0) size = Number(response.headers.get('content-length'));
      try {
        for await (const part of response.body) {
          parts.push(part);
          window.got += part.length;
          window.dispatchEvent(new Event('rig'));
        }
      } catch {
        // The rest is asked for.
      }
      if (window.got < size) window.broken += 1;
    }
    const hash = await crypto.subtle.digest('SHA-256', await new Blob(parts).arrayBuffer());
    return [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  })();
  // Who waits for it hears.
  window.reading.catch(() => {});
}, url);

/** Counts what a page is asked for by the service worker, and what of it is over: `window.asked`,
 *  `window.ended`. */
export const countAsked = (tab) => tab.evaluate(() => {
  Object.assign(window, { asked: 0, ended: 0 });
  const ports = new Set();
  navigator.serviceWorker.addEventListener('message', ({ ports: [port] }) => {
    window.asked += 1;
    ports.add(port);
  });
  const { close } = MessagePort.prototype;
  MessagePort.prototype.close = function closeAndCount() {
    if (ports.delete(this)) window.ended += 1;
    window.dispatchEvent(new Event('rig'));
    return close.call(this);
  };
});
