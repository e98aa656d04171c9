import { checkObject, checkOneOf } from '../codec/index.ts';
import { type Path, typeError, within } from '../errors.ts';
import type { WireDestination, WireService } from './attributes.ts';
import * as C from './constants.ts';
import { type Destination, type DestinationKey, writeDestination, writeDestinationKey } from './destination.ts';
import { type Timeouts, writeTimeouts } from './ipvs-timeouts.ts';
import { destinationId, serviceId } from './ipvs-wire.ts';
import { describe, destinationRequest, type IpvsCommand, keyCommand, serviceCommand } from './netlink.ts';
import { type Scheduling, type Service, type ServiceKey, writeKey, writeService } from './service.ts';

/** What can be changed of a destination: everything but its key. */
export type DestinationPatch = Partial<Omit<Destination, keyof DestinationKey>>;

/** One change of IPVS as data: the method of that name, with its parameters. */
export type IpvsOperation =
  | { op: 'addService' | 'setService'; service: Service }
  | { op: 'editService'; key: ServiceKey; patch: Partial<Scheduling> }
  | { op: 'removeService'; key: ServiceKey }
  | { op: 'addDestination' | 'setDestination'; key: ServiceKey; destination: Destination }
  | { op: 'editDestination'; key: ServiceKey; destinationKey: DestinationKey; patch: DestinationPatch }
  | { op: 'removeDestination'; key: ServiceKey; destinationKey: DestinationKey }
  | { op: 'zero'; key?: ServiceKey }
  | { op: 'flush' }
  | { op: 'setTimeouts'; timeouts: Partial<Timeouts> };

const PARAMETERS: Readonly<Record<IpvsOperation['op'], readonly string[]>> = {
  addService: ['op', 'service'],
  setService: ['op', 'service'],
  editService: ['op', 'key', 'patch'],
  removeService: ['op', 'key'],
  addDestination: ['op', 'key', 'destination'],
  setDestination: ['op', 'key', 'destination'],
  editDestination: ['op', 'key', 'destinationKey', 'patch'],
  removeDestination: ['op', 'key', 'destinationKey'],
  zero: ['op', 'key'],
  flush: ['op'],
  setTimeouts: ['op', 'timeouts'],
};
const KINDS = Object.keys(PARAMETERS) as IpvsOperation['op'][];
export const SERVICE_PATCH = ['scheduler', 'schedulerFlags', 'persistence', 'onePacket'];
export const DESTINATION_PATCH = ['forward', 'weight', 'upperThreshold', 'lowerThreshold', 'tunnel'];

/** An operation whose parameters are checked, ready to be sent. */
export class Prepared {
  readonly operation: IpvsOperation;
  /**
   * What is sent for it. Of two, the second counts if the first finds nothing to replace. None for an edit: what it sends depends on
   * what there is.
   */
  readonly commands: readonly IpvsCommand[];
  /** The service it is about, and the server; undefined where it is about all. */
  readonly service: WireService | undefined;
  readonly destination: WireDestination | undefined;

  constructor(
    operation: IpvsOperation,
    commands: readonly IpvsCommand[],
    service?: WireService,
    destination?: WireDestination,
  ) {
    this.operation = operation;
    this.commands = commands;
    this.service = service;
    this.destination = destination;
  }

  /* Only rarely asked for, so not kept. */
  get serviceId(): string | undefined {
    return this.service && serviceId(this.service);
  }
  /** A destination that is written always has its family. */
  get destinationId(): string | undefined {
    return this.destination && destinationId(this.destination, 0);
  }
}

/** Checks operations before anything is sent. Throws TypeErrors and RangeErrors whose paths begin with ['operations', index]. */
export function prepare(operations: readonly IpvsOperation[]): Prepared[] {
  if (!Array.isArray(operations)) throw typeError(['operations'], 'an array of operations', operations);
  const keys = new KeyCache();
  return operations.map((operation: IpvsOperation, index) => prepareOne(operation, index, keys));
}

/** Many operations name one service, as a rule by the same object. */
class KeyCache {
  #last: unknown;
  #service: WireService | undefined;

  get(key: ServiceKey): WireService {
    if (this.#service === undefined || this.#last !== key) {
      this.#service = writeKey(key);
      this.#last = key;
    }
    return this.#service;
  }
}

