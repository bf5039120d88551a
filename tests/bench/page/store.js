/** Milliseconds a bare store takes to write and to read `size` bytes, the picked file's or any. */
export function run({ picked = false, size, ...how }) {
  const worker = new Worker('/store-worker.js', { type: 'module' });
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.postMessage({ ...how, size, file: picked ? document.querySelector('input').files[0] : undefined });
  }).finally(() => worker.terminate());
}
