import { checkObject, checkOneOf, toHex } from '../../codec/index.ts';
import { printable, printableOutput, rangeError, typeError } from '../../errors.ts';
import type { Logger } from '../../observe.ts';
import { PLAIN, type Redact, type Redactor, redactAddress, redactorOf } from '../address.ts';
import { PROPERTIES, type PropertyField } from '../attributes.ts';
import type { PacketBatch } from '../batch.ts';
import type { Conntrack, ConntrackTuple } from '../conntrack.ts';
import type { Headers } from '../headers/headers.ts';
import { summarize } from '../headers/summary.ts';
import { getterOf, type Packet, readPacketHeaders, textOf } from '../packet.ts';
import type { Loss } from '../reader.ts';
import { Ending, type LogSink } from './capture.ts';
import type { Consumer } from './delivery.ts';

/** pino's levels, the least important first. */
export const RECORD_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
/** The levels of records, as pino has them. */
export type RecordLevel = (typeof RECORD_LEVELS)[number];

/** Takes records: pino, or any object with its methods. */
export interface RecordLogger extends Logger {
  /** Takes a record of the level trace. */
  trace?(fields: object, message?: string): void;
  /** Takes a record of the level fatal. */
  fatal?(fields: object, message?: string): void;
  /** Asked before a record is made: a record of a level that is off is not made. */
  isLevelEnabled?(level: string): boolean;
}

/** The contents and level of records. */
export interface RecordOptions<R = unknown> {
  /**
   * The level of all records, or a function that returns the level for the packet's rule (undefined if it is not
   * known) and the packet. By default, or if the function returns undefined: the `level` of the rule if it has one,
   * else 'info'. If the function throws, or returns something else, the sink ends.
   */
  level?: RecordLevel | ((rule: R | undefined, packet: Packet<R>) => RecordLevel | undefined);
  /**
   * The fields of a record. By default all but `family`, `hardwareAddress`, `etherType`, `ttl`, `gid`, `receiverGid`,
   * `sequence`, `globalSequence`, `receivedAtMicroseconds`, `headers`, `summary` and `payload`. Fields that a packet
   * lacks are undefined. `uid` and `gid` are those of the sender; `receiverUid` and `receiverGid` are those of the
   * socket that an incoming packet goes to: see `packet.socketSide`.
   */
  fields?: readonly RecordField[];
  /** Hides addresses; false by default. Prefixes and device names are shown unchanged. */
  redact?: Redact;
}

/** Where records come from. */
interface RecordSource {
  readonly name: string | undefined;
  readonly netns: number;
}

/**
 * The fields in their order, and whether records have them by default. Fields of single attributes follow behind
 * them.
 */
const FIELDS = {
  container: true,
  netns: true,
  group: true,
  family: false,
  hook: true,
  rule: true,
  ruleName: true,
  inDevice: true,
  outDevice: true,
  physInDevice: true,
  physOutDevice: true,
  vlan: true,
  hardwareAddress: false,
  etherType: false,
  protocol: true,
  source: true,
  sourcePort: true,
  destination: true,
  destinationPort: true,
  tcpFlags: true,
  icmpType: true,
  icmpCode: true,
  length: true,
  ttl: false,
  conntrack: true,
  receivedAtMicroseconds: false,
  headers: false,
  summary: false,
  payload: false,
};

/** A property of the packet, and the names of its fields, as its row says. */
interface Attribute {
  readonly get: (packet: Packet) => unknown;
  readonly absent: unknown;
  readonly usual: boolean;
  readonly ofSocket: boolean;
  /** The field's name; of a property of the socket's owner the name for senders. Undefined if the field is not wanted. */
  readonly name: PropertyField | undefined;
  /** The name for receivers. */
  readonly receivers: PropertyField | undefined;
}

const ATTRIBUTES: readonly Attribute[] = PROPERTIES.flatMap(({ key, says }) => {
  if (says.record === 'never') return [];
  const receivers = says.ofSocket ? `receiver${key[0]!.toUpperCase()}${key.slice(1)}` : undefined;
  const [name, ofReceivers] = [key, receivers] as [PropertyField, PropertyField | undefined];
  const { absent, record, ofSocket = false } = says;
  return { get: getterOf(key), absent, usual: record === 'usual', ofSocket, name, receivers: ofReceivers };
});

