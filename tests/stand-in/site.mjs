// The demo page with the stand-in for its package, under the content policy of the
// rendezvous server.

import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { root } from '../rig/browsers.mjs';
import { startSite } from '../rig/site.mjs';

const POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; "
  + "connect-src 'self' ws: wss:; img-src 'self' blob: data:; style-src 'self'; base-uri 'none'; frame-ancestors 'none'";

export async function startStandIn(options = {}) {
  const read = (name) => readFile(fileURLToPath(new URL(`shoal/${name}`, import.meta.url)), 'utf8');
  const real = (name) => readFile(path.join(root, 'peer-wasm/js', name), 'utf8');
  return startSite({
    folder: path.join(root, 'www'),
    headers: { 'content-security-policy': POLICY },
    pages: {
      '/shoal/index.js': await read('index.js'),
      '/shoal/scenarios.js': await read('scenarios.js'),
      '/shoal/options.js': await real('options.js'),
      '/shoal/errors.js': await real('errors.js'),
      '/shoal/secret.js': await real('secret.js'),
    },
    ...options,
  });
}
