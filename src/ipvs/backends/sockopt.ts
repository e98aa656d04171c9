import {
  HOST_IS_LITTLE_ENDIAN as HOST,
  hexByte,
  NO_CONTEXT,
  type Source,
  type Struct,
  sourceOf,
  toHex,
  Writer,
} from '../../codec/index.ts';
import { DecodeError, UnsupportedError } from '../../errors.ts';
import type { WireCommand, WireDestination, WireService } from '../../ip_vs/attributes.ts';
import { DESTINATION } from '../../ip_vs/destination.ts';
import type { FieldTable } from '../../ip_vs/fields.ts';
import { SERVICE } from '../../ip_vs/service.ts';
import * as S from '../../ip_vs/sockopt-structs.ts';
import { count32, count64, type Stats } from '../../ip_vs/stats.ts';
import { IPPROTO_IP } from '../../linux/in.ts';
import * as C from '../../linux/ip_vs.ts';
import { AF_INET } from '../../linux/socket.ts';
import {
  ackError,
  type EncodedRequests,
  type Exchange,
  type Operation,
  type PipelineResult,
  type Step,
} from '../../netlink/index.ts';
import type { Backend, IpvsCommand, IpvsInfo } from './backend.ts';
import { readInfo } from './netlink.ts';
import { getDestinations } from './requests.ts';
import type { Options } from './socket.ts';

const NOT_PERMITTED =
  'the socket options of IPVS need CAP_NET_ADMIN in the user namespace that owns the network namespace, such as root in an unprivileged ' +
  'container has';
const MODULE_MISSING =
  'the kernel has not loaded IPVS, and its socket options do not make it: modprobe ip_vs on the host, or ask over netlink once';
const INSTEAD = "open with via: 'netlink', as root on the host";
/** Room for entries that other programs add between counting and reading. */
const SLACK = 16;
/** A longer list would not fit the kernel's length, which is an int. So a higher count is an error. */
const MAX_COUNT = 1 << 22;

function roomFor(count: number): number {
  if (count > MAX_COUNT) throw new DecodeError(`a list of ${count} entries`);
  return count + SLACK;
}
/** IP_VS_SO_SET_ADD takes only these protocols (others are EFAULT), also for a firewall mark, whose services the kernel lists as TCP. */
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

/** Can the socket options name this service? */
export const isOptionable = ({ family, protocol = TCP }: WireService): boolean =>
  family === AF_INET && PROTOCOLS.includes(protocol);

/** A service and the number of its destinations of both families. */
export interface CountedService {
  service: WireService;
  destinations: number;
}

/**
 * IPVS over its socket options, which root of an unprivileged container may use, too. They have IPv4 only, and neither persistence engines nor types of
 * tunnels nor 64-bit counters: requests with these are refused with an UnsupportedError before anything is sent. Each call is atomic, including lists.
 */
export class SockoptBackend implements Backend {
  readonly via = 'sockopt';
  readonly #exchange: Exchange;
  readonly #options: Options;
  #buffer: Source | undefined;

  constructor(exchange: Exchange, options: Options) {
    this.#exchange = exchange;
    this.#options = options;
  }

  /** To be yielded between two calls. */
  get turn(): Step {
    return this.#exchange.budget;
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
    const items: R[] = [];
    if (command.command !== C.IPVS_CMD_GET_DAEMON)
      throw new UnsupportedError(`${command.syscall} ${OVER}`, undefined, INSTEAD);
    for (const value of this.#daemons(command)) {
      const item = read(value);
      if (item !== undefined) items.push(item);
    }
    yield this.#exchange.budget;
    return items;
  }

  *services(withStats: boolean): Operation<WireService[]> {
    const services = this.counted(withStats).map(({ service }) => service);
    yield this.#exchange.budget;
    return services;
  }

  *destinations(service: WireService, withStats: boolean): Operation<WireDestination[]> {
    const servers = this.servers(service, withStats);
    yield this.#exchange.budget;
    return servers ?? [];
  }

