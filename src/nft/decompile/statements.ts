import type { Expression } from '../../nf_tables/expression.ts';
import type { AddressFamily } from '../json.ts';
import type { SetShape } from './sets.ts';
import { type Node, Undecompilable } from './tree.ts';

/** The statements of a rule, before they are put into words. Those of a state of their own stand in sets and their elements too. */
export type FlowStatement =
  | { kind: 'match'; node: Node }
  | { kind: 'verdict'; node: Node }
  | { kind: 'set-payload'; target: Node; value: Node }
  | { kind: 'set-extension'; target: Node; value: Node }
  | { kind: 'reset-option'; target: Node }
  | { kind: 'set-meta'; key: string; value: Node }
  | { kind: 'set-ct'; key: string; direction: 'original' | 'reply' | undefined; value: Node }
  | { kind: 'counter'; packets: bigint; bytes: bigint }
  | { kind: 'limit'; rate: bigint; unit: bigint; burst: number; bytes: boolean; inverted: boolean }
  | { kind: 'quota'; bytes: bigint; used: bigint; inverted: boolean }
  | { kind: 'last'; seen: boolean; milliseconds: bigint }
  | { kind: 'connlimit'; count: number; inverted: boolean }
  | {
      kind: 'log';
      prefix: string | undefined;
      group: number | undefined;
      snaplen: number | undefined;
      threshold: number | undefined;
      level: string | undefined;
      flags: string[];
    }
  | NatStatement
  | RejectStatement
  | { kind: 'queue'; number: Node; flags: string[] }
  | {
      kind: 'tproxy';
      family: AddressFamily | undefined;
      address: Node | undefined;
      port: Node | undefined;
    }
  | { kind: 'synproxy'; mss: number; wscale: number; flags: string[] }
  | { kind: 'notrack' }
  | { kind: 'dup'; to: Node | undefined; device: Node | undefined }
  | { kind: 'fwd'; device: Node; address: Node | undefined; family: AddressFamily | undefined }
  | { kind: 'set-update'; op: string; set: SetShape; key: Node; statements: FlowStatement[] }
  | { kind: 'map-update'; op: string; set: SetShape; key: Node; data: Node; statements: FlowStatement[] }
  | { kind: 'meter'; set: SetShape; key: Node; size: number; statement: FlowStatement }
  | { kind: 'object'; type: string; reference: Node }
  | { kind: 'flow'; flowtable: string }
  | { kind: 'xt'; type: 'match' | 'target' | 'watcher'; name: string };

export interface NatStatement {
  kind: 'nat';
  type: 'snat' | 'dnat' | 'masquerade' | 'redirect';
  family: AddressFamily | undefined;
  address: Node | undefined;
  port: Node | undefined;
  flags: string[];
  /** The address is a prefix that is mapped one to one. */
  prefix: boolean;
}

export interface RejectStatement {
  kind: 'reject';
  type: 'icmp-unreachable' | 'tcp-reset' | 'icmpx-unreachable';
  code: Node;
  family: AddressFamily | undefined;
  /** The code is shown even where it is the default. */
  verbose: boolean;
}

/** Expressions with a state of their own. */
export type Stateful = Extract<
  Expression,
  { counter: unknown } | { limit: unknown } | { quota: unknown } | { last: unknown } | { connlimit: unknown }
>;

const isInverted = (flags: readonly (string | number)[] | undefined): boolean => {
  for (const flag of flags ?? [])
    if (flag !== 'invert' && flag !== 'depleted') throw new Undecompilable(`the flag ${flag}`);
  return flags?.includes('invert') ?? false;
};

export function stateful(expression: Stateful): FlowStatement {
  if ('counter' in expression) {
    const { packets = 0n, bytes = 0n } = expression.counter;
    return { kind: 'counter', packets, bytes };
  }
  if ('limit' in expression) {
    const { rate, unitSeconds: unit, burst = 0, type, flags } = expression.limit;
    if (typeof type === 'number') throw new Undecompilable(`a limit of ${type}`);
    return { kind: 'limit', rate, unit, burst, bytes: type === 'bytes', inverted: isInverted(flags) };
  }
  if ('quota' in expression) {
    const { bytes = 0n, consumed: used = 0n, flags } = expression.quota;
    return { kind: 'quota', bytes, used, inverted: isInverted(flags) };
  }
  if ('last' in expression) {
    const { seen = 0, milliseconds = 0n } = expression.last;
    return { kind: 'last', seen: seen !== 0, milliseconds };
  }
  if ('connlimit' in expression) {
    const { count, flags } = expression.connlimit;
    return { kind: 'connlimit', count, inverted: isInverted(flags) };
  }
  throw new Undecompilable(`the expression ${Object.keys(expression)[0]} where it has no words`);
}

/** An expression that stands in a set, in one of its elements, or in a change of one. */
export function statementOf(expression: Expression): FlowStatement {
  return stateful(expression as Stateful);
}
