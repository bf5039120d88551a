/**
 * Says what happened to those who hear the page instead of seeing it: only what a person
 * waits for, gathered so that ten files that are done make one sentence, never progress.
 */

import { byId } from './element.js';

/** How long events are gathered, in milliseconds. A guess between prompt and calm. */
const GATHER = 900;
const SENTENCES = 3;

/** @type {string[]} */
let waiting = [];

/** @param {string} sentence */
export function announce(sentence) {
  waiting.push(sentence);
  if (waiting.length > 1) return;
  setTimeout(() => {
    const said = waiting.slice(0, SENTENCES);
    if (waiting.length > SENTENCES) said.push(`And ${waiting.length - SENTENCES} more.`);
    waiting = [];
    byId('announcer').textContent = said.join(' ');
  }, GATHER);
}
