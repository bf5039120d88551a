/**
 * Hosts one engine: in a worker, or in the page where it was asked for or a worker cannot
 * do it; and gives it its broker. A host and its engine have one life: when either ends,
 * the connections are closed, and another host is made for another engine.
 *
 * A worker that is gone says nothing, so the end of the lock it holds is waited for.
 */

import { Broker } from './broker.js';
import { EngineRoom } from './engine.js';
import { ShoalError, describe, fromPlain } from './errors.js';
import { engineLock, locks, newName } from './port.js';

/** How long an engine may take to say good-bye, in milliseconds. A guess: a transaction
 *  and a message to each peer. */
const FAREWELL = 2000;

/**
 * @typedef {object} Events
 * @property {(error: ShoalError) => void} died the engine is gone
 * @property {(error: ShoalError) => void} failed it could not open its store
 * @property {(error: ShoalError) => void} lost its store is gone
 * @property {() => void} superseded another engine has taken over the store
 */

export class Host {
  /** Of the engine. */
  name = newName();
  /** Whether clients of other tabs are heard. */
  isListening = false;
  #store;
  #isShared;
  #events;
  #isOver = false;
  /** Whether it was told to close, so that nothing else that ends it is news. */
  #isLeaving = false;
  /** Closes when all is over. */
  #over = new AbortController();
  /** What the engine is told once it can hear. @type {[any, Transferable[]][] | undefined} */
  #outbox = [];
  /** @type {Worker | undefined} */
  #worker;
  /** @type {(message: any, transfer: Transferable[]) => void} */
  #toEngine = () => {};
  /** @type {() => void} */
  #closed = () => {};
  #broker = new Broker((message, transfer) => this.#post({ type: 'broker', message }, transfer));

  /**
   * @param {{ store: string | false, isShared: boolean, useWorker: boolean }} how
   * @param {Events} events
   */
  constructor({ store, isShared, useWorker }, events) {
    this.#store = store;
    this.#isShared = isShared;
    this.#events = events;
    if (useWorker) this.#startInWorker();
    else this.#startInPage();
  }

  /** A port to the engine, for a client of this tab. */
  connect() {
    const { port1, port2 } = new MessageChannel();
    this.#post({ type: 'client', port: port2 }, [port2]);
    return port1;
  }

