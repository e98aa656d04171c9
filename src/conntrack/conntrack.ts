import { checkInteger, checkObject, NO_CONTEXT } from '../codec/index.ts';
import { expectationTable, statisticsTable, totalsTable } from '../ctnetlink/tables.ts';
import { isNotFound, NetlinkError, rangeError, StateError, typeError, UnsupportedError } from '../errors.ts';
import { NETLINK_NETFILTER, NLM_F_CREATE, NLM_F_EXCL } from '../linux/netlink.ts';
import { Exchange, NetlinkSocket, type Operation, openWatcher, syncAndAsync } from '../netlink/index.ts';
import { type NetNs, netnsOf } from '../netns/netns.ts';
import { type Logger, Observer } from '../observe.ts';
import { checkSignal } from '../signal.ts';
import {
  checkExpectationKey,
  checkNewExpectation,
  type Expectation,
  type ExpectationKey,
  expectationOf,
  type NewExpectation,
} from './expectation.ts';
import { CheckedFilter, type FlowFilter } from './filter.ts';
import { checkReference, type Flow, type FlowReference, numberOfFamily } from './flow.ts';
import { flushMatching } from './flush.ts';
import { ConntrackMonitor, type ConntrackMonitorOptions, groupsOf, MONITOR_BUFFER_BYTES } from './monitor.ts';
import { checkNewFlow, checkPatch, type FlowPatch, type NewFlow } from './new-flow.ts';
import {
  attributesAt,
  deleteCall,
  EXPECTATION_MESSAGE,
  expectationCall,
  FLOW_MESSAGE,
  familyOfMessage,
  flowCall,
  flushCall,
  type Refusals,
  readFlow,
  STATISTICS_MESSAGE,
} from './requests.ts';
import { ConntrackSettings } from './settings.ts';
import { FlowView } from './view.ts';

export interface ConntrackOptions {
  /** The namespace whose table it is; home where left out. */
  netns?: NetNs;
  logger?: Logger;
}

export interface ListOptions {
  /**
   * More flows than this are an error, ERR_TOO_MANY: a container can fill its table. 1 to 16,777,216; default 1,048,576, which takes some
   * gigabyte.
   */
  limit?: number;
  signal?: AbortSignal;
}

/** The counters of one processor; they count from its start, for the namespace. */
export interface ConntrackStatistics {
  /** The processor's number. */
  cpu: number;
  /** Entries that a look-up has found. */
  found: number;
  /** Packets that could not be tracked. */
  invalid: number;
  insert: number;
  insertFailed: number;
  /** Packets dropped because no entry could be made. */
  drop: number;
  /** Entries ended before their time because the table was full. */
  earlyDrop: number;
  /** ICMP errors that belong to no entry, and the like. */
  error: number;
  /** Look-ups begun again because the table changed its size. */
  searchRestart: number;
  /** Two packets that began the same flow at once. */
  clashResolve: number;
  /** Packets dropped because a chain of the table was too long. */
  chainTooLong: number;
}

const DEFAULT_LIMIT = 1 << 20;
const MAX_LIMIT = 1 << 24;

const CREATE: Refusals = {
  hints: {
    EEXIST: 'a flow has this original tuple, or this reply tuple, already',
    ENOENT: 'there is no flow that `master` names',
    EOPNOTSUPP: 'this kernel has no such helper for this protocol: its module is not loaded',
    EINVAL: 'the kernel cannot track such a flow: an ICMP type without an answer, SCTP without its tags',
    ENOMEM: 'the table is full (net.netfilter.nf_conntrack_max, of the host)',
  },
  blame: { EEXIST: ['original'], ENOENT: ['master'], EOPNOTSUPP: ['helper'] },
};
const UPDATE: Refusals = {
  hints: {
    EPERM:
      'its timeout is fixed (status fixed-timeout), or this needs CAP_NET_ADMIN in the user namespace that owns the network namespace',
    EBUSY: 'it has another helper, or a flag of the status cannot be set',
    EOPNOTSUPP: 'a flow that has begun gets no helper',
    ENOSPC: 'this flow has no room for labels: no rule of the namespace used `ct label` when it began',
  },
  blame: { EBUSY: ['helper'], EOPNOTSUPP: ['helper'], ENOSPC: ['labels'] },
};

