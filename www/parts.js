/** The pieces rows are set from: names, keys, tiles, peers. */

import { slotOf } from './colours.js';
import { element, fish } from './element.js';
import { bytes, head, shownName, tail, tile } from './format.js';
import { nameOf } from './names.js';

/**
 * What a row knows of a content; before a holder has told, that is its key alone.
 *
 * @typedef {{ key?: string, name?: string, size?: number, type?: string, pinned?: boolean }} Described
 */

/**
 * What to call a content where it has no name.
 *
 * @param {Described} content
 */
export function titleOf({ name, key }) {
  return shownName(name) || (key ? `Content \u2026${tail(key)}` : 'Unnamed');
}

/**
 * An id in full, of which as much is shown as there is room for, and always its end.
 *
 * @param {string} id
 */
export function idText(id) {
  return element('code', { class: 'id', title: id },
    element('span', { class: 'id-head' }, head(id)),
    element('span', { class: 'id-tail' }, tail(id)));
}

/** @param {Described} content */
export function tileOf(content) {
  return element('span', { class: 'tile', 'aria-hidden': 'true' }, element('span', { class: 'tile-letters' }, tile(content)));
}

/**
 * Size, type and key.
 *
 * @param {Described} content
 * @returns {HTMLElement[]}
 */
export function factsOf({ size, type, key }) {
  const facts = [];
  if (size !== undefined) facts.push(element('span', {}, bytes(size)));
  if (type) facts.push(element('span', { class: 'fact-type', dir: 'ltr' }, shownName(type)));
  if (key) facts.push(idText(key));
  return facts;
}

/**
 * A peer's mark, name and the end of its id.
 *
 * @param {string} peer
 * @returns {Node[]}
 */
export function peerLabel(peer) {
  return [
    fish(slotOf(peer)),
    element('span', { class: 'peer-name' }, nameOf(peer)),
    element('code', { class: 'peer-tail', title: peer }, `\u2026${tail(peer)}`),
  ];
}

/**
 * @param {string} words
 * @param {() => void} onclick
 * @param {string} [kind]
 */
export function button(words, onclick, kind = '') {
  return element('button', { type: 'button', class: `button ${kind}`.trim(), onclick }, words);
}

/**
 * Names a button after what it acts on too, for those who hear it out of its row.
 *
 * @param {HTMLElement} target
 * @param {string} words
 * @param {string} subject
 */
export function label(target, words, subject) {
  if (target.textContent !== words) target.textContent = words;
  const full = `${words} ${subject}`;
  if (target.getAttribute('aria-label') !== full) target.setAttribute('aria-label', full);
}
