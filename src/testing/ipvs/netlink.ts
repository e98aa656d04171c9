import * as Vs from '../../linux/ip_vs.ts';
import { NLM_F_DUMP, NLM_F_MULTI } from '../../linux/netlink.ts';
import type { Machine } from '../machine/machine.ts';
import { packed, type Request } from '../machine/netlink.ts';
import type { MemorySocket } from '../machine/socket.ts';
import type { Namespace } from '../machine/state.ts';
import { EAFNOSUPPORT, EINVAL, EOPNOTSUPP, refuse } from '../refusal.ts';
import { Attributes, Writer } from '../wire/attributes.ts';
import {
  addDestination,
  addService,
  type DestinationSettings,
  editDestination,
  editService,
  findService,
  flush,
  removeDestination,
  removeService,
  type ServiceKey,
  type ServiceSettings,
  setTimeouts,
  startDaemon,
  stopDaemon,
  zero,
} from './operations.ts';
import type { Counters, Daemon, Destination, Service } from './state.ts';

/** nlmsghdr and genlmsghdr. */
const HEADERS = 20;
const AF_INET = 2;
const AF_INET6 = 10;
/** 1.2.1 */
const VERSION = 0x01_02_01;
const TABLE_SIZE = 4096;

export function answer(machine: Machine, socket: MemorySocket, request: Request): void {
  const namespace = machine.namespace(socket.namespace);
  const attributes = new Attributes(request.bytes, HEADERS, request.bytes.length);
  const command = request.bytes[16]!;
  if ((request.flags & NLM_F_DUMP) === NLM_F_DUMP) {
    const messages = dump(command, request, namespace, attributes);
    if (!socket.start(packed(messages, request))) refuse(-16);
    return;
  }
  const reply = carryOut(command, request, machine, namespace, attributes);
  if (reply !== undefined) socket.deliver(reply);
}

function carryOut(
  command: number,
  request: Request,
  machine: Machine,
  namespace: Namespace,
  attributes: Attributes,
): Uint8Array | undefined {
  const { ipvs } = namespace;
  switch (command) {
    case Vs.IPVS_CMD_FLUSH:
      flush(namespace);
      return undefined;
    case Vs.IPVS_CMD_SET_CONFIG: {
      const tcp = attributes.u32(Vs.IPVS_CMD_ATTR_TIMEOUT_TCP) ?? 0;
      const tcpFin = attributes.u32(Vs.IPVS_CMD_ATTR_TIMEOUT_TCP_FIN) ?? 0;
      setTimeouts(namespace, { tcp, tcpFin, udp: attributes.u32(Vs.IPVS_CMD_ATTR_TIMEOUT_UDP) ?? 0 });
      return undefined;
    }
    case Vs.IPVS_CMD_GET_CONFIG:
      return message(request, Vs.IPVS_CMD_SET_CONFIG, 0, writer => {
        writer.u32(Vs.IPVS_CMD_ATTR_TIMEOUT_TCP, ipvs.timeouts.tcp);
        writer.u32(Vs.IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, ipvs.timeouts.tcpFin);
        writer.u32(Vs.IPVS_CMD_ATTR_TIMEOUT_UDP, ipvs.timeouts.udp);
      });
    case Vs.IPVS_CMD_GET_INFO:
      return message(request, SET_INFO, 0, writer => {
        writer.u32(Vs.IPVS_INFO_ATTR_VERSION, VERSION);
        writer.u32(Vs.IPVS_INFO_ATTR_CONN_TAB_SIZE, TABLE_SIZE);
      });
    case Vs.IPVS_CMD_NEW_DAEMON:
    case Vs.IPVS_CMD_DEL_DAEMON:
      daemon(command, namespace, attributes);
      return undefined;
    case Vs.IPVS_CMD_ZERO:
      zero(namespace, attributes.has(Vs.IPVS_CMD_ATTR_SERVICE) ? findService(namespace, keyOf(attributes)) : undefined);
      return undefined;
    case Vs.IPVS_CMD_NEW_SERVICE: {
      const key = keyOf(attributes);
      addService(machine, namespace, key, settingsOf(attributes, key));
      return undefined;
    }
    case Vs.IPVS_CMD_SET_SERVICE: {
      const key = keyOf(attributes);
      const settings = settingsOf(attributes, key);
      editService(machine, findService(namespace, key), settings);
      return undefined;
    }
    case Vs.IPVS_CMD_DEL_SERVICE:
      removeService(namespace, findService(namespace, keyOf(attributes)));
      return undefined;
    case Vs.IPVS_CMD_GET_SERVICE: {
      const service = findService(namespace, keyOf(attributes));
      return message(request, Vs.IPVS_CMD_NEW_SERVICE, 0, writer => writeService(writer, service));
    }
    case Vs.IPVS_CMD_NEW_DEST:
    case Vs.IPVS_CMD_SET_DEST: {
      const service = findService(namespace, keyOf(attributes));
      const settings = destinationOf(attributes, service, true);
      if (command === Vs.IPVS_CMD_NEW_DEST) addDestination(namespace, service, settings);
      else editDestination(namespace, service, settings);
      return undefined;
    }
    case Vs.IPVS_CMD_DEL_DEST: {
      const service = findService(namespace, keyOf(attributes));
      removeDestination(service, destinationOf(attributes, service, false));
      return undefined;
    }
    default:
      return refuse(EOPNOTSUPP);
  }
}

