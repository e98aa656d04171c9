/* What an error says that was expected, where that is one of some names. */

/** 'one of tcp, udp (did you mean tcp?)' */
export function oneOf(names: readonly string[], given: unknown): string {
  const meant = typeof given === 'string' ? nearest(given, names) : undefined;
  return `one of ${names.join(', ')}${meant === undefined ? '' : ` (did you mean ${meant}?)`}`;
}

/** 'no such field (did you mean toPort? known: protocol, toPort)' */
export function noField(key: string, known: readonly string[]): string {
  const meant = nearest(key, known);
  return `no such field (${meant === undefined ? '' : `did you mean ${meant}? `}known: ${known.join(', ')})`;
}

const FIELDS_SHOWN = 8;

/** 'an object { netns, logger }' */
export function objectOf(keys: readonly string[]): string {
  if (keys.length === 0) return 'an object';
  const shown = keys.length > FIELDS_SHOWN ? [...keys.slice(0, FIELDS_SHOWN), '...'] : keys;
  return `an object { ${shown.join(', ')} }`;
}

const lettersOf = (name: string): string => name.toLowerCase().replace(/[-_ ]/g, '');

/** The name that is meant: another case or hyphenation, a beginning, or at most two letters away. */
function nearest(given: string, names: readonly string[]): string | undefined {
  const wanted = lettersOf(given);
  // Longer text is no slip of the fingers.
  if (wanted === '' || wanted.length > 32) return undefined;
  let best: string | undefined;
  let least = Math.min(2, wanted.length >> 1) + 1;
  for (const name of names) {
    const known = lettersOf(name);
    if (known === wanted) return name;
    const begins = wanted.length > 2 && (known.startsWith(wanted) || (known.length > 2 && wanted.startsWith(known)));
    const away = begins ? 1 : distance(wanted, known, least);
    if (away < least) [best, least] = [name, away];
  }
  return best;
}

/** Letters to add, remove or change, up to `limit`. */
function distance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}
