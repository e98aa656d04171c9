import { rangeError, typeError } from '../../errors.ts';
import type { Operation } from '../../netlink/index.ts';
import { EventLoopBudget } from '../../netlink/index.ts';
import { Transaction } from '../../nftables/index.ts';
import { PackedElements } from '../../nftables/packed-elements.ts';
import type { OwnedDifference } from '../owned/difference.ts';
import { DEFAULT_SETTINGS, type RedirectSettings } from '../owned/table.ts';
import type { StaleConnections } from './connections.ts';
import {
  addExact,
  noPorts,
  type PortRange,
  type Ports,
  type Redirect,
  type RedirectKey,
  RedirectReader,
} from './input.ts';
import { DATA, desiredTable, PLACE, PROTOCOL_NUMBERS, PROTOCOLS, RANGE_SETS, VERSIONS, type Version } from './maps.ts';
import { eachKey, PortMap } from './port-map.ts';
import { addressOf, elementOf, keyOf, NO_RANGES, type Range, Ranges, setOf } from './ranges.ts';

/** The differences between a container's redirects and the wanted ones. */
export interface RedirectDrift {
  /** Redirects that should be there and are not. */
  missing: Redirect[];
  /** Redirects that lead to another port. */
  different: {
    /** The redirect as it should be. */
    wanted: Redirect;
    /** The redirect as it is. */
    found: Redirect;
  }[];
  /** Redirects that are there and should not be. */
  unexpected: Redirect[];
  /** Every other difference of the table, and nat chains of others that see packets before ours; left out if there is none. */
  differences?: OwnedDifference[];
}

interface FoundDrift extends RedirectDrift {
  /** The number of unexpected redirects beyond MAX_UNEXPECTED. */
  unlisted: number;
}

/** How many unexpected redirects are listed: a container's root can make any number. */
const MAX_UNEXPECTED = 16_384;

/** The redirects of one container: exact ones (`ports`) and ranges. */
export interface RedirectContent {
  readonly ports: Ports;
  readonly ranges: Ranges;
}

/** The wanted redirects, checked, and the transactions that create and add them. */
export class RedirectSet implements RedirectContent {
  readonly ports: Ports;
  readonly ranges: Ranges;
  readonly settings: RedirectSettings;
  #fresh: Transaction | undefined;

  /**
   * @throws TypeError, RangeError with the place in the list; ERR_DUPLICATE where two lead the same key to different ports, ERR_OVERLAP
   * where two ranges do
   */
  constructor(redirects: readonly Redirect[], settings: Partial<RedirectSettings> = {}) {
    if (!Array.isArray(redirects)) throw typeError([], 'an array of redirects', redirects);
    const reader = new RedirectReader(redirects.length);
    for (let i = 0; i < redirects.length; i++) {
      const redirect = redirects[i] as Redirect;
      const map = reader.take(redirect, i);
      if (map === undefined) continue;
      const { toPort = singlePort(redirect.port) } = redirect;
      const found = map.add(toPort);
      if (found !== toPort) throw duplicate(redirect, i, found, toPort);
    }
    this.ports = reader.ports;
    this.ranges = NO_RANGES;
    if (reader.ranges.length > 0) {
      const { exact, wide } = Ranges.of(reader.ranges).split();
      addExact(this.ports, exact);
      this.ranges = wide;
    }
    this.settings = { ...DEFAULT_SETTINGS, ...settings };
  }

  /** The transaction for a container without redirects. It is made once for all containers. */
  get fresh(): Transaction {
    this.#fresh ??= createRedirects(new Transaction(), this, this.settings);
    return this.#fresh;
  }

  get length(): number {
    return this.ports.ipv4.length + this.ports.ipv6.length + this.ranges.size;
  }

  /** Writes the exact redirects. The kernel refuses 'create' if one of them is there, and 'add' if one has another target there. */
  addAll(transaction: Transaction, verb: 'add' | 'create' = 'add'): Transaction {
    for (const version of VERSIONS) addElements(transaction, version, this.ports[version.map], verb);
    return transaction;
  }
}

const singlePort = (port: number | PortRange): number => (typeof port === 'number' ? port : port.from);

