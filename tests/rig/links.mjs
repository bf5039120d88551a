// Links with delay, rate and loss between tabs of one machine: UDP goes through a process of
// its own (tests/links), which holds each packet back for as long as the link takes. Its
// sockets are at the address of the machine that the browsers themselves use, so nothing
// leaves it.
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

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import path from 'node:path';
import { target } from './browsers.mjs';

const PROGRAM = path.join(target, 'release/shoal-links');

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
  /** Names of connections, with where their link is. */
  #links = new Map();
  /** Who waits for the ports of a link, in the order they asked. */
  #waiting = [];
  #child;

  constructor(options) {
    const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
    this.#child = spawn(PROGRAM, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child.once('error', (error) => this.#fail(new Error(`${PROGRAM} cannot be started: ${error.message}; run \`cargo xtask test --part browser\``)));
    this.#child.once('exit', () => this.#fail(new Error('the links have ended')));
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      this.#waiting.shift()?.resolve(line.split(' ').map(Number));
    });
  }

  /** How many links there have been: one for each connection, and for each restart of its ICE. */
  get size() {
    return this.#links.size;
  }

  /** From now on all links that are there drop everything. */
  cut() {
    this.#say('cut');
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
      link = { number: this.#links.size, address, ports: this.#open(address), isKnown: [false, false] };
      this.#links.set(name, link);
    }
    const near = own < other ? 0 : 1;
    // What comes in here goes out of the other socket, to where the other side is.
    if (link.isKnown[near] || address !== link.address) return undefined;
    link.isKnown[near] = true;
    const ports = await link.ports;
    this.#say(`to ${link.number} ${near} ${port}`);
    return ports[near];
  }

  #open(address) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#say(`open ${address}`);
    });
  }

  #say(line) {
    this.#child.stdin.write(`${line}\n`);
  }

  #fail(error) {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }

  close() {
    this.#child.stdin.end();
  }
}

/** Runs in the page. */
function rewriteCandidates() {
  const { prototype } = RTCPeerConnection;
  const { addIceCandidate, setRemoteDescription } = prototype;
  const IPV4 = /^[0-9.]+$/;
  const ufrag = (sdp) => /^a=ice-ufrag:(.*?)\r?$/m.exec(sdp)[1];
  // Some say their candidates in the description already.
  prototype.setRemoteDescription = async function setWithoutCandidates({ type, sdp }) {
    const lines = sdp.split('\r\n');
    const told = (line) => line.startsWith('a=candidate:');
    await setRemoteDescription.call(this, { type, sdp: lines.filter((line) => !told(line)).join('\r\n') });
    for (const line of lines.filter(told)) await this.addIceCandidate({ candidate: line.slice(2), sdpMid: '0' });
  };
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
