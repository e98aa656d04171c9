import * as Nft from '../../../linux/nf_tables.ts';
import { E2BIG, EBUSY, EINVAL, ENOENT, EOPNOTSUPP, refuse } from '../../refusal.ts';
import type { Attributes } from '../../wire/attributes.ts';
import { needed, neededU32, type RuleContext, registerOf, source, target, VERDICT, wordOf } from '../context.ts';
import { jiffies } from '../data.ts';
import { collectByClock, lookup as find, hex, isExpired, storageOf } from '../set-lookup.ts';
import type { Element, Expression, NftSet } from '../state.ts';
import { given, type Row, writeRows } from './rows.ts';
import { cloned, readStateful } from './stateful.ts';
import { type ExpressionType, numberOf, type Outcome, type Run, registerBytes, store } from './type.ts';

/** The kernel's type of verdicts as data of a map. */
export const DATA_VERDICT = 0xffff_ff00;
/** A set without a size that packets fill gets this one. */
const DYNAMIC_SIZE = 65_535;
/** NFT_SET_EXPR_MAX */
const MAX_EXPRESSIONS = 2;

/** A set by its name, or by the number that this batch has given it; of equal numbers the newest. */
export function setOf(
  { work, table }: Pick<RuleContext, 'work' | 'table'>,
  name: string | undefined,
  id: number | undefined,
): NftSet {
  const named = table.sets.find(each => each.name === name);
  if (named !== undefined) return named;
  const made =
    id === undefined ? undefined : work.batch.sets.findLast(each => each.id === id && each.set.table === table);
  return made?.set ?? refuse(ENOENT);
}

/** nf_tables_bind_set: an anonymous set has one user. */
function bind({ work, table }: RuleContext, set: NftSet): void {
  if ((set.flags & Nft.NFT_SET_ANONYMOUS) !== 0 && set.users > 0) refuse(EBUSY);
  if (set.dataType === DATA_VERDICT) work.batch.toValidate.add(table);
  set.users++;
  const bound = set.bound;
  set.bound = true;
  work.batch.undo.push(() => {
    set.users--;
    set.bound = bound;
  });
}

const lookup: ExpressionType = {
  read(attributes, context) {
    needed(attributes, Nft.NFTA_LOOKUP_SET);
    const register = neededU32(attributes, Nft.NFTA_LOOKUP_SREG);
    const set = setOf(context, attributes!.text(Nft.NFTA_LOOKUP_SET), attributes!.u32be(Nft.NFTA_LOOKUP_SET_ID));
    const word = source(context, register, set.keyLength);
    const flags = attributes!.u32be(Nft.NFTA_LOOKUP_FLAGS) ?? 0;
    if ((flags & ~Nft.NFT_LOOKUP_F_INV) !== 0) refuse(EINVAL);
    const to = attributes!.u32be(Nft.NFTA_LOOKUP_DREG);
    const isMap = (set.flags & Nft.NFT_SET_MAP) !== 0;
    let into: number | undefined;
    if (to !== undefined) {
      if (flags !== 0 || !isMap) refuse(EINVAL);
      if (set.dataType === DATA_VERDICT) {
        if (wordOf(to) !== VERDICT) refuse(EINVAL);
        into = VERDICT;
      } else into = target(context, to, set.dataLength);
    } else if (isMap && (set.flags & Nft.NFT_SET_ANONYMOUS) !== 0) refuse(EINVAL);
    bind(context, set);
    return { values: given({ source: word, target: into, flags }), set };
  },
  write({ values, set }, writer) {
    writer.text(Nft.NFTA_LOOKUP_SET, set!.name);
    writer.u32be(Nft.NFTA_LOOKUP_SREG, registerOf(values.source as number));
    if (values.target !== undefined) writer.u32be(Nft.NFTA_LOOKUP_DREG, registerOf(values.target as number));
    writer.u32be(Nft.NFTA_LOOKUP_FLAGS, values.flags as number);
  },
  run(expression, run) {
    const set = expression.set!;
    const key = registerBytes(run, numberOf(expression, 'source'), set.keyLength);
    const element = find(set, key, run.engine.now);
    // Also where the element's own expressions say no.
    const matches = element !== undefined && passes(element, run);
    if (matches === (numberOf(expression, 'flags') !== 0)) return 'break';
    const to = expression.values.target as number | undefined;
    if (to === undefined || element === undefined) return undefined;
    if (element.verdict !== undefined) return element.verdict;
    store(run, to, element.data!);
    return undefined;
  },
};

/** Runs the expressions of an element. */
function passes(element: Element, run: Run): boolean {
  return element.expressions.every(each => run.engine.run(each, run) === undefined);
}

