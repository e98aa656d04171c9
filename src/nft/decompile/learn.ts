import { TYPES } from '../data/datatypes.ts';
import { BASE_LINK, BASE_NETWORK, BASE_TRANSPORT, header, type PacketContext } from './headers.ts';
import type { CtNode, Node, PayloadNode, Relation, Value } from './tree.ts';

/* What matches tell about the packet's protocols. */

export function completeCt(node: CtNode, context: PacketContext): void {
  if (node.key === 'saddr' || node.key === 'daddr') {
    const family = context.layers[node.base]?.name;
    if (family === 'ip' || family === 'ip6') {
      node.type = family === 'ip' ? TYPES.ipv4_addr : TYPES.ipv6_addr;
      node.family = family;
    }
    node.bits = node.type.bits;
  }
}

/** The network protocol that a match establishes: '' another one, undefined none. */
export function networkOf({ left, right }: Relation): string | undefined {
  if (right.kind !== 'value') return undefined;
  if (left.kind === 'meta') {
    if (left.key === 'nfproto') return right.value === 2n ? 'ip' : right.value === 10n ? 'ip6' : '';
    return left.key === 'protocol' ? etherName(right.value) : undefined;
  }
  if (left.kind !== 'payload' || left.base !== BASE_LINK || left.type !== TYPES.ether_type) return undefined;
  return etherName(right.value);
}

const etherName = (type: bigint): string => (type === 0x0800n ? 'ip' : type === 0x86ddn ? 'ip6' : '');

/** What a match on a protocol tells about the packet. */
export function learn(context: PacketContext, { left, right }: Relation): void {
  if (right.kind !== 'value') return;
  if (left.kind === 'payload') {
    if (left.protocol) learnFromPayload(context, left, right);
  } else if (left.kind === 'meta') {
    if (left.protocol) learnFromMeta(context, left.key, Number(right.value));
  } else if (left.kind === 'ct' && left.protocol) {
    const next = context.layers[left.base]?.upper.get(Number(right.value));
    if (next !== undefined) context.layers[left.base + 1] = next;
  }
}

function learnFromPayload(context: PacketContext, left: PayloadNode, right: Value): void {
  const number = Number(right.value);
  const below = context.layers[left.base];
  const next = below?.upper.get(number);
  if (next === undefined) {
    if (below?.name === 'icmp') context.icmpType = number === 0 ? 8 : number;
    else if (below?.name === 'icmpv6') context.icmpType = number === 129 ? 128 : number;
    return;
  }
  if (next.base === below!.base && next.base === BASE_LINK) context.stacked.push(below!);
  context.layers[next.base] = next;
}

function learnFromMeta(context: PacketContext, key: string, number: number): void {
  const { base, first } = context.start;
  const unknown = header('unknown');
  if (key === 'iiftype') {
    if (base < BASE_NETWORK && context.family !== 'inet' && context.family !== 'netdev') return;
    context.layers[BASE_LINK] = number === 1 ? header('ether') : unknown;
  } else if (key === 'nfproto') {
    if ((number === 2 && first === 'ip') || (number === 10 && first === 'ip6')) return;
    context.layers[BASE_NETWORK] = header(first).upper.get(number) ?? unknown;
  } else if (key === 'l4proto') {
    context.layers[BASE_TRANSPORT] = header('inet-service').upper.get(number) ?? unknown;
  } else if (key === 'protocol') {
    if (base !== BASE_LINK || (context.family !== 'netdev' && context.family !== 'bridge')) return;
    context.layers[BASE_NETWORK] = header(first).upper.get(number) ?? unknown;
  }
}

/** The first element of a set of types of ICMP messages tells what comes behind them. */
export function learnIcmpType(context: PacketContext, load: PayloadNode, first: Node | undefined): void {
  if (first?.kind !== 'value' || load.base !== BASE_TRANSPORT) return;
  if (load.bits !== 8 || first.bits !== 8 || context.icmpType !== 0) return;
  const of = context.layers[load.base];
  if (of === undefined || (of.name !== 'icmp' && of.name !== 'icmpv6')) return;
  if (of.next?.offset !== load.offset) return;
  load.header = of;
  load.field = of.next;
  context.icmpType = Number(first.value);
}
