// What a page looks like, and whether it holds: pictures at two widths in both colour
// schemes under target/screenshots, no overflow, nothing that axe-core objects to.
//
//   await looksRight(tab, 'empty');   // throws with all that is wrong
//
// Chromium alone emulates colour schemes, so these tabs are Chromium's.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { target } from './browsers.mjs';

export const WIDTHS = [360, 1280];
export const SCHEMES = ['light', 'dark'];
const HEIGHT = 800;

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Takes the four pictures and throws if any of them overflows or violates a rule. */
export async function looksRight(tab, name) {
  const wrong = [];
  for (const width of WIDTHS) {
    for (const scheme of SCHEMES) {
      await show(tab, width, scheme);
      await picture(tab, `${name}-${width}-${scheme}`);
      const found = [...await overflows(tab), ...await violations(tab)];
      wrong.push(...found.map((text) => `${name}, ${width} px, ${scheme}: ${text}`));
    }
  }
  assert.deepEqual(wrong, []);
}

/** Sets width and colour scheme, and waits until nothing moves. */
export async function show(tab, width, scheme) {
  await tab.page.setViewport({ width, height: HEIGHT });
  await tab.page.emulateMediaFeatures([
    { name: 'prefers-color-scheme', value: scheme },
    { name: 'prefers-reduced-motion', value: 'reduce' },
  ]);
  await tab.evaluate(async () => {
    await document.fonts.ready;
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    const ending = document.getAnimations().filter((animation) => animation.effect?.getComputedTiming().endTime !== Infinity);
    await Promise.allSettled(ending.map((animation) => animation.finished));
  });
}

/** Writes target/screenshots/<name>.png, the whole page. */
export async function picture(tab, name) {
  const folder = path.join(target, 'screenshots');
  await mkdir(folder, { recursive: true });
  await tab.page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true });
}

/** Elements that reach out of the page at its side, if it can be scrolled there. */
export function overflows(tab) {
  return tab.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    if (scrollWidth <= clientWidth) return [];
    const out = [...document.querySelectorAll('body *')]
      .filter((element) => element.getBoundingClientRect().right > clientWidth + 0.5)
      .map((element) => element.cloneNode(false).outerHTML);
    return [`${scrollWidth} px wide in ${clientWidth}: ${out.slice(0, 5).join(' ')}`];
  });
}

/** What axe-core finds against WCAG and good practice. */
export async function violations(tab) {
  const has = await tab.evaluate(() => 'axe' in globalThis);
  if (!has) await tab.evaluate(`${axe}; undefined`);
  return tab.evaluate(async () => {
    const { violations } = await globalThis.axe.run(document, { resultTypes: ['violations'] });
    return violations.flatMap(({ id, help, nodes }) => nodes.map((node) => `${id}: ${help}: ${node.html} ${node.failureSummary}`));
  });
}
