/**
 * Blobs of large contents, on the disk. A browser that makes a blob of a stream may have all of it
 * in memory (Chromium: in that of the page), so it is written into a file of the origin's private
 * file system and the blob is that file. It lives as long as the page does.
 */

import { newName } from './port.js';

/** The folder of these files; beside that of the stores. */
const FOLDER = 'shoal-blobs';

/** @param {string} name */
const lockOf = (name) => `shoal:blob:${name}`;

/**
 * A blob of what is streamed; `undefined` where there are no such files, or no room.
 *
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} stream
 * @param {string} type
 */
export async function onDisk(stream, type) {
  try {
    const name = newName();
    // Taken before there is a file, so that no file of a page that lives is without.
    await new Promise((taken) => {
      navigator.locks.request(lockOf(name), () => {
        taken(undefined);
        return new Promise(() => {});
      });
    });
    const file = await (await openFolder()).getFileHandle(name, { create: true });
    await stream.pipeTo(await file.createWritable());
    const written = await file.getFile();
    return written.slice(0, written.size, type);
  } catch {
    return undefined;
  }
}

/** Deletes the files of pages that are gone. */
export async function clearBlobs() {
  try {
    const folder = await openFolder();
    const names = [];
    for await (const name of folder.keys()) names.push(name);
    const { held = [] } = await navigator.locks.query();
    const living = new Set(held.map(({ name }) => name));
    for (const name of names) if (!living.has(lockOf(name))) await folder.removeEntry(name);
  } catch {
    // There are none, or they are deleted next time.
  }
}

async function openFolder() {
  return (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER, { create: true });
}
