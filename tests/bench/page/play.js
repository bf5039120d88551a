/** How long a person waits who watches a content while it arrives. */

const CHUNK = 262_144;

async function openPeer(server, options) {
  const { Peer } = await import(`${server}/shoal/index.js`);
  return Peer.open(options);
}

/** Milliseconds from the peer being open, when it begins to join, to the first picture of a video. */
export async function firstPicture(server, options, key) {
  const peer = await openPeer(server, options);
  const start = performance.now();
  await peer.serve({ worker: '/sw.js' });
  const video = Object.assign(document.createElement('video'), { src: peer.url(key), muted: true });
  document.body.append(video);
  await new Promise((resolve, reject) => {
    video.onerror = () => reject(new Error(video.error.message));
    video.requestVideoFrameCallback(resolve);
  });
  const took = performance.now() - start;
  video.removeAttribute('src');
  video.load();
  await peer.close();
  return took;
}

/** Milliseconds from jumps to places that are not held to their first byte, while all is fetched:
 *  as a stream, and from the address. */
export async function jump(server, options, key, times) {
  const peer = await openPeer(server, options);
  await peer.serve({ worker: '/sw.js' });
  const took = { stream: [], address: [] };
  const open = {
    stream: async (transfer, start) => transfer.stream({ start }),
    address: async (_, start) => (await fetch(peer.url(key), { headers: { Range: `bytes=${start}-` } })).body,
  };
  for (const way of Object.keys(took)) {
    while (took[way].length < times) {
      const transfer = await peer.fetch(key);
      const held = new Set();
      transfer.addEventListener('chunk', ({ detail }) => held.add(detail.index));
      const chunks = Math.ceil(transfer.content.size / CHUNK);
      while (took[way].length < times) {
        // Some of it comes before the next jump.
        const before = Math.min(held.size, chunks - 4);
        while (held.size < before + 4) await new Promise((resolve) => setTimeout(resolve, 5));
        const free = [...Array(chunks).keys()].filter((index) => !held.has(index));
        if (free.length < chunks / 4) break;
        const index = free[Math.floor(Math.random() * free.length)];
        const start = performance.now();
        const reader = (await open[way](transfer, index * CHUNK + 1000)).getReader();
        await reader.read();
        took[way].push(performance.now() - start);
        // As a player does that goes on somewhere else.
        await reader.cancel();
      }
      await transfer.cancel();
      await peer.remove(key);
    }
  }
  await peer.close();
  return took;
}
