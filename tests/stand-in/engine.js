// A stand-in for the wasm peer, behind the same interface, to test what is around it. It
// knows of every content what its key says: `k1000` has a thousand bytes, each chunk filled
// with its number; `never` is never found. What it holds of it, it is told.
//
// Tests speak to it on the BroadcastChannel `stand-in`: `{ do: … }` to all engines, and
// hear there of every call: `{ engine, client, id, call, args }`.

const CHUNK = 262_144;

const name = Math.random().toString(36).slice(2, 8);
const wire = new BroadcastChannel('stand-in');
/** Engines of this instance of the "module". */
let engines = new Set();
let isTrapped = false;

wire.onmessage = ({ data }) => {
  for (const engine of engines) engine.told(data);
};

export default async function init() {}

// As wasm-bindgen makes it.
export function __wbg_reset_state() {
  isTrapped = false;
  engines = new Set();
}

function trap() {
  isTrapped = true;
  throw new WebAssembly.RuntimeError('unreachable');
}

export class Engine {
  static async open({ store }, host) {
    if (isTrapped) throw new Error('entered after a trap');
    if (store === 'full') throw Object.assign(new Error('there is no room'), { code: 'quota' });
    return new Engine(store, host);
  }

  #clients = new Set();
  #held = new Map();
  #reads = [];
  #isOpen = true;
  #limit;

  constructor(store, host) {
    this.store = store;
    this.host = host;
    this.peer = `peer-of-${store === false ? name : store}`;
    engines.add(this);
  }

  told(order) {
    if (!this.#isOpen) return;
    if (order.do === 'trap') Promise.resolve().then(trap);
    else if (order.do === 'vanish') self.close();
    else if (order.do === 'hang') for (;;);
    else if (order.do === 'work') work(order.milliseconds);
    else if (order.do === 'supersede') this.host.superseded();
    else if (order.do === 'lose') this.host.lost();
    else if (order.do === 'say') this.#tellAll(order.message);
    else if (order.do === 'hold') this.#hold(order.key, order.chunks);
  }

  async attach(client, options) {
    this.#note(client, 0, 'attach', { ...options, store: this.store });
    this.#clients.add(client);
    this.#limit ??= options.storageLimit;
    return { id: this.peer, namespace: options.namespace, state: 'online', storageLimit: this.#limit };
  }

  detach(client) {
    this.#note(client, 0, 'detach');
    this.#clients.delete(client);
  }

  abort(client, id) {
    this.#note(client, id, 'abort');
  }

  call(client, id, call, args) {
    if (isTrapped) throw new Error('entered after a trap');
    const { data, ...rest } = args;
    this.#note(client, id, call, data ? { ...rest, size: data.size } : rest);
    const ok = (value, transfer = []) => this.host.toClient(client, { id, ok: value }, transfer);
    if (call === 'publish') {
      if (args.metadata.name === 'never') return;
      const key = `k${data.size}`;
      this.host.toClient(client, { event: 'publishing', call: id, progress: progress('fetching', 0, data.size) }, []);
      this.#held.set(key, Infinity);
      ok({ key, size: data.size, held: data.size, ...args.metadata });
    } else if (call === 'fetch') {
      if (args.key === 'trap') trap();
      if (args.key === 'never') this.#tellAll({ event: 'progress', key: 'never', progress: progress('searching', 0) });
      else if (/^k\d+$/.test(args.key)) ok(this.#content(args.key));
      else this.host.toClient(client, { id, error: { code: 'invalid-key', message: 'not a content key' } }, []);
    } else if (call === 'held') {
      ok([[0, this.#held.get(args.key) ?? 0]]);
    } else if (call === 'read') {
      this.#reads.push({ ...args, ok });
      this.#answerReads();
    } else if (call === 'limitStorage') {
      this.#limit = args.storageLimit;
      ok({});
    } else if (call === 'hold') {
      // Until it is taken back.
    } else if (call === 'catalog') {
      // As the real one: of a peer nobody knows nothing is known.
      if (/^12D3KooW/.test(args.peer)) ok([]);
      else this.host.toClient(client, { id, error: { code: 'invalid-argument', message: '`peer` is not a peer id (12D3KooW…)' } }, []);
    } else {
      ok([]);
    }
  }

  fromBroker() {}

  wake() {
    this.#note(0, 0, 'wake');
  }

  async close() {
    this.#note(0, 0, 'close');
    this.#isOpen = false;
    engines.delete(this);
  }

  #content(key) {
    const size = Number(key.slice(1));
    return { key, size, type: 'text/x-Test', held: Math.min(size, (this.#held.get(key) ?? 0) * CHUNK) };
  }

  #hold(key, chunks) {
    for (let index = this.#held.get(key) ?? 0; index < chunks; index += 1) {
      this.#tellAll({ event: 'chunk', key, index, peer: 'somebody' });
    }
    this.#held.set(key, chunks);
    const content = this.#content(key);
    this.#tellAll({ event: 'progress', key, content, progress: progress(content.held === content.size ? 'done' : 'fetching', content.held, content.size) });
    this.#answerReads();
  }

  #answerReads() {
    this.#reads = this.#reads.filter(({ key, index, ok }) => {
      const { size } = this.#content(key);
      if (index >= (this.#held.get(key) ?? 0)) return true;
      const bytes = new Uint8Array(Math.min(CHUNK, size - index * CHUNK)).fill(97 + index);
      ok(bytes.buffer, [bytes.buffer]);
      return false;
    });
  }

  #tellAll(message) {
    for (const client of this.#clients) this.host.toClient(client, message, []);
  }

  #note(client, id, call, args) {
    wire.postMessage({ engine: name, client, id, call, args });
  }
}

function work(milliseconds) {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

function progress(state, held, size) {
  return { state, held, size, rate: 0, sources: [] };
}
