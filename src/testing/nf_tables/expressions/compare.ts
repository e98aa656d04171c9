import {
  NFT_BITWISE_AND,
  NFT_BITWISE_LSHIFT,
  NFT_BITWISE_MASK_XOR,
  NFT_BITWISE_OR,
  NFT_BITWISE_RSHIFT,
  NFT_BITWISE_XOR,
  NFT_BYTEORDER_HTON,
  NFT_CMP_EQ,
  NFT_CMP_GT,
  NFT_CMP_GTE,
  NFT_CMP_LT,
  NFT_CMP_LTE,
  NFT_CMP_NEQ,
  NFT_RANGE_NEQ,
  NFTA_BITWISE_DATA,
  NFTA_BITWISE_DREG,
  NFTA_BITWISE_LEN,
  NFTA_BITWISE_MASK,
  NFTA_BITWISE_OP,
  NFTA_BITWISE_SREG,
  NFTA_BITWISE_SREG2,
  NFTA_BITWISE_XOR,
  NFTA_BYTEORDER_DREG,
  NFTA_BYTEORDER_LEN,
  NFTA_BYTEORDER_OP,
  NFTA_BYTEORDER_SIZE,
  NFTA_BYTEORDER_SREG,
  NFTA_CMP_DATA,
  NFTA_CMP_OP,
  NFTA_CMP_SREG,
  NFTA_IMMEDIATE_DATA,
  NFTA_IMMEDIATE_DREG,
  NFTA_RANGE_FROM_DATA,
  NFTA_RANGE_OP,
  NFTA_RANGE_SREG,
  NFTA_RANGE_TO_DATA,
} from '../../../linux/nf_tables.ts';
import { isSince } from '../../machine/state.ts';
import { EINVAL, EOPNOTSUPP, refuse } from '../../refusal.ts';
import type { Attributes } from '../../wire/attributes.ts';
import { limited, needed, neededU32, type RuleContext, registerOf, source, target, VERDICT } from '../context.ts';
import { bindChain, count, readData, readValue, writeData } from '../data.ts';
import { bytesOf, compare, type ExpressionType, numberOf, registerBytes, store } from './type.ts';

const U8_MAX = 255;
/** sizeof(struct nft_data) */
const DATA_LENGTH = 16;

/** Values of this file's expressions; a verdict is no value. */
function value(context: RuleContext, attributes: Attributes, type: number, most = DATA_LENGTH): Uint8Array {
  return readValue(context, attributes, needed(attributes, type), most);
}

const immediate: ExpressionType = {
  read(attributes, context) {
    const register = neededU32(attributes, NFTA_IMMEDIATE_DREG);
    const wants = register === VERDICT ? 'verdict' : 'value';
    const data = readData(context, attributes!, needed(attributes, NFTA_IMMEDIATE_DATA), DATA_LENGTH, { wants });
    if (data instanceof Uint8Array) return { values: { target: target(context, register, data.length), data } };
    bindChain(context, data.chain);
    count(context, data, 1);
    return { values: { target: VERDICT }, verdict: data };
  },
  write({ values, verdict }, writer) {
    writer.u32be(NFTA_IMMEDIATE_DREG, registerOf(values.target as number));
    writeData(writer, NFTA_IMMEDIATE_DATA, verdict ?? (values.data as Uint8Array));
  },
  run(expression, run) {
    if (expression.verdict !== undefined) return expression.verdict;
    store(run, numberOf(expression, 'target'), bytesOf(expression, 'data'));
    return undefined;
  },
};

/** By the operator, what the sign of a comparison must be. */
const HOLDS: Record<number, (sign: number) => boolean> = {
  [NFT_CMP_EQ]: sign => sign === 0,
  [NFT_CMP_NEQ]: sign => sign !== 0,
  [NFT_CMP_LT]: sign => sign < 0,
  [NFT_CMP_LTE]: sign => sign <= 0,
  [NFT_CMP_GT]: sign => sign > 0,
  [NFT_CMP_GTE]: sign => sign >= 0,
};

const cmp: ExpressionType = {
  read(attributes, context) {
    const register = neededU32(attributes, NFTA_CMP_SREG);
    const op = neededU32(attributes, NFTA_CMP_OP);
    needed(attributes, NFTA_CMP_DATA);
    if (HOLDS[op] === undefined) refuse(EINVAL);
    const data = value(context, attributes!, NFTA_CMP_DATA);
    return { values: { source: source(context, register, data.length), op, data } };
  },
  write({ values }, writer) {
    writer.u32be(NFTA_CMP_SREG, registerOf(values.source as number));
    writer.u32be(NFTA_CMP_OP, values.op as number);
    writeData(writer, NFTA_CMP_DATA, values.data as Uint8Array);
  },
  run(expression, run) {
    const data = bytesOf(expression, 'data');
    const sign = compare(registerBytes(run, numberOf(expression, 'source'), data.length), data);
    return HOLDS[numberOf(expression, 'op')]!(sign) ? undefined : 'break';
  },
};

