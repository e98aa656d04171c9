import * as Nft from '../../../linux/nf_tables.ts';
import { isSince } from '../../machine/state.ts';
import { EINVAL, ENOENT, EOPNOTSUPP, refuse } from '../../refusal.ts';
import { needed, neededU32 } from '../context.ts';
import type { ExpressionType } from './type.ts';

const SINCE = [6, 2] as const;
const FLAGS = Nft.NFT_INNER_HDRSIZE | Nft.NFT_INNER_LL | Nft.NFT_INNER_NH | Nft.NFT_INNER_TH;
const MAX_HEADER = 64;
const INSIDE = new Set(['payload', 'meta']);

/** Looks at a packet inside of a tunnel's packet (Linux 6.2). */
export const inner: ExpressionType = {
  read(attributes, context) {
    const { engine } = context.work;
    if (!isSince(engine.release, SINCE)) refuse(ENOENT);
    for (const type of [
      Nft.NFTA_INNER_FLAGS,
      Nft.NFTA_INNER_NUM,
      Nft.NFTA_INNER_HDRSIZE,
      Nft.NFTA_INNER_TYPE,
      Nft.NFTA_INNER_EXPR,
    ])
      needed(attributes, type);
    const flags = neededU32(attributes, Nft.NFTA_INNER_FLAGS);
    if ((flags & ~FLAGS) !== 0) refuse(EOPNOTSUPP);
    if (neededU32(attributes, Nft.NFTA_INNER_NUM) !== 0) refuse(EOPNOTSUPP);
    const headerSize = neededU32(attributes, Nft.NFTA_INNER_HDRSIZE);
    if (headerSize > MAX_HEADER) refuse(EOPNOTSUPP);
    const type = neededU32(attributes, Nft.NFTA_INNER_TYPE);
    if (type > 255) refuse(EINVAL);
    context.isInner = true;
    const expression = engine.read(attributes!.nested(Nft.NFTA_INNER_EXPR)!, context);
    context.isInner = false;
    if (!INSIDE.has(expression.name) || expression.values.source !== undefined) refuse(EINVAL);
    return { values: { flags, headerSize, type }, inner: [expression] };
  },
  write({ values, inner: [expression] = [] }, writer, engine) {
    writer.u32be(Nft.NFTA_INNER_NUM, 0);
    writer.u32be(Nft.NFTA_INNER_TYPE, values.type as number);
    writer.u32be(Nft.NFTA_INNER_FLAGS, values.flags as number);
    writer.u32be(Nft.NFTA_INNER_HDRSIZE, values.headerSize as number);
    writer.nest(Nft.NFTA_INNER_EXPR, () => engine.write(expression!, writer));
  },
  run: (_, { engine }) => engine.notModelled('packets inside of tunnels'),
};
