import { NO_CONTEXT, type Struct, sourceOf, Writer } from '../codec/index.ts';
import { UnsupportedError } from '../errors.ts';
import { AF_INET } from '../ffi/constants.ts';
import { type Exchange, type Operation, type PipelineResult, refusal, Turn } from '../transport/index.ts';
import type { WireCommand, WireDestination, WireService } from './attributes.ts';
import * as C from './constants.ts';
import type { Options } from './ipvs-socket.ts';
import { type Carrier, type IpvsCommand, type IpvsInfo, readInfo } from './netlink.ts';
import * as S from './sockopt-structs.ts';

const NOT_PERMITTED =
  'the socket options of IPVS need CAP_NET_ADMIN in the user namespace that owns the network namespace, such as root in an unprivileged ' +
  'container has';
const MODULE_MISSING =
  'the kernel has not loaded IPVS, and its socket options do not make it: modprobe ip_vs on the host, or ask over netlink once';
const INSTEAD = "open with via: 'netlink', as root on the host";
/** Entries that may have been added between counting them and reading them. */
const SLACK = 16;
/** IP_VS_SO_SET_ADD takes these protocols alone (EFAULT), also with a firewall mark, whose services the kernel lists as TCP. */
const PROTOCOLS: readonly number[] = [6, 17, 132];
const TCP = 6;

const SETTERS: Readonly<Record<number, readonly [name: string, option: number]>> = {
  [C.IPVS_CMD_NEW_SERVICE]: ['IP_VS_SO_SET_ADD', C.IP_VS_SO_SET_ADD],
  [C.IPVS_CMD_SET_SERVICE]: ['IP_VS_SO_SET_EDIT', C.IP_VS_SO_SET_EDIT],
  [C.IPVS_CMD_DEL_SERVICE]: ['IP_VS_SO_SET_DEL', C.IP_VS_SO_SET_DEL],
  [C.IPVS_CMD_NEW_DEST]: ['IP_VS_SO_SET_ADDDEST', C.IP_VS_SO_SET_ADDDEST],
  [C.IPVS_CMD_SET_DEST]: ['IP_VS_SO_SET_EDITDEST', C.IP_VS_SO_SET_EDITDEST],
  [C.IPVS_CMD_DEL_DEST]: ['IP_VS_SO_SET_DELDEST', C.IP_VS_SO_SET_DELDEST],
  [C.IPVS_CMD_NEW_DAEMON]: ['IP_VS_SO_SET_STARTDAEMON', C.IP_VS_SO_SET_STARTDAEMON],
  [C.IPVS_CMD_DEL_DAEMON]: ['IP_VS_SO_SET_STOPDAEMON', C.IP_VS_SO_SET_STOPDAEMON],
  [C.IPVS_CMD_SET_CONFIG]: ['IP_VS_SO_SET_TIMEOUT', C.IP_VS_SO_SET_TIMEOUT],
  [C.IPVS_CMD_ZERO]: ['IP_VS_SO_SET_ZERO', C.IP_VS_SO_SET_ZERO],
  [C.IPVS_CMD_FLUSH]: ['IP_VS_SO_SET_FLUSH', C.IP_VS_SO_SET_FLUSH],
};

/** A service and how many servers it has, of all families. */
export interface CountedService {
  service: WireService;
  destinations: number;
}

/**
 * IPVS over its socket options, which root of an unprivileged container may use too. IPv4 only, and no persistence engines, tunnel types or 64-bit
 * counters: what they cannot carry is refused with an UnsupportedError before anything is sent. Each call is atomic, also those that list.
 */
export class SockoptCarrier implements Carrier {
  readonly via = 'sockopt';
  readonly #exchange: Exchange;
  readonly #options: Options;

  constructor(exchange: Exchange, options: Options) {
    this.#exchange = exchange;
    this.#options = options;
  }

  // biome-ignore lint/correctness/useYield: one short call of the kernel
  *info(): Operation<IpvsInfo> {
    const { version, size } = this.#counts();
    return readInfo(version, size);
  }

  // biome-ignore lint/correctness/useYield: one short call of the kernel
  *request(command: IpvsCommand): Operation<void> {
    const { name, option, argument } = translate(command);
    this.#set(name, option, argument, command);
  }

