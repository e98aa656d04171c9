import { parseArguments } from '../../src/iptables/arguments.ts';
import { compileRule } from '../../src/iptables/compile.ts';
import { decompileRule, type ListedRule } from '../../src/iptables/decompile.ts';
import { formatRule } from '../../src/iptables/format-rule.ts';
import type { IptablesFamily, IptablesRule } from '../../src/iptables/model.ts';
import { splitWords } from '../../src/iptables/words.ts';
import { Names } from '../../src/nft/names.ts';
import { decodeMessage, encodeMessage } from '../../src/nftables/index.ts';
import { filesLike, type Outcome, readLines, tryAll } from './corpus.ts';
import { differenceOf } from './tree.ts';

/** One command of iptables-nft, and what it did. */
interface RuleCase {
  t: string;
  line: number;
  cmd: string;
  table: string;
  chain: string;
  args: string;
  sent: string[];
  dump: string[];
  S?: string[];
}

const names = new Names();

/** Each recorded command gives the recorded rules, and each recorded rule is printed as iptables prints it. */
export function iptables(): Outcome[] {
  const outcomes: Outcome[] = [];
  for (const file of filesLike(/^iptables-nft-.*-rules\.jsonl\.gz$/)) {
    const cases = readLines<RuleCase>(file);
    const nameOf = ({ t, line, cmd, args }: RuleCase) => `${t}:${line} ${cmd} ${args}`;
    outcomes.push(tryAll('iptables compile', file, cases, nameOf, compiled));
    outcomes.push(tryAll('iptables format', file, cases, nameOf, formatted));
  }
  return outcomes;
}

const familyOf = (cmd: string): IptablesFamily => (cmd.startsWith('ip6') ? 'ipv6' : 'ipv4');

function rulesOf(one: RuleCase): IptablesRule[] {
  const words = ['-t', one.table, '-A', one.chain, ...splitWords(one.args)];
  return parseArguments(words, { family: familyOf(one.cmd), names }).rules;
}

function compiled(one: RuleCase): string | undefined {
  const family = familyOf(one.cmd);
  const made = rulesOf(one).map(rule => {
    const { expressions, compat } = compileRule(rule, { family, names });
    return encodeMessage({
      type: 'newrule',
      family: family === 'ipv4' ? 'ip' : 'ip6',
      object: { table: rule.table, chain: rule.chain, expressions, compat },
    } as Parameters<typeof encodeMessage>[0]);
  });
  const sent = one.sent.flatMap(batch => messagesOf(batch)).filter(message => isRule(message));
  return sameRules(made, sent);
}

/** Compares messages as trees of attributes. */
function sameRules(made: readonly Uint8Array[], sent: readonly Uint8Array[]): string | undefined {
  if (made.length !== sent.length) return `${made.length} rules, recorded ${sent.length}`;
  for (const [i, message] of made.entries()) {
    if (differenceOf(sent[i]!.subarray(BODY), message.subarray(BODY)) !== undefined)
      return `made ${decoded(message)}\n    sent ${decoded(sent[i]!)}`;
  }
  return undefined;
}

const decoded = (message: Uint8Array): string =>
  JSON.stringify(decodeMessage(message).object, (_, value) => (typeof value === 'bigint' ? String(value) : value));

function formatted(one: RuleCase): string | undefined {
  if (one.S === undefined) return undefined;
  const family = familyOf(one.cmd);
  const lines = one.dump
    .flatMap(batch => messagesOf(batch))
    .filter(isRule)
    .map(message => {
      const { object } = decodeMessage(message) as unknown as { object: ListedRule };
      const rule = decompileRule(object, family);
      return rule === undefined ? `no rule of iptables: ${decoded(message)}` : formatRule(rule, { family, names });
    });
  return lines.join('\n') === one.S.join('\n') ? undefined : `${lines.join('\n')}\n    recorded ${one.S.join('\n')}`;
}

function isRule(message: Uint8Array): boolean {
  const view = new DataView(message.buffer, message.byteOffset);
  return view.getUint16(4, true) === NEW_RULE;
}
const NEW_RULE = 0x0a06;
/** The headers of netlink and nfnetlink. */
const BODY = 20;

function messagesOf(batch: string): Uint8Array[] {
  const bytes = Uint8Array.from(Buffer.from(batch, 'hex'));
  const view = new DataView(bytes.buffer);
  const list: Uint8Array[] = [];
  for (let at = 0; at + 16 <= bytes.length; ) {
    const length = view.getUint32(at, true);
    list.push(bytes.slice(at, at + length));
    at += (length + 3) & ~3;
  }
  return list;
}
