// Bytes a page downloads: wasm and JavaScript of the package as it is shipped, and
// WebTorrent's bundle; and what each crate has of the code, before wasm-opt drops the names.

import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { target } from '../rig/browsers.mjs';
import { Report } from './report.mjs';
import { codeByCrate } from './systems/wasm.mjs';

const GOAL = 110;
/** Crates that are of interest however small; of the others, the largest. */
const ALWAYS = /^(idb|gloo\w*|serde_wasm_bindgen)$/;
const CRATES = 20;

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

const module = readFileSync(path.join(target, 'wasm32-unknown-unknown/wasm/shoal_peer_wasm.wasm'));
const { crates, code, data } = codeByCrate(module);
const kb = (bytes) => [bytes / 1000];
report.add({ case: 'module before wasm-opt', system: 'code', unit: 'kB', values: kb(code) });
report.add({ case: 'module before wasm-opt', system: 'data', unit: 'kB', values: kb(data) });
const sorted = [...crates].sort(([, one], [, other]) => other - one);
for (const [at, [crate, bytes]] of sorted.entries()) {
  if (at < CRATES || ALWAYS.test(crate)) report.add({ case: 'code before wasm-opt', system: crate, unit: 'kB', values: kb(bytes) });
}
await report.write();

/** A row for each form; files are compressed one by one, as they are sent. Returns kB of brotli. */
function add(system, files, goal) {
  const sum = (size) => files.reduce((total, name) => total + size(readFileSync(name)), 0) / 1000;
  report.add({ case: 'raw', system, unit: 'kB', values: [sum((bytes) => bytes.length)] });
  report.add({ case: 'gzip', system, unit: 'kB', values: [sum((bytes) => gzipSync(bytes, { level: 9 }).length)] });
  const brotli = sum(brotliSize);
  report.add({ case: 'brotli', system, unit: 'kB', values: [brotli], goal, less: true });
  return brotli;
}

function brotliSize(bytes) {
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
  return brotliCompressSync(bytes, { params }).length;
}
