import * as Nft from '../../../linux/nf_tables.ts';
import { jhash } from '../../hash.ts';
import { type Packet, u16 } from '../../packets/packet.ts';
import { EINVAL, EOPNOTSUPP, EOVERFLOW, ERANGE, refuse } from '../../refusal.ts';
import { limited, needed, neededU32, source, target } from '../context.ts';
import { given, type Row, writeRows } from './rows.ts';
import { type ExpressionType, numberOf, registerBytes, store, storeNumber } from './type.ts';

const U8_MAX = 255;
const PREROUTING = 0;
const INPUT = 1;
const FORWARD = 2;
const OUTPUT = 3;
const POSTROUTING = 4;
const _IFNAMSIZ = 16;
const _NETDEV = 5;

/** The kinds of extension headers of IPv6 that rules look for, and TCP. */
const TCP = 6;
const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;

const EXTHDR: readonly Row[] = [
  ['target', Nft.NFTA_EXTHDR_DREG, 'register'],
  ['source', Nft.NFTA_EXTHDR_SREG, 'register'],
  ['type', Nft.NFTA_EXTHDR_TYPE, 'u8'],
  ['offset', Nft.NFTA_EXTHDR_OFFSET, 'u32'],
  ['length', Nft.NFTA_EXTHDR_LEN, 'u32'],
  ['flags', Nft.NFTA_EXTHDR_FLAGS, 'u32'],
  ['op', Nft.NFTA_EXTHDR_OP, 'u32'],
];
/** IPOPT_RR, IPOPT_LSRR, IPOPT_SSRR, IPOPT_RA: copied flag, class and number. */
const IP_OPTIONS = new Set([7, 131, 137, 148]);

/** Where an option or a header begins, and how long it is; undefined where it is absent. */
function find(packet: Packet, op: number, type: number): { at: number; length: number } | undefined {
  const { bytes, transport, transportProtocol, protocol, fragmentOffset } = packet;
  if (op === Nft.NFT_EXTHDR_OP_IPV6) {
    if (protocol !== ETH_P_IPV6) return undefined;
    let next = bytes[6]!;
    let at = 40;
    while (at + 8 <= bytes.length && [0, 43, 44, 60, 51].includes(next)) {
      const length = next === 44 ? 8 : next === 51 ? (bytes[at + 1]! + 2) * 4 : (bytes[at + 1]! + 1) * 8;
      if (next === type) return { at, length };
      if (next === 44 && (u16(bytes, at + 2) & 0xfff8) !== 0) return undefined;
      next = bytes[at]!;
      at += length;
    }
    return undefined;
  }
  if (op === Nft.NFT_EXTHDR_OP_TCPOPT) {
    if (transportProtocol !== TCP || fragmentOffset > 0 || transport === undefined) return undefined;
    if (transport + 20 > bytes.length) return undefined;
    const end = Math.min(bytes.length, transport + (bytes[transport + 12]! >> 4) * 4);
    return option(bytes, transport + 20, end, type);
  }
  if (op === Nft.NFT_EXTHDR_OP_IPV4) {
    if (protocol !== ETH_P_IP) return undefined;
    return option(bytes, 20, (bytes[0]! & 15) * 4, type);
  }
  return undefined;
}

/** Walks options: kinds 0 and 1 are one byte, a length of 0 counts as 1, and the end of the list ends nothing. */
function option(
  bytes: Uint8Array,
  start: number,
  end: number,
  type: number,
): { at: number; length: number } | undefined {
  for (let at = start; at < end; ) {
    const kind = bytes[at]!;
    const length = kind <= 1 ? 1 : Math.max(1, bytes[at + 1] ?? 1);
    if (kind === type) return at + length <= end ? { at, length } : undefined;
    at += length;
  }
  return undefined;
}

