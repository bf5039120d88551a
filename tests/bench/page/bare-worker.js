import { receive, send } from './pump.js';

let channel;

onmessage = async ({ data }) => {
  const { size, message } = data;
  channel ??= data.channel;
  if (message) postMessage(await send(channel, size, message));
  else if (size) postMessage(await receive(channel, size));
};
