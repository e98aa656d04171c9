import os from 'node:os';

/*
 * The messages and structures of include/uapi/linux/ip_vs.h, written down by hand a second time: the kernel in memory judges the library with these,
 * so they use neither its tables nor its constants. Attributes that are not known here are kept as they came, as a later kernel would know them.
 */

const LITTLE = os.endianness() === 'LE';

type Kind = 'u8' | 'u16' | 'be16' | 'u32' | 's32' | 'text' | 'hex4' | 'address' | 'flags' | 'hex16';
type Spec = Readonly<Record<number, readonly [name: string, kind: Kind]>>;
type Values = Record<string, unknown>;

/** IPVS_SVC_ATTR_* */
const SERVICE: Spec = {
  1: ['family', 'u16'],
  2: ['protocol', 'u16'],
  3: ['address', 'address'],
  4: ['port', 'be16'],
  5: ['firewallMark', 'u32'],
  6: ['scheduler', 'text'],
  7: ['flags', 'flags'],
  8: ['timeout', 'u32'],
  9: ['netmask', 'hex4'],
  11: ['engine', 'text'],
};
/** IPVS_DEST_ATTR_* */
const DESTINATION: Spec = {
  1: ['address', 'address'],
  2: ['port', 'be16'],
  3: ['forward', 'u32'],
  4: ['weight', 's32'],
  5: ['upperThreshold', 'u32'],
  6: ['lowerThreshold', 'u32'],
  7: ['activeConnections', 'u32'],
  8: ['inactiveConnections', 'u32'],
  9: ['persistentConnections', 'u32'],
  11: ['family', 'u16'],
  13: ['tunnelType', 'u8'],
  14: ['tunnelPort', 'be16'],
  15: ['tunnelFlags', 'u16'],
};
/** IPVS_DAEMON_ATTR_* */
const DAEMON: Spec = {
  1: ['state', 'u32'],
  2: ['interface', 'text'],
  3: ['syncId', 'u32'],
  4: ['maxLength', 'u16'],
  5: ['group', 'hex4'],
  6: ['group6', 'hex16'],
  7: ['port', 'u16'],
  8: ['ttl', 'u8'],
};
/** IPVS_CMD_ATTR_*: nests, and the timeouts. */
const NESTS: Readonly<Record<number, readonly [name: string, spec: Spec]>> = {
  1: ['service', SERVICE],
  2: ['destination', DESTINATION],
  3: ['daemon', DAEMON],
};
const TIMEOUTS: Spec = { 4: ['tcpSeconds', 'u32'], 5: ['tcpFinSeconds', 'u32'], 6: ['udpSeconds', 'u32'] };

export interface KernelService {
  family: number;
  protocol?: number;
  address?: string;
  port?: number;
  firewallMark?: number;
  scheduler?: string;
  flags?: { flags: number; mask: number };
  timeout?: number;
  netmask?: string;
  engine?: string;
  /** Attributes that this file does not know, by their number. */
  others?: Record<number, string>;
}
export interface KernelDestination {
  address: string;
  port: number;
  forward?: number;
  weight?: number;
  upperThreshold?: number;
  lowerThreshold?: number;
  activeConnections?: number;
  inactiveConnections?: number;
  persistentConnections?: number;
  family?: number;
  tunnelType?: number;
  tunnelPort?: number;
  tunnelFlags?: number;
  others?: Record<number, string>;
}
export interface KernelDaemon {
  state?: number;
  interface?: string;
  syncId?: number;
  maxLength?: number;
  group?: string;
  group6?: string;
  port?: number;
  ttl?: number;
}
export interface KernelRequest {
  service?: KernelService;
  destination?: KernelDestination;
  daemon?: KernelDaemon;
  tcpSeconds?: number;
  tcpFinSeconds?: number;
  udpSeconds?: number;
}