/** The fields that a record can have. */
export type RecordField = keyof typeof FIELDS | PropertyField;

/** The fields of one sink's records. */
interface Wanted {
  readonly own: Readonly<Record<keyof typeof FIELDS, boolean>>;
  readonly attributes: readonly Attribute[];
}

/*
 * One literal for all records: an object that grows by names that are not known in advance becomes a hash table at
 * the thirteenth, which costs ten times as much. Fields that are not wanted, or that the packet lacks, are undefined;
 * pino does not print them.
 */
function recordOf(
  packet: Packet,
  { own: want, attributes }: Wanted,
  headers: Headers | undefined,
  show: Redactor,
  origin: RecordSource,
  rule: unknown,
): object {
  const own: Record<keyof typeof FIELDS, unknown> = {
    /** The log's `name`. */
    container: want.container ? shown(origin.name) : undefined,
    /** The inode of the network namespace. */
    netns: want.netns ? origin.netns : undefined,
    group: want.group ? packet.group : undefined,
    family: want.family ? packet.family : undefined,
    hook: want.hook ? packet.hook : undefined,
    /** What the log's `rules` return for the packet. */
    rule: want.rule ? rule : undefined,
    /** One text for the rule: its name, else its prefix; or the rule itself if that is text. */
    ruleName: want.ruleName && rule !== undefined ? shown(nameOf(rule)) : undefined,
    inDevice: want.inDevice ? shown(packet.inDevice) : undefined,
    outDevice: want.outDevice ? shown(packet.outDevice) : undefined,
    physInDevice: want.physInDevice ? shown(packet.physInDevice) : undefined,
    physOutDevice: want.physOutDevice ? shown(packet.physOutDevice) : undefined,
    /** The VLAN's number. */
    vlan: want.vlan ? packet.vlan?.id : undefined,
    hardwareAddress: want.hardwareAddress ? hardwareOf(packet, show) : undefined,
    etherType: want.etherType ? packet.etherType : undefined,
    protocol: want.protocol ? (headers?.network === 'arp' ? 'arp' : headers?.protocol) : undefined,
    source: want.source ? headers?.source : undefined,
    sourcePort: want.sourcePort ? headers?.sourcePort : undefined,
    destination: want.destination ? headers?.destination : undefined,
    destinationPort: want.destinationPort ? headers?.destinationPort : undefined,
    /** As text: 'SYN', 'ACK FIN'. */
    tcpFlags: want.tcpFlags ? headers?.tcp?.flags.join(' ') : undefined,
    icmpType: want.icmpType ? headers?.icmpType : undefined,
    icmpCode: want.icmpCode ? headers?.icmpCode : undefined,
    length: want.length ? headers?.length : undefined,
    ttl: want.ttl ? headers?.ttl : undefined,
    conntrack: want.conntrack ? conntrackOf(packet, show) : undefined,
    receivedAtMicroseconds: want.receivedAtMicroseconds ? packet.receivedAtMicroseconds : undefined,
    /** Everything that the headers say. */
    headers: want.headers ? headers : undefined,
    /** The line of `packet.summary()`. */
    summary: want.summary ? summarize(packet, textOf(packet), show) : undefined,
    /** The captured bytes in hex. */
    payload: want.payload ? toHex(packet.payload) : undefined,
  };
  const record: Record<string, unknown> = own;
  for (const { get, absent, ofSocket, name, receivers } of attributes) {
    const value = get(packet);
    if (value === undefined || value === absent) continue;
    const side = ofSocket ? packet.socketSide : 'sender';
    const field = side === 'sender' ? name : side === 'receiver' ? receivers : undefined;
    if (field !== undefined) record[field] = typeof value === 'string' ? printable(value) : value;
  }
  return record;
}

function memberOf(rule: unknown, name: string): unknown {
  return typeof rule === 'object' && rule !== null ? Reflect.get(rule, name) : undefined;
}

/** The name of a rule. `rules` may return anything. */
function nameOf(rule: unknown): string | undefined {
  if (typeof rule === 'string') return rule;
  const name = memberOf(rule, 'name');
  if (typeof name === 'string') return name;
  const prefix = memberOf(rule, 'prefix');
  return typeof prefix === 'string' && prefix.trim() !== '' ? prefix.trim() : undefined;
}