  /** The kernel gives two, the master and the backup; the state of one that does not run is 0. */
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
    return yield* this.#setAll(commands, 0);
  }

  *stream(
    messages: EncodedRequests,
    command: (index: number) => IpvsCommand,
    begin = 0,
    end = messages.length,
  ): Operation<PipelineResult> {
    const commands = Array.from({ length: end - begin }, (_, i) => command(begin + i));
    return yield* this.#setAll(commands, begin);
  }

  /** `first` is the index of the first. */
  *#setAll(commands: readonly IpvsCommand[], first: number): Operation<PipelineResult> {
    const translated = commands.map(translate);
    const result: PipelineResult = { failures: [], unknownFrom: undefined, unsentFrom: first + commands.length };
    for (const [i, { name, option, argument }] of translated.entries()) {
      const errno = this.#observed(argument.length, () => this.#options.set(IPPROTO_IP, option, argument));
      if (errno < 0) {
        const error = ackError(explained(commands[i]!, name), { errno }, this.#exchange.operation);
        result.failures.push({ index: first + i, error });
      }
      if (i % 64 === 63) yield this.#exchange.sendingBudget;
    }
    return result;
  }

  #counts() {
    const buffer = new Uint8Array(S.ip_vs_getinfo.size);
    this.#get('IP_VS_SO_GET_INFO', C.IP_VS_SO_GET_INFO, buffer, {});
    return decode(S.ip_vs_getinfo, buffer, 0);
  }

  /** The IPv4 services, as they were at one moment. */
  counted(withStats: boolean): CountedService[] {
    const { ip_vs_get_services: header, ip_vs_service_entry: entry } = S;
    // If the list is full, other programs may have added more meanwhile: read again with more room.
    for (let room = roomFor(this.#counts().num_services); ; room *= 2) {
      // The kernel leaves the rest of the buffer as it is. An entry without a name of a scheduler is the first unused one.
      const source = sourceOf(new Uint8Array(header.size + room * entry.size));
      encode(header, { num_services: room }, source.bytes);
      this.#get('IP_VS_SO_GET_SERVICES', C.IP_VS_SO_GET_SERVICES, source.bytes, {});
      const list: CountedService[] = [];
      for (let at = header.size; at < source.bytes.length; at += entry.size) {
        if (source.bytes[at + ENTRY.sched_name] === 0) break;
        list.push(readCounted(source, at, withStats));
      }
      if (list.length < room) return list;
    }
  }

  /** The IPv4 destinations of a service at one moment; undefined if there is no such service. `expected` is a guess at their number. */
  servers(service: WireService, withStats: boolean, expected = 0): WireDestination[] | undefined {
    const { ip_vs_get_dests: header, ip_vs_dest_entry: entry } = S;
    for (let room = roomFor(expected); ; room *= 4) {
      const source = this.#scratch(header.size + room * entry.size);
      const { bytes } = source;
      writeRequest(source, service, room);
      const errno = this.#observed(bytes.length, () => this.#options.get(IPPROTO_IP, C.IP_VS_SO_GET_DESTS, bytes));
      if (errno === ESRCH) return undefined;
      if (errno < 0) this.#refuse('IP_VS_SO_GET_DESTS', errno, getDestinations(service));
      const list: WireDestination[] = [];
      for (let at = header.size; at < bytes.length; at += entry.size) {
        // The address of a destination is never 0.0.0.0: this is the first unused entry.
        if (source.view.getUint32(at + DESTINATION_ENTRY.addr) === 0) break;
        list.push(readDestinationEntry(source, at, withStats));
      }
      if (list.length < room) return list;
    }
  }

  /** A buffer of zeros, which is used again for the next answer. */
  #scratch(size: number): Source {
    if (this.#buffer?.bytes.length === size) this.#buffer.bytes.fill(0);
    else this.#buffer = sourceOf(new Uint8Array(size));
    return this.#buffer;
  }

  #service(command: IpvsCommand): CountedService {
    const buffer = new Uint8Array(S.ip_vs_service_entry.size);
    encode(S.ip_vs_get_dests, { ...keyOf(command.value.service), num_dests: 0 }, buffer);
    this.#get('IP_VS_SO_GET_SERVICE', C.IP_VS_SO_GET_SERVICE, buffer, command);
    return readCounted(sourceOf(buffer), 0, true);
  }

  #set(name: string, option: number, argument: Uint8Array, command: IpvsCommand): void {
    const errno = this.#observed(argument.length, () => this.#options.set(IPPROTO_IP, option, argument));
    if (errno < 0) this.#refuse(name, errno, command);
  }

  #get(name: string, option: number, buffer: Uint8Array, command: Partial<IpvsCommand>): void {
    const errno = this.#observed(buffer.length, () => this.#options.get(IPPROTO_IP, option, buffer));
    if (errno < 0) this.#refuse(name, errno, command);
  }

  #refuse(name: string, errno: number, command: Partial<IpvsCommand>): never {
    throw ackError(explained(command, name), { errno }, this.#exchange.operation);
  }

  #observed(bytes: number, call: () => number): number {
    const { observer, transport, subsystem, operation } = this.#exchange;
    if (observer.idle) return call();
    const answered = observer.begin({ family: subsystem, operation, netns: transport.netnsInode, bytes, messages: 1 });
    const result = call();
    answered(result < 0 ? { code: result } : undefined);
    return result;
  }
}

