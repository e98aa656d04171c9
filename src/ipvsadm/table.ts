import { checkObject, checkOneOf } from '../codec/index.ts';
import { printable, typeError } from '../errors.ts';
import type { Destination, DestinationEntry, VirtualServer } from '../ip_vs/destination.ts';
import type { Service, ServiceEntry } from '../ip_vs/service.ts';
import type { Rates, Stats } from '../ip_vs/stats.ts';
import { endpoint, flagNames, listedFlags, maskText } from './format.ts';
import { Sorter } from './order.ts';

/** A virtual server as it was read, or as it is meant to be. */
type Server = (Service | ServiceEntry) & { destinations?: readonly (Destination | DestinationEntry)[] };

/**
 * The columns of `formatTable`: 'connections' are those of plain -L, 'persistence' of --persistent-conn, 'tunnels' of --tun-info; the others are
 * named as the options of ipvsadm.
 */
export type TableView = 'connections' | 'stats' | 'rate' | 'thresholds' | 'persistence' | 'tunnels';

const FORWARD: Record<string, string> = {
  masquerade: 'Masq',
  local: 'Local',
  tunnel: 'Tunnel',
  direct: 'Route',
};
const CHECKSUM: Record<string, string> = { none: '-c', required: '+c', remote: 'r+c' };
const NAME_WIDTH = 33;

/** How one view prints the end of a line of its title, of a service and of a real server. */
interface View {
  readonly title: string;
  readonly secondTitle?: string;
  /** Behind the service's name in its column; scheduler and flags where left out. */
  service?(server: Server, exact: boolean): string;
  destination(destination: Destination | DestinationEntry, exact: boolean): string;
}

const left = (values: readonly (string | number)[], widths: readonly number[]): string =>
  values.map((value, i) => String(value).padEnd(widths[i]!)).join(' ');
const right = (values: readonly string[]): string => values.map(value => ` ${value.padStart(8)}`).join('');
const numbered = (title: readonly string[]): string => 'Prot LocalAddress:Port'.padEnd(NAME_WIDTH) + right(title);

const VIEWS: Record<TableView, View> = {
  connections: {
    title: 'Prot LocalAddress:Port Scheduler Flags',
    secondTitle: '           Forward Weight ActiveConn InActConn',
    destination: to => ` ${left([forwardOf(to), weightOf(to), ...connectionsOf(to)], [7, 6, 10, 10])}`,
  },
  tunnels: {
    title: 'Prot LocalAddress:Port Scheduler Flags',
    secondTitle: '           Forward TunnelInfo    Weight ActiveConn InActConn',
    destination: to =>
      ` ${left([forwardOf(to), tunnelOf(to), weightOf(to), ...connectionsOf(to)], [7, 13, 6, 10, 10])}`,
  },
  thresholds: {
    title: `${'Prot LocalAddress:Port'.padEnd(NAME_WIDTH)} Uthreshold Lthreshold ActiveConn InActConn `,
    destination: to =>
      ` ${left([to.upperThreshold ?? 0, to.lowerThreshold ?? 0, ...connectionsOf(to)], [10, 10, 10, 10])}`,
  },
  persistence: {
    title: `${'Prot LocalAddress:Port'.padEnd(NAME_WIDTH)} Weight    PersistConn ActiveConn InActConn `,
    destination: to => ` ${left([weightOf(to), persistentOf(to), ...connectionsOf(to)], [9, 11, 10, 10])}`,
  },
  stats: {
    title: numbered(['Conns', 'InPkts', 'OutPkts', 'InBytes', 'OutBytes']),
    service: (server, exact) => total(server, exact),
    destination: (to, exact) => total(to, exact),
  },
  rate: {
    title: numbered(['CPS', 'InPPS', 'OutPPS', 'InBPS', 'OutBPS']),
    service: (server, exact) => {
      const rates = statsOf(server)?.rates;
      return [...numbersOf(rates), ...bytesOf(rates)].map(value => short(value, exact)).join('');
    },
    // Connections and packets of a real server are never shortened.
    destination: (to, exact) => {
      const rates = statsOf(to)?.rates;
      return (
        right(numbersOf(rates).map(String)) +
        bytesOf(rates)
          .map(value => short(value, exact))
          .join('')
      );
    },
  },
};

/**
 * The table that `ipvsadm -Ln` prints, without its first line (the version) and with its trailing spaces. Services come in the order of firewall mark,
 * family, protocol, address and port, destinations by address and port, compared as ipvsadm compares (192.168.0.1 comes before 10.0.0.1). ipvsadm
 * prints two things wrong which are right here: firewall marks from 2^31 on, and protocols and ways of forwarding that it does not know.
 * @param servers services with their destinations; those that were read have counters
 * @param view the columns; default 'connections'
 * @param options `exact`: do not shorten numbers of nine digits and more to thousands (K), millions (M) and so on; default false
 * @throws TypeError, RangeError the view or an option does not exist.
 * @example
 * console.log(formatTable((await ipvs.snapshot()).servers, 'stats', { exact: true }));
 */
