import { checkInteger, checkObject } from '../codec/index.ts';
import { NetlinkError, type Path } from '../errors.ts';
import { type NetNs, netnsOf } from '../netns/netns.ts';
import { type Logger, Observer } from '../observe.ts';
import { NETLINK_GENERIC } from '../transport/constants.ts';
import { type Command, Exchange, GenericFamily, NetlinkSocket, type Operation, twoForms } from '../transport/index.ts';
import { commandTable, infoTable, type WireCommand } from './attributes.ts';
import * as C from './constants.ts';
import {
  type Destination,
  type DestinationEntry,
  type DestinationKey,
  readDestination,
  writeDestination,
  writeDestinationKey,
} from './destination.ts';
import {
  familyOf,
  readService,
  type Scheduling,
  type Service,
  type ServiceEntry,
  type ServiceKey,
  writeKey,
  writeService,
} from './service.ts';

export interface IpvsOptions {
  /** The namespace to program; home where left out. */
  netns?: NetNs;
  logger?: Logger;
}

export interface IpvsInfo {
  /** Of the IPVS code, '1.2.1' in every kernel of the last decade: no help in telling features. */
  version: string;
  /** Buckets of the connection table; 0 on Linux 7.2 until the namespace has its first service. */
  connectionTableSize: number;
}

export interface Timeouts {
  /** Idle TCP connections. */
  tcpSeconds: number;
  /** TCP connections after a FIN. */
  tcpFinSeconds: number;
  udpSeconds: number;
}

/** The kernel multiplies seconds by HZ (at most 1000) in an int, and refuses more with EINVAL. */
const MAX_TIMEOUT = Math.floor(0x7fffffff / 1000);

const MODULE_MISSING =
  'the kernel has no IPVS: load the module on the host (modprobe ip_vs), or install a kernel with CONFIG_IP_VS';
const NOT_PERMITTED =
  'IPVS over netlink needs CAP_NET_ADMIN in the initial user namespace: program the container from the host, as root';

/** The operations of IPVS, each written once. */
export class IpvsOperations {
  readonly #family: GenericFamily<WireCommand>;
  readonly #info: GenericFamily<{ version?: number; connectionTableSize?: number }>;

  constructor(exchange: Exchange) {
    const family = { name: 'IPVS', version: 1, missing: MODULE_MISSING };
    this.#family = new GenericFamily(exchange, { ...family, table: commandTable });
    this.#info = new GenericFamily(exchange, { ...family, table: infoTable });
  }

