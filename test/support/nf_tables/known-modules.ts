import { NLM_F_CREATE, NLM_F_REQUEST } from '../../../src/linux/netlink.ts';
import * as Nft from '../../../src/linux/nf_tables.ts';
import { HELPERS } from '../../../src/testing/nf_tables/conntrack-objects.ts';
import { MODULES, OF_BRIDGES } from '../../../src/testing/nf_tables/expressions/index.ts';
import type { KernelSide } from './kernel-side.ts';
import { BRIDGE, INET } from './names.ts';
import { type Attribute, batchBytes, type Message, text, u32 } from './wire.ts';

/*
 * Which modules of nf_tables a kernel has: it is asked, as its version does not tell. What it does not know is ENOENT, whatever else is wrong.
 */

const T = text('t');
const flags = NLM_F_REQUEST | NLM_F_CREATE;
const message = (type: number, family: number, attributes: readonly Attribute[]): Message => ({
  type,
  flags,
  family,
  attributes,
});

/** The messages alone, in a batch that never takes effect: what they say of the last. */
function lastAnswer(kernel: KernelSide, family: number, last: Message): string | undefined {
  const first = [
    message(Nft.NFT_MSG_NEWTABLE, family, [[Nft.NFTA_TABLE_NAME, T]]),
    message(Nft.NFT_MSG_NEWCHAIN, family, [
      [Nft.NFTA_CHAIN_TABLE, T],
      [Nft.NFTA_CHAIN_NAME, text('c')],
    ]),
  ];
  return kernel.ask(batchBytes([...first, last], 1, { ends: false })).find(line => line.endsWith(' of 4'));
}

const isMissing = (answer: string | undefined): boolean => answer?.startsWith('errno -2 ') === true;

const ruleOf = (name: string, family: number, data?: Attribute[]): Message => {
  const expression: Attribute[] = [[Nft.NFTA_EXPR_NAME, text(name)]];
  if (data !== undefined) expression.push([Nft.NFTA_EXPR_DATA, data]);
  return message(Nft.NFT_MSG_NEWRULE, family, [
    [Nft.NFTA_RULE_TABLE, T],
    [Nft.NFTA_RULE_CHAIN, text('c')],
    [Nft.NFTA_RULE_EXPRESSIONS, [[Nft.NFTA_LIST_ELEM, expression]]],
  ]);
};

const FAMILIES: Readonly<Record<string, number>> = { dup: 2, fwd: 5, tunnel: 5 };

export function knownModules(kernel: KernelSide): string[] {
  // The kernels that are asked have nf_tables, and what is beside it.
  const known = new Set(['nf_tables', 'nfnetlink_log', 'nf_conntrack_netlink']);
  const chain: Attribute[] = [
    [Nft.NFTA_CHAIN_TABLE, T],
    [Nft.NFTA_CHAIN_NAME, text('n')],
    [Nft.NFTA_CHAIN_TYPE, text('nat')],
    [
      Nft.NFTA_CHAIN_HOOK,
      [
        [Nft.NFTA_HOOK_HOOKNUM, u32(0)],
        [Nft.NFTA_HOOK_PRIORITY, u32(0)],
      ],
    ],
  ];
  if (!isMissing(lastAnswer(kernel, INET, message(Nft.NFT_MSG_NEWCHAIN, INET, chain)))) known.add('nft_chain_nat');
  for (const [name, module] of Object.entries(MODULES)) {
    const family = FAMILIES[name] ?? INET;
    if (!isMissing(lastAnswer(kernel, family, ruleOf(name, family)))) known.add(module);
  }
  for (const [name, module] of Object.entries(OF_BRIDGES))
    if (!isMissing(lastAnswer(kernel, BRIDGE, ruleOf(name, BRIDGE)))) known.add(module);
  const key: Attribute[] = [
    [Nft.NFTA_META_DREG, u32(1)],
    [Nft.NFTA_META_KEY, u32(Nft.NFT_META_BRI_IIFNAME)],
  ];
  if (lastAnswer(kernel, BRIDGE, ruleOf('meta', BRIDGE, key)) === undefined) known.add('nft_meta_bridge');
  const state: Attribute[] = [
    [Nft.NFTA_CT_DREG, u32(1)],
    [Nft.NFTA_CT_KEY, u32(Nft.NFT_CT_STATE)],
  ];
  if (lastAnswer(kernel, BRIDGE, ruleOf('ct', BRIDGE, state)) === undefined) known.add('nf_conntrack_bridge');
  for (const [name, { module, protocols }] of Object.entries(HELPERS)) {
    const data: Attribute[] = [
      [Nft.NFTA_CT_HELPER_NAME, text(name)],
      [Nft.NFTA_CT_HELPER_L4PROTO, Buffer.of(protocols[0]!)],
    ];
    const object = message(Nft.NFT_MSG_NEWOBJ, INET, [
      [Nft.NFTA_OBJ_TABLE, T],
      [Nft.NFTA_OBJ_NAME, text('o')],
      [Nft.NFTA_OBJ_TYPE, u32(Nft.NFT_OBJECT_CT_HELPER)],
      [Nft.NFTA_OBJ_DATA, data],
    ]);
    if (!isMissing(lastAnswer(kernel, INET, object))) known.add(module);
  }
  for (const [family, module] of [
    [INET, 'nf_flow_table_inet'],
    [2, 'nf_flow_table'],
  ] as const) {
    const hook: Attribute = [Nft.NFTA_FLOWTABLE_HOOK, []];
    const flowtable = message(Nft.NFT_MSG_NEWFLOWTABLE, family, [
      [Nft.NFTA_FLOWTABLE_TABLE, T],
      [Nft.NFTA_FLOWTABLE_NAME, text('f')],
      hook,
    ]);
    // Where it is known, the name is pointed at: the hook says nothing.
    if (lastAnswer(kernel, family, flowtable)?.includes(' at ') !== false) known.add(module);
  }
  return [...known];
}
