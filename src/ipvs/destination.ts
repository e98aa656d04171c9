import { checkAddress, checkInteger, checkObject, checkOneOf } from '../codec/index.ts';
import { type Path, rangeError } from '../errors.ts';
import { AF_INET, AF_INET6 } from '../ffi/constants.ts';
import type { WireDestination } from './attributes.ts';
import * as C from './constants.ts';
import { addressBytes, addressText, ipv4Bytes, type ServiceKey } from './service.ts';
import { readStats, type Stats } from './stats.ts';

export const FORWARD = {
  masquerade: C.IP_VS_CONN_F_MASQ,
  local: C.IP_VS_CONN_F_LOCALNODE,
  tunnel: C.IP_VS_CONN_F_TUNNEL,
  direct: C.IP_VS_CONN_F_DROUTE,
  bypass: C.IP_VS_CONN_F_BYPASS,
} as const;
const TUNNELS = {
  ipip: C.IP_VS_CONN_F_TUNNEL_TYPE_IPIP,
  gue: C.IP_VS_CONN_F_TUNNEL_TYPE_GUE,
  gre: C.IP_VS_CONN_F_TUNNEL_TYPE_GRE,
} as const;
const CHECKSUMS = {
  none: C.IP_VS_TUNNEL_ENCAP_FLAG_NOCSUM,
  required: C.IP_VS_TUNNEL_ENCAP_FLAG_CSUM,
  remote: C.IP_VS_TUNNEL_ENCAP_FLAG_REMCSUM,
} as const;

/** How packets reach a real server. */
export type Forward = keyof typeof FORWARD;

export interface Tunnel {
  type: keyof typeof TUNNELS | number;
  /** GUE only: the UDP port that the server decapsulates on. */
  port?: number;
  /** Of the encapsulation; default none (Linux 5.3). */
  checksum?: keyof typeof CHECKSUMS | number;
}

/** What identifies a real server within its service. */
export interface DestinationKey {
  address: string;
  port: number;
}

/** A real server. */
export interface Destination extends DestinationKey {
  /**
   * masquerade rewrites addresses and ports both ways; direct sends the packet unchanged to the server's link-layer address, and the server
   * must accept the service's address and port; tunnel wraps it. A server with an address of this namespace itself is served locally whatever
   * the method, which is listed as it was set.
   */
  forward: Forward | number;
  /** 0 to 2^31-1, default 1. A server of weight 0 gets no new connections and keeps those it has. */
  weight?: number;
  /** More connections than this and the server gets no new ones; 0, the default, is no limit. */
  upperThreshold?: number;
  /** Below this it gets new ones again; default three quarters of the upper threshold. */
  lowerThreshold?: number;
  /** With forward 'tunnel'; default IPIP (GUE from Linux 5.2, GRE from 5.3). */
  tunnel?: Tunnel;
}

/** A real server as the kernel has it. */
export interface DestinationEntry extends Destination {
  weight: number;
  /** Connections that are established, and all others. */
  activeConnections: number;
  inactiveConnections: number;
  /** Templates that tie a client to this server. */
  persistentConnections: number;
  stats: Stats;
}

const KEY_FIELDS = ['address', 'port'];
const READ_FIELDS = ['activeConnections', 'inactiveConnections', 'persistentConnections', 'stats'];
const FIELDS = [...KEY_FIELDS, 'forward', 'weight', 'upperThreshold', 'lowerThreshold', 'tunnel', ...READ_FIELDS];
const MAX_WEIGHT = 0x7fffffff;
/** From 2^31 on newer kernels refuse (7.2) what older ones took. */
const MAX_THRESHOLD = 0x7fffffff;

export function writeDestinationKey(key: DestinationKey): WireDestination {
  checkObject(key, [], FIELDS);
  const ipv4 = ipv4Bytes(key.address);
  if (ipv4 === undefined) checkAddress(key.address, ['address']);
  const address = ipv4 ?? addressBytes(key.address);
  const port = checkInteger(key.port, ['port'], 0, 65535);
  return { address, port, family: ipv4 === undefined ? AF_INET6 : AF_INET };
}

/** All attributes of a real server: an update that leaves one out would reset it. */
export function writeDestination(
  service: ServiceKey,
  destination: Destination,
  serviceFamily: number,
): WireDestination {
  const wire = writeDestinationKey(destination);
  const forward = checkName(destination.forward, ['forward'], FORWARD, C.IP_VS_CONN_F_FWD_MASK);
  const tunneled = forward === FORWARD.tunnel;
  if (wire.family !== serviceFamily && !tunneled) {
    throw rangeError(['address'], "an address of the service's family (a tunnel may change it)", destination.address);
  }
  const sameport = forward === FORWARD.direct || tunneled;
  if (sameport && 'port' in service && service.port !== destination.port) {
    throw rangeError(['port'], `the service's port ${service.port} (only masquerade can change it)`, destination.port);
  }
  wire.forward = forward;
  Object.assign(wire, writeLimits(destination));
  if (destination.tunnel !== undefined) writeTunnel(wire, destination.tunnel, tunneled);
  return wire;
}

