import type { Chain } from '../nf_tables/chain.ts';
import type { Flowtable } from '../nf_tables/flowtable.ts';
import type { RuleEntry } from '../nf_tables/rule.ts';
import type { Table } from '../nf_tables/table.ts';
import { type Vocabulary, vocabulary } from './decompile/format-value.ts';
import { ELEMENTS_AT_ONCE, finish, type InParts } from './decompile/in-parts.ts';
import { readRule } from './decompile/rule.ts';
import { contents, devicesOf, isBaseChain, type ListedRuleset, type TableContent } from './decompile/ruleset.ts';
import { nodeJson } from './decompile/to-json.ts';
import type { DecompileContext } from './decompile.ts';
import type { JsonListing } from './json-commands.ts';
import { defined, type Json, type JsonObject } from './json-object.ts';
import { isNamed, type NamedObject, objectJson, objectWord } from './objects.ts';
import { nestedRules } from './ruleset-text.ts';
import { statementJson } from './statements/registry.ts';
import { statesJson } from './statements/stateful.ts';
import { type ListedSet, Undecompilable } from './tree.ts';

/** A listing in nft's JSON: tables, chains, rules and the like, each in an object with one key. */
export interface RulesetJson {
  /** The objects, each under its kind. */
  nftables: JsonListing[];
}

/**
 * Returns a ruleset in nft's JSON, as `nft -j list ruleset` prints it. `nft -j -f` reads it back.
 * @param ruleset the listing that `ruleset` returned
 * @param context nft's version, names of numbers and interfaces
 * @example
 * const { nftables } = rulesetJson(await nft.ruleset({ elements: true }));
 */
export function rulesetJson(ruleset: ListedRuleset, context: Omit<DecompileContext, 'sets'> = {}): RulesetJson {
  return finish(rulesetJsonInParts(ruleset, context));
}

/** The same in parts: the caller can let other work run between two rules. */
export function* rulesetJsonInParts(
  ruleset: ListedRuleset,
  context: Omit<DecompileContext, 'sets'>,
): InParts<RulesetJson> {
  const words = vocabulary(context);
  const nftables: JsonListing[] = [{ metainfo: { json_schema_version: 1 } }];
  for (const content of yield* contents(ruleset, words.dialect)) {
    for (const object of tableJson(content, words)) {
      if (object !== undefined) nftables.push(object as JsonListing);
      yield;
    }
  }
  return { nftables };
}

/** A part is undefined while a long one is being made. */
function* tableJson(content: TableContent, words: Vocabulary): Generator<JsonObject | undefined> {
  const { table, chains, sets, objects, flowtables } = content;
  yield { table: headJson(table, words) };
  // Maps and rules refer to chains: nft 1.1 lists chains first.
  if (words.dialect.listsChainsFirst) for (const chain of chains) yield { chain: chainJson(chain, words) };
  for (const object of objects) {
    if (!isNamed(object)) continue;
    const { family, name, table: of, handle, comment } = object;
    const base = defined({ family, name, table: of, handle: safe(handle), comment });
    yield { [objectWord(object.type)]: { ...base, ...contentOf(object, words) } };
  }
  for (const set of sets) yield yield* setJson(set, content, words);
  for (const flowtable of flowtables) yield { flowtable: flowtableJson(flowtable) };
  if (!words.dialect.listsChainsFirst) for (const chain of chains) yield { chain: chainJson(chain, words) };
  for (const chain of chains)
    for (const rule of content.rules.get(chain.name) ?? []) yield { rule: ruleJson(rule, content, words) };
}

/** Handles are numbers in JSON. */
const safe = (handle: bigint | undefined): number | undefined => (handle === undefined ? undefined : Number(handle));

const TABLE_FLAGS = ['dormant', 'owner', 'persist'];

function headJson({ family, name, handle, flags, comment }: Table, { dialect }: Vocabulary): JsonObject {
  const shown = TABLE_FLAGS.filter(flag => flags?.includes(flag as 'dormant'));
  return defined({
    family,
    name,
    handle: safe(handle),
    flags: shown.length === 0 ? undefined : !dialect.listsSingleFlags && shown.length === 1 ? shown[0] : shown,
    comment: dialect.hasComments ? comment : undefined,
  });
}

function oneOrAll(list: string[]): Json | undefined {
  return list.length > 1 ? list : list[0];
}

function chainJson(chain: Chain, { dialect }: Vocabulary): JsonObject {
  const { family, table, name, handle, comment } = chain;
  const base = defined({
    family,
    table,
    name,
    handle: safe(handle),
    comment: dialect.hasComments ? comment : undefined,
  });
  if (!isBaseChain(chain)) return base;
  const devices = devicesOf(chain);
  return defined({
    ...base,
    dev: dialect.hasSetDetails ? oneOrAll(devices) : undefined,
    type: chain.type,
    hook: typeof chain.hook === 'string' ? chain.hook : 'unknown',
    prio: chain.priority,
    policy: String(chain.policy ?? 'accept'),
  });
}

