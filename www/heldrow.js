/** The row of an entry of the library, in every state it can be in. */

import { announce } from './announcer.js';
import { copy, linkTo } from './copying.js';
import { EARLIER, OTHER, slotOf } from './colours.js';
import { ask } from './dialog.js';
import { element, fill, fish, setText } from './element.js';
import { stateOf } from './entry.js';
import { bytes, count, counted, percent, rate, tile, timeLeft } from './format.js';
import { nameOf } from './names.js';
import { notify } from './notices.js';
import { button, factsOf, label, titleOf } from './parts.js';
import { PieceMap } from './piecemap.js';
import { save } from './saving.js';
import { endViewer, kindOf, SHOW, viewer } from './viewer.js';
import { failureWords, fetchWords, pinWords, reason, removeWords, savedWords } from './words.js';

/**
 * @typedef {import('./entry.js').Entry} Entry
 * @typedef {import('./entry.js').State} State
 * @typedef {import('./words.js').Words} Words
 *
 * @typedef {object} Help
 * @property {import('./shoal/index.js').Peer} peer
 * @property {import('./library.js').Library} library
 * @property {(key: string) => import('./words.js').Surroundings} around
 */

/** How long a button says what it has done, in milliseconds. */
const SAID = 2000;

export class HeldRow {
  #id;
  #help;
  /** @type {import('./parts.js').Described | undefined} */
  #described;
  /** @type {PieceMap | undefined} */
  #map;
  /** @type {import('./chunks.js').ChunkSources | undefined} */
  #mapped;