  /** Version and size of the connection table. */
  *info(): Operation<IpvsInfo> {
    const command = { ...describe('IPVS_CMD_GET_INFO', C.IPVS_CMD_GET_INFO, undefined, {}), value: {} };
    return yield* this.#info.get(command, ({ version = 0, connectionTableSize = 0 }) => ({
      version: `${version >> 16}.${(version >> 8) & 0xff}.${version & 0xff}`,
      connectionTableSize,
    }));
  }

  /** Adds a virtual service. @throws NetlinkError EEXIST it is there already, ENOENT no such scheduler or engine in this kernel. */
  *addService(service: Service): Operation<void> {
    yield* this.#family.request(serviceCommand('IPVS_CMD_NEW_SERVICE', C.IPVS_CMD_NEW_SERVICE, service));
  }

  /** Adds a virtual service, or replaces everything but its key and its servers. */
  *setService(service: Service): Operation<void> {
    try {
      yield* this.#family.request(serviceCommand('IPVS_CMD_SET_SERVICE', C.IPVS_CMD_SET_SERVICE, service));
    } catch (error) {
      if (!(error instanceof NetlinkError) || error.code !== 'ESRCH') throw error;
      yield* this.addService(service);
    }
  }

  /** Changes some fields of a virtual service and leaves the others as they are. @throws NetlinkError ESRCH there is none. */
  *editService(key: ServiceKey, patch: Partial<Scheduling>): Operation<void> {
    checkObject(patch, [], ['scheduler', 'schedulerFlags', 'persistence', 'onePacket']);
    const { stats: _, ...service } = yield* this.service(key);
    const edited = { ...service, ...patch } as Service;
    yield* this.#family.request(serviceCommand('IPVS_CMD_SET_SERVICE', C.IPVS_CMD_SET_SERVICE, edited));
  }

  /** Removes a virtual service and its servers. @throws NetlinkError ESRCH there is none. */
  *removeService(key: ServiceKey): Operation<void> {
    const value = { service: writeKey(key) };
    yield* this.#family.request(describe('IPVS_CMD_DEL_SERVICE', C.IPVS_CMD_DEL_SERVICE, key, value));
  }

  /** One virtual service. @throws NetlinkError ESRCH there is none. */
  *service(key: ServiceKey): Operation<ServiceEntry> {
    const command = describe('IPVS_CMD_GET_SERVICE', C.IPVS_CMD_GET_SERVICE, key, { service: writeKey(key) });
    return yield* this.#family.get(command, ({ service }) => service && readService(service));
  }

  /** All virtual services of the namespace, in the kernel's order; with `destinations`, the servers of each. */
  *services(
    options: { destinations?: boolean; signal?: AbortSignal } = {},
  ): Operation<(ServiceEntry & { destinations?: DestinationEntry[] })[]> {
    checkObject(options, [], ['destinations', 'signal']);
    const command = describe('IPVS_CMD_GET_SERVICE', C.IPVS_CMD_GET_SERVICE, undefined, {});
    const services = yield* this.#family.dump(command, ({ service }) => service && readService(service));
    if (!options.destinations) return services;
    const list: (ServiceEntry & { destinations?: DestinationEntry[] })[] = [];
    for (const service of services) {
      // One removed meanwhile has no servers: the kernel answers with an empty list.
      list.push({ ...service, destinations: yield* this.#dumpDestinations(service) });
    }
    return list;
  }

  /** Adds a real server to a service. @throws NetlinkError ESRCH no such service, EEXIST the server is there already. */
  *addDestination(key: ServiceKey, destination: Destination): Operation<void> {
    yield* this.#family.request(destinationCommand('IPVS_CMD_NEW_DEST', C.IPVS_CMD_NEW_DEST, key, destination));
  }

  /** Adds a real server, or replaces everything but its key. */
  *setDestination(key: ServiceKey, destination: Destination): Operation<void> {
    try {
      yield* this.#family.request(destinationCommand('IPVS_CMD_SET_DEST', C.IPVS_CMD_SET_DEST, key, destination));
    } catch (error) {
      if (!(error instanceof NetlinkError) || error.code !== 'ENOENT') throw error;
      yield* this.addDestination(key, destination);
    }
  }

  /** Changes some fields of a real server: `{ weight: 0 }` drains it. @throws NetlinkError ESRCH no such service, ENOENT no such server. */
  *editDestination(
    key: ServiceKey,
    destinationKey: DestinationKey,
    patch: Partial<Omit<Destination, keyof DestinationKey>>,
  ): Operation<void> {
    checkObject(patch, [], ['forward', 'weight', 'upperThreshold', 'lowerThreshold', 'tunnel']);
    const wanted = writeDestinationKey(destinationKey);
    const current = (yield* this.destinations(key)).find(entry => {
      const { address, port } = writeDestinationKey(entry);
      return address === wanted.address && port === wanted.port;
    });
    if (current === undefined) {
      const { syscall, hint } = destinationDescription('IPVS_CMD_SET_DEST', destinationKey);
      throw new NetlinkError({
        errno: -2,
        syscall,
        operation: 'ipvs.editDestination',
        subject: destinationKey,
        hint: hint?.('ENOENT', []),
      });
    }
    const {
      activeConnections: _a,
      inactiveConnections: _i,
      persistentConnections: _p,
      stats: _s,
      ...destination
    } = current;
    yield* this.#family.request(
      destinationCommand('IPVS_CMD_SET_DEST', C.IPVS_CMD_SET_DEST, key, { ...destination, ...patch }),
    );
  }

  /** Removes a real server. Its connections end. @throws NetlinkError ESRCH no such service, ENOENT no such server. */
  *removeDestination(key: ServiceKey, destination: DestinationKey): Operation<void> {
    const value = { service: writeKey(key), destination: writeDestinationKey(destination) };
    yield* this.#family.request({
      ...destinationDescription('IPVS_CMD_DEL_DEST', destination),
      command: C.IPVS_CMD_DEL_DEST,
      value,
    });
  }

  /** The real servers of a service, the newest first. @throws NetlinkError ESRCH no such service. */
  *destinations(key: ServiceKey): Operation<DestinationEntry[]> {
    const destinations = yield* this.#dumpDestinations(key);
    // The kernel answers a dump for a missing service with an empty list.
    if (destinations.length === 0) yield* this.service(key);
    return destinations;
  }

  *#dumpDestinations(key: ServiceKey): Operation<DestinationEntry[]> {
    const command = describe('IPVS_CMD_GET_DEST', C.IPVS_CMD_GET_DEST, key, { service: writeKey(key) });
    const family = familyOf(key);
    const entries = yield* this.#family.dump(
      command,
      ({ destination }) => destination && readDestination(destination, family),
    );
    // While others write, the kernel's cursor repeats entries.
    const seen = new Set<string>();
    return entries.filter(({ address, port }) => {
      const id = `${address} ${port}`;
      return seen.size !== seen.add(id).size;
    });
  }

  /** Removes every service of the namespace. Timeouts and the connections' entries stay. */
  *flush(): Operation<void> {
    yield* this.#family.request(describe('IPVS_CMD_FLUSH', C.IPVS_CMD_FLUSH, undefined, {}));
  }

  /** Sets the counters to zero: of one service and its servers, or of all. @throws NetlinkError ESRCH no such service. */
  *zero(key?: ServiceKey): Operation<void> {
    const value = key === undefined ? {} : { service: writeKey(key) };
    yield* this.#family.request(describe('IPVS_CMD_ZERO', C.IPVS_CMD_ZERO, key, value));
  }

  /** How long connections are remembered. */
  *timeouts(): Operation<Timeouts> {
    const command = describe('IPVS_CMD_GET_CONFIG', C.IPVS_CMD_GET_CONFIG, undefined, {});
    return yield* this.#family.get(command, ({ tcpSeconds = 0, tcpFinSeconds = 0, udpSeconds = 0 }) => ({
      tcpSeconds,
      tcpFinSeconds,
      udpSeconds,
    }));
  }

  /** Sets some of the timeouts, 1 to 2,147,483 seconds each; what is left out stays. */
  *setTimeouts(timeouts: Partial<Timeouts>): Operation<void> {
    const keys = ['tcpSeconds', 'tcpFinSeconds', 'udpSeconds'] as const;
    checkObject(timeouts, [], keys);
    const value: WireCommand = {};
    for (const key of keys) {
      if (timeouts[key] !== undefined) value[key] = checkInteger(timeouts[key], [key], 1, MAX_TIMEOUT);
    }
    yield* this.#family.request(describe('IPVS_CMD_SET_CONFIG', C.IPVS_CMD_SET_CONFIG, timeouts, value));
  }
}

