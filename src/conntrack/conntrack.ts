import { checkInteger, checkObject, NO_CONTEXT } from '../codec/index.ts';
import { expectationTable } from '../ctnetlink/tables.ts';
import { isNotFound, rangeError, StateError, typeError } from '../errors.ts';
import { NETLINK_NETFILTER, NLM_F_CREATE, NLM_F_EXCL } from '../linux/netlink.ts';
import {
  type Call,
  Exchange,
  type Message,
  NetlinkSocket,
  type Operation,
  openWatcher,
  syncAndAsync,
} from '../netlink/index.ts';
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
import { checkNewFlow, checkPatch, droppedField, type FlowPatch, mayBeDropped, type NewFlow } from './new-flow.ts';
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
} from './requests.ts';
import { ConntrackSettings } from './settings.ts';
import {
  type ConntrackStatistics,
  type ExpectationStatistics,
  expectationStatisticsOf,
  statisticsOf,
} from './statistics.ts';
import { FlowView } from './view.ts';

/** The namespace that `Conntrack.open` works in, and its logger. */
export interface ConntrackOptions {
  /** The namespace whose connections are read and changed. Default: the namespace of this process. */
  netns?: NetNs;
  /** Receives a record of each request, as with every handle. */
  logger?: Logger;
}

/** The options of a list. */
export interface ListOptions {
  /**
   * The largest number of flows; more are an error, ERR_TOO_MANY. A container can fill its table, so there is always a limit. 1 to
   * 16,777,216; default 1,048,576, which takes about a gigabyte.
   */
  limit?: number;
  /** Ends the call, which then throws the signal's reason. */
  signal?: AbortSignal;
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
    ENOSPC: 'this flow has no room for labels: when it began, no rule of the namespace set a label (`ct label set`)',
  },
  blame: { EBUSY: ['helper'], EOPNOTSUPP: ['helper'], ENOSPC: ['labels'] },
};

const EXPECT: Refusals = {
  hints: {
    ENOENT: 'there is no flow that `master` names',
    EOPNOTSUPP: 'the master has no helper',
    EEXIST: 'this is expected already',
    EINVAL: 'the helper has fewer classes, or no module that is loaded has this function',
  },
  blame: { ENOENT: ['master'], EOPNOTSUPP: ['master'], EEXIST: ['tuple'] },
};
const UNEXPECT: Refusals = {
  hints: { ENOENT: 'there is no such expectation (any more)' },
  blame: { ENOENT: ['tuple'] },
};

/** The operations of `Conntrack`. Each is written once and runs both synchronously and asynchronously. */
export class ConntrackOperations {
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /**
   * Lists the flows that match a filter; all flows without one.
   *
   * The kernel applies the part of the filter that it can. This library applies the rest.
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
   * Lists flows as `list` does. The kernel sets the counters of each returned flow to zero as it reads them.
   *
   * With a filter, each flow is requested separately. A kernel that does not know a filter would otherwise reset the counters of all flows.
   *
   * @param filter as for `list`; all flows if left out
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
    return yield* this.#dump(flowCall(name, family, wire, { subject: filter }), message => {
      if (message.type !== FLOW_MESSAGE) return undefined;
      const { source, payload, end } = message;
      if (!checked.matches(source, view.read(source, attributesAt(payload), end))) return undefined;
      if (++number > limit) throw tooMany(limit);
      return readFlow(message);
    });
  }

  /** Sends a request. If the kernel has no ctnetlink, the error says so. */
  *#send(call: Call): Operation<void> {
    try {
      yield* this.#exchange.request(call);
    } catch (error) {
      throw yield* explained(this.#exchange, error);
    }
  }

  *#dump<T>(call: Call, read: (message: Message) => T | undefined): Operation<T[]> {
    try {
      return yield* this.#exchange.dump(call, read);
    } catch (error) {
      throw yield* explained(this.#exchange, error);
    }
  }

