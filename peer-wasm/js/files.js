/**
 * Files of the origin's private file system (OPFS) for the bytes of chunks: one a slot, to which
 * chunks are appended as they come.
 *
 * A file is written several times as fast as a database, and read faster still (`cargo xtask
 * bench store`). But only dedicated workers are given handles that write, and one at a time to
 * a file; what cannot be written here goes into the database.
 *
 * Files are not flushed: a chunk that a power cut takes is found damaged when it is read.
 *
 * Beside them is a note on each content that is whole: what would be needed to take it up again
 * if the browser lost the database. Chromium deletes a database whose log a kill has torn
 * (google/leveldb, issue 1287), and leaves the files.
 */

/** The folder of all stores. */
const FOLDER = 'shoal';
/** The folder of a store's notes. */
const NOTES = 'notes';
/** What is kept for a chunk, in bytes, however short it is. */
const CHUNK = 256 * 1024;
/** How long a file may take to open, in milliseconds. Chromium 156 was seen to leave one of three
 *  that were opened at once unanswered for good. A guess: many times what it takes. */
const OPENING_MAX = 2000;
/** Most files kept open. Guess: more than are fetched and served at a time. */
const OPEN_MAX = 32;

/**
 * Whether what is stored is known to go with the window. Firefox refuses files to private
 * windows, which have databases; Chromium's have both, and it does not tell.
 *
 * @param {string | false} store
 */
export async function isTemporary(store) {
  if (store === false) return true;
  try {
    await navigator.storage.getDirectory();
  } catch (error) {
    return error instanceof DOMException && error.name === 'SecurityError';
  }
  return false;
}

/**
 * The files of a store; `undefined` where the browser has none, as in private windows of Firefox.
 *
 * @param {string | false} store
 */
export async function openFiles(store) {
  if (store === false) return undefined;
  try {
    let folder = await navigator.storage.getDirectory();
    // Names of stores are free, those of files are not.
    for (const name of [FOLDER, encodeURIComponent(store)]) {
      folder = await folder.getDirectoryHandle(name, { create: true });
    }
    return new Files(folder);
  } catch {
    return undefined;
  }
}

/**
 * @typedef {object} SyncAccessHandle as the types of workers have it, those of pages have not
 * @property {(bytes: Uint8Array<ArrayBuffer>, options: { at: number }) => number} write
 * @property {(into: Uint8Array<ArrayBuffer>, options: { at: number }) => number} read
 * @property {() => number} getSize
 * @property {() => void} close
 */

/**
 * @typedef {object} OpenFile that only this engine can change
 * @property {SyncAccessHandle} handle
 * @property {number} end where the next chunk goes
 * @property {number[]} free places that hold no chunk any more
 */

class Files {
  #folder;
  /** The least lately opened first. @type {Map<string, OpenFile>} */
  #open = new Map();
  /** @type {Map<string, Promise<boolean>>} */
  #opening = new Map();
  #isClosed = false;

  /** @param {FileSystemDirectoryHandle} folder */
  constructor(folder) {
    this.#folder = folder;
  }

