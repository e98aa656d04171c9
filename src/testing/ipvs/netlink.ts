import * as Vs from '../../linux/ip_vs.ts';
import { NLM_F_DUMP, NLM_F_MULTI } from '../../linux/netlink.ts';
import { AF_INET, AF_INET6 } from '../../linux/socket.ts';
import type { Machine } from '../machine/machine.ts';
import { packed, type Request } from '../machine/netlink.ts';
import type { MemorySocket } from '../machine/socket.ts';
import type { Namespace } from '../machine/state.ts';
import { EAFNOSUPPORT, EBUSY, EINVAL, EOPNOTSUPP, EPERM, ERANGE, ESRCH, refuse } from '../refusal.ts';
import { Attributes, Writer } from '../wire/attributes.ts';

import { startDaemon, stopDaemon } from './daemons.ts';
import {
  addDestination,
  addService,
  editDestination,
  editService,
  findService,
  flush,
  removeDestination,
  removeService,
  setTimeouts,
  zero,
} from './operations.ts';
import { COMMAND_POLICY, DAEMON_POLICY, violation } from './policy.ts';
import { writeDaemon, writeDestination, writeService } from './replies.ts';
import { daemonOf, destinationOf, serviceOf } from './requests.ts';
import type { Service } from './state.ts';

/* The commands of IPVS over generic netlink (ip_vs_genl_ops of net/netfilter/ipvs/ip_vs_ctl.c). */

/** nlmsghdr and genlmsghdr. */
const HEADERS = 20;
/** 1.2.1 */
export const VERSION = 0x01_02_01;
export const TABLE_SIZE = 4096;
const VIOLATED = 'Attribute failed policy validation';

const DUMPS = new Set<number>([Vs.IPVS_CMD_GET_SERVICE, Vs.IPVS_CMD_GET_DEST, Vs.IPVS_CMD_GET_DAEMON]);
const ONLY_DUMPS = new Set<number>([Vs.IPVS_CMD_GET_DEST, Vs.IPVS_CMD_GET_DAEMON]);
const isKnown = (command: number): boolean =>
  command >= Vs.IPVS_CMD_NEW_SERVICE && command <= Vs.IPVS_CMD_FLUSH && command !== Vs.IPVS_CMD_SET_INFO;

export function answer(machine: Machine, socket: MemorySocket, request: Request): void {
  if (request.bytes.length < HEADERS) refuse(EINVAL);
  const namespace = machine.namespace(socket.namespace);
  const attributes = new Attributes(request.bytes, HEADERS, request.bytes.length);
  const command = request.bytes[16]!;
  const isDump = (request.flags & NLM_F_DUMP) === NLM_F_DUMP;
  if (!isKnown(command) || (isDump ? !DUMPS.has(command) : ONLY_DUMPS.has(command))) refuse(EOPNOTSUPP);
  // CAP_NET_ADMIN is wanted in the machine's first user namespace, for whatever it is.
  if (namespace.userNamespace) refuse(EPERM);
  if (isDump) {
    if (!socket.start(packed(dump(machine, command, request, namespace, attributes), request))) refuse(EBUSY);
    return;
  }
  const violated = violation(attributes, COMMAND_POLICY);
  if (violated !== undefined) refuse(ERANGE, violated, VIOLATED);
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
    case Vs.IPVS_CMD_GET_CONFIG:
      return message(request, Vs.IPVS_CMD_SET_CONFIG, 0, writer => {
        writer.u32(Vs.IPVS_CMD_ATTR_TIMEOUT_TCP, ipvs.timeouts.tcp);
        writer.u32(Vs.IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, ipvs.timeouts.tcpFin);
        writer.u32(Vs.IPVS_CMD_ATTR_TIMEOUT_UDP, ipvs.timeouts.udp);
      });
    case Vs.IPVS_CMD_GET_INFO:
      return message(request, Vs.IPVS_CMD_SET_INFO, 0, writer => {
        writer.u32(Vs.IPVS_INFO_ATTR_VERSION, VERSION);
        writer.u32(Vs.IPVS_INFO_ATTR_CONN_TAB_SIZE, TABLE_SIZE);
      });
    case Vs.IPVS_CMD_GET_SERVICE: {
      const { key } = serviceOf(attributes, namespace, false);
      const service = findService(namespace, key) ?? refuse(ESRCH);
      return message(request, Vs.IPVS_CMD_NEW_SERVICE, 0, writer => writeService(machine, namespace, writer, service));
    }
    case Vs.IPVS_CMD_NEW_DAEMON:
    case Vs.IPVS_CMD_DEL_DAEMON:
      daemon(command, namespace, attributes);
      return undefined;
    default:
      set(command, machine, namespace, attributes);
      return undefined;
  }
}

/** ip_vs_genl_set_cmd */
function set(command: number, machine: Machine, namespace: Namespace, attributes: Attributes): void {
  if (command === Vs.IPVS_CMD_FLUSH) flush(machine, namespace);
  else if (command === Vs.IPVS_CMD_SET_CONFIG) setTimeouts(namespace, timeoutsIn(attributes));
  else if (command === Vs.IPVS_CMD_ZERO && !attributes.has(Vs.IPVS_CMD_ATTR_SERVICE))
    zero(machine, namespace, undefined);
  else setService(command, machine, namespace, attributes);
}

