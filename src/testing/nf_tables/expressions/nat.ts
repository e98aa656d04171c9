import { NF_ACCEPT, NF_DROP } from '../../../linux/netfilter.ts';
import * as Nft from '../../../linux/nf_tables.ts';
import { AF_INET, AF_INET6 } from '../../../linux/socket.ts';
import { type Manip, type Range, setUp } from '../../conntrack/nat.ts';
import { destinationOf, sourceOf } from '../../packets/packet.ts';
import { EAFNOSUPPORT, EINVAL, EOPNOTSUPP, refuse } from '../../refusal.ts';
import { ownAddress } from '../../routes.ts';
import type { Attributes } from '../../wire/attributes.ts';
import { neededU32, type RuleContext, source } from '../context.ts';
import type { Expression } from '../state.ts';
import { given, type Row, writeRows } from './rows.ts';
import { type ExpressionType, numberOf, type Outcome, type Reached, type Run } from './type.ts';

const INET = 1;
const PREROUTING = 0;
const INPUT = 1;
const OUTPUT = 3;
const POSTROUTING = 4;
/** NF_NAT_RANGE_*: addresses 1, ports 2, random 4, persistent 8, fully random 16, offset 32, netmap 64. */
const RANGE_MAP_IPS = 1;
const RANGE_PROTO_SPECIFIED = 2;
const RANGE_ALL = 0x7f;
const ADDRESS_LENGTH: Record<number, number> = { [AF_INET]: 4, [AF_INET6]: 16 };

/** Sets the translation of the packet's connection up (nft_nat_eval and its like). The rule and its chain end with it. */
function translated(run: Run, { values }: Expression, manip: Manip, own?: Uint8Array | 'none'): Outcome {
  if (own === 'none') return { code: NF_DROP };
  const { packet, view, registers } = run;
  const port = (field: string): number | undefined => {
    const word = values[field] as number | undefined;
    return word === undefined ? undefined : view.getUint16(word * 4);
  };
  const address = (field: string): Uint8Array | undefined => {
    const word = values[field] as number | undefined;
    return word === undefined ? undefined : registers.slice(word * 4, word * 4 + sourceOf(packet).length);
  };
  const range: Range = {
    flags: values.flags as number,
    addressMin: own ?? address('addressMin'),
    addressMax: own ?? address('addressMax'),
    portMin: port('portMin'),
    portMax: port('portMax'),
  };
  return translateTo(run, range, manip);
}

/** Sets a translation up; the chain ends with it. */
export function translateTo({ packet: { tracked }, namespace }: Run, range: Range, manip: Manip): Outcome {
  if (tracked !== undefined) setUp(namespace, tracked.connection, range, manip);
  return { code: NF_ACCEPT };
}

/** Local packets go to the loopback address, others to the first address of their device (nf_nat_redirect). */
export function redirected({ packet, point }: Run): Uint8Array | 'none' {
  const { length } = sourceOf(packet);
  if (point.hook === OUTPUT) {
    const loopback = new Uint8Array(length);
    loopback[length - 1] = 1;
    if (length === 4) loopback[0] = 127;
    return loopback;
  }
  return packet.inDevice?.addresses.find(({ bytes }) => bytes.length === length)?.bytes ?? 'none';
}

/** The address of the device by which the packet leaves, in the network of its destination if there is one. */
export function masqueraded({ packet: { outDevice, tracked }, packet }: Run): Uint8Array | 'none' {
  const own = ownAddress(outDevice?.addresses ?? [], destinationOf(packet));
  if (own === undefined) return 'none';
  // The translation ends with its device.
  if (tracked !== undefined) tracked.connection.masquerade = outDevice!.index;
  return own;
}

/** Two registers: where the second is absent, it is the first. */
function pair(
  attributes: Attributes,
  context: RuleContext,
  from: number,
  to: number,
  length: number,
): [number, number] | undefined {
  const first = attributes.u32be(from);
  if (first === undefined) return undefined;
  const word = source(context, first, length);
  const second = attributes.u32be(to);
  return [word, second === undefined ? word : source(context, second, length)];
}

const inNat =
  (...hooks: number[]) =>
  (_: unknown, { type, hook }: Reached): boolean =>
    type === 'nat' && hooks.includes(hook);

const NAT: readonly Row[] = [
  ['type', Nft.NFTA_NAT_TYPE, 'u32'],
  ['family', Nft.NFTA_NAT_FAMILY, 'u32'],
  ['addressMin', Nft.NFTA_NAT_REG_ADDR_MIN, 'register'],
  ['addressMax', Nft.NFTA_NAT_REG_ADDR_MAX, 'register'],
  ['portMin', Nft.NFTA_NAT_REG_PROTO_MIN, 'register'],
  ['portMax', Nft.NFTA_NAT_REG_PROTO_MAX, 'register'],
  ['flags', Nft.NFTA_NAT_FLAGS, 'u32'],
];

