import { checkAddress, checkInteger } from '../codec/index.ts';
import { rangeError } from '../errors.ts';
import * as C from '../linux/ip_vs.ts';
import { AF_INET, AF_INET6 } from '../linux/socket.ts';
import { addressBytes, addressText, ipv4Bytes } from './address.ts';
import type { WireDestination } from './attributes.ts';
import { CHECKSUMS, destinationRows, FORWARD, TUNNELS } from './destination-rows.ts';
import { FieldTable, type Groups } from './fields.ts';
import type { Kept, Scheduling, Service, ServiceKey } from './service.ts';
import { readStats, type Stats } from './stats.ts';

/** How packets reach a destination. */
export type Forward = keyof typeof FORWARD;

/** The encapsulation of packets to a destination whose `forward` is 'tunnel'. */
export interface Tunnel {
  /** The kind of tunnel: 'ipip', 'gue' or 'gre'. */
  type: keyof typeof TUNNELS | number;
  /** GUE only: the UDP port that the server decapsulates on. */
  port?: number;
  /** Of the encapsulation; default none (Linux 5.3). */
  checksum?: keyof typeof CHECKSUMS | number;
}

/** What identifies a destination in its service. */
export interface DestinationKey {
  /** The address of the real server. */
  address: string;
  /**
   * 0 to 65535. Only 'masquerade' changes ports, and not for a service of every port: in all other cases it has to be the port of the service. With
   * persistence for a firewall mark the kernel ignores it, and the destination gets the port that the client asked for.
   */
  port: number;
}

/** A destination of a service: a real server. */
export interface Destination extends DestinationKey {
  /**
   * 'masquerade' rewrites addresses and ports in both directions. 'direct' sends the packet unchanged to the link-layer address of the destination,
   * which must accept the address and port of the service. 'tunnel' wraps the packet. The kernel delivers locally to an address of the namespace itself,
   * whatever the method, and lists the method as it was set.
   */
  forward: Forward | number;
  /** 0 to 2^31-1, default 1. A destination of weight 0 gets no new connections and keeps those it has. */
  weight?: number;
  /**
   * With this many connections the destination gets no new ones: 0 to 2^31-1, default 0, which is no limit. The kernel counts inactive connections, too:
   * a TCP connection for two minutes after its end (`timeouts().tcpFinSeconds`), a UDP connection for five.
   */
  upperThreshold?: number;
  /** Below this many connections, inactive ones included, it gets new ones again: 0 to `upperThreshold`. Default (0): three quarters of that. */
  lowerThreshold?: number;
  /** With forward 'tunnel'; default IPIP (GUE from Linux 5.2, GRE from 5.3). */
  tunnel?: Tunnel;
}

/** A destination as the kernel has it, with its connections and counters. */
export interface DestinationEntry extends Destination {
  weight: number;
  /** Connections that are established, and all others. */
  activeConnections: number;
  /** Connections that are not established (any more). */
  inactiveConnections: number;
  /** Templates that tie a client to this server. */
  persistentConnections: number;
  /** What went to and came from this server. */
  stats: Stats;
}

/** A service with its destinations. */
export type VirtualServer = Service & {
  /** The real servers. */
  destinations: Destination[];
};

/** The settings of a destination, and what follows from them. */
export const DESTINATION = new FieldTable<WireDestination>(destinationRows, {
  tunnel: ({ forward = 0 }) => (forward & C.IP_VS_CONN_F_FWD_MASK) === C.IP_VS_CONN_F_TUNNEL,
});
const DEFAULTS = DESTINATION.withDefaults({ address: '', port: 0, family: AF_INET }, AF_INET);
/** Kernels before 5.2 do not tell the type of a tunnel, which is IPIP. */
const TOLD: Groups<WireDestination> = { tunnel: ({ tunnelType }) => tunnelType !== undefined };

export function writeDestinationKey(key: DestinationKey): WireDestination {
  return encodeKey(key, { address: '', port: 0, family: 0 });
}

function encodeKey(key: DestinationKey, wire: WireDestination): WireDestination {
  DESTINATION.checkNames(key);
  const ipv4 = ipv4Bytes(key.address);
  if (ipv4 === undefined) checkAddress(key.address, ['address']);
  wire.address = ipv4 ?? addressBytes(key.address);
  wire.port = checkInteger(key.port, ['port'], 0, 65535);
  wire.family = ipv4 === undefined ? AF_INET6 : AF_INET;
  return wire;
}

/**
 * All attributes of a destination: an update that leaves one out would reset it.
 * @throws TypeError, RangeError what the kernel cannot hold, and of what differs from `kept`, what it should not be made to hold.
 */
export function writeDestination(
  service: ServiceKey,
  destination: Destination,
  serviceFamily: number,
  kept?: Kept<WireDestination>,
): WireDestination {
  const wire = encodeDestination(destination, serviceFamily);
  if (kept !== 'anything') checkDestination(service, destination, wire, kept);
  return wire;
}

