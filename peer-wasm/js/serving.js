/**
 * The page's part in serving contents at addresses: has the service worker (`sw.js`) run, and
 * sends it what it is asked for.
 */

import { ShoalError, describe, toPlain } from './errors.js';
import { newName } from './port.js';

/**
 * @typedef {import('./peer.js').Peer} Peer
 * @typedef {import('./transfer.js').Transfer} Transfer
 * @typedef {(key: string, signal: AbortSignal) => void} Hold has a content stay until it is aborted
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
  #registration;
  #onDemand;
  #hold;
  /** Is held while the page can send: not while it is frozen or put aside. */
  #lock = '';
  #awake = new AbortController();
  #over = new AbortController();
  /** @type {Map<string, Use>} */
  #uses = new Map();
  #sending = 0;

  /**
   * Begins to serve, once the service worker answers for this page.
   *
   * @param {Peer} peer
   * @param {import('./index.js').ServeOptions} options
   * @param {Hold} hold
   */
  static async start(peer, { worker = new URL('sw.js', import.meta.url), scope = '/', onDemand = false }, hold) {
    if (!navigator.serviceWorker) {
      throw new ShoalError('unsupported', 'There are no service workers here: not on plain-HTTP origins, and not in private windows of some browsers. Use `blob()` instead.');
    }
    const registration = await register(new URL(worker, location.href), scope);
    return new Serving(peer, registration, onDemand, hold);
  }

  /**
   * @param {Peer} peer
   * @param {ServiceWorkerRegistration} registration
   * @param {boolean} onDemand
   * @param {Hold} hold
   */
  constructor(peer, registration, onDemand, hold) {
    this.#peer = peer;
    this.#registration = registration;
    this.#onDemand = onDemand;
    this.#hold = hold;
    const { signal } = this.#over;
    addEventListener('pagehide', this.#sleep, { signal });
    addEventListener('pageshow', this.#wake, { signal });
    // Only Chromium tells.
    document.addEventListener('freeze', this.#sleep, { signal });
    document.addEventListener('resume', this.#wake, { signal });
    this.#rise();
    navigator.serviceWorker.addEventListener('message', ({ data, ports }) => {
      // What the peer sends it shares in its own namespace. Without the lock it is asked again.
      const isMeant = data?.shoal === 'content' && (data.namespace ?? peer.namespace) === peer.namespace && this.#lock;
      if (isMeant && typeof data.key === 'string' && ports[0]) this.#serve(data, ports[0]);
    }, { signal });
    navigator.serviceWorker.startMessages();
    peer.addEventListener('content', (/** @type {any} */ { detail }) => {
      // What is asked for again is fetched again.
      if (detail.removed) this.#forget(detail.content.key);
    }, { signal });
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
    const query = `?in=${this.#peer.namespace}${isDownload ? '&download' : ''}`;
    return new URL(`shoal/content/${key}${query}`, this.#registration.scope).href;
  }

  /** Can send from now on. */
  #rise() {
    this.#awake = new AbortController();
    const { signal } = this.#awake;
    const lock = `shoal:serving:${newName()}`;
    const asleep = new Promise((resolve) => signal.addEventListener('abort', resolve));
    navigator.locks.request(lock, { signal }, () => {
      this.#lock = lock;
      return asleep;
    }).catch(() => {});
  }

  /** Leaves what it sends to other pages. */
  #sleep = () => {
    this.#lock = '';
    this.#awake.abort();
  };

  #wake = () => {
    if (this.#awake.signal.aborted) this.#rise();
  };

  stop() {
    this.#over.abort();
    this.#sleep();
    for (const key of [...this.#uses.keys()]) this.#forget(key);
  }

  /**
   * Sends a content to the service worker, as that reads it.
   *
   * @param {{ key: string, namespace?: string | null, isNavigation: boolean, lock?: string }} wanted with the lock of the
   *   worker; one of an older version, which is there until the site's pages are closed, names no lock and no namespace
   * @param {MessagePort} port
   */
  async #serve({ key, namespace, isNavigation, lock }, port) {
    /** @type {ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>> | undefined} */
    let reader;
    /** @type {Transfer | undefined} */
    let transfer;
    /** @type {Use | undefined} */
    let use;
    const over = new AbortController();
    const { signal } = over;
    this.#sending += 1;
    const end = () => {
      if (signal.aborted) return;
      over.abort();
      this.#sending -= 1;
      reader?.cancel().catch(() => {});
      if (use) this.#release(key, use);
      port.close();
    };
    this.#awake.signal.addEventListener('abort', end, { signal });
    // A worker that was stopped says nothing.
    if (lock) navigator.locks.request(lock, { signal }, end).catch(() => {});
    port.onmessage = async ({ data }) => {
      if (data.leave) return end();
      try {
        reader ??= transfer?.stream({ start: data.start, end: data.end }).getReader();
        const { value, done } = await /** @type {NonNullable<typeof reader>} */ (reader).read();
        if (signal.aborted) return;
        if (done) port.postMessage({ end: true });
        else port.postMessage({ bytes: value }, [value.buffer]);
      } catch (error) {
        if (!signal.aborted) port.postMessage({ error: toPlain(error, 'aborted') });
      }
    };
    try {
      // A link from anywhere leads here: it shows what is here, and has nothing fetched. So does an
      // address that does not say in which namespace.
      if ((isNavigation || !namespace) && !(await this.#isHere(key))) throw new ShoalError('not-held', 'This content is not held in this browser.');
      port.postMessage({ looks: true, lock: this.#lock });
      if (signal.aborted) return;
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
    const { signal } = abort;
    // What is fetched whole goes on when nobody reads it any more.
    const transfer = this.#peer.fetch(key, this.#onDemand ? { signal, onDemand: true } : {});
    const use = { transfer, abort, users: 1 };
    this.#uses.set(key, use);
    this.#hold(key, signal);
    transfer.then(({ done }) => done).catch(() => this.#forget(key, use));
    return use;
  }

  /** @param {string} key @param {Use} [use] */
  #forget(key, use = this.#uses.get(key)) {
    use?.abort.abort();
    if (this.#uses.get(key) === use) this.#uses.delete(key);
  }

  /**
   * One reads it less.
   *
   * @param {string} key
   * @param {Use} use
   */
  #release(key, use) {
    use.users -= 1;
    if (use.users > 0) return;
    use.timer = setTimeout(() => this.#forget(key, use), LINGER);
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
  /** @type {Promise<never>} */
  const late = new Promise((_, reject) => limit.addEventListener('abort', () => {
    reject(new Error('it did not begin to answer for this page; the page may lie outside of its scope'));
  }));
  late.catch(() => {});
  try {
    // Those of these pages, and that of this one.
    for (const page of [scope, location.href]) {
      const known = await serviceWorker.getRegistration(page);
      const other = (known?.active ?? known?.waiting ?? known?.installing)?.scriptURL;
      if (other && other !== worker.href) throw new Error(`${other} is the one here: import this into it, and pass its address`);
    }
    const registration = await serviceWorker.register(worker, { scope, updateViaCache: 'none' });
    registration.waiting?.postMessage({ shoal: 'take over' });
    const { active } = await Promise.race([serviceWorker.ready, late]);
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
