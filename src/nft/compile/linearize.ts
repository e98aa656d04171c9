import type { Path } from '../../errors.ts';
import type { Verdict as VerdictData } from '../../nf_tables/data.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import { ofThread } from '../../thread.ts';
import { bitmask, bytesOf, paddedBytes, prefixMask } from '../bits.ts';
import type { Dialect } from '../data/dialects.ts';
import { writeCt } from '../expressions/ct.ts';
import { writeMeta } from '../expressions/meta.ts';
import { writePayload } from '../expressions/payload.ts';
import { expressionOf } from '../expressions/registry.ts';
import type { Header } from '../headers.ts';
import { isConstant, isFlags, isText } from '../nodes.ts';
import {
  type Binary,
  type Exthdr,
  type Load,
  type MapLookup,
  type Node,
  type Prefix,
  type Range,
  type Relation,
  refuse,
  type SetInfo,
  type Value,
  type Verdict,
} from '../tree.ts';
import type { Emitter, Step } from './ir.ts';
import { toBytes } from './number.ts';

/** The kernel's registers for data, in units of four bytes. */
const UNITS = 16;
const WHOLE_UNITS = 4;
const COMPARISONS = {
  '==': 'eq',
  in: 'eq',
  '!': 'eq',
  '!=': 'neq',
  '<': 'lt',
  '>': 'gt',
  '<=': 'lte',
  '>=': 'gte',
} as const;

/** Returns the kernel's number of a register. Registers of 16 bytes are older, and have numbers of their own. */
export function registerNumber(unit: number): number {
  return unit % WHOLE_UNITS === 0 ? 1 + unit / WHOLE_UNITS : 8 + unit;
}

const places = ofThread<Path[]>('nft.paths', []);

/** Returns the path of the statement at an index. All expressions of all rules share these arrays, to save memory. */
function placeOf(index: number): Path {
  places[index] ??= ['statements', index];
  return places[index];
}

/** Writes evaluated terms as the kernel's instructions, and allocates its registers. */
export class Linearizer implements Emitter {
  readonly expressions: Expression[] = [];
  /** The path of the statement that each expression came from. */
  readonly origin: Path[] = [];
  readonly dialect: Dialect;
  #place: Path = [];
  #free = 0;

  constructor(dialect: Dialect) {
    this.dialect = dialect;
  }

  run(steps: readonly Step[]): void {
    for (const step of steps) {
      this.#place = placeOf(step.statement);
      step.emit(this);
    }
  }

  push(expression: Expression): void {
    this.expressions.push(expression);
    this.origin.push(this.#place);
  }

  /** Reserves a register for a term. Returns its place in units of four bytes. */
  take(term?: Node): number {
    const unit = this.#free;
    this.#free += unitsOf(term);
    if (this.#free > UNITS) throw refuse(term?.place, 'fewer values at once: the registers are full', this.#free);
    return unit;
  }

  release(term?: Node): void {
    this.#free -= unitsOf(term);
  }

  load(term: Node, unit: number): void {
    switch (term.kind) {
      case 'value':
        this.push({ immediate: { register: registerNumber(unit), data: dataOf(term) } });
        return;
      case 'verdict':
        this.push({ immediate: { register: 0, data: verdictData(term) } });
        return;
      case 'payload': {
        const expression: Expression = { payload: writePayload(term, registerNumber(unit)) };
        if (term.tunnel === undefined) this.push(expression);
        else this.#inside(term.tunnel, expression);
        return;
      }
      case 'meta': {
        const expression: Expression = { meta: writeMeta(term, registerNumber(unit)) };
        if (term.tunnel === undefined) this.push(expression);
        else this.#inside(term.tunnel, expression);
        return;
      }
      case 'ct':
        this.push({ ct: writeCt(term, registerNumber(unit)) });
        return;
      case 'exthdr':
      case 'load':
        this.#load(term, unit);
        return;
      case 'concat': {
        let at = unit;
        for (const part of term.parts) {
          this.load(part, at);
          at += paddedBytes(part.bits) / 4;
        }
        return;
      }
      case 'element':
        this.load(term.key, unit);
        return;
      case 'map':
        this.#map(term, unit);
        return;
      case 'binary':
        this.#binary(term, unit);
        return;
      case 'unary': {
        const { argument } = term;
        this.load(argument, unit);
        this.push({
          byteorder: {
            sourceRegister: registerNumber(unit),
            register: registerNumber(unit),
            op: term.to === 'host' ? 'network-to-host' : 'host-to-network',
            length: bytesOf(term.bits),
            size: argument.bits % 64 === 0 ? 8 : argument.bits % 32 === 0 ? 4 : 2,
          },
        });
        return;
      }
      default:
        throw refuse(term.place, 'something that can be loaded', term.kind);
    }
  }

  #inside({ tunnel }: Header, expression: Expression): void {
    const { type, flags, headerBytes } = tunnel!;
    this.push({ inner: { number: 0, type, flags: [...flags], headerSize: headerBytes, expression } });
  }

  #load(term: Exthdr | Load, unit: number): void {
    const { kernel, write } = expressionOf(term);
    const argument = term.kind === 'load' ? term.argument : undefined;
    let source: number | undefined;
    if (argument !== undefined) {
      source = this.take(argument);
      this.load(argument, source);
      this.release(argument);
      source = registerNumber(source);
    }
    this.push({ [kernel]: write(term, registerNumber(unit), source) } as Expression);
  }

