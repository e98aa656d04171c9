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
  const table = new Map<string, Built>();
  for (const line of lines) {
    try {
      carryOut(table, line);
    } catch (error) {
      throw atLine(error, line.line, text.split(/\r?\n/)[line.line - 1] ?? '');
    }
  }
  return [...table.values()].map(({ service, destinations }) => ({
    ...service,
    destinations: [...destinations.values()],
  }));
}

interface Built {
  service: Service;
  destinations: Map<string, Destination>;
}

function carryOut(table: Map<string, Built>, line: CommandLine): void {
  switch (line.command) {
    case 'addService': {
      if (table.has(idOf(line.service))) throw rangeError([], 'a service that is not there yet', nameOf(line.service));
      table.set(idOf(line.service), { service: line.service, destinations: new Map() });
      return;
    }
    case 'editService':
      built(table, line.service).service = line.service;
      return;
    case 'removeService':
      built(table, line.key);
      table.delete(idOf(line.key));
      return;
    case 'addDestination': {
      const { destinations } = built(table, line.key);
      const id = destinationId(line.destination);
      if (destinations.has(id)) throw rangeError(['-r'], 'a server that is not there yet', id);
      destinations.set(id, line.destination);
      return;
    }
    case 'editDestination':
      present(built(table, line.key), line.destination).set(destinationId(line.destination), line.destination);
      return;
    case 'removeDestination':
      present(built(table, line.key), line.destination).delete(destinationId(line.destination));
      return;
    case 'flush':
      table.clear();
      return;
    case 'zero':
      if (line.key !== undefined) built(table, line.key);
      return;
    default:
  }
}

function built(table: Map<string, Built>, key: ServiceKey): Built {
  const found = table.get(idOf(key));
  if (found === undefined) throw rangeError([], 'a service that a line before adds', nameOf(key));
  return found;
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
