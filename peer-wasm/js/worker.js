/** Where an engine runs if the page does not say otherwise: a worker with nothing else. */

import { EngineRoom } from './engine.js';
import init, { Engine } from './shoal_peer.js';

// TypeScript knows a page's `self` or a worker's, and these modules are for both.
const worker = /** @type {Worker} */ (/** @type {unknown} */ (self));

const room = new EngineRoom(toPage, async () => {
  await init();
  return Engine;
});

/** @param {any} message */
function toPage(message) {
  worker.postMessage(message);
  if (message.type === 'crashed' || message.type === 'closed') self.close();
}

// Most of the engine runs in callbacks and promises of its own.
addEventListener('error', ({ error }) => {
  if (error instanceof WebAssembly.RuntimeError) room.crash(error);
});
addEventListener('unhandledrejection', ({ reason }) => {
  if (reason instanceof WebAssembly.RuntimeError) room.crash(reason);
});

worker.onmessage = (/** @type {MessageEvent} */ { data }) => room.handle(data);
worker.postMessage({ type: 'ready', takesChannels: typeof RTCDataChannel === 'function' });
