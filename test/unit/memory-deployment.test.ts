import { expect, test } from 'vitest';
import { MemoryKernel, tcp } from '../../src/testing/index.ts';

/* The deployment of the README: docs/guide/test-without-root.md has the same lines. */

test('a SYN goes to web1 by direct routing, web1 redirects it to 8080 and logs it, and the next goes to web2', async () => {
  await using kernel = MemoryKernel.create();
  const vip = '10.10.0.100';
  const lb = kernel.container('lb', { links: [{ name: 'eth0', addresses: ['10.10.0.1/24', `${vip}/32`] }] });
  const servers = ['10.10.0.11', '10.10.0.12'].map((address, i) =>
    kernel.container(`web${i + 1}`, { links: [{ name: 'eth0', addresses: [`${address}/24`] }] }),
  );
  const destinations = ['10.10.0.12', '10.10.0.11'].map(address => ({ address, port: 80, forward: 'direct' }) as const);
  await lb.ipvs.reconcile([{ protocol: 'tcp', address: vip, port: 80, scheduler: 'rr', destinations }]);
  for (const web of servers) {
    await web.redirects.set([{ protocol: 'tcp', address: vip, port: 80, toPort: 8080 }]);
    await web.logging.set([{ group: 5, prefix: 'http ' }]);
  }
  const [web1] = servers;
  const log = web1!.nflog({ groups: [5] });

  const first = lb.receive(tcp({ from: '10.10.0.9:40001', to: `${vip}:80` }), { on: 'eth0' });
  expect(first).toMatchObject({
    verdict: 'forward',
    forwardedTo: { address: '10.10.0.11', port: 80, method: 'direct' },
  });
  const taken = web1!.receive(first.packet, { on: 'eth0' });
  expect(taken).toMatchObject({ verdict: 'accept', packet: { from: '10.10.0.9:40001', to: '10.10.0.11:8080' } });
  expect(taken.logs.map(({ group, prefix }) => `${group} ${prefix}`)).toEqual(['5 http ']);

  kernel.advance(1000);
  for await (const packet of log) {
    expect(packet.summary()).toMatch(/^http IN=eth0 .*SRC=10\.10\.0\.9 .*SPT=40001 /);
    break;
  }
  const second = lb.receive(tcp({ from: '10.10.0.9:40002', to: `${vip}:80` }), { on: 'eth0' });
  expect(second.forwardedTo?.address).toBe('10.10.0.12');
});
