// A small HTTP server for pages that tests make up, on an origin of its own.

import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import path from 'node:path';

const TYPES = {
  '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.mjs': 'text/javascript',
  '.css': 'text/css', '.json': 'application/json', '.wasm': 'application/wasm', '.svg': 'image/svg+xml',
};

/**
 * Serves `pages` (path to text) and the files of `folder`, on a free port of 127.0.0.1.
 *
 * @param {{ pages?: Record<string, string>, folder?: string, headers?: Record<string, string>,
 *   headersOf?: Record<string, Record<string, string>>,
 *   until?: { after(done: () => Promise<void>): void } }} options `headersOf`: of single paths
 */
export async function startSite({ pages = {}, folder, headers = {}, headersOf = {}, until } = {}) {
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://site');
    try {
      const body = await find(decodeURIComponent(pathname));
      const type = TYPES[path.extname(pathname)] ?? TYPES['.html'];
      response.writeHead(200, { 'content-type': type, 'cache-control': 'no-store', ...headers, ...headersOf[pathname] }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });

  async function find(pathname) {
    if (Object.hasOwn(pages, pathname)) return pages[pathname];
    // Browsers ask for it by themselves; a 404 would show in their console.
    if (pathname === '/favicon.ico') return '';
    if (folder === undefined) throw new Error('no such page');
    const file = path.join(folder, pathname.endsWith('/') ? `${pathname}index.html` : pathname);
    if (!file.startsWith(folder)) throw new Error('outside');
    return readFile(file);
  }

  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  async function close() {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  until?.after(close);
  return { url, close };
}
