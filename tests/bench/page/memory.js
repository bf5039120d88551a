/** Lets the memory of an engine in a worker be read: its worker is wrapped before it is made. */

let engine;

export function watch(server) {
  const Plain = globalThis.Worker;
  const source = `
    import ${JSON.stringify(`${server}/shoal/worker.js`)};
    import init from ${JSON.stringify(`${server}/shoal/shoal_peer.js`)};
    addEventListener('message', async ({ data, ports: [port] }) => {
      if (data !== 'memory') return;
      // Exports have short names, of which nothing is known here.
      const memory = Object.values(await init()).find((value) => value instanceof WebAssembly.Memory);
      port.postMessage(memory.buffer.byteLength);
    });
  `;
  globalThis.Worker = class extends Plain {
    constructor(_, how) {
      super(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })), how);
      engine = this;
    }
  };
}

/** Bytes of the module's memory, which never shrinks, and of the page's own heap. */
export async function read() {
  const { port1, port2 } = new MessageChannel();
  const answer = new Promise((resolve) => { port1.onmessage = ({ data }) => resolve(data); });
  engine.postMessage('memory', [port2]);
  const wasm = await answer;
  port1.close();
  return { wasm, page: performance.memory.usedJSHeapSize };
}
