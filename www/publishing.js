/** Publishing files, a few at a time. Knows nothing of the page. */

/**
 * @typedef {import('./shoal/index.js').Peer} Peer
 * @typedef {import('./shoal/index.js').Content} Content
 * @typedef {import('./shoal/index.js').Progress} Progress
 * @typedef {import('./shoal/index.js').ShoalError} ShoalError
 */

/** Files read at the same time. One leaves the disk idle while a chunk is hashed. A guess. */
const AT_ONCE = 2;

/** Events: `change`, and `end` once, as of a fetch. */
export class Publishing extends EventTarget {
  /** @type {'queued' | 'reading'} */
  state = 'queued';
  held = 0;
  /** @type {Content | undefined} */
  content;
  /** @type {ShoalError | undefined} */
  error;
  #abort = new AbortController();

  /** @param {File} file */
  constructor(file) {
    super();
    this.file = file;
  }

  get stopped() {
    return this.#abort.signal.aborted;
  }

  stop() {
    this.#abort.abort();
    if (this.state === 'queued') this.dispatchEvent(new Event('end'));
  }

  /** @param {Peer} peer */
  async run(peer) {
    if (this.stopped) return;
    this.state = 'reading';
    this.dispatchEvent(new Event('change'));
    try {
      this.content = await peer.publish(this.file, {
        name: this.file.name,
        type: this.file.type || undefined,
        signal: this.#abort.signal,
        onprogress: ({ held }) => {
          this.held = held;
          this.dispatchEvent(new Event('change'));
        },
      });
    } catch (error) {
      if (!this.stopped) this.error = /** @type {ShoalError} */ (error);
    }
    this.dispatchEvent(new Event('end'));
  }
}

export class PublishQueue {
  /** @type {Publishing[]} */
  #queue = [];
  #running = 0;
  #peer;

  /** @param {Peer} peer */
  constructor(peer) {
    this.#peer = peer;
  }

  /**
   * @param {File} file
   * @returns {Publishing}
   */
  add(file) {
    const publishing = new Publishing(file);
    this.#queue.push(publishing);
    this.#next();
    return publishing;
  }

  #next() {
    while (this.#running < AT_ONCE) {
      const publishing = this.#queue.shift();
      if (!publishing) return;
      this.#running += 1;
      publishing.run(this.#peer).finally(() => {
        this.#running -= 1;
        this.#next();
      });
    }
  }
}
