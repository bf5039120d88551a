/**
 * What a page passes in, checked and brought into the form the engine takes, so that a
 * mistake is named where it was made. What only the engine can judge (keys, the
 * characters of a namespace, lengths of names) it judges.
 */

import { ShoalError, invalid } from './errors.js';
import { readSecret } from './secret.js';

/**
 * @typedef {import('./index.js').OpenOptions} OpenOptions
 * @typedef {{ engine: any, store: string | false, useWorker: boolean, signal?: AbortSignal }} Opening
 */

/** How an address of a server is written. */
const HOW = 'Write it with its scheme, as `https://shoal.example` or `wss://shoal.example`.';

/** What browsers take as an ICE server; for those of the second kind with an account. */
const ICE_SERVER = /^(?:stun|stuns|turn|turns):[^/\s]+$/i;
const ICE_RELAY = /^turns?:/i;

/** Where the server's socket is, and where its package. */
const SOCKET = '/v1/socket';
const PACKAGE = '/shoal/';

const TEXTS = /** @type {const} */ (['name', 'type', 'title', 'description', 'language', 'date']);

/**
 * @param {OpenOptions} options
 * @returns {Opening}
 */
export function readOptions(options) {
  if (typeof options !== 'object' || options === null) throw invalid('the options are no object');
  const { rendezvous, namespace, secret, store = 'shoal', iceServers, iceTransportPolicy = 'all', worker = true, syncInterval, replicate = 'none', signal } = options;
  if (namespace !== undefined && typeof namespace !== 'string') throw invalid('`namespace` is no string');
  if (namespace !== undefined && secret !== undefined) throw invalid('`namespace` and `secret` are both said: the namespace of a secret follows from it');
  if (store !== false && (typeof store !== 'string' || store === '')) throw invalid('`store` is neither the name of a database nor false');
  if (typeof worker !== 'boolean') throw invalid('`worker` is neither true nor false');
  if (iceTransportPolicy !== 'all' && iceTransportPolicy !== 'relay') throw invalid("`iceTransportPolicy` is neither 'all' nor 'relay'");
  checkPositive('syncInterval', syncInterval, 'milliseconds');
  checkSignal(signal);
  return {
    engine: {
      rendezvous: rendezvousUrl(rendezvous),
      ...(secret === undefined ? { namespace: namespace ?? 'public' } : { secret: readSecret(secret) }),
      iceServers: iceServers === undefined ? undefined : readIceServers(iceServers),
      iceTransportPolicy,
      syncInterval,
      replicate: readReplicate(replicate),
      ...readLimits(options),
      storageLimit: readStorageLimit(options.storageLimit),
    },
    store,
    useWorker: worker,
    signal,
  };
}

/**
 * @param {any} limits
 * @returns {{ uploadLimit: number | null, downloadLimit: number | null, uploadSlots: number | null }}
 */
export function readLimits(limits) {
  if (typeof limits !== 'object' || limits === null) throw invalid('the limits are no object');
  const { uploadLimit, downloadLimit, uploadSlots } = limits;
  checkPositive('uploadLimit', uploadLimit, 'bytes a second');
  checkPositive('downloadLimit', downloadLimit, 'bytes a second');
  checkPositive('uploadSlots', uploadSlots, 'peers');
  return { uploadLimit: uploadLimit ?? null, downloadLimit: downloadLimit ?? null, uploadSlots: uploadSlots ?? null };
}

/**
 * How much the store may hold; `null`: the usual share.
 *
 * @param {number} [limit]
 * @returns {number | null}
 */
export function readStorageLimit(limit) {
  checkPositive('storageLimit', limit, 'bytes');
  return limit ?? null;
}

/**
 * @param {unknown} priority
 * @returns {import('./index.js').Priority}
 */
export function readPriority(priority) {
  if (priority === undefined) return 'auto';
  if (priority !== 'high' && priority !== 'auto' && priority !== 'low') throw invalid("`priority` is none of 'high', 'auto' and 'low'");
  return priority;
}

