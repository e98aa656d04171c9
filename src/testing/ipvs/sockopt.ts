import { IPPROTO_IP } from '../../linux/in.ts';
import * as Vs from '../../linux/ip_vs.ts';
import { AF_INET } from '../../linux/socket.ts';
import type { Machine, OptionFamily } from '../machine/machine.ts';
import { hasModule, type Namespace } from '../machine/state.ts';
import { EFAULT, EINVAL, ENOPROTOOPT, ESRCH, Refusal, refuse } from '../refusal.ts';
import { textOf } from '../wire/attributes.ts';

import { type DaemonSettings, startDaemon, stopDaemon } from './daemons.ts';
import { read, settle } from './estimator.ts';
import { TABLE_SIZE, VERSION } from './netlink.ts';
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
  secondsOf,
  setTimeouts,
  zero,
} from './operations.ts';
import type { Counters, Destination, Service } from './state.ts';

/*
 * The socket options of IPVS (do_ip_vs_set_ctl, do_ip_vs_get_ctl of net/netfilter/ipvs/ip_vs_ctl.c). Root of the user namespace that owns the
 * network namespace may use them. The structures are those of include/uapi/linux/ip_vs.h.
 */

const SERVICE_SIZE = 44;
const DESTINATION_SIZE = 24;
const TIMEOUTS_SIZE = 12;
const DAEMON_SIZE = 24;
const SERVICE_ENTRY_SIZE = 104;
const DESTINATION_ENTRY_SIZE = 96;
const NAME_SIZE = 16;
const PROTOCOLS = new Set([6, 17, 132]);

const SET_SIZES: ReadonlyMap<number, number> = new Map([
  [Vs.IP_VS_SO_SET_ADD, SERVICE_SIZE],
  [Vs.IP_VS_SO_SET_EDIT, SERVICE_SIZE],
  [Vs.IP_VS_SO_SET_DEL, SERVICE_SIZE],
  [Vs.IP_VS_SO_SET_ADDDEST, SERVICE_SIZE + DESTINATION_SIZE],
  [Vs.IP_VS_SO_SET_DELDEST, SERVICE_SIZE + DESTINATION_SIZE],
  [Vs.IP_VS_SO_SET_EDITDEST, SERVICE_SIZE + DESTINATION_SIZE],
  [Vs.IP_VS_SO_SET_TIMEOUT, TIMEOUTS_SIZE],
  [Vs.IP_VS_SO_SET_STARTDAEMON, DAEMON_SIZE],
  [Vs.IP_VS_SO_SET_STOPDAEMON, DAEMON_SIZE],
  [Vs.IP_VS_SO_SET_ZERO, SERVICE_SIZE],
]);
const LAST_SET = Vs.IP_VS_SO_SET_ZERO;
const LAST_GET = Vs.IP_VS_SO_GET_DAEMON;

const GET_SIZES: ReadonlyMap<number, number> = new Map([
  [Vs.IP_VS_SO_GET_VERSION, 64],
  [Vs.IP_VS_SO_GET_INFO, 12],
  [Vs.IP_VS_SO_GET_SERVICES, 8],
  [Vs.IP_VS_SO_GET_SERVICE, SERVICE_ENTRY_SIZE],
  [Vs.IP_VS_SO_GET_DESTS, 24],
  [Vs.IP_VS_SO_GET_TIMEOUT, TIMEOUTS_SIZE],
  [Vs.IP_VS_SO_GET_DAEMON, 2 * DAEMON_SIZE],
]);

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** The errno of a refusal; what else is thrown goes on. */
function errnoOf(call: () => number): number {
  try {
    return call();
  } catch (error) {
    if (error instanceof Refusal) return error.errno;
    throw error;
  }
}

export const ipvsOptions: OptionFamily = {
  level: IPPROTO_IP,
  set(machine, namespace, name, value) {
    if (!hasModule(machine.release, 'ip_vs') || name < Vs.IP_VS_BASE_CTL || name > LAST_SET) return ENOPROTOOPT;
    if (value.length !== (SET_SIZES.get(name) ?? 0)) return EINVAL;
    return errnoOf(() => {
      set(machine, namespace, name, value);
      return 0;
    });
  },
  get(machine, namespace, name, value) {
    if (!hasModule(machine.release, 'ip_vs') || name < Vs.IP_VS_BASE_CTL || name > LAST_GET) return ENOPROTOOPT;
    if (value.length < (GET_SIZES.get(name) ?? 0)) return EINVAL;
    return errnoOf(() => get(machine, namespace, name, value));
  },
};

function set(machine: Machine, namespace: Namespace, name: number, value: Uint8Array): void {
  const view = viewOf(value);
  if (name === Vs.IP_VS_SO_SET_STARTDAEMON) startDaemon(namespace, daemonIn(value));
  else if (name === Vs.IP_VS_SO_SET_STOPDAEMON) stopDaemon(namespace, view.getInt32(0, true));
  else if (name === Vs.IP_VS_SO_SET_FLUSH) flush(machine, namespace);
  else if (name === Vs.IP_VS_SO_SET_TIMEOUT)
    setTimeouts(namespace, {
      tcp: view.getInt32(0, true),
      tcpFin: view.getInt32(4, true),
      udp: view.getInt32(8, true),
    });
  else if (value.length === 0) refuse(EINVAL);
  else setService(machine, namespace, name, value);
}

