// Makes of the package's modules the few that a page loads, without comments, spaces and long
// local names:
//   node bundle.mjs ROLLDOWN TERSER FROM TO
// Modules load one after another, each once its importer is there, and compress the better the
// more of them are one. Those below keep their names, and what they export; what several of
// them import is in modules beside them.

import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [bundler, minifier, from, to] = process.argv.slice(2);
const { rolldown } = await import(pathToFileURL(bundler));
const { minify } = await import(pathToFileURL(minifier));

/** What a page, a worker and a service worker are told to load, and what they load when needed. */
const ENTRIES = ['index', 'worker', 'sw', 'shoal_peer'];

const bundle = await rolldown({
  input: Object.fromEntries(ENTRIES.map((name) => [name, path.join(from, `${name}.js`)])),
  preserveEntrySignatures: 'strict',
  onLog(level, { message }) { throw new Error(`${level}: ${message}`); },
});
const { output } = await bundle.generate({
  format: 'esm',
  entryFileNames: '[name].js',
  chunkFileNames: '[name].js',
});
await mkdir(to, { recursive: true });
for (const { fileName, code, type, imports, exports } of output) {
  if (type !== 'chunk') throw new Error(`${fileName} is not a module`);
  // Pages may have a service worker of their own, which takes it in by `importScripts`.
  if (fileName === 'sw.js' && imports.length + exports.length > 0) throw new Error(`${fileName} must be a script`);
  const { code: short } = await minify(code, { module: true, ecma: 2022, compress: { passes: 2 } });
  await writeFile(path.join(to, fileName), short);
}
