// What browsers keep in a profile on disk: the databases of sites.

import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';

/** Where databases lie in a profile. */
const FOLDER = {
  chromium: ['Default', 'IndexedDB'],
  firefox: ['storage', 'default'],
};

/** The folders of the databases of all sites: one a site. */
export async function databasesOf(name, profile) {
  const folder = path.join(profile, ...FOLDER[name]);
  const sites = await readdir(folder);
  if (name === 'chromium') return sites.filter((site) => site.endsWith('.leveldb')).map((site) => path.join(folder, site));
  return sites.filter((site) => site.startsWith('http')).map((site) => path.join(folder, site, 'idb'));
}

/** Whether the Chromium that runs, or ran last, has made the one database there is: its log says so. */
export async function wasMadeAnew(profile) {
  const [folder] = await databasesOf('chromium', profile);
  return (await readFile(path.join(folder, 'LOG'), 'utf8')).includes('Creating DB');
}
