/**
 * What is held here and on its way: contents of the store, publications and fetches,
 * each an entry with a row of its own.
 */

import { announce } from './announcer.js';
import { byId, element, fill, setText } from './element.js';
import { matches, stateOf } from './entry.js';
import { Fetching } from './fetching.js';
import { bytes, counted } from './format.js';
import { nextFrame } from './frame.js';
import { HeldRow } from './heldrow.js';
import { KeyedList } from './list.js';
import { titleOf } from './parts.js';
import { PublishQueue } from './publishing.js';
import { showInTitle } from './title.js';
import { failureWords, nothingHeldWords } from './words.js';

/**
 * @typedef {import('./shoal/index.js').Peer} Peer
 * @typedef {import('./shoal/index.js').Content} Content
 * @typedef {import('./publishing.js').Publishing} Publishing
 * @typedef {import('./entry.js').Entry} Entry
 */

/** From how many entries on a filter is offered. */
const FILTER_FROM = 8;

/** Entries shown at first on a narrow screen, where the offers stand below them. */
const FIRST_IF_NARROW = 8;

/** Fetches whose chunks are shown unasked; further ones open on request. */
const OPEN_AT_ONCE = 3;

/** Events: `change` when an entry came, went, or changed its state. */
export class Library extends EventTarget {
  /** Whether contents have addresses, at which they are shown and downloaded. */
  hasAddresses = false;
  /** @type {Map<string, Entry>} newest last */
  #entries = new Map();
  /** @type {Set<Fetching>} */
  #running = new Set();
  #filter = '';
  #publications = 0;
  #peer;
  #people;
  #queue;
  #list;

