import { addressVersion, checkOneOf } from '../codec/index.ts';
import {
  type ArgumentError,
  formatPath,
  isArgumentError,
  type Path,
  printable,
  rangeError,
  typeError,
} from '../errors.ts';
import { addressBytes, addressText, dottedMask, ipv4Bytes } from '../ip_vs/address.ts';
import {
  DESTINATION,
  type Destination,
  type DestinationKey,
  type Tunnel,
  writeDestination,
} from '../ip_vs/destination.ts';
import type { FieldTable } from '../ip_vs/fields.ts';
import { familyOf, SERVICE, type Service, type ServiceKey, writeService } from '../ip_vs/service.ts';
import { checkDaemon, type SyncDaemon, type SyncState } from '../ip_vs/sync-daemon.ts';
import { AF_INET6 } from '../linux/socket.ts';
import type { RuleCommand } from './command.ts';
import { type Line, optionName, readOptions, splitLine } from './options.ts';
import { PlainLines } from './plain-lines.ts';
import { type RuleNames, withUsualNames } from './service-names.ts';

/** The error about a line that is no rule: a RangeError or TypeError, as for arguments. */
export interface RuleError extends ArgumentError {
  /** Counted from 1. */
  readonly line: number;
  /** The line. */
  readonly text: string;
}

/** The defaults of ipvsadm. */
const DEFAULT_SCHEDULER = 'wlc';
const DEFAULT_PERSISTENCE_SECONDS = 360;
const DEFAULT_INTERFACE = 'eth0';
const MAX_TIMEOUT = 31 * 24 * 60 * 60;

const SERVICE_OPTIONS = ['tcp-service', 'udp-service', 'sctp-service', 'fwmark-service', 'protocol-service'];
const SCHEDULING = [...SERVICE.options.map(({ option }) => option), 'as-is'];
const FORWARD = ['masquerading', 'ipip', 'gatewaying'] as const;
const CHECKSUM = ['tun-nocsum', 'tun-csum', 'tun-remcsum'] as const;
const SETTINGS = [...DESTINATION.options.map(({ option }) => option), 'forward', 'tun-flags', 'as-is'];
const DAEMON = ['mcast-interface', 'syncid', 'sync-maxlen', 'mcast-group', 'mcast-port', 'mcast-ttl'];

/** Which options a command takes besides itself. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  'add-service': [...SERVICE_OPTIONS, 'ipv6', ...SCHEDULING],
  'edit-service': [...SERVICE_OPTIONS, 'ipv6', ...SCHEDULING],
  'delete-service': [...SERVICE_OPTIONS, 'ipv6'],
  'add-server': [...SERVICE_OPTIONS, 'ipv6', 'real-server', ...SETTINGS],
  'edit-server': [...SERVICE_OPTIONS, 'ipv6', 'real-server', ...SETTINGS],
  'delete-server': [...SERVICE_OPTIONS, 'ipv6', 'real-server'],
  clear: [],
  zero: [...SERVICE_OPTIONS, 'ipv6'],
  set: [],
  'start-daemon': DAEMON,
  'stop-daemon': [],
};

/**
 * Reads ipvsadm's format, line by line; `parseRuleLines` says what it takes. `visit` gets each command and the number of its line, counted from 1. A plain
 * line is first shown to `visitPlain`, which returns whether that is enough.
 * @throws RuleError with the line's number.
 */
export function readRules(
  text: string,
  names: RuleNames,
  visit: (command: RuleCommand, line: number) => void,
  visitPlain?: (line: PlainLines) => boolean,
): void {
  if (typeof text !== 'string') throw typeError([], 'a string', text);
  const reader = new KeyReader(withUsualNames(names));
  const plain = new PlainLines(text);
  eachLine(text, (start, end, number) => {
    try {
      if (!plain.read(start, end)) {
        const command = readCarefully(text.slice(start, end), reader);
        if (command !== undefined) visit(command, number);
      } else if (visitPlain === undefined || !visitPlain(plain)) visit(plain.operation(), number);
    } catch (error) {
      throw atLine(error, number, text.slice(start, end));
    }
  });
}

function readCarefully(line: string, keys: KeyReader): RuleCommand | undefined {
  const parsed = readOptions(splitLine(line));
  return parsed && commandOf(parsed, keys);
}

