import * as Nft from '../../linux/nf_tables.ts';
import { hasModule, isSince, type Release } from '../machine/state.ts';
import { EAFNOSUPPORT, EINVAL, ENOENT, EOPNOTSUPP, ERANGE, refuse } from '../refusal.ts';
import { type Attributes, textOf, Writer } from '../wire/attributes.ts';
import { needed, type Work } from './context.ts';
import { given, type Row } from './expressions/rows.ts';
import type { Value } from './state.ts';

/* Objects that rules give to connections: helpers, expectations, and timeouts of their own (nft_ct.c). */

/** Objects that hold settings only. */
export interface Holding {
  readonly rows: readonly Row[];
  read(attributes: Attributes | undefined, work: Work): Record<string, Value>;
}

const IPV4 = 2;
const IPV6 = 10;
const INET = 1;
const NETDEV = 5;
const BRIDGE = 7;
const TCP = 6;
const UDP = 17;
const DCCP = 33;
const SCTP = 132;
const UDPLITE = 136;
/** NF_CT_HELPER_NAME_LEN, without the NUL. */
const HELPER_LENGTH = 15;

/** A helper of the kernel: the module that brings it, and the protocols and families that it knows. */
interface Helper {
  readonly module: string;
  readonly protocols: readonly number[];
  readonly families: readonly number[];
}
const BOTH = [IPV4, IPV6];
export const HELPERS: Readonly<Record<string, Helper>> = {
  amanda: { module: 'nf_conntrack_amanda', protocols: [UDP], families: BOTH },
  ftp: { module: 'nf_conntrack_ftp', protocols: [TCP], families: BOTH },
  RAS: { module: 'nf_conntrack_h323', protocols: [UDP], families: BOTH },
  'Q.931': { module: 'nf_conntrack_h323', protocols: [TCP], families: BOTH },
  irc: { module: 'nf_conntrack_irc', protocols: [TCP], families: [IPV4] },
  'netbios-ns': { module: 'nf_conntrack_netbios_ns', protocols: [UDP], families: [IPV4] },
  pptp: { module: 'nf_conntrack_pptp', protocols: [TCP], families: [IPV4] },
  sane: { module: 'nf_conntrack_sane', protocols: [TCP], families: BOTH },
  sip: { module: 'nf_conntrack_sip', protocols: [TCP, UDP], families: BOTH },
  snmp: { module: 'nf_conntrack_snmp', protocols: [UDP], families: [IPV4] },
  tftp: { module: 'nf_conntrack_tftp', protocols: [UDP], families: BOTH },
};

const helper: Holding = {
  rows: [
    ['name', Nft.NFTA_CT_HELPER_NAME, 'text'],
    ['l4proto', Nft.NFTA_CT_HELPER_L4PROTO, 'u8'],
    ['l3proto', Nft.NFTA_CT_HELPER_L3PROTO, 'u16'],
  ],
  read(attributes, { family, engine }) {
    const nameAttribute = needed(attributes, Nft.NFTA_CT_HELPER_NAME);
    needed(attributes, Nft.NFTA_CT_HELPER_L4PROTO);
    const l4proto = attributes!.u8(Nft.NFTA_CT_HELPER_L4PROTO)!;
    if (l4proto === 0) refuse(ENOENT);
    const name = textOf(nameAttribute.bytes.subarray(0, HELPER_LENGTH));
    const wanted = attributes!.u16be(Nft.NFTA_CT_HELPER_L3PROTO) ?? family;
    const known = HELPERS[name];
    const has = (of: number): boolean =>
      known !== undefined &&
      hasModule(engine.release, known.module) &&
      known.protocols.includes(l4proto) &&
      known.families.includes(of);
    if ((wanted === IPV4 && family === IPV6) || (wanted === IPV6 && family === IPV4)) refuse(EINVAL);
    if (![IPV4, IPV6, INET, NETDEV, BRIDGE].includes(wanted)) refuse(EAFNOSUPPORT);
    const four = wanted !== IPV6 && has(IPV4);
    const six = wanted !== IPV4 && has(IPV6);
    if (!four && !six) refuse(ENOENT);
    return { name, l4proto, l3proto: four && six ? INET : six ? IPV6 : IPV4 };
  },
};

