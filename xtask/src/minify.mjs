// Takes comments, spaces and long local names out of modules:
//   node minify.mjs TERSER FROM TO NAME ...
// What modules export keeps its name, and each module its file.

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [terser, from, to, ...names] = process.argv.slice(2);
const { minify } = await import(pathToFileURL(terser));

for (const name of names) {
  const options = { module: true, ecma: 2022, compress: { passes: 2 } };
  const { code } = await minify(await readFile(path.join(from, name), 'utf8'), options);
  const target = path.join(to, name);
  await mkdir(path.dirname(target), { recursive: true });
  await writeFile(target, code);
}