const EXPECT: Refusals = {
  hints: {
    ENOENT: 'there is no flow that `master` names',
    EOPNOTSUPP: 'the master has no helper',
    EEXIST: 'this is expected already',
  },
  blame: { ENOENT: ['master'], EOPNOTSUPP: ['master'], EEXIST: ['tuple'] },
};
const UNEXPECT: Refusals = {
  hints: { ENOENT: 'there is no such expectation (any more)' },
  blame: { ENOENT: ['tuple'] },
};

/** What is asked for is of a subsystem that this kernel does not have. */
function withoutModule(error: unknown): unknown {
  const lacks = error instanceof NetlinkError && (error.code === 'EINVAL' || error.code === 'EOPNOTSUPP');
  return lacks ? new UnsupportedError('ctnetlink', undefined, 'its module nf_conntrack_netlink is not loaded') : error;
}

/** The kernel's table of connections in one namespace: see Conntrack. */
export class ConntrackOperations {
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /**
   * The flows that match, all of them without a filter. The kernel leaves out what it can; what it cannot is left out here.
   * @throws TypeError, RangeError with the path; ERR_TOO_MANY more than `limit`
   * @example
   * const dns = await ct.list({ protocol: 'udp', destinationPort: 53, destination: '10.0.0.0/8' });
   */
  *list(filter: FlowFilter = {}, options: ListOptions = {}): Operation<Flow[]> {
    return yield* this.#list('get', filter, options);
  }

  /**
   * As `list`, and the kernel sets the counters of each flow that it returns to zero, in the moment in which it reads them. With a filter each is
   * asked for by itself: a kernel that does not know a filter would set those of all others to zero, too.
   */
  *listAndZero(filter?: FlowFilter, options: ListOptions = {}): Operation<Flow[]> {
    if (filter === undefined) return yield* this.#list('getAndZero', {}, options);
    const zeroed: Flow[] = [];
    for (const { protocol, original, zone } of yield* this.#list('get', filter, options)) {
      const flow = yield* this.#get('getAndZero', { protocol, original, zone });
      if (flow !== undefined) zeroed.push(flow);
      yield this.#exchange.budget;
    }
    return zeroed;
  }

