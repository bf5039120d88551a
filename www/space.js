/** How much of the browser's storage is used, what it may be, and what a person can do about it. */

import { announce } from './announcer.js';
import { ask } from './dialog.js';
import { byId, element, fill, setText } from './element.js';
import { bytes, percent } from './format.js';
import { notify } from './notices.js';
import { button } from './parts.js';
import { clearWords, keepWords, reason, spaceWords } from './words.js';

/** How often it is drawn anew while something arrives, in milliseconds. */
const PAUSE = 1000;

export class Space {
  #peer;
  #words = element('p', { class: 'space-words' });
  #kept = element('p', { class: 'space-kept' });
  #meter = element('div', { class: 'bar', role: 'meter', 'aria-label': 'Space used by contents', 'aria-valuemin': '0', 'aria-valuemax': '100' },
    element('div', { class: 'bar-fill' }));
  #keep = button('Ask to keep it', () => this.#onKeep());
  #clear = button('Clear', () => this.#onClear(), 'quiet');
  #isAsking = false;
  #isOld = false;
  #wasRefused = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {import('./shoal/index.js').Peer} peer */
  constructor(peer) {
    this.#peer = peer;
    this.#clear.setAttribute('aria-label', 'Clear what is not pinned');
    this.#keep.setAttribute('aria-label', 'Ask to keep it also when the disk is full');
    fill(byId('space'), this.#words, this.#meter, this.#kept, element('div', { class: 'actions' }, this.#keep, this.#clear));
    peer.storage.addEventListener('change', () => this.update());
    peer.addEventListener('content', () => this.update());
  }

  /** Something arrives: asks for the numbers before long. */
  touch() {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.update();
    }, PAUSE);
  }

  /** Asks for the numbers, once more if something changed while they were asked for. */
  async update() {
    this.#isOld = true;
    if (this.#isAsking) return;
    this.#isAsking = true;
    try {
      while (this.#isOld) {
        this.#isOld = false;
        this.#draw(await this.#peer.storage.estimate());
      }
    } catch {
      // The peer was closed; there is nothing to show any more.
    } finally {
      this.#isAsking = false;
    }
  }

  /** @param {import('./shoal/index.js').StorageEstimate} estimate */
  #draw(estimate) {
    const { held, limit, quota, persisted } = estimate;
    const words = spaceWords(estimate);
    setText(this.#words, words);
    const full = Math.min(100, percent(held, limit));
    this.#meter.setAttribute('aria-valuenow', String(full));
    this.#meter.setAttribute('aria-valuetext', words);
    const fillOf = /** @type {HTMLElement} */ (this.#meter.firstElementChild);
    fillOf.style.transform = `scaleX(${Math.min(1, held / limit)})`;
    byId('space').dataset.tone = held > limit * 0.9 ? 'wait' : 'calm';
    // Where the browser keeps nothing, a notice says so.
    this.#keep.hidden = persisted || this.#wasRefused || quota === undefined;
    setText(this.#kept, quota === undefined ? '' : keepWords(persisted, this.#wasRefused));
    byId('space').hidden = false;
  }

  async #onKeep() {
    const isKept = await this.#peer.storage.persist();
    this.#wasRefused = !isKept;
    announce(keepWords(isKept, !isKept));
    await this.update();
    byId('held-title').focus({ preventScroll: true });
  }

  async #onClear() {
    const { title, text } = clearWords();
    if (!await ask({ title, body: [element('p', {}, text)], yes: 'Clear', no: 'Keep', grave: true })) return;
    try {
      const { held } = await this.#peer.storage.estimate();
      await this.#peer.storage.clear();
      const after = await this.#peer.storage.estimate();
      announce(`${bytes(Math.max(0, held - after.held))} were freed.`);
    } catch (error) {
      notify('clear', { title: 'Not cleared', text: reason(/** @type {Error} */ (error)), tone: 'wait' });
    }
    await this.update();
  }
}
