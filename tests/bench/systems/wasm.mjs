// What a WebAssembly module is made of, by crate and by module, from its name section.
//
// A function counts for the crate its path begins in: the crate of the type for methods of a
// trait and for drop glue, otherwise the crate that wrote it, whatever types a generic one
// was made for. What was inlined counts for the function it is in.
//
// Compressed, a part counts for the bytes that go when its functions are emptied. That is less
// than its share: what it has in common with others stays with them.

import { brotliCompressSync, constants } from 'node:zlib';

const CODE = 10;
const DATA = 11;
const CUSTOM = 0;
const FUNCTION_NAMES = 1;

class Reader {
  constructor(bytes, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }

  /** An unsigned number in LEB128. */
  number() {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.bytes[this.at++];
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  }

  take(length) {
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  text() {
    return new TextDecoder().decode(this.take(this.number()));
  }
}

/**
 * Sizes of a module with names: `{ all, data, crates, areas }`, each with `bytes` and `brotli`; of
 * the last two a map from names, the largest first. Areas are the modules of crates that `isOwn`
 * says; of all parts those count that `isOfInterest` says, by name and rank.
 */
export function partsOf(module, isOwn, isOfInterest) {
  const { sections, bodies } = read(module);
  const whole = write(module, sections, bodies);
  const all = { bytes: whole.length, brotli: brotli(whole) };
  const without = (sections, bodies) => all.brotli - brotli(write(module, sections, bodies));

  function parts(nameOf) {
    const sums = new Map();
    for (const body of bodies) {
      body.part = nameOf(body.name);
      if (body.part !== undefined) sums.set(body.part, (sums.get(body.part) ?? 0) + body.code.length);
    }
    const chosen = [...sums].sort(([, one], [, other]) => other - one).filter(([part], rank) => isOfInterest(part, rank));
    return new Map(chosen.map(([part, bytes]) => {
      const others = bodies.map((body) => (body.part === part ? { code: EMPTY } : body));
      return [part, { bytes, brotli: without(sections, others) }];
    }));
  }

  const data = sections.filter(({ id }) => id === DATA);
  return {
    all,
    data: {
      bytes: data.reduce((sum, { bytes }) => sum + bytes.length, 0),
      brotli: without(sections.filter(({ id }) => id !== DATA), bodies),
    },
    crates: parts(crateOf),
    areas: parts((name) => (isOwn(crateOf(name)) ? areaOf(name) : undefined)),
  };
}

/** A body without locals that traps. */
const EMPTY = Uint8Array.of(0, 0, 0x0b);

function read(module) {
  const reader = new Reader(module, 8);
  const sections = [];
  const bodies = [];
  const names = new Map();
  const imported = WebAssembly.Module.imports(new WebAssembly.Module(module)).filter(({ kind }) => kind === 'function').length;
  while (reader.at < module.length) {
    const id = reader.bytes[reader.at++];
    const section = new Reader(reader.take(reader.number()));
    if (id !== CUSTOM) sections.push({ id, bytes: section.bytes });
    else if (section.text() === 'name') readNames(section, names);
    if (id !== CODE) continue;
    for (let left = section.number(); left > 0; left--) {
      bodies.push({ code: section.take(section.number()) });
    }
  }
  if (names.size === 0) throw new Error('the module has no names');
  for (const [at, body] of bodies.entries()) body.name = names.get(imported + at) ?? '';
  return { sections, bodies };
}

/** The module with these bodies and without custom sections. */
function write(module, sections, bodies) {
  const parts = [module.subarray(0, 8)];
  for (const { id, bytes } of sections) {
    const content = id === CODE
      ? Buffer.concat([leb128(bodies.length), ...bodies.flatMap(({ code }) => [leb128(code.length), code])])
      : bytes;
    parts.push(Uint8Array.of(id), leb128(content.length), content);
  }
  return Buffer.concat(parts);
}

function leb128(number) {
  const bytes = [];
  for (; number > 0x7f; number >>>= 7) bytes.push((number & 0x7f) | 0x80);
  return Uint8Array.of(...bytes, number);
}

export function brotli(bytes) {
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
  return brotliCompressSync(bytes, { params }).length;
}

function readNames(section, names) {
  while (section.at < section.bytes.length) {
    const kind = section.number();
    const part = new Reader(section.take(section.number()));
    if (kind !== FUNCTION_NAMES) continue;
    for (let left = part.number(); left > 0; left--) names.set(part.number(), part.text());
  }
}

/** What stands for functions that no crate named: exports and shims. */
const NONE = '(no crate)';
/** Where types are that hold others. */
const STANDARD = new Set(['core', 'alloc', 'std']);

/** The crate of a mangled name and the module in it that a file or folder of `src` is. */
function areaOf(name) {
  const crate = crateOf(name);
  const rest = name.slice(name.indexOf(crate) + crate.length);
  // Parts of paths have their lengths before them, unless they are in a type that is written out.
  const [, written, length, counted = ''] = /^(?:(?:\.\.|::)(\w+)|(\d+)_?(\w+))/.exec(rest) ?? [];
  const module = written ?? counted.slice(0, Number(length));
  return /^[a-z]/.test(module) ? `${crate}::${module}` : crate;
}

/** The crate of a mangled name. */
export function crateOf(name) {
  if (name.startsWith('_ZN')) return legacy(name.slice(3));
  if (name.startsWith('_R')) return v0(name.slice(2));
  return NONE;
}

/** rustc's older mangling: the path's parts with their lengths, types in escapes. */
function legacy(rest) {
  const parts = [];
  for (let length; (length = /^\d+/.exec(rest)?.[0]); ) {
    parts.push(plain(rest.slice(length.length, length.length + Number(length))));
    rest = rest.slice(length.length + Number(length));
  }
  const [first = ''] = parts;
  const glue = parts.map((part) => /^drop_in_place<(.*)>$/.exec(part)?.[1]).find(Boolean);
  if (glue) return rootsOf(glue).find((crate) => !STANDARD.has(crate)) ?? 'core';
  if (!first.startsWith('<')) return first || NONE;
  const [, type, trait] = /^<(?:impl .* for )?(.*?)(?: as (.*))?>$/.exec(first) ?? [];
  return rootsOf(type)[0] ?? rootsOf(trait)[0] ?? NONE;
}

function plain(part) {
  const signs = { LT: '<', GT: '>', RF: '&', BP: '*', LP: '(', RP: ')', C: ',', SP: '@' };
  return part
    .replace(/^_\$/, '$')
    .replaceAll(/\$([A-Z]+|u[0-9a-f]+)\$/g, (all, sign) => (
      sign.startsWith('u') ? String.fromCodePoint(parseInt(sign.slice(1), 16)) : signs[sign] ?? all
    ))
    .replaceAll('..', '::');
}

/** The crates of the paths in a type; a type parameter has none. */
function rootsOf(type = '') {
  return [...type.matchAll(/(?<![\w:])([A-Za-z_]\w*)::/g)].map(([, crate]) => crate);
}

/** rustc's mangling since RFC 2603: tags come before what they are about. */
function v0(text) {
  let at = 0;
  for (;;) {
    const tag = text[at++];
    if (tag === 'C') {
      const [, length, name] = /^(?:s[0-9a-zA-Z]*_)?(\d+)_?(.*)$/.exec(text.slice(at)) ?? [];
      return name?.slice(0, Number(length)) ?? NONE;
    }
    if (tag === 'N') at += 1;
    // An impl's own path says where it was written.
    else if (tag === 'M' || tag === 'X') at += /^(?:s[0-9a-zA-Z]*_)?/.exec(text.slice(at))[0].length;
    // Generics, trait methods, references, pointers, slices, arrays: what they are of follows.
    else if (tag === 'L') at += /^[0-9a-zA-Z]*_/.exec(text.slice(at))?.[0].length ?? 0;
    else if (tag === undefined || !/[IYRQPOSAa-z]/.test(tag)) return NONE;
  }
}
