import { IPS_CONFIRMED } from '../../../linux/nf_conntrack_common.ts';
import * as Nft from '../../../linux/nf_tables.ts';
import { AF_INET, AF_INET6 } from '../../../linux/socket.ts';
import { EVENT } from '../../conntrack/messages.ts';
import type { Connection, Tracked } from '../../conntrack/state.ts';
import type { Packet } from '../../packets/packet.ts';
import { EAFNOSUPPORT, EINVAL, EOPNOTSUPP, refuse } from '../../refusal.ts';
import { needConnections, neededU32, source, target } from '../context.ts';
import type { Expression } from '../state.ts';
import { nameBytes, u16be, u64 } from './meta.ts';
import { given, type Row, writeRows } from './rows.ts';
import { type ExpressionType, numberOf, type Outcome, type Run, store, storeNumber } from './type.ts';

const CT_LOAD: readonly Row[] = [
  ['target', Nft.NFTA_CT_DREG, 'register'],
  ['key', Nft.NFTA_CT_KEY, 'u32'],
  ['direction', Nft.NFTA_CT_DIRECTION, 'u8'],
];
const CT_SET: readonly Row[] = [
  ['source', Nft.NFTA_CT_SREG, 'register'],
  ['key', Nft.NFTA_CT_KEY, 'u32'],
  ['direction', Nft.NFTA_CT_DIRECTION, 'u8'],
];
/** Whether a key wants a direction, may have one, or must not. */
type Direction = 'no' | 'may' | 'must';
const CT_KEYS: Record<number, readonly [length: number, direction: Direction]> = {
  [Nft.NFT_CT_STATE]: [4, 'no'],
  [Nft.NFT_CT_DIRECTION]: [1, 'no'],
  [Nft.NFT_CT_STATUS]: [4, 'no'],
  [Nft.NFT_CT_MARK]: [4, 'no'],
  [Nft.NFT_CT_SECMARK]: [4, 'no'],
  [Nft.NFT_CT_EXPIRATION]: [4, 'no'],
  [Nft.NFT_CT_HELPER]: [16, 'no'],
  [Nft.NFT_CT_L3PROTOCOL]: [1, 'may'],
  [Nft.NFT_CT_PROTOCOL]: [1, 'may'],
  [Nft.NFT_CT_SRC]: [16, 'must'],
  [Nft.NFT_CT_DST]: [16, 'must'],
  [Nft.NFT_CT_PROTO_SRC]: [2, 'must'],
  [Nft.NFT_CT_PROTO_DST]: [2, 'must'],
  [Nft.NFT_CT_LABELS]: [16, 'no'],
  [Nft.NFT_CT_PKTS]: [8, 'may'],
  [Nft.NFT_CT_BYTES]: [8, 'may'],
  [Nft.NFT_CT_AVGPKT]: [8, 'may'],
  [Nft.NFT_CT_ZONE]: [2, 'may'],
  [Nft.NFT_CT_SRC_IP]: [4, 'must'],
  [Nft.NFT_CT_DST_IP]: [4, 'must'],
  [Nft.NFT_CT_SRC_IP6]: [16, 'must'],
  [Nft.NFT_CT_DST_IP6]: [16, 'must'],
  [Nft.NFT_CT_ID]: [4, 'no'],
};
const COUNTED: ReadonlySet<number> = new Set([Nft.NFT_CT_PKTS, Nft.NFT_CT_BYTES, Nft.NFT_CT_AVGPKT]);
const CT_WRITABLE: Record<number, number> = {
  [Nft.NFT_CT_MARK]: 4,
  [Nft.NFT_CT_SECMARK]: 4,
  [Nft.NFT_CT_LABELS]: 16,
  [Nft.NFT_CT_ZONE]: 2,
  [Nft.NFT_CT_EVENTMASK]: 4,
};

