/**
 * What a client (a `Peer` of some tab) and the engine speak through.
 *
 * In the tab that hosts the engine that is a `MessagePort`; between tabs it is a
 * `TabPort`, which looks like one. Who may speak to whom is settled on a channel that all
 * tabs of a store have in common:
 *
 *     engine  here               a new engine runs
 *     client  hello              asks whichever engine there is
 *     engine  welcome, mismatch  it may speak on its channel now; or versions differ
 *     host    starting           patience: the engine is being loaded
 *     host    present            to a hello: its page is there, whatever the engine does
 *     host    crashed            the engine is gone, and why; another one follows
 *     host    lost               the data of the site was deleted; all begin anew
 *     host    failed             the engine cannot open the store; why, and another one follows
 *
 * Tabs may have loaded different versions of these modules, so each message says which
 * protocol it belongs to, and those of another are not read further.
 */

/** Raised whenever what tabs say to each other changes. */
export const PROTOCOL = 2;

/**
 * @typedef {{ postMessage(message: any, transfer: Transferable[]): void, close(): void,
 *   onmessage: ((event: MessageEvent) => any) | null }} Port
 * @typedef {{ shoal: number, type: string, client?: string, engine?: string, error?: any }} Announcement
 */

/** The channel of all tabs that use a store. */
export class CommonChannel {
  #channel;

  /**
   * @param {string} store
   * @param {(said: Announcement) => void} hear gets those of this version
   * @param {(said: Announcement) => void} hearOther gets those of others
   */
  constructor(store, hear, hearOther) {
    this.#channel = new BroadcastChannel(`shoal:${store}`);
    this.#channel.onmessage = ({ data }) => {
      if (data?.shoal === PROTOCOL) hear(data);
      else if (typeof data?.shoal === 'number') hearOther(data);
    };
  }

  /** @param {Omit<Announcement, 'shoal'>} announcement */
  say(announcement) {
    this.#channel.postMessage({ ...announcement, shoal: PROTOCOL });
  }

  close() {
    this.#channel.onmessage = null;
    this.#channel.close();
  }
}

/** One client's channel to the engine of another tab, or the engine's end of it. */
export class TabPort {
  /** @type {((event: MessageEvent) => any) | null} */
  onmessage = null;
  #channel;
  #engine;

  /**
   * @param {string} store
   * @param {string} client
   * @param {string} engine which one; what others say here, thawed late, is not heard
   */
  constructor(store, client, engine) {
    this.#engine = engine;
    this.#channel = new BroadcastChannel(`shoal:${store}:${client}`);
    this.#channel.onmessage = ({ data }) => {
      if (data?.engine === engine) this.onmessage?.(new MessageEvent('message', { data: data.message }));
    };
  }

  /** @param {any} message is copied: nothing can be transferred to another tab */
  postMessage(message) {
    this.#channel.postMessage({ engine: this.#engine, message });
  }

  close() {
    this.#channel.onmessage = null;
    this.#channel.close();
  }
}

/** The lock that is held while a client is there, by which the engine sees it go.
 *  @param {string} client */
export const clientLock = (client) => `shoal:client:${client}`;

/** The lock that is held while an engine is there, by which its page sees it go.
 *  @param {string} store @param {string} engine */
export const engineLock = (store, engine) => `shoal:engine:${store}:${engine}`;

/** The lock whose holder hosts the engine. @param {string} store */
export const hostLock = (store) => `shoal:host:${store}`;

/** Made anew when those of the page belong to data that was deleted. @type {HTMLIFrameElement | undefined} */
let frame;

/** The locks that tabs of the site share. */
export const locks = () => frame?.contentWindow?.navigator.locks ?? navigator.locks;

/**
 * Locks as pages have them that are opened from now on. When a person clears the data of a site
 * Chromium (156) leaves its pages the locks they have, and gives others to those that come later
 * and to new workers: each lock could be held twice. An empty frame is a page that comes later.
 */
export function renewLocks() {
  const old = frame;
  frame = document.createElement('iframe');
  frame.hidden = true;
  document.documentElement.append(frame);
  old?.remove();
}

/** A name nobody else has. `crypto.randomUUID` is missing on plain-HTTP origins. */
export function newName() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
