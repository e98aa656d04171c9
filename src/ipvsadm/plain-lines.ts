import { ipv4Bits, NO_BITS } from '../codec/index.ts';
import { isReachableIPv4 } from '../ip_vs/address.ts';
import { DESTINATION, type Destination } from '../ip_vs/destination.ts';
import type { FieldTable } from '../ip_vs/fields.ts';
import { SERVICE, type Service, type TransportKey } from '../ip_vs/service.ts';
import { SCHEDULERS, type Scheduler } from '../ip_vs/service-rows.ts';
import type { RuleCommand } from './command.ts';

/*
 * Nearly all lines that `ipvsadm -Sn` writes have one of two forms. They are read as numbers, without splitting them into options and without making an
 * object of them, so that a table of thousands of lines goes from the text into requests. Writing them without asking for each option makes saving ten
 * times as fast.
 */

const COLON = 0x3a;
const ZERO = 0x30;
/** The longest words: an IPv4 address, a port, and a weight whose range need not be checked. */
const MOST = { address: 15, port: 5, weight: 9 } as const;
/** What a plain line asks for. */
export type PlainOperation = Extract<RuleCommand, { op: 'addService' | 'addDestination' }>;

/** '-a -t ' and the like, in front of the service. */
const COMMAND_LENGTH = 6;
const WORD_LENGTH = 4;

/**
 * Reads the plain lines of one text: `-A -t 10.0.0.1:80 -s wlc` and `-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 1`. Addresses are integers of 32 bits with a
 * sign, which need no memory of their own.
 */
export class PlainLines {
  readonly #text: string;
  /** Whether the last line adds a server. If not, it adds a service. */
  isServer = false;
  protocol: 'tcp' | 'udp' = 'tcp';
  /** Of the service. */
  address = 0;
  port = 0;
  /** Of the last line that added a service. */
  scheduler: string = SCHEDULERS[0];
  /** Of a line that adds a server. Those that do not masquerade route directly. */
  serverAddress = 0;
  serverPort = 0;
  masquerades = false;
  weight = 0;

  /** Where the word that was read last ends; of an endpoint, where its address ends. */
  #end = 0;
  #addressEnd = 0;
  /** The places of the two addresses in the text. */
  #serviceAt = 0;
  #serviceEnd = 0;
  #serverAt = 0;
  #serverEnd = 0;
  /** The last key that was made: lines that follow each other share it. */
  #key: TransportKey | undefined;

  constructor(text: string) {
    this.#text = text;
  }

  /** Reads the line between two offsets. False for a line of another form, and for one that is wrong: reading it by its options gives the error. */
  read(start: number, end: number): boolean {
    const text = this.#text;
    const isServer = text.startsWith('-a -', start);
    if (!isServer && !text.startsWith('-A -', start)) return false;
    this.isServer = isServer;
    if (text.startsWith('t ', start + WORD_LENGTH)) this.protocol = 'tcp';
    else if (text.startsWith('u ', start + WORD_LENGTH)) this.protocol = 'udp';
    else return false;
    this.#serviceAt = start + COMMAND_LENGTH;
    const address = this.#readAddress(this.#serviceAt);
    this.#serviceEnd = this.#addressEnd;
    const port = this.#readPort();
    if (address === NO_BITS || port < 0) return false;
    this.address = address;
    this.port = port;
    return isServer ? this.#readServer(end) : this.#readScheduler(end);
  }

  #readScheduler(end: number): boolean {
    const text = this.#text;
    const at = this.#end + WORD_LENGTH;
    // Port 0 needs persistence.
    if (!text.startsWith(' -s ', this.#end) || this.port === 0 || !isReachableIPv4(this.address)) return false;
    // Neighbours have the same, as a rule.
    if (at + this.scheduler.length === end && text.startsWith(this.scheduler, at)) return true;
    const scheduler = text.slice(at, end);
    if (!SCHEDULERS.includes(scheduler as Scheduler)) return false;
    this.scheduler = scheduler;
    return true;
  }

  #readServer(end: number): boolean {
    const text = this.#text;
    if (!text.startsWith(' -r ', this.#end)) return false;
    this.#serverAt = this.#end + WORD_LENGTH;
    const address = this.#readAddress(this.#serverAt);
    this.#serverEnd = this.#addressEnd;
    const port = this.#readPort();
    if (address === NO_BITS || port < 0) return false;
    this.serverAddress = address;
    if (text.startsWith(' -m -w ', this.#end)) this.masquerades = true;
    else if (text.startsWith(' -g -w ', this.#end)) this.masquerades = false;
    else return false;
    // Only masquerading can change the port.
    this.serverPort = this.masquerades ? port : this.port;
    this.weight = this.#readDigits(this.#end + ' -m -w '.length, MOST.weight);
    return this.weight >= 0 && this.#end === end;
  }

  /** The address in front of a colon, or NO_BITS. */
  #readAddress(at: number): number {
    const text = this.#text;
    const most = at + MOST.address;
    let end = at;
    while (end <= most && text.charCodeAt(end) !== COLON) end++;
    this.#addressEnd = end;
    return end > most ? NO_BITS : ipv4Bits(text, at, end);
  }

  /** The port behind the address that was read last, or -1. */
  #readPort(): number {
    const port = this.#readDigits(this.#addressEnd + 1, MOST.port);
    return port > 0xffff ? -1 : port;
  }

  /** A decimal number of so many digits at most, or -1. */
  #readDigits(at: number, most: number): number {
    const text = this.#text;
    let value = 0;
    let end = at;
    for (; end <= at + most; end++) {
      const digit = text.charCodeAt(end) - ZERO;
      // The end of the text is no number, for which both are false.
      if (!(digit >= 0 && digit <= 9)) break;
      value = value * 10 + digit;
    }
    this.#end = end;
    return end === at || end > at + most ? -1 : value;
  }

  /** What the line asks for that was read last. */
  operation(): PlainOperation {
    const { protocol, port, weight } = this;
    const text = this.#text;
    const address = text.slice(this.#serviceAt, this.#serviceEnd);
    const last = this.#key;
    const isSame = last !== undefined && last.protocol === protocol && last.address === address && last.port === port;
    const key = isSame ? last : { protocol, address, port };
    this.#key = key;
    if (!this.isServer) return { op: 'addService', service: { ...key, scheduler: this.scheduler } };
    const server = { address: text.slice(this.#serverAt, this.#serverEnd), port: this.serverPort };
    const forward = this.masquerades ? 'masquerade' : 'direct';
    return { op: 'addDestination', key, destination: { ...server, forward, weight } };
  }
}

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
  if (!isPlainAddress(address)) return undefined;
  return `-${letter} ${address}:${port}`;
}

/** '-r 10.1.0.1:80 -m -w 1' of a server behind a plain service; undefined if it needs other options, or is wrong. */
export function plainServer(service: Service, server: Destination): string | undefined {
  const { address, port, forward, weight = 1, tunnel } = server;
  if (tunnel !== undefined || hasOthers(DESTINATION, server)) return undefined;
  if (!isPort(port) || !Number.isInteger(weight) || weight < 0 || weight > MAX_WEIGHT) return undefined;
  if (!isPlainAddress(address)) return undefined;
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

/** Whether it is an IPv4 address that a packet can have as its destination. */
function isPlainAddress(address: unknown): boolean {
  if (typeof address !== 'string') return false;
  const bits = ipv4Bits(address, 0, address.length);
  return bits !== NO_BITS && isReachableIPv4(bits);
}