export function formatTable(
  servers: readonly (Server | VirtualServer)[],
  view: TableView = 'connections',
  options: {
    /** Writes whole numbers, not 12K. */
    exact?: boolean;
  } = {},
): string {
  const { title, secondTitle = '', service, destination } = VIEWS[checkView(view)];
  checkObject(options, ['options'], ['exact']);
  const { exact = false } = options;
  if (typeof exact !== 'boolean') throw typeError(['options', 'exact'], 'a boolean', exact);
  const lines = [title, `  -> RemoteAddress:Port${secondTitle}`];
  const sorter = new Sorter();
  for (const index of sorter.services(servers)) {
    const server = servers[index] as Server;
    const name = `${protocolOf(server).padEnd(4)} ${nameOf(server)}`;
    lines.push(
      service === undefined
        ? `${name} ${server.scheduler}${flagsOf(server)}`
        : name.padEnd(NAME_WIDTH) + service(server, exact),
    );
    const destinations = server.destinations ?? [];
    for (const at of sorter.destinations(destinations)) {
      const to = destinations[at]!;
      lines.push(`  -> ${endpoint(to.address, to.port).padEnd(28)}${destination(to, exact)}`);
    }
  }
  return `${lines.map(printable).join('\n')}\n`;
}

function checkView(view: TableView): TableView {
  return checkOneOf(view, ['view'], Object.keys(VIEWS) as TableView[]);
}

function protocolOf(service: Service): string {
  if ('firewallMark' in service) return 'FWM';
  return typeof service.protocol === 'string' ? service.protocol.toUpperCase() : String(service.protocol);
}

function nameOf(service: Service): string {
  if ('firewallMark' in service) return `${service.firewallMark}${service.family === 'ipv6' ? ' IPv6' : ''}`;
  return endpoint(service.address, service.port);
}

function flagsOf(service: Service): string {
  const { persistence, onePacket } = service;
  // As ipvsadm: empty brackets, where the only flag is one that it does not list.
  let text = flagNames(service).length > 0 ? ` (${listedFlags(service).join(',')})` : '';
  if (persistence !== undefined) {
    const mask = maskText(service);
    text += ` persistent ${persistence.timeoutSeconds}`;
    if (mask !== undefined) text += ` mask ${mask}`;
    if (persistence.engine !== undefined) text += ` pe ${persistence.engine}`;
  }
  return onePacket ? `${text} ops` : text;
}

const forwardOf = (to: Destination): string => FORWARD[to.forward] ?? String(to.forward);
const weightOf = (to: Destination): number => to.weight ?? 1;
const connectionsOf = (to: Destination | DestinationEntry): number[] =>
  'activeConnections' in to ? [to.activeConnections, to.inactiveConnections] : [0, 0];
const persistentOf = (to: Destination | DestinationEntry): number =>
  'persistentConnections' in to ? to.persistentConnections : 0;

function tunnelOf({ forward, tunnel }: Destination): string {
  if (forward !== 'tunnel') return 'n/a';
  const { type = 'ipip', port, checksum = 'none' } = tunnel ?? {};
  if (type === 'ipip') return 'ipip';
  const parts = [type, ...(type === 'gue' ? [port ?? 0] : []), CHECKSUM[checksum] ?? checksum];
  return parts.join(':');
}

const statsOf = (entry: object): Stats | undefined => (entry as { stats?: Stats }).stats;
const numbersOf = (from: Stats | Rates | undefined): bigint[] => [
  from?.connections ?? 0n,
  from?.inPackets ?? 0n,
  from?.outPackets ?? 0n,
];
const bytesOf = (from: Stats | Rates | undefined): bigint[] => [from?.inBytes ?? 0n, from?.outBytes ?? 0n];

function total(entry: object, exact: boolean): string {
  const stats = statsOf(entry);
  return [...numbersOf(stats), ...bytesOf(stats)].map(value => short(value, exact)).join('');
}

/** Below this a number is divided by that and marked so: eight digits at most, and a ninth column for the unit. */
const UNITS: readonly (readonly [limit: bigint, divisor: bigint, unit: string])[] = [
  [100_000_000n, 1n, ''],
  [1_000_000_000n, 1_000n, 'K'],
  [100_000_000_000n, 1_000_000n, 'M'],
  [100_000_000_000_000n, 1_000_000_000n, 'G'],
];

function short(value: bigint, exact: boolean): string {
  // The column grows with an exact number and keeps a space before it.
  if (exact) return ` ${String(value).padStart(8)}`;
  const [, divisor, unit] = UNITS.find(([limit]) => value < limit) ?? [0n, 1_000_000_000_000n, 'T'];
  return unit === '' ? String(value).padStart(9) : `${String(value / divisor).padStart(8)}${unit}`;
}
