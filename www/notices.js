/** What a person should know beyond a single content: on top of the page until it is over. */

import { announce } from './announcer.js';
import { byId, element } from './element.js';
import { tail } from './format.js';
import { nameOf } from './names.js';
import { button, peerLabel } from './parts.js';
import { CANDIDATES, UNREACHABLE } from './words.js';

/** @typedef {import('./words.js').NoticeWords} NoticeWords */

/** @type {Map<string, HTMLElement>} */
const shown = new Map();

/** Peers without connection that are named; the latest ones. */
const NAMED = 3;

/**
 * Shows a notice, in place of the one with the same id.
 *
 * @param {string} id
 * @param {NoticeWords} words
 * @param {object} [more]
 * @param {boolean} [more.dismissible]
 * @param {import('./element.js').Child[]} [more.body]
 */
export function notify(id, { title, text, tone }, { dismissible = true, body = [] } = {}) {
  const before = shown.get(id);
  const open = before?.querySelector('details')?.open ?? false;
  const notice = element('article', { class: 'notice', data: { tone, id } },
    element('div', { class: 'notice-text' }, element('h2', {}, title), element('p', {}, text), ...body),
    dismissible && button('Dismiss', () => {
      unnotify(id);
      byId('held-title').focus();
    }, 'quiet'));
  const details = notice.querySelector('details');
  if (details) details.open = open;
  notice.querySelector('button')?.setAttribute('aria-label', `Dismiss: ${title}`);
  if (before) before.replaceWith(notice);
  else byId('notices').append(notice);
  shown.set(id, notice);
  byId('notices').hidden = false;
  if (!before) announce(`${title}. ${text}`);
}

/** @param {string} id */
export function unnotify(id) {
  shown.get(id)?.remove();
  shown.delete(id);
  byId('notices').hidden = shown.size === 0;
}

/**
 * @typedef {object} Unreachable an error with code `unreachable`
 * @property {string} [peer]
 * @property {string} [message]
 * @property {{ local: import('./words.js').Candidates, remote: import('./words.js').Candidates }} [candidates]
 */

/** @type {Map<string, Unreachable>} */
const unreachable = new Map();

/**
 * Says that a peer could not be reached and why, together with the others that could not.
 *
 * @param {Unreachable} error
 */
export function notifyUnreachable(error) {
  const peer = error.peer ?? '';
  unreachable.delete(peer);
  unreachable.set(peer, error);
  const latest = [...unreachable.values()].reverse();
  const title = latest.length === 1 ? 'A peer cannot be reached' : `${latest.length} peers cannot be reached`;
  const tables = latest.slice(0, NAMED).flatMap((each) => [
    latest.length > 1 && element('p', { class: 'notice-why' }, told(each)),
    candidateTable(each),
  ]).filter(Boolean);
  notify('unreachable', { title, text: latest.length === 1 ? told(error) : UNREACHABLE, tone: 'wait' }, {
    body: tables.length > 0 ? [element('details', { class: 'notice-details' }, element('summary', {}, 'What was tried'), ...tables)] : [],
  });
}

/**
 * What the engine says, with the peer called as it is called on this page.
 *
 * @param {{ message?: string, peer?: string }} error
 */
export function told({ message, peer }) {
  return peer ? (message ?? '').replaceAll(peer, `${nameOf(peer)} (${tail(peer)})`) : message ?? '';
}

/**
 * A link to the peer came about after all, or the peer has gone.
 *
 * @param {(peer: string) => boolean} isOver
 */
export function settleUnreachable(isOver) {
  for (const peer of unreachable.keys()) {
    if (isOver(peer)) unreachable.delete(peer);
  }
  if (unreachable.size === 0) unnotify('unreachable');
}

/**
 * The addresses that each side found, if it came to that.
 *
 * @param {Unreachable} error
 */
function candidateTable({ candidates, peer }) {
  if (!candidates) return null;
  const { local, remote } = candidates;
  if (CANDIDATES.every(([kind]) => local[kind] + remote[kind] === 0)) return null;
  return element('table', { class: 'candidates' },
    element('caption', {}, ...(peer ? peerLabel(peer) : ['Addresses found'])),
    element('thead', {}, element('tr', {}, element('td', {}), element('th', { scope: 'col' }, 'Here'), element('th', { scope: 'col' }, 'There'))),
    element('tbody', {}, ...CANDIDATES.map(([kind, words]) => element('tr', {},
      element('th', { scope: 'row' }, words), found(local[kind]), found(remote[kind])))));
}

/** @param {number} number */
function found(number) {
  return element('td', { data: { found: String(number > 0) } }, number > 0 ? `${number} found` : 'none');
}
