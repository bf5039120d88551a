/**
 * The page's part in serving contents at addresses: has the service worker (`sw.js`) run, and
 * sends it what it is asked for.
 */

import { ShoalError, describe, toPlain } from './errors.js';
import { newName } from './port.js';

/**
 * @typedef {import('./peer.js').Peer} Peer
 * @typedef {import('./transfer.js').Transfer} Transfer
 * @typedef {{ transfer: Promise<Transfer>, abort: AbortController, users: number, timer?: ReturnType<typeof setTimeout> }} Use
 */

/** How long the service worker may take until it answers for the page, in milliseconds. A guess. */
const PATIENCE = 10_000;
/** How often it is kept from being stopped while something is sent: browsers stop one after 30
 *  seconds without an event. */
const AWAKE = 10_000;
/** How long a content is kept at hand after it was last read: a player that jumps asks anew. A
 *  guess. */
const LINGER = 30_000;

export class Serving {
  #peer;
  #onDemand;
  #registration;
  /** Is held while the page can send. */
  #lock = `shoal:serving:${newName()}`;
  #over = new AbortController();
  /** @type {Map<string, Use>} */
  #uses = new Map();
  #sending = 0;

  /**
   * Begins to serve, once the service worker answers for this page.
   *
   * @param {Peer} peer
   * @param {import('./index.js').ServeOptions} options
   */
  static async start(peer, { worker = new URL('sw.js', import.meta.url), scope = '/', onDemand = false }) {
    if (!navigator.serviceWorker) {
      throw new ShoalError('unsupported', 'There are no service workers here: not on plain-HTTP origins, and not in private windows of some browsers. Use `blob()` instead.');
    }
    const registration = await register(new URL(worker, location.href), scope);
    return new Serving(peer, registration, onDemand);
  }

  /**
   * @param {Peer} peer
   * @param {ServiceWorkerRegistration} registration
   * @param {boolean} onDemand
   */
  constructor(peer, registration, onDemand) {
    this.#peer = peer;
    this.#registration = registration;
    this.#onDemand = onDemand;
    const { signal } = this.#over;
    const held = new Promise((resolve) => signal.addEventListener('abort', () => resolve(undefined)));
    navigator.locks.request(this.#lock, () => held);
    navigator.serviceWorker.addEventListener('message', ({ data, ports }) => {
      if (data?.shoal === 'content' && typeof data.key === 'string' && ports[0]) this.#serve(data.key, data.isNavigation, ports[0]);
    }, { signal });
    navigator.serviceWorker.startMessages();
    const timer = setInterval(() => {
      if (this.#sending > 0) this.#registration.active?.postMessage({ shoal: 'awake' });
    }, AWAKE);
    signal.addEventListener('abort', () => clearInterval(timer));
  }

  /**
   * @param {string} key
   * @param {boolean} isDownload
   */
  url(key, isDownload) {
    return new URL(`shoal/content/${key}${isDownload ? '?download' : ''}`, this.#registration.scope).href;
  }

  stop() {
    this.#over.abort();
    for (const { abort } of this.#uses.values()) abort.abort();
  }

  /**
   * Sends a content to the service worker, as that reads it.
   *
   * @param {string} key
   * @param {boolean} isNavigation
   * @param {MessagePort} port
   */
  async #serve(key, isNavigation, port) {
    /** @type {ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>> | undefined} */
    let reader;
    /** @type {Transfer | undefined} */
    let transfer;
    /** @type {Use | undefined} */
    let use;
    let isOver = false;
    this.#sending += 1;
    const end = () => {
      if (isOver) return;
      isOver = true;
      this.#sending -= 1;
      reader?.cancel().catch(() => {});
      if (use) this.#release(key, use);
      port.close();
    };
    this.#over.signal.addEventListener('abort', end);
    port.onmessage = async ({ data }) => {
      if (data.leave) return end();
      try {
        reader ??= transfer?.stream({ start: data.start, end: data.end }).getReader();
        const { value, done } = await /** @type {NonNullable<typeof reader>} */ (reader).read();
        if (isOver) return;
        if (done) port.postMessage({ end: true });
        else port.postMessage({ bytes: value }, [value.buffer]);
      } catch (error) {
        if (!isOver) port.postMessage({ error: toPlain(error, 'aborted') });
      }
    };
    try {
      // A link from anywhere leads here: it shows what is here, and has nothing fetched.
      if (isNavigation && !(await this.#isHere(key))) throw new ShoalError('not-held', 'This content is not held in this browser.');
      port.postMessage({ looks: true, lock: this.#lock });
      if (isOver) return;
      use = this.#use(key);
      transfer = await use.transfer;
      port.postMessage({ content: transfer.content, lock: this.#lock });
    } catch (error) {
      port.postMessage({ error: toPlain(error, 'aborted') });
      end();
    }
  }

  /** @param {string} key */
  async #isHere(key) {
    const contents = await this.#peer.contents();
    return contents.some((content) => content.key === key);
  }

  /**
   * The fetch of a content, one for all who read it.
   *
   * @param {string} key
   * @returns {Use}
   */
  #use(key) {
    const running = this.#uses.get(key);
    if (running) {
      running.users += 1;
      clearTimeout(running.timer);
      return running;
    }
    const abort = new AbortController();
    const transfer = this.#peer.fetch(key, { signal: abort.signal, onDemand: this.#onDemand });
    const use = { transfer, abort, users: 1 };
    this.#uses.set(key, use);
    transfer.then(({ done }) => done).catch(() => this.#forget(key, use));
    return use;
  }

  /** @param {string} key @param {Use} use */
  #forget(key, use) {
    if (this.#uses.get(key) === use) this.#uses.delete(key);
  }

  /**
   * Nobody may read it any more: what is fetched whole goes on all the same.
   *
   * @param {string} key
   * @param {Use} use
   */
  #release(key, use) {
    use.users -= 1;
    if (use.users > 0) return;
    use.timer = setTimeout(() => {
      this.#forget(key, use);
      if (this.#onDemand) use.abort.abort();
    }, LINGER);
  }
}

/**
 * Has a service worker answer for this page.
 *
 * @param {URL} worker
 * @param {string} scope
 */
async function register(worker, scope) {
  const { serviceWorker } = navigator;
  const limit = AbortSignal.timeout(PATIENCE);
  const late = new Promise((_, reject) => limit.addEventListener('abort', () => {
    reject(new Error('it did not begin to answer for this page; the page may lie outside of its scope'));
  }));
  try {
    const registration = await serviceWorker.register(worker, { scope, updateViaCache: 'none' });
    registration.waiting?.postMessage({ shoal: 'take over' });
    const { active } = await Promise.race([serviceWorker.ready, /** @type {Promise<never>} */ (late)]);
    if (!serviceWorker.controller) {
      const controlled = new Promise((resolve) => serviceWorker.addEventListener('controllerchange', resolve, { once: true, signal: limit }));
      active?.postMessage({ shoal: 'claim' });
      await Promise.race([controlled, late]);
    }
    return registration;
  } catch (error) {
    throw new ShoalError('unsupported', `The service worker ${worker} cannot serve contents here: ${describe(error)}. It must come from the page's own origin, and outside of its folder needs the header \`Service-Worker-Allowed\`.`, { cause: error });
  }
}
