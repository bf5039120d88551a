// How the demo page behaves: what it asks before it acts, where the focus goes, what it
// says aloud, and what it costs. The package is the stand-in of tests/stand-in.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { launch } from '../rig/browsers.mjs';
import { startStandIn } from '../stand-in/site.mjs';
import { bytes, isKey, shownName, tile, timeLeft } from '../../www/format.js';
import { failureWords, reason } from '../../www/words.js';

const suite = { after };
const site = await startStandIn({ until: suite });
const chromium = await launch('chromium', { until: suite });
const folder = mkdtempSync(path.join(os.tmpdir(), 'shoal-page-'));
after(() => rmSync(folder, { recursive: true, force: true }));

async function open(t, scenario, { hash = '', query = '', before } = {}) {
  const tab = await chromium.open(undefined, { until: t });
  if (before) await tab.page.evaluateOnNewDocument(before);
  await tab.goto(`${site.url}/?scenario=${scenario}${query}${hash}`);
  await tab.waitFor(() => !document.querySelector('#pick').disabled);
  return tab;
}

const focused = (tab) => tab.evaluate(() => {
  const { activeElement } = document;
  return activeElement.getAttribute('aria-label') ?? activeElement.textContent;
});

async function pick(tab, ...names) {
  const input = await tab.page.$('#files');
  await input.uploadFile(...names.map((name) => {
    const file = path.join(folder, name);
    writeFileSync(file, name);
    return file;
  }));
  await tab.waitForText('dialog h2', 'Share');
}

test('nothing is shared before the person has agreed', async (t) => {
  const tab = await open(t, 'empty');
  await pick(tab, 'a.txt', 'b.txt');
  assert.equal(await focused(tab), 'Share');
  await tab.page.keyboard.press('Escape');
  await tab.waitFor(() => !document.querySelector('dialog').open);
  assert.deepEqual(await tab.evaluate(() => globalThis.standIn.published), []);

  await pick(tab, 'a.txt', 'b.txt');
  await tab.page.keyboard.press('Enter');
  await tab.waitForText('#held .name', 'b.txt');
  assert.deepEqual(await tab.evaluate(() => globalThis.standIn.published), ['a.txt', 'b.txt']);
  await tab.waitForText('#announcer', 'a.txt is shared. b.txt is shared.');
  tab.assertClean();
});

test('files can be dropped, and a drop without files is left to the browser', async (t) => {
  const tab = await open(t, 'empty', { query: '&namespace=harbour' });
  const drop = (kind) => tab.evaluate((kind) => {
    const dataTransfer = new DataTransfer();
    if (kind === 'file') dataTransfer.items.add(new File(['dropped'], 'dropped.md', { type: 'text/markdown' }));
    else dataTransfer.setData('text/plain', 'words');
    const event = new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true });
    document.querySelector('#drop').dispatchEvent(event);
    return event.defaultPrevented;
  }, kind);
  assert.equal(await drop('text'), false);
  assert.equal(await drop('file'), true);
  await tab.waitForText('dialog', 'dropped.md');
  await tab.waitForText('dialog', 'In namespace harbour: everyone who opens this page there can see its name and fetch it.');
  tab.assertClean();
});

test('a file dropped before the page is open, or in vain, is kept from the browser', async (t) => {
  const drop = (tab) => tab.evaluate(() => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File(['dropped'], 'dropped.md'));
    return ['dragover', 'drop'].map((type) => {
      const event = new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true });
      document.body.dispatchEvent(event);
      return event.defaultPrevented;
    });
  });
  for (const [scenario, status, words] of [['opening', 'Opening', 'Not shared yet'], ['no-store', 'Not running', 'Nothing can be shared from here']]) {
    const tab = await chromium.open(undefined, { until: t });
    await tab.goto(`${site.url}/?scenario=${scenario}`);
    await tab.waitForText('#status', status);
    assert.deepEqual(await drop(tab), [true, true]);
    await tab.waitForText('.notice', words);
    tab.assertClean();
  }
});

test('names are text, whatever they hold', async (t) => {
  const tab = await open(t, 'names');
  await tab.waitForText('#held .name', '"><img src=x onerror=alert(1)>.png');
  assert.equal(await tab.evaluate(() => document.querySelectorAll('.rows :is(img, b, script)').length), 0);
  await pick(tab, '<b>bold<b>.txt');
  assert.equal(await tab.evaluate(() => document.querySelectorAll('dialog b').length), 0);
  tab.assertClean();
});

