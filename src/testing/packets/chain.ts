import { NFT_BREAK, NFT_CONTINUE, NFT_GOTO, NFT_JUMP, NFT_RETURN } from '../../linux/nf_tables.ts';
import type { Namespace } from '../machine/state.ts';
import { EXPRESSIONS } from '../nf_tables/expressions/index.ts';
import {
  type Engine,
  type HookPoint,
  NF_ACCEPT,
  NF_DROP,
  NF_QUEUE,
  NF_STOLEN,
  type PacketPath,
  type Run,
} from '../nf_tables/expressions/type.ts';
import type { Chain, Rule } from '../nf_tables/state.ts';
import type { Packet } from './packet.ts';

const REGISTERS = 80;

/** A rule that matched, or the end of a chain. */
export interface Step {
  readonly family: number;
  readonly table: string;
  readonly chain: string;
  /** The handle; undefined for a chain's policy. */
  readonly rule: number | undefined;
  readonly verdict: string;
}

/** A packet's path as its chains see it. */
export interface ChainPath extends PacketPath {
  readonly engine: Engine;
  readonly namespace: Namespace;
  /** Where rules leave their traces. */
  readonly steps: Step[];
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

/** Lets a packet through a base chain (nft_do_chain). @returns NF_ACCEPT, NF_DROP, NF_STOLEN or NF_QUEUE */
export function runChain(path: ChainPath, base: Chain, packet: Packet, point: HookPoint): number {
  const registers = new Uint8Array(REGISTERS);
  const view = new DataView(registers.buffer);
  const run: { -readonly [Key in keyof Run]: Run[Key] } = {
    engine: path.engine,
    namespace: path.namespace,
    path,
    packet,
    point,
    chain: base,
    rule: undefined,
    registers,
    view,
  };
  const stack: { chain: Chain; next: number }[] = [];
  let chain = base;
  let next = 0;
  const step = (rule: Rule | undefined, code: number, target?: Chain) =>
    path.steps.push({
      family: chain.table.family,
      table: chain.table.name,
      chain: chain.name,
      rule: rule?.handle,
      verdict: target === undefined ? NAMES[code]! : `${NAMES[code]} ${target.name}`,
    });
  for (;;) {
    const rule = chain.rules[next++];
    if (rule === undefined) {
      const back = stack.pop();
      if (back === undefined) break;
      ({ chain, next } = back);
      continue;
    }
    run.chain = chain;
    run.rule = rule;
    const outcome = rulesOutcome(rule, run);
    if (outcome === 'break') continue;
    const { code, chain: target } = outcome;
    step(rule, code, target);
    if (code >= NF_DROP) return code;
    if (code === NFT_JUMP) {
      stack.push({ chain, next });
      chain = target!;
      next = 0;
    } else if (code === NFT_GOTO) {
      chain = target!;
      next = 0;
    } else if (code === NFT_RETURN) {
      const back = stack.pop();
      if (back === undefined) break;
      ({ chain, next } = back);
    }
  }
  chain = base;
  const policy = base.base!.policy;
  step(undefined, policy);
  if (base.base!.counters !== undefined) {
    base.base!.counters.packets++;
    base.base!.counters.bytes += BigInt(packet.bytes.length);
  }
  return policy;
}

const GOES_ON = { code: NFT_CONTINUE } as const;

/** The verdict of a rule; 'break' where it does not match. */
function rulesOutcome(rule: Rule, run: Run): 'break' | { code: number; chain?: Chain } {
  for (const expression of rule.expressions) {
    const outcome = EXPRESSIONS.get(expression.name)!.run(expression, run);
    if (outcome === undefined) continue;
    if (outcome === 'break' || outcome.code === NFT_BREAK) return 'break';
    if (outcome.code !== NFT_CONTINUE) return outcome;
  }
  return GOES_ON;
}
