// Gives what the module imports and exports short names, on the side of its JavaScript:
//   node shorten.mjs NAMES GLUE > SHORTENED
// NAMES is what wasm-opt prints when it has given the module short names. wasm-bindgen's own
// have sixteen random digits each, which no compressor makes smaller, in both files.

import { readFile } from 'node:fs/promises';

/** What wasm-opt calls the one module that all imports are of. */
const MODULE = 'a';

const { imports, exports } = JSON.parse(await readFile(process.argv[2], 'utf8'));
const modules = new Map(imports.map(([module]) => [module, MODULE]));
const missing = new Set([...modules.keys(), ...imports.map(([, long]) => long)]);
if (modules.size !== 1) throw new Error(`imports of one module are expected, not of ${[...modules.keys()]}`);

function shorten(names) {
  return (long) => {
    const short = names.get(long);
    if (short) missing.delete(long);
    return short ?? long;
  };
}

const glue = await readFile(process.argv[3], 'utf8');
const shortened = glue
  .replace(/(?<=^ +)\w+(?=: function\()/gm, shorten(new Map(imports.map(([, long, short]) => [long, short]))))
  .replace(/(?<=^ +")[^"]+(?=": import\d+,$)/gm, shorten(modules))
  .replace(/(?<=\bwasm\.)\w+/g, shorten(new Map(exports)));
if (missing.size > 0) throw new Error(`not found in the glue: ${[...missing].join(', ')}`);
process.stdout.write(shortened);
