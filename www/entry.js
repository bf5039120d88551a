/** An entry of the library, and what state it is in. Knows nothing of the page. */

/**
 * @typedef {object} Entry
 * @property {string} id            the key, or a number while a publication has none
 * @property {import('./parts.js').Described} content
 * @property {number} held          bytes
 * @property {import('./fetching.js').Fetching} [fetching]
 * @property {import('./publishing.js').Publishing} [publishing]
 * @property {boolean} open         its chunks are shown
 *
 * @typedef {'queued' | 'publishing' | 'fetching' | 'held' | 'partial' | 'failed'} State
 */

/**
 * @param {Entry} entry
 * @returns {State}
 */
export function stateOf({ content, held, fetching, publishing }) {
  if (publishing) {
    if (publishing.error) return 'failed';
    return publishing.state === 'queued' ? 'queued' : 'publishing';
  }
  const failed = Boolean(fetching?.error);
  if (fetching && !failed && fetching.progress.state !== 'done') return 'fetching';
  // All bytes of an empty content are always here: what counts is how its fetch ended.
  if (content.size !== undefined && held >= content.size && !(failed && held === 0)) return 'held';
  return held === 0 ? 'failed' : 'partial';
}

/**
 * @param {import('./parts.js').Described} content
 * @param {string} text in lower case
 */
export function matches({ name, type, key }, text) {
  return [name, type, key].some((part) => part?.toLowerCase().includes(text));
}
