/** Writing content out of the browser's store to where a person wants it. */

import { shownName } from './format.js';

/** What the file systems people use do not allow in a name. */
const FORBIDDEN = /[\\/:*?"<>|]/gu;

/** The browser has read an object URL long before this, in milliseconds. A guess. */
const URL_LIVES = 60_000;

/**
 * @param {import('./shoal/index.js').Peer} peer
 * @param {import('./shoal/index.js').Content} content
 * @param {boolean} hasAddresses whether contents can be downloaded from where they are served
 * @returns {Promise<'saved' | 'begun' | 'cancelled'>} `begun`: the browser downloads it, and shows how far it is
 */
export async function save(peer, content, hasAddresses) {
  const name = fileName(content);
  const place = await choosePlace(name);
  if (place === 'cancelled') return place;
  if (place === 'downloads' && hasAddresses) {
    // None of it sits in memory. The address says the name: of links with the attribute `download`
    // Chromium asks no service worker. An address that is refused leaves the page where it is.
    download(peer.url(content.key, { download: true }));
    return 'begun';
  }
  const transfer = await peer.fetch(content.key);
  if (place === 'downloads') {
    const url = URL.createObjectURL(await transfer.blob());
    download(url, name);
    setTimeout(() => URL.revokeObjectURL(url), URL_LIVES);
  } else {
    await transfer.stream().pipeTo(await place.createWritable());
  }
  return 'saved';
}

/**
 * @param {import('./shoal/index.js').Content} content
 */
function fileName({ name, key }) {
  const clean = shownName(name).replace(FORBIDDEN, '_').replace(/^\.+|[. ]+$/gu, '');
  return clean || key;
}

/**
 * @param {string} suggestedName
 * @returns {Promise<FileSystemFileHandle | 'downloads' | 'cancelled'>}
 */
async function choosePlace(suggestedName) {
  // Chromium alone has it, so TypeScript's DOM does not.
  const { showSaveFilePicker } = /** @type {any} */ (window);
  if (!showSaveFilePicker) return 'downloads';
  try {
    return await showSaveFilePicker({ suggestedName });
  } catch (error) {
    // Some names, and pages inside frames, get no picker at all.
    return /** @type {Error} */ (error).name === 'AbortError' ? 'cancelled' : 'downloads';
  }
}

/**
 * @param {string} url
 * @param {string} [name] of what has none at its address
 */
function download(url, name) {
  const anchor = document.createElement('a');
  anchor.href = url;
  if (name !== undefined) anchor.download = name;
  anchor.click();
}
