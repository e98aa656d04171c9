import { ETH_P_IP, ETH_P_IPV6 } from '../../../linux/if_ether.ts';
import { NF_DROP, NF_QUEUE, NF_STOLEN } from '../../../linux/netfilter.ts';
import * as Nft from '../../../linux/nf_tables.ts';
import { AF_INET, AF_INET6 } from '../../../linux/socket.ts';
import { EINVAL, EOPNOTSUPP, ERANGE, refuse } from '../../refusal.ts';
import type { Attributes } from '../../wire/attributes.ts';
import { needConnections, needed, neededU32, source } from '../context.ts';
import type { Value } from '../state.ts';
import { given, type Row, writeRows } from './rows.ts';
import { type ExpressionType, registerBytes } from './type.ts';

const INET = 1;
const NETDEV = 5;
const PREROUTING = 0;
const INPUT = 1;
const FORWARD = 2;
const OUTPUT = 3;
const _POSTROUTING = 4;
const ADDRESS_LENGTH: Record<number, number> = { [AF_INET]: 4, [AF_INET6]: 16 };

const REJECT: readonly Row[] = [
  ['type', Nft.NFTA_REJECT_TYPE, 'u32'],
  ['code', Nft.NFTA_REJECT_ICMP_CODE, 'u8'],
];

/** By the codes of icmpx: no route, port, host, administratively prohibited. */
const ABSTRACT_CODES = { v4: [0, 3, 1, 13], v6: [0, 4, 3, 1] } as const;

const reject: ExpressionType = {
  read(attributes) {
    const type = neededU32(attributes, Nft.NFTA_REJECT_TYPE);
    if (type > Nft.NFT_REJECT_ICMPX_UNREACH) refuse(EINVAL);
    if (type === Nft.NFT_REJECT_TCP_RST) return { values: { type } };
    needed(attributes, Nft.NFTA_REJECT_ICMP_CODE);
    const code = attributes!.u8(Nft.NFTA_REJECT_ICMP_CODE)!;
    if (type === Nft.NFT_REJECT_ICMPX_UNREACH && code > Nft.NFT_REJECT_ICMPX_ADMIN_PROHIBITED) refuse(EINVAL);
    return { values: { type, code } };
  },
  write: ({ values }, writer) => writeRows(REJECT, given(values), writer),
  allows: (_, { hook, family }) =>
    family === NETDEV
      ? hook === 0
      : [PREROUTING, INPUT, FORWARD, OUTPUT].includes(hook) || (family === INET && hook === 5),
  run({ values }, run) {
    if (values.type === Nft.NFT_REJECT_TCP_RST) return run.path.reject(undefined, run);
    const isV4 = run.packet.protocol === ETH_P_IP;
    if (!isV4 && run.packet.protocol !== ETH_P_IPV6) return { code: NF_DROP };
    const code = values.code as number;
    const isAbstract = values.type === Nft.NFT_REJECT_ICMPX_UNREACH;
    return run.path.reject(isAbstract ? ABSTRACT_CODES[isV4 ? 'v4' : 'v6'][code] : code, run);
  },
};

const LOG: readonly Row[] = [
  ['prefix', Nft.NFTA_LOG_PREFIX, 'text'],
  ['group', Nft.NFTA_LOG_GROUP, 'u16'],
  ['copyLength', Nft.NFTA_LOG_SNAPLEN, 'u32'],
  ['threshold', Nft.NFTA_LOG_QTHRESHOLD, 'u16'],
  ['level', Nft.NFTA_LOG_LEVEL, 'u32'],
  ['flags', Nft.NFTA_LOG_FLAGS, 'u32'],
];
/** NF_LOG_MASK: sequence numbers, TCP options, IP options, user, and hardware addresses. */
const LOG_FLAGS = 0x2f;

const log: ExpressionType = {
  read(attributes) {
    const prefix = attributes?.text(Nft.NFTA_LOG_PREFIX);
    const group = attributes?.u16be(Nft.NFTA_LOG_GROUP);
    const level = attributes?.u32be(Nft.NFTA_LOG_LEVEL);
    const flags = attributes?.u32be(Nft.NFTA_LOG_FLAGS);
    if (group !== undefined) {
      if (level !== undefined || flags !== undefined) refuse(EINVAL);
      const copyLength = attributes!.u32be(Nft.NFTA_LOG_SNAPLEN);
      const threshold = attributes!.u16be(Nft.NFTA_LOG_QTHRESHOLD);
      return { values: given({ prefix, group, copyLength, threshold: threshold || undefined }) };
    }
    if (level !== undefined && level > Nft.NFT_LOGLEVEL_AUDIT) refuse(EINVAL);
    if (flags !== undefined && (flags & ~LOG_FLAGS) !== 0) refuse(EINVAL);
    return { values: given({ prefix, level: level ?? Nft.NFT_LOGLEVEL_WARNING, flags: flags || undefined }) };
  },
  write: ({ values }, writer) => writeRows(LOG, values, writer),
  run(expression, run) {
    if (expression.values.group !== undefined) run.path.log(expression, run);
    return undefined;
  },
};

