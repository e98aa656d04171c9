import { sourceOf } from '../../src/codec/index.ts';
import type { IpvsTransport, Options } from '../../src/ipvs/backends/socket.ts';
import { Ipvs, type Via } from '../../src/ipvs/index.ts';
import { GENL_ID_CTRL } from '../../src/linux/genetlink.ts';
import * as C from '../../src/linux/ip_vs.ts';
import { NLM_F_ACK, NLM_F_DUMP, NLM_F_MULTI } from '../../src/linux/netlink.ts';
import { Exchange, genlmsghdr } from '../../src/netlink/index.ts';
import * as abi from './ipvs-abi.ts';
import {
  destinationKey,
  type KernelDaemon,
  type KernelDestination,
  type KernelRequest,
  type KernelService,
  LAYOUT,
  serviceKey,
} from './ipvs-abi.ts';
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
const [ENOENT, ESRCH, EEXIST, ENODEV, EINVAL, EOPNOTSUPP, EFAULT] = [-2, -3, -17, -19, -22, -95, -14];
const SCHEDULERS = ['rr', 'wrr', 'lc', 'wlc', 'sh', 'dh', 'mh', 'sed', 'nq', 'fo', 'ovf', 'none'];
/** IP_VS_CONN_F_TUNNEL */
const FORWARD_TUNNEL = 2;
/** IP_VS_SVC_F_HASHED, which the kernel sets itself. */
const HASHED = 2;

export interface Kept {
  service: KernelService;
  destinations: Map<string, KernelDestination>;
}

/**
 * A kernel that says what no kernel in memory does: schedulers and attributes of kernels to come, values that are refused from a caller, answers
 * of kernels before Linux 5.2, lists with an entry twice, impossible counts. Its tables take whatever the test gives them. Everything that a real
 * kernel answers is asked of the kernel in memory: support/memory-ipvs.ts.
 */
export class IpvsKernel {
  readonly services = new Map<string, Kept>();
  timeouts = { tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 300 };
  /** By their state, 1 master and 2 backup. */
  readonly daemons = new Map<number, KernelDaemon>();
  /** The schedulers that are built in. */
  readonly schedulers = new Set(SCHEDULERS);
  /** Every request that changes something, by its number, and whether it was refused. */
  readonly log: { command: number; errno: number; value: KernelRequest }[] = [];
  /** As before Linux 5.2. */
  ignoresTunnels = false;
  /** Answers such a request in place of the tables; undefined lets it pass. */
  refuses: ((command: number, value: KernelRequest) => number | undefined) | undefined;
  /** Whether a request is answered at all over netlink; all are where left out. */
  acknowledges: ((command: number) => boolean) | undefined;

  execute(command: number, value: KernelRequest): number {
    const errno = this.refuses?.(command, value) ?? this.#execute(command, value);
    this.log.push({ command, errno, value });
    return errno;
  }

  #execute(command: number, value: KernelRequest): number {
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
    const id = serviceKey(service);
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

