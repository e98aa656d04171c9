import { rangeError } from '../errors.ts';
import type { Destination, DestinationKey, VirtualServer } from '../ip_vs/destination.ts';
import { type Service, type ServiceKey, writeKey } from '../ip_vs/service.ts';
import { serviceId } from '../ip_vs/wire.ts';
import type { RuleCommand } from './command.ts';
import { endpoint } from './format.ts';
import { atLine, readRules } from './read-rules.ts';
import type { RuleNames } from './service-names.ts';

/**
 * The table that a text in ipvsadm's format makes of an empty one. `parseRules(formatRules(servers))` gives the servers again, in the order of the lines.
 * Lines that leave nothing in the table (-Z, --set, sync daemons) are checked and have no effect; `parseRuleLines` gives them.
 * @param text the lines
 * @param names what names of hosts and ports mean, if not the usual: ports as in /etc/services, and localhost
 * @throws RuleError a line is wrong, edits an object that is missing, or adds one that is there; with its number.
 * @example
 * const desired = parseRules('-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.1.0.1:80 -g');
 */
export function parseRules(text: string, names: RuleNames = {}): VirtualServer[] {
  const lines: { command: RuleCommand; line: number }[] = [];
  readRules(text, names, (command, line) => lines.push({ command, line }));
  const table = new Table();
  for (const { command, line } of lines) {
    try {
      carryOut(table, command);
    } catch (error) {
      throw atLine(error, line, text.split(/\r?\n/)[line - 1] ?? '');
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
  /** The last key that was looked up: the lines of a service share one. */
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

function carryOut(table: Table, command: RuleCommand): void {
  switch (command.op) {
    case 'addService':
      table.add(command.service);
      return;
    case 'editService':
      table.get(command.service).service = command.service;
      return;
    case 'removeService':
      table.remove(command.key);
      return;
    case 'addDestination': {
      const { destinations } = table.get(command.key);
      const id = destinationId(command.destination);
      if (destinations.has(id)) throw rangeError(['-r'], 'a server that is not there yet', id);
      destinations.set(id, command.destination);
      return;
    }
    case 'editDestination':
      present(table.get(command.key), command.destination).set(destinationId(command.destination), command.destination);
      return;
    case 'removeDestination':
      present(table.get(command.key), command.destinationKey).delete(destinationId(command.destinationKey));
      return;
    case 'flush':
      table.clear();
      return;
    case 'zero':
      if (command.key !== undefined) table.get(command.key);
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