  // biome-ignore lint/correctness/useYield: one short call of the kernel
  *get<R>(command: IpvsCommand, read: (value: WireCommand) => R | undefined): Operation<R> {
    const answer = read(this.#answer(command));
    if (answer === undefined) throw new UnsupportedError(`${command.syscall} ${OVER}`, undefined, INSTEAD);
    return answer;
  }

  #answer(command: IpvsCommand): WireCommand {
    if (command.command === C.IPVS_CMD_GET_CONFIG) {
      const buffer = new Uint8Array(S.ip_vs_timeout_user.size);
      this.#get('IP_VS_SO_GET_TIMEOUT', C.IP_VS_SO_GET_TIMEOUT, buffer, command);
      const { tcp_timeout, tcp_fin_timeout, udp_timeout } = decode(S.ip_vs_timeout_user, buffer, 0);
      return { tcpSeconds: tcp_timeout, tcpFinSeconds: tcp_fin_timeout, udpSeconds: udp_timeout };
    }
    if (command.command === C.IPVS_CMD_GET_SERVICE) return { service: this.#service(command).service };
    return {};
  }

  *dump<R>(command: IpvsCommand, read: (value: WireCommand) => R | undefined): Operation<R[]> {
    const turn = new Turn();
    const items: R[] = [];
    for (const value of this.#listed(command)) {
      const item = read(value);
      if (item !== undefined) items.push(item);
    }
    yield turn;
    return items;
  }

  #listed(command: IpvsCommand): WireCommand[] {
    if (command.command === C.IPVS_CMD_GET_SERVICE) return this.services().map(({ service }) => ({ service }));
    if (command.command === C.IPVS_CMD_GET_DEST) {
      return (this.destinations(command) ?? []).map(destination => ({ destination }));
    }
    if (command.command === C.IPVS_CMD_GET_DAEMON) return this.#daemons(command);
    throw new UnsupportedError(`${command.syscall} ${OVER}`, undefined, INSTEAD);
  }

