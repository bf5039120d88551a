/**
 * A client of the engine: carries the calls of one `Peer` to whichever engine there is.
 *
 * Engines come and go (a tab is closed, a trap); a connection stays. When it gets a port
 * to another engine it attaches again and repeats what still runs, with the limits that hold by
 * then, whichever tab chose them: the engine tells (`options`). All calls can be
 * repeated but a publication, which may have been half read: that one is rejected.
 */

import { ShoalError, fromPlain } from './errors.js';

/**
 * @typedef {import('./port.js').Port} Port
 * @typedef {object} Events
 * @property {(ok: { id: string, namespace: string, state: import('./index.js').State, damaged?: string[], recovered?: number, isTemporary: boolean }) => void} attached
 * @property {(error: ShoalError) => void} refused could not attach; may be tried again
 * @property {(error?: ShoalError) => void} lost the engine is gone; another will come
 * @property {(message: any) => void} event
 */

const ATTACH = 0;
/** What needs no answer, or none but that there is one. */
const PING = -1;

/** How many engines a call may see crash before it is held to be the reason. A guess. */
const CRASHES = 3;

/** A call that waits for its answer, or whose work goes on after it. */
class Call {
  hasBegun = false;
  isAnswered = false;
  crashes = 0;
  /** @type {Promise<any>} */
  answer;
  /** @type {(ok: any) => void} */
  resolve = () => {};
  /** @type {(error: unknown) => void} */
  reject = () => {};

  /**
   * @param {number} id
   * @param {string} name
   * @param {any} args
   */
  constructor(id, name, args) {
    this.id = id;
    this.name = name;
    this.args = args;
    this.answer = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
    this.answer.catch(() => {}); // Who wants to know waits for it.
  }
}

export class Connection {
  /** Signs of life that were asked for in vain since the last one. */
  silence = 0;
  isAttached = false;
  #options;
  #events;
  /** @type {Port | undefined} */
  #port;
  /** @type {Map<number, Call>} */
  #calls = new Map();
  /** Told of calls that go wrong after they were answered. @type {Map<number, (error: ShoalError) => void>} */
  #standing = new Map();
  /** @type {Map<number, (progress: import('./index.js').Progress) => void>} */
  #publishing = new Map();
  #nextId = 1;
  #isClosed = false;

  /**
   * @param {any} options for `attach`
   * @param {Events} events
   */
  constructor(options, events) {
    this.#options = options;
    this.#events = events;
  }

  get hasPort() {
    return this.#port !== undefined;
  }

