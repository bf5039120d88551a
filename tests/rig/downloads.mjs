// Downloads: Firefox, which tells no driver of them, is told where they go, and that folder is
// watched.
//
//   const firefox = await launch('firefox', { preferences: downloadsTo(folder) });
//   const file = await downloaded(folder, size);

import { readdir, stat, watch } from 'node:fs/promises';
import path from 'node:path';

/** Preferences with which Firefox saves what it would ask about. */
export const downloadsTo = (folder) => ({
  'browser.download.folderList': 2,
  'browser.download.dir': folder,
  'browser.download.useDownloadDir': true,
  'browser.download.always_ask_before_handling_new_types': false,
  'browser.helperApps.neverAsk.saveToDisk': 'video/webm,application/octet-stream',
});

/** The file that is there whole: it has this size, and nothing is beside it that still comes. */
export async function downloaded(folder, size, timeout = 60_000) {
  const find = async () => {
    const names = await readdir(folder);
    if (names.some((name) => /\.(part|crdownload)$/.test(name))) return undefined;
    const files = names.map((name) => path.join(folder, name));
    for (const file of files) if ((await stat(file)).size === size) return file;
    return undefined;
  };
  const changes = watch(folder, { signal: AbortSignal.timeout(timeout) });
  for (let file = await find(); ; file = await find()) {
    if (file !== undefined) return file;
    const { done } = await changes.next();
    if (done) throw new Error(`${folder} is watched no longer`);
  }
}