  /** Two of them: the master and the backup, of which each may be stopped (state 0). */
  #daemons(command: IpvsCommand): WireCommand[] {
    const { ip_vs_daemon_user: struct } = S;
    const buffer = new Uint8Array(2 * struct.size);
    this.#get('IP_VS_SO_GET_DAEMON', C.IP_VS_SO_GET_DAEMON, buffer, command);
    return [0, struct.size]
      .map(at => decode(struct, buffer, at))
      .filter(({ state }) => state !== 0)
      .map(({ state, mcast_ifn, syncid }) => ({ daemon: { state, interface: mcast_ifn, syncId: syncid } }));
  }

  *pipeline(commands: readonly IpvsCommand[]): Operation<PipelineResult> {
    const translated = commands.map(translate);
    const result: PipelineResult = { failures: [], unknownFrom: undefined, unsentFrom: commands.length };
    const turn = new Turn(false);
    for (const [index, { name, option, argument }] of translated.entries()) {
      const errno = this.#observed(argument.length, () => this.#options.set(C.IPPROTO_IP, option, argument));
      if (errno < 0) {
        const error = refusal(explained(commands[index]!, name), { errno }, this.#exchange.operation);
        result.failures.push({ index, error });
      }
      if (index % 64 === 63) yield turn;
    }
    return result;
  }

  #counts() {
    const buffer = new Uint8Array(S.ip_vs_getinfo.size);
    this.#get('IP_VS_SO_GET_INFO', C.IP_VS_SO_GET_INFO, buffer, {});
    return decode(S.ip_vs_getinfo, buffer, 0);
  }

  /** The IPv4 services, as they were at one moment. */
  services(): CountedService[] {
    const { ip_vs_get_services: header, ip_vs_service_entry: entry } = S;
    // A full list may have more behind it: others have added meanwhile.
    for (let room = this.#counts().num_services + SLACK; ; room *= 2) {
      // The kernel fills what it has and leaves the rest: an entry without a scheduler's name is none ('none' has one).
      const buffer = new Uint8Array(header.size + room * entry.size);
      encode(header, { num_services: room }, buffer);
      this.#get('IP_VS_SO_GET_SERVICES', C.IP_VS_SO_GET_SERVICES, buffer, {});
      const list: CountedService[] = [];
      for (let at = header.size; at < buffer.length; at += entry.size) {
        const value = decode(entry, buffer, at);
        if (value.sched_name === '') break;
        list.push(countedService(value));
      }
      if (list.length < room) return list;
    }
  }

  /** The IPv4 servers of a service as they were at one moment; undefined where there is no such service. */
  destinations({ value, ...described }: Pick<IpvsCommand, 'value' | 'syscall'>): WireDestination[] | undefined {
    const { ip_vs_get_dests: header, ip_vs_dest_entry: entry } = S;
    const key = keyOf(value.service);
    for (let room = SLACK; ; room *= 4) {
      const buffer = new Uint8Array(header.size + room * entry.size);
      encode(header, { ...key, num_dests: room }, buffer);
      const errno = this.#observed(buffer.length, () => this.#options.get(C.IPPROTO_IP, C.IP_VS_SO_GET_DESTS, buffer));
      if (errno === ESRCH) return undefined;
      if (errno < 0) this.#refuse('IP_VS_SO_GET_DESTS', errno, described);
      const list: WireDestination[] = [];
      for (let at = header.size; at < buffer.length; at += entry.size) {
        const found = decode(entry, buffer, at);
        // A server has an address, which is not 0.0.0.0.
        if (found.addr === '00000000') break;
        list.push(wireDestination(found));
      }
      if (list.length < room) return list;
    }
  }

  #service(command: IpvsCommand): CountedService {
    const buffer = new Uint8Array(S.ip_vs_service_entry.size);
    encode(S.ip_vs_get_dests, { ...keyOf(command.value.service), num_dests: 0 }, buffer);
    this.#get('IP_VS_SO_GET_SERVICE', C.IP_VS_SO_GET_SERVICE, buffer, command);
    return countedService(decode(S.ip_vs_service_entry, buffer, 0));
  }

  #set(name: string, option: number, argument: Uint8Array, command: IpvsCommand): void {
    const errno = this.#observed(argument.length, () => this.#options.set(C.IPPROTO_IP, option, argument));
    if (errno < 0) this.#refuse(name, errno, command);
  }

  #get(name: string, option: number, buffer: Uint8Array, command: Partial<IpvsCommand>): void {
    const errno = this.#observed(buffer.length, () => this.#options.get(C.IPPROTO_IP, option, buffer));
    if (errno < 0) this.#refuse(name, errno, command);
  }

  #refuse(name: string, errno: number, command: Partial<IpvsCommand>): never {
    throw refusal(explained(command, name), { errno }, this.#exchange.operation);
  }

  #observed(bytes: number, call: () => number): number {
    const { observer, wire, subsystem, operation } = this.#exchange;
    if (observer.idle) return call();
    const answered = observer.begin({ family: subsystem, operation, netns: wire.netnsInode, bytes, messages: 1 });
    const result = call();
    answered(result < 0 ? { code: result } : undefined);
    return result;
  }
}

const ESRCH = -3;
const OVER = "over IPVS's socket options";

/** What netlink says about an errno holds here too, but for who may and what is loaded. */
function explained(command: Partial<IpvsCommand>, syscall: string) {
  return {
    ...command,
    syscall,
    hint: (code: string) => {
      if (code === 'EPERM') return NOT_PERMITTED;
      return code === 'ENOPROTOOPT' ? MODULE_MISSING : command.hint?.(code, []);
    },
  };
}

interface Setting {
  name: string;
  option: number;
  argument: Uint8Array;
}

/** The socket option that does what a netlink request does. Throws an UnsupportedError where there is none. */
function translate({ command, syscall, value }: IpvsCommand): Setting {
  const setter = SETTERS[command];
  if (setter === undefined) throw new UnsupportedError(`${syscall} ${OVER}`, undefined, INSTEAD);
  const [name, option] = setter;
  const writer = new Writer(128);
  if (option === C.IP_VS_SO_SET_TIMEOUT) {
    const { tcpSeconds = 0, tcpFinSeconds = 0, udpSeconds = 0 } = value;
    S.ip_vs_timeout_user.write(writer, {
      tcp_timeout: tcpSeconds,
      tcp_fin_timeout: tcpFinSeconds,
      udp_timeout: udpSeconds,
    });
  } else if (value.daemon !== undefined) {
    const { state = 0, interface: mcast_ifn = '', syncId = 0, ...rest } = value.daemon;
    if (Object.values(rest).some(field => field !== undefined))
      unsupported("a sync daemon's group, port, TTL or length");
    S.ip_vs_daemon_user.write(writer, { state, mcast_ifn, syncid: syncId });
  } else if (option !== C.IP_VS_SO_SET_FLUSH) {
    writeService(writer, value.service);
    if (value.destination !== undefined) writeDestination(writer, value.destination);
  }
  return { name, option, argument: writer.copy() };
}

