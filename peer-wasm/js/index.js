/** Shoal: web pages share content with each other. */

export { ShoalError } from './errors.js';
export { Peer } from './peer.js';
export { createSecret, secretLink, secretOf } from './secret.js';
export { Transfer } from './transfer.js';
