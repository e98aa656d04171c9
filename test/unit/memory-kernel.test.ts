import { expect, test } from 'vitest';
import { Conntrack } from '../../src/conntrack/index.ts';
import { formatRuleset, Transaction } from '../../src/nftables/index.ts';
import { MemoryKernel, simulate, tcp } from '../../src/testing/index.ts';

test('a kernel in memory takes a ruleset and gives it back', async () => {
  const web = MemoryKernel.create({ release: '6.18' }).container('web');
  await web.nftables.apply(`table inet t {
  set s { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 }; }
  chain d { limit rate 5/second log prefix "x" group 3; }
  chain c { type filter hook input priority 0; policy drop; ip saddr @s tcp dport { 80, 443 } counter accept; jump d; }
}`);
  expect(formatRuleset(await web.nftables.ruleset())).toMatchInlineSnapshot(`
    "table inet t {
    	set s {
    		type ipv4_addr
    	}

    	chain d {
    		limit rate 5/second burst 5 packets log prefix "x" group 3
    	}

    	chain c {
    		type filter hook input priority filter; policy drop;
    		ip saddr @s tcp dport { 80, 443 } counter packets 0 bytes 0 accept
    		jump d
    	}
    }
    "
  `);
  const tx = new Transaction();
  tx.add({ chain: { family: 'ip', table: 'nope', name: 'x' } });
  await expect(web.nftables.commit(tx)).rejects.toThrow('ENOENT');
});

test('a web container takes the foreign address by its redirect', async () => {
  const kernel = MemoryKernel.create();
  const web1 = kernel.container('web1', {
    links: [{ name: 'eth0', addresses: ['192.168.0.50/24', '10.10.0.100/32'] }],
  });
  await web1.redirects.set([{ protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 }]);
  await web1.logging.set([{ group: 5, prefix: 'web1 ' }]);
  const got = web1.receive(tcp({ from: '10.10.0.1:40000', to: '10.10.0.100:80' }), { on: 'eth0' });
  expect(got.verdict).toBe('accept');
});

test('IPVS of a kernel in memory', async () => {
  const kernel = MemoryKernel.create();
  const lb = kernel.container('lb', { links: [{ name: 'eth0', addresses: ['10.10.0.100/24'] }] });
  await lb.ipvs.addService({ protocol: 'tcp', address: '10.10.0.100', port: 80, scheduler: 'wrr' });
  const key = { protocol: 'tcp', address: '10.10.0.100', port: 80 } as const;
  await lb.ipvs.addDestination(key, { address: '10.10.0.2', port: 80, forward: 'direct', weight: 2 });
  await expect(lb.ipvs.addDestination(key, { address: '10.10.0.2', port: 80, forward: 'direct' })).rejects.toThrow(
    'EEXIST',
  );
  expect(await lb.ipvs.save()).toBe('-A -t 10.10.0.100:80 -s wrr\n-a -t 10.10.0.100:80 -r 10.10.0.2:80 -g -w 2\n');
  await lb.ipvs.restore('-A -u 10.10.0.100:53 -s rr -p 60\n-a -u 10.10.0.100:53 -r 10.10.0.3:53 -m\n');
});

test('the deployment: the balancer chooses, the web containers redirect and log', async () => {
  const kernel = MemoryKernel.create();
  const lb = kernel.container('lb', { links: [{ name: 'eth0', addresses: ['10.10.0.1/24', '10.10.0.100/32'] }] });
  await lb.ipvs.addService({ protocol: 'tcp', address: '10.10.0.100', port: 80, scheduler: 'rr' });
  const key = { protocol: 'tcp', address: '10.10.0.100', port: 80 } as const;
  for (const address of ['10.10.0.2', '10.10.0.3'])
    await lb.ipvs.addDestination(key, { address, port: 80, forward: 'direct' });
  const chosen = [1, 2, 3].map(i => {
    const syn = tcp({ from: `10.10.0.9:4000${i}`, to: '10.10.0.100:80' });
    const { verdict, forwardedTo } = lb.receive(syn, { on: 'eth0' });
    return `${verdict} ${forwardedTo?.address} ${forwardedTo?.method}`;
  });
  expect(chosen).toEqual(['forward 10.10.0.3 direct', 'forward 10.10.0.2 direct', 'forward 10.10.0.3 direct']);
  const { servers } = await lb.ipvs.snapshot();
  expect(servers[0]!.destinations.map(each => [each.address, each.activeConnections])).toEqual([
    ['10.10.0.3', 2],
    ['10.10.0.2', 1],
  ]);
});

