import { isArgumentError, printable, rangeError, typeError, within } from '../errors.ts';
import type { WireDestination, WireService } from '../ip_vs/attributes.ts';
import {
  DESTINATION,
  type DestinationKey,
  readDestinationSettings,
  type VirtualServer,
  writeDestination,
  writeDestinationKey,
} from '../ip_vs/destination.ts';
import { type Kept, readKey, readServiceSettings, SERVICE, type ServiceKey, writeService } from '../ip_vs/service.ts';
import {
  destinationId,
  destinationSettings,
  isSameDestination,
  keyPart,
  serviceId,
  serviceSettings,
} from '../ip_vs/wire.ts';
import { endpoint } from '../ipvsadm/format.ts';
import * as C from '../linux/ip_vs.ts';
import type { IpvsCommand } from './backends/backend.ts';
import { destinationRequest, keyCommand, serviceCommand } from './backends/requests.ts';
import type { DestinationPatch, IpvsOperation, ServicePatch } from './operation-types.ts';
import type { ServiceState } from './snapshot.ts';

/**
 * Operations as text for people, one a line: `+` adds, `~` changes, `-` removes.
 *
 *     + service tcp 10.0.0.1:80 wlc
 *     + destination tcp 10.0.0.1:80 -> 10.1.0.1:80 direct weight 1
 * @param operations a plan, or any list of operations
 * @example
 * console.log(formatPlan(await ipvs.plan([], { prune: true })));
 */
export function formatPlan(operations: readonly IpvsOperation[]): string {
  return operations.map(operation => `${printable(line(operation))}\n`).join('');
}

function line(operation: IpvsOperation): string {
  switch (operation.op) {
    case 'addService':
      return `+ service ${nameOf(operation.service)} ${scheduling(operation.service)}`;
    case 'setService':
      return `~ service ${nameOf(operation.service)} ${scheduling(operation.service)}`;
    case 'editService':
      return `~ service ${nameOf(operation.key)} ${scheduling(operation.patch)}`;
    case 'removeService':
      return `- service ${nameOf(operation.key)}`;
    case 'addDestination':
      return `+ destination ${serverOf(operation.key, operation.destination)} ${settings({ weight: 1, ...operation.destination })}`;
    case 'setDestination':
      return `~ destination ${serverOf(operation.key, operation.destination)} ${settings({ weight: 1, ...operation.destination })}`;
    case 'editDestination':
      return `~ destination ${serverOf(operation.key, operation.destinationKey)} ${settings(operation.patch)}`;
    case 'removeDestination':
      return `- destination ${serverOf(operation.key, operation.destinationKey)}`;
    case 'zero':
      return `~ counters of ${operation.key === undefined ? 'all services' : nameOf(operation.key)} to zero`;
    case 'flush':
      return '- all services';
    case 'setTimeouts': {
      const { tcpSeconds, tcpFinSeconds, udpSeconds } = operation.timeouts;
      return `~ timeouts${words({ tcp: tcpSeconds, 'tcp-fin': tcpFinSeconds, udp: udpSeconds })}`;
    }
  }
}

function nameOf(key: ServiceKey): string {
  if ('firewallMark' in key) return `mark ${key.firewallMark} ${key.family}`;
  return `${key.protocol} ${endpoint(key.address, key.port)}`;
}

const serverOf = (key: ServiceKey, { address, port }: DestinationKey): string =>
  `${nameOf(key)} -> ${endpoint(address, port)}`;

function scheduling(patch: ServicePatch): string {
  const { schedulerFlags, onePacket } = patch;
  const flags = schedulerFlags?.length ? schedulerFlags.join(',') : undefined;
  const { scheduler = '', rest } = labelled(SERVICE, patch);
  return `${scheduler}${words({ flags })}${rest}${onePacket ? ' one-packet' : ''}`.trim();
}

function settings(patch: DestinationPatch): string {
  const { forward = '', rest } = labelled(DESTINATION, patch);
  return `${forward}${rest}`.trim();
}

/** The settings that are given: those without a label under their names, the others as ' label value' in `rest`. */
function labelled(fields: Pick<typeof DESTINATION, 'settings' | 'valueOf'>, patch: object) {
  const found: Record<string, unknown> & { rest: string } = { rest: '' };
  for (const setting of fields.settings) {
    const value = fields.valueOf(patch, setting);
    if (setting.label === '') found[setting.name] = value;
    else found.rest += words({ [setting.label]: value });
  }
  return found;
}