  *#list(name: 'get' | 'getAndZero', filter: FlowFilter, options: ListOptions): Operation<Flow[]> {
    const checked = new CheckedFilter(filter);
    checkObject(options, [], ['limit', 'signal']);
    const { limit = DEFAULT_LIMIT } = options;
    checkInteger(limit, ['limit'], 1, MAX_LIMIT);
    checkSignal(options.signal, ['signal']);
    const { family, wire } = checked.request();
    const view = new FlowView();
    let number = 0;
    try {
      return yield* this.#exchange.dump(flowCall(name, family, wire, { subject: filter }), message => {
        if (message.type !== FLOW_MESSAGE) return undefined;
        const { source, payload, end } = message;
        if (!checked.matches(source, view.read(source, attributesAt(payload), end))) return undefined;
        if (++number > limit) throw tooMany(limit);
        return readFlow(message);
      });
    } catch (error) {
      throw Object.keys(wire).length === 0 ? withoutModule(error) : error;
    }
  }

  /** One flow, by either of its directions; undefined where there is none. */
  *get(flow: FlowReference): Operation<Flow | undefined> {
    return yield* this.#get('get', flow);
  }

  *#get(name: 'get' | 'getAndZero', flow: FlowReference): Operation<Flow | undefined> {
    const { family, wire: original, zone } = checkReference(flow);
    const wire = { original, ...(zone !== undefined && { zone }) };
    try {
      return yield* this.#exchange.get(flowCall(name, numberOfFamily(family), wire, { subject: flow }), message =>
        message.type === FLOW_MESSAGE ? readFlow(message) : undefined,
      );
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** How many entries the namespace has; some may have expired and not been collected yet. Costs no reading of the table. */
  *count(): Operation<number> {
    try {
      return yield* this.#exchange.get(flowCall('totals', 0, {}), ({ source, payload, end }) => {
        return totalsTable.read(source, attributesAt(payload), end, NO_CONTEXT)?.entries;
      });
    } catch (error) {
      throw withoutModule(error);
    }
  }

  /**
   * Makes an entry: packets of the flow are then of an established connection, translated where `nat` says so.
   * @throws NetlinkError EEXIST there is one; UnsupportedError labels, where no rule of the namespace uses `ct label`: the kernel would drop them
   * @example
   * await ct.create({ protocol: 'udp', timeoutSeconds: 60, original: { source: '10.0.0.1', sourcePort: 4000, destination: '10.0.0.2', destinationPort: 53 } });
   */
  *create(flow: NewFlow): Operation<void> {
    const { family, wire } = checkNewFlow(flow);
    const flags = NLM_F_CREATE | NLM_F_EXCL;
    yield* this.#exchange.request(flowCall('new', family, wire, { subject: flow, flags, refusals: CREATE }));
    if (wire.labels === undefined) return;
    // Where a flow has no room for labels, the kernel takes them and drops them.
    const { original, zone } = wire;
    const made = yield* this.get({ protocol: flow.protocol, original: flow.original, zone: flow.zone ?? 0 });
    if (made === undefined || made.labels.length > 0) return;
    yield* this.#exchange.request(
      deleteCall(family, { original: original!, ...(zone !== undefined && { zone }) }, flow),
    );
    throw new UnsupportedError('labels of a flow', undefined, 'no rule of the namespace uses `ct label`');
  }

  /**
   * Changes a flow.
   * @throws NetlinkError ENOENT there is none, EPERM its timeout is fixed, ENOSPC it has no room for labels
   */
  *update(flow: FlowReference, patch: FlowPatch): Operation<void> {
    const { family, wire: original, zone } = checkReference(flow);
    const changes = checkPatch(patch);
    if (changes.status !== undefined) {
      // Flags that cannot be changed must be repeated as the flow has them.
      const found = yield* this.get(flow);
      const kept = found?.status.filter(flag => flag !== 'dying') ?? [];
      changes.status = [...new Set([...kept, ...(patch.status ?? [])])];
    }
    const wire = { original, ...(zone !== undefined && { zone }), ...changes };
    yield* this.#exchange.request(flowCall('new', numberOfFamily(family), wire, { subject: flow, refusals: UPDATE }));
  }

  /**
   * Ends one flow: its next packet begins a new one, and is translated as the rules say then. With `id`, only if it is still the one that was read.
   * @throws NetlinkError ENOENT there is none, or one with another id
   */
  *delete(flow: FlowReference, options: { id?: number } = {}): Operation<void> {
    checkObject(options, [], ['id']);
    const { family, wire: original, zone } = checkReference(flow);
    const { id } = options;
    if (id !== undefined) checkInteger(id, ['id'], 0, 0xffffffff);
    const wire = { original, ...(zone !== undefined && { zone }), ...(id !== undefined && { id }) };
    yield* this.#exchange.request(deleteCall(numberOfFamily(family), wire, flow));
  }

  /**
   * Ends the flows that match, and resolves to how many there were: they are listed, and ended by tuple and id, so that a kernel that does not
   * know a filter ends nothing else. A flow that went by itself meanwhile does not count. Without a filter the kernel empties the table, and
   * the number is the one that it counted right before. An empty filter is refused.
   * @throws TypeError, RangeError with the path
   * @example
   * // After a published port has moved: UDP clients keep the old translation until their flows end.
   * const ended = await ct.flush({ protocol: 'udp', destination: '10.10.0.100', destinationPort: 53, nat: 'destination' });
   */
  *flush(filter?: FlowFilter, options: { signal?: AbortSignal } = {}): Operation<number> {
    checkObject(options, [], ['signal']);
    checkSignal(options.signal, ['signal']);
    if (filter === undefined) {
      const number = yield* this.count();
      yield* this.#exchange.request(flushCall());
      return number;
    }
    const checked = new CheckedFilter(filter);
    for (const [field, value] of Object.entries(filter))
      if (value === undefined)
        throw typeError([field], 'a value, or no such field: more would be ended than was meant', value);
    if (Object.keys(filter).length === 0)
      throw rangeError([], 'at least one field; flush() without a filter ends all flows', filter, 'ERR_MISSING');
    return yield* flushMatching(this.#exchange, checked);
  }

  /**
   * Connections that helpers expect, those of one flow with `master`.
   * @throws TypeError, RangeError with the path
   */
  *expectations(filter: { master?: FlowReference } = {}): Operation<Expectation[]> {
    checkObject(filter, [], ['master']);
    const master = filter.master === undefined ? undefined : checkReference(filter.master, ['master']);
    const family = master === undefined ? 0 : numberOfFamily(master.family);
    const wire = master === undefined ? {} : { master: master.wire, ...(master.zone && { zone: master.zone }) };
    const read = yield* this.#exchange.dump(expectationCall('get', family, wire, { subject: filter }), message => {
      const { type, source, payload, end } = message;
      if (type !== EXPECTATION_MESSAGE) return undefined;
      const found = expectationTable.read(source, attributesAt(payload), end, NO_CONTEXT);
      return found && expectationOf(found, familyOfMessage(source, payload));
    });
    return read;
  }

  /**
   * Lets a helper expect a connection.
   * @throws NetlinkError ENOENT there is no such master, EOPNOTSUPP the master has no helper, EEXIST it is expected already
   */
  *createExpectation(expectation: NewExpectation): Operation<void> {
    const { family, wire } = checkNewExpectation(expectation);
    const flags = NLM_F_CREATE | NLM_F_EXCL;
    yield* this.#exchange.request(
      expectationCall('new', family, wire, { subject: expectation, flags, refusals: EXPECT }),
    );
  }

  /** Ends one expectation. @throws NetlinkError ENOENT there is none */
  *deleteExpectation(expectation: ExpectationKey): Operation<void> {
    const { family, wire } = checkExpectationKey(expectation);
    yield* this.#exchange.request(
      expectationCall('delete', family, wire, { subject: expectation, refusals: UNEXPECT }),
    );
  }

  /** The counters of each processor. */
  *statistics(): Operation<ConntrackStatistics[]> {
    return yield* this.#exchange.dump(flowCall('statistics', 0, {}), ({ type, source, payload, end }) => {
      if (type !== STATISTICS_MESSAGE) return undefined;
      const read = statisticsTable.read(source, attributesAt(payload), end, NO_CONTEXT) ?? {};
      const counters = Object.fromEntries(statisticsTable.fields.map(({ key }) => [key, 0]));
      const { unknown: _, ...known } = read;
      return { cpu: source.view.getUint16(payload + 2, false), ...counters, ...known } as ConntrackStatistics;
    });
  }
}

