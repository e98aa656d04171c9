import {
  checkAddress,
  checkInteger,
  checkObject,
  checkOneOf,
  checkString,
  type UnknownAttribute,
} from '../codec/index.ts';
import { type Protocol, protocolOf } from '../ctnetlink/protocol.ts';
import type { WireExpectation, WireTuple } from '../ctnetlink/tables.ts';
import { rangeError, typeError } from '../errors.ts';
import {
  checkTuple,
  type FlowFamily,
  type FlowKey,
  type FlowTuple,
  familyOfNumber,
  numberOfFamily,
  tupleOf,
} from './flow.ts';

type Tuple = FlowTuple & {
  /** The transport protocol, by name or number. */
  protocol: Protocol;
};

/** A connection that a helper expects because another connection announced it, such as the data connection of FTP. */
export interface Expectation {
  /** The address family, 'ipv4' or 'ipv6'. */
  family: FlowFamily;
  /** The flow whose helper expects the connection. */
  master: Tuple;
  /** The addresses and ports of the expected connection. Only the bits in `mask` count. */
  tuple: Tuple;
  /** The bits that count. The kernel uses the mask of the source only: '0.0.0.0' and port 0 match anything. */
  mask: {
    /** The mask of the source address. */
    source: string;
    /** The mask of the destination address. */
    destination: string;
    /** The mask of the source port. */
    sourcePort?: number;
    /** The mask of the destination port. */
    destinationPort?: number;
  };
  /** Seconds until the kernel forgets the expectation. */
  timeoutSeconds?: number;
  /** The kernel's number for it. */
  id: number;
  /** The zone of the master, if the kernel reports it: Linux up to 6.18 does not, and this is 0. */
  zone: number;
  /** 'permanent' stays after the first connection, 'inactive' waits, 'userspace' was made by a program. */
  flags: ('permanent' | 'inactive' | 'userspace' | number)[];
  /** The class of the expectation, a number that the helper defines. */
  class?: number;
  /** The helper of the master, such as 'ftp'. */
  helper?: string;
  /** The address and the port that the helper announced, as the source of the tuple, and the direction in which the connection will arrive. */
  translation?: {
    /** The direction that is translated. */
    direction: 'original' | 'reply' | number;
    /** The addresses and ports that are expected; in a translation, the new ones. */
    tuple: Partial<Tuple>;
  };
  /** The name of the kernel function that is called when the connection arrives. */
  function?: string;
  /** Attributes that this library does not know, kept as they came. */
  unknown?: UnknownAttribute[];
}

/** An expectation to create. One that was read is accepted: fields that only the kernel sets are ignored. */
export interface NewExpectation extends Partial<Omit<Expectation, 'master' | 'tuple' | 'flags'>> {
  /** One direction of the flow that has the helper. */
  master: FlowKey;
  /** The addresses and ports that are expected; in a translation, the new ones. */
  tuple: FlowKey;
  /** Default: the whole source address, and any source port. */
  mask?: Expectation['mask'];
  /** 1 to 2,147,483. Default: the helper's own timeout (FTP: 300). */
  timeoutSeconds?: number;
  /** The zone of the master, 0 to 65535. Default: that of `master`. */
  zone?: number;
  /** 'permanent' and 'inactive' can be given. The kernel sets the others itself. */
  flags?: readonly Expectation['flags'][number][];
  /**
   * A class of the helper's: FTP has only 0, SIP has 0 to 3. With a class above 0, many kernels also give the master's helper to the
   * expected connection.
   */
  class?: number;
  /**
   * The address and the port that the helper announced, for the `function` that sets up NAT: the `source` and the `sourcePort` of the tuple.
   * The kernel does not use the other fields of the tuple, and they can be left out.
   */
  translation?: NonNullable<Expectation['translation']>;
  /** The kernel function to call when the connection arrives: 'nat-follow-master', or one of a helper: 'sip', 'Q.931', 'callforwarding'. */
  function?: string;
}

/** The fields that identify an expectation. */
export type ExpectationKey = Pick<Expectation, 'tuple'> & {
  /** The conntrack zone. */
  zone?: number;
  /** The kernel's number for it. */
  id?: number;
};

const MAX_TIMEOUT_SECONDS = 2_147_483;

/** @internal Undefined if a tuple is incomplete, because then nothing can name the expectation. */
export function expectationOf(wire: WireExpectation, family: number): Expectation | undefined {
  const master = keyOf(wire.master);
  const tuple = keyOf(wire.tuple);
  const mask = tupleOf(wire.mask);
  if (master === undefined || tuple === undefined || mask === undefined) return undefined;
  const { direction, translatedTuple } = wire;
  const expectation: Expectation = {
    family: familyOfNumber(family),
    master,
    tuple,
    mask,
    id: wire.id ?? 0,
    zone: wire.zone ?? 0,
    flags: wire.flags ?? [],
  };
  if (wire.timeoutSeconds !== undefined) expectation.timeoutSeconds = wire.timeoutSeconds;
  if (wire.class !== undefined) expectation.class = wire.class;
  if (wire.helper !== undefined) expectation.helper = wire.helper;
  if (wire.function !== undefined) expectation.function = wire.function;
  if (wire.unknown !== undefined) expectation.unknown = wire.unknown;
  if (direction !== undefined) expectation.translation = { direction, tuple: keyOf(translatedTuple) ?? {} };
  return expectation;
}

