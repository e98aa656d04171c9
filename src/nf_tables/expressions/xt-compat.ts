import * as C from '../../linux/netfilter.ts';
import { NFT_RULE_COMPAT_F_INV } from '../../linux/nf_tables.ts';
import type { Expression } from '../expression.ts';

/** The protocol of a rule, as the kernel tells it to an xt match or target in it, and whether it is inverted. */
export interface Compat {
  protocol: number;
  flags: number;
}

/** Where the header of each family has the number of the protocol that it carries. */
const PROTOCOL_FIELDS: Readonly<Record<number, { base: string; offset: number; length: number }>> = {
  [C.NFPROTO_IPV4]: { base: 'network', offset: 9, length: 1 },
  [C.NFPROTO_IPV6]: { base: 'network', offset: 6, length: 1 },
  [C.NFPROTO_BRIDGE]: { base: 'link', offset: 12, length: 2 },
};

/**
 * NFTA_RULE_COMPAT of a rule with xt expressions, from the rule's own comparison of the protocol. Many of them refuse a rule without it
 * (`-m tcp` wants `-p tcp`), and the kernel never says it again: a rule that was read lacks it. Undefined for rules without xt expressions.
 */
export function compatOf(expressions: readonly Expression[], family: number): Compat | undefined {
  if (!expressions.some(isExtension)) return undefined;
  let found: Compat | undefined;
  /** Registers that hold the protocol. */
  const loaded = new Set<number>();
  for (const expression of expressions.filter(one => typeof one === 'object' && one !== null)) {
    if ('meta' in expression || 'payload' in expression) {
      const { register } = ('meta' in expression ? expression.meta : expression.payload) as { register?: number };
      if (register === undefined) continue;
      if (isProtocol(expression, family)) loaded.add(register);
      else loaded.delete(register);
    } else if ('cmp' in expression) {
      const { register, op, data } = expression.cmp;
      if (found !== undefined || !loaded.has(register) || typeof data !== 'string') continue;
      if (op === 'eq' || op === 'neq') {
        found = { protocol: protocolOf(data), flags: op === 'neq' ? NFT_RULE_COMPAT_F_INV : 0 };
      }
    }
  }
  return found ?? { protocol: 0, flags: 0 };
}

/** Tolerant: what the expressions are has not been checked yet. */
function isExtension(expression: unknown): boolean {
  return typeof expression === 'object' && expression !== null && ('match' in expression || 'target' in expression);
}

function isProtocol(expression: Expression, family: number): boolean {
  if ('meta' in expression) return expression.meta.key === (family === C.NFPROTO_BRIDGE ? 'protocol' : 'l4proto');
  if (!('payload' in expression)) return false;
  const field = PROTOCOL_FIELDS[family];
  const { base, offset, length } = expression.payload;
  return field !== undefined && base === field.base && offset === field.offset && length === field.length;
}

/** A byte; of bridges an Ethernet type, whose bytes the kernel takes as a number of this machine's byte order. */
function protocolOf(data: string): number {
  const bytes = Uint8Array.from(data.match(/../g) ?? [], byte => Number.parseInt(byte, 16));
  return bytes.length === 2 ? new Uint16Array(bytes.buffer)[0]! : (bytes[0] ?? 0);
}

/** The rule with the NFTA_RULE_COMPAT that its xt expressions need, unless it has one. */
export function withCompat(rule: Record<string, unknown>, family: number): Record<string, unknown> {
  if (rule.compat !== undefined || !Array.isArray(rule.expressions)) return rule;
  const compat = compatOf(rule.expressions as Expression[], family);
  return compat === undefined ? rule : { ...rule, compat };
}
