import { TYPES } from '../tables/datatypes.ts';
import {
  BASE_INNER,
  BASE_LINK,
  BASE_NETWORK,
  BASE_TRANSPORT,
  type Header,
  header,
  type PacketContext,
} from './headers.ts';
import { fieldNode, isKnown, rawNode } from './loads.ts';
import type { FlowStatement } from './statements.ts';
import { countOnes, lowestOne, lowestZero, ones, type PayloadNode, type Relation, type Value } from './tree.ts';

/* Loads of the packet's bytes, matched to the fields of the protocols that are known by then. */

/** The header of the link layer that a place lies in, where several follow each other, and the bits before it. */
function stackedHeader(context: PacketContext, top: Header, node: PayloadNode): { of: Header; skip: number } {
  if (node.base !== BASE_LINK || node.offset < top.bits) return { of: top, skip: 0 };
  let { offset } = node;
  let skip = 0;
  for (const below of context.stacked) {
    if (offset < below.bits) return { of: below, skip };
    offset -= below.bits;
    skip += below.bits;
  }
  return { of: top, skip };
}

/** Does this kind of ICMP message, where it is known, have the field? */
function fitsIcmp(icmp: readonly number[] | undefined, context: PacketContext): boolean {
  return icmp === undefined || context.icmpType === 0 || icmp.includes(context.icmpType);
}

const known = (context: PacketContext, node: PayloadNode): Header | undefined => context.layers[node.base];

/** Finds the field that a load is, if the protocol is known. */
export function completePayload(node: PayloadNode, context: PacketContext): void {
  const top = known(context, node);
  if (top === undefined) return;
  const { of, skip } = stackedHeader(context, top, node);
  for (const field of of.fields) {
    if (field.offset !== node.offset - skip || field.bits !== node.bits || !fitsIcmp(field.icmp, context)) continue;
    node.type = context.typeOf(field);
    node.order = 'big';
    node.header = of;
    node.field = field;
    return;
  }
}

