/**
 * A tab's part in the one engine of a store.
 *
 * All tabs that use a store wait for one lock; who gets it hosts the engine. Each tab
 * gives its clients a port to the engine, wherever that is, and a new port when the
 * engine is another. A page that is frozen or put aside lets go of the lock before. A tab
 * whose host does not answer, while somebody looks at it, takes the lock away: the host may
 * be stopped, and the store lets only the newest engine write.
 *
 * Where there is nothing to share (a store in memory) or nobody to share it with
 * (plain-HTTP and opaque origins have no locks), a tab is made for each client and hosts
 * at once.
 */

import { ShoalError, fromPlain, toPlain } from './errors.js';
import { Host } from './host.js';
import { CommonChannel, TabPort, clientLock, hostLock, locks, newName, renewLocks } from './port.js';

/** @typedef {import('./connection.js').Connection} Connection */

/** How often a sign of life is asked for while somebody looks at the page, in milliseconds: so
 *  that an engine whose tab was stopped is somewhere else within two seconds. */
const PULSE = 300;
/** How many an engine elsewhere may leave unanswered, and how many its page, before its tab is
 *  held to be stopped: only if both are silent, since either may be busy. They are counted, not
 *  timed, so that a machine that stood still takes no engine away. */
const SILENCE_STOPPED = { engine: 3, page: 2 };
/** And how many an engine alone, which is busy or hangs: some ten seconds. A guess. */
const SILENCE_HANGS = 33;
/** Longest random wait before taking over, so that not all tabs do, in milliseconds. A guess. */
const HESITATION = 200;
/** Shortest and longest wait before an engine is started again that did not live long. */
const RESTART = { first: 500, longest: 30_000 };
/** How long a browser may take to clear all of a site's data once it has begun, in milliseconds:
 *  what is written meanwhile may go too. A guess. */
const CLEARING = 500;
/** An engine that lived so long is started again at once, in milliseconds. A guess. */
const LONG_LIFE = 60_000;

/** @type {Map<string, Tab>} */
const tabs = new Map();

export class Tab {
  /** @type {Map<string, Connection>} */
  #clients = new Map();
  /** End the lock each client holds. @type {Map<string, () => void>} */
  #leaving = new Map();
  /** @type {Host | undefined} */
  #host;
  #startedAt = 0;
  #restarts = 0;
  /** @type {CommonChannel | undefined} */
  #common;
  /** Ends what belongs to being awake: listeners, timers, locks that are waited for. */
  #awake = new AbortController();
  /** Ends waiting for the host's lock. */
  #waiting = new AbortController();
  #takesOver = false;
  #hesitates = false;
  /** Signs of life that were asked of the host's page in vain since the last one. */
  #absence = 0;
  /** Gives the host's lock back. */
  #release = () => {};
  /** Ends what the page tells it: nobody is left. */
  #isOut;
  #store;
  #useWorker;
  #isShared;

  /**
   * Gives a client a port to the engine of a store, now and whenever there is another one.
   *
   * @param {Connection} connection
   * @param {{ store: string | false, useWorker: boolean }} how
   * @returns {() => Promise<void>} takes the client out
   */
  static enter(connection, { store, useWorker }) {
    const isShared = store !== false && canShare();
    const found = isShared ? tabs.get(store) : undefined;
    // Without locks two engines would fight for the store.
    const tab = found ?? new Tab(isShared ? store : false, useWorker, isShared);
    if (isShared) tabs.set(store, tab);
    const name = newName();
    tab.#clients.set(name, connection);
    tab.#admit(name, connection);
    return () => tab.#leave(name);
  }

