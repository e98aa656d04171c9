import { NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from '../../linux/netlink.ts';
import * as Nft from '../../linux/nf_tables.ts';
import { EEXIST, EFBIG, EINVAL, ENOENT, EOPNOTSUPP, type Refusal, refuse, refuseAt } from '../refusal.ts';
import type { Attribute, Writer } from '../wire/attributes.ts';
import { chainOf } from './chains.ts';
import type { Codec, RuleContext, Work } from './context.ts';
import { count, madeChain, presentBytes } from './data.ts';
import type { Chain, Expression, NftSet, Rule, Table } from './state.ts';
import { tableOf } from './tables.ts';

const MAX_EXPRESSIONS = 128;
/** The field for the length of a rule has 12 bits. */
const MAX_SIZE = 4095;

export interface NewRule {
  readonly chain: Chain;
  readonly rule: Rule;
  readonly replaced: Rule | undefined;
  /** Sets of the one that is replaced. */
  readonly gone: readonly NftSet[];
}

export function newRule(work: Work): NewRule {
  const { attributes, request, batch } = work;
  const table = tableOf(work, Nft.NFTA_RULE_TABLE);
  const chain = targetChain(work, table);
  const has = (flag: number) => (request.flags & flag) !== 0;
  const handle = attributes.get(Nft.NFTA_RULE_HANDLE);
  let old: Rule | undefined;
  let number = 0;
  if (handle !== undefined) {
    old = byHandle(work, chain, Nft.NFTA_RULE_HANDLE);
    if (has(NLM_F_EXCL)) refuse(EEXIST, handle);
    if (!has(NLM_F_REPLACE)) refuse(EOPNOTSUPP);
  } else {
    if (!has(NLM_F_CREATE) || has(NLM_F_REPLACE)) refuse(EINVAL);
    number = ++table.lastHandle;
    if (attributes.has(Nft.NFTA_RULE_POSITION)) old = byHandle(work, chain, Nft.NFTA_RULE_POSITION);
    else if (attributes.has(Nft.NFTA_RULE_POSITION_ID)) old = byId(work, chain, Nft.NFTA_RULE_POSITION_ID);
  }
  const expressions = readExpressions(work, table, chain);
  if ((chain.flags & Nft.NFT_CHAIN_HW_OFFLOAD) !== 0) work.engine.notModelled('rules that devices carry out');
  const replaces = handle !== undefined;
  if (replaces && chain.binding) refuse(EOPNOTSUPP);
  const rule: Rule = {
    handle: replaces ? old!.handle : number,
    expressions,
    userdata: presentBytes(attributes.get(Nft.NFTA_RULE_USERDATA)?.bytes),
  };
  const { rules } = chain;
  const at = old === undefined ? -1 : rules.indexOf(old);
  let gone: NftSet[] = [];
  if (replaces) {
    rules[at] = rule;
    batch.undo.push(() => {
      rules[rules.indexOf(rule)] = old!;
    });
    gone = release(work, table, old!);
  } else {
    const isAppended = has(NLM_F_APPEND);
    const place = old === undefined ? (isAppended ? rules.length : 0) : at + (isAppended ? 1 : 0);
    rules.splice(place, 0, rule);
    batch.undo.push(() => void rules.splice(rules.indexOf(rule), 1));
  }
  const id = attributes.u32be(Nft.NFTA_RULE_ID) ?? 0;
  batch.rules.push({ id, chain, rule });
  batch.toValidate.add(table);
  return { chain, rule, replaced: replaces ? old : undefined, gone };
}

function targetChain(work: Work, table: Table): Chain {
  const { attributes, batch } = work;
  let chain: Chain;
  if (attributes.has(Nft.NFTA_RULE_CHAIN)) chain = chainOf(work, table, Nft.NFTA_RULE_CHAIN);
  else {
    const id = attributes.get(Nft.NFTA_RULE_CHAIN_ID);
    if (id === undefined) return refuse(EINVAL);
    chain = madeChain(batch, table, attributes.u32be(Nft.NFTA_RULE_CHAIN_ID)!) ?? refuse(ENOENT, id);
  }
  if (chain.bound) refuse(EOPNOTSUPP);
  return chain;
}

function byHandle({ attributes }: Work, chain: Chain, type: number): Rule {
  const wanted = attributes.u64be(type);
  return chain.rules.find(each => BigInt(each.handle) === wanted) ?? refuse(ENOENT, attributes.get(type));
}

/** A rule by the number that this batch has given it: the first of equal numbers. */
function byId({ attributes, batch }: Work, chain: Chain, type: number): Rule {
  const wanted = attributes.u32be(type);
  const found = batch.rules.find(each => each.id === wanted && each.chain === chain);
  return found?.rule ?? refuse(ENOENT, attributes.get(type));
}

function readExpressions(work: Work, table: Table, chain: Chain): Expression[] {
  const { attributes, engine } = work;
  const list = attributes.nested(Nft.NFTA_RULE_EXPRESSIONS);
  if (list === undefined) return [];
  const context: RuleContext = { work, table, chain, written: 0 };
  const known = list.list().map((each, i) => {
    if (each.type !== Nft.NFTA_LIST_ELEM || i >= MAX_EXPRESSIONS) return refuse(EINVAL);
    return { each, parsed: pointingAt(each, () => engine.parse(list.inside(each), context)) };
  });
  if (known.reduce((sum, { parsed }) => sum + engine.size(parsed), 0) > MAX_SIZE) refuse(EFBIG);
  return known.map(({ each, parsed }) => pointingAt(each, () => engine.init(parsed, context)));
}

/** A refusal that points nowhere is shown at an attribute: the expression, the element. */
export function pointingAt<T>(attribute: Attribute, work: () => T): T {
  try {
    return work();
  } catch (error) {
    return refuseAt(error as Refusal, attribute);
  }
}

/** Lets go of what the expressions of a rule refer to: jumps, objects, sets; anonymous sets and chains go with it. */
/** @returns the sets that go with it: they are told after it */
export function release(work: Work, table: Table, rule: Rule): NftSet[] {
  return rule.expressions.flatMap(expression => releaseExpression(work, table, expression));
}

function releaseExpression(work: Work, table: Table, expression: Expression): NftSet[] {
  const { batch } = work;
  const { verdict, set, object, flowtable } = expression;
  const target = verdict?.chain;
  count({ work }, verdict, -1);
  if (target?.binding === true && target.bound) {
    count({ work }, verdict, -1);
    return removeChain(work, table, target);
  }
  for (const used of [set, object, flowtable]) {
    if (used === undefined) continue;
    used.users--;
    batch.undo.push(() => {
      used.users++;
    });
  }
  if (set === undefined || set.users > 0 || (set.flags & Nft.NFT_SET_ANONYMOUS) === 0) return [];
  removeSet(work, table, set);
  return [set];
}

/** A chain that belongs to a rule, with all that is in it. */
function removeChain(work: Work, table: Table, chain: Chain): NftSet[] {
  const gone = chain.rules.flatMap(rule => release(work, table, rule));
  takeOut(work, table.chains, chain);
  return gone;
}

/** Takes a set out of its table, with the jumps and objects of its elements. */
export function removeSet(work: Work, table: Table, set: NftSet): void {
  for (const element of [...set.elements.values(), ...(set.catchAll ? [set.catchAll] : [])]) {
    count({ work }, element.verdict, -1);
    const { object } = element;
    if (object === undefined) continue;
    object.users--;
    work.batch.undo.push(() => {
      object.users++;
    });
  }
  takeOut(work, table.sets, set);
}

/** Takes one out of a list; the batch puts it back to its place if it fails. */
export function takeOut<T>(work: Work, list: T[], item: T): void {
  const at = list.indexOf(item);
  list.splice(at, 1);
  work.batch.undo.push(() => void list.splice(at, 0, item));
}

/** @returns the sets that go with it */
export function deleteRule(work: Work, chain: Chain, rule: Rule): NftSet[] {
  const gone = release(work, chain.table, rule);
  takeOut(work, chain.rules, rule);
  return gone;
}

/** Which rules a DELRULE means. */
export function rulesToDelete(work: Work, isDestroy: boolean): readonly { chain: Chain; rule: Rule }[] {
  const { attributes } = work;
  const table = tableOf(work, Nft.NFTA_RULE_TABLE);
  const named = attributes.get(Nft.NFTA_RULE_CHAIN);
  if (named === undefined)
    return table.chains.filter(each => !each.binding).flatMap(chain => chain.rules.map(rule => ({ chain, rule })));
  let chain: Chain;
  try {
    chain = chainOf(work, table, Nft.NFTA_RULE_CHAIN);
  } catch (error) {
    if (isDestroy && (error as Refusal).errno === ENOENT) return [];
    throw error;
  }
  if (chain.binding) refuse(EOPNOTSUPP);
  const handle = attributes.get(Nft.NFTA_RULE_HANDLE);
  if (handle !== undefined) {
    const wanted = attributes.u64be(Nft.NFTA_RULE_HANDLE);
    const rule = chain.rules.find(each => BigInt(each.handle) === wanted);
    if (rule === undefined) return isDestroy ? [] : refuse(ENOENT, handle);
    return [{ chain, rule }];
  }
  const id = attributes.get(Nft.NFTA_RULE_ID);
  if (id !== undefined) {
    const rule = byId(work, chain, Nft.NFTA_RULE_ID);
    if (!chain.rules.includes(rule)) return refuse(ENOENT);
    return [{ chain, rule }];
  }
  return chain.rules.map(rule => ({ chain, rule }));
}

/** @param before the rule in front of it, where the kernel tells it */
export function writeRule(writer: Writer, chain: Chain, rule: Rule, engine: Codec, before: Rule | undefined): void {
  writer.text(Nft.NFTA_RULE_TABLE, chain.table.name);
  writer.text(Nft.NFTA_RULE_CHAIN, chain.name);
  writer.u64be(Nft.NFTA_RULE_HANDLE, BigInt(rule.handle));
  if (before !== undefined) writer.u64be(Nft.NFTA_RULE_POSITION, BigInt(before.handle));
  writer.nest(Nft.NFTA_RULE_EXPRESSIONS, () => {
    for (const expression of rule.expressions) writer.nest(Nft.NFTA_LIST_ELEM, () => engine.write(expression, writer));
  });
  if (rule.userdata !== undefined) writer.attribute(Nft.NFTA_RULE_USERDATA, rule.userdata);
}
