// Projects that have the package from npm: what `npm pack` makes of it is unpacked into
// their node_modules, as npm would, without asking a registry.

import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { root, target } from './browsers.mjs';

/** Copies tests/<name> to target/installed/<name>, installs the package there, and returns the folder. */
export function install(name) {
  const project = path.join(target, 'installed', name);
  rmSync(project, { recursive: true, force: true });
  cpSync(path.join(root, 'tests', name), project, { recursive: true });
  const modules = path.join(project, 'node_modules');
  mkdirSync(modules, { recursive: true });
  const packed = execFileSync('npm', ['pack', '--ignore-scripts', '--loglevel=error', '--json', '--pack-destination', modules], {
    cwd: path.join(target, 'package/shoal'), encoding: 'utf8',
  });
  const [{ filename }] = JSON.parse(packed);
  execFileSync('tar', ['-xzf', filename], { cwd: modules });
  // npm puts everything below this name.
  cpSync(path.join(modules, 'package'), path.join(modules, 'shoal'), { recursive: true });
  rmSync(path.join(modules, 'package'), { recursive: true });
  return project;
}
