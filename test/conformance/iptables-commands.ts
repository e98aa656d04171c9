import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Iptables, IptablesError } from '../../src/iptables/index.ts';
import { NetNs } from '../../src/netns/index.ts';
import { CORPUS, type Outcome, readLines, tryAll } from './corpus.ts';

interface Step {
  args: string;
  exit: number;
  stdout: string;
  stderr: string;
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
function outcomeOf(ipt: Iptables, cmd: string, args: string): Omit<Step, 'args'> {
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
          for (const { args, exit, stdout, stderr } of steps) {
            const found = outcomeOf(ipt, cmd, args);
            const difference =
              differs(`${args}: exit`, found.exit, exit) ??
              differs(`${args}: stdout`, found.stdout, stdout) ??
              differs(`${args}: stderr`, found.stderr, stderr);
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

function restored(ipt: Iptables, cmd: string, text: string, options: string): Omit<Step, 'args'> {
  try {
    const words = options.split(' ');
    ipt.sync.restore(text, { counters: words.includes('-c'), flush: !words.includes('-n') });
    return { exit: 0, stdout: '', stderr: '' };
  } catch (error) {
    if (!(error instanceof IptablesError)) throw error;
    return { exit: error.exitCode, stdout: '', stderr: error.text(programOf(cmd)) };
  }
}
