/**
 * A service worker that answers `…/shoal/content/KEY` with the bytes of a content, while they
 * still arrive: for `<img>`, `<video>` with seeking, `fetch` and downloads.
 *
 * It has no peer of its own: it asks the pages of its site, first the one that wants it, of which
 * the first that has one open in the namespace of the address sends what is read, piece by piece;
 * when that page goes, another one goes on. It keeps nothing, so that a browser may stop it at any
 * time: pages that send keep it awake and see by its lock when it was stopped, and what is broken
 * off all the same can be asked for again from where it ended (ranges, `ETag`).
 *
 * Anybody may have published a content, so none may act as the site: documents are sandboxed,
 * what browsers would execute comes as plain bytes, and as a script, a style or a plug-in
 * nothing is given at all.
 *
 * A script of its own, or part of another service worker: `importScripts('/shoal/sw.js')`.
 */

{
  /** Where contents are. A key is a CIDv1 of a BLAKE3 hash, of one length. */
  const CONTENT = /\/shoal\/content\/(bafkr4i[a-z2-7]{52})$/;

  /** How often pages are asked again, and how long, in milliseconds: one that was just loaded
   *  has yet to open its peer. Guesses. */
  const ASK_EVERY = 250;
  const ASK_FOR = 10_000;

  /** What may be asked for: not what runs as part of the page, whatever it is taken for. */
  const DESTINATIONS = new Set(['', 'audio', 'document', 'font', 'iframe', 'image', 'track', 'video']);

  /** Types that are passed on, but for those of the second kind, which browsers execute or read
   *  others from. */
  const KNOWN = /^(?:application|audio|font|image|model|text|video)\/[\w!#$&^.+-]+$/;
  const ACTIVE = /script|ml$|xsl|css|wasm|manifest|flash|x-mixed/;
  const SVG = 'image/svg+xml';
  /** What a browser shows by itself. */
  const SHOWN = /^(?:image|audio|video)\/|^text\/plain$/;
  /** And of these, what it asks for again to play it, which a sandboxed page may not. */
  const PLAYED = /^(?:audio|video)\//;

  /** What file systems do not take in a name. */
  const FORBIDDEN = /[\\/:*?"<>|\p{Cc}\p{Cf}]/gu;

  // TypeScript knows a page's `self`, and this is another.
  const worker = /** @type {any} */ (self);

  /** Is held until the worker is stopped, by which pages see that. */
  const LOCK = `shoal:worker:${crypto.randomUUID()}`;
  /** @type {Promise<void>} */
  const isHeld = new Promise((resolve) => {
    navigator.locks.request(LOCK, () => {
      resolve();
      return new Promise(() => {});
    });
  });

  /** Whether this is the worker's script, as the place says where an error is made, and none that
   *  it imports: such a worker decides itself when it takes over from the one before. */
  const isAlone = /(?:@|at )(\S+?):\d+:\d+/.exec(new Error().stack ?? '')?.[1] === location.href;

  /** @typedef {{ key: string, size: number, name?: string, type?: string }} Content */
  /**
   * What pages are asked for, and by which of them.
   *
   * @typedef {{ key: string, namespace: string | null, isNavigation: boolean, clientId: string }} Wanted
   */

  /** A page that sends a content. */
  class Sender {
    /** @type {((message: any) => void) | undefined} */
    #hear;
    #left = new AbortController();
    #isGone = false;

    /**
     * @param {MessagePort} port
     * @param {Content} content
     * @param {string} lock is held while the page is there
     */
    constructor(port, content, lock) {
      this.content = content;
      this.port = port;
      port.onmessage = ({ data }) => this.#hear?.(data);
      navigator.locks.request(lock, { signal: this.#left.signal }, () => {
        this.#isGone = true;
        this.#hear?.({ gone: true });
      }).catch(() => {});
    }

    /**
     * The next message: `bytes`, `end`, `error`, or that the page is `gone`.
     *
     * @param {any} [message] is said before
     * @returns {Promise<any>}
     */
    async ask(message) {
      // It may have gone while nothing was asked.
      if (this.#isGone) return { gone: true };
      return new Promise((resolve) => {
        this.#hear = resolve;
        this.port.postMessage(message);
      });
    }

    leave() {
      this.#left.abort();
      this.port.postMessage({ leave: true });
      this.port.close();
    }
  }

  /**
   * Finds a page that sends a content. One that has to look for it first says so, and is waited
   * for as long as it is there.
   *
   * @param {Wanted} wanted
   * @param {AbortSignal} signal
   * @returns {Promise<Sender | Response>}
   */
  function find({ clientId, ...wanted }, signal) {
    return new Promise((resolve) => {
      /** @type {Set<MessagePort>} */
      const ports = new Set();
      /** Those of pages that look for it. @type {Set<MessagePort>} */
      const looking = new Set();
      const over = new AbortController();
      /** @type {{ code?: string, message?: string } | undefined} */
      let refused;
      let deadline = Date.now() + ASK_FOR;
      let isFirst = true;
      let hasAskedAll = false;

      /** @param {Sender | Response} found */
      const end = (found) => {
        clearInterval(timer);
        over.abort();
        for (const port of ports) {
          port.postMessage({ leave: true });
          port.close();
        }
        resolve(found);
      };
      /** @param {MessagePort} port @param {any} message */
      const hear = (port, message) => {
        if (message.content) {
          ports.delete(port);
          end(new Sender(port, message.content, message.lock));
        } else if (message.looks) {
          looking.add(port);
          navigator.locks.request(message.lock, { signal: over.signal }, () => {
            looking.delete(port);
          }).catch(() => {});
        } else {
          ports.delete(port);
          looking.delete(port);
          refused = message.error;
          // Others may have it, and may not have been asked yet.
          deadline = Math.min(deadline, Date.now() + 2 * ASK_EVERY);
        }
      };
      const ask = async () => {
        // One that looks for it may look for long; others may have it.
        if (looking.size > 0 && hasAskedAll) return;
        if (Date.now() > deadline) {
          end(refused ? refusal(refused) : text(503, 'No page of this site has a Shoal peer open that could send it. Open one, and reload this.'));
          return;
        }
        await isHeld;
        const pages = await worker.clients.matchAll({ type: 'window', includeUncontrolled: true });
        if (over.signal.aborted) return;
        // Another may be frozen or stopped when it is to send, but not while this one reads.
        const own = pages.filter((/** @type {any} */ { id }) => id === clientId);
        const asked = isFirst && own.length > 0 ? own : pages;
        hasAskedAll = asked === pages;
        isFirst = false;
        for (const client of asked) {
          // The one that looks goes on with that.
          if (looking.size > 0 && own.includes(client)) continue;
          const { port1, port2 } = new MessageChannel();
          port1.onmessage = ({ data }) => hear(port1, data);
          ports.add(port1);
          client.postMessage({ shoal: 'content', ...wanted, lock: LOCK }, [port2]);
        }
      };
      const timer = setInterval(ask, ASK_EVERY);
      signal.addEventListener('abort', () => end(text(503, 'It is no longer wanted.')));
      ask();
    });
  }

  /** @param {any} event @param {string} key @param {URLSearchParams} query */
  async function answer(event, key, query) {
    const { method, destination, mode, headers, signal } = event.request;
    if (method !== 'GET' && method !== 'HEAD') return text(405, 'Contents can only be read.', { Allow: 'GET, HEAD' });
    if (!DESTINATIONS.has(destination)) return text(403, `A content is not given as ${destination}: anybody may have published it.`);
    const isNavigation = mode === 'navigate';
    const isDownload = query.has('download');
    const wanted = { key, namespace: query.get('in'), isNavigation, clientId: event.clientId };
    const found = await find(wanted, signal);
    // Whoever saves stays where they are; words would take the place of their page.
    if (found instanceof Response) return isNavigation && isDownload ? new Response(null, { status: 204 }) : found;
    const { size } = found.content;
    const shown = describe(found.content, isNavigation, isDownload);
    const range = readRange(headers, size, shown.ETag);
    if (range === 'unsatisfiable' || method === 'HEAD') found.leave();
    if (range === 'unsatisfiable') return text(416, 'The content is shorter.', { 'Content-Range': `bytes */${size}` });
    const { start, end } = range ?? { start: 0, end: size };
    const part = range && { 'Content-Range': `bytes ${start}-${end - 1}/${size}` };
    const body = method === 'HEAD' ? null : read(found, start, end, wanted, signal);
    return new Response(body, {
      status: range ? 206 : 200,
      headers: { ...shown, ...part, 'Content-Length': String(end - start) },
    });
  }

  /**
   * The bytes from `start` to `end`, as they are read. Whoever reads slowly is sent no more.
   *
   * @param {Sender} sender
   * @param {number} start
   * @param {number} end
   * @param {Wanted} wanted
   * @param {AbortSignal} signal
   */
  function read(sender, start, end, wanted, signal) {
    let at = start;
    let isOpen = false;
    return new ReadableStream({
      pull: async (stream) => {
        for (;;) {
          const message = await sender.ask(isOpen ? { more: true } : { start: at, end });
          isOpen = true;
          if (message.bytes) {
            at += message.bytes.byteLength;
            stream.enqueue(message.bytes);
            if (at < end) return;
          } else if (message.gone) {
            sender.leave();
            const next = await find({ ...wanted, isNavigation: false }, signal);
            if (next instanceof Response) throw new TypeError(await next.text());
            sender = next;
            isOpen = false;
            continue;
          } else if (message.error) {
            sender.leave();
            throw new TypeError(message.error.message);
          }
          sender.leave();
          stream.close();
          return;
        }
      },
      cancel: () => sender.leave(),
    }, { highWaterMark: 0 });
  }

  /**
   * What a browser is told of a content, which its publisher may have made up.
   *
   * @param {Content} content
   * @param {boolean} isNavigation
   * @param {boolean} isDownload
   */
  function describe({ key, name, type = '' }, isNavigation, isDownload) {
    const essence = type.split(';', 1)[0].trim().toLowerCase();
    const isSafe = KNOWN.test(essence) && (essence === SVG || !ACTIVE.test(essence));
    const known = isSafe ? essence : 'application/octet-stream';
    const isShown = SHOWN.test(known) && known !== SVG && !isDownload && !(isNavigation && PLAYED.test(known));
    const file = (name ?? '').toWellFormed?.().replace(FORBIDDEN, '_').replace(/^\.+|[. ]+$/gu, '') || key;
    // Both forms of a name: RFC 6266, section 4.3.
    const plain = file.replace(/[^\x20-\x7e]/gu, '_').replace(/[%"\\]/gu, '_');
    const exact = encodeURIComponent(file).replace(/['()*]/gu, (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`);
    return {
      'Content-Type': known === 'text/plain' ? 'text/plain; charset=utf-8' : known,
      'Content-Disposition': `${isShown ? 'inline' : 'attachment'}; filename="${plain}"; filename*=UTF-8''${exact}`,
      'Content-Security-Policy': "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox",
      'Cross-Origin-Resource-Policy': 'same-origin',
      'Referrer-Policy': 'no-referrer',
      'X-Content-Type-Options': 'nosniff',
      'Accept-Ranges': 'bytes',
      'Cache-Control': 'no-store',
      ETag: `"${key}"`,
    };
  }

  /**
   * What is asked for of a content: one range (RFC 9110, section 14.1.2), or, as of several, all.
   *
   * @param {Headers} headers
   * @param {number} size
   * @param {string} etag
   * @returns {{ start: number, end: number } | 'unsatisfiable' | undefined}
   */
  function readRange(headers, size, etag) {
    const asked = /^bytes=(\d*)-(\d*)$/.exec(headers.get('range')?.trim() ?? '');
    const condition = headers.get('if-range');
    if (!asked || asked[0] === 'bytes=-' || (condition !== null && condition !== etag)) return undefined;
    const [, first, last] = asked;
    const start = first === '' ? Math.max(0, size - Number(last)) : Number(first);
    const end = first === '' || last === '' ? size : Math.min(size, Number(last) + 1);
    if (first !== '' && last !== '' && Number(last) < Number(first)) return undefined;
    return start < end ? { start, end } : 'unsatisfiable';
  }

  /** @param {{ code?: string, message?: string }} error */
  function refusal({ code, message = 'It cannot be had.' }) {
    return text(code === 'not-held' ? 404 : 503, message);
  }

  /**
   * @param {number} status
   * @param {string} words
   * @param {Record<string, string>} [headers]
   */
  function text(status, words, headers = {}) {
    return new Response(`${words}\n`, { status, headers: { ...headers, 'Content-Type': 'text/plain; charset=utf-8', 'X-Content-Type-Options': 'nosniff' } });
  }

  worker.addEventListener('fetch', (/** @type {any} */ event) => {
    const url = new URL(event.request.url);
    const [, key] = url.origin === location.origin ? CONTENT.exec(url.pathname) ?? [] : [];
    if (key !== undefined) event.respondWith(answer(event, key, url.searchParams));
  });

  // Pages say `awake` while they send, which is all that is needed for it.
  worker.addEventListener('message', (/** @type {any} */ event) => {
    if (event.data?.shoal === 'claim') event.waitUntil(worker.clients.claim());
    else if (event.data?.shoal === 'take over' && isAlone) worker.skipWaiting();
  });
}
