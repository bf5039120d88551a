/**
 * Making and updating elements. Text only ever enters the page as a text node, so a
 * name with markup in it is shown as it is written.
 */

/**
 * @typedef {Node | string | number | null | undefined | false} Child
 */

/**
 * Makes an element. Keys starting with `on` are listeners, `data` fills the dataset,
 * keys the element knows as properties are set as such, all others are attributes.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, any>} [properties]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (name === 'data') Object.assign(made.dataset, value);
    else if (name in made) Object.assign(made, { [name]: value });
    else made.setAttribute(name, String(value));
  }
  fill(made, ...children);
  return made;
}

/**
 * Replaces the children of an element.
 *
 * @param {Element} parent
 * @param {...Child} children
 */
export function fill(parent, ...children) {
  parent.replaceChildren(...children
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child))));
}

/**
 * Sets the text of an element, leaving the page alone where nothing changed.
 *
 * @param {Element} target
 * @param {string} text
 */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/**
 * The element with an id, which the page's HTML promises.
 *
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no element #${id}`);
  return found;
}

/**
 * A fish: the mark of a peer, coloured by the palette slot (see colours.js).
 *
 * @param {string} [slot]
 * @returns {SVGSVGElement}
 */
export function fish(slot = 'none') {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 12');
  svg.setAttribute('class', 'fish');
  svg.setAttribute('aria-hidden', 'true');
  svg.dataset.slot = slot;
  const body = document.createElementNS(SVG, 'path');
  body.setAttribute('d', FISH);
  svg.append(body);
  return svg;
}

export const SVG = 'http://www.w3.org/2000/svg';

/** The outline of a fish that swims to the right in a box of 24 by 12. */
export const FISH = 'M1 3.4C3 4.6 4.3 4.5 5.6 3.6 7.8 2 10.3 1 13 1c4.4 0 8 2.3 10 5-2 2.7-5.6 5-10 5-2.7 0-5.2-1-7.4-2.6C4.3 7.5 3 7.4 1 8.6c.7-1.7.7-3.5 0-5.2Z';