const exthdr: ExpressionType = {
  read(attributes, context) {
    const op = attributes?.u32be(Nft.NFTA_EXTHDR_OP) ?? Nft.NFT_EXTHDR_OP_IPV6;
    const to = attributes?.u32be(Nft.NFTA_EXTHDR_DREG);
    const from = attributes?.u32be(Nft.NFTA_EXTHDR_SREG);
    if (to !== undefined && from !== undefined) refuse(EOPNOTSUPP);
    if (op > Nft.NFT_EXTHDR_OP_DCCP) refuse(EOPNOTSUPP);
    needed(attributes, Nft.NFTA_EXTHDR_TYPE);
    const type = attributes!.u8(Nft.NFTA_EXTHDR_TYPE)!;
    if (to === undefined && from === undefined) {
      // TCP options alone can be taken out.
      if (op !== Nft.NFT_EXTHDR_OP_TCPOPT) refuse(EOPNOTSUPP);
      for (const absent of [Nft.NFTA_EXTHDR_OFFSET, Nft.NFTA_EXTHDR_LEN]) if (attributes!.has(absent)) refuse(EINVAL);
      return { values: { type, op, offset: 0, length: 0, flags: 0 } };
    }
    const offset = limited(neededU32(attributes, Nft.NFTA_EXTHDR_OFFSET), U8_MAX);
    const length = limited(neededU32(attributes, Nft.NFTA_EXTHDR_LEN), U8_MAX);
    const flags = attributes!.u32be(Nft.NFTA_EXTHDR_FLAGS) ?? 0;
    if (from !== undefined) {
      if (op !== Nft.NFT_EXTHDR_OP_TCPOPT || attributes!.has(Nft.NFTA_EXTHDR_FLAGS)) refuse(EINVAL);
      if (offset < 2) refuse(EOPNOTSUPP);
      if (length !== 2 && length !== 4) refuse(EOPNOTSUPP);
      return { values: { type, op, offset, length, flags: 0, source: source(context, from, length) } };
    }
    if ((flags & ~Nft.NFT_EXTHDR_F_PRESENT) !== 0) refuse(EINVAL);
    if (op === Nft.NFT_EXTHDR_OP_IPV4 && !IP_OPTIONS.has(type)) refuse(EOPNOTSUPP);
    return { values: { type, op, offset, length, flags, target: target(context, to!, length) } };
  },
  write({ values }, writer) {
    writeRows(EXTHDR, given(values), writer);
  },
  run(expression, run) {
    const { packet, engine } = run;
    const op = numberOf(expression, 'op');
    const type = numberOf(expression, 'type');
    if (op > Nft.NFT_EXTHDR_OP_IPV4) return engine.notModelled('chunks of SCTP and options of DCCP');
    const found = find(packet, op, type);
    if (expression.values.target === undefined) return engine.notModelled('a rule that changes TCP options');
    const word = numberOf(expression, 'target');
    if ((numberOf(expression, 'flags') & Nft.NFT_EXTHDR_F_PRESENT) !== 0) {
      const wrongFamily = op === Nft.NFT_EXTHDR_OP_IPV6 ? packet.protocol !== ETH_P_IPV6 : packet.protocol !== ETH_P_IP;
      if (op === Nft.NFT_EXTHDR_OP_TCPOPT ? packet.transportProtocol !== TCP : wrongFamily) return 'break';
      storeNumber(run, word, found === undefined ? 0 : 1);
      return undefined;
    }
    const offset = numberOf(expression, 'offset');
    const length = numberOf(expression, 'length');
    if (found === undefined || (op !== Nft.NFT_EXTHDR_OP_IPV6 && offset + length > found.length)) return 'break';
    if (found.at + offset + length > packet.bytes.length) return 'break';
    store(run, word, packet.bytes.subarray(found.at + offset, found.at + offset + length));
    return undefined;
  },
};

const RT: readonly Row[] = [
  ['key', Nft.NFTA_RT_KEY, 'u32'],
  ['target', Nft.NFTA_RT_DREG, 'register'],
];
const RT_LENGTHS: Record<number, number> = {
  [Nft.NFT_RT_CLASSID]: 4,
  [Nft.NFT_RT_NEXTHOP4]: 4,
  [Nft.NFT_RT_NEXTHOP6]: 16,
  [Nft.NFT_RT_TCPMSS]: 2,
  [Nft.NFT_RT_XFRM]: 1,
};