/** pino escapes only what JSON requires, and a container chose these texts. */
const shown = (text: string | undefined): string | undefined => (text === undefined ? undefined : printable(text));

const OWN_NAMES = Object.keys(FIELDS) as (keyof typeof FIELDS)[];
const ATTRIBUTE_NAMES = ATTRIBUTES.flatMap(({ name, receivers }) => [name, receivers]).filter(
  name => name !== undefined,
);
const NAMES: readonly RecordField[] = [...OWN_NAMES, ...ATTRIBUTE_NAMES];
const OF_HEADERS = [
  'protocol',
  'source',
  'sourcePort',
  'destination',
  'destinationPort',
  'tcpFlags',
  'icmpType',
  'icmpCode',
  'length',
  'ttl',
  'headers',
] as const satisfies (keyof typeof FIELDS)[];

function hardwareOf(packet: Packet, show: Redactor): string | undefined {
  const text = packet.hardwareAddress;
  if (text === undefined || show === PLAIN) return text;
  const bytes = Buffer.from(text.replaceAll(':', ''), 'hex');
  return show.hardware(bytes, 0, bytes.length);
}

/** The parts of a connection that tell it from others, flat and short. */
function conntrackOf(packet: Packet, show: Redactor): object | undefined {
  const { conntrack } = packet;
  if (conntrack === undefined) return undefined;
  const { id, state, direction, status, mark, zone, timeoutSeconds, tcp, original, reply } = conntrack;
  const all: Record<string, unknown> = { id, state, direction, status, mark, zone, timeoutSeconds };
  if (tcp?.state !== undefined) all.tcpState = tcp.state;
  if (original) all.original = tupleOf(original, show);
  if (reply) all.reply = tupleOf(reply, show);
  for (const nat of ['sourceNat', 'destinationNat'] as const) {
    const to: Conntrack['sourceNat'] = conntrack[nat];
    if (to !== undefined) all[nat] = { ...to, address: redactAddress(to.address, show) };
  }
  return all;
}

function tupleOf(tuple: ConntrackTuple, show: Redactor): object {
  const { unknown: _, source, destination, ...rest } = tuple;
  return {
    ...(source !== undefined && { source: redactAddress(source, show) }),
    ...(destination !== undefined && { destination: redactAddress(destination, show) }),
    ...rest,
  };
}

function wantedOf(fields: unknown, redacted: boolean): Wanted {
  if (fields === undefined) return { own: FIELDS, attributes: ATTRIBUTES.filter(({ usual }) => usual) };
  if (!Array.isArray(fields)) throw typeError(['fields'], 'an array of names', fields);
  const wanted = new Set<RecordField>();
  for (const [i, field] of fields.entries()) {
    wanted.add(checkOneOf(field, ['fields', i], NAMES));
    if (field === 'payload' && redacted) {
      throw rangeError(['fields', i], 'no bytes of packets with `redact`: there are addresses in them', field);
    }
  }
  const own = { ...FIELDS };
  for (const name of OWN_NAMES) own[name] = wanted.has(name);
  const ifWanted = (name: PropertyField | undefined) => (name !== undefined && wanted.has(name) ? name : undefined);
  const attributes = ATTRIBUTES.map(all => ({ ...all, name: ifWanted(all.name), receivers: ifWanted(all.receivers) }));
  return { own, attributes: attributes.filter(({ name, receivers }) => name !== undefined || receivers !== undefined) };
}

function checkLogger(logger: unknown, level: RecordLevel | undefined): RecordLogger {
  for (const method of [level ?? 'info', 'warn']) {
    const found = (logger as Record<string, unknown> | null)?.[method];
    if (typeof found !== 'function') throw typeError(['logger', method], 'a function, as of pino', found);
  }
  return logger as RecordLogger;
}

/** Writes a record for each packet, and one for each loss. */
export class RecordSink implements Consumer, LogSink {
  readonly #origin: RecordSource;
  /** Of all records; undefined where each has its own. */
  readonly #level: RecordLevel | undefined;
  readonly #choose: ((rule: unknown, packet: Packet) => unknown) | undefined;
  readonly #wanted: Wanted;
  readonly #needsHeaders: boolean;
  readonly #needsRule: boolean;
  readonly #show: Redactor;
  #logger: RecordLogger | undefined;
  #flush: () => void = () => {};
  #detach: () => void = () => {};
  readonly #outcome = new Ending();
  readonly busy = false;
  readonly dropped = 0;
  packets = 0;

