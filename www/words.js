/**
 * What the page says about every state and every error. All texts that depend on a
 * state are here, so that they can be read, and translated, together.
 */

import { bytes, counted } from './format.js';

/** @typedef {import('./shoal/index.js').Code} Code */

/** @type {Record<string, string>} */
export const STATUS = {
  opening: 'Opening',
  connecting: 'Connecting to the rendezvous',
  online: 'Online',
  offline: 'Rendezvous offline',
  failed: 'Not running',
};

/** @typedef {'publish' | 'fetch'} Kind */

/**
 * Why something ended without success, by the code of its ShoalError. What is in neither
 * list is said in the words of the error.
 *
 * @type {Record<string, string>}
 */
const REASONS = {
  'quota': 'There is no room left for it in this browser.',
  'store-failed': 'This browser\u2019s store failed.',
  'not-held': 'It is no longer held here.',
  'engine-crashed': 'The engine stopped.',
};

/** @type {Record<Kind, Record<string, string>>} */
const REASONS_OF = {
  publish: {
    'invalid-content': 'The file could not be read, or changed meanwhile. If it has changed, choose it again.',
    'invalid-argument': 'Its name or its type is not one that can be shared.',
    'limit': 'It is larger than 64 GiB, or too many files wait to be shared.',
  },
  fetch: {
    'invalid-key': 'This is not a content key.',
    'not-held': 'It was removed while it was fetched.',
  },
};

/**
 * @param {{ code?: string | number, message?: string } | undefined} error
 * @param {Kind} [kind] what did not succeed
 */
export function reason(error, kind) {
  const { code = '', message } = error ?? {};
  return (kind && REASONS_OF[kind][code]) || REASONS[code] || message || 'Something went wrong.';
}

/**
 * A state in words: what is so, and what that means or what to do.
 *
 * @typedef {object} Words
 * @property {string} title
 * @property {string} [text]
 * @property {'calm' | 'busy' | 'wait' | 'stop' | 'done'} tone
 */

/**
 * What is known around a fetch that explains why it does not move.
 *
 * @typedef {object} Surroundings
 * @property {number} others    peers that are here
 * @property {number} holders   peers here that offer the content
 * @property {boolean} offline  the rendezvous is not reachable
 */

/**
 * @param {import('./shoal/index.js').Progress} progress
 * @param {Surroundings} around
 * @returns {Words}
 */
export function fetchWords(progress, around) {
  if (progress.state === 'done') return { title: 'Held here', tone: 'done' };
  if (progress.state === 'paused') return { title: 'Paused', text: 'What came is kept and shared.', tone: 'calm' };
  if (progress.state === 'fetching') {
    const { length } = progress.sources.filter(({ rate }) => rate > 0);
    return { title: length > 0 ? `Fetching from ${counted(length, 'peer')}` : 'Fetching', tone: 'busy' };
  }
  return waitingWords(progress, around);
}

/**
 * @param {import('./shoal/index.js').Progress} progress
 * @param {Surroundings} around
 * @returns {Words}
 */
function waitingWords(progress, { others, holders, offline }) {
  const kept = progress.held > 0 ? `The ${bytes(progress.held)} that came are kept. ` : '';
  switch (progress.reason) {
    case 'quota':
      return {
        title: 'Waiting: there is no room',
        text: `${kept}Remove or unpin something held here, or free space on the disk; it goes on by itself.`,
        tone: 'stop',
      };
    case 'unreachable':
      return {
        title: 'Waiting: no connection to its holders',
        text: `${counted(holders, 'peer here offers', 'peers here offer')} it, but none could be reached from this network. It keeps trying.`,
        tone: 'wait',
      };
    case 'store-failed':
      return { title: 'Waiting: the store failed', text: 'This browser could not write to its store. It tries again.', tone: 'stop' };
    default:
  }
  if (progress.state === 'waiting' && !progress.reason) {
    return { title: 'Viewed in another tab', text: `${kept}What is looked at there comes, and no more.`, tone: 'calm' };
  }
  const offered = `${counted(holders, 'peer here offers', 'peers here offer')} it.`;
  if (holders > 0 && progress.state === 'searching') return { title: 'Searching: asking its holders', text: offered, tone: 'busy' };
  if (offline) {
    return {
      title: 'Waiting: the rendezvous is offline',
      text: `${kept}No peer that is linked holds it. New peers are found when the rendezvous is back.`,
      tone: 'wait',
    };
  }
  // None of them can be asked now: one that broke the rules, for example, is not for a while.
  if (holders > 0) return { title: 'Waiting for its holders', text: `${offered} ${kept}It goes on by itself.`, tone: 'wait' };
  if (progress.held > 0) {
    return { title: 'Waiting: all its holders have gone', text: `${kept}It goes on when one of them is back.`, tone: 'wait' };
  }
  if (progress.state === 'searching') {
    return { title: 'Searching for a holder', text: 'Asking the peers that are here.', tone: 'busy' };
  }
  return {
    title: 'No holder yet',
    text: others === 0
      ? 'Nobody else is here. It starts by itself when a peer that holds it comes.'
      : `${counted(others, 'peer is', 'peers are')} here and none of them holds it. It starts by itself when one comes that does.`,
    tone: 'wait',
  };
}

