import { ipv4Number, readIPv4 } from '../codec/index.ts';
import { isReachable } from '../ip_vs/address.ts';
import { DESTINATION, type Destination } from '../ip_vs/destination.ts';
import type { FieldTable } from '../ip_vs/fields.ts';
import { SERVICE, type Service, type ServiceKey } from '../ip_vs/service.ts';
import { SCHEDULERS, type Scheduler } from '../ip_vs/service-rows.ts';
import type { RuleCommand } from './command.ts';

/*
 * Nearly all lines that `ipvsadm -Sn` writes have one of two forms. Reading these with one regular expression each, without splitting them into options,
 * makes restoring a table of thousands five times as fast. Writing them without asking for each option makes saving it ten times as fast.
 */

const ENDPOINT = String.raw`([\d.]{7,15}:\d{1,5})`;
const SERVER = String.raw`([\d.]{7,15}):(\d{1,5})`;
const SERVICE_LINE = new RegExp(`^-A -([tu]) ${ENDPOINT} -s ([a-z]+)$`);
const SERVER_LINE = new RegExp(`^-a -([tu]) ${ENDPOINT} -r ${SERVER} -([gm]) -w (\\d{1,9})$`);

/** The words of a line as the key of a service: 'tcp-service', '10.0.0.1:80'. */
type ReadKey = (option: string, value: string) => ServiceKey;

/** Undefined for a line of another form, and for one that is wrong: `readCarefully` gives the error. */
export function readPlain(line: string, readKey: ReadKey): RuleCommand | undefined {
  return line.startsWith('-a') ? serverOf(line, readKey) : serviceOf(line, readKey);
}

const optionOf = (letter: string) => (letter === 't' ? 'tcp-service' : 'udp-service');

function serviceOf(line: string, readKey: ReadKey): RuleCommand | undefined {
  const [, letter, endpoint, scheduler] = SERVICE_LINE.exec(line) ?? [];
  if (letter === undefined || !SCHEDULERS.includes(scheduler as Scheduler)) return undefined;
  const key = readKey(optionOf(letter), endpoint!);
  // Port 0 needs persistence.
  if (!('port' in key) || key.port === 0 || !isReachable(key.address)) return undefined;
  return { op: 'addService', service: { ...key, scheduler: scheduler! } };
}

function serverOf(line: string, readKey: ReadKey): RuleCommand | undefined {
  const [, letter, endpoint, address, port, method, weight] = SERVER_LINE.exec(line) ?? [];
  if (letter === undefined || Number(port) > 0xffff || !readIPv4(address!, SCRATCH, 0)) return undefined;
  const key = readKey(optionOf(letter), endpoint!);
  if (!('port' in key)) return undefined;
  const destination =
    method === 'm'
      ? ({ address: address!, port: Number(port), forward: 'masquerade', weight: Number(weight) } as const)
      : ({ address: address!, port: key.port, forward: 'direct', weight: Number(weight) } as const);
  return { op: 'addDestination', key, destination };
}

/** For `readIPv4`, of which only the result is used. */
const SCRATCH = new Uint8Array(4);

/** The largest weight that the kernel holds. */
const MAX_WEIGHT = 0x7fffffff;

/** '-t 10.0.0.1:80' of a service that has only a scheduler; undefined of any other, and of one that is wrong. */
export function plainServiceName(service: Service): string | undefined {
  if ('firewallMark' in service) return undefined;
  const { protocol, address, port, persistence, schedulerFlags, onePacket } = service;
  const letter = protocol === 'tcp' ? 't' : protocol === 'udp' ? 'u' : undefined;
  if (letter === undefined || persistence !== undefined || onePacket || hasOthers(SERVICE, service)) return undefined;
  if (schedulerFlags !== undefined && schedulerFlags.length > 0) return undefined;
  if (!SCHEDULERS.includes(service.scheduler as Scheduler) || !isPort(port) || port === 0) return undefined;
  if (!isIPv4(address) || !isReachable(address)) return undefined;
  return `-${letter} ${address}:${port}`;
}

/** '-r 10.1.0.1:80 -m -w 1' of a server behind a plain service; undefined if it needs other options, or is wrong. */
export function plainServer(service: Service, server: Destination): string | undefined {
  const { address, port, forward, weight = 1, tunnel } = server;
  if (tunnel !== undefined || hasOthers(DESTINATION, server)) return undefined;
  if (!isPort(port) || !Number.isInteger(weight) || weight < 0 || weight > MAX_WEIGHT) return undefined;
  if (!isIPv4(address) || !isReachable(address)) return undefined;
  if (forward === 'masquerade') return `-r ${address}:${port} -m -w ${weight}`;
  // Only masquerade can change the port.
  const samePort = 'port' in service && service.port === port;
  return forward === 'direct' && samePort ? `-r ${address}:${port} -g -w ${weight}` : undefined;
}

/** Whether a line needs an option of a plain number besides the weight. */
function hasOthers<W extends object>(fields: FieldTable<W>, object: object): boolean {
  for (const { setting } of fields.numbers) {
    if (setting.group !== undefined || setting.name === 'weight') continue;
    if (setting.always || (fields.valueOf(object, setting) ?? setting.byDefault?.(0) ?? 0) !== 0) return true;
  }
  return false;
}

const isPort = (port: number): boolean => Number.isInteger(port) && port >= 0 && port <= 0xffff;
const isIPv4 = (address: unknown): boolean => typeof address === 'string' && ipv4Number(address) >= 0;