export const ct: ExpressionType = {
  read(attributes, context) {
    const key = neededU32(attributes, Nft.NFTA_CT_KEY);
    const to = attributes!.u32be(Nft.NFTA_CT_DREG);
    const from = attributes!.u32be(Nft.NFTA_CT_SREG);
    if (to !== undefined && from !== undefined) refuse(EINVAL);
    const direction = attributes!.u8(Nft.NFTA_CT_DIRECTION);
    if (from !== undefined) {
      const length = CT_WRITABLE[key];
      if (length === undefined) return refuse(EOPNOTSUPP);
      if (key !== Nft.NFT_CT_ZONE && direction !== undefined) refuse(EINVAL);
      if (direction !== undefined && direction > 1) refuse(EINVAL);
      const values = given({ key, direction, source: source(context, from, length) });
      needConnections(context.work);
      return { values };
    }
    if (to === undefined) return refuse(EINVAL);
    const known = CT_KEYS[key];
    if (known === undefined) return refuse(EOPNOTSUPP);
    let [length] = known;
    const [, wants] = known;
    if (wants === 'no' ? direction !== undefined : wants === 'must' && direction === undefined) refuse(EINVAL);
    if (key === Nft.NFT_CT_SRC || key === Nft.NFT_CT_DST) {
      const { family } = context.table;
      if (family === AF_INET) length = 4;
      else if (family !== AF_INET6 && family !== 1) refuse(EAFNOSUPPORT);
    }
    if (direction !== undefined && direction > 1) refuse(EINVAL);
    const at = target(context, to, length);
    needConnections(context.work);
    // Rules that ask for what is counted switch the counting on, for the whole namespace.
    if (COUNTED.has(key)) context.work.namespace.sysctls.set('net/netfilter/nf_conntrack_acct', '1');
    return { values: given({ key, direction, target: at, length }) };
  },
  write({ values }, writer) {
    const { direction, ...others } = values;
    // The direction of a protocol is forgotten: both have the same.
    const isTold = values.key !== Nft.NFT_CT_PROTOCOL && values.key !== Nft.NFT_CT_L3PROTOCOL;
    const told = given({ ...others, direction: isTold ? direction : undefined });
    writeRows(values.source === undefined ? CT_LOAD : CT_SET, told, writer);
  },
  run: evaluate,
};

const BOTH = 3;
const LABELS = 16;
const STATES = { new: 8, established: 2, related: 4 } as const;
const STATE_INVALID = 1;
const STATE_UNTRACKED = 64;

/** Connection tracking as rules see it (nft_ct_get_eval, nft_ct_set_eval). */
function evaluate(expression: Expression, run: Run): Outcome {
  return expression.values.source === undefined ? load(expression, run) : set(expression, run);
}

/** What a rule writes has no effect on a packet that belongs to no connection; a zone has one only on such a packet. */
function set({ values }: Expression, { packet, view, registers }: Run): Outcome {
  const at = (values.source as number) * 4;
  const { tracked } = packet;
  if (values.key === Nft.NFT_CT_ZONE) {
    const direction = values.direction as number | undefined;
    if (tracked === undefined && !packet.untracked)
      packet.zone = {
        id: view.getUint16(at, true),
        directions: direction === undefined ? BOTH : 1 << direction,
      };
    return undefined;
  }
  if (tracked === undefined) return undefined;
  const { connection } = tracked;
  const tell = (event: number) => {
    if (connection.events !== undefined) connection.events |= event;
  };
  if (values.key === Nft.NFT_CT_MARK) {
    const mark = view.getUint32(at, true);
    if (mark !== connection.mark) tell(EVENT.mark);
    connection.mark = mark;
  } else if (values.key === Nft.NFT_CT_LABELS && connection.labels !== undefined) {
    const labels = registers.slice(at, at + LABELS);
    if (labels.some((byte, i) => byte !== connection.labels![i])) tell(EVENT.label);
    connection.labels = labels;
  }
  // The mask of events says only what is told.
  return undefined;
}

