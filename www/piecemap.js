/**
 * The picture of a content's chunks, each in the colour of the peer it came from. A
 * content has up to many thousands of chunks: a cell then stands for a run of them, in
 * the colour of its most frequent source, and grows stronger as they arrive.
 */

import { EARLIER, OTHER, palette, slotOf } from './colours.js';
import { nextFrame } from './frame.js';

/** Cells are no smaller than can be told apart, and no larger than calls for. In CSS pixels. */
const SMALLEST = 7;
const LARGEST = 18;
const GAP = 2;
const ROWS = 8;

/** How strong the colour of a cell is at least: a single chunk of a long run is seen. */
const FAINTEST = 0.25;

export class PieceMap {
  /** @type {HTMLCanvasElement} */
  canvas = document.createElement('canvas');
  #chunks;
  #watcher;
  #scheme = matchMedia('(prefers-color-scheme: dark)');

  /** @param {import('./chunks.js').ChunkSources} chunks */
  constructor(chunks) {
    this.#chunks = chunks;
    this.canvas.className = 'piece-map';
    this.canvas.setAttribute('role', 'img');
    this.#watcher = new ResizeObserver(() => this.draw());
    this.#watcher.observe(this.canvas);
    this.#scheme.addEventListener('change', this.draw);
  }

  draw = () => nextFrame(this.#paint);

  /** @param {string} text what the picture shows, for those who do not see it */
  describe(text) {
    if (this.canvas.getAttribute('aria-label') !== text) this.canvas.setAttribute('aria-label', text);
  }

  dispose() {
    this.#watcher.disconnect();
    this.#scheme.removeEventListener('change', this.draw);
  }

  #paint = () => {
    const width = this.canvas.clientWidth;
    if (width === 0) return;
    const { owners, sources } = this.#chunks;
    const { columns, rows, pitch, run } = layOut(owners.length, width);
    const height = rows * pitch - GAP;
    const scale = devicePixelRatio;
    if (this.canvas.width !== Math.round(width * scale) || this.canvas.height !== Math.round(height * scale)) {
      this.canvas.width = Math.round(width * scale);
      this.canvas.height = Math.round(height * scale);
      this.canvas.style.height = `${height}px`;
    }
    const context = this.canvas.getContext('2d');
    if (!context) return;
    const colours = palette();
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const filled = sources.map(({ peer }) => colours[peer === '' ? EARLIER : slotOf(peer, OTHER)]);
    const tally = new Uint32Array(sources.length);
    const cells = Math.ceil(owners.length / run);
    const side = pitch - GAP;
    for (let cell = 0; cell < cells; cell += 1) {
      const x = (cell % columns) * pitch;
      const y = Math.floor(cell / columns) * pitch;
      const { source, part } = mostOf(owners, tally, cell * run, Math.min(owners.length, (cell + 1) * run));
      context.fillStyle = colours.empty;
      context.fillRect(x, y, side, side);
      if (part === 0) continue;
      context.globalAlpha = FAINTEST + (1 - FAINTEST) * part;
      context.fillStyle = filled[source];
      context.fillRect(x, y, side, side);
      context.globalAlpha = 1;
    }
  };
}

/**
 * The grid: as large cells as fit in the rows, and runs where one cell per chunk does not.
 *
 * @param {number} chunks
 * @param {number} width
 */
function layOut(chunks, width) {
  for (let side = LARGEST; side >= SMALLEST; side -= 1) {
    const pitch = side + GAP;
    const columns = Math.floor((width + GAP) / pitch);
    const rows = Math.ceil(chunks / columns);
    if (rows <= Math.max(1, Math.floor((ROWS * SMALLEST) / side))) return { columns, rows, pitch, run: 1 };
  }
  const pitch = SMALLEST + GAP;
  const columns = Math.floor((width + GAP) / pitch);
  const run = Math.ceil(chunks / (columns * ROWS));
  return { columns, rows: Math.ceil(Math.ceil(chunks / run) / columns), pitch, run };
}

/**
 * The source of most chunks of a run, and the part of the run that is held.
 *
 * @param {Uint16Array} owners
 * @param {Uint32Array} tally one count a source, to be used again
 * @param {number} from
 * @param {number} to
 */
function mostOf(owners, tally, from, to) {
  tally.fill(0);
  let held = 0;
  let most = 0;
  for (let index = from; index < to; index += 1) {
    if (owners[index] === 0) continue;
    const source = owners[index] - 1;
    tally[source] += 1;
    held += 1;
    if (tally[source] > tally[most]) most = source;
  }
  return { source: most, part: held / (to - from) };
}
