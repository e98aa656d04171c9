import { checkObject, checkOneOf, NO_CONTEXT, sourceOf } from '../codec/index.ts';
import { isArgumentError, type Path, typeError, within } from '../errors.ts';
import { commandTable, type WireCommand, type WireDestination, type WireService } from '../ip_vs/attributes.ts';
import {
  DESTINATION,
  type Destination,
  type DestinationKey,
  writeDestination,
  writeDestinationKey,
} from '../ip_vs/destination.ts';
import { SERVICE, type Service, type ServiceKey, writeKey, writeService } from '../ip_vs/service.ts';
import { type Timeouts, writeTimeouts } from '../ip_vs/timeouts.ts';
import { destinationId, serviceId } from '../ip_vs/wire.ts';
import type { PlainLines } from '../ipvsadm/plain-lines.ts';
import * as C from '../linux/ip_vs.ts';
import { EncodedRequests, genlmsghdr, NLMSG_HDRLEN } from '../netlink/index.ts';
import type { IpvsCommand } from './backends/backend.ts';
import { encode } from './backends/netlink.ts';
import { countFields, RequestTemplates } from './backends/request-templates.ts';
import { describe, destinationRequest, keyCommand, serviceCommand } from './backends/requests.ts';
import type { DestinationPatch, IpvsOperation, ServicePatch } from './operation-types.ts';

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

/** An operation whose parameters are checked. */
export class CheckedOperation {
  readonly operation: IpvsOperation;
  /**
   * The requests to send. If there are two, the second counts if the first finds nothing to replace. An edit has none: its request depends on the
   * present state.
   */
  readonly commands: readonly IpvsCommand[];
  /** The service of the operation, and the destination; undefined if it is about all. */
  readonly service: WireService | undefined;
  readonly destination: WireDestination | undefined;

  constructor(operation: IpvsOperation, wire: WireCommand) {
    this.operation = operation;
    this.commands = commandsOf(operation, wire);
    this.service = wire.service;
    this.destination = wire.destination;
  }

  get serviceId(): string | undefined {
    return this.service && serviceId(this.service);
  }

  /** An encoded destination always has its own family, so that of the service does not matter. */
  get destinationId(): string | undefined {
    return this.destination && destinationId(this.destination, 0);
  }
}

/** From this many operations on, templates are worth being made. */
const MANY = 16;
/** The size of a request about a destination. */
const USUAL_BYTES = 168;

/**
 * Operations that are checked and encoded before anything is sent. Of most operations only the message is kept; anything else that is needed later is
 * decoded from it.
 */
export class Batch {
  readonly messages: EncodedRequests;
  /** How many operations there are. */
  length = 0;
  /** One of them is an edit, which has no message yet: its request depends on the present state. */
  hasEdits = false;
  /** One of them is an edit, or sets a type of tunnel: the result may have to be checked in the kernel. */
  isDoubtful = false;
  /** One of them empties the table, or sets timeouts. */
  hasFlush = false;
  hasTimeouts = false;
  /** Operations, by index, with a value that is refused unless the kernel holds it already; and the error to throw. */
  readonly odd = new Map<number, unknown>();
  /** 'anything': the operations were checked before. */
  readonly kept: 'anything' | undefined;
  readonly #operationAt: (index: number) => IpvsOperation;
  readonly #templates: RequestTemplates | undefined;
  readonly #keys = new KeyCache();
  readonly #checked = new Map<number, CheckedOperation>();
  /** The index of the first message of each operation; at the end, the number of messages. Undefined while each operation has one message. */
  #first: number[] | undefined;

  /**
   * The checked operations of a caller.
   * @throws TypeError, RangeError with paths that begin with ['operations', index].
   */
  static of(operations: readonly IpvsOperation[]): Batch {
    if (!Array.isArray(operations)) throw typeError(['operations'], 'an array of operations', operations);
    const { length } = operations;
    const batch = new Batch(length, index => operations[index]!);
    for (let index = 0; index < length; index++) batch.add(operations[index]!);
    return batch;
  }