test('a link has the namespace and the key, and no more', async (t) => {
  const tab = await open(t, 'alone', {
    query: '&namespace=reading room',
    before: () => Object.defineProperty(navigator, 'clipboard', { value: { writeText: async (text) => { globalThis.copied = text; } } }),
  });
  await tab.waitForText('#held .name', 'README');
  await tab.page.click('[aria-label="Copy link README"]');
  await tab.waitForText('#announcer', 'Link copied.');
  const copied = new URL(await tab.evaluate(() => globalThis.copied));
  assert.equal(copied.search, '?namespace=reading+room');
  assert.ok(isKey(copied.hash.slice(1)));

  // Opened where the content is held it leads there; where it is not, it offers the fetch.
  await tab.evaluate((hash) => { location.hash = hash; }, copied.hash);
  await tab.waitForText('#link', 'You hold what this link leads to');
  const other = await open(t, 'empty', { hash: copied.hash });
  await other.waitForText('#link', 'No peer here offers it at the moment');
  assert.equal(await other.evaluate(() => document.querySelector('#held-rows').children.length), 0);
  await other.page.click('#link .primary');
  await other.waitForText('#held .words', 'Searching for a holder');
  assert.equal(await other.evaluate(() => document.querySelector('#link').hidden), true);
  assert.equal(await other.evaluate(() => document.activeElement.className), 'row');
  other.assertClean();
});

test('everything can be done with the keyboard', async (t) => {
  const tab = await open(t, 'swarm');
  await tab.waitForText('#offers .name', 'Harbour bells.flac');
  await tab.waitForText('#held .name', 'README');
  const reached = [];
  for (let presses = 0; presses < 50 && reached.at(-1) !== 'Fetch Tidal power – lecture 3.mp4'; presses += 1) {
    await tab.page.keyboard.press('Tab');
    reached.push(await focused(tab));
  }
  for (const control of ['Choose files', 'Save README', 'Copy link README', 'Remove README', 'Fetch Harbour bells.flac']) {
    assert.ok(reached.includes(control), `${control} in ${reached.join(', ')}`);
  }
  await tab.page.keyboard.press('Enter');
  await tab.waitForText('.words', 'Fetching from 3 peers');
  assert.equal(await focused(tab), 'Fetching Tidal power – lecture 3.mp4');
  tab.assertClean();
});

test('the focus stays near what was removed', async (t) => {
  const tab = await open(t, 'alone');
  await tab.waitForText('#held .name', 'Lighthouse');
  await tab.page.click('[aria-label^="Remove Lighthouse"]');
  await tab.waitForText('dialog', 'it may be the only copy');
  assert.equal(await focused(tab), 'Keep');
  await tab.page.click('dialog [value=yes]');
  await tab.waitFor(() => document.querySelector('#held-rows').children.length === 2);
  assert.match(await focused(tab), /README/);
  tab.assertClean();
});

test('what is pinned is said, stays when the rest is cleared, and can be let go', async (t) => {
  const tab = await open(t, 'alone');
  await tab.waitForText('#held .name', 'Lighthouse');
  await tab.waitForText('#space', 'used');
  const meter = () => tab.evaluate(() => {
    const { ariaValueNow, ariaValueText } = document.querySelector('#space [role=meter]');
    return [ariaValueNow, ariaValueText];
  });
  const [, before] = await meter();
  await tab.page.click('[aria-label^="Pin Lighthouse"]');
  await tab.waitForText('#held .fact-pinned', 'Pinned');
  await tab.waitForText('#announcer', 'stays when room is needed');
  assert.match(await focused(tab), /^Unpin Lighthouse/);
  await tab.page.click('#space [aria-label^="Clear"]');
  await tab.waitForText('dialog', 'What is pinned stays');
  assert.equal(await focused(tab), 'Keep');
  await tab.page.click('dialog [value=yes]');
  await tab.waitFor(() => document.querySelector('#held-rows').children.length === 1);
  await tab.waitForText('#announcer', 'were freed');
  const [, after] = await meter();
  assert.notEqual(after, before);
  await tab.page.click('[aria-label^="Unpin Lighthouse"]');
  await tab.waitFor(() => !document.querySelector('.fact-pinned'));
  tab.assertClean();
});

test('the browser is asked to keep what is held when a person says so, and the answer is said', async (t) => {
  for (const [scenario, words] of [['alone', 'keeps it until you remove it'], ['refused', 'does not promise to keep it']]) {
    const tab = await open(t, scenario);
    await tab.waitForText('#space', 'may delete it when the disk is full');
    await tab.page.click('#space [aria-label^="Ask to keep it"]');
    await tab.waitForText('#space', words);
    await tab.waitForText('#announcer', words);
    assert.equal(await focused(tab), 'In this browser');
    tab.assertClean();
  }
});

test('a content is saved under its name', async (t) => {
  const tab = await open(t, 'names', { before: () => { delete globalThis.showSaveFilePicker; } });
  await tab.waitForText('#held .name', '../../etc/passwd');
  const session = await tab.page.createCDPSession();
  await session.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: folder, eventsEnabled: true, browserContextId: tab.page.browserContext().id });
  const begun = new Promise((resolve) => session.once('Browser.downloadWillBegin', resolve));
  const completed = new Promise((resolve) => session.on('Browser.downloadProgress', ({ state }) => state === 'completed' && resolve()));
  await tab.page.click('[aria-label="Save ../../etc/passwd"]');
  const { suggestedFilename } = await begun;
  await completed;
  assert.doesNotMatch(suggestedFilename, /[/\\]/);
  assert.match(readFileSync(path.join(folder, suggestedFilename), 'utf8'), /^bytes of bafkr4i/);
  await tab.waitForText('#announcer', 'is saved.');
  tab.assertClean();
});

