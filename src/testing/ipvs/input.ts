import { ETH_P_IP } from '../../linux/if_ether.ts';
import * as Vs from '../../linux/ip_vs.ts';
import { NF_ACCEPT, NF_DROP, NF_INET_LOCAL_OUT as OUTPUT } from '../../linux/netfilter.ts';
import { destinationOf, familyOf, type Packet, sourceOf, u16 } from '../packets/packet.ts';
import { isLocal, isSame, masked } from './address.ts';
import { connect, count, countConnection, end, invalidate, keyOf } from './connections.ts';
import { isSummed, quotedIn, redirectError } from './rewrite.ts';
import { schedule } from './schedule.ts';
import type { Destination, End, IpvsConnection, Service } from './state.ts';
import { isActive, nextState, timeoutOf } from './tcp.ts';
import { type Context, setting, transmit, transmitError } from './transmit.ts';

/* Packets for virtual services (ip_vs_in_hook of net/netfilter/ipvs/ip_vs_core.c). */

const TCP = 6;
const UDP = 17;
const SCTP = 132;
const SYN = 2;
const RST = 4;
const FTP = 21;
const FTP_DATA = 20;
/** net.ipv4.ip_unprivileged_port_start */
const UNPRIVILEGED = 1024;

/** A packet for a service, taken apart. */
interface Incoming {
  readonly family: number;
  readonly protocol: number;
  readonly client: End;
  readonly virtual: End;
  /** Of TCP. */
  readonly flags: number;
}

/** The hook for packets to this host and from it. */
export function input(context: Context, packet: Packet, hook: number): number {
  const { namespace, machine, now } = context;
  const { ipvs } = namespace;
  if (packet.balanced === true || (packet.packetType !== 0 && hook !== OUTPUT)) return NF_ACCEPT;
  if (isOnlyBackup(context)) return NF_ACCEPT;
  const related = inputError(context, packet, hook);
  if (related !== undefined) return related;
  const incoming = takeApart(packet);
  if (incoming === undefined) return NF_ACCEPT;
  if (isFragment(packet)) return fragment(context, packet, incoming);
  if (incoming.protocol === SCTP)
    return find(context, packet, incoming) === undefined ? NF_ACCEPT : machine.notModelled('SCTP through IPVS');
  const known = ipvs.connections.get(keyOf(incoming.protocol, incoming.client, incoming.virtual));
  let replaced: IpvsConnection | undefined;
  let connection = known;
  if (known !== undefined && isReplaced(context, known, incoming)) {
    replaced = known;
    connection = undefined;
  }
  if (connection?.destination?.available === false) {
    if (setting(namespace, 'expire_nodest_conn') === 0) return NF_DROP;
    replaced = connection;
    connection = undefined;
  }
  const begun = connection ?? begin(context, packet, incoming);
  const verdict = typeof begun === 'number' ? begun : pass(context, packet, begun, incoming);
  // The kernel's timer ends it once the packet is through.
  if (replaced !== undefined && ipvs.entries.has(replaced)) end(ipvs, replaced);
  if (typeof begun !== 'number') begun.expires = now + begun.timeout;
  if (typeof begun !== 'number' && begun.isOnePacket) end(ipvs, begun);
  return verdict;
}

function isOnlyBackup({ namespace }: Context): boolean {
  const states = namespace.ipvs.daemons.map(({ state }) => state);
  return states.length === 1 && states[0] === Vs.IP_VS_STATE_BACKUP && setting(namespace, 'backup_only') !== 0;
}

function takeApart(packet: Packet): Incoming | undefined {
  const { bytes, transport, transportProtocol: protocol } = packet;
  if (transport === undefined || (protocol !== TCP && protocol !== UDP && protocol !== SCTP)) return undefined;
  if (bytes.length < transport + 4) return undefined;
  return {
    family: familyOf(packet),
    protocol,
    client: { address: new Uint8Array(sourceOf(packet)), port: u16(bytes, transport) },
    virtual: { address: new Uint8Array(destinationOf(packet)), port: u16(bytes, transport + 2) },
    flags: protocol === TCP ? (bytes[transport + 13] ?? 0) : 0,
  };
}

const isFragment = ({ bytes, protocol, fragmentOffset }: Packet): boolean =>
  fragmentOffset > 0 || (protocol === ETH_P_IP && (bytes[6]! & 0x20) !== 0);

/** The kernel puts IPv4's together first. */
function fragment({ namespace, machine }: Context, packet: Packet, { virtual, family }: Incoming): number {
  const concerns = namespace.ipvs.services.some(each =>
    each.mark === 0 ? isSame(each.address, virtual.address) : each.mark === packet.mark && each.family === family,
  );
  return concerns ? machine.notModelled('fragments of packets for a service of IPVS') : NF_ACCEPT;
}