  /**
   * Reads one flow, named by either of its directions.
   *
   * @param flow one direction, or a flow that was read
   * @returns the flow, or undefined if there is none
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
      throw yield* explained(this.#exchange, error);
    }
  }

  /**
   * Counts the entries of the namespace. Some may have expired already. The kernel keeps the count, so the table is not read.
   *
   * @throws UnsupportedError the kernel's module nf_conntrack_netlink is not loaded
   * @example
   * if ((await ct.count()) > 100_000) console.log('the table fills up');
   */
  *count(): Operation<number> {
    return yield* countFlows(this.#exchange);
  }

  /**
   * Creates an entry. Packets of the flow then belong to a known connection, and NAT changes them as `nat` says.
   *
   * @param flow `protocol`, `original`, `timeoutSeconds` (1 to 2,147,483), and any other field of a flow. A flow that was read is accepted.
   * @throws NetlinkError EEXIST the entry exists
   * @throws UnsupportedError the kernel would drop a field: `labels` where no rule of the namespace sets a label, `synproxy` and `dccp` where
   *   the kernel is built without them. The entry is then removed again.
   * @example
   * await ct.create({ protocol: 'udp', timeoutSeconds: 60, original: { source: '10.0.0.1', sourcePort: 4000, destination: '10.0.0.2', destinationPort: 53 } });
   */
  *create(flow: NewFlow): Operation<void> {
    const { family, wire } = checkNewFlow(flow);
    const flags = NLM_F_CREATE | NLM_F_EXCL;
    yield* this.#send(flowCall('new', family, wire, { subject: flow, flags, refusals: CREATE }));
    if (!mayBeDropped(wire)) return;
    const made = yield* this.get({ protocol: flow.protocol, original: flow.original, zone: flow.zone ?? 0 });
    const dropped = made && droppedField(wire, made);
    if (dropped === undefined) return;
    const { original, zone } = wire;
    yield* this.#send(deleteCall(family, { original: original!, ...(zone !== undefined && { zone }) }, flow));
    throw dropped;
  }

  /**
   * Changes a flow.
   *
   * @param flow one direction, or a flow that was read
   * @param patch the changes: `timeoutSeconds`, `mark`, `status`, `labels`, `helper`, `tcp`, `sctp`, `dccp`, `sequenceAdjustment`,
   *   `synproxy`; other fields stay as they are
   * @throws NetlinkError ENOENT there is no such flow, EPERM its timeout is fixed, ENOSPC it has no room for labels
   * @throws UnsupportedError the flow has no room for `sequenceAdjustment` or `synproxy`. The other changes have been made.
   * @example
   * for (const flow of await ct.list({ mark: 1 })) await ct.update(flow, { mark: 2 });
   */
  *update(flow: FlowReference, patch: FlowPatch): Operation<void> {
    const { family, wire: original, zone } = checkReference(flow);
    const changes = checkPatch(patch, flow.protocol);
    if (changes.status !== undefined) {
      // The kernel refuses a status that leaves out a flag which is set and cannot be cleared, so those flags are sent again.
      const found = yield* this.get(flow);
      const kept = found?.status.filter(flag => flag !== 'dying') ?? [];
      changes.status = [...new Set([...kept, ...(patch.status ?? [])])];
    }
    const wire = { original, ...(zone !== undefined && { zone }), ...changes };
    yield* this.#send(flowCall('new', numberOfFamily(family), wire, { subject: flow, refusals: UPDATE }));
    if (!mayBeDropped(changes)) return;
    const changed = yield* this.get(flow);
    const dropped = changed && droppedField(changes, changed);
    if (dropped !== undefined) throw dropped;
  }

  /**
   * Ends one flow. Its next packet begins a new flow, to which the current rules apply.
   *
   * @param flow one direction, or a flow that was read
   * @param options `id`: ends the flow only if it still has this id. Each new flow has another id.
   * @throws NetlinkError ENOENT there is no such flow, or it has another id
   * @example
   * for (const flow of await ct.list({ protocol: 'udp', destinationPort: 53 })) await ct.delete(flow, { id: flow.id });
   */
  *delete(flow: FlowReference, options: { id?: number } = {}): Operation<void> {
    checkObject(options, [], ['id']);
    const { family, wire: original, zone } = checkReference(flow);
    const { id } = options;
    if (id !== undefined) checkInteger(id, ['id'], 0, 0xffffffff);
    const wire = { original, ...(zone !== undefined && { zone }), ...(id !== undefined && { id }) };
    yield* this.#send(deleteCall(numberOfFamily(family), wire, flow));
  }

  /**
   * Ends the flows that match a filter; all flows without one.
   *
   * With a filter, this lists the flows and ends each one by its tuple and id. So even a kernel that does not know a filter ends no other
   * flow. The result leaves out a flow that ended by itself in the meantime. Without a filter, the kernel empties the table, and the result
   * is the `count` from just before.
   *
   * @param filter as for `list`; an empty filter is refused, and so is a field that is undefined
   * @param options `signal`: stops the reading of the table, but nothing once deletions have begun
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
      yield* this.#send(flushCall());
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
   * Lists the connections that helpers expect.
   *
   * @param filter `master`: only the expectations of this flow
   * @throws TypeError, RangeError with the path
   * @example
   * for (const { tuple, helper } of await ct.expectations()) console.log(helper, tuple.destinationPort);
   */
  *expectations(filter: { master?: FlowReference } = {}): Operation<Expectation[]> {
    checkObject(filter, [], ['master']);
    const master = filter.master === undefined ? undefined : checkReference(filter.master, ['master']);
    const family = master === undefined ? 0 : numberOfFamily(master.family);
    const wire = master === undefined ? {} : { master: master.wire, ...(master.zone && { zone: master.zone }) };
    const read = yield* this.#dump(expectationCall('get', family, wire, { subject: filter }), message => {
      const { type, source, payload, end } = message;
      if (type !== EXPECTATION_MESSAGE) return undefined;
      const found = expectationTable.read(source, attributesAt(payload), end, NO_CONTEXT);
      return found && expectationOf(found, familyOfMessage(source, payload));
    });
    return read;
  }

  /**
   * Makes a helper expect a connection.
   *
   * @param expectation `master` is one direction of the flow that has the helper, `tuple` is the expected connection. An expectation that was
   *   read is accepted.
   * @throws NetlinkError ENOENT there is no such master, EOPNOTSUPP the master has no helper, EEXIST the expectation exists, EINVAL the helper
   *   does not have this class, or the kernel does not know this function
   * @example
   * const ftp: FlowKey = { protocol: 'tcp', source: '10.0.0.1', sourcePort: 4000, destination: '10.0.0.2', destinationPort: 21 };
   * await ct.createExpectation({ master: ftp, tuple: { ...ftp, sourcePort: 0, destinationPort: 5000 } });
   */
  *createExpectation(expectation: NewExpectation): Operation<void> {
    const { family, wire } = checkNewExpectation(expectation);
    if (wire.class) {
      // Many kernels ignore a class without the name of a helper. They compare the class with the classes of that helper, so the name of
      // another helper would let them read behind the end of a list.
      const { zone: _, ...master } = expectation.master;
      const helper = (yield* this.get({ ...master, zone: wire.zone ?? 0 }))?.helper;
      if (helper !== undefined) wire.helper = helper;
    }
    const flags = NLM_F_CREATE | NLM_F_EXCL;
    yield* this.#send(expectationCall('new', family, wire, { subject: expectation, flags, refusals: EXPECT }));
  }

  /**
   * Ends one expectation.
   *
   * @param expectation its `tuple`, with `zone` and `id` if it has them. An expectation that was read is accepted.
   * @throws NetlinkError ENOENT there is no such expectation
   * @example
   * for (const expectation of await ct.expectations()) await ct.deleteExpectation(expectation);
   */
  *deleteExpectation(expectation: ExpectationKey): Operation<void> {
    const { family, wire } = checkExpectationKey(expectation);
    yield* this.#send(expectationCall('delete', family, wire, { subject: expectation, refusals: UNEXPECT }));
  }

  /**
   * Reads the counters of each processor.
   *
   * @throws UnsupportedError the kernel's module nf_conntrack_netlink is not loaded
   * @example
   * for (const { cpu, drop, earlyDrop } of await ct.statistics()) console.log(cpu, drop, earlyDrop);
   */
  *statistics(): Operation<ConntrackStatistics[]> {
    return yield* this.#dump(flowCall('statistics', 0, {}), statisticsOf);
  }

  /**
   * Reads the counters of each processor about expectations.
   *
   * @throws UnsupportedError the kernel's module nf_conntrack_netlink is not loaded
   * @example
   * for (const { cpu, create } of await ct.expectationStatistics()) console.log(cpu, create);
   */
  *expectationStatistics(): Operation<ExpectationStatistics[]> {
    return yield* this.#dump(expectationCall('statistics', 0, {}), expectationStatisticsOf);
  }
}

