import { NFTA_EXPR_DATA, NFTA_EXPR_NAME } from '../../../linux/nf_tables.ts';
import { hasModule } from '../../machine/state.ts';
import { EINVAL, ENOENT, refuse } from '../../refusal.ts';
import type { Attributes, Writer } from '../../wire/attributes.ts';
import type { Codec, RuleContext } from '../context.ts';
import type { Expression } from '../state.ts';
import { ACTIONS } from './actions.ts';
import { COMPARING } from './compare.ts';
import { ct } from './ct.ts';
import { exthdr } from './exthdr.ts';
import { fib } from './fib.ts';
import { inner } from './inner.ts';
import { LOADS } from './loads.ts';
import { LOOKUPS } from './lookups.ts';
import { meta } from './meta.ts';
import { TRANSLATING } from './nat.ts';
import { payload } from './payload.ts';
import { STATEFUL } from './stateful.ts';
import type { ExpressionType } from './type.ts';
import { XT } from './xt.ts';

/** Every kind of expression that this kernel has, by the name that messages give it. */
export const EXPRESSIONS: ReadonlyMap<string, ExpressionType> = new Map(
  Object.entries({
    ...COMPARING,
    payload,
    meta,
    ct,
    fib,
    exthdr,
    ...LOADS,
    ...LOOKUPS,
    ...STATEFUL,
    ...ACTIONS,
    ...TRANSLATING,
    inner,
    ...XT,
  }),
);

/** Expressions that a module brings (nft-expr-NAME). */
const MODULES: Readonly<Record<string, string>> = {
  ct: 'nft_ct',
  connlimit: 'nft_connlimit',
  dup: 'nft_dup_ipv4',
  fib: 'nft_fib',
  flow_offload: 'nft_flow_offload',
  fwd: 'nft_fwd_netdev',
  hash: 'nft_hash',
  limit: 'nft_limit',
  log: 'nft_log',
  masq: 'nft_masq',
  match: 'nft_compat',
  nat: 'nft_nat',
  numgen: 'nft_numgen',
  osf: 'nft_osf',
  queue: 'nft_queue',
  quota: 'nft_quota',
  redir: 'nft_redir',
  reject: 'nft_reject',
  socket: 'nft_socket',
  synproxy: 'nft_synproxy',
  target: 'nft_compat',
  tproxy: 'nft_tproxy',
  tunnel: 'nft_tunnel',
  xfrm: 'nft_xfrm',
};
export const EXPRESSION_MODULES: readonly string[] = [...new Set(Object.values(MODULES))];

export function readExpression(attributes: Attributes, context: RuleContext): Expression {
  const name = attributes.text(NFTA_EXPR_NAME);
  if (name === undefined) return refuse(EINVAL);
  const type = EXPRESSIONS.get(name);
  const module = MODULES[name];
  const { release } = context.work.engine;
  if (type === undefined || (module !== undefined && !hasModule(release, module))) return refuse(ENOENT);
  return { name, ...type.read(attributes.nested(NFTA_EXPR_DATA), context) };
}

export function writeExpression(expression: Expression, writer: Writer, engine: Codec): void {
  writer.text(NFTA_EXPR_NAME, expression.name);
  if (expression.name === 'notrack') return;
  writer.nest(NFTA_EXPR_DATA, () => EXPRESSIONS.get(expression.name)!.write(expression, writer, engine));
}