  /** `count` is a guess of how many operations there will be. `operationAt` gives one again that was added. */
  constructor(count: number, operationAt: (index: number) => IpvsOperation, kept?: 'anything') {
    this.#operationAt = operationAt;
    this.kept = kept;
    this.messages = new EncodedRequests(count, USUAL_BYTES);
    this.#templates = count < MANY ? undefined : new RequestTemplates(this.messages);
  }

  /** Adds an operation. @throws TypeError, RangeError with paths that begin with ['operations', index]. */
  add(operation: IpvsOperation): void {
    if (this.#templates === undefined || !isFromTemplate(this.#templates, operation)) this.#addCarefully(operation);
    this.#added();
  }

  /** Adds what a plain line asks for. Returns false, and has added nothing, if that has to be added as an operation. */
  addPlain(line: PlainLines): boolean {
    if (this.#templates === undefined || !this.#templates.addPlain(line)) return false;
    this.#added();
    return true;
  }

  #added(): void {
    const { messages } = this;
    const index = this.length++;
    if (this.#first !== undefined) this.#first.push(messages.length);
    else if (messages.length !== this.length) {
      this.#first = Array.from({ length: index + 1 }, (_, each) => each);
      this.#first.push(messages.length);
    }
  }

  #addCarefully(operation: IpvsOperation): void {
    const index = this.length;
    const wire = this.#check(operation, index);
    const checked = new CheckedOperation(operation, wire);
    for (const command of checked.commands) encode(this.messages, command);
    this.#checked.set(index, checked);
    if (operation.op === 'flush') this.hasFlush = true;
    if (operation.op === 'setTimeouts') this.hasTimeouts = true;
    if (isEdit(operation)) this.hasEdits = true;
    if (isEdit(operation) || wire.destination?.tunnelType !== undefined) this.isDoubtful = true;
  }

  #check(operation: IpvsOperation, index: number): WireCommand {
    try {
      return checkOperation(operation, index, this.#keys, this.kept);
    } catch (error) {
      if (operation?.op !== 'setService' && operation?.op !== 'setDestination') throw error;
      if (!isArgumentError(error) || this.kept !== undefined) throw error;
      const wire = checkOperation(operation, index, this.#keys, 'anything');
      this.odd.set(index, error);
      return wire;
    }
  }

  /** The index of the first message of an operation. After the last operation, the number of messages. */
  firstMessage(index: number): number {
    return this.#first === undefined ? index : this.#first[index]!;
  }

  /** The operation with an index. */
  operation(index: number): IpvsOperation {
    return this.#checked.get(index)?.operation ?? this.#operationAt(index);
  }

  checked(index: number): CheckedOperation {
    const known = this.#checked.get(index);
    if (known !== undefined) return known;
    const source = sourceOf(this.messages.bytes(this.firstMessage(index), this.firstMessage(index) + 1));
    const wire = commandTable.read(source, NLMSG_HDRLEN + genlmsghdr.size, source.bytes.length, NO_CONTEXT);
    const checked = new CheckedOperation(this.#operationAt(index), wire!);
    this.#checked.set(index, checked);
    return checked;
  }

  /** The request of a message. */
  command(message: number): IpvsCommand {
    const index = this.operationOf(message);
    return this.checked(index).commands[message - this.firstMessage(index)]!;
  }

  /** The operation that a message is of: the last one that begins at it or before. */
  operationOf(message: number): number {
    if (this.#first === undefined) return message;
    let low = 0;
    let high = this.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.firstMessage(middle) <= message) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

export const isEdit = ({ op }: IpvsOperation): boolean => op === 'editService' || op === 'editDestination';

/** Writes an operation that is plain and correct by copying a template; false for any other. */
function isFromTemplate(templates: RequestTemplates, operation: IpvsOperation): boolean {
  if (typeof operation !== 'object' || operation === null) return false;
  switch (operation.op) {
    case 'addService':
      return countFields(operation) === 2 && templates.addService(operation.service);
    case 'addDestination':
      return countFields(operation) === 3 && templates.addDestination(operation.key, operation.destination);
    case 'setDestination':
      return countFields(operation) === 3 && templates.setDestination(operation.key, operation.destination);
    case 'removeDestination':
      return countFields(operation) === 3 && templates.removeDestination(operation.key, operation.destinationKey);
    default:
      return false;
  }
}

/** Many operations name one service, usually by the same object: its key is encoded once. */
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

/** Checks the parameters of an operation; returns its fields. */
function checkOperation(
  operation: IpvsOperation,
  index: number,
  keys: KeyCache,
  kept: 'anything' | undefined,
): WireCommand {
  const path: Path = ['operations', index];
  if (typeof operation !== 'object' || operation === null) throw typeError(path, 'an operation', operation);
  const op = checkOneOf(operation.op, [...path, 'op'], KINDS);
  checkObject(operation, path, PARAMETERS[op]);
  // The parameter that is being checked, for the path of an error.
  let parameter = 'key';
  try {
    switch (operation.op) {
      case 'addService':
      case 'setService':
        parameter = 'service';
        return { service: writeService(operation.service, kept) };
      case 'removeService':
        return { service: keys.get(operation.key) };
      case 'editService': {
        const service = keys.get(operation.key);
        parameter = 'patch';
        checkObject(operation.patch, [], SERVICE.changeable);
        return { service };
      }
      case 'addDestination':
      case 'setDestination': {
        const service = keys.get(operation.key);
        parameter = 'destination';
        return { service, destination: writeDestination(operation.key, operation.destination, service.family, kept) };
      }
      case 'editDestination': {
        const service = keys.get(operation.key);
        parameter = 'destinationKey';
        const destination = writeDestinationKey(operation.destinationKey);
        parameter = 'patch';
        checkObject(operation.patch, [], DESTINATION.changeable);
        return { service, destination };
      }
      case 'removeDestination': {
        const service = keys.get(operation.key);
        parameter = 'destinationKey';
        return { service, destination: writeDestinationKey(operation.destinationKey) };
      }
      case 'zero':
        return operation.key === undefined ? {} : { service: keys.get(operation.key) };
      case 'flush':
        return {};
      case 'setTimeouts':
        parameter = 'timeouts';
        return writeTimeouts(operation.timeouts);
    }
  } catch (error) {
    throw within(error, [...path, parameter]);
  }
}

/** The requests for an operation whose parameters are checked. */
function commandsOf(operation: IpvsOperation, wire: WireCommand): IpvsCommand[] {
  switch (operation.op) {
    case 'addService':
      return [serviceCommand('NEW', operation.service, wire)];
    case 'setService':
      return [serviceCommand('SET', operation.service, wire), serviceCommand('NEW', operation.service, wire)];
    case 'removeService':
      return [keyCommand('DEL', operation.key, wire.service)];
    case 'addDestination':
      return [destinationRequest('NEW', operation.destination, wire)];
    case 'setDestination': {
      const { destination } = operation;
      return [destinationRequest('SET', destination, wire), destinationRequest('NEW', destination, wire)];
    }
    case 'removeDestination':
      return [destinationRequest('DEL', operation.destinationKey, wire)];
    case 'editService':
    case 'editDestination':
      return [];
    case 'zero':
      return [describe('IPVS_CMD_ZERO', C.IPVS_CMD_ZERO, operation.key, wire)];
    case 'flush':
      return [describe('IPVS_CMD_FLUSH', C.IPVS_CMD_FLUSH, undefined, wire)];
    case 'setTimeouts':
      return [describe('IPVS_CMD_SET_CONFIG', C.IPVS_CMD_SET_CONFIG, operation.timeouts, wire)];
  }
}

/**
 * Collects operations that are written as calls. `ipvs.batch` gives one.
 * @example
 * await ipvs.batch(b => b.flush().addService({ protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'wlc' }));
 */
export class BatchBuilder {
  readonly #operations: IpvsOperation[] = [];

  /** The operations that were written, in their order. */
  get operations(): readonly IpvsOperation[] {
    return this.#operations;
  }

  /**
   * Adds `Ipvs.addService` to the batch.
   * @param service the service to add
   * @example
   * await ipvs.batch(b => b.addService({ protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'wlc' }));
   */
  addService(service: Service): this {
    return this.#push({ op: 'addService', service });
  }

  /**
   * Adds `Ipvs.setService` to the batch.
   * @param service the service to add or replace
   * @example
   * await ipvs.batch(b => b.setService({ protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'wlc' }));
   */
  setService(service: Service): this {
    return this.#push({ op: 'setService', service });
  }

  /**
   * Adds `Ipvs.editService` to the batch.
   * @param key the service
   * @param patch the settings to change
   * @example
   * await ipvs.batch(b => b.editService({ protocol: 'tcp', address: '10.0.0.1', port: 80 }, { scheduler: 'rr' }));
   */
  editService(key: ServiceKey, patch: ServicePatch): this {
    return this.#push({ op: 'editService', key, patch });
  }

  /**
   * Adds `Ipvs.removeService` to the batch.
   * @param key the service
   * @example
   * await ipvs.batch(b => b.removeService({ protocol: 'tcp', address: '10.0.0.1', port: 80 }));
   */
  removeService(key: ServiceKey): this {
    return this.#push({ op: 'removeService', key });
  }

  /**
   * Adds `Ipvs.addDestination` to the batch.
   * @param key the service
   * @param destination the destination to add
   * @example
   * await ipvs.batch(b => b.addDestination({ protocol: 'tcp', address: '10.0.0.1', port: 80 }, { address: '10.1.0.1', port: 80, forward: 'direct' }));
   */
  addDestination(key: ServiceKey, destination: Destination): this {
    return this.#push({ op: 'addDestination', key, destination });
  }

  /**
   * Adds `Ipvs.setDestination` to the batch.
   * @param key the service
   * @param destination the destination to add or replace
   * @example
   * await ipvs.batch(b => b.setDestination({ protocol: 'tcp', address: '10.0.0.1', port: 80 }, { address: '10.1.0.1', port: 80, forward: 'direct' }));
   */
  setDestination(key: ServiceKey, destination: Destination): this {
    return this.#push({ op: 'setDestination', key, destination });
  }

  /**
   * Adds `Ipvs.editDestination` to the batch.
   * @param key the service
   * @param destinationKey address and port of the destination
   * @param patch the settings to change
   * @example
   * await ipvs.batch(b => b.editDestination({ protocol: 'tcp', address: '10.0.0.1', port: 80 }, { address: '10.1.0.1', port: 80 }, { weight: 0 }));
   */
  editDestination(key: ServiceKey, destinationKey: DestinationKey, patch: DestinationPatch): this {
    return this.#push({ op: 'editDestination', key, destinationKey, patch });
  }

  /**
   * Adds `Ipvs.removeDestination` to the batch.
   * @param key the service
   * @param destinationKey address and port of the destination
   * @example
   * await ipvs.batch(b => b.removeDestination({ protocol: 'tcp', address: '10.0.0.1', port: 80 }, { address: '10.1.0.1', port: 80 }));
   */
  removeDestination(key: ServiceKey, destinationKey: DestinationKey): this {
    return this.#push({ op: 'removeDestination', key, destinationKey });
  }

  /**
   * Adds `Ipvs.zero` to the batch.
   * @param key the service; all if it is left out
   * @example
   * await ipvs.batch(b => b.zero());
   */
  zero(key?: ServiceKey): this {
    return this.#push(key === undefined ? { op: 'zero' } : { op: 'zero', key });
  }

  /**
   * Adds `Ipvs.flush` to the batch.
   * @example
   * await ipvs.batch(b => b.flush());
   */
  flush(): this {
    return this.#push({ op: 'flush' });
  }

  /**
   * Adds `Ipvs.setTimeouts` to the batch.
   * @param timeouts seconds, 1 to 2,147,483 each
   * @example
   * await ipvs.batch(b => b.setTimeouts({ udpSeconds: 60 }));
   */
  setTimeouts(timeouts: Partial<Timeouts>): this {
    return this.#push({ op: 'setTimeouts', timeouts });
  }

  #push(operation: IpvsOperation): this {
    this.#operations.push(operation);
    return this;
  }
}
