// What the stand-in plays. A scenario gives the peers, what is held, how each fetch and
// each publication goes, and which errors are reported; nothing in it changes by itself.

const CHUNK = 262_144;
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';
const BASE58 = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';

// mulberry32: the same pictures in every run.
function random(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function letters(alphabet, length, seed) {
  const next = random(seed);
  return Array.from({ length }, () => alphabet[Math.floor(next() * alphabet.length)]).join('');
}

const peerId = (seed) => `12D3KooW${letters(BASE58, 44, seed)}`;
const key = (seed) => `bafkr4i${letters(BASE32, 52, seed + 5000)}`;

function content(seed, name, type, size, held = size) {
  return { key: key(seed), name, type, size, held };
}

const LIGHTHOUSE = content(1, 'Lighthouse at dusk.jpg', 'image/jpeg', 4_823_901);
const LECTURE = content(2, 'Tidal power – lecture 3.mp4', 'video/mp4', 734_003_200);
const FIELD_NOTES = content(3, 'field-notes-2026.pdf', 'application/pdf', 1_284_551);
const CHART = content(4, 'north-sea-chart.tif', 'image/tiff', 88_604_672);
const SONG = content(5, 'Harbour bells.flac', 'audio/flac', 31_457_280);
const ARCHIVE = content(6, 'survey-raw.tar.zst', 'application/zstd', 1_932_735_283);
const README = content(7, 'README', '', 2_310);
const EMPTY = content(8, 'empty.txt', 'text/plain', 0);

const A = peerId(11);
const B = peerId(12);
const C = peerId(13);
const D = peerId(14);

const person = (id, catalog, linked = true, rtt = 24) => ({ id, linked, rtt: linked ? rtt : undefined, catalog });

const SWARM = [
  person(A, [LECTURE, CHART, SONG, FIELD_NOTES], true, 24),
  person(B, [LECTURE, ARCHIVE, LIGHTHOUSE], true, 61),
  person(C, [{ ...LECTURE, held: 300_000_000 }, SONG, README], true, 8),
  person(D, [CHART, EMPTY], false),
];

const only = (seed) => SWARM.filter(({ catalog }) => catalog.every((each) => each.key !== seed));

// Which chunk came from whom: each of the peers by its share, as long as chunks are there.
function chunksFrom(size, part, shares, seed = 1) {
  return function* chunks() {
    const next = random(seed);
    const total = Math.ceil(size / CHUNK);
    const all = shares.reduce((sum, [, share]) => sum + share, 0);
    for (let index = 0; index < total; index += 1) {
      if (next() > part) continue;
      let at = next() * all;
      const [peer] = shares.find(([, share]) => (at -= share) <= 0) ?? shares[0];
      yield [index, peer];
    }
  };
}

function fetching(what, part, shares, progress = {}) {
  const held = Math.floor(what.size * part);
  const rates = shares.filter(([peer]) => peer);
  const rate = rates.reduce((sum, [, share]) => sum + share * 1_000_000, 0);
  return {
    content: what,
    chunks: chunksFrom(what.size, part, shares, what.size % 997),
    progress: {
      state: 'fetching', held, size: what.size, rate, secondsLeft: rate ? (what.size - held) / rate : undefined,
      sources: rates.map(([peer, share]) => ({ peer, bytes: Math.floor(held * share / 10), rate: share * 1_000_000 })),
      ...progress,
    },
  };
}

const still = (state, reason, held = 0) => ({ progress: { state, reason, held, rate: 0, sources: [] } });

function stuck(what, part, reason, state = 'waiting') {
  return fetching(what, part, [[A, 5], [B, 3]], { state, reason, rate: 0, secondsLeft: undefined, sources: [] });
}

const unreachable = (peer, why, local, remote) => ({
  code: 'unreachable', peer, message: `No connection to ${peer} could be made: ${why}`, candidates: { local, remote },
});
const NO_ADDRESS = 'this browser found no network address to offer; a setting, an extension or a missing network hides them.';
const NO_STUN = 'both sides know only addresses of their own network, for the rendezvous names no STUN server or it does not answer.';
const NO_TURN = 'the networks in between let no direct connection through; a TURN server would help.';

// As the engine, its store and the package say them.
const NO_ROOM = { code: 'quota', message: 'There is no room left in this site\'s storage. Remove contents or free disk space.' };

const base = { people: SWARM, contents: [README, LIGHTHOUSE] };
// One whose content is known is under way when the page opens; others are begun there.
const one = (script, more = {}) => ({ ...base, resumed: script.content ? [LECTURE.key] : [], fetches: { [LECTURE.key]: script }, ...more });

const HOSTILE = [
  '"><img src=x onerror=alert(1)>.png', "O'Brien & <b>sons</b>.txt", '🐟🐠🐡 a shoal 👩‍👩‍👧‍👦🏴󠁧󠁢󠁷󠁬󠁳󠁿.zip', 'مرحبا بالعالم.pdf',
  'תמונה של הים (1).jpg', '海の写真_最終版_本当に最終.png', `${'verylongname'.repeat(21)}.gz`, 'invoice\u202Egpj.exe',
  '   ', 'tab\tand\nnew line.md', '../../etc/passwd', 'Ä̈́̈́̈́̈́̈́̈́̈́̈́ zalgo.txt',
];

function volume() {
  const names = ['scan', 'clip', 'note', 'track', 'plan', 'photo'];
  const types = ['image/png', 'video/webm', 'text/markdown', 'audio/ogg', 'application/pdf', 'image/jpeg'];
  const endings = ['png', 'webm', 'md', 'ogg', 'pdf', 'jpg'];
  const next = random(77);
  const contents = Array.from({ length: 1000 }, (_, i) =>
    content(100 + i, `${names[i % 6]}-${i}.${endings[i % 6]}`, types[i % 6], Math.floor(next() ** 4 * 4_000_000_000)));
  const big = content(99, 'a-whole-archive.tar', 'application/x-tar', 16_384 * CHUNK);
  const people = Array.from({ length: 200 }, (_, i) => person(peerId(2000 + i),
    [big, ...contents.filter((_, place) => (place * 7 + i) % 40 === 0)], i % 3 !== 0, 5 + i));
  const shares = people.slice(0, 14).map(({ id }, i) => [id, 1 + (i % 5) / 2]);
  return { people, contents: contents.slice(0, 1000), resumed: [big.key], fetches: { [big.key]: fetching(big, 0.63, shares) } };
}

const IN_PROGRESS = {
  [LECTURE.key]: fetching(LECTURE, 0.62, [[A, 5], [B, 3], [C, 2]]),
  [CHART.key]: fetching(CHART, 0.18, [[D, 2], [A, 1]]),
};

/** @type {Record<string, object>} */
export const scenarios = {
  'swarm': { ...base, contents: [README, LIGHTHOUSE, FIELD_NOTES], fetches: IN_PROGRESS },
  'empty': {},
  'opening': { open: 'never' },
  'connecting': { state: 'connecting' },
  'alone': { contents: [README, LIGHTHOUSE, FIELD_NOTES] },
  'refused': { contents: [README], storage: { grants: false } },
  'nearly-full': { ...base, contents: [{ ...README, pinned: true }, LIGHTHOUSE, FIELD_NOTES], storage: { limit: 6.5e6, persisted: true } },
  'nothing-offered': { people: SWARM.map((each) => ({ ...each, catalog: [] })) },
  'searching': one(still('searching'), { people: only(LECTURE.key) }),
  'no-holder': one(still('waiting', 'not-held'), { people: only(LECTURE.key) }),
  'asking': one(still('searching')),
  'waiting-gone': one(stuck(LECTURE, 0.41, 'not-held'), { people: only(LECTURE.key) }),
  'waiting-holders': one(stuck(LECTURE, 0.41, 'not-held'), { people: SWARM.map((each) => ({ ...each, linked: each.id === D })) }),
  'waiting-unreachable': one(still('waiting', 'unreachable'), {
    people: SWARM.map((each) => ({ ...each, linked: each.id === D })),
    errors: [
      unreachable(A, NO_TURN, { host: 2, srflx: 1, relay: 0 }, { host: 1, srflx: 1, relay: 0 }),
      unreachable(B, NO_TURN, { host: 2, srflx: 1, relay: 0 }, { host: 3, srflx: 0, relay: 0 }),
    ],
  }),
  'viewed-elsewhere': one(stuck(LECTURE, 0.08)),
  'disk-full': one(stuck(LECTURE, 0.41, 'quota')),
  'offline': one(stuck(LECTURE, 0.41, 'rendezvous'), { state: 'offline', people: only(LECTURE.key) }),
  'offline-fetching': one(fetching(LECTURE, 0.41, [[A, 5], [B, 3]]), { state: 'offline' }),
  'fetching': { ...base, resumed: [CHART.key, LECTURE.key], fetches: IN_PROGRESS },
  'resumed': one(fetching(LECTURE, 0.7, [['', 5], [A, 3], [B, 2]])),
  'done': one(fetching({ ...LECTURE, held: LECTURE.size }, 1, [[A, 5], [B, 3], [C, 2]], { state: 'done', rate: 0 })),
  'failed': one({ error: { code: 'engine-crashed', message: 'The engine of `fetch` crashed each time it was called.' } }),
  'partial': { ...base, contents: [README, { ...LECTURE, held: 301_000_000 }] },
  'publishing': { ...base, publish: { held: 0.37 } },
  'publish-full': { ...base, publish: { error: NO_ROOM } },
  'publish-changed': { ...base, publish: { error: { code: 'invalid-content', message: 'the file changed or could not be read whole while it was published' } } },
  'crashed': { ...base, errors: [{ code: 'engine-crashed', message: 'The engine ended unexpectedly and is started again: unreachable' }] },
  'no-stun': { ...base, errors: [unreachable(A, NO_STUN, { host: 1, srflx: 0, relay: 0 }, { host: 2, srflx: 0, relay: 0 })] },
  'no-candidates': { ...base, errors: [unreachable(A, NO_ADDRESS, { host: 0, srflx: 0, relay: 0 }, { host: 2, srflx: 1, relay: 1 })] },
  'liar': {
    ...base,
    people: SWARM.map((each) => ({ ...each, linked: each.linked && each.id !== A })),
    errors: [{ code: 'invalid-content', peer: A, message: `${A} was dropped: chunk 41 has the wrong bytes.` }],
  },
  'impostor': {
    ...base,
    errors: [{
      code: 'link-auth', peer: A,
      message: `The connection to ${A} was dropped: its signature does not match. Somebody may be in between, for example a rendezvous that is not honest.`,
    }],
  },
  'no-store': { open: { code: 'store-failed', message: 'the store failed: InvalidStateError: A mutation operation was attempted on a database that did not allow mutations.' } },
  'store-full': { open: { code: 'quota', message: 'there is no room left in this site\'s storage' } },
  'two-versions': { open: { code: 'unsupported', message: 'Another tab of this site runs another version of Shoal (tabs speak version 2 there): close it, or reload both.' } },
  'bad-namespace': { open: { code: 'invalid-argument', message: '`namespace`: a namespace is 1 to 64 characters, each of a-z 0-9 . _ -' } },
  'not-started': { open: { code: 'engine-crashed', message: 'The engine crashed in the page, where it cannot be started again: reload the page.' } },
  'names': {
    people: [person(A, HOSTILE.map((name, i) => content(50 + i, name, i % 2 ? 'text/plain' : `x/${'y'.repeat(80)}`, 1000 ** (i % 4))))],
    contents: HOSTILE.map((name, i) => content(70 + i, name, 'application/vnd.openxmlformats-officedocument.wordprocessingml.document', 12_345 * i)),
  },
  'volume': volume(),
};