function flowtableJson({ family, name, table, handle, hook, priority, devices }: Flowtable): JsonObject {
  return defined({
    family: String(family),
    name,
    table,
    handle: safe(handle),
    hook: priority === undefined ? undefined : String(hook),
    prio: priority,
    dev: oneOrAll(devicesOf({ devices })),
  });
}

/** JSON has no bigints. A bigint becomes a number where that is exact, and text where it is larger. */
function withoutBigints(value: unknown): Json {
  if (typeof value === 'bigint') return value <= Number.MAX_SAFE_INTEGER ? Number(value) : String(value);
  if (Array.isArray(value)) return value.map(withoutBigints);
  if (typeof value !== 'object' || value === null) return value as Json;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withoutBigints(inner)]));
}

function ruleJson(rule: RuleEntry, content: TableContent, words: Vocabulary): JsonObject {
  const { family, table, chain, handle, comment } = rule;
  const base = defined({ family, table, chain, handle: safe(handle), comment });
  const nestedChain = nestedRules(content, words);
  const { statements, rest } = readRule(rule, content.lookup, words.dialect);
  const raw = (expressions: unknown): Json => ({ raw: withoutBigints(expressions) });
  try {
    const expr = statements.map(statement => statementJson(statement, { words, nestedChain }));
    if (rest.length > 0) expr.push(raw(rest));
    return expr.length === 0 ? base : { ...base, expr };
  } catch (error) {
    if (!(error instanceof Undecompilable)) throw error;
    return { ...base, expr: [raw(rule.expressions)] };
  }
}

function typeNames(name: string): Json {
  const names = name.split(/[ .]+/);
  return names.length === 1 ? names[0]! : names;
}

const SET_FLAGS = ['constant', 'interval', 'timeout', 'dynamic'];

/** Undefined if nft has no words for it. */
function contentOf(object: NamedObject, words: Vocabulary): JsonObject {
  try {
    return objectJson(object, words);
  } catch (error) {
    if (!(error instanceof Undecompilable)) throw error;
    return {};
  }
}

/** A set that nft has no words for is listed without its type and elements: one whose name is no text, for instance. */
function* setJson(set: ListedSet, content: TableContent, words: Vocabulary): InParts<JsonObject> {
  try {
    return yield* describedSet(set, content, words);
  } catch (error) {
    if (!(error instanceof Undecompilable)) throw error;
    const { family, name, table, handle } = set;
    return { set: defined({ family: String(family), name, table, handle: safe(handle) }) };
  }
}

function* describedSet(set: ListedSet, { lookup }: TableContent, words: Vocabulary): InParts<JsonObject> {
  const { dialect } = words;
  const shape = lookup.find(set.name);
  const isMap = shape.has('map');
  const isObjectMap = shape.has('object');
  const type = typeNames(shape.key.type.name);
  const literal = set.elements === undefined || set.elements.length === 0 ? undefined : yield* shape.literalInParts();
  const isConstant = shape.has('constant');
  const seconds = (milliseconds: bigint | number | undefined) =>
    milliseconds ? Math.floor(Number(milliseconds) / 1000) : undefined;
  const dataName = isMap ? shape.data!.type.name : undefined;
  const flags = SET_FLAGS.filter(flag => shape.has(flag) && (dialect.hasSetDetails || flag !== 'dynamic'));
  const elements: Json[] = [];
  for (const element of literal?.members ?? []) {
    elements.push(nodeJson(element, { words }));
    if (elements.length % ELEMENTS_AT_ONCE === 0) yield;
  }
  const content = defined({
    family: String(set.family),
    name: set.name,
    table: set.table,
    type: shape.isTypeof && dialect.hasSetDetails ? { typeof: nodeJson(shape.key, { words }) } : type,
    handle: safe(set.handle),
    comment: set.comment,
    map:
      dataName !== undefined
        ? dialect.splitsMapTypes
          ? typeNames(dataName)
          : dataName
        : isObjectMap
          ? objectWord(set.objectType)
          : undefined,
    policy: isConstant || set.policy === undefined || set.policy === 'performance' ? undefined : String(set.policy),
    size: isConstant ? undefined : set.description?.size || undefined,
    flags: flags.length === 0 ? undefined : flags,
    timeout: seconds(set.timeoutMilliseconds),
    'gc-interval': seconds(set.gcIntervalMilliseconds),
    'auto-merge': dialect.hasSetDetails && set.mergeElements ? true : undefined,
    elem: elements.length === 0 ? undefined : elements,
    stmt: statesJson(shape.statements, { words }),
  });
  return { [isMap || isObjectMap ? 'map' : 'set']: content };
}
