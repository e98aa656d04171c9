import type { Path } from '../../errors.ts';
import { addressText, isReachable } from '../../ip_vs/address.ts';
import type { WireCommand, WireService } from '../../ip_vs/attributes.ts';
import {
  type Destination,
  type DestinationKey,
  writeDestination,
  writeDestinationKey,
} from '../../ip_vs/destination.ts';
import { readKey, type Service, type ServiceKey, writeKey, writeService } from '../../ip_vs/service.ts';
import { keyPart } from '../../ip_vs/wire.ts';
import * as C from '../../linux/ip_vs.ts';
import { AF_INET } from '../../linux/socket.ts';
import type { IpvsCommand } from './backend.ts';

const NOT_PERMITTED =
  'IPVS over netlink needs CAP_NET_ADMIN in the initial user namespace: program the container from the host, as root';

/** Lists all services. */
export const GET_SERVICES = describe('IPVS_CMD_GET_SERVICE', C.IPVS_CMD_GET_SERVICE, undefined, {});

export function getDestinations(service: WireService): IpvsCommand {
  const key = keyPart(service);
  return describe('IPVS_CMD_GET_DEST', C.IPVS_CMD_GET_DEST, readKey(key), { service: key });
}

const NO_IPV6 = 'this kernel has no IPVS for IPv6 (CONFIG_IP_VS_IPV6)';
const UNLOADING = 'the module ip_vs is being unloaded: try again, which loads it anew';
/** All other reasons for EINVAL of a service are checked before it is sent. */
const NO_ESTIMATOR =
  'the kernel can keep no more counters in this namespace (Linux 6.2): give settings.est_cpulist more processors, or switch settings.run_estimation off';

/** IPVS gives no error text and no offsets. The meaning of an errno depends on the request, so each request has its own hints. */
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

/** The cause of an EINVAL, if the request leaves only one; otherwise all possible causes. */
function whyInvalid(verb: keyof typeof DESTINATION_VERBS, { service, destination }: WireCommand): string | undefined {
  if (service === undefined || destination === undefined || verb === 'DEL') return undefined;
  const { address, family = service.family, upperThreshold = 0, tunnelType, tunnelPort = 0 } = destination;
  const causes: string[] = [];
  if (verb === 'NEW') {
    if (!isReachable(addressText(address, family))) return 'no packet can be sent to that address';
    if (family === AF_INET) {
      causes.push('the address is a broadcast address here');
      causes.push('lo is down and the namespace has no address (the kernel then takes no IPv4 destination at all)');
    } else if (/^fe[89ab]/.test(address)) causes.push("the address is link-local, and not one of this namespace's own");
  }
  if (family !== service.family)
    causes.push('a sync daemon runs, and connections to a destination of the other family cannot be synchronised');
  if (tunnelType === C.IP_VS_CONN_F_TUNNEL_TYPE_GUE && tunnelPort === 0) causes.push('GUE needs a port');
  if (upperThreshold > 0x7fffffff)
    causes.push('newer kernels (Linux 7.1, 6.12.117, 6.1.192) take thresholds of at most 2^31-1');
  if (verb === 'NEW') causes.push(NO_ESTIMATOR);
  return causes.length === 0 ? undefined : causes.join(', or ');
}

const destinationBlame = (code: string): Path | undefined => (code === 'EINVAL' ? ['address'] : undefined);

/** A request about a destination whose parameters are checked already. */
export function destinationRequest(
  verb: keyof typeof DESTINATION_VERBS,
  subject: DestinationKey,
  value: WireCommand,
): IpvsCommand {
  // Without spreading an object: a batch makes thousands of these.
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
