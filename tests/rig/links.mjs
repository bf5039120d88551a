// Links with delay, rate and loss between tabs of one machine: UDP goes through this process,
// which holds each packet back for as long as the link takes. Its sockets are at the address
// of the machine that the browsers themselves use, so nothing leaves it.
//
//   const links = startLinks({ delay: 20, rate: 125e6, queue: 2e6, loss: 0.01, seed: 1, until });
//   await links.put(tab);  // before the page makes connections
//   links.cut();           // nothing passes any more, but by links made from now on
//
// A page that was `put` on links asks for the address of each candidate it is told, and gets
// that of a socket here, which stands for the other side. So every peer connection has a link
// of its own, with two sockets, and neither side learns where the other really is. A restart of
// ICE has names of its own, so it finds a new link, as where the network has changed. All that
// is dropped or held back follows from the seed and the packets.

import { createSocket } from 'node:dgram';

/** Asked for; the system gives what it allows. */
const SOCKET_BUFFER = 4 * 1024 * 1024;

/**
 * @param {object} options
 * @param {number} options.delay of one way, in milliseconds
 * @param {number} options.rate of one way, in bytes a second
 * @param {number} options.queue bytes that may wait for the rate; what is more is dropped
 * @param {number} options.loss share of packets that vanish, unless cut
 * @param {number} options.seed
 */
export function startLinks({ until, ...options }) {
  const links = new Links(options);
  until.after(() => links.close());
  return links;
}

class Links {
  #links = new Map();

  constructor(options) {
    this.options = options;
    this.dropped = { queue: 0, loss: 0 };
  }

  /** How many links there have been: one for each connection, and for each restart of its ICE. */
  get size() {
    return this.#links.size;
  }

  /** From now on all links that are there drop everything. */
  cut() {
    for (const link of this.#links.values()) {
      link.then((sides) => sides.forEach((side) => side.cut()));
    }
  }

  /** Has the connections of a page go through links. */
  async put(tab) {
    await tab.page.exposeFunction('portFor', (own, other, address, port) => this.#portFor(own, other, address, port));
    await tab.evaluate(rewriteCandidates);
  }

  /**
   * The port that stands for the side `other` (an ICE user fragment), as `own` is to see it;
   * none if the other side can be reached already, by another of its candidates.
   */
  async #portFor(own, other, address, port) {
    const name = [own, other].sort().join(' ');
    let link = this.#links.get(name);
    if (!link) {
      link = openLink({ ...this.options, address }, this.#links.size, this.dropped);
      this.#links.set(name, link);
    }
    const sides = await link;
    const near = own < other ? sides[0] : sides[1];
    // What comes in here goes out of the other socket, to where the other side is.
    if (near.to || address !== near.options.address) return undefined;
    near.to = port;
    return near.socket.address().port;
  }

  async close() {
    for (const link of this.#links.values()) {
      for (const side of await link) side.close();
    }
  }
}

/** Both sides of a link; each takes what its peer sends to the other. */
async function openLink(options, number, dropped) {
  const sides = [0, 1].map((at) => new Side(options, options.seed * 1000 + number * 2 + at, dropped));
  await Promise.all(sides.map((side) => side.open()));
  sides[0].other = sides[1];
  sides[1].other = sides[0];
  return sides;
}

class Side {
  /** The port packets go to that come in here. */
  to;
  /** The socket they go out of, so that answers come back. */
  other;
  #queue = [];
  #first = 0;
  #timer;
  /** When the last byte that was taken has left, in milliseconds. */
  #free = 0;
  #random;

  constructor(options, seed, dropped) {
    this.options = options;
    this.dropped = dropped;
    this.#random = seed >>> 0 || 1;
    this.socket = createSocket('udp4');
  }

  async open() {
    await new Promise((resolve) => this.socket.bind(0, this.options.address, resolve));
    this.socket.setRecvBufferSize(SOCKET_BUFFER);
    this.socket.setSendBufferSize(SOCKET_BUFFER);
    this.socket.on('message', (packet) => this.#take(packet));
    this.socket.on('error', () => {});
  }

  #take(packet) {
    const { delay, rate, queue, loss } = this.options;
    if (this.#chance() < loss) {
      this.dropped.loss += 1;
      return;
    }
    const now = performance.now();
    const waits = Math.max(0, this.#free - now);
    if (waits * rate / 1000 > queue) {
      this.dropped.queue += 1;
      return;
    }
    this.#free = now + waits + packet.length / rate * 1000;
    this.#queue.push({ packet, due: this.#free + delay });
    this.#pass(now);
  }

  /** Passes on what is due, and comes back for the rest. */
  #pass(now) {
    // A timer is as much as a millisecond late, so half of that is no time at all.
    while (this.#first < this.#queue.length && this.#queue[this.#first].due <= now + 0.5) {
      const { packet } = this.#queue[this.#first];
      this.#first += 1;
      if (this.to) this.other.socket.send(packet, this.to, this.options.address);
    }
    if (this.#first === this.#queue.length || this.#first > 4096) {
      this.#queue = this.#queue.slice(this.#first);
      this.#first = 0;
    }
    if (this.#queue.length === 0 || this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#pass(performance.now());
    }, Math.max(1, this.#queue[0].due - now));
  }

  /** From 0 to 1: xorshift32 (Marsaglia 2003). */
  #chance() {
    let state = this.#random;
    state ^= state << 13; state ^= state >>> 17; state ^= state << 5;
    this.#random = state >>> 0;
    return this.#random / 2 ** 32;
  }

  /** Drops what waits and what comes. */
  cut() {
    this.options = { ...this.options, loss: 1 };
    this.#queue = [];
    this.#first = 0;
  }

  close() {
    clearTimeout(this.#timer);
    this.socket.close();
  }
}

/** Runs in the page. */
function rewriteCandidates() {
  const { prototype } = RTCPeerConnection;
  const { addIceCandidate } = prototype;
  const IPV4 = /^[0-9.]+$/;
  const ufrag = (sdp) => /^a=ice-ufrag:(.*?)\r?$/m.exec(sdp)[1];
  prototype.addIceCandidate = async function addThroughLink(candidate) {
    const text = candidate?.candidate;
    if (!text) {
      await addIceCandidate.call(this, candidate);
      return;
    }
    // candidate:FOUNDATION COMPONENT PROTOCOL PRIORITY ADDRESS PORT typ TYPE …
    const words = text.split(' ');
    if (words[2].toLowerCase() !== 'udp' || !IPV4.test(words[4])) return;
    const add = async () => {
      const { sdp } = this.localDescription;
      const port = await window.portFor(ufrag(sdp), ufrag(this.remoteDescription.sdp), words[4], Number(words[5]));
      if (port === undefined) return;
      words[5] = String(port);
      await addIceCandidate.call(this, { candidate: words.join(' '), sdpMid: candidate.sdpMid, usernameFragment: candidate.usernameFragment });
    };
    // Whoever answers has no description of its own yet, and makes one after this only.
    if (this.localDescription) {
      await add();
      return;
    }
    const changed = () => {
      if (!this.localDescription) return;
      this.removeEventListener('signalingstatechange', changed);
      add();
    };
    this.addEventListener('signalingstatechange', changed);
  };
}
