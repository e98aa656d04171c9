import { PassThrough } from 'node:stream';
import { Container, Fleet, Ipvs, Links, NetNs, Nflog, Nftables, Transaction } from 'netsteer';
import { Conntrack } from 'netsteer/conntrack';
import {
  attributes,
  EncodedRequests,
  Exchange,
  GenericFamily,
  GroupReader,
  NetlinkSocket,
  OptionSocket,
  opt,
  pipeline,
  streamRequests,
  syncAndAsync,
  u16ne,
} from 'netsteer/netlink';
import { CTRL_ATTR_FAMILY_ID, GENL_ID_CTRL } from '../../src/linux/genetlink.ts';
import { NETLINK_EXT_ACK, NETLINK_GENERIC, NETLINK_NETFILTER } from '../../src/linux/netlink.ts';
import { NFNLGRP_NFTABLES } from '../../src/linux/nfnetlink.ts';
import { SOL_NETLINK } from '../../src/linux/socket.ts';
import type { Operation } from '../../src/netlink/index.ts';

/*
 * What `closed.test.ts` calls: every member of every handle, by its name. One that is missing here fails that test, so that a new verb cannot
 * be forgotten.
 */

/** A verb with arguments that are good: while the handle is open, it does what it does or the kernel refuses it. */
// biome-ignore lint/suspicious/noExplicitAny: each table is of its own handle, and of the synchronous form besides
type Verb = (target: any) => unknown;

export interface PartTable {
  readonly verbs: Readonly<Record<string, Verb>>;
  /** Members that tell something of the handle itself, and go on telling it. */
  readonly states?: readonly string[];
  /** Members that are handles of their own, and close with this one; 'forms' has the same verbs. */
  readonly parts?: Readonly<Record<string, PartTable | 'forms'>>;
  /** Its other members are properties that ask the kernel when they are read. */
  readonly properties?: boolean;
}

export interface Closeable {
  close(): void | Promise<void>;
  readonly closed?: unknown;
  [Symbol.asyncDispose]?(): Promise<void>;
}

export interface HandleTable extends PartTable {
  /** Opens one in that namespace, for the process `pid` in it where it takes one. */
  open(netns: NetNs, pid: number): Closeable;
}

/** What closes a handle, and says so. */
export const LIFETIME = ['constructor', 'exchange', 'close', 'closed', 'dispose', 'asyncDispose', 'inspect.custom'];

const TABLE = { family: 'ip', name: 'closed' } as const;
const NAMED = { family: 'ip', table: 'closed', name: 'n' } as const;
const SET = { family: 'ip', table: 'closed', name: 's' } as const;
const transaction = () => new Transaction().add({ table: TABLE });

/** Of the machinery of handles: reached by every operation. */
const forms = (operation: string): Record<string, Verb> => ({
  runInline: handle => handle.runInline(operation),
  call: handle => handle.call(operation, []),
  start: handle => handle.start({ nothing: function* () {} }, 'nothing', []),
});

/** Verbs that take the same. */
const onEach = (verbs: readonly string[], argument: object): Record<string, Verb> =>
  Object.fromEntries(verbs.map(name => [name, (handle: Record<string, Verb>) => handle[name]!(argument)]));

const nftables: HandleTable = {
  open: netns => Nftables.open({ netns }),
  verbs: {
    ...forms('generation'),
    commit: handle => handle.commit(transaction()),
    apply: handle => handle.apply({ nftables: [{ list: { tables: null } }] }),
    generation: handle => handle.generation(),
    ruleset: handle => handle.ruleset(),
    table: handle => handle.table(TABLE),
    chain: handle => handle.chain(NAMED),
    rule: handle => handle.rule({ family: 'ip', table: 'closed', chain: 'c', handle: 1n }),
    ...onEach(
      ['set', 'map', 'flowtable', 'object', 'counter', 'quota', 'limit', 'connlimit', 'synproxy', 'tunnel'],
      NAMED,
    ),
    ...onEach(['secmark', 'ctHelper', 'ctTimeout', 'ctExpectation'], NAMED),
    tables: handle => handle.tables(),
    chains: handle => handle.chains(),
    rules: handle => handle.rules(),
    eachRule: handle => handle.eachRule(),
    sets: handle => handle.sets(),
    objects: handle => handle.objects(),
    flowtables: handle => handle.flowtables(),
    elements: handle => handle.elements(SET),
    reset: handle => handle.reset({ counter: { family: 'ip', table: 'closed', name: 'c' } }),
    plan: handle => handle.plan({ tables: [] }, { comment: 'closed' }),
    reconcile: handle => handle.reconcile({ tables: [] }, { comment: 'closed' }),
    monitor: handle => handle.monitor(),
    trace: handle => handle.trace(),
  },
  parts: { sync: 'forms' },
};

