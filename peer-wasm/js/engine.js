/**
 * Runs an engine and connects it with its clients and its broker. Is the same in a worker
 * and in the page; knows neither.
 *
 * Its page says `start`, then `client` (a port of that tab), `broker` and `close`; tabs
 * come by themselves over the common channel. To its page it says `locked`, `opened`,
 * `failed`, `broker`, `superseded`, `lost` (its store), `crashed` and `closed`.
 *
 * A client says `{ id, call, args }` and is answered `{ id, ok }` or `{ id, error }`. The
 * calls `attach`, `ping`, `wake`, `abort` and `detach` are answered here; all others are
 * the engine's. `ping` is answered however busy the store is.
 *
 * An exception out of the engine means that its state is no longer to be trusted (a panic
 * is a trap): it is given up, and its page starts another.
 */

import { clearBlobs } from './blobs.js';
import { describe, toPlain } from './errors.js';
import { isTemporary, openFiles } from './files.js';
import { CommonChannel, TabPort, clientLock, engineLock } from './port.js';

/**
 * @typedef {import('./port.js').Port} Port
 * @typedef {import('./shoal_peer.js').Engine} Engine
 * @typedef {object} Start
 * @property {string | false} store what the engine is to open
 * @property {string} name of this engine
 * @property {boolean} isShared whether other tabs may speak to it
 * @property {boolean} isWatched whether its page waits for the end of a lock
 */

/** One who speaks to the engine. */
class Client {
  /** @type {Promise<void> | undefined} */
  attaching;
  isAttached = false;
  /** Names the rendezvous and namespace it is in. */
  network = '';
  /** Limits of its traffic that somebody chose since. @type {any} */
  limits;
  /** Ends waiting for the lock of its tab. */
  gone = new AbortController();

  /** @param {Port} port */
  constructor(port) {
    this.port = port;
  }

  /** @param {any} message @param {Transferable[]} [transfer] */
  post(message, transfer = []) {
    this.port.postMessage(message, transfer);
  }
}

/** What the browser gives to the site, in bytes, where it tells. */
async function quota() {
  try {
    return (await navigator.storage.estimate()).quota;
  } catch {
    return undefined; // Plain HTTP has no `navigator.storage`.
  }
}

export class EngineRoom {
  /** @type {Engine | undefined} */
  #engine;
  /** Settles when the engine can be called, or will never be. @type {Promise<Engine> | undefined} */
  #opened;
  /** @type {CommonChannel | undefined} */
  #common;
  /** @type {Map<number, Client>} */
  #clients = new Map();
  /** Clients of other tabs. @type {Map<string, number>} */
  #numbers = new Map();
  #nextNumber = 1;
  /** Who fetches what, and whether only what is read. @type {Map<string, Map<string, boolean>>} */
  #fetches = new Map();
  #isOver = false;
  #isTemporary = Promise.resolve(false);
  /** What could not be read and is to be told, besides what the engine tells. @type {string[]} */
  #unread = [];
  #release = () => {};
  #toPage;
  #load;

  /**
   * @param {(message: any) => void} toPage
   * @param {() => Promise<typeof import('./shoal_peer.js').Engine>} load instantiates the module
   */
  constructor(toPage, load) {
    this.#toPage = toPage;
    this.#load = load;
  }

