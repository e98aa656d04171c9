import { countFlows } from '../../conntrack/requests.ts';
import { isNotFound, StateError, UnsupportedError } from '../../errors.ts';
import type { EventLoopBudget, Exchange, Operation } from '../../netlink/index.ts';
import { Disturbed, isMoved } from '../../netlink/retry.ts';
import { Transaction } from '../../nftables/index.ts';
import type { NftablesOperations } from '../../nftables/nftables-operations.ts';
import type { OwnedDifference } from '../owned/difference.ts';
import { WantedTable } from '../owned/model.ts';
import { readContents, TableInquiry, type TableReading } from '../owned/reading.ts';
import {
  DEFAULT_SETTINGS,
  FAMILY,
  foreignTable,
  isClash,
  nextGeneration,
  type RedirectSettings,
  settingsOf,
} from '../owned/table.ts';
import type { StaleConnections } from './connections.ts';
import type { Redirect } from './input.ts';
import { CHAINS, desiredTable, RANGE_SETS, type RangeSetName, REDIRECTS, TABLE, VERSIONS } from './maps.ts';
import { foreignBefore } from './order.ts';
import type { Ranges } from './ranges.ts';
import { ElementReading } from './reading.ts';
import {
  changeRedirects,
  createRedirects,
  differencesOf,
  listOf,
  type RedirectContent,
  type RedirectDrift,
  RedirectSet,
  removeRedirects,
} from './set.ts';

const [PREROUTING, OUTPUT] = CHAINS;
const EXACT = VERSIONS.map(({ map }) => map);
/** The kernel's count of objects in a table that has only the chain and the two maps that are always there. */
const MIN_USE = 1 + EXACT.length;
/** With more unwanted elements than this the table is made anew: a container's root may have added any number. */
const MAX_STALE = 4096;
/** A larger transaction, in bytes, is not sent with the echo flag: the table is read instead. */
const MAX_ECHOED = 4096;
/** The old ports of up to this many keys are asked for by these keys. For more keys the whole map is read. */
const MAX_ASKED = 64;
/** How many wanted tables are remembered, one for each combination of settings and sets. */
const MAX_SHAPES = 32;
/** How many texts of tables are remembered. Containers with the same state have the same text. */
const MAX_READ = 64;

/** The facts about a table that follow from its text. */
interface Described {
  /** The settings that it was made with; undefined if it is somebody else's. */
  readonly settings: RedirectSettings | undefined;
  /** The kernel's count of its chains, sets and other objects. */
  readonly use: number;
  readonly sets: ReadonlySet<string>;
}

/** Caches that all containers of a fleet share: wanted tables by settings, and facts about tables by their text. */
export class RedirectShapes {
  readonly #tables = new Map<string, WantedTable>();
  readonly #read = new Map<string, Described>();
  #first: TableInquiry | undefined;
  #rest: TableInquiry | undefined;