const monitor: HandleTable = {
  open: netns => opened(Nftables.open({ netns })).monitor(),
  verbs: { asyncIterator: handle => handle[Symbol.asyncIterator]() },
};

const trace: HandleTable = {
  open: netns => opened(Nftables.open({ netns })).trace(),
  verbs: { asyncIterator: handle => handle[Symbol.asyncIterator]() },
  states: ['losses'],
};

const links: HandleTable = {
  open: netns => Links.open({ netns }),
  verbs: {
    ...forms('list'),
    list: handle => handle.list(),
    get: handle => handle.get('lo'),
    create: handle => handle.create({ kind: 'dummy', name: 'd0' }),
    createVeth: handle => handle.createVeth({ name: 'v0', peer: { name: 'v1' } }),
    createBridge: handle => handle.createBridge({ name: 'b0' }),
    createDummy: handle => handle.createDummy({ name: 'd0' }),
    createMacvlan: handle => handle.createMacvlan({ name: 'm0', link: 'lo' }),
    createVlan: handle => handle.createVlan({ name: 'l0', link: 'lo', id: 5 }),
    createVxlan: handle => handle.createVxlan({ name: 'x0', id: 5 }),
    createIpvlan: handle => handle.createIpvlan({ name: 'i0', link: 'lo' }),
    createTun: handle => handle.createTun({ name: 't0' }),
    createBond: handle => handle.createBond({ name: 'o0' }),
    createVrf: handle => handle.createVrf({ name: 'f0', table: 5 }),
    createTunnel: handle => handle.createTunnel({ kind: 'ipip', name: 'p0', remote: '10.0.0.1' }),
    set: handle => handle.set('lo', { up: true }),
    remove: handle => handle.remove('nothing'),
    addAddress: handle => handle.addAddress('lo', '10.0.0.1/32'),
    removeAddress: handle => handle.removeAddress('lo', '10.0.0.9/32'),
    addresses: handle => handle.addresses(),
    addRoute: handle => handle.addRoute({ to: '10.1.0.0/24', device: 'lo' }),
    removeRoute: handle => handle.removeRoute({ to: '10.2.0.0/24', device: 'lo' }),
    routes: handle => handle.routes(),
    setAddress: handle => handle.setAddress('lo', '10.0.0.1/32'),
    nextHopObjects: handle => handle.nextHopObjects(),
    addNextHopObject: handle => handle.addNextHopObject({ id: 5, device: 'lo' }),
    setNextHopObject: handle => handle.setNextHopObject({ id: 5, device: 'lo' }),
    removeNextHopObject: handle => handle.removeNextHopObject({ id: 9 }),
    addNeighbour: handle =>
      handle.addNeighbour({ device: 'lo', address: '10.0.0.8', hardwareAddress: '02:00:00:00:00:01' }),
    removeNeighbour: handle => handle.removeNeighbour({ device: 'lo', address: '10.0.0.7' }),
    neighbours: handle => handle.neighbours(),
    setRoute: handle => handle.setRoute({ to: '10.1.0.0/24', device: 'lo' }),
    setNeighbour: handle =>
      handle.setNeighbour({ device: 'lo', address: '10.0.0.8', hardwareAddress: '02:00:00:00:00:01' }),
    rules: handle => handle.rules(),
    addRule: handle => handle.addRule({ from: '10.1.0.0/24', table: 5 }),
    removeRule: handle => handle.removeRule({ priority: 99 }),
    fdb: handle => handle.fdb(),
    addFdbEntry: handle => handle.addFdbEntry({ device: 'lo', address: '02:00:00:00:00:01' }),
    setFdbEntry: handle => handle.setFdbEntry({ device: 'lo', address: '02:00:00:00:00:01' }),
    removeFdbEntry: handle => handle.removeFdbEntry({ device: 'lo', address: '02:00:00:00:00:01' }),
    monitor: handle => handle.monitor(),
  },
  parts: { sync: 'forms' },
};

