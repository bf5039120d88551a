/**
 * A name for a peer that a person can say. It is drawn from the peer id, so everybody
 * calls a peer the same, but it proves nothing: many ids share a name. That is why the
 * end of the id always stands beside it.
 */

const MANNERS = ['Amber', 'Brisk', 'Calm', 'Candid', 'Clever', 'Daring', 'Dusky', 'Eager', 'Early', 'Fair',
  'Fleet', 'Frank', 'Gentle', 'Glad', 'Hardy', 'Hazel', 'Jolly', 'Keen', 'Kind', 'Lively', 'Lucky', 'Lunar',
  'Mellow', 'Merry', 'Nimble', 'Noble', 'Patient', 'Plucky', 'Polar', 'Proud', 'Quick', 'Quiet', 'Rapid',
  'Ready', 'Rustic', 'Sable', 'Sandy', 'Shy', 'Silent', 'Sleek', 'Smart', 'Snowy', 'Sober', 'Solar', 'Spry',
  'Stately', 'Steady', 'Sunny', 'Swift', 'Tawny', 'Tidal', 'Tidy', 'Topaz', 'True', 'Vivid', 'Wandering',
  'Warm', 'Wary', 'Wild', 'Winter', 'Wise', 'Witty', 'Young', 'Zesty'];

const FISH = ['Anchovy', 'Angler', 'Barbel', 'Bass', 'Bleak', 'Blenny', 'Bluefin', 'Bonito', 'Bream', 'Brill',
  'Burbot', 'Capelin', 'Carp', 'Char', 'Chub', 'Cod', 'Dab', 'Dace', 'Dory', 'Eel', 'Flounder', 'Garfish',
  'Goby', 'Grayling', 'Grouper', 'Gudgeon', 'Gurnard', 'Haddock', 'Hake', 'Halibut', 'Herring', 'Ide',
  'Lamprey', 'Ling', 'Loach', 'Mackerel', 'Marlin', 'Minnow', 'Mullet', 'Perch', 'Pike', 'Pilchard', 'Plaice',
  'Pollock', 'Roach', 'Rudd', 'Saithe', 'Salmon', 'Sardine', 'Shad', 'Skate', 'Smelt', 'Sole', 'Sprat',
  'Sturgeon', 'Sunfish', 'Tarpon', 'Tench', 'Trout', 'Tuna', 'Turbot', 'Wels', 'Whiting', 'Wrasse'];

/**
 * FNV-1a: spreads ids evenly, which is all that is asked of it here.
 *
 * @param {string} text
 */
export function spread(text) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  // FNV's high bits mix best for short texts.
  return (hash ^ (hash >>> 15)) >>> 0;
}

/**
 * @param {string} peer id
 */
export function nameOf(peer) {
  const hash = spread(peer);
  return `${MANNERS[hash % MANNERS.length]} ${FISH[Math.floor(hash / MANNERS.length) % FISH.length]}`;
}
