// Makes the compressed forms of files: `node compress.mjs SOURCE TARGET…` writes TARGET.br and
// TARGET.gz where they are smaller than SOURCE, and removes what was there where they are not.

import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import zlib from 'node:zlib';

const brotli = promisify(zlib.brotliCompress);
const gzip = promisify(zlib.gzip);

async function compress(source, target) {
  const bytes = await readFile(source);
  await mkdir(path.dirname(target), { recursive: true });
  const params = {
    [zlib.constants.BROTLI_PARAM_QUALITY]: zlib.constants.BROTLI_MAX_QUALITY,
    [zlib.constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
  };
  const forms = { br: brotli(bytes, { params }), gz: gzip(bytes, { level: zlib.constants.Z_BEST_COMPRESSION }) };
  for (const [ending, form] of Object.entries(forms)) {
    const compressed = await form;
    const file = `${target}.${ending}`;
    await (compressed.length < bytes.length ? writeFile(file, compressed) : rm(file, { force: true }));
  }
}

const names = process.argv.slice(2);
const pairs = Array.from({ length: names.length / 2 }, (_, n) => names.slice(2 * n, 2 * n + 2));
await Promise.all(pairs.map(([source, target]) => compress(source, target)));
