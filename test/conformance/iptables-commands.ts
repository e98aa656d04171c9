import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { align4, HOST_IS_LITTLE_ENDIAN, sourceOf } from '../../src/codec/index.ts';
import { Iptables, IptablesError } from '../../src/iptables/index.ts';
import { NLMSG_HDRLEN } from '../../src/linux/netlink.ts';
import * as C from '../../src/linux/nf_tables.ts';
import { NetNs } from '../../src/netns/index.ts';
import { decodeMessage } from '../../src/nftables/index.ts';
import { NftablesOperations } from '../../src/nftables/nftables-operations.ts';
import { CORPUS, type Outcome, readLines, tryAll } from './corpus.ts';

interface Step {
  args: string;
  exit: number;
  stdout: string;
  stderr: string;
  /** What iptables has sent, as hex. */
  sent?: string[];
}

interface CommandCase {
  name: string;
  cmd: string;
  steps: Step[];
  save: string;
  nft: string;
}

interface RefusedCase {
  source: string;
  cmd: string;
  args: string;
  setup?: string[];
  exit: number;
  stdout?: string;
  stderr: string;
  /** A text that is restored, in the place of a command. */
  text?: string;
  before?: string;
  options?: string;
}

const COMMANDS = 'iptables-commands.jsonl.gz';
const REFUSED = 'iptables-refused.jsonl.gz';

/** The name that iptables calls itself. */
const programOf = (cmd: string): string => (cmd.endsWith('restore') ? cmd : cmd.replace('-nft', ''));

const familyOf = (cmd: string) => (cmd.startsWith('ip6') ? 'ipv6' : 'ipv4');

const fromHex = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));

/** Notes what each transaction sends. */
function watchingCommits<T>(sent: Uint8Array[], act: () => T): T {
  const { commit } = NftablesOperations.prototype;
  NftablesOperations.prototype.commit = function (transaction, options) {
    sent.push(transaction.encode().bytes.slice());
    return commit.call(this, transaction, options);
  };
  try {
    return act();
  } finally {
    NftablesOperations.prototype.commit = commit;
  }
}

/** The messages of nf_tables in a batch, without its begin and end. */
function messagesOf(batch: Uint8Array): Uint8Array[] {
  const { view } = sourceOf(batch);
  const list: Uint8Array[] = [];
  for (let at = 0; at + NLMSG_HDRLEN <= batch.length; ) {
    const length = view.getUint32(at, HOST_IS_LITTLE_ENDIAN);
    if (view.getUint16(at + 4, HOST_IS_LITTLE_ENDIAN) >> 8 !== 0) list.push(batch.subarray(at, at + length));
    at += align4(length);
  }
  return list;
}

/** Commands that are sent in another form: the handle of a chain to rename is looked up, and -v flushes chain by chain. */
const OTHERWISE = /(^| )(-E|--rename-chain|-v -F) ?/;

const NAMES: Readonly<Record<number, string>> = {
  [C.NFT_MSG_NEWTABLE]: 'newtable',
  [C.NFT_MSG_NEWCHAIN]: 'newchain',
  [C.NFT_MSG_DELCHAIN]: 'delchain',
  [C.NFT_MSG_NEWRULE]: 'newrule',
  [C.NFT_MSG_DELRULE]: 'delrule',
};

/** The fields that the kernel looks at. iptables also sends what it has read: uses, counters, and the expressions of rules that it removes. */
const FIELDS: Readonly<Record<string, readonly string[]>> = {
  newtable: ['name'],
  newchain: ['table', 'name', 'hook', 'type', 'priority', 'policy'],
  delchain: ['table', 'name'],
  newrule: ['table', 'chain', 'handle', 'position', 'expressions', 'compat'],
  delrule: ['table', 'chain', 'handle'],
};

/** The messages as text. A table that was made is not made again, and of a chain the last state counts. */
function lines(messages: readonly Uint8Array[]): string[] {
  const found = new Map<string, string>();
  for (const [i, message] of messages.entries()) {
    const name = NAMES[sourceOf(message).view.getUint16(4, HOST_IS_LITTLE_ENDIAN) & 0xff] ?? 'other';
    const object = decodeMessage(message).object as unknown as Record<string, unknown>;
    const fields = (FIELDS[name] ?? []).map(key => [key, object[key]]);
    const isMade = name === 'newtable' || name === 'newchain';
    found.set(
      isMade ? `${name} ${object.table} ${object.name}` : String(i),
      `${name} ${stable(Object.fromEntries(fields))}`,
    );
  }
  return [...found.values()];
}

