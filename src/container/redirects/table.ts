import { StateError } from '../../errors.ts';
import type { EventLoopBudget, Exchange, Operation } from '../../netlink/index.ts';
import { Transaction } from '../../nftables/index.ts';
import type { NftablesOperations } from '../../nftables/nftables.ts';
import type { OwnedDifference } from '../owned/difference.ts';
import { WantedTable } from '../owned/model.ts';
import { readContents, TableInquiry, type TableReading } from '../owned/reading.ts';
import {
  DEFAULT_SETTINGS,
  FAMILY,
  foreignTable,
  isClash,
  isMoved,
  nextGeneration,
  type RedirectSettings,
  settingsOf,
} from '../owned/table.ts';
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
/** The chain and the two maps that are always there. */
const LEAST_USE = 1 + EXACT.length;
/** Above so many elements that nobody wants, the table is made anew: a container's root may have put any number there. */
const MOST_STALE = 4096;
/** A transaction above so many bytes is not echoed: what is there is read. */
const MOST_ECHOED = 4096;
/** Another settings' table is seldom looked at: so many are remembered. */
const MOST_SHAPES = 32;

/** So many tables that were read are remembered: those of containers that were programmed alike are the same. */
const MOST_READ = 64;

/** What a table says of itself. */
interface Described {
  /** With which it was made; undefined where it is somebody else's. */
  readonly settings: RedirectSettings | undefined;
  /** The kernel's count of what is in it. */
  readonly use: number;
  readonly sets: ReadonlySet<string>;
}

/** The tables as they shall be, by what is wanted of them, and what those that were read say. All containers share them. */
export class RedirectShapes {
  readonly #tables = new Map<string, WantedTable>();
  readonly #read = new Map<string, Described>();
  #first: TableInquiry | undefined;
  #rest: TableInquiry | undefined;