const tooMany = (limit: number): Error =>
  new StateError('ERR_TOO_MANY', `there are more than ${limit} flows: filter, or raise the limit`);

/**
 * The connections that the kernel tracks in one network namespace (ctnetlink, nf_conntrack_netlink.c).
 *
 * This needs CAP_NET_ADMIN in the user namespace that owns the network namespace. A container's own root has it. A namespace tracks
 * connections only while one of its rules uses conntrack or NAT. Every operation throws UnsupportedError while the kernel's module
 * nf_conntrack_netlink is not loaded.
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
   * Opens a socket in the namespace. It sends no request yet.
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

  /** The settings of this namespace, net.netfilter.nf_conntrack_*. Reads and writes take effect at once: `ct.settings.acct = true`. */
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
   * Yields the events of flows from now on, one by one. The monitor has its own socket.
   *
   * If the buffer is full and events are lost, the monitor reads the table again and yields it as an item of type 'state'. The monitor
   * stays open until you leave its iteration or call `close()`, the signal aborts, or this handle closes. If the sysctl
   * net.netfilter.nf_conntrack_events is 2, the kernel's default since Linux 6.0, a flow has events only if a program on the machine
   * listened when the flow began.
   *
   * @param options `kinds`, `expectations`, `initial`, `receiveBufferBytes` (4096 to 1 GiB, default 8 MiB), `signal`
   * @throws StateError ERR_CLOSED, TypeError, RangeError
   * @example
   * for await (const item of ct.monitor({ kinds: ['destroy'] }))
   *   if (item.type === 'destroy') console.log(item.flow.original.source, item.flow.counters?.original.bytes);
   */
  monitor(options: ConntrackMonitorOptions = {}): ConntrackMonitor {
    const groups = groupsOf(options);
    const source = {
      check: async () => void (await this.count()),
      flows: () => this.list(),
      expectations: () => this.expectations(),
    };
    return openWatcher(
      this.#exchange,
      groups,
      options.receiveBufferBytes ?? MONITOR_BUFFER_BYTES,
      (reader, closed) => new ConntrackMonitor(reader, source, options, closed),
    );
  }
}
