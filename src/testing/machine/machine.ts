import { UnsupportedError } from '../../errors.ts';
import {
  NETLINK_GENERIC,
  NETLINK_NETFILTER,
  NETLINK_ROUTE,
  NLM_F_ACK,
  NLM_F_REQUEST,
  NLMSG_MIN_TYPE,
} from '../../linux/netlink.ts';
import { ENOPROTOOPT, EPROTONOSUPPORT, Refusal, refuse } from '../refusal.ts';
import { Faults, GET_OPTION, type Occasion, type RequestKind, SET_OPTION } from './faults.ts';
import { acknowledgement, type Request, requestsOf } from './netlink.ts';
import { nextInode } from './numbers.ts';
import { MemorySocket } from './socket.ts';
import { type MachineState, type Namespace, newNamespace, type Release } from './state.ts';

/** Types below this are netlink's own. */
/** 2026-01-01, in milliseconds. */
const WALL_CLOCK_AT_BOOT = 1_767_225_600_000n;
const FIRST_PORT = 4096;

/** Answers the requests of one protocol. A refusal is thrown. */
export interface Family {
  readonly protocol: number;
  /** Takes a whole datagram instead of its messages, one by one. @returns whether it has */
  datagram?(machine: Machine, socket: MemorySocket, datagram: Uint8Array): boolean;
  answer(machine: Machine, socket: MemorySocket, request: Request): void;
  /** A file under /proc that this family shows. */
  file?(machine: Machine, namespace: Namespace, path: string): string | undefined;
  /** The settings that it has in each new namespace, by their path under /proc/sys. */
  settings?(machine: Machine, userNamespace: boolean): readonly (readonly [path: string, value: string])[];
  /** Writes a setting. @returns the errno, 0 where it was taken; undefined where it is none of this family */
  writeSetting?(machine: Machine, namespace: Namespace, path: string, text: string): number | undefined;
  /** A socket has been closed. */
  closed?(machine: Machine, socket: MemorySocket): void;
}

/** Answers socket options: IPVS has some. */
export interface OptionFamily {
  readonly level: number;
  set(machine: Machine, namespace: Namespace, name: number, value: Uint8Array): number;
  get(machine: Machine, namespace: Namespace, name: number, value: Uint8Array): number;
}

/** A request as faults name it. The command of a generic family is the first byte behind the header. */
const kindOf = (protocol: number, { type, bytes }: Request): RequestKind =>
  protocol === NETLINK_GENERIC ? { protocol, type, command: bytes[16] ?? 0 } : { protocol, type };

/** The kernel in memory: its state, the sockets of the program, and who answers what. */
export class Machine {
  state: MachineState = { namespaces: new Map(), now: 1_000_000n };
  readonly release: Release;
  readonly #families: ReadonlyMap<number, Family>;
  readonly #options: readonly OptionFamily[];
  readonly #sockets = new Set<MemorySocket>();
  readonly faults = new Faults();
  #port = FIRST_PORT;

  constructor(release: Release, families: readonly Family[], options: readonly OptionFamily[] = []) {
    this.release = release;
    this.#families = new Map(families.map(family => [family.protocol, family]));
    this.#options = options;
  }

  /** Milliseconds since the boot. */
  get now(): bigint {
    return this.state.now;
  }

  /** Nanoseconds since 1970: the kernel's own clock runs on from here. */
  get wallClock(): bigint {
    return (WALL_CLOCK_AT_BOOT + this.state.now) * 1_000_000n;
  }

