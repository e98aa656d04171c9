import { NO_CONTEXT, type Struct, sourceOf, Writer } from '../../src/codec/index.ts';
import {
  commandTable,
  infoTable,
  type WireCommand,
  type WireDaemon,
  type WireDestination,
  type WireService,
} from '../../src/ip_vs/attributes.ts';
import * as S from '../../src/ip_vs/sockopt-structs.ts';
import { destinationId, keyPart, serviceId } from '../../src/ip_vs/wire.ts';
import type { IpvsTransport, Options, Via } from '../../src/ipvs/backends/socket.ts';
import { GENL_ID_CTRL } from '../../src/linux/genetlink.ts';
import * as C from '../../src/linux/ip_vs.ts';
import { NLM_F_ACK, NLM_F_DUMP, NLM_F_MULTI } from '../../src/linux/netlink.ts';
import { genlmsghdr } from '../../src/netlink/generic.ts';
import { LOST } from '../../src/netlink/transport.ts';
import {
  type Answer,
  acknowledge,
  done,
  MemoryTransport,
  message,
  type Received,
  received,
  refuse,
} from './memory-transport.ts';

const FAMILY = 0x20;
const [EPERM, ENOENT, ESRCH, EEXIST, ENODEV, EINVAL, EOPNOTSUPP] = [-1, -2, -3, -17, -19, -22, -95];
const SCHEDULERS = ['rr', 'wrr', 'lc', 'wlc', 'sh', 'dh', 'mh', 'sed', 'nq', 'fo', 'ovf', 'none'];
const HASHED = C.IP_VS_SVC_F_HASHED;

export interface Kept {
  service: WireService;
  destinations: Map<string, WireDestination>;
}

/** What IPVS does with requests, as far as its tables go: errnos, what an update replaces, what is read back. */
export class IpvsKernel {
  readonly services = new Map<string, Kept>();
  timeouts = { tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 300 };
  /** By their state, 1 master and 2 backup. */
  readonly daemons = new Map<number, WireDaemon>();
  /** The schedulers that are built in. */
  readonly schedulers = new Set(SCHEDULERS);
  /** Every request that changes something, by its number, and whether it was refused. */
  readonly log: { command: number; errno: number; value: WireCommand }[] = [];
  /** Netlink is refused, as in an unprivileged container. */
  netlinkDenied = false;
  sockoptDenied = false;
  /** As before Linux 5.2. */
  ignoresTunnels = false;
  /** How many answers of one datagram fit the receive buffer. */
  answersKept = Number.POSITIVE_INFINITY;
  /** Answers such a request in place of the tables; undefined lets it pass. */
  refuses: ((command: number, value: WireCommand) => number | undefined) | undefined;
  /** As where the module cannot be loaded. */
  missing = false;
  /** Called before each request, to do what others do at the same time. */
  before: ((command: number, value: WireCommand) => void) | undefined;

  execute(command: number, value: WireCommand): number {
    this.before?.(command, value);
    const errno = this.refuses?.(command, value) ?? this.#execute(command, value);
    this.log.push({ command, errno, value });
    return errno;
  }