const rt: ExpressionType = {
  read(attributes, context) {
    const key = neededU32(attributes, Nft.NFTA_RT_KEY);
    const to = neededU32(attributes, Nft.NFTA_RT_DREG);
    const length = RT_LENGTHS[key];
    if (length === undefined) return refuse(EOPNOTSUPP);
    return { values: { key, target: target(context, to, length) } };
  },
  write: ({ values }, writer) => writeRows(RT, given(values), writer),
  allows: ({ values }, { hook }) =>
    values.key === Nft.NFT_RT_TCPMSS
      ? [FORWARD, OUTPUT, POSTROUTING].includes(hook)
      : [INPUT, FORWARD, OUTPUT, POSTROUTING].includes(hook),
  run: (_, { engine }) => engine.notModelled('rt: the route of a packet'),
};

const SOCKET: readonly Row[] = [
  ['key', Nft.NFTA_SOCKET_KEY, 'u32'],
  ['target', Nft.NFTA_SOCKET_DREG, 'register'],
  ['level', Nft.NFTA_SOCKET_LEVEL, 'u32'],
];
const SOCKET_LENGTHS: Record<number, number> = {
  [Nft.NFT_SOCKET_TRANSPARENT]: 1,
  [Nft.NFT_SOCKET_MARK]: 4,
  [Nft.NFT_SOCKET_WILDCARD]: 1,
  [Nft.NFT_SOCKET_CGROUPV2]: 8,
};

const socket: ExpressionType = {
  read(attributes, context) {
    const key = neededU32(attributes, Nft.NFTA_SOCKET_KEY);
    const to = neededU32(attributes, Nft.NFTA_SOCKET_DREG);
    const { family } = context.table;
    if (![2, 10, 1].includes(family)) refuse(EOPNOTSUPP);
    const length = SOCKET_LENGTHS[key];
    if (length === undefined) return refuse(EOPNOTSUPP);
    let level: number | undefined;
    if (key === Nft.NFT_SOCKET_CGROUPV2) {
      level = neededU32(attributes, Nft.NFTA_SOCKET_LEVEL);
      if (level > U8_MAX) refuse(EOPNOTSUPP);
    }
    const word = target(context, to, length);
    return { values: given({ key, target: word, level }) };
  },
  write: ({ values }, writer) => writeRows(SOCKET, given(values), writer),
  allows: (_, { hook }) => [PREROUTING, INPUT, OUTPUT].includes(hook),
  run: (_, { engine }) => engine.notModelled('socket: the sockets of a namespace'),
};

const HASH: readonly Row[] = [
  ['source', Nft.NFTA_HASH_SREG, 'register'],
  ['target', Nft.NFTA_HASH_DREG, 'register'],
  ['length', Nft.NFTA_HASH_LEN, 'u32'],
  ['modulus', Nft.NFTA_HASH_MODULUS, 'u32'],
  ['seed', Nft.NFTA_HASH_SEED, 'u32'],
  ['offset', Nft.NFTA_HASH_OFFSET, 'u32'],
  ['type', Nft.NFTA_HASH_TYPE, 'u32'],
];

const hash: ExpressionType = {
  read(attributes, context) {
    const type = attributes?.u32be(Nft.NFTA_HASH_TYPE) ?? Nft.NFT_HASH_JENKINS;
    if (type > Nft.NFT_HASH_SYM) refuse(EOPNOTSUPP);
    const isSymmetric = type === Nft.NFT_HASH_SYM;
    const wanted = isSymmetric
      ? [Nft.NFTA_HASH_DREG, Nft.NFTA_HASH_MODULUS]
      : [Nft.NFTA_HASH_SREG, Nft.NFTA_HASH_DREG, Nft.NFTA_HASH_LEN, Nft.NFTA_HASH_MODULUS];
    for (const attribute of wanted) needed(attributes, attribute);
    const offset = attributes!.u32be(Nft.NFTA_HASH_OFFSET) ?? 0;
    const modulus = attributes!.u32be(Nft.NFTA_HASH_MODULUS)!;
    let length: number | undefined;
    let word: number | undefined;
    if (!isSymmetric) {
      length = limited(attributes!.u32be(Nft.NFTA_HASH_LEN)!, U8_MAX);
      if (length === 0) refuse(ERANGE);
      word = source(context, attributes!.u32be(Nft.NFTA_HASH_SREG)!, length);
    }
    if (modulus < 1) refuse(ERANGE);
    if (offset + modulus - 1 > 0xffff_ffff) refuse(EOVERFLOW);
    const seed = isSymmetric ? undefined : attributes!.u32be(Nft.NFTA_HASH_SEED);
    const to = target(context, attributes!.u32be(Nft.NFTA_HASH_DREG)!, 4);
    return {
      values: given({
        source: word,
        target: to,
        length,
        modulus,
        seed,
        offset: offset === 0 ? undefined : offset,
        type,
      }),
    };
  },
  write: ({ values }, writer) => writeRows(HASH, given(values), writer),
  run(expression, run) {
    const { values } = expression;
    // The kernel's own hashes begin with a secret of the boot: any other will do.
    const seed = (values.seed as number | undefined) ?? 0;
    const bytes =
      values.source === undefined
        ? connectionBytes(run.packet)
        : registerBytes(run, values.source as number, values.length as number);
    const scaled = Number((BigInt(jhash(bytes, seed)) * BigInt(values.modulus as number)) >> 32n);
    storeNumber(run, numberOf(expression, 'target'), scaled + ((values.offset as number | undefined) ?? 0));
    return undefined;
  },
};