function prepareOne(operation: IpvsOperation, index: number, keys: KeyCache): Prepared {
  const path: Path = ['operations', index];
  if (typeof operation !== 'object' || operation === null) throw typeError(path, 'an operation', operation);
  const op = checkOneOf(operation.op, [...path, 'op'], KINDS);
  checkObject(operation, path, PARAMETERS[op]);
  // The parameter that is being looked at, for the path of what is thrown.
  let parameter = 'key';
  try {
    switch (operation.op) {
      case 'addService':
      case 'setService': {
        parameter = 'service';
        const service = writeService(operation.service);
        const commands = [serviceCommand('NEW', operation.service, { service })];
        if (op === 'setService') commands.unshift(serviceCommand('SET', operation.service, { service }));
        return new Prepared(operation, commands, service);
      }
      case 'removeService': {
        const service = keys.get(operation.key);
        return new Prepared(operation, [keyCommand('DEL', operation.key, service)], service);
      }
      case 'editService': {
        const service = keys.get(operation.key);
        parameter = 'patch';
        checkObject(operation.patch, [], SERVICE_PATCH);
        return new Prepared(operation, [], service);
      }
      case 'addDestination':
      case 'setDestination': {
        const service = keys.get(operation.key);
        parameter = 'destination';
        const destination = writeDestination(operation.key, operation.destination, service.family);
        const value = { service, destination };
        const commands = [destinationRequest('NEW', operation.destination, value)];
        if (op === 'setDestination') commands.unshift(destinationRequest('SET', operation.destination, value));
        return new Prepared(operation, commands, service, destination);
      }
      case 'editDestination': {
        const service = keys.get(operation.key);
        parameter = 'destinationKey';
        const destination = writeDestinationKey(operation.destinationKey);
        parameter = 'patch';
        checkObject(operation.patch, [], DESTINATION_PATCH);
        return new Prepared(operation, [], service, destination);
      }
      case 'removeDestination': {
        const service = keys.get(operation.key);
        parameter = 'destinationKey';
        const destination = writeDestinationKey(operation.destinationKey);
        const command = destinationRequest('DEL', operation.destinationKey, { service, destination });
        return new Prepared(operation, [command], service, destination);
      }
      case 'zero': {
        const service = operation.key && keys.get(operation.key);
        const value = service === undefined ? {} : { service };
        return new Prepared(operation, [describe('IPVS_CMD_ZERO', C.IPVS_CMD_ZERO, operation.key, value)], service);
      }
      case 'flush':
        return new Prepared(operation, [describe('IPVS_CMD_FLUSH', C.IPVS_CMD_FLUSH, undefined, {})]);
      case 'setTimeouts': {
        parameter = 'timeouts';
        const { timeouts } = operation;
        const command = describe('IPVS_CMD_SET_CONFIG', C.IPVS_CMD_SET_CONFIG, timeouts, writeTimeouts(timeouts));
        return new Prepared(operation, [command]);
      }
    }
  } catch (error) {
    throw within(error, [...path, parameter]);
  }
}

/** Collects operations that are written as calls. */
export class BatchBuilder {
  readonly #operations: IpvsOperation[] = [];

  get operations(): readonly IpvsOperation[] {
    return this.#operations;
  }

  addService(service: Service): this {
    return this.#push({ op: 'addService', service });
  }
  setService(service: Service): this {
    return this.#push({ op: 'setService', service });
  }
  editService(key: ServiceKey, patch: Partial<Scheduling>): this {
    return this.#push({ op: 'editService', key, patch });
  }
  removeService(key: ServiceKey): this {
    return this.#push({ op: 'removeService', key });
  }
  addDestination(key: ServiceKey, destination: Destination): this {
    return this.#push({ op: 'addDestination', key, destination });
  }
  setDestination(key: ServiceKey, destination: Destination): this {
    return this.#push({ op: 'setDestination', key, destination });
  }
  editDestination(key: ServiceKey, destinationKey: DestinationKey, patch: DestinationPatch): this {
    return this.#push({ op: 'editDestination', key, destinationKey, patch });
  }
  removeDestination(key: ServiceKey, destinationKey: DestinationKey): this {
    return this.#push({ op: 'removeDestination', key, destinationKey });
  }
  zero(key?: ServiceKey): this {
    return this.#push(key === undefined ? { op: 'zero' } : { op: 'zero', key });
  }
  flush(): this {
    return this.#push({ op: 'flush' });
  }
  setTimeouts(timeouts: Partial<Timeouts>): this {
    return this.#push({ op: 'setTimeouts', timeouts });
  }

  #push(operation: IpvsOperation): this {
    this.#operations.push(operation);
    return this;
  }
}