  /**
   * Opens the file of a slot, if it can be had here. One that is late is used once it is there.
   *
   * @param {string} slot
   */
  async ready(slot) {
    if (this.#open.has(slot)) return true;
    let opening = this.#opening.get(slot);
    if (!opening) {
      const opened = this.#openFile(slot).finally(() => this.#opening.delete(slot));
      const late = new Promise((resolve) => { setTimeout(resolve, OPENING_MAX, false); });
      opening = /** @type {Promise<boolean>} */ (Promise.race([opened, late]));
      this.#opening.set(slot, opening);
    }
    return opening;
  }

  /** @param {string} slot */
  async #openFile(slot) {
    if (!('FileSystemSyncAccessHandle' in globalThis)) return false;
    let handle;
    try {
      const file = /** @type {{ createSyncAccessHandle(): Promise<SyncAccessHandle> }} */ (
        /** @type {unknown} */ (await this.#folder.getFileHandle(slot, { create: true }))
      );
      handle = await file.createSyncAccessHandle();
    } catch {
      return false; // Another engine has it, or somebody deleted the folder.
    }
    if (this.#isClosed) {
      handle.close();
      return false;
    }
    if (this.#open.size >= OPEN_MAX) this.#close(/** @type {string} */ (this.#open.keys().next().value));
    this.#open.set(slot, { handle, end: Math.ceil(handle.getSize() / CHUNK) * CHUNK, free: [] });
    return true;
  }

  /**
   * Appends to a file that is open; `undefined` if it is not. The offset of what was written.
   *
   * @param {string} slot
   * @param {Uint8Array<ArrayBuffer>} bytes
   */
  write(slot, bytes) {
    const file = this.#open.get(slot);
    if (!file) return undefined;
    const at = file.free.pop() ?? file.end;
    if (at === file.end) file.end += CHUNK;
    let written = 0;
    try {
      written = file.handle.write(bytes, { at });
    } finally {
      if (written !== bytes.length) file.free.push(at);
    }
    // Some browsers say so by writing less.
    if (written !== bytes.length) throw new DOMException('the disk is full', 'QuotaExceededError');
    return at;
  }

  /**
   * Reads from a file that is open; `undefined` if it is not. How much there was.
   *
   * @param {string} slot
   * @param {number} at
   * @param {Uint8Array<ArrayBuffer>} into
   */
  read(slot, at, into) {
    return this.#open.get(slot)?.handle.read(into, { at });
  }

  /**
   * Reads from a file that cannot be had here, as far as there is something.
   *
   * @param {string} slot
   * @param {number} at
   * @param {number} length
   */
  async readShared(slot, at, length) {
    try {
      const handle = await this.#folder.getFileHandle(slot);
      const file = await handle.getFile();
      return new Uint8Array(await file.slice(at, at + length).arrayBuffer());
    } catch (error) {
      // Somebody deleted it.
      if (isMissing(error)) return new Uint8Array();
      throw error;
    }
  }

  /**
   * Lets a place be used for another chunk.
   *
   * @param {string} slot
   * @param {number} at
   */
  free(slot, at) {
    this.#open.get(slot)?.free.push(at);
  }

  /**
   * Deletes a file and its note. What cannot be deleted now is when the store is opened next.
   *
   * @param {string} slot
   */
  async remove(slot) {
    this.#close(slot);
    const notes = await this.#notes().catch(() => undefined);
    await notes?.removeEntry(slot).catch(() => {});
    await this.#folder.removeEntry(slot).catch(() => {});
  }

  /** The slots that have files or notes, and those whose notes were written to the end. */
  async slots() {
    const notes = await this.#notes().catch(() => undefined);
    const names = await namesIn(notes);
    // One that a kill came before is empty.
    const sizes = await Promise.all(names.map(async (name) => {
      const file = await notes?.getFileHandle(name).then((handle) => handle.getFile()).catch(() => undefined);
      return file?.size ?? 0;
    }));
    return [[...await namesIn(this.#folder), ...names], names.filter((_, at) => sizes[at] > 0)];
  }

  /**
   * Writes the note on a content, all of it or nothing; in place of the one before. What cannot be
   * noted now is when the store is opened next.
   *
   * @param {string} slot
   * @param {string} key
   * @param {object} record
   * @param {Uint8Array<ArrayBuffer>} proof
   * @param {[number, number][]} places of all its chunks: offset and length
   */
  async note(slot, key, record, proof, places) {
    const offsets = places.map(([offset]) => offset);
    try {
      const file = await (await this.#notes()).getFileHandle(slot, { create: true });
      const writable = await file.createWritable();
      await writable.write(new Blob([JSON.stringify({ key, record, offsets }), '\n', proof]));
      await writable.close();
    } catch {
      // The disk is full, or the folder was deleted.
    }
  }

  /** What is noted of the slots whose files hold as much. Each is `[key, record, offsets, proof]`. */
  async notes() {
    const found = [];
    for (const slot of await namesIn(await this.#notes().catch(() => undefined))) {
      try {
        const file = await (await (await this.#notes()).getFileHandle(slot)).getFile();
        const bytes = new Uint8Array(await file.arrayBuffer());
        const end = bytes.indexOf(10);
        const { key, record, offsets } = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
        const { size } = await (await this.#folder.getFileHandle(slot)).getFile();
        const isThere = offsets.every((/** @type {unknown} */ offset) => Number(offset) < size || record.size === 0);
        if (isThere) found.push([key, { ...record, slot: Number(slot) }, offsets, bytes.subarray(end + 1)]);
      } catch {
        // It is damaged, or has lost its file.
      }
    }
    return found;
  }

  /**
   * Deletes the note of a slot, which is no longer whole; without one all notes: the database is
   * deleted because somebody wants that.
   *
   * @param {string} slot
   */
  async forget(slot) {
    try {
      const folder = slot ? await this.#notes() : this.#folder;
      await folder.removeEntry(slot || NOTES, { recursive: true });
    } catch {
      // There is none.
    }
  }

  #notes() {
    return this.#folder.getDirectoryHandle(NOTES, { create: true });
  }

  /** Lets go of all files. */
  close() {
    this.#isClosed = true;
    for (const slot of [...this.#open.keys()]) this.#close(slot);
  }

  /** @param {string} slot */
  #close(slot) {
    this.#open.get(slot)?.handle.close();
    this.#open.delete(slot);
  }
}

/**
 * What is in a folder; nothing if somebody deleted it.
 *
 * @param {FileSystemDirectoryHandle} [folder]
 */
async function namesIn(folder) {
  /** @type {string[]} */
  const names = [];
  try {
    for await (const name of folder?.keys() ?? []) names.push(name);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  return names;
}

/** @param {unknown} error */
function isMissing(error) {
  return error instanceof DOMException && error.name === 'NotFoundError';
}