/** Whether a packet begins a new connection although an old one has the same ends. */
function isReplaced({ namespace }: Context, known: IpvsConnection, { protocol, flags }: Incoming): boolean {
  if (protocol !== TCP || (flags & SYN) === 0) return false;
  if (setting(namespace, 'expire_nodest_conn') !== 0 && known.destination?.weight === 0) return true;
  const mode = setting(namespace, 'conn_reuse_mode');
  if (mode === 0 || known.control !== undefined) return false;
  const isOver = known.state === 'TIME_WAIT' || known.state === 'CLOSE';
  return isOver || ((mode & 2) !== 0 && known.state === 'FIN_WAIT' && known.noOutput);
}

/** The service of a packet (ip_vs_service_find): by mark, by address and port, FTP's data, by address alone. */
function find({ namespace }: Context, { mark }: Packet, { family, protocol, virtual }: Incoming): Service | undefined {
  const { services } = namespace.ipvs;
  const marked = mark === 0 ? undefined : services.find(each => each.mark === mark && each.family === family);
  if (marked !== undefined) return marked;
  const at = (port: number) =>
    services.find(
      each =>
        each.mark === 0 && each.protocol === protocol && each.port === port && isSame(each.address, virtual.address),
    );
  const mayBeFtp = protocol === TCP && (virtual.port === FTP_DATA || virtual.port >= UNPRIVILEGED);
  return at(virtual.port) ?? (mayBeFtp ? at(FTP) : undefined) ?? at(0);
}

/** Makes a connection for a packet that has none; or the verdict where it gets none. */
function begin(context: Context, packet: Packet, incoming: Incoming): IpvsConnection | number {
  const { namespace } = context;
  const { protocol, flags, client, virtual } = incoming;
  if (protocol === TCP) {
    if (packet.bytes.length < packet.transport! + 20) return NF_DROP;
    const isSloppy = setting(namespace, 'sloppy_tcp') !== 0;
    if ((flags & RST) !== 0 || ((flags & SYN) === 0 && !isSloppy)) return NF_ACCEPT;
  }
  const service = find(context, packet, incoming);
  if (service === undefined) return NF_ACCEPT;
  if (isDropped(namespace)) return NF_DROP;
  if (client.port === FTP_DATA || isOwnAnswer(context, packet, incoming)) return NF_ACCEPT;
  if ((service.flags & Vs.IP_VS_SVC_F_PERSISTENT) !== 0) return beginPersistent(context, packet, service, incoming);
  if (service.mark === 0 && virtual.port !== service.port) return withoutServer(context, packet, service, incoming);
  const destination = choose(context, service, incoming);
  if (destination === undefined) return withoutServer(context, packet, service, incoming);
  return open(context, service, incoming, destination, destination.port === 0 ? virtual.port : destination.port);
}

/** drop_packet, which 3 switches on: the first, and every so many after it (ip_vs_todrop). */
function isDropped(namespace: Context['namespace']): boolean {
  if (setting(namespace, 'drop_packet') !== 3) return false;
  if (--namespace.ipvs.dropCounter > 0) return false;
  namespace.ipvs.dropCounter = setting(namespace, 'am_droprate');
  return true;
}

/** An answer of a server on this host begins no connection to its client. */
function isOwnAnswer({ namespace }: Context, packet: Packet, { protocol, client, virtual }: Incoming): boolean {
  if (packet.inDevice !== undefined && !packet.inDevice.loopback) return false;
  return namespace.ipvs.connections.has(keyOf(protocol, virtual, client));
}

function choose(context: Context, service: Service, { client, virtual }: Incoming): Destination | undefined {
  const { namespace, machine, now } = context;
  const arrival = { source: client.address, sourcePort: client.port, destination: virtual.address, now, namespace };
  return schedule(service, arrival, machine);
}

const isOnePacket = ({ flags }: Service, protocol: number): boolean =>
  (flags & Vs.IP_VS_SVC_F_ONEPACKET) !== 0 && protocol === UDP;

function open(
  { namespace, now }: Context,
  service: Service,
  { family, protocol, client, virtual }: Incoming,
  destination: Destination,
  port: number,
  control?: IpvsConnection,
): IpvsConnection {
  const connection = connect(namespace.ipvs, now, {
    family,
    protocol,
    client,
    virtual,
    server: { address: destination.address, port },
    destination,
    isOnePacket: isOnePacket(service, protocol),
    ...(control && { control }),
  });
  countConnection(namespace, destination, now);
  return connection;
}