  /**
   * Speaks to an engine from now on.
   *
   * @param {Port} port
   */
  connect(port) {
    this.disconnect();
    if (this.#isClosed) return port.close();
    this.#port = port;
    this.silence = 0;
    port.onmessage = ({ data }) => this.#receive(data);
    this.attach();
  }

  /** Asks the engine to serve this client; again, if it may not have heard. */
  attach() {
    this.#post({ id: ATTACH, call: 'attach', args: this.#options });
  }

  /**
   * The engine is gone.
   *
   * @param {ShoalError} [crash] if it was not meant to go
   */
  disconnect(crash) {
    if (!this.#port) return;
    this.#port.close();
    this.#port = undefined;
    this.isAttached = false;
    for (const call of this.#calls.values()) {
      if (!call.hasBegun || call.isAnswered) continue;
      // One that is never answered is no reason.
      if (crash && call.name !== 'hold') call.crashes += 1;
      const isHopeless = call.crashes >= CRASHES;
      if (call.name !== 'publish' && !isHopeless) continue;
      this.#calls.delete(call.id);
      this.#standing.delete(call.id);
      const why = isHopeless ? 'crashed each time it was called' : 'ended before it was done; call it again';
      call.reject(new ShoalError('engine-crashed', `The engine of \`${call.name}\` ${why}.`, { cause: crash }));
    }
    this.#events.lost(crash);
  }

  /**
   * There is an engine, and it cannot be used.
   *
   * @param {ShoalError} error
   */
  refuse(error) {
    this.#events.refused(error);
  }

  /**
   * Changes what it attaches with, for engines to come.
   *
   * @param {any} options
   */
  setOptions(options) {
    this.#options = { ...this.#options, ...options };
  }

  /** Asks for a sign of life. */
  ping() {
    this.#post({ id: PING, call: 'ping' });
  }

  /** The network changed, or a person looks at the page. */
  wake() {
    this.#post({ id: PING, call: 'wake' });
  }

  /**
   * Calls the engine.
   *
   * @param {string} name
   * @param {any} [args]
   * @param {{ signal?: AbortSignal, onprogress?: (progress: import('./index.js').Progress) => void }} [options]
   * @returns {Promise<any>}
   */
  async call(name, args = {}, { signal, onprogress } = {}) {
    signal?.throwIfAborted();
    const call = this.begin(name, args);
    if (onprogress) this.#publishing.set(call.id, onprogress);
    const abort = () => {
      this.end(call);
      call.reject(signal?.reason);
    };
    signal?.addEventListener('abort', abort);
    try {
      return await call.answer;
    } finally {
      signal?.removeEventListener('abort', abort);
      this.#publishing.delete(call.id);
    }
  }

  /**
   * Begins a call; with `fail` one that goes on after its answer, until `end` or `forget`.
   *
   * @param {string} name
   * @param {any} args
   * @param {(error: ShoalError) => void} [fail] gets what goes wrong after the answer
   */
  begin(name, args, fail) {
    const call = new Call(this.#nextId, name, args);
    this.#nextId += 1;
    if (this.#isClosed) {
      call.reject(closed());
      return call;
    }
    this.#calls.set(call.id, call);
    if (fail) this.#standing.set(call.id, fail);
    if (this.isAttached) this.#send(call);
    return call;
  }

  /**
   * The caller no longer wants it.
   *
   * @param {Call} call
   */
  end(call) {
    const isRunning = this.#calls.has(call.id) && call.hasBegun;
    this.forget(call);
    if (isRunning && this.isAttached) this.#post({ id: call.id, call: 'abort' });
    // The next engine finds in its store what the last one was fetching whole.
    else if (isRunning && call.name === 'fetch' && !call.args.onDemand) this.begin('stopFetch', { key: call.args.key, isOwn: true });
  }

  /**
   * It is over by itself.
   *
   * @param {Call} call
   */
  forget(call) {
    this.#calls.delete(call.id);
    this.#standing.delete(call.id);
  }

  /** Leaves the engine; running calls are rejected. */
  close() {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#post({ id: PING, call: 'detach' });
    this.#port?.close();
    this.#port = undefined;
    this.isAttached = false;
    for (const call of this.#calls.values()) call.reject(closed());
    this.#calls.clear();
    this.#standing.clear();
  }

  /** @param {Call} call */
  #send(call) {
    call.hasBegun = true;
    this.#post({ id: call.id, call: call.name, args: call.args });
  }

  /** @param {any} message */
  #post(message) {
    this.#port?.postMessage(message, []);
  }

  /** @param {any} message */
  #receive(message) {
    this.silence = 0;
    if (typeof message?.event === 'string') {
      if (message.event === 'publishing') this.#publishing.get(message.call)?.(message.progress);
      else if (message.event === 'options') this.setOptions(message.options);
      else this.#events.event(message);
      return;
    }
    if (message?.id === ATTACH) this.#attached(message);
    else if (Number.isSafeInteger(message?.id)) this.#answered(message);
  }

  /** @param {any} answer */
  #attached({ ok, error }) {
    if (error) {
      this.#events.refused(fromPlain(error));
    } else if (!this.isAttached) {
      this.isAttached = true;
      this.setOptions(ok.options);
      for (const call of this.#calls.values()) this.#send(call);
      this.#events.attached(ok);
    }
  }

  /** @param {any} answer */
  #answered({ id, ok, error }) {
    const call = this.#calls.get(id);
    if (!call) return;
    const fail = this.#standing.get(id);
    if (error || !fail) this.forget(call);
    if (error && call.isAnswered) fail?.(fromPlain(error));
    else if (error) call.reject(fromPlain(error));
    else call.resolve(ok);
    call.isAnswered = true;
  }
}

function closed() {
  return new ShoalError('closed', 'The peer is closed.');
}
