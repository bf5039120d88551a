/** Writes records as fast as a store takes them, reads them again, and nothing else. */

const MIB = 1024 * 1024;
const NAME = 'bare-store';

onmessage = async ({ data: { isInFiles, file, size, record, ...how } }) => {
  const store = await (isInFiles ? openFile(record) : openDatabase(how));
  const total = Math.ceil(size / record);
  const start = performance.now();
  await store.write(file ? partsOf(file, record) : noise(total, record));
  const written = performance.now();
  for (let at = 0; at < total; at += 1) await store.read(at);
  const read = performance.now();
  await store.remove();
  postMessage({ write: written - start, read: read - written });
};

async function* noise(total, record) {
  const bytes = new Uint8Array(record);
  for (let at = 0; at < record; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  // A copy, as a view would have its whole buffer stored.
  for (let at = 0; at < total; at += 1) yield bytes.slice();
}

async function* partsOf(file, record) {
  for (let at = 0; at < file.size; at += MIB) {
    const part = new Uint8Array(await file.slice(at, at + MIB).arrayBuffer());
    for (let from = 0; from < part.length; from += record) yield part.slice(from, from + record);
  }
}

/** A file of the origin's private file system, through a handle that writes at once. */
async function openFile(record) {
  const root = await navigator.storage.getDirectory();
  const handle = await (await root.getFileHandle(NAME, { create: true })).createSyncAccessHandle();
  const into = new Uint8Array(record);
  return {
    async write(records) {
      let at = 0;
      for await (const bytes of records) at += handle.write(bytes, { at });
    },
    read(at) { handle.read(into, { at: at * record }); },
    remove() {
      handle.close();
      return root.removeEntry(NAME);
    },
  };
}

/** An object store of IndexedDB, with relaxed durability. */
async function openDatabase({ perTransaction, inFlight }) {
  await done(indexedDB.deleteDatabase(NAME));
  const opening = indexedDB.open(NAME);
  opening.onupgradeneeded = () => opening.result.createObjectStore('records');
  const database = await done(opening);
  const running = new Set();

  async function put(records, first) {
    const transaction = database.transaction('records', 'readwrite', { durability: 'relaxed' });
    const store = transaction.objectStore('records');
    for (const [at, bytes] of records.entries()) store.put(bytes, first + at);
    const ended = new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    }).finally(() => running.delete(ended));
    running.add(ended);
    if (running.size >= inFlight) await Promise.race(running);
  }

  return {
    async write(records) {
      let waiting = [];
      let next = 0;
      for await (const bytes of records) {
        waiting.push(bytes);
        if (waiting.length === perTransaction) {
          await put(waiting, next);
          next += waiting.length;
          waiting = [];
        }
      }
      if (waiting.length > 0) await put(waiting, next);
      await Promise.all(running);
    },
    read: (at) => done(database.transaction('records').objectStore('records').get(at)),
    remove() {
      database.close();
      return done(indexedDB.deleteDatabase(NAME));
    },
  };
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
