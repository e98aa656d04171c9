import { writeFileSync } from 'node:fs';
import {
  type Destination,
  formatRules,
  Ipvs,
  type IpvsOperation,
  isNotFound,
  Links,
  NetNs,
  type Service,
  type VirtualServer,
} from 'netsteer';
import { Exchange, NETLINK_GENERIC, NetlinkSocket } from 'netsteer/netlink';
import { compare, type Program, type Result, type Sample, timed, timedEach, Unavailable } from './harness.ts';
import { operationsFor, SERVERS, virtualServers } from './ipvs-servers.ts';
import {
  compiled,
  missing,
  outputOf,
  scratch,
  timedCommand,
  timedFloor,
  timedScript,
  versionOf,
  type Warm,
  writeDatagrams,
} from './programs.ts';
import { Recorder } from './record.ts';

/** Milliseconds for the kernel to clear up behind a namespace with a full table. */
const REST = 300;
const WARM_UP = 4;

interface Context {
  readonly servers: VirtualServer[];
  readonly operations: IpvsOperation[];
  readonly ipvsadm: boolean;
  readonly floor: string | undefined;
  readonly rounds: number;
  /** Of filling a table: a short span, of which a few runs say little. */
  readonly fillings: number;
}

/** IPVS beside ipvsadm and beside the kernel alone, each run in a namespace of its own. */
export async function ipvs(quick: boolean): Promise<{ results: Result[]; versions: Record<string, string> }> {
  await inNew(checkKernel);
  const ipvsadm = versionOf('ipvsadm', '--version');
  const results: Result[] = [];
  for (const count of quick ? [200] : [200, 2_000]) {
    const servers = virtualServers(count);
    const context: Context = {
      servers,
      operations: operationsFor(servers),
      ipvsadm: ipvsadm !== undefined,
      floor: compiled('floor-netlink'),
      rounds: quick ? 3 : 5,
      fillings: quick ? 9 : 5,
    };
    const size = `${count}x${SERVERS}`;
    results.push(
      ...(await loading(size, context)),
      ...(await loadingCold(size, context)),
      ...(await listing(size, context)),
      ...(await reconciling(size, context)),
    );
    if (results.every(each => each.case !== 'one-change'))
      results.push(...(await oneChange(quick ? 200 : 1_000, context)));
  }
  return { results, versions: ipvsadm === undefined ? {} : { ipvsadm } };
}

/** From plain objects, or from ipvsadm's file, to the kernel's last answer. */
async function loading(name: string, context: Context): Promise<Result[]> {
  const { servers, operations, ipvsadm, floor, fillings } = context;
  const text = formatRules(servers);
  const one = (handle: Ipvs, operation: IpvsOperation) =>
    operation.op === 'addService'
      ? handle.addService(operation.service as Service)
      : operation.op === 'addDestination'
        ? handle.addDestination(operation.key, operation.destination as Destination)
        : undefined;
  const programs: Program[] = [
    filling('netsteer', handle => timed(() => handle.apply(operations))),
    filling('netsteer, sync', handle => timed(() => handle.sync.apply(operations))),
    filling('netsteer, restore', handle => timed(() => handle.restore(text))),
    filling('netsteer, one by one', handle => timedEach(operations.length, i => one(handle, operations[i]!))),
  ];
  if (ipvsadm) {
    const input = scratch('ipvs.rules');
    writeFileSync(input, text);
    programs.push({
      name: 'ipvsadm',
      run: () => inNew((_, netns) => timedCommand({ program: 'ipvsadm', parameters: ['-R'], netns, input })),
    });
  }
  if (floor !== undefined) {
    const batched = await recorded(handle => handle.apply(operations));
    const single = await recorded(async handle => {
      for (const operation of operations) await one(handle, operation);
    });
    // As many rounds as `filling` has behind it when the first one counts.
    const warm: Warm = { rounds: 2 * WARM_UP + 1, where: 'new' };
    for (const [label, datagrams] of [
      ['floor', batched],
      ['floor, one by one', single],
    ] as const) {
      const file = writeDatagrams(label, datagrams);
      programs.push({
        name: label,
        run: () => inNew((_, netns) => timedFloor(floor, NETLINK_GENERIC, file, netns, warm)),
      });
    }
  }
  // What is warm shall stay so: a full collection would take the code that has been optimized.
  return compare(`load/${name}`, programs, {
    operations: operations.length,
    rounds: fillings,
    warmUp: WARM_UP,
    rest: REST,
  });
}

