import { isDeepStrictEqual } from 'node:util';
import { type Exchange, type Operation, syncAndAsync } from '../../netlink/index.ts';
import { NftablesOperations } from '../../nftables/nftables-operations.ts';
import { checkForce, type ForceOptions, retryWhileMoved } from '../owned/table.ts';
import { type LogDrift, type LogRule, LogSet } from './set.ts';
import { LogTable, type PresentLog } from './table.ts';

export type { LogDrift, LogRule } from './set.ts';

/** How a change of a container's log rules is made. */
export interface LoggingOptions extends ForceOptions {
  /** Ends the call between two requests. A change that was sent is not taken back: the promise tells its result. */
  signal?: AbortSignal;
}

const REPLACES = 'pass { force: true } to replace it';
const LIST_REMEDY = 'list({ force: true }) treats it as empty, adopt({ force: true }) replaces it';
const DIFFERENCES_REMEDY = 'differences(rules, { force: true }) reports it';

/**
 * A container's log rules, which send packets to NFLOG groups. They are in a table of their own, `inet netsteer-logging`, which the library
 * knows by its comment. The rules come before all filters, and do not decide about the packet.
 *
 * `set`, `add`, `remove` and `adopt` mend changes that others have made to the table, or throw.
 */
export class LoggingOperations {
  readonly #table: LogTable;

  constructor(exchange: Exchange, nft = new NftablesOperations(exchange)) {
    this.#table = new LogTable(exchange, nft);
  }

  /**
   * Makes these the container's only log rules, in this order. It commits nothing if they are there already.
   * @throws TypeError, RangeError with the place in the list
   * @throws StateError ERR_FOREIGN_TABLE somebody else has a table of that name, and `force` is not set
   * @example
   * await web1.logging.set([{ group: 5, prefix: 'web1 in ' }]);
   * @param rules the rules, in order
   * @param options `force` and `signal`
   */
  *set(rules: readonly LogRule[] | LogSet, options: LoggingOptions = {}): Operation<void> {
    checkForce(options);
    const wanted = wantedOf(rules);
    yield* retryWhileMoved(() => this.#table.set(wanted, options.force === true, REPLACES));
  }

  /**
   * Adds these rules behind the others, if they are not there yet. Rules of ours that somebody has changed are removed, because the library
   * does not know what they were.
   * @throws as `set`
   * @param rules the rules, in order
   * @param options `force` and `signal`
   * @example
   * await web1.logging.add([{ group: 6, prefix: 'web1 out ', hook: 'output' }]);
   */
  *add(rules: readonly LogRule[], options: LoggingOptions = {}): Operation<void> {
    checkForce(options);
    const wanted = wantedOf(rules);
    const table = this.#table;
    yield* retryWhileMoved(function* () {
      const found = yield* table.find(options.force === true, REPLACES);
      if (found === undefined) return yield* table.create(wanted.fresh);
      const there = new Set(found.rules.map(({ name }) => name));
      const more = wanted.wanted.filter(({ name }) => !there.has(name));
      yield* table.change(found, () => true, more);
    });
  }

  /**
   * Removes the rules that are equal to these, as they were given or as `list` gives them, if they are there.
   * @throws as `set`
   * @param rules the rules, as they were given or listed
   * @param options `force` and `signal`
   * @example
   * await web1.logging.remove([{ group: 6, prefix: 'web1 out ', hook: 'output' }]);
   */
  *remove(rules: readonly LogRule[], options: LoggingOptions = {}): Operation<void> {
    checkForce(options);
    const names = new Set<string | undefined>(wantedOf(rules).wanted.map(({ name }) => name));
    const table = this.#table;
    // The kernel keeps no rule as it was given: a list has the statements that its expressions stand for.
    const isNamed = ({ name, rule }: PresentLog) =>
      names.has(name) || rules.some(each => isDeepStrictEqual(each, rule));
    yield* retryWhileMoved(function* () {
      const found = yield* table.find(options.force === true, REPLACES);
      if (found !== undefined) yield* table.change(found, present => !isNamed(present), []);
    });
  }

  /**
   * Lists the rules, by hook. With `force`, the table of somebody else counts as empty.
   * @throws StateError ERR_FOREIGN_TABLE somebody else has a table of that name, and `force` is not set
   * @param options `force`
   * @example
   * for (const { group, prefix } of await web1.logging.list()) console.log(group, prefix);
   */
  *list(options: ForceOptions = {}): Operation<LogRule[]> {
    checkForce(options);
    const table = this.#table;
    return yield* retryWhileMoved(function* () {
      const found = yield* table.find(options.force === true, LIST_REMEDY);
      return (found?.rules ?? []).map(({ rule }) => rule);
    });
  }

  /**
   * Compares the table with what `set` would make of it: rules, and in `differences` everything else. It changes nothing.
   * @example
   * const { missing, unexpected, differences = [] } = await web1.logging.differences([{ group: 5, prefix: 'web1 ' }]);
   * @param rules the rules that are wanted, in order
   * @param options `force` and `signal`
   * @throws StateError ERR_FOREIGN_TABLE somebody else has a table of that name, and `force` is not set
   */
  *differences(rules: readonly LogRule[] | LogSet, options: LoggingOptions = {}): Operation<LogDrift> {
    checkForce(options);
    const wanted = wantedOf(rules);
    return yield* retryWhileMoved(() => this.#table.differences(wanted, options.force === true, DIFFERENCES_REMEDY));
  }

  /**
   * Takes over the rules of an earlier process, and returns them. It removes rules of others, and rules of ours that somebody has changed.
   * With `force`, the table of somebody else is replaced by an empty one of ours.
   * @throws StateError ERR_FOREIGN_TABLE somebody else has a table of that name, and `force` is not set
   * @param options `force` and `signal`
   * @example
   * const rules = await web1.logging.adopt();
   */
  *adopt(options: LoggingOptions = {}): Operation<LogRule[]> {
    checkForce(options);
    const table = this.#table;
    return yield* retryWhileMoved(function* () {
      const found = yield* table.find(options.force === true, REPLACES);
      if (found === undefined) return [];
      yield* table.change(found, () => true, []);
      return found.rules.filter(({ name }) => name !== undefined).map(({ rule }) => rule);
    });
  }

  /**
   * Removes the table with its chains and rules. With `force`, also the table of somebody else.
   * @param options `force`
   * @throws StateError ERR_FOREIGN_TABLE somebody else has a table of that name, and `force` is not set
   * @example
   * await web1.logging.release();
   */
  *release(options: ForceOptions = {}): Operation<void> {
    checkForce(options);
    yield* retryWhileMoved(() => this.#table.release(options.force === true, 'release({ force: true }) removes it'));
  }
}

/**
 * The log rules of one container, in both forms. They share the socket of its `nftables`.
 * @example
 * await web1.logging.set([{ group: 5, prefix: 'web1 ' }]);
 */
export class Logging extends syncAndAsync(LoggingOperations) {}

const wantedOf = (rules: readonly LogRule[] | LogSet): LogSet => (rules instanceof LogSet ? rules : new LogSet(rules));
