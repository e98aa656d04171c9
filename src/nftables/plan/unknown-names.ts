import { type Path, rangeError } from '../../errors.ts';
import type { RuleModel } from './model.ts';
import type { SetModel } from './set-model.ts';

/* That what is named is there: the kernel would say so by a number of the plan, which the caller has not written. */

type Kind = 'chain' | 'set' | 'object' | 'flowtable';
export type Names = Readonly<Record<`${Kind}s`, { has(name: string): boolean }>>;

/** @throws RangeError with the place in the rule */
export function checkRule(model: RuleModel, names: Names): void {
  for (const rules of model.chains.values()) for (const rule of rules) checkRule(rule, names);
  for (const use of model.uses) {
    const space = use.indexOf(' ');
    const kind = use.slice(0, space) as Kind;
    const key = use.slice(space + 1);
    if (names[`${kind}s`].has(key)) continue;
    // An object's key begins with its type.
    const name = kind === 'object' ? key.slice(key.indexOf(' ') + 1) : key;
    throw unknownName([...model.path, ...placeInRule(model, kind, name)], kind, name);
  }
}

/** @throws RangeError with the place in the set */
export function checkElements({ elements, form, given, path }: SetModel, names: Names): void {
  for (const { chain, object } of elements?.values() ?? []) {
    const isObject = form.objectType !== undefined && object !== undefined;
    const missing = isObject
      ? !names.objects.has(`${form.objectType} ${object}`)
      : chain !== undefined && !names.chains.has(chain);
    if (!missing) continue;
    const name = isObject ? object : chain!;
    const place = path.length === 0 ? [] : ['elements', ...(placeIn(given, isNamed(name)) ?? [])];
    throw unknownName([...path, ...place], isObject ? 'object' : 'chain', name);
  }
}

const unknownName = (path: Path, kind: Kind, name: string): RangeError =>
  rangeError(path, `the name of one of \`${kind}s\` in this table`, name, CODES[kind]);

const CODES: Readonly<Record<Kind, string>> = {
  chain: 'ERR_UNKNOWN_CHAIN',
  set: 'ERR_UNKNOWN_SET',
  object: 'ERR_UNKNOWN_OBJECT',
  flowtable: 'ERR_UNKNOWN_FLOWTABLE',
};

type Test = (value: unknown, key: string | number) => boolean;

function placeInRule({ rule }: RuleModel, kind: Kind, name: string): Path {
  const { statements, expressions } = rule as { statements?: unknown; expressions?: unknown };
  const list = statements !== undefined ? 'statements' : 'expressions';
  return [list, ...(placeIn(statements ?? expressions, TESTS[kind](name)) ?? [])];
}

const isNamed =
  (name: string): Test =>
  (value, key) =>
    value === name && (key === 'chain' || key === 'object' || key === 'data' || key === 'name');

/** By kind: what a place looks like that names one. In nft's JSON, sets have an @ before their names. */
const TESTS: Readonly<Record<Kind, (name: string) => Test>> = {
  chain: name => (value, key) => value === name && (key === 'target' || key === 'chain'),
  set: name => (value, key) => value === `@${name}` || (value === name && key === 'set'),
  flowtable: name => (value, key) => value === name || (value === `@${name}` && key === 'flowtable'),
  object: name => (value, key) => value === name && key !== 'prefix' && key !== 'comment',
};

/** The first place inside a value that passes. */
function placeIn(value: unknown, test: Test, key: string | number = ''): Path | undefined {
  if (test(value, key)) return [];
  if (typeof value !== 'object' || value === null) return undefined;
  const entries = Array.isArray(value) ? value.entries() : Object.entries(value);
  for (const [inner, item] of entries as Iterable<[string | number, unknown]>) {
    const place = placeIn(item, test, inner);
    if (place !== undefined) return [inner, ...place];
  }
  return undefined;
}
