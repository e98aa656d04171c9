import { bitmask } from '../bits.ts';
import { argument } from '../compile/argument.ts';
import { notConstant } from '../compile/binary.ts';
import { convert } from '../compile/byte-order.ts';
import { requireHeader, shiftOf } from '../compile/header.ts';
import type { Evaluator } from '../compile/ir.ts';
import { registerNumber } from '../compile/linearize.ts';
import { TYPES } from '../data/datatypes.ts';
import type { Dialect } from '../data/dialects.ts';
import type { Checksum } from '../data/protocols.ts';
import { completePayload, trimPayload, trimRaw, trimWritten } from '../decompile/payload.ts';
import { sameLoad } from '../decompile/shapes.ts';
import { rawNode } from '../expressions/payload.ts';
import { INNER, LAYER_NAMES, LINK, NETWORK, TRANSPORT } from '../headers.ts';
import { binary, isConstant, isKnown, setType, value } from '../nodes.ts';
import type { ProtocolContext } from '../protocol-context.ts';
import { type Node, type Payload, refuse, type Value } from '../tree.ts';
import type { Completion } from './construct.ts';

/*
 * Writes of fields in headers. The kernel writes whole bytes, and corrects checksums two bytes at a time: a write includes the bits around
 * a field.
 */

const MOST_BYTES = 16;

function checksumOf(field: Payload, dialect: Dialect): Checksum | undefined {
  const { header } = field;
  return header?.checksum ?? (dialect.usesOldChecksums ? header?.oldChecksum : undefined);
}

function needsEvenBytes(field: Payload, dialect: Dialect): boolean {
  if (field.base === INNER) return true;
  if (checksumOf(field, dialect) !== undefined) return true;
  return dialect.evensVlanWrites && field.base === LINK && field.header?.name === 'vlan';
}

export function evaluatePayloadWrite(e: Evaluator, field: Payload, written: Node): void {
  if (field.tunnel !== undefined) throw refuse(field.place, 'a field outside of tunnels', field.tunnel);
  requireHeader(e, field);
  const before = e.isPayloadStatement;
  e.isPayloadStatement = true;
  const { target, source } = writing(e, field, written);
  e.isPayloadStatement = before;
  e.steps.push({
    statement: e.statement,
    emit(emitter) {
      const unit = emitter.take(source);
      emitter.load(source, unit);
      emitter.release(source);
      const checksum = checksumOf(target, e.dialect);
      const offset = checksum && target.header!.byName[checksum.field]!.offset;
      emitter.push({
        payload: {
          sourceRegister: registerNumber(unit),
          base: LAYER_NAMES[target.base]!,
          offset: Math.floor(target.offset / 8),
          length: Math.floor(target.bits / 8),
          ...(offset !== undefined && { checksumType: checksum!.type, checksumOffset: offset / 8 }),
          ...(correctsTransport(target, e.dialect) && { checksumFlags: ['pseudo-header' as const] }),
        },
      });
    },
  });
}

/** Does the checksum of the transport protocol cover the field, too? */
function correctsTransport(field: Payload, dialect: Dialect): boolean {
  if (field.base === INNER) return true;
  const { header } = field;
  if (header === undefined) return false;
  if (field.base === TRANSPORT) return header.name === 'udp' && dialect.correctsUdpChecksum;
  return field.base === NETWORK && header.pseudoHeader.includes(field.field?.name ?? '');
}

function writing(e: Evaluator, field: Payload, written: Node): { target: Payload; source: Node } {
  let source = argument(e, written, field.type, field.bits, field.order);
  if (!isConstant(source) || source.kind === 'map') {
    if (source.kind !== 'map') source = convert(source, field.order);
  }
  if (source.kind === 'range') throw refuse(source.place, 'a single value', 'a range');
  const even = needsEvenBytes(field, e.dialect);
  const whole = field.offset % 8 === 0 && field.bits % 8 === 0;
  if (whole && (!even || (field.bits / 8) % 2 === 0)) return { target: field, source };

  let byte = Math.floor(field.offset / 8);
  let { shift, extra } = shiftOf(field.bits, field.offset);
  let bytes = Math.ceil((field.bits + extra) / 8);
  if (bytes > MOST_BYTES) throw refuse(field.place, `a field of at most ${MOST_BYTES} bytes`, bytes);
  if (even && bytes % 2 === 1) {
    bytes++;
    if (byte % 2 === 1) byte--;
    else shift += 8;
  }
  const distance = BigInt(shift);
  const bits = bytes * 8;
  const others = bitmask(bits) ^ (bitmask(field.bits) << distance);

  if (e.dialect.masksInWrites && source.kind !== 'value') throw notOlder(source, field, shift);
  if (source.kind === 'binary') {
    const found = calculation(e, field, source);
    if (found !== undefined) {
      // The new value is calculated from the old one: load, calculate and write the bytes around the field.
      const { innermost } = found;
      const own = innermost.left as Payload;
      own.offset = byte * 8;
      own.bits = bits;
      own.raw = true;
      own.evaluated = true;
      const operand = innermost.right as Value;
      if (operand.kind !== 'value') throw refuse(operand.place, 'a constant', operand.kind);
      operand.value <<= distance;
      if (innermost.op === '&') operand.value |= others;
      e.statementBits = bits;
      return { target: { ...own }, source: e.evaluate(source) };
    }
    throw refuse(source.place, 'a value, or a calculation with the field itself', source.kind);
  }
  if (source.kind !== 'value')
    throw refuse(source.place, 'a value, or a calculation with the field itself', source.kind);
  source.value <<= distance;
  const own = { ...rawNode(field.base, byte * 8, bits, field.place), type: TYPES.integer, evaluated: true };
  const target = { ...field, offset: own.offset, bits };
  const loaded: Payload = { ...own, header: field.header };
  const mask = value(bits, others, TYPES.integer, field.order, field.place);
  const kept: Node = { ...binary('&', loaded, mask, 0, field.place), type: TYPES.integer, order: field.order, bits };
  source.order = field.order;
  source.bits = bits;
  return {
    target,
    source: { ...binary('^', kept, source, 0, field.place), type: field.type, order: field.order, bits },
  };
}

