import { isDeepStrictEqual } from 'node:util';
import { fromHex, NO_CONTEXT, sourceOf, Writer } from '../../src/codec/index.ts';
import { commandTable, infoTable, type WireCommand } from '../../src/ip_vs/attributes.ts';
import { serviceId } from '../../src/ip_vs/wire.ts';
import {
  type Destination,
  formatTable,
  Ipvs,
  parseRules,
  type Service,
  type ServiceKey,
  type VirtualServer,
} from '../../src/ipvs/index.ts';
import { IPVS_CMD_GET_INFO } from '../../src/linux/ip_vs.ts';
import { AF_INET } from '../../src/linux/socket.ts';
import { Exchange, genlmsghdr } from '../../src/netlink/index.ts';
import { filesLike, type Outcome, readJson, tryAll } from './corpus.ts';
import { type Invocation, parseInvocation } from './ipvsadm-arguments.ts';
import { differenceOf } from './tree.ts';
import { type Answers, answeringWire } from './wire.ts';

interface Recording {
  argv: string;
  rc: number;
  stdout: string[];
  msgs: { dir: 'req' | 'rep'; type: string; flags: string; payload: string | null }[];
}

/** IPVS_CMD_SET_INFO: what the kernel answers GET_INFO with. */
const INFO = [14, IPVS_CMD_GET_INFO];

/** Way 6: every payload survives the codec; equivalent calls send the same; the answers decode to what ipvsadm printed. */
export function ipvsadm(): Outcome[] {
  return filesLike(/^ipvsadm.*\.json$/).map(file =>
    tryAll(
      'ipvsadm',
      file,
      readJson<Recording[]>(file),
      ({ argv }) => argv,
      recording =>
        lost(recording) ?? (recording.rc === 0 ? compare(recording, parseInvocation(recording.argv)) : undefined),
    ),
  );
}

function payloadsOf({ msgs }: Recording, dir: 'req' | 'rep'): Uint8Array[] {
  return msgs.flatMap(m => (m.dir === dir && m.payload !== null ? [fromHex(m.payload)!] : []));
}

function lost(recording: Recording): string | undefined {
  for (const before of [...payloadsOf(recording, 'req'), ...payloadsOf(recording, 'rep')]) {
    const table = INFO.includes(before[0]!) ? infoTable : commandTable;
    const value = table.read(sourceOf(before), genlmsghdr.size, before.length, NO_CONTEXT);
    if (value === undefined) return `command ${before[0]} was not decoded`;
    const writer = new Writer();
    table.write(writer, value as never, NO_CONTEXT);
    const difference = differenceOf(before.subarray(genlmsghdr.size), writer.copy());
    if (difference !== undefined) return `command ${before[0]}: ${difference}`;
  }
  return undefined;
}

function decode(payload: Uint8Array): WireCommand {
  return commandTable.read(sourceOf(payload), genlmsghdr.size, payload.length, NO_CONTEXT) ?? {};
}

function open(answers: Answers): { ipvs: Ipvs; requests: Uint8Array[] } {
  const { wire, requests } = answeringWire(answers);
  return { ipvs: new Ipvs(new Exchange(wire, 'ipvs')), requests };
}

function compare(recording: Recording, invocation: Invocation): string | undefined {
  if (invocation.call === 'other') return undefined;
  const reads = ['listTimeouts', 'listDaemons', 'list', 'save'].includes(invocation.call);
  return reads ? compareFacts(recording, invocation) : compareRequest(recording, invocation);
}

/** Makes the same call, and compares what is sent for it with what ipvsadm sent last. */
function compareRequest(recording: Recording, invocation: Invocation): string | undefined {
  const { ipvs, requests } = open(() => []);
  const { sync } = ipvs;
  switch (invocation.call) {
    case 'addService':
    case 'setService':
      sync[invocation.call](invocation.service);
      break;
    case 'removeService':
      sync.removeService(invocation.key);
      break;
    case 'zero':
      sync.zero(invocation.key);
      break;
    case 'addDestination':
    case 'setDestination':
      sync[invocation.call](invocation.key, invocation.destination);
      break;
    case 'removeDestination':
      sync.removeDestination(invocation.key, invocation.destination);
      break;
    case 'setTimeouts':
      sync.setTimeouts(invocation.timeouts);
      break;
    case 'startSync':
      sync.startSync(invocation.daemon);
      break;
    case 'stopSync':
      sync.stopSync(invocation.state);
      break;
    case 'flush':
      sync.flush();
      break;
  }
  const ours = requests.at(-1);
  const theirs = payloadsOf(recording, 'req').at(-1);
  if (ours === undefined || theirs === undefined) return 'nothing was sent';
  if (ours[0] !== theirs[0]) return `command ${theirs[0]} became ${ours[0]}`;
  const { service: theirService = {}, ...theirRest } = withoutRest(decode(theirs));
  const { service: ourService = {}, ...ourRest } = withoutRest(decode(ours));
  const changesService = invocation.call === 'addService' || invocation.call === 'setService';
  return (
    differenceOfFields(theirService, ourService, !changesService, 'service') ??
    differenceOfFields(theirRest, ourRest, invocation.call === 'removeDestination', '')
  );
}

/** Behind an IPv4 address ipvsadm leaves what stood there before (of the address of an IPv6 service), and the kernel does not look at it. */
function withoutRest(command: WireCommand): WireCommand {
  const { destination } = command;
  if (destination?.family !== AF_INET) return command;
  return { ...command, destination: { ...destination, address: destination.address.slice(0, 8) } };
}

/**
 * All that this library sends must be as ipvsadm has it. What ipvsadm sends besides must say nothing: zeros and empty strings, or where the
 * object only has to be identified, anything.
 */
