// HPKE as signals are sealed with it (protocol/src/seal.rs), over Node's own cryptography: for
// tests that stand between peers and swap their keys. RFC 9180, base mode, DHKEM(X25519,
// HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305.

import { createCipheriv, createDecipheriv, createHmac, createPublicKey, diffieHellman, generateKeyPairSync } from 'node:crypto';

const INFO = Buffer.from('shoal/1/seal');
const KEM = Buffer.concat([Buffer.from('KEM'), Buffer.from([0, 0x20])]);
const SUITE = Buffer.concat([Buffer.from('HPKE'), Buffer.from([0, 0x20, 0, 1, 0, 3])]);
const EMPTY = Buffer.alloc(0);
/** What stands before the 32 bytes of an X25519 key in SPKI (RFC 8410). */
const SPKI = Buffer.from('302a300506032b656e032100', 'hex');
const TAG = 16;

/** A key to which bodies can be sealed. */
export function newKey() {
  const { privateKey, publicKey } = generateKeyPairSync('x25519');
  return { privateKey, text: rawOf(publicKey).toString('base64url') };
}

/** Seals a text to a key, for a signal. */
export function seal(key, signal, text) {
  const ephemeral = generateKeyPairSync('x25519');
  const enc = rawOf(ephemeral.publicKey);
  const receiver = Buffer.from(key, 'base64url');
  const dh = diffieHellman({ privateKey: ephemeral.privateKey, publicKey: publicOf(receiver) });
  const { aead, nonce } = schedule(dh, enc, receiver);
  const cipher = createCipheriv('chacha20-poly1305', aead, nonce, { authTagLength: TAG });
  cipher.setAAD(associated(signal));
  const ciphertext = Buffer.concat([cipher.update(text), cipher.final()]);
  return Buffer.concat([enc, ciphertext, cipher.getAuthTag()]).toString('base64url');
}

/** Opens the body of a signal. Throws if it is not sealed to the key. */
export function open({ privateKey }, signal) {
  const sealed = Buffer.from(signal.body, 'base64url');
  const enc = sealed.subarray(0, 32);
  const dh = diffieHellman({ privateKey, publicKey: publicOf(enc) });
  const { aead, nonce } = schedule(dh, enc, rawOf(createPublicKey(privateKey)));
  const decipher = createDecipheriv('chacha20-poly1305', aead, nonce, { authTagLength: TAG });
  decipher.setAAD(associated(signal));
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG));
  return Buffer.concat([decipher.update(sealed.subarray(32, sealed.length - TAG)), decipher.final()]).toString();
}

function schedule(dh, enc, receiver) {
  const shared = expand(KEM, extract(KEM, EMPTY, 'eae_prk', dh), 'shared_secret', Buffer.concat([enc, receiver]), 32);
  const context = Buffer.concat([Buffer.from([0]), extract(SUITE, EMPTY, 'psk_id_hash', EMPTY), extract(SUITE, EMPTY, 'info_hash', INFO)]);
  const secret = extract(SUITE, shared, 'secret', EMPTY);
  return { aead: expand(SUITE, secret, 'key', context, 32), nonce: expand(SUITE, secret, 'base_nonce', context, 12) };
}

function extract(suite, salt, label, material) {
  return hmac(salt, Buffer.concat([Buffer.from('HPKE-v1'), suite, Buffer.from(label), material]));
}

/** One block is enough for whatever is asked for. */
function expand(suite, key, label, info, length) {
  const size = Buffer.from([length >> 8, length & 255]);
  return hmac(key, Buffer.concat([size, Buffer.from('HPKE-v1'), suite, Buffer.from(label), info, Buffer.from([1])])).subarray(0, length);
}

const hmac = (key, data) => createHmac('sha256', key).update(data).digest();
const rawOf = (publicKey) => publicKey.export({ format: 'der', type: 'spki' }).subarray(SPKI.length);
const publicOf = (raw) => createPublicKey({ key: Buffer.concat([SPKI, raw]), format: 'der', type: 'spki' });

function associated({ from, to, link, n, kind, namespace }) {
  const number = Buffer.alloc(4);
  number.writeUInt32LE(n);
  return Buffer.concat([keyOf(from), keyOf(to), Buffer.from(link, 'base64url'), number, Buffer.from(`${kind}\0${namespace}`)]);
}

const BASE58 = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';

/** The last 32 of the 38 bytes of a peer id are its Ed25519 key. */
export function keyOf(peer) {
  let value = 0n;
  for (const char of peer) value = value * 58n + BigInt(BASE58.indexOf(char));
  return Buffer.from((value & ((1n << 256n) - 1n)).toString(16).padStart(64, '0'), 'hex');
}

/** The peer id of an Ed25519 public key of Node's. */
export function peerIdOf(publicKey) {
  const raw = publicKey.export({ format: 'der', type: 'spki' }).subarray(SPKI.length);
  let value = BigInt(`0x${Buffer.concat([Buffer.from('002408011220', 'hex'), raw]).toString('hex')}`);
  let text = '';
  for (; value > 0n; value /= 58n) text = BASE58[Number(value % 58n)] + text;
  // The first byte is zero, which base58 writes as a one.
  return `1${text}`;
}
