import { CT_KEYS, META_KEYS } from '../../nf_tables/expressions/packet.ts';
import { TYPES } from '../data/datatypes.ts';
import type { Dialect } from '../data/dialects.ts';
import {
  CT,
  FIB,
  FIB_FLAGS,
  type FibFlag,
  GENERATED,
  IPSEC,
  IPSEC6,
  type KeyRow,
  META,
  OSF,
  RT,
  RT_NEXTHOP6,
  SOCKET,
  TUNNEL,
} from '../data/keys.ts';
import { BASE_LINK, BASE_NETWORK, BASE_TRANSPORT, type Header, type HeaderField, header } from './headers.ts';
import {
  type CtNode,
  type FibNode,
  type HashNode,
  type IpsecNode,
  type MetaNode,
  type NumgenNode,
  type OsfNode,
  type PayloadNode,
  type RouteNode,
  type SocketNode,
  type TunnelNode,
  Undecompilable,
  untyped,
} from './tree.ts';

/*
 * Nodes for what is loaded into registers: each with the type that its key has.
 */

interface WordRow extends KeyRow {
  readonly word: string;
}

function byKey(rows: Readonly<Record<string, KeyRow>>): ReadonlyMap<string, WordRow> {
  return new Map(Object.entries(rows).map(([word, row]) => [row.key, { ...row, word }]));
}

function byNumber(rows: ReadonlyMap<string, WordRow>, numbers: Readonly<Record<string, number>>) {
  return new Map([...rows.values()].map(row => [numbers[row.key]!, row]));
}

const META_ROWS = /* @__PURE__ */ byKey(META);
const CT_ROWS = /* @__PURE__ */ byKey(CT);
const RT_ROWS = /* @__PURE__ */ byKey(RT);
const SOCKET_ROWS = /* @__PURE__ */ byKey(SOCKET);
const TUNNEL_ROWS = /* @__PURE__ */ byKey(TUNNEL);
const IPSEC_ROWS = /* @__PURE__ */ byKey(IPSEC);
const IPSEC6_ROWS = /* @__PURE__ */ byKey(IPSEC6);
const META_BY_NUMBER = /* @__PURE__ */ byNumber(META_ROWS, META_KEYS);
const CT_BY_NUMBER = /* @__PURE__ */ byNumber(CT_ROWS, CT_KEYS);

function typed({ type, bits, order }: Pick<KeyRow, 'type' | 'bits' | 'order'>) {
  return { type: TYPES[type], order, bits };
}

function row(rows: ReadonlyMap<string, WordRow>, key: string | number, what: string): WordRow {
  const found = rows.get(key as string);
  if (found === undefined) throw new Undecompilable(`${what} ${key}`);
  return found;
}

export const metaRow = (key: string | number): WordRow => row(META_ROWS, key, 'meta');
export const ctRow = (key: string | number): WordRow => row(CT_ROWS, key, 'ct');

/** The layer that a match of it tells about. */
const META_BASES: Readonly<Record<string, number>> = {
  iiftype: 0,
  nfproto: BASE_LINK,
  protocol: BASE_LINK,
  l4proto: BASE_NETWORK,
};

export function metaNode(key: string | number): MetaNode {
  const found = metaRow(key);
  const base = META_BASES[found.word];
  return { kind: 'meta', ...typed(found), key: found.word, base: base ?? 0, protocol: base !== undefined };
}

export function numberedMeta(number: number): MetaNode | undefined {
  const found = META_BY_NUMBER.get(number);
  return found && metaNode(found.key);
}

const CT_BASES: Readonly<Record<string, number>> = {
  saddr: BASE_NETWORK,
  daddr: BASE_NETWORK,
  'ip saddr': BASE_NETWORK,
  'ip daddr': BASE_NETWORK,
  'ip6 saddr': BASE_NETWORK,
  'ip6 daddr': BASE_NETWORK,
  'proto-src': BASE_TRANSPORT,
  'proto-dst': BASE_TRANSPORT,
  protocol: BASE_NETWORK,
  l3proto: BASE_LINK,
};

export function ctNode(key: string | number, direction: string | number | undefined): CtNode {
  const found = ctRow(key);
  if (direction !== undefined && direction !== 'original' && direction !== 'reply')
    throw new Undecompilable(`the direction ${direction}`);
  const protocol = found.word === 'protocol' || found.word === 'l3proto';
  return { kind: 'ct', ...typed(found), key: found.word, direction, base: CT_BASES[found.word] ?? 0, protocol };
}

