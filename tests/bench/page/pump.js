/** The two ends of a bare data channel: what a channel carries when nobody does anything with it. */

/** As much as Chromium takes without its `bufferedamountlow` coming late or never. */
const HIGH_WATER = 1024 * 1024;

/** Sends `size` bytes in messages of `message` bytes. */
export async function send(channel, size, message) {
  if (channel.readyState === 'connecting') {
    await new Promise((resolve) => channel.addEventListener('open', resolve, { once: true }));
  }
  const bytes = crypto.getRandomValues(new Uint8Array(65_536));
  const block = new Uint8Array(message);
  for (let at = 0; at < message; at += bytes.length) block.set(bytes.subarray(0, message - at), at);
  channel.bufferedAmountLowThreshold = HIGH_WATER / 2;
  for (let sent = 0; sent < size; sent += message) {
    if (channel.bufferedAmount >= HIGH_WATER) {
      await new Promise((resolve) => channel.addEventListener('bufferedamountlow', resolve, { once: true }));
    }
    channel.send(block.subarray(0, size - sent));
  }
}

/** Takes `size` bytes; resolves to MB/s from the first message to the last. */
export function receive(channel, size) {
  channel.binaryType = 'arraybuffer';
  return new Promise((resolve) => {
    let start;
    let bytes = 0;
    channel.addEventListener('message', ({ data }) => {
      start ??= performance.now();
      bytes += data.byteLength;
      if (bytes >= size) resolve(bytes / 1e3 / (performance.now() - start));
    });
  });
}
