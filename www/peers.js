/** The peers that are here: one row each, which shows its link and picks its offers. */

import { colours, slotOf } from './colours.js';
import { byId, element, fish, setText } from './element.js';
import { counted, tail } from './format.js';
import { nextFrame } from './frame.js';
import { KeyedList } from './list.js';
import { nameOf } from './names.js';

/** Peers shown at first: the offers below are what most people look for. */
const FIRST = 6;

export class Peers {
  #people;
  #offers;
  #list;

  /**
   * @param {import('./people.js').People} people
   * @param {import('./offers.js').Offers} offers
   */
  constructor(people, offers) {
    this.#people = people;
    this.#offers = offers;
    this.#list = new KeyedList({
      list: byId('peer-rows'),
      more: byId('peers-more'),
      home: byId('peers-summary'),
      first: FIRST,
      make: (id) => this.#row(id),
    });
    people.addEventListener('people', () => nextFrame(this.#arrange));
    people.addEventListener('offers', () => this.#list.touchAll());
    colours.addEventListener('change', () => this.#list.touchAll());
  }

  /** Draws all rows anew, for a choice made elsewhere. */
  touchAll() {
    this.#list.touchAll();
  }

  #arrange = () => {
    const persons = [...this.#people.persons.values()];
    const linked = persons.filter((person) => person.linked).length;
    byId('peers').hidden = persons.length === 0;
    setText(byId('peers-summary'), `${counted(persons.length, 'peer')} here, ${linked} linked`);
    this.#list.setOrder(persons.map(({ id }) => id));
    this.#list.touchAll();
  };

  /** @param {string} id */
  #row(id) {
    const mark = fish();
    const words = element('span', { class: 'peer-words' });
    const choose = element('button', {
      type: 'button',
      class: 'peer',
      onclick: () => {
        this.#offers.choose(this.#offers.chosen === id ? undefined : id);
        this.touchAll();
      },
    },
    mark,
    element('span', { class: 'peer-label' },
      element('span', { class: 'peer-name' }, nameOf(id)), ' ',
      element('code', { class: 'peer-tail', title: id }, `\u2026${tail(id)}`)),
    words);
    const update = () => {
      const person = this.#people.persons.get(id);
      if (!person) return;
      mark.dataset.slot = slotOf(id);
      choose.dataset.link = linkOf(person);
      choose.setAttribute('aria-pressed', String(this.#offers.chosen === id));
      // The engine answers with nothing where a catalog is empty, and where it has not come.
      const offered = person.catalog?.length ? counted(person.catalog.length, 'content') : 'no offers known yet';
      setText(words, `${linkWords(person)} \u00b7 ${offered}`);
    };
    return { element: element('li', {}, choose), update };
  }
}

/** @param {import('./people.js').Person} person */
function linkOf({ linked, failure }) {
  if (linked) return 'linked';
  return failure ? 'failed' : 'none';
}

/** @param {import('./people.js').Person} person */
function linkWords({ linked, rtt, failure }) {
  if (linked) return rtt === undefined ? 'linked' : `linked, ${Math.max(1, Math.round(rtt))} ms`;
  return failure ? 'no connection' : 'not linked';
}
