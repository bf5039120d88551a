/** Writes records as fast as a database takes them, and nothing else. */

const MIB = 1024 * 1024;

onmessage = async ({ data: { file, size, record, perTransaction, inFlight } }) => {
  const name = 'bare-store';
  await request(indexedDB.deleteDatabase(name));
  const opening = indexedDB.open(name);
  opening.onupgradeneeded = () => opening.result.createObjectStore('records');
  const database = await request(opening);
  const noise = new Uint8Array(record);
  for (let at = 0; at < record; at += 65_536) crypto.getRandomValues(noise.subarray(at, at + 65_536));

  const start = performance.now();
  const running = new Set();
  let next = 0;
  const total = Math.ceil(size / record);
  while (next < total) {
    let records;
    if (file) {
      const part = new Uint8Array(await file.slice(next * record, next * record + MIB).arrayBuffer());
      records = [];
      for (let at = 0; at < part.length; at += record) records.push(part.subarray(at, at + record));
    } else {
      records = Array(Math.min(perTransaction, total - next)).fill(noise);
    }
    for (let at = 0; at < records.length; at += perTransaction) {
      const transaction = database.transaction('records', 'readwrite', { durability: 'relaxed' });
      const store = transaction.objectStore('records');
      // A copy, as a view would have its whole buffer stored.
      for (const bytes of records.slice(at, at + perTransaction)) store.put(bytes.slice(), next++);
      const done = new Promise((resolve, reject) => {
        transaction.oncomplete = resolve;
        transaction.onabort = () => reject(transaction.error);
      }).finally(() => running.delete(done));
      running.add(done);
      if (running.size >= inFlight) await Promise.race(running);
    }
  }
  await Promise.all(running);
  const ms = performance.now() - start;
  database.close();
  await request(indexedDB.deleteDatabase(name));
  postMessage(ms);
};

function request(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
