/** Private namespaces: making one, inviting others by its link, leaving it. */

import { copy, linkTo, privatePart } from './copying.js';
import { byId, fill } from './element.js';
import { button } from './parts.js';
import { PRIVATE } from './words.js';

export class Privacy {
  /**
   * @param {object} shoal
   * @param {typeof import('./shoal/index.js').createSecret} shoal.createSecret
   * @param {typeof import('./shoal/index.js').secretLink} shoal.secretLink
   */
  constructor({ createSecret, secretLink }) {
    const home = location.origin + location.pathname;
    const here = privatePart();
    const make = button(PRIVATE.make, () => location.assign(secretLink(createSecret(), home)));
    make.title = PRIVATE.makeHint;
    const leave = button(PRIVATE.leave, () => location.assign(home));
    const place = byId('privacy');
    fill(place, ...here === '' ? [make] : [button(PRIVATE.invite, () => copy(linkTo())), leave]);
    place.hidden = false;
    // A private link that is opened in this tab changes no more than what follows the `#`.
    addEventListener('hashchange', () => {
      if (privatePart() !== here) location.reload();
    });
  }
}
