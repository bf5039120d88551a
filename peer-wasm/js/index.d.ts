/**
 * Shoal lets web pages share content with each other: a page publishes a file, other pages
 * find out who holds it and fetch it chunk by chunk, from several peers at once, verified.
 *
 * ```js
 * import { Peer } from 'shoal';
 * const peer = await Peer.open({ rendezvous: 'https://shoal.example' });
 * const { key } = await peer.publish(file);
 * const blob = await (await peer.fetch(key)).blob();
 * ```
 *
 * @module
 */

/** Names a content: CIDv1 of the BLAKE3 hash of its bytes, `bafkr4i…`. */
export type Key = string;
/** Names a peer: libp2p's id of its Ed25519 key, `12D3KooW…`. */
export type PeerId = string;

/** What can go wrong, to branch on. The message says what happened, to what, and what to do. */
export type Code =
  /** It was taken back. */
  | 'aborted'
  /** The peer is closed. */
  | 'closed'
  /** An argument cannot be. */
  | 'invalid-argument'
  /** Not a content key. */
  | 'invalid-key'
  /** What was to be published could not be read, or changed meanwhile. */
  | 'invalid-content'
  /** It is not held here, or nobody known holds it. */
  | 'not-held'
  /** No holder was found in the time that was given. */
  | 'timeout'
  /** There is no room: the store holds what it may (`storageLimit`), or the browser gives no more. */
  | 'quota'
  /** The store does not work, or the data of the site was deleted while it was open. */
  | 'store-failed'
  /** The rendezvous server cannot be reached, or refuses. */
  | 'rendezvous'
  /** No connection to a peer could be made; see `candidates`. */
  | 'unreachable'
  /** A link's other end is not the peer it claims to be. */
  | 'link-auth'
  /** This browser lacks something Shoal needs, or another tab runs another version of it. */
  | 'unsupported'
  /** A limit of Shoal's. */
  | 'limit'
  /** The engine ended unexpectedly. Another one is started; fetches go on by themselves. */
  | 'engine-crashed';

/** How many addresses of each kind there were. */
export interface CandidateCounts {
  /** Addresses of the machine. */
  host: number;
  /** As STUN servers see it. */
  srflx: number;
  /** On TURN servers. */
  relay: number;
}

/** The addresses both sides of a link had to try. */
export interface Candidates {
  local: CandidateCounts;
  remote: CandidateCounts;
}

/** Whatever Shoal rejects with, unless a signal's own `reason` is due. */
export class ShoalError extends Error {
  constructor(code: Code, message: string, more?: { cause?: unknown; peer?: PeerId; candidates?: Candidates });
  readonly code: Code;
  /** The peer it is about, where it is about one. */
  readonly peer?: PeerId;
  /** For `unreachable`. */
  readonly candidates?: Candidates;
}

/** What is said of a content besides its key and size. */
export interface Metadata {
  /** File name, without a folder. */
  name?: string;
  /** Media type. */
  type?: string;
  title?: string;
  description?: string;
  keywords?: string[];
  /** A BCP 47 tag. */
  language?: string;
  /** ISO 8601. */
  date?: string;
}

export interface Content extends Metadata {
  key: Key;
  /** Bytes. */
  size: number;
  /** Bytes held: of what another peer offers, `size` or, if it holds it in part, 0. */
  held: number;
  /** Whether it stays here when room is needed; of what another peer offers, `false`. */
  pinned: boolean;
}

/** How far a fetch or a publication is. */
export interface Progress {
  state: 'searching' | 'fetching' | 'waiting' | 'paused' | 'done';
  /** Why it waits. It goes on by itself. Without a reason: nobody reads what is fetched on demand. */
  reason?: Code;
  /** Bytes stored. */
  held: number;
  /** Bytes in all, once known. */
  size?: number;
  /** Bytes a second, over the last seconds. */
  rate: number;
  /** At this rate. */
  secondsLeft?: number;
  /** Who it comes from. */
  sources: Source[];
}

