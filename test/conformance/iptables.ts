import { parseArguments } from '../../src/iptables/arguments.ts';
import { compileRule } from '../../src/iptables/compile.ts';
import { decompileRule, type ListedRule } from '../../src/iptables/decompile.ts';
import { formatRule } from '../../src/iptables/format-rule.ts';
import {
  formatIptables,
  Iptables,
  type IptablesFamily,
  type IptablesRule,
  parseIptables,
} from '../../src/iptables/index.ts';
import { splitWords } from '../../src/iptables/words.ts';
import { NetNs } from '../../src/netns/index.ts';
import { Names } from '../../src/nft/names.ts';
import { decodeMessage, encodeMessage, Nftables, Transaction } from '../../src/nftables/index.ts';
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

/** A text of iptables-save, and what it left. */
interface FileCase {
  name: string;
  cmd: string;
  options?: string[];
  before?: string;
  text: string;
  save: string;
  saveCounters: string;
  sent: string[];
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
  for (const file of filesLike(/^iptables-files\.jsonl\.gz$/)) outcomes.push(...filesOf(file));
  return outcomes;
}

function filesOf(file: string): Outcome[] {
  const cases = readLines<FileCase>(file);
  const nameOf = ({ name }: FileCase) => name;
  const place = NetNs.create();
  const nft = Nftables.open({ netns: place });
  const empty = new Transaction().flush({ ruleset: {} });
  try {
    return [
      tryAll('iptables restore', file, cases, nameOf, one => {
        nft.sync.commit(empty);
        return restored(one, place, nft);
      }),
      tryAll('iptables text', file, cases, nameOf, printed),
    ];
  } finally {
    nft.close();
    place.close();
  }
}

/** Restores the text, and compares what is saved with what iptables has saved. */
function restored(one: FileCase, netns: NetNs, nft: Nftables): string | undefined {
  const family = familyOf(one.cmd);
  const { options = [] } = one;
  const ipt = Iptables.open({ netns, family });
  try {
    if (one.before !== undefined) ipt.sync.restore(one.before);
    const table = options[options.findIndex(each => each === '-T' || each === '--table') + 1];
    ipt.sync.restore(one.text, {
      flush: !options.some(each => each === '--noflush' || each === '-n'),
      counters: options.some(each => each === '--counters' || each === '-c'),
      test: options.some(each => each === '--test' || each === '-t'),
      ...(options.some(each => each === '-T' || each === '--table') && { table: table as 'nat' }),
    });
    const listing = one.before === undefined && one.options === undefined ? sentAs(one, nft, family) : undefined;
    return (
      firstDifference(one.save, ipt.sync.save()) ??
      firstDifference(one.saveCounters, ipt.sync.save({ counters: true })) ??
      listing
    );
  } finally {
    ipt.close();
  }
}

/** The rules of the kernel, against those of the messages that were sent. */
function sentAs(one: FileCase, nft: Nftables, family: IptablesFamily): string | undefined {
  const byChain = (rules: readonly { table: string; chain: string; expressions: unknown }[]) =>
    rules
      .map(({ table, chain, expressions }) => `${table} ${chain} ${json(expressions)}`)
      // Of one chain in their order.
      .map((text, i, all) => [text.split(' ', 2).join(' '), i, all[i]!] as const)
      .sort(([a, i], [b, j]) => (a === b ? i - j : a < b ? -1 : 1))
      .map(([, , text]) => text)
      .join('\n');
  const sent = one.sent
    .flatMap(messagesOf)
    .filter(isRule)
    .map(message => decodeMessage(message).object as never);
  return firstDifference(byChain(sent), byChain(nft.sync.rules({ family: family === 'ipv4' ? 'ip' : 'ip6' })));
}

/** The kernel says the usual operation of bitwise, and numbers registers of 16 bytes by those. */
const json = (value: unknown): string =>
  JSON.stringify(value, (_, each) => (typeof each === 'bigint' ? String(each) : sorted(each)))
    .replaceAll('"op":"mask-xor",', '')
    .replace(/"(r|sourceR)egister":9/g, '"$1egister":1');
/** Keys in one order: recordings differ from dumps in that of attributes. */
const sorted = (value: unknown): unknown =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
    : value;

/** What was saved, read and written again. */
function printed({ save, saveCounters, cmd }: FileCase): string | undefined {
  const family = familyOf(cmd);
  return (
    firstDifference(save, formatIptables(parseIptables(save, { family }))) ??
    firstDifference(save, formatIptables(parseIptables(save))) ??
    firstDifference(saveCounters, formatIptables(parseIptables(saveCounters, { family }), { counters: true }))
  );
}

function firstDifference(expected: string, actual: string): string | undefined {
  if (expected === actual) return undefined;
  const [wanted, found] = [expected.split('\n'), actual.split('\n')];
  const at = wanted.findIndex((line, i) => line !== found[i]);
  return `recorded ${wanted[at]}\n    is       ${found[at < 0 ? wanted.length : at]}`;
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
