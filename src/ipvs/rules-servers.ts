import { rangeError } from '../errors.ts';
import type { Destination, DestinationKey } from './destination.ts';
import { serviceId } from './ipvs-wire.ts';
import { atLine, type CommandLine, type RuleNames, readRules } from './rules.ts';
import { endpoint } from './rules-format.ts';
import type { VirtualServer } from './service.ts';
import { type Service, type ServiceKey, writeKey } from './service.ts';

/**
 * The table that a text in ipvsadm's format makes out of an empty one: parseRules(formatRules(servers)) are the servers again, in the order
 * of the lines. Lines that leave nothing in the table (-Z, --set, the sync daemon's) are checked and have no effect: `parseRuleLines` has them.
 * @throws RuleError with the line's number: no rule, or one that could not be carried out (what it edits is missing, what it adds is there).
 */
export function parseRules(text: string, names: RuleNames = {}): VirtualServer[] {
  const lines = readRules(text, names);
  const table = new Table();
  for (const line of lines) {
    try {
      carryOut(table, line);
    } catch (error) {
      throw atLine(error, line.line, text.split(/\r?\n/)[line.line - 1] ?? '');
    }
  }
  return table.servers();
}

interface Built {
  service: Service;
  destinations: Map<string, Destination>;
}

class Table {
  readonly #services = new Map<string, Built>();
  /** What was asked for last: the lines of a service have one key. */
  #key: ServiceKey | undefined;
  #built: Built | undefined;

  get(key: ServiceKey): Built {
    if (key !== this.#key) {
      this.#built = this.#services.get(idOf(key));
      this.#key = key;
    }
    if (this.#built === undefined) throw rangeError([], 'a service that a line before adds', nameOf(key));
    return this.#built;
  }

  add(service: Service): void {
    const id = idOf(service);
    if (this.#services.has(id)) throw rangeError([], 'a service that is not there yet', nameOf(service));
    this.#services.set(id, { service, destinations: new Map() });
    this.#key = undefined;
  }

  remove(key: ServiceKey): void {
    this.get(key);
    this.#services.delete(idOf(key));
    this.#key = undefined;
  }

  clear(): void {
    this.#services.clear();
    this.#key = undefined;
  }

  servers(): VirtualServer[] {
    return Array.from(this.#services.values(), ({ service, destinations }) => ({
      ...service,
      destinations: [...destinations.values()],
    }));
  }
}

function carryOut(table: Table, line: CommandLine): void {
  switch (line.command) {
    case 'addService':
      table.add(line.service);
      return;
    case 'editService':
      table.get(line.service).service = line.service;
      return;
    case 'removeService':
      table.remove(line.key);
      return;
    case 'addDestination': {
      const { destinations } = table.get(line.key);
      const id = destinationId(line.destination);
      if (destinations.has(id)) throw rangeError(['-r'], 'a server that is not there yet', id);
      destinations.set(id, line.destination);
      return;
    }
    case 'editDestination':
      present(table.get(line.key), line.destination).set(destinationId(line.destination), line.destination);
      return;
    case 'removeDestination':
      present(table.get(line.key), line.destination).delete(destinationId(line.destination));
      return;
    case 'flush':
      table.clear();
      return;
    case 'zero':
      if (line.key !== undefined) table.get(line.key);
      return;
    default:
  }
}

function present({ destinations }: Built, key: DestinationKey): Map<string, Destination> {
  const id = destinationId(key);
  if (!destinations.has(id)) throw rangeError(['-r'], 'a server that a line before adds', id);
  return destinations;
}

const destinationId = ({ address, port }: DestinationKey): string => `${address} ${port}`;

const nameOf = (key: ServiceKey): string =>
  'firewallMark' in key ? `mark ${key.firewallMark}` : `${key.protocol} ${endpoint(key.address, key.port)}`;

const idOf = (key: ServiceKey): string => serviceId(writeKey(key));