const QUEUE: readonly Row[] = [
  ['number', Nft.NFTA_QUEUE_NUM, 'u16'],
  ['total', Nft.NFTA_QUEUE_TOTAL, 'u16'],
  ['flags', Nft.NFTA_QUEUE_FLAGS, 'u16'],
  ['source', Nft.NFTA_QUEUE_SREG_QNUM, 'register'],
];

const queue: ExpressionType = {
  read(attributes, context) {
    const number = attributes?.u16be(Nft.NFTA_QUEUE_NUM);
    const register = attributes?.u32be(Nft.NFTA_QUEUE_SREG_QNUM);
    if ((number === undefined) === (register === undefined)) refuse(EINVAL);
    const flags = attributes!.u16be(Nft.NFTA_QUEUE_FLAGS) ?? 0;
    if ((flags & ~3) !== 0) refuse(EINVAL);
    if (register !== undefined) {
      if ((flags & Nft.NFT_QUEUE_FLAG_CPU_FANOUT) !== 0) refuse(EOPNOTSUPP);
      return { values: given({ source: source(context, register, 4), flags: flags || undefined }) };
    }
    const total = attributes!.u16be(Nft.NFTA_QUEUE_TOTAL) ?? 1;
    if (total === 0) refuse(EINVAL);
    if (number! + total - 1 > 0xffff) refuse(ERANGE);
    return { values: { number: number!, total, flags } };
  },
  write: ({ values }, writer) => writeRows(QUEUE, values, writer),
  run: () => ({ code: NF_QUEUE }),
};

const DUP: readonly Row[] = [
  ['address', Nft.NFTA_DUP_SREG_ADDR, 'register'],
  ['device', Nft.NFTA_DUP_SREG_DEV, 'register'],
];

const dup: ExpressionType = {
  read(attributes, context) {
    const { family } = context.table;
    if (family === NETDEV) {
      const device = source(context, neededU32(attributes, Nft.NFTA_DUP_SREG_DEV), 4);
      return { values: { device } };
    }
    const length = ADDRESS_LENGTH[family];
    if (length === undefined) return refuse(EOPNOTSUPP);
    const address = source(context, neededU32(attributes, Nft.NFTA_DUP_SREG_ADDR), length);
    const device = attributes!.u32be(Nft.NFTA_DUP_SREG_DEV);
    return { values: given({ address, device: device === undefined ? undefined : source(context, device, 4) }) };
  },
  write: ({ values }, writer) => writeRows(DUP, values, writer),
  run({ values }, run) {
    const device = values.device === undefined ? undefined : run.view.getUint32((values.device as number) * 4, true);
    if (values.address === undefined) run.path.copyTo(device!, run);
    else {
      const length = run.packet.protocol === ETH_P_IP ? 4 : 16;
      run.path.copy(registerBytes(run, values.address as number, length).slice(), device, run);
    }
    return undefined;
  },
};

const FWD: readonly Row[] = [
  ['device', Nft.NFTA_FWD_SREG_DEV, 'register'],
  ['address', Nft.NFTA_FWD_SREG_ADDR, 'register'],
  ['family', Nft.NFTA_FWD_NFPROTO, 'u32'],
];

const fwd: ExpressionType = {
  read(attributes, context) {
    if (context.table.family !== NETDEV) refuse(EOPNOTSUPP);
    const device = source(context, neededU32(attributes, Nft.NFTA_FWD_SREG_DEV), 4);
    const address = attributes!.u32be(Nft.NFTA_FWD_SREG_ADDR);
    if (address === undefined) return { values: { device } };
    const family = neededU32(attributes, Nft.NFTA_FWD_NFPROTO);
    const length = ADDRESS_LENGTH[family];
    if (length === undefined) return refuse(EOPNOTSUPP);
    return { values: { device, address: source(context, address, length), family } };
  },
  write: ({ values }, writer) => writeRows(FWD, values, writer),
  allows: (_, { family }) => family === NETDEV,
  run({ values }, run) {
    if (values.address !== undefined) return run.engine.notModelled('fwd: a packet that is sent on to a neighbour');
    run.path.redirect(run.view.getUint32((values.device as number) * 4, true));
    return { code: NF_STOLEN };
  },
};

