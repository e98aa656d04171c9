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
  if (type === undefined) throw wrong(at, 'a set with a type', set.name, 'set definition does not specify key');
  const unqualified = (name: string) =>
    wrong(
      at,
      'types with a length of their own',
      name,
      `unqualified type ${name} specified in ${kind} definition. Try "typeof expression" instead of "type datatype".`,
    );
  if (set['auto-merge'] === true && !(Array.isArray(flags) && flags.includes('interval')))
    throw wrong(at, 'the flag interval with auto-merge', flags, 'auto-merge only works with interval sets');
  if (isUnqualified(type)) throw unqualified(type);
  if (kind === 'map' && map === undefined)
    throw wrong(at, 'a map with a type of its values', set.name, 'map definition does not specify mapping data type');
  const data = typeof map === 'object' && map !== null && 'interval' in map ? map.interval : map;
  if (isUnqualified(data) && data !== 'verdict') throw unqualified(data);
}

/** The first state of an element, and where it is. */
function stateOf(member: unknown): { name: string; path: Path } | undefined {
  const isPair = Array.isArray(member);
  const key: unknown = isPair ? member[0] : member;
  const fields = typeof key === 'object' && key !== null && 'elem' in key ? (key.elem as Fields) : undefined;
  for (const name in fields)
    if (Object.hasOwn(STATES, name)) return { name, path: [...(isPair ? [0] : []), 'elem', name] };
  return undefined;
}

/**
 * @param kind the kind of set that has no states and is not dynamic
 * @throws RangeError an element of it has a state
 */
export function checkElements(kind: 'set' | 'map', { elem }: Fields): void {
  const { set } = (elem ?? {}) as { set?: unknown };
  if (!Array.isArray(set)) return;
  for (let i = 0; i < set.length; i++) {
    const member: unknown = set[i];
    if (typeof member !== 'object') continue;
    const state = stateOf(member);
    if (state === undefined) continue;
    const words = `missing statement in ${kind} declaration`;
    throw wrong(['elem', 'set', i, ...state.path], 'no states: the set has none', state.name, words);
  }
}