const nat: ExpressionType = {
  read(attributes, context) {
    const hasAddress = attributes?.has(Nft.NFTA_NAT_REG_ADDR_MIN);
    if (!attributes?.has(Nft.NFTA_NAT_TYPE) || (!hasAddress && !attributes.has(Nft.NFTA_NAT_REG_PROTO_MIN)))
      refuse(EINVAL);
    const type = attributes!.u32be(Nft.NFTA_NAT_TYPE)!;
    if (type > Nft.NFT_NAT_DNAT) refuse(EOPNOTSUPP);
    const family = neededU32(attributes, Nft.NFTA_NAT_FAMILY);
    const ofTable = context.table.family;
    if (ofTable !== INET && ofTable !== family) refuse(EOPNOTSUPP);
    const length = ADDRESS_LENGTH[family];
    if (length === undefined && hasAddress) refuse(EAFNOSUPPORT);
    const addresses = pair(attributes!, context, Nft.NFTA_NAT_REG_ADDR_MIN, Nft.NFTA_NAT_REG_ADDR_MAX, length ?? 4);
    const ports = pair(attributes!, context, Nft.NFTA_NAT_REG_PROTO_MIN, Nft.NFTA_NAT_REG_PROTO_MAX, 2);
    let flags = (addresses ? RANGE_MAP_IPS : 0) | (ports ? RANGE_PROTO_SPECIFIED : 0);
    const asked = attributes!.u32be(Nft.NFTA_NAT_FLAGS);
    if (asked !== undefined) {
      if ((asked & ~RANGE_ALL) !== 0) refuse(EOPNOTSUPP);
      flags |= asked;
    }
    const values = {
      type,
      family,
      addressMin: addresses?.[0],
      addressMax: addresses?.[1],
      portMin: ports?.[0],
      portMax: ports?.[1],
      flags,
    };
    return { values: given(values) };
  },
  write: ({ values }, writer) =>
    writeRows(NAT, given({ ...values, flags: (values.flags as number) || undefined }), writer),
  allows: (expression, reached) =>
    inNat(...(numberOf(expression, 'type') === Nft.NFT_NAT_SNAT ? [POSTROUTING, INPUT] : [PREROUTING, OUTPUT]))(
      expression,
      reached,
    ),
  run: (expression, run) =>
    translated(run, expression, numberOf(expression, 'type') === Nft.NFT_NAT_SNAT ? 'source' : 'destination'),
};

const MASQ: readonly Row[] = [
  ['flags', Nft.NFTA_MASQ_FLAGS, 'u32'],
  ['portMin', Nft.NFTA_MASQ_REG_PROTO_MIN, 'register'],
  ['portMax', Nft.NFTA_MASQ_REG_PROTO_MAX, 'register'],
];

const masq: ExpressionType = {
  read(attributes, context) {
    const flags = attributes?.u32be(Nft.NFTA_MASQ_FLAGS) ?? 0;
    if ((flags & ~RANGE_ALL) !== 0) refuse(EINVAL);
    const ports = attributes && pair(attributes, context, Nft.NFTA_MASQ_REG_PROTO_MIN, Nft.NFTA_MASQ_REG_PROTO_MAX, 2);
    return { values: given({ flags, portMin: ports?.[0], portMax: ports?.[1] }) };
  },
  write: ({ values }, writer) =>
    writeRows(MASQ, given({ ...values, flags: (values.flags as number) || undefined }), writer),
  allows: inNat(POSTROUTING),
  run: (expression, run) => translated(run, expression, 'source', masqueraded(run)),
};

const REDIR: readonly Row[] = [
  ['portMin', Nft.NFTA_REDIR_REG_PROTO_MIN, 'register'],
  ['portMax', Nft.NFTA_REDIR_REG_PROTO_MAX, 'register'],
  ['flags', Nft.NFTA_REDIR_FLAGS, 'u32'],
];

const redir: ExpressionType = {
  read(attributes, context) {
    const ports =
      attributes && pair(attributes, context, Nft.NFTA_REDIR_REG_PROTO_MIN, Nft.NFTA_REDIR_REG_PROTO_MAX, 2);
    // Flags that are given stand in the place of those that the ports imply.
    const flags = attributes?.u32be(Nft.NFTA_REDIR_FLAGS) ?? (ports ? RANGE_PROTO_SPECIFIED : 0);
    if ((flags & ~RANGE_ALL) !== 0) refuse(EINVAL);
    return { values: given({ portMin: ports?.[0], portMax: ports?.[1], flags }) };
  },
  write: ({ values }, writer) =>
    writeRows(REDIR, given({ ...values, flags: (values.flags as number) || undefined }), writer),
  allows: inNat(PREROUTING, OUTPUT),
  run: (expression, run) => translated(run, expression, 'destination', redirected(run)),
};

export const TRANSLATING: Record<string, ExpressionType> = { nat, masq, redir };