/**
 * Writes the differences between `present` and the wanted redirects. Exact redirects that are not wanted are removed only with `exactly`;
 * ranges that are not wanted are always removed.
 */
export function* changeRedirects(
  transaction: Transaction,
  { ports, ranges }: RedirectContent,
  present: RedirectContent,
  exactly: boolean,
  budget = new EventLoopBudget(),
  connections?: StaleConnections,
): Operation<Transaction> {
  for (const version of VERSIONS) {
    const wanted = ports[version.map];
    const there = present.ports[version.map];
    const stale = new PortMap(wanted.keyLength);
    const missing = new PortMap(wanted.keyLength);
    const stays = yield* compare(budget, wanted, there, (at, i) => {
      if (at >= 0 || exactly) stale.copy(there, i);
    });
    yield* eachKey(wanted, budget, i => {
      if (stays[i] === 0) missing.copy(wanted, i);
    });
    removeElements(transaction, version, stale);
    addElements(transaction, version, missing);
    if (connections === undefined || connections.keepsAll) continue;
    yield* connections.noteGone(version, stale, budget);
    yield* connections.noteMade(version, missing, budget);
  }
  changeRanges(transaction, ranges, present.ranges);
  return transaction;
}

/** The same as `changeRedirects` without `exactly`. */
export const addRedirects = (transaction: Transaction, wanted: RedirectContent, present: RedirectContent) =>
  changeRedirects(transaction, wanted, present, false);

function changeRanges(transaction: Transaction, wanted: Ranges, present: Ranges): void {
  if (wanted.size === 0 && present.size === 0) return;
  const same = (a: Range, b: Range | undefined) => b !== undefined && a.toPort === b.toPort;
  const stale = [...present].filter(range => {
    return !same(range, wanted.get(keyOf(range)));
  });
  const missing = [...wanted].filter(range => !same(range, present.get(keyOf(range))));
  removeRanges(transaction, stale);
  addRanges(transaction, missing);
}

/**
 * The redirects to write so that `wanted` is added to `present`. A range may be cut by one that is there, and its rest may be a single
 * address and port.
 */
export function* besides(
  wanted: RedirectSet,
  present: RedirectContent,
  budget = new EventLoopBudget(),
): Operation<RedirectContent> {
  const { exact, wide } = wanted.ranges.over(present.ranges).split();
  if (exact.length === 0) return { ports: wanted.ports, ranges: wide };
  const all = noPorts();
  const left = noPorts();
  addExact(left, exact);
  for (const { map } of VERSIONS) {
    const theirs = new Set<number>();
    yield* eachKey(wanted.ports[map], budget, i => all[map].take(wanted.ports[map], i));
    yield* eachKey(present.ports[map], budget, i => theirs.add(left[map].find(present.ports[map], i)));
    yield* eachKey(left[map], budget, i => {
      if (!theirs.has(i)) all[map].take(left[map], i);
    });
  }
  return { ports: all, ranges: wide };
}

/** The wanted redirects, and the present ones whose keys are not wanted. */
export function* withPresent(
  { ports, ranges }: RedirectContent,
  present: Ports,
  budget = new EventLoopBudget(),
): Operation<RedirectContent> {
  const both = noPorts();
  for (const { map } of VERSIONS) {
    const wanted = ports[map];
    const there = present[map];
    yield* eachKey(wanted, budget, i => both[map].copy(wanted, i));
    yield* eachKey(there, budget, i => {
      if (wanted.find(there, i) < 0) both[map].copy(there, i);
    });
  }
  return { ports: both, ranges };
}

/** The present redirects that are not among `named`. */
export function* withoutNamed(
  present: RedirectContent,
  named: RedirectContent,
  budget = new EventLoopBudget(),
): Operation<RedirectContent> {
  const left = noPorts();
  for (const { map } of VERSIONS) {
    const there = present.ports[map];
    yield* eachKey(there, budget, i => {
      if (named.ports[map].find(there, i) < 0) left[map].copy(there, i);
    });
  }
  return { ports: left, ranges: present.ranges.without(named.ranges) };
}