/** A client that has been here before goes to the same server (ip_vs_sched_persist). */
function beginPersistent(
  context: Context,
  packet: Packet,
  service: Service,
  incoming: Incoming,
): IpvsConnection | number {
  const { namespace, machine, now } = context;
  const { ipvs } = namespace;
  const { protocol, client, virtual, family } = incoming;
  if (service.engine !== undefined) {
    // It reads datagrams, and has the kernel drop whatever else comes.
    if (protocol !== UDP) return NF_DROP;
    return machine.notModelled(`the persistence engine ${service.engine}`);
  }
  const isExact = virtual.port === service.port;
  const template = {
    protocol: !isExact && service.mark !== 0 ? 0 : protocol,
    client: { address: masked(client.address, service.netmask), port: 0 },
    virtual: {
      address: !isExact && service.mark !== 0 ? wordOf(service.mark) : virtual.address,
      port: isExact && service.port !== FTP ? virtual.port : 0,
    },
  };
  const key = keyOf(template.protocol, template.client, template.virtual);
  let control = ipvs.templates.get(key);
  if (control !== undefined && !isUsable(namespace, control)) {
    invalidate(ipvs, control);
    control = undefined;
  }
  if (control === undefined) {
    const destination = choose(context, service, incoming);
    if (destination === undefined) return withoutServer(context, packet, service, incoming);
    const port = isExact && service.port !== FTP ? destination.port : 0;
    control = connect(ipvs, now, {
      ...template,
      family,
      server: { address: destination.address, port },
      destination,
      isTemplate: true,
      timeout: service.timeout * JIFFY,
    });
  }
  const destination = control.destination!;
  const port = isExact && destination.port !== 0 ? destination.port : virtual.port;
  const connection = open(context, service, incoming, destination, port, control);
  control.expires = now + control.timeout;
  return connection;
}

/** Milliseconds. */
const JIFFY = 4;

const wordOf = (mark: number): Uint8Array => Uint8Array.of(mark >>> 24, mark >>> 16, mark >>> 8, mark);

function isUsable(namespace: Context['namespace'], { destination }: IpvsConnection): boolean {
  if (destination?.available !== true) return false;
  return destination.weight !== 0 || setting(namespace, 'expire_quiescent_template') === 0;
}

/** No server may have it (ip_vs_leave). */
function withoutServer(
  { namespace, host, now }: Context,
  packet: Packet,
  service: Service,
  { family, protocol, client, virtual }: Incoming,
): IpvsConnection | number {
  const { ipvs } = namespace;
  if (setting(namespace, 'cache_bypass') !== 0 && service.mark !== 0 && !isLocal(namespace, virtual.address))
    return connect(ipvs, now, {
      family,
      protocol,
      client,
      virtual,
      server: { address: new Uint8Array(virtual.address.length), port: 0 },
      destination: undefined,
      method: Vs.IP_VS_CONN_F_BYPASS,
      isOnePacket: isOnePacket(service, protocol),
    });
  if (service.port === FTP && virtual.port !== FTP) return NF_ACCEPT;
  host.refuse(packet, 'port unreachable');
  return NF_DROP;
}

/** Counts a packet of a connection, follows its state, and sends it on. */
function pass(context: Context, packet: Packet, connection: IpvsConnection, { flags }: Incoming): number {
  count(context.namespace, connection, context.now, 'in', packet.bytes.length);
  follow(context.namespace, connection, flags, 'input');
  return transmit(context, packet, connection);
}

/** Brings the state and the time of a connection up to date with a packet. */
export function follow(
  namespace: Context['namespace'],
  connection: IpvsConnection,
  flags: number,
  direction: 'input' | 'output',
): void {
  const { timeouts } = namespace.ipvs;
  const { destination, control } = connection;
  if (connection.protocol === UDP) {
    connection.timeout = timeouts.udp * 1000;
    if (direction === 'output' && control !== undefined) control.assured = true;
    return;
  }
  if (direction === 'output') connection.noOutput = false;
  const isSecure = setting(namespace, 'secure_tcp') === 3;
  const next = nextState(connection.state, flags, connection.noOutput ? 'inputOnly' : direction, isSecure);
  if (next !== connection.state) {
    const isInactive = !isActive(next);
    if (destination !== undefined && isInactive !== connection.inactive) {
      connection.inactive = isInactive;
      destination.active += isInactive ? -1 : 1;
      destination.inactive += isInactive ? 1 : -1;
    }
    if (next === 'ESTABLISHED' && control !== undefined) control.assured = true;
  }
  connection.state = next;
  connection.timeout = timeoutOf(next, timeouts) * 1000;
}

/** An ICMP error that concerns a connection, from the side of its client (ip_vs_in_icmp); undefined where a packet is none. */
export function inputError(context: Context, packet: Packet, hook: number): number | undefined {
  const { namespace, now, machine } = context;
  const quoted = quotedIn(packet);
  if (quoted === undefined) return undefined;
  const { ipvs } = namespace;
  if (quoted.protocol !== TCP && quoted.protocol !== UDP) return NF_ACCEPT;
  const connection = ipvs.connections.get(keyOf(quoted.protocol, quoted.target, quoted.source));
  if (connection === undefined) {
    if (setting(namespace, 'schedule_icmp') === 0) return NF_ACCEPT;
    return machine.notModelled('scheduling of ICMP errors (net.ipv4.vs.schedule_icmp)');
  }
  // Of ICMPv6 the kernel does not look at the sum here.
  if (packet.protocol === ETH_P_IP && !isSummed(packet)) return NF_DROP;
  count(namespace, connection, now, 'in', packet.bytes.length);
  return transmitError(context, packet, connection, hook, () =>
    redirectError(packet, quoted, 'server', connection.server),
  );
}