/** Keys in one order: the tools and this library write attributes in other orders. */
const stable = (value: unknown): string =>
  JSON.stringify(value, (_, each: unknown) => {
    if (typeof each === 'bigint') return String(each);
    if (typeof each !== 'object' || each === null || Array.isArray(each)) return each;
    return Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)));
  });

function batchDifference(args: string, is: readonly Uint8Array[], not: readonly Uint8Array[]): string | undefined {
  const [sent, recorded] = [lines(is), lines(not)];
  const at = recorded.findIndex((line, i) => line !== sent[i]);
  if (at < 0 && sent.length === recorded.length) return undefined;
  const place = at < 0 ? recorded.length : at;
  return `${args}: sends ${sent[place]}\n    not ${recorded[place]}`;
}

/** Runs something in a namespace of its own. */
function inNamespace<T>(cmd: string, act: (ipt: Iptables, netns: NetNs) => T): T {
  const netns = NetNs.create();
  try {
    const ipt = Iptables.open({ netns, family: familyOf(cmd) });
    try {
      return act(ipt, netns);
    } finally {
      ipt.close();
    }
  } finally {
    netns.close();
  }
}

/** What one command line gives. */
function outcomeOf(ipt: Iptables, cmd: string, args: string): Omit<Step, 'args' | 'sent'> {
  try {
    return { exit: 0, ...ipt.sync.run(args) };
  } catch (error) {
    if (!(error instanceof IptablesError)) throw error;
    return { exit: error.exitCode, stdout: '', stderr: error.text(programOf(cmd)) };
  }
}

function differs(what: string, is: unknown, not: unknown): string | undefined {
  return is === not ? undefined : `${what}: is ${JSON.stringify(is)}\n    not ${JSON.stringify(not)}`;
}

const inside = (netns: NetNs, program: string, ...args: string[]): string =>
  netns.run(() => execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));

const withoutComments = (text: string): string => text.replace(/^#.*\n/gm, '');

/** Command after command in one namespace: what each prints, and what iptables and nft themselves list at the end. */
export function iptablesCommands(): Outcome[] {
  if (!existsSync(join(CORPUS, COMMANDS))) return [];
  return [
    tryAll(
      'iptables-commands',
      COMMANDS,
      readLines<CommandCase>(COMMANDS),
      ({ name }) => name,
      ({ cmd, steps, save, nft }) =>
        inNamespace(cmd, (ipt, netns) => {
          for (const { args, exit, stdout, stderr, sent = [] } of steps) {
            const committed: Uint8Array[] = [];
            const found = watchingCommits(committed, () => outcomeOf(ipt, cmd, args));
            const difference =
              differs(`${args}: exit`, found.exit, exit) ??
              differs(`${args}: stdout`, found.stdout, stdout) ??
              differs(`${args}: stderr`, found.stderr, stderr) ??
              // What the kernel would refuse this library refuses before it sends anything.
              (exit !== 0 || OTHERWISE.test(args)
                ? undefined
                : batchDifference(args, committed.flatMap(messagesOf), sent.map(fromHex).flatMap(messagesOf)));
            if (difference !== undefined) return difference;
          }
          return (
            differs('save', withoutComments(inside(netns, `${cmd}-save`)), save) ??
            differs('nft', inside(netns, 'nft', 'list', 'ruleset'), nft)
          );
        }),
    ),
  ];
}

/** What iptables refuses: the exit code, and all that it prints. */
export function iptablesRefuse(): Outcome[] {
  if (!existsSync(join(CORPUS, REFUSED))) return [];
  return [
    tryAll(
      'iptables-refuse',
      REFUSED,
      readLines<RefusedCase>(REFUSED),
      ({ source, args, text }) => `${source}: ${args || JSON.stringify(text).slice(0, 100)}`,
      ({ cmd, args, setup = [], exit, stderr, text, before, options = args }) =>
        inNamespace(cmd, ipt => {
          if (before !== undefined) ipt.sync.restore(before);
          for (const command of setup) ipt.sync.run(command);
          const found = text === undefined ? outcomeOf(ipt, cmd, args) : restored(ipt, cmd, text, options);
          return differs('exit', found.exit, exit) ?? differs('stderr', found.stderr, stderr);
        }),
    ),
  ];
}

function restored(ipt: Iptables, cmd: string, text: string, options: string): Omit<Step, 'args' | 'sent'> {
  try {
    const words = options.split(' ');
    ipt.sync.restore(text, { counters: words.includes('-c'), flush: !words.includes('-n') });
    return { exit: 0, stdout: '', stderr: '' };
  } catch (error) {
    if (!(error instanceof IptablesError)) throw error;
    return { exit: error.exitCode, stdout: '', stderr: error.text(programOf(cmd)) };
  }
}
