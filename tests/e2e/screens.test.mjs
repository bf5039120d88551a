// What the demo page looks like and says in every state it can be in, those included that
// a real run only passes through. The package is the stand-in of tests/stand-in.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { launch } from '../rig/browsers.mjs';
import { looksRight } from '../rig/screenshot.mjs';
import { startStandIn } from '../stand-in/site.mjs';

const suite = { after };
const site = await startStandIn({ until: suite });
// A host that is neither localhost nor HTTPS, for the state of a plain-HTTP origin.
const PLAIN_HOST = 'shoal.test';
const chromium = await launch('chromium', { until: suite, flags: [`--host-resolver-rules=MAP ${PLAIN_HOST} 127.0.0.1`] });

const folder = mkdtempSync(path.join(os.tmpdir(), 'shoal-screens-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function files(...names) {
  return names.map((name, i) => {
    const file = path.join(folder, name);
    writeFileSync(file, 'x'.repeat(1000 * (i + 1) ** 4));
    return file;
  });
}

async function pick(tab, ...names) {
  await tab.waitFor(() => !document.querySelector('#pick').disabled);
  const input = await tab.page.$('#files');
  await input.uploadFile(...files(...names));
}

const share = async (tab, ...names) => {
  await pick(tab, ...names);
  await tab.waitForText('dialog h2', 'Share');
  await tab.page.click('dialog [value=yes]');
};

const click = (tab, label) => tab.page.click(`[aria-label^="${label}"]`);

const fetchOffer = async (tab) => {
  await tab.waitForText('#offers .name', 'Tidal power');
  await click(tab, 'Fetch Tidal');
};

/** Of what nobody offers: by a link. */
const fetchLink = async (tab) => {
  await tab.waitForText('#link', 'A link to content');
  await tab.page.click('#link .primary');
};

const LECTURE = 'bafkr4iwidsa275uo3fz7tyqd2wvysg3ocnpczte6olmzbqeuh5trunmsve';

/**
 * @typedef {object} Screen
 * @property {string} [scenario] of the stand-in, if not named as the screen
 * @property {string} [query]
 * @property {string} [hash]
 * @property {string} [host]
 * @property {() => void} [before] run in the page before its own scripts
 * @property {(tab: import('../rig/browsers.mjs').Tab) => Promise<void>} [act]
 * @property {[string, string][]} says selector and text
 */

/** @type {Record<string, Screen>} */
const SCREENS = {
  'empty': { says: [['#held-empty', 'Nothing is held here yet'], ['#offers-empty', 'Nobody else is here yet']] },
  'opening': { says: [['#status', 'Opening']] },
  'connecting': { says: [['#status', 'Connecting to the rendezvous']] },
  'alone': { says: [['#held .name', 'Lighthouse at dusk.jpg'], ['#offers-empty', 'Nobody else is here yet']] },
  'nothing-offered': { says: [['#offers-empty', 'Nothing is offered yet'], ['#peers-summary', '4 peers here, 3 linked'], ['.peer', 'no offers known yet']] },
  'swarm': { says: [['#offers .name', 'Tidal power'], ['#offers .facts', '734 MB'], ['#offers .holders', '3 peers, 1 in part'], ['#you', 'You are']] },
  'one-peer': {
    scenario: 'swarm',
    act: async (tab) => {
      await tab.waitForText('#offers .name', 'Tidal power');
      await tab.page.click('.peer');
    },
    says: [['#chosen', 'Only what'], ['#offers .name', 'field-notes-2026.pdf']],
  },
  'searching': { hash: LECTURE, act: fetchLink, says: [['.words', 'Searching for a holder']] },
  'asking': { act: fetchOffer, says: [['.words', 'Searching: asking its holders'], ['.words', '3 peers here offer it']] },
  'no-holder': { hash: LECTURE, act: fetchLink, says: [['.words', 'No holder yet'], ['.words', 'none of them holds it']] },
  'waiting-gone': { says: [['.words', 'Waiting: all its holders have gone'], ['.words', 'that came are kept'], ['.numbers', '41 %']] },
  'waiting-holders': { says: [['.words', 'Waiting for its holders'], ['.words', '3 peers here offer it. The']] },
  'waiting-unreachable': {
    act: async (tab) => {
      await fetchOffer(tab);
      await tab.waitForText('.notice summary', 'What was tried');
      await tab.page.click('.notice summary');
    },
    says: [
      ['.words', 'Waiting: no connection to its holders'], ['.notice', '2 peers cannot be reached'],
      ['.candidates', 'Public address, from STUN'], ['.notice', 'a TURN server would help'],
      ['.peer', 'no connection'],
    ],
  },
  'no-stun': { says: [['.notice', 'A peer cannot be reached'], ['.notice', 'the rendezvous names no STUN server']] },
  'no-candidates': { says: [['.notice', 'this browser found no network address to offer']] },
  'viewed-elsewhere': { says: [['.words', 'Viewed in another tab'], ['#held .actions', 'Stop']] },
  'disk-full': { says: [['.words', 'Waiting: there is no room']] },
  'nearly-full': { says: [['#space', 'of 6.5 MB used'], ['#space', 'keeps it until you remove it'], ['.fact-pinned', 'Pinned'], ['#held .actions', 'Unpin']] },
  'offline': { says: [['#status', 'Rendezvous offline'], ['.notice', 'The links to peers keep working'], ['.words', 'Waiting: the rendezvous is offline']] },
  'offline-fetching': { says: [['#status', 'Rendezvous offline'], ['.words', 'Fetching from 2 peers']] },
  'fetching': { says: [['.words', 'Fetching from 3 peers'], ['.numbers', '10 MB/s'], ['.numbers', '28 s left'], ['.chunks summary', 'of 2,800 chunks'], ['.legend', 'MB/s']] },
  'paused': {
    scenario: 'fetching',
    act: async (tab) => {
      await tab.waitForText('.words', 'Fetching from 3 peers');
      await click(tab, 'Pause Tidal');
    },
    says: [['.words', 'Paused'], ['.words', 'What came is kept and shared.'], ['#held .actions', 'Go on']],
  },
  'resumed': { says: [['.legend', 'Held before']] },
  'done': { says: [['.words', 'Held here'], ['.chunks summary', '2,800 of 2,800 chunks'], ['#held .actions', 'Save']] },
  'failed': { act: fetchOffer, says: [['.words', 'Not fetched'], ['.words', 'The engine stopped'], ['#held .actions', 'Try again']] },
  'partial': { says: [['.words', 'A part is held here'], ['#held .actions', 'Go on']] },
  'confirm': {
    scenario: 'swarm',
    query: '&namespace=reading-room',
    act: (tab) => pick(tab, 'map.pdf', 'holiday in the far north, day one.jpg', 'notes.txt'),
    says: [['dialog h2', 'Share 3 files (98 kB)?'], ['dialog', 'In namespace reading-room: everyone who opens this page there can see their names and fetch them. 4 peers are here now.'], ['dialog', 'Cancel']],
  },
  'publishing': {
    act: (tab) => share(tab, 'one.bin', 'two.bin', 'three.bin'),
    says: [['.words', 'Reading and hashing'], ['.words', 'Waiting its turn'], ['.numbers', '37 %']],
  },
  'publish-full': {
    act: (tab) => share(tab, 'large.iso'),
    says: [['.words', 'Not shared: there is no room'], ['#held .actions', 'Try again']],
  },
  'publish-changed': {
    act: (tab) => share(tab, 'diary.txt'),
    says: [['.words', 'Not shared'], ['.words', 'The file could not be read, or changed meanwhile.'], ['#held .actions', 'Try again']],
  },
  'stopped': {
    scenario: 'fetching',
    act: async (tab) => {
      await tab.waitForText('.words', 'Fetching from 3 peers');
      await click(tab, 'Stop Tidal');
    },
    says: [['.words', 'A part is held here'], ['#held .actions', 'Go on']],
  },
  'remove': {
    scenario: 'swarm',
    act: async (tab) => {
      await tab.waitForText('#offers .name', 'README');
      await click(tab, 'Remove README');
    },
    says: [['dialog h2', 'Remove this from the browser?'], ['dialog', '1 peer here still offers it']],
  },
  'link': { scenario: 'swarm', hash: LECTURE, says: [['#link', 'A link to content'], ['#link', 'kept in this browser'], ['#link', 'Tidal power'], ['#link', '3 peers here offer it'], ['#link', 'offered on from here in namespace public']] },
  'link-no-holder': { scenario: 'alone', hash: LECTURE, says: [['#link', 'No peer here offers it at the moment']] },
  'link-held': { scenario: 'done', hash: LECTURE, says: [['#link', 'You hold what this link leads to']] },
  'link-invalid': { scenario: 'swarm', hash: 'bafkr4i-cut-off', says: [['#link', 'This link leads nowhere'], ['#link', 'is not a content key']] },
  'no-webrtc': {
    scenario: 'alone',
    before: () => { delete globalThis.RTCPeerConnection; },
    says: [['#status', 'Not running'], ['.notice', 'This browser has no WebRTC'], ['.notice', 'this page does not run here'], ['.drop', 'Nothing can be shared']],
  },
  'plain-http': { scenario: 'swarm', host: PLAIN_HOST, says: [['.notice', 'This page came over plain HTTP'], ['.notice', 'last until this tab is closed or reloaded']] },
  'plain-http-empty': { scenario: 'empty', host: PLAIN_HOST, says: [['#held-empty', 'stays in this tab, until it is closed or reloaded']] },
  'plain-http-confirm': {
    scenario: 'swarm',
    host: PLAIN_HOST,
    act: (tab) => pick(tab, 'map.pdf'),
    says: [['dialog', 'It is offered until this tab is closed or reloaded.']],
  },
  'plain-http-link': {
    scenario: 'swarm',
    host: PLAIN_HOST,
    act: async (tab) => {
      await tab.waitForText('#held .name', 'README');
      await click(tab, 'Copy link README');
    },
    says: [['dialog', 'Copy this link']],
  },
  'liar': { says: [['.notice', 'A peer broke the rules and was dropped'], ['.notice', 'chunk 41 has the wrong bytes'], ['.notice', 'Nothing of that was kept']] },
  'impostor': { says: [['.notice', 'A link was refused'], ['.notice', 'Somebody may be in between']] },
  'crashed': { says: [['.notice', 'The engine was started again']] },
  'no-store': { says: [['.notice', 'store cannot be opened'], ['.drop', 'Nothing can be shared']] },
  'store-full': { says: [['.notice', 'The disk is full']] },
  'unsupported': {
    scenario: 'alone',
    before: () => { delete globalThis.WebAssembly; },
    says: [['.notice', 'This browser cannot run Shoal'], ['.notice', 'Shoal needs WebAssembly']],
  },
  'two-versions': { says: [['.notice', 'Another tab of this site runs another version of Shoal']] },
  'bad-namespace': { query: '&namespace=%22%3E%3Cb%3Eodd', says: [['.notice', 'This namespace cannot be opened'], ['.notice', '“"><b>odd” is not the name of a namespace']] },
  'not-started': { says: [['.notice', 'Shoal did not start']] },
  'names': { says: [['#held .name', '"><img src=x onerror=alert(1)>.png'], ['#offers .name', 'O\'Brien & <b>sons</b>.txt']] },
  'volume': { says: [['#held-sum', '1,001 contents'], ['#peers-summary', '200 peers here'], ['.chunks summary', 'of 16,384 chunks'], ['.legend', 'other peers']] },
};

for (const [name, screen] of Object.entries(SCREENS)) {
  test(`looks right: ${name}`, async (t) => {
    const tab = await chromium.open(undefined, { until: t });
    if (screen.before) await tab.page.evaluateOnNewDocument(screen.before);
    const url = new URL(`/?scenario=${screen.scenario ?? name}${screen.query ?? ''}`, site.url);
    if (screen.host) url.hostname = screen.host;
    if (screen.hash) url.hash = screen.hash;
    await tab.goto(url);
    await screen.act?.(tab);
    for (const [selector, text] of screen.says) await tab.waitForText(selector, text);
    await looksRight(tab, name);
    tab.assertClean();
  });
}
