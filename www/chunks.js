/** Which chunk of a content came from whom. Knows nothing of the page. */

import { ALL_SLOTS, EARLIER, slotOf } from './colours.js';

/** Bytes in a chunk; fixed in version 1 of the protocol. */
const CHUNK = 256 * 1024;

export class ChunkSources {
  /**
   * For each chunk 0 while it is missing, else 1 + the place of its slot in ALL_SLOTS.
   *
   * @type {Uint8Array}
   */
  slots;
  /**
   * How many chunks each peer sent. The empty id stands for chunks held before.
   *
   * @type {Map<string, number>}
   */
  counts = new Map();
  held = 0;

  /** @param {number} size of the content in bytes */
  constructor(size) {
    this.slots = new Uint8Array(Math.max(1, Math.ceil(size / CHUNK)));
  }

  /**
   * @param {number} index
   * @param {string} [peer] nobody: the chunk was held before
   */
  add(index, peer = '') {
    if (index >= this.slots.length || this.slots[index] !== 0) return;
    this.slots[index] = 1 + ALL_SLOTS.indexOf(peer === '' ? EARLIER : slotOf(peer));
    this.counts.set(peer, (this.counts.get(peer) ?? 0) + 1);
    this.held += 1;
  }

  /** The content is whole: what nobody sent since was held before. */
  complete() {
    for (let index = 0; index < this.slots.length; index += 1) this.add(index);
  }
}