  /**
   * Takes a message of its page.
   *
   * @param {any} message
   */
  handle(message) {
    if (this.#isOver) return;
    if (message.type === 'start') this.#start(message);
    else if (message.type === 'client') this.#add(message.port);
    else if (message.type === 'broker') this.#enter((engine) => engine.fromBroker(message.message));
    else if (message.type === 'close') this.#close();
  }

  /**
   * Gives the engine up.
   *
   * @param {unknown} error
   */
  crash(error) {
    if (this.#isOver) return;
    console.error('Shoal: the engine crashed', error);
    this.#end();
    this.#toPage({ type: 'crashed', message: describe(error) });
  }

  /** @param {Start} start */
  #start({ store, name, isShared, isWatched }) {
    const channel = String(store);
    if (isWatched) {
      const held = new Promise((resolve) => { this.#release = () => resolve(undefined); });
      navigator.locks.request(engineLock(channel, name), () => {
        this.#toPage({ type: 'locked' });
        return held;
      });
    }
    this.#isTemporary = isTemporary(store);
    this.#opened = this.#open(store);
    this.#opened.then(
      () => this.#toPage({ type: 'opened' }),
      (error) => {
        if (error instanceof WebAssembly.RuntimeError) this.crash(error);
        else this.#toPage({ type: 'failed', error: toPlain(error) });
      },
    );
    if (!isShared) return;
    this.#common = new CommonChannel(
      channel,
      ({ type, client }) => {
        if (type === 'hello' && typeof client === 'string') this.#welcome(channel, name, client);
      },
      ({ type, client }) => {
        if (type === 'hello') this.#common?.say({ type: 'mismatch', client });
      },
    );
    this.#common.say({ type: 'here', engine: name });
  }

  /** @param {string | false} store */
  async #open(store) {
    const [Engine, files] = await Promise.all([this.#load(), openFiles(store)]);
    // Nothing here may throw: it would unwind the engine's own frames.
    const host = {
      toClient: (/** @type {number} */ number, /** @type {any} */ message, /** @type {Transferable[]} */ transfer) => this.#answer(number, message, transfer),
      toBroker: (/** @type {any} */ message) => this.#toPage({ type: 'broker', message }),
      superseded: () => this.#toPage({ type: 'superseded' }),
      lost: () => this.#toPage({ type: 'lost' }),
    };
    const engine = await Engine.open({ store, files, quota }, host).catch(async (error) => {
      if (!error.format) throw error;
      // It is left as it is, for the version that made it, with its files: databases have no other
      // way to be put aside, for want of new names.
      const beside = `${store}~${error.format}`;
      this.#unread.push('store');
      return Engine.open({ store: beside, files: await openFiles(beside), quota }, host);
    });
    this.#engine = engine;
    clearBlobs();
    return engine;
  }

  /**
   * Lets a client of another tab in, or tells it again that it is.
   *
   * @param {string} store
   * @param {string} engine
   * @param {string} client
   */
  #welcome(store, engine, client) {
    if (!this.#numbers.has(client)) {
      const number = this.#add(new TabPort(store, client, engine));
      this.#numbers.set(client, number);
      this.#dropWhenGone(client, number);
    }
    this.#common?.say({ type: 'welcome', client, engine });
  }

  /**
   * The client holds its lock as long as it is there.
   *
   * @param {string} name
   * @param {number} number
   */
  async #dropWhenGone(name, number) {
    const signal = this.#clients.get(number)?.gone.signal;
    try {
      await navigator.locks.request(clientLock(name), { signal }, () => {});
    } catch {
      return; // It left by itself.
    }
    this.#drop(number);
  }

