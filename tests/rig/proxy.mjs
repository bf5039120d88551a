// What may stand between peers and their rendezvous server without their knowing: passes
// everything on, and lets a test rewrite the signals on their way to a peer.
//
//   const proxy = await startProxy(server, { until: t, rewrite: (signal, payload) => [payload] });
//   await openPeer(browser, site, server, { options: { rendezvous: proxy.url } });
//
// Signatures stay as they are: who stands there has nobody's key.

import { WebSocket, WebSocketServer } from 'ws';

const PATH = '/v1/socket';

/**
 * @param {{ url: string }} server
 * @param {object} [options]
 * @param {(signal: any, payload: string) => string[] | Promise<string[]>} [options.rewrite]
 *   what a peer gets in the place of a signal's payload: nothing, one, or several
 * @param {(text: string) => void} [options.listen] hears all that is said, both ways
 * @param {{ after(done: () => Promise<void>): void }} [options.until]
 */
export async function startProxy(server, { rewrite = (_, payload) => [payload], listen = () => {}, until } = {}) {
  let isClosed = false;
  const near = new WebSocketServer({ host: '127.0.0.1', port: 0, path: PATH });
  near.on('connection', (peer, { headers }) => {
    const far = new WebSocket(server.url.replace(/^http/, 'ws') + PATH, { origin: headers.origin });
    // One after the other, since rewriting one may take longer than the next.
    let told = Promise.resolve();
    far.on('message', (data) => {
      listen(String(data));
      told = told.then(() => tell(String(data)));
      told.catch((error) => {
        // Whatever rewrites ends with the test, half-way perhaps. Before that nobody waits
        // for this, so that it fails the test that runs, by name.
        if (!isClosed) throw error;
      });
    });
    // A peer has nothing to say before the server's challenge, so the way is open by then.
    peer.on('message', (data) => {
      listen(String(data));
      far.send(String(data));
    });
    for (const [one, other] of [[peer, far], [far, peer]]) {
      one.on('close', () => other.close());
      // `close` follows.
      one.on('error', () => {});
    }

    async function tell(text) {
      const message = JSON.parse(text);
      if (message.t !== 'signal') {
        peer.send(text);
        return;
      }
      const { id, signed } = message;
      const payloads = await rewrite(JSON.parse(signed.payload), signed.payload);
      for (const payload of payloads) peer.send(JSON.stringify({ t: 'signal', id, signed: { ...signed, payload } }));
      // What the peer never gets it cannot acknowledge, and the server would keep it.
      if (payloads.length === 0) far.send(JSON.stringify({ t: 'ack', id }));
    }
  });
  await new Promise((resolve) => near.once('listening', resolve));
  until?.after(async () => {
    isClosed = true;
    for (const peer of near.clients) peer.terminate();
    await new Promise((resolve) => near.close(resolve));
  });
  return { url: `http://127.0.0.1:${near.address().port}` };
}
