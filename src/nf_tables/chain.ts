import {
  attribute,
  attributes,
  flags,
  inline,
  named,
  opt,
  S32_BE,
  string,
  type Type,
  U32_BE,
  u32be,
  u64be,
} from '../codec/index.ts';
import { oneOf, typeError } from '../errors.ts';
import {
  NF_ACCEPT,
  NF_DROP,
  NF_INET_FORWARD,
  NF_INET_INGRESS,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NF_INET_PRE_ROUTING,
  NF_NETDEV_EGRESS,
  NF_NETDEV_INGRESS,
  NFPROTO_ARP,
  NFPROTO_BRIDGE,
  NFPROTO_NETDEV,
} from '../linux/netfilter.ts';
import * as C from '../linux/nf_tables.ts';
import { DEVICES } from './devices.ts';
import { local, state, told } from './facets.ts';
import type { Family } from './family.ts';
import { commentUserdata } from './userdata.ts';

const INET_HOOKS = {
  prerouting: NF_INET_PRE_ROUTING,
  input: NF_INET_LOCAL_IN,
  forward: NF_INET_FORWARD,
  output: NF_INET_LOCAL_OUT,
  postrouting: NF_INET_POST_ROUTING,
  ingress: NF_INET_INGRESS,
} as const;
/** include/uapi/linux/netfilter_arp.h */
const ARP_HOOKS = { input: 0, output: 1, forward: 2 } as const;
const NETDEV_HOOKS = { ingress: NF_NETDEV_INGRESS, egress: NF_NETDEV_EGRESS } as const;

/** A hook of the kernel's, where a base chain is called: in tables of family netdev ingress and egress, else prerouting to postrouting. */
export type Hook = keyof typeof INET_HOOKS | keyof typeof NETDEV_HOOKS;

const HOOK_TYPES: Record<number, Type<Hook | number>> = {
  [NFPROTO_ARP]: named(U32_BE, ARP_HOOKS) as Type<Hook | number>,
  [NFPROTO_NETDEV]: named(U32_BE, NETDEV_HOOKS) as Type<Hook | number>,
};
const INET_HOOK = named(U32_BE, INET_HOOKS) as Type<Hook | number>;

/** The same number is another hook in another family. */
export const HOOK: Type<Hook | number> = {
  kind: 'hook',
  write: (writer, hook, context) => (HOOK_TYPES[context.family] ?? INET_HOOK).write(writer, hook, context),
  read: (source, start, end, context) => (HOOK_TYPES[context.family] ?? INET_HOOK).read(source, start, end, context),
};

const NAMED_PRIORITIES = {
  raw: -300,
  mangle: -150,
  dstnat: -100,
  filter: 0,
  security: 50,
  srcnat: 100,
  out: 100,
} as const;
/** Bridge chains have an order of their own (include/uapi/linux/netfilter_bridge.h). */
const BRIDGE_PRIORITIES = { dstnat: -300, filter: -200, out: 100, srcnat: 300 } as const;

/** nft's name of a priority. */
export type PriorityName = keyof typeof NAMED_PRIORITIES;
/** A number, or nft's name for one: 'dstnat' is -100, and -300 on bridges. Lower comes first. */
export type Priority = number | PriorityName;
/** The types of base chains: nat chains see the first packet of a connection, route chains may send a packet elsewhere. */
export type ChainType = 'filter' | 'nat' | 'route';

const PRIORITY: Type<Priority> = {
  kind: 's32be priority',
  write(writer, priority, context) {
    const names: Record<string, number> = context.family === NFPROTO_BRIDGE ? BRIDGE_PRIORITIES : NAMED_PRIORITIES;
    const value = typeof priority === 'string' && Object.hasOwn(names, priority) ? names[priority] : priority;
    if (typeof value !== 'number') throw typeError([], `a number, or ${oneOf(Object.keys(names), priority)}`, priority);
    S32_BE.write(writer, value, context);
  },
  read: (source, start, end, context) => S32_BE.read(source, start, end, context),
};

const hookTable = attributes('NFTA_HOOK', () => ({
  hook: opt(attribute(C.NFTA_HOOK_HOOKNUM, HOOK)),
  priority: opt(attribute(C.NFTA_HOOK_PRIORITY, PRIORITY)),
  /** One device, for ingress and egress. */
  device: opt(string(C.NFTA_HOOK_DEV, 15)),
  /** Several; 'eth*' is every device whose name begins so. */
  devices: opt(attribute(C.NFTA_HOOK_DEVS, DEVICES)),
}));

const countersTable = attributes('NFTA_COUNTER', () => ({
  bytes: opt(u64be(C.NFTA_COUNTER_BYTES)),
  packets: opt(u64be(C.NFTA_COUNTER_PACKETS)),
}));

export const chainTable = attributes(
  'NFTA_CHAIN',
  () => ({
    table: string(C.NFTA_CHAIN_TABLE, 255),
    /** The kernel's number for it. */
    handle: told(opt(u64be(C.NFTA_CHAIN_HANDLE))),
    /** Absent in a chain that has only a number. */
    name: opt(string(C.NFTA_CHAIN_NAME, 255)),
    hooking: inline(C.NFTA_CHAIN_HOOK, hookTable),
    policy: opt(attribute(C.NFTA_CHAIN_POLICY, named(U32_BE, { drop: NF_DROP, accept: NF_ACCEPT }))),
    /** References to it. Read only. */
    use: told(opt(u32be(C.NFTA_CHAIN_USE))),
    type: opt(string(C.NFTA_CHAIN_TYPE, 31)),
    counters: state(opt(attribute(C.NFTA_CHAIN_COUNTERS, countersTable))),
    flags: opt(
      attribute(
        C.NFTA_CHAIN_FLAGS,
        flags(U32_BE, { base: C.NFT_CHAIN_BASE, offload: C.NFT_CHAIN_HW_OFFLOAD, binding: C.NFT_CHAIN_BINDING }),
      ),
    ),
    /** The number that the chain has within its own transaction. */
    id: local(opt(u32be(C.NFTA_CHAIN_ID))),
    userdata: inline(C.NFTA_CHAIN_USERDATA, commentUserdata),
  }),
  { header: ['family'] },
);

/** What names a chain. */
export interface ChainKey {
  /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
  family: Family;
  /** The name of the chain's table. */
  table: string;
  /** At most 255 bytes. */
  name: string;
}

/** A chain of rules. With type, hook and priority it is a base chain, which packets come to; without, rules jump to it. */
export interface Chain extends ChainKey {
  /** What it is for: 'filter', 'nat' or 'route'. Base chains only. */
  type?: ChainType;
  /** Where it is called. Base chains only. */
  hook?: Hook | number;
  /** Its place among the chains of the hook; the lowest comes first. Base chains only. */
  priority?: Priority;
  /** What becomes of packets that no rule decides about; default accept. */
  policy?: 'accept' | 'drop' | number;
  /** For ingress and egress: the devices whose packets come. */
  device?: string;
  /** For ingress and egress: the devices, of which 'eth*' are all that begin so. */
  devices?: string[];
  /** A comment, as nft shows it. */
  comment?: string;
  /** 'offload' has the device do it; 'base' and 'binding' are the kernel's. */
  flags?: ('base' | 'offload' | 'binding' | number)[];
  /** The kernel's number for it. */
  handle?: bigint;
  /** How many rules and jumps it has. Read only. */
  use?: number;
  /** The packets and bytes that the policy has decided about. The kernel counts them only in chains that were made or changed with counters. */
  counters?: {
    /** Packets. */
    packets?: bigint;
    /** Bytes. */
    bytes?: bigint;
  };
}