/** Calls `visit` for each line of a text, with where it begins and ends, and its number, counted from 1. The end may be \r\n, as other systems have it. */
export function eachLine(text: string, visit: (start: number, end: number, number: number) => void): void {
  let number = 1;
  let start = 0;
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', start)) {
    visit(start, at > start && text.charCodeAt(at - 1) === CARRIAGE_RETURN ? at - 1 : at, number++);
    start = at + 1;
  }
  visit(start, text.length, number);
}

const CARRIAGE_RETURN = 0x0d;

/** Reads the keys of services. Lines of the same service follow each other with the same words, so the key is read once for all of them. */
class KeyReader {
  readonly names: RuleNames;
  #option = '';
  #value = '';
  #ipv6 = false;
  #key: ServiceKey | undefined;

  constructor(names: RuleNames) {
    this.names = names;
  }

  read(options: Options): ServiceKey {
    let option = '';
    for (const each of SERVICE_OPTIONS) {
      if (!options.has(each)) continue;
      if (option !== '') throw noService(options);
      option = each;
    }
    if (option === '') throw noService(options);
    return this.keyOf(option, options.get(option)!, options.has('ipv6'));
  }

  keyOf(option: string, value: string, ipv6: boolean): ServiceKey {
    if (this.#key === undefined || option !== this.#option || value !== this.#value || ipv6 !== this.#ipv6) {
      this.#key = keyOf(option, value, ipv6, this.names);
      this.#option = option;
      this.#value = value;
      this.#ipv6 = ipv6;
    }
    return this.#key;
  }
}

function noService(options: Options) {
  const given = SERVICE_OPTIONS.filter(option => options.has(option));
  return rangeError([], 'one of -t, -u, --sctp-service and -f', given.map(optionName).join(' '));
}

/** The same error with the line's number before its path. Any other error stays what it is. */
export function atLine(error: unknown, line: number, text: string): unknown {
  if (!isArgumentError(error)) return error;
  const Class = error instanceof RangeError ? rangeError : typeError;
  const expected = error.message.slice(error.message.indexOf(': expected ') + 2);
  const named = Class([`line ${line}`, ...error.path], '', error.value, error.code);
  const at = error.path.length > 0 ? `${printable(formatPath(error.path))}: ` : '';
  named.message = `line ${line}: ${at}${expected}`;
  return Object.assign(named, { line, text }) satisfies RuleError;
}

function commandOf({ command, options, words }: Line, keys: KeyReader): RuleCommand {
  const allowed = ALLOWED[command];
  if (allowed === undefined) throw rangeError([], 'a command such as -A before all other options', optionName(command));
  for (const option of options.keys()) {
    if (option !== command && !allowed.includes(option)) {
      throw rangeError([optionName(option)], `no such option with ${optionName(command)}`, options.get(option));
    }
  }
  if (command !== 'set' && words.length > 0) throw rangeError([], 'only options', words[0]);
  switch (command) {
    case 'add-service':
      return { op: 'addService', service: serviceOf(options, keys) };
    case 'edit-service':
      return { op: 'editService', service: serviceOf(options, keys) };
    case 'delete-service':
      return { op: 'removeService', key: keys.read(options) };
    case 'add-server':
    case 'edit-server': {
      const key = keys.read(options);
      const destination = destinationOf(key, options, keys.names);
      return { op: command === 'add-server' ? 'addDestination' : 'editDestination', key, destination };
    }
    case 'delete-server': {
      const key = keys.read(options);
      return { op: 'removeDestination', key, destinationKey: serverOf(key, options, keys.names) };
    }
    case 'clear':
      return { op: 'flush' };
    case 'zero':
      return SERVICE_OPTIONS.some(option => options.has(option))
        ? { op: 'zero', key: keys.read(options) }
        : { op: 'zero' };
    case 'set':
      return { op: 'setTimeouts', timeouts: timeoutsOf(words) };
    case 'start-daemon':
      return { op: 'startSync', daemon: daemonOf(options) };
    default:
      return { op: 'stopSync', state: stateOf(options.get(command)!, optionName(command)) };
  }
}

type Options = Line['options'];