const range: ExpressionType = {
  read(attributes, context) {
    const register = neededU32(attributes, NFTA_RANGE_SREG);
    const op = neededU32(attributes, NFTA_RANGE_OP);
    needed(attributes, NFTA_RANGE_FROM_DATA);
    needed(attributes, NFTA_RANGE_TO_DATA);
    const from = value(context, attributes!, NFTA_RANGE_FROM_DATA);
    const to = value(context, attributes!, NFTA_RANGE_TO_DATA);
    if (from.length !== to.length) refuse(EINVAL);
    const word = source(context, register, from.length);
    limited(op, U8_MAX);
    if (op > NFT_RANGE_NEQ) refuse(EINVAL);
    return { values: { source: word, op, from, to } };
  },
  write({ values }, writer) {
    writer.u32be(NFTA_RANGE_SREG, registerOf(values.source as number));
    writer.u32be(NFTA_RANGE_OP, values.op as number);
    writeData(writer, NFTA_RANGE_FROM_DATA, values.from as Uint8Array);
    writeData(writer, NFTA_RANGE_TO_DATA, values.to as Uint8Array);
  },
  run(expression, run) {
    const from = bytesOf(expression, 'from');
    const datum = registerBytes(run, numberOf(expression, 'source'), from.length);
    const inside = compare(datum, from) >= 0 && compare(datum, bytesOf(expression, 'to')) <= 0;
    return inside === (numberOf(expression, 'op') !== NFT_RANGE_NEQ) ? undefined : 'break';
  },
};

const WORD_OPERATIONS: Record<number, (left: number, right: number) => number> = {
  [NFT_BITWISE_AND]: (left, right) => left & right,
  [NFT_BITWISE_OR]: (left, right) => left | right,
  [NFT_BITWISE_XOR]: (left, right) => left ^ right,
};
/** Operations with a second register, and AND, OR, XOR as such. */
const SECOND_OPERAND = [6, 13] as const;

const bitwise: ExpressionType = {
  read(attributes, context) {
    const from = neededU32(attributes, NFTA_BITWISE_SREG);
    const to = neededU32(attributes, NFTA_BITWISE_DREG);
    const length = limited(neededU32(attributes, NFTA_BITWISE_LEN), U8_MAX);
    const word = source(context, from, length);
    const into = target(context, to, length);
    const op = attributes!.u32be(NFTA_BITWISE_OP) ?? NFT_BITWISE_MASK_XOR;
    const known =
      op <= NFT_BITWISE_RSHIFT || (op <= NFT_BITWISE_XOR && isSince(context.work.engine.release, SECOND_OPERAND));
    if (!known) refuse(EOPNOTSUPP);
    if (into !== word && Math.abs(into - word) * 4 < length) refuse(EINVAL);
    const values = { source: word, target: into, length, op };
    if (op === NFT_BITWISE_MASK_XOR) {
      if (attributes!.has(NFTA_BITWISE_DATA) || attributes!.has(NFTA_BITWISE_SREG2)) refuse(EINVAL);
      const mask = value(context, attributes!, NFTA_BITWISE_MASK);
      const xor = value(context, attributes!, NFTA_BITWISE_XOR);
      if (mask.length !== length || xor.length !== length) refuse(EINVAL);
      return { values: { ...values, mask, xor } };
    }
    if (attributes!.has(NFTA_BITWISE_MASK) || attributes!.has(NFTA_BITWISE_XOR)) refuse(EINVAL);
    if (op === NFT_BITWISE_LSHIFT || op === NFT_BITWISE_RSHIFT) {
      const data = value(context, attributes!, NFTA_BITWISE_DATA);
      const shift = data.length === 4 ? new DataView(data.buffer, data.byteOffset).getUint32(0, true) : 0;
      if (shift < 1 || shift > 31) refuse(EINVAL);
      return { values: { ...values, data } };
    }
    const second = attributes!.u32be(NFTA_BITWISE_SREG2);
    if ((second === undefined) === !attributes!.has(NFTA_BITWISE_DATA)) refuse(EINVAL);
    if (second !== undefined) return { values: { ...values, second: source(context, second, length) } };
    const data = value(context, attributes!, NFTA_BITWISE_DATA);
    if (data.length !== length) refuse(EINVAL);
    return { values: { ...values, data } };
  },
  write({ values }, writer) {
    writer.u32be(NFTA_BITWISE_SREG, registerOf(values.source as number));
    writer.u32be(NFTA_BITWISE_DREG, registerOf(values.target as number));
    writer.u32be(NFTA_BITWISE_LEN, values.length as number);
    writer.u32be(NFTA_BITWISE_OP, values.op as number);
    if (values.second !== undefined) writer.u32be(NFTA_BITWISE_SREG2, registerOf(values.second as number));
    if (values.mask !== undefined) writeData(writer, NFTA_BITWISE_MASK, values.mask as Uint8Array);
    if (values.xor !== undefined) writeData(writer, NFTA_BITWISE_XOR, values.xor as Uint8Array);
    if (values.data !== undefined) writeData(writer, NFTA_BITWISE_DATA, values.data as Uint8Array);
  },
  run(expression, run) {
    const { view } = run;
    const words = Math.ceil(numberOf(expression, 'length') / 4);
    const from = numberOf(expression, 'source') * 4;
    const to = numberOf(expression, 'target') * 4;
    const op = numberOf(expression, 'op');
    if (op === NFT_BITWISE_MASK_XOR) {
      const mask = padded(bytesOf(expression, 'mask'));
      const xor = padded(bytesOf(expression, 'xor'));
      for (let at = 0; at < words * 4; at++)
        run.registers[to + at] = (run.registers[from + at]! & mask[at]!) ^ xor[at]!;
    } else if (op === NFT_BITWISE_LSHIFT) {
      const shift = view4(bytesOf(expression, 'data'));
      let carry = 0;
      for (let i = words - 1; i >= 0; i--) {
        const word = view.getUint32(from + i * 4, true);
        view.setUint32(to + i * 4, (word << shift) | carry, true);
        carry = word >>> (32 - shift);
      }
    } else if (op === NFT_BITWISE_RSHIFT) {
      const shift = view4(bytesOf(expression, 'data'));
      let carry = 0;
      for (let i = 0; i < words; i++) {
        const word = view.getUint32(from + i * 4, true);
        view.setUint32(to + i * 4, carry | (word >>> shift), true);
        carry = word << (32 - shift);
      }
    } else {
      const { second, data } = expression.values;
      const other = second === undefined ? undefined : (second as number) * 4;
      const fixed = data === undefined ? undefined : padded(data as Uint8Array);
      for (let at = 0; at < words * 4; at++)
        run.registers[to + at] = WORD_OPERATIONS[op]!(
          run.registers[from + at]!,
          other === undefined ? fixed![at]! : run.registers[other + at]!,
        );
    }
    return undefined;
  },
};