/** The same as the first thing that a process does: nothing is compiled yet. Its start is not in the span, as that of ipvsadm is. */
function loadingCold(name: string, { servers, operations, rounds }: Context): Promise<Result[]> {
  const program = (label: string, how: 'apply' | 'restore'): Program => ({
    name: label,
    run: () => inNew((_, netns) => timedScript('ipvs-cold', [how, String(servers.length)], netns)),
  });
  const programs = [program('netsteer', 'apply'), program('netsteer, restore', 'restore')];
  return compare(`load-cold/${name}`, programs, { operations: operations.length, rounds, warmUp: 0 });
}

/** All services and their servers: as objects, and as ipvsadm's text. */
async function listing(name: string, context: Context): Promise<Result[]> {
  const { operations, ipvsadm, floor, rounds, servers } = context;
  return inNew(async (handle, netns) => {
    await handle.apply(operations);
    const programs: Program[] = [
      inProcess('netsteer', () =>
        timed(async () => {
          const found = await handle.services({ destinations: true });
          if (found.length !== servers.length) throw new Error(`${found.length} services were listed`);
        }),
      ),
      inProcess('netsteer, snapshot', () => timed(() => handle.snapshot())),
      inProcess('netsteer, save', () => timed(() => handle.save())),
    ];
    if (ipvsadm) {
      const parameters = ['-S', '-n'];
      const lines = (await outputOf({ program: 'ipvsadm', parameters, netns })).trim().split('\n').length;
      if (lines !== operations.length) missing('ipvsadm -S', `it prints ${lines} of ${operations.length} lines`);
      else programs.push({ name: 'ipvsadm', run: () => timedCommand({ program: 'ipvsadm', parameters, netns }) });
    }
    if (floor !== undefined) {
      const datagrams = await recorded(other => other.services({ destinations: true }), netns);
      const file = writeDatagrams('ipvs-list', datagrams);
      const warm: Warm = { rounds: 5, where: 'here' };
      programs.push({ name: 'floor', run: () => timedFloor(floor, NETLINK_GENERIC, file, netns, warm) });
    }
    return compare(`list/${name}`, programs, { operations: operations.length, rounds, warmUp: 2 });
  });
}

/** A full table of which 1 % of the services is to change: in each one server's weight, and another server takes the place of one. */
function reconciling(name: string, { operations, servers, rounds }: Context): Promise<Result[]> {
  return inNew(async handle => {
    await handle.apply(operations);
    const other = servers.map((server, i) => (i % 100 === 0 ? changed(server) : server));
    let turn = 0;
    const reconcile = async (desired: readonly VirtualServer[], expected: number) => {
      const { operations: done } = await handle.reconcile(desired);
      if (done.length !== expected) throw new Error(`${done.length} operations in place of ${expected}`);
    };
    const changes = 3 * Math.ceil(servers.length / 100);
    const programs: Program[] = [
      { name: 'netsteer, snapshot', run: () => timed(() => handle.snapshot()) },
      { name: 'netsteer', run: () => timed(() => reconcile(turn++ % 2 === 0 ? other : servers, changes)) },
      { name: 'netsteer, nothing to do', run: () => timed(() => reconcile(turn % 2 === 0 ? servers : other, 0)) },
    ];
    return compare(`reconcile/${name}`, programs, { rounds, warmUp: 2 });
  });
}

function changed(server: VirtualServer): VirtualServer {
  const [first, second, ...rest] = server.destinations as [Destination, Destination];
  return { ...server, destinations: [{ ...first, weight: 77 }, { ...second, address: '192.168.77.1' }, ...rest] };
}