const tooMany = (limit: number): Error =>
  new StateError('ERR_TOO_MANY', `there are more than ${limit} flows: filter, or raise the limit`);

/**
 * The connections that the kernel tracks in one network namespace, over nfnetlink (ctnetlink). Needs CAP_NET_ADMIN in the user namespace that owns
 * it; a container's own root has that. A namespace tracks connections only while a rule of it uses conntrack or NAT.
 */
export class Conntrack extends syncAndAsync(ConntrackOperations) {
  readonly #exchange: Exchange;
  #settings: ConntrackSettings | undefined;

  constructor(exchange: Exchange) {
    super(exchange);
    this.#exchange = exchange;
  }

  /** Opens a socket in the namespace and asks nothing yet. */
  static open(options: ConntrackOptions = {}): Conntrack {
    checkObject(options, [], ['netns', 'logger']);
    const socket = new NetlinkSocket({ netns: netnsOf(options), protocol: NETLINK_NETFILTER });
    return new Conntrack(new Exchange(socket, 'conntrack', new Observer(options.logger)));
  }

  /** The settings of this namespace, net.netfilter.nf_conntrack_*, read and written on the spot: `ct.settings.acct = true`. */
  get settings(): ConntrackSettings {
    this.#settings ??= new ConntrackSettings(() => {
      const { lifetime, transport } = this.#exchange;
      lifetime.checkOpen();
      if (!(transport instanceof NetlinkSocket))
        throw new StateError('ERR_FFI', 'this handle has no socket of the kernel');
      return transport.namespace();
    });
    return this.#settings;
  }

  /**
   * What becomes of flows from now on, one by one, in a socket of its own. When events were lost for want of room, the table is read again and comes
   * as an item of type 'state'. It is open until its iteration is left, `close()`, the signal, or the end of this handle. With
   * net.netfilter.nf_conntrack_events 2, the kernel's default, flows that began before anybody on the machine listened have no events.
   * @throws StateError ERR_CLOSED, TypeError, RangeError
   */
  monitor(options: ConntrackMonitorOptions = {}): ConntrackMonitor {
    const groups = groupsOf(options);
    const source = { flows: () => this.list(), expectations: () => this.expectations() };
    return openWatcher(
      this.#exchange,
      groups,
      options.receiveBufferBytes ?? MONITOR_BUFFER_BYTES,
      (reader, closed) => new ConntrackMonitor(reader, source, options, closed),
    );
  }
}
