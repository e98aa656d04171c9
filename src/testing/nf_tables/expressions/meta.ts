import { IFNAMSIZ } from '../../../linux/if.ts';
import { ARPHRD_ETHER, ARPHRD_LOOPBACK } from '../../../linux/if_arp.ts';
import { NFPROTO_BRIDGE, NFPROTO_NETDEV } from '../../../linux/netfilter.ts';
import * as Nft from '../../../linux/nf_tables.ts';
import { hasModule, isSince } from '../../machine/state.ts';
import type { Packet } from '../../packets/packet.ts';
import { EINVAL, EOPNOTSUPP, refuse } from '../../refusal.ts';
import { neededU32, type RuleContext, source, target } from '../context.ts';
import { given, type Row, writeRows } from './rows.ts';
import { type ExpressionType, numberOf, type Run, registerBytes, store, storeNumber } from './type.ts';

/** The module that knows the keys of bridges. */
const OF_BRIDGES = 'nft_meta_bridge';

const LOAD: readonly Row[] = [
  ['key', Nft.NFTA_META_KEY, 'u32'],
  ['target', Nft.NFTA_META_DREG, 'register'],
];
const SET: readonly Row[] = [
  ['key', Nft.NFTA_META_KEY, 'u32'],
  ['source', Nft.NFTA_META_SREG, 'register'],
];

/** A key that rules read: its length, and its value for a packet; undefined where the rule does not match. */
interface Key {
  readonly length: number;
  readonly value: (packet: Packet, run: Run) => number | string | Uint8Array | undefined;
}

export const u16be = (value: number): Uint8Array => Uint8Array.of(value >> 8, value);
export const u64 = (value: bigint): Uint8Array => {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
};
const SECONDS_A_DAY = 86_400n;
const NANOSECONDS = 1_000_000_000n;

const KEYS: Record<number, Key> = {
  [Nft.NFT_META_LEN]: { length: 4, value: ({ bytes }) => bytes.length },
  [Nft.NFT_META_PROTOCOL]: { length: 2, value: ({ protocol }) => u16be(protocol) },
  [Nft.NFT_META_PRIORITY]: { length: 4, value: ({ priority }) => priority },
  [Nft.NFT_META_MARK]: { length: 4, value: ({ mark }) => mark },
  [Nft.NFT_META_IIF]: { length: 4, value: ({ inDevice }) => inDevice?.index ?? 0 },
  [Nft.NFT_META_OIF]: { length: 4, value: ({ outDevice }) => outDevice?.index ?? 0 },
  [Nft.NFT_META_IIFNAME]: { length: IFNAMSIZ, value: ({ inDevice }) => inDevice?.name ?? '' },
  [Nft.NFT_META_OIFNAME]: { length: IFNAMSIZ, value: ({ outDevice }) => outDevice?.name ?? '' },
  [Nft.NFT_META_IIFTYPE]: { length: 2, value: ({ inDevice }) => typeOf(inDevice) },
  [Nft.NFT_META_OIFTYPE]: { length: 2, value: ({ outDevice }) => typeOf(outDevice) },
  [Nft.NFT_META_SKUID]: { length: 4, value: ({ user }) => user },
  [Nft.NFT_META_SKGID]: { length: 4, value: ({ group }) => group },
  [Nft.NFT_META_NFTRACE]: { length: 1, value: ({ trace }) => Number(trace) },
  [Nft.NFT_META_RTCLASSID]: { length: 4, value: () => undefined },
  [Nft.NFT_META_NFPROTO]: { length: 1, value: (_, { point }) => point.family },
  [Nft.NFT_META_SECMARK]: { length: 4, value: () => 0 },
  [Nft.NFT_META_L4PROTO]: { length: 1, value: ({ transportProtocol }) => transportProtocol },
  [Nft.NFT_META_PKTTYPE]: { length: 1, value: ({ packetType }) => packetType },
  [Nft.NFT_META_CPU]: { length: 4, value: () => 0 },
  [Nft.NFT_META_IIFGROUP]: { length: 4, value: ({ inDevice }) => inDevice?.group },
  [Nft.NFT_META_OIFGROUP]: { length: 4, value: ({ outDevice }) => outDevice?.group },
  [Nft.NFT_META_CGROUP]: { length: 4, value: ({ user }) => (user === undefined ? undefined : 0) },
  [Nft.NFT_META_PRANDOM]: { length: 4, value: () => Math.floor(Math.random() * 0x1_0000_0000) },
  [Nft.NFT_META_SECPATH]: { length: 1, value: () => 0 },
  [Nft.NFT_META_IIFKIND]: { length: IFNAMSIZ, value: ({ inDevice }) => inDevice?.kind },
  [Nft.NFT_META_OIFKIND]: { length: IFNAMSIZ, value: ({ outDevice }) => outDevice?.kind },
  [Nft.NFT_META_TIME_NS]: { length: 8, value: (_, { engine }) => u64(engine.wallClock) },
  [Nft.NFT_META_TIME_DAY]: {
    length: 1,
    // 1970-01-01 was a Thursday; the kernel counts from Sunday.
    value: (_, { engine }) => Number((engine.wallClock / NANOSECONDS / SECONDS_A_DAY + 4n) % 7n),
  },
  [Nft.NFT_META_TIME_HOUR]: {
    length: 4,
    value: (_, { engine }) => Number((engine.wallClock / NANOSECONDS) % SECONDS_A_DAY),
  },
  [Nft.NFT_META_SDIF]: { length: 4, value: () => 0 },
  [Nft.NFT_META_SDIFNAME]: { length: IFNAMSIZ, value: () => '' },
};
/** Keys of chains of the family bridge. */
const BRIDGE: Record<number, number> = {
  [Nft.NFT_META_BRI_IIFNAME]: IFNAMSIZ,
  [Nft.NFT_META_BRI_OIFNAME]: IFNAMSIZ,
  [Nft.NFT_META_BRI_IIFPVID]: 2,
  [Nft.NFT_META_BRI_IIFVPROTO]: 2,
};
/** Keys that rules write, and their lengths. */
const WRITABLE: Record<number, number> = {
  [Nft.NFT_META_MARK]: 4,
  [Nft.NFT_META_PRIORITY]: 4,
  [Nft.NFT_META_SECMARK]: 4,
  [Nft.NFT_META_NFTRACE]: 1,
  [Nft.NFT_META_PKTTYPE]: 1,
};