/** What nft 1.0.6 has against a value that is not constant: it shifts the value, and puts it together with the bits around the field. */
function notOlder(source: Node, field: Payload, shift: number): Error {
  if (source.kind === 'map')
    return refuse(
      field.place,
      'a constant value for a field of bits',
      'map',
      'Binary operation (^) is undefined for map expressions',
    );
  let own: Node = source;
  while (own.kind === 'binary') own = own.left;
  if (own.kind === 'payload') {
    const { shift: by } = shiftOf(own.bits, own.offset);
    if (by >= own.bits) return shiftedTooFar('Right', by, own.place, own.bits);
  }
  if (shift >= source.bits) return shiftedTooFar('Left', shift, field.place, source.bits);
  const { place } = shift > 0 ? field : source;
  return refuse(place, 'a constant value for a field of bits', source.kind, notConstant('^'));
}

const shiftedTooFar = (way: 'Left' | 'Right', by: number, place: Node['place'], bits: number): Error =>
  refuse(
    place,
    `a field of more than ${bits} bits, or a constant value`,
    by,
    `${way} shift of ${by} bits is undefined for type of ${bits} bits width`,
  );

function calculation(e: Evaluator, field: Payload, source: Extract<Node, { kind: 'binary' }>) {
  void e;
  let innermost = source;
  while (innermost.left.kind === 'binary') innermost = innermost.left;
  const own = innermost.left;
  if (own.kind !== 'payload') return undefined;
  const same =
    own.header === field.header && own.field === field.field && own.base === field.base && own.offset === field.offset;
  return same ? { innermost } : undefined;
}

/* From the kernel's expressions back. */

interface Write {
  target: Node;
  value: Node;
}

/** Finds the field that is written, and the value that is written to it. */
export function completePayloadWrite(statement: Write, target: Payload, rule: Completion): void {
  completePayload(target, rule.context);
  if (!isKnown(target)) narrowWrite(statement, target, rule);
  statement.target = rule.node(statement.target);
  setType(statement.value, statement.target.type, statement.target.order);
}

/** A field that is not whole bytes is read, changed and written back. The changed bits are the field. */
function narrowWrite(statement: Write, target: Payload, rule: Completion): void {
  const { context, dialect } = rule;
  const whole = statement.value;
  if (whole.kind !== 'binary') return;
  if (whole.left.kind === 'binary') {
    const mask = whole.left;
    if (whole.op !== '|' || whole.right.kind !== 'value' || mask.op !== '&') return;
    if (mask.left.kind !== 'payload' || !sameLoad(target, mask.left) || mask.right.kind !== 'value') return;
    const [payload, kept] = [mask.left, mask.right.value];
    mask.right.value = bitmask(payload.bits) ^ kept ^ whole.right.value;
    const done = rule.mask(whole, mask, masked => {
      whole.left = masked;
    });
    if (!done && !isKnown(payload)) {
      const by = !dialect.trimsRawBits || mask.right.value === 0n ? undefined : trimRaw(payload, mask.right);
      if (by === undefined) {
        mask.right.value = kept;
        return;
      }
      whole.right.value >>= BigInt(by);
    }
    statement.target = payload;
    statement.value = whole.right;
    return;
  }
  const { left: payload, right: mask, op } = whole;
  if (payload.kind !== 'payload' || mask.kind !== 'value' || !sameLoad(target, payload)) return;
  if (op !== '&' && op !== '|' && op !== '^') return;
  if (op === '&') {
    if (dialect.narrowsWrites && narrowBits(statement, payload, mask, op, context)) return;
    const kept = mask.value;
    mask.value = bitmask(payload.bits) ^ kept;
    narrowLoad(payload, mask, context);
    if (!isKnown(payload) && (!dialect.trimsRawBits || trimRaw(payload, mask) === undefined)) {
      mask.value = kept;
      return;
    }
    mask.value = 0n;
  } else if (op === '|') {
    narrowLoad(payload, mask, context);
    if (dialect.narrowsWrites && narrowBits(statement, payload, mask, op, context)) return;
    if (!isKnown(payload)) return;
  } else {
    if (dialect.narrowsWrites) narrowBits(statement, payload, mask, op, context);
    return;
  }
  statement.target = payload;
  statement.value = mask;
}

function narrowBits(
  statement: Write,
  payload: Payload,
  mask: Value,
  op: '&' | '|' | '^',
  context: ProtocolContext,
): boolean {
  if (!trimWritten(payload, mask, op, context)) return false;
  statement.target = payload;
  if (op === '&' && mask.value === 0n) statement.value = mask;
  return true;
}

function narrowLoad(payload: Payload, mask: Value, context: ProtocolContext): void {
  if (mask.value === 0n) return;
  const shift = trimPayload(payload, mask, context);
  if (shift === undefined) return;
  mask.value >>= BigInt(shift);
  mask.bits = payload.bits;
  completePayload(payload, context);
  setType(mask, payload.type, payload.order);
}