function differenceOfFields(theirs: object, ours: object, identifies: boolean, path: string): string | undefined {
  const [a, b] = [theirs as Record<string, unknown>, ours as Record<string, unknown>];
  for (const key of Object.keys({ ...a, ...b })) {
    const at = path === '' ? key : `${path}.${key}`;
    const [expected, actual] = [a[key], b[key]];
    if (actual === undefined) {
      const saysNothing = identifies || expected === 0 || expected === '' || /^0*$/.test(String(expected));
      if (!saysNothing) return `${at}: ${JSON.stringify(expected)} is not sent`;
    } else if (typeof actual === 'object' && typeof expected === 'object' && expected !== null && actual !== null) {
      const difference = differenceOfFields(expected, actual, identifies, at);
      if (difference !== undefined) return difference;
    } else if (expected !== actual) {
      return `${at}: ${JSON.stringify(expected)} became ${JSON.stringify(actual)}`;
    }
  }
  return undefined;
}

/** Answers each request with the recorded answers to the one that asked for the same. */
function answersOf({ msgs }: Recording): Answers {
  const exchanges: { request: Uint8Array; isDump: boolean; answers: Uint8Array[] }[] = [];
  for (const { dir, payload, flags } of msgs) {
    if (payload === null) continue;
    const bytes = fromHex(payload)!;
    if (dir === 'req') exchanges.push({ request: bytes, isDump: flags.includes('0x300'), answers: [] });
    else exchanges.at(-1)?.answers.push(bytes);
  }
  return (payload, isDump) => {
    const found = exchanges.find(
      one => one.request[0] === payload[0] && one.isDump === isDump && identity(one.request) === identity(payload),
    );
    if (found === undefined) throw new Error(`ipvsadm did not ask this: command ${payload[0]}, ${identity(payload)}`);
    return found.answers;
  };
}

function identity(payload: Uint8Array): string {
  // An IPv4 address may be sent as its own four bytes or as sixteen.
  const { service } = decode(payload);
  return service === undefined ? '' : serviceId(service);
}

type ListedServer = Parameters<typeof formatTable>[0][number];

/** Reads through the recorded answers, and compares with what ipvsadm made of them. */
function compareFacts(recording: Recording, invocation: Invocation): string | undefined {
  const { sync } = open(answersOf(recording)).ipvs;
  const lines = recording.stdout.map(line => line.trimEnd()).filter(line => line !== '');
  switch (invocation.call) {
    case 'listTimeouts': {
      const { tcpSeconds, tcpFinSeconds, udpSeconds } = sync.timeouts();
      return same(lines, [`Timeout (tcp tcpfin udp): ${tcpSeconds} ${tcpFinSeconds} ${udpSeconds}`]);
    }
    case 'save': {
      const printed = parseRules(lines.join('\n'));
      const read = (sync.services({ destinations: true }) as VirtualServer[]).map(withoutCounters);
      return same(sorted(printed), sorted(read));
    }
    case 'listDaemons': {
      const rows = sync.syncDaemons().map(daemon => {
        const { state, syncId, maxLength, group, port, ttl } = daemon;
        const more = `maxlen=${maxLength}, group=${group}, port=${port}, ttl=${ttl}`;
        return `${state} sync daemon (mcast=${daemon.interface}, syncid=${syncId}, ${more})`;
      });
      return same(lines, rows);
    }
    case 'list': {
      const { key, view, exact } = invocation;
      const { version, connectionTableSize } = sync.info();
      const servers =
        key === undefined
          ? (sync.services({ destinations: true }) as ListedServer[])
          : [{ ...sync.service(key), destinations: sync.destinations(key) }];
      const table = formatTable(servers, view, { exact })
        .split('\n')
        .map(line => line.trimEnd())
        .filter(line => line !== '');
      // One service alone has no such line above it.
      const header = key === undefined ? [`IP Virtual Server version ${version} (size=${connectionTableSize})`] : [];
      return same(lines, [...header, ...table]);
    }
    default:
      return undefined;
  }
}

function withoutCounters(server: VirtualServer): VirtualServer {
  const { stats: _, destinations, ...service } = server as VirtualServer & { stats?: unknown };
  const bare = destinations.map(entry => {
    const { address, port, forward, weight, upperThreshold, lowerThreshold, tunnel } = entry;
    const all = { address, port, forward, weight, upperThreshold, lowerThreshold, tunnel };
    // -Sn says nothing of thresholds.
    const shown = Object.entries(all).filter(([key, value]) => value !== undefined && !key.endsWith('Threshold'));
    return Object.fromEntries(shown) as unknown as Destination;
  });
  return { ...(service as Service), destinations: bare };
}

function sorted(servers: VirtualServer[]): VirtualServer[] {
  const name = (key: ServiceKey) => JSON.stringify([labelOf(key)]);
  return servers
    .map(server => ({
      ...server,
      destinations: server.destinations.toSorted((a, b) => (a.address < b.address ? -1 : 1)),
    }))
    .toSorted((a, b) => (name(a) < name(b) ? -1 : 1));
}

function endpoint(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

function labelOf(key: ServiceKey): string {
  if ('firewallMark' in key) return `FWM ${key.firewallMark}${key.family === 'ipv6' ? ' IPv6' : ''}`;
  return `${String(key.protocol).toUpperCase()} ${endpoint(key.address, key.port)}`;
}

function same(printed: unknown, read: unknown): string | undefined {
  if (isDeepStrictEqual(printed, read)) return undefined;
  const show = (value: unknown) => JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? `${v}n` : v));
  return `printed ${show(printed)}\n    read    ${show(read)}`;
}