function keyOf(wire: WireTuple | undefined): Tuple | undefined {
  const tuple = tupleOf(wire);
  return tuple && wire?.protocol !== undefined ? { protocol: protocolOf(wire.protocol), ...tuple } : undefined;
}

/** @internal @throws TypeError, RangeError with the path */
export function checkNewExpectation(given: NewExpectation): { family: number; wire: WireExpectation } {
  checkObject(given, [], KEY_FIELDS);
  const { master, tuple, mask, timeoutSeconds, zone = master?.zone ?? 0, flags = [], class: number } = given;
  const of = checkKey(master, 'master');
  const expected = checkKey(tuple, 'tuple');
  if (of.family !== expected.family)
    throw rangeError(['tuple', 'source'], `an address of ${of.family}, as the master's`, tuple.source);
  if (given.family !== undefined && given.family !== of.family)
    throw rangeError(['family'], `${of.family}, as the addresses`, given.family);
  const any: FlowTuple =
    of.family === 'ipv4'
      ? { source: '255.255.255.255', destination: '255.255.255.255', sourcePort: 0, destinationPort: 0xffff }
      : { source: ALL_ONES, destination: ALL_ONES, sourcePort: 0, destinationPort: 0xffff };
  const masked = checkTuple(mask ?? any, tuple.protocol, ['mask']);
  const wire: WireExpectation = {
    master: of.wire,
    tuple: expected.wire,
    mask: masked.wire,
  };
  if (timeoutSeconds !== undefined)
    wire.timeoutSeconds = checkInteger(timeoutSeconds, ['timeoutSeconds'], 1, MAX_TIMEOUT_SECONDS);
  const set = settable(flags);
  if (set.length > 0) wire.flags = set;
  if (number !== undefined) wire.class = checkInteger(number, ['class'], 0, 0xffffffff);
  if (checkInteger(zone, ['zone'], 0, 0xffff) !== 0) wire.zone = zone;
  if (given.function !== undefined) wire.function = checkString(given.function, ['function'], MAX_FUNCTION_BYTES);
  if (given.translation !== undefined) addTranslation(wire, given.translation, tuple.protocol, of.family);
  return { family: numberOfFamily(of.family), wire };
}

const MAX_FUNCTION_BYTES = 63;
const SETTABLE = ['permanent', 'inactive'] as const;
const FLAGS = [...SETTABLE, 'userspace'] as const;

/** The flags that a request can set. @throws TypeError, RangeError */
function settable(flags: unknown): (typeof SETTABLE)[number][] {
  if (!Array.isArray(flags)) throw typeError(['flags'], 'an array of flags', flags);
  for (const [i, flag] of flags.entries()) if (typeof flag !== 'number') checkOneOf(flag, ['flags', i], FLAGS);
  return SETTABLE.filter(flag => flags.includes(flag));
}

function addTranslation(
  wire: WireExpectation,
  translation: NonNullable<NewExpectation['translation']>,
  protocol: Protocol,
  family: FlowFamily,
): void {
  const path = ['translation'];
  checkObject(translation, path, ['direction', 'tuple']);
  const { direction, tuple } = translation;
  checkObject(tuple, [...path, 'tuple'], TRANSLATED_FIELDS);
  const { protocol: own = protocol, sourcePort, ...others } = tuple;
  if (checkAddress(others.source, [...path, 'tuple', 'source']) !== (family === 'ipv4' ? 4 : 6))
    throw rangeError([...path, 'tuple', 'source'], `an address of ${family}, as the master's`, others.source);
  // The kernel parses a whole tuple, and keeps only its source.
  const whole = {
    destination: family === 'ipv4' ? '0.0.0.0' : '::',
    ...(sourcePort !== undefined && { sourcePort, destinationPort: 0 }),
    ...others,
  };
  const checked = checkTuple(whole, own, [...path, 'tuple']);
  checkOneOf(direction, [...path, 'direction'], ['original', 'reply']);
  wire.direction = direction;
  wire.translatedTuple = checked.wire;
}

const TRANSLATED_FIELDS = ['protocol', 'source', 'destination', 'sourcePort', 'destinationPort'];
const ALL_ONES = 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff';

function checkKey(key: FlowKey, field: string): ReturnType<typeof checkTuple> {
  const { family, wire } = checkTuple(key, (key as FlowKey | undefined)?.protocol, [field], ['protocol']);
  const { zone: _, ...tuple } = wire;
  return { family, wire: tuple };
}

/** @internal @throws TypeError, RangeError with the path */
export function checkExpectationKey(key: ExpectationKey): { family: number; wire: WireExpectation } {
  checkObject(key, [], KEY_FIELDS);
  const { tuple, zone = 0, id } = key;
  const checked = checkTuple(tuple, (tuple as Tuple | undefined)?.protocol, ['tuple'], ['protocol']);
  const wire: WireExpectation = { tuple: checked.wire };
  if (checkInteger(zone, ['zone'], 0, 0xffff) !== 0) wire.zone = zone;
  if (id !== undefined) wire.id = checkInteger(id, ['id'], 0, 0xffffffff);
  return { family: numberOfFamily(checked.family), wire };
}

/** All fields of an expectation, because one that was read is accepted as a key. */
const KEY_FIELDS = Object.keys({
  tuple: true,
  zone: true,
  id: true,
  family: true,
  master: true,
  mask: true,
  timeoutSeconds: true,
  flags: true,
  class: true,
  helper: true,
  translation: true,
  function: true,
  unknown: true,
} satisfies Record<keyof Expectation, true>);