/** ' name value' of each that is there. */
function words(values: Record<string, unknown>): string {
  return Object.entries(values)
    .map(([name, value]) => (value === undefined ? '' : ` ${name} ${value}`))
    .join('');
}

/** One step from what there is to what there should be. */
export type Change =
  | { op: 'addService' | 'setService' | 'removeService'; service: WireService }
  | {
      op: 'addDestination' | 'setDestination' | 'removeDestination';
      service: WireService;
      destination: WireDestination;
    };

/**
 * The fewest changes from `current` to `desired`. A desired service gets exactly the destinations that are listed for it. Services that are not
 * desired stay; with `prune` they are removed after everything else.
 *
 * Within a service, destinations are added before others are removed, so that the service always has one. The scheduler mh rebuilds its table for
 * each destination. So a new service has no scheduler ('none') until it has its destinations. The kernel leaves 'none' without the wait
 * (synchronize_rcu) that any other change of scheduler costs.
 */
export function changesBetween(
  current: readonly ServiceState[],
  desired: readonly ServiceState[],
  options: { prune?: boolean | undefined } = {},
): Change[] {
  const changes: Change[] = [];
  const before = new Map(current.map(server => [serviceId(server.service), server]));
  const kept = new Set<string>();
  for (const server of desired) {
    const id = serviceId(server.service);
    kept.add(id);
    const now = before.get(id);
    if (now === undefined) addWhole(changes, server);
    else changeService(changes, now, server);
  }
  if (options.prune) {
    for (const [id, { service }] of before) if (!kept.has(id)) changes.push({ op: 'removeService', service });
  }
  return changes;
}

/** The scheduler mh rebuilds a table of 4093 slots whenever a destination is added, changed or removed. */
const isCostly = ({ scheduler }: WireService): boolean => scheduler === 'mh';

function addWhole(changes: Change[], { service, destinations }: ServiceState): void {
  const late = isCostly(service) && destinations.length > 1;
  changes.push({ op: 'addService', service: late ? unscheduled(service) : service });
  for (const destination of destinations) changes.push({ op: 'addDestination', service, destination });
  if (late) changes.push({ op: 'setService', service });
}

/** Without the flags of the scheduler, which mean something else to another one. */
function unscheduled(service: WireService): WireService {
  const kept = C.IP_VS_SVC_F_PERSISTENT | C.IP_VS_SVC_F_ONEPACKET;
  const flags = { flags: (service.flags?.flags ?? 0) & kept, mask: 0xffffffff };
  return { ...service, scheduler: 'none', flags };
}

function changeService(changes: Change[], now: ServiceState, wanted: ServiceState): void {
  const { service } = wanted;
  const differs = serviceSettings(now.service) !== serviceSettings(service);
  if (!differs && isUnchanged(now, wanted)) return;
  const schedulerLast = isCostly(service) && now.service.scheduler !== service.scheduler;
  if (differs && !schedulerLast) changes.push({ op: 'setService', service });
  const before = new Map(now.destinations.map(each => [destinationId(each, service.family), each]));
  const lowered: Change[] = [];
  const raised: Change[] = [];
  for (const destination of wanted.destinations) {
    const id = destinationId(destination, service.family);
    const old = before.get(id);
    before.delete(id);
    if (old === undefined) changes.push({ op: 'addDestination', service, destination });
    else if (destinationSettings(old) !== destinationSettings(destination)) {
      (destination.weight === 0 ? lowered : raised).push({ op: 'setDestination', service, destination });
    }
  }
  // Weights go up before others go to 0: connections always have somewhere to go.
  changes.push(...raised, ...lowered);
  for (const destination of before.values()) changes.push({ op: 'removeDestination', service, destination });
  if (differs && schedulerLast) changes.push({ op: 'setService', service });
}

/** Are the destinations as wanted? The kernel lists the newest first, so a list that was added in order comes back in reverse. */
function isUnchanged(now: ServiceState, { service, destinations }: ServiceState): boolean {
  const last = destinations.length - 1;
  if (now.destinations.length !== destinations.length) return false;
  return destinations.every((each, i) => isSameDestination(now.destinations[last - i]!, each, service.family));
}