/**
 * The IPVS of one network namespace, over generic netlink. The kernel wants CAP_NET_ADMIN in the initial user namespace for all of it,
 * also for reading (net/netfilter/ipvs/ip_vs_ctl.c); the namespace itself may belong to an unprivileged container.
 */
export class Ipvs extends twoForms(IpvsOperations) {
  /** Opens a socket in the namespace and asks nothing yet. Needs the right to enter the namespace. */
  static open(options: IpvsOptions = {}): Ipvs {
    checkObject(options, [], ['netns', 'logger']);
    const socket = new NetlinkSocket({ netns: netnsOf(options), protocol: NETLINK_GENERIC });
    return new Ipvs(new Exchange(socket, 'ipvs', new Observer(options.logger)));
  }
}

/** IPVS gives no error text and no offsets: what an errno means depends on what was asked. */
function describe(syscall: string, command: number, subject: unknown, value: WireCommand): Command<WireCommand> {
  return {
    syscall,
    command,
    subject,
    value,
    hint: code => {
      if (code === 'ESRCH') return 'there is no such service';
      return code === 'EPERM' ? NOT_PERMITTED : undefined;
    },
  };
}

function serviceCommand(syscall: string, command: number, service: Service): Command<WireCommand> {
  const wire = writeService(service);
  const general = describe(syscall, command, service, { service: wire });
  const engine = service.persistence?.engine;
  const hints: Record<string, string> = {
    EEXIST: 'the service is there already: setService replaces it',
    ENOENT: `this kernel has no scheduler ${service.scheduler}${engine === undefined ? '' : ` or no persistence engine ${engine}`}`,
    EAFNOSUPPORT: 'this kernel has no IPVS for IPv6 (CONFIG_IP_VS_IPV6)',
  };
  const blame: Record<string, Path> = {
    ENOENT: engine === undefined ? ['scheduler'] : [],
    EAFNOSUPPORT: 'address' in service ? ['address'] : ['family'],
  };
  return { ...general, hint: (code, path) => hints[code] ?? general.hint?.(code, path), blame: code => blame[code] };
}

function destinationDescription(syscall: string, subject: DestinationKey) {
  const hints: Record<string, string> = {
    ESRCH: 'there is no such service',
    ENOENT: 'the service has no such destination',
    EEXIST: 'the destination is there already: setDestination replaces it',
    EINVAL:
      'the kernel takes no such address for a server (in a namespace whose lo is down and that has no address it takes none at all)',
    ERANGE: 'weight or thresholds are out of range',
    EPERM: NOT_PERMITTED,
  };
  const blame: Record<string, Path> = { EINVAL: ['address'] };
  return { syscall, subject, hint: (code: string, _path: Path) => hints[code], blame: (code: string) => blame[code] };
}

function destinationCommand(
  syscall: string,
  command: number,
  key: ServiceKey,
  destination: Destination,
): Command<WireCommand> {
  const service = writeKey(key);
  const value = { service, destination: writeDestination(key, destination, service.family) };
  return { ...destinationDescription(syscall, destination), command, value };
}
