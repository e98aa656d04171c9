import { TYPES } from '../data/datatypes.ts';
import * as keys from '../data/keys.ts';
import { entryOf, type Fields, fieldsOf, flagsOf, numberOf, textOf } from './json-fields.ts';
import { type Ct, type Load, Place, refuse, type Term } from './term.ts';

/* What does not come from the packet's bytes: meta data, connections, routes, sockets, numbers that are made up. */

const GENERATED = { key: '', ...keys.GENERATED };
/** By the kernel's name of the key. */
const numbers = (names: readonly (string | undefined)[]): Readonly<Record<string, number>> =>
  Object.fromEntries(names.flatMap((name, number) => (name === undefined ? [] : [[name, number]])));

const RT_NUMBERS = /* @__PURE__ */ numbers(keys.RT_NUMBERS);
const SOCKET_NUMBERS = /* @__PURE__ */ numbers(keys.SOCKET_NUMBERS);
const XFRM_NUMBERS = /* @__PURE__ */ numbers(keys.IPSEC_NUMBERS);
const FIB_NUMBERS = /* @__PURE__ */ numbers(keys.FIB_NUMBERS);

function family(fields: Fields, place: Place): 'ip' | 'ip6' | undefined {
  if (fields.family === undefined) return undefined;
  return entryOf({ ip: 'ip', ip6: 'ip6' }, fields.family, new Place(place, 'family'));
}

function loadOf(
  name: Load['name'],
  row: keys.KeyRow,
  instruction: Record<string, unknown>,
  place: Place,
  numbers: Load['numbers'],
  maximum?: number,
): Load {
  return {
    kind: 'load',
    place,
    type: TYPES[row.type],
    order: row.order,
    bits: row.bits,
    name,
    key: row.key,
    instruction,
    numbers,
    ...(maximum !== undefined && { maximum }),
  };
}

export function parseRt(json: unknown, place: Place): Term {
  const fields = fieldsOf(json, place);
  const key = textOf(fields, 'key', place);
  const row = entryOf<keys.KeyRow>(keys.RT, key, new Place(place, 'key'));
  const known = fields.family !== undefined || key !== 'nexthop';
  const used = key === 'nexthop' && family(fields, place) === 'ip6' ? keys.RT_NEXTHOP6 : row;
  const load = loadOf('rt', used, { key: used.key }, place, [[0, RT_NUMBERS[used.key]!]]);
  // The rule's family decides.
  if (!known) load.type = TYPES.invalid;
  return load;
}

export function parseSocket(json: unknown, place: Place): Term {
  const fields = fieldsOf(json, place);
  const row = entryOf<keys.KeyRow>(keys.SOCKET, fields.key, new Place(place, 'key'));
  const level = fields.level === undefined ? 0 : numberOf(fields, 'level', place);
  const maximum = row.key === 'transparent' || row.key === 'wildcard' ? 1 : undefined;
  return loadOf('socket', row, { key: row.key, level }, place, [[0, SOCKET_NUMBERS[row.key]!]], maximum);
}

export function parseOsf(json: unknown, place: Place): Term {
  const fields = fieldsOf(json, place);
  const flags = entryOf({ name: [] as string[], version: ['version'] }, fields.key, new Place(place, 'key'));
  const ttl =
    fields.ttl === undefined ? 'exact' : entryOf({ loose: 'loose', skip: 'skip' }, fields.ttl, new Place(place, 'ttl'));
  return loadOf('osf', keys.OSF, flags.length > 0 ? { ttl, flags } : { ttl }, place, []);
}

export function parseIpsec(json: unknown, place: Place): Term {
  const fields = fieldsOf(json, place);
  const key = textOf(fields, 'key', place);
  const row = entryOf<keys.KeyRow>(keys.IPSEC, key, new Place(place, 'key'));
  const used = (key === 'saddr' || key === 'daddr') && family(fields, place) === 'ip6' ? keys.IPSEC6[key] : row;
  const direction = entryOf({ in: 0, out: 1 }, fields.dir ?? 'in', new Place(place, 'dir'));
  const index = fields.spnum === undefined ? 0 : numberOf(fields, 'spnum', place, 255);
  return loadOf('xfrm', used, { key: used.key, direction, index }, place, [
    [0, XFRM_NUMBERS[used.key]!],
    [1, index],
    [2, direction],
  ]);
}

export function parseTunnel(json: unknown, place: Place): Term {
  const row = entryOf<keys.KeyRow>(keys.TUNNEL, fieldsOf(json, place).key, new Place(place, 'key'));
  return loadOf('tunnel', row, { key: row.key }, place, []);
}

export function parseNumgen(json: unknown, place: Place): Term {
  const fields = fieldsOf(json, place);
  const type = entryOf({ inc: 'incremental', random: 'random' }, fields.mode, new Place(place, 'mode'));
  const modulus = numberOf(fields, 'mod', place);
  const offset = fields.offset === undefined ? 0 : numberOf(fields, 'offset', place);
  const numbers = [[0, type === 'random' ? 1 : 0] as const, [1, modulus] as const, [2, offset] as const];
  return loadOf('numgen', GENERATED, { modulus, type, offset }, place, numbers, modulus + offset - 1);
}

