// Somebody's page in TypeScript. It is compiled and not run: every call of the package as
// its documentation has it, and uses the types must refuse.

import { Peer, ShoalError, Transfer, createSecret, secretLink, secretOf } from 'shoal';
import type { Code, Content, Key, OpenOptions, PeerId, PeerStorage, Progress } from 'shoal';

const options: OpenOptions = {
  rendezvous: new URL('https://shoal.example'),
  namespace: 'reef',
  store: false,
  storageLimit: 1e9,
  iceServers: [{ urls: 'stun:stun.example' }],
  iceTransportPolicy: 'relay',
  syncInterval: 10_000,
  replicate: { match: { type: 'image/', keywords: ['fish'] }, budget: 1e9 },
  signal: AbortSignal.timeout(5_000),
};

export async function share(file: File): Promise<URL> {
  await using peer = await Peer.open(options);
  peer.addEventListener('state', ({ detail: { state } }) => {
    if (state === 'offline') console.warn('offline');
    // @ts-expect-error: no such state
    if (state === 'lost') return;
  });
  peer.addEventListener('error', ({ detail }) => report(detail));
  const content: Content = await peer.publish(file, { title: 'A file', onprogress: show });
  // @ts-expect-error: a peer is made by `open`
  new Peer();
  // @ts-expect-error: the key is read only in effect, and no number
  await peer.fetch(42);
  return new URL(`#${content.key}`, location.href);
}

export async function get(peer: Peer, key: Key): Promise<Blob> {
  const transfer: Transfer = await peer.fetch(key, { timeout: 30_000, onprogress: show });
  transfer.addEventListener('chunk', ({ detail: { index, peer } }) => mark(index, peer ?? 'held before'));
  transfer.addEventListener('progress', ({ detail }) => show(detail));
  for await (const part of transfer.stream()) part.byteLength satisfies number;
  const { size }: Content = await transfer.done;
  size.toFixed();
  return transfer.blob();
}

export async function look(peer: Peer): Promise<Content[]> {
  const found: Content[] = [];
  for (const { id, linked, rtt } of await peer.peers()) {
    if (linked && rtt !== undefined && rtt < 100) found.push(...await peer.catalog(id));
  }
  for (const { key, held, size } of await peer.contents()) {
    if (held < size) await peer.remove(key);
  }
  return found;
}

export async function keep(peer: Peer, key: Key): Promise<string> {
  const { storage }: { storage: PeerStorage } = peer;
  storage.addEventListener('change', ({ detail: { held, limit } }) => console.log(held / limit));
  await peer.pin(key);
  await peer.fetch(key, { pinned: true });
  await storage.setLimit(2e9);
  await storage.clear();
  const { held, limit, quota, persisted } = await storage.estimate();
  return `${held} of ${limit}, ${quota ?? '?'}, ${persisted || await storage.persist()}`;
}

export async function invite(): Promise<string> {
  const secret: string = secretOf() ?? createSecret();
  const peer = await Peer.open({ secret });
  // @ts-expect-error: it follows from the secret
  peer.namespace = 'reef';
  return peer.namespace.startsWith('~') ? secretLink(secret, new URL('https://reef.example')) : '';
}

function show({ state, held, size, rate, secondsLeft, sources, reason }: Progress): string {
  const from = sources.map(({ peer, bytes }) => `${peer}: ${bytes}`);
  return [state, reason, held, size ?? '?', rate, secondsLeft ?? '?', ...from].join(' ');
}

function report(error: unknown): string | undefined {
  if (!(error instanceof ShoalError)) return undefined;
  const advice: Partial<Record<Code, string>> = { quota: 'Delete something.', rendezvous: 'Wait.' };
  // @ts-expect-error: no such code
  if (error.code === 'unlucky') return undefined;
  return `${error.message} ${advice[error.code] ?? ''} ${error.candidates?.local.host ?? ''}`;
}

declare function mark(index: number, peer: PeerId): void;