/** Splits a load of adjacent fields again. */
export function expandPayload(node: PayloadNode, context: PacketContext): PayloadNode[] {
  const parts: PayloadNode[] = [];
  let { offset, bits } = node;
  const top = known(context, node);
  if (top !== undefined && top.base === node.base) {
    const { of, skip } = stackedHeader(context, top, node);
    offset -= skip;
    for (const field of of.fields) {
      if (field.offset !== offset || !fitsIcmp(field.icmp, context)) continue;
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
  const rest = rawNode(node.base, offset, bits);
  if (node.tunnel !== undefined) rest.type = TYPES.integer;
  parts.push(rest);
  return parts;
}

/** Looks for fields of which a mask leaves all bits; returns how far the value is to be shifted. */
export function trimPayload(node: PayloadNode, mask: Value, context: PacketContext): number | undefined {
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

/** The same for bits without a name. */
export function trimRaw(node: PayloadNode, mask: Value): number | undefined {
  const from = lowestOne(mask.value);
  const to = lowestZero(mask.value, from + 1);
  if (isKnown(node) || node.bits <= to) return undefined;
  const offset = node.offset + Math.ceil(mask.bits / 8) * 8 - to;
  const count = countOnes(mask.value);
  if (Math.ceil(offset / 8) * 8 > 255 || count > node.bits) return undefined;
  node.offset = offset;
  node.bits = count;
  return from;
}

type BitwiseOperator = '&' | '|' | '^';

/** Of a write that changes some bits only: the field that they are, its load and mask narrowed to it. */
export function trimWritten(payload: PayloadNode, mask: Value, op: BitwiseOperator, context: PacketContext): boolean {
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
  const bits = ones(field.bits) << BigInt(shift);
  if (op === '&') {
    const outside = ones(payload.bits) ^ bits;
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

/** Does this match announce a header of the same layer, such as a VLAN's in Ethernet? */
export function isStacked(of: Header | undefined, { op, left, right }: Relation): boolean {
  if (left.kind !== 'payload' || !left.protocol || op !== '==' || right.kind !== 'value') return false;
  const next = of?.upper.get(Number(right.value));
  return next !== undefined && next.base === of?.base;
}

/** A match of a rule that says which protocol comes next. */
export interface Dependency {
  kind: 'match';
  node: Relation;
}

/** The matches on protocols that may turn out to be implied by later ones, and are then left out. */
export class Dependencies {
  readonly #found: (Dependency | undefined)[] = [];
  readonly #removed: Set<FlowStatement>;
  #icmpType = 0;
  /** The statement before. */
  previous: FlowStatement | undefined;

  constructor(removed: Set<FlowStatement>) {
    this.#removed = removed;
  }

  /** After a statement with an effect nothing before it may be left out. */
  reset(): void {
    this.#found.length = 0;
    this.#icmpType = 0;
    this.previous = undefined;
  }

  store(statement: Dependency, base: number): void {
    if (!this.#storeIcmpType(statement.node)) this.#found[base + 1] = statement;
  }

  #storeIcmpType({ left, right }: Relation): boolean {
    if (left.kind !== 'payload' || right.kind !== 'value' || right.bits !== 8) return false;
    const type = Number(right.value);
    if (left.header?.name === 'icmp') {
      this.#icmpType = type === 0 ? 8 : type;
      return this.#icmpType === 8;
    }
    if (left.header?.name !== 'icmpv6') return false;
    this.#icmpType = type;
    return type === 128 || type === 129;
  }

  at(base: number): Dependency | undefined {
    return this.#found[base];
  }

  get(base: number): Relation | undefined {
    const found = this.#found[base] ?? (base === BASE_TRANSPORT ? this.#found[BASE_INNER] : undefined);
    return found?.node;
  }

  release(base: number): void {
    const at = this.#found[base] === undefined && base === BASE_TRANSPORT ? BASE_INNER : base;
    const found = this.#found[at];
    if (found === undefined) return;
    this.#removed.add(found);
    if (found === this.previous) this.previous = undefined;
    this.#found[at] = undefined;
  }

  /** Leaves out what this load implies. */
  kill(node: PayloadNode, family: string, old: boolean): void {
    if (node.header === undefined) return;
    const dependency = this.get(node.base);
    if (dependency !== undefined && this.#mayKill(dependency, node, family, old)) this.release(node.base);
  }

  #mayKill(dependency: Relation, node: PayloadNode, family: string, old: boolean): boolean {
    const { left, op } = dependency;
    if (family === 'bridge' || family === 'netdev' || family === 'inet') {
      if (
        left.kind === 'payload' &&
        left.base === BASE_NETWORK &&
        (left.header?.name === 'ip' || left.header?.name === 'ip6') &&
        node.base === BASE_TRANSPORT
      )
        return false;
      if (left.kind === 'payload' && op === '==' && node.base === left.base) {
        if (node.protocol) return false;
        if (node.base === BASE_LINK) return this.#mayKillLink(dependency);
      }
    }
    if (node.base !== BASE_TRANSPORT) return true;
    if (!old && node.header === header('th')) {
      // The ports of any protocol: the match on it has to stay, and is better followed by plain bits.
      node.header = undefined;
      node.type = TYPES.xinteger;
      return false;
    }
    if (left.kind !== 'payload' || left.base !== BASE_TRANSPORT) return true;
    if (left.header?.name === 'icmp' || left.header?.name === 'icmpv6') return this.#mayKillIcmp(left, node);
    return true;
  }

  #mayKillLink({ left, right }: Relation): boolean {
    if (left.kind !== 'payload' || left.header?.name === 'vlan') return false;
    if (left.header?.name === 'ether' && right.kind === 'value' && right.bits === 16) return right.value === 0x8100n;
    return true;
  }

  #mayKillIcmp(left: PayloadNode, { header: of, field }: PayloadNode): boolean {
    const icmp = field?.icmp;
    if (icmp === undefined || left.header !== of || icmp.length > 1) return false;
    return this.#icmpType === icmp[0];
  }
}