function keyOf(option: string, value: string, ipv6: boolean, names: RuleNames): ServiceKey {
  const at = [optionName(option)];
  if (option === 'fwmark-service') {
    return { firewallMark: number(value, at, 1, 0xffffffff), family: ipv6 ? 'ipv6' : 'ipv4' };
  }
  if (ipv6) throw rangeError(['-6'], 'a firewall mark (-f) with it', value);
  if (option === 'protocol-service') {
    const [, protocol = '', rest = ''] = /^(\d+)\/(.*)$/.exec(value) ?? [];
    const { address, port = 0 } = endpointOf(rest, at, 'tcp', names);
    return { protocol: number(protocol, at, 0, 65535), address, port };
  }
  const protocol = option.slice(0, option.indexOf('-')) as 'tcp' | 'udp' | 'sctp';
  const { address, port = 0 } = endpointOf(value, at, protocol, names);
  return { protocol, address, port };
}

function serviceOf(options: Options, keys: KeyReader): Service {
  const service: Service = { ...keys.read(options), scheduler: options.get('scheduler') ?? DEFAULT_SCHEDULER };
  const flags = options.get('sched-flags');
  const asIs = options.has('as-is');
  if (flags !== undefined) service.schedulerFlags = flagsOf(flags);
  if (options.has('ops')) service.onePacket = true;
  const engine = options.get('pe');
  const timeout = options.get('persistent');
  const netmask = netmaskOf(options.get('netmask'), familyOf(service));
  if (timeout !== undefined) {
    const [min, max] = asIs ? [0, 0xffffffff] : [1, MAX_TIMEOUT];
    const timeoutSeconds = timeout === '' ? DEFAULT_PERSISTENCE_SECONDS : number(timeout, ['-p'], min, max);
    service.persistence = { timeoutSeconds };
    if (netmask !== undefined) service.persistence.netmask = netmask;
    if (engine !== undefined) service.persistence.engine = engine;
  } else if (engine !== undefined) {
    // ipvsadm sends it, but the kernel never uses it.
    throw rangeError(['--pe'], 'persistence (-p) with it', engine);
  }
  readNumbers(SERVICE, options, service);
  writeService(service, asIs ? 'anything' : undefined);
  return service;
}

/** In the order of their bits, as services are read back. */
function flagsOf(text: string): NonNullable<Service['schedulerFlags']> {
  const order = ['sh-fallback', 'mh-fallback', 'flag-1', 'sh-port', 'mh-port', 'flag-2', 'flag-3'] as const;
  const words = text.split(',');
  const bits = words.filter(word => /^0x[\da-f]{1,8}$/.test(word));
  const flags = words.filter(word => !bits.includes(word)).map(flag => checkOneOf(flag, ['-b'], order));
  return [...[...new Set(flags)].sort((a, b) => order.indexOf(a) - order.indexOf(b)), ...bits.map(Number)];
}

/** The mask in the form of a service that was read; undefined if each address is its own client. */
function netmaskOf(text: string | undefined, family: number): string | number | undefined {
  if (text === undefined) return undefined;
  if (family === AF_INET6) {
    const prefix = number(text, ['-M'], 1, 128);
    return prefix === 128 ? undefined : prefix;
  }
  if (/^\d+$/.test(text)) {
    const prefix = number(text, ['-M'], 0, 32);
    return prefix === 32 ? undefined : dottedMask(prefix);
  }
  if (addressVersion(text) !== 4) throw rangeError(['-M'], 'an IPv4 mask or a prefix length', text);
  return text === '255.255.255.255' ? undefined : text;
}

/** The address and port of -r; by default the port of the service. */
function serverOf(key: ServiceKey, options: Options, names: RuleNames): DestinationKey {
  const value = options.get('real-server');
  if (value === undefined) throw rangeError([], 'a server (-r)', undefined);
  const protocol = 'protocol' in key && typeof key.protocol === 'string' ? key.protocol : 'tcp';
  const { address, port } = endpointOf(value, ['-r'], protocol, names);
  return { address, port: port ?? ('port' in key ? key.port : 0) };
}

