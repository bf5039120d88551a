// Real browsers for tests and benchmarks: Chromium over CDP, Firefox over WebDriver
// BiDi, both through puppeteer-core, headless, without any driver program.
//
//   const browser = await launch('chromium', { until: t });   // or 'firefox'
//   const tab = await browser.open('http://127.0.0.1:8080/');  // a context of its own
//   await tab.waitFor(() => document.querySelector('h1'));
//
// `until` is the test that something lives as long as; it is closed after that. For all
// tests of a file it is `{ after }` of node:test, used at the top of the file and not in
// `before`, where Node 20 would run it at once.
//
// A tab opened with `{ context: 'profile' }` shares storage with the others opened so,
// on disk if the browser was given a `profile`; every other tab has storage of its own,
// which Chromium keeps in memory. Only processes that were started here are ended.

import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { accessSync, constants, existsSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import puppeteer from 'puppeteer-core';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const target = path.join(root, 'target');

/** Both, for tests that run in each. */
export const BROWSERS = ['chromium', 'firefox'];

/** How long a condition may take before the test fails, in milliseconds: a guess, some
 *  ten times what a busy machine of two cores needs to start a browser. */
const PATIENCE = 30_000;

const PROGRAMS = {
  chromium: ['chromium', 'chromium-browser', 'google-chrome'],
  firefox: ['firefox-esr', 'firefox'],
};

const CHROMIUM_FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
  // Peers on one machine: host candidates as addresses, and the loopback among them.
  '--disable-features=WebRtcHideLocalIpsWithMdns', '--allow-loopback-in-peer-connection',
];

/** Several tabs work at once, and only one of them is in front. puppeteer says so too. */
const CHROMIUM_AWAKE = [
  '--disable-renderer-backgrounding', '--disable-background-timer-throttling',
  '--disable-backgrounding-occluded-windows',
];

const FIREFOX_PREFERENCES = {
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.peerconnection.ice.loopback': true,
};

const FIREFOX_AWAKE = {
  'dom.min_background_timeout_value': 4,
  'dom.timeout.enable_budget_timer_throttling': false,
};

/**
 * Starts a browser.
 *
 * @param {'chromium' | 'firefox'} name
 * @param {object} [options]
 * @param {{ after(done: () => Promise<void>): void }} [options.until]
 * @param {string} [options.profile] folder of a profile on disk, kept (see `temporaryProfile`)
 * @param {string[]} [options.flags] further command line flags
 * @param {Record<string, unknown>} [options.preferences] further preferences of Firefox
 * @param {boolean} [options.isAwake] `false`: tabs that are not in front are throttled, as a
 *   person's are
 */
export async function launch(name, { until, profile, flags = [], preferences = {}, isAwake = true } = {}) {
  const puppet = await puppeteer.launch({
    browser: name === 'firefox' ? 'firefox' : 'chrome',
    executablePath: program(name),
    headless: true,
    userDataDir: profile,
    args: name === 'chromium' ? [...CHROMIUM_FLAGS, ...(isAwake ? CHROMIUM_AWAKE : []), ...flags] : flags,
    ignoreDefaultArgs: isAwake ? false : CHROMIUM_AWAKE,
    extraPrefsFirefox: { ...FIREFOX_PREFERENCES, ...(isAwake ? FIREFOX_AWAKE : {}), ...preferences },
    defaultViewport: { width: 1280, height: 800 },
    // Large evaluations and files pass through the protocol.
    protocolTimeout: 600_000,
  });
  const browser = new Browser(name, puppet, profile);
  until?.after(() => browser.close());
  // puppeteer forgets every other one (24.43). Before a profile is removed, so first.
  const end = () => browser.end();
  process.prependOnceListener('exit', end);
  puppet.process().once('exit', () => process.off('exit', end));
  return browser;
}

