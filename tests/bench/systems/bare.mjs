// The bare data channel between two tabs: the physical limit of a transfer.

import { call, openPage } from './bench.mjs';

const KIB = 1024;

/** What a channel carries differs by these; which is best, by the machine. */
export const VARIANTS = ['page', 'worker'].flatMap((place) => [16, 64, 256].map((kib) => (
  { name: `${kib} KiB, ${place}`, message: kib * KIB, inWorker: place === 'worker' }
)));

/** MB/s of one run. `prepare` is called with each tab before it connects. */
export async function bareChannel({ from, to, site, size, variant, prepare = () => {} }) {
  const tabs = [await openPage(from, site), await openPage(to, site)];
  for (const tab of tabs) await prepare(tab);
  const [sender, receiver] = tabs;
  await call(sender, 'bare', 'open', { inWorker: variant.inWorker });
  await call(receiver, 'bare', 'open', { inWorker: variant.inWorker, size });
  await call(receiver, 'bare', 'setRemote', await call(sender, 'bare', 'describe'));
  await call(sender, 'bare', 'setRemote', await call(receiver, 'bare', 'describe'));
  await call(sender, 'bare', 'run', size, variant.message);
  const rate = await call(receiver, 'bare', 'rate');
  for (const tab of tabs) {
    await call(tab, 'bare', 'close');
    await tab.close();
  }
  return rate;
}