/** The present redirects that are among `named`. */
export function* namedIn(
  present: RedirectContent,
  named: RedirectContent,
  budget = new EventLoopBudget(),
): Operation<RedirectContent> {
  const found = noPorts();
  for (const { map } of VERSIONS) {
    const there = present.ports[map];
    yield* eachKey(there, budget, i => {
      if (named.ports[map].find(there, i) >= 0) found[map].copy(there, i);
    });
  }
  const left = present.ranges.without(named.ranges);
  return { ports: found, ranges: new Ranges([...present.ranges].filter(range => !left.has(keyOf(range)))) };
}

/** Compares redirects. */
export function* differencesOf(
  wanted: RedirectContent,
  present: RedirectContent,
  budget = new EventLoopBudget(),
): Operation<FoundDrift> {
  const drift: FoundDrift = { missing: [], different: [], unexpected: [], unlisted: 0 };
  for (const version of VERSIONS) {
    const mine = wanted.ports[version.map];
    const there = present.ports[version.map];
    const found = new Uint8Array(mine.length);
    const stays = yield* compare(budget, mine, there, (at, i) => {
      if (at < 0 && drift.unexpected.length >= MAX_UNEXPECTED) drift.unlisted++;
      else if (at < 0) drift.unexpected.push(redirectAt(version, there, i));
      else drift.different.push({ wanted: redirectAt(version, mine, at), found: redirectAt(version, there, i) });
      if (at >= 0) found[at] = 1;
    });
    yield* eachKey(mine, budget, i => {
      if (stays[i] === 0 && found[i] === 0) drift.missing.push(redirectAt(version, mine, i));
    });
  }
  const missing: Range[] = [];
  for (const range of wanted.ranges) {
    const other = present.ranges.get(keyOf(range));
    if (other === undefined) missing.push(range);
    else if (other.toPort !== range.toPort)
      drift.different.push({ wanted: rangeRedirect(range), found: rangeRedirect(other) });
  }
  drift.missing.push(...rangeRedirects(missing));
  drift.unexpected.push(...rangeRedirects([...present.ranges].filter(range => !wanted.ranges.has(keyOf(range)))));
  return drift;
}

/**
 * Returns 1 for each wanted key that is there with the right port. `differs` is called for each other key that is there, with the number of
 * the wanted key if only the port differs, else -1.
 */
function* compare(
  budget: EventLoopBudget,
  wanted: PortMap,
  there: PortMap,
  differs: (at: number, index: number) => void,
): Operation<Uint8Array> {
  const stays = new Uint8Array(wanted.length);
  yield* eachKey(there, budget, i => {
    const at = wanted.find(there, i);
    if (at >= 0 && wanted.portAt(at) === there.portAt(i)) stays[at] = 1;
    else differs(at, i);
  });
  return stays;
}

/** Creates the table, which must not be there, with its chains, sets, elements and rules. */
export function createRedirects(
  transaction: Transaction,
  { ports, ranges }: RedirectContent,
  settings: RedirectSettings = DEFAULT_SETTINGS,
): Transaction {
  const { tables, chains, sets, rules } = desiredTable(settings, ranges.sets);
  transaction.create({ table: tables[0]! });
  for (const chain of chains) transaction.add({ chain });
  for (const set of sets) {
    const version = VERSIONS.find(({ map }) => map === set.name);
    const filled = version === undefined ? set : { ...set, elements: packed(ports[version.map]) };
    transaction.add('data' in filled ? { map: filled } : { set: filled });
  }
  addRanges(transaction, [...ranges]);
  for (const rule of rules) transaction.add({ rule });
  return transaction;
}

/** Removes redirects. All of them must be there. */
export function removeRedirects(transaction: Transaction, { ports, ranges }: RedirectContent): Transaction {
  for (const version of VERSIONS) removeElements(transaction, version, ports[version.map]);
  removeRanges(transaction, [...ranges]);
  return transaction;
}

function addElements(transaction: Transaction, version: Version, ports: PortMap, verb: 'add' | 'create' = 'add'): void {
  if (ports.length > 0) transaction[verb]({ element: { ...elementPlace(version), elements: packed(ports) } });
}

export function removeElements(transaction: Transaction, version: Version, ports: PortMap): void {
  if (ports.length > 0) transaction.delete({ element: { ...elementPlace(version), elements: packed(ports) } });
}