  of(settings: RedirectSettings, ranges: ReadonlySet<RangeSetName>): WantedTable {
    const key = `${settings.priority} ${settings.output} ${[...ranges].sort()}`;
    let table = this.#tables.get(key);
    if (table === undefined) {
      if (this.#tables.size === MOST_SHAPES) this.#tables.clear();
      table = new WantedTable(desiredTable(settings, ranges));
      this.#tables.set(key, table);
    }
    return table;
  }

  /** Nothing is decoded where one like it was read before. */
  describe(reading: TableReading): Described {
    const { text } = reading;
    let described = this.#read.get(text);
    if (described === undefined) {
      if (this.#read.size === MOST_READ) this.#read.clear();
      const { comment, use = 0 } = reading.entry!;
      described = { settings: settingsOf(comment), use, sets: new Set(reading.sets.map(({ name }) => name)) };
      this.#read.set(text, described);
    }
    return described;
  }

  /** What is always there. */
  get first(): TableInquiry {
    this.#first ??= new TableInquiry({ table: REDIRECTS, chains: [PREROUTING], sets: EXACT });
    return this.#first;
  }

  /** What may be there besides. */
  get rest(): TableInquiry {
    const sets = RANGE_SETS.map(({ name }) => name);
    this.#rest ??= new TableInquiry({ table: REDIRECTS, chains: [OUTPUT], sets }, { rules: false });
    return this.#rest;
  }
}

/** What has to be asked of nobody. */
// biome-ignore lint/correctness/useYield: nothing to wait for, as others have
export function* settled<T>(value: T): Operation<T> {
  return value;
}

/** What was found of our table. */
export interface Found {
  readonly reading: TableReading;
  /** With which it was made. */
  readonly settings: RedirectSettings;
  readonly elements: ElementReading;
  /** It is somebody else's, and shall be replaced: nothing of it counts. */
  readonly foreign: boolean;
}

/** What a verb makes of what is there. */
export interface Change {
  readonly settings: RedirectSettings;
  /** The ranges that shall be there then. */
  readonly ranges: Ranges;
  /** All that shall be there then. */
  content(): Operation<RedirectContent>;
  /** How many of the elements that are there go. */
  readonly stale: number;
  /** Writes what differs. */
  write(transaction: Transaction): Operation<Transaction>;
}

/**
 * The table of a container's redirects, which is read and brought to what is wanted of it: each method is one attempt, and throws Stale, or the kernel's
 * ERESTART, where others have committed meanwhile.
 */
export class RedirectTable {
  readonly #exchange: Exchange;
  readonly #nft: NftablesOperations;
  readonly #shapes: RedirectShapes;
  /** At this generation all of the table was as wanted. */
  #good: number | undefined;
  /** The generation that was read last. */
  #seen = 0;

  constructor(exchange: Exchange, nft: NftablesOperations, shapes = new RedirectShapes()) {
    this.#exchange = exchange;
    this.#nft = nft;
    this.#shapes = shapes;
  }

  get good(): number | undefined {
    return this.#good;
  }

  /** Lets the event loop run between two pieces of work. */
  get budget(): EventLoopBudget {
    return this.#exchange.budget;
  }

  /** Makes these the redirects, and no others. */
  *set(wanted: RedirectSet, force: boolean, remedy: string): Operation<void> {
    const found = yield* this.find(force, remedy, wanted.length + MOST_STALE);
    if (found === undefined) return yield* this.create(wanted.fresh);
    yield* this.bring(found, {
      settings: wanted.settings,
      ranges: wanted.ranges,
      content: () => settled(wanted),
      stale: found.elements.length - wanted.length,
      write: transaction => changeRedirects(transaction, wanted, found.elements, true, this.#exchange.budget),
    });
  }

  /**
   * Adds what is wanted without a look, where all is known to be as wanted: the kernel refuses the commit if anything has changed since. False where it
   * has, and where one of them leads elsewhere.
   */
  *addAtOnce(wanted: RedirectSet): Operation<boolean> {
    const known = this.#good;
    if (known === undefined || wanted.length === 0) return false;
    // What is created was not there, and so makes the next generation.
    const done = yield* this.#commitAtOnce(wanted.addAll(new Transaction(), 'create'));
    if (done !== 'clash') return done === 'done';
    const transaction = wanted.addAll(new Transaction());
    if (transaction.encode().length > MOST_ECHOED) return false;
    this.#good = known;
    // If all are there already, nothing changes: the kernel tells the generation with its echo.
    return (yield* this.#commitAtOnce(transaction, true)) === 'done';
  }

  /** Removes what is named without a look, where all is known to be as wanted. False where anything has changed since, and where one of them is not there. */
  *removeAtOnce(named: RedirectContent): Operation<boolean> {
    const transaction = removeRedirects(new Transaction(), named);
    return transaction.length > 0 && (yield* this.#commitAtOnce(transaction)) === 'done';
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

  /** All that is there; undefined where there is no table. Elements are not read where the kernel says that there are more than `most`. */
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
    if (use > LEAST_USE) {
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

  /** Commits what is not there yet, as far as was read. */
  *create(fresh: Transaction): Operation<void> {
    const generation = this.#seen;
    this.#good = undefined;
    yield* this.#nft.commit(fresh, { generation });
    this.#good = nextGeneration(generation);
  }

  *bring({ reading, elements, foreign }: Found, change: Change): Operation<void> {
    const { generation } = reading;
    const { settings, ranges } = change;
    const damaged = foreign || elements.foreignCount > 0 || elements.beyond > 0 || change.stale > MOST_STALE;
    let transaction = new Transaction();
    if (damaged || !this.#shapes.of(settings, ranges.sets).isAsWanted(reading)) {
      // It is made anew, in one transaction: then all of it is as it should be, whatever was done to it.
      createRedirects(transaction.delete({ table: TABLE }), yield* change.content(), settings);
    } else {
      transaction = yield* change.write(transaction);
    }
    this.#good = undefined;
    // The kernel goes through all elements of a map that it removes.
    this.#exchange.heavy = elements.length + elements.foreignCount + elements.beyond > MOST_STALE;
    if (transaction.length > 0) yield* this.#nft.commit(transaction, { generation });
    this.#exchange.heavy = false;
    this.#good = transaction.length > 0 ? nextGeneration(generation) : generation;
  }

  *listed(elements: ElementReading): Operation<Redirect[]> {
    if (elements.beyond > 0)
      throw new StateError(
        'ERR_TOO_MANY',
        `the table ${FAMILY} ${REDIRECTS} has more elements than are read: set replaces them`,
      );
    return yield* listOf(elements, this.#exchange.budget);
  }

  /** How it differs from what `set` would make of it. */
  *differences(wanted: RedirectSet, force: boolean, remedy: string): Operation<RedirectDrift> {
    const found = yield* this.find(force, remedy);
    const present = found === undefined || found.foreign ? new RedirectSet([]) : found.elements;
    const { untold, ...drift } = yield* differencesOf(wanted, present, this.#exchange.budget);
    const differences = yield* this.#otherDifferences(wanted, found, untold);
    return differences.length === 0 ? drift : { ...drift, differences };
  }

  *#otherDifferences(wanted: RedirectSet, found: Found | undefined, unexpected: number): Operation<OwnedDifference[]> {
    const place = { family: FAMILY, table: REDIRECTS } as const;
    if (found === undefined) {
      // A container without redirects is as wanted without the table, too, but nobody has programmed it.
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
    const untold = elements.foreignCount - elements.foreign.length + elements.beyond + unexpected;
    if (untold > 0) list.push({ ...place, kind: 'more', problem: 'foreign', what: 'elements', count: untold });
    list.push(...(yield* foreignBefore(this.#exchange, wanted.settings)));
    return list;
  }

  *release(force: boolean, remedy: string): Operation<void> {
    const reading = yield* this.#shapes.first.read(this.#exchange);
    if (!reading.exists) return;
    if (!force && settingsOf(reading.entry!.comment) === undefined) throw foreignTable(REDIRECTS, remedy);
    this.#good = undefined;
    this.#exchange.heavy = reading.sets.some(({ count }) => count === undefined || count > MOST_STALE);
    yield* this.#nft.commit(new Transaction().delete({ table: TABLE }), { generation: reading.generation });
  }
}