  /**
   * @param {Peer} peer
   * @param {import('./people.js').People} people
   * @param {() => boolean} isOffline
   */
  constructor(peer, people, isOffline) {
    super();
    this.#peer = peer;
    this.#people = people;
    this.#queue = new PublishQueue(peer);
    this.#list = new KeyedList({
      list: byId('held-rows'),
      more: byId('held-more'),
      home: byId('held-title'),
      first: matchMedia('(min-width: 60rem)').matches ? undefined : FIRST_IF_NARROW,
      make: (id) => new HeldRow(id, {
        peer,
        library: this,
        around: (key) => ({ others: people.persons.size, holders: people.holders(key), offline: isOffline() }),
      }),
    });
    byId('held-filter').querySelector('input')?.addEventListener('input', ({ target }) => {
      this.#filter = /** @type {HTMLInputElement} */ (target).value.trim().toLowerCase();
      this.#arrange();
    });
    peer.addEventListener('content', ({ detail }) => this.#noteContent(detail));
    peer.addEventListener('transfer', ({ detail }) => this.fetch(detail.transfer.content.key, detail.transfer));
    people.addEventListener('people', () => this.#touchWaiting());
    people.addEventListener('offers', () => this.#touchWaiting());
    peer.addEventListener('state', () => this.#touchWaiting());
    peer.addEventListener('error', ({ detail }) => {
      if (detail.code === 'store-failed') this.#dropGone();
    });
  }

  /** Contents can be shown from now on. */
  giveAddresses() {
    this.hasAddresses = true;
    this.#list.touchAll();
  }

  async load() {
    for (const content of await this.#peer.contents()) this.#add(content.key, content, content.held);
    this.#arrange();
  }

  /** @param {string} key */
  get(key) {
    return this.#entries.get(key);
  }

  /** @param {string} id */
  show(id) {
    this.#filter = '';
    const input = byId('held-filter').querySelector('input');
    if (input) input.value = '';
    this.#arrange();
    this.#list.show(id);
  }

  /** @param {File[]} files */
  publish(files) {
    for (const file of files) {
      const id = `publication-${this.#publications += 1}`;
      const entry = this.#add(id, { name: file.name, size: file.size, type: file.type }, 0);
      this.#publish(entry, file);
    }
    this.#arrange();
  }

  /**
   * Starts a fetch, or goes on with one.
   *
   * @param {string} key
   * @param {import('./shoal/index.js').Transfer} [transfer] of one that is under way
   */
  fetch(key, transfer) {
    const known = this.#entries.get(key);
    if (known && ['held', 'fetching'].includes(stateOf(known))) return;
    const entry = known ?? this.#add(key, this.#people.offers.get(key)?.content ?? { key }, 0);
    const fetching = new Fetching(this.#peer, key, transfer);
    entry.fetching = fetching;
    this.#running.add(fetching);
    entry.open = [...this.#entries.values()].filter(({ open }) => open).length < OPEN_AT_ONCE;
    fetching.addEventListener('change', () => {
      if (entry.fetching !== fetching) return;
      entry.held = fetching.progress.held;
      if (fetching.content) entry.content = fetching.content;
      this.#list.touch(key);
      nextFrame(this.#sumUp);
      showInTitle(this.#running);
    });
    fetching.addEventListener('end', () => {
      this.#running.delete(fetching);
      showInTitle(this.#running);
      if (entry.fetching === fetching) this.#fetched(entry, fetching);
    });
    this.#arrange();
  }

  /**
   * Tries a failed publication or fetch again.
   *
   * @param {Entry} entry
   */
  retry(entry) {
    if (entry.publishing) this.#publish(entry, entry.publishing.file);
    else this.fetch(entry.id);
    this.#list.touch(entry.id);
  }

  /**
   * Takes an entry off the list, with what is held of it.
   *
   * @param {Entry} entry
   */
  async remove(entry) {
    const isInStore = ['held', 'partial'].includes(stateOf(entry));
    entry.fetching?.stop();
    entry.publishing?.stop();
    if (isInStore) await this.#peer.remove(entry.id);
    this.#drop(entry);
  }

  /** @param {Entry} entry */
  touch(entry) {
    this.#list.touch(entry.id);
  }

  /**
   * @param {Entry} entry
   * @param {File} file
   */
  #publish(entry, file) {
    const publishing = this.#queue.add(file);
    entry.publishing = publishing;
    publishing.addEventListener('change', () => this.#list.touch(entry.id));
    publishing.addEventListener('end', () => this.#published(entry, publishing));
  }

  /**
   * @param {Entry} entry
   * @param {Publishing} publishing
   */
  #published(entry, { content, error, stopped }) {
    if (content) {
      this.#entries.delete(entry.id);
      this.#add(content.key, content, content.size);
      announce(`${titleOf(content)} is shared.`);
    } else if (stopped) {
      this.#entries.delete(entry.id);
    } else if (error) {
      announce(`${titleOf(entry.content)}: ${failureWords('publish', error).title}.`);
    }
    this.#list.touch(entry.id);
    this.#arrange();
  }

  /**
   * @param {Entry} entry
   * @param {Fetching} fetching
   */
  #fetched(entry, { content, error, stopped, progress }) {
    if (progress.state === 'done' && content) {
      entry.held = content.size;
      announce(`${titleOf(entry.content)} is here.`);
    } else if (stopped) {
      entry.fetching = undefined;
      if (entry.held === 0) this.#entries.delete(entry.id);
    } else if (error) {
      announce(`${titleOf(entry.content)}: ${failureWords('fetch', error).title}.`);
    }
    this.#list.touch(entry.id);
    this.#arrange();
  }

  /** @param {{ content: Content, removed?: boolean }} change */
  #noteContent({ content, removed }) {
    const entry = this.#entries.get(content.key);
    if (removed) {
      if (entry) this.#drop(entry);
    } else if (!entry) {
      this.#add(content.key, content, content.held);
    } else if (!entry.fetching || entry.fetching.progress.state === 'done') {
      entry.content = content;
      entry.held = content.held;
      this.#list.touch(entry.id);
    }
    this.#arrange();
  }

  /**
   * Adds an entry at the top, or brings the one with this id up there.
   *
   * @param {string} id
   * @param {import('./parts.js').Described} content
   * @param {number} held
   * @returns {Entry}
   */
  #add(id, content, held) {
    const entry = this.#entries.get(id) ?? { id, content, held, open: false };
    Object.assign(entry, { content, held });
    this.#entries.delete(id);
    this.#entries.set(id, entry);
    return entry;
  }

  /** @param {Entry} entry */
  #drop(entry) {
    if (this.#entries.get(entry.id) === entry) this.#entries.delete(entry.id);
    this.#arrange();
  }

  /** The data of the site may have been cleared: drops what is no longer held or on its way. */
  async #dropGone() {
    const held = new Set((await this.#peer.contents()).map(({ key }) => key));
    for (const entry of [...this.#entries.values()]) {
      if (!held.has(entry.id) && ['held', 'partial'].includes(stateOf(entry))) this.#drop(entry);
    }
  }

  /** Who is here and what they offer explains fetches that wait, and names their content. */
  #touchWaiting() {
    for (const entry of this.#entries.values()) {
      if (!entry.fetching || entry.fetching.progress.state === 'done') continue;
      const offer = this.#people.offers.get(entry.id);
      if (offer && entry.content.size === undefined) entry.content = offer.content;
      this.#list.touch(entry.id);
    }
  }

  #sumUp = () => {
    const entries = [...this.#entries.values()];
    const held = entries.reduce((sum, entry) => sum + entry.held, 0);
    setText(byId('held-sum'), entries.length > 0 ? `${counted(entries.length, 'content')}, ${bytes(held)}` : '');
    this.dispatchEvent(new Event('sum'));
  };

  #arrange() {
    const entries = [...this.#entries.values()].reverse();
    const shown = this.#filter === '' ? entries : entries.filter(({ content }) => matches(content, this.#filter));
    this.#list.setOrder(shown.map(({ id }) => id));
    this.#sumUp();
    byId('held-filter').hidden = entries.length < FILTER_FROM && this.#filter === '';
    const empty = byId('held-empty');
    empty.hidden = shown.length > 0;
    if (entries.length === 0) {
      const { title, text } = nothingHeldWords(isSecureContext);
      fill(empty, element('p', { class: 'empty-title' }, title), element('p', {}, text));
    } else if (shown.length === 0) {
      fill(empty, element('p', { class: 'empty-title' }, 'Nothing matches the filter'));
    }
    this.dispatchEvent(new Event('change'));
  }
}