function writeService(writer: Writer, service: WireService | undefined): void {
  if (service?.engine !== undefined) unsupported('a persistence engine');
  S.ip_vs_service_user.write(writer, {
    ...keyOf(service),
    sched_name: service?.scheduler ?? '',
    flags: service?.flags?.flags ?? 0,
    timeout: service?.timeout ?? 0,
    netmask: service?.netmask ?? '00000000',
  });
}

/** What identifies a service; of none, what means all of them. */
function keyOf(service: WireService | undefined) {
  if (service === undefined) return { protocol: 0, addr: '00000000', port: 0, fwmark: 0 };
  const { family, protocol = TCP, address = '00000000', port = 0, firewallMark = 0 } = service;
  if (family !== AF_INET) unsupported('IPv6');
  if (!PROTOCOLS.includes(protocol)) unsupported(`protocol ${protocol}`);
  return { protocol, addr: address.slice(0, 8), port, fwmark: firewallMark };
}

function writeDestination(writer: Writer, destination: WireDestination): void {
  const { address, port, family, forward = 0, weight = 0, tunnelType, tunnelPort, tunnelFlags } = destination;
  if ((family || AF_INET) !== AF_INET) unsupported('a server of another address family');
  if (tunnelType || tunnelPort || tunnelFlags) unsupported('another tunnel than plain IPIP');
  S.ip_vs_dest_user.write(writer, {
    addr: address.slice(0, 8),
    port,
    conn_flags: forward,
    weight,
    u_threshold: destination.upperThreshold ?? 0,
    l_threshold: destination.lowerThreshold ?? 0,
  });
}

function unsupported(feature: string): never {
  throw new UnsupportedError(`${feature} ${OVER}`, undefined, INSTEAD);
}

type Value<T> = T extends Struct<infer V> ? V : never;

function countedService(entry: Value<typeof S.ip_vs_service_entry>): CountedService {
  const { protocol, addr, port, fwmark, sched_name, flags, timeout, netmask, num_dests, stats } = entry;
  const key = fwmark === 0 ? { protocol, address: padded(addr), port } : { firewallMark: fwmark };
  const service: WireService = {
    family: AF_INET,
    ...key,
    scheduler: sched_name,
    flags: { flags, mask: 0xffffffff },
    timeout,
    netmask,
    stats: wireStats(stats),
  };
  return { service, destinations: num_dests };
}

function wireDestination(entry: Value<typeof S.ip_vs_dest_entry>): WireDestination {
  return {
    address: padded(entry.addr),
    port: entry.port,
    family: AF_INET,
    forward: entry.conn_flags & C.IP_VS_CONN_F_FWD_MASK,
    weight: entry.weight,
    upperThreshold: entry.u_threshold,
    lowerThreshold: entry.l_threshold,
    activeConnections: entry.activeconns,
    inactiveConnections: entry.inactconns,
    persistentConnections: entry.persistconns,
    stats: wireStats(entry.stats),
  };
}

const padded = (address: string): string => address.padEnd(32, '0');

function wireStats(stats: Value<typeof S.ip_vs_stats_user>): NonNullable<WireService['stats']> {
  return {
    connections: stats.conns,
    inPackets: stats.inpkts,
    outPackets: stats.outpkts,
    inBytes: stats.inbytes,
    outBytes: stats.outbytes,
    connectionRate: stats.cps,
    inPacketRate: stats.inpps,
    outPacketRate: stats.outpps,
    inByteRate: stats.inbps,
    outByteRate: stats.outbps,
  };
}

function encode<T>(struct: Struct<T>, value: T, into: Uint8Array): void {
  const writer = new Writer(struct.size);
  struct.write(writer, value);
  into.set(writer.bytes.subarray(0, Math.min(writer.length, into.length)));
}

function decode<T>(struct: Struct<T>, buffer: Uint8Array, at: number): T {
  return struct.read(sourceOf(buffer), at, at + struct.size, NO_CONTEXT) as T;
}
