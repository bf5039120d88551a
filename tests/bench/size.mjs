// Bytes a page downloads: wasm and JavaScript of the package as it is shipped, and
// WebTorrent's bundle; and what the module is made of: which crates, and which modules of our own.

import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { target } from '../rig/browsers.mjs';
import { Report } from './report.mjs';
import { brotli, partsOf } from './systems/wasm.mjs';

const GOAL = 110;
/** Parts that are of interest however small; of the others, the largest. */
const ALWAYS = /^(idb|gloo\w*|serde_wasm_bindgen)$/;
const PARTS = 24;

const folder = path.join(target, 'package/shoal');
const files = readdirSync(folder).map((name) => path.join(folder, name));
const parts = {
  wasm: files.filter((name) => name.endsWith('.wasm')),
  JavaScript: files.filter((name) => name.endsWith('.js')),
};
const report = new Report('size');
const together = add('shoal, together', Object.values(parts).flat(), GOAL);
for (const [name, files] of Object.entries(parts)) add(`shoal, ${name}`, files);
const bundle = fileURLToPath(new URL('node_modules/webtorrent/dist/webtorrent.min.js', import.meta.url));
const webtorrent = add('webtorrent', [bundle]);
report.ratio({ case: 'brotli', of: ['shoal', [together]], to: ['webtorrent', [webtorrent]] });

const named = readFileSync(path.join(target, 'xtask/named.wasm'));
const isOwn = (crate) => crate.startsWith('shoal_');
const { data, crates, areas } = partsOf(named, isOwn, (name, rank) => rank < PARTS || ALWAYS.test(name));
const kb = (bytes) => [bytes / 1000];
for (const [title, parts] of [['data', [['data', data]]], ['crate', crates], ['area', areas]]) {
  for (const [system, { bytes, brotli: compressed }] of parts) {
    report.add({ case: `${title}, raw`, system, unit: 'kB', values: kb(bytes) });
    report.add({ case: `${title}, brotli it takes`, system, unit: 'kB', values: kb(compressed) });
  }
}
await report.write();

/** A row for each form; files are compressed one by one, as they are sent. Returns kB of brotli. */
function add(system, files, goal) {
  const sum = (size) => files.reduce((total, name) => total + size(readFileSync(name)), 0) / 1000;
  report.add({ case: 'raw', system, unit: 'kB', values: [sum((bytes) => bytes.length)] });
  report.add({ case: 'gzip', system, unit: 'kB', values: [sum((bytes) => gzipSync(bytes, { level: 9 }).length)] });
  const compressed = sum(brotli);
  report.add({ case: 'brotli', system, unit: 'kB', values: [compressed], goal, less: true });
  return compressed;
}
