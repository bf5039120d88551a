/** What the peers that are here offer, merged by key, each with one button. */

import { colours, slotOf } from './colours.js';
import { byId, element, fill, fish, setText } from './element.js';
import { counted, shownName, tail } from './format.js';
import { copy, linkTo } from './copying.js';
import { matches, stateOf } from './entry.js';
import { KeyedList } from './list.js';
import { nextFrame } from './frame.js';
import { nameOf } from './names.js';
import { button, factsOf, label, peerLabel, tileOf, titleOf } from './parts.js';

/**
 * @typedef {import('./people.js').People} People
 * @typedef {import('./people.js').Offer} Offer
 * @typedef {import('./library.js').Library} Library
 */

/** From how many offers on a filter is offered. */
const FILTER_FROM = 8;

/** Holders whose marks are shown in a row. */
const MARKS = 4;

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' });

export class Offers {
  #people;
  #library;
  #list;
  #filter = '';
  /**
   * The peer whose offers alone are shown.
   *
   * @type {string | undefined}
   */
  #chosen;
  #onchoose;
  #peer;

  /**
   * @param {import('./shoal/index.js').Peer} peer
   * @param {People} people
   * @param {Library} library
   * @param {object} rules
   * @param {() => void} rules.onchoose is told when the choice was undone here
   */
  constructor(peer, people, library, { onchoose }) {
    this.#peer = peer;
    this.#people = people;
    this.#library = library;
    this.#onchoose = onchoose;
    this.#list = new KeyedList({
      list: byId('offers-rows'),
      more: byId('offers-more'),
      home: byId('offers-title'),
      make: (key) => this.#row(key),
    });
    byId('offers-filter').querySelector('input')?.addEventListener('input', ({ target }) => {
      this.#filter = /** @type {HTMLInputElement} */ (target).value.trim().toLowerCase();
      this.#arrange();
    });
    people.addEventListener('offers', () => nextFrame(this.#arrange));
    people.addEventListener('people', () => nextFrame(this.#arrange));
    peer.addEventListener('state', () => nextFrame(this.#arrange));
    library.addEventListener('change', () => this.#list.touchAll());
    colours.addEventListener('change', () => this.#list.touchAll());
    this.#arrange();
  }

  get chosen() {
    return this.#chosen;
  }

  /** @param {string | undefined} peer whose offers alone are to be shown */
  choose(peer) {
    this.#chosen = peer;
    this.#arrange();
  }

  #arrange = () => {
    const { offers, persons } = this.#people;
    if (this.#chosen !== undefined && !persons.has(this.#chosen)) this.#chosen = undefined;
    const chosen = this.#chosen;
    const shown = [...offers.values()]
      .filter(({ holders }) => chosen === undefined || holders.has(chosen))
      .filter(({ content }) => this.#filter === '' || matches(content, this.#filter))
      .map(({ content }) => ({ key: content.key, name: shownName(content.name) || '\uffff' }))
      .sort((a, b) => collator.compare(a.name, b.name) || (a.key < b.key ? -1 : 1));
    this.#list.setOrder(shown.map(({ key }) => key));
    this.#list.touchAll();
    setText(byId('offers-sum'), offers.size > 0 ? counted(offers.size, 'content') : '');
    byId('offers-filter').hidden = offers.size < FILTER_FROM && this.#filter === '';
    this.#drawChosen();
    this.#drawEmpty(shown.length);
  };

  #drawChosen() {
    const line = byId('chosen');
    const shown = this.#chosen ?? '';
    if ((line.dataset.peer ?? '') === shown) return;
    line.dataset.peer = shown;
    line.hidden = shown === '';
    fill(line, ...(shown === '' ? [] : [
      'Only what ', element('span', { class: 'peer-label' }, ...peerLabel(shown)), ' offers ',
      button('Show all', () => {
        this.choose(undefined);
        this.#onchoose();
        byId('offers-title').focus();
      }),
    ]));
  }

  /** @param {number} shown */
  #drawEmpty(shown) {
    const { offers, persons } = this.#people;
    const empty = byId('offers-empty');
    empty.hidden = shown > 0;
    let state = 'none';
    if (shown === 0) {
      if (persons.size === 0) state = ALONE[this.#peer.state];
      else if (offers.size === 0) state = 'nothing';
      else state = this.#filter === '' ? 'chosen' : 'filter';
    }
    if (empty.dataset.state === state) return;
    empty.dataset.state = state;
    fill(empty, ...EMPTY[state]());
  }

  /** @param {string} key */
  #row(key) {
    const name = element('h3', { class: 'name', dir: 'auto' });
    const facts = element('p', { class: 'facts' });
    const marks = element('span', { class: 'marks', 'aria-hidden': 'true' });
    const holders = element('span', {});
    const act = button('Fetch', () => this.#act(key), 'primary');
    const offer = /** @type {Offer} */ (this.#people.offers.get(key));
    const row = element('li', { class: 'row', tabIndex: -1 },
      tileOf(offer.content),
      name,
      element('div', { class: 'row-text' }, facts, element('p', { class: 'holders' }, marks, holders)),
      element('div', { class: 'actions' }, act));
    /** @type {import('./parts.js').Described | undefined} */
    let described;
    const update = () => {
      const now = this.#people.offers.get(key);
      if (!now) return;
      const title = titleOf(now.content);
      if (described !== now.content) {
        described = now.content;
        setText(name, title);
        name.title = title;
        fill(facts, ...factsOf(now.content));
      }
      drawHolders(now, marks, holders);
      const entry = this.#library.get(key);
      row.dataset.state = entry ? 'here' : 'offered';
      act.classList.toggle('primary', !entry);
      act.classList.toggle('quiet', Boolean(entry));
      label(act, actWords(entry), title);
    };
    return { element: row, update };
  }

  /** @param {string} key */
  #act(key) {
    if (this.#library.get(key)) this.#library.show(key);
    else this.#library.fetch(key);
  }
}

/**
 * What is here already is shown instead of fetched again.
 *
 * @param {import('./entry.js').Entry | undefined} entry
 */
function actWords(entry) {
  if (!entry) return 'Fetch';
  const state = stateOf(entry);
  if (state === 'held') return 'Held';
  return state === 'fetching' ? 'Fetching' : 'Show';
}

/**
 * @param {Offer} offer
 * @param {HTMLElement} marks
 * @param {HTMLElement} words
 */
function drawHolders({ holders, partial }, marks, words) {
  const [first] = holders;
  const who = holders.size === 1 ? `${nameOf(first)} \u2026${tail(first)}` : counted(holders.size, 'peer');
  const parts = partial.size === 0 ? '' : partial.size === holders.size ? ', in part' : `, ${partial.size} in part`;
  setText(words, `${who}${parts}`);
  const slots = [...holders].slice(0, MARKS).map((id) => slotOf(id)).join(' ');
  if (marks.dataset.slots === slots) return;
  marks.dataset.slots = slots;
  fill(marks, ...slots.split(' ').map((slot) => fish(slot)));
}

/**
 * Why nobody else is here.
 *
 * @type {Record<string, string>} by the peer's state; this page never closes it
 */
const ALONE = { connecting: 'connecting', online: 'alone', offline: 'offline' };

/** @type {Record<string, () => import('./element.js').Child[]>} */
const EMPTY = {
  none: () => [],
  connecting: () => [element('p', { class: 'empty-title' }, 'Looking who is here')],
  offline: () => [
    element('p', { class: 'empty-title' }, 'No peer is linked'),
    element('p', {}, 'Without the rendezvous nobody can be found. What is held here can still be saved.'),
  ],
  alone: () => [
    element('p', { class: 'empty-title' }, 'Nobody else is here yet'),
    element('p', {}, 'Open this page in another browser, or send somebody its address. Everyone on it sees what the others offer.'),
    button('Copy this page\u2019s address', () => copy(linkTo())),
  ],
  nothing: () => [
    element('p', { class: 'empty-title' }, 'Nothing is offered yet'),
    element('p', {}, 'When a peer that is here shares something, it shows up in this place.'),
  ],
  chosen: () => [element('p', { class: 'empty-title' }, 'No offers of this peer are known')],
  filter: () => [element('p', { class: 'empty-title' }, 'Nothing matches the filter')],
};