function destinationOf(key: ServiceKey, options: Options, names: RuleNames): Destination {
  const server = serverOf(key, options, names);
  const asIs = options.has('as-is');
  const forward = forwardOf(options);
  // Only masquerading can change the port. For the others ipvsadm takes the port of the service, whatever is given.
  if (forward !== 'masquerade' && 'port' in key && !asIs) server.port = key.port;
  const destination: Destination = { address: server.address, port: server.port, forward };
  const tunnel = tunnelOf(options, forward === 'tunnel');
  if (tunnel !== undefined) destination.tunnel = tunnel;
  readNumbers(DESTINATION, options, destination);
  // ipvsadm takes any port with masquerading, also for a service of every port, where it has no effect.
  const kept = asIs || forward === 'masquerade' ? 'anything' : undefined;
  writeDestination(key, destination, familyOf(key), kept);
  return destination;
}

/** The settings that are plain numbers. With --as-is they may be all that a kernel can hold. */
function readNumbers<W extends object>({ numbers }: FieldTable<W>, options: Options, into: object): void {
  for (const { setting, option } of numbers) {
    const { group, name, type, always, byDefault } = setting;
    const [min, max] = (options.has('as-is') ? type.range : (type.newRange ?? type.range)) ?? [0, 0xffffffff];
    const given = options.get(option);
    const value = given === undefined ? byDefault?.(0) : number(given, [optionName(option)], min, max);
    if (!always && (value === undefined || value === 0)) continue;
    const holder: unknown = group === undefined ? into : Reflect.get(into, group);
    if (typeof holder === 'object' && holder !== null) Reflect.set(holder, name, value);
    else if (given !== undefined) throw rangeError([optionName(option)], `a ${group} with it`, given);
  }
}

function forwardOf(options: Options): Destination['forward'] {
  const given = options.get('forward');
  if (given !== undefined) {
    if (FORWARD.some(method => options.has(method)))
      throw rangeError(['--forward'], 'none of -g, -i and -m with it', given);
    return given === 'local' || given === 'bypass' ? given : number(given, ['--forward'], 0, 7);
  }
  const masqueraded = options.has('masquerading');
  const tunneled = options.has('ipip');
  if (Number(masqueraded) + Number(tunneled) + Number(options.has('gatewaying')) > 1) {
    const methods = FORWARD.filter(method => options.has(method));
    throw rangeError([], 'one of -g, -i and -m', methods.map(optionName).join(' '));
  }
  return masqueraded ? 'masquerade' : tunneled ? 'tunnel' : 'direct';
}

function tunnelOf(options: Options, tunneled: boolean): Destination['tunnel'] {
  if (!tunneled) {
    for (const option of options.keys()) {
      if (!option.startsWith('tun-')) continue;
      throw rangeError([optionName(option)], 'a tunnel (-i) with it', options.get(option));
    }
    return undefined;
  }
  const checksums = CHECKSUM.filter(checksum => options.has(checksum));
  const types = ['ipip', 'gue', 'gre'] as const;
  const asIs = options.has('as-is');
  const given = options.get('tun-type') ?? 'ipip';
  const type =
    asIs && /^\d/.test(given) ? number(given, ['--tun-type'], 0, 255) : checkOneOf(given, ['--tun-type'], types);
  if (checksums.length > 1) throw rangeError([], 'one checksum mode', checksums.map(optionName).join(' '));
  const [checksum] = checksums;
  const port = options.get('tun-port');
  const flags = options.get('tun-flags');
  if (!asIs) {
    if (checksum !== undefined && (type === 'ipip' || (type === 'gre' && checksum === 'tun-remcsum'))) {
      throw rangeError([optionName(checksum)], `no such option with --tun-type ${type}`, '');
    }
    if ((type === 'gue') !== (port !== undefined)) {
      throw rangeError(['--tun-port'], type === 'gue' ? 'a port for gue' : `no port for ${type}`, port);
    }
    if (flags !== undefined) throw rangeError(['--tun-flags'], '--as-is with it', flags);
  }
  const tunnel: Tunnel = { type };
  if (port !== undefined) tunnel.port = number(port, ['--tun-port'], asIs ? 0 : 1, 65535);
  if (checksum === 'tun-csum') tunnel.checksum = 'required';
  if (checksum === 'tun-remcsum') tunnel.checksum = 'remote';
  if (flags !== undefined) tunnel.checksum = number(flags, ['--tun-flags'], 0, 65535);
  return tunnel;
}

