import { type Exchange, type Operation, syncAndAsync } from '../../netlink/index.ts';
import { NftablesOperations } from '../../nftables/nftables.ts';
import { checkForce, type ForceOptions, retryWhileMoved } from '../owned/table.ts';
import { type LogDrift, type LogRule, LogSet } from './set.ts';
import { LogTable } from './table.ts';

export type { LogDrift, LogRule } from './set.ts';

/** How a change of a container's log rules is made. */
export interface LoggingOptions extends ForceOptions {
  /** Acts before the send, and between reads; once bytes are in the kernel the promise says what became of them. */
  signal?: AbortSignal;
}

const REPLACES = 'pass { force: true } to replace it by one of ours';
const LIST_REMEDY = 'list({ force: true }) takes it for empty, adopt({ force: true }) replaces it';
const DIFFERENCES_REMEDY = 'differences(rules, { force: true }) tells it as a difference';

/**
 * A container's packet logs: rules that hand packets to NFLOG groups, in a table of their own, `inet netsteer-logging`, known by its comment.
 * A rule stands before anything is filtered, and decides nothing about the packet.
 *
 * After `set`, `add`, `remove` and `adopt` all of the table is as wanted, whoever has changed it, or there is an error.
 */
export class LoggingOperations {
  readonly #table: LogTable;

  constructor(exchange: Exchange, nft = new NftablesOperations(exchange)) {
    this.#table = new LogTable(exchange, nft);
  }

  /**
   * Makes these the container's log rules, in this order, and no others; nothing is touched where they are so already.
   * @throws TypeError, RangeError with the place in the list
   * @throws StateError ERR_FOREIGN_TABLE somebody else has a table of that name, and `force` is not said
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
   * Makes sure that these are there, behind the others. Of those, what somebody has changed is removed: nobody knows any more what it was.
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
   * Makes sure that these are not there: rules that say the same. @throws as `set`
   * @param rules the rules, as they were given
   * @param options `force` and `signal`
   * @example
   * await web1.logging.remove([{ group: 6, prefix: 'web1 out ', hook: 'output' }]);
   */
  *remove(rules: readonly LogRule[], options: LoggingOptions = {}): Operation<void> {
    checkForce(options);
    const names = new Set<string | undefined>(wantedOf(rules).wanted.map(({ name }) => name));
    const table = this.#table;
    yield* retryWhileMoved(function* () {
      const found = yield* table.find(options.force === true, REPLACES);
      if (found !== undefined) yield* table.change(found, ({ name }) => !names.has(name), []);
    });
  }

  /**
   * The rules that are there, by hook. With `force`, a table that is somebody else's has none. @throws StateError ERR_FOREIGN_TABLE
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
   * How the table differs from what `set` would make of it: rules, and in `differences` all else. Changes nothing.
   * @example
   * const { missing, unexpected, differences = [] } = await web1.logging.differences([{ group: 5, prefix: 'web1 ' }]);
   * @param rules the rules that are wanted, in order
   * @param options `force` and `signal`
   * @throws StateError ERR_FOREIGN_TABLE somebody else has a table of that name, and `force` is not said
   */
  *differences(rules: readonly LogRule[] | LogSet, options: LoggingOptions = {}): Operation<LogDrift> {
    checkForce(options);
    const wanted = wantedOf(rules);
    return yield* retryWhileMoved(() => this.#table.differences(wanted, options.force === true, DIFFERENCES_REMEDY));
  }

  /**
   * Takes over what an earlier process has left, and returns it. What somebody has put there is removed, and so are rules that somebody has
   * changed. With `force`, a table of that name that is somebody else's is replaced by an empty one of ours.
   * @throws StateError ERR_FOREIGN_TABLE somebody else has a table of that name, and `force` is not said
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
   * Removes all of it: rules, chains and table. With `force`, a table of that name whoever made it.
   * @param options `force`
   * @throws StateError ERR_FOREIGN_TABLE somebody else has a table of that name, and `force` is not said
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
