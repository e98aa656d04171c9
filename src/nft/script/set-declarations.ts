import { inNftsWords, type Path, rangeError } from '../../errors.ts';
import { datatypeByName } from '../data/datatypes.ts';
import { STATES } from '../statements/stateful.ts';
import type { Fields } from './reader.ts';

/* What nft has against sets and their elements before it looks at their values. Its errors point at the set's name. */

const wrong = (path: Path, expected: string, value: unknown, words: string): Error =>
  inNftsWords(rangeError(path, expected, value), words);

/** Is it a type that has no length of its own? */
const isUnqualified = (type: unknown): type is string => typeof type === 'string' && datatypeByName(type)?.bits === 0;

/** @throws RangeError the declaration of a set or map is not complete, or has settings that do not go together */
export function checkDeclaration(kind: 'set' | 'map', { type, map, flags, ...set }: Fields): void {
  const at = ['name'];
  const unqualified = (name: string) =>
    wrong(
      at,
      'types with a length of their own',
      name,
      `unqualified type ${name} specified in ${kind} definition. Try "typeof expression" instead of "type datatype".`,
    );
  if (set['auto-merge'] === true && !(Array.isArray(flags) && flags.includes('interval')))
    throw wrong(at, 'the flag interval with auto-merge', flags, 'auto-merge only works with interval sets');
  if (type === undefined) throw wrong(at, 'a set with a type', set.name, 'set definition does not specify key');
  if (isUnqualified(type)) throw unqualified(type);
  if (kind === 'map' && map === undefined)
    throw wrong(at, 'a map with a type of its values', set.name, 'map definition does not specify mapping data type');
  const data = typeof map === 'object' && map !== null && 'interval' in map ? map.interval : map;
  if (isUnqualified(data) && data !== 'verdict') throw unqualified(data);
}

/** What is known of the set that elements are added to. */
export interface SetStates {
  readonly kind: 'set' | 'map';
  /** The states that each element has. */
  readonly states: readonly string[];
  /** Rules may add elements with states of their own. */
  readonly isDynamic: boolean;
}

/** The key of an element, and the way to it. */
function keyOf(member: unknown): { fields: Fields; path: Path } | undefined {
  const isPair = Array.isArray(member);
  const key: unknown = isPair ? member[0] : member;
  if (typeof key !== 'object' || key === null || !('elem' in key)) return undefined;
  return { fields: key.elem as Fields, path: [...(isPair ? [0] : []), 'elem'] };
}

/** @throws RangeError an element has other states than its set */
export function checkElements({ kind, states, isDynamic }: SetStates, { elem }: Fields): void {
  const { set } = (elem ?? {}) as { set?: unknown };
  if (!Array.isArray(set) || (states.length === 0 && isDynamic)) return;
  for (let i = 0; i < set.length; i++) {
    const member: unknown = set[i];
    if (typeof member !== 'object') continue;
    const found = keyOf(member);
    if (found === undefined) continue;
    const { fields, path } = found;
    const own = Object.keys(fields).filter(name => Object.hasOwn(STATES, name));
    if (own.length === 0) continue;
    const at = ['elem', 'set', i, ...path];
    if (states.length === 0)
      throw wrong([...at, own[0]!], 'no states: the set has none', own[0], `missing statement in ${kind} declaration`);
    if (own.length !== states.length) {
      const words = `number of statements mismatch, set expects ${states.length} but element has ${own.length}`;
      throw wrong([...at, 'val'], `${states.length} states, as the set has`, own, words);
    }
    const other = own.findIndex((name, j) => name !== states[j]);
    if (other === -1) continue;
    const words = `statement mismatch, element expects ${own[other]}, but ${kind} has type ${states[other]}`;
    throw wrong([...at, own[other]!], `the states of the set in their order (${states.join(', ')})`, own, words);
  }
}

/** @throws RangeError an element of a set has a value, as those of maps have */
export function checkNoValues({ elem }: Fields): void {
  const { set } = (elem ?? {}) as { set?: unknown };
  const pair = Array.isArray(set) ? set.find(member => Array.isArray(member) && member.length === 2) : undefined;
  if (pair !== undefined) throw wrong(['name'], 'elements without values, or a map', pair, 'set is not a map');
}
