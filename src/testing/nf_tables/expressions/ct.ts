import * as Nft from '../../../linux/nf_tables.ts';
import { EAFNOSUPPORT, EINVAL, EOPNOTSUPP, refuse } from '../../refusal.ts';
import { neededU32, source, target } from '../context.ts';
import type { Expression } from '../state.ts';
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
const CT_WRITABLE: Record<number, number> = {
  [Nft.NFT_CT_MARK]: 4,
  [Nft.NFT_CT_LABELS]: 16,
  [Nft.NFT_CT_ZONE]: 2,
  [Nft.NFT_CT_EVENTMASK]: 4,
};
const AF_INET = 2;
const AF_INET6 = 10;

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
      return { values: given({ key, direction, source: source(context, from, length) }) };
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
    return { values: given({ key, direction, target: target(context, to, length), length }) };
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

/** Connection tracking as rules see it (nft_ct_get_eval, nft_ct_set_eval). */
function evaluate(expression: Expression, run: Run): Outcome {
  const { packet } = run;
  const { key, direction, source: from } = expression.values as Record<string, number | undefined>;
  const { tracked } = packet;
  if (from !== undefined) {
    if (tracked === undefined) return undefined;
    if (key === Nft.NFT_CT_MARK) tracked.connection.mark = run.view.getUint32(from * 4, true);
    else return run.engine.notModelled('ct: a key that is written');
    return undefined;
  }
  const word = numberOf(expression, 'target');
  if (key === Nft.NFT_CT_STATE) {
    const bits =
      tracked === undefined ? (packet.untracked ? 64 : 1) : { new: 8, established: 2, related: 4 }[tracked.state];
    storeNumber(run, word, bits);
    return undefined;
  }
  if (tracked === undefined) return 'break';
  const { connection } = tracked;
  const tuple = (direction ?? tracked.direction) === 0 ? connection.original : connection.reply;
  switch (key) {
    case Nft.NFT_CT_DIRECTION:
      storeNumber(run, word, tracked.direction);
      return undefined;
    case Nft.NFT_CT_STATUS:
      storeNumber(run, word, connection.status);
      return undefined;
    case Nft.NFT_CT_MARK:
      storeNumber(run, word, connection.mark);
      return undefined;
    case Nft.NFT_CT_ID:
      storeNumber(run, word, connection.id);
      return undefined;
    case Nft.NFT_CT_EXPIRATION:
      storeNumber(run, word, Number(connection.expires - run.engine.now));
      return undefined;
    case Nft.NFT_CT_L3PROTOCOL:
      storeNumber(run, word, connection.family);
      return undefined;
    case Nft.NFT_CT_PROTOCOL:
      storeNumber(run, word, connection.protocol);
      return undefined;
    case Nft.NFT_CT_PROTO_SRC:
      store(run, word, Uint8Array.of(tuple.sourcePort >> 8, tuple.sourcePort));
      return undefined;
    case Nft.NFT_CT_PROTO_DST:
      store(run, word, Uint8Array.of(tuple.destinationPort >> 8, tuple.destinationPort));
      return undefined;
    case Nft.NFT_CT_ZONE:
      storeNumber(run, word, connection.zone);
      return undefined;
    case Nft.NFT_CT_SRC:
    case Nft.NFT_CT_SRC_IP:
    case Nft.NFT_CT_SRC_IP6:
      return address(run, word, tuple.source, key);
    case Nft.NFT_CT_DST:
    case Nft.NFT_CT_DST_IP:
    case Nft.NFT_CT_DST_IP6:
      return address(run, word, tuple.destination, key);
    case Nft.NFT_CT_PKTS:
    case Nft.NFT_CT_BYTES:
    case Nft.NFT_CT_AVGPKT:
      return run.engine.notModelled('ct: the counters of a connection');
    default:
      return run.engine.notModelled('ct: helpers and labels');
  }
}

function address(run: Run, word: number, bytes: Uint8Array, key: number): Outcome {
  const isFour = key === Nft.NFT_CT_SRC_IP || key === Nft.NFT_CT_DST_IP;
  const isSix = key === Nft.NFT_CT_SRC_IP6 || key === Nft.NFT_CT_DST_IP6;
  if ((isFour && bytes.length !== 4) || (isSix && bytes.length !== 16)) return 'break';
  store(run, word, bytes);
  return undefined;
}