const SERVICE = { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'rr' } as const;
const KEY = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const;
const SERVER = { address: '10.0.0.2', port: 80, forward: 'masquerade', weight: 1 } as const;
const SERVER_KEY = { address: '10.0.0.2', port: 80 } as const;

const settings: PartTable = {
  verbs: {
    get: handle => handle.get('conntrack'),
    set: handle => handle.set('conntrack', true),
    list: handle => handle.list(),
    // One of its properties is written; all are read.
    conntrack: handle => {
      handle.conntrack = true;
    },
  },
  properties: true,
};

const ipvs = (via: 'netlink' | 'sockopt' | 'auto'): HandleTable => ({
  open: netns => Ipvs.open({ netns, via }),
  verbs: {
    ...forms('info'),
    info: handle => handle.info(),
    addService: handle => handle.addService(SERVICE),
    setService: handle => handle.setService(SERVICE),
    editService: handle => handle.editService(KEY, { scheduler: 'rr' }),
    removeService: handle => handle.removeService(KEY),
    service: handle => handle.service(KEY),
    services: handle => handle.services(),
    addDestination: handle => handle.addDestination(KEY, SERVER),
    setDestination: handle => handle.setDestination(KEY, SERVER),
    editDestination: handle => handle.editDestination(KEY, SERVER_KEY, { weight: 0 }),
    removeDestination: handle => handle.removeDestination(KEY, SERVER_KEY),
    destinations: handle => handle.destinations(KEY),
    flush: handle => handle.flush(),
    zero: handle => handle.zero(),
    timeouts: handle => handle.timeouts(),
    setTimeouts: handle => handle.setTimeouts({ tcpSeconds: 900 }),
    startSync: handle => handle.startSync({ state: 'master', interface: 'lo', syncId: 1 }),
    stopSync: handle => handle.stopSync('master'),
    syncDaemons: handle => handle.syncDaemons(),
    save: handle => handle.save(),
    restore: handle => handle.restore('-A -t 10.0.0.1:80 -s rr'),
    apply: handle => handle.apply([{ op: 'flush' }]),
    batch: handle => handle.batch((batch: { flush(): void }) => batch.flush()),
    snapshot: handle => handle.snapshot(),
    plan: handle => handle.plan([]),
    reconcile: handle => handle.reconcile([]),
    connections: handle => handle.connections(),
  },
  states: ['via'],
  parts: { sync: 'forms', settings },
});

const FLOW = {
  protocol: 'udp',
  timeoutSeconds: 60,
  original: { source: '10.0.0.1', sourcePort: 1, destination: '10.0.0.2', destinationPort: 2 },
} as const;
const EXPECTED = {
  protocol: 'udp',
  source: '10.0.0.2',
  sourcePort: 0,
  destination: '10.0.0.1',
  destinationPort: 9,
} as const;

const conntrackSettings: PartTable = {
  verbs: {
    get: handle => handle.get('acct'),
    set: handle => handle.set('acct', true),
    list: handle => handle.list(),
    acct: handle => {
      handle.acct = true;
    },
  },
  properties: true,
};

const conntrack: HandleTable = {
  open: netns => Conntrack.open({ netns }),
  verbs: {
    ...forms('count'),
    list: handle => handle.list(),
    listAndZero: handle => handle.listAndZero(),
    get: handle => handle.get(FLOW),
    count: handle => handle.count(),
    create: handle => handle.create(FLOW),
    update: handle => handle.update(FLOW, { mark: 1 }),
    delete: handle => handle.delete(FLOW),
    flush: handle => handle.flush({ protocol: 'udp' }),
    expectations: handle => handle.expectations(),
    createExpectation: handle =>
      handle.createExpectation({ master: { protocol: 'udp', ...FLOW.original }, tuple: EXPECTED }),
    deleteExpectation: handle => handle.deleteExpectation({ tuple: EXPECTED }),
    statistics: handle => handle.statistics(),
    expectationStatistics: handle => handle.expectationStatistics(),
    monitor: handle => handle.monitor(),
  },
  parts: { sync: 'forms', settings: conntrackSettings },
};