/** A peer a content is fetched from. */
export interface Source {
  peer: PeerId;
  /** Bytes that came from it and were right. */
  bytes: number;
  /** Bytes a second, over the last seconds. */
  rate: number;
  /** Bytes of the content it holds, as far as known. */
  held: number;
  /** Bytes it is asked for and has not sent. */
  inFlight: number;
  /** Bytes it may be asked for at a time: follows its rate and the way to it. */
  window: number;
}

/** Among fetches that want the same line: `high` gets four times what `auto` does, `low` a quarter. */
export type Priority = 'high' | 'auto' | 'low';

/** What the traffic of a peer may be. */
export interface Limits {
  /** Upper limit of what is sent to all peers together, in bytes a second. */
  uploadLimit?: number;
  /** Upper limit of what is fetched from all peers together, in bytes a second. */
  downloadLimit?: number;
  /** How many peers chunks are sent to at a time. Default: as many as fill the line. */
  uploadSlots?: number;
}

/** Of the connection to the rendezvous. Peers that are linked stay linked while `offline`. */
export type State = 'connecting' | 'online' | 'offline' | 'closed';

/**
 * Peers that share a store, a rendezvous and a namespace, in one tab or in several, are one:
 * while one of them is open, `iceServers`, `syncInterval`, `replicate` and the limits of
 * those that open later have no effect. Limits can be changed with `setLimits`.
 */
export interface OpenOptions extends Limits {
  /**
   * The rendezvous server: its address (`https://…`) or that of its socket (`wss://…`).
   * Default: the server the package was loaded from (`…/shoal/index.js`). Where it comes
   * from elsewhere, as from npm, it must be said. A path (`/…`) is one of the page's server.
   * `null`: none.
   */
  rendezvous?: string | URL | null;
  /** In which content is shared and found: 1 to 64 of `a-z 0-9 . _ -`. Default `'public'`. */
  namespace?: string;
  /**
   * Opens the private namespace of this secret, in place of a public one. Whoever has the
   * secret is in it, and nobody else can join, be linked, or see who is there and what is
   * offered. The server, which never gets the secret, sees that peers have joined a namespace
   * of a certain id, and their network addresses as those of all who connect to it; no
   * catalogs, names or keys.
   */
  secret?: string;
  /**
   * Name of the database. Default `'shoal'`. All tabs of the site that use it share one
   * engine, one identity and one store. `false`: in memory only, and an identity of its own
   * that ends with the peer, as it always is on plain-HTTP origins other than localhost. One
   * that a newer version of Shoal made is left as it is: an empty one beside it is used, and
   * `error` says so.
   */
  store?: string | false;
  /**
   * Most bytes of contents that the store may hold, those of all namespaces together. When
   * more is needed the contents go that were used least recently (read here, served,
   * fetched or published), whether their namespaces are open or not. Never goes what is
   * pinned, being fetched (paused or not) or read from a stream, or was used in the last half
   * minute, and nothing goes for what would not fit as a whole. Where nothing may go, fetches wait and
   * publications are rejected with `quota`. Of all who share the store the first to say a
   * limit is heard, until the last of them is closed; `storage.setLimit()` changes it.
   *
   * Default: half of the site's quota, as the browser states it, and no less than is held;
   * the other half is for the site itself and for what a database needs besides its
   * contents. In memory, or where the browser states no quota, 256 MiB.
   */
  storageLimit?: number;
  /** Default: what the rendezvous says. `turn:` and `turns:` need an account. */
  iceServers?: RTCIceServer[];
  /**
   * `'relay'`: links go through TURN servers only, so that no peer learns the address of
   * another, at the cost of the way through the server. Where there is no TURN server, or none
   * takes the account, no peer is reached (`unreachable`). Default `'all'`.
   */
  iceTransportPolicy?: RTCIceTransportPolicy;
  /** `false`: runs the engine in the page instead of a worker. Default `true`. */
  worker?: boolean;
  /** How often to look for peers and for what is missing, in milliseconds, besides at once. */
  syncInterval?: number;
  /** What to fetch without being asked. Default `'none'`. */
  replicate?: 'none' | {
    /** Contents for which all of this is so; `type` is the start of the media type. */
    match?: { type?: string; keywords?: string[]; peer?: PeerId };
    /** Bytes that may be fetched. */
    budget: number;
  };
  /** Ends opening. */
  signal?: AbortSignal;
}

