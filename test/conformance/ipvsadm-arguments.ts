import type {
  Destination,
  DestinationKey,
  Service,
  ServiceKey,
  SyncDaemon,
  SyncState,
  TableView,
  Timeouts,
} from '../../src/ipvs/index.ts';
import type { RuleCommand } from '../../src/ipvsadm/command.ts';
import { readRules } from '../../src/ipvsadm/read-rules.ts';

/** An ipvsadm command as the call of this library that does the same. */
export type Invocation =
  | { call: 'addService' | 'setService'; service: Service }
  | { call: 'removeService'; key: ServiceKey }
  | { call: 'zero'; key?: ServiceKey }
  | { call: 'addDestination' | 'setDestination'; key: ServiceKey; destination: Destination }
  | { call: 'removeDestination'; key: ServiceKey; destination: DestinationKey }
  | { call: 'setTimeouts'; timeouts: Partial<Timeouts> }
  | { call: 'startSync'; daemon: SyncDaemon }
  | { call: 'stopSync'; state: SyncState }
  | { call: 'flush' | 'listTimeouts' | 'listDaemons' | 'save' }
  | { call: 'list'; view: TableView; exact: boolean; key?: ServiceKey }
  /** It asks the kernel nothing that this library would, or prints names where numbers are wanted. */
  | { call: 'other' };

const VIEWS: readonly (readonly [option: string, view: TableView])[] = [
  ['--stats', 'stats'],
  ['--rate', 'rate'],
  ['--thresholds', 'thresholds'],
  ['--persistent-conn', 'persistence'],
  ['--tun-info', 'tunnels'],
];

const LONG: Readonly<Record<string, string>> = {
  l: '--list',
  L: '--list',
  S: '--save',
  R: '--restore',
  n: '--numeric',
  c: '--connection',
  h: '--help',
  X: '--exact',
};

/** What one command line asks for. */
export function parseInvocation(line: string): Invocation {
  const options = printingOptions(line);
  if (options.has('--list')) return listingOf(line, options);
  if (options.has('--save')) return { call: options.has('--numeric') ? 'save' : 'other' };
  if (options.has('--restore') || options.has('--help')) return { call: 'other' };
  return changeOf(commandOf(line));
}

/** The words of a command that prints, short ones taken apart (-Ln): those that begin with none of these letters are left whole. */
function printingOptions(line: string): Set<string> {
  const words = line.trim().split(/\s+/);
  return new Set(
    words.flatMap(word =>
      /^-[lLSRncXh]+$/.test(word) ? Array.from(word.slice(1), letter => LONG[letter]!) : [word.split('=')[0]!],
    ),
  );
}

/** A view of the table, or what else -L prints. */
function listingOf(line: string, options: ReadonlySet<string>): Invocation {
  if (options.has('--timeout')) return { call: 'listTimeouts' };
  if (options.has('--daemon')) return { call: 'listDaemons' };
  if (options.has('--connection') || options.has('--nosort') || !options.has('--numeric')) return { call: 'other' };
  const view = VIEWS.find(([option]) => options.has(option))?.[1] ?? 'connections';
  const listing = { call: 'list', view, exact: options.has('--exact') } as const;
  // The service, as the words of a command that removes it.
  const service = /(?<=\s)(?:-[tuf]|--(?:tcp|udp|sctp|fwmark)-service)[\s=]*\S+(?:\s+(?:-6|--ipv6))?/.exec(line)?.[0];
  if (service === undefined) return listing;
  const command = commandOf(`-D ${service}`);
  if (command.op !== 'removeService') throw new Error(`no service: ${line}`);
  return { ...listing, key: command.key };
}

function commandOf(line: string): RuleCommand {
  const commands: RuleCommand[] = [];
  readRules(line, {}, command => commands.push(command));
  const [command] = commands;
  if (command === undefined) throw new Error(`the library has no call for this: ${line}`);
  return command;
}

/** ipvsadm's edits replace all that there is. */
function changeOf(command: RuleCommand): Invocation {
  switch (command.op) {
    case 'addService':
      return { call: 'addService', service: command.service };
    case 'editService':
      return { call: 'setService', service: command.service };
    case 'addDestination':
      return { call: 'addDestination', key: command.key, destination: command.destination };
    case 'editDestination':
      return { call: 'setDestination', key: command.key, destination: command.destination };
    case 'removeDestination':
      return { call: 'removeDestination', key: command.key, destination: command.destinationKey };
    case 'removeService':
      return { call: 'removeService', key: command.key };
    case 'zero':
      return command.key === undefined ? { call: 'zero' } : { call: 'zero', key: command.key };
    case 'setTimeouts':
      return { call: 'setTimeouts', timeouts: command.timeouts };
    case 'startSync':
      return { call: 'startSync', daemon: command.daemon };
    case 'stopSync':
      return { call: 'stopSync', state: command.state };
    case 'flush':
      return { call: 'flush' };
  }
}