function timeoutsOf(words: readonly string[]): Extract<RuleCommand, { op: 'setTimeouts' }>['timeouts'] {
  if (words.length !== 3) throw rangeError(['--set'], 'three timeouts', words.join(' '));
  const [tcpSeconds, tcpFinSeconds, udpSeconds] = words.map(word => number(word, ['--set'], 0, MAX_TIMEOUT));
  // 0 leaves a timeout as it is.
  return Object.fromEntries(
    Object.entries({ tcpSeconds, tcpFinSeconds, udpSeconds }).filter(([, seconds]) => seconds !== 0),
  );
}

function stateOf(value: string, option: string): SyncState {
  return checkOneOf(value, [option], ['master', 'backup']);
}

function daemonOf(options: Options): SyncDaemon {
  const daemon: SyncDaemon = {
    state: stateOf(options.get('start-daemon')!, '--start-daemon'),
    interface: options.get('mcast-interface') ?? DEFAULT_INTERFACE,
    syncId: number(options.get('syncid') ?? '0', ['--syncid'], 0, 255),
  };
  const length = options.get('sync-maxlen');
  const group = options.get('mcast-group');
  const port = options.get('mcast-port');
  const ttl = options.get('mcast-ttl');
  if (length !== undefined) daemon.maxLength = number(length, ['--sync-maxlen'], 1, 65507);
  if (group !== undefined) daemon.group = group;
  if (port !== undefined) daemon.port = number(port, ['--mcast-port'], 1, 65535);
  if (ttl !== undefined) daemon.ttl = number(ttl, ['--mcast-ttl'], 1, 255);
  checkDaemon(daemon);
  return daemon;
}

const NUMBER = /^\+?\d{1,10}$/;

function number(text: string, path: Path, min: number, max: number): number {
  const value = NUMBER.test(text) ? Number(text) : -1;
  if (value < min || value > max) throw rangeError(path, `an integer ${min} to ${max}`, text);
  return value;
}

/** host, host:port, [v6], [v6]:port, or an IPv6 address alone. */
function endpointOf(
  text: string,
  path: Path,
  protocol: 'tcp' | 'udp' | 'sctp',
  names: RuleNames,
): { address: string; port?: number } {
  const { host, port } = splitEndpoint(text);
  // An IPv4 address has one spelling.
  if (ipv4Bytes(host) !== undefined && !text.startsWith('[')) {
    return port === undefined ? { address: host } : { address: host, port: portOf(port, path, protocol, names) };
  }
  const version = addressVersion(host) ?? 0;
  const address = version === 0 ? names.host?.(host) : host;
  const bracketed = text.startsWith('[');
  if (address === undefined || addressVersion(address) === undefined || (bracketed && version !== 6)) {
    throw rangeError(
      path,
      'a numeric address, with a port or without (ipvsadm -Sn writes numbers), or a name that is known',
      text,
    );
  }
  const key = { protocol, address, port: 0 } as const;
  // In the spelling in which addresses are read back.
  const found = { address: addressText(addressBytes(address), familyOf(key)) };
  return port === undefined ? found : { ...found, port: portOf(port, path, protocol, names) };
}

function splitEndpoint(text: string): { host: string; port?: string | undefined } {
  const [, inBrackets, behind] = (text.startsWith('[') && /^\[([^\]]*)\](?::(.*))?$/.exec(text)) || [];
  if (inBrackets !== undefined) return { host: inBrackets, port: behind };
  const colon = text.lastIndexOf(':');
  if (colon < 0) return { host: text };
  if (text.indexOf(':') < colon && addressVersion(text) === 6) return { host: text };
  return { host: text.slice(0, colon), port: text.slice(colon + 1) };
}

function portOf(text: string, path: Path, protocol: 'tcp' | 'udp' | 'sctp', names: RuleNames): number {
  if (/^\d+$/.test(text)) return number(text, path, 0, 65535);
  const port = names.port?.(text, protocol);
  if (port === undefined) throw rangeError(path, 'a port as a number, or the usual name of one', text);
  return number(String(port), path, 0, 65535);
}
