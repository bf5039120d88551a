/** A picture, a film or a sound, seen and heard while it still arrives. */

import { element } from './element.js';

/**
 * What can be shown of a content, by its media type.
 *
 * @typedef {'image' | 'video' | 'audio'} Kind
 */

/** What the button says. @type {Record<Kind, string>} */
export const SHOW = { image: 'View', video: 'Play', audio: 'Listen' };

/**
 * @param {{ type?: string }} content
 * @returns {Kind | undefined}
 */
export function kindOf({ type = '' }) {
  const [, kind] = /^(image|video|audio)\//.exec(type) ?? [];
  if (kind === 'image') return 'image';
  const isKnown = (kind === 'video' || kind === 'audio') && document.createElement(kind).canPlayType(type) !== '';
  return isKnown ? kind : undefined;
}

/**
 * @param {Kind} kind
 * @param {string} url
 * @param {string} title
 * @param {() => void} onfail is told when the browser cannot show it
 */
export function viewer(kind, url, title, onfail) {
  const listeners = { onerror: onfail };
  const seen = kind === 'image'
    ? element('img', { src: url, alt: title, ...listeners })
    : element(kind, { src: url, controls: true, autoplay: true, playsInline: true, 'aria-label': title, ...listeners });
  return element('div', { class: 'viewer' }, seen);
}

/**
 * Ends what an element plays and what it loads.
 *
 * @param {Element | undefined} shown
 */
export function endViewer(shown) {
  const player = shown?.firstElementChild;
  if (player instanceof HTMLMediaElement) {
    player.pause();
    player.removeAttribute('src');
    player.load();
  }
  shown?.remove();
}