export function hashOf(
  fields: Fields,
  place: Place,
  type: 'jenkins' | 'symmetric',
  seed: number | undefined,
  argument: Term | undefined,
): Load {
  const modulus = numberOf(fields, 'mod', place);
  const offset = fields.offset === undefined ? 0 : numberOf(fields, 'offset', place);
  const instruction = { modulus, ...(seed !== undefined && { seed }), offset, type };
  const numbers = [
    [0, type === 'jenkins' ? 0 : 1] as const,
    [1, offset] as const,
    [2, modulus] as const,
    [3, seed ?? 0] as const,
    [4, seed === undefined ? 0 : 1] as const,
  ];
  const load = loadOf('hash', GENERATED, instruction, place, numbers, modulus + offset - 1);
  if (argument !== undefined) load.argument = argument;
  return load;
}

const fibBit = (flag: (typeof keys.FIB_BITS)[number]): number => 1 << keys.FIB_BITS.indexOf(flag);
const FIB_FLAGS: Readonly<Record<string, number>> = /* @__PURE__ */ Object.fromEntries(
  /* @__PURE__ */ keys.FIB_FLAGS.map(flag => [flag, fibBit(flag)]),
);
const FIB_PRESENT = /* @__PURE__ */ fibBit('present');

export function parseFib(json: unknown, place: Place): Term {
  const fields = fieldsOf(json, place);
  const flagsPlace = new Place(place, 'flags');
  const flags = flagsOf(FIB_FLAGS, fields.flags, flagsPlace);
  if ((flags & 3) !== 1 && (flags & 3) !== 2) throw refuse(flagsPlace, 'either saddr or daddr', fields.flags);
  if ((flags & 24) === 24) throw refuse(flagsPlace, 'at most one of iif and oif', fields.flags);
  const check = fields.result === 'check';
  const row = check ? keys.FIB.oif : entryOf<keys.KeyRow>(keys.FIB, fields.result, new Place(place, 'result'));
  const names = Object.keys(FIB_FLAGS).filter(name => flags & FIB_FLAGS[name]!);
  const instruction = { result: row.key, flags: check ? [...names, 'present'] : names };
  const load = loadOf('fib', row, instruction, place, [
    [0, FIB_NUMBERS[row.key]!],
    [1, check ? flags | FIB_PRESENT : flags],
  ]);
  if (check) load.type = TYPES.boolean;
  return load;
}

/** What is compared with true or false is not what a route leads to, but whether there is one. */
export function askWhether(load: Load): void {
  if (load.name !== 'fib' || load.type.kind === 'boolean') return;
  const { flags } = load.instruction as { flags: string[] };
  load.instruction = { ...load.instruction, flags: [...flags, 'present'] };
  load.type = TYPES.boolean;
}

export function parseMeta(json: unknown, place: Place): Term {
  const key = fieldsOf(json, place).key;
  const word =
    typeof key === 'string' && Object.hasOwn(keys.META_ALIASES, key) ? keys.META_ALIASES[key as 'secpath'] : key;
  const row = entryOf<keys.KeyRow>(keys.META, word, new Place(place, 'key'));
  return metaTerm(word as keys.MetaKey, row, place);
}

export function metaTerm(key: keys.MetaKey, row: keys.KeyRow, place: Place | undefined): Term {
  return { kind: 'meta', place, type: TYPES[row.type], order: row.order, bits: row.bits, key, tunnel: undefined };
}

/** Those that each direction of a connection has its own of. */
const DIRECTED: ReadonlySet<string> = new Set<keys.CtKey>([
  'l3proto',
  'saddr',
  'daddr',
  'protocol',
  'proto-src',
  'proto-dst',
  'packets',
  'bytes',
  'avgpkt',
  'zone',
  'ip saddr',
  'ip daddr',
  'ip6 saddr',
  'ip6 daddr',
]);

export function parseCt(json: unknown, place: Place): Term {
  const fields = fieldsOf(json, place);
  let key = textOf(fields, 'key', place);
  const which = family(fields, place);
  if (which !== undefined && (key === 'saddr' || key === 'daddr')) key = `${which} ${key}`;
  const row = entryOf<keys.KeyRow>(keys.CT, key, new Place(place, 'key'));
  const direction =
    fields.dir === undefined
      ? undefined
      : entryOf({ original: 'original', reply: 'reply' } as const, fields.dir, new Place(place, 'dir'));
  if (direction !== undefined && !DIRECTED.has(key))
    throw refuse(new Place(place, 'dir'), `no direction of ${key}`, direction);
  return ctTerm(key, row, direction, place);
}

export function ctTerm(key: string, row: keys.KeyRow, direction: Ct['direction'], place: Place | undefined): Ct {
  return {
    kind: 'ct',
    place,
    type: TYPES[row.type],
    order: row.order,
    bits: row.bits,
    key,
    direction,
    family: undefined,
  };
}