const ESRCH = -3;
const OVER = "over IPVS's socket options";

/** The hints for netlink hold here, too, except those about permission and about the module. */
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

/** The socket option for a netlink request. @throws UnsupportedError there is none. */
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
  const user = { ...keyOf(service), sched_name: '', flags: 0, timeout: 0, netmask: '00000000' };
  if (service !== undefined) {
    setMembers(user, SERVICE, service);
    user.flags = service.flags?.flags ?? 0;
  }
  S.ip_vs_service_user.write(writer, user);
}

/** Writes the settings into the members of a structure. */
function setMembers<W extends object>(user: object, { settings }: FieldTable<W>, wire: W): void {
  for (const { key, sockopt, absent = 0 } of settings) {
    const value: unknown = Reflect.get(wire, key);
    if (typeof sockopt === 'string') {
      if (value !== undefined) Reflect.set(user, sockopt, value);
    } else if (value !== undefined && value !== absent) unsupported(sockopt.missing);
  }
}

/** The members that identify a service. Without a service they are zero, which means all. */
function keyOf(service: WireService | undefined) {
  if (service === undefined) return { protocol: 0, addr: '00000000', port: 0, fwmark: 0 };
  const { family, protocol = TCP, address = '00000000', port = 0, firewallMark = 0 } = service;
  if (family !== AF_INET) unsupported('IPv6');
  if (!PROTOCOLS.includes(protocol)) unsupported(`protocol ${protocol}`);
  return { protocol, addr: address.slice(0, 8), port, fwmark: firewallMark };
}

function writeDestination(writer: Writer, destination: WireDestination): void {
  const { address, port, family } = destination;
  if ((family || AF_INET) !== AF_INET) unsupported('a server of another address family');
  const user = { addr: address.slice(0, 8), port, conn_flags: 0, weight: 0, u_threshold: 0, l_threshold: 0 };
  setMembers(user, DESTINATION, destination);
  S.ip_vs_dest_user.write(writer, user);
}

function unsupported(feature: string): never {
  throw new UnsupportedError(`${feature} ${OVER}`, undefined, INSTEAD);
}

/** Where the members of a structure begin. */
function offsetsOf<T>({ members }: Struct<T>): Readonly<Record<keyof T, number>> {
  return Object.fromEntries(members.map(({ key, offset }) => [key, offset])) as Record<keyof T, number>;
}

/** `struct ip_vs_get_dests`, into zeros. */
function writeRequest({ view, bytes }: Source, service: WireService, room: number): void {
  const { protocol, addr, port, fwmark } = keyOf(service);
  view.setUint16(REQUEST.protocol, protocol, HOST);
  for (let i = 0; i < 4; i++) bytes[REQUEST.addr + i] = hexByte(addr, 2 * i);
  view.setUint16(REQUEST.port, port, false);
  view.setUint32(REQUEST.fwmark, fwmark, HOST);
  view.setUint32(REQUEST.num_dests, room, HOST);
}

