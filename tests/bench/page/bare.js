/** One end of a bare peer connection with one data channel, in the page or in a worker. */

import { receive, send } from './pump.js';

let connection;
let channel;
let worker;
let received;
let candidates;
let failed;

/**
 * @param {{ inWorker: boolean, size?: number }} how where the channel is to live, and for the
 *   receiver how much is to come: it listens from the start, as what comes earlier is lost
 */
export function open({ inWorker, size }) {
  connection = new RTCPeerConnection();
  failed = new Promise((_, reject) => {
    connection.onconnectionstatechange = () => {
      if (connection.connectionState === 'failed') reject(new Error('the bare connection failed'));
    };
  });
  failed.catch(() => {});
  const found = [];
  candidates = new Promise((resolve) => {
    connection.onicecandidate = ({ candidate }) => {
      if (candidate === null) resolve(found);
      else if (candidate.candidate) found.push(candidate.toJSON());
    };
  });
  channel = connection.createDataChannel('bare', { negotiated: true, id: 0, ordered: false });
  if (inWorker) {
    worker = new Worker('/bare-worker.js', { type: 'module' });
    // In the task that made it, and no later.
    worker.postMessage({ channel, size }, [channel]);
  }
  if (size) received = worker ? answer() : receive(channel, size);
}

/** This side's description and its candidates, apart. */
export async function describe() {
  await connection.setLocalDescription();
  const { type, sdp } = connection.localDescription;
  return { type, sdp: sdp.replace(/^a=candidate:.*\r\n|^a=end-of-candidates\r\n/gm, ''), candidates: await candidates };
}

export async function setRemote({ type, sdp, candidates }) {
  await connection.setRemoteDescription({ type, sdp });
  for (const candidate of candidates) await connection.addIceCandidate(candidate);
}

/** Sends; ends when the browser has taken the last message. */
export function run(size, message) {
  worker?.postMessage({ size, message });
  return Promise.race([failed, worker ? answer() : send(channel, size, message)]);
}

/** MB/s at which it all came. */
export function rate() {
  return Promise.race([failed, received]);
}

function answer() {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
  });
}

export function close() {
  connection.close();
  worker?.terminate();
}
