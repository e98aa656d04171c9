import type { Dialect } from '../data/dialects.ts';
import { ones } from './bits.ts';
import type { PacketContext } from './headers.ts';
import { isKnown } from './loads.ts';
import { completePayload, trimPayload, trimRaw, trimWritten } from './payload.ts';
import { sameLoad } from './shapes.ts';
import { type Binary, type FlowStatement, type Node, type PayloadNode, setType, type Value } from './tree.ts';

/* Writes of fields that are not whole bytes. */

type Write = FlowStatement & { kind: 'set-payload' };

interface WriteOptions {
  context: PacketContext;
  dialect: Dialect;
  /** Takes a mask away that only picks the bits of a field. */
  mask(of: Binary, mask: Binary, replace: (node: Node) => void): boolean;
}

/** A field that is not whole bytes is read, changed and written back: what is changed is what is meant. */
export function narrowWrite(statement: Write, target: PayloadNode, options: WriteOptions): void {
  const { context, dialect, mask: unmask } = options;
  const whole = statement.value;
  if (whole.kind !== 'binary') return;
  if (whole.left.kind === 'binary') {
    const mask = whole.left;
    if (whole.op !== '|' || whole.right.kind !== 'value' || mask.op !== '&') return;
    if (mask.left.kind !== 'payload' || !sameLoad(target, mask.left) || mask.right.kind !== 'value') return;
    const [payload, kept] = [mask.left, mask.right.value];
    mask.right.value = ones(payload.bits) ^ kept ^ whole.right.value;
    const done = unmask(whole, mask, masked => {
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
    mask.value = ones(payload.bits) ^ kept;
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
  payload: PayloadNode,
  mask: Value,
  op: '&' | '|' | '^',
  context: PacketContext,
): boolean {
  if (!trimWritten(payload, mask, op, context)) return false;
  statement.target = payload;
  if (op === '&' && mask.value === 0n) statement.value = mask;
  return true;
}

function narrowLoad(payload: PayloadNode, mask: Value, context: PacketContext): void {
  if (mask.value === 0n) return;
  const shift = trimPayload(payload, mask, context);
  if (shift === undefined) return;
  mask.value >>= BigInt(shift);
  mask.bits = payload.bits;
  completePayload(payload, context);
  setType(mask, payload.type, payload.order);
}
