import { parseIPv4, parseIPv6, toHex } from '../codec/index.ts';
import type { Expression } from '../nf_tables/expression.ts';
import type { Info } from '../nf_tables/xt/layout.ts';
import type { ExtensionRow, Surroundings } from './extension.ts';
import type { IptablesAddress, IptablesExtension, IptablesInterface, IptablesRule } from './model.ts';
import { compare } from './native.ts';
import { findMatch, findTarget } from './registry.ts';

/* A rule as the expressions that iptables-nft 1.8.9 sends for it, in its order. */

/** A rule as the kernel has it, and the protocol that its extensions are told. */
export interface CompiledRule {
  expressions: Expression[];
  compat: { protocol: number; flags: number };
}

const INVERTED = 2;
const verdict = (data: { verdict: string; chain?: string }): Expression =>
  ({ immediate: { register: 0, data } }) as Expression;
/** What most rules have in common is one object for all of them. */
const VERDICTS = {
  ACCEPT: verdict({ verdict: 'accept' }),
  DROP: verdict({ verdict: 'drop' }),
  RETURN: verdict({ verdict: 'return' }),
};
const LOAD_PROTOCOL: Expression = { meta: { key: 'l4proto', register: 1 } };
const COUNTER: Expression = { counter: { bytes: 0n, packets: 0n } };
/** Where the addresses stand in the header of a packet. */
const ADDRESSES = {
  ipv4: { source: 12, destination: 16 },
  ipv6: { source: 8, destination: 24 },
} as const;

/** Compiles a rule. */
export function compileRule(rule: IptablesRule, surroundings: Pick<Surroundings, 'family' | 'names'>): CompiledRule {
  const { protocol, target, fragment, counters } = rule;
  const at: Surroundings = {
    ...surroundings,
    protocol: protocol?.number ?? 0,
    protocolInverted: protocol?.invert === true,
    table: rule.table,
    chain: rule.chain,
  };
  const list: Expression[] = [];
  if (rule.inInterface !== undefined) addInterface(list, 'iifname', rule.inInterface);
  if (rule.outInterface !== undefined) addInterface(list, 'oifname', rule.outInterface);
  if (protocol !== undefined) {
    list.push(LOAD_PROTOCOL);
    list.push(compare(protocol.number.toString(16).padStart(2, '0'), protocol.invert));
  }
  const offsets = ADDRESSES[at.family];
  if (rule.source !== undefined) addAddress(list, offsets.source, rule.source);
  if (rule.destination !== undefined) addAddress(list, offsets.destination, rule.destination);
  if (fragment !== undefined) {
    list.push({ payload: { register: 1, base: 'network', offset: 6, length: 2 } });
    list.push({ bitwise: { sourceRegister: 1, register: 1, length: 2, mask: '1fff', xor: '0000' } } as Expression);
    list.push(compare('0000', fragment.invert ? undefined : true));
  }
  for (const match of rule.matches) {
    const native = nativeOf(findMatch(match.name, at.family), match, at);
    if (native === undefined) list.push({ match } as Expression);
    else for (const expression of native) list.push(expression);
  }
  list.push(counters === undefined ? COUNTER : { counter: { bytes: counters.bytes, packets: counters.packets } });
  if (target !== undefined) {
    if ('verdict' in target) list.push(VERDICTS[target.verdict]);
    else if ('jump' in target) list.push(verdict({ verdict: 'jump', chain: target.jump }));
    else if ('goto' in target) list.push(verdict({ verdict: 'goto', chain: target.goto }));
    else {
      const native = nativeOf(findTarget(target.name, at.family), target, at);
      if (native === undefined) list.push({ target } as Expression);
      else for (const expression of native) list.push(expression);
    }
  }
  return { expressions: list, compat: { protocol: at.protocol, flags: at.protocolInverted ? INVERTED : 0 } };
}

function nativeOf(
  row: ExtensionRow | undefined,
  { revision, info }: IptablesExtension,
  at: Surroundings,
): Expression[] | undefined {
  if (row?.native === undefined || row.revision !== revision || typeof info === 'string') return undefined;
  return row.native(info as Info, at);
}

/** A name that no interface has. */
const NO_INTERFACE = toHex(Buffer.from('INVAL/D\0'));

function addInterface(list: Expression[], key: 'iifname' | 'oifname', { name, invert }: IptablesInterface): void {
  list.push({ meta: { key, register: 1 } });
  if (name === '+') {
    if (invert) list.push(compare(NO_INTERFACE));
    return;
  }
  const wildcard = name.endsWith('+');
  list.push(compare(toHex(Buffer.from(wildcard ? name.slice(0, -1) : `${name}\0`)), invert));
}

function addAddress(list: Expression[], offset: number, { address, mask, invert }: IptablesAddress): void {
  const bytes = parseIPv4(address) ?? parseIPv6(address)!;
  const bits = mask === undefined ? undefined : (parseIPv4(mask) ?? parseIPv6(mask)!);
  let { length } = bytes;
  if (bits !== undefined) {
    const whole = wholeBytes(bits);
    if (whole === undefined) {
      list.push({ payload: { register: 1, base: 'network', offset, length } });
      const xor = '00'.repeat(length);
      list.push({ bitwise: { sourceRegister: 1, register: 1, length, mask: toHex(bits), xor } } as Expression);
      list.push(compare(toHex(bytes), invert));
      return;
    }
    length = whole;
  }
  list.push({ payload: { register: 1, base: 'network', offset, length } });
  list.push(compare(toHex(bytes, 0, length), invert));
}

/** The number of bytes in front that are all ones, if all others are zero. */
function wholeBytes(mask: Uint8Array): number | undefined {
  let count = 0;
  while (count < mask.length && mask[count] === 0xff) count++;
  for (let i = count; i < mask.length; i++) if (mask[i] !== 0) return undefined;
  return count;
}