/** A folder for a profile under target/, removed when this process ends. */
export async function temporaryProfile() {
  const profiles = path.join(target, 'profiles');
  await mkdir(profiles, { recursive: true });
  const folder = await mkdtemp(path.join(profiles, 'profile-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }));
  return folder;
}

class Browser {
  /** @param {string} name @param {import('puppeteer-core').Browser} puppet @param {string} [profile] */
  constructor(name, puppet, profile) {
    this.name = name;
    this.puppet = puppet;
    this.profile = profile;
  }

  /** Opens a tab in a context of its own, or in the profile, and goes to `url`. */
  async open(url, { context = 'own', until } = {}) {
    if (context === 'profile') {
      return this.#tab(await this.puppet.newPage(), url, until);
    }
    const own = await this.puppet.createBrowserContext();
    return this.#tab(await own.newPage(), url, until);
  }

  /** Opens another tab in the context of an open one: the two share their storage. */
  async openBeside(tab, url, { until } = {}) {
    return this.#tab(await tab.page.browserContext().newPage(), url, until);
  }

  async #tab(page, url, until) {
    const tab = new Tab(this.name, page);
    until?.after(() => tab.close());
    if (url !== undefined) await tab.goto(url);
    return tab;
  }

  /** Ends the browser as a person would: pages get their `pagehide`, stores are closed. */
  async close() {
    if (this.#hasEnded()) return;
    await this.puppet.close();
  }

  /** Ends the browser as a power cut would. */
  async kill() {
    if (this.#hasEnded()) return;
    const ended = new Promise((resolve) => this.puppet.process().once('exit', resolve));
    this.end();
    await ended;
    // puppeteer puts Firefox's preferences back then, under the hands of who starts the next.
    const deadline = Date.now() + PATIENCE;
    while (this.#hasBackup() && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  #hasBackup() {
    const { profile } = this;
    return profile !== undefined && ['prefs.js', 'user.js'].some((file) => existsSync(path.join(profile, `${file}.puppeteer`)));
  }

  /** As `kill`, without waiting. */
  end() {
    if (this.#hasEnded()) return;
    // puppeteer makes the browser the head of a process group, which holds its
    // renderers and utilities and nothing else.
    process.kill(-this.puppet.process().pid, 'SIGKILL');
  }

  #hasEnded() {
    const { exitCode, signalCode } = this.puppet.process();
    return exitCode !== null || signalCode !== null;
  }
}

export class Tab {
  /** What the page wrote to its console: `{ type, text }`. */
  log = [];
  /** Errors nobody caught. */
  errors = [];

  /** @param {string} browser @param {import('puppeteer-core').Page} page */
  constructor(browser, page) {
    this.browser = browser;
    this.page = page;
    page.on('console', (message) => this.log.push({ type: message.type(), text: message.text() }));
    page.on('pageerror', (error) => this.errors.push(error));
    page.setDefaultTimeout(PATIENCE);
  }

  async goto(url) {
    await this.page.goto(String(url), { waitUntil: 'load' });
  }

  /** Runs a function in the page; a promise it returns is awaited. */
  evaluate(task, ...args) {
    return this.page.evaluate(task, ...args);
  }

  /**
   * Resolves with the first truthy value of `condition`, a function that runs in the
   * page, may be async, and is asked at once and whenever the document changes or the
   * page dispatches `rig` on its window (for state that is not in the document).
   */
  async waitFor(condition, { args = [], timeout = PATIENCE, what } = {}) {
    // As an expression, since a function made in the page falls to its content policy.
    const found = this.page.evaluate(`(async () => {
      const condition = ${condition};
      const args = ${JSON.stringify(args)};
      const deadline = Date.now() + ${timeout};
      let changed = () => {};
      const observer = new MutationObserver(() => changed());
      observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
      const onRig = () => changed();
      addEventListener('rig', onRig);
      const timer = setTimeout(onRig, ${timeout});
      try {
        for (;;) {
          const next = new Promise((resolve) => { changed = resolve; });
          const value = await condition(...args);
          if (value) return { value };
          if (Date.now() >= deadline) return null;
          await next;
        }
      } finally {
        observer.disconnect();
        removeEventListener('rig', onRig);
        clearTimeout(timer);
      }
    })()`);
    const result = await within(timeout + 5_000, found, () => this.#report(what ?? condition, timeout));
    if (result === null) throw new Error(this.#report(what ?? condition, timeout));
    return result.value;
  }

  /** Waits until an element with this selector shows (and `text`, if given, is in it). */
  waitForText(selector, text = '') {
    return this.waitFor(
      (selector, text) => [...document.querySelectorAll(selector)]
        .some((element) => element.checkVisibility() && element.textContent.includes(text)),
      { args: [selector, text], what: `"${text}" in ${selector}` },
    );
  }

  /** Throws if the page had an error nobody caught, or wrote one to its console. */
  assertClean({ except = [] } = {}) {
    const written = this.log.filter(({ type }) => type === 'error').map(({ text }) => text);
    const all = [...this.errors.map((error) => String(error?.stack ?? error)), ...written]
      .filter((text) => !except.some((pattern) => text.match(pattern)));
    if (all.length) throw new Error(`errors in ${this.browser}, ${this.page.url()}:\n${all.join('\n')}`);
  }

  /** Closes the tab, and its context with it if that was its own. */
  async close() {
    if (this.page.isClosed() || !this.page.browser().connected) return;
    const context = this.page.browserContext();
    await this.page.close();
    const isOwn = context !== context.browser().defaultBrowserContext();
    if (isOwn && (await context.pages()).length === 0) await context.close();
  }

  #report(what, timeout) {
    const lines = this.log.slice(-30).map(({ type, text }) => `  ${type}: ${text}`);
    const errors = this.errors.map((error) => `  uncaught: ${error?.stack ?? error}`);
    return [`not within ${timeout} ms in ${this.browser}, ${this.page.url()}: ${what}`, ...errors, ...lines].join('\n');
  }
}

/** Passes a promise on, or rejects after a time with what `say` returns. */
export async function within(milliseconds, promise, say) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(say())), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Where a browser is: the variable SHOAL_CHROMIUM or SHOAL_FIREFOX, or on the path. */
function program(name) {
  const told = process.env[`SHOAL_${name.toUpperCase()}`];
  if (told) return told;
  const folders = (process.env.PATH ?? '').split(path.delimiter);
  for (const candidate of PROGRAMS[name]) {
    for (const folder of folders) {
      const file = path.join(folder, candidate);
      try {
        accessSync(file, constants.X_OK);
        return file;
      } catch {
        // Not here.
      }
    }
  }
  throw new Error(`${name} is not installed; \`cargo xtask test\` installs it, or says how`);
}
