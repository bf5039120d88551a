// The man in the middle, as a page: for each link of two peers a connection to either, made
// of the descriptions and candidates they meant for each other. Keeps every frame, and hands
// it on, back, or changed.

import { fingerprintOf, readDescription, writeDescription } from '/sdp.js';

const other = { offerer: 'answerer', answerer: 'offerer' };

/** One connection of the relay. */
class Side {
  /** What came over it. @type {{ channel: string, text?: string, bytes?: number }[]} */
  frames = [];
  /** What was sent over it. */
  sent = [];
  /** States the connection and the channels have been in. @type {string[]} */
  seen = [];

  /** @param {(channel: string, data: any) => void} heard */
  static async open(heard) {
    const side = new Side();
    const certificate = await RTCPeerConnection.generateCertificate({ name: 'ECDSA', namedCurve: 'P-256' });
    side.fingerprint = fingerprintOf(certificate);
    const connection = new RTCPeerConnection({ certificates: [certificate] });
    side.connection = connection;
    connection.onconnectionstatechange = () => side.note(connection.connectionState);
    side.control = connection.createDataChannel('control', { negotiated: true, id: 0 });
    side.bulk = connection.createDataChannel('bulk', { negotiated: true, id: 1, ordered: false });
    for (const [name, channel] of [['control', side.control], ['bulk', side.bulk]]) {
      channel.binaryType = 'arraybuffer';
      channel.onopen = () => {
        side.note(`${name} open`);
        heard();
      };
      channel.onmessage = ({ data }) => {
        const frame = typeof data === 'string' ? { channel: name, text: data } : { channel: name, bytes: data.byteLength };
        side.frames.push(frame);
        heard(name, data);
      };
    }
    return side;
  }

  note(state) {
    this.seen.push(state);
    dispatchEvent(new Event('rig'));
  }

  get isOpen() {
    return this.control.readyState === 'open' && this.bulk.readyState === 'open';
  }

  async setRemote(type, description) {
    await this.connection.setRemoteDescription({ type, sdp: writeDescription(description) });
    this.ufrag = description.ufrag;
  }

  async setLocal() {
    await this.connection.setLocalDescription();
    return readDescription(this.connection.localDescription.sdp, this.fingerprint);
  }

  send(channel, data) {
    this.sent.push(data);
    // Who has closed its end is past being deceived.
    if (this[channel].readyState === 'open') this[channel].send(data);
    dispatchEvent(new Event('rig'));
  }
}

/** Both sides of one link. */
class Middle {
  /** What the peers said that is not handed on yet. */
  held = { offerer: [], answerer: [] };
  handedOn = 0;

  /** @param {Relay} relay */
  constructor(relay) {
    this.relay = relay;
  }

  /** The offerer's description; returns the one the answerer is to have for it. */
  async offer(description) {
    this.offerer = await Side.open((...frame) => this.heard('offerer', ...frame));
    this.answerer = await Side.open((...frame) => this.heard('answerer', ...frame));
    await this.offerer.setRemote('offer', description);
    return this.answerer.setLocal();
  }

  /** The answerer's description; returns the one the offerer is to have for it. */
  async answer(description) {
    await this.answerer.setRemote('answer', description);
    return this.offerer.setLocal();
  }

  /** An address of a peer. Those of the relay the peers find out by themselves. */
  async candidate(from, candidate) {
    const { connection, ufrag } = this[from];
    // There is no answer where a peer took no offer.
    if (!connection.remoteDescription || candidate === null) return;
    const { foundation, protocol, priority, address, port, type } = candidate;
    await connection.addIceCandidate({
      candidate: `candidate:${foundation} 1 ${protocol} ${priority} ${address} ${port} typ ${type}`,
      sdpMid: '0',
      usernameFragment: ufrag,
    });
  }

  heard(from, channel, data) {
    if (channel) this.held[from].push([channel, data]);
    if (!this.offerer.isOpen || !this.answerer.isOpen) return;
    // Hello and Auth go to both at once, so that none leaves before the other has its own.
    for (; this.handedOn < 2 && this.held.offerer.length > 0 && this.held.answerer.length > 0; this.handedOn += 1) {
      for (const name of ['offerer', 'answerer']) this.handOn(name, this.held[name].shift());
    }
    if (this.handedOn < 2) return;
    for (const name of ['offerer', 'answerer']) {
      for (const frame of this.held[name].splice(0)) this.handOn(name, frame);
    }
  }

  handOn(from, [channel, data]) {
    const [to, changed] = this.relay.deceive(from, data);
    this[to].send(channel, changed);
  }
}

class Relay {
  /** By the link's id, in the order of their offers. @type {Map<string, Middle>} */
  links = new Map();
  /** What to do with frames. @type {'pass' | 'reflect' | 'replay' | { hello: number[] }} */
  manner = 'pass';
  /** Of each peer its first Auth. */
  first = {};

  offer(link, description) {
    const middle = new Middle(this);
    this.links.set(link, middle);
    return middle.offer(description);
  }

  answer(link, description) {
    return this.links.get(link).answer(description);
  }

  candidate(link, from, candidate) {
    return this.links.get(link)?.candidate(from, candidate);
  }

  /** To whom a frame goes, and what becomes of it. */
  deceive(from, data) {
    const { t } = typeof data === 'string' ? JSON.parse(data) : {};
    if (this.manner === 'reflect') return [from, data];
    const to = other[from];
    if (t === 'Auth') {
      this.first[from] ??= data;
      if (this.manner === 'replay') return [to, this.first[from]];
    }
    if (t === 'Hello' && this.manner.hello) return [to, JSON.stringify({ ...JSON.parse(data), versions: this.manner.hello })];
    return [to, data];
  }

  /** All that happened, for the test. */
  report() {
    return [...this.links].map(([link, { offerer, answerer }]) => ({
      link,
      sides: [offerer, answerer].map((side) => ({ frames: side?.frames ?? [], sent: side?.sent ?? [], seen: side?.seen ?? [] })),
    }));
  }
}

globalThis.relay = new Relay();
dispatchEvent(new Event('rig'));
