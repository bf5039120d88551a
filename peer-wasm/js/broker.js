/**
 * The broker: the peer connections of an engine, which browsers give to pages alone.
 *
 * It does what the engine says and passes on what the browser says about it. Both data
 * channels of a connection are handed over in the task that makes them, since browsers
 * transfer them in no later one; bytes never pass here. It decides nothing, and keeps
 * nothing of a connection that is closed: Chromium allows some 500 live ones, and a
 * handler or a closure that is left pins one.
 */

import { describe } from './errors.js';
import { fingerprintOf, readDescription, writeDescription } from './sdp.js';

/** @typedef {(message: any, transfer: Transferable[]) => void} Send */

/** As the answers of Shoal's protocol are signed: nothing weaker, and quick to make. */
const CERTIFICATE = { name: 'ECDSA', namedCurve: 'P-256' };

/** Negotiated, so that both ends are there before the connection is. */
const CONTROL = { negotiated: true, id: 0, ordered: true };
/** Frames say where they belong, so that order does not matter. */
const BULK = { negotiated: true, id: 1, ordered: false };

/** How often to try again when the browser has too many connections, of which those that
 *  are closed go when it collects garbage, in milliseconds; and how many times: the engine's
 *  own patience with a link is shorter. Guesses. */
const CROWDED = { retry: 250, tries: 120 };
/** How many bytes to drop to have garbage collected, and in how many pieces: four out of
 *  five times Chromium then does so at once, where it may wait for half a minute (measured). */
const GARBAGE = { bytes: 16 * 2 ** 20, pieces: 16 };

/** How long a connection that is being made may take to get to a state in which it can be
 *  closed, in milliseconds; a few are enough (measured). */
const SETTLE = 1000;

export class Broker {
  /** @type {Map<string, Link>} */
  #links = new Map();
  #send;

  /** @param {Send} send to the engine */
  constructor(send) {
    this.#send = send;
  }

  /**
   * Takes a message of the engine.
   *
   * @param {any} message
   */
  handle(message) {
    const { type, link: id } = message;
    if (type === 'open') {
      this.#links.get(id)?.close();
      /** @type {Send} */
      const send = (said, transfer) => this.#send({ ...said, link: id }, transfer);
      this.#links.set(id, new Link(send, message));
      return;
    }
    const link = this.#links.get(id);
    if (type === 'remote') link?.setRemote(message);
    else if (type === 'candidate') link?.addCandidate(message.candidate);
    else if (type === 'restart') link?.restart();
    else if (type === 'servers') link?.setServers(message.iceServers);
    else if (type === 'close') {
      this.#links.delete(id);
      link?.close();
    }
  }

  /** How many connections there are. */
  get size() {
    return this.#links.size;
  }

  /** Closes all connections; the engine they belonged to is gone, or the page goes. */
  close() {
    for (const link of this.#links.values()) link.close({ atOnce: true });
    this.#links.clear();
  }
}

class Link {
  /** @type {RTCPeerConnection | undefined} */
  #connection;
  /** What has to happen one after the other. @type {Promise<void>} */
  #steps;
  /** This side's candidates until its description is out. @type {(string | null)[] | undefined} */
  #early;
  /** The other side's, which the browser takes after its description only. @type {(string | null)[] | undefined} */
  #waiting = [];
  /** Of a restart, until it is answered. @type {RTCSessionDescriptionInit | undefined} */
  #offer;
  /** @type {RTCConfiguration} */
  #configuration;
  #remoteUfrag = '';
  #fingerprint = '';
  #closed = false;
  #isOfferer;
  #send;

  /**
   * @param {Send} send
   * @param {{ role: 'offerer' | 'answerer', iceServers: RTCIceServer[], iceTransportPolicy?: RTCIceTransportPolicy }} how
   */
  constructor(send, { role, iceServers, iceTransportPolicy }) {
    this.#send = send;
    this.#isOfferer = role === 'offerer';
    this.#configuration = { iceServers, iceTransportPolicy };
    this.#steps = this.#open().catch((error) => this.#fail(error));
  }