function timeoutsIn(attributes: Attributes): Namespace['ipvs']['timeouts'] {
  const seconds = (type: number) => (attributes.u32(type) ?? 0) | 0;
  return {
    tcp: seconds(Vs.IPVS_CMD_ATTR_TIMEOUT_TCP),
    tcpFin: seconds(Vs.IPVS_CMD_ATTR_TIMEOUT_TCP_FIN),
    udp: seconds(Vs.IPVS_CMD_ATTR_TIMEOUT_UDP),
  };
}

function setService(command: number, machine: Machine, namespace: Namespace, attributes: Attributes): void {
  const isWhole = command === Vs.IPVS_CMD_NEW_SERVICE || command === Vs.IPVS_CMD_SET_SERVICE;
  const { key, settings } = serviceOf(attributes, namespace, isWhole);
  if (command === Vs.IPVS_CMD_NEW_SERVICE) {
    addService(machine, namespace, key, settings!);
    return;
  }
  const service = findService(namespace, key) ?? refuse(ESRCH);
  if (command === Vs.IPVS_CMD_SET_SERVICE) editService(machine, service, settings!);
  else if (command === Vs.IPVS_CMD_DEL_SERVICE) removeService(machine, namespace, service);
  else if (command === Vs.IPVS_CMD_ZERO) zero(machine, namespace, service);
  else setDestination(command, machine, namespace, service, attributes);
}

function setDestination(
  command: number,
  machine: Machine,
  namespace: Namespace,
  service: Service,
  attributes: Attributes,
): void {
  const isWhole = command !== Vs.IPVS_CMD_DEL_DEST;
  const settings = destinationOf(attributes, service, isWhole);
  const { family, flags } = settings;
  if (family !== AF_INET && family !== AF_INET6) refuse(EAFNOSUPPORT);
  // Servers of the other address family are reached by tunnels, and synchronisation knows none.
  const isOdd = isWhole && family !== service.family;
  if (isOdd && (namespace.ipvs.daemons.length > 0 || flags !== Vs.IP_VS_CONN_F_TUNNEL)) refuse(EINVAL);
  if (command === Vs.IPVS_CMD_NEW_DEST) addDestination(machine, namespace, service, settings);
  else if (command === Vs.IPVS_CMD_SET_DEST) editDestination(service, settings);
  else removeDestination(machine, namespace, service, settings);
}

function daemon(command: number, namespace: Namespace, attributes: Attributes): void {
  const inside = attributes.nested(Vs.IPVS_CMD_ATTR_DAEMON) ?? refuse(EINVAL);
  const violated = violation(inside, DAEMON_POLICY);
  if (violated !== undefined) refuse(EINVAL, violated, VIOLATED);
  if (command === Vs.IPVS_CMD_DEL_DAEMON) {
    stopDaemon(namespace, inside.u32(Vs.IPVS_DAEMON_ATTR_STATE) ?? refuse(EINVAL));
    return;
  }
  const started = daemonOf(inside);
  if (namespace.ipvs.services.some(({ family, destinations }) => destinations.some(each => each.family !== family)))
    refuse(EINVAL);
  startDaemon(namespace, started);
}

function message(request: Request, command: number, flags: number, body: (writer: Writer) => void): Uint8Array {
  const writer = new Writer();
  writer.message({ type: request.type, flags, sequence: request.sequence, port: request.port }, () => {
    writer.raw(Uint8Array.of(command, 1, 0, 0));
    body(writer);
  });
  return writer.take();
}

/** Services by their addresses come first, then those by marks, as they stand in the kernel's two tables. */
const inOrder = (services: readonly Service[]): Service[] => [
  ...services.filter(({ mark }) => mark === 0),
  ...services.filter(({ mark }) => mark !== 0),
];

function* dump(
  machine: Machine,
  command: number,
  request: Request,
  namespace: Namespace,
  attributes: Attributes,
): Generator<Uint8Array> {
  const { ipvs } = namespace;
  const told = (answered: number, body: (writer: Writer) => void) => message(request, answered, NLM_F_MULTI, body);
  switch (command) {
    case Vs.IPVS_CMD_GET_SERVICE:
      for (const service of inOrder(ipvs.services))
        yield told(Vs.IPVS_CMD_NEW_SERVICE, writer => writeService(machine, namespace, writer, service));
      return;
    case Vs.IPVS_CMD_GET_DEST:
      for (const destination of [...(serviceNamed(namespace, attributes)?.destinations ?? [])])
        yield told(Vs.IPVS_CMD_NEW_DEST, writer => writeDestination(machine, namespace, writer, destination));
      return;
    default:
      for (const each of ipvs.daemons) yield told(Vs.IPVS_CMD_NEW_DAEMON, writer => writeDaemon(writer, each));
  }
}

/** A dump of what is not there, or is not named rightly, is an empty one. */
function serviceNamed(namespace: Namespace, attributes: Attributes): Service | undefined {
  if (violation(attributes, COMMAND_POLICY) !== undefined) return undefined;
  try {
    return findService(namespace, serviceOf(attributes, namespace, false).key);
  } catch {
    return undefined;
  }
}