/**
 * Why a publication or a fetch ended without success.
 *
 * @param {Kind} kind
 * @param {{ code?: Code, message?: string }} error
 * @returns {Words}
 */
export function failureWords(kind, error) {
  const title = kind === 'publish' ? 'Not shared' : 'Not fetched';
  if (error.code === 'quota') {
    return { title: `${title}: there is no room`, text: 'Remove or unpin something held here, or free space on the disk, then try again.', tone: 'stop' };
  }
  return { title, text: reason(error, kind), tone: 'stop' };
}

/**
 * How many addresses of each kind a side of a link found.
 *
 * @typedef {{ host: number, srflx: number, relay: number }} Candidates
 */

/** What is said of several peers at once. */
export const UNREACHABLE = 'Each is tried again when something is wanted of it. Why it failed stands below.';

/** What each kind of candidate is to a person, in the order of the table. */
export const CANDIDATES = /** @type {const} */ ([
  ['host', 'Own address'],
  ['srflx', 'Public address, from STUN'],
  ['relay', 'Relay, from TURN'],
]);

/**
 * @typedef {object} NoticeWords
 * @property {string} title
 * @property {string} text
 * @property {'wait' | 'stop' | 'calm'} tone
 */

/** A namespace that only those are in who have its link. */
export const PRIVATE = {
  /** Stands where the name of a public one does. */
  name: 'private to who has its link',
  make: 'Share privately',
  makeHint: 'Opens a private namespace: only those you give its link to are in it',
  invite: 'Copy its link',
  leave: 'Leave it',
  /** @type {NoticeWords} */
  cutOff: {
    title: 'This private link is not whole',
    text: 'Some of what follows the # in the address is missing. It may have been cut off on its way: ask for the link again.',
    tone: 'stop',
  },
};

/** @type {Record<string, NoticeWords>} */
export const NOTICES = {
  noWebRtc: {
    title: 'This browser has no WebRTC',
    text: 'Peers connect over it, so this page does not run here. A setting or an extension may have switched it off: allow it and reload the page. Nothing that is stored is lost.',
    tone: 'stop',
  },
  plainHttp: {
    title: 'This page came over plain HTTP',
    text: 'The browser keeps nothing for such a page: what is held here and who you are last until this tab is closed or reloaded, and each tab is a peer of its own. Open the page over HTTPS or on localhost to keep both.',
    tone: 'calm',
  },
  temporary: {
    title: 'This window keeps nothing',
    text: 'It is a private one: what is held here and who you are last until it is closed.',
    tone: 'calm',
  },
  dropTooEarly: {
    title: 'Not shared yet',
    text: 'This page is still opening. Drop the files again when it has.',
    tone: 'wait',
  },
  dropInVain: {
    title: 'Nothing can be shared from here',
    text: 'This page does not run; a notice says why.',
    tone: 'stop',
  },
  offline: {
    title: 'The rendezvous is offline',
    text: 'The links to peers keep working, and running fetches go on. New peers cannot be found until it is back; this page tries again by itself.',
    tone: 'wait',
  },
  engineCrashed: {
    title: 'The engine was started again',
    text: 'It had stopped. What is stored in this browser is still held, and fetches go on.',
    tone: 'calm',
  },
};

/**
 * @param {{ code?: string, message?: string }} error
 * @returns {NoticeWords}
 */
export function errorNotice(error) {
  switch (error.code) {
    case 'engine-crashed': return NOTICES.engineCrashed;
    case 'invalid-content': return { title: 'A peer broke the rules and was dropped', text: `${error.message || reason(error)} Nothing of that was kept, and there is no link to it for a while.`, tone: 'stop' };
    case 'unsupported': return { title: 'This browser lacks something Shoal needs', text: error.message || reason(error), tone: 'stop' };
    case 'store-failed': return { title: 'This browser\u2019s store failed', text: error.message || reason(error), tone: 'stop' };
    case 'link-auth': return { title: 'A link was refused', text: error.message || reason(error), tone: 'stop' };
    case 'rendezvous': return { title: 'The rendezvous refused', text: error.message || reason(error), tone: 'wait' };
    case 'limit': return { title: 'A limit was reached', text: error.message || reason(error), tone: 'wait' };
    default: return { title: 'Something went wrong', text: error.message || reason(error), tone: 'wait' };
  }
}

/**
 * Why the page cannot run at all.
 *
 * @param {{ code?: Code, message?: string } | undefined} error
 * @param {string} namespace
 * @param {boolean} isPrivate
 * @returns {NoticeWords}
 */
