import { isNotFound, type StateError } from '../../errors.ts';
import type { Exchange, Message, Operation } from '../../netlink/index.ts';
import { runAway } from '../../netlink/operation.ts';
import type { NetNs } from '../../netns/index.ts';
import { familyNumber } from '../../nf_tables/family.ts';
import { MESSAGES, readObject } from '../../nf_tables/message.ts';
import type { RuleEntry } from '../../nf_tables/rule.ts';
import { XT_LAYOUTS } from '../../nf_tables/xt/layouts.ts';
import { openExchange } from '../../nftables/nftables.ts';
import { readGeneration, requestFor } from '../../nftables/request.ts';
import type { Observer } from '../../observe.ts';
import { FAMILY } from '../owned/table.ts';
import { COMMENT_MARK } from './comment.ts';
import { LoggingOperations } from './logging.ts';
import { HOOKS, LOGGING, type LogRule } from './set.ts';
import { logRuleIn } from './table.ts';

/** The rules are read at most once in this time, and readings take at most one part in SHARE of the time. */
const READ_EVERY_MILLISECONDS = 1000;
const SHARE = 10;
/** A reading that takes longer goes on in parts, and lets the event loop run. */
const AT_ONCE_MILLISECONDS = 2;
/** How many rules are read: a container's root can write any number of rules into our chains. */
const MAX_RULES = 4096;

interface Known {
  /** The only rule with this prefix and group; undefined if there are several. */
  entry: RuleEntry | undefined;
  /** The rule as it was given, decompiled when the first packet asks for it. */
  rule?: LogRule;
}

interface Reading {
  generation: number;
  rules: Map<string, Known>;
  /** The number of rules with our mark beyond MAX_RULES. */
  ignored: number;
}

const keyOf = (prefix: string, group: number): string => `${group} ${prefix}`;

/**
 * The log rules of one container, for the packets that they log. A look-up never waits for the kernel. If the rules were read a while ago,
 * it starts a new reading that ends later. The reading has its own socket, so the container's other handles do not wait for it. It reads
 * only the chains of our table, and of each rule only its mark, its group and its prefix.
 */
export class KnownLogRules {
  readonly #netns: NetNs;
  readonly #observer: Observer;
  #rules: Map<string, Known> = new Map();
  #generation: number | undefined;
  #reading = false;
  /** The rules were changed during the reading, so they have to be read once more. */
  #stale = false;
  #notBefore = 0;
  #closed = false;

  constructor(netns: NetNs, observer: Observer) {
    this.#netns = netns;
    this.#observer = observer;
  }