export interface PublishOptions extends Metadata {
  /** Whether it stays when room is needed. Default `true`: what is one's own goes only when one says so. */
  pinned?: boolean;
  /** Ends the publication; nothing of it is kept, unless all of it is stored already. */
  signal?: AbortSignal;
  onprogress?(progress: Progress): void;
}

export interface FetchOptions {
  /** Ends the search, and later the transfer. What is held stays. */
  signal?: AbortSignal;
  /** How long to look for a holder, in milliseconds. Default: until there is one. */
  timeout?: number;
  /** Its share among other fetches. Default `'auto'`. */
  priority?: Priority;
  /**
   * Fetches only what is read, and some of what follows it; `done` resolves if all has been.
   * While nothing is read its state is `waiting`, without a reason. It does not go on when the
   * page is opened again. Where several fetch a content, all of it comes if one of them wants
   * that. Default `false`.
   */
  onDemand?: boolean;
  /** `true` pins it, so that it stays when room is needed. Default: as it is. */
  pinned?: boolean;
  /** From the search on, unlike the event `progress` of the transfer. */
  onprogress?(progress: Progress): void;
}

/** What a store holds and may hold, in bytes. */
export interface StorageUse {
  /** Contents of all namespaces, in full or in part. */
  held: number;
  /** Most bytes of them. */
  limit: number;
}

export interface StorageEstimate extends StorageUse {
  /** What the site uses in all, as far as the browser tells. Nothing is told over plain HTTP. */
  usage?: number;
  /** What the browser gives to the site, as far as it tells. */
  quota?: number;
  /** Whether the browser keeps it also when the disk is full. */
  persisted: boolean;
}

export interface PeerStorageEvents {
  /** What is held changed by more than a hundredth of the limit or so, or the limit changed. */
  change: CustomEvent<StorageUse>;
}

/** The store of a peer, in the manner of `navigator.storage`. It is one for all peers that name it. */
export interface PeerStorage extends EventTarget {
  estimate(): Promise<StorageEstimate>;
  /**
   * Asks the browser to keep the store also when the disk is full; whether it does. Firefox
   * asks the person, Chromium decides by how the site is used, so nothing but the page calls
   * this: at a time when the person knows why. `false` where there is nothing to keep: with
   * `store: false`, and over plain HTTP, which has no `navigator.storage`.
   */
  persist(): Promise<boolean>;
  /** Whether the browser keeps it also when the disk is full. Asks nobody. */
  persisted(): Promise<boolean>;
  /**
   * Replaces `storageLimit`, of all tabs, until the last of them is closed; without a number the
   * default holds again. What is over it goes, as far as it may.
   */
  setLimit(limit?: number): Promise<void>;
  /**
   * Removes all contents, of all namespaces, that are neither pinned nor in use: being
   * fetched, read (a stream that was begun, and neither read to its end nor cancelled, reads),
   * or sent to a peer.
   */
  clear(): Promise<void>;
  addEventListener<T extends keyof PeerStorageEvents>(type: T, listener: (this: PeerStorage, event: PeerStorageEvents[T]) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<T extends keyof PeerStorageEvents>(type: T, listener: (this: PeerStorage, event: PeerStorageEvents[T]) => void, options?: boolean | EventListenerOptions): void;
  removeEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | EventListenerOptions): void;
}

export interface PeerInfo {
  id: PeerId;
  /** Whether there is a link to it. */
  linked: boolean;
  /** Round trip of the link, in milliseconds. */
  rtt?: number;
  /** What goes over the link: chunks and proofs. */
  link?: LinkStats;
}

export interface LinkStats {
  /** Peer connections it has: several where that carries more, as over a long way. */
  connections: number;
  /** Bytes that came, since it is up. */
  received: number;
  /** Bytes that were sent, since it is up. */
  sent: number;
  /** Bytes a second that come, over the last seconds. */
  receiveRate: number;
  /** Bytes a second that are sent, over the last seconds. */
  sendRate: number;
}