  #execute(command: number, value: WireCommand): number {
    if (command === C.IPVS_CMD_FLUSH) {
      this.services.clear();
      return 0;
    }
    if (command === C.IPVS_CMD_SET_CONFIG) {
      for (const key of ['tcpSeconds', 'tcpFinSeconds', 'udpSeconds'] as const) {
        if (value[key]) this.timeouts[key] = value[key];
      }
      return 0;
    }
    if (command === C.IPVS_CMD_NEW_DAEMON || command === C.IPVS_CMD_DEL_DAEMON)
      return this.#daemon(command, value.daemon);
    const { service } = value;
    if (service === undefined) return command === C.IPVS_CMD_ZERO ? 0 : EINVAL;
    const id = serviceId(service);
    const kept = this.services.get(id);
    switch (command) {
      case C.IPVS_CMD_NEW_SERVICE:
      case C.IPVS_CMD_SET_SERVICE: {
        const full = [service.scheduler, service.flags, service.timeout, service.netmask];
        if (full.includes(undefined)) return EINVAL;
        if (command === C.IPVS_CMD_NEW_SERVICE ? kept !== undefined : kept === undefined) {
          return kept === undefined ? ESRCH : EEXIST;
        }
        if (!this.schedulers.has(service.scheduler!)) return ENOENT;
        if (service.engine !== undefined && service.engine !== 'sip') return ENOENT;
        const { flags = 0, mask = 0 } = service.flags ?? {};
        const bits = (((kept?.service.flags?.flags ?? 0) & ~mask) | (flags & mask) | HASHED) >>> 0;
        const stored = { ...service, flags: { flags: bits, mask: 0xffffffff } };
        this.services.set(id, { service: stored, destinations: kept?.destinations ?? new Map() });
        return 0;
      }
      case C.IPVS_CMD_DEL_SERVICE:
        return this.services.delete(id) ? 0 : ESRCH;
      case C.IPVS_CMD_ZERO:
        return kept === undefined ? ESRCH : 0;
      case C.IPVS_CMD_NEW_DEST:
      case C.IPVS_CMD_SET_DEST:
      case C.IPVS_CMD_DEL_DEST:
        return kept === undefined ? ESRCH : this.#server(command, kept, value.destination);
      default:
        return EOPNOTSUPP;
    }
  }

  #daemon(command: number, daemon: WireDaemon | undefined): number {
    const { state = 0, interface: device } = daemon ?? {};
    if (command === C.IPVS_CMD_DEL_DAEMON) return this.daemons.delete(state) ? 0 : ESRCH;
    if (device !== 'lo' && device !== 'eth0') return ENODEV;
    if (this.daemons.has(state)) return EEXIST;
    this.daemons.set(state, daemon!);
    return 0;
  }

  #server(command: number, { service, destinations }: Kept, wire: WireDestination | undefined): number {
    if (wire === undefined) return EINVAL;
    const id = destinationId(wire, service.family);
    if (command === C.IPVS_CMD_DEL_DEST) return destinations.delete(id) ? 0 : ENOENT;
    const there = destinations.has(id);
    if (command === C.IPVS_CMD_NEW_DEST ? there : !there) return there ? EEXIST : ENOENT;
    const { family = service.family, forward = 0 } = wire;
    if (family !== service.family && forward !== C.IP_VS_CONN_F_TUNNEL) return EINVAL;
    // 224.0.0.0/4
    if (family === 2 && wire.address.startsWith('e')) return EINVAL;
    const { tunnelType = 0, tunnelPort = 0, tunnelFlags = 0, ...plain } = wire;
    const tunnel = this.ignoresTunnels ? {} : { tunnelType, tunnelPort, tunnelFlags };
    const counted = { activeConnections: 0, inactiveConnections: 0, persistentConnections: 0 };
    destinations.set(id, { ...counted, ...destinations.get(id), ...plain, family, ...tunnel });
    return 0;
  }

  /** What a dump has. The newest server comes first. */
  listed(command: number, { service }: WireCommand): WireCommand[] {
    this.before?.(command, service === undefined ? {} : { service });
    if (command === C.IPVS_CMD_GET_DAEMON) {
      return [...this.daemons].sort(([a], [b]) => a - b).map(([, daemon]) => ({ daemon }));
    }
    if (command === C.IPVS_CMD_GET_SERVICE) return [...this.services.values()].map(kept => ({ service: kept.service }));
    const kept = service && this.services.get(serviceId(service));
    return [...(kept?.destinations.values() ?? [])].reverse().map(destination => ({ destination }));
  }

  /** Answers one datagram of netlink. */
  *answer(datagram: Uint8Array): Iterable<Answer> {
    let answered = 0;
    let lost = false;
    for (const request of received(datagram)) {
      // The parts of a dump are made one by one as they are read.
      const kept = (request.flags & NLM_F_DUMP) === NLM_F_DUMP ? Number.POSITIVE_INFINITY : this.answersKept;
      for (const answer of this.#answerOne(request)) {
        if (answered++ < kept) yield answer;
        else if (!lost) {
          lost = true;
          yield LOST;
        }
      }
    }
  }

  *#answerOne(request: Received): Iterable<Uint8Array> {
    const { cmd } = genlmsghdr.read(sourceOf(request.payload), 0, 4)!;
    if (this.missing) {
      yield refuse(request, ENOENT);
      return;
    }
    if (request.type === GENL_ID_CTRL) {
      yield message(GENL_ID_CTRL, 0, request.sequence, writer => {
        genlmsghdr.write(writer, { cmd: 1, version: 1 });
        const start = writer.beginAttribute(1);
        writer.u16(FAMILY, true);
        writer.endAttribute(start);
      });
      yield acknowledge(request);
      return;
    }
    if (this.netlinkDenied) {
      yield refuse(request, EPERM);
      return;
    }
    const value = commandTable.read(sourceOf(request.payload), 4, request.payload.length, NO_CONTEXT) ?? {};
    const isDump = (request.flags & NLM_F_DUMP) === NLM_F_DUMP;
    const reply = (body: WireCommand, table: { write: typeof commandTable.write } = commandTable) =>
      message(FAMILY, isDump ? NLM_F_MULTI : 0, request.sequence, writer => {
        genlmsghdr.write(writer, { cmd: cmd, version: 1 });
        table.write(writer, body, NO_CONTEXT);
      });
    if (isDump) {
      for (const each of this.listed(cmd, value)) yield reply(each);
      yield done(request.sequence);
      return;
    }
    let errno = 0;
    if (cmd === C.IPVS_CMD_GET_INFO) {
      yield reply({ version: 0x010201, connectionTableSize: 4096 } as WireCommand, infoTable as never);
    } else if (cmd === C.IPVS_CMD_GET_CONFIG) yield reply(this.timeouts);
    else if (cmd === C.IPVS_CMD_GET_SERVICE) {
      this.before?.(cmd, value);
      const kept = value.service && this.services.get(serviceId(value.service));
      if (kept === undefined) errno = ESRCH;
      else yield reply({ service: kept.service });
    } else errno = this.execute(cmd, value);
    if (errno !== 0) yield refuse(request, errno);
    else if ((request.flags & NLM_F_ACK) !== 0) yield acknowledge(request);
  }

  /** The socket options. */
  readonly options: Options = {
    set: (_level, name, argument) => {
      if (this.sockoptDenied) return EPERM;
      const commands: Record<number, number> = {
        [C.IP_VS_SO_SET_ADD]: C.IPVS_CMD_NEW_SERVICE,
        [C.IP_VS_SO_SET_EDIT]: C.IPVS_CMD_SET_SERVICE,
        [C.IP_VS_SO_SET_DEL]: C.IPVS_CMD_DEL_SERVICE,
        [C.IP_VS_SO_SET_ADDDEST]: C.IPVS_CMD_NEW_DEST,
        [C.IP_VS_SO_SET_EDITDEST]: C.IPVS_CMD_SET_DEST,
        [C.IP_VS_SO_SET_DELDEST]: C.IPVS_CMD_DEL_DEST,
        [C.IP_VS_SO_SET_ZERO]: C.IPVS_CMD_ZERO,
        [C.IP_VS_SO_SET_FLUSH]: C.IPVS_CMD_FLUSH,
        [C.IP_VS_SO_SET_TIMEOUT]: C.IPVS_CMD_SET_CONFIG,
        [C.IP_VS_SO_SET_STARTDAEMON]: C.IPVS_CMD_NEW_DAEMON,
        [C.IP_VS_SO_SET_STOPDAEMON]: C.IPVS_CMD_DEL_DAEMON,
      };
      const command = commands[name];
      if (command === undefined) return EINVAL;
      const value: WireCommand = {};
      if (command === C.IPVS_CMD_SET_CONFIG) {
        const { tcp_timeout, tcp_fin_timeout, udp_timeout } = decode(S.ip_vs_timeout_user, argument, 0);
        return this.execute(command, {
          tcpSeconds: tcp_timeout,
          tcpFinSeconds: tcp_fin_timeout,
          udpSeconds: udp_timeout,
        });
      }
      if (command === C.IPVS_CMD_NEW_DAEMON || command === C.IPVS_CMD_DEL_DAEMON) {
        const { state, mcast_ifn, syncid } = decode(S.ip_vs_daemon_user, argument, 0);
        return this.execute(command, { daemon: { state, interface: mcast_ifn, syncId: syncid } });
      }
      if (argument.length > 0) {
        const user = decode(S.ip_vs_service_user, argument, 0);
        const zeroAll = command === C.IPVS_CMD_ZERO && user.fwmark === 0 && user.port === 0 && user.addr === '00000000';
        if (!zeroAll) {
          if (![6, 17, 132].includes(user.protocol)) return -14;
          value.service = {
            ...keyOfEntry(user),
            scheduler: user.sched_name,
            flags: { flags: user.flags, mask: 0xffffffff },
            timeout: user.timeout,
            netmask: user.netmask,
          };
        }
      }
      if (argument.length > S.ip_vs_service_user.size) {
        const user = decode(S.ip_vs_dest_user, argument, S.ip_vs_service_user.size);
        value.destination = {
          address: user.addr.padEnd(32, '0'),
          port: user.port,
          family: 2,
          forward: user.conn_flags & 7,
          weight: user.weight,
          upperThreshold: user.u_threshold,
          lowerThreshold: user.l_threshold,
        };
      }
      return this.execute(command, value);
    },
    get: (_level, name, buffer) => {
      if (this.sockoptDenied) return EPERM;
      if (name === C.IP_VS_SO_GET_SERVICES) this.before?.(C.IPVS_CMD_GET_SERVICE, {});
      const own = [...this.services.values()].filter(({ service }) => service.family === 2);
      if (name === C.IP_VS_SO_GET_INFO) {
        encode(S.ip_vs_getinfo, { version: 0x010201, size: 4096, num_services: own.length }, buffer, 0);
      } else if (name === C.IP_VS_SO_GET_TIMEOUT) {
        const { tcpSeconds, tcpFinSeconds, udpSeconds } = this.timeouts;
        const value = { tcp_timeout: tcpSeconds, tcp_fin_timeout: tcpFinSeconds, udp_timeout: udpSeconds };
        encode(S.ip_vs_timeout_user, value, buffer, 0);
      } else if (name === C.IP_VS_SO_GET_DAEMON) {
        for (const [state, { interface: mcast_ifn = '', syncId: syncid = 0 }] of this.daemons) {
          const at = (state - 1) * S.ip_vs_daemon_user.size;
          encode(S.ip_vs_daemon_user, { state, mcast_ifn, syncid }, buffer, at);
        }
      } else if (name === C.IP_VS_SO_GET_SERVICES) {
        const { num_services } = decode(S.ip_vs_get_services, buffer, 0);
        if (buffer.length !== 8 + num_services * S.ip_vs_service_entry.size) return EINVAL;
        for (const [i, kept] of own.slice(0, num_services).entries()) {
          encode(S.ip_vs_service_entry, serviceEntry(kept), buffer, 8 + i * S.ip_vs_service_entry.size);
        }
      } else {
        const header = decode(S.ip_vs_get_dests, buffer, 0);
        const kept = this.services.get(serviceId(keyOfEntry(header)));
        if (kept === undefined) return ESRCH;
        if (name === C.IP_VS_SO_GET_SERVICE) encode(S.ip_vs_service_entry, serviceEntry(kept), buffer, 0);
        else {
          if (buffer.length !== 24 + header.num_dests * S.ip_vs_dest_entry.size) return EINVAL;
          const list = [...kept.destinations.values()].reverse().filter(({ family }) => family === 2);
          for (const [i, each] of list.slice(0, header.num_dests).entries()) {
            encode(S.ip_vs_dest_entry, destinationEntry(each), buffer, 24 + i * S.ip_vs_dest_entry.size);
          }
        }
      }
      return buffer.length;
    },
  };
}

