import { NO_CONTEXT } from '../../codec/index.ts';
import type { Path } from '../../errors.ts';
import { AF_INET } from '../../ffi/constants.ts';
import {
  commandTable,
  infoTable,
  type WireCommand,
  type WireDestination,
  type WireService,
} from '../../ip_vs/attributes.ts';
import * as C from '../../ip_vs/constants.ts';
import {
  type Destination,
  type DestinationKey,
  writeDestination,
  writeDestinationKey,
} from '../../ip_vs/destination.ts';
import { isReachable, readKey, type Service, type ServiceKey, writeKey, writeService } from '../../ip_vs/service.ts';
import { keyPart } from '../../ip_vs/wire.ts';
import {
  type Command,
  type Exchange,
  GenericFamily,
  genlmsghdr,
  type MessageList,
  type Operation,
  type PipelineResult,
} from '../../netlink/index.ts';
import { listedDestination, listedService } from './dump-reader.ts';

/** One request to IPVS, as netlink has it. The other carrier translates it. */
export type IpvsCommand = Command<WireCommand>;

export interface IpvsInfo {
  /** Of the IPVS code, '1.2.1' in every kernel of the last decade: no help in telling features. */
  version: string;
  /** Buckets of the connection table; 0 on Linux 7.2 until the namespace has its first service. */
  connectionTableSize: number;
}

/** A way to the IPVS of one namespace. All of them take the requests of netlink and give answers of its form. */
export interface Carrier {
  readonly via: 'netlink' | 'sockopt';
  info(): Operation<IpvsInfo>;
  request(command: IpvsCommand): Operation<void>;
  get<R>(command: IpvsCommand, read: (value: WireCommand) => R | undefined): Operation<R>;
  /** All objects of a kind; of a service that is not there, an empty list. */
  dump<R>(command: IpvsCommand, read: (value: WireCommand) => R | undefined): Operation<R[]>;
  /** All services. Without `withStats` their counters may be left out. */
  services(withStats: boolean): Operation<WireService[]>;
  /** The servers of a service; none where there is no such service. */
  destinations(service: WireService, withStats: boolean): Operation<WireDestination[]>;
  /** Many requests at once; one that fails does not stop the rest. */
  pipeline(commands: readonly IpvsCommand[]): Operation<PipelineResult>;
  /** As `pipeline`, of requests that are encoded: those from `begin` up to `end`, by which all indexes count. `command` tells what one is. */
  stream(
    messages: MessageList,
    command: (index: number) => IpvsCommand,
    begin?: number,
    end?: number,
  ): Operation<PipelineResult>;
}

/** Of the family; the kernel does not look at it. */
const VERSION = 1;
const MODULE_MISSING =
  'the kernel has no IPVS: load the module on the host (modprobe ip_vs), or install a kernel with CONFIG_IP_VS';
const NOT_PERMITTED =
  'IPVS over netlink needs CAP_NET_ADMIN in the initial user namespace: program the container from the host, as root';

/**
 * IPVS over generic netlink: all that the kernel has. It wants CAP_NET_ADMIN in the initial user namespace, also for reading
 * (net/netfilter/ipvs/ip_vs_ctl.c).
 */
export class NetlinkCarrier extends GenericFamily<WireCommand> implements Carrier {
  readonly via = 'netlink';
  readonly #info: GenericFamily<{ version?: number; connectionTableSize?: number }>;

  constructor(exchange: Exchange) {
    const family = { name: 'IPVS', version: VERSION, missing: MODULE_MISSING };
    super(exchange, { ...family, table: commandTable });
    this.#info = new GenericFamily(exchange, { ...family, table: infoTable });
  }

  services(withStats: boolean): Operation<WireService[]> {
    return this.dumpMessages(GET_SERVICES, message => listedService(message, withStats));
  }

  destinations(service: WireService, withStats: boolean): Operation<WireDestination[]> {
    return this.dumpMessages(getDestinations(service), message => listedDestination(message, withStats));
  }