  #daemon(command: number, daemon: KernelDaemon | undefined): number {
    const { state = 0, interface: device } = daemon ?? {};
    if (command === C.IPVS_CMD_DEL_DAEMON) return this.daemons.delete(state) ? 0 : ESRCH;
    if (device !== 'lo' && device !== 'eth0') return ENODEV;
    if (this.daemons.has(state)) return EEXIST;
    this.daemons.set(state, daemon!);
    return 0;
  }

  #server(command: number, { service, destinations }: Kept, wire: KernelDestination | undefined): number {
    if (wire === undefined) return EINVAL;
    const id = destinationKey(wire, service.family);
    if (command === C.IPVS_CMD_DEL_DEST) return destinations.delete(id) ? 0 : ENOENT;
    const there = destinations.has(id);
    if (command === C.IPVS_CMD_NEW_DEST ? there : !there) return there ? EEXIST : ENOENT;
    const { family = service.family, forward = 0 } = wire;
    if (family !== service.family && forward !== FORWARD_TUNNEL) return EINVAL;
    // 224.0.0.0/4
    if (family === 2 && wire.address.startsWith('e')) return EINVAL;
    const { tunnelType = 0, tunnelPort = 0, tunnelFlags = 0, ...plain } = wire;
    const tunnel = this.ignoresTunnels ? {} : { tunnelType, tunnelPort, tunnelFlags };
    const counted = { activeConnections: 0, inactiveConnections: 0, persistentConnections: 0 };
    destinations.set(id, { ...counted, ...destinations.get(id), ...plain, family, ...tunnel });
    return 0;
  }

  /** What a dump has. The newest server comes first. */
  listed(command: number, { service }: KernelRequest): KernelRequest[] {
    if (command === C.IPVS_CMD_GET_DAEMON) {
      return [...this.daemons].sort(([a], [b]) => a - b).map(([, daemon]) => ({ daemon }));
    }
    if (command === C.IPVS_CMD_GET_SERVICE) return [...this.services.values()].map(kept => ({ service: kept.service }));
    const kept = service && this.services.get(serviceKey(service));
    return [...(kept?.destinations.values() ?? [])].reverse().map(destination => ({ destination }));
  }

  /** Answers one datagram of netlink. */
  *answer(datagram: Uint8Array): Iterable<Answer> {
    for (const request of received(datagram)) yield* this.#answerOne(request);
  }

  *#answerOne(request: Received): Iterable<Uint8Array> {
    const { cmd } = genlmsghdr.read(sourceOf(request.payload), 0, 4)!;
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
    const value = abi.readRequest(request.payload.subarray(4));
    const isDump = (request.flags & NLM_F_DUMP) === NLM_F_DUMP;
    const reply = (body: Uint8Array) =>
      message(FAMILY, isDump ? NLM_F_MULTI : 0, request.sequence, writer => {
        genlmsghdr.write(writer, { cmd, version: 1 });
        writer.raw(body);
      });
    if (isDump) {
      for (const each of this.listed(cmd, value)) yield reply(abi.writeAnswer(each));
      yield done(request.sequence);
      return;
    }
    let errno = 0;
    if (cmd === C.IPVS_CMD_GET_INFO) {
      yield reply(abi.writeInfo(0x010201, 4096));
    } else if (cmd === C.IPVS_CMD_GET_CONFIG) yield reply(abi.writeAnswer(this.timeouts));
    else if (cmd === C.IPVS_CMD_GET_SERVICE) {
      const kept = value.service && this.services.get(serviceKey(value.service));
      if (kept === undefined) errno = ESRCH;
      else yield reply(abi.writeAnswer({ service: kept.service }));
    } else errno = this.execute(cmd, value);
    if (this.acknowledges?.(cmd) === false) return;
    if (errno !== 0) yield refuse(request, errno);
    else if ((request.flags & NLM_F_ACK) !== 0) yield acknowledge(request);
  }

  /** The socket options. */
  readonly options: Options = {
    set: (_level, name, given) => {
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
      const argument = bytesOf(given);
      if (command === C.IPVS_CMD_SET_CONFIG) return this.execute(command, abi.readTimeouts(argument));
      if (command === C.IPVS_CMD_NEW_DAEMON || command === C.IPVS_CMD_DEL_DAEMON)
        return this.execute(command, { daemon: abi.readDaemon(argument) });
      const value: KernelRequest = {};
      if (argument.length > 0) {
        const { firewallMark, port, address } = abi.readKey(argument);
        const isZero = firewallMark === undefined && port === 0 && /^0*$/.test(address ?? '');
        if (command !== C.IPVS_CMD_ZERO || !isZero) {
          if (![6, 17, 132].includes(abi.protocolOf(argument))) return EFAULT;
          value.service = abi.readServiceUser(argument);
        }
      }
      if (argument.length > abi.SERVICE_USER) {
        value.destination = abi.readDestinationUser(argument.subarray(abi.SERVICE_USER));
      }
      return this.execute(command, value);
    },
    get: (_level, name, given) => {
      const buffer = bytesOf(given);
      const own = [...this.services.values()].filter(({ service }) => service.family === 2);
      if (name === C.IP_VS_SO_GET_INFO) {
        buffer.set(abi.numbers(0x010201, 4096, own.length));
      } else if (name === C.IP_VS_SO_GET_TIMEOUT) {
        const { tcpSeconds, tcpFinSeconds, udpSeconds } = this.timeouts;
        buffer.set(abi.numbers(tcpSeconds, tcpFinSeconds, udpSeconds));
      } else if (name === C.IP_VS_SO_GET_DAEMON) {
        for (const [state, daemon] of this.daemons) {
          buffer.set(abi.daemonUser({ ...daemon, state }), (state - 1) * LAYOUT.DAEMON);
        }
      } else if (name === C.IP_VS_SO_GET_SERVICES) {
        const room = abi.servicesRoom(buffer);
        if (buffer.length !== LAYOUT.SERVICES_HEADER + room * LAYOUT.SERVICE_ENTRY) return EINVAL;
        for (const [i, { service, destinations }] of own.slice(0, room).entries()) {
          const entry = abi.serviceEntry(service, destinations.size);
          buffer.set(entry, LAYOUT.SERVICES_HEADER + i * LAYOUT.SERVICE_ENTRY);
        }
      } else {
        const kept = this.services.get(serviceKey(abi.readKey(buffer)));
        if (kept === undefined) return ESRCH;
        if (name === C.IP_VS_SO_GET_SERVICE) buffer.set(abi.serviceEntry(kept.service, kept.destinations.size));
        else {
          const room = abi.roomFor(buffer);
          if (buffer.length !== LAYOUT.DESTINATIONS_HEADER + room * LAYOUT.DESTINATION_ENTRY) return EINVAL;
          const list = [...kept.destinations.values()].reverse().filter(({ family }) => family === 2);
          for (const [i, each] of list.slice(0, room).entries()) {
            buffer.set(abi.destinationEntry(each), LAYOUT.DESTINATIONS_HEADER + i * LAYOUT.DESTINATION_ENTRY);
          }
        }
      }
      return buffer.length;
    },
  };
}

const bytesOf = (given: Uint8Array): Buffer => Buffer.from(given.buffer, given.byteOffset, given.length);

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

/** A handle whose kernel is in memory. */
export function openIpvs(via?: Via) {
  const kernel = new IpvsKernel();
  const wire = new IpvsKernelTransport(kernel, via);
  return { kernel, wire, ipvs: new Ipvs(new Exchange(wire, 'ipvs')) };
}