/** struct ip_vs_daemon_user */
function daemonIn(value: Uint8Array): DaemonSettings {
  const view = viewOf(value);
  const device = value.subarray(4, 4 + NAME_SIZE);
  if (device[0] === 0 || !device.includes(0)) refuse(EINVAL);
  const others = { maxLength: 0, group: undefined, port: 0, ttl: 0 };
  return {
    state: view.getInt32(0, true),
    interface: textOf(device),
    syncId: view.getInt32(20, true),
    ...others,
  };
}

function setService(machine: Machine, namespace: Namespace, name: number, value: Uint8Array): void {
  const { key, protocol, settings, hasName } = serviceIn(value);
  const isAll = key.mark === 0 && key.port === 0 && key.address.every(byte => byte === 0);
  if (name === Vs.IP_VS_SO_SET_ZERO && isAll) {
    zero(machine, namespace, undefined);
    return;
  }
  if ((name === Vs.IP_VS_SO_SET_ADD || name === Vs.IP_VS_SO_SET_EDIT) && !hasName) refuse(EINVAL);
  if (!PROTOCOLS.has(protocol)) refuse(EFAULT);
  if (name === Vs.IP_VS_SO_SET_ADD) {
    addService(machine, namespace, key, settings);
    return;
  }
  const service = findService(namespace, key);
  if (service === undefined || service.protocol !== protocol) refuse(ESRCH);
  else SETTERS[name]!(machine, namespace, service, value);
}

type Setter = (machine: Machine, namespace: Namespace, service: Service, value: Uint8Array) => void;

const SETTERS: Readonly<Record<number, Setter>> = {
  [Vs.IP_VS_SO_SET_EDIT]: (machine, _, service, value) => editService(machine, service, serviceIn(value).settings),
  [Vs.IP_VS_SO_SET_DEL]: removeService,
  [Vs.IP_VS_SO_SET_ZERO]: zero,
  [Vs.IP_VS_SO_SET_ADDDEST]: (machine, namespace, service, value) =>
    addDestination(machine, namespace, service, destinationIn(value)),
  [Vs.IP_VS_SO_SET_EDITDEST]: (_, __, service, value) => editDestination(service, destinationIn(value)),
  [Vs.IP_VS_SO_SET_DELDEST]: (machine, namespace, service, value) =>
    removeDestination(machine, namespace, service, destinationIn(value)),
};

/** struct ip_vs_service_user */
function serviceIn(value: Uint8Array): {
  readonly key: ServiceKey;
  readonly protocol: number;
  readonly settings: ServiceSettings;
  readonly hasName: boolean;
} {
  const view = viewOf(value);
  const scheduler = value.subarray(16, 16 + NAME_SIZE);
  const protocol = view.getUint16(0, true);
  return {
    key: {
      family: AF_INET,
      protocol,
      address: value.slice(4, 8),
      port: view.getUint16(8),
      mark: view.getUint32(12, true),
    },
    protocol,
    settings: {
      scheduler: textOf(scheduler),
      flags: view.getUint32(32, true),
      seconds: view.getUint32(36, true),
      netmask: view.getUint32(40, true),
      engine: undefined,
    },
    hasName: scheduler.includes(0),
  };
}

/** struct ip_vs_dest_user, which stands behind that of the service */
function destinationIn(value: Uint8Array): DestinationSettings {
  const view = viewOf(value.subarray(SERVICE_SIZE));
  return {
    family: AF_INET,
    address: value.slice(SERVICE_SIZE, SERVICE_SIZE + 4),
    port: view.getUint16(4),
    flags: view.getUint32(8, true) & DESTINATION_FLAGS,
    weight: view.getInt32(12, true),
    upper: view.getUint32(16, true),
    lower: view.getUint32(20, true),
    tunnelType: Vs.IP_VS_CONN_F_TUNNEL_TYPE_IPIP,
    tunnelPort: 0,
    tunnelFlags: 0,
  };
}

/** IP_VS_CONN_F_DEST_MASK: the forwarding method, one-packet and conntrack. */
const DESTINATION_FLAGS = 0x1_2007;