  *info(): Operation<IpvsInfo> {
    const command = { ...describe('IPVS_CMD_GET_INFO', C.IPVS_CMD_GET_INFO, undefined, {}), value: {} };
    return yield* this.#info.get(command, ({ version, connectionTableSize }) => readInfo(version, connectionTableSize));
  }
}

/** All services, and the servers of one. */
export const GET_SERVICES = describe('IPVS_CMD_GET_SERVICE', C.IPVS_CMD_GET_SERVICE, undefined, {});

export function getDestinations(service: WireService): IpvsCommand {
  const key = keyPart(service);
  return describe('IPVS_CMD_GET_DEST', C.IPVS_CMD_GET_DEST, readKey(key), { service: key });
}

export function readInfo(version = 0, connectionTableSize = 0): IpvsInfo {
  return { version: `${version >> 16}.${(version >> 8) & 0xff}.${version & 0xff}`, connectionTableSize };
}

/** Puts a request behind the others; its type, the family's number, is still to come. */
export function encode(messages: MessageList, { command, value }: Pick<IpvsCommand, 'command' | 'value'>): void {
  messages.add(0, 0, writer => {
    genlmsghdr.write(writer, { cmd: command, version: VERSION });
    commandTable.write(writer, value, NO_CONTEXT);
  });
}

const NO_IPV6 = 'this kernel has no IPVS for IPv6 (CONFIG_IP_VS_IPV6)';
const UNLOADING = 'the module ip_vs is being unloaded: try again, which loads it anew';
/** Everything else that EINVAL says of a service is checked before it is sent. */
const NO_ESTIMATOR =
  'the kernel can keep no more counters in this namespace (Linux 6.2): give settings.est_cpulist more processors, or switch settings.run_estimation off';

/** IPVS gives no error text and no offsets: what an errno means depends on what was asked. */
export function describe(syscall: string, command: number, subject: unknown, value: WireCommand): IpvsCommand {
  return { syscall, command, subject, value, hint: generalHint };
}

export function generalHint(code: string): string | undefined {
  if (code === 'ESRCH') return 'there is no such service';
  if (code === 'ENOPROTOOPT') return UNLOADING;
  return code === 'EPERM' ? NOT_PERMITTED : undefined;
}

/** A request that carries a whole service. */
export function serviceCommand(
  verb: 'NEW' | 'SET',
  service: Service,
  wire: WireCommand = { service: writeService(service) },
): IpvsCommand {
  const { syscall, command } = SERVICE_VERBS[verb];
  return {
    syscall,
    command,
    subject: service,
    value: wire,
    hint: serviceHint(verb, service),
    blame: serviceBlame(service),
  };
}

/** A request about a service that its key identifies. */
export function keyCommand(verb: 'DEL' | 'GET', key: ServiceKey, service = writeKey(key)): IpvsCommand {
  const { syscall, command } = SERVICE_VERBS[verb];
  return { syscall, command, subject: key, value: { service }, hint: generalHint };
}

const SERVICE_VERBS = {
  NEW: { syscall: 'IPVS_CMD_NEW_SERVICE', command: C.IPVS_CMD_NEW_SERVICE },
  SET: { syscall: 'IPVS_CMD_SET_SERVICE', command: C.IPVS_CMD_SET_SERVICE },
  DEL: { syscall: 'IPVS_CMD_DEL_SERVICE', command: C.IPVS_CMD_DEL_SERVICE },
  GET: { syscall: 'IPVS_CMD_GET_SERVICE', command: C.IPVS_CMD_GET_SERVICE },
} as const;

function serviceHint(verb: 'NEW' | 'SET', { scheduler, persistence }: Service): (code: string) => string | undefined {
  return code => {
    switch (code) {
      case 'EEXIST':
        return 'the service is there already: setService replaces it';
      case 'ENOENT': {
        const engine = persistence?.engine;
        return `this kernel has no scheduler ${scheduler}${engine === undefined ? '' : ` or no persistence engine ${engine}`}`;
      }
      case 'EAFNOSUPPORT':
        return NO_IPV6;
      case 'EINVAL':
        return verb === 'NEW' ? NO_ESTIMATOR : undefined;
      default:
        return generalHint(code);
    }
  };
}

