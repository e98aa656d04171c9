import { NFTA_EXPR_DATA, NFTA_EXPR_NAME } from '../../../linux/nf_tables.ts';
import { hasModule, type Release } from '../../machine/state.ts';
import { EINVAL, ENOENT, refuse } from '../../refusal.ts';
import { type Attributes, type Writer, wholeTextOf } from '../../wire/attributes.ts';
import type { Codec, Parsed, RuleContext } from '../context.ts';
import { EXPRESSION, EXPRESSION_DATA } from '../policies.ts';
import { check, parsed, silently } from '../policy.ts';
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
import { SELECT } from './select.ts';
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
export const MODULES: Readonly<Record<string, string>> = {
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
/** Kinds that only tables of some families have. */
const FAMILIES: Readonly<Record<string, readonly number[]>> = {
  dup: [2, 5, 10],
  fib: [1, 2, 5, 10],
  fwd: [5],
  masq: [1, 2, 10],
  redir: [1, 2, 10],
  reject: [1, 2, 5, 7, 10],
  tunnel: [5],
};
const BRIDGE = 7;
/** In tables of bridges they are modules of their own. */
export const OF_BRIDGES: Readonly<Record<string, string>> = { reject: 'nft_reject_bridge' };

/** Whether the kernel has a kind of expression for tables of a family. */
function isKnown(name: string, family: number, release: Release): boolean {
  if (!EXPRESSIONS.has(name) || FAMILIES[name]?.includes(family) === false) return false;
  const module = family === BRIDGE ? (OF_BRIDGES[name] ?? MODULES[name]) : MODULES[name];
  return module === undefined || hasModule(release, module);
}

export function parseExpression(attributes: Attributes, context: RuleContext): Parsed {
  silently(() => check(attributes, EXPRESSION));
  const named = attributes.get(NFTA_EXPR_NAME);
  if (named === undefined) return refuse(EINVAL);
  const name = wholeTextOf(named.bytes);
  if (!isKnown(name, context.table.family, context.work.engine.release)) return refuse(ENOENT);
  const data = parsed(attributes, NFTA_EXPR_DATA, EXPRESSION_DATA[name]);
  SELECT[name]?.(data, context);
  return { name, data };
}

export function initExpression({ name, data }: Parsed, context: RuleContext): Expression {
  return { name, ...EXPRESSIONS.get(name)!.read(data, context) };
}

export function writeExpression(expression: Expression, writer: Writer, engine: Codec): void {
  writer.text(NFTA_EXPR_NAME, expression.name);
  if (expression.name === 'notrack') return;
  writer.nest(NFTA_EXPR_DATA, () => EXPRESSIONS.get(expression.name)!.write(expression, writer, engine));
}