const conntrackMonitor: HandleTable = {
  open: netns => opened(Conntrack.open({ netns })).monitor(),
  verbs: { asyncIterator: handle => handle[Symbol.asyncIterator]() },
};

const linksMonitor: HandleTable = {
  open: netns => opened(Links.open({ netns })).monitor(),
  verbs: { asyncIterator: handle => handle[Symbol.asyncIterator]() },
};

const nflog: HandleTable = {
  open: netns => Nflog.open({ netns, groups: [5] }),
  verbs: {
    ...forms('addGroup'),
    runInline: handle => handle.runInline('addGroup', 7),
    call: handle => handle.call('addGroup', [8]),
    addGroup: handle => handle.addGroup(6),
    removeGroup: handle => handle.removeGroup(6),
    onBatch: handle => handle.onBatch(() => {}),
    onColumns: handle => handle.onColumns(() => {}),
    onLoss: handle => handle.onLoss(() => {}),
    to: handle => handle.to({ info() {}, warn() {} }),
    toPcap: handle => handle.toPcap(new PassThrough().resume()),
    toPcapng: handle => handle.toPcapng(new PassThrough().resume()),
    ref: handle => handle.ref(),
    unref: handle => handle.unref(),
    asyncIterator: handle => handle[Symbol.asyncIterator](),
  },
  // `finish` closes it, too.
  states: ['groups', 'stats', 'receiveBufferBytes', 'finish'],
  parts: { sync: 'forms' },
};

const REDIRECT = { protocol: 'tcp', address: '10.0.0.1', port: 80, toPort: 8080 } as const;

/** Redirects and log rules have the same verbs. */
const owned = (field: 'redirects' | 'logging', entry: object): HandleTable => ({
  open: netns => opened(Container.open({ netns }))[field],
  verbs: {
    ...forms('list'),
    set: handle => handle.set([entry]),
    add: handle => handle.add([entry]),
    remove: handle => handle.remove([field === 'redirects' ? { ...REDIRECT, toPort: undefined } : entry]),
    list: handle => handle.list(),
    differences: handle => handle.differences([entry]),
    adopt: handle => handle.adopt(),
    release: handle => handle.release(),
  },
  parts: { sync: 'forms' },
});
const redirects = owned('redirects', REDIRECT);
const logging = owned('logging', { group: 5 });

const container = (open: HandleTable['open']): HandleTable => ({
  open,
  verbs: {
    preflight: handle => handle.preflight(),
    nflog: handle => handle.nflog({ groups: [9] }),
    attach: handle => handle.attach({ [Symbol.asyncDispose]: async () => {} })(),
    checkOpen: handle => handle.checkOpen(),
  },
  // `netns` is the caller's where the container was opened by it.
  states: ['ended', 'id', 'released', 'netns'],
  parts: { ipvs: ipvs('auto'), nftables, redirects, logging },
});

const sysctl: PartTable = {
  verbs: {
    get: handle => handle.get('net.ipv4.ip_forward'),
    set: handle => handle.set('net.ipv4.ip_forward', true),
  },
};

const netns: HandleTable = {
  open: netns => NetNs.open({ fd: netns.descriptor }),
  verbs: {
    descriptor: handle => handle.descriptor,
    run: handle => handle.run(() => {}),
    readFile: handle => handle.readFile('/proc/net/dev'),
    pin: handle => handle.pin(`closed-${process.pid}`),
    unpin: handle => handle.unpin(),
  },
  // How it is reached (`access`) tells its descriptor, and fails as `descriptor` does.
  states: ['equals', 'device', 'inode', 'access', 'netsteer.NetNs'],
  parts: { sysctl },
};

const fleet: HandleTable = {
  open: () => Fleet.open(),
  verbs: {
    apply: handle => handle.apply([], {}),
    remove: handle => handle.remove([], {}),
    verify: handle => handle.verify([], {}),
    watch: handle => handle.watch({}, { directories: [], runtimes: [] }),
  },
  states: ['openSockets'],
};