const view4 = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);

function padded(bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array((bytes.length + 3) & ~3);
  whole.set(bytes);
  return whole;
}

const byteorder: ExpressionType = {
  read(attributes, context) {
    const from = neededU32(attributes, NFTA_BYTEORDER_SREG);
    const to = neededU32(attributes, NFTA_BYTEORDER_DREG);
    needed(attributes, NFTA_BYTEORDER_LEN);
    needed(attributes, NFTA_BYTEORDER_SIZE);
    const op = neededU32(attributes, NFTA_BYTEORDER_OP);
    if (op > NFT_BYTEORDER_HTON) refuse(EINVAL);
    const size = limited(neededU32(attributes, NFTA_BYTEORDER_SIZE), U8_MAX);
    if (size !== 2 && size !== 4 && size !== 8) refuse(EINVAL);
    const length = limited(neededU32(attributes, NFTA_BYTEORDER_LEN), U8_MAX);
    const { version } = context.work.engine.release;
    // 6.12 refused what 6.1 and 6.18 take.
    if (length !== size && version[0] === 6 && version[1] === 12) refuse(EOPNOTSUPP);
    const word = source(context, from, length);
    return { values: { source: word, target: target(context, to, length), op, length, size } };
  },
  write({ values }, writer) {
    writer.u32be(NFTA_BYTEORDER_SREG, registerOf(values.source as number));
    writer.u32be(NFTA_BYTEORDER_DREG, registerOf(values.target as number));
    writer.u32be(NFTA_BYTEORDER_OP, values.op as number);
    writer.u32be(NFTA_BYTEORDER_LEN, values.length as number);
    writer.u32be(NFTA_BYTEORDER_SIZE, values.size as number);
  },
  run(expression, run) {
    const size = numberOf(expression, 'size');
    const from = numberOf(expression, 'source') * 4;
    const to = numberOf(expression, 'target') * 4;
    const length = numberOf(expression, 'length');
    for (let at = 0; at < length; at += size) {
      const turned = run.registers.slice(from + at, from + at + size).reverse();
      run.registers.set(turned, to + at);
    }
    return undefined;
  },
};

export const COMPARING: Record<string, ExpressionType> = { immediate, cmp, range, bitwise, byteorder };
