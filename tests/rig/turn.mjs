// A real TURN server, Debian's coturn, on loopback, whose accounts end by themselves.
//
//   const turn = await startTurn({ until: t });
//   turn.url            // for `--turn-url`
//   turn.allocations()  // users whose relay addresses it has given out

import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import path from 'node:path';
import { target, within } from './browsers.mjs';

/** Milliseconds until it listens: a guess. */
const PATIENCE = 15_000;

export async function startTurn({ until, secret = 'a secret of the operator' } = {}) {
  await mkdir(path.join(target, 'turn'), { recursive: true });
  const folder = await mkdtemp(path.join(target, 'turn/turn-'));
  until?.after(() => rm(folder, { recursive: true, force: true }));
  const port = await freePort();
  const settings = path.join(folder, 'turnserver.conf');
  await writeFile(settings, [
    'listening-ip=127.0.0.1', 'relay-ip=127.0.0.1', `listening-port=${port}`,
    // Peers of tests are on loopback, which a server on the internet must not reach.
    'allow-loopback-peers',
    'use-auth-secret', `static-auth-secret=${secret}`, 'realm=shoal.test',
    'no-cli', 'no-tls', 'no-dtls', 'log-file=stdout', 'verbose',
    `userdb=${path.join(folder, 'db')}`, `pidfile=${path.join(folder, 'pid')}`, '',
  ].join('\n'), { mode: 0o600 });
  const log = [];
  let turn = await run(settings, log);
  until?.after(() => turn.kill());
  return {
    url: `turn:127.0.0.1:${port}?transport=udp`,
    /** Users it has given relay addresses to, each as often as it has. */
    allocations: () => log.flatMap((line) => /user <([^>]+)>: incoming packet ALLOCATE processed, success/.exec(line)?.[1] ?? []),
    /** Forgets all it has given out, as another one in its place does. */
    restart: async () => {
      await turn.kill();
      turn = await run(settings, log);
    },
  };
}

/** Runs the program; resolves once it listens. */
async function run(settings, log) {
  const child = spawn('turnserver', ['-c', settings], { stdio: ['ignore', 'pipe', 'ignore'] });
  const end = () => child.kill('SIGKILL');
  process.once('exit', end);
  const ended = new Promise((resolve) => {
    child.once('error', resolve);
    child.once('close', resolve);
  });
  const listens = new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      log.push(line);
      if (/UDP listener opened on: /.test(line)) resolve();
    });
    child.once('error', (error) => reject(new Error(`coturn cannot be started: ${error.message}; \`cargo xtask test\` installs it`)));
    child.once('exit', (code) => reject(new Error(`coturn ended with ${code}:\n${log.join('\n')}`)));
  });
  await within(PATIENCE, listens, () => `coturn does not listen after ${PATIENCE} ms:\n${log.join('\n')}`);
  return {
    kill: async () => {
      end();
      process.off('exit', end);
      await ended;
    },
  };
}

/** A port that nobody listens on. */
async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}