test('NFLOG of a kernel in memory', async () => {
  const kernel = MemoryKernel.create();
  const web1 = kernel.container('web1', { links: [{ name: 'eth0', addresses: ['192.168.0.50/24'] }] });
  await web1.logging.set([{ group: 5, prefix: 'web1 ' }]);
  const log = web1.nflog({ groups: [5] });
  web1.receive(tcp({ from: '192.168.0.1:40000', to: '192.168.0.50:80' }), { on: 'eth0' });
  kernel.advance(2000);
  for await (const packet of log) {
    expect(packet.summary()).toContain('IN=eth0');
    expect(packet.prefix).toBe('web1 ');
    break;
  }
  await log.close();
});

test('connections of a kernel in memory', async () => {
  const kernel = MemoryKernel.create();
  const web1 = kernel.container('web1', {
    links: [{ name: 'eth0', addresses: ['192.168.0.50/24', '10.10.0.100/32'] }],
  });
  await web1.redirects.set([{ protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 }]);
  web1.receive(tcp({ from: '10.10.0.1:40000', to: '10.10.0.100:80' }), { on: 'eth0' });
  await using ct = Conntrack.open({ netns: web1.netns });
  expect(await ct.count()).toBe(1);
  const [flow] = await ct.list();
  expect(flow).toMatchObject({
    protocol: 'tcp',
    original: { source: '10.10.0.1', destination: '10.10.0.100', destinationPort: 80 },
    reply: { source: '192.168.0.50', sourcePort: 8080 },
    timeoutSeconds: 120,
  });
  expect(await ct.flush()).toBe(1);
});

test('a kernel in memory goes back to a snapshot, fails where it is told to, and prints itself', async () => {
  const kernel = MemoryKernel.create();
  const web1 = kernel.container('web1', { links: [{ name: 'eth0', addresses: ['192.168.0.50/24'] }] });
  const before = kernel.snapshot();
  await web1.nftables.apply('add table ip x');
  await web1.ipvs.addService({ protocol: 'tcp', address: '10.10.0.100', port: 80, scheduler: 'rr' });
  expect(kernel.text()).toBe('# web1\ntable ip x {\n}\n-A -t 10.10.0.100:80 -s rr\n');
  kernel.restore(before);
  expect(await web1.nftables.tables()).toEqual([]);
  kernel.fail({ syscall: 'sendto', errno: 'ENOBUFS' });
  await expect(web1.nftables.tables()).rejects.toThrow('ENOBUFS');
  expect(await web1.nftables.tables()).toEqual([]);
  web1.end();
  await web1.closed;
});

test('a packet is simulated', async () => {
  const kernel = MemoryKernel.create();
  const web1 = kernel.container('web1');
  await web1.nftables.apply(
    'table inet f {\n chain in {\n type filter hook input priority 0; policy drop\n tcp dport 22 accept\n }\n }\n',
  );
  const ruleset = await web1.nftables.ruleset({ elements: true });
  const packet = (port: number) => tcp({ from: '10.0.0.1:1', to: `10.0.0.2:${port}` });
  expect(simulate(ruleset, packet(22)).verdict).toBe('accept');
  expect(simulate(ruleset, packet(23))).toMatchObject({
    verdict: 'drop',
    steps: [{ table: 'f', chain: 'in', verdict: 'drop' }],
  });
});