function load(expression: Expression, run: Run): Outcome {
  const { packet } = run;
  const { key, direction } = expression.values as Record<string, number | undefined>;
  const { tracked } = packet;
  const word = numberOf(expression, 'target');
  if (key === Nft.NFT_CT_STATE) {
    storeNumber(run, word, stateOf(packet));
    return undefined;
  }
  if (tracked === undefined) return 'break';
  const { connection } = tracked;
  const tuple = (direction ?? tracked.direction) === 0 ? connection.original : connection.reply;
  switch (key) {
    case Nft.NFT_CT_SRC:
    case Nft.NFT_CT_SRC_IP:
    case Nft.NFT_CT_SRC_IP6:
      return address(run, word, tuple.source, key);
    case Nft.NFT_CT_DST:
    case Nft.NFT_CT_DST_IP:
    case Nft.NFT_CT_DST_IP6:
      return address(run, word, tuple.destination, key);
    case Nft.NFT_CT_PROTO_SRC:
      store(run, word, u16be(tuple.sourcePort));
      return undefined;
    case Nft.NFT_CT_PROTO_DST:
      store(run, word, u16be(tuple.destinationPort));
      return undefined;
    case Nft.NFT_CT_PKTS:
    case Nft.NFT_CT_BYTES:
    case Nft.NFT_CT_AVGPKT:
      store(run, word, u64(counted(connection.counters, key, direction)));
      return undefined;
    case Nft.NFT_CT_LABELS:
      store(run, word, connection.labels ?? new Uint8Array(LABELS));
      return undefined;
    case Nft.NFT_CT_HELPER: {
      const helper = connection.master?.helper;
      if (helper === undefined) return 'break';
      store(run, word, nameBytes(helper));
      return undefined;
    }
    default:
      storeNumber(run, word, plain(key!, tracked, direction, run.engine.now));
      return undefined;
  }
}

/** A template stands for the connection between a rule that sets a zone and the hook that looks for it. */
function stateOf({ tracked, untracked, zone }: Packet): number {
  if (tracked !== undefined) return STATES[tracked.state];
  if (untracked) return STATE_UNTRACKED;
  return zone === undefined ? STATE_INVALID : STATES.new;
}

function plain(
  key: number,
  { connection, direction: own }: Tracked,
  direction: number | undefined,
  now: bigint,
): number {
  switch (key) {
    case Nft.NFT_CT_DIRECTION:
      return own;
    case Nft.NFT_CT_STATUS:
      return connection.status;
    case Nft.NFT_CT_MARK:
      return connection.mark;
    case Nft.NFT_CT_ID:
      return connection.id;
    case Nft.NFT_CT_EXPIRATION:
      // Until the end of its first packet's way its time has not begun.
      return (connection.status & IPS_CONFIRMED) === 0 ? 0 : Number(connection.expires - now);
    case Nft.NFT_CT_L3PROTOCOL:
      return connection.family;
    case Nft.NFT_CT_PROTOCOL:
      return connection.protocol;
    default:
      // The zone, in one direction or in both.
      return direction === undefined || (connection.zoneDirections & (1 << direction)) !== 0 ? connection.zone : 0;
  }
}

function counted(counters: Connection['counters'], key: number, direction: number | undefined): bigint {
  const which = counters?.filter((_, i) => direction === undefined || direction === i) ?? [];
  const packets = which.reduce((sum, each) => sum + each.packets, 0n);
  const bytes = which.reduce((sum, each) => sum + each.bytes, 0n);
  if (key === Nft.NFT_CT_PKTS) return packets;
  if (key === Nft.NFT_CT_BYTES) return bytes;
  return packets === 0n ? 0n : bytes / packets;
}

function address(run: Run, word: number, bytes: Uint8Array, key: number): Outcome {
  const isFour = key === Nft.NFT_CT_SRC_IP || key === Nft.NFT_CT_DST_IP;
  const isSix = key === Nft.NFT_CT_SRC_IP6 || key === Nft.NFT_CT_DST_IP6;
  if ((isFour && bytes.length !== 4) || (isSix && bytes.length !== 16)) return 'break';
  store(run, word, bytes);
  return undefined;
}