/** The weight of one server of a table that is full. */
async function oneChange(count: number, { operations, servers, ipvsadm, floor, rounds }: Context): Promise<Result[]> {
  return inNew(async (handle, netns) => {
    await handle.apply(operations);
    const [{ destinations, ...service }] = servers as [VirtualServer];
    const server = (weight: number): Destination => ({ ...destinations[0]!, weight });
    const programs: Program[] = [
      inProcess('netsteer', () => timedEach(count, i => handle.setDestination(service, server(1 + (i % 100))))),
      inProcess('netsteer, sync', () =>
        timedEach(count, i => handle.sync.setDestination(service, server(1 + (i % 100)))),
      ),
    ];
    if (floor !== undefined) {
      const datagrams = await recorded(async other => {
        for (let i = 0; i < count; i++) await other.setDestination(service, server(1 + (i % 100)));
      }, netns);
      const file = writeDatagrams('ipvs-set', datagrams);
      const warm: Warm = { rounds: 3, where: 'here' };
      programs.push({ name: 'floor', run: () => timedFloor(floor, NETLINK_GENERIC, file, netns, warm) });
    }
    const results = await compare('one-change', programs, { operations: count, rounds });
    if (!ipvsadm) return results;
    const changes = 20;
    const key = ['-t', `${(service as { address: string }).address}:80`, '-r', `${destinations[0]!.address}:8080`];
    const run = async () => {
      const latencies: number[] = [];
      for (let i = 0; i < changes; i++) {
        const parameters = ['-e', ...key, '-m', '-w', String(1 + i)];
        latencies.push((await timedCommand({ program: 'ipvsadm', parameters, netns })).seconds);
      }
      return { seconds: latencies.reduce((sum, each) => sum + each, 0), latencies };
    };
    return [
      ...results,
      ...(await compare('one-change', [{ name: 'ipvsadm', run }], { operations: changes, rounds: 3, warmUp: 0 })),
    ];
  });
}

/**
 * A program that runs in this process, warm: the run that counts comes right behind one that does not. Starting a child, as the other programs
 * do, leaves all memory of this process to be copied when it is next written to, and a page fault costs 0.4 ms in User-mode Linux: whoever ran
 * behind a child would pay for it.
 */
function inProcess(name: string, run: () => Promise<Sample>): Program {
  return {
    name,
    run: async () => {
      await run();
      return run();
    },
  };
}

/** The datagrams that an operation sends, in a namespace of its own unless told otherwise. The question for the family's number is none of them. */
async function recorded(work: (handle: Ipvs) => Promise<unknown>, inside?: NetNs): Promise<Uint8Array[]> {
  const netns = inside ?? (await newNamespace());
  const recorder = new Recorder(new NetlinkSocket({ netns, protocol: NETLINK_GENERIC }));
  const handle = new Ipvs(new Exchange(recorder, 'ipvs'));
  await handle.info();
  recorder.datagrams.length = 0;
  await work(handle);
  await handle[Symbol.asyncDispose]();
  if (inside === undefined) netns.close();
  return recorder.datagrams;
}

/** As above, each run in a new namespace: the first is ended behind the second, which would else share its processor with the kernel's clean-up. */
function filling(name: string, fill: (handle: Ipvs) => Promise<Sample>): Program {
  return {
    name,
    run: () =>
      inNew(async other => {
        await fill(other);
        return await inNew(fill);
      }),
  };
}

async function checkKernel(handle: Ipvs): Promise<void> {
  try {
    await handle.info();
  } catch (error) {
    if (!isNotFound(error)) throw error;
    throw new Unavailable(
      'ipvs: this kernel has no IPVS. Load its module (modprobe ip_vs), or use --guest uml or qemu',
      {
        cause: error,
      },
    );
  }
}

async function inNew<T>(work: (handle: Ipvs, netns: NetNs) => T | Promise<T>): Promise<T> {
  const netns = await newNamespace();
  const handle = Ipvs.open({ netns, via: 'netlink' });
  try {
    return await work(handle, netns);
  } finally {
    await handle[Symbol.asyncDispose]();
    await netns[Symbol.asyncDispose]();
  }
}

/** In a namespace whose loopback device is down, and that has no address, IPVS takes no server. */
async function newNamespace(): Promise<NetNs> {
  const netns = NetNs.create();
  using links = Links.open({ netns });
  await links.set('lo', { up: true });
  return netns;
}
