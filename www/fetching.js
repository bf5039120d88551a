/** One fetch, from the click, or from where it was found to be under way, to its end. Knows nothing
 *  of the page. */

import { ChunkSources } from './chunks.js';

/**
 * @typedef {import('./shoal/index.js').Peer} Peer
 * @typedef {import('./shoal/index.js').Content} Content
 * @typedef {import('./shoal/index.js').Progress} Progress
 * @typedef {import('./shoal/index.js').Transfer} Transfer
 * @typedef {import('./shoal/index.js').ShoalError} ShoalError
 */

/**
 * Events: `change` when any of the fields has, `end` once when it is over: `content` is
 * whole then, or `error` says why not, or it was stopped.
 */
export class Fetching extends EventTarget {
  /** @type {Progress} */
  progress = { state: 'searching', held: 0, rate: 0, sources: [] };
  /**
   * What is fetched, once a holder has told.
   *
   * @type {Content | undefined}
   */
  content;
  /** @type {ChunkSources | undefined} */
  chunks;
  /** @type {ShoalError | undefined} */
  error;
  /** It was stopped, here or in another tab. */
  stopped = false;
  /** @type {Transfer | undefined} */
  #transfer;
  #abort = new AbortController();

  /**
   * @param {Peer} peer
   * @param {string} key
   * @param {Transfer} [transfer] one that is under way; another fetch would go on when that is stopped
   */
  constructor(peer, key, transfer) {
    super();
    this.#run(transfer ?? peer.fetch(key, {
      signal: this.#abort.signal,
      onprogress: (progress) => this.#note(progress),
    }));
  }

  stop() {
    this.stopped = true;
    this.#abort.abort();
    this.#transfer?.cancel().catch(() => {}); // It ends with the peer as well.
  }

  /** Whether it runs and can be told to rest. */
  get canPause() {
    return this.#transfer !== undefined && !this.isPaused;
  }

  get isPaused() {
    return this.progress.state === 'paused';
  }

  pause() {
    this.#transfer?.pause().catch(() => {}); // It is over, and says so itself.
  }

  resume() {
    this.#transfer?.resume().catch(() => {});
  }

  /** @param {Transfer | Promise<Transfer>} found */
  async #run(found) {
    try {
      const transfer = await found;
      this.#transfer = transfer;
      this.content = transfer.content;
      const chunks = new ChunkSources(transfer.content.size);
      this.chunks = chunks;
      transfer.addEventListener('chunk', ({ detail }) => {
        chunks.add(detail.index, detail.peer);
        this.#changed();
      });
      transfer.addEventListener('progress', ({ detail }) => this.#note(detail));
      this.#note(transfer.progress);
      this.content = await transfer.done;
      chunks.complete();
      this.progress = { ...transfer.progress, state: 'done', held: this.content.size };
    } catch (error) {
      const failure = /** @type {ShoalError} */ (error);
      this.stopped ||= failure.code === 'aborted';
      if (!this.stopped) this.error = failure;
    }
    this.#changed();
    this.dispatchEvent(new Event('end'));
  }

  /** @param {Progress} progress */
  #note(progress) {
    this.progress = progress;
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }
}
