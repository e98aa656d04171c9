import { bitmask, countOnes, lowestOne, lowestZero } from '../bits.ts';
import { TYPES } from '../data/datatypes.ts';
import { locate } from '../expressions/exthdr.ts';
import { fieldNode, listedNode } from '../expressions/payload.ts';
import { type Header, type HeaderField, LINK } from '../headers.ts';
import { isKnown } from '../nodes.ts';
import type { ProtocolContext } from '../protocol-context.ts';
import type { Exthdr, Payload, Value } from '../tree.ts';

/* Matches loads of the packet's bytes to the fields of the protocols that are known at that point. */

/** Returns the link layer header at an offset, and the bits before it. There may be several. */
function stackedHeader(context: ProtocolContext, top: Header, node: Payload): { of: Header; skip: number } {
  if (node.base !== LINK || node.offset < top.bits) return { of: top, skip: 0 };
  let { offset } = node;
  let skip = 0;
  for (const below of context.stacked) {
    if (offset < below.bits) return { of: below, skip };
    offset -= below.bits;
    skip += below.bits;
  }
  return { of: top, skip };
}

/** Returns whether the field fits the ICMP type, if that is known, and whether this version of nft knows the field. */
function fitsIcmp({ icmp, newer }: HeaderField, context: ProtocolContext): boolean {
  if (newer && !context.dialect.hasNewerIcmpFields) return false;
  return icmp === undefined || context.icmpType === 0 || icmp.includes(context.icmpType);
}

const known = (context: ProtocolContext, node: Payload): Header | undefined => context.header(node.base);

/** Finds the field of a load, if the protocol is known. */
export function completePayload(node: Payload, context: ProtocolContext): void {
  const top = known(context, node);
  if (top === undefined) return;
  const { of, skip } = stackedHeader(context, top, node);
  for (const field of of.fields) {
    if (field.offset !== node.offset - skip || field.bits !== node.bits || !fitsIcmp(field, context)) continue;
    node.type = context.typeOf(field);
    node.order = 'big';
    node.header = of;
    node.field = field;
    return;
  }
}

/** Splits a load of adjacent fields. */
export function expandPayload(node: Payload, context: ProtocolContext): Payload[] {
  const parts: Payload[] = [];
  let { offset, bits } = node;
  const top = known(context, node);
  if (top !== undefined && top.base === node.base) {
    const { of, skip } = stackedHeader(context, top, node);
    offset -= skip;
    for (const field of of.fields) {
      if (field.offset !== offset || !fitsIcmp(field, context)) continue;
      const part = fieldNode(of, field);
      part.type = context.typeOf(field);
      parts.push(part);
      if (field.bits > bits) {
        part.bits = bits;
        return parts;
      }
      bits -= field.bits;
      offset += field.bits;
      if (bits === 0) return parts;
    }
  }
  const rest = listedNode(node.base, offset, bits);
  if (node.tunnel !== undefined) rest.type = TYPES.integer;
  parts.push(rest);
  return parts;
}

/** Finds fields whose bits the mask keeps. Returns the shift of the value. */
export function trimPayload(node: Payload, mask: Value, context: ProtocolContext): number | undefined {
  const top = known(context, node);
  if (top === undefined) return undefined;
  const { of, skip } = stackedHeader(context, top, node);
  const from = lowestOne(mask.value);
  const to = lowestZero(mask.value, from + 1);
  const before = Math.ceil(mask.bits / 8) * 8 - to;
  let offset = node.offset - skip + before;
  let left = node.bits;
  let bits = 0;
  for (const field of of.fields) {
    if (field.offset !== offset) continue;
    if (field.bits > left) return undefined;
    left -= field.bits;
    offset += field.bits;
    bits += field.bits;
    if (left === 0) return undefined;
    if (from + bits !== to) continue;
    node.offset += before;
    node.bits = bits;
    return from;
  }
  return undefined;
}

/** Finds the bits that the mask keeps, if they have no name. Returns the shift of the value. */
export function trimRaw(node: Payload, mask: Value): number | undefined {
  const from = lowestOne(mask.value);
  const to = lowestZero(mask.value, from + 1);
  if (isKnown(node) || node.bits <= to) return undefined;
  const offset = node.offset + Math.ceil(mask.bits / 8) * 8 - to;
  const count = countOnes(mask.value);
  // A mask with gaps does not keep adjacent bits.
  if (Math.ceil(offset / 8) * 8 > 255 || count !== to - from) return undefined;
  node.offset = offset;
  node.bits = count;
  return from;
}

/** Finds the field of an extension that the mask keeps. Returns the shift of the value. */
export function narrowExtension(node: Exthdr, mask: Value): number | undefined {
  const shift = lowestOne(mask.value);
  const end = lowestZero(mask.value, shift + 1);
  if (end === Infinity || node.op === 'sctp' || node.op === 'dccp') return undefined;
  if (node.op !== 'ipv6' && (node.field !== undefined || node.extension === undefined)) return undefined;
  const trial = { ...node };
  locate(trial, node.offset + Math.ceil(mask.bits / 8) * 8 - end, end - shift, false);
  if (trial.field === undefined) return undefined;
  Object.assign(node, trial);
  return shift;
}

type BitwiseOperator = '&' | '|' | '^';

/** Narrows a write of some bits: the load and the mask then cover only the field of these bits. */
export function trimWritten(payload: Payload, mask: Value, op: BitwiseOperator, context: ProtocolContext): boolean {
  const of = known(context, payload);
  if (isKnown(payload) || of === undefined || payload.bits % 16 !== 0) return false;
  const place = op === '&' ? lowestZero(mask.value, 0) : lowestOne(mask.value);
  if (place === Infinity) return false;
  const end = payload.offset + payload.bits - place;
  const field = of.fields.find(each => each.offset + each.bits >= end);
  if (field === undefined) return false;
  const within = field.offset % 16;
  const shift = within < 8 ? 8 - ((field.offset % 8) + field.bits) + 8 : 16 - (within + field.bits);
  if (shift < 0) return false;
  const bits = bitmask(field.bits) << BigInt(shift);
  if (op === '&') {
    const outside = bitmask(payload.bits) ^ bits;
    if ((mask.value & outside) !== outside) return false;
  } else if ((mask.value & bits) !== mask.value) {
    return false;
  }
  mask.value = (mask.value & bits) >> BigInt(shift);
  mask.bits -= field.offset - payload.offset + shift;
  payload.offset = field.offset;
  payload.bits = field.bits;
  return true;
}
