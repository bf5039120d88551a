/** One fetch: how far it is, and its bytes, read chunk by chunk out of the store. */

import { onDisk } from './blobs.js';
import { ShoalError } from './errors.js';
import { readRange } from './options.js';

/**
 * @typedef {import('./index.js').Content} Content
 * @typedef {import('./index.js').Progress} Progress
 */

/** Bytes of a chunk: fixed in version 1 of the protocol. */
const CHUNK = 262_144;

/** Chunks asked for before they are read, so that the reader does not wait for each. A
 *  guess: a megabyte. */
const AHEAD = 4;

/** Blobs of more bytes than these are files on the disk. A guess: what a page can well have in
 *  memory. */
const LARGE = 64 * 1024 * 1024;

/**
 * What the engine can do for a transfer.
 *
 * @typedef {object} Engine
 * @property {(index: number, signal: AbortSignal) => Promise<ArrayBuffer>} read waits for a chunk
 * @property {(signal: AbortSignal) => void} hold keeps it from making room until aborted
 * @property {(paused: boolean) => Promise<void>} setPaused
 * @property {(priority: import('./index.js').Priority) => Promise<void>} setPriority
 * @property {() => Promise<void>} stop
 */

/**
 * @typedef {{ key: string, priority: import('./index.js').Priority, paused: boolean, onDemand: boolean }} Terms
 */

/**
 * @typedef {object} Control
 * @property {(progress: Progress, content?: Content) => void} update
 * @property {(index: number, peer?: string) => void} chunk
 * @property {(error: unknown) => void} fail
 * @property {Promise<Content>} done
 */

/** Events: `progress`, `chunk`. */
export class Transfer extends EventTarget {
  #content;
  #progress;
  #engine;
  /** Rejects when the transfer fails. @type {Promise<Content>} */
  #done;
  #settle = { isOver: false, resolve: (/** @type {Content} */ _) => {}, reject: (/** @type {unknown} */ _) => {} };
  #failed = new AbortController();
  /** Chunks that were told of. @type {Set<number>} */
  #told = new Set();

  /**
   * Made by `Peer`.
   *
   * @param {Content} content
   * @param {Progress | undefined} progress
   * @param {Engine} engine
   * @param {(control: Control) => void} take gets what moves it on
   */
  constructor(content, progress, engine, take) {
    super();
    this.#content = content;
    this.#progress = progress ?? { state: 'fetching', held: content.held, size: content.size, rate: 0, sources: [] };
    this.#engine = engine;
    this.#done = new Promise((resolve, reject) => Object.assign(this.#settle, { resolve, reject }));
    // Who does not ask how it ended need not be told.
    this.#done.catch(() => {});
    take({
      update: (now, known) => this.#update(now, known),
      chunk: (index, peer) => this.#tell(index, peer),
      fail: (error) => this.#fail(error),
      done: this.#done,
    });
    if (content.held === content.size) this.#update({ ...this.#progress, state: 'done', held: content.size });
  }

  get content() {
    return this.#content;
  }

  get progress() {
    return this.#progress;
  }

  get done() {
    return this.#done;
  }

  async pause() {
    if (!this.#settle.isOver) await this.#engine.setPaused(true);
  }

  async resume() {
    if (!this.#settle.isOver) await this.#engine.setPaused(false);
  }

  /** @param {import('./index.js').Priority} priority */
  async setPriority(priority) {
    await this.#engine.setPriority(priority);
  }

  async cancel() {
    if (this.#settle.isOver) return;
    this.#fail(new ShoalError('aborted', 'The fetch was cancelled.'));
    await this.#engine.stop();
  }

  /**
   * The bytes in order, each chunk as soon as it is held.
   *
   * @param {import('./index.js').Range} [range]
   * @returns {ReadableStream<Uint8Array<ArrayBuffer>>}
   */
  stream(range) {
    const { start, end } = readRange(range, this.#content.size);
    const after = start < end ? Math.ceil(end / CHUNK) : 0;
    const cancelled = new AbortController();
    const signal = AbortSignal.any([cancelled.signal, this.#failed.signal]);
    /** @type {Promise<ArrayBuffer>[]} */
    const ahead = [];
    /** @param {ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>} stream */
    const close = (stream) => {
      stream.close();
      cancelled.abort();
    };
    let next = Math.floor(start / CHUNK);
    let isHeld = false;
    return new ReadableStream({
      pull: async (stream) => {
        if (!isHeld) this.#engine.hold(signal);
        isHeld = true;
        while (next < after && ahead.length < AHEAD) {
          const chunk = this.#engine.read(next, signal);
          // The reader hears of it when it comes to this chunk.
          chunk.catch(() => {});
          ahead.push(chunk);
          next += 1;
        }
        const offset = (next - ahead.length) * CHUNK;
        const first = ahead.shift();
        if (!first) return close(stream);
        try {
          const bytes = new Uint8Array(await first);
          const isWhole = start <= offset && offset + bytes.length <= end;
          stream.enqueue(isWhole ? bytes : bytes.slice(Math.max(0, start - offset), end - offset));
        } catch (error) {
          cancelled.abort(error);
          throw error;
        }
        if (next >= after && ahead.length === 0) close(stream);
      },
      cancel: (reason) => cancelled.abort(reason),
    }, { highWaterMark: 0 });
  }

  /** @param {import('./index.js').Range} [range] */
  async read(range) {
    return new Uint8Array(await new Response(this.stream(range)).arrayBuffer());
  }

  /** Large ones are files on the disk, not in memory. */
  async blob() {
    if (this.#content.size > LARGE) {
      const onItsDisk = await onDisk(this.stream(), this.#content.type ?? '');
      if (onItsDisk) return onItsDisk;
    }
    const blob = await new Response(this.stream()).blob();
    // Not as a header of the response: a peer's text may be none.
    return blob.slice(0, blob.size, this.#content.type ?? '');
  }

  async arrayBuffer() {
    return new Response(this.stream()).arrayBuffer();
  }

  async text() {
    return new Response(this.stream()).text();
  }

  /**
   * @param {Progress} progress
   * @param {Content} [content]
   */
  #update(progress, content) {
    if (this.#settle.isOver) return;
    this.#progress = progress;
    if (content) this.#content = content;
    if (progress.state === 'done') {
      this.#content = { ...this.#content, held: this.#content.size };
      this.#settle.isOver = true;
      this.#settle.resolve(this.#content);
    }
    this.dispatchEvent(new CustomEvent('progress', { detail: progress }));
  }

  /**
   * @param {number} index
   * @param {string} [peer]
   */
  #tell(index, peer) {
    if (this.#told.has(index)) return;
    this.#told.add(index);
    this.dispatchEvent(new CustomEvent('chunk', { detail: peer === undefined ? { index } : { index, peer } }));
  }

  /** @param {unknown} error */
  #fail(error) {
    if (this.#settle.isOver) return;
    this.#settle.isOver = true;
    this.#settle.reject(error);
    this.#failed.abort(error);
  }
}