const expectation: Holding = {
  rows: [
    ['l3proto', Nft.NFTA_CT_EXPECT_L3PROTO, 'u16'],
    ['l4proto', Nft.NFTA_CT_EXPECT_L4PROTO, 'u8'],
    ['port', Nft.NFTA_CT_EXPECT_DPORT, 'bytes'],
    ['timeout', Nft.NFTA_CT_EXPECT_TIMEOUT, 'bytes'],
    ['size', Nft.NFTA_CT_EXPECT_SIZE, 'u8'],
  ],
  read(attributes, { family, engine }) {
    for (const type of [
      Nft.NFTA_CT_EXPECT_L4PROTO,
      Nft.NFTA_CT_EXPECT_DPORT,
      Nft.NFTA_CT_EXPECT_TIMEOUT,
      Nft.NFTA_CT_EXPECT_SIZE,
    ])
      needed(attributes, type);
    const l3proto = attributes!.u16be(Nft.NFTA_CT_EXPECT_L3PROTO) ?? family;
    if (l3proto !== IPV4 && l3proto !== IPV6) refuse(EAFNOSUPPORT);
    if (l3proto !== family && family !== INET) refuse(EINVAL);
    const l4proto = attributes!.u8(Nft.NFTA_CT_EXPECT_L4PROTO)!;
    const known = [TCP, UDP, SCTP, ...(isSince(engine.release, WITHOUT_DCCP) ? [] : [DCCP]), UDPLITE];
    if (!known.includes(l4proto)) refuse(EOPNOTSUPP);
    return given({
      l3proto,
      l4proto,
      port: attributes!.get(Nft.NFTA_CT_EXPECT_DPORT)!.bytes.slice(0, 2),
      timeout: attributes!.get(Nft.NFTA_CT_EXPECT_TIMEOUT)!.bytes.slice(0, 4),
      size: attributes!.u8(Nft.NFTA_CT_EXPECT_SIZE),
    });
  },
};

/** DCCP has left the kernel. */
const WITHOUT_DCCP = [6, 16] as const;

/** The timeouts of protocols, in seconds, in the order of their attributes from 1 on. */
const TIMEOUTS: Readonly<Record<number, readonly number[]>> = {
  1: [30],
  [TCP]: [120, 60, 432_000, 120, 60, 30, 120, 10, 120, 300, 300],
  [UDP]: [30, 120],
  [DCCP]: [240, 480, 480, 43_200, 64, 64, 240],
  47: [30, 180],
  58: [30],
  [SCTP]: [10, 3, 3, 210, 3, 3, 3, 30, 0],
  [UDPLITE]: [30, 120],
};

const timeoutsOf = (protocol: number, release: Release): readonly number[] | undefined =>
  protocol === DCCP && isSince(release, WITHOUT_DCCP) ? undefined : TIMEOUTS[protocol];

const NESTED = 0x8000;

const timeouts: Holding = {
  rows: [
    ['l4proto', Nft.NFTA_CT_TIMEOUT_L4PROTO, 'u8'],
    ['l3proto', Nft.NFTA_CT_TIMEOUT_L3PROTO, 'u16'],
    ['data', Nft.NFTA_CT_TIMEOUT_DATA | NESTED, 'bytes'],
  ],
  read(attributes, { family, engine }) {
    needed(attributes, Nft.NFTA_CT_TIMEOUT_L4PROTO);
    const data = needed(attributes, Nft.NFTA_CT_TIMEOUT_DATA);
    const l3proto = attributes!.u16be(Nft.NFTA_CT_TIMEOUT_L3PROTO) ?? family;
    const l4proto = attributes!.u8(Nft.NFTA_CT_TIMEOUT_L4PROTO)!;
    const seconds = timeoutsOf(l4proto, engine.release);
    if (seconds === undefined) return refuse(EOPNOTSUPP);
    const inside = attributes!.inside(data);
    for (const { type, bytes } of inside.list())
      if (type > 0 && type <= seconds.length && bytes.length < 4) refuse(ERANGE);
    const writer = new Writer();
    for (const [i, usual] of seconds.entries()) writer.u32be(i + 1, inside.u32be(i + 1) ?? usual);
    return { l4proto, l3proto, data: writer.take() };
  },
};

export const CONNTRACK_OBJECTS: Readonly<Record<number, Holding>> = {
  [Nft.NFT_OBJECT_CT_HELPER]: helper,
  [Nft.NFT_OBJECT_CT_EXPECT]: expectation,
  [Nft.NFT_OBJECT_CT_TIMEOUT]: timeouts,
};
