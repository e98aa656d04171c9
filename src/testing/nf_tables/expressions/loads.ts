import { ETH_P_IP } from '../../../linux/if_ether.ts';
import * as Nft from '../../../linux/nf_tables.ts';
import { AF_INET6 } from '../../../linux/socket.ts';
import { jhash } from '../../hash.ts';
import { destinationOf, type Packet } from '../../packets/packet.ts';
import { EINVAL, EOPNOTSUPP, EOVERFLOW, ERANGE, refuse } from '../../refusal.ts';
import { nextHop } from '../../routes.ts';
import { limited, needed, neededU32, source, target } from '../context.ts';
import { given, type Row, writeRows } from './rows.ts';
import { type ExpressionType, numberOf, registerBytes, store, storeNumber } from './type.ts';

const U8_MAX = 255;
const PREROUTING = 0;
const INPUT = 1;
const FORWARD = 2;
const OUTPUT = 3;
const POSTROUTING = 4;

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
  allows: ({ values }, { hook, family }) =>
    [1, 2, 10].includes(family) && (values.key !== Nft.NFT_RT_TCPMSS || [FORWARD, OUTPUT, POSTROUTING].includes(hook)),
  /** Only from routing on a packet has a route: hooks before it do not ask (nft_rt_get_eval). */
  run({ values }, run) {
    const { packet } = run;
    const word = values.target as number;
    if (packet.outDevice === undefined && run.point.hook === PREROUTING) return 'break';
    switch (values.key) {
      case Nft.NFT_RT_CLASSID:
      case Nft.NFT_RT_XFRM:
        storeNumber(run, word, 0);
        return undefined;
      case Nft.NFT_RT_TCPMSS:
        if (packet.outDevice === undefined) return 'break';
        storeNumber(run, word, packet.outDevice.mtu - (packet.protocol === ETH_P_IP ? 40 : 60));
        return undefined;
      default: {
        const wantsFour = values.key === Nft.NFT_RT_NEXTHOP4;
        if (wantsFour !== (packet.protocol === ETH_P_IP)) return 'break';
        store(run, word, nextHop(run.namespace, destinationOf(packet)));
        return undefined;
      }
    }
  },
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
  /** No process listens in this kernel; a packet that a process sends has its socket, without a mark of its own. */
  run({ values }, run) {
    if (run.packet.user === undefined) return 'break';
    if (values.key === Nft.NFT_SOCKET_CGROUPV2) return run.engine.notModelled('socket: control groups');
    storeNumber(run, values.target as number, 0);
    return undefined;
  },
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

const TCP = 6;
const SYN = 2;

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
  allows: (_, { family, hook }) => family !== AF_INET6 && [PREROUTING, INPUT, FORWARD].includes(hook),
  run(_, { packet: { bytes, transport, transportProtocol }, engine }) {
    const isSyn = transportProtocol === TCP && transport !== undefined && ((bytes[transport + 13] ?? 0) & SYN) !== 0;
    return isSyn ? engine.notModelled('osf: fingerprints of operating systems') : 'break';
  },
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
  // No packet of this kernel has a security association.
  run: () => 'break',
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
  // No packet of this kernel has come by a tunnel's device.
  run({ values }, run) {
    if (values.key !== Nft.NFT_TUNNEL_PATH) return 'break';
    storeNumber(run, values.target as number, 0);
    return undefined;
  },
};

export const LOADS: Record<string, ExpressionType> = { rt, socket, hash, numgen, osf, xfrm, tunnel };