/** Bytes of a content, from `start` (default 0) up to and without `end` (default its size). */
export interface Range {
  start?: number;
  end?: number;
}

export interface ServeOptions {
  /**
   * The service worker: `sw.js` of the package, or a worker of the page's own that imports it
   * with `importScripts`. It must come from the page's origin, and its address should stay: a site
   * where another one answers keeps that. Default: beside the package.
   */
  worker?: string | URL;
  /** The pages it answers for. Default `'/'`, all of the origin; then the server must send
   *  `Service-Worker-Allowed: /` with it, unless it lies there. */
  scope?: string;
  /** Fetches only what is asked for at the addresses, as `onDemand` of `fetch`. Default `false`. */
  onDemand?: boolean;
}

export interface TransferEvents {
  /** Ten a second at most. */
  progress: CustomEvent<Progress>;
  /** A chunk of 256 KiB was fetched and stored; without `peer` it was held before. */
  chunk: CustomEvent<{ index: number; peer?: PeerId }>;
}

/** A fetch whose content is known. Its bytes can be read while they arrive. */
export class Transfer extends EventTarget {
  private constructor();
  readonly content: Content;
  readonly progress: Progress;
  /** When all is held. Rejects with `aborted` when the fetch is stopped, in whichever tab. Need not
   *  be listened to. */
  readonly done: Promise<Content>;
  /**
   * Lets the fetch rest until `resume()`, in all tabs; also when the page is opened again,
   * where `fetch()` goes on with it.
   */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Changes its share among other fetches. */
  setPriority(priority: Priority): Promise<void>;
  /**
   * Takes the fetch back: `done` rejects with `aborted`. What is held stays. Of a transfer that
   * `fetch()` made it does what its `signal` does, and the fetch goes on while others want it; of
   * one that came with the event `transfer` it stops the fetch, for all tabs.
   */
  cancel(): Promise<void>;
  /**
   * The bytes in order, from the store, each chunk as soon as it is held. What is read is
   * fetched first, with some of what follows it, and nothing is read that the stream's reader
   * does not take. Throws `invalid-argument` for what is no range of the content. Firefox lets
   * what was read lie in memory for seconds; what is transferred to a closed `MessagePort` is freed
   * at once.
   */
  stream(range?: Range): ReadableStream<Uint8Array<ArrayBuffer>>;
  /** These bytes, in memory, as soon as they are held; they are fetched first. */
  read(range?: Range): Promise<Uint8Array<ArrayBuffer>>;
  /**
   * All bytes, with the content's media type. Above 64 MiB they are copied into a file of the
   * site's private file system, where there is one, which is deleted some time after the page is
   * gone; so they do not sit in memory, and take as much room again: without it `blob` rejects with
   * `quota`. To save or show a content use `stream` or `url`.
   */
  blob(): Promise<Blob>;
  arrayBuffer(): Promise<ArrayBuffer>;
  /** All bytes, as UTF-8. */
  text(): Promise<string>;
  addEventListener<T extends keyof TransferEvents>(type: T, listener: (this: Transfer, event: TransferEvents[T]) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<T extends keyof TransferEvents>(type: T, listener: (this: Transfer, event: TransferEvents[T]) => void, options?: boolean | EventListenerOptions): void;
  removeEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | EventListenerOptions): void;
}

export interface PeerEvents {
  state: CustomEvent<{ state: State }>;
  'peer-join': CustomEvent<{ peer: PeerId }>;
  'peer-leave': CustomEvent<{ peer: PeerId }>;
  /** What a peer offers changed; see `catalog()`. */
  catalog: CustomEvent<{ peer: PeerId }>;
  /** What is held or pinned here changed. */
  content: CustomEvent<{ content: Content; removed: boolean }>;
  /** Something is fetched that was not asked for here: in another tab, before the page was
   *  last closed, or by `replicate`. */
  transfer: CustomEvent<{ transfer: Transfer }>;
  /** Something failed that no call was waiting for. After `store-failed` what is held may be
   *  less than before, and the peer another: ask `contents()` and `id`. */
  error: CustomEvent<ShoalError>;
}

