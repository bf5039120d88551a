/** Numbers, names and keys as people read them. */

const number = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });

/**
 * @param {number} value
 * @returns {string}
 */
export const count = (value) => number.format(value);

/**
 * "1 file", "2 files".
 *
 * @param {number} value
 * @param {string} one
 * @param {string} [many]
 */
export const counted = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

const UNITS = ['bytes', 'kB', 'MB', 'GB', 'TB'];

/**
 * A size in decimal units, three digits at most: "0 bytes", "1.2 MB", "104 MB".
 *
 * @param {number} size
 */
export function bytes(size) {
  let unit = 0;
  let value = size;
  // 999.5 would be rounded to 1000 and belongs to the next unit.
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  if (unit === 0) return counted(size, 'byte');
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

/**
 * @param {number} perSecond bytes
 */
export const rate = (perSecond) => `${bytes(Math.round(perSecond))}/s`;

/**
 * "12 s left", "3 min left", "2 h 5 min left".
 *
 * @param {number} seconds
 */
export function timeLeft(seconds) {
  if (!Number.isFinite(seconds)) return '';
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 90) return `${whole} s left`;
  const minutes = Math.round(whole / 60);
  if (minutes < 90) return `${minutes} min left`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min left`;
  return `${Math.round(hours / 24)} days left`;
}

/**
 * Whole percents; 100 is said only when nothing is missing.
 *
 * @param {number} held
 * @param {number | undefined} size
 */
export function percent(held, size) {
  if (size === undefined) return 0;
  if (held >= size) return 100;
  return Math.floor((held / size) * 100);
}

/** The longest name that is shown; the file systems people use end here too. */
const NAME_LENGTH = 255;

/** Control characters, and those that turn the direction of the text around them. */
const UNSHOWN = /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/gu;

/**
 * A name as it is shown and saved: what cannot be seen, or would make "gpj.exe" look
 * like "exe.jpg", is replaced.
 *
 * @param {string | undefined} name
 */
export function shownName(name) {
  const clean = (name ?? '').replace(UNSHOWN, '\ufffd').trim();
  const letters = Array.from(clean);
  return letters.length > NAME_LENGTH ? `${letters.slice(0, NAME_LENGTH - 1).join('')}…` : clean;
}

/**
 * The few letters on a content's tile: the ending of its name, or else the kind of its
 * media type.
 *
 * @param {{ name?: string, type?: string }} content
 */
export function tile({ name, type }) {
  const ending = /\.([a-z0-9]{1,4})$/i.exec(shownName(name));
  if (ending) return ending[1].toUpperCase();
  const kind = /^(image|video|audio|text|font)\//.exec(type ?? '');
  return kind ? kind[1].toUpperCase() : '';
}

/** How many letters at the end of a key or peer id are always shown. */
const TAIL = 6;

/**
 * The end of an id: libp2p ids all begin alike, so only their end tells them apart.
 *
 * @param {string} id
 */
export const tail = (id) => id.slice(-TAIL);

/** @param {string} id */
export const head = (id) => id.slice(0, -TAIL);

/** What a BLAKE3 content key looks like: CIDv1, raw, 32 bytes of hash, in base32. */
const KEY = /^bafkr4i[a-z2-7]{52}$/;

/** @param {string} text */
export const isKey = (text) => KEY.test(text);
