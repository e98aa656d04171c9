import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { Container, Links, NetNs } from 'netsteer';
import { type BalancedService, type CheckedServer, LoadBalancer } from 'netsteer/balancer';
import { MemoryKernel } from 'netsteer/testing';
import { Checker, CheckSlots } from '../src/balancer/health/checker.ts';
import { readHealth } from '../src/balancer/health/declaration.ts';
import type { HealthCheck } from '../src/balancer/index.ts';
import { NetNs as CheckedNetNs } from '../src/netns/index.ts';
import { compare, type Program, type Result, resultOf, type Sample, timed } from './harness.ts';

const SERVICES = 1000;
const SERVERS = 4;
const CHECKS = 1000;

/**
 * A load balancer of many services: its declaration, the time from a failed check to the kernel, and what checks cost. Where the kernel has no IPVS,
 * the first two are measured on the kernel in memory, whose own time is then in the figures.
 */
export async function balancer(quick: boolean): Promise<{ results: Result[]; versions: Record<string, string> }> {
  const real = await hasIpvs();
  const results = [
    ...(await declarations(real, quick ? 1 : 3)),
    await failures(real, quick ? 40 : 200),
    ...(await checks(quick ? 2 : 5, quick ? 1 : 3)),
  ];
  return { results, versions: { IPVS: real ? 'the kernel' : 'the kernel in memory' } };
}

async function hasIpvs(): Promise<boolean> {
  await using container = Container.open({ netns: NetNs.create() });
  return container.ipvs.info().then(
    () => true,
    () => false,
  );
}

interface Place {
  container: Container;
  close(): Promise<unknown>;
}

async function placeOf(real: boolean): Promise<Place> {
  if (real) {
    const container = Container.open({ netns: NetNs.create() });
    return { container, close: () => container[Symbol.asyncDispose]() };
  }
  const kernel = MemoryKernel.create();
  return { container: kernel.container('lvs'), close: () => kernel.close() };
}

const declared = (health?: HealthCheck): BalancedService[] =>
  Array.from({ length: SERVICES }, (_, i) => ({
    name: `service${i}`,
    protocol: 'tcp',
    address: `10.${100 + (i >> 8)}.${i & 255}.1`,
    port: 80,
    scheduler: 'wlc',
    forward: 'direct',
    servers: Array.from({ length: SERVERS }, (_, j) => ({
      name: `s${j}`,
      address: `10.${i >> 8}.${i & 255}.${j + 1}`,
    })),
    ...(health !== undefined && { health }),
  }));

async function declarations(real: boolean, rounds: number): Promise<Result[]> {
  const services = declared();
  const name = `${SERVICES}-services`;
  const run = async (work: (lb: LoadBalancer) => Promise<Sample>): Promise<Sample> => {
    const { container, close } = await placeOf(real);
    const lb = LoadBalancer.open({ balancers: [container] });
    try {
      return await work(lb);
    } finally {
      await lb.close();
      await close();
    }
  };
  const first: Program = { name: 'netsteer', run: () => run(lb => timed(() => lb.apply(services))) };
  const again: Program = {
    name: 'netsteer',
    run: () =>
      run(async lb => {
        await lb.apply(services);
        return timed(() => lb.apply(services));
      }),
  };
  const options = { operations: SERVICES * (SERVERS + 1), rounds, warmUp: 1 };
  return [
    ...(await compare(`apply/${name}`, [first], options)),
    ...(await compare(`apply-again/${name}`, [again], options)),
  ];
}

/** From the end of a check that fails to the kernel's answer to the change that follows. */
async function failures(real: boolean, count: number): Promise<Result> {
  const { container, close } = await placeOf(real);
  const latencies: number[] = [];
  let answered = () => {};
  let failing = false;
  let beganMs = 0;
  const failed = new Set<string>();
  const exec = ({ service, name }: CheckedServer) => {
    const id = `${service}/${name}`;
    if (failed.has(id)) return false;
    if (!failing || name !== 's0') return true;
    failing = false;
    failed.add(id);
    beganMs = performance.now();
    return false;
  };
  const lb = LoadBalancer.open({ balancers: [container] });
  await lb.apply(declared({ exec, intervalMs: 5000, timeoutMs: 5000, rise: 1000, fall: 1 }));
  const { ipvs } = container;
  const apply = ipvs.apply.bind(ipvs);
  // The balancer's only change of IPVS is that of the server that has just failed.
  ipvs.apply = (async (...parameters: Parameters<typeof apply>) => {
    const result = await apply(...parameters);
    latencies.push((performance.now() - beganMs) / 1000);
    answered();
    return result;
  }) as typeof ipvs.apply;
  const sample = await timed(async () => {
    while (latencies.length < count) {
      const done = new Promise<void>(resolve => {
        answered = resolve;
      });
      failing = true;
      await done;
    }
  });
  await lb.close();
  await close();
  return resultOf(`failed-check/${SERVICES}-services`, 'netsteer', [{ ...sample, latencies }]);
}

/** Checks of 1,000 a second of servers in another namespace and another process. The CPU time is that of one second: a millionth of it is a core's. */
async function checks(seconds: number, rounds: number): Promise<Result[]> {
  using netns = CheckedNetNs.create();
  using there = NetNs.create();
  await using outside = Links.open({ netns: there });
  const server = await serve(there);
  try {
    const inside = NetNs.open({ path: `/proc/${process.pid}/fd/${netns.descriptor}` });
    await using links = Links.open({ netns: inside });
    await links.createVeth({ name: 'eth0', up: true, peer: { name: 'eth0', netns: there } });
    await outside.set('eth0', { up: true });
    await links.addAddress('eth0', '10.99.0.1/24');
    await outside.addAddress('eth0', '10.99.0.2/24');
    const results: Result[] = [];
    for (const [name, health, port] of [
      ['tcp', { tcp: true }, 8080],
      ['http', { http: true }, 8080],
    ] as const) {
      const program: Program = { name: 'netsteer', run: () => checkFor(netns, health, port, seconds) };
      results.push(...(await compare(`${name}-checks-a-second/${CHECKS}`, [program], { rounds, warmUp: 1 })));
    }
    inside.close();
    return results;
  } finally {
    server.kill('SIGKILL');
  }
}

async function checkFor(netns: CheckedNetNs, health: HealthCheck, port: number, seconds: number): Promise<Sample> {
  const check = readHealth({ ...health, intervalMs: 1000 }, { scheduler: 'rr' }, []);
  const slots = new CheckSlots(256);
  let good = 0;
  let bad = 0;
  const target = { service: 'bench', name: 's', address: '10.99.0.2', port };
  const checkers = Array.from(
    { length: CHECKS },
    () => new Checker(netns, check, target, slots, result => (result.good ? good++ : bad++)),
  );
  // In the first second the checks begin.
  await delay(1000);
  const before = good + bad;
  const sample = await timed(() => delay(seconds * 1000));
  const done = good + bad - before;
  for (const checker of checkers) checker.stop();
  if (bad > 0) throw new Error(`${bad} of ${good + bad} checks have failed`);
  // For 1,000 of them, so that a second that had a few more or less is the same.
  return { seconds: sample.seconds / seconds, cpuMicroseconds: ((sample.cpuMicroseconds ?? 0) * CHECKS) / done };
}

async function serve(netns: NetNs): Promise<ChildProcess> {
  const program = `require('node:http').createServer((_, reply) => reply.end('ok')).listen({ port: 8080, backlog: 4096 }, () => console.log('ready'))`;
  const child = netns.run(() => spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] }));
  await once(child.stdout!, 'data');
  return child;
}
