import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { Ipvs, NetlinkError, NetNs, UnsupportedError } from 'netsteer';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { freshIpvsNamespaces, ipvs, netns, savedByIpvsadm } from '../support/ipvs-namespace.ts';
import { kernelSuite, where } from '../support/where.ts';

const key = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const;
const web = { ...key, scheduler: 'wlc' } as const;
const server = { address: '10.1.0.1', port: 80, forward: 'direct', weight: 5 } as const;

/**
 * Runs a module of the built package as root of a new user namespace with a network namespace of its own. When the module says witness(),
 * `witness` looks at it from outside.
 */
async function inContainer(script: string, witness: (pid: number) => void = () => {}): Promise<unknown> {
  const path = (name: string) => JSON.stringify(new URL(`../../dist/${name}`, import.meta.url).pathname);
  const prologue = `
    import { once } from 'node:events';
    import { Ipvs } from ${path('ipvs/index.js')};
    import { Links } from ${path('rtnetlink/index.js')};
    const links = Links.open();
    links.sync.set('lo', { up: true });
    const print = value => console.log(JSON.stringify(value));
    const witness = async () => { print('witness'); await once(process.stdin, 'data'); process.stdin.destroy(); };
    const web = ${JSON.stringify(web)};
    const key = ${JSON.stringify(key)};
    const server = ${JSON.stringify(server)};`;
  const parameters = ['-Urn', process.execPath, '--input-type=module', '-e', `${prologue}\n${script}`];
  const child = spawn('unshare', parameters, { stdio: ['pipe', 'pipe', 'inherit'] });
  let last: unknown;
  for await (const line of createInterface({ input: child.stdout })) {
    last = JSON.parse(line);
    if (last !== 'witness') continue;
    witness(child.pid ?? 0);
    child.stdin.write('seen\n');
  }
  return last;
}

