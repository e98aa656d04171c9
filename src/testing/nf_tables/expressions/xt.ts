import { NF_DROP } from '../../../linux/netfilter.ts';
import { EINVAL, refuse } from '../../refusal.ts';
import { needed } from '../context.ts';
import type { Expression } from '../state.ts';
import { bytesOf, type ExpressionType } from './type.ts';
import { XT_MATCHES } from './xt-matches.ts';
import { XT_TARGETS } from './xt-targets.ts';

/* nf_tables_compat.h: NFTA_MATCH_* and NFTA_TARGET_* have the same numbers. */
const NAME = 1;
const REVISION = 2;
export const INFO = 3;

/** Hooks in which an extension may be, where not in all (xt_check_match, xt_check_target). */
const HOOKS: Readonly<Record<string, readonly number[]>> = {
  CLASSIFY: [2, 3, 4],
  DNAT: [0, 3],
  MASQUERADE: [4],
  NETMAP: [0, 1, 3, 4],
  REDIRECT: [0, 3],
  REJECT: [1, 2, 3],
  SNAT: [1, 4],
  mac: [0, 1, 2],
  owner: [3, 4],
};

const CLAMP_TO_PMTU = 0xffff;
const LIMIT_IN = 4;
const LIMIT_OUT = 8;
/** Hooks in which a setting makes no sense: packets have no such device or route there (tcpmss_tg4_check, addrtype_mt_checkentry_v1). */
const SETTINGS: Readonly<Record<string, (info: DataView, hook: number) => boolean>> = {
  TCPMSS: (info, hook) => info.byteLength < 2 || info.getUint16(0, true) !== CLAMP_TO_PMTU || hook >= 2,
  addrtype: (info, hook) => {
    const flags = info.byteLength < 8 ? 0 : info.getUint32(4, true);
    return ((flags & LIMIT_OUT) === 0 || hook >= 2) && ((flags & LIMIT_IN) === 0 || hook <= 2);
  },
};

const viewOf = (info: Uint8Array): DataView => new DataView(info.buffer, info.byteOffset, info.length);

/** A match or target, whose structure is kept as it is. */
const extension = (run: ExpressionType['run']): ExpressionType => ({
  read(attributes, { chain, work }) {
    for (const attribute of [NAME, REVISION, INFO]) needed(attributes, attribute);
    const revision = attributes!.u32be(REVISION);
    const info = attributes!.get(INFO)!.bytes.slice();
    if (revision === undefined) return refuse(EINVAL);
    const name = attributes!.text(NAME)!;
    const hook = chain?.base?.hook;
    if (hook !== undefined && HOOKS[name]?.includes(hook) === false) refuse(EINVAL);
    if (hook !== undefined && SETTINGS[name]?.(viewOf(info), hook) === false) refuse(EINVAL);
    // It switches the counting on, for the whole namespace.
    if (name === 'connbytes') work.namespace.sysctls.set('net/netfilter/nf_conntrack_acct', '1');
    return { values: { extension: name, revision, info }, state: {} };
  },
  write({ values }, writer) {
    writer.text(NAME, values.extension as string);
    writer.u32be(REVISION, values.revision as number);
    writer.attribute(INFO, values.info as Uint8Array);
  },
  run,
});

const nameOf = ({ values }: Expression): string => `${values.extension as string} ${values.revision as number}`;

const match = extension((expression, run) => {
  const matches = XT_MATCHES[nameOf(expression)];
  if (matches === undefined) return run.engine.notModelled(`the match ${nameOf(expression)} of xtables`);
  const outcome = matches(viewOf(bytesOf(expression, 'info')), run, expression.state ?? {});
  if (outcome === 'drop') return { code: NF_DROP };
  return outcome ? undefined : 'break';
});

const target = extension((expression, run) => {
  const act = XT_TARGETS[nameOf(expression)];
  if (act === undefined) return run.engine.notModelled(`the target ${nameOf(expression)} of xtables`);
  return act(viewOf(bytesOf(expression, 'info')), run);
});

export const XT: Record<string, ExpressionType> = { match, target };
