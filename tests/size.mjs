// What a page downloads: every .js and .wasm file of the package, raw and compressed.
// Fails when the sum passes the budget.

import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

/**
 * Bytes, brotli, all files together: what no change may pass. Goes down in steps; went up by
 * 8,000 for restarts of ICE and for chunks in files, and by 19,000 for a store with a limit, for
 * reading on demand, for addresses of contents (`sw.js` and `serving.js`, 3,400, which a page
 * loads only if it calls `serve`) and for thousands of fetches at a time; by 11,700 for sealed
 * signals (HPKE: X25519, HKDF, ChaCha20Poly1305) and private namespaces; and by 4,950 for notes
 * beside files, from which a lost database is filled again, and for blobs on the disk; and by 3,200 for
 * channels in which little waits, links that give way, and TURN accounts that are renewed; and by 650
 * for fetches that end for those who only read or are stopped at any moment, small frames on slow
 * channels, and proofs that take long or are asked of several; and by 3,650 for acknowledgements that
 * travel with signals, catalogs told in pieces, stores beside those that cannot be read, limits of all
 * tabs, contents held while they are read, and addresses that are of a namespace. Went down by 11,900
 * for what panics and `Debug` leave, the order of functions, and fewer files, and by 2,400 for a smaller
 * allocator.
 */
const BUDGET = 238_600;
/** Where the budget is to end. WebTorrent is 56 KB, js-libp2p 128 KB, Helia 309 KB. */
const GOAL = 110_000;

const folder = process.argv[2];
const names = readdirSync(folder, { recursive: true }).filter((name) => /\.(js|wasm)$/.test(name)).sort();
const rows = names.map((name) => {
  const bytes = readFileSync(path.join(folder, name));
  return [name, bytes.length, gzipSync(bytes, { level: 9 }).length, brotli(bytes)];
});
const sum = (column) => rows.reduce((total, row) => total + row[column], 0);
const total = ['together', sum(1), sum(2), sum(3)];

for (const [name, ...sizes] of [['', 'raw', 'gzip', 'brotli'], ...rows, total]) {
  console.log(`    ${name.padEnd(24)}${sizes.map((size) => String(size).padStart(10)).join('')}`);
}
if (total[3] > BUDGET) {
  console.error(`    ${total[3]} bytes are more than the budget of ${BUDGET} (tests/size.mjs)`);
  process.exit(1);
}
console.log(`    ${BUDGET - total[3]} bytes left of the budget of ${BUDGET}`);
console.log(`    goal ${GOAL}: ${total[3] <= GOAL ? 'met' : 'missed'}`);

function brotli(bytes) {
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
  return brotliCompressSync(bytes, { params }).length;
}