export function numberedCt(number: number, direction: number): CtNode | undefined {
  const found = CT_BY_NUMBER.get(number);
  const side = direction === 0 ? 'original' : direction === 1 ? 'reply' : undefined;
  return found && ctNode(found.key, side);
}

export function routeNode(key: string | number): RouteNode {
  if (key === 'nexthop6') return { kind: 'rt', ...typed(RT_NEXTHOP6), key: 'nexthop', family: 'ip6' };
  const found = row(RT_ROWS, key, 'rt');
  return { kind: 'rt', ...typed(found), key: found.word, family: key === 'nexthop4' ? 'ip' : undefined };
}

export function socketNode(key: string | number, level: number): SocketNode {
  const found = row(SOCKET_ROWS, key, 'socket');
  return { kind: 'socket', ...typed(found), key: found.word, level };
}

export function tunnelNode(key: string | number): TunnelNode {
  const found = row(TUNNEL_ROWS, key, 'tunnel');
  return { kind: 'tunnel', ...typed(found), key: found.word };
}

export function ipsecNode(key: string | number, direction: number, index: number): IpsecNode {
  const six = typeof key === 'string' ? IPSEC6_ROWS.get(key) : undefined;
  const found = six ?? row(IPSEC_ROWS, key, 'ipsec');
  if (direction > 1) throw new Undecompilable(`the direction ${direction} of ipsec`);
  const family = six !== undefined ? 'ip6' : found.key.endsWith('ip4') ? 'ip' : undefined;
  return { kind: 'ipsec', ...typed(found), key: found.word, family, direction: direction === 0 ? 'in' : 'out', index };
}

export function osfNode(ttl: 'loose' | 'skip' | undefined, version: boolean): OsfNode {
  return { kind: 'osf', ...typed(OSF), ttl, version };
}

export function fibNode(result: string | number, flags: readonly (string | number)[], dialect: Dialect): FibNode {
  const word = result === 'address-type' ? 'type' : result;
  const found = typeof word === 'string' && Object.hasOwn(FIB, word) ? FIB[word as keyof typeof FIB] : undefined;
  if (found === undefined) throw new Undecompilable(`fib ${result}`);
  const present = flags.includes('present');
  if (flags.some(flag => flag !== 'present' && !FIB_FLAGS.includes(flag as FibFlag)))
    throw new Undecompilable('a flag of fib');
  const node = {
    kind: 'fib',
    ...typed(found),
    result: word as string,
    flags: FIB_FLAGS.filter(flag => flags.includes(flag)),
    present,
  } as FibNode;
  if (present) {
    node.type = TYPES.boolean;
    node.bits = dialect.fibBooleanBits;
  }
  return node;
}

export function numgenNode(mode: 'inc' | 'random', modulus: number, offset: number): NumgenNode {
  return { kind: 'numgen', ...typed(GENERATED), mode, modulus, offset };
}

export function hashNode(fields: Omit<HashNode, 'kind' | 'type' | 'bits' | 'order'>): HashNode {
  return { kind: 'hash', ...typed(GENERATED), ...fields };
}

/** A field of a header that is known. */
export function fieldNode(of: Header, field: HeaderField): PayloadNode {
  return {
    kind: 'payload',
    type: field.type,
    order: 'big',
    bits: field.bits,
    base: of.base,
    offset: field.offset,
    header: of,
    field,
    protocol: of.next === field,
  };
}

/** Bits of a header that is not known yet; ports are ports in every transport protocol. */
export function rawNode(base: number, offset: number, bits: number): PayloadNode {
  const node: PayloadNode = {
    kind: 'payload',
    ...untyped(bits),
    type: TYPES.xinteger,
    base,
    offset,
    header: undefined,
    field: undefined,
    protocol: false,
  };
  if (base === BASE_TRANSPORT && bits === 16 && offset <= 16) {
    const th = header('th');
    const field = th.fields.find(each => each.offset === offset);
    if (field !== undefined) {
      node.header = th;
      node.field = field;
      node.type = TYPES.inet_service;
    }
  }
  return node;
}

export const isKnown = (node: PayloadNode): boolean => node.header !== undefined && node.field !== undefined;
