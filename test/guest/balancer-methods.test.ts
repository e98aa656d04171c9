import { once } from 'node:events';
import { connect, createServer, type Server } from 'node:net';
import { Container, Links, NetNs } from 'netsteer';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type BalancedForward, type BalancedService, LoadBalancer } from '../../src/balancer/index.ts';
import { inTime } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

/*
 *   client ── bridge front 10.10.0.0/24, fd10::/64 ── balancer, web1, web2
 *                         bridge back  192.168.0.0/24, fd20::/64 ── balancer, web1, web2
 *
 * Servers answer a client over the front bridge where IPVS does not translate addresses. The client has another address, to which the servers have
 * no route of their own.
 */
const FAR = { ipv4: '172.16.0.1', ipv6: 'fd30::1' };

kernelSuite('each forwarding method of a load balancer', () => {
  const [bridges, client] = [NetNs.create(), NetNs.create()];
  const balancer = Container.open({ netns: NetNs.create() });
  const webs = [Container.open({ netns: NetNs.create() }), Container.open({ netns: NetNs.create() })];
  const servers: Server[] = [];
  let lb: LoadBalancer;

  async function attach(hub: Links, netns: NetNs, device: string, bridge: string, addresses: string[]) {
    const name = `p${(await hub.list()).length}`;
    await hub.createVeth({ name, peer: { name: device, netns } });
    await hub.set(name, { up: true, master: bridge });
    using links = Links.open({ netns });
    await links.set('lo', { up: true });
    await links.set(device, { up: true });
    for (const address of addresses)
      await links.addAddress(device, address, address.includes(':') ? { noDad: true } : {});
    for (const each of ['all', 'default', device]) netns.sysctl.set(`net.ipv4.conf.${each}.rp_filter`, '0');
  }

  beforeAll(async () => {
    using hub = Links.open({ netns: bridges });
    for (const name of ['front', 'back']) {
      await hub.createBridge({ name });
      await hub.set(name, { up: true });
    }
    await attach(hub, client, 'eth0', 'front', ['10.10.0.1/24', 'fd10::1/64']);
    await attach(hub, balancer.netns, 'eth0', 'front', ['10.10.0.10/24', 'fd10::10/64']);
    await attach(hub, balancer.netns, 'eth1', 'back', ['192.168.0.10/24', 'fd20::10/64']);
    for (const [i, { netns }] of webs.entries()) {
      await attach(hub, netns, 'eth0', 'back', [`192.168.0.${50 + i}/24`, `fd20::${50 + i}/64`]);
      await attach(hub, netns, 'eth1', 'front', [`10.10.0.${50 + i}/24`, `fd10::${50 + i}/64`]);
      for (const port of [80, 8080]) {
        const server = createServer(socket => socket.on('error', () => {}).end(`web${i + 1}`));
        // Without a host, the socket is opened at once: in the namespace.
        netns.run(() => server.listen(port));
        await once(server, 'listening');
        servers.push(server);
      }
    }
    using links = Links.open({ netns: client });
    await links.addAddress('lo', `${FAR.ipv4}/32`);
    await links.addAddress('lo', `${FAR.ipv6}/128`, { noDad: true });
    using inside = Links.open({ netns: balancer.netns });
    await inside.addRoute({ to: `${FAR.ipv4}/32`, via: '10.10.0.1' });
    await inside.addRoute({ to: `${FAR.ipv6}/128`, via: 'fd10::1' });
    lb = LoadBalancer.open({ balancers: [balancer] });
  });

  afterAll(async () => {
    await lb.close();
    for (const server of servers) server.close();
    for (const each of [balancer, ...webs, bridges, client]) await each[Symbol.asyncDispose]();
  });

  /** The answer of one connection. A name is looked up at once by this lookup: so the socket is opened in the namespace. */
  function ask(host: string, localAddress: string | undefined): Promise<string> {
    const family = host.includes(':') ? 6 : 4;
    const socket = client.run(() =>
      connect({
        host: 'service',
        port: 80,
        family,
        ...(localAddress !== undefined && { localAddress }),
        lookup: (_, options, callback) =>
          options.all === true ? callback(null, [{ address: host, family }]) : callback(null, host, family),
      }),
    );
    return inTime(
      new Promise((resolve, reject) => {
        let text = '';
        socket.on('data', part => {
          text += part;
        });
        socket.once('end', () => resolve(text)).once('error', reject);
      }),
      `an answer of ${host}`,
    );
  }

  const settings = () =>
    [balancer, ...webs].map(({ netns }) =>
      ['ip_forward', 'conf.all.arp_ignore', 'conf.all.arp_announce', 'conf.all.send_redirects', 'vs.conntrack'].flatMap(
        name => {
          try {
            return [netns.sysctl.get(`net.ipv4.${name}`)];
          } catch {
            return [];
          }
        },
      ),
    );

  const methods: [forward: BalancedForward, more: Partial<BalancedService>, toPort: number, from: 'near' | 'far'][] = [
    ['direct', {}, 8080, 'near'],
    ['direct', { accept: 'alias' }, 80, 'near'],
    ['tunnel', {}, 80, 'near'],
    ['masquerade', { replies: 'snat' }, 8080, 'near'],
    ['masquerade', { replies: { route: '' } }, 80, 'far'],
  ];
  const cases = (['ipv4', 'ipv6'] as const).flatMap(family =>
    methods.map(([forward, more, toPort, from]) => ({
      family,
      forward,
      more,
      toPort,
      from,
      what: JSON.stringify(more),
    })),
  );

  it.each(cases)(
    'spreads connections by $forward $what over $family, and leaves nothing behind',
    async ({ family, forward, more, toPort, from }) => {
      await balancer.ipvs.info();
      const before = settings();
      const [address, back] = family === 'ipv4' ? ['10.10.0.100', '192.168.0.'] : ['fd10::100', 'fd20::'];
      const service: BalancedService = {
        name: 'web',
        protocol: 'tcp',
        address,
        port: 80,
        scheduler: 'rr',
        forward,
        device: 'eth0',
        servers: webs.map((container, i) => ({ name: `web${i + 1}`, address: `${back}${50 + i}`, container, toPort })),
        health: { tcp: true, intervalMs: 500, timeoutMs: 5000 },
        ...more,
        ...(typeof more.replies === 'object' && { replies: { route: `${back}10` } }),
      };
      await lb.apply([service]);
      expect(await lb.plan([service])).toEqual([]);
      const answers: string[] = [];
      for (let i = 0; i < 4; i++) answers.push(await ask(address, from === 'far' ? FAR[family] : undefined));
      expect([...answers].sort()).toEqual(['web1', 'web1', 'web2', 'web2']);
      expect((await lb.status()).balancers[0]!.services[0]!.servers.map(({ condition }) => condition)).toEqual([
        'healthy',
        'healthy',
      ]);
      await lb.apply([]);
      expect(settings()).toEqual(before);
      for (const { nftables, redirects } of [balancer, ...webs]) {
        expect(await redirects.list()).toEqual([]);
        // The empty table of redirects stays, as redirects.remove leaves it.
        expect((await nftables.tables()).map(({ name }) => name).filter(name => name !== 'netsteer-redirects')).toEqual(
          [],
        );
      }
      expect(await balancer.ipvs.services()).toEqual([]);
    },
  );
});
