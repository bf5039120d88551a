/** Which chunk of a content came from whom. Knows nothing of the page. */

import { colourFor } from './colours.js';

/** Bytes in a chunk; fixed in version 1 of the protocol. */
const CHUNK = 256 * 1024;

export class ChunkSources {
  /**
   * Those who sent chunks. The first is nobody: chunks held before the fetch began.
   *
   * @type {{ peer: string, chunks: number }[]}
   */
  sources = [{ peer: '', chunks: 0 }];
  /**
   * For each chunk 0 while it is missing, else 1 + the place of its source.
   *
   * @type {Uint16Array}
   */
  owners;
  held = 0;
  /** @type {Map<string, number>} */
  #places = new Map([['', 0]]);

  /** @param {number} size of the content in bytes */
  constructor(size) {
    this.owners = new Uint16Array(Math.max(1, Math.ceil(size / CHUNK)));
  }

  /**
   * @param {number} index
   * @param {string} [peer] nobody: the chunk was held before
   */
  add(index, peer) {
    if (index >= this.owners.length || this.owners[index] !== 0) return;
    const place = this.#placeOf(peer ?? '');
    this.owners[index] = 1 + place;
    this.sources[place].chunks += 1;
    this.held += 1;
    if (peer) colourFor(peer);
  }

  /** The content is whole: what nobody sent since was held before. */
  complete() {
    for (let index = 0; index < this.owners.length; index += 1) this.add(index);
  }

  /** @param {string} peer */
  #placeOf(peer) {
    let place = this.#places.get(peer);
    if (place === undefined) {
      place = this.sources.push({ peer, chunks: 0 }) - 1;
      this.#places.set(peer, place);
    }
    return place;
  }
}
