// The rendezvous server under test, as `cargo xtask build` left it.
//
//   const server = await startServer(['--ice-server', 'stun:…'], { until: t });
//   server.url            // http://127.0.0.1:43210
//   await server.restart();  // the same port, a new process

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import path from 'node:path';
import { target, within } from './browsers.mjs';

const PROGRAM = path.join(target, 'release/shoal-signaling');

/** Milliseconds the server may take to listen, or to end after SIGTERM: a guess. */
const PATIENCE = 15_000;

/** Starts the server on a free port, with further command line arguments. */
export async function startServer(args = [], { until, env = {}, listen = '127.0.0.1:0' } = {}) {
  const server = new Server(args, env);
  until?.after(() => server.kill());
  await server.start(listen);
  return server;
}

class Server {
  /** What the server wrote to its standard error, line by line. */
  log = [];
  #child;

  constructor(args, env) {
    this.args = args;
    this.env = env;
  }

  get pid() {
    return this.#child.pid;
  }

  async start(listen) {
    const child = spawn(PROGRAM, ['--listen', listen, ...this.args], {
      env: { ...process.env, ...this.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    const kill = () => child.kill('SIGKILL');
    process.once('exit', kill);
    this.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        process.off('exit', kill);
        resolve({ code, signal });
      });
    });
    createInterface({ input: child.stderr }).on('line', (line) => this.log.push(line));
    const lines = createInterface({ input: child.stdout });
    const first = await within(
      PATIENCE,
      new Promise((resolve, reject) => {
        lines.once('line', resolve);
        child.once('error', (error) => reject(new Error(`${PROGRAM} cannot be started: ${error.message}; run \`cargo xtask build\``)));
        child.once('exit', (code) => reject(new Error(`the server ended with ${code}:\n${this.log.join('\n')}`)));
      }),
      () => `the server is not listening after ${PATIENCE} ms:\n${this.log.join('\n')}`,
    );
    const match = /^listening on (https?):\/\/(.+):(\d+)$/.exec(first);
    if (!match) throw new Error(`the server's first line is not "listening on http://ADDRESS:PORT": ${first}`);
    this.url = first.slice('listening on '.length);
    this.address = `${match[2]}:${match[3]}`;
  }

  /** Ends it with SIGTERM and returns how it ended. */
  async stop() {
    if (this.#hasEnded()) return this.ended;
    this.#child.kill('SIGTERM');
    return within(PATIENCE, this.ended, () => `the server still runs ${PATIENCE} ms after SIGTERM`);
  }

  /** Ends it as a power cut would. */
  async kill() {
    if (this.#hasEnded()) return this.ended;
    this.#child.kill('SIGKILL');
    return this.ended;
  }

  /** Starts a new one on the port of the old. */
  async restart() {
    await this.stop();
    await this.start(this.address);
  }

  #hasEnded() {
    const child = this.#child;
    return !child || child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
  }
}
