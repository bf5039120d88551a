/** The title of the tab, which is all that is seen of a page in the background. */

import { percent } from './format.js';

/** @param {Iterable<import('./fetching.js').Fetching>} fetches that run */
export function showInTitle(fetches) {
  let held = 0;
  let size = 0;
  for (const { progress, content } of fetches) {
    held += content ? progress.held : 0;
    size += content?.size ?? 0;
  }
  const title = size > 0 ? `${percent(held, size)} % \u2013 Shoal` : 'Shoal';
  if (document.title !== title) document.title = title;
}