  #letters = element('span', { class: 'tile-letters' });
  #level = element('span', { class: 'tile-level' });
  #name = element('h3', { class: 'name', dir: 'auto' });
  #facts = element('p', { class: 'facts' });
  #words = element('p', { class: 'words' });
  #title = element('strong', {});
  #text = element('span', {});
  #bar = element('div', { class: 'bar', role: 'progressbar', 'aria-valuemin': '0', 'aria-valuemax': '100' },
    element('div', { class: 'bar-fill' }));
  #numbers = element('p', { class: 'numbers' });
  #progress = element('div', { class: 'progress' }, this.#bar, this.#numbers);
  #legend = element('ul', { class: 'legend', role: 'list', 'aria-label': 'Where its chunks came from' });
  #chunks = element('details', { class: 'chunks' }, element('summary', {}), this.#legend);
  #arrival = element('div', { class: 'arrival' }, this.#progress, this.#chunks);

  #view = button('View', () => this.#onView());
  /** @type {HTMLElement | undefined} */
  #viewer;
  /** Whether the browser could not show it. */
  #cannotShow = false;
  #save = button('Save', () => this.#onSave());
  #goOn = button('Go on', () => this.#onGoOn(), 'primary');
  #pause = button('Pause', () => this.#entry.fetching?.pause());
  #retry = button('Try again', () => this.#help.library.retry(this.#entry), 'primary');
  #link = button('Copy link', () => this.#onLink());
  #pin = button('Pin', () => this.#onPin());
  #stop = button('Stop', () => this.#onStop());
  #remove = button('Remove', () => this.#onRemove(), 'quiet');

  /**
   * @param {string} id
   * @param {Help} help
   */
  constructor(id, help) {
    this.#id = id;
    this.#help = help;
    this.#words.append(this.#title, ' ', this.#text);
    this.#chunks.addEventListener('toggle', () => {
      this.#entry.open = this.#chunks.open;
      this.#drawChunks();
    });
    this.element = element('li', { class: 'row', tabIndex: -1 },
      element('span', { class: 'tile', 'aria-hidden': 'true' }, this.#level, this.#letters),
      this.#name,
      element('div', { class: 'row-text' }, this.#facts),
      this.#words,
      element('div', { class: 'actions' }, this.#view, this.#save, this.#goOn, this.#retry, this.#link, this.#pin, this.#pause, this.#stop, this.#remove),
      this.#arrival);
  }

  dispose() {
    this.#map?.dispose();
    endViewer(this.#viewer);
  }

  get #entry() {
    return /** @type {Entry} */ (this.#help.library.get(this.#id));
  }

  update() {
    if (!this.#entry) return;
    const { content, publishing, fetching } = this.#entry;
    const title = titleOf(content);
    if (this.#described !== content) {
      this.#described = content;
      setText(this.#name, title);
      this.#name.title = title;
      setText(this.#letters, tile(content));
      const facts = factsOf(content);
      if (content.pinned) facts.splice(1, 0, element('span', { class: 'fact-pinned' }, 'Pinned'));
      fill(this.#facts, ...facts);
    }
    const state = stateOf(this.#entry);
    const words = this.#wordsOf(state);
    this.element.dataset.state = state;
    this.element.dataset.tone = words.tone;
    setText(this.#title, words.title);
    setText(this.#text, words.text ?? '');
    this.#words.hidden = state === 'held' && !fetching;

    const held = publishing ? publishing.held : this.#entry.held;
    this.#level.style.transform = `scaleY(${state === 'held' ? 1 : part(held, content.size)})`;
    this.#drawProgress(state, held, title);
    this.#drawChunks();
    this.#drawActions(state, title);
  }

  /**
   * @param {State} state
   * @returns {Words}
   */
  #wordsOf(state) {
    const { id, held, content, publishing, fetching } = this.#entry;
    if (publishing?.error) return failureWords('publish', publishing.error);
    if (fetching?.error) return failureWords('fetch', fetching.error);
    if (state === 'queued') return { title: 'Waiting its turn', tone: 'busy' };
    if (state === 'publishing') return { title: 'Reading and hashing', tone: 'busy' };
    if (fetching) return fetchWords(fetching.progress, this.#help.around(id));
    if (state === 'partial') {
      return { title: 'A part is held here', text: `${bytes(held)} of ${bytes(content.size ?? 0)}, shared with others as it is.`, tone: 'calm' };
    }
    return { title: 'Held here', tone: 'done' };
  }

  /**
   * @param {State} state
   * @param {number} held
   * @param {string} title
   */
  #drawProgress(state, held, title) {
    const { content: { size }, fetching } = this.#entry;
    const moving = state === 'publishing' || state === 'fetching';
    const hasBegun = held > 0 || state === 'publishing' || fetching?.progress.state === 'fetching';
    this.#progress.hidden = !moving || !hasBegun || size === undefined;
    this.#arrival.hidden = this.#progress.hidden && !fetching?.chunks;
    if (this.#progress.hidden || size === undefined) return;
    const done = percent(held, size);
    this.#bar.setAttribute('aria-valuenow', String(done));
    this.#bar.setAttribute('aria-label', `${state === 'publishing' ? 'Hashing' : 'Fetching'} ${title}`);
    const bar = /** @type {HTMLElement} */ (this.#bar.firstElementChild);
    bar.style.transform = `scaleX(${part(held, size)})`;
    const numbers = [`${done} %`, `${bytes(held)} of ${bytes(size)}`];
    if (fetching && fetching.progress.state === 'fetching') {
      numbers.push(rate(fetching.progress.rate));
      if (fetching.progress.secondsLeft !== undefined) numbers.push(timeLeft(fetching.progress.secondsLeft));
    }
    drawNumbers(this.#numbers, numbers);
  }

  #drawChunks() {
    const { fetching, open } = this.#entry;
    const chunks = fetching?.chunks;
    this.#chunks.hidden = !chunks;
    if (!fetching || !chunks) return;
    if (this.#mapped !== chunks) {
      this.#map?.dispose();
      this.#map?.canvas.remove();
      this.#map = new PieceMap(chunks);
      this.#mapped = chunks;
      this.#legend.before(this.#map.canvas);
      this.#chunks.open = open;
    }
    const summary = /** @type {HTMLElement} */ (this.#chunks.firstElementChild);
    setText(summary, `${count(chunks.held)} of ${counted(chunks.owners.length, 'chunk')}`);
    if (!this.#chunks.open) return;
    this.#map?.draw();
    this.#map?.describe(`Chunk map: ${summary.textContent} held, in the colours of the list that follows`);
    this.#drawLegend(chunks, fetching.progress);
  }

  /**
   * @param {import('./chunks.js').ChunkSources} chunks
   * @param {import('./shoal/index.js').Progress} progress
   */
  #drawLegend(chunks, progress) {
    const rates = new Map(progress.sources.map((source) => [source.peer, source.rate]));
    /** @type {Map<string, { name: string, slot: string, chunks: number, rate: number, peers: number }>} */
    const lines = new Map();
    for (const { peer, chunks: sent } of chunks.sources) {
      if (sent === 0) continue;
      const slot = peer === '' ? EARLIER : slotOf(peer, OTHER);
      const id = slot === OTHER ? OTHER : peer;
      const line = lines.get(id) ?? { name: peer === '' ? 'Held before' : nameOf(peer), slot, chunks: 0, rate: 0, peers: 0 };
      line.chunks += sent;
      line.rate += rates.get(peer) ?? 0;
      line.peers += 1;
      if (slot === OTHER) line.name = counted(line.peers, 'other peer');
      lines.set(id, line);
    }
    this.#setLegend(lines, progress.state === 'fetching');
  }

  /**
   * @param {Map<string, { name: string, slot: string, chunks: number, rate: number }>} lines
   * @param {boolean} isMoving
   */
  #setLegend(lines, isMoving) {
    while (this.#legend.children.length > lines.size) this.#legend.lastElementChild?.remove();
    let place = 0;
    for (const [id, line] of lines) {
      let item = /** @type {HTMLElement} */ (this.#legend.children[place]);
      const same = `${id} ${line.slot}`;
      if (item?.dataset.line !== same) {
        const made = element('li', { data: { line: same } },
          fish(line.slot), element('span', {}), element('span', { class: 'legend-numbers' }));
        if (item) item.replaceWith(made);
        else this.#legend.append(made);
        item = made;
      }
      const [, name, numbers] = item.children;
      setText(name, line.name);
      setText(numbers, `${counted(line.chunks, 'chunk')}${isMoving && line.rate > 0 ? `, ${rate(line.rate)}` : ''}`);
      place += 1;
    }
  }

  /**
   * @param {State} state
   * @param {string} title
   */
  #drawActions(state, title) {
    const { content, publishing, fetching } = this.#entry;
    const running = state === 'queued' || state === 'publishing' || state === 'fetching';
    const focused = document.activeElement;
    const kind = kindOf(content);
    this.#view.hidden = !kind || !this.#help.library.hasAddresses || this.#cannotShow || !(state === 'held' || state === 'partial' || state === 'fetching' && fetching?.content);
    this.#save.hidden = state !== 'held';
    this.#goOn.hidden = !fetching?.isPaused && (state !== 'partial' || Boolean(fetching?.error));
    this.#pause.hidden = !running || !fetching?.canPause;
    this.#retry.hidden = !publishing?.error && !fetching?.error;
    this.#link.hidden = !content.key || Boolean(publishing);
    this.#pin.hidden = state !== 'held' && state !== 'partial';
    this.#stop.hidden = !running;
    this.#remove.hidden = running;
    for (const [each, words] of /** @type {[HTMLElement, string][]} */ ([
      [this.#view, this.#viewer ? 'Close' : SHOW[kind ?? 'image']],
      [this.#save, this.#saving ? 'Saving\u2026' : 'Save'], [this.#goOn, 'Go on'], [this.#pause, 'Pause'], [this.#retry, 'Try again'],
      [this.#link, this.#copied ? 'Copied' : 'Copy link'], [this.#pin, content.pinned ? 'Unpin' : 'Pin'], [this.#stop, 'Stop'],
      [this.#remove, publishing ? 'Dismiss' : 'Remove'],
    ])) label(each, words, title);
    if (focused instanceof HTMLElement && this.element.contains(focused) && focused.hidden) {
      this.element.focus({ preventScroll: true });
    }
  }

  /** Shows it below the row, or ends that; the chunk map is open beside it, since what is
   *  looked at comes first. */
  #onView() {
    const { id, content } = this.#entry;
    const kind = kindOf(content);
    if (this.#viewer || !kind || !content.key) {
      this.#endView();
    } else {
      if (this.#entry.fetching?.isPaused || stateOf(this.#entry) === 'partial') this.#onGoOn();
      this.#viewer = viewer(kind, this.#help.peer.url(content.key), titleOf(content), () => {
        this.#endView();
        // What was stopped in another tab comes no further.
        this.#cannotShow = stateOf(this.#entry) !== 'partial';
        if (this.#cannotShow) announce(`This browser cannot show ${titleOf(content)}.`);
        this.update();
      });
      this.element.append(this.#viewer);
      this.#chunks.open = true;
    }
    this.update();
  }

  #endView() {
    endViewer(this.#viewer);
    this.#viewer = undefined;
  }

  #saving = false;
  #copied = false;

  async #onSave() {
    if (this.#saving) return;
    this.#saving = true;
    this.update();
    const content = /** @type {import('./shoal/index.js').Content} */ (this.#entry.content);
    try {
      const end = await save(this.#help.peer, content, this.#help.library.hasAddresses);
      if (end !== 'cancelled') announce(savedWords(titleOf(content), end));
    } catch (error) {
      await ask({
        title: 'Not saved',
        body: [element('p', { class: 'dialog-name', dir: 'auto' }, titleOf(content)),
          element('p', {}, reason(/** @type {Error} */ (error)))],
        yes: 'Close',
        no: null,
      });
    } finally {
      this.#saving = false;
      this.update();
    }
  }

  async #onLink() {
    if (!await copy(linkTo(this.#entry.content.key))) return;
    this.#copied = true;
    this.update();
    setTimeout(() => {
      this.#copied = false;
      this.update();
    }, SAID);
  }

  async #onPin() {
    const { content } = this.#entry;
    const { key, pinned } = /** @type {import('./shoal/index.js').Content} */ (content);
    try {
      await (pinned ? this.#help.peer.unpin(key) : this.#help.peer.pin(key));
      announce(pinWords(titleOf(content), !pinned));
    } catch (error) {
      notify('pin', { title: `Not changed: ${titleOf(content)}`, text: reason(/** @type {Error} */ (error)), tone: 'wait' });
    }
  }

  #onGoOn() {
    const { id, fetching } = this.#entry;
    if (fetching?.isPaused) fetching.resume();
    else this.#help.library.fetch(id);
  }

  #onStop() {
    this.#entry.publishing?.stop();
    this.#entry.fetching?.stop();
    // It would go on reading.
    this.#endView();
  }

  async #onRemove() {
    const entry = this.#entry;
    const { id, content, held, publishing } = entry;
    if (!publishing && held > 0) {
      const words = removeWords(titleOf(content), this.#help.around(id).holders, held < (content.size ?? 0));
      const agreed = await ask({
        title: words.title,
        body: [element('p', { class: 'dialog-name', dir: 'auto' }, words.name), element('p', {}, words.text)],
        yes: 'Remove',
        no: 'Keep',
        grave: true,
      });
      if (!agreed) return;
    }
    try {
      await this.#help.library.remove(entry);
    } catch (error) {
      notify('remove', { title: `Not removed: ${titleOf(content)}`, text: reason(/** @type {Error} */ (error)), tone: 'wait' });
    }
  }
}

/**
 * @param {number} held
 * @param {number | undefined} size
 */
function part(held, size) {
  return size ? Math.min(1, held / size) : 0;
}

/**
 * @param {HTMLElement} parent
 * @param {string[]} numbers
 */
function drawNumbers(parent, numbers) {
  while (parent.children.length > numbers.length) parent.lastElementChild?.remove();
  for (const [place, text] of numbers.entries()) {
    if (!parent.children[place]) parent.append(element('span', {}));
    setText(parent.children[place], text);
  }
}
