/* The words of errors about arguments: what was expected, where that is one of some names, and what was given. */

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

/** Describes a refused value in a few characters, safe to print. */
export function show(value: unknown): string {
  return printable(describe(value));
}

function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}...` : value);
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'function') return value.name === '' ? 'a function' : `the function ${classNameOf(value)}`;
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (typeof value === 'object' && value !== null) return describeObject(value);
  return String(value);
}

/** Shows the names of fields, and none of their values. */
function describeObject(value: object): string {
  if (value instanceof Promise) return 'a promise (await it)';
  if (isInstance(value)) {
    const name = classNameOf(value.constructor as { name: string });
    // Shorter names are those of a minifier.
    return name.length < 3 ? 'an object' : `${/^[AEIO]/.test(name) ? 'an' : 'a'} ${name}`;
  }
  const keys = Object.keys(value);
  const shown = keys.length > 4 ? [...keys.slice(0, 4), '...'] : keys;
  const text = shown.join(', ');
  return text.length > 60 ? 'an object' : text === '' ? '{}' : `{ ${text} }`;
}

/** esbuild puts an underscore before the name of a class that refers to itself. */
const classNameOf = ({ name }: { name: string }): string => name.replace(/^_+/, '');

/** Whether an object was made by a class, in this realm or another. */
export function isInstance(value: object): boolean {
  const prototype: object | null = Object.getPrototypeOf(value);
  return prototype !== null && Object.getPrototypeOf(prototype) !== null && typeof value.constructor === 'function';
}

/**
 * Characters that could move a terminal's cursor, start a line, turn the direction of the text (U+202E and the like), or are invisible, so
 * that two names look the same: Unicode's controls, separators of lines and paragraphs, format characters, and ignorable code points.
 */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;
const PLAIN_TEXT = /^[ -~]*$/;

/** Escapes characters that a terminal would obey or not show: names and messages may come from a container. */
export function printable(text: string): string {
  if (PLAIN_TEXT.test(text)) return text;
  return text.replace(UNPRINTABLE, character => {
    const hex = character.codePointAt(0)!.toString(16);
    if (hex.length <= 2) return `\\x${hex.padStart(2, '0')}`;
    return hex.length <= 4 ? `\\u${hex.padStart(4, '0')}` : `\\u{${hex}}`;
  });
}

/**
 * The same for the output of JSON.stringify or util.inspect. Both have escaped the controls of values, so controls that are left are their
 * own newlines and colours, and stay. The escapes are valid in JSON.
 */
export function printableOutput(text: string): string {
  return text.replace(UNPRINTABLE, character =>
    character < ' '
      ? character
      : character
          .split('')
          .map(unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
          .join(''),
  );
}