const u16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2);
  if (LITTLE) bytes.writeUInt16LE(value);
  else bytes.writeUInt16BE(value);
  return bytes;
};
const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  if (LITTLE) bytes.writeUInt32LE(value >>> 0);
  else bytes.writeUInt32BE(value >>> 0);
  return bytes;
};
const be16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
const u16At = (bytes: Buffer, at = 0): number => (LITTLE ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at));
const u32At = (bytes: Buffer, at = 0): number => (LITTLE ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
/** An array of characters with zeros behind the text. */
const text = (value: string, size: number): Buffer => Buffer.concat([Buffer.from(value), Buffer.alloc(size)], size);
const textAt = (bytes: Buffer, at: number, size: number): string =>
  bytes.toString('utf8', at, at + size).split('\0')[0]!;

function readValue(kind: Kind, bytes: Buffer): unknown {
  switch (kind) {
    case 'u8':
      return bytes[0];
    case 'u16':
      return u16At(bytes);
    case 'be16':
      return bytes.readUInt16BE(0);
    case 'u32':
      return u32At(bytes);
    case 's32':
      return u32At(bytes) | 0;
    case 'text':
      return textAt(bytes, 0, bytes.length);
    case 'flags':
      return { flags: u32At(bytes), mask: u32At(bytes, 4) };
    case 'address':
      return bytes.toString('hex').padEnd(32, '0');
    default:
      return bytes.toString('hex');
  }
}

function writeValue(kind: Kind, value: unknown): Buffer {
  switch (kind) {
    case 'u8':
      return Buffer.from([Number(value)]);
    case 'u16':
      return u16(Number(value));
    case 'be16':
      return be16(Number(value));
    case 'u32':
    case 's32':
      return u32(Number(value));
    case 'text':
      return Buffer.from(`${value}\0`);
    case 'flags': {
      const { flags, mask } = value as { flags: number; mask: number };
      return Buffer.concat([u32(flags), u32(mask)]);
    }
    case 'address':
      return Buffer.from(String(value).padEnd(32, '0'), 'hex');
    default:
      return Buffer.from(String(value), 'hex');
  }
}

function attribute(number: number, payload: Buffer): Buffer {
  const padding = Buffer.alloc((4 - (payload.length % 4)) % 4);
  return Buffer.concat([u16(payload.length + 4), u16(number), payload, padding]);
}

function* attributesIn(bytes: Buffer): Iterable<[number: number, payload: Buffer]> {
  for (let at = 0; bytes.length - at >= 4; ) {
    const length = u16At(bytes, at);
    // Without the flags of nests and byte order.
    yield [u16At(bytes, at + 2) & 0x3fff, bytes.subarray(at + 4, at + length)];
    at += (length + 3) & ~3;
  }
}

function readNest(spec: Spec, bytes: Buffer): Values {
  const values: Values = {};
  for (const [number, payload] of attributesIn(bytes)) {
    const row = spec[number];
    if (row !== undefined) values[row[0]] = readValue(row[1], payload);
    else values.others = { ...(values.others as object), [number]: payload.toString('hex') };
  }
  return values;
}

function writeNest(spec: Spec, values: Values): Buffer {
  const parts: Buffer[] = [];
  for (const [number, [name, kind]] of Object.entries(spec)) {
    if (values[name] !== undefined) parts.push(attribute(Number(number), writeValue(kind, values[name])));
  }
  for (const [number, hex] of Object.entries(values.others ?? {})) {
    parts.push(attribute(Number(number), Buffer.from(hex as string, 'hex')));
  }
  return Buffer.concat(parts);
}

/** IPVS_STATS_ATTR_CONNS to OUTBPS, all zero: the numbers of bytes have 64 bits in either nest. */
const noCounters = (wide: boolean): Buffer =>
  Buffer.concat(
    Array.from({ length: 10 }, (_, i) => attribute(i + 1, Buffer.alloc(wide || i === 3 || i === 4 ? 8 : 4))),
  );
const COUNTERS: Readonly<Record<string, readonly [stats: number, stats64: number]>> = {
  service: [10, 12],
  destination: [10, 12],
};

/** The attributes of a request. */
export function readRequest(bytes: Uint8Array): KernelRequest {
  const request: Values = {};
  for (const [number, payload] of attributesIn(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length))) {
    const nest = NESTS[number];
    const timeout = TIMEOUTS[number];
    if (nest !== undefined) request[nest[0]] = readNest(nest[1], payload);
    else if (timeout !== undefined) request[timeout[0]] = readValue(timeout[1], payload);
  }
  return request as KernelRequest;
}

/** The attributes of an answer, with counters in services and destinations as every kernel sends them. */
export function writeAnswer(answer: KernelRequest): Buffer {
  const parts: Buffer[] = [writeNest(TIMEOUTS, answer as Values)];
  for (const [number, [name, spec]] of Object.entries(NESTS)) {
    const values = (answer as Values)[name];
    if (values === undefined) continue;
    const counters = COUNTERS[name]?.map((each, i) => attribute(each, noCounters(i === 1))) ?? [];
    parts.push(attribute(Number(number), Buffer.concat([writeNest(spec, values as Values), ...counters])));
  }
  return Buffer.concat(parts);
}

/** IPVS_INFO_ATTR_VERSION and CONN_TAB_SIZE. */
export const writeInfo = (version: number, size: number): Buffer =>
  Buffer.concat([attribute(1, u32(version)), attribute(2, u32(size))]);

const significant = (address: string, family: number): string => (family === 10 ? address : address.slice(0, 8));

/** What tells the services of a namespace apart. */
export function serviceKey({ family, protocol, address = '', port, firewallMark }: KernelService): string {
  return firewallMark ? `${family}/${firewallMark}` : `${family}/${protocol}/${significant(address, family)}/${port}`;
}

/** What tells the destinations of a service apart. */
export function destinationKey({ family, address, port }: KernelDestination, serviceFamily: number): string {
  const own = family || serviceFamily;
  return `${own}/${significant(address, own)}/${port}`;
}