const watch: HandleTable = {
  open: () => opened(Fleet.open()).watch({}, { directories: [], runtimes: [] }),
  verbs: { asyncIterator: handle => handle[Symbol.asyncIterator]() },
  states: ['size'],
};

const BYTES = new Uint8Array(20);
const socket: HandleTable = {
  open: netns => new NetlinkSocket({ netns, protocol: NETLINK_NETFILTER }),
  verbs: {
    send: handle => handle.send(BYTES, 16),
    sendOffThread: handle => handle.sendOffThread(BYTES, 16),
    sendParts: handle => handle.sendParts([BYTES]),
    sendPartsOffThread: handle => handle.sendPartsOffThread([BYTES]),
    receive: handle => handle.receive(new Uint8Array(4096)),
    receiveOffThread: handle => handle.receiveOffThread(new Uint8Array(4096)),
    receiveFrom: handle => handle.receiveFrom(new Uint8Array(4096), new Uint8Array(12)),
    port: handle => handle.port,
    namespace: handle => handle.namespace().close(),
    deviceName: handle => handle.deviceName(1),
    deviceIndex: handle => handle.deviceIndex(''),
    setOption: handle => handle.setOption(SOL_NETLINK, NETLINK_EXT_ACK, 1),
    getOptions: handle => handle.getOptions(1, 8, 1),
    reserve: handle => handle.reserve(1, 0),
    watch: handle => handle.watch(() => {}),
  },
  states: ['netnsInode'],
};

const optionSocket: HandleTable = {
  open: netns => new OptionSocket(netns),
  verbs: {
    set: handle => handle.set(1, 2, new Uint8Array(4)),
    get: handle => handle.get(1, 2, new Uint8Array(4)),
    namespace: handle => handle.namespace().close(),
  },
};

const group: HandleTable = {
  open: netns => GroupReader.open(netns, NETLINK_NETFILTER, [NFNLGRP_NFTABLES], 65536),
  verbs: { drain: handle => handle.drain() },
  // `read` says 'closed', which ends whoever reads: see below.
  states: ['read', 'source', 'rejectedSenders'],
};

const CTRL = attributes('CTRL_ATTR', { id: opt(u16ne(CTRL_ATTR_FAMILY_ID)) });
const CTRL_CMD_GETFAMILY = 3;