/** The addresses and ports, the smaller first: both directions have one hash. */
function connectionBytes({ bytes, transport = bytes.length, protocol }: Packet): Uint8Array {
  const [start, length] = protocol === ETH_P_IP ? [12, 4] : [8, 16];
  const ends = [0, 1].map(i =>
    Buffer.concat([
      bytes.subarray(start + i * length, start + (i + 1) * length),
      bytes.subarray(transport + i * 2, transport + i * 2 + 2),
    ]),
  );
  return Buffer.concat(ends.sort(Buffer.compare));
}

const NUMGEN: readonly Row[] = [
  ['target', Nft.NFTA_NG_DREG, 'register'],
  ['modulus', Nft.NFTA_NG_MODULUS, 'u32'],
  ['type', Nft.NFTA_NG_TYPE, 'u32'],
  ['offset', Nft.NFTA_NG_OFFSET, 'u32'],
];

const numgen: ExpressionType = {
  read(attributes, context) {
    needed(attributes, Nft.NFTA_NG_DREG);
    const modulus = neededU32(attributes, Nft.NFTA_NG_MODULUS);
    const type = neededU32(attributes, Nft.NFTA_NG_TYPE);
    if (type > Nft.NFT_NG_RANDOM) refuse(EINVAL);
    const offset = attributes!.u32be(Nft.NFTA_NG_OFFSET) ?? 0;
    if (modulus === 0) refuse(ERANGE);
    if (offset + modulus - 1 > 0xffff_ffff) refuse(EOVERFLOW);
    const word = target(context, attributes!.u32be(Nft.NFTA_NG_DREG)!, 4);
    return { values: { target: word, modulus, type, offset }, state: { next: 0n } };
  },
  write: ({ values }, writer) => writeRows(NUMGEN, given(values), writer),
  run(expression, run) {
    const modulus = numberOf(expression, 'modulus');
    const offset = numberOf(expression, 'offset');
    const state = expression.state!;
    let value = Number(state.next);
    if (numberOf(expression, 'type') === Nft.NFT_NG_INCREMENTAL) state.next = BigInt((value + 1) % modulus);
    else value = Math.floor(Math.random() * modulus);
    storeNumber(run, numberOf(expression, 'target'), value + offset);
    return undefined;
  },
};

const OSF: readonly Row[] = [
  ['target', Nft.NFTA_OSF_DREG, 'register'],
  ['ttl', Nft.NFTA_OSF_TTL, 'u8'],
  ['flags', Nft.NFTA_OSF_FLAGS, 'u32'],
];

