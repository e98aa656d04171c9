import { isNotFound, type StateError } from '../../errors.ts';
import type { Exchange, Message, Operation } from '../../netlink/index.ts';
import { runAway } from '../../netlink/operation.ts';
import type { NetNs } from '../../netns/index.ts';
import { familyNumber } from '../../nf_tables/family.ts';
import { MESSAGES, readObject } from '../../nf_tables/message.ts';
import type { RuleEntry } from '../../nf_tables/rule.ts';
import { openExchange } from '../../nftables/nftables.ts';
import { readGeneration, requestFor } from '../../nftables/request.ts';
import type { Observer } from '../../observe.ts';
import { FAMILY } from '../owned/table.ts';
import { COMMENT_MARK } from './comment.ts';
import { LoggingOperations } from './logging.ts';
import { HOOKS, LOGGING, type LogRule } from './set.ts';
import { logRuleIn } from './table.ts';

/** A reading at most so often, and never more than a tenth of the time. */
const READ_EVERY_MILLISECONDS = 1000;
const SHARE = 10;
/** What is read on the spot; what takes longer goes on off the thread, part by part. */
const AT_ONCE_MILLISECONDS = 2;
/** A container's root can write as many rules as it likes into our chains: these are looked at. */
const MAX_RULES = 4096;

/** A rule that logs with a prefix to a group: decompiled when a packet asks for it. Undefined where there are several. */
interface Known {
  entry: RuleEntry | undefined;
  rule?: LogRule;
}

interface Reading {
  generation: number;
  rules: Map<string, Known>;
  /** Rules with our mark that were too many to look at. */
  ignored: number;
}

const keyOf = (prefix: string, group: number): string => `${group} ${prefix}`;

/**
 * The log rules of one container, for the packets that they log. Looking one up never waits for the kernel: what is not known, or was read a
 * while ago, has the rules read anew behind the packets, over a socket of its own: nobody who uses the container's other handles meets that
 * reading. Only the chains of our table are read, of each rule only its mark, its group and its prefix.
 */
export class KnownLogRules {
  readonly #netns: NetNs;
  readonly #observer: Observer;
  #rules: Map<string, Known> = new Map();
  #generation: number | undefined;
  #reading = false;
  /** What is being read may be older than a change that has come meanwhile. */
  #stale = false;
  #notBefore = 0;
  #closed = false;

  constructor(netns: NetNs, observer: Observer) {
    this.#netns = netns;
    this.#observer = observer;
  }

  /** The only rule with this prefix and group, as far as is known. */
  ruleOf(prefix: string, group: number): LogRule | undefined {
    if (!this.#reading && performance.now() >= this.#notBefore) this.#readLater();
    const known = this.#rules.get(keyOf(prefix, group));
    if (known?.entry === undefined) return undefined;
    known.rule ??= logRuleIn(known.entry).rule;
    return known.rule;
  }

  /** Reads them now, as far as that is quickly done: they have been changed by this process, or nobody has read them yet. */
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

  /** Done when this returns, where the rules are few. */
  async #read(): Promise<void> {
    this.#reading = true;
    this.#stale = false;
    const begun = performance.now();
    try {
      if (!this.#closed) await this.#readOnce(begun);
    } catch {
      // Who has given up the right to enter the namespace, or meets a kernel that refuses, goes on with what is known.
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
        'the table of log rules has more rules than are looked at',
      );
    }
  }
}

/** Nothing where the ruleset is of this generation still. */
function* readLogRules(exchange: Exchange, known: number | undefined): Operation<Reading | undefined> {
  exchange.operation = 'logging.rules';
  const generation = yield* readGeneration(exchange);
  if (generation === known) return undefined;
  const reading: Reading = { generation, rules: new Map(), ignored: 0 };
  let looked = 0;
  for (const chain of HOOKS) {
    const request = requestFor('getrule', familyNumber(FAMILY, []), { table: LOGGING, chain });
    try {
      // A dump that is begun again gives the same rules twice: they are told apart by their handles.
      const seen = new Set<bigint>();
      yield* exchange.dump(request, message => {
        if (message.type !== MESSAGES.newrule.number || !isMarked(message)) return;
        if (looked === MAX_RULES) {
          reading.ignored++;
          return;
        }
        looked++;
        const entry = readObject('newrule', message) as unknown as RuleEntry;
        if (seen.has(entry.handle)) return;
        seen.add(entry.handle);
        add(reading.rules, entry);
      });
    } catch (error) {
      // No such table or chain: then nothing is in it. Of one that changes all the time, what has been seen is better than nothing.
      if ((error as StateError).code === 'ERR_DUMP_INTERRUPTED') reading.generation = 0;
      else if (!isNotFound(error)) throw error;
    }
  }
  return reading;
}

/** Only a rule with our mark in its remark is decoded. The mark elsewhere in it does no harm. */
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

/** The operations of a container's log rules, which tell when they have changed something. */
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
