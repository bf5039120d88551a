// A server of npm in a process of its own, so that its memory and processor time are its alone:
//
//   node --expose-gc node-server.mjs peerjs|tracker
//
// Says where it listens, and collects its garbage for each line it is given.

import { createInterface } from 'node:readline';

const listening = {
  async peerjs() {
    const { PeerServer } = await import('peer');
    // Its limit of 5,000 connections is raised; they are the same for all.
    return new Promise((resolve) => {
      PeerServer({ host: '127.0.0.1', port: 0, path: '/', concurrent_limit: 1_000_000 }, resolve);
    });
  },
  async tracker() {
    const { default: Server } = await import('bittorrent-tracker/server');
    const tracker = new Server({ udp: false, http: false, ws: true, stats: false });
    await new Promise((resolve) => tracker.listen(0, '127.0.0.1', resolve));
    return tracker.http;
  },
};

const server = await listening[process.argv[2]]();
console.log(`listening on http://127.0.0.1:${server.address().port}`);
for await (const _ of createInterface({ input: process.stdin })) {
  globalThis.gc();
  console.log('collected');
}
process.exit();
