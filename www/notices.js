/** What a person should know beyond a single content: on top of the page until it is over. */

import { announce } from './announcer.js';
import { byId, element, fill } from './element.js';
import { tail } from './format.js';
import { nameOf } from './names.js';
import { button, peerLabel } from './parts.js';
import { CANDIDATES, diagnosis, UNREACHABLE } from './words.js';

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
  const title = latest.length === 1
    ? `No connection to ${peer ? `${nameOf(peer)} \u2026${tail(peer)}` : 'a peer'}`
    : `No connection to ${latest.length} peers`;
  const known = latest.filter(({ candidates }) => candidates).slice(0, NAMED);
  notify('unreachable', { title, text: latest.length === 1 ? whyOf(error) : UNREACHABLE, tone: 'wait' }, {
    body: known.length > 0 ? [element('details', { class: 'notice-details' },
      element('summary', {}, 'What was tried'),
      ...known.flatMap((each) => [
        candidateTable(/** @type {NonNullable<Unreachable['candidates']>} */ (each.candidates), each.peer),
        latest.length > 1 && element('p', { class: 'notice-why' }, whyOf(each)),
      ]))] : [],
  });
}

/** @param {Unreachable} error */
function whyOf({ candidates, message }) {
  return candidates ? diagnosis(candidates) : message ?? '';
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
 * @param {NonNullable<Unreachable['candidates']>} candidates
 * @param {string} [peer]
 */
function candidateTable({ local, remote }, peer) {
  const table = element('table', { class: 'candidates' },
    element('caption', {}, ...(peer ? peerLabel(peer) : ['Addresses found'])),
    element('thead', {}, element('tr', {}, element('td', {}), element('th', { scope: 'col' }, 'Here'), element('th', { scope: 'col' }, 'There'))));
  const body = element('tbody');
  for (const [kind, words] of CANDIDATES) {
    body.append(element('tr', {}, element('th', { scope: 'row' }, words), found(local[kind]), found(remote[kind])));
  }
  table.append(body);
  return table;
}

/** @param {number} number */
function found(number) {
  const cell = element('td', { data: { found: String(number > 0) } });
  fill(cell, number > 0 ? `${number} found` : 'none');
  return cell;
}
