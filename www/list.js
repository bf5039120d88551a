/**
 * A list with one row per id. Rows are made when they come into view of the list,
 * kept while they stay, moved when the order changes and updated only when touched,
 * all at most once a frame. It shows a page of rows at a time and offers the next.
 */

import { setText } from './element.js';
import { nextFrame } from './frame.js';
import { count } from './format.js';

/**
 * @typedef {object} Row
 * @property {HTMLElement} element
 * @property {() => void} update
 * @property {() => void} [dispose]
 */

/** Rows shown at first and added by "Show more": a few screens. A guess. */
const PAGE = 50;

export class KeyedList {
  /** @type {Map<string, Row>} */
  #rows = new Map();
  /** @type {string[]} */
  #order = [];
  /** @type {Set<string>} */
  #touched = new Set();
  #limit;
  #list;
  #more;
  #make;
  #home;

  /**
   * @param {object} parts
   * @param {HTMLElement} parts.list
   * @param {HTMLElement} parts.more   the button that shows more rows
   * @param {HTMLElement} parts.home   gets the focus when the focused row goes and none is left
   * @param {(id: string) => Row} parts.make
   * @param {number} [parts.first] rows shown before more are asked for
   */
  constructor({ list, more, home, make, first = PAGE }) {
    this.#list = list;
    this.#more = more;
    this.#home = home;
    this.#make = make;
    this.#limit = first;
    more.addEventListener('click', () => this.#showMore());
  }

  /**
   * @param {string[]} ids in the order they are to be shown
   */
  setOrder(ids) {
    this.#order = ids;
    nextFrame(this.#draw);
  }

  /**
   * Says that what a row shows has changed.
   *
   * @param {string} id
   */
  touch(id) {
    if (!this.#rows.has(id)) return;
    this.#touched.add(id);
    nextFrame(this.#draw);
  }

  touchAll() {
    for (const id of this.#rows.keys()) this.#touched.add(id);
    nextFrame(this.#draw);
  }

  /**
   * Brings a row into view and moves the focus to it.
   *
   * @param {string} id
   */
  show(id) {
    const place = this.#order.indexOf(id);
    if (place < 0) return;
    if (place >= this.#limit) this.#limit = place + 1;
    this.#draw();
    const row = this.#rows.get(id);
    row?.element.scrollIntoView({ block: 'nearest' });
    row?.element.focus({ preventScroll: true });
  }

  #showMore() {
    const first = this.#order[this.#limit];
    this.#limit += PAGE;
    this.#draw();
    this.#rows.get(first)?.element.focus();
  }

  #draw = () => {
    const focused = document.activeElement;
    const focusedPlace = [...this.#list.children].findIndex((child) => child.contains(focused));
    const shown = this.#order.slice(0, this.#limit);
    const wanted = new Set(shown);
    for (const [id, row] of this.#rows) {
      if (wanted.has(id)) continue;
      row.element.remove();
      row.dispose?.();
      this.#rows.delete(id);
    }
    let place = this.#list.firstElementChild;
    for (const id of shown) {
      let row = this.#rows.get(id);
      if (!row) {
        row = this.#make(id);
        this.#rows.set(id, row);
        this.#touched.add(id);
      }
      if (row.element === place) place = place.nextElementSibling;
      else this.#list.insertBefore(row.element, place);
    }
    for (const id of this.#touched) this.#rows.get(id)?.update();
    this.#touched.clear();
    this.#drawMore();
    this.#keepFocus(focused, focusedPlace);
  };

  #drawMore() {
    const left = this.#order.length - this.#limit;
    this.#more.hidden = left <= 0;
    if (left > 0) setText(this.#more, `Show ${count(Math.min(left, PAGE))} more of ${count(this.#order.length)}`);
  }

  /**
   * A row that moves loses the focus, and one that goes takes it along.
   *
   * @param {Element | null} focused
   * @param {number} place
   */
  #keepFocus(focused, place) {
    if (place < 0 || document.activeElement === focused) return;
    if (focused instanceof HTMLElement && focused.isConnected && !focused.closest('[hidden]')) {
      focused.focus({ preventScroll: true });
      return;
    }
    const next = this.#list.children[Math.min(place, this.#list.children.length - 1)];
    (next instanceof HTMLElement ? next : this.#home).focus({ preventScroll: true });
  }
}
