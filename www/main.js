/** Opens the peer of this page and puts the page's parts together. */

import { privatePart } from './copying.js';
import { byId, element, fill, fish, setText } from './element.js';
import { shownName, tail } from './format.js';
import { Library } from './library.js';
import { LinkPanel } from './link.js';
import { nameOf } from './names.js';
import { notify, notifyUnreachable, settleUnreachable, told, unnotify } from './notices.js';
import { Offers } from './offers.js';
import { Peers } from './peers.js';
import { People } from './people.js';
import { Privacy } from './privacy.js';
import { School } from './school.js';
import { Sharing } from './share.js';
import { Space } from './space.js';
import { errorNotice, NOTICES, openingNotice, PRIVATE, STATUS } from './words.js';

const sharing = new Sharing();
const isPrivate = privatePart() !== '';
const namespace = isPrivate ? PRIVATE.name : new URLSearchParams(location.search).get('namespace') || 'public';

setText(byId('namespace'), shownName(namespace));
if (!isSecureContext) notify('http', NOTICES.plainHttp);

try {
  // Loaded here and not at the top, so that the page can say when it cannot be.
  const { Peer, createSecret, secretLink, secretOf } = await import('./shoal/index.js');
  new Privacy({ createSecret, secretLink });
  const secret = secretOf();
  await start(await Peer.open(secret === null ? { namespace } : { secret }));
} catch (error) {
  showStatus('failed');
  byId('columns').hidden = true;
  sharing.forbid();
  const hasWebRtc = typeof RTCPeerConnection === 'function';
  const words = hasWebRtc ? openingNotice(/** @type {Error} */ (error), namespace, isPrivate) : NOTICES.noWebRtc;
  notify('opening', words, { dismissible: false });
}

/** @param {import('./shoal/index.js').Peer} peer */
async function start(peer) {
  const people = new People(peer);
  const library = new Library(peer, people, () => peer.state === 'offline');
  const offers = new Offers(peer, people, library, { onchoose: () => peers.touchAll() });
  const peers = new Peers(people, offers);
  new School(people, peer.id);
  const space = new Space(peer);
  library.addEventListener('sum', () => space.touch());

  peer.addEventListener('state', ({ detail }) => {
    noteState(detail.state);
    // Another, if the data of the site was cleared.
    showSelf(peer.id);
  });
  peer.addEventListener('error', ({ detail }) => noteError(detail, people));
  people.addEventListener('people', () => settleUnreachable((id) => {
    const person = people.persons.get(id);
    return !person || person.linked;
  }));
  noteState(peer.state);
  showSelf(peer.id);
  if (isSecureContext && peer.temporary) notify('temporary', NOTICES.temporary);
  sharing.allow({ namespace, people, library });

  await Promise.all([library.load(), people.refresh(), space.update()]);
  // Where there are no service workers contents are saved all the same, but not shown. What is
  // shown is read only: whether the rest comes is said by the row, and ends with its `Stop`.
  peer.serve({ onDemand: true }).then(() => library.giveAddresses(), () => {});
  new LinkPanel({ people, library, namespace });
}

/** @param {import('./shoal/index.js').Peer['state']} state */
function noteState(state) {
  showStatus(state);
  if (state === 'offline') notify('state', NOTICES.offline);
  else unnotify('state');
}

/**
 * @param {import('./shoal/index.js').ShoalError & import('./notices.js').Unreachable} error
 * @param {People} people
 */
function noteError(error, people) {
  if (error.code === 'unreachable') {
    if (error.peer) people.unreachable(error.peer, error);
    notifyUnreachable(error);
  } else {
    notify(error.code, errorNotice({ code: error.code, message: told(error) }));
  }
}

/** @param {string} state */
function showStatus(state) {
  byId('status').dataset.state = state;
  setText(byId('status-words'), STATUS[state]);
}

/** @param {string} id */
function showSelf(id) {
  const you = byId('you');
  fill(you, fish('self'), 'You are ', element('strong', {}, nameOf(id)), ' ', element('code', { class: 'peer-tail', title: id }, `\u2026${tail(id)}`));
  you.hidden = false;
}