  /** Closes the engine in good order. */
  async stop() {
    if (this.#isOver) return;
    this.#isLeaving = true;
    const closed = new Promise((resolve) => {
      this.#closed = () => resolve(undefined);
      setTimeout(this.#closed, FAREWELL);
    });
    if (this.#outbox) this.#closed();
    else this.#post({ type: 'close' });
    // The engine takes leave over the connections first.
    await closed;
    this.#end();
  }

  /**
   * Lets go of the engine at once: the page goes, or another tab hosts now. It takes its leave
   * after that, unless all is to be over `atOnce`.
   */
  abandon({ atOnce = false } = {}) {
    if (this.#isOver) return;
    this.#post({ type: 'close' });
    const worker = atOnce ? undefined : this.#worker;
    if (worker) this.#worker = undefined;
    this.#end();
    if (!worker) return;
    const end = () => worker.terminate();
    setTimeout(end, FAREWELL);
    // A worker that is frozen keeps its files, and others out of the store.
    document.addEventListener('freeze', end, { signal: AbortSignal.timeout(FAREWELL) });
  }

  /**
   * Ends an engine that no longer works, and says so.
   *
   * @param {string} why
   */
  die(why) {
    if (this.#isOver) return;
    this.#end();
    if (this.#isLeaving) return;
    this.#events.died(new ShoalError('engine-crashed', `The engine ended unexpectedly and is started again: ${why}`));
  }

  #startInWorker() {
    let worker;
    try {
      worker = startWorker();
    } catch (error) {
      this.#fallBack(describe(error));
      return;
    }
    this.#worker = worker;
    worker.onerror = (event) => {
      // One that has begun takes care of its errors.
      if (!this.#outbox) return;
      event.preventDefault();
      this.#fallBack(event.message ?? 'it could not be loaded');
    };
    worker.onmessage = ({ data }) => {
      if (data.type !== 'ready') {
        this.#handle(data);
      } else if (data.takesChannels) {
        this.#toEngine = (message, transfer) => worker.postMessage(message, transfer);
        this.#begin({ isWatched: 'locks' in navigator });
      } else {
        this.#fallBack('this browser cannot transfer data channels');
      }
    };
  }

  /**
   * Without a worker all works, but a busy page stalls its peer.
   *
   * @param {string} why
   */
  #fallBack(why) {
    console.warn(`Shoal: the engine runs in the page instead of a worker: ${why}`);
    this.#dropWorker();
    this.#startInPage();
  }

  #startInPage() {
    // Later, since the engine may not be entered while it speaks.
    const room = new EngineRoom((message) => queueMicrotask(() => this.#handle(message)), () => loadInPage(this.name));
    this.#toEngine = (message) => room.handle(message);
    const { signal } = this.#over;
    /** @param {unknown} error */
    const note = (error) => {
      if (!isTrapOfEngine(error)) return;
      room.crash(error);
    };
    addEventListener('error', ({ error }) => note(error), { signal });
    addEventListener('unhandledrejection', ({ reason }) => note(reason), { signal });
    this.#begin({ isWatched: false });
  }

  /** @param {{ isWatched: boolean }} how */
  #begin({ isWatched }) {
    const outbox = this.#outbox ?? [];
    this.#outbox = undefined;
    this.#post({ type: 'start', store: this.#store, name: this.name, isShared: this.#isShared, isWatched });
    this.isListening = true;
    for (const [message, transfer] of outbox) this.#post(message, transfer);
  }

  /**
   * @param {any} message
   * @param {Transferable[]} [transfer]
   */
  #post(message, transfer = []) {
    if (this.#isOver) return;
    if (this.#outbox) this.#outbox.push([message, transfer]);
    else this.#toEngine(message, transfer);
  }

  /** @param {any} message of the engine */
  #handle(message) {
    if (message.type === 'closed') this.#closed();
    if (this.#isOver) return;
    if (message.type === 'broker') this.#broker.handle(message.message);
    else if (message.type === 'locked') this.#watch();
    else if (message.type === 'crashed') {
      spoil(this.name);
      this.die(message.message);
    } else if (this.#isLeaving) return;
    else if (message.type === 'failed') this.#events.failed(fromPlain(message.error));
    else if (message.type === 'superseded') this.#events.superseded();
    else if (message.type === 'lost') this.#lose();
  }

  /** The data of the site was deleted. */
  #lose() {
    this.#events.lost(new ShoalError('store-failed', 'The data of this site was deleted while it was in use, or taken over by a newer version of Shoal. The peer starts anew with what is there.'));
  }

  /** Waits for the lock the worker holds. */
  async #watch() {
    const { signal } = this.#over;
    try {
      await locks().request(engineLock(String(this.#store), this.name), { signal }, () => {});
    } catch {
      return; // It was ended here.
    }
    this.die('its worker is gone.');
  }

  #end() {
    this.#isOver = true;
    this.#over.abort();
    this.#broker.close();
    this.#dropWorker();
  }

  #dropWorker() {
    const worker = this.#worker;
    this.#worker = undefined;
    if (!worker) return;
    worker.onmessage = null;
    worker.onerror = null;
    worker.terminate();
  }
}

/** @returns {Worker} */
function startWorker() {
  // Bundlers look for this very expression.
  const start = () => new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name: 'shoal' });
  const here = import.meta.url;
  if (new URL(here).origin === location.origin) return start();
  // A worker's own file must come from the page's origin; what it imports need not.
  const source = `import ${JSON.stringify(new URL('worker.js', here).href)};`;
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  const worker = new Worker(url, { type: 'module', name: 'shoal' });
  const revoke = () => URL.revokeObjectURL(url);
  worker.addEventListener('message', revoke, { once: true });
  worker.addEventListener('error', revoke, { once: true });
  return worker;
}

/** The engines that run in the page's one instance of the module. @type {Set<string>} */
let housemates = new Set();
let isSpoiled = false;

/**
 * Instantiates the module in the page; a trap spoils the instance for all engines in it,
 * and the next one to start gets a new one.
 *
 * @param {string} name of the engine
 */
async function loadInPage(name) {
  const glue = await import('./shoal_peer.js');
  await glue.default();
  if (isSpoiled) {
    const { __wbg_reset_state: reset } = /** @type {{ __wbg_reset_state?: () => void }} */ (glue);
    if (!reset) throw new ShoalError('engine-crashed', 'The engine crashed in the page, where it cannot be started again: reload the page.');
    reset();
    isSpoiled = false;
    housemates = new Set();
  }
  housemates.add(name);
  return glue.Engine;
}

/** @param {string} name */
function spoil(name) {
  if (housemates.has(name)) isSpoiled = true;
}

/** @param {unknown} error */
function isTrapOfEngine(error) {
  // Pages may have other modules.
  return error instanceof WebAssembly.RuntimeError && /shoal_peer/.test(error.stack ?? '');
}
