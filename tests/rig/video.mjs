// A real video, made once and kept under target/: a moving picture with a tone, in WebM, with
// its index in front, so that it can be played from any place of it.

import { execFile } from 'node:child_process';
import { mkdir, rename, stat } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { target } from './browsers.mjs';

/** Seconds it lasts. */
export const DURATION = 60;

/** The file; some 20 MB. */
export async function video() {
  const file = path.join(target, 'tmp', `video-${DURATION}.webm`);
  if (await stat(file).catch(() => undefined)) return file;
  await mkdir(path.dirname(file), { recursive: true });
  // Who else makes it at the same time makes the same.
  const part = `${file}.${process.pid}.webm`;
  await promisify(execFile)('ffmpeg', [
    '-v', 'error', '-y',
    '-f', 'lavfi', '-i', `testsrc2=size=640x360:rate=25:duration=${DURATION}`,
    '-f', 'lavfi', '-i', `sine=frequency=440:duration=${DURATION}`,
    // Noise, without which there would be little to fetch.
    '-vf', 'noise=alls=12:allf=t',
    '-c:v', 'libvpx', '-b:v', '2500k', '-minrate', '2500k', '-maxrate', '2500k', '-deadline', 'realtime', '-cpu-used', '8', '-g', '50',
    '-c:a', 'libopus', '-b:a', '64k', '-cues_to_front', '1', part,
  ]);
  await rename(part, file);
  return file;
}