function serviceBlame(service: Service): (code: string) => Path | undefined {
  return code => {
    if (code === 'ENOENT') return service.persistence?.engine === undefined ? ['scheduler'] : [];
    return code === 'EAFNOSUPPORT' ? ['address' in service ? 'address' : 'family'] : undefined;
  };
}

const DESTINATION_VERBS = {
  NEW: { syscall: 'IPVS_CMD_NEW_DEST', command: C.IPVS_CMD_NEW_DEST },
  SET: { syscall: 'IPVS_CMD_SET_DEST', command: C.IPVS_CMD_SET_DEST },
  DEL: { syscall: 'IPVS_CMD_DEL_DEST', command: C.IPVS_CMD_DEL_DEST },
} as const;

const DESTINATION_HINTS: Readonly<Record<string, string>> = {
  ESRCH: 'there is no such service',
  ENOENT: 'the service has no such destination',
  EEXIST: 'the destination is there already: setDestination replaces it',
  ERANGE: 'weight or thresholds are out of range',
  EAFNOSUPPORT: NO_IPV6,
  ENOPROTOOPT: UNLOADING,
  EPERM: NOT_PERMITTED,
};

/** Which causes of an EINVAL fit a request: one that is certain, or all that are possible. */
function whyInvalid(verb: keyof typeof DESTINATION_VERBS, { service, destination }: WireCommand): string | undefined {
  if (service === undefined || destination === undefined || verb === 'DEL') return undefined;
  const { address, family = service.family, upperThreshold = 0, tunnelType, tunnelPort = 0 } = destination;
  const causes: string[] = [];
  if (verb === 'NEW') {
    if (!isReachable({ family, address })) return 'no packet can be sent to that address, so that it is no server';
    if (family === AF_INET) {
      causes.push('the address is a broadcast address here');
      causes.push('lo is down and the namespace has no address (it then takes no IPv4 server at all)');
    } else if (/^fe[89ab]/.test(address)) causes.push("the address is link-local, and not one of this namespace's own");
  }
  if (family !== service.family) causes.push('a sync daemon runs, beside which no server of the other family can be');
  if (tunnelType === C.IP_VS_CONN_F_TUNNEL_TYPE_GUE && tunnelPort === 0) causes.push('GUE needs a port');
  if (upperThreshold > 0x7fffffff) causes.push('from Linux 7.1 on a threshold is at most 2^31-1');
  if (verb === 'NEW') causes.push(NO_ESTIMATOR);
  return causes.length === 0 ? undefined : causes.join(', or ');
}

const destinationBlame = (code: string): Path | undefined => (code === 'EINVAL' ? ['address'] : undefined);

/** A request about a destination; its parameters are checked already. */
export function destinationRequest(
  verb: keyof typeof DESTINATION_VERBS,
  subject: DestinationKey,
  value: WireCommand,
): IpvsCommand {
  // Written out: a batch makes thousands, and spreading the verb costs more than all the rest.
  const { syscall, command } = DESTINATION_VERBS[verb];
  const hint = (code: string) => (code === 'EINVAL' ? whyInvalid(verb, value) : DESTINATION_HINTS[code]);
  return { syscall, command, subject, value, hint, blame: destinationBlame };
}

/** A request that carries a whole destination. */
export function destinationCommand(verb: 'NEW' | 'SET', key: ServiceKey, destination: Destination): IpvsCommand {
  const service = writeKey(key);
  return destinationRequest(verb, destination, {
    service,
    destination: writeDestination(key, destination, service.family),
  });
}

/** A request about a destination that its key identifies. */
export function destinationKeyCommand(key: ServiceKey, destination: DestinationKey): IpvsCommand {
  return destinationRequest('DEL', destination, {
    service: writeKey(key),
    destination: writeDestinationKey(destination),
  });
}