/** Throws where peers cannot be. */
export function checkSupport() {
  const missing = ['RTCPeerConnection', 'WebAssembly', 'Worker', 'MessageChannel'].filter((name) => !(name in globalThis));
  if (missing.length > 0) throw new ShoalError('unsupported', `Shoal needs ${missing.join(', ')}, which this browser does not have or has switched off.`);
}

/**
 * The options of a call; `null` is none.
 *
 * @param {any} options
 * @returns {any}
 */
export function readCallOptions(options) {
  if (options === undefined || options === null) return {};
  if (typeof options !== 'object') throw invalid('the options are no object');
  return options;
}

/**
 * How long to wait, in milliseconds.
 *
 * @param {unknown} timeout
 * @returns {number}
 */
export function readTimeout(timeout) {
  if (timeout === undefined || timeout === null) return Infinity;
  if (typeof timeout !== 'number' || !(timeout >= 0)) throw invalid('`timeout` is no number of milliseconds');
  return timeout;
}

/**
 * Which bytes are read, of so many.
 *
 * @param {any} range
 * @param {number} size
 */
export function readRange(range, size) {
  const { start = 0, end = size } = readCallOptions(range);
  const isRange = Number.isSafeInteger(start) && Number.isSafeInteger(end) && start >= 0 && start <= end && end <= size;
  if (!isRange) throw invalid(`\`start\` and \`end\` are no range of the ${size} bytes of the content: ${start} to ${end}`);
  return { start, end };
}

/** @param {unknown} value @param {string} name @param {boolean} [usual] */
export function readFlag(value, name, usual = false) {
  if (value !== undefined && typeof value !== 'boolean') throw invalid(`\`${name}\` is neither true nor false`);
  return value ?? usual;
}

/** @param {unknown} signal */
export function checkSignal(signal) {
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw invalid('`signal` is no AbortSignal');
}

/** @param {unknown} call @param {string} name */
export function checkCallback(call, name) {
  if (call !== undefined && typeof call !== 'function') throw invalid(`\`${name}\` is no function`);
}

/**
 * @param {unknown} key
 * @returns {string}
 */
export function readKey(key) {
  if (typeof key !== 'string') throw new ShoalError('invalid-key', 'A content key is a string (bafkr4i…).');
  return key;
}

/**
 * What to publish, as it is now: the page may change its buffer right after.
 *
 * @param {unknown} data
 * @returns {Blob}
 */
export function readData(data) {
  if (data instanceof Blob) return data;
  if (typeof data === 'string' || data instanceof ArrayBuffer || data instanceof Uint8Array) {
    try {
      return new Blob([/** @type {BlobPart} */ (data)]);
    } catch (error) {
      throw new ShoalError('invalid-argument', 'What is to be published cannot be copied (shared or detached memory).', { cause: error });
    }
  }
  throw invalid('what is to be published is no Blob, ArrayBuffer, Uint8Array or string');
}

/**
 * @param {any} said
 * @param {unknown} data a file brings its name and type along, and a text is one
 * @returns {import('./index.js').Metadata}
 */
export function readMetadata(said, data) {
  /** @type {import('./index.js').Metadata} */
  const metadata = {};
  if (data instanceof File) metadata.name = wellFormed(data.name);
  if (data instanceof Blob && data.type !== '') metadata.type = data.type;
  if (typeof data === 'string') metadata.type = 'text/plain';
  for (const name of TEXTS) {
    if (said[name] === undefined) continue;
    if (typeof said[name] !== 'string') throw invalid(`\`${name}\` is no string`);
    metadata[name] = wellFormed(said[name]);
  }
  const { keywords } = said;
  if (keywords === undefined) return metadata;
  if (!isListOfStrings(keywords)) throw invalid('`keywords` is no list of strings');
  return { ...metadata, keywords: keywords.map(wellFormed) };
}

/**
 * Halves of characters, as names of files on Windows may have, are no text that others could
 * read. `toWellFormed` is younger than some browsers Shoal runs in.
 *
 * @param {string} text
 */
const wellFormed = (text) => text.replace(/\p{Surrogate}/gu, '\ufffd');

