import { expect, it, onTestFinished } from 'vitest';
import {
  formatBalancerPlan,
  formatBalancerStatus,
  LoadBalancer,
  type LoadBalancerOptions,
} from '../../src/balancer/index.ts';
import { MemoryKernel } from '../../src/testing/index.ts';
import { transpileSource } from '../support/compiled.ts';
import { AsyncFunction, patternOf, SnippetsOf } from '../support/snippets.ts';
import { until } from '../support/wait.ts';

const page = new SnippetsOf('test/unit/balancer-docs.test.ts');

/** The containers that the pages speak of, and what a snippet imports. */
function world() {
  const kernel = MemoryKernel.create();
  onTestFinished(() => kernel.close());
  const links = (...addresses: string[]) => ({
    links: addresses.map((address, i) => ({ name: `eth${i}`, addresses: [address] })),
  });
  const containers = {
    lvs: kernel.container('lvs', links('10.10.0.2/24', '192.168.0.2/24')),
    web1: kernel.container('web1', links('192.168.0.50/24')),
    web2: kernel.container('web2', links('192.168.0.51/24')),
  };
  const printed: string[] = [];
  const stop = new AbortController();
  const imports = {
    Container: { find: async (name: keyof typeof containers) => containers[name] },
    LoadBalancer: { open: (options: LoadBalancerOptions) => LoadBalancer.open({ ...options, signal: stop.signal }) },
    formatBalancerStatus,
    formatBalancerPlan,
    console: { log: (text: string) => printed.push(text) },
  };
  const run = (code: string, more: object = {}) => {
    const all = { ...imports, ...more };
    const body = transpileSource(code.replaceAll(/^import .*$/gm, ''));
    return new AsyncFunction(...Object.keys(all), body)(...Object.values(all));
  };
  return { containers, printed, stop, run };
}

it("docs/balancer.md's example makes the deployment, prints its status and then its events", async () => {
  const { containers, printed, stop, run } = world();
  const running = run(page.take('for await (const event of lb.events()) console.log').code);
  // The kernel in memory has no servers: a check of them fails.
  await until(() => printed.includes('down'));
  stop.abort();
  await running;
  expect(printed[0]).toMatch(/web.*tcp 10\.10\.0\.100 80/);
  expect(await containers.web1.redirects.list()).toEqual([
    { protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 },
  ]);
});

it('the guide to a balanced service prints its plan, and makes it', async () => {
  const { containers, printed, run } = world();
  const snippet = page.take('changes are left');
  await run(snippet.code);
  expect(printed.join('\n').trim()).toMatch(patternOf(snippet.prints!));
  expect(await containers.lvs.ipvs.services()).toHaveLength(1);
});

it("the guide's functions tell of servers that fail, and take a server out and back", async () => {
  const { containers, printed, run } = world();
  const { lvs } = containers;
  let good = true;
  await using lb = LoadBalancer.open({ balancers: [lvs] });
  const servers = [
    { name: 'web1', address: '192.168.0.50' },
    { name: 'web2', address: '192.168.0.51' },
  ];
  const health = {
    exec: ({ name }: { name: string }) => good || name !== 'web2',
    intervalMs: 50,
    timeoutMs: 40,
    rise: 1,
    fall: 1,
  };
  const web = { protocol: 'tcp', address: '10.10.0.100', port: 80 } as const;
  await lb.apply([{ ...web, name: 'web', scheduler: 'wlc', forward: 'direct', servers, health }]);
  void run(`${page.take('async function tell').code}\nawait tell(lb);`, { lb });
  await until(() => printed.length > 0);
  good = false;
  await until(() => printed.includes('web2 is down: the function says no'));
  good = true;
  await until(() => printed.includes('web2 is up again'));
  const weights: (number | undefined)[] = [];
  const work = async () => {
    for (const { weight } of await lvs.ipvs.destinations(web)) weights.push(weight);
  };
  await run(`${page.take('async function restart').code}\nawait restart(lb, work);`, { lb, work });
  expect(weights.sort()).toEqual([0, 1]);
  expect((await lvs.ipvs.destinations(web)).map(({ weight }) => weight)).toEqual([1, 1]);
});

it('the guide from keepalived adopts what keepalived has left, without a change of a service or a server', async () => {
  const { containers, printed, run } = world();
  const { ipvs, netns } = containers.lvs;
  netns.sysctl.set('net.ipv4.ip_forward', '1');
  const key = { protocol: 'tcp', address: '10.10.0.100', port: 80 } as const;
  await ipvs.addService({ ...key, scheduler: 'wlc', persistence: { timeoutSeconds: 300 } });
  await ipvs.addDestination(key, { address: '192.168.0.50', port: 8080, forward: 'masquerade', weight: 2 });
  await ipvs.addDestination(key, { address: '192.168.0.51', port: 8080, forward: 'masquerade' });
  const before = await ipvs.save();
  const snippet = page.take('adopt: true');
  await run(snippet.code);
  expect(printed.join('\n').trim()).toMatch(patternOf(snippet.prints!));
  expect(await ipvs.save()).toBe(before);
});

it('leaves no example out', () => {
  expect(page.left).toEqual([]);
});
