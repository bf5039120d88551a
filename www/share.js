/** Files dropped or picked, and the question that comes before they are shared. */

import { ask } from './dialog.js';
import { byId, element } from './element.js';
import { bytes, count, shownName } from './format.js';
import { tileOf } from './parts.js';
import { shareWords } from './words.js';

/** Files named in the question; of more, the rest is counted. */
const NAMED = 50;

/**
 * @param {object} site
 * @param {string} site.namespace
 * @param {import('./people.js').People} site.people
 * @param {import('./library.js').Library} site.library
 */
export function allowSharing({ namespace, people, library }) {
  const drop = byId('drop');
  const pick = /** @type {HTMLButtonElement} */ (byId('pick'));
  const input = /** @type {HTMLInputElement} */ (byId('files'));
  const dialog = /** @type {HTMLDialogElement} */ (byId('dialog'));

  /** @param {File[]} files */
  const share = async (files) => {
    if (files.length === 0 || dialog.open) return;
    const agreed = await ask(question(files, namespace, people.persons.size));
    if (agreed) library.publish(files);
  };

  pick.disabled = false;
  pick.addEventListener('click', () => input.click());
  input.addEventListener('change', async () => {
    const files = [...(input.files ?? [])];
    // The same file can be picked again only if the field has forgotten it.
    input.value = '';
    await share(files);
  });

  // dragenter and dragleave come for every element passed: only the balance counts.
  let depth = 0;
  const over = (/** @type {number} */ change) => {
    depth = Math.max(0, depth + change);
    drop.classList.toggle('over', depth > 0);
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
    if (event.dataTransfer) event.dataTransfer.dropEffect = dialog.open ? 'none' : 'copy';
  });
  addEventListener('drop', async (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    over(-depth);
    await share(await droppedFiles(/** @type {DataTransfer} */ (event.dataTransfer)));
  });
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
  const words = shareWords(files, namespace, others);
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
