import {
  attribute,
  attributes,
  flags,
  type Infer,
  inline,
  named,
  opt,
  S32_BE,
  string,
  U32_BE,
  u32be,
  u64be,
} from '../codec/index.ts';
import { NF_NETDEV_INGRESS } from '../linux/netfilter.ts';
import * as C from '../linux/nf_tables.ts';
import { DEVICES } from './devices.ts';
import { told } from './facets.ts';
import type { Family } from './family.ts';

const hookTable = attributes('NFTA_FLOWTABLE_HOOK', () => ({
  /** Where it takes packets: 'ingress'. */
  hook: opt(attribute(C.NFTA_FLOWTABLE_HOOK_NUM, named(U32_BE, { ingress: NF_NETDEV_INGRESS }))),
  /** Lower comes first. */
  priority: opt(attribute(C.NFTA_FLOWTABLE_HOOK_PRIORITY, S32_BE)),
  /** The devices whose packets it forwards. */
  devices: opt(attribute(C.NFTA_FLOWTABLE_HOOK_DEVS, DEVICES)),
}));

/** Connections that skip the rules: their packets are forwarded from one device to the other on the spot. */
export const flowtableTable = attributes(
  'NFTA_FLOWTABLE',
  () => ({
    /** The name of the flowtable's table. */
    table: string(C.NFTA_FLOWTABLE_TABLE, 255),
    /** Its name. */
    name: string(C.NFTA_FLOWTABLE_NAME, 255),
    hooking: inline(C.NFTA_FLOWTABLE_HOOK, hookTable),
    /** References to it. Read only. */
    use: told(opt(u32be(C.NFTA_FLOWTABLE_USE))),
    /** The kernel's number for it. */
    handle: told(opt(u64be(C.NFTA_FLOWTABLE_HANDLE))),
    /** offload: the network card does it. counter: connections go on being counted. */
    flags: opt(
      attribute(
        C.NFTA_FLOWTABLE_FLAGS,
        flags(U32_BE, { offload: C.NFT_FLOWTABLE_HW_OFFLOAD, counter: C.NFT_FLOWTABLE_COUNTER }),
      ),
    ),
  }),
  { header: ['family'] },
);

/** What names a flowtable. */
export interface FlowtableKey {
  /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
  family: Family;
  /** The name of the flowtable's table. */
  table: string;
  /** At most 255 bytes. */
  name: string;
}

/** A flowtable as the kernel has it. */
export type Flowtable = {
  /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
  family: Family;
} & Infer<typeof flowtableTable>;
