import * as Vs from '../../linux/ip_vs.ts';
import { AF_INET6 } from '../../linux/socket.ts';
import type { Machine } from '../machine/machine.ts';
import { hasModule, type Namespace } from '../machine/state.ts';
import { hex } from './address.ts';
import { read, settle } from './estimator.ts';
import { TABLE_SIZE } from './netlink.ts';
import type { Counters, Destination, End, IpvsConnection, Service, Totals } from './state.ts';

/* /proc/net/ip_vs, ip_vs_conn and ip_vs_stats, as the kernel prints them. */

const FOLDERS = ['/proc/net/', '/proc/thread-self/net/', '/proc/self/net/'];
const PROTOCOLS: Readonly<Record<number, string>> = {
  0: 'IP',
  1: 'ICMP',
  6: 'TCP',
  17: 'UDP',
  58: 'ICMPv6',
  132: 'SCTP',
};
const METHODS: Readonly<Record<number, string>> = {
  [Vs.IP_VS_CONN_F_LOCALNODE]: 'Local',
  [Vs.IP_VS_CONN_F_TUNNEL]: 'Tunnel',
  [Vs.IP_VS_CONN_F_DROUTE]: 'Route',
};

const hexadecimal = (value: number, digits: number): string => value.toString(16).toUpperCase().padStart(digits, '0');
const nameOf = (protocol: number): string => PROTOCOLS[protocol] ?? `IP_${protocol}`;

/** Eight hexadecimal digits, or eight groups of four. */
function addressText(address: Uint8Array): string {
  const digits = hex(address);
  return address.length === 4 ? digits.toUpperCase() : digits.match(/.{4}/g)!.join(':');
}

/** A file of IPVS; undefined where a path is none. */
export function ipvsFile(machine: Machine, namespace: Namespace, path: string): string | undefined {
  const folder = FOLDERS.find(each => path.startsWith(each));
  if (folder === undefined || !hasModule(machine.release, 'ip_vs')) return undefined;
  const now = Number(machine.state.now);
  switch (path.slice(folder.length)) {
    case 'ip_vs':
      return servicesText(namespace);
    case 'ip_vs_conn':
      return connectionsText(namespace, now);
    case 'ip_vs_stats':
      settle(namespace, namespace.ipvs.counters, now);
      return statsText(namespace.ipvs.counters);
    default:
      return undefined;
  }
}

function servicesText({ ipvs }: Namespace): string {
  const ordered = [
    ...ipvs.services.filter(({ mark }) => mark === 0),
    ...ipvs.services.filter(({ mark }) => mark !== 0),
  ];
  return [
    `IP Virtual Server version 1.2.1 (size=${TABLE_SIZE})`,
    'Prot LocalAddress:Port Scheduler Flags',
    '  -> RemoteAddress:Port Forward Weight ActiveConn InActConn',
    ...ordered.flatMap(each => [serviceLine(each), ...each.destinations.map(destinationLine)]),
    '',
  ].join('\n');
}

function serviceLine({ mark, family, protocol, address, port, scheduler, flags, timeout, netmask }: Service): string {
  const ops = (flags & Vs.IP_VS_SVC_F_ONEPACKET) === 0 ? '' : 'ops ';
  const persistent =
    (flags & Vs.IP_VS_SVC_F_PERSISTENT) === 0 ? '' : `persistent ${timeout | 0} ${hexadecimal(swapped(netmask), 8)}`;
  if (mark !== 0) return `FWM  ${hexadecimal(mark, 8)} ${scheduler} ${ops}${persistent}`;
  const end = `${nameOf(protocol)}  `;
  if (family === AF_INET6) return `${end}[${addressText(address)}]:${hexadecimal(port, 4)} ${scheduler} ${persistent}`;
  return `${end}${addressText(address)}:${hexadecimal(port, 4)} ${scheduler} ${ops}${persistent}`;
}

/** As ntohl() has it. */
function swapped(value: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, value, true);
  return view.getUint32(0);
}

function destinationLine({ address, port, flags, weight, active, inactive }: Destination): string {
  const where = address.length === 4 ? addressText(address) : `[${addressText(address)}]`;
  const method = METHODS[flags & Vs.IP_VS_CONN_F_FWD_MASK] ?? 'Masq';
  const columns = [method.padEnd(7), `${weight}`.padEnd(6), `${active}`.padEnd(10), `${inactive}`.padEnd(10)];
  return `  -> ${where}:${hexadecimal(port, 4)}      ${columns.join(' ')}`;
}

function connectionsText({ ipvs }: Namespace, now: number): string {
  const title = 'Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData';
  return [title, ...[...ipvs.entries].map(each => connectionLine(each, now)), ''].join('\n');
}

const endText = ({ address, port }: End): string => `${addressText(address)} ${hexadecimal(port, 4)}`;

function connectionLine(connection: IpvsConnection, now: number): string {
  const { protocol, client, virtual, server, isTemplate, assured, expires, family } = connection;
  const state = isTemplate ? (assured ? 'ASSURED' : 'NONE') : connection.state;
  const seconds = Math.max(0, Math.floor((expires - now) / 1000));
  // The mark that a template stands for is four bytes of an address.
  const to = family === AF_INET6 ? { ...virtual, address: widened(virtual.address) } : virtual;
  return `${nameOf(protocol).padEnd(3)} ${endText(client)} ${endText(to)} ${endText(server)} ${state.padEnd(11)} ${`${seconds}`.padStart(7)}`;
}

function widened(address: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes.set(address);
  return bytes;
}

function statsText(counters: Counters): string {
  const { totals, rates } = read(counters);
  const line = ({ connections, inPackets, outPackets, inBytes, outBytes }: Totals) =>
    [
      ...[connections, inPackets, outPackets].map(each => each.toString(16).toUpperCase().padStart(8)),
      ...[inBytes, outBytes].map(each => each.toString(16).toUpperCase().padStart(16)),
    ].join(' ');
  return [
    '   Total Incoming Outgoing         Incoming         Outgoing',
    '   Conns  Packets  Packets            Bytes            Bytes',
    line(totals),
    '',
    ' Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s',
    line(rates),
    '',
  ].join('\n');
}