/**
 * The WebSocket of a rendezvous server, from its address or the socket's.
 *
 * @param {unknown} said
 * @returns {string | null}
 */
function rendezvousUrl(said) {
  if (said === null) return null;
  const url = said === undefined ? serverOfPackage() : parseUrl(said);
  const scheme = { 'http:': 'ws:', 'https:': 'wss:', 'ws:': 'ws:', 'wss:': 'wss:' }[url.protocol];
  if (!scheme) throw invalid(`\`rendezvous\` begins with ${url.protocol}, not with https: or wss:. ${HOW}`);
  if (url.username || url.password) throw invalid('`rendezvous` has a user or a password, which browsers do not send');
  // Changing `protocol` from http: to ws: is not allowed everywhere.
  return `${scheme}//${url.host}${url.pathname === '/' ? SOCKET : url.pathname}${url.search}`;
}

/** @param {unknown} said */
function parseUrl(said) {
  const text = String(said).trim();
  try {
    // A path is one of the page's server; of a name nobody knows whether a path is meant.
    return text.startsWith('/') ? new URL(text, location.href) : new URL(text);
  } catch {
    throw invalid(`\`rendezvous\` is no address: ${text}. ${HOW}`);
  }
}

/** The server this module came from, if it came from one. */
function serverOfPackage() {
  const here = import.meta.url;
  const folder = new URL('.', here);
  if (folder.pathname !== PACKAGE || !folder.protocol.startsWith('http')) {
    throw invalid('`rendezvous` must be said where the package is not loaded from a Shoal server: its address, as `https://shoal.example`, or null for none');
  }
  return new URL(folder.origin);
}

/** @param {unknown} servers */
function readIceServers(servers) {
  if (!Array.isArray(servers)) throw invalid('`iceServers` is no list');
  return servers.map((server) => {
    const urls = typeof server?.urls === 'string' ? [server.urls] : server?.urls;
    if (!isListOfStrings(urls)) throw invalid('an entry of `iceServers` has no `urls`');
    const { username, credential } = server;
    const odd = urls.find((url) => !ICE_SERVER.test(url));
    if (urls.length === 0 || odd !== undefined) throw invalid(`an entry of \`iceServers\` is none: ${odd ?? 'its `urls` are empty'}. Write it as \`stun:HOST:PORT\` or \`turn:HOST:PORT\``);
    if (urls.some((url) => ICE_RELAY.test(url)) && (!username || !credential)) throw invalid(`the TURN server ${urls[0]} has no \`username\` or no \`credential\`, without which browsers refuse it`);
    return { urls: [...urls], ...(username !== undefined && { username: String(username) }), ...(credential !== undefined && { credential: String(credential) }) };
  });
}

/** @param {any} rule */
function readReplicate(rule) {
  if (rule === 'none') return null;
  if (typeof rule !== 'object' || rule === null) throw invalid('`replicate` is neither \'none\' nor a rule');
  const { budget } = rule;
  if (!Number.isSafeInteger(budget) || budget < 0) throw invalid('`replicate.budget` is no number of bytes');
  const match = rule.match ?? {};
  if (typeof match !== 'object') throw invalid('`replicate.match` is no object');
  const { type, keywords, peer } = match;
  for (const [name, value] of Object.entries({ type, peer })) {
    if (value !== undefined && typeof value !== 'string') throw invalid(`\`replicate.match.${name}\` is no string`);
  }
  if (keywords !== undefined && !isListOfStrings(keywords)) throw invalid('`replicate.match.keywords` is no list of strings');
  const said = Object.entries({ type, keywords, peer }).filter(([, value]) => value !== undefined);
  return { budget, match: Object.fromEntries(said) };
}

/**
 * @param {string} name
 * @param {unknown} value
 * @param {string} unit
 */
function checkPositive(name, value, unit) {
  if (value !== undefined && !(typeof value === 'number' && value > 0)) throw invalid(`\`${name}\` is no number of ${unit}`);
}

/** @param {unknown} value @returns {value is string[]} */
function isListOfStrings(value) {
  return Array.isArray(value) && value.every((entry) => typeof entry === 'string');
}
