import { checkObject, checkString } from '../../codec/index.ts';
import { type Path, rangeError, typeError, within } from '../../errors.ts';
import type { Chain } from '../../nf_tables/chain.ts';
import { familyNumber, isFamily } from '../../nf_tables/family.ts';
import type { Flowtable } from '../../nf_tables/flowtable.ts';
import type { NftObject } from '../../nf_tables/object.ts';
import type { RuleEntry } from '../../nf_tables/rule.ts';
import type { Table } from '../../nf_tables/table.ts';
import type { Rule } from '../../nft/rule.ts';
import type { SetEntry } from '../read/listing.ts';
import type { NewMap } from '../write/new-objects.ts';
import { kernelForm } from './content.ts';

/**
 * What there should be. Each object is written as for a transaction, or as it was read: what `ruleset({ elements: true })` gives can be kept and
 * wanted again. What is left out has the kernel's default: a table without `flags` is not dormant. Sets without `elements` keep those that they
 * have.
 */
export interface DesiredRuleset {
  /** The tables. */
  tables: readonly Table[];
  /** Of base chains of one hook and priority, the kernel asks the last one of this list first. */
  chains?: readonly Chain[];
  /** Elements are values, or as they were read. */
  sets?: readonly (NewMap | SetEntry)[];
  /** In their order within each chain. */
  rules?: readonly (Rule | RuleEntry)[];
  /** The named objects: counters, quotas, limits and others. */
  objects?: readonly NftObject[];
  /** The flowtables. */
  flowtables?: readonly Flowtable[];
  /** Of a ruleset that was read: it says nothing about what is wanted. */
  generation?: number;
}

/** An object of a ruleset that says where it belongs. */
export interface ScopedObject {
  family: unknown;
  table: string;
  name?: unknown;
  chain?: unknown;
  flags?: readonly unknown[];
  elements?: unknown;
}

/** The part of a ruleset that becomes a model. */
export interface ModelScope {
  hasTable(key: string): boolean;
  /** Whether there is a chain of that name, also outside of the part. */
  hasChain(table: string, name: string): boolean;
  /** The objects of a list as far as they are part of the model. What is no object is among them. */
  given<T extends ScopedObject>(kind: string, list: readonly T[]): readonly Given<T>[];
}

/** An object with its place in a list of the ruleset. */
export interface Given<T> {
  object: T;
  index: number;
}

const LISTS = ['tables', 'chains', 'sets', 'rules', 'objects', 'flowtables'] as const;

/** The order of the list is the order of the rules. A rule that gives a position is refused. */
const RULE_FIELDS = [
  'family',
  'table',
  'chain',
  'statements',
  'expressions',
  'comment',
  'handle',
  'previousHandle',
  'compat',
  'ebtablesPolicy',
  'unknown',
];
const LONGEST_NAME = 255;

/**
 * That it is a ruleset, of objects that say where they belong, with nothing in them that is unknown. What they hold, their models find out.
 * Nothing is said of what is outside of a scope.
 */
export function checkDesired(desired: DesiredRuleset, scope?: ModelScope): void {
  checkObject(desired, [], [...LISTS, 'generation']);
  for (const kind of LISTS) {
    const list: unknown = desired[kind];
    if (list === undefined && kind !== 'tables') continue;
    if (!Array.isArray(list)) throw typeError([kind], 'an array', list, list === undefined ? 'ERR_MISSING' : undefined);
    const objects = list as readonly ScopedObject[];
    if (scope === undefined)
      for (let index = 0; index < objects.length; index++) checkPlace(kind, objects[index], index);
    else for (const { object, index } of scope.given(kind, objects)) checkPlace(kind, object, index);
  }
  desired.tables.forEach((table, index) => {
    at(['tables', index], () => kernelForm('newtable', table));
  });
}

function checkPlace(kind: (typeof LISTS)[number], object: unknown, index: number): void {
  if (isPlaced(kind, object)) return;
  const path = [kind, index];
  if (typeof object !== 'object' || object === null || Array.isArray(object))
    throw typeError(path, 'an object', object);
  const { family, table, name, chain, type } = object as Record<string, unknown>;
  familyNumber(family, [...path, 'family']);
  if (kind !== 'tables') checkString(table, [...path, 'table'], LONGEST_NAME);
  if (kind === 'rules') {
    checkObject(object, path, RULE_FIELDS);
    checkString(chain, [...path, 'chain'], LONGEST_NAME);
  } else {
    checkString(name, [...path, 'name'], LONGEST_NAME);
  }
  if (kind === 'objects' && type === undefined) throw typeError([...path, 'type'], 'a value', type, 'ERR_MISSING');
}

/** Whether the usual object passes, of which no error need be told. */
function isPlaced(kind: (typeof LISTS)[number], object: unknown): boolean {
  if (typeof object !== 'object' || object === null || kind === 'tables' || kind === 'objects') return false;
  const { family, table, name, chain } = object as Record<string, unknown>;
  if (!isFamily(family) || !isShortName(table)) return false;
  if (kind !== 'rules') return isShortName(name);
  for (const field in object) if (!RULE_FIELDS.includes(field)) return false;
  return isShortName(chain);
}

/** A name of whose bytes there cannot be too many. */
const isShortName = (name: unknown): boolean =>
  typeof name === 'string' && name.length > 0 && name.length <= LONGEST_NAME / 3 && !name.includes('\0');

/** Refuses what there can be only one of. */
export const twice = (path: Path, name: unknown): RangeError =>
  rangeError(path, 'each only once', name, 'ERR_DUPLICATE');

/** Adds the path of the object to the error that `make` throws. */
export function at<T>(path: Path, make: () => T): T {
  try {
    return make();
  } catch (error) {
    throw within(error, path);
  }
}