  /**
   * @param {string | false} store
   * @param {boolean} useWorker
   * @param {boolean} isShared
   */
  constructor(store, useWorker, isShared) {
    this.#store = store;
    this.#useWorker = useWorker;
    this.#isShared = isShared;
    this.#isOut = new AbortController();
    const { signal } = this.#isOut;
    addEventListener('pagehide', this.#sleep, { signal });
    addEventListener('pageshow', this.#wake, { signal });
    // Only Chromium tells.
    document.addEventListener('freeze', this.#sleep, { signal });
    document.addEventListener('resume', this.#wake, { signal });
    this.#rise();
  }

  get #name() {
    return String(this.#store);
  }

  /** Begins to take part. */
  #rise() {
    this.#awake = new AbortController();
    const { signal } = this.#awake;
    addEventListener('online', () => this.#forAll((client) => client.wake()), { signal });
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) this.#forAll((client) => client.wake());
    }, { signal });
    const pulse = setInterval(() => this.#pulse(), PULSE);
    signal.addEventListener('abort', () => clearInterval(pulse));
    if (!this.#isShared) {
      this.#serve();
      return;
    }
    this.#common = new CommonChannel(this.#name, (said) => this.#hear(said), (said) => this.#hearOther(said));
    this.#contend(signal);
  }

  /**
   * The page is put aside: for good, or to be shown again as it is (bfcache), or to do nothing
   * until it is looked at (frozen).
   *
   * @param {Event} event
   */
  #sleep = ({ type }) => {
    this.#awake.abort();
    this.#waiting.abort();
    this.#host?.abandon({ atOnce: type === 'freeze' });
    this.#host = undefined;
    this.#release();
    for (const leave of this.#leaving.values()) leave();
    this.#leaving.clear();
    this.#forAll((client) => client.disconnect());
    this.#common?.close();
    this.#common = undefined;
  };

  #wake = () => {
    if (!this.#awake.signal.aborted) return;
    this.#rise();
    for (const [name, client] of this.#clients) this.#admit(name, client);
  };

  /**
   * @param {string} name
   * @param {Connection} client
   */
  #admit(name, client) {
    if (!this.#isShared) {
      if (this.#host && !client.hasPort) client.connect(this.#host.connect());
      return;
    }
    const { signal } = this.#awake;
    locks().request(clientLock(name), { signal }, () => {
      if (!this.#clients.has(name) || signal.aborted) return undefined;
      this.#introduce(name, client);
      return new Promise((resolve) => { this.#leaving.set(name, () => resolve(undefined)); });
    }).catch(() => {}); // Aborted: it asks again when the page is shown.
  }

  /** @param {string} name */
  async #leave(name) {
    if (!this.#clients.delete(name)) return;
    this.#leaving.get(name)?.();
    this.#leaving.delete(name);
    if (this.#clients.size > 0) return;
    this.#isOut.abort();
    if (tabs.get(this.#name) === this) tabs.delete(this.#name);
    this.#awake.abort();
    this.#waiting.abort();
    this.#common?.close();
    this.#common = undefined;
    const host = this.#host;
    this.#host = undefined;
    await host?.stop();
    this.#release();
  }

  /**
   * Waits for its turn to host, over and over.
   *
   * @param {AbortSignal} signal
   */
  async #contend(signal) {
    while (!signal.aborted) {
      this.#waiting = new AbortController();
      const options = this.#takesOver ? { steal: true } : { signal: this.#waiting.signal };
      this.#takesOver = false;
      try {
        await locks().request(hostLock(this.#name), options, () => this.#hold(signal));
      } catch (error) {
        if (this.#host) {
          this.#resign();
        } else if (!this.#waiting.signal.aborted && !signal.aborted) {
          const why = new ShoalError('unsupported', 'The browser does not let this page use locks, by which tabs agree on one engine; `store: false` needs none.', { cause: error });
          this.#forAll((client) => client.refuse(why));
          return;
        }
      }
    }
  }

  /**
   * Hosts as long as the promise is pending.
   *
   * @param {AbortSignal} signal
   */
  #hold(signal) {
    if (signal.aborted) return undefined;
    const held = new Promise((resolve) => { this.#release = () => resolve(undefined); });
    this.#serve();
    return held;
  }

  /** Another tab hosts now. */
  #resign() {
    this.#host?.abandon();
    this.#host = undefined;
    this.#release();
    this.#forAll((client, name) => {
      client.disconnect();
      this.#introduce(name, client);
    });
  }

  #serve() {
    this.#startedAt = performance.now();
    // Others that are about to take over need not.
    this.#common?.say({ type: 'starting' });
    const host = new Host({ store: this.#store, isShared: this.#isShared, useWorker: this.#useWorker }, {
      died: (error) => {
        this.#common?.say({ type: 'crashed', engine: host.name, error: toPlain(error) });
        this.#forAll((client) => client.disconnect(error));
        this.#serveAgain();
      },
      lost: (error) => {
        this.#common?.say({ type: 'lost', error: toPlain(error) });
        this.#lose(error);
      },
      failed: (error) => {
        this.#common?.say({ type: 'failed', error: toPlain(error) });
        host.abandon();
        this.#serveAgain();
        this.#forAll((client) => client.refuse(error));
      },
      superseded: () => this.#resign(),
    });
    this.#host = host;
    this.#forAll((client) => client.connect(host.connect()));
  }

  /**
   * The data of the site was deleted, and with it all that tabs have in common.
   *
   * @param {ShoalError} error
   */
  #lose(error) {
    this.#forAll((client) => client.disconnect(error));
    this.#sleep(new Event('lost'));
    setTimeout(() => {
      if (this.#isShared) renewLocks();
      if (!this.#isOut.signal.aborted) this.#wake();
    }, CLEARING);
  }

  /** At once if the last one lived long, later and later if not. */
  #serveAgain() {
    if (this.#awake.signal.aborted) return;
    const gone = this.#host;
    if (performance.now() - this.#startedAt > LONG_LIFE) this.#restarts = 0;
    const wait = this.#restarts === 0 ? 0 : Math.min(RESTART.first * 2 ** (this.#restarts - 1), RESTART.longest);
    this.#restarts += 1;
    const timer = setTimeout(() => {
      if (this.#host === gone) this.#serve();
    }, wait);
    this.#awake.signal.addEventListener('abort', () => clearTimeout(timer));
  }

  /** @param {import('./port.js').Announcement} said */
  #hear({ type, client: name = '', engine = '', error }) {
    const client = this.#clients.get(name);
    if (type === 'hello') {
      // An engine that is being loaded hears nothing yet.
      if (this.#host) this.#common?.say({ type: this.#host.isListening ? 'present' : 'starting' });
    } else if (type === 'present') {
      this.#absence = 0;
    } else if (type === 'starting') {
      this.#absence = 0;
      if (!this.#host) this.#forAll((each) => { each.silence = 0; });
    } else if (type === 'here') {
      if (engine === this.#host?.name) return;
      if (this.#host) return; // The theft of the lock is noticed on its own.
      this.#forAll((each, of) => {
        each.disconnect();
        this.#introduce(of, each);
      });
    } else if (type === 'lost') {
      this.#lose(fromPlain(error));
    } else if (type === 'crashed') {
      if (this.#host) return;
      this.#forAll((each) => each.disconnect(fromPlain(error)));
    } else if (type === 'failed') {
      if (!this.#host) this.#forAll((each) => each.refuse(fromPlain(error)));
    } else if (!client || this.#host) {
      return;
    } else if (type === 'welcome') {
      client.silence = 0;
      if (!client.hasPort) client.connect(new TabPort(this.#name, name, engine));
      else if (!client.isAttached) client.attach();
    }
  }

  /** @param {import('./port.js').Announcement} said of another version */
  #hearOther({ type, shoal }) {
    if (type === 'hello' || type === 'starting' || type === 'present' || this.#host) return;
    const error = new ShoalError('unsupported', `Another tab of this site runs another version of Shoal (tabs speak version ${shoal} there): close it, or reload both.`);
    this.#forAll((client) => client.refuse(error));
  }

  /**
   * Asks for the engine, wherever it is.
   *
   * @param {string} name
   * @param {Connection} client
   */
  #introduce(name, client) {
    if (client.hasPort) return;
    if (this.#host) client.connect(this.#host.connect());
    else this.#common?.say({ type: 'hello', client: name });
  }

  #pulse() {
    if (document.hidden) return;
    if (this.#isSilent() && !this.#hesitates) {
      if (this.#host) this.#host.die('it does not answer.');
      else if (this.#isShared) this.#takeOver();
    }
    let isAsked = false;
    this.#forAll((client, name) => {
      client.silence += 1;
      if (this.#host && !this.#host.isListening) client.silence = 0;
      if (client.hasPort) client.ping();
      if (this.#host || (client.isAttached && client.silence < 2)) return;
      // The engine may not have heard who has a port and no answer; and its page is asked too.
      isAsked = true;
      this.#common?.say({ type: 'hello', client: name });
    });
    this.#absence = isAsked ? this.#absence + 1 : 0;
  }

  #isSilent() {
    const isAbsent = !this.#host && this.#absence >= SILENCE_STOPPED.page;
    const limit = isAbsent ? SILENCE_STOPPED.engine : SILENCE_HANGS;
    return [...this.#clients.values()].some((client) => client.silence >= limit);
  }

  /** Takes the lock from a host that does not answer, if it still does not. */
  #takeOver() {
    const { signal } = this.#awake;
    this.#hesitates = true;
    setTimeout(() => {
      this.#hesitates = false;
      if (signal.aborted || this.#host || !this.#isSilent()) return;
      this.#takesOver = true;
      this.#absence = 0;
      this.#forAll((client) => {
        client.silence = 0;
        client.disconnect();
      });
      this.#waiting.abort();
    }, Math.random() * HESITATION);
  }

  /** @param {(client: Connection, name: string) => void} work */
  #forAll(work) {
    for (const [name, client] of this.#clients) work(client, name);
  }
}

/** Whether tabs can agree on one engine here. */
function canShare() {
  return 'locks' in navigator && 'BroadcastChannel' in globalThis && location.origin !== 'null';
}