  #map(term: MapLookup, unit: number): void {
    const set = setOf(term.mappings);
    const toVerdict = unit < 0;
    const source = toVerdict ? this.take(term.key) : unit;
    const room = term.key.kind === 'concat' ? paddedBytes(term.key.bits) / 4 : 0;
    this.#free += room;
    this.load(term.key, source);
    this.#free -= room;
    if (toVerdict) this.release(term.key);
    this.push({
      lookup: {
        ...referTo(set),
        sourceRegister: registerNumber(source),
        register: toVerdict ? 0 : registerNumber(unit),
      },
    });
  }

  /** Loads a verdict, or looks it up in a map. */
  verdict(term: Node): void {
    if (term.kind === 'map') this.#map(term, -1);
    else this.load(term, 0);
  }

  #binary(term: Binary, unit: number): void {
    const register = registerNumber(unit);
    const length = bytesOf(term.bits);
    if (term.op === '<<' || term.op === '>>') {
      this.load(term.left, unit);
      const { value: bits, order } = term.right as Value;
      const op = term.op === '<<' ? 'shift-left' : 'shift-right';
      this.push({
        bitwise: { sourceRegister: register, register, length, op, data: toBytes(bits, order, 4) },
      });
      return;
    }
    if (!isConstant(term.right)) {
      this.load(term.left, unit);
      const second = this.take(term.right);
      this.load(term.right, second);
      this.release(term.right);
      const op = term.op === '&' ? 'and' : term.op === '|' ? 'or' : 'xor';
      this.push({
        bitwise: {
          sourceRegister: register,
          register,
          secondSourceRegister: registerNumber(second),
          length,
          op,
        },
      });
      return;
    }
    // The kernel does a row of operations with constants in one instruction: (x & mask) ^ xor.
    const row: Binary[] = [];
    let first: Node = term;
    while (first.kind === 'binary' && first.op !== '<<' && first.op !== '>>' && isConstant(first.right)) {
      row.push(first);
      first = first.left;
    }
    this.load(first, unit);
    const all = bitmask(term.bits);
    let mask = all;
    let xor = 0n;
    for (const each of row.reverse()) {
      const operand = (each.right as Value).value;
      const [keep, flip] =
        each.op === '&' ? [operand, 0n] : each.op === '|' ? [all & ~operand, operand] : [all, operand];
      xor = flip ^ (xor & keep);
      mask &= keep;
    }
    this.push({
      bitwise: {
        sourceRegister: register,
        register,
        length,
        mask: toBytes(mask, term.order, length),
        xor: toBytes(xor, term.order, length),
        op: 'mask-xor',
      },
    });
  }

  relation(relation: Relation): void {
    const { op, left, right } = relation;
    if (right.kind === 'range') {
      this.#range(relation, right);
      return;
    }
    if (right.kind === 'set-reference') {
      this.#lookup(left, right.set, op === '!=');
      return;
    }
    if (right.kind === 'prefix') {
      this.#prefix(relation, right);
      return;
    }
    if ((op === 'in' || op === '!') && isFlags(right.type)) {
      this.#flags(relation);
      return;
    }
    const unit = this.take(left);
    this.load(left, unit);
    this.push({ cmp: { register: registerNumber(unit), op: COMPARISONS[op], data: dataOf(right as Value) } });
    this.release(left);
  }

  #range({ op, left, place }: Relation, range: Range): void {
    const unit = this.take(left);
    this.load(left, unit);
    const register = registerNumber(unit);
    const from = dataOf(range.left as Value);
    const to = dataOf(range.right as Value);
    if (op === '!=') this.push({ range: { register, op: 'neq', from, to } });
    else if (op !== '==' && op !== 'in') throw refuse(place, '== or != with a range', op);
    else if (!this.dialect.hasRangeComparison) {
      this.push({ cmp: { register, op: 'gte', data: from } });
      this.push({ cmp: { register, op: 'lte', data: to } });
    } else this.push({ range: { register, op: 'eq', from, to } });
    this.release(left);
  }

  #lookup(left: Node, set: SetInfo, inverted: boolean): void {
    const unit = this.take(left);
    this.load(left, unit);
    this.push({
      lookup: {
        ...referTo(set),
        sourceRegister: registerNumber(unit),
        ...(inverted && { flags: ['invert' as const] }),
      },
    });
    this.release(left);
  }

  /** Matches a prefix. For whole bytes a shorter load is enough; otherwise the value is masked first. */
  #prefix({ op, left }: Relation, prefix: Prefix): void {
    const unit = this.take(left);
    const register = registerNumber(unit);
    const base = prefix.base as Value;
    if (!isText(left.type) && (prefix.order !== 'big' || prefix.length === 0 || prefix.length % 8 !== 0)) {
      const length = bytesOf(prefix.bits);
      this.load(left, unit);
      this.push({
        bitwise: {
          sourceRegister: register,
          register,
          length,
          mask: toBytes(prefixMask(prefix.bits, prefix.length), prefix.order, length),
          xor: '00'.repeat(length),
        },
      });
      this.push({ cmp: { register, op: COMPARISONS[op], data: dataOf(base) } });
    } else {
      left.bits = prefix.length;
      this.load(left, unit);
      this.push({ cmp: { register, op: COMPARISONS[op], data: dataOf(base).slice(0, bytesOf(prefix.length) * 2) } });
    }
    this.release(left);
  }

  #flags({ op, left, right }: Relation): void {
    const unit = this.take(left);
    const register = registerNumber(unit);
    this.load(left, unit);
    const length = bytesOf(left.bits);
    if (left.kind === 'binary') {
      this.push({ cmp: { register, op: 'eq', data: dataOf(right as Value) } });
    } else {
      const zero = '00'.repeat(length);
      this.push({
        bitwise: { sourceRegister: register, register, length, mask: dataOf(right as Value), xor: zero },
      });
      this.push({ cmp: { register, op: op === '!' ? 'eq' : 'neq', data: zero } });
    }
    this.release(left);
  }
}

function unitsOf(term: Node | undefined): number {
  return term?.kind === 'concat' ? paddedBytes(term.bits) / 4 : WHOLE_UNITS;
}

function verdictData({ verdict, chain, chainId }: Verdict): VerdictData {
  return {
    verdict: verdict as 'accept',
    ...(chain !== undefined && { chain }),
    ...(chainId !== undefined && { chainId }),
  };
}

const dataOf = (term: Value): string => toBytes(term.value, term.order, bytesOf(term.bits));

function setOf(term: Node): SetInfo {
  if (term.kind !== 'set-reference') throw refuse(term.place, 'a map', term.kind);
  return term.set;
}

/** Refers to a set by its number within the transaction if it has one, else by its name. */
export function referTo(set: SetInfo): { set: string; setId?: number } {
  return set.id === undefined ? { set: set.name } : { set: set.name, setId: set.id };
}