  /** The rule with this prefix and group; undefined if none is known or there are several. */
  ruleOf(prefix: string, group: number): LogRule | undefined {
    if (!this.#reading && performance.now() >= this.#notBefore) this.#readLater();
    const known = this.#rules.get(keyOf(prefix, group));
    if (known?.entry === undefined) return undefined;
    known.rule ??= logRuleIn(known.entry).rule;
    return known.rule;
  }

  /** Reads the rules now. For the first reading, and after a change by this process. */
  refresh(): void {
    if (this.#reading) this.#stale = true;
    else void this.#read();
  }

  close(): void {
    this.#closed = true;
  }

  #readLater(): void {
    this.#reading = true;
    setImmediate(() => void this.#read());
  }

  /** Done when this returns if there are few rules. */
  async #read(): Promise<void> {
    this.#reading = true;
    this.#stale = false;
    const begun = performance.now();
    try {
      if (!this.#closed) await this.#readOnce(begun);
    } catch {
      // A process that has given up its rights, or that the kernel refuses, goes on with the rules that it knows.
    }
    const now = performance.now();
    this.#notBefore = now + Math.max(READ_EVERY_MILLISECONDS, SHARE * (now - begun));
    this.#reading = false;
    if (this.#stale && !this.#closed) this.#readLater();
  }

  async #readOnce(begun: number): Promise<void> {
    const exchange = openExchange({ netns: this.#netns });
    try {
      const reading = readLogRules(exchange, this.#generation);
      let state = reading.next();
      while (!state.done && performance.now() - begun < AT_ONCE_MILLISECONDS) state = reading.next(state.value.now());
      const found = state.done ? state.value : await runAway(reading, state);
      if (found !== undefined) this.#take(found);
    } finally {
      void exchange.transport.close();
    }
  }

  #take({ generation, rules, ignored }: Reading): void {
    this.#generation = generation;
    this.#rules = rules;
    if (ignored > 0) {
      this.#observer.warn(
        { netns: this.#netns.inode, rules: rules.size, ignored },
        'the table of log rules has more rules than are read: packets of the others have no `rule`',
      );
    }
  }
}

/** Reads the log rules; undefined if the ruleset is still of the generation `known`. */
function* readLogRules(exchange: Exchange, known: number | undefined): Operation<Reading | undefined> {
  exchange.operation = 'logging.rules';
  const generation = yield* readGeneration(exchange);
  if (generation === known) return undefined;
  const reading: Reading = { generation, rules: new Map(), ignored: 0 };
  let looked = 0;
  for (const chain of HOOKS) {
    const request = requestFor('getrule', familyNumber(FAMILY, []), { table: LOGGING, chain });
    try {
      // A dump that is repeated gives the same rules again: their handles tell.
      const seen = new Set<bigint>();
      yield* exchange.dump(request, message => {
        if (message.type !== MESSAGES.newrule.number || !isMarked(message)) return;
        if (looked === MAX_RULES) {
          reading.ignored++;
          return;
        }
        looked++;
        const entry = readObject('newrule', message, XT_LAYOUTS);
        if (seen.has(entry.handle)) return;
        seen.add(entry.handle);
        add(reading.rules, entry);
      });
    } catch (error) {
      // Without a table or chain there are no rules. If the chain changes all the time, the rules that were read are used.
      if ((error as StateError).code === 'ERR_DUMP_INTERRUPTED') reading.generation = 0;
      else if (!isNotFound(error)) throw error;
    }
  }
  return reading;
}

/** Whether the message has our mark. Only such a rule is decoded; a mark elsewhere than in the comment does no harm. */
function isMarked({ source, payload, end }: Message): boolean {
  return Buffer.from(source.bytes.buffer, source.bytes.byteOffset + payload, end - payload).includes(COMMENT_MARK);
}

function add(rules: Map<string, Known>, entry: RuleEntry): void {
  for (const expression of entry.expressions) {
    if (!('log' in expression)) continue;
    const { group, prefix } = expression.log as { group?: number; prefix?: string };
    const key = keyOf(typeof prefix === 'string' ? prefix : '', group ?? 0);
    rules.set(key, { entry: rules.has(key) ? undefined : entry });
  }
}

/** The operations on a container's log rules, which call `changed` after each change. */
export class WatchedLogging extends LoggingOperations {
  readonly #changed: () => void;

  constructor(exchange: Exchange, changed: () => void) {
    super(exchange);
    this.#changed = changed;
  }

  override *set(...parameters: Parameters<LoggingOperations['set']>): Operation<void> {
    yield* super.set(...parameters);
    this.#changed();
  }
  override *add(...parameters: Parameters<LoggingOperations['add']>): Operation<void> {
    yield* super.add(...parameters);
    this.#changed();
  }
  override *remove(...parameters: Parameters<LoggingOperations['remove']>): Operation<void> {
    yield* super.remove(...parameters);
    this.#changed();
  }
  override *adopt(...parameters: Parameters<LoggingOperations['adopt']>): Operation<LogRule[]> {
    const rules = yield* super.adopt(...parameters);
    this.#changed();
    return rules;
  }
  override *release(...parameters: Parameters<LoggingOperations['release']>): Operation<void> {
    yield* super.release(...parameters);
    this.#changed();
  }
}
