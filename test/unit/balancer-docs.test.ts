import { expect, it } from 'vitest';
import { formatBalancerStatus, LoadBalancer, type LoadBalancerOptions } from '../../src/balancer/index.ts';
import { MemoryKernel } from '../../src/testing/index.ts';
import { transpileSource } from '../support/compiled.ts';
import { AsyncFunction, SnippetsOf } from '../support/snippets.ts';
import { until } from '../support/wait.ts';

const page = new SnippetsOf('test/unit/balancer-docs.test.ts');

it("docs/balancer.md's example makes the deployment, prints its status and then its events", async () => {
  const body = transpileSource(page.take('LoadBalancer.open').code.replaceAll(/^import .*$/gm, ''));
  await using kernel = MemoryKernel.create();
  const links = (...addresses: string[]) => ({
    links: addresses.map((address, i) => ({ name: `eth${i}`, addresses: [address] })),
  });
  const containers = new Map([
    ['lvs', kernel.container('lvs', links('10.10.0.2/24', '192.168.0.2/24'))],
    ['web1', kernel.container('web1', links('192.168.0.50/24'))],
    ['web2', kernel.container('web2', links('192.168.0.51/24'))],
  ]);
  const printed: string[] = [];
  const stop = new AbortController();
  const parameters = {
    Container: { find: async (name: string) => containers.get(name) },
    LoadBalancer: { open: (options: LoadBalancerOptions) => LoadBalancer.open({ ...options, signal: stop.signal }) },
    formatBalancerStatus,
    console: { log: (text: string) => printed.push(text) },
  };
  const run = new AsyncFunction(...Object.keys(parameters), body)(...Object.values(parameters));
  // The kernel in memory has no servers: a check of them fails.
  await until(() => printed.includes('down'));
  stop.abort();
  await run;
  expect(printed[0]).toMatch(/web.*tcp 10\.10\.0\.100 80/);
  expect(await containers.get('web1')!.redirects.list()).toEqual([
    { protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 },
  ]);
});

it('leaves no example out', () => {
  expect(page.left).toEqual([]);
});