/** Weight and thresholds, which go together with any way of forwarding. */
export function writeLimits(destination: Pick<Destination, 'weight' | 'upperThreshold' | 'lowerThreshold'>) {
  // null is no default.
  const { weight = 1, upperThreshold = 0, lowerThreshold = 0 } = destination;
  const wire = {
    weight: checkInteger(weight, ['weight'], 0, MAX_WEIGHT),
    upperThreshold: checkInteger(upperThreshold, ['upperThreshold'], 0, MAX_THRESHOLD),
    lowerThreshold: checkInteger(lowerThreshold, ['lowerThreshold'], 0, MAX_THRESHOLD),
  };
  if (wire.lowerThreshold > wire.upperThreshold) {
    throw rangeError(
      ['lowerThreshold'],
      `at most the upper threshold ${wire.upperThreshold}`,
      destination.lowerThreshold,
    );
  }
  return wire;
}

function writeTunnel(wire: WireDestination, tunnel: Tunnel, tunneled: boolean): void {
  checkObject(tunnel, ['tunnel'], ['type', 'port', 'checksum']);
  if (!tunneled) throw rangeError(['tunnel'], "forward: 'tunnel' with it", tunnel);
  const { port = 0, checksum = 'none' } = tunnel;
  wire.tunnelType = checkName(tunnel.type, ['tunnel', 'type'], TUNNELS, 0xff);
  wire.tunnelPort = checkInteger(port, ['tunnel', 'port'], 0, 65535);
  wire.tunnelFlags = checkName(checksum, ['tunnel', 'checksum'], CHECKSUMS, 0xffff);
  const gue = wire.tunnelType === TUNNELS.gue;
  if (gue !== wire.tunnelPort > 0)
    throw rangeError(['tunnel', 'port'], gue ? 'a port for GUE' : 'no port (GUE has one)', tunnel.port);
  const { tunnelType, tunnelFlags } = wire;
  if (tunnelType === TUNNELS.ipip && tunnelFlags !== CHECKSUMS.none)
    throw rangeError(['tunnel', 'checksum'], 'no checksum with IPIP, which has none', checksum);
  if (tunnelType === TUNNELS.gre && tunnelFlags === CHECKSUMS.remote)
    throw rangeError(['tunnel', 'checksum'], "'none' or 'required' (remote checksums are GUE's)", checksum);
}

function checkName(value: unknown, path: Path, names: Readonly<Record<string, number>>, max: number): number {
  if (typeof value === 'number') return checkInteger(value, path, 0, max);
  const known = typeof value === 'string' && Object.hasOwn(names, value) ? names[value] : undefined;
  return known ?? names[checkOneOf(value, path, Object.keys(names))]!;
}

/** `family` is the service's, for kernels that do not say a destination's own. */
export function readDestination(wire: WireDestination, family: number): DestinationEntry {
  const forward = (wire.forward ?? 0) & C.IP_VS_CONN_F_FWD_MASK;
  const entry: DestinationEntry = {
    address: addressText(wire.address, wire.family || family),
    port: wire.port,
    forward: nameOf(FORWARD, forward),
    weight: wire.weight ?? 0,
    activeConnections: wire.activeConnections ?? 0,
    inactiveConnections: wire.inactiveConnections ?? 0,
    persistentConnections: wire.persistentConnections ?? 0,
    stats: readStats(wire),
  };
  if (wire.upperThreshold) entry.upperThreshold = wire.upperThreshold;
  if (wire.lowerThreshold) entry.lowerThreshold = wire.lowerThreshold;
  if (forward === FORWARD.tunnel && wire.tunnelType !== undefined) {
    entry.tunnel = { type: nameOf(TUNNELS, wire.tunnelType) };
    if (wire.tunnelPort) entry.tunnel.port = wire.tunnelPort;
    if (wire.tunnelFlags) entry.tunnel.checksum = nameOf(CHECKSUMS, wire.tunnelFlags);
  }
  return entry;
}

function nameOf<Names extends Record<string, number>>(names: Names, value: number): (keyof Names & string) | number {
  for (const name in names) if (names[name] === value) return name;
  return value;
}