  constructor(logger: unknown, options: RecordOptions, origin: RecordSource) {
    checkObject(options, [], ['level', 'fields', 'redact']);
    this.#origin = origin;
    const { level } = options;
    if (typeof level === 'function') this.#choose = level;
    else if (level !== undefined) this.#level = checkOneOf(level, ['level'], RECORD_LEVELS);
    this.#show = redactorOf(options.redact);
    this.#wanted = wantedOf(options.fields, this.#show !== PLAIN);
    const { own } = this.#wanted;
    this.#needsRule = this.#level === undefined || own.rule || own.ruleName;
    this.#needsHeaders = OF_HEADERS.some(field => own[field]);
    if (logger !== undefined) this.#logger = checkLogger(logger, this.#level);
  }

  /** Begins to take packets and losses; without a logger when pino has been loaded. */
  attach(log: {
    attach(consumer: Consumer): { detach(): void };
    onLoss(handler: (loss: Loss) => void): () => void;
  }): this {
    const begin = () => {
      const { detach } = log.attach(this);
      const deafen = log.onLoss(loss => this.#lost(loss));
      this.#detach = () => {
        detach();
        deafen();
      };
    };
    if (this.#logger !== undefined) begin();
    else {
      this.#load().then(
        () => {
          if (!this.#outcome.done) begin();
        },
        error => this.#outcome.settle({ error }),
      );
    }
    return this;
  }

  /** pino on the standard output, which gets the lines of one turn at once. */
  async #load(): Promise<void> {
    const { pino } = await import('pino');
    const output = pino.destination({ dest: 1, sync: true });
    let lines = '';
    const write = (line: string) => {
      lines += printableOutput(line);
    };
    this.#flush = () => {
      if (lines !== '') output.write(lines);
      lines = '';
    };
    // The lowest level in use, so that pino prints every record.
    const level = this.#level ?? 'trace';
    this.#logger = pino({ level: level === 'trace' || level === 'debug' ? level : 'info' }, { write });
  }

  get finished(): Promise<void> {
    return this.#outcome.finished;
  }
  get settled(): Promise<void> {
    return this.#outcome.settled;
  }

  take(batch: PacketBatch): void {
    const logger = this.#logger!;
    if (this.#outcome.done || (this.#level !== undefined && logger.isLevelEnabled?.(this.#level) === false)) return;
    try {
      // Records have copies of everything; a function that chooses levels may keep the packets.
      const packets = this.#choose === undefined ? batch.passing() : batch.packets();
      for (const packet of packets) {
        const rule = this.#needsRule ? packet.rule : undefined;
        const level = this.#level ?? this.#levelFor(rule, packet);
        if (this.#level === undefined && logger.isLevelEnabled?.(level) === false) continue;
        const headers = this.#needsHeaders ? readPacketHeaders(packet, this.#show) : undefined;
        const record = recordOf(packet, this.#wanted, headers, this.#show, this.#origin, rule);
        if (typeof logger[level] !== 'function')
          throw typeError(['logger', level], 'a function, as of pino', logger[level]);
        logger[level](record, 'packet');
        this.packets++;
      }
      this.#flush();
    } catch (error) {
      // The logger's failure is not the log's.
      this.endWith(error);
    }
  }

  #levelFor(rule: unknown, packet: Packet): RecordLevel {
    const chosen = this.#choose?.(rule, packet);
    if (chosen !== undefined) return checkOneOf(chosen, ['level'], RECORD_LEVELS);
    const own = memberOf(rule, 'level');
    return RECORD_LEVELS.find(level => level === own) ?? 'info';
  }

  #lost({ kind, group, count }: Loss): void {
    const { name, netns } = this.#origin;
    const what = kind === 'packets' ? { group, lostPackets: count } : { lostDatagrams: count };
    this.#logger!.warn(
      { ...(name !== undefined && { container: printable(name) }), netns, ...what },
      'packets were lost',
    );
    this.#flush();
  }

  end(): Promise<void> {
    this.endWith();
    return this.finished;
  }

  endWith(failure?: unknown): void {
    if (this.#outcome.done) return;
    this.#outcome.settle(failure === undefined ? undefined : { error: failure });
    this.#detach();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}
