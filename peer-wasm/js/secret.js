/**
 * Secrets of private namespaces, and links that carry one: `https://…/#~SECRET`, with whatever
 * the page puts after a slash. Browsers keep what follows the `#` to themselves, so no server
 * sees it.
 */

import { ShoalError, invalid } from './errors.js';

/** 32 bytes in base64url. */
const SECRET = /^[\w-]{43}$/;
const MARK = '~';

/** A secret that nobody else has. */
export function createSecret() {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replace('=', '');
}

/**
 * @param {string} secret
 * @param {string | URL} [page]
 */
export function secretLink(secret, page = location.href) {
  const link = parse(page);
  link.hash = MARK + readSecret(secret);
  return link.href;
}

/**
 * @param {string | URL} [link]
 * @returns {string | null}
 */
export function secretOf(link = location.href) {
  const [first] = parse(link).hash.slice(1).split('/');
  if (!first.startsWith(MARK)) return null;
  const secret = first.slice(MARK.length);
  if (SECRET.test(secret)) return secret;
  throw invalid('the secret in this link is not whole: 43 characters follow `#~`. It may have been cut off on its way');
}

/**
 * @param {unknown} secret
 * @returns {string}
 */
export function readSecret(secret) {
  if (typeof secret === 'string' && SECRET.test(secret)) return secret;
  throw invalid('`secret` is none: it has 43 characters (A-Z a-z 0-9 - _), as `createSecret()` makes them');
}

/** @param {string | URL} link */
function parse(link) {
  try {
    return new URL(link, location.href);
  } catch (error) {
    throw new ShoalError('invalid-argument', `This is no link: ${link}`, { cause: error });
  }
}
