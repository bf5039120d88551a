/** The one class of errors that reaches a page, and its way through messages. */

/**
 * @typedef {import('./index.js').Code} Code
 * @typedef {{ code: Code, message: string, peer?: string, candidates?: import('./index.js').Candidates }} PlainError
 */

export class ShoalError extends Error {
  /** @type {Code} */
  code;
  /** The peer it is about, where it is about one. @type {string | undefined} */
  peer;
  /** For `unreachable`: the kinds of addresses both sides had. @type {import('./index.js').Candidates | undefined} */
  candidates;

  /**
   * @param {Code} code
   * @param {string} message what happened, to what, and what to do
   * @param {{ cause?: unknown, peer?: string, candidates?: import('./index.js').Candidates }} [more]
   */
  constructor(code, message, { cause, peer, candidates } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'ShoalError';
    this.code = code;
    if (peer !== undefined) this.peer = peer;
    if (candidates !== undefined) this.candidates = candidates;
  }
}

/**
 * Makes an error of what came in a message.
 *
 * @param {any} plain
 * @returns {ShoalError}
 */
export function fromPlain(plain) {
  const { code = 'engine-crashed', message = 'something failed, and nothing more is known', peer, candidates } = plain ?? {};
  return new ShoalError(code, message, { peer, candidates });
}

/**
 * What can be cloned of an error, whatever was thrown.
 *
 * @param {any} error
 * @param {Code} [code] for one that has none
 * @returns {PlainError}
 */
export function toPlain(error, code = 'engine-crashed') {
  // A DOMException has a `code` too, which is a number.
  const known = typeof error?.code === 'string';
  return { code: known ? error.code : code, message: describe(error) };
}

/**
 * What to show of something that was thrown.
 *
 * @param {any} error
 * @returns {string}
 */
export function describe(error) {
  if (typeof error?.message !== 'string') return String(error);
  return error instanceof ShoalError || !error.name || error.name === 'Error' ? error.message : `${error.name}: ${error.message}`;
}

/**
 * An argument that cannot be.
 *
 * @param {string} message
 */
export function invalid(message) {
  return new ShoalError('invalid-argument', message);
}