const elementPlace = ({ map, key }: Version) => ({ ...PLACE, set: map, type: { key, data: DATA } }) as const;

/** Elements in the kernel's bytes. The types of a transaction do not have this form, which is not public. */
const packed = ({ length, keys, ports }: PortMap) => new PackedElements(length, keys, ports) as never;

function addRanges(transaction: Transaction, ranges: readonly Range[]): void {
  for (const element of rangeElements(ranges)) transaction.add({ element });
}

function removeRanges(transaction: Transaction, ranges: readonly Range[]): void {
  for (const element of rangeElements(ranges)) transaction.delete({ element });
}

/** The elements of ranges, one object for each set. */
function rangeElements(ranges: readonly Range[]) {
  if (ranges.length === 0) return [];
  return RANGE_SETS.flatMap(({ name, version: { key }, isMap }) => {
    const elements = ranges.filter(range => setOf(range) === name).map(elementOf);
    if (elements.length === 0) return [];
    const type = { key, flags: ['interval' as const], ...(isMap && { data: DATA }) };
    return [{ ...PLACE, set: name, type, elements }];
  });
}

/** Reads the keys of redirects. The result has no target ports. */
export function keysOf(redirects: readonly RedirectKey[]): RedirectContent {
  if (!Array.isArray(redirects)) throw typeError([], 'an array of redirects', redirects);
  const reader = new RedirectReader(redirects.length);
  for (let i = 0; i < redirects.length; i++) reader.take(redirects[i] as Redirect, i)?.add(0);
  const ranges = reader.ranges.map(range => ({ ...range, toPort: undefined }));
  return { ports: reader.ports, ranges: ranges.length === 0 ? NO_RANGES : new Ranges(ranges) };
}

function duplicate(redirect: Redirect, index: number, found: number, toPort: number): Error {
  const { protocol, address, port } = redirect;
  const expected = `${found}, as in an earlier redirect of ${address} ${protocol} ${singlePort(port)}`;
  return rangeError([index, 'toPort'], expected, toPort, 'ERR_DUPLICATE');
}

/** An exact redirect, as a caller would write it. */
function redirectAt({ length, format }: Version, ports: PortMap, index: number): Redirect {
  const { keys } = ports;
  const at = index * ports.keyLength;
  const protocol = PROTOCOLS[PROTOCOL_NUMBERS.indexOf(keys[at + length]!)]!;
  const port = keys[at + length + 4]! * 256 + keys[at + length + 5]!;
  const toPort = ports.portAt(index);
  const redirect = { protocol, address: format(keys, at), port };
  return toPort === port ? redirect : { ...redirect, toPort };
}

function rangeRedirect(range: Range): Redirect {
  const { protocol, from, to, toPort } = range;
  const port = from === to ? from : { from, to };
  return { protocol, address: addressOf(range), port, ...(toPort !== undefined && { toPort }) };
}

/** Ranges, as a caller would write them: any address of both versions is one redirect without `address`. */
function rangeRedirects(ranges: readonly Range[]): Redirect[] {
  const anyOf = ({ protocol, from, to, toPort }: Range) => `${protocol} ${from}-${to} ${toPort}`;
  const anySix = new Set(ranges.filter(({ prefix, version }) => prefix === 0 && version.map === 'ipv6').map(anyOf));
  const both = new Set(
    ranges
      .filter(range => range.prefix === 0 && range.version.map === 'ipv4')
      .map(anyOf)
      .filter(each => anySix.has(each)),
  );
  return ranges.flatMap(range => {
    if (range.prefix > 0 || !both.has(anyOf(range))) return [rangeRedirect(range)];
    const { address: _, ...redirect } = rangeRedirect(range);
    return range.version.map === 'ipv4' ? [redirect] : [];
  });
}

/** All redirects, as a caller would write them. */
export function* listOf({ ports, ranges }: RedirectContent, budget = new EventLoopBudget()): Operation<Redirect[]> {
  const list: Redirect[] = [];
  for (const version of VERSIONS)
    yield* eachKey(ports[version.map], budget, i => list.push(redirectAt(version, ports[version.map], i)));
  list.push(...rangeRedirects([...ranges]));
  return list;
}

export type { Redirect, RedirectKey } from './input.ts';