/** The wire to such a kernel; without a way given, one that has no socket options. */
export class IpvsKernelTransport extends MemoryTransport implements IpvsTransport {
  readonly via: Via;
  readonly options: () => Options;

  constructor(kernel: IpvsKernel, via: Via = 'auto') {
    super(datagram => kernel.answer(datagram));
    this.via = via;
    this.options = () => kernel.options;
  }
}

const noStats = {
  conns: 0,
  inpkts: 0,
  outpkts: 0,
  inbytes: 0n,
  outbytes: 0n,
  cps: 0,
  inpps: 0,
  outpps: 0,
  inbps: 0,
  outbps: 0,
};

function keyOfEntry({
  protocol,
  addr,
  port,
  fwmark,
}: {
  protocol: number;
  addr: string;
  port: number;
  fwmark: number;
}): WireService {
  return keyPart({ family: 2, protocol, address: addr.padEnd(32, '0'), port, firewallMark: fwmark });
}

function serviceEntry({ service, destinations }: Kept) {
  return {
    protocol: service.protocol ?? 6,
    addr: (service.address ?? '').slice(0, 8).padEnd(8, '0'),
    port: service.port ?? 0,
    fwmark: service.firewallMark ?? 0,
    sched_name: service.scheduler ?? 'none',
    flags: service.flags?.flags ?? 0,
    timeout: service.timeout ?? 0,
    netmask: service.netmask ?? 'ffffffff',
    num_dests: destinations.size,
    stats: noStats,
  };
}

function destinationEntry(wire: WireDestination) {
  return {
    addr: wire.address.slice(0, 8),
    port: wire.port,
    conn_flags: (wire.forward ?? 0) | 0x100,
    weight: wire.weight ?? 0,
    u_threshold: wire.upperThreshold ?? 0,
    l_threshold: wire.lowerThreshold ?? 0,
    activeconns: wire.activeConnections ?? 0,
    inactconns: wire.inactiveConnections ?? 0,
    persistconns: wire.persistentConnections ?? 0,
    stats: noStats,
  };
}

function encode<T>(struct: Struct<T>, value: T, into: Uint8Array, at: number): void {
  const writer = new Writer(struct.size);
  struct.write(writer, value);
  into.set(writer.copy(), at);
}

function decode<T>(struct: Struct<T>, buffer: Uint8Array, at: number): T {
  return struct.read(sourceOf(buffer), at, at + struct.size)!;
}
