/** Questions that must be answered before something is done, in the page's one dialog. */

import { byId, element, fill } from './element.js';

/** Answers the question that was asked last, if that has no answer yet. */
let decline = () => {};

/**
 * @param {object} question
 * @param {string} question.title
 * @param {import('./element.js').Child[]} question.body
 * @param {string} question.yes
 * @param {string | null} [question.no] null: there is nothing to decline
 * @param {boolean} [question.grave] saying yes destroys something: the focus starts at no
 * @returns {Promise<boolean>}
 */
export function ask({ title, body, yes, no = 'Cancel', grave = false }) {
  const dialog = /** @type {HTMLDialogElement} */ (byId('dialog'));
  // A dialog that was closed says so a moment later: the next question may be asked by then.
  decline();
  return new Promise((resolve) => {
    const over = new AbortController();
    const answer = (/** @type {boolean} */ isYes) => {
      over.abort();
      resolve(isYes);
    };
    decline = () => answer(false);
    fill(dialog, element('form', { method: 'dialog', class: 'dialog-form' },
      element('h2', { id: 'dialog-title' }, title),
      element('div', { class: 'dialog-body' }, ...body),
      element('div', { class: 'dialog-actions' },
        element('button', { class: `button ${grave ? 'grave' : 'primary'}`, value: 'yes', autofocus: !grave }, yes),
        no !== null && element('button', { class: 'button', value: 'no', autofocus: grave }, no))));
    dialog.returnValue = 'no';
    dialog.addEventListener('close', () => {
      if (dialog.open) return;
      fill(dialog);
      answer(dialog.returnValue === 'yes');
    }, { signal: over.signal });
    dialog.showModal();
  });
}