function typeOf(device: Packet['inDevice']): Uint8Array | undefined {
  if (device === undefined) return undefined;
  const type = device.loopback ? ARPHRD_LOOPBACK : ARPHRD_ETHER;
  return Uint8Array.of(type, type >> 8);
}

const PREROUTING = 0;
const INPUT = 1;
const FORWARD = 2;
/** Hooks in which a key is known, where not in all (nft_meta_get_validate, nft_meta_set_validate). */
function allows(
  expression: { values: Record<string, unknown> },
  { family, hook }: { family: number; hook: number },
): boolean {
  const { key, source: writes } = expression.values;
  if (writes !== undefined) {
    if (key !== Nft.NFT_META_PKTTYPE) return true;
    return family === NFPROTO_BRIDGE || family === NFPROTO_NETDEV || hook === PREROUTING || hook === 5;
  }
  if (key === Nft.NFT_META_SECPATH) return family === NFPROTO_NETDEV || [PREROUTING, INPUT, FORWARD].includes(hook);
  if (key === Nft.NFT_META_SDIF || key === Nft.NFT_META_SDIFNAME)
    return family <= 10 && family !== NFPROTO_NETDEV && [INPUT, FORWARD].includes(hook);
  return true;
}

export const meta: ExpressionType = {
  read(attributes, context) {
    const key = neededU32(attributes, Nft.NFTA_META_KEY);
    const to = attributes!.u32be(Nft.NFTA_META_DREG);
    const from = attributes!.u32be(Nft.NFTA_META_SREG);
    if (to !== undefined && from !== undefined) refuse(EINVAL);
    const { family } = context.table;
    if (to !== undefined) {
      if (key === Nft.NFT_META_NFTRACE) refuse(EOPNOTSUPP);
      const length =
        KEYS[key]?.length ??
        (family === NFPROTO_BRIDGE && hasModule(context.work.engine.release, OF_BRIDGES) ? BRIDGE[key] : undefined);
      if (length === undefined) return refuse(EOPNOTSUPP);
      return { values: { key, target: target(context, to, length) } };
    }
    if (from === undefined) return refuse(EINVAL);
    const length = WRITABLE[key] ?? writableElsewhere(key, context.table.family, context.work.engine);
    if (length === undefined) return refuse(EOPNOTSUPP);
    return { values: { key, source: source(context, from, length) } };
  },
  write({ values }, writer) {
    writeRows(values.source === undefined ? LOAD : SET, given(values), writer);
  },
  allows,
  run(expression, run) {
    const { packet } = run;
    const key = numberOf(expression, 'key');
    const from = expression.values.source as number | undefined;
    if (from !== undefined) {
      const value = run.view.getUint32(from * 4, true);
      if (key === Nft.NFT_META_MARK) packet.mark = value;
      else if (key === Nft.NFT_META_PRIORITY) packet.priority = value;
      else if (key === Nft.NFT_META_NFTRACE) packet.trace = registerBytes(run, from, 1)[0] !== 0;
      else if (key === Nft.NFT_META_PKTTYPE) {
        const type = registerBytes(run, from, 1)[0]!;
        // skb_pkt_type_ok: only these may be changed into each other.
        if (packet.packetType <= 3 && type <= 3) packet.packetType = type;
      }
      return undefined;
    }
    const value = KEYS[key]?.value(packet, run);
    if (value === undefined) return 'break';
    const word = numberOf(expression, 'target');
    if (typeof value === 'number') storeNumber(run, word, value);
    else if (typeof value === 'string') store(run, word, nameBytes(value));
    else store(run, word, value);
    return undefined;
  },
};

const BROUTE = [6, 4] as const;
function writableElsewhere(
  key: number,
  family: number,
  { release }: RuleContext['work']['engine'],
): number | undefined {
  const isKnown = family === NFPROTO_BRIDGE && hasModule(release, OF_BRIDGES) && isSince(release, BROUTE);
  return key === Nft.NFT_META_BRI_BROUTE && isKnown ? 1 : undefined;
}

export function nameBytes(name: string): Uint8Array {
  const bytes = new Uint8Array(IFNAMSIZ);
  bytes.set(Buffer.from(name).subarray(0, IFNAMSIZ));
  return bytes;
}
