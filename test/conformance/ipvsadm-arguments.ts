import type {
  Destination,
  Service,
  ServiceKey,
  SyncDaemon,
  SyncState,
  TableView,
  Timeouts,
} from '../../src/ipvs/index.ts';

/** An ipvsadm command as the call of this library that does the same. */
export type Invocation =
  | { call: 'addService' | 'setService'; service: Service }
  | { call: 'removeService' | 'zero'; key: ServiceKey }
  | { call: 'addDestination' | 'setDestination' | 'removeDestination'; key: ServiceKey; destination: Destination }
  | { call: 'setTimeouts'; timeouts: Timeouts }
  | { call: 'startSync'; daemon: SyncDaemon }
  | { call: 'stopSync'; state: SyncState }
  | { call: 'flush' | 'zeroAll' | 'listTimeouts' | 'listDaemons' | 'save' }
  | { call: 'list'; view: TableView; key?: ServiceKey };

const PROTOCOLS = { '-t': 'tcp', '-u': 'udp', '--sctp-service': 'sctp' } as const;
const FORWARD = { '-m': 'masquerade', '-g': 'direct', '-i': 'tunnel' } as const;
/** ipvsadm's, where -p has no value. */
const DEFAULT_PERSISTENCE = 360;

/** The options with their values; those without a value are ''. */
function optionsOf(words: string[]): Map<string, string> {
  const options = new Map<string, string>();
  for (let i = 0; i < words.length; i++) {
    const value = words[i + 1];
    const takes = value !== undefined && !value.startsWith('-');
    options.set(words[i]!, takes ? value : '');
    if (takes) i++;
  }
  return options;
}

/** `10.0.0.1:80`, `[2001:db8::1]:80`, or an address alone. */
function parseEndpoint(text: string): { address: string; port: number | undefined } {
  const [, v6, v4, port] = /^(?:\[(.+)\]|([^:]+))(?::(\d+))?$/.exec(text) ?? [];
  return { address: v6 ?? v4 ?? text, port: port === undefined ? undefined : Number(port) };
}

function keyOf(options: Map<string, string>): ServiceKey | undefined {
  const mark = options.get('-f');
  if (mark !== undefined) return { firewallMark: Number(mark), family: options.has('-6') ? 'ipv6' : 'ipv4' };
  for (const [flag, protocol] of Object.entries(PROTOCOLS)) {
    const text = options.get(flag);
    if (text === undefined) continue;
    const { address, port } = parseEndpoint(text);
    return { protocol, address, port: port ?? 0 };
  }
  return undefined;
}

function serviceOf(key: ServiceKey, options: Map<string, string>): Service {
  const service: Service = { ...key, scheduler: options.get('-s') ?? 'wlc' };
  const flags = options.get('-b');
  if (flags !== undefined) service.schedulerFlags = flags.split(',') as NonNullable<Service['schedulerFlags']>;
  if (options.has('-o')) service.onePacket = true;
  const seconds = options.get('-p');
  if (seconds !== undefined) {
    service.persistence = { timeoutSeconds: seconds === '' ? DEFAULT_PERSISTENCE : Number(seconds) };
    const mask = options.get('-M');
    if (mask !== undefined) service.persistence.netmask = mask.includes('.') ? mask : Number(mask);
    const engine = options.get('--pe');
    if (engine !== undefined) service.persistence.engine = engine;
  }
  return service;
}

function destinationOf(key: ServiceKey, options: Map<string, string>): Destination {
  const { address, port } = parseEndpoint(options.get('-r') ?? '');
  const flag = (Object.keys(FORWARD) as (keyof typeof FORWARD)[]).find(f => options.has(f)) ?? '-g';
  const destination: Destination = {
    address,
    port: port ?? ('port' in key ? key.port : 0),
    forward: FORWARD[flag],
    weight: Number(options.get('-w') ?? 1),
  };
  if (options.has('-x')) destination.upperThreshold = Number(options.get('-x'));
  if (options.has('-y')) destination.lowerThreshold = Number(options.get('-y'));
  const type = options.get('--tun-type');
  if (type !== undefined) {
    destination.tunnel = { type: type as 'ipip' | 'gue' | 'gre' };
    if (options.has('--tun-port')) destination.tunnel.port = Number(options.get('--tun-port'));
    if (options.has('--tun-csum')) destination.tunnel.checksum = 'required';
    if (options.has('--tun-remcsum')) destination.tunnel.checksum = 'remote';
  }
  return destination;
}

function daemonOf(state: SyncState, options: Map<string, string>): SyncDaemon {
  const daemon: SyncDaemon = {
    state,
    interface: options.get('--mcast-interface') ?? '',
    syncId: Number(options.get('--syncid') ?? 0),
  };
  const group = options.get('--mcast-group');
  if (group !== undefined) daemon.group = group;
  const numbers = { maxLength: '--sync-maxlen', port: '--mcast-port', ttl: '--mcast-ttl' } as const;
  for (const [name, option] of Object.entries(numbers) as [keyof typeof numbers, string][]) {
    const value = options.get(option);
    if (value !== undefined) daemon[name] = Number(value);
  }
  return daemon;
}

const VIEWS: readonly (readonly [option: string, view: TableView])[] = [
  ['--stats', 'stats'],
  ['--rate', 'rate'],
  ['--thresholds', 'thresholds'],
  ['--persistent-conn', 'persistence'],
  ['--tun-info', 'tunnels'],
];

/** What one command line asks for. */
export function parseInvocation(line: string): Invocation {
  const [command = '', ...words] = line.trim().split(/\s+/);
  if (command === '--set') {
    const [tcpSeconds, tcpFinSeconds, udpSeconds] = words.map(Number) as [number, number, number];
    return { call: 'setTimeouts', timeouts: { tcpSeconds, tcpFinSeconds, udpSeconds } };
  }
  const options = optionsOf(words);
  const key = keyOf(options);
  if (command === '-C') return { call: 'flush' };
  if (command === '-Z') return key === undefined ? { call: 'zeroAll' } : { call: 'zero', key };
  if (command === '-Sn') return { call: 'save' };
  if (command === '-Ln') {
    if (options.has('--timeout')) return { call: 'listTimeouts' };
    if (options.has('--daemon')) return { call: 'listDaemons' };
    const view = VIEWS.find(([option]) => options.has(option))?.[1] ?? 'connections';
    return key === undefined ? { call: 'list', view } : { call: 'list', view, key };
  }
  const state = words[0] as SyncState;
  if (command === '--start-daemon') return { call: 'startSync', daemon: daemonOf(state, optionsOf(words.slice(1))) };
  if (command === '--stop-daemon') return { call: 'stopSync', state };
  if (key === undefined) throw new Error(`the library has no call for this: ${line}`);
  switch (command) {
    case '-A':
      return { call: 'addService', service: serviceOf(key, options) };
    case '-E':
      return { call: 'setService', service: serviceOf(key, options) };
    case '-D':
      return { call: 'removeService', key };
    case '-a':
      return { call: 'addDestination', key, destination: destinationOf(key, options) };
    case '-e':
      return { call: 'setDestination', key, destination: destinationOf(key, options) };
    case '-d':
      return { call: 'removeDestination', key, destination: destinationOf(key, options) };
    default:
      throw new Error(`the library has no call for this: ${line}`);
  }
}
