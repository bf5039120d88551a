/**
 * Bytes that follow from a seed and that nothing on their way can make fewer.
 *
 * @param {number} size
 * @param {number} seed
 */
export function noise(size, seed) {
  const parts = [];
  let state = seed >>> 0 || 1;
  for (let left = size; left > 0; left -= PART) {
    const words = new Uint32Array(Math.ceil(Math.min(left, PART) / 4));
    for (let i = 0; i < words.length; i++) {
      // xorshift32 (Marsaglia 2003).
      state ^= state << 13; state ^= state >>> 17; state ^= state << 5;
      words[i] = state;
    }
    parts.push(words);
  }
  return new Blob(parts).slice(0, size);
}

/** Bytes that are made at a time. */
const PART = 4 * 1024 * 1024;

/** What to publish: the file that was picked, or noise. */
export function source({ picked = false, size, seed }) {
  return picked ? document.querySelector('input').files[0] : noise(size, seed);
}
