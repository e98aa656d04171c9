import {
  attribute,
  attributes,
  type Infer,
  named,
  nested,
  opt,
  S32_BE,
  string,
  U8,
  U32_BE,
  type UnknownAttribute,
  u32be,
} from '../codec/index.ts';
import * as C from '../linux/nfnetlink_hook.ts';
import { HOOK } from './chain.ts';
import { VariantTable, variant } from './variant.ts';

const chainDescription = attributes('NFNLA_CHAIN', () => ({
  /** The name of the chain's table. */
  table: opt(string(C.NFNLA_CHAIN_TABLE, 255)),
  /** NFPROTO_*. */
  family: opt(attribute(C.NFNLA_CHAIN_FAMILY, U8)),
  /** The name of the chain. */
  name: opt(string(C.NFNLA_CHAIN_NAME, 255)),
}));

const programDescription = attributes('NFNLA_HOOK_BPF', () => ({
  /** The number of the BPF program. */
  id: opt(u32be(C.NFNLA_HOOK_BPF_ID)),
}));

const DESCRIPTIONS = { chain: chainDescription, bpf: programDescription, flowtable: chainDescription };

interface Attached {
  /** What it is: a base chain, a BPF program, or a flowtable. */
  type: keyof typeof DESCRIPTIONS | number;
  /** Which chain or program it is. */
  description?: Infer<(typeof DESCRIPTIONS)[keyof typeof DESCRIPTIONS]>;
  /** Attributes that this library does not know, kept as they came. */
  unknown?: UnknownAttribute[];
}

const attachedTable = new VariantTable<Attached>('NFNLA_HOOK_INFO', 'type', () => ({
  type: attribute(
    C.NFNLA_HOOK_INFO_TYPE,
    named(U32_BE, {
      chain: C.NFNL_HOOK_TYPE_NFTABLES,
      bpf: C.NFNL_HOOK_TYPE_BPF,
      flowtable: C.NFNL_HOOK_TYPE_NFT_FLOWTABLE,
    }),
  ),
  description: opt(attribute(C.NFNLA_HOOK_INFO_DESC, variant(DESCRIPTIONS))),
}));

/** One function that is attached to a hook of the kernel: a base chain, or what another part of it put there. */
export const hookTable = attributes(
  'NFNLA_HOOK',
  () => ({
    /** The hook. */
    hook: opt(attribute(C.NFNLA_HOOK_HOOKNUM, HOOK)),
    /** Lower comes first. */
    priority: opt(attribute(C.NFNLA_HOOK_PRIORITY, S32_BE)),
    /** The device, for ingress and egress. */
    device: opt(string(C.NFNLA_HOOK_DEV, 15)),
    /** The function's name in the kernel. */
    function: opt(string(C.NFNLA_HOOK_FUNCTION_NAME, 255)),
    /** The module that it is in. */
    module: opt(string(C.NFNLA_HOOK_MODULE_NAME, 255)),
    /** What is attached there. */
    attached: opt(nested(C.NFNLA_HOOK_CHAIN_INFO, attachedTable)),
  }),
  { header: ['family'] },
);

/** A function that is attached to a hook of the kernel's, as nfnetlink_hook tells it (Linux 5.14). */
export type AttachedHook = Infer<typeof hookTable>;
