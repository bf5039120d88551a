/**
 * The picture of who is here: one fish a peer, and this page's own in the middle. It
 * says nothing that the list of peers does not say in words.
 */

import { colours, slotOf } from './colours.js';
import { byId, FISH, SVG } from './element.js';
import { nextFrame } from './frame.js';
import { spread } from './names.js';

/** The picture's own measure; the stylesheet scales it. */
const WIDTH = 480;
const HEIGHT = 220;

/** The most fish that can be told apart in it. */
const MOST = 220;

/** Turns from one fish to the next on the spiral: the golden angle packs evenly. */
const GOLDEN = Math.PI * (3 - Math.sqrt(5));

export class School {
  #people;
  #self;
  #svg = document.createElementNS(SVG, 'svg');
  /** @type {Map<string, SVGPathElement>} */
  #fish = new Map();

  /**
   * @param {import('./people.js').People} people
   * @param {string} self this page's peer id
   */
  constructor(people, self) {
    this.#people = people;
    this.#self = self;
    this.#svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    byId('school').replaceChildren(this.#svg);
    people.addEventListener('people', () => nextFrame(this.#draw));
    colours.addEventListener('change', () => nextFrame(this.#draw));
    this.#draw();
  }

  #draw = () => {
    const persons = [...this.#people.persons.values()].slice(0, MOST - 1);
    const ids = new Set([this.#self, ...persons.map(({ id }) => id)]);
    for (const [id, path] of this.#fish) {
      if (ids.has(id)) continue;
      path.remove();
      this.#fish.delete(id);
    }
    const length = lengthFor(ids.size);
    let place = 0;
    for (const id of ids) {
      const path = this.#fish.get(id) ?? this.#add(id);
      const { x, y } = placeOf(place, ids.size, length);
      const tilt = (spread(id) % 17) - 8;
      path.style.transform = `translate(${x}px, ${y}px) rotate(${tilt}deg) scale(${length / 24}) translate(-12px, -6px)`;
      path.dataset.slot = id === this.#self ? 'self' : slotOf(id);
      path.dataset.linked = String(id === this.#self || Boolean(this.#people.persons.get(id)?.linked));
      place += 1;
    }
  };

  /** @param {string} id */
  #add(id) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', FISH);
    this.#svg.append(path);
    this.#fish.set(id, path);
    return path;
  }
}

/**
 * How long a fish is so that all of them have room.
 *
 * @param {number} fishes
 */
function lengthFor(fishes) {
  return Math.min(64, 1.15 * Math.sqrt((WIDTH * HEIGHT) / (fishes + 6) / 1.4));
}

/**
 * @param {number} place
 * @param {number} fishes
 * @param {number} length
 */
function placeOf(place, fishes, length) {
  const reach = place === 0 ? 0 : Math.sqrt((place + 0.35) / fishes);
  const angle = place * GOLDEN;
  return {
    x: Math.round(WIDTH / 2 + reach * (WIDTH / 2 - length / 2) * Math.cos(angle)),
    y: Math.round(HEIGHT / 2 + reach * (HEIGHT / 2 - length / 3) * Math.sin(angle)),
  };
}
