/** How long a page takes until its peer is open, and then until something arrives. */

const marks = {};
const mark = (name) => { marks[name] ??= performance.now(); };

// The peer connections of an engine are the page's, and a peer has none before it needs one.
const Plain = globalThis.RTCPeerConnection;
globalThis.RTCPeerConnection = class extends Plain {
  constructor(...args) {
    super(...args);
    mark('called');
    this.addEventListener('connectionstatechange', () => { if (this.connectionState === 'connected') mark('connected'); });
  }
};

/** Opens a peer, and fetches what only the rendezvous knows a holder of. Milliseconds of each step. */
export async function run(server, options, key) {
  mark('began');
  const { Peer } = await import(`${server}/shoal/index.js`);
  mark('loaded');
  const peer = await Peer.open(options);
  mark('opened');
  if (peer.state === 'online') mark('joined');
  peer.addEventListener('state', ({ detail }) => { if (detail.state === 'online') mark('joined'); });
  const transfer = await peer.fetch(key);
  mark('found');
  await new Promise((resolve) => transfer.addEventListener('chunk', resolve, { once: true }));
  mark('arrived');
  await peer.close();
  return marks;
}