const SET_INFO = 14;

function daemon(command: number, namespace: Namespace, attributes: Attributes): void {
  const inside = attributes.nested(Vs.IPVS_CMD_ATTR_DAEMON) ?? refuse(EINVAL);
  const state = inside.u32(Vs.IPVS_DAEMON_ATTR_STATE);
  if (command === Vs.IPVS_CMD_DEL_DAEMON) {
    if (state === undefined) refuse(EINVAL);
    stopDaemon(namespace, state!);
    return;
  }
  const name = inside.text(Vs.IPVS_DAEMON_ATTR_MCAST_IFN);
  const syncId = inside.u32(Vs.IPVS_DAEMON_ATTR_SYNC_ID);
  if (state === undefined || name === undefined || syncId === undefined) return refuse(EINVAL);
  startDaemon(namespace, {
    state,
    interface: name,
    syncId,
    maxLength: inside.u16(Vs.IPVS_DAEMON_ATTR_SYNC_MAXLEN) ?? 0,
    group:
      inside.get(Vs.IPVS_DAEMON_ATTR_MCAST_GROUP)?.bytes.slice() ??
      inside.get(Vs.IPVS_DAEMON_ATTR_MCAST_GROUP6)?.bytes.slice(),
    port: inside.u16(Vs.IPVS_DAEMON_ATTR_MCAST_PORT) ?? 0,
    ttl: inside.u8(Vs.IPVS_DAEMON_ATTR_MCAST_TTL) ?? 0,
  });
}

/** What names a service. */
function keyOf(attributes: Attributes): ServiceKey {
  const inside = attributes.nested(Vs.IPVS_CMD_ATTR_SERVICE) ?? refuse(EINVAL);
  const family = inside.u16(Vs.IPVS_SVC_ATTR_AF);
  const mark = inside.u32(Vs.IPVS_SVC_ATTR_FWMARK) ?? 0;
  const protocol = inside.u16(Vs.IPVS_SVC_ATTR_PROTOCOL);
  const address = inside.get(Vs.IPVS_SVC_ATTR_ADDR)?.bytes;
  const port = inside.u16be(Vs.IPVS_SVC_ATTR_PORT);
  const hasAddress = protocol !== undefined && address !== undefined && port !== undefined;
  if (family === undefined || (!inside.has(Vs.IPVS_SVC_ATTR_FWMARK) && !hasAddress)) return refuse(EINVAL);
  if (family !== AF_INET && family !== AF_INET6) return refuse(EAFNOSUPPORT);
  if (address !== undefined && address.length > 16) return refuse(EINVAL);
  // A mark of 0 is none: what is left is TCP's port 0 of no address.
  if (mark !== 0) return { family, mark, protocol: 0, address: new Uint8Array(family === AF_INET ? 4 : 16), port: 0 };
  return { family, mark: 0, protocol: protocol ?? 6, address: sized(address, family), port: port ?? 0 };
}