  createNamespace(name: string, userNamespace: boolean): Namespace {
    const inode = nextInode();
    const namespace = newNamespace(inode, name, userNamespace);
    for (const family of this.#families.values())
      for (const [path, value] of family.settings?.(this, userNamespace) ?? []) namespace.sysctls.set(path, value);
    this.state.namespaces.set(inode, namespace);
    return namespace;
  }

  namespace(inode: number): Namespace {
    const namespace = this.state.namespaces.get(inode);
    if (namespace === undefined) throw new Error(`the kernel in memory has no namespace ${inode}`);
    return namespace;
  }

  /** A file of /proc that is no sysctl; undefined where the kernel has none of that path. */
  file(inode: number, path: string): string | undefined {
    const namespace = this.namespace(inode);
    for (const family of this.#families.values()) {
      const content = family.file?.(this, namespace, path);
      if (content !== undefined) return content;
    }
    return undefined;
  }

  /** Writes a setting that there is. @returns the errno */
  writeSetting(inode: number, path: string, text: string): number {
    const namespace = this.namespace(inode);
    for (const family of this.#families.values()) {
      const errno = family.writeSetting?.(this, namespace, path, text);
      if (errno !== undefined) return errno;
    }
    namespace.sysctls.set(path, text.trim());
    return 0;
  }

  /** What this kernel would have to guess. */
  notModelled(feature: string): never {
    throw new UnsupportedError(feature, undefined, 'the kernel in memory does not model it');
  }

  /** The errno with which a call of the program is made to fail; 0 where it is not. */
  faultOf(syscall: NonNullable<Occasion['syscall']>, namespace: number): number {
    return this.faults.take('refuse', { namespace, syscall })?.errno ?? 0;
  }

  /** Refuses a request that is made to fail. */
  checkFaults({ namespace, protocol }: MemorySocket, request: Request): void {
    const fault = this.faults.take('refuse', { namespace, request: kindOf(protocol, request) });
    if (fault !== undefined) refuse(fault.errno);
  }

  openSocket(protocol: number, namespace: number): MemorySocket | number {
    const known =
      [NETLINK_ROUTE, NETLINK_NETFILTER, NETLINK_GENERIC].includes(protocol) && this.#families.has(protocol);
    if (!known) return EPROTONOSUPPORT;
    const socket = new MemorySocket(protocol, namespace, ++this.#port);
    this.#sockets.add(socket);
    return socket;
  }

  closeSocket(socket: MemorySocket): void {
    socket.closed = true;
    this.#sockets.delete(socket);
    this.#families.get(socket.protocol)?.closed?.(this, socket);
  }

  /** What the program has sent, answered before this returns (netlink_rcv_skb). */
  request(socket: MemorySocket, datagram: Uint8Array): void {
    const family = this.#families.get(socket.protocol)!;
    const { namespace, protocol } = socket;
    if (!this.faults.isEmpty) {
      for (const request of requestsOf(datagram, socket.port)) {
        const occasion = { namespace, request: kindOf(protocol, request) };
        socket.losesAnswers ||= this.faults.take('lose answer', occasion) !== undefined;
        socket.interruptsDump ||= this.faults.take('interrupt dump', occasion) !== undefined;
      }
    }
    try {
      if (family.datagram?.(this, socket, datagram)) return;
      for (const request of requestsOf(datagram, socket.port)) this.#answer(family, socket, request);
    } finally {
      socket.losesAnswers = false;
      socket.interruptsDump = false;
    }
  }

  #answer(family: Family, socket: MemorySocket, request: Request): void {
    let refusal: Refusal | undefined;
    if ((request.flags & NLM_F_REQUEST) !== 0 && request.type >= NLMSG_MIN_TYPE) {
      try {
        this.checkFaults(socket, request);
        family.answer(this, socket, request);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        refusal = error;
      }
    }
    if (refusal !== undefined || (request.flags & NLM_F_ACK) !== 0)
      socket.deliver(acknowledgement(socket, request, refusal));
  }

  /** Delivers a datagram of packets to the socket of a port. */
  deliverTo(protocol: number, port: number, datagram: Uint8Array): void {
    for (const socket of this.#sockets) {
      if (socket.protocol !== protocol || socket.port !== port) continue;
      if (this.faults.take('lose log', { namespace: socket.namespace }) === undefined) socket.deliver(datagram);
      else socket.overrun();
    }
  }

  /** Tells all that listen to a group in a namespace. */
  multicast(namespace: Namespace, protocol: number, group: number, datagram: Uint8Array, but?: MemorySocket): void {
    for (const socket of this.#sockets) {
      const listens = socket.namespace === namespace.inode && socket.protocol === protocol && socket.groups.has(group);
      if (!listens || socket === but) continue;
      if (this.faults.take('lose event', { namespace: namespace.inode }) === undefined) socket.deliver(datagram);
      else socket.overrun();
    }
  }

  /** Whether a program listens to one of the groups, in whatever namespace. */
  hears(protocol: number, groups: readonly number[]): boolean {
    for (const socket of this.#sockets)
      if (socket.protocol === protocol && groups.some(group => socket.groups.has(group))) return true;
    return false;
  }

  listens(namespace: Namespace, protocol: number, group: number): boolean {
    for (const socket of this.#sockets)
      if (socket.namespace === namespace.inode && socket.protocol === protocol && socket.groups.has(group)) return true;
    return false;
  }

  setOption(namespace: number, level: number, name: number, value: Uint8Array): number {
    const family = this.#options.find(each => each.level === level);
    const errno = this.#optionFault(namespace, SET_OPTION, name);
    if (errno !== 0) return errno;
    return family?.set(this, this.namespace(namespace), name, value) ?? ENOPROTOOPT;
  }
  getOption(namespace: number, level: number, name: number, value: Uint8Array): number {
    const family = this.#options.find(each => each.level === level);
    const errno = this.#optionFault(namespace, GET_OPTION, name);
    if (errno !== 0) return errno;
    return family?.get(this, this.namespace(namespace), name, value) ?? ENOPROTOOPT;
  }

  #optionFault(namespace: number, protocol: number, type: number): number {
    return this.faults.take('refuse', { namespace, request: { protocol, type } })?.errno ?? 0;
  }
}