/** Everything that the transport can do, as a handle that a program makes for a family of its own. */
class TransportOperations {
  readonly #exchange: Exchange;
  readonly #family: GenericFamily<{ id?: number }>;
  constructor(exchange: Exchange) {
    this.#exchange = exchange;
    this.#family = new GenericFamily(exchange, { name: 'nlctrl', version: 1, table: CTRL, missing: 'no controller' });
  }
  get #call() {
    return { type: GENL_ID_CTRL, syscall: 'CTRL_CMD_GETFAMILY', write: genericHeader };
  }
  get #command() {
    return { command: CTRL_CMD_GETFAMILY, syscall: 'CTRL_CMD_GETFAMILY', value: {} };
  }
  #messages(): EncodedRequests {
    const messages = new EncodedRequests();
    messages.add(GENL_ID_CTRL, 0, genericHeader);
    return messages;
  }
  *request(): Operation<void> {
    yield* this.#exchange.request(this.#call);
  }
  *get(): Operation<unknown> {
    return yield* this.#exchange.get(this.#call, () => 1);
  }
  *dump(): Operation<unknown> {
    return yield* this.#exchange.dump(this.#call, () => 1);
  }
  *pipeline(): Operation<unknown> {
    return yield* pipeline(this.#exchange, [this.#call]);
  }
  *stream(): Operation<unknown> {
    return yield* streamRequests(this.#exchange, this.#messages(), () => this.#call);
  }
  *transact(): Operation<unknown> {
    return yield* this.#exchange.transact([BYTES.slice()], 1, () => true);
  }
  *send(): Operation<unknown> {
    return yield* this.#exchange.send(BYTES.slice(), 16, 1);
  }
  // biome-ignore lint/correctness/useYield: it waits for nothing
  *abandon(): Operation<void> {
    this.#exchange.abandon();
  }
  *familyId(): Operation<unknown> {
    return yield* this.#family.id();
  }
  *familyRequest(): Operation<unknown> {
    return yield* this.#family.request(this.#command);
  }
  *familyGet(): Operation<unknown> {
    return yield* this.#family.get(this.#command, ({ id }) => id);
  }
  *familyDump(): Operation<unknown> {
    return yield* this.#family.dump(this.#command, ({ id }) => id);
  }
  *familyDumpMessages(): Operation<unknown> {
    return yield* this.#family.dumpMessages(this.#command, () => 1);
  }
  *familyPipeline(): Operation<unknown> {
    return yield* this.#family.pipeline([this.#command]);
  }
  *familyStream(): Operation<unknown> {
    return yield* this.#family.stream(this.#messages(), () => this.#command);
  }
}

function genericHeader(writer: { u8(value: number): void; u16(value: number, littleEndian: boolean): void }): void {
  writer.u8(CTRL_CMD_GETFAMILY);
  writer.u8(1);
  writer.u16(0, true);
}

class Transport extends syncAndAsync(TransportOperations) {}

const names = (...operations: string[]): Record<string, Verb> =>
  Object.fromEntries(operations.map(name => [name, (handle: Record<string, () => unknown>) => handle[name]!()]));
const OF_EXCHANGE = ['request', 'get', 'dump', 'transact', 'send', 'abandon'];
/** Steps of these operations that other rooms of the library take, too: they end inside of an operation. */
const STEPS = ['answers', 'budget', 'sendingBudget', 'staysHere', 'take', 'transactNow'];
const OF_FAMILY = ['id', 'request', 'get', 'dump', 'dumpMessages', 'pipeline', 'stream'];

const transport: HandleTable = {
  open: netns => new Transport(new Exchange(new NetlinkSocket({ netns, protocol: NETLINK_GENERIC }), 'things')),
  verbs: {
    ...forms('send'),
    ...names(
      ...OF_EXCHANGE,
      'pipeline',
      'stream',
      ...OF_FAMILY.map(name => `family${name[0]!.toUpperCase()}${name.slice(1)}`),
    ),
  },
  parts: { sync: 'forms' },
};

/** Exported classes whose operations run in a handle: `Transport` has each of them, under these names. */
export const MACHINERY: Readonly<Record<string, readonly string[]>> = {
  Exchange: [...OF_EXCHANGE, ...STEPS],
  GenericFamily: OF_FAMILY,
};

/** Exported classes that are met as parts of others. */
export const PARTS = ['IpvsSettings'];

/** Exported classes that hold nothing of the kernel's. */
export const PLAIN = [
  'Transaction',
  'RulesetMirror',
  'Names',
  'AttributeTable',
  'EncodedRequests',
  'EventLoopBudget',
  'Hole',
  'Observer',
  'Struct',
  'Template',
  'View',
  'Writer',
];

export const HANDLES: Readonly<Record<string, HandleTable>> = {
  Nftables: nftables,
  Monitor: monitor,
  Trace: trace,
  Links: links,
  LinksMonitor: linksMonitor,
  Ipvs: ipvs('netlink'),
  'Ipvs by socket options': ipvs('sockopt'),
  Nflog: nflog,
  Conntrack: conntrack,
  ConntrackMonitor: conntrackMonitor,
  Redirects: redirects,
  Logging: logging,
  Container: container(netns => Container.open({ netns })),
  'Container of a process': container((_, pid) => Container.open({ pid })),
  NetNs: netns,
  Fleet: fleet,
  FleetWatch: watch,
  NetlinkSocket: socket,
  OptionSocket: optionSocket,
  GroupReader: group,
  'a handle of another family': transport,
};

/** Handles that another one was opened from, which closes them: by what they were opened as part of. */
const owners = new Set<{ close(): void }>();

function opened<T extends { close(): void }>(owner: T): T {
  owners.add(owner);
  return owner;
}

/** Closes all of them. */
export function closeOwners(): void {
  for (const owner of owners) owner.close();
  owners.clear();
}
