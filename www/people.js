/**
 * Who else is here and what they offer: the peers of the namespace, their catalogs, and
 * the offers merged by key. Knows nothing of the page.
 */

/**
 * @typedef {import('./shoal/index.js').Peer} Peer
 * @typedef {import('./shoal/index.js').Content} Content
 * @typedef {import('./shoal/index.js').ShoalError} ShoalError
 *
 * @typedef {object} Person
 * @property {string} id
 * @property {boolean} linked
 * @property {number} [rtt] in milliseconds
 * @property {Content[]} [catalog]
 * @property {ShoalError} [failure] why no connection came about
 *
 * @typedef {object} Offer
 * @property {Content} content       as the first holder describes it
 * @property {Set<string>} holders
 * @property {Set<string>} partial   those of the holders that hold a part
 */

/** Catalogs asked for at the same time. A guess: enough to fill a page quickly. */
const CATALOGS_AT_ONCE = 6;

/** How often the links' state is asked for, in milliseconds: nothing announces it. */
const LINKS_EVERY = 4000;

/**
 * Events: `people` when the peers or their links changed, `offers` when the offers did.
 */
export class People extends EventTarget {
  /** @type {Map<string, Person>} */
  persons = new Map();
  /** @type {Map<string, Offer>} */
  offers = new Map();
  #peer;
  /** @type {Set<string>} */
  #toAsk = new Set();
  #asking = 0;

  /** @param {Peer} peer */
  constructor(peer) {
    super();
    this.#peer = peer;
    peer.addEventListener('peer-join', ({ detail }) => this.#join(detail.peer));
    peer.addEventListener('peer-leave', ({ detail }) => this.#leave(detail.peer));
    peer.addEventListener('catalog', ({ detail }) => {
      this.#join(detail.peer);
      this.#ask(detail.peer);
    });
    setInterval(() => {
      if (!document.hidden) this.refresh();
    }, LINKS_EVERY);
  }

  /** Asks the peer who is here and which of them are linked. */
  async refresh() {
    const listed = await this.#peer.peers();
    const ids = new Set(listed.map(({ id }) => id));
    for (const id of [...this.persons.keys()]) {
      if (!ids.has(id)) this.#leave(id);
    }
    for (const { id, linked, rtt } of listed) {
      this.#join(id);
      const person = /** @type {Person} */ (this.persons.get(id));
      Object.assign(person, { linked, rtt });
      if (linked) delete person.failure;
    }
    this.#say('people');
  }

  /** @param {string} key */
  holders(key) {
    return this.offers.get(key)?.holders.size ?? 0;
  }

  /**
   * @param {string} id
   * @param {ShoalError} failure
   */
  unreachable(id, failure) {
    const person = this.persons.get(id);
    if (!person) return;
    person.failure = failure;
    person.linked = false;
    this.#say('people');
  }

  /** @param {string} id */
  #join(id) {
    if (this.persons.has(id)) return;
    this.persons.set(id, { id, linked: false });
    this.#ask(id);
    this.#say('people');
  }

  /** @param {string} id */
  #leave(id) {
    const person = this.persons.get(id);
    if (!person) return;
    this.#withdraw(person);
    this.persons.delete(id);
    this.#toAsk.delete(id);
    this.#say('people');
    this.#say('offers');
  }

  /** @param {string} id */
  #ask(id) {
    this.#toAsk.add(id);
    while (this.#asking < CATALOGS_AT_ONCE && this.#toAsk.size > 0) {
      const [next] = this.#toAsk;
      this.#toAsk.delete(next);
      this.#asking += 1;
      this.#askNow(next).finally(() => {
        this.#asking -= 1;
        const [another] = this.#toAsk;
        if (another !== undefined) this.#ask(another);
      });
    }
  }

  /** @param {string} id */
  async #askNow(id) {
    let catalog;
    try {
      catalog = await this.#peer.catalog(id);
    } catch {
      // The peer says so by itself when there is a new catalog to ask for.
      return;
    }
    const person = this.persons.get(id);
    if (!person) return;
    this.#withdraw(person);
    person.catalog = catalog;
    for (const content of catalog) this.#offer(content, id);
    this.#say('people');
    this.#say('offers');
  }

  /**
   * @param {Content} content
   * @param {string} holder
   */
  #offer(content, holder) {
    let offer = this.offers.get(content.key);
    if (!offer) {
      offer = { content, holders: new Set(), partial: new Set() };
      this.offers.set(content.key, offer);
    }
    offer.holders.add(holder);
    if (content.held < content.size) offer.partial.add(holder);
  }

  /** @param {Person} person */
  #withdraw({ id, catalog }) {
    for (const { key } of catalog ?? []) {
      const offer = this.offers.get(key);
      if (!offer) continue;
      offer.holders.delete(id);
      offer.partial.delete(id);
      if (offer.holders.size === 0) this.offers.delete(key);
    }
  }

  /** @param {'people' | 'offers'} what */
  #say(what) {
    this.dispatchEvent(new Event(what));
  }
}