function sized(address: Uint8Array | undefined, family: number): Uint8Array {
  const bytes = new Uint8Array(family === AF_INET ? 4 : 16);
  bytes.set((address ?? bytes).subarray(0, bytes.length));
  return bytes;
}

const NAME = 16;

function settingsOf(attributes: Attributes, { family }: ServiceKey): ServiceSettings {
  const inside = attributes.nested(Vs.IPVS_CMD_ATTR_SERVICE)!;
  const scheduler = inside.get(Vs.IPVS_SVC_ATTR_SCHED_NAME)?.bytes;
  const flags = inside.get(Vs.IPVS_SVC_ATTR_FLAGS)?.bytes;
  const timeout = inside.u32(Vs.IPVS_SVC_ATTR_TIMEOUT);
  const netmask = inside.get(Vs.IPVS_SVC_ATTR_NETMASK)?.bytes;
  if (scheduler === undefined || flags === undefined || timeout === undefined || netmask === undefined)
    return refuse(EINVAL);
  if (scheduler.length > NAME || !scheduler.includes(0)) return refuse(EINVAL);
  const mask = new DataView(netmask.buffer, netmask.byteOffset).getUint32(0, true);
  if (family === AF_INET6 && (mask < 1 || mask > 128)) return refuse(EINVAL);
  const view = new DataView(flags.buffer, flags.byteOffset, flags.byteLength);
  return {
    scheduler: inside.text(Vs.IPVS_SVC_ATTR_SCHED_NAME)!,
    flags: view.getUint32(0, true),
    mask: flags.length >= 8 ? view.getUint32(4, true) : 0,
    timeout,
    netmask: mask,
    engine: inside.text(Vs.IPVS_SVC_ATTR_PE_NAME) || undefined,
  };
}

function destinationOf(attributes: Attributes, service: Service, isWhole: boolean): DestinationSettings {
  const inside = attributes.nested(Vs.IPVS_CMD_ATTR_DEST) ?? refuse(EINVAL);
  const address = inside.get(Vs.IPVS_DEST_ATTR_ADDR)?.bytes;
  const port = inside.u16be(Vs.IPVS_DEST_ATTR_PORT);
  if (address === undefined || port === undefined || address.length > 16) return refuse(EINVAL);
  const family = inside.u16(Vs.IPVS_DEST_ATTR_ADDR_FAMILY) || service.family;
  if (family !== AF_INET && family !== AF_INET6) return refuse(EAFNOSUPPORT);
  const method = inside.u32(Vs.IPVS_DEST_ATTR_FWD_METHOD);
  const weight = inside.u32(Vs.IPVS_DEST_ATTR_WEIGHT);
  const upper = inside.u32(Vs.IPVS_DEST_ATTR_U_THRESH);
  const lower = inside.u32(Vs.IPVS_DEST_ATTR_L_THRESH);
  if (isWhole && (method === undefined || weight === undefined || upper === undefined || lower === undefined))
    return refuse(EINVAL);
  return {
    family,
    address: sized(address, family),
    port,
    method: (method ?? 0) & Vs.IP_VS_CONN_F_FWD_MASK,
    weight: (weight ?? 0) | 0,
    upper: upper ?? 0,
    lower: lower ?? 0,
    tunnelType: inside.u8(Vs.IPVS_DEST_ATTR_TUN_TYPE) ?? 0,
    tunnelPort: inside.u16be(Vs.IPVS_DEST_ATTR_TUN_PORT) ?? 0,
    tunnelFlags: inside.u16(Vs.IPVS_DEST_ATTR_TUN_FLAGS) ?? 0,
  };
}

