import { checkInteger, checkObject, NO_CONTEXT } from '../codec/index.ts';
import { expectationTable, statisticsTable } from '../ctnetlink/tables.ts';
import { isNotFound, rangeError, StateError, typeError, UnsupportedError } from '../errors.ts';
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
  countFlows,
  deleteCall,
  EXPECTATION_MESSAGE,
  expectationCall,
  explained,
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

/** Where `Conntrack.open` works, and what it tells. */
export interface ConntrackOptions {
  /** The namespace whose table it is; the one of this process where left out. */
  netns?: NetNs;
  /** Told of each request, as with every handle. */
  logger?: Logger;
}

/** The options of a list. */
export interface ListOptions {
  /**
   * More flows than this are an error, ERR_TOO_MANY: a container can fill its table. 1 to 16,777,216; default 1,048,576, which takes about a
   * gigabyte.
   */
  limit?: number;
  /** Ends the call; it then throws the signal's reason. */
  signal?: AbortSignal;
}

/** The counters of one processor for the namespace. They begin at zero with the namespace. */
export interface ConntrackStatistics {
  /** The processor's number. */
  cpu: number;
  /** Look-ups that found an entry. */
  found: number;
  /** Packets that could not be tracked. */
  invalid: number;
  insert: number;
  insertFailed: number;
  /** Packets dropped because no entry could be made. */
  drop: number;
  /** Entries ended before their time because the table was full. */
  earlyDrop: number;
  /** Errors such as ICMP errors that belong to no entry. */
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

/** The operations of `Conntrack`, each written once for both forms. */
export class ConntrackOperations {
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /**
   * The flows that match a filter; all flows without one.
   *
   * The kernel leaves out as many of the others as it can, the rest is left out here.
   *
   * @param filter all of its fields must match; the addresses and ports are those of the first packet
   * @param options `limit`, `signal`
   * @throws TypeError, RangeError with the path; StateError ERR_TOO_MANY there are more than `limit`
   * @example
   * const dns = await ct.list({ protocol: 'udp', destinationPort: 53, destination: '10.0.0.0/8' });
   */
  *list(filter: FlowFilter = {}, options: ListOptions = {}): Operation<Flow[]> {
    return yield* this.#list('get', filter, options);
  }

  /**
   * As `list`, and the kernel sets the counters of each returned flow to zero in the moment in which it reads them.
   *
   * With a filter, each flow is asked for by itself: a kernel that does not know a filter would set the counters of all flows to zero.
   *
   * @param filter as for `list`; all flows where left out
   * @param options `limit`, `signal`
   * @throws TypeError, RangeError with the path; StateError ERR_TOO_MANY there are more than `limit`
   * @example
   * for (const { original, counters } of await ct.listAndZero()) console.log(original.source, counters?.original.bytes);
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
      throw yield* explained(this.#exchange, error);
    }
  }

  /**
   * One flow, by either of its directions.
   *
   * @param flow one direction, or a flow that was read
   * @returns the flow, or undefined where there is none
   * @throws TypeError, RangeError with the path
   * @example
   * const flow = await ct.get({ protocol: 'tcp', source: '10.0.0.1', sourcePort: 4000, destination: '10.0.0.2', destinationPort: 80 });
   * console.log(flow?.tcp?.state);
   */
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

