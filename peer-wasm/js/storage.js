/** What the store of a peer holds and may hold, in the manner of `navigator.storage`. */

import { readStorageLimit } from './options.js';

/** Missing over plain HTTP, where nothing is kept. @type {Partial<StorageManager>} */
const browser = navigator.storage ?? {};

/** Event: `change`. */
export class PeerStorage extends EventTarget {
  #connection;
  #isKept;

  /**
   * Made by `Peer`.
   *
   * @param {import('./connection.js').Connection} connection
   * @param {boolean} isKept whether the store is on the disk
   */
  constructor(connection, isKept) {
    super();
    this.#connection = connection;
    this.#isKept = isKept;
  }

  /** @returns {Promise<import('./index.js').StorageEstimate>} */
  async estimate() {
    const [own, site = {}, persisted] = await Promise.all([
      this.#connection.call('storage'), browser.estimate?.(), this.persisted(),
    ]);
    return { ...own, usage: site.usage, quota: site.quota, persisted };
  }

  /** @returns {Promise<boolean>} */
  async persisted() {
    return this.#isKept && await browser.persisted?.() === true;
  }

  /** @returns {Promise<boolean>} */
  async persist() {
    return this.#isKept && await browser.persist?.() === true;
  }

  /** @param {number} [limit] */
  async setLimit(limit) {
    const storageLimit = readStorageLimit(limit);
    this.#connection.setOptions({ storageLimit });
    await this.#connection.call('limitStorage', { storageLimit });
  }

  async clear() {
    await this.#connection.call('clear');
  }
}