  of(settings: RedirectSettings, ranges: ReadonlySet<RangeSetName>): WantedTable {
    const key = `${settings.priority} ${settings.output} ${[...ranges].sort()}`;
    let table = this.#tables.get(key);
    if (table === undefined) {
      if (this.#tables.size === MAX_SHAPES) this.#tables.clear();
      table = new WantedTable(desiredTable(settings, ranges));
      this.#tables.set(key, table);
    }
    return table;
  }

  /** The facts about a table. It is not decoded if an equal one was read before. */
  describe(reading: TableReading): Described {
    const { text } = reading;
    let described = this.#read.get(text);
    if (described === undefined) {
      if (this.#read.size === MAX_READ) this.#read.clear();
      const { comment, use = 0 } = reading.entry!;
      described = { settings: settingsOf(comment), use, sets: new Set(reading.sets.map(({ name }) => name)) };
      this.#read.set(text, described);
    }
    return described;
  }

  /** Asks for the objects that such a table always has. */
  get first(): TableInquiry {
    this.#first ??= new TableInquiry({ table: REDIRECTS, chains: [PREROUTING], sets: EXACT });
    return this.#first;
  }

  /** Asks for the objects that it may have besides. */
  get rest(): TableInquiry {
    const sets = RANGE_SETS.map(({ name }) => name);
    this.#rest ??= new TableInquiry({ table: REDIRECTS, chains: [OUTPUT], sets }, { rules: false });
    return this.#rest;
  }
}

/** An operation that has its result at once. */
// biome-ignore lint/correctness/useYield: it takes the place of operations that wait
export function* settled<T>(value: T): Operation<T> {
  return value;
}

/** The table, as it was read. */
export interface Found {
  readonly reading: TableReading;
  /** The settings that it was made with. */
  readonly settings: RedirectSettings;
  readonly elements: ElementReading;
  /** The table is somebody else's and is to be replaced. */
  readonly foreign: boolean;
}

/** A change of the table. */
export interface Change {
  /** The settings after the change. */
  readonly settings: RedirectSettings;
  /** The ranges after the change. */
  readonly ranges: Ranges;
  /** All redirects after the change, for a table that has to be made anew. */
  content(): Operation<RedirectContent>;
  /** How many elements the change removes. */
  readonly stale: number;
  /** Writes the differences to a transaction, and notes them in `connections`. */
  write(transaction: Transaction): Operation<Transaction>;
  /** The connections that end after the commit. */
  readonly connections: StaleConnections;
}

/**
 * Reads the table of a container's redirects and brings it to the wanted state. Each method is one attempt: it throws Disturbed, or the
 * kernel's ERESTART, if others have committed meanwhile.
 */
export class RedirectTable {
  readonly #exchange: Exchange;
  readonly #nft: NftablesOperations;
  readonly #shapes: RedirectShapes;
  /** The generation at which the table was as wanted. */
  #good: number | undefined;
  /** The generation of the last reading. */
  #seen = 0;

  constructor(exchange: Exchange, nft: NftablesOperations, shapes = new RedirectShapes()) {
    this.#exchange = exchange;
    this.#nft = nft;
    this.#shapes = shapes;
  }

  get good(): number | undefined {
    return this.#good;
  }

  /** Work that is divided yields this between two pieces, to let the event loop run. */
  get budget(): EventLoopBudget {
    return this.#exchange.budget;
  }

  /** Makes these the only redirects. */
  *set(wanted: RedirectSet, force: boolean, remedy: string, connections: StaleConnections): Operation<void> {
    const found = yield* this.find(force, remedy, wanted.length + MAX_STALE);
    if (found === undefined) return yield* this.create(wanted, connections);
    yield* this.bring(found, {
      settings: wanted.settings,
      ranges: wanted.ranges,
      content: () => settled(wanted),
      stale: found.elements.length - wanted.length,
      write: transaction => changeRedirects(transaction, wanted, found.elements, true, this.budget, connections),
      connections,
    });
  }

  /**
   * Adds redirects without reading the table, if it is known to be right. The commit is bound to the generation at which it was right, so
   * the kernel refuses it if anything has changed since. False if it was refused, or if one of the redirects has another target there.
   */
  *addAtOnce(wanted: RedirectSet, connections: StaleConnections): Operation<boolean> {
    const known = this.#good;
    if (known === undefined || wanted.length === 0) return false;
    // 'create' succeeds only if none of them was there, so it makes the next generation.
    let done = yield* this.#commitAtOnce(wanted.addAll(new Transaction(), 'create'));
    if (done === 'clash') {
      const transaction = wanted.addAll(new Transaction());
      if (transaction.encode().length > MAX_ECHOED) return false;
      this.#good = known;
      // If all are there already, the generation stays. The kernel's echo tells which it is.
      done = yield* this.#commitAtOnce(transaction, true);
    }
    if (done !== 'done') return false;
    if (this.#good !== known) {
      yield* connections.noteAllMade(wanted, this.budget);
      yield* connections.end(this.#exchange);
    }
    return true;
  }

  /** Removes redirects without reading the table, if it is known to be right. False if it has changed, or one of them is not there. */
  *removeAtOnce(named: RedirectContent, connections: StaleConnections): Operation<boolean> {
    const transaction = removeRedirects(new Transaction(), named);
    if (transaction.length === 0 || this.#good === undefined) return false;
    if (connections.concern(named.ports) && !(yield* this.#noteNamed(named, connections))) return false;
    if ((yield* this.#commitAtOnce(transaction)) !== 'done') return false;
    yield* connections.end(this.#exchange);
    return true;
  }

  /** Notes the ports that these keys lead to: connections show them. False if the whole table has to be read for it. */
  *#noteNamed({ ports }: RedirectContent, connections: StaleConnections): Operation<boolean> {
    if (!(yield* this.#hasConnections())) return true;
    if (ports.ipv4.length + ports.ipv6.length > MAX_ASKED) return false;
    const elements = new ElementReading();
    try {
      for (const version of VERSIONS) yield* elements.readKeys(this.#exchange, version, ports[version.map]);
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
    yield* connections.noteAllGone(elements, this.budget);
    return true;
  }

  /** Whether there can be connections to end. If the kernel cannot say, `StaleConnections` reports it after the commit. */
  *#hasConnections(): Operation<boolean> {
    try {
      return (yield* countFlows(this.#exchange)) > 0;
    } catch (error) {
      if (error instanceof UnsupportedError) return true;
      throw error;
    }
  }

  *#commitAtOnce(transaction: Transaction, echo = false): Operation<'done' | 'moved' | 'clash'> {
    const generation = this.#good;
    if (generation === undefined) return 'moved';
    this.#good = undefined;
    try {
      const result = yield* this.#nft.commit(transaction, { generation, echo });
      this.#good = echo ? result?.generation : nextGeneration(generation);
      return 'done';
    } catch (error) {
      if (isMoved(error)) return 'moved';
      if (isClash(error)) return 'clash';
      throw error;
    }
  }

  /** Reads the table; undefined if there is none. Elements are not read if the kernel says that there are more than `most`. */
  *find(force: boolean, remedy: string, most = Number.POSITIVE_INFINITY): Operation<Found | undefined> {
    const reading = yield* this.#shapes.first.read(this.#exchange);
    this.#seen = reading.generation;
    if (!reading.exists) return undefined;
    let { settings, use, sets } = this.#shapes.describe(reading);
    const elements = new ElementReading();
    if (settings === undefined) {
      if (!force) throw foreignTable(REDIRECTS, remedy);
      return { reading, settings: DEFAULT_SETTINGS, elements, foreign: true };
    }
    if (use > MIN_USE) {
      reading.join(yield* this.#shapes.rest.read(this.#exchange));
      ({ sets } = this.#shapes.describe(reading));
    }
    const { counts } = reading;
    const count = [...counts.values()].reduce((sum, each) => sum + each, 0);
    const filled = new Set([...sets].filter(name => counts.get(name) !== 0));
    if (count > most) elements.beyond = count;
    else yield* elements.read(this.#exchange, reading.generation, filled);
    return { reading, settings, elements, foreign: false };
  }

  /** Commits the whole table, bound to the generation at which it was not there. */
  *create(wanted: RedirectSet, connections: StaleConnections): Operation<void> {
    const generation = this.#seen;
    this.#good = undefined;
    yield* this.#nft.commit(wanted.fresh, { generation });
    this.#good = nextGeneration(generation);
    yield* connections.noteAllMade(wanted, this.budget);
    yield* connections.end(this.#exchange);
  }

  /** Carries out a change, and mends everything else of the table that is not as wanted. */
  *bring({ reading, elements, foreign, settings: found }: Found, change: Change): Operation<void> {
    const { generation } = reading;
    const { settings, ranges, connections } = change;
    const damaged = foreign || elements.foreignCount > 0 || elements.beyond > 0 || change.stale > MAX_STALE;
    let transaction = new Transaction();
    if (damaged || !this.#shapes.of(settings, ranges.sets).isAsWanted(reading)) {
      // The table is made anew in one transaction, whatever was changed.
      createRedirects(transaction.delete({ table: TABLE }), yield* change.content(), settings);
      // Notes what changes for connections: it is what would be written to an intact table.
      if (!connections.keepsAll) yield* change.write(new Transaction());
    } else {
      transaction = yield* change.write(transaction);
    }
    this.#good = undefined;
    // The kernel goes through all elements of a map that it removes.
    this.#exchange.heavy = elements.length + elements.foreignCount + elements.beyond > MAX_STALE;
    if (transaction.length > 0) yield* this.#nft.commit(transaction, { generation });
    this.#exchange.heavy = false;
    this.#good = transaction.length > 0 ? nextGeneration(generation) : generation;
    if (transaction.length === 0) return;
    connections.noteRanges(elements.ranges, ranges);
    connections.noteOutput(found.output, settings.output);
    connections.notePresent(elements.ports);
    yield* connections.end(this.#exchange);
  }

  /** The redirects as a list. @throws StateError ERR_TOO_MANY */
  *listed(elements: ElementReading): Operation<Redirect[]> {
    if (elements.beyond > 0)
      throw new StateError(
        'ERR_TOO_MANY',
        `the table ${FAMILY} ${REDIRECTS} has more elements than are read; redirects.set() replaces them`,
      );
    return yield* listOf(elements, this.#exchange.budget);
  }

  /** Compares the table with what `set` would make of it. */
  *differences(wanted: RedirectSet, force: boolean, remedy: string): Operation<RedirectDrift> {
    const found = yield* this.find(force, remedy);
    const present = found === undefined || found.foreign ? new RedirectSet([]) : found.elements;
    const { unlisted, ...drift } = yield* differencesOf(wanted, present, this.#exchange.budget);
    const differences = yield* this.#otherDifferences(wanted, found, unlisted);
    return differences.length === 0 ? drift : { ...drift, differences };
  }

  *#otherDifferences(wanted: RedirectSet, found: Found | undefined, unexpected: number): Operation<OwnedDifference[]> {
    const place = { family: FAMILY, table: REDIRECTS } as const;
    if (found === undefined) {
      // The table is missed even if no redirects are wanted: without it the container was not programmed.
      const { tables } = desiredTable(wanted.settings, new Set());
      return [{ ...place, kind: 'table', problem: 'missing', expected: { comment: tables[0]!.comment! } }];
    }
    const { reading, elements, foreign } = found;
    if (foreign) {
      const { comment } = reading.entry!;
      return [{ ...place, kind: 'table', problem: 'foreign', found: comment === undefined ? {} : { comment } }];
    }
    const table = this.#shapes.of(wanted.settings, wanted.ranges.sets);
    const list = table.isAsWanted(reading)
      ? []
      : table.differences(reading, [], yield* readContents(this.#exchange, REDIRECTS));
    for (const each of elements.foreign) list.push({ ...place, kind: 'element', problem: 'foreign', ...each });
    const unlisted = elements.foreignCount - elements.foreign.length + elements.beyond + unexpected;
    if (unlisted > 0) list.push({ ...place, kind: 'more', problem: 'foreign', what: 'elements', count: unlisted });
    list.push(...(yield* foreignBefore(this.#exchange, wanted.settings)));
    return list;
  }

  *release(force: boolean, remedy: string, connections: StaleConnections): Operation<void> {
    const reading = yield* this.#shapes.first.read(this.#exchange);
    if (!reading.exists) return;
    if (!force && settingsOf(reading.entry!.comment) === undefined) throw foreignTable(REDIRECTS, remedy);
    const filled = reading.sets.some(({ count }) => count !== 0) || (reading.entry!.use ?? 0) > MIN_USE;
    const read = filled ? yield* this.noteAllGone(connections) : undefined;
    if (read !== undefined && read !== reading.generation) throw new Disturbed();
    this.#good = undefined;
    this.#exchange.heavy = reading.sets.some(({ count }) => count === undefined || count > MAX_STALE);
    yield* this.#nft.commit(new Transaction().delete({ table: TABLE }), { generation: reading.generation });
    yield* connections.end(this.#exchange);
  }

  /**
   * Notes which connections end when the table is removed. Nothing is read if the namespace has no connections.
   * @returns the generation that was read; undefined if nothing was
   */
  *noteAllGone(connections: StaleConnections): Operation<number | undefined> {
    if (connections.keepsAll || !(yield* this.#hasConnections())) return undefined;
    const found = yield* this.find(true, '');
    if (found === undefined) return undefined;
    yield* connections.noteAllGone(found.elements, this.budget);
    return found.reading.generation;
  }
}
