import type { Destination, DestinationEntry } from './destination.ts';
import { PROTOCOLS, type Service, type ServiceEntry, type VirtualServer } from './service.ts';
import type { Stats } from './stats.ts';

/** A virtual server as it was read, or as it is meant to be. */
type Server = (Service | ServiceEntry) & { destinations?: readonly (Destination | DestinationEntry)[] };

const FORWARD: Record<string, string> = {
  masquerade: 'Masq',
  local: 'Local',
  tunnel: 'Tunnel',
  direct: 'Route',
  bypass: 'Bypass',
};

/**
 * The table of `ipvsadm -Ln`, or with 'stats' of `ipvsadm -Ln --stats`, without the line of the version. Services come in the order of their
 * addresses, whatever the kernel's.
 */
export function formatTable(
  servers: readonly (Server | VirtualServer)[],
  view: 'connections' | 'stats' = 'connections',
): string {
  const lines =
    view === 'stats'
      ? ['Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes', '  -> RemoteAddress:Port']
      : [
          'Prot LocalAddress:Port Scheduler Flags',
          '  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn',
        ];
  for (const server of [...servers].sort(byName)) {
    const name = `${protocolOf(server).padEnd(4)} ${nameOf(server)}`;
    lines.push(view === 'stats' ? name.padEnd(33) + counters(server) : `${name} ${server.scheduler}${flagsOf(server)}`);
    for (const destination of [...(server.destinations ?? [])].sort(byAddress)) {
      const to = endpoint(destination.address, destination.port);
      lines.push(view === 'stats' ? `  -> ${to}`.padEnd(33) + counters(destination) : connectionsOf(to, destination));
    }
  }
  return `${lines.join('\n')}\n`;
}

function protocolOf(service: Service): string {
  if ('firewallMark' in service) return 'FWM';
  return typeof service.protocol === 'string' ? service.protocol.toUpperCase() : String(service.protocol);
}

function nameOf(service: Service): string {
  if ('firewallMark' in service) return `${service.firewallMark}${service.family === 'ipv6' ? ' IPv6' : ''}`;
  return endpoint(service.address, service.port);
}

const endpoint = (address: string, port: number): string =>
  `${address.includes(':') ? `[${address}]` : address}:${port}`;

function byName(a: Server, b: Server): number {
  const key = (server: Server) =>
    'firewallMark' in server ? [999, server.firewallMark] : [PROTOCOLS[server.protocol as 'tcp'] ?? 255, 0];
  const [p, m] = key(a);
  const [q, n] = key(b);
  return p! - q! || m! - n! || nameOf(a).localeCompare(nameOf(b), 'en', { numeric: true });
}

function byAddress(a: Destination, b: Destination): number {
  return endpoint(a.address, a.port).localeCompare(endpoint(b.address, b.port), 'en', { numeric: true });
}

function flagsOf({ schedulerFlags, persistence, onePacket }: Service): string {
  let text = '';
  if (schedulerFlags !== undefined && schedulerFlags.length > 0) text += ` (${schedulerFlags.join(',')})`;
  if (persistence !== undefined) {
    text += ` persistent ${persistence.timeoutSeconds}`;
    if (persistence.netmask !== undefined) text += ` mask ${persistence.netmask}`;
    if (persistence.engine !== undefined) text += ` pe ${persistence.engine}`;
  }
  return onePacket ? `${text} ops` : text;
}

function connectionsOf(to: string, destination: Destination | DestinationEntry): string {
  const forward = FORWARD[destination.forward] ?? String(destination.forward);
  const [active, inactive] =
    'stats' in destination ? [destination.activeConnections, destination.inactiveConnections] : [0, 0];
  const columns = [
    to.padEnd(28),
    forward.padEnd(7),
    String(destination.weight ?? 1).padEnd(6),
    String(active).padEnd(10),
    String(inactive),
  ];
  return `  -> ${columns.join(' ')}`;
}

function counters(entry: object): string {
  const stats = (entry as { stats?: Stats }).stats;
  const values = [stats?.connections, stats?.inPackets, stats?.outPackets, stats?.inBytes, stats?.outBytes];
  return values.map(value => short(value ?? 0n).padStart(9)).join('');
}

/** Eight digits at most, then thousands, millions and so on, as ipvsadm has it. */
function short(value: bigint): string {
  const units: [bigint, bigint, string][] = [
    [100_000_000n, 1n, ''],
    [1_000_000_000n, 1_000n, 'K'],
    [100_000_000_000n, 1_000_000n, 'M'],
    [100_000_000_000_000n, 1_000_000_000n, 'G'],
  ];
  const [, divisor, suffix] = units.find(([limit]) => value < limit) ?? [0n, 1_000_000_000_000n, 'T'];
  return `${value / divisor}${suffix}`;
}
