// The bare data channel between two tabs: the physical limit of a transfer.

import { call, openPage } from './bench.mjs';

const KIB = 1024;

/** What a channel carries differs by these; which is best, by the machine. */
export const VARIANTS = ['page', 'worker'].flatMap((place) => [16, 64, 256].map((kib) => (
  { name: `${kib} KiB, ${place}`, message: kib * KIB, inWorker: place === 'worker' }
)));

/**
 * MB/s of one run. `prepare` is called with each tab before it connects; over several
 * connections each carries its part, and the slowest ends the run.
 */
export async function bareChannel({ size, connections = 1, ...options }) {
  const part = size / connections;
  const pairs = [];
  for (let at = 0; at < connections; at++) pairs.push(await connect({ ...options, size: part }));
  const rates = await Promise.all(pairs.map(async ([sender, receiver]) => {
    await call(sender, 'bare', 'run', part, options.variant.message);
    return call(receiver, 'bare', 'rate');
  }));
  for (const tab of pairs.flat()) {
    await call(tab, 'bare', 'close');
    await tab.close();
  }
  return connections * Math.min(...rates);
}

/** Two tabs with a channel between them: who sends, and who expects `size` bytes. */
async function connect({ from, to, site, size, variant, prepare = () => {} }) {
  const [sender, receiver] = [await openPage(from, site), await openPage(to, site)];
  for (const tab of [sender, receiver]) await prepare(tab);
  await call(sender, 'bare', 'open', { inWorker: variant.inWorker });
  await call(receiver, 'bare', 'open', { inWorker: variant.inWorker, size });
  await call(receiver, 'bare', 'setRemote', await call(sender, 'bare', 'describe'));
  await call(sender, 'bare', 'setRemote', await call(receiver, 'bare', 'describe'));
  return [sender, receiver];
}