function get(machine: Machine, namespace: Namespace, name: number, value: Uint8Array): number {
  const view = viewOf(value);
  const { ipvs } = namespace;
  switch (name) {
    case Vs.IP_VS_SO_GET_DAEMON:
      value.fill(0, 0, 2 * DAEMON_SIZE);
      for (const each of ipvs.daemons) {
        const at = each.state === Vs.IP_VS_STATE_MASTER ? 0 : DAEMON_SIZE;
        view.setInt32(at, each.state, true);
        value.set(Buffer.from(each.interface), at + 4);
        view.setInt32(at + 20, each.syncId, true);
      }
      return value.length;
    case Vs.IP_VS_SO_GET_VERSION: {
      const text = Buffer.from(`IP Virtual Server version 1.2.1 (size=${TABLE_SIZE})\0`);
      value.set(text);
      return text.length;
    }
    case Vs.IP_VS_SO_GET_INFO:
      view.setUint32(0, VERSION, true);
      view.setUint32(4, TABLE_SIZE, true);
      view.setUint32(8, ipvs.services.filter(({ family }) => family === AF_INET).length, true);
      return value.length;
    case Vs.IP_VS_SO_GET_TIMEOUT:
      view.setInt32(0, ipvs.timeouts.tcp, true);
      view.setInt32(4, ipvs.timeouts.tcpFin, true);
      view.setInt32(8, ipvs.timeouts.udp, true);
      return value.length;
    case Vs.IP_VS_SO_GET_SERVICES: {
      const count = view.getUint32(0, true);
      if (value.length !== 8 + count * SERVICE_ENTRY_SIZE) refuse(EINVAL);
      const old = ipvs.services.filter(({ family }) => family === AF_INET);
      const inOrder = [...old.filter(({ mark }) => mark === 0), ...old.filter(({ mark }) => mark !== 0)];
      for (const [i, service] of inOrder.slice(0, count).entries())
        writeService(machine, namespace, value.subarray(8 + i * SERVICE_ENTRY_SIZE), service);
      return value.length;
    }
    case Vs.IP_VS_SO_GET_SERVICE:
      writeService(machine, namespace, value, keyIn(namespace, value));
      return value.length;
    case Vs.IP_VS_SO_GET_DESTS: {
      const count = view.getUint32(16, true);
      if (value.length !== 24 + count * DESTINATION_ENTRY_SIZE) refuse(EINVAL);
      const service = keyIn(namespace, value);
      const own = service.destinations.filter(({ family }) => family === AF_INET);
      for (const [i, destination] of own.slice(0, count).entries())
        writeDestination(machine, namespace, value.subarray(24 + i * DESTINATION_ENTRY_SIZE), destination);
      return value.length;
    }
    default:
      return refuse(EINVAL);
  }
}

/** The service that a request names: struct ip_vs_service_entry and ip_vs_get_dests begin alike. */
function keyIn(namespace: Namespace, value: Uint8Array): Service {
  const view = viewOf(value);
  const key = {
    family: AF_INET,
    protocol: view.getUint16(0, true),
    address: value.slice(4, 8),
    port: view.getUint16(8),
    mark: view.getUint32(12, true),
  };
  return findService(namespace, key) ?? refuse(ESRCH);
}

/** struct ip_vs_service_entry */
function writeService(machine: Machine, namespace: Namespace, value: Uint8Array, service: Service): void {
  value.fill(0, 0, SERVICE_ENTRY_SIZE);
  const view = viewOf(value);
  view.setUint16(0, service.protocol, true);
  value.set(service.address, 4);
  view.setUint16(8, service.port);
  view.setUint32(12, service.mark, true);
  value.set(Buffer.from(service.scheduler), 16);
  view.setUint32(32, service.flags, true);
  view.setUint32(36, secondsOf(service), true);
  view.setUint32(40, service.netmask, true);
  view.setUint32(44, service.destinations.length, true);
  writeStats(machine, namespace, value.subarray(48), service.counters);
}

/** struct ip_vs_dest_entry */
function writeDestination(machine: Machine, namespace: Namespace, value: Uint8Array, destination: Destination): void {
  value.fill(0, 0, DESTINATION_ENTRY_SIZE);
  const view = viewOf(value);
  value.set(destination.address, 0);
  view.setUint16(4, destination.port);
  view.setUint32(8, destination.flags, true);
  view.setInt32(12, destination.weight, true);
  view.setUint32(16, destination.upper, true);
  view.setUint32(20, destination.lower, true);
  view.setUint32(24, destination.active, true);
  view.setUint32(28, destination.inactive, true);
  view.setUint32(32, destination.persistent, true);
  writeStats(machine, namespace, value.subarray(40), destination.counters);
}

/** struct ip_vs_stats_user */
function writeStats({ state }: Machine, namespace: Namespace, value: Uint8Array, counters: Counters): void {
  settle(namespace, counters, Number(state.now));
  const { totals, rates } = read(counters);
  const view = viewOf(value);
  view.setUint32(0, totals.connections, true);
  view.setUint32(4, totals.inPackets, true);
  view.setUint32(8, totals.outPackets, true);
  view.setBigUint64(16, BigInt(totals.inBytes), true);
  view.setBigUint64(24, BigInt(totals.outBytes), true);
  view.setUint32(32, rates.connections, true);
  view.setUint32(36, rates.inPackets, true);
  view.setUint32(40, rates.outPackets, true);
  view.setUint32(44, rates.inBytes, true);
  view.setUint32(48, rates.outBytes, true);
}