function message(request: Request, command: number, flags: number, body: (writer: Writer) => void): Uint8Array {
  const writer = new Writer();
  writer.message({ type: request.type, flags, sequence: request.sequence, port: request.port }, () => {
    writer.raw(Uint8Array.of(command, 1, 0, 0));
    body(writer);
  });
  return writer.take();
}

function* dump(command: number, request: Request, { ipvs }: Namespace, attributes: Attributes): Generator<Uint8Array> {
  const told = (answered: number, body: (writer: Writer) => void) => message(request, answered, NLM_F_MULTI, body);
  switch (command) {
    case Vs.IPVS_CMD_GET_SERVICE:
      for (const service of ipvs.services) yield told(Vs.IPVS_CMD_NEW_SERVICE, writer => writeService(writer, service));
      return;
    case Vs.IPVS_CMD_GET_DEST: {
      if (!attributes.has(Vs.IPVS_CMD_ATTR_SERVICE)) return;
      const key = keyOf(attributes);
      const service = ipvs.services.find(each => isKey(each, key));
      for (const destination of service?.destinations ?? [])
        yield told(Vs.IPVS_CMD_NEW_DEST, writer => writeDestination(writer, destination));
      return;
    }
    case Vs.IPVS_CMD_GET_DAEMON:
      for (const each of ipvs.daemons) yield told(Vs.IPVS_CMD_NEW_DAEMON, writer => writeDaemon(writer, each));
      return;
    default:
      refuse(EOPNOTSUPP);
  }
}

const isKey = (service: Service, key: ServiceKey): boolean =>
  service.family === key.family &&
  service.mark === key.mark &&
  service.protocol === key.protocol &&
  service.port === key.port &&
  service.address.every((byte, i) => byte === key.address[i]);

/** Addresses are told in 16 bytes, whatever their family. */
function wide(address: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes.set(address);
  return bytes;
}

function writeService(writer: Writer, service: Service): void {
  writer.nest(Vs.IPVS_CMD_ATTR_SERVICE, () => {
    writer.u16(Vs.IPVS_SVC_ATTR_AF, service.family);
    if (service.mark !== 0) writer.u32(Vs.IPVS_SVC_ATTR_FWMARK, service.mark);
    else {
      writer.u16(Vs.IPVS_SVC_ATTR_PROTOCOL, service.protocol);
      writer.attribute(Vs.IPVS_SVC_ATTR_ADDR, wide(service.address));
      writer.u16be(Vs.IPVS_SVC_ATTR_PORT, service.port);
    }
    writer.text(Vs.IPVS_SVC_ATTR_SCHED_NAME, service.scheduler);
    if (service.engine !== undefined) writer.text(Vs.IPVS_SVC_ATTR_PE_NAME, service.engine);
    const flags = new Uint8Array(8).fill(255, 4);
    new DataView(flags.buffer).setUint32(0, service.flags, true);
    writer.attribute(Vs.IPVS_SVC_ATTR_FLAGS, flags);
    writer.u32(Vs.IPVS_SVC_ATTR_TIMEOUT, service.timeout);
    writer.u32(Vs.IPVS_SVC_ATTR_NETMASK, service.netmask);
    writeStats(writer, Vs.IPVS_SVC_ATTR_STATS, Vs.IPVS_SVC_ATTR_STATS64, service.counters);
  });
}

