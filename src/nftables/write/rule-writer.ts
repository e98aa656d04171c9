import { type Path, rangeError, typeError } from '../../errors.ts';
import { NLM_F_APPEND, NLM_F_CREATE, NLM_F_REPLACE } from '../../linux/netlink.ts';
import { withAcceptedExpressions } from '../../nf_tables/accepted.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import type { RuleContext } from '../../nf_tables/expressions/xt.ts';
import { withCompat } from '../../nf_tables/expressions/xt-compat.ts';
import { type Family, familyNumber, isFamily } from '../../nf_tables/family.ts';
import { MESSAGES } from '../../nf_tables/message.ts';
import { XT_LAYOUTS } from '../../nf_tables/xt/layouts.ts';
import { type CompiledRule, compileRule, type SourceMap } from '../../nft/compile/compile.ts';
import type { LineRule } from '../../nft/parse/lines.ts';
import { withReadableTypeof } from '../../nft/typeof.ts';
import { setKey } from '../ranges/ranged-sets.ts';
import type { EncodeContext } from './encode-context.ts';
import type { Fields, RuleSet, Verb } from './new-objects.ts';
import { required } from './object-operations.ts';
import { writeBesides } from './rule-encoder.ts';
import { type RuleTemplate, SHAPES } from './rule-shapes.ts';
import { writeWireElements } from './wire-elements.ts';

/** What can be done with rules. */
export const RULE_VERBS: readonly Verb[] = ['add', 'insert', 'replace', 'delete', 'destroy'];

const FAMILY: Path = ['family'];
const APPENDED = NLM_F_CREATE | NLM_F_APPEND;
const TABLE = MESSAGES.newrule.table;

/** Encodes an operation on a rule. Returns the statement of each expression, where the rule is written in statements. */
export function writeRule(verb: Verb, object: Fields, to: EncodeContext): SourceMap | undefined {
  const { list, operation, resolved } = to;
  const plain = verb === 'add' || verb === 'insert' ? writePlain(verb, object, to) : undefined;
  if (plain) return plain;
  const family = familyNumber(object.family, FAMILY);
  if (object.table === undefined) required(object, 'table');
  if (object.chain === undefined && object.chainId === undefined) required(object, 'chain');
  const { index } = object;
  if (index !== undefined) {
    if (!Number.isInteger(index) || (index as number) < 0) throw rangeError(['index'], 'an integer from 0 on', index);
    if (object.chain === undefined) required(object, 'chain');
    to.needsMore = resolved === undefined;
  }
  if (verb === 'delete' || verb === 'destroy') {
    if (to.needsMore) return undefined;
    const handle = object.handle ?? resolved?.handle ?? required(object, 'handle');
    const key = { table: object.table, chain: object.chain, handle };
    list.write(verb === 'delete' ? 'delrule' : 'destroyrule', 0, family, operation, key);
    return undefined;
  }
  let rule = object;
  let origin: SourceMap | undefined;
  let sets: readonly RuleSet[] | undefined;
  if (object.statements !== undefined) {
    if (object.expressions !== undefined)
      throw typeError(['expressions'], 'either statements or expressions', object.expressions);
    const template = plain === undefined && isAppended(verb, object) ? templateFor(object, to) : undefined;
    if (template !== undefined) {
      const flags = verb === 'add' ? APPENDED : NLM_F_CREATE;
      const { table, chain } = object;
      const start = to.rules.writeFrom(list, table, chain, family, flags, template, SHAPES.values);
      writeBesides(list, object, family);
      list.end(start, 'newrule', family, operation);
      return template.origin;
    }
    const compiled = compiledRule(object, to);
    if (compiled === undefined) return undefined;
    ({ origin, sets } = compiled);
    const { statements: _, ...rest } = object;
    rest.expressions = compiled.expressions;
    rule = rest;
  }
  if (to.needsMore) return origin;
  if (verb === 'replace' || index !== undefined || object.handle !== undefined) rule = placed(rule, verb, to);
  if (sets !== undefined && sets.length > 0) rule = { ...rule, expressions: writeSets(rule, family, sets, to) };
  let start: number;
  if (verb === 'replace') {
    start = list.begin('newrule', NLM_F_REPLACE, family);
    const context: RuleContext = { family, xt: XT_LAYOUTS };
    TABLE.write(list.writer, withAcceptedExpressions(withCompat(rule, family)), context);
  } else {
    start = to.rules.write(list, rule, family, verb === 'add' ? APPENDED : NLM_F_CREATE);
  }
  list.end(start, 'newrule', family, operation);
  return origin;
}

/**
 * Encodes a new rule in statements that has nothing besides its place, by the template of its shape. If the shape has none, writes nothing and
 * returns null; for any other rule, undefined. Its fields are read in one pass, because objects that were spread have a hidden class of their own, and V8 looks up each name anew in them.
 */