/** A new secret of a private namespace: 256 random bits as 43 characters of base64url. */
export function createSecret(): string;
/**
 * A link that lets whoever opens it into the namespace of a secret: the address of a page
 * (default: this one) with `#~` and the secret in place of what followed its `#`. A page may
 * put more after a slash (`#~SECRET/…`).
 */
export function secretLink(secret: string, page?: string | URL): string;
/**
 * The secret in a link (default: this page's address); `null` if there is none. Throws
 * `invalid-argument` for one that is not whole, so that nobody shares in public what was meant
 * for few.
 */
export function secretOf(link?: string | URL): string | null;

/** This page among the peers of a namespace. */
export class Peer extends EventTarget {
  private constructor();
  /** Resolves when identity and store are open, offline too. */
  static open(options?: OpenOptions): Promise<Peer>;
  /** Changes only where the store is in memory and the engine had to be started again, and when
   *  the data of the site was deleted while it was open. */
  readonly id: PeerId;
  /** The namespace: its name, or the id of a private one, `~` and 52 characters. */
  readonly namespace: string;
  /**
   * Whether it is known that what is held goes with the page (no `store`) or with the window
   * (private ones of Firefox). `false` promises nothing: Chromium does not tell which of its
   * windows are private.
   */
  readonly temporary: boolean;
  readonly state: State;
  /** What the store holds and may hold. */
  readonly storage: PeerStorage;
  /**
   * Shares bytes with the namespace, until they are removed; they are pinned. A file's name and type are
   * taken over unless others are given.
   */
  publish(data: Blob | ArrayBuffer | Uint8Array | string, options?: PublishOptions): Promise<Content>;
  /**
   * Fetches a content, and shares it from then on. Like `window.fetch`, it resolves when
   * size and name are known, and the bytes follow. Waits for a holder until `timeout` or
   * `signal` ends it.
   */
  fetch(key: Key, options?: FetchOptions): Promise<Transfer>;
  peers(): Promise<PeerInfo[]>;
  /** What a peer offers. */
  catalog(peer: PeerId, options?: { signal?: AbortSignal }): Promise<Content[]>;
  /** What is held here, complete or in part. */
  contents(): Promise<Content[]>;
  /** Stops sharing a content and deletes it. */
  remove(key: Key): Promise<void>;
  /** Has a content stay when room is needed, whatever namespace needs it. Rejects with `not-held`
   *  if it is not here, or has just gone. */
  pin(key: Key): Promise<void>;
  /** Lets a content go when room is needed and others were used since. */
  unpin(key: Key): Promise<void>;
  /** Replaces the limits it was opened with, in all tabs of the namespace; what is left out has none. */
  setLimits(limits: Limits): Promise<void>;
  /**
   * Gives contents addresses (`url`) for `<img>`, `<video>`, `fetch` and downloads, which a
   * service worker answers while the bytes still arrive. What is asked for there by this site's
   * pages is fetched; what a person follows a link to must be held or fetched already. What
   * browsers would execute comes as plain bytes, and documents are sandboxed. Rejects with
   * `unsupported` where there are no service workers, this one cannot answer for the page, or
   * another one does: that is to import it (`ServeOptions.worker`).
   */
  serve(options?: ServeOptions): Promise<void>;
  /**
   * The address of a content in this peer's namespace, once `serve()` has succeeded; with `download`
   * one that browsers save, under the content's name, and that leaves the page where it is if it is
   * refused. It works in pages of this origin while a peer is open there in the namespace, and says
   * the id of that, no secret.
   */
  url(key: Key, options?: { download?: boolean }): string;
  /** Takes leave. Running calls are rejected with `closed`. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
  addEventListener<T extends keyof PeerEvents>(type: T, listener: (this: Peer, event: PeerEvents[T]) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<T extends keyof PeerEvents>(type: T, listener: (this: Peer, event: PeerEvents[T]) => void, options?: boolean | EventListenerOptions): void;
  removeEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | EventListenerOptions): void;
}