function writeDestination(writer: Writer, destination: Destination): void {
  writer.nest(Vs.IPVS_CMD_ATTR_DEST, () => {
    writer.attribute(Vs.IPVS_DEST_ATTR_ADDR, wide(destination.address));
    writer.u16be(Vs.IPVS_DEST_ATTR_PORT, destination.port);
    writer.u32(Vs.IPVS_DEST_ATTR_FWD_METHOD, destination.method);
    writer.u32(Vs.IPVS_DEST_ATTR_WEIGHT, destination.weight);
    writer.u8(Vs.IPVS_DEST_ATTR_TUN_TYPE, destination.tunnelType);
    writer.u16be(Vs.IPVS_DEST_ATTR_TUN_PORT, destination.tunnelPort);
    writer.u16(Vs.IPVS_DEST_ATTR_TUN_FLAGS, destination.tunnelFlags);
    writer.u32(Vs.IPVS_DEST_ATTR_U_THRESH, destination.upper);
    writer.u32(Vs.IPVS_DEST_ATTR_L_THRESH, destination.lower);
    writer.u32(Vs.IPVS_DEST_ATTR_ACTIVE_CONNS, destination.active);
    writer.u32(Vs.IPVS_DEST_ATTR_INACT_CONNS, destination.inactive);
    writer.u32(Vs.IPVS_DEST_ATTR_PERSIST_CONNS, destination.persistent);
    writer.u16(Vs.IPVS_DEST_ATTR_ADDR_FAMILY, destination.family);
    writeStats(writer, Vs.IPVS_DEST_ATTR_STATS, Vs.IPVS_DEST_ATTR_STATS64, destination.counters);
  });
}

function writeDaemon(writer: Writer, daemon: Daemon): void {
  writer.nest(Vs.IPVS_CMD_ATTR_DAEMON, () => {
    writer.u32(Vs.IPVS_DAEMON_ATTR_STATE, daemon.state);
    writer.text(Vs.IPVS_DAEMON_ATTR_MCAST_IFN, daemon.interface);
    writer.u32(Vs.IPVS_DAEMON_ATTR_SYNC_ID, daemon.syncId);
    writer.u16(Vs.IPVS_DAEMON_ATTR_SYNC_MAXLEN, daemon.maxLength);
    writer.u16(Vs.IPVS_DAEMON_ATTR_MCAST_PORT, daemon.port);
    writer.u8(Vs.IPVS_DAEMON_ATTR_MCAST_TTL, daemon.ttl);
    const type = daemon.group.length === 4 ? Vs.IPVS_DAEMON_ATTR_MCAST_GROUP : Vs.IPVS_DAEMON_ATTR_MCAST_GROUP6;
    writer.attribute(type, daemon.group);
  });
}

const U32_MAX = 0xffff_ffffn;
const clipped = (value: bigint): number => Number(value & U32_MAX);

function writeStats(writer: Writer, narrow: number, whole: number, counters: Counters): void {
  const { connections, inPackets, outPackets, inBytes, outBytes } = counters;
  writer.nest(narrow, () => {
    writer.u32(Vs.IPVS_STATS_ATTR_CONNS, clipped(connections));
    writer.u32(Vs.IPVS_STATS_ATTR_INPKTS, clipped(inPackets));
    writer.u32(Vs.IPVS_STATS_ATTR_OUTPKTS, clipped(outPackets));
    writer.u64(Vs.IPVS_STATS_ATTR_INBYTES, inBytes);
    writer.u64(Vs.IPVS_STATS_ATTR_OUTBYTES, outBytes);
    for (let type = Vs.IPVS_STATS_ATTR_CPS; type <= Vs.IPVS_STATS_ATTR_OUTBPS; type++) writer.u32(type, 0);
  });
  writer.nest(whole, () => {
    writer.u64(Vs.IPVS_STATS_ATTR_CONNS, connections);
    writer.u64(Vs.IPVS_STATS_ATTR_INPKTS, inPackets);
    writer.u64(Vs.IPVS_STATS_ATTR_OUTPKTS, outPackets);
    writer.u64(Vs.IPVS_STATS_ATTR_INBYTES, inBytes);
    writer.u64(Vs.IPVS_STATS_ATTR_OUTBYTES, outBytes);
    for (let type = Vs.IPVS_STATS_ATTR_CPS; type <= Vs.IPVS_STATS_ATTR_OUTBPS; type++) writer.u64(type, 0n);
  });
}