const osf: ExpressionType = {
  read(attributes, context) {
    const to = neededU32(attributes, Nft.NFTA_OSF_DREG);
    const ttl = attributes!.u8(Nft.NFTA_OSF_TTL) ?? 0;
    if (ttl > 2) refuse(EINVAL);
    const flags = attributes!.u32be(Nft.NFTA_OSF_FLAGS) ?? 0;
    if (attributes!.has(Nft.NFTA_OSF_FLAGS) && flags !== Nft.NFT_OSF_F_VERSION) refuse(EINVAL);
    return { values: { target: target(context, to, 16), ttl, flags } };
  },
  write({ values }, writer) {
    writer.u8(Nft.NFTA_OSF_TTL, values.ttl as number);
    writeRows(OSF.slice(2), given(values), writer);
    writeRows(OSF.slice(0, 1), given(values), writer);
  },
  allows: (_, { hook }) => [PREROUTING, INPUT, FORWARD].includes(hook),
  run: (_, { engine }) => engine.notModelled('osf: fingerprints of operating systems'),
};

const XFRM: readonly Row[] = [
  ['target', Nft.NFTA_XFRM_DREG, 'register'],
  ['key', Nft.NFTA_XFRM_KEY, 'u32'],
  ['direction', Nft.NFTA_XFRM_DIR, 'u8'],
  ['policy', Nft.NFTA_XFRM_SPNUM, 'u32'],
];
const XFRM_LENGTHS: Record<number, number> = {
  [Nft.NFT_XFRM_KEY_REQID]: 4,
  [Nft.NFT_XFRM_KEY_SPI]: 4,
  [Nft.NFT_XFRM_KEY_DADDR_IP4]: 4,
  [Nft.NFT_XFRM_KEY_SADDR_IP4]: 4,
  [Nft.NFT_XFRM_KEY_DADDR_IP6]: 16,
  [Nft.NFT_XFRM_KEY_SADDR_IP6]: 16,
};
const XFRM_MAX_DEPTH = 6;

const xfrm: ExpressionType = {
  read(attributes, context) {
    for (const attribute of [Nft.NFTA_XFRM_KEY, Nft.NFTA_XFRM_DIR, Nft.NFTA_XFRM_DREG]) needed(attributes, attribute);
    if (![2, 10, 1].includes(context.table.family)) refuse(EOPNOTSUPP);
    const key = attributes!.u32be(Nft.NFTA_XFRM_KEY)!;
    const length = XFRM_LENGTHS[key];
    if (length === undefined) return refuse(EINVAL);
    const direction = attributes!.u8(Nft.NFTA_XFRM_DIR)!;
    if (direction > 1) refuse(EINVAL);
    const policy = attributes!.u32be(Nft.NFTA_XFRM_SPNUM) ?? 0;
    if (policy >= XFRM_MAX_DEPTH) refuse(ERANGE);
    return {
      values: { key, direction, policy, target: target(context, attributes!.u32be(Nft.NFTA_XFRM_DREG)!, length) },
    };
  },
  write: ({ values }, writer) => writeRows(XFRM, given(values), writer),
  allows: ({ values }, { hook }) =>
    values.direction === 0
      ? [PREROUTING, INPUT, FORWARD].includes(hook)
      : [FORWARD, OUTPUT, POSTROUTING].includes(hook),
  run: (_, { engine }) => engine.notModelled('IPsec'),
};

const TUNNEL: readonly Row[] = [
  ['key', Nft.NFTA_TUNNEL_KEY, 'u32'],
  ['target', Nft.NFTA_TUNNEL_DREG, 'register'],
  ['mode', Nft.NFTA_TUNNEL_MODE, 'u32'],
];

const tunnel: ExpressionType = {
  read(attributes, context) {
    const key = neededU32(attributes, Nft.NFTA_TUNNEL_KEY);
    const to = neededU32(attributes, Nft.NFTA_TUNNEL_DREG);
    if (key > Nft.NFT_TUNNEL_ID) refuse(EOPNOTSUPP);
    const mode = attributes!.u32be(Nft.NFTA_TUNNEL_MODE) ?? Nft.NFT_TUNNEL_MODE_NONE;
    if (mode > Nft.NFT_TUNNEL_MODE_TX) refuse(EOPNOTSUPP);
    return { values: { key, target: target(context, to, key === Nft.NFT_TUNNEL_PATH ? 1 : 4), mode } };
  },
  write: ({ values }, writer) => writeRows(TUNNEL, given(values), writer),
  run: (_, { engine }) => engine.notModelled('metadata of tunnels'),
};

export const LOADS: Record<string, ExpressionType> = { exthdr, rt, socket, hash, numgen, osf, xfrm, tunnel };