test('a storm of progress is drawn once a frame, and is not spoken', async (t) => {
  const tab = await open(t, 'fetching');
  await tab.waitForText('.words', 'Fetching from 3 peers');
  const seen = await tab.evaluate(async () => {
    const [key, transfer] = [...globalThis.standIn.transfers].at(-1);
    const count = { page: 0, announcer: 0 };
    const observe = (target, name) => new MutationObserver((records) => { count[name] += records.length; })
      .observe(target, { subtree: true, childList: true, characterData: true, attributes: true });
    const frame = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    await frame();
    observe(document.querySelector('main'), 'page');
    observe(document.querySelector('#announcer'), 'announcer');
    for (let i = 0; i < 1000; i += 1) {
      const progress = { ...transfer.progress, held: transfer.progress.held + i * 1000 };
      transfer.dispatchEvent(new CustomEvent('progress', { detail: progress }));
      transfer.dispatchEvent(new CustomEvent('chunk', { detail: { index: i, peer: `12D3KooWnew${i % 3}` } }));
    }
    await frame();
    await frame();
    return { ...count, key };
  });
  assert.ok(seen.page < 300, `${seen.page} changes of the page for 2,000 events`);
  assert.equal(seen.announcer, 0);
  tab.assertClean();
});

test('a thousand contents make a page of rows, and the filter finds among all', async (t) => {
  const tab = await open(t, 'volume');
  await tab.waitForText('#offers-sum', '1,001 contents');
  await tab.waitForText('#held-sum', '1,001 contents');
  assert.equal(await tab.evaluate(() => document.querySelectorAll('#held-rows > li').length), 50);
  assert.equal(await tab.evaluate(() => document.querySelectorAll('#offers-rows > li').length), 50);
  await tab.page.click('#held-more');
  await tab.waitFor(() => document.querySelectorAll('#held-rows > li').length === 100);
  await tab.page.type('#held-filter input', 'scan-12.png');
  await tab.waitFor(() => document.querySelectorAll('#held-rows > li').length === 1);
  await tab.waitForText('#held .name', 'scan-12.png');
  tab.assertClean();
});

// What the engine, its store and the facade give for each kind.
const FAILURES = {
  publish: ['invalid-content', 'invalid-argument', 'limit', 'quota', 'store-failed', 'engine-crashed'],
  fetch: ['invalid-key', 'not-held', 'quota', 'store-failed', 'engine-crashed'],
};

test('a failure is told in words of its kind, and no words are a code', () => {
  for (const [kind, codes] of Object.entries(FAILURES)) {
    for (const code of codes) {
      const { title, text } = failureWords(kind, { code, message: 'of the error' });
      assert.match(title, kind === 'publish' ? /^Not shared/ : /^Not fetched/);
      assert.match(text, /^[A-Z].{10,}\.$/);
      if (code.includes('-')) assert.ok(!text.includes(code), text);
    }
  }
  assert.match(failureWords('publish', { code: 'invalid-content' }).text, /file could not be read, or changed/);
  assert.match(failureWords('publish', { code: 'limit' }).text, /64 GiB/);
  assert.match(failureWords('fetch', { code: 'not-held' }).text, /removed/);
  for (const kind of Object.keys(FAILURES)) {
    assert.equal(failureWords(kind, { code: 'unheard-of', message: 'In its own words.' }).text, 'In its own words.');
  }
  assert.equal(reason(undefined), 'Something went wrong.');
  assert.equal(reason(new DOMException('No room on the stick.', 'QuotaExceededError')), 'No room on the stick.');
});

test('sizes, times and names read well', () => {
  assert.deepEqual([0, 1, 999, 1000, 9_950, 999_499, 999_500, 4_294_967_296].map(bytes),
    ['0 bytes', '1 byte', '999 bytes', '1.0 kB', '10 kB', '999 kB', '1.0 MB', '4.3 GB']);
  assert.deepEqual([0.2, 89, 90, 5400, 172_800, Infinity].map(timeLeft),
    ['1 s left', '89 s left', '2 min left', '1 h 30 min left', '2 days left', '']);
  assert.equal(shownName('invoice\u202egpj.exe'), 'invoice\ufffdgpj.exe');
  assert.equal(Array.from(shownName('🐟'.repeat(300))).length, 255);
  assert.equal(tile({ name: 'a.tar.ZST' }), 'ZST');
  assert.equal(tile({ type: 'video/mp4' }), 'VIDEO');
});