  /** @param {Port} port */
  #add(port) {
    const number = this.#nextNumber;
    this.#nextNumber += 1;
    this.#clients.set(number, new Client(port));
    port.onmessage = ({ data }) => this.#receive(number, data);
    return number;
  }

  /** @param {number} number */
  #drop(number) {
    const client = this.#clients.get(number);
    if (!client) return;
    this.#clients.delete(number);
    for (const [name, of] of this.#numbers) {
      if (of === number) this.#numbers.delete(name);
    }
    for (const fetching of this.#fetches.values()) {
      for (const fetch of fetching.keys()) if (fetch.startsWith(`${number}:`)) fetching.delete(fetch);
    }
    client.gone.abort();
    client.port.close();
    if (client.attaching) this.#enter((engine) => engine.detach(number));
  }

  /**
   * Takes what a client says. Tabs are of this origin, but not always of this version.
   *
   * @param {number} number
   * @param {any} message
   */
  #receive(number, message) {
    const client = this.#clients.get(number);
    const { id, call, args } = message ?? {};
    if (!client || !Number.isSafeInteger(id) || typeof call !== 'string') return;
    if (call === 'ping') client.post({ id, ok: null });
    else if (call === 'wake') this.#enter((engine) => engine.wake());
    else if (call === 'detach') this.#drop(number);
    else if (call === 'attach') this.#attach(number, client, id, args);
    else if (call === 'abort') this.#abort(number, id);
    else if (!client.isAttached) client.post({ id, error: { code: 'closed', message: `\`${call}\` was called before \`attach\`` } });
    else {
      if (call === 'fetch') this.#noteFetch(number, id, args);
      if (call === 'limit' || call === 'limitStorage') this.#share(args, call === 'limit' ? client.network : undefined);
      if (call === 'stopFetch' && args?.isOwn) this.#stopUnlessWanted(number, id, this.#fetchOf(number, args.key), false);
      else this.#enter((engine) => engine.call(number, id, call, args));
    }
  }

  /**
   * @param {number} number
   * @param {Client} client
   * @param {number} id
   * @param {any} options
   */
  #attach(number, client, id, options) {
    // A tab that heard no answer asks again.
    if (client.attaching) return;
    client.network = `${options?.rendezvous} ${options?.namespace} ${options?.secret}`;
    client.attaching = (async () => {
      // All tabs are told over their pages why there is none.
      const engine = await this.#opened?.catch(() => undefined);
      if (!engine) return;
      try {
        const { storageLimit, damaged = [], ...attached } = await engine.attach(number, options);
        const isTemporary = await this.#isTemporary;
        const others = [...this.#clients.values()].filter(({ network }) => network === client.network);
        // Of whoever is the first they are those it came with, which were told to it before.
        const { uploadLimit, downloadLimit, uploadSlots } = options ?? {};
        const own = { uploadLimit, downloadLimit, uploadSlots };
        client.limits ??= others.find(({ limits }) => limits)?.limits
          ?? (Object.values(own).some((limit) => limit !== undefined) ? own : undefined);
        const ok = {
          ...attached, isTemporary, damaged: [...this.#unread.splice(0), ...damaged],
          options: { ...storageLimit && { storageLimit }, ...client.limits },
        };
        client.isAttached = true;
        if (!this.#isOver) client.post({ id, ok });
      } catch (error) {
        if (error instanceof WebAssembly.RuntimeError) this.crash(error);
        if (this.#isOver) return;
        client.attaching = undefined;
        client.post({ id, error: toPlain(error) });
      }
    })();
  }

  /**
   * Tells all tabs of limits that one of them chose, for when one starts the next engine. Those of
   * traffic are of a network.
   *
   * @param {any} options
   * @param {string} [network]
   */
  #share(options, network) {
    for (const client of this.#clients.values()) {
      if (network && client.network !== network) continue;
      if (network) client.limits = options;
      client.post({ event: 'options', options });
    }
  }

  /**
   * What was fetched for several goes on until the last of them takes it back, though the
   * engine has long answered all of them; and all of it until nobody wants but what is read.
   *
   * @param {number} number
   * @param {number} id
   */
  #abort(number, id) {
    this.#enter((engine) => engine.abort(number, id));
    for (const [what, fetching] of this.#fetches) {
      const onDemand = fetching.get(`${number}:${id}`);
      if (onDemand === undefined) continue;
      fetching.delete(`${number}:${id}`);
      this.#stopUnlessWanted(number, id, what, onDemand);
    }
  }

  /**
   * Somebody wants a content no longer. Who only read it says nothing of those nobody here
   * stands for: a rule, or a fetch that goes on from the store.
   *
   * @param {number} number
   * @param {number} id
   * @param {string} what
   * @param {boolean} wasReading
   */
  #stopUnlessWanted(number, id, what, wasReading) {
    const others = [...this.#fetches.get(what)?.values() ?? []];
    if (others.length === 0) this.#fetches.delete(what);
    else if (wasReading || others.includes(false)) {
      this.#clients.get(number)?.post({ id, ok: null });
      return;
    }
    const [key] = what.split(' ', 1);
    const args = { key, onDemand: others.length > 0, unlessWanted: wasReading };
    this.#enter((engine) => engine.call(number, id, 'stopFetch', args));
  }

  /**
   * @param {number} number
   * @param {number} id
   * @param {any} args
   */
  #noteFetch(number, id, args) {
    if (typeof args?.key !== 'string') return;
    const what = this.#fetchOf(number, args.key);
    const fetching = this.#fetches.get(what) ?? new Map();
    this.#fetches.set(what, fetching.set(`${number}:${id}`, args.onDemand === true));
  }

  /**
   * Forgets who fetched what is over: it is whole, or was before; it was stopped or removed; it failed.
   *
   * @param {number} number
   * @param {any} message
   */
  #noteEnd(number, { event, key, progress, removed, content, id, ok, error }) {
    if (event === 'stopped' || (event === 'progress' && progress.state === 'done')) this.#fetches.delete(this.#fetchOf(number, key));
    else if (event === 'content' && removed) this.#fetches.delete(this.#fetchOf(number, content.key));
    else if (error || (ok?.key && ok.held === ok.size)) {
      for (const fetching of this.#fetches.values()) fetching.delete(`${number}:${id}`);
    }
  }

  /**
   * Names a fetch: those of a key in two namespaces have nothing to do with each other.
   *
   * @param {number} number
   * @param {string} key
   */
  #fetchOf(number, key) {
    return `${key} ${this.#clients.get(number)?.network}`;
  }

  /**
   * @param {number} number
   * @param {any} message
   * @param {Transferable[]} transfer
   */
  #answer(number, message, transfer) {
    try {
      this.#noteEnd(number, message);
      this.#clients.get(number)?.post(message, transfer);
    } catch (error) {
      console.error('Shoal: a message could not be passed on', error);
    }
  }

  /** @param {(engine: Engine) => void} work */
  #enter(work) {
    if (!this.#engine || this.#isOver) return;
    try {
      work(this.#engine);
    } catch (error) {
      this.crash(error);
    }
  }

  async #close() {
    try {
      await this.#engine?.close();
    } catch (error) {
      console.error('Shoal: the engine did not close', error);
    }
    if (this.#isOver) return;
    this.#end();
    this.#toPage({ type: 'closed' });
  }

  #end() {
    this.#isOver = true;
    this.#engine = undefined;
    this.#common?.close();
    for (const client of this.#clients.values()) {
      client.gone.abort();
      client.port.close();
    }
    this.#clients.clear();
    this.#release();
  }
}
