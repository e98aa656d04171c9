import { NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from '../../linux/netlink.ts';
import * as Nft from '../../linux/nf_tables.ts';
import { EEXIST, EINVAL, ENOENT, EOPNOTSUPP, type Refusal, refuse, refuseAt } from '../refusal.ts';
import type { Attribute, Writer } from '../wire/attributes.ts';
import { chainOf } from './chains.ts';
import type { Codec, RuleContext, Work } from './context.ts';
import { count } from './data.ts';
import type { Chain, Expression, NftSet, Rule, Table } from './state.ts';
import { tableOf } from './tables.ts';

const MAX_EXPRESSIONS = 128;

export interface NewRule {
  readonly chain: Chain;
  readonly rule: Rule;
  readonly replaced: Rule | undefined;
}

export function newRule(work: Work): NewRule {
  const { attributes, request, batch } = work;
  const table = tableOf(work, Nft.NFTA_RULE_TABLE);
  const chain = targetChain(work, table);
  const has = (flag: number) => (request.flags & flag) !== 0;
  const handle = attributes.get(Nft.NFTA_RULE_HANDLE);
  let old: Rule | undefined;
  if (handle !== undefined) {
    old = byHandle(work, chain, Nft.NFTA_RULE_HANDLE);
    if (has(NLM_F_EXCL)) refuse(EEXIST, handle);
    if (!has(NLM_F_REPLACE)) refuse(EOPNOTSUPP);
  } else {
    if (!has(NLM_F_CREATE) || has(NLM_F_REPLACE)) refuse(EINVAL);
    if (attributes.has(Nft.NFTA_RULE_POSITION)) old = byHandle(work, chain, Nft.NFTA_RULE_POSITION);
    else {
      const id = attributes.get(Nft.NFTA_RULE_POSITION_ID);
      if (id !== undefined) {
        old = batch.rules.get(attributes.u32be(Nft.NFTA_RULE_POSITION_ID)!);
        if (old === undefined || !chain.rules.includes(old)) refuse(ENOENT, id);
      }
    }
  }
  const expressions = readExpressions(work, table, chain);
  const replaces = handle !== undefined;
  const rule: Rule = {
    handle: replaces ? old!.handle : ++table.lastHandle,
    expressions,
    userdata: attributes.get(Nft.NFTA_RULE_USERDATA)?.bytes.slice(),
  };
  const { rules } = chain;
  const at = old === undefined ? -1 : rules.indexOf(old);
  if (replaces) {
    rules[at] = rule;
    batch.undo.push(() => {
      rules[rules.indexOf(rule)] = old!;
    });
    release(work, table, old!);
  } else {
    const isAppended = has(NLM_F_APPEND);
    const place = old === undefined ? (isAppended ? rules.length : 0) : at + (isAppended ? 1 : 0);
    rules.splice(place, 0, rule);
    batch.undo.push(() => void rules.splice(rules.indexOf(rule), 1));
  }
  const id = attributes.u32be(Nft.NFTA_RULE_ID);
  if (id !== undefined) batch.rules.set(id, rule);
  batch.toValidate.add(table);
  for (const { verdict } of expressions) if (verdict?.chain?.binding) bindChain(work, verdict.chain);
  return { chain, rule, replaced: replaces ? old : undefined };
}

function bindChain(work: Work, chain: Chain): void {
  chain.bound = true;
  work.batch.undo.push(() => {
    chain.bound = false;
  });
}

function targetChain(work: Work, table: Table): Chain {
  const { attributes, batch } = work;
  let chain: Chain;
  if (attributes.has(Nft.NFTA_RULE_CHAIN)) chain = chainOf(work, table, Nft.NFTA_RULE_CHAIN);
  else {
    const id = attributes.get(Nft.NFTA_RULE_CHAIN_ID);
    if (id === undefined) return refuse(EINVAL);
    const found = batch.chains.get(attributes.u32be(Nft.NFTA_RULE_CHAIN_ID)!);
    if (found === undefined || found.table !== table) return refuse(ENOENT, id);
    chain = found;
  }
  if (chain.bound) refuse(EOPNOTSUPP);
  return chain;
}

function byHandle({ attributes }: Work, chain: Chain, type: number): Rule {
  const wanted = attributes.u64be(type);
  return chain.rules.find(each => BigInt(each.handle) === wanted) ?? refuse(ENOENT, attributes.get(type));
}

function readExpressions(work: Work, table: Table, chain: Chain): Expression[] {
  const { attributes, engine } = work;
  const list = attributes.nested(Nft.NFTA_RULE_EXPRESSIONS);
  if (list === undefined) return [];
  const given = list.list();
  if (given.length > MAX_EXPRESSIONS) refuse(EINVAL);
  const context: RuleContext = { work, table, chain, written: 0 };
  return given.map(each => {
    if (each.type !== Nft.NFTA_LIST_ELEM) return refuse(EINVAL);
    return pointingAt(each, () => engine.read(list.inside(each), context));
  });
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
export function release(work: Work, table: Table, rule: Rule): void {
  for (const expression of rule.expressions) releaseExpression(work, table, expression);
}

export function releaseExpression(work: Work, table: Table, expression: Expression): void {
  const { batch } = work;
  const { verdict, set, object, flowtable } = expression;
  count({ work }, verdict, -1);
  if (verdict?.chain?.binding) removeChain(work, table, verdict.chain);
  for (const used of [set, object, flowtable]) {
    if (used === undefined) continue;
    used.users--;
    batch.undo.push(() => {
      used.users++;
    });
  }
  if (set !== undefined && set.users === 0 && (set.flags & Nft.NFT_SET_ANONYMOUS) !== 0) removeSet(work, table, set);
}

/** A chain that belongs to a rule, with all that is in it. */
function removeChain(work: Work, table: Table, chain: Chain): void {
  for (const rule of chain.rules) release(work, table, rule);
  takeOut(work, table.chains, chain);
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

export function deleteRule(work: Work, chain: Chain, rule: Rule): void {
  release(work, chain.table, rule);
  takeOut(work, chain.rules, rule);
}

/** Which rules a DELRULE means. */
export function rulesToDelete(work: Work, isDestroy: boolean): readonly { chain: Chain; rule: Rule }[] {
  const { attributes, batch } = work;
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
    const rule = batch.rules.get(attributes.u32be(Nft.NFTA_RULE_ID)!);
    if (rule === undefined || !chain.rules.includes(rule)) return refuse(ENOENT, id);
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
