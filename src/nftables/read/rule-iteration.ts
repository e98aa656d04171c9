import { isNotFound, StateError } from '../../errors.ts';
import { NETLINK_NETFILTER } from '../../linux/netlink.ts';
import { Exchange, type Message, NetlinkSocket, type Operation } from '../../netlink/index.ts';
import type { Step } from '../../netlink/operation.ts';
import type { RuleEntry } from '../../nf_tables/rule.ts';
import { RuleReader } from '../../nf_tables/rule-reader.ts';
import type { XtLayouts } from '../../nf_tables/xt/layout.ts';
import { throwIfAborted } from '../../signal.ts';
import { checkRuleFilter, eachRule, type ListFilter } from './listing.ts';

/** Which rules an iteration gives. */
export interface RuleFilter extends Pick<ListFilter, 'family' | 'table' | 'signal'> {
  /** With `table`: only what is in this chain. */
  chain?: string;
}

/** Between two parts of the dump, the rules of the one before are given. */
const PART: Step = { abortable: true, now: () => 0, away: () => Promise.resolve(0) };

/**
 * The rules of a namespace, one after the other, by `for await` or by `for`. At most one part of the kernel's dump is in memory, some 32 KiB,
 * however many rules there are. Each iteration is a dump of its own, in a socket of its own: it ends when the loop is left. Meanwhile the
 * handle does other things.
 *
 * Rules are in the kernel's order: chain by chain, and of each chain as it stands.
 * @example
 * let dropped = 0;
 * for await (const { comment } of nft.eachRule({ family: 'inet', table: 'web' })) if (comment === 'blocked') dropped++;
 */
export class RuleIteration implements AsyncIterable<RuleEntry>, Iterable<RuleEntry> {
  readonly #exchange: Exchange;
  readonly #filter: RuleFilter;
  readonly #xt: XtLayouts | undefined;

  /** @internal */
  constructor(exchange: Exchange, filter: RuleFilter, xt: XtLayouts | undefined) {
    checkRuleFilter(filter);
    this.#exchange = exchange;
    this.#filter = filter;
    this.#xt = xt;
  }

  /**
   * Begins a dump. Slow parts are read away from this thread.
   * @throws StateError ERR_DUMP_INTERRUPTED others have committed meanwhile: what was given is not of one moment, begin again; NetlinkError EPERM
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<RuleEntry, undefined> {
    const { signal } = this.#filter;
    const dump = this.#begin();
    try {
      for (let state = dump.operation.next(0); ; state = dump.operation.next(await state.value.away())) {
        yield* dump.part.splice(0);
        throwIfAborted(signal);
        if (state.done) return undefined;
      }
    } finally {
      await dump.close();
    }
  }

  /**
   * Begins a dump on this thread, which waits for the kernel.
   * @throws StateError ERR_DUMP_INTERRUPTED others have committed meanwhile: what was given is not of one moment, begin again; NetlinkError EPERM
   */
  *[Symbol.iterator](): Generator<RuleEntry, undefined> {
    const { signal } = this.#filter;
    const dump = this.#begin();
    try {
      for (let state = dump.operation.next(0); ; state = dump.operation.next(state.value.now())) {
        yield* dump.part.splice(0);
        throwIfAborted(signal);
        if (state.done) return undefined;
      }
    } finally {
      void dump.close();
    }
  }

  #begin(): { operation: Operation<void>; part: RuleEntry[]; close: () => Promise<void> } {
    const { lifetime, transport, observer } = this.#exchange;
    lifetime.checkOpen();
    throwIfAborted(this.#filter.signal);
    if (!(transport instanceof NetlinkSocket))
      throw new StateError('ERR_FFI', 'this handle has no socket of the kernel');
    const netns = transport.namespace();
    let socket: NetlinkSocket;
    try {
      socket = new NetlinkSocket({ netns, protocol: NETLINK_NETFILTER });
    } finally {
      netns.close();
    }
    const detach = lifetime.attach({ close: () => socket.close() });
    const own = new Exchange(socket, 'nftables', observer);
    own.operation = 'nftables.eachRule';
    const part: RuleEntry[] = [];
    const { table } = this.#filter;
    const rules = new RuleReader(this.#xt);
    const visit = (message: Message) => {
      const rule = rules.read(message);
      if (table === undefined || rule.table === table) part.push(rule);
    };
    const close = () => {
      detach();
      return socket.close();
    };
    return { operation: this.#dump(own, visit), part, close };
  }

  *#dump(own: Exchange, visit: (message: Message) => void): Operation<void> {
    try {
      yield* eachRule(own, this.#filter, PART, undefined, visit);
    } catch (error) {
      // A table that is not there has no rules. (Some kernels say so, others give an empty list.)
      if (this.#filter.table !== undefined && isNotFound(error)) return;
      if (!(error instanceof StateError && error.code === 'ERR_DUMP_INTERRUPTED')) throw error;
      throw new StateError(
        'ERR_DUMP_INTERRUPTED',
        'others have changed the ruleset during the iteration: begin it again',
      );
    }
  }
}