const notrack: ExpressionType = {
  read: () => ({ values: {} }),
  write() {},
  run(_, run) {
    const { packet } = run;
    if (packet.tracked === undefined) packet.untracked = true;
    return undefined;
  },
};

const TPROXY: readonly Row[] = [
  ['family', Nft.NFTA_TPROXY_FAMILY, 'u32'],
  ['address', Nft.NFTA_TPROXY_REG_ADDR, 'register'],
  ['port', Nft.NFTA_TPROXY_REG_PORT, 'register'],
];

const tproxy: ExpressionType = {
  read(attributes, context) {
    const family = neededU32(attributes, Nft.NFTA_TPROXY_FAMILY);
    const address = attributes!.u32be(Nft.NFTA_TPROXY_REG_ADDR);
    const port = attributes!.u32be(Nft.NFTA_TPROXY_REG_PORT);
    if (address === undefined && port === undefined) refuse(EINVAL);
    const ofTable = context.table.family;
    if (![AF_INET, AF_INET6, INET].includes(ofTable)) refuse(EOPNOTSUPP);
    if (ofTable !== INET && ofTable !== family) refuse(EINVAL);
    if (family === 0 && address !== undefined) refuse(EINVAL);
    if (![AF_INET, AF_INET6, 0].includes(family)) refuse(EOPNOTSUPP);
    return {
      values: given({
        family,
        address: address === undefined ? undefined : source(context, address, ADDRESS_LENGTH[family]!),
        port: port === undefined ? undefined : source(context, port, 2),
      }),
    };
  },
  write: ({ values }, writer) => writeRows(TPROXY, values, writer),
  allows: (_, { hook }) => hook === PREROUTING,
  // Without a transparent socket that listens, the rule does not match.
  run: () => 'break',
};

const TCP = 6;
const SYN_OR_ACK = 0x12;
const SYNPROXY: readonly Row[] = [
  ['mss', Nft.NFTA_SYNPROXY_MSS, 'u16'],
  ['wscale', Nft.NFTA_SYNPROXY_WSCALE, 'u8'],
  ['flags', Nft.NFTA_SYNPROXY_FLAGS, 'u32'],
];

export function readSynproxy(attributes: Attributes | undefined): Record<string, Value> {
  const mss = attributes?.u16be(Nft.NFTA_SYNPROXY_MSS);
  const wscale = attributes?.u8(Nft.NFTA_SYNPROXY_WSCALE);
  const flags = attributes?.u32be(Nft.NFTA_SYNPROXY_FLAGS) ?? 0;
  // MSS 1, window scale 2, SACK 4, timestamp 8; clients alone say ECN.
  if ((flags & ~0xf) !== 0) refuse(EOPNOTSUPP);
  return { mss: mss ?? 0, wscale: wscale ?? 0, flags };
}
export const SYNPROXY_ROWS = SYNPROXY;

const synproxy: ExpressionType = {
  read(attributes, { work }) {
    const values = readSynproxy(attributes);
    needConnections(work);
    return { values };
  },
  write: ({ values }, writer) => writeRows(SYNPROXY, values, writer),
  allows: (_, { hook }) => [INPUT, FORWARD].includes(hook),
  run(_, { packet: { bytes, transport, transportProtocol }, engine }) {
    if (transportProtocol !== TCP || transport === undefined) return 'break';
    const flags = bytes[transport + 13]!;
    const options = (bytes[transport + 12]! >> 4) * 4;
    if (transport + 20 > bytes.length || options < 20 || transport + options > bytes.length) return { code: NF_DROP };
    return (flags & SYN_OR_ACK) === 0 ? undefined : engine.notModelled('synproxy: the cookies of its answers');
  },
};

const flowOffload: ExpressionType = {
  read(attributes, context) {
    needed(attributes, Nft.NFTA_FLOW_TABLE_NAME);
    const name = attributes!.text(Nft.NFTA_FLOW_TABLE_NAME)!;
    const flowtable = context.table.flowtables.find(each => each.name === name) ?? refuse(-2);
    flowtable.users++;
    context.work.batch.undo.push(() => {
      flowtable.users--;
    });
    needConnections(context.work);
    return { values: {}, flowtable };
  },
  write: ({ flowtable }, writer) => writer.text(Nft.NFTA_FLOW_TABLE_NAME, flowtable!.name),
  allows: (_, { hook }) => hook === FORWARD,
  // A flow is as it was: it only takes a shorter way.
  run: () => undefined,
};

export const ACTIONS: Record<string, ExpressionType> = {
  reject,
  log,
  queue,
  dup,
  fwd,
  notrack,
  tproxy,
  synproxy,
  flow_offload: flowOffload,
};
