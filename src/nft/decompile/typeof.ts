import { fromHex, HOST_IS_LITTLE_ENDIAN } from '../../codec/index.ts';
import { concatenationOf, TYPES } from '../data/datatypes.ts';
import { NFT_1_1_6 } from '../data/dialects.ts';
import { FIB_BITS, FIB_NUMBERS, IPSEC_NUMBERS, RT_NUMBERS, SOCKET_NUMBERS, TUNNEL_NUMBERS } from '../data/keys.ts';
import { paddedBits } from './bits.ts';
import { numberedExtension } from './extensions.ts';
import { headerByNumber } from './headers.ts';
import {
  fibNode,
  fieldNode,
  hashNode,
  ipsecNode,
  numberedCt,
  numberedMeta,
  numgenNode,
  osfNode,
  routeNode,
  socketNode,
  tunnelNode,
} from './loads.ts';
import { type Node, untyped, value } from './tree.ts';

/* What nft keeps in a set's user data about the expression that `typeof` was given: a kind, and numbers that depend on it. */

/** nft's numbers of expressions (EXPR_*). Of fib and ipsec there are two: `tunnel` came between in 1.1.6. */
const VERDICT = 1;
const VALUE = 4;
const PAYLOAD = 7;
const EXTHDR = 8;
const META = 9;
const SOCKET = 10;
const OSF = 11;
const CT = 12;
const CONCAT = 13;
const NUMGEN = 23;
const HASH = 24;
const RT = 25;
const TUNNEL_OR_FIB = 26;
const FIB_OR_IPSEC = 27;
const IPSEC = 28;

const EXTHDR_OPS = ['ipv6', 'tcp', 'ipv4', 'sctp', 'dccp'] as const;
/** nft reads no more parts of a concatenation. */
const PARTS_MAX = 4;

type Attributes = ReadonlyMap<number, Buffer>;

/** The expression, or undefined where it is not understood: the set's `type` counts then. */
export function readTypeof(hex: string): Node | undefined {
  const bytes = fromHex(hex);
  const attributes = bytes && split(Buffer.from(bytes));
  const kind = attributes && numberAt(attributes, 0);
  const data = attributes?.get(1);
  return kind === undefined || data === undefined ? undefined : readNode(kind, data);
}

function split(bytes: Buffer): Attributes | undefined {
  const attributes = new Map<number, Buffer>();
  for (let at = 0; at < bytes.length; ) {
    const end = at + 2 + (bytes[at + 1] ?? 0);
    if (at + 2 > bytes.length || end > bytes.length) return undefined;
    attributes.set(bytes[at]!, bytes.subarray(at + 2, end));
    at = end;
  }
  return attributes;
}

function numberAt(attributes: Attributes, type: number): number | undefined {
  const bytes = attributes.get(type);
  if (bytes?.length !== 4) return undefined;
  return HOST_IS_LITTLE_ENDIAN ? bytes.readUInt32LE() : bytes.readUInt32BE();
}

function readNode(kind: number, data: Buffer): Node | undefined {
  const attributes = split(data);
  if (attributes === undefined) return undefined;
  const at = (type: number) => numberAt(attributes, type);
  const known = (...types: number[]) => types.every(type => at(type) !== undefined);
  switch (kind) {
    case VERDICT:
      return { kind: 'verdict', ...untyped(128), type: TYPES.verdict, verdict: 'verdict' };
    case VALUE:
      return at(0) === 0 ? value(16, 0n, TYPES.queue, 'host') : undefined;
    case PAYLOAD:
      return readPayload(at);
    case EXTHDR: {
      const op = EXTHDR_OPS[at(2) ?? 0];
      return op === undefined || !known(0, 1) ? undefined : numberedExtension(op, at(0)!, at(1)!);
    }
    case META: {
      const node = known(0) ? numberedMeta(at(0)!) : undefined;
      if (node !== undefined && known(1)) node.tunnel = headerByNumber(at(1)!);
      return node;
    }
    case SOCKET:
      return known(0) ? socketNode(SOCKET_NUMBERS[at(0)!] ?? '', 0) : undefined;
    case OSF:
      return osfNode(undefined, false);
    case CT:
      return known(0, 1) ? numberedCt(at(0)!, at(1)!) : undefined;
    case CONCAT:
      return readConcat(attributes);
    case NUMGEN:
      return known(0, 1, 2) ? numgenNode(at(0) === 0 ? 'inc' : 'random', at(1)!, at(2)!) : undefined;
    case HASH:
      if (!known(0, 1, 2, 3, 4)) return undefined;
      return hashNode({
        symmetric: at(0) === 1,
        argument: undefined,
        modulus: at(2)!,
        seed: at(4) === 0 ? undefined : at(3)!,
        offset: at(1)!,
      });
    case RT:
      return known(0) ? routeNode(RT_NUMBERS[at(0)!] ?? '') : undefined;
    case TUNNEL_OR_FIB:
      if (known(0, 1)) return readFib(at(0)!, at(1)!);
      return known(0) ? tunnelNode(TUNNEL_NUMBERS[at(0)!] ?? '') : undefined;
    case FIB_OR_IPSEC:
    case IPSEC:
      if (known(0, 1, 2)) return ipsecNode(IPSEC_NUMBERS[at(0)!] ?? '', at(2)!, at(1)!);
      return known(0, 1) ? readFib(at(0)!, at(1)!) : undefined;
    default:
      return undefined;
  }
}

function readFib(result: number, flags: number): Node {
  return fibNode(
    FIB_NUMBERS[result] ?? '',
    FIB_BITS.filter((_, i) => (flags >> i) & 1),
    NFT_1_1_6,
  );
}

function readPayload(at: (type: number) => number | undefined): Node | undefined {
  const [number, fieldNumber, base, offset, bits, tunnel] = [0, 1, 2, 3, 4, 5].map(at);
  if (number === undefined || fieldNumber === undefined) return undefined;
  const of = headerByNumber(number);
  const inside = tunnel === undefined ? undefined : headerByNumber(tunnel);
  if (of === undefined) {
    if (base === undefined || offset === undefined) return undefined;
    return {
      kind: 'payload',
      type: TYPES.xinteger,
      order: 'big',
      bits: bits ?? 0,
      base,
      offset,
      header: undefined,
      field: undefined,
      protocol: false,
      tunnel: inside,
    };
  }
  const field = of.fields.find(each => each.number === fieldNumber);
  if (field === undefined) return undefined;
  const node = fieldNode(of, field);
  if (bits) node.bits = bits;
  node.tunnel = inside;
  return node;
}

function readConcat(attributes: Attributes): Node | undefined {
  const parts: Node[] = [];
  let bits = 0;
  for (const type of attributes.keys()) if (type >= PARTS_MAX) return undefined;
  for (let i = 0; i < PARTS_MAX; i++) {
    const nested = attributes.get(i);
    if (nested === undefined) break;
    const inner = split(nested);
    const kind = inner && numberAt(inner, 0);
    const data = inner?.get(1);
    if (kind === undefined || data === undefined || data.length <= 4) return undefined;
    const part = readNode(kind, data);
    if (part === undefined) return undefined;
    parts.push(part);
    bits += paddedBits(part.bits);
  }
  return { kind: 'concat', ...untyped(bits), type: concatenationOf(parts.map(part => part.type)), parts };
}
