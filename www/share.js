/** Files dropped or picked, and the question that comes before they are shared. */

import { ask } from './dialog.js';
import { byId, element, setText } from './element.js';
import { bytes, count, shownName } from './format.js';
import { notify, unnotify } from './notices.js';
import { tileOf } from './parts.js';
import { NOTICES, shareWords } from './words.js';

/** Files named in the question; of more, the rest is counted. */
const NAMED = 50;

/**
 * @typedef {object} Site
 * @property {string} namespace
 * @property {import('./people.js').People} people
 * @property {import('./library.js').Library} library
 */

/**
 * Takes drops from the start, since a drop that nobody takes opens the file in place of the
 * page; shares them once it is allowed.
 */
export class Sharing {
  #drop = byId('drop');
  #pick = /** @type {HTMLButtonElement} */ (byId('pick'));
  #dialog = /** @type {HTMLDialogElement} */ (byId('dialog'));
  /** @type {Site | undefined} */
  #site;
  /** What a drop is answered with while there is no site. */
  #refusal = NOTICES.dropTooEarly;

  constructor() {
    const input = /** @type {HTMLInputElement} */ (byId('files'));
    this.#pick.addEventListener('click', () => input.click());
    input.addEventListener('change', async () => {
      const files = [...(input.files ?? [])];
      // The same file can be picked again only if the field has forgotten it.
      input.value = '';
      await this.#share(files);
    });
    this.#listenForDrops();
  }

  /** @param {Site} site */
  allow(site) {
    this.#site = site;
    this.#pick.disabled = false;
    unnotify('drop');
  }

  /** The page does not run. */
  forbid() {
    this.#refusal = NOTICES.dropInVain;
    unnotify('drop');
    setText(byId('drop-title'), NOTICES.dropInVain.title);
    setText(byId('drop-words'), NOTICES.dropInVain.text);
  }

  #listenForDrops() {
    // dragenter and dragleave come for every element passed: only the balance counts.
    let depth = 0;
    const over = (/** @type {number} */ change) => {
      depth = Math.max(0, depth + change);
      this.#drop.classList.toggle('over', depth > 0 && this.#site !== undefined);
    };
    addEventListener('dragenter', (event) => {
      if (carriesFiles(event)) over(1);
    });
    addEventListener('dragleave', (event) => {
      if (carriesFiles(event)) over(-1);
    });
    addEventListener('dragover', (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      if (event.dataTransfer) event.dataTransfer.dropEffect = this.#dialog.open ? 'none' : 'copy';
    });
    addEventListener('drop', async (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      over(-depth);
      if (this.#site) await this.#share(await droppedFiles(/** @type {DataTransfer} */ (event.dataTransfer)));
      else notify('drop', this.#refusal);
    });
  }

  /** @param {File[]} files */
  async #share(files) {
    if (files.length === 0 || this.#dialog.open || !this.#site) return;
    const { namespace, people, library } = this.#site;
    const agreed = await ask(question(files, namespace, people.persons.size));
    if (agreed) library.publish(files);
  }
}

/** @param {DragEvent} event */
function carriesFiles({ dataTransfer }) {
  return Boolean(dataTransfer?.types.includes('Files'));
}

/**
 * @param {File[]} files
 * @param {string} namespace
 * @param {number} others
 */
function question(files, namespace, others) {
  const words = shareWords(files, namespace, others, isSecureContext);
  const [before, name, after] = words.where;
  const list = element('ul', { class: 'dialog-files', role: 'list', tabIndex: 0, 'aria-label': 'The files' },
    ...files.slice(0, NAMED).map((file) => element('li', {},
      tileOf(file),
      element('span', { class: 'dialog-file', dir: 'auto' }, shownName(file.name)),
      element('span', { class: 'dialog-size' }, bytes(file.size)))),
    files.length > NAMED && element('li', {}, `and ${count(files.length - NAMED)} more`));
  return {
    title: words.title,
    body: [
      list,
      element('p', { class: 'dialog-where' }, before, element('bdi', { class: 'dialog-namespace' }, shownName(name)), after),
      element('p', { class: 'dialog-after' }, words.after),
    ],
    yes: 'Share',
  };
}

/**
 * The files of a drop, those inside dropped folders included.
 *
 * @param {DataTransfer} transfer
 * @returns {Promise<File[]>}
 */
async function droppedFiles(transfer) {
  // Entries can be asked for only before the first await.
  const entries = [...transfer.items].flatMap((item) => item.webkitGetAsEntry?.() ?? []);
  const files = [...transfer.files];
  if (!entries.some((entry) => entry.isDirectory)) return files;
  const found = await Promise.all(entries.map(filesIn));
  return found.flat();
}

/**
 * @param {FileSystemEntry} entry
 * @returns {Promise<File[]>}
 */
async function filesIn(entry) {
  if (entry.isFile) {
    return [await new Promise((resolve, reject) => /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject))];
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  const files = [];
  // A reader hands out a folder in parts, the last of which is empty.
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (part.length === 0) return files;
    for (const each of part) files.push(...await filesIn(each));
  }
}
