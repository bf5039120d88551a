/**
 * Links: this page's address, its namespace, and after `#` the key of a content; in a private
 * namespace its secret before that, `#~SECRET/KEY`.
 */

import { announce } from './announcer.js';
import { ask } from './dialog.js';
import { element } from './element.js';

/**
 * @param {string} [key]
 * @returns {string}
 */
export function linkTo(key) {
  const link = new URL(location.pathname, location.origin);
  const namespace = new URLSearchParams(location.search).get('namespace');
  if (namespace) link.searchParams.set('namespace', namespace);
  link.hash = [privatePart(), key].filter(Boolean).join('/');
  return link.href;
}

/** What lets people into this private namespace: `~` and the secret; in a public one nothing. */
export function privatePart() {
  const [first] = location.hash.slice(1).split('/');
  return first.startsWith('~') ? first : '';
}

/** The key in this page's address. */
export function keyInAddress() {
  const part = privatePart();
  return part === '' ? location.hash.slice(1) : location.hash.slice(part.length + 2);
}

/**
 * Puts a link on the clipboard, or where the browser has none for this page (plain HTTP),
 * shows it for copying by hand.
 *
 * @param {string} link
 * @returns {Promise<boolean>} whether it is on the clipboard
 */
export async function copy(link) {
  try {
    await navigator.clipboard.writeText(link);
    announce('Link copied.');
    return true;
  } catch {
    const field = element('input', { class: 'field', readOnly: true, autofocus: true, value: link, 'aria-label': 'Link' });
    field.addEventListener('focus', () => field.select());
    await ask({ title: 'Copy this link', body: [field], yes: 'Done', no: null });
    return false;
  }
}