/** Encodes every value that a destination can be read with. */
function encodeDestination(destination: Destination, serviceFamily: number): WireDestination {
  const wire = encodeKey(destination, { ...DEFAULTS });
  DESTINATION.encode(destination, wire, serviceFamily);
  const { upperThreshold = 0, lowerThreshold = 0 } = wire;
  const tunneled = wire.forward === FORWARD.tunnel;
  if (wire.family !== serviceFamily && !tunneled) {
    throw rangeError(['address'], "an address of the service's family (a tunnel may change it)", destination.address);
  }
  if (lowerThreshold > upperThreshold) {
    throw rangeError(['lowerThreshold'], `at most the upper threshold ${upperThreshold}`, lowerThreshold);
  }
  if (destination.tunnel !== undefined && !tunneled) {
    throw rangeError(['tunnel'], "forward: 'tunnel' with it", destination.tunnel);
  }
  return wire;
}

/** Refuses values that the kernel takes although they do not work, unless the destination has them already. */
function checkDestination(
  service: ServiceKey,
  destination: Destination,
  wire: WireDestination,
  kept: WireDestination | undefined,
): void {
  const { port, tunnel } = destination;
  const { forward } = wire;
  const forwarded = kept !== undefined && forward === ((kept.forward ?? 0) & C.IP_VS_CONN_F_FWD_MASK);
  if (!forwarded) checkPort(service, port, forward);
  DESTINATION.checkNew(destination, wire, kept);
  if (tunnel !== undefined && !isSameTunnel(wire, kept)) checkTunnel(wire, tunnel);
}

/** Only masquerade can change the port, but not of a service of every port, which always has persistence. */
function checkPort(service: ServiceKey, port: number, forward: number | undefined): void {
  if (!('port' in service) || service.port === port) return;
  if (forward === FORWARD.direct || forward === FORWARD.tunnel) {
    throw rangeError(['port'], `the service's port ${service.port} (only masquerade can change it)`, port);
  }
  if (forward === FORWARD.masquerade && service.port === 0) {
    throw rangeError(
      ['port'],
      'the port 0 (with a service of every port the server gets the port that the client asked for)',
      port,
    );
  }
}

/**
 * Does the kernel ignore the port of this destination? With persistence for a firewall mark, the destination gets the port that the client asked for. The
 * same holds for a service of every port, for which another port is refused.
 */
export function ignoresPort(service: ServiceKey, { port, forward }: Destination): boolean {
  const masqueraded = forward === 'masquerade' || forward === FORWARD.masquerade;
  return (
    masqueraded && port !== 0 && 'firewallMark' in service && (service as Partial<Scheduling>).persistence !== undefined
  );
}

function isSameTunnel(a: WireDestination, b: WireDestination | undefined): boolean {
  if (b === undefined) return false;
  const { tunnelType = 0, tunnelPort = 0, tunnelFlags = 0 } = b;
  return a.tunnelType === tunnelType && a.tunnelPort === tunnelPort && a.tunnelFlags === tunnelFlags;
}

function checkTunnel(wire: WireDestination, { port, checksum }: Tunnel): void {
  const { tunnelType, tunnelPort = 0, tunnelFlags } = wire;
  const gue = tunnelType === TUNNELS.gue;
  if (gue !== tunnelPort > 0)
    throw rangeError(['tunnel', 'port'], gue ? 'a port for GUE' : 'no port (GUE has one)', port);
  if (tunnelType === TUNNELS.ipip && tunnelFlags !== CHECKSUMS.none)
    throw rangeError(['tunnel', 'checksum'], 'no checksum with IPIP, which has none', checksum);
  if (tunnelType === TUNNELS.gre && tunnelFlags === CHECKSUMS.remote)
    throw rangeError(['tunnel', 'checksum'], "'none' or 'required' (remote checksums are GUE's)", checksum);
}

/** Which other fields a tunnel of this type has. */
export function tunnelHas({ type, checksum }: Tunnel): { port: boolean; checksum: boolean } {
  const number = typeof type === 'number' ? type : TUNNELS[type];
  const gue = number === TUNNELS.gue;
  const remote = checksum === 'remote' || checksum === CHECKSUMS.remote;
  return { port: gue, checksum: gue || (number === TUNNELS.gre && !remote) };
}

/** As the kernel has it. `family` is that of the service, for kernels that do not tell a destination's own. */
export function readDestination(wire: WireDestination, family: number): DestinationEntry {
  const entry: DestinationEntry = {
    address: addressText(wire.address, wire.family || family),
    port: wire.port,
    // What every entry has; the values are read below.
    forward: 0,
    weight: 0,
    activeConnections: 0,
    inactiveConnections: 0,
    persistentConnections: 0,
    stats: readStats(wire),
  };
  DESTINATION.decode(entry, wire, family, TOLD);
  DESTINATION.decodeReadings(entry, wire);
  return entry;
}

/** As above, without what only the kernel changes. */
export function readDestinationSettings(wire: WireDestination, family: number): Destination {
  const address = addressText(wire.address, wire.family || family);
  const destination: Destination = { address, port: wire.port, forward: 0, weight: 0 };
  DESTINATION.decode(destination, wire, family, TOLD);
  return destination;
}
