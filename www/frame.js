/**
 * Batches what has to be drawn: however often something changes, it is drawn at most
 * once a frame. A hidden page draws nothing until it is seen again.
 */

/** @type {Set<() => void>} */
const waiting = new Set();
let asked = false;

/**
 * Runs `draw` in the next frame; asking again before that changes nothing.
 *
 * @param {() => void} draw
 */
export function nextFrame(draw) {
  waiting.add(draw);
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    const now = [...waiting];
    waiting.clear();
    for (const each of now) each();
  });
}
