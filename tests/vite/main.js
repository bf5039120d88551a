// A page as somebody would write it who has the package from npm. The test calls it.

import { Peer } from 'shoal';

globalThis.open = async (rendezvous) => {
  globalThis.peer = await Peer.open({ rendezvous });
  return globalThis.peer.id;
};
dispatchEvent(new Event('rig'));