/** A change as data that a caller can read, print and apply. */
export function toOperation(change: Change): IpvsOperation {
  const { op, service } = change;
  switch (op) {
    case 'addService':
    case 'setService':
      return { op, service: readServiceSettings(service) };
    case 'removeService':
      return { op, key: readKey(service) };
    case 'addDestination':
    case 'setDestination':
      return { op, key: readKey(service), destination: readDestinationSettings(change.destination, service.family) };
    case 'removeDestination': {
      const { address, port } = readDestinationSettings(change.destination, service.family);
      return { op, key: readKey(service), destinationKey: { address, port } };
    }
  }
}

/** A change as a request. Values are not checked: another program may have set some that are refused from a caller. */
export function toCommand(change: Change): IpvsCommand {
  const { op, service } = change;
  switch (op) {
    case 'addService':
    case 'setService':
      return serviceCommand(op === 'addService' ? 'NEW' : 'SET', readServiceSettings(service), { service });
    case 'removeService':
      return keyCommand('DEL', readKey(service), keyPart(service));
    default: {
      const { destination } = change;
      const verb = op === 'addDestination' ? 'NEW' : op === 'setDestination' ? 'SET' : 'DEL';
      return destinationRequest(verb, readDestinationSettings(destination, service.family), { service, destination });
    }
  }
}

/** The desired services, encoded. Refuses a service, or a destination of one, that is there twice. Paths begin with ['desired', index]. */
export class Desired {
  readonly #servers: readonly VirtualServer[];
  readonly #wires: ServiceState[];
  /** The indexes of services with a value that is refused, unless the kernel holds it already. */
  readonly #odd = new Set<number>();

  /** @throws TypeError, RangeError what no kernel can hold */
  constructor(desired: readonly VirtualServer[]) {
    if (!Array.isArray(desired)) throw typeError(['desired'], 'an array of virtual servers', desired);
    this.#servers = desired;
    const seen = new Map<string, number>();
    this.#wires = desired.map((server: VirtualServer, index) => {
      try {
        const wire = this.#encode(server, index);
        const id = serviceId(wire.service);
        const twin = seen.get(id);
        if (twin !== undefined)
          throw rangeError([], `a service that is not there yet (it is desired[${twin}])`, server);
        seen.set(id, index);
        return wire;
      } catch (error) {
        throw within(error, ['desired', index]);
      }
    });
  }

  #encode(server: VirtualServer, index: number): ServiceState {
    try {
      return encodeDesired(server);
    } catch (error) {
      if (!isArgumentError(error)) throw error;
      const wire = encodeDesired(server, 'anything');
      this.#odd.add(index);
      return wire;
    }
  }

  /** For requests. @throws TypeError, RangeError what should not be made, and is not there already */
  against(current: readonly ServiceState[]): ServiceState[] {
    if (this.#odd.size === 0) return this.#wires;
    const there = new Map(current.map(server => [serviceId(server.service), server]));
    for (const index of this.#odd) {
      try {
        encodeDesired(this.#servers[index]!, there.get(serviceId(this.#wires[index]!.service)));
      } catch (error) {
        throw within(error, ['desired', index]);
      }
    }
    return this.#wires;
  }
}

/** `kept` is what may stay as it is: see `Kept`. */
function encodeDesired(server: VirtualServer, kept?: Kept<ServiceState>): ServiceState {
  const service = writeService(server, kept === 'anything' ? kept : kept?.service);
  const { destinations } = server;
  if (!Array.isArray(destinations)) throw typeError(['destinations'], 'an array of destinations', destinations);
  const seen = new Map<string, number>();
  const before =
    typeof kept === 'object'
      ? new Map(kept.destinations.map(each => [destinationId(each, service.family), each]))
      : undefined;
  return {
    service,
    destinations: destinations.map((destination, index) => {
      try {
        const now =
          before === undefined
            ? undefined
            : before.get(destinationId(writeDestinationKey(destination), service.family));
        const wire = writeDestination(server, destination, service.family, kept === 'anything' ? kept : now);
        const id = destinationId(wire, service.family);
        const twin = seen.get(id);
        if (twin !== undefined)
          throw rangeError([], `a server that is not there yet (it is number ${twin})`, destination);
        seen.set(id, index);
        return wire;
      } catch (error) {
        throw within(error, ['destinations', index]);
      }
    }),
  };
}
