// Servers that introduce peers, each in a process of its own, and the load that is put on them
// (tests/load).

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { createServer } from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { target, within } from '../../rig/browsers.mjs';
import { startServer } from '../../rig/server.mjs';

const LOAD = path.join(target, 'release/shoal-load');
const NODE_SERVER = fileURLToPath(new URL('node-server.mjs', import.meta.url));
/** Milliseconds one case may take; the load generator gives up before. */
const PATIENCE = 330_000;

/** All load comes from one address and some from few peers, so what one may do is not bounded. */
const UNBOUNDED = [
  ...['connections-per-address', 'http-connections', 'http-connections-per-address'].map((key) => `--${key}=100000`),
  ...['address-joins', 'address-signals', 'address-bytes', 'address-requests', 'peer-joins', 'peer-signals', 'peer-bytes']
    .flatMap((what) => [`--${what}-per-second=1e9`, `--${what}-burst=1000000000`]),
];

/** Starts a server: `{ system, address, pid, collect(), restart(how), stop() }`. */
export const START = {
  async shoal({ args = [] } = {}) {
    const server = await startServer([...UNBOUNDED, ...args], { env: { RUST_LOG: 'warn' } });
    return {
      system: 'shoal',
      address: server.address,
      get pid() { return server.pid; },
      collect() {},
      async restart(how) {
        await server[how]();
        await server.start(server.address);
      },
      stop: () => server.kill(),
    };
  },
  peerjs: () => startNode('peerjs'),
  tracker: () => startNode('tracker'),
  async matchbox() {
    const port = await freePort();
    const child = spawn(process.env.MATCHBOX_SERVER, [`127.0.0.1:${port}`], {
      env: { ...process.env, RUST_LOG: 'error' }, stdio: 'ignore',
    });
    await isListening(port);
    return { system: 'matchbox', address: `127.0.0.1:${port}`, pid: child.pid, collect() {}, stop: ending(child) };
  },
};

async function startNode(system) {
  const child = spawn(process.execPath, ['--expose-gc', NODE_SERVER, system], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const { value } = await within(15_000, lines.next(), () => `${system} does not listen`);
  return {
    system,
    address: value.slice('listening on http://'.length),
    pid: child.pid,
    async collect() {
      child.stdin.write('\n');
      await lines.next();
    },
    stop: ending(child),
  };
}

function ending(child) {
  const ended = new Promise((resolve) => { child.once('exit', resolve); });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  return async () => {
    kill();
    await ended;
    process.off('exit', kill);
  };
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const { port } = server.address();
  await new Promise((resolve) => { server.close(resolve); });
  return port;
}

/** Resolves once a connection to the port is accepted. */
async function isListening(port) {
  const { connect } = await import('node:net');
  const attempt = () => new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
    socket.once('error', () => setTimeout(resolve, 50, false));
  });
  const listening = async () => { while (!await attempt()); };
  await within(15_000, listening(), () => `nothing listens on port ${port}`);
}

/**
 * Puts load on a server and returns what was measured. `reached` is called at points of a case.
 *
 * @param {object} server
 * @param {number} peers
 * @param {string} name of the case
 * @param {Record<string, number | string>} options of it
 */
export async function load(server, peers, name, options = {}, reached = () => server.collect()) {
  const words = Object.entries(options).flatMap(([option, value]) => [`--${option}`, String(value)]);
  const child = spawn(LOAD, [
    '--system', server.system, '--address', server.address, '--pid', String(server.pid),
    '--peers', String(peers), name, ...words,
  ], { stdio: ['pipe', 'pipe', 'inherit'] });
  const stop = ending(child);
  const answers = async () => {
    for await (const line of createInterface({ input: child.stdout })) {
      const value = JSON.parse(line);
      if (value.reached === undefined) return value;
      await reached(value.reached);
      child.stdin.write('\n');
    }
    throw new Error(`no result of ${name} with ${server.system}`);
  };
  try {
    return await within(PATIENCE, answers(), () => `no end of ${name} with ${server.system}`);
  } finally {
    await stop();
  }
}
