/**
 * Blobs of large contents, on the disk. A browser that makes a blob of a stream may have all of it
 * in memory (Chromium: in that of the page), so it is written into a file of the origin's private
 * file system and the blob is that file. It lives as long as the page does.
 */

import { ShoalError } from './errors.js';
import { newName } from './port.js';

/** The folder of these files; beside that of the stores. */
const FOLDER = 'shoal-blobs';

/** @param {string} name */
const lockOf = (name) => `shoal:blob:${name}`;

/**
 * A blob of what is streamed; `undefined` where there are no such files. Where there is no room it
 * is refused: the memory, which would be the other place, has less.
 *
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} stream
 * @param {string} type
 */
export async function onDisk(stream, type) {
  const name = newName();
  let hasFile = false;
  try {
    // Taken before there is a file, so that no file of a page that lives is without.
    await new Promise((taken, refused) => {
      navigator.locks.request(lockOf(name), () => {
        taken(undefined);
        return new Promise(() => {});
      }).catch(refused); // As pages of opaque origins are.
    });
    const file = await (await openFolder()).getFileHandle(name, { create: true });
    const writable = await file.createWritable();
    hasFile = true;
    await write(stream, writable);
    const written = await file.getFile();
    return written.slice(0, written.size, type);
  } catch (error) {
    await openFolder().then((folder) => folder.removeEntry(name)).catch(() => {});
    if (error instanceof DOMException && error.name === 'QuotaExceededError') {
      throw new ShoalError('quota', 'There is no room on the disk for a blob: use `stream()`.', { cause: error });
    }
    if (hasFile) throw error;
    return undefined;
  }
}

/**
 * Writes what is streamed, and frees each part at once: Firefox collects none for seconds, in which
 * hundreds of megabytes come.
 *
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} stream
 * @param {FileSystemWritableFileStream} writable
 */
function write(stream, writable) {
  // What is sent to a closed port is freed. `ArrayBuffer.transfer(0)` only hides it from Chromium's
  // collector.
  const nowhere = new MessageChannel().port1;
  nowhere.close();
  return stream.pipeTo(new WritableStream({
    write: async (part) => {
      await writable.write(part);
      nowhere.postMessage(undefined, [part.buffer]);
    },
    close: () => writable.close(),
    abort: (reason) => writable.abort(reason),
  }));
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
