/**
 * Which colour stands for which peer: the same one marks its chunks, its fish and its
 * line in every legend. A peer gets one when it sends something here. There are eight,
 * since more could not be told apart; when all are given away, the peer that has sent
 * nothing for longest gives up its own, and while all are busy the rest share "other".
 */

const SLOTS = 8;

/** The slots of chunks held before the fetch began, and of peers without a colour. */
export const EARLIER = 'earlier';
export const OTHER = 'other';

/** Every slot a chunk can have. */
const ALL_SLOTS = [...Array.from({ length: SLOTS }, (_, slot) => String(slot)), OTHER, EARLIER];

/** How long a peer keeps its colour unused when others want one, in milliseconds. A guess. */
const IDLE = 30_000;

/** Dispatches `change` when a peer got or lost a colour. */
export const colours = new EventTarget();

/**
 * When each peer with a colour last sent something, longest ago first.
 *
 * @type {Map<string, { slot: string, used: number }>}
 */
const given = new Map();

/**
 * Notes that a peer sends something, and gives it a colour if one can be had.
 *
 * @param {string} peer
 */
export function colourFor(peer) {
  const now = performance.now();
  const before = given.get(peer);
  if (before) {
    given.delete(peer);
    given.set(peer, { slot: before.slot, used: now });
    return;
  }
  const slot = freeSlot(now);
  if (slot === undefined) return;
  given.set(peer, { slot, used: now });
  colours.dispatchEvent(new Event('change'));
}

/** @param {number} now */
function freeSlot(now) {
  if (given.size < SLOTS) return String(given.size);
  const [[longest, { slot, used }]] = given;
  if (now - used < IDLE) return undefined;
  given.delete(longest);
  return slot;
}

/**
 * The palette slot of a peer: its own, or `otherwise`.
 *
 * @param {string} peer
 * @param {string} [otherwise]
 */
export const slotOf = (peer, otherwise = 'none') => given.get(peer)?.slot ?? otherwise;

/**
 * The colours as the stylesheet has them now, by slot; they differ between light and dark.
 *
 * @returns {Record<string, string>}
 */
export function palette() {
  const style = getComputedStyle(document.documentElement);
  /** @type {Record<string, string>} */
  const found = { empty: style.getPropertyValue('--slot-empty').trim() };
  for (const slot of ALL_SLOTS) found[slot] = style.getPropertyValue(`--slot-${slot}`).trim();
  return found;
}
