// The types are written by hand, and so is the code: what the code is must be what the
// types say.

import * as declared from 'shoal';
import * as errors from 'shoal/errors.js';
import * as peers from 'shoal/peer.js';
import * as secrets from 'shoal/secret.js';
import * as transfers from 'shoal/transfer.js';

// Under a computed name that TypeScript does not follow; browsers without that symbol are
// why. A test in browsers looks for it.
type Disposable = typeof Symbol.asyncDispose;

export const open: (options?: declared.OpenOptions) => Promise<Omit<declared.Peer, Disposable>> = peers.Peer.open;
export const ShoalError: typeof declared.ShoalError = errors.ShoalError;
export const createSecret: typeof declared.createSecret = secrets.createSecret;
export const secretLink: typeof declared.secretLink = secrets.secretLink;
export const secretOf: typeof declared.secretOf = secrets.secretOf;
export function peer(made: peers.Peer): Omit<declared.Peer, Disposable> {
  return made;
}
export function transfer(made: transfers.Transfer): declared.Transfer {
  return made;
}