  /** @param {import('./sdp.js').Description} description */
  setRemote(description) {
    this.#then(async (connection) => {
      const type = this.#isOfferer ? 'answer' : 'offer';
      const offer = this.#offer;
      this.#offer = undefined;
      // One right after the other: see `restart`.
      const local = offer && connection.setLocalDescription(offer);
      const remote = connection.setRemoteDescription({ type, sdp: writeDescription(description) });
      await Promise.all([local, remote]);
      this.#remoteUfrag = description.ufrag;
      const waiting = this.#waiting ?? [];
      this.#waiting = undefined;
      for (const candidate of waiting) await this.#add(connection, candidate);
      if (!this.#isOfferer) await this.#describe(connection, await connection.createAnswer());
    });
  }

  /**
   * Offers anew, so that both browsers look for another way; channels stay as they are. The
   * offer takes effect with its answer: between the two Chromium (156) would go over to a pair
   * of its new candidate and an old one of the other side, prune the true pair and send what
   * Firefox (153), which has a new one too, never hears (measured).
   */
  restart() {
    this.#then(async (connection) => {
      this.#offer = await connection.createOffer({ iceRestart: true });
      this.#sendLocal(this.#offer);
    });
  }

  /**
   * Servers that are asked when either side restarts, as credentials of a TURN server end.
   *
   * @param {RTCIceServer[]} iceServers
   */
  setServers(iceServers) {
    this.#configuration.iceServers = iceServers;
    this.#then(async (connection) => connection.setConfiguration(this.#configuration));
  }

  /** @param {string | null} candidate */
  addCandidate(candidate) {
    this.#then(async (connection) => {
      if (this.#waiting) this.#waiting.push(candidate);
      else await this.#add(connection, candidate);
    });
  }

  close({ atOnce = false } = {}) {
    this.#closed = true;
    const connection = this.#connection;
    this.#connection = undefined;
    this.#steps = Promise.resolve();
    this.#send = () => {};
    if (!connection) return;
    connection.onicecandidate = null;
    connection.onconnectionstatechange = null;
    if (atOnce || isSettled(connection)) connection.close();
    else closeSettled(connection);
  }

  async #open() {
    const certificate = await RTCPeerConnection.generateCertificate(CERTIFICATE);
    this.#fingerprint = fingerprintOf(certificate);
    const connection = await this.#connect(certificate);
    // From here to the transfer of the channels there must be no `await`.
    if (!connection) return;
    this.#connection = connection;
    connection.onicecandidate = ({ candidate }) => this.#localCandidate(candidate);
    connection.onconnectionstatechange = () => this.#stateChanged();
    const control = connection.createDataChannel('control', CONTROL);
    const bulk = connection.createDataChannel('bulk', BULK);
    // A channel is in no list of what can be transferred in TypeScript 6's DOM.
    const channels = /** @type {Transferable[]} */ (/** @type {unknown} */ ([control, bulk]));
    this.#send({ type: 'channels', control, bulk }, channels);
    if (this.#isOfferer) await this.#describe(connection, await connection.createOffer());
  }

  /**
   * Makes the connection, or waits until the browser has room for one more. `undefined` if
   * it was closed meanwhile.
   *
   * @param {RTCCertificate} certificate
   */
  async #connect(certificate) {
    // Browsers want the same ones whenever the configuration is set.
    this.#configuration.certificates = [certificate];
    for (let tries = 1; !this.#closed; tries += 1) {
      try {
        return new RTCPeerConnection(this.#configuration);
      } catch (error) {
        const isCrowded = error instanceof DOMException && error.name === 'UnknownError';
        if (!isCrowded || tries === CROWDED.tries) throw error;
        for (let piece = 0; piece < GARBAGE.pieces; piece += 1) new ArrayBuffer(GARBAGE.bytes);
        await new Promise((resolve) => setTimeout(resolve, CROWDED.retry));
      }
    }
    return undefined;
  }

  /**
   * @param {RTCPeerConnection} connection
   * @param {RTCSessionDescriptionInit} description
   */
  async #describe(connection, description) {
    this.#early = [];
    await connection.setLocalDescription(description);
    this.#sendLocal(connection.localDescription ?? description);
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const candidate of early) this.#send({ type: 'candidate', candidate }, []);
  }

  /** @param {RTCSessionDescriptionInit} description */
  #sendLocal({ sdp }) {
    this.#send({ type: 'local', ...readDescription(sdp ?? '', this.#fingerprint) }, []);
  }

  /** @param {RTCIceCandidate | null} found */
  #localCandidate(found) {
    const candidate = found ? found.candidate : null;
    // Says that a generation is over; `null`, that all are.
    if (candidate === '') return;
    if (this.#early) this.#early.push(candidate);
    else this.#send({ type: 'candidate', candidate }, []);
  }

  /**
   * @param {RTCPeerConnection} connection
   * @param {string | null} candidate
   */
  async #add(connection, candidate) {
    try {
      await connection.addIceCandidate(candidate === null ? undefined : {
        candidate,
        sdpMid: '0',
        usernameFragment: this.#remoteUfrag,
      });
    } catch {
      // One address less: a kind this browser does not know, as mDNS names without mDNS.
      // The others may do, and if none does the connection fails.
    }
  }

  async #stateChanged() {
    const connection = this.#connection;
    if (!connection) return;
    const value = connection.connectionState;
    if (value === 'failed' && connection.sctp?.transport?.state === 'failed') {
      // Firefox (153) gives up DTLS together with ICE, and no restart brings it back.
      this.#fail(new Error('the connection could not be made, or broke'));
      return;
    }
    const remoteFingerprint = value === 'connected' ? await remoteFingerprintOf(connection) : undefined;
    if (connection.connectionState !== value) return;
    this.#send(remoteFingerprint ? { type: 'state', value, remoteFingerprint } : { type: 'state', value }, []);
  }

  /**
   * Does something after what has been begun, if the connection is still there then.
   *
   * @param {(connection: RTCPeerConnection) => Promise<void>} step
   */
  #then(step) {
    if (this.#closed) return;
    this.#steps = this.#steps.then(async () => {
      if (this.#connection) await step(this.#connection);
    }).catch((error) => this.#fail(error));
  }

  /** @param {any} error */
  #fail(error) {
    if (this.#closed) return;
    const send = this.#send;
    this.close();
    send({ type: 'failed', code: 'unreachable', detail: describe(error) }, []);
  }
}

