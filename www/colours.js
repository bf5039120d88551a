/**
 * Which colour stands for which peer. A peer gets one when it first sends something
 * here and keeps it; the same colour marks its chunks, its fish and its line in every
 * legend. There are eight, since more could not be told apart: further peers share
 * the colour "other".
 */

const SLOTS = 8;

/** Chunks that were held before the fetch that is shown began. */
export const EARLIER = 'earlier';
export const OTHER = 'other';

/** @type {Map<string, string>} */
const slots = new Map();

/**
 * The palette slot of a peer that sends something here.
 *
 * @param {string} peer
 * @returns {string}
 */
export function slotOf(peer) {
  let slot = slots.get(peer);
  if (slot === undefined) {
    slot = slots.size < SLOTS ? String(slots.size) : OTHER;
    slots.set(peer, slot);
  }
  return slot;
}

/**
 * The palette slot a peer has already, if it has sent something.
 *
 * @param {string} peer
 */
export const slotIfAny = (peer) => slots.get(peer) ?? 'none';

/** Every slot a chunk can have, in the order of the canvas's table. */
export const ALL_SLOTS = [...Array.from({ length: SLOTS }, (_, slot) => String(slot)), OTHER, EARLIER];

/**
 * The colours as the stylesheet has them now, by slot; they differ between light and dark.
 *
 * @returns {Record<string, string>}
 */
export function palette() {
  const style = getComputedStyle(document.documentElement);
  /** @type {Record<string, string>} */
  const colours = { empty: style.getPropertyValue('--slot-empty').trim() };
  for (const slot of ALL_SLOTS) colours[slot] = style.getPropertyValue(`--slot-${slot}`).trim();
  return colours;
}