kernelSuite('IPVS over socket options', () => {
  let netlink: Ipvs;
  freshIpvsNamespaces('sockopt');

  beforeEach(() => {
    netlink = Ipvs.open({ netns, via: 'netlink' });
  });
  afterEach(async () => {
    await netlink[Symbol.asyncDispose]();
  });

  it('writes what netlink reads, and reads what netlink writes', async () => {
    const service = {
      ...key,
      scheduler: 'sh',
      schedulerFlags: ['sh-fallback', 'sh-port'] as ('sh-fallback' | 'sh-port')[],
      persistence: { timeoutSeconds: 60, netmask: '255.255.255.0' },
    };
    const mark = { firewallMark: 7, family: 'ipv4', scheduler: 'rr' } as const;
    await ipvs.batch(b => {
      b.addService(service)
        .addService(mark)
        .addService({ ...web, protocol: 'sctp' });
      b.addDestination(key, { ...server, upperThreshold: 100, lowerThreshold: 50 });
      b.addDestination(key, { ...server, address: '10.1.0.2', forward: 'tunnel' });
      b.addDestination(mark, { ...server, port: 8080, forward: 'masquerade' });
      b.setTimeouts({ tcpSeconds: 901, udpSeconds: 33 });
    });
    expect((await netlink.snapshot()).servers.map(strip)).toEqual(
      expect.arrayContaining([expect.objectContaining(service), expect.objectContaining(mark)]),
    );
    const plain = (list: object[]) => list.map(each => strip({ ...each, tunnel: undefined }));
    expect(plain(ipvs.sync.destinations(key))).toEqual(plain(netlink.sync.destinations(key)));
    expect(plain(ipvs.sync.services()).sort(byText)).toEqual(plain(netlink.sync.services()).sort(byText));
    expect(strip(ipvs.sync.service(mark))).toEqual(strip(netlink.sync.service(mark)));
    expect(ipvs.sync.timeouts()).toEqual(netlink.sync.timeouts());
    expect(ipvs.sync.info()).toEqual(netlink.sync.info());
    expect(savedByIpvsadm(netns)).toContain('-a -t 10.0.0.1:80 -r 10.1.0.2:80 -i -w 5 --tun-type ipip');
    ipvs.sync.editDestination(key, server, { weight: 0 });
    ipvs.sync.zero();
    ipvs.sync.zero(key);
    ipvs.sync.removeDestination(mark, { address: '10.1.0.1', port: 8080 });
    ipvs.sync.removeService({ ...key, protocol: 'sctp' });
    expect(netlink.sync.services()).toHaveLength(2);
    ipvs.sync.flush();
    expect(netlink.sync.services()).toEqual([]);
  });

  it('reports the same errors as netlink', () => {
    const code = (call: () => unknown) => {
      try {
        call();
      } catch (error) {
        if (error instanceof NetlinkError) return `${error.code} ${error.syscall}`;
        throw error;
      }
      return undefined;
    };
    const { sync } = ipvs;
    expect(code(() => sync.service(key))).toBe('ESRCH IP_VS_SO_GET_SERVICE');
    expect(code(() => sync.destinations(key))).toContain('ESRCH');
    expect(code(() => sync.addDestination(key, server))).toBe('ESRCH IP_VS_SO_SET_ADDDEST');
    sync.addService(web);
    expect(code(() => sync.addService(web))).toBe('EEXIST IP_VS_SO_SET_ADD');
    expect(code(() => sync.removeDestination(key, server))).toBe('ENOENT IP_VS_SO_SET_DELDEST');
    expect(code(() => sync.editDestination(key, server, { weight: 1 }))).toContain('ENOENT');
    sync.setDestination(key, server);
    expect(code(() => sync.addDestination(key, server))).toBe('EEXIST IP_VS_SO_SET_ADDDEST');
    expect(code(() => sync.addDestination(key, { ...server, address: '224.0.0.1' }))).toContain('EINVAL');
    expect(() => sync.addService({ ...web, address: '2001:db8::1' })).toThrow(UnsupportedError);
  });

  it('lists many services, and leaves out those that it cannot see', () => {
    netlink.sync.batch(b => {
      b.addService(web).addService({ ...web, address: '2001:db8::1' });
      b.addDestination(key, { address: '2001:db8::9', port: 80, forward: 'tunnel' });
      for (let n = 0; n < 200; n++) b.addDestination(key, { ...server, address: `10.1.1.${n}` });
      for (let n = 0; n < 500; n++) b.addService({ ...web, port: 1000 + n });
    });
    expect(ipvs.sync.services()).toHaveLength(501);
    expect(ipvs.sync.destinations(key)).toHaveLength(200);
    // The witness knows that it does not see all.
    expect(netlink.sync.snapshot()).toMatchObject({ stable: true });
    expect(netlink.sync.snapshot().servers).toHaveLength(502);
  });

  it('starts and stops sync daemons', async () => {
    await ipvs.startSync({ state: 'master', interface: 'lo', syncId: 9 });
    expect(await netlink.syncDaemons()).toMatchObject([{ state: 'master', interface: 'lo', syncId: 9 }]);
    expect(await ipvs.syncDaemons()).toMatchObject([{ state: 'master', interface: 'lo', syncId: 9 }]);
    await ipvs.stopSync('master');
    expect(await ipvs.syncDaemons()).toEqual([]);
  });

  it('works for root of an unprivileged container, where netlink is rejected with ERR_UNSUPPORTED', async () => {
    let witnessed: string[] = [];
    const result = await inContainer(
      `
      const ipvs = Ipvs.open({ via: 'sockopt' });
      const desired = [{ ...web, destinations: [server, { ...server, address: '10.1.0.2', forward: 'masquerade' }] }];
      await ipvs.reconcile(desired);
      const { stable, servers } = await ipvs.snapshot();
      await witness();
      const table = [];
      for await (const each of ipvs.connections()) table.push(each);
      let setting;
      try {
        ipvs.settings.conntrack = true;
        setting = ipvs.settings.conntrack;
      } catch (error) {
        setting = error.code;
      }
      const left = (await ipvs.plan(desired)).length;
      print({ stable, count: servers[0].destinations.length, left, connections: table.length, setting });`,
      pid => {
        // ipvsadm gives up where netlink is refused: it is run by root of the guest, in the container's namespace.
        using inside = NetNs.open({ pid });
        witnessed = savedByIpvsadm(inside);
      },
    );
    // The settings of such a namespace are hidden before Linux 6.11.
    const setting = where === '6.1' ? 'ERR_UNSUPPORTED' : true;
    expect(result).toEqual({ stable: true, count: 2, left: 0, connections: 0, setting });
    expect(witnessed).toEqual([
      '-A -t 10.0.0.1:80 -s wlc',
      '-a -t 10.0.0.1:80 -r 10.1.0.1:80 -g -w 5',
      '-a -t 10.0.0.1:80 -r 10.1.0.2:80 -m -w 5',
    ]);
  });

  it("is the choice of 'auto' there, which reports it; netlink is rejected with ERR_UNSUPPORTED", async () => {
    const result = await inContainer(`
      const warnings = [];
      const silent = () => {};
      const ipvs = Ipvs.open({ logger: { debug: silent, info: silent, error: silent, warn: (_, text) => warnings.push(text) } });
      const before = ipvs.via;
      await ipvs.batch(b => b.addService(web).addDestination(key, server));
      const refused = await ipvs.addService({ ...web, address: '2001:db8::1' }).catch(error => error.code);
      let alone;
      try { Ipvs.open({ via: 'netlink' }).sync.info(); } catch (error) { alone = error.code; }
      print({ before, via: ipvs.via, warnings: warnings.length, servers: (await ipvs.destinations(key)).length, refused, alone });`);
    expect(result).toEqual({
      before: 'netlink',
      via: 'sockopt',
      warnings: 1,
      servers: 1,
      refused: 'ERR_UNSUPPORTED',
      alone: 'EPERM',
    });
  });

  it('rejects what it cannot carry, and says what and what to do', async () => {
    const result = (await inContainer(`
      const ipvs = Ipvs.open({ logger: undefined });
      await ipvs.addService(web);
      const calls = {
        'IPv6': () => ipvs.addService({ ...web, address: '2001:db8::1' }),
        'a persistence engine': () => ipvs.setService({ ...web, persistence: { timeoutSeconds: 60, engine: 'sip' } }),
        'another tunnel than plain IPIP': () =>
          ipvs.addDestination(key, { ...server, forward: 'tunnel', tunnel: { type: 'gue', port: 6080 } }),
        'a server of another address family': () =>
          ipvs.addDestination(key, { address: '2001:db8::9', port: 80, forward: 'tunnel' }),
        'protocol 1 ': () => ipvs.addService({ ...web, protocol: 1 }),
        "a sync daemon's group, port, TTL or length": () =>
          ipvs.startSync({ state: 'backup', interface: 'lo', syncId: 1, group: '224.0.0.99' }),
        'batch': () => ipvs.batch(b => b.addDestination(key, server).addService({ ...web, address: '2001:db8::1' })),
      };
      const said = {};
      for (const [what, call] of Object.entries(calls)) {
        said[what] = await call().then(() => 'accepted', error => error.code + ': ' + error.message);
      }
      // Nothing of a batch was sent either.
      print({ via: ipvs.via, said, servers: (await ipvs.destinations(key)).length, services: (await ipvs.services()).length });`)) as {
      said: Record<string, string>;
    };
    expect(result).toMatchObject({ via: 'sockopt', servers: 0, services: 1 });
    for (const [what, said] of Object.entries(result.said)) {
      expect(said).toMatch(/^ERR_UNSUPPORTED: /);
      expect(said).toContain(what === 'batch' ? 'IPv6' : what);
      expect(said).toContain("over IPVS's socket options: open with via: 'netlink', as root on the host");
    }
  });

  it('is not needed from the host, whose root programs such a container over netlink', async () => {
    const gue = { ...server, forward: 'tunnel', tunnel: { type: 'gue', port: 6080 } } as const;
    const seen = await inContainer(
      `
      const ipvs = Ipvs.open();
      await witness();
      print({ services: (await ipvs.services()).map(each => each.address), servers: await ipvs.destinations(key).then(list => list.map(each => each.tunnel)) });`,
      pid => {
        using inside = NetNs.open({ pid });
        const theirs = Ipvs.open({ netns: inside });
        theirs.sync.batch(b =>
          b
            .addService(web)
            .addDestination(key, gue)
            .addService({ ...web, address: '2001:db8::1' }),
        );
        expect(theirs.via).toBe('netlink');
        expect(savedByIpvsadm(inside)).toEqual([
          '-A -t 10.0.0.1:80 -s wlc',
          '-A -t [2001:db8::1]:80 -s wlc',
          '-a -t 10.0.0.1:80 -r 10.1.0.1:80 -i -w 5 --tun-type gue --tun-port 6080 --tun-nocsum',
        ]);
        expect(theirs.sync.snapshot()).toMatchObject({ stable: true, servers: [{}, {}] });
        void theirs.close();
      },
    );
    // The container's own root sees what its way can tell: IPv4, and no type of a tunnel.
    expect(seen).toEqual({ services: ['10.0.0.1'], servers: [null] });
  });

  it('resets in an edit the fields that it cannot see, as docs/ipvs.md says', () => {
    netlink.sync.addService({ ...web, persistence: { timeoutSeconds: 60, engine: 'sip' } });
    netlink.sync.addDestination(key, { ...server, forward: 'tunnel', tunnel: { type: 'gue', port: 6080 } });
    ipvs.sync.editDestination(key, server, { weight: 0 });
    expect(netlink.sync.destinations(key)).toMatchObject([{ weight: 0, tunnel: { type: 'ipip' } }]);
    ipvs.sync.editService(key, { scheduler: 'rr' });
    expect(netlink.sync.service(key).persistence).toEqual({ timeoutSeconds: 60 });
  });
});

const COUNTERS = ['stats', 'activeConnections', 'inactiveConnections', 'persistentConnections'];

function strip(value: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value).filter(([name, each]) => !COUNTERS.includes(name) && each !== undefined),
  );
}

const byText = (a: object, b: object): number => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1);
