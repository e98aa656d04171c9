import { NF_ACCEPT, NF_DROP, NF_QUEUE, NF_STOLEN } from '../../linux/netfilter.ts';
import { NFT_BREAK, NFT_CONTINUE, NFT_GOTO, NFT_JUMP, NFT_RETURN } from '../../linux/nf_tables.ts';
import type { Namespace } from '../machine/state.ts';
import { EXPRESSIONS } from '../nf_tables/expressions/index.ts';
import type { Engine, HookPoint, PacketPath, Run } from '../nf_tables/expressions/type.ts';
import type { Chain, Rule, Verdict } from '../nf_tables/state.ts';
import { type Packet, parse } from './packet.ts';
import type { Traced, TraceKind } from './trace.ts';

const REGISTERS = 80;
/** Families whose chains see packets that nobody has looked at. */
const NETDEV = 5;
const BRIDGE = 7;

/** A rule that matched, or the end of a chain. */
export interface Step {
  /** NFPROTO of the table. */
  readonly family: number;
  readonly table: string;
  readonly chain: string;
  /** The handle; undefined for a chain's policy. */
  readonly rule: number | undefined;
  /** 'accept', 'drop', 'continue', 'jump other' and the like. */
  readonly verdict: string;
}

/** A packet's path as its chains see it. */
export interface ChainPath extends PacketPath {
  readonly engine: Engine;
  readonly namespace: Namespace;
  /** Where rules leave their traces. */
  readonly steps: Step[];
  /** Whether somebody listens to traces. */
  readonly isTraced: boolean;
  /** Tells those that listen to traces. */
  trace(traced: Traced, kind: TraceKind, chain: Chain, rule: Rule | undefined, verdict: Verdict): void;
}

const NAMES: Record<number, string> = {
  [NF_DROP]: 'drop',
  [NF_ACCEPT]: 'accept',
  [NF_STOLEN]: 'stolen',
  [NF_QUEUE]: 'queue',
  [NFT_CONTINUE]: 'continue',
  [NFT_JUMP]: 'jump',
  [NFT_GOTO]: 'goto',
  [NFT_RETURN]: 'return',
};
const CONTINUES: Verdict = { code: NFT_CONTINUE };

/** Lets a packet through a base chain (nft_do_chain). @returns NF_ACCEPT, NF_DROP, NF_STOLEN or NF_QUEUE */
export function runChain(path: ChainPath, base: Chain, packet: Packet, point: HookPoint): number {
  parse(packet, point.family === NETDEV || point.family === BRIDGE);
  const registers = new Uint8Array(REGISTERS);
  const run: { -readonly [Key in keyof Run]: Run[Key] } = {
    engine: path.engine,
    namespace: path.namespace,
    path,
    packet,
    point,
    chain: base,
    rule: undefined,
    registers,
    view: new DataView(registers.buffer),
  };
  const traced: Traced | undefined = path.isTraced ? { base, packet, family: point.family, isTold: false } : undefined;
  const tell = (kind: TraceKind, rule: Rule | undefined, verdict: Verdict) => {
    if (traced !== undefined && packet.trace) path.trace(traced, kind, chain, rule, verdict);
  };
  const step = (rule: Rule | undefined, { code, chain: target }: Verdict) =>
    path.steps.push({
      family: chain.table.family,
      table: chain.table.name,
      chain: chain.name,
      rule: rule?.handle,
      verdict: target === undefined ? NAMES[code]! : `${NAMES[code]} ${target.name}`,
    });
  const stack: { chain: Chain; next: number }[] = [];
  let chain = base;
  let next = 0;
  for (;;) {
    const rule = chain.rules[next++];
    let isReturning = rule === undefined;
    if (rule === undefined) tell('return', undefined, CONTINUES);
    else {
      run.chain = chain;
      run.rule = rule;
      const verdict = verdictOf(rule, run);
      if (verdict === 'break') continue;
      const { code, chain: target } = verdict;
      step(rule, verdict);
      tell(code === NFT_RETURN ? 'return' : 'rule', rule, verdict);
      if (code >= NF_DROP) return code;
      if (code === NFT_JUMP) stack.push({ chain, next });
      if (target !== undefined) {
        chain = target;
        next = 0;
      }
      isReturning = code === NFT_RETURN;
    }
    if (!isReturning) continue;
    const back = stack.pop();
    if (back === undefined) break;
    ({ chain, next } = back);
  }
  const { policy, counters } = base.base!;
  const verdict = { code: policy };
  chain = base;
  tell('policy', undefined, verdict);
  step(undefined, verdict);
  if (counters !== undefined) {
    counters.packets++;
    counters.bytes += BigInt(packet.bytes.length);
  }
  return policy;
}

/** The verdict of a rule; 'break' where it does not match. */
function verdictOf(rule: Rule, run: Run): 'break' | Verdict {
  for (const expression of rule.expressions) {
    const outcome = EXPRESSIONS.get(expression.name)!.run(expression, run);
    if (outcome === undefined) continue;
    if (outcome === 'break' || outcome.code === NFT_BREAK) return 'break';
    if (outcome.code !== NFT_CONTINUE) return outcome;
  }
  return CONTINUES;
}