const DYNSET: readonly Row[] = [
  ['key', Nft.NFTA_DYNSET_SREG_KEY, 'register'],
  ['data', Nft.NFTA_DYNSET_SREG_DATA, 'register'],
  ['op', Nft.NFTA_DYNSET_OP, 'u32'],
];

const dynset: ExpressionType = {
  read(attributes, context) {
    for (const attribute of [Nft.NFTA_DYNSET_SET_NAME, Nft.NFTA_DYNSET_OP, Nft.NFTA_DYNSET_SREG_KEY])
      needed(attributes, attribute);
    const flags = attributes!.u32be(Nft.NFTA_DYNSET_FLAGS) ?? 0;
    if ((flags & ~(Nft.NFT_DYNSET_F_INV | Nft.NFT_DYNSET_F_EXPR)) !== 0) refuse(EOPNOTSUPP);
    const set = setOf(context, attributes!.text(Nft.NFTA_DYNSET_SET_NAME), attributes!.u32be(Nft.NFTA_DYNSET_SET_ID));
    if ((set.flags & Nft.NFT_SET_OBJECT) !== 0) refuse(EOPNOTSUPP);
    if (storageOf(set) !== 'growing hash') refuse(EOPNOTSUPP);
    if ((set.flags & Nft.NFT_SET_CONSTANT) !== 0) refuse(EBUSY);
    const op = attributes!.u32be(Nft.NFTA_DYNSET_OP)!;
    if (op > Nft.NFT_DYNSET_OP_DELETE) refuse(EOPNOTSUPP);
    const hasTimeouts = (set.flags & Nft.NFT_SET_TIMEOUT) !== 0;
    if (attributes!.has(Nft.NFTA_DYNSET_TIMEOUT) && !hasTimeouts) refuse(EOPNOTSUPP);
    const timeout = jiffies(attributes!.u64be(Nft.NFTA_DYNSET_TIMEOUT) ?? 0n);
    const key = source(context, attributes!.u32be(Nft.NFTA_DYNSET_SREG_KEY)!, set.keyLength);
    const from = attributes!.u32be(Nft.NFTA_DYNSET_SREG_DATA);
    const isMap = (set.flags & Nft.NFT_SET_MAP) !== 0;
    if (from !== undefined && (!isMap || set.dataType === DATA_VERDICT)) refuse(EOPNOTSUPP);
    if (from === undefined && isMap) refuse(EINVAL);
    const data = from === undefined ? undefined : source(context, from, set.dataLength);
    const inner = expressionsOf(attributes!, context, set, flags);
    bind(context, set);
    // It stays so where the batch fails.
    if (set.size === 0) set.size = DYNAMIC_SIZE;
    return { values: given({ key, data, op, timeout, flags: flags & Nft.NFT_DYNSET_F_INV }), set, inner };
  },

  write({ values, set, inner = [] }, writer, engine) {
    writeRows(DYNSET, given(values), writer);
    writer.text(Nft.NFTA_DYNSET_SET_NAME, set!.name);
    writer.u64be(Nft.NFTA_DYNSET_TIMEOUT, values.timeout as bigint);
    if (set!.expressions.length === 0) {
      if (inner.length === 1) writer.nest(Nft.NFTA_DYNSET_EXPR, () => engine.write(inner[0]!, writer));
      else if (inner.length > 1)
        writer.nest(Nft.NFTA_DYNSET_EXPRESSIONS, () => {
          for (const each of inner) writer.nest(Nft.NFTA_LIST_ELEM, () => engine.write(each, writer));
        });
    }
    writer.u32be(Nft.NFTA_DYNSET_FLAGS, values.flags as number);
  },

  run(expression, run): Outcome {
    const { values, inner = [] } = expression;
    const set = expression.set!;
    const { now } = run.engine;
    const key = registerBytes(run, numberOf(expression, 'key'), set.keyLength).slice();
    const op = numberOf(expression, 'op');
    const isInverted = numberOf(expression, 'flags') !== 0;
    const name = hex(key);
    if (op === Nft.NFT_DYNSET_OP_DELETE) {
      set.elements.delete(name);
      return isInverted ? 'break' : undefined;
    }
    let element = set.elements.get(name);
    if (element !== undefined && isExpired(element, now)) element = undefined;
    const own = (values.timeout as bigint) || set.timeout;
    const timeout = own === 0n ? undefined : own;
    if (element === undefined) {
      // Those that have expired take their place until they are collected; the collector runs each second.
      collectByClock(set, run.engine.now);
      if (set.elements.size >= set.size) return isInverted ? undefined : 'break';
      const data =
        values.data === undefined ? undefined : registerBytes(run, values.data as number, set.dataLength).slice();
      element = {
        key,
        keyEnd: undefined,
        flags: 0,
        data,
        verdict: undefined,
        object: undefined,
        expressions: (inner.length > 0 ? inner : set.expressions).map(each => cloned(each, now)),
        timeout,
        expires: timeout === undefined ? undefined : now + timeout,
        userdata: undefined,
      };
      set.elements.delete(name);
      set.elements.set(name, element);
    } else if (op === Nft.NFT_DYNSET_OP_UPDATE && element.timeout !== undefined && timeout !== undefined) {
      element.timeout = timeout;
      element.expires = now + timeout;
    }
    const goesOn = passes(element, run);
    return goesOn === isInverted ? 'break' : undefined;
  },
};