export function openingNotice(error, namespace, isPrivate) {
  switch (error?.code) {
    case 'invalid-argument':
      if (isPrivate) return PRIVATE.cutOff;
      return {
        title: 'This namespace cannot be opened',
        text: `\u201c${namespace}\u201d is not the name of a namespace. Check the address of this page.`,
        tone: 'stop',
      };
    case 'store-failed':
      return {
        title: 'This browser\u2019s store cannot be opened',
        text: 'Shoal keeps content in the storage of this browser. A private window or a full disk may forbid it; another window may work.',
        tone: 'stop',
      };
    case 'quota':
      return { title: 'The disk is full', text: 'Shoal cannot open its store. Free space on the disk and reload the page.', tone: 'stop' };
    case 'unsupported':
      return { title: 'This browser cannot run Shoal', text: error.message || 'A browser of the last two years can.', tone: 'stop' };
    default:
      return {
        title: 'Shoal did not start',
        text: `${error?.message || 'Its package could not be loaded.'} Reload the page to try again.`,
        tone: 'stop',
      };
  }
}

/**
 * What is said where nothing is held.
 *
 * @param {boolean} isKept whether the browser keeps what is held, as it does not over plain HTTP
 * @returns {{ title: string, text: string }}
 */
export function nothingHeldWords(isKept) {
  const text = isKept
    ? 'What you share and what you fetch stays in this browser. It is here again when you come back.'
    : 'What you share and what you fetch stays in this tab, until it is closed or reloaded.';
  return { title: 'Nothing is held here yet', text };
}

/**
 * How much is held, of what.
 *
 * @param {import('./shoal/index.js').StorageUse} use
 */
export function spaceWords({ held, limit }) {
  return `${bytes(held)} of ${bytes(limit)} used`;
}

/**
 * Whether the browser keeps what is held.
 *
 * @param {boolean} isKept
 * @param {boolean} wasRefused a person or the browser has just said no
 */
export function keepWords(isKept, wasRefused) {
  if (isKept) return 'This browser keeps it until you remove it.';
  if (wasRefused) return 'This browser does not promise to keep it when the disk is full.';
  return 'This browser may delete it when the disk is full.';
}

/** What the person is asked before everything that is not pinned goes. */
export function clearWords() {
  return {
    title: 'Clear what is not pinned?',
    text: 'It is deleted here and no longer offered, in all namespaces of this site. What is pinned stays, and so does what is being fetched, read or sent to a peer.',
  };
}

/**
 * @param {string} name
 * @param {boolean} isPinned
 */
export function pinWords(name, isPinned) {
  return isPinned ? `${name} is pinned: it stays when room is needed.` : `${name} is no longer pinned: it may go when room is needed.`;
}

/**
 * @param {string} name
 * @param {'saved' | 'begun'} end
 */
export function savedWords(name, end) {
  return end === 'saved' ? `${name} is saved.` : `${name} is being downloaded.`;
}

/**
 * What comes of fetching something.
 *
 * @param {string} namespace
 * @param {boolean} isKept
 */
export function fetchedWords(namespace, isKept) {
  const where = namespace === PRIVATE.name ? 'this private namespace' : `namespace ${namespace}`;
  return isKept
    ? `Fetched content is kept in this browser and offered on from here in ${where}.`
    : `Fetched content is held until this tab is closed or reloaded, and offered on from here in ${where}.`;
}

/**
 * What the person is asked before files are shared.
 *
 * @param {File[]} files
 * @param {string} namespace
 * @param {number} others
 * @param {boolean} isKept
 */
export function shareWords(files, namespace, others, isKept) {
  const size = files.reduce((sum, file) => sum + file.size, 0);
  const them = files.length === 1 ? 'it' : 'them';
  const their = files.length === 1 ? 'its' : 'their';
  const when = isKept ? 'whenever this page is open in this browser' : 'until this tab is closed or reloaded';
  // No public one has such a name.
  const [before, name, who] = namespace === PRIVATE.name
    ? ['In this ', 'private namespace', ': everyone who has its link']
    : ['In namespace ', namespace, ': everyone who opens this page there'];
  const here = others === 0 ? 'Nobody else is here now.' : `${counted(others, 'peer is', 'peers are')} here now.`;
  return {
    title: `Share ${counted(files.length, 'file')} (${bytes(size)})?`,
    where: [before, name, `${who} can see ${their} ${files.length === 1 ? 'name' : 'names'} and fetch ${them}. ${here}`],
    after: `${files.length === 1 ? 'It is' : 'They are'} offered ${when}. You can remove ${them} again, but not the copies that others have fetched.`,
  };
}

/**
 * What the person is asked before content is removed.
 *
 * @param {string} name
 * @param {number} holders
 * @param {boolean} partial
 */
export function removeWords(name, holders, partial) {
  let rest = 'No peer that is here offers it: it may be the only copy.';
  if (holders > 0) rest = `${counted(holders, 'peer here still offers', 'peers here still offer')} it, so it can be fetched again.`;
  return {
    title: 'Remove this from the browser?',
    name,
    text: `It is no longer offered from here, and ${partial ? 'the chunks that came are' : 'its bytes are'} deleted. ${rest}`,
  };
}
