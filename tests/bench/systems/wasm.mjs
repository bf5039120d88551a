// Code bytes of a WebAssembly module by crate, from its name section.
//
// A function counts for the crate its path begins in: the crate of the type for methods of a
// trait and for drop glue, otherwise the crate that wrote it, whatever types a generic one
// was made for. What was inlined counts for the function it is in.

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

/** Bytes of code by crate and of data: `{ crates: Map, code, data }`. */
export function codeByCrate(module) {
  const reader = new Reader(module, 8);
  const bodies = [];
  const names = new Map();
  const imported = WebAssembly.Module.imports(new WebAssembly.Module(module)).filter(({ kind }) => kind === 'function').length;
  let data = 0;
  while (reader.at < module.length) {
    const id = reader.bytes[reader.at++];
    const section = new Reader(reader.take(reader.number()));
    if (id === DATA) data = section.bytes.length;
    if (id === CODE) {
      for (let left = section.number(); left > 0; left--) {
        const size = section.number();
        bodies.push(size);
        section.take(size);
      }
    }
    if (id === CUSTOM && section.text() === 'name') readNames(section, names);
  }
  if (names.size === 0) throw new Error('the module has no names');
  const crates = new Map();
  for (const [at, size] of bodies.entries()) {
    const crate = crateOf(names.get(imported + at) ?? '');
    crates.set(crate, (crates.get(crate) ?? 0) + size);
  }
  return { crates, code: bodies.reduce((sum, size) => sum + size, 0), data };
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
/** What wasm-bindgen runs once, in the build, and drops. */
const DESCRIPTIONS = '(dropped by wasm-bindgen)';
/** Where types are that hold others. */
const STANDARD = new Set(['core', 'alloc', 'std']);

/** The crate of a mangled name. */
export function crateOf(name) {
  if (name.includes('__wbindgen_describe')) return DESCRIPTIONS;
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