function writePlain(verb: 'add' | 'insert', object: Fields, to: EncodeContext): SourceMap | null | undefined {
  let family: unknown;
  let table: unknown;
  let chain: unknown;
  let statements: unknown;
  for (const key in object) {
    const value = object[key];
    if (key === 'family') family = value;
    else if (key === 'table') table = value;
    else if (key === 'chain') chain = value;
    else if (key === 'statements') statements = value;
    else return undefined;
  }
  if (!isFamily(family) || table === undefined || chain === undefined || !Array.isArray(statements)) return undefined;
  const template = SHAPES.find(statements, family, to.surroundings.version, to);
  if (template === undefined) return null;
  const { list } = to;
  const number = familyNumber(family, FAMILY);
  const flags = verb === 'add' ? APPENDED : NLM_F_CREATE;
  const start = to.rules.writeFrom(list, table, chain, number, flags, template, SHAPES.values);
  list.end(start, 'newrule', number, to.operation);
  return template.origin;
}

/** Encodes the rule of a line by the template of its shape. Returns the statement of each expression; undefined if there is no template. */
export function writeLine(
  { place, shape, values }: LineRule,
  operation: number,
  to: EncodeContext,
): SourceMap | undefined {
  const { list, surroundings } = to;
  const template = SHAPES.of(shape, values, {
    family: place.family as Family,
    version: surroundings.version,
    source: to,
  });
  if (template === undefined) return undefined;
  const family = familyNumber(place.family, FAMILY);
  const start = to.rules.writeFrom(list, place.table, place.chain, family, APPENDED, template, values);
  list.end(start, 'newrule', family, operation);
  return template.origin;
}

/** Is the rule written as it stands, in a place that needs no look at the namespace? */
const isAppended = (verb: Verb, { index, handle }: Fields): boolean =>
  verb !== 'replace' && index === undefined && handle === undefined;

/** The template of a rule whose shape was seen before. */
function templateFor({ family, statements }: Fields, to: EncodeContext): RuleTemplate | undefined {
  if (!Array.isArray(statements)) return undefined;
  return SHAPES.find(statements, family as Family, to.surroundings.version, to);
}

/** Undefined where it refers to a set or a device that only the namespace knows: `commit` asks it. */
function compiledRule(object: Fields, to: EncodeContext): CompiledRule | undefined {
  const { resolved } = to;
  let unknown = false;
  const interfaces = (name: string) => {
    unknown = true;
    return resolved?.interfaces?.(name);
  };
  const { version, set: find } = to.surroundings;
  const sets = (name: string) => {
    const { family, table } = object;
    const set = resolved?.sets?.get(name) ?? to.sets.get(setKey(family, table, name)) ?? find?.(family, table, name);
    unknown ||= set === undefined && find === undefined;
    return set;
  };
  const { names } = to;
  const table = object.table as string;
  try {
    return compileRule(object as never, { sets, interfaces, names, table, ...(version !== undefined && { version }) });
  } catch (error) {
    if (!unknown || resolved !== undefined) throw error;
    to.needsMore = true;
    return undefined;
  }
}

/** The rule with what says where it goes; a handle that it was read with means nothing for a new one. */
function placed(rule: Fields, verb: Verb, { resolved }: EncodeContext): Fields {
  const { index, handle, ...rest } = rule;
  if (verb === 'replace') return { ...rest, handle: handle ?? resolved?.handle ?? required(rule, 'handle') };
  if (index === undefined || resolved === undefined) return rest;
  if (resolved.id !== undefined) rest.id = resolved.id;
  if (resolved.ruleId !== undefined) return { ...rest, positionId: resolved.ruleId };
  return { ...rest, position: resolved.handle };
}

/** Makes the sets that a rule brings with it, and has its expressions refer to them by their numbers in this transaction. */
function writeSets(rule: Fields, family: number, sets: readonly RuleSet[], to: EncodeContext): Expression[] {
  const { list, operation } = to;
  const table = rule.table as string;
  const ids = new Map<number, number>();
  // An error about such a set is one about the statements that it was made from.
  const translate = (): Path => ['statements'];
  for (const { set, elements } of sets) {
    const id = to.nextId();
    ids.set(set.id, id);
    list.write('newset', NLM_F_CREATE, family, operation, { ...withReadableTypeof(set), table, id }, translate);
    const head = {
      name: 'newsetelem',
      flags: NLM_F_CREATE,
      family,
      operation,
      table,
      set: set.name,
      setId: id,
    } as const;
    if (elements.length > 0) writeWireElements(list, { ...head, translate }, elements);
  }
  return (rule.expressions as Expression[]).map(expression => {
    const name = Object.keys(expression)[0]!;
    const fields = (expression as unknown as Record<string, Fields>)[name]!;
    const id = typeof fields?.setId === 'number' ? ids.get(fields.setId) : undefined;
    return id === undefined ? expression : ({ [name]: { ...fields, setId: id } } as unknown as Expression);
  });
}