  /**
   * How many entries the namespace has. Some of them may have expired already. The table is not read for it.
   *
   * @throws UnsupportedError the kernel's module nf_conntrack_netlink is not loaded
   * @example
   * if ((await ct.count()) > 100_000) console.log('the table fills up');
   */
  *count(): Operation<number> {
    return yield* countFlows(this.#exchange);
  }

  /**
   * Creates an entry: packets of the flow then belong to a known connection, and are translated as `nat` says.
   *
   * @param flow `protocol`, `original`, `timeoutSeconds` (1 to 2,147,483), and whatever else a flow has; a flow that was read can be given
   * @throws NetlinkError EEXIST there is one
   * @throws UnsupportedError `labels` are given and no rule of the namespace uses `ct label`: the kernel would drop them
   * @example
   * await ct.create({ protocol: 'udp', timeoutSeconds: 60, original: { source: '10.0.0.1', sourcePort: 4000, destination: '10.0.0.2', destinationPort: 53 } });
   */
  *create(flow: NewFlow): Operation<void> {
    const { family, wire } = checkNewFlow(flow);
    const flags = NLM_F_CREATE | NLM_F_EXCL;
    yield* this.#exchange.request(flowCall('new', family, wire, { subject: flow, flags, refusals: CREATE }));
    if (wire.labels === undefined) return;
    // The kernel drops labels silently where a flow has no room for them.
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
   *
   * @param flow one direction, or a flow that was read
   * @param patch what changes: `timeoutSeconds`, `mark`, `status`, `labels`, `helper`; fields that are left out stay
   * @throws NetlinkError ENOENT there is none, EPERM its timeout is fixed, ENOSPC it has no room for labels
   * @example
   * for (const flow of await ct.list({ mark: 1 })) await ct.update(flow, { mark: 2 });
   */
  *update(flow: FlowReference, patch: FlowPatch): Operation<void> {
    const { family, wire: original, zone } = checkReference(flow);
    const changes = checkPatch(patch);
    if (changes.status !== undefined) {
      // The kernel wants the flags that cannot be changed repeated.
      const found = yield* this.get(flow);
      const kept = found?.status.filter(flag => flag !== 'dying') ?? [];
      changes.status = [...new Set([...kept, ...(patch.status ?? [])])];
    }
    const wire = { original, ...(zone !== undefined && { zone }), ...changes };
    yield* this.#exchange.request(flowCall('new', numberOfFamily(family), wire, { subject: flow, refusals: UPDATE }));
  }

  /**
   * Ends one flow. Its next packet begins a new flow, and is translated as the rules say then.
   *
   * @param flow one direction, or a flow that was read
   * @param options `id`: end it only if it still has this id, which is another one for each new flow
   * @throws NetlinkError ENOENT there is none, or one with another id
   * @example
   * for (const flow of await ct.list({ protocol: 'udp', destinationPort: 53 })) await ct.delete(flow, { id: flow.id });
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
   * Ends the flows that match a filter; all flows without one.
   *
   * With a filter, the flows are listed, and each is ended by its tuple and id: a kernel that does not know a filter then ends no other flow.
   * A flow that ended by itself meanwhile does not count. Without a filter the kernel empties the table, and the number is that of `count`
   * right before.
   *
   * @param filter as for `list`; an empty filter, or a field that is undefined, is refused
   * @param options `signal`
   * @returns how many flows were ended
   * @throws TypeError, RangeError with the path
   * @example
   * // A published port has moved: UDP clients keep the old translation until their flows end.
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
    try {
      return yield* flushMatching(this.#exchange, checked);
    } catch (error) {
      throw yield* explained(this.#exchange, error);
    }
  }

  /**
   * The connections that helpers expect.
   *
   * @param filter `master`: only those that this flow has announced
   * @throws TypeError, RangeError with the path
   * @example
   * for (const { tuple, helper } of await ct.expectations()) console.log(helper, tuple.destinationPort);
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
   *
   * @param expectation `master` is one direction of the flow with the helper, `tuple` the connection to come
   * @throws NetlinkError ENOENT there is no such master, EOPNOTSUPP the master has no helper, EEXIST it is expected already
   * @example
   * const ftp = { protocol: 'tcp', source: '10.0.0.1', sourcePort: 4000, destination: '10.0.0.2', destinationPort: 21 } as const;
   * await ct.createExpectation({ master: ftp, tuple: { ...ftp, sourcePort: 0, destinationPort: 5000 } });
   */
  *createExpectation(expectation: NewExpectation): Operation<void> {
    const { family, wire } = checkNewExpectation(expectation);
    const flags = NLM_F_CREATE | NLM_F_EXCL;
    yield* this.#exchange.request(
      expectationCall('new', family, wire, { subject: expectation, flags, refusals: EXPECT }),
    );
  }

  /**
   * Ends one expectation.
   *
   * @param expectation its `tuple`, and `zone` and `id` where it has them; one that was read can be given
   * @throws NetlinkError ENOENT there is none
   * @example
   * for (const expectation of await ct.expectations()) await ct.deleteExpectation(expectation);
   */
  *deleteExpectation(expectation: ExpectationKey): Operation<void> {
    const { family, wire } = checkExpectationKey(expectation);
    yield* this.#exchange.request(
      expectationCall('delete', family, wire, { subject: expectation, refusals: UNEXPECT }),
    );
  }

  /**
   * The counters of each processor.
   *
   * @throws NetlinkError as the kernel refuses
   * @example
   * for (const { cpu, drop, earlyDrop } of await ct.statistics()) console.log(cpu, drop, earlyDrop);
   */
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
 * The connections that the kernel tracks in one network namespace (ctnetlink, nf_conntrack_netlink.c).
 *
 * It needs CAP_NET_ADMIN in the user namespace that owns the network namespace; a container's own root has that. A namespace tracks connections
 * only while one of its rules uses conntrack or NAT.
 *
 * @example
 * await using ct = Conntrack.open({ netns });
 * console.log(await ct.count());
 */
export class Conntrack extends syncAndAsync(ConntrackOperations) {
  readonly #exchange: Exchange;
  #settings: ConntrackSettings | undefined;

  constructor(exchange: Exchange) {
    super(exchange);
    this.#exchange = exchange;
  }

  /**
   * Opens a socket in the namespace. Nothing is asked yet.
   *
   * @param options `netns`, `logger`
   * @throws NetlinkError EPERM this process may not enter the namespace
   * @example
   * const ct = Conntrack.open({ netns });
   */
  static open(options: ConntrackOptions = {}): Conntrack {
    checkObject(options, [], ['netns', 'logger']);
    const socket = new NetlinkSocket({ netns: netnsOf(options), protocol: NETLINK_NETFILTER });
    return new Conntrack(new Exchange(socket, 'conntrack', new Observer(options.logger)));
  }

  /** The settings of this namespace, net.netfilter.nf_conntrack_*. Each is read and written at once: `ct.settings.acct = true`. */
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
   * Events of flows from now on, one by one, in a socket of its own.
   *
   * When events are lost because the buffer is full, the table is read again and comes as an item of type 'state'. The monitor is open until its
   * iteration is left, `close()`, the signal, or the end of this handle. With net.netfilter.nf_conntrack_events 2, the kernel's default since
   * Linux 6.0, a flow has events only if somebody on the machine listened when it began.
   *
   * @param options `kinds`, `expectations`, `initial`, `receiveBufferBytes` (4096 to 1 GiB, default 8 MiB), `signal`
   * @throws StateError ERR_CLOSED, TypeError, RangeError
   * @example
   * for await (const item of ct.monitor({ kinds: ['destroy'] }))
   *   if (item.type === 'destroy') console.log(item.flow.original.source, item.flow.counters?.original.bytes);
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
