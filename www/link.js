/** A link that was opened: what it leads to, and the offer to fetch it. */

import { keyInAddress, privatePart } from './copying.js';
import { byId, element, fill, setText } from './element.js';
import { stateOf } from './entry.js';
import { counted, isKey, shownName } from './format.js';
import { nextFrame } from './frame.js';
import { button, factsOf, titleOf } from './parts.js';
import { fetchedWords } from './words.js';

export class LinkPanel {
  #people;
  #library;
  #namespace;
  #panel = byId('link');
  #key = '';
  /** @type {import('./parts.js').Described | undefined} */
  #described;
  #title = element('h2', { id: 'link-title', tabIndex: -1 });
  #name = element('p', { class: 'link-name', dir: 'auto' });
  #facts = element('p', { class: 'facts' });
  #words = element('p', { class: 'link-words' });
  #fetch = button('Fetch', () => this.#onFetch(), 'primary');
  #dismiss = button('Dismiss', () => this.#forget(), 'quiet');

  /**
   * @param {object} site
   * @param {import('./people.js').People} site.people
   * @param {import('./library.js').Library} site.library
   * @param {string} site.namespace
   */
  constructor({ people, library, namespace }) {
    this.#people = people;
    this.#library = library;
    this.#namespace = namespace;
    fill(this.#panel,
      element('div', { class: 'link-text' }, this.#title, this.#name, this.#facts, this.#words),
      element('div', { class: 'actions' }, this.#fetch, this.#dismiss));
    people.addEventListener('offers', () => nextFrame(this.#draw));
    people.addEventListener('people', () => nextFrame(this.#draw));
    library.addEventListener('change', () => nextFrame(this.#draw));
    addEventListener('hashchange', () => this.open());
    this.open();
  }

  /** Takes up the key in the page's address. */
  open() {
    this.#key = keyInAddress();
    this.#draw();
    if (this.#panel.hidden) {
      if (this.#library.get(this.#key)) this.#library.show(this.#key);
    } else {
      this.#title.focus();
    }
  }

  #draw = () => {
    const key = this.#key;
    const entry = this.#library.get(key);
    // An entry on its way speaks for itself in its row.
    this.#panel.hidden = key === '' || (entry !== undefined && stateOf(entry) !== 'held');
    if (this.#panel.hidden) return;
    if (!isKey(key)) {
      this.#panel.dataset.state = 'invalid';
      this.#show('This link leads nowhere', undefined,
        'What follows the # in the address is not a content key. It may have been cut off on its way: ask for the link again.');
    } else if (entry) {
      this.#panel.dataset.state = 'held';
      this.#show('You hold what this link leads to', entry.content, 'It is in the list below, and offered from here to others.');
    } else {
      const offer = this.#people.offers.get(key);
      this.#panel.dataset.state = offer ? 'offered' : 'searching';
      this.#show('A link to content', offer?.content ?? { key }, this.#offerWords(offer?.holders.size ?? 0));
    }
  };

  /**
   * @param {string} title
   * @param {import('./parts.js').Described | undefined} content
   * @param {string} words
   */
  #show(title, content, words) {
    const offered = this.#panel.dataset.state === 'offered' || this.#panel.dataset.state === 'searching';
    setText(this.#title, title);
    this.#name.hidden = !content;
    this.#facts.hidden = !content;
    if (content && content !== this.#described) {
      setText(this.#name, titleOf(content));
      fill(this.#facts, ...factsOf(content));
    }
    this.#described = content;
    setText(this.#words, words);
    this.#fetch.hidden = !offered;
  }

  /** @param {number} holders */
  #offerWords(holders) {
    const shared = fetchedWords(shownName(this.#namespace), isSecureContext);
    if (holders > 0) return `${counted(holders, 'peer here offers', 'peers here offer')} it. ${shared}`;
    return `No peer here offers it at the moment. Fetch it and it arrives as soon as one does. ${shared}`;
  }

  #onFetch() {
    this.#library.fetch(this.#key);
    this.#draw();
    this.#library.show(this.#key);
  }

  #forget() {
    this.#key = '';
    const part = privatePart();
    history.replaceState(null, '', location.pathname + location.search + (part && `#${part}`));
    this.#draw();
    byId('held-title').focus();
  }
}