/** The stateful expressions that a rule gives to each element it makes. */
function expressionsOf(attributes: Attributes, context: RuleContext, set: NftSet, flags: number): Expression[] {
  const one = attributes.get(Nft.NFTA_DYNSET_EXPR);
  const many = attributes.nested(Nft.NFTA_DYNSET_EXPRESSIONS);
  if (one === undefined && many === undefined) return [];
  if ((set.flags & Nft.NFT_SET_EVAL) === 0) refuse(EINVAL);
  const own = set.expressions;
  if (one !== undefined) {
    const expression = readStateful(context, set, attributes.inside(one));
    if (own.length > 1 || (own.length === 1 && own[0]!.name !== expression.name)) refuse(EOPNOTSUPP);
    return [expression];
  }
  if ((flags & Nft.NFT_DYNSET_F_EXPR) === 0) refuse(EINVAL);
  const expressions = many!.list().map((each, i) => {
    if (i >= MAX_EXPRESSIONS) refuse(E2BIG);
    if (each.type !== Nft.NFTA_LIST_ELEM) refuse(EINVAL);
    const expression = readStateful(context, set, many!.inside(each));
    if (own.length > 0 && i >= own.length) refuse(EINVAL);
    if (own.length > 0 && own[i]!.name !== expression.name) refuse(EOPNOTSUPP);
    return expression;
  });
  if (own.length > 0 && own.length !== expressions.length) refuse(EOPNOTSUPP);
  return expressions;
}

const objref: ExpressionType = {
  read(attributes, context) {
    const name = attributes?.text(Nft.NFTA_OBJREF_IMM_NAME);
    const type = attributes?.u32be(Nft.NFTA_OBJREF_IMM_TYPE);
    const byKey =
      attributes?.has(Nft.NFTA_OBJREF_SET_SREG) &&
      (attributes.has(Nft.NFTA_OBJREF_SET_NAME) || attributes.has(Nft.NFTA_OBJREF_SET_ID));
    if (byKey !== true && name !== undefined && type !== undefined) {
      const object = context.table.objects.find(each => each.name === name && each.type === type) ?? refuse(ENOENT);
      object.users++;
      context.work.batch.undo.push(() => {
        object.users--;
      });
      return { values: {}, object };
    }
    const register = attributes?.u32be(Nft.NFTA_OBJREF_SET_SREG);
    const hasSet = attributes?.has(Nft.NFTA_OBJREF_SET_NAME) || attributes?.has(Nft.NFTA_OBJREF_SET_ID);
    if (register === undefined || !hasSet) return refuse(EOPNOTSUPP);
    const set = setOf(context, attributes!.text(Nft.NFTA_OBJREF_SET_NAME), attributes!.u32be(Nft.NFTA_OBJREF_SET_ID));
    if ((set.flags & Nft.NFT_SET_OBJECT) === 0) refuse(EINVAL);
    const word = source(context, register, set.keyLength);
    bind(context, set);
    return { values: { source: word }, set };
  },
  write({ values, set, object }, writer) {
    if (object !== undefined) {
      writer.text(Nft.NFTA_OBJREF_IMM_NAME, object.name);
      writer.u32be(Nft.NFTA_OBJREF_IMM_TYPE, object.type);
      return;
    }
    writer.u32be(Nft.NFTA_OBJREF_SET_SREG, registerOf(values.source as number));
    writer.text(Nft.NFTA_OBJREF_SET_NAME, set!.name);
  },
  run({ values, set, object }, run) {
    const chosen =
      object ?? find(set!, registerBytes(run, values.source as number, set!.keyLength), run.engine.now)?.object;
    if (chosen === undefined) return 'break';
    return run.engine.take(chosen, run) ? undefined : 'break';
  },
};

export const LOOKUPS: Record<string, ExpressionType> = { lookup, dynset, objref };