/**
 * Whether a connection can be closed without a trace. One that is closed while ICE and
 * DTLS are at work is never collected by Chromium (a third of them, measured), and counts
 * among those it allows.
 *
 * @param {RTCPeerConnection} connection
 */
function isSettled({ connectionState, remoteDescription }) {
  return !remoteDescription || (connectionState !== 'new' && connectionState !== 'connecting');
}

/**
 * Closes a connection as soon as it is made or has failed, and soon in any case.
 *
 * @param {RTCPeerConnection} connection
 */
function closeSettled(connection) {
  const close = () => {
    clearTimeout(timer);
    connection.onconnectionstatechange = null;
    connection.close();
  };
  const timer = setTimeout(close, SETTLE);
  connection.onconnectionstatechange = () => {
    if (isSettled(connection)) close();
  };
}

/**
 * The SHA-256 fingerprint of the certificate the other side really used; `undefined` where
 * the browser does not tell, and on plain-HTTP origins, which have no hash function.
 *
 * @param {RTCPeerConnection} connection
 */
async function remoteFingerprintOf(connection) {
  const transport = connection.sctp?.transport;
  if (transport && transport.state !== 'connected') {
    // In Chromium the connection may be told to be connected before its transport is.
    await new Promise((resolve) => transport.addEventListener('statechange', resolve, { once: true }));
  }
  // Not in every browser.
  const certificate = transport?.getRemoteCertificates?.()[0];
  if (!certificate || !globalThis.crypto?.subtle) return undefined;
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', certificate));
  return [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join(':').toUpperCase();
}
