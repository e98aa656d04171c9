import { IFNAMSIZ } from '../../../linux/if.ts';
import * as Nft from '../../../linux/nf_tables.ts';
import { destinationOf, sourceOf } from '../../packets/packet.ts';
import { EINVAL, refuse } from '../../refusal.ts';
import { RTN, route, typeOfAddress } from '../../routes.ts';
import { needed, neededU32, target } from '../context.ts';
import type { Expression } from '../state.ts';
import { nameBytes } from './meta.ts';
import { given, type Row, writeRows } from './rows.ts';
import { type ExpressionType, numberOf, type Outcome, type Run, store, storeNumber } from './type.ts';

const PREROUTING = 0;
const INPUT = 1;
const FORWARD = 2;
const OUTPUT = 3;
const POSTROUTING = 4;
const NETDEV = 5;

const FIB: readonly Row[] = [
  ['target', Nft.NFTA_FIB_DREG, 'register'],
  ['result', Nft.NFTA_FIB_RESULT, 'u32'],
  ['flags', Nft.NFTA_FIB_FLAGS, 'u32'],
];
const FIB_ALL = 0x3f;

export const fib: ExpressionType = {
  read(attributes, context) {
    needed(attributes, Nft.NFTA_FIB_DREG);
    const result = neededU32(attributes, Nft.NFTA_FIB_RESULT);
    const flags = neededU32(attributes, Nft.NFTA_FIB_FLAGS);
    if (flags === 0 || (flags & ~FIB_ALL) !== 0) refuse(EINVAL);
    const both = Nft.NFTA_FIB_F_SADDR | Nft.NFTA_FIB_F_DADDR;
    if ((flags & both) === both || (flags & both) === 0) refuse(EINVAL);
    const devices = Nft.NFTA_FIB_F_IIF | Nft.NFTA_FIB_F_OIF;
    if ((flags & devices) === devices) refuse(EINVAL);
    let length = 4;
    if (result === Nft.NFT_FIB_RESULT_OIF || result === Nft.NFT_FIB_RESULT_OIFNAME) {
      if ((flags & Nft.NFTA_FIB_F_OIF) !== 0) refuse(EINVAL);
      if (result === Nft.NFT_FIB_RESULT_OIFNAME) length = IFNAMSIZ;
    } else if (result !== Nft.NFT_FIB_RESULT_ADDRTYPE) refuse(EINVAL);
    if ((flags & Nft.NFTA_FIB_F_PRESENT) !== 0) {
      if (result !== Nft.NFT_FIB_RESULT_OIF) refuse(EINVAL);
      length = 1;
    }
    return { values: { target: target(context, attributes!.u32be(Nft.NFTA_FIB_DREG)!, length), result, flags } };
  },
  write: ({ values }, writer) => writeRows(FIB, given(values), writer),
  allows({ values }, { hook, family }) {
    if (family === NETDEV) return hook === 0;
    const flags = values.flags as number;
    const early = [PREROUTING, INPUT, FORWARD];
    if (values.result !== Nft.NFT_FIB_RESULT_ADDRTYPE) return early.includes(hook);
    if ((flags & Nft.NFTA_FIB_F_IIF) !== 0) return early.includes(hook);
    if ((flags & Nft.NFTA_FIB_F_OIF) !== 0) return [OUTPUT, POSTROUTING, FORWARD].includes(hook);
    return hook <= POSTROUTING;
  },
  run: evaluate,
};

/** The routing table as rules ask it (nft_fib4_eval). */
function evaluate(expression: Expression, run: Run): Outcome {
  const { packet } = run;
  const flags = numberOf(expression, 'flags');
  const result = numberOf(expression, 'result');
  const address = (flags & Nft.NFTA_FIB_F_SADDR) !== 0 ? sourceOf(packet) : destinationOf(packet);
  const word = numberOf(expression, 'target');
  const type = typeOfAddress(run.namespace, address);
  if (result === Nft.NFT_FIB_RESULT_ADDRTYPE) {
    storeNumber(run, word, RTN[type]);
    return undefined;
  }
  const link = type === 'local' ? undefined : route(run.namespace, address);
  if ((flags & Nft.NFTA_FIB_F_PRESENT) !== 0) storeNumber(run, word, link === undefined ? 0 : 1);
  else if (result === Nft.NFT_FIB_RESULT_OIF) storeNumber(run, word, link?.index ?? 0);
  else store(run, word, nameBytes(link?.name ?? ''));
  return undefined;
}
