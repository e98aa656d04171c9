import { EINVAL, refuse } from '../../refusal.ts';
import { needed } from '../context.ts';
import type { ExpressionType } from './type.ts';

/* nf_tables_compat.h: NFTA_MATCH_* and NFTA_TARGET_* have the same numbers. */
const NAME = 1;
const REVISION = 2;
const INFO = 3;

/** A match or target of xtables, whose structure is kept as it is. */
const extension = (kind: 'match' | 'target'): ExpressionType => ({
  read(attributes) {
    for (const attribute of [NAME, REVISION, INFO]) needed(attributes, attribute);
    const revision = attributes!.u32be(REVISION);
    const info = attributes!.get(INFO)!.bytes.slice();
    if (revision === undefined) return refuse(EINVAL);
    return { values: { extension: attributes!.text(NAME)!, revision, info } };
  },
  write({ values }, writer) {
    writer.text(NAME, values.extension as string);
    writer.u32be(REVISION, values.revision as number);
    writer.attribute(INFO, values.info as Uint8Array);
  },
  run: ({ values }, { engine }) => engine.notModelled(`the ${kind} ${values.extension as string} of xtables`),
});

export const XT: Record<string, ExpressionType> = { match: extension('match'), target: extension('target') };