/* Lists have thousands of entries. They are read member by member, so that no object is made of unused members. */
const REQUEST = offsetsOf(S.ip_vs_get_dests);
const ENTRY = offsetsOf(S.ip_vs_service_entry);
const DESTINATION_ENTRY = offsetsOf(S.ip_vs_dest_entry);
const SERVICE_MEMBERS = membersOf(SERVICE, S.ip_vs_service_entry);
const DESTINATION_MEMBERS = membersOf(DESTINATION, S.ip_vs_dest_entry);
const NO_MEMBERS = Object.fromEntries(DESTINATION_MEMBERS.map(({ key }) => [key, 0]));
const STATS = offsetsOf(S.ip_vs_stats_user);

function readCounted(source: Source, at: number, withStats: boolean): CountedService {
  const { view, bytes } = source;
  const service: WireService = { family: AF_INET };
  const firewallMark = view.getUint32(at + ENTRY.fwmark, HOST);
  if (firewallMark === 0) {
    service.protocol = view.getUint16(at + ENTRY.protocol, HOST);
    service.address = toHex(bytes, at + ENTRY.addr, at + ENTRY.addr + 4);
    service.port = view.getUint16(at + ENTRY.port, false);
  } else service.firewallMark = firewallMark;
  for (const { key, offset, size, type } of SERVICE_MEMBERS) {
    Reflect.set(service, key, type.read(source, at + offset, at + offset + size, NO_CONTEXT));
  }
  service.flags = { flags: view.getUint32(at + ENTRY.flags, HOST), mask: 0xffffffff };
  if (withStats) service.counters = readCounters(view, at + ENTRY.stats);
  return { service, destinations: view.getUint32(at + ENTRY.num_dests, HOST) };
}

function readDestinationEntry({ view, bytes }: Source, at: number, withStats: boolean): WireDestination {
  const address = toHex(bytes, at + DESTINATION_ENTRY.addr, at + DESTINATION_ENTRY.addr + 4);
  // With all members from the beginning: an object that grows costs more.
  const destination: WireDestination & Record<string, unknown> = {
    address,
    port: view.getUint16(at + DESTINATION_ENTRY.port, false),
    family: AF_INET,
    ...NO_MEMBERS,
  };
  for (const { key, offset, isSigned, bits } of DESTINATION_MEMBERS) {
    const value = isSigned ? view.getInt32(at + offset, HOST) : view.getUint32(at + offset, HOST);
    destination[key] = bits === undefined ? value : value & bits;
  }
  if (withStats) destination.counters = readCounters(view, at + DESTINATION_ENTRY.stats);
  return destination;
}

/** The members of an entry that hold settings and readings, under the names of their rows. */
function membersOf<W extends object>({ settings, readings }: FieldTable<W>, struct: Struct<unknown>) {
  const bits = new Map(settings.map(each => [each.key, each.bits]));
  return [...settings, ...readings].flatMap(({ key, sockopt }) => {
    if (typeof sockopt !== 'string') return [];
    const member = struct.members.find(each => each.key === sockopt);
    if (member === undefined) throw new TypeError(`${struct.name} has no member ${sockopt}, which is that of ${key}`);
    return { ...member, key, bits: bits.get(key), isSigned: (member.type.number?.min ?? 0) < 0 };
  });
}

function readCounters(view: DataView, at: number): Stats {
  return {
    connections: count32(view, at + STATS.conns),
    inPackets: count32(view, at + STATS.inpkts),
    outPackets: count32(view, at + STATS.outpkts),
    inBytes: count64(view, at + STATS.inbytes),
    outBytes: count64(view, at + STATS.outbytes),
    rates: {
      connections: count32(view, at + STATS.cps),
      inPackets: count32(view, at + STATS.inpps),
      outPackets: count32(view, at + STATS.outpps),
      inBytes: count32(view, at + STATS.inbps),
      outBytes: count32(view, at + STATS.outbps),
    },
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
