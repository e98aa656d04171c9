import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fc from 'fast-check';
import { formatPlan, type VirtualServer } from 'netsteer/ipvs';
import { Links } from 'netsteer/rtnetlink';
import { expect, it } from 'vitest';
import { virtualServers } from '../support/ipvs-arbitrary.ts';
import { freshIpvsNamespaces, ipvs, netns, savedByIpvsadm } from '../support/ipvs-namespace.ts';
import { PATIENCE_MILLISECONDS, until } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

const key = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const;
const server = (last: number, weight = 1) =>
  ({ address: `10.1.0.${last}`, port: 80, forward: 'direct', weight }) as const;
const web = (...servers: number[]): VirtualServer => ({
  ...key,
  scheduler: 'wlc',
  destinations: servers.map(last => server(last)),
});

kernelSuite('reconcile on a real kernel', () => {
  freshIpvsNamespaces();

  it('turns any set of virtual servers into any other, and a second run changes nothing', async () => {
    await fc.assert(
      fc.asyncProperty(virtualServers, virtualServers, async (before, desired) => {
        await ipvs.flush();
        await ipvs.reconcile(before);
        await ipvs.reconcile(desired, { prune: true });
        const left = await ipvs.plan(desired, { prune: true });
        expect(formatPlan(left)).toBe('');
        const { servers, stable } = await ipvs.snapshot();
        expect({ stable, count: servers.length }).toEqual({ stable: true, count: desired.length });
        expect(await ipvs.plan(servers, { prune: true })).toEqual([]);
      }),
      { numRuns: 60 },
    );
  });

  it('leaves what ipvsadm prints for the desired state', async () => {
    await ipvs.reconcile([web(1, 2)]);
    const desired: VirtualServer[] = [
      { ...web(2, 3), scheduler: 'mh', schedulerFlags: ['mh-fallback', 'mh-port'] },
      {
        firewallMark: 9,
        family: 'ipv4',
        scheduler: 'rr',
        persistence: { timeoutSeconds: 300 },
        destinations: [server(4)],
      },
    ];
    await ipvs.reconcile(desired, { prune: true });
    expect(savedByIpvsadm(netns)).toEqual(
      [
        '-A -t 10.0.0.1:80 -s mh -b mh-fallback,mh-port',
        '-a -t 10.0.0.1:80 -r 10.1.0.2:80 -g -w 1',
        '-a -t 10.0.0.1:80 -r 10.1.0.3:80 -g -w 1',
        '-A -f 9 -s rr -p 300',
        '-a -f 9 -r 10.1.0.4:80 -g -w 1',
      ].sort(),
    );
  });

  it('finds no difference to a service that ipvsadm made with its defaults', () => {
    netns.run(() => {
      const run = (text: string) => execFileSync('ipvsadm', text.split(' '));
      run('-A -t 10.0.0.1:80');
      run('-a -t 10.0.0.1:80 -r 10.1.0.1');
      run('-A -t 10.0.0.1:443 -s rr -p');
      run('-a -t 10.0.0.1:443 -r 10.1.0.1:443 -i');
      run('-A -t [2001:db8::1]:80 -s rr -p 60');
    });
    const desired: VirtualServer[] = [
      web(1),
      {
        ...key,
        port: 443,
        scheduler: 'rr',
        persistence: { timeoutSeconds: 360 },
        destinations: [{ address: '10.1.0.1', port: 443, forward: 'tunnel' }],
      },
      { ...key, address: '2001:db8::1', scheduler: 'rr', persistence: { timeoutSeconds: 60 }, destinations: [] },
    ];
    expect(formatPlan(ipvs.sync.plan(desired, { prune: true }))).toBe('');
  });

  it('takes a consistent snapshot while other programs change the table', async () => {
    const count = 60;
    await ipvs.apply(
      Array.from({ length: count }, (_, n) => ({
        op: 'addService' as const,
        service: { ...key, address: `10.9.${n >> 8}.${n & 255}`, scheduler: 'rr' },
      })),
    );
    // Another process adds and removes services meanwhile.
    const lines = Array.from(
      { length: 2000 },
      (_, n) => `-A -t 10.8.0.${n % 250}:80 -s rr\n-D -t 10.8.0.${n % 250}:80`,
    ).join('\n');
    const child = netns.run(() => spawn('ipvsadm', ['-R'], { stdio: ['pipe', 'ignore', 'inherit'] }));
    const ended = once(child, 'exit');
    child.stdin?.end(`${lines}\n`);
    let stable = 0;
    let taken = 0;
    while (child.exitCode === null && taken < 200) {
      const snapshot = await ipvs.snapshot();
      taken++;
      if (!snapshot.stable) continue;
      stable++;
      const own = snapshot.servers.filter(each => 'address' in each && each.address.startsWith('10.9.'));
      expect(own).toHaveLength(count);
      expect(snapshot.servers.length).toBeLessThanOrEqual(count + 1);
    }
    await ended;
    console.log(`snapshots while others wrote: ${stable} of ${taken} were stable`);
    expect((await ipvs.snapshot()).stable).toBe(true);
  });

  it('drains a server whose long connection continues to its end', async () => {
    // The client and the service are in one namespace, the server is a local address: enough for the kernel to count the connection.
    using links = Links.open({ netns });
    await links.addAddress('lo', '10.0.0.1/32');
    await links.addAddress('lo', '10.1.0.1/32');
    await ipvs.reconcile([
      { ...key, scheduler: 'rr', destinations: [{ address: '10.1.0.1', port: 80, forward: 'masquerade' }] },
    ]);
    const script = `
      const net = require('node:net');
      const server = net.createServer(socket => socket.on('error', () => {}).pipe(socket)).listen(80, '10.1.0.1', () => {
        const client = net.connect(80, '10.0.0.1', () => console.log('connected'));
        client.on('data', data => console.log(String(data)));
        process.stdin.on('data', data => client.write(data)).on('end', () => client.resetAndDestroy());
        client.on('close', () => server.close());
      });`;
    const child = netns.run(() => spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] }));
    const heard = async () => String((await once(child.stdout, 'data'))[0]).trim();
    expect(await heard()).toBe('connected');
    expect((await ipvs.destinations(key))[0]).toMatchObject({ activeConnections: 1 });

    let looks = 0;
    const running = ipvs.reconcile([{ ...key, scheduler: 'rr', destinations: [] }], {
      drain: { until: 'all', timeoutMs: PATIENCE_MILLISECONDS, pollMs: 100 },
      onProgress: ({ phase }) => {
        if (phase === 'draining') looks++;
      },
    });
    await until(() => looks > 2);
    expect(await ipvs.destinations(key)).toMatchObject([{ weight: 0, activeConnections: 1 }]);
    child.stdin.write('meanwhile');
    expect(await heard()).toBe('meanwhile');
    // A reset is remembered for ten seconds, an orderly end for two minutes (TIME_WAIT).
    child.stdin.end();
    const { drained } = await running;
    expect(drained).toMatchObject([{ destinationKey: { address: '10.1.0.1', port: 80 }, connections: 0 }]);
    expect(await ipvs.destinations(key)).toEqual([]);
  });
});