/* The socket options. */

/** `struct ip_vs_service_user`: 44 bytes, and `struct ip_vs_dest_user` behind it: 24. */
export const SERVICE_USER = 44;
const SERVICE_ENTRY = 104;
const DESTINATION_ENTRY = 96;
const SERVICES_HEADER = 8;
const DESTINATIONS_HEADER = 24;
export const LAYOUT = { SERVICE_ENTRY, DESTINATION_ENTRY, SERVICES_HEADER, DESTINATIONS_HEADER, INFO: 12, DAEMON: 24 };

/** The first 16 bytes of `ip_vs_service_user`, `ip_vs_service_entry` and `ip_vs_get_dests`. */
export function readKey(bytes: Buffer): KernelService & { port: number } {
  const firewallMark = u32At(bytes, 12);
  const address = bytes.toString('hex', 4, 8).padEnd(32, '0');
  const port = bytes.readUInt16BE(8);
  if (firewallMark !== 0) return { family: 2, firewallMark, port };
  return { family: 2, protocol: u16At(bytes), address, port };
}

/** The protocol that stands in the structure, whether or not the service has one. */
export const protocolOf = (bytes: Buffer): number => u16At(bytes);

export function readServiceUser(bytes: Buffer): KernelService {
  const { port, ...key } = readKey(bytes);
  return {
    ...key,
    ...(key.firewallMark === undefined && { port }),
    scheduler: textAt(bytes, 16, 16),
    flags: { flags: u32At(bytes, 32), mask: 0xffffffff },
    timeout: u32At(bytes, 36),
    netmask: bytes.toString('hex', 40, 44),
  };
}

export function readDestinationUser(bytes: Buffer): KernelDestination {
  return {
    address: bytes.toString('hex', 0, 4).padEnd(32, '0'),
    port: bytes.readUInt16BE(4),
    family: 2,
    forward: u32At(bytes, 8) & 7,
    weight: u32At(bytes, 12) | 0,
    upperThreshold: u32At(bytes, 16),
    lowerThreshold: u32At(bytes, 20),
  };
}

/** How many entries an answer has room for, which stands behind the key. */
export const roomFor = (bytes: Buffer): number => u32At(bytes, 16);
export const servicesRoom = (bytes: Buffer): number => u32At(bytes);

/** `struct ip_vs_service_entry`; its counters, 56 bytes, are zero. */
export function serviceEntry(service: KernelService, destinations: number): Buffer {
  const { protocol = 6, address = '', port = 0, firewallMark = 0, flags, timeout = 0 } = service;
  return Buffer.concat(
    [
      u16(protocol),
      Buffer.alloc(2),
      Buffer.from(address.slice(0, 8).padEnd(8, '0'), 'hex'),
      be16(port),
      Buffer.alloc(2),
      u32(firewallMark),
      text(service.scheduler ?? 'none', 16),
      u32(flags?.flags ?? 0),
      u32(timeout),
      Buffer.from(service.netmask ?? 'ffffffff', 'hex'),
      u32(destinations),
    ],
    SERVICE_ENTRY,
  );
}

/** `struct ip_vs_dest_entry`; the kernel has flags of its own beside the way of forwarding. */
export function destinationEntry(destination: KernelDestination): Buffer {
  const { address, port, forward = 0, weight = 0, upperThreshold = 0, lowerThreshold = 0 } = destination;
  const { activeConnections = 0, inactiveConnections = 0, persistentConnections = 0 } = destination;
  const numbers = [forward | 0x100, weight, upperThreshold, lowerThreshold];
  return Buffer.concat(
    [
      Buffer.from(address.slice(0, 8), 'hex'),
      be16(port),
      Buffer.alloc(2),
      ...[...numbers, activeConnections, inactiveConnections, persistentConnections].map(u32),
    ],
    DESTINATION_ENTRY,
  );
}

/** `struct ip_vs_timeout_user`. */
export const readTimeouts = (
  bytes: Buffer,
): Required<Pick<KernelRequest, 'tcpSeconds' | 'tcpFinSeconds' | 'udpSeconds'>> => ({
  tcpSeconds: u32At(bytes),
  tcpFinSeconds: u32At(bytes, 4),
  udpSeconds: u32At(bytes, 8),
});
/** A structure of nothing but 32-bit numbers. */
export const numbers = (...values: number[]): Buffer => Buffer.concat(values.map(u32));

/** `struct ip_vs_daemon_user`. */
export const readDaemon = (bytes: Buffer): KernelDaemon => ({
  state: u32At(bytes),
  interface: textAt(bytes, 4, 16),
  syncId: u32At(bytes, 20),
});
export const daemonUser = ({ state = 0, interface: device = '', syncId = 0 }: KernelDaemon): Buffer =>
  Buffer.concat([u32(state), text(device, 16), u32(syncId)]);
