import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Container, Links, NetNs, type Redirect, StateError } from 'netsteer';
import { ip, meta, Transaction, tcp, th } from 'netsteer/nftables';
import { expect, it } from 'vitest';
import { cleanUpsOfEach } from '../support/clean-ups.ts';
import { kernelSuite } from '../support/where.ts';

const cleanUps = cleanUpsOfEach();

function make(): { netns: NetNs; container: Container } {
  const netns = NetNs.create();
  const container = Container.open({ netns });
  cleanUps.add(
    () => container[Symbol.asyncDispose](),
    () => netns.close(),
  );
  return { netns, container };
}

const nft = (netns: NetNs, ...parameters: string[]): string =>
  netns.run(() => execFileSync('nft', parameters, { encoding: 'utf8' }));

const WEB: Redirect = { protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 };
const DNS: Redirect = { protocol: 'udp', address: '10.10.0.100', port: 53, toPort: 5353 };
const SAME: Redirect = { protocol: 'tcp', address: '10.10.0.101', port: 443 };
const SIX: Redirect = { protocol: 'tcp', address: '2001:db8::1', port: 80, toPort: 8080 };

const sorted = (redirects: Redirect[]) => redirects.map(each => JSON.stringify(each)).sort();

kernelSuite('redirects of a container', () => {
  it('are set, listed, added and removed, in both forms', async () => {
    const { redirects } = make().container;
    expect(await redirects.list()).toEqual([]);
    await redirects.set([WEB, DNS, SAME, SIX]);
    expect(sorted(await redirects.list())).toEqual(sorted([WEB, DNS, SAME, SIX]));
    redirects.sync.set([WEB]);
    expect(redirects.sync.list()).toEqual([WEB]);
    redirects.sync.add([DNS]);
    await redirects.add([SIX]);
    expect(sorted(await redirects.list())).toEqual(sorted([WEB, DNS, SIX]));
    await redirects.remove([DNS, SAME]);
    expect(sorted(await redirects.list())).toEqual(sorted([WEB, SIX]));
    await redirects.release();
    expect(await redirects.list()).toEqual([]);
  });

  it('are one rule and one map for each IP version, as nft lists them', async () => {
    const { netns, container } = make();
    await container.redirects.set([WEB, SIX]);
    const text = nft(netns, 'list', 'ruleset');
    expect(text).toContain('table inet netsteer-redirects {\n\tcomment "managed by netsteer"');
    expect(text).toContain('type ipv4_addr . inet_proto . inet_service : inet_service');
    expect(text).toContain('10.10.0.100 . tcp . 80 : 8080');
    expect(text).toContain('2001:db8::1 . tcp . 80 : 8080');
    expect(text).toContain('type nat hook prerouting priority -199; policy accept;');
    expect(text).toMatch(/redirect to :ip daddr \. meta l4proto \. th dport map @ipv4/);
    expect(text).toMatch(/redirect to :ip6 daddr \. meta l4proto \. th dport map @ipv6/);
  });

  it('change nothing when the state is right already', async () => {
    const { container } = make();
    await container.redirects.set([WEB, SIX]);
    const generation = await container.nftables.generation();
    await container.redirects.set([SIX, WEB]);
    await container.redirects.adopt();
    expect(await container.nftables.generation()).toBe(generation);
  });

  it('change their target when they are added again with another port', async () => {
    const { redirects } = make().container;
    await redirects.set([WEB]);
    await redirects.add([{ ...WEB, toPort: 9090 }]);
    expect(await redirects.list()).toEqual([{ ...WEB, toPort: 9090 }]);
  });

  it('are found by another process, and repaired by adopt', async () => {
    const { netns, container } = make();
    await container.redirects.set([WEB, DNS]);
    const later = Container.open({ netns });
    cleanUps.add(() => later[Symbol.asyncDispose]());
    nft(netns, 'flush', 'chain', 'inet', 'netsteer-redirects', 'prerouting');
    expect(sorted(await later.redirects.adopt())).toEqual(sorted([WEB, DNS]));
    expect(nft(netns, 'list', 'ruleset')).toContain('map @ipv4');
    await later.redirects.set([DNS]);
    expect(await container.redirects.list()).toEqual([DNS]);
  });

  it('are removed whether all of them exist or not', async () => {
    const { redirects } = make().container;
    await redirects.remove([WEB]);
    await redirects.set([WEB, DNS, SIX]);
    await redirects.remove([SIX]);
    redirects.sync.remove([SAME, WEB, WEB]);
    expect(await redirects.list()).toEqual([DNS]);
    await redirects.remove([]);
    await redirects.remove([SAME]);
    expect(await redirects.list()).toEqual([DNS]);
  });

  it('are told from elements that another program put into the map', async () => {
    const { netns, container } = make();
    await container.redirects.set([WEB]);
    const elements = '{ 192.0.2.1 . icmp . 80 : 81, 192.0.2.1 . tcp . 0 : 81, 192.0.2.1 . tcp . 80 : 0 }';
    nft(netns, `add element inet netsteer-redirects ipv4 ${elements}`);
    expect(await container.redirects.list()).toEqual([WEB]);
    nft(netns, 'flush', 'chain', 'inet', 'netsteer-redirects', 'prerouting');
    expect(await container.redirects.adopt()).toEqual([WEB]);
    await container.redirects.set([WEB, DNS]);
    expect(sorted(await container.redirects.list())).toEqual(sorted([WEB, DNS]));
  });

  it('are set, read and set again 20,000 at a time', async () => {
    const { redirects } = make().container;
    const many = Array.from({ length: 20_000 }, (_, i) => ({
      ...WEB,
      address: i % 2 === 0 ? `10.1.${i >> 8}.${i & 255}` : `2001:db8::${i.toString(16)}`,
    }));
    await redirects.set(many);
    expect(new Set(sorted(await redirects.list()))).toEqual(new Set(sorted(many)));
    await redirects.set(many.slice(0, 10_000));
    expect(await redirects.list()).toHaveLength(10_000);
  });

  it('reject a table of another owner with ERR_FOREIGN_TABLE unless they are forced', async () => {
    const { netns, container } = make();
    nft(netns, 'add table inet netsteer-redirects { chain theirs { } ; }');
    const foreign = expect.objectContaining({ code: 'ERR_FOREIGN_TABLE' });
    for (const attempt of [
      container.redirects.set([WEB]),
      container.redirects.add([WEB]),
      container.redirects.remove([WEB]),
      container.redirects.list(),
      container.redirects.adopt(),
      container.redirects.release(),
    ])
      await expect(attempt).rejects.toEqual(foreign);
    await expect(container.redirects.set([])).rejects.toBeInstanceOf(StateError);
    expect(nft(netns, 'list', 'ruleset')).toContain('chain theirs');
    expect(await container.redirects.adopt({ force: true })).toEqual([]);
    await container.redirects.set([WEB]);
    expect(nft(netns, 'list', 'ruleset')).not.toContain('chain theirs');
  });

  it('leave other tables of the namespace alone', async () => {
    const { netns, container } = make();
    nft(netns, 'add table ip nat { chain PREROUTING { type nat hook prerouting priority -100 ; } ; }');
    const before = nft(netns, 'list', 'table', 'ip', 'nat');
    await container.redirects.set([WEB]);
    await container.redirects.release();
    expect(nft(netns, 'list', 'ruleset')).toBe(before);
  });

  it('carry traffic of both IP versions and protocols to the port', async () => {
    const { netns, container } = make();
    const outside = NetNs.create();
    cleanUps.add(() => outside.close());
    const links = Links.open({ netns });
    const far = Links.open({ netns: outside });
    cleanUps.add(
      () => links.close(),
      () => far.close(),
    );
    await links.createVeth({ name: 'eth0', peer: { name: 'client', netns: outside } });
    for (const [handle, name, addresses] of [
      [links, 'eth0', ['10.10.0.2/24', 'fd00::2/64']],
      [far, 'client', ['10.10.0.1/24', 'fd00::1/64']],
    ] as const) {
      await handle.set(name, { up: true });
      for (const address of addresses) await handle.addAddress(name, address);
      await handle.set('lo', { up: true });
    }
    await far.addRoute({ to: '192.0.2.1/32', via: '10.10.0.2' });
    await far.addRoute({ to: '2001:db8::1/128', via: 'fd00::2' });
    await container.redirects.set([
      { protocol: 'tcp', address: '192.0.2.1', port: 80, toPort: 8080 },
      { protocol: 'tcp', address: '192.0.2.1', port: 8081 },
      { protocol: 'tcp', address: '2001:db8::1', port: 80, toPort: 8080 },
    ]);
    const server = netns.run(() =>
      spawn(
        process.execPath,
        [
          '-e',
          `for (const port of [8080, 8081]) require('net').createServer(s => s.end('port ' + port)).listen(port, '::', () => console.log(port))`,
        ],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      ),
    ) as ChildProcess;
    cleanUps.add(() => server.kill());
    await once(server.stdout!, 'data');
    const ask = (address: string, port: number) =>
      outside.run(() =>
        execFileSync(
          process.execPath,
          [
            '-e',
            `const s = require('net').connect(${port}, '${address}').setTimeout(3000, () => s.destroy()); s.pipe(process.stdout); s.on('error', e => console.log(e.code)); s.on('connect', () => s.end())`,
          ],
          { encoding: 'utf8' },
        ).trim(),
      );
    await expect.poll(() => ask('192.0.2.1', 80), { interval: 300 }).toBe('port 8080');
    expect(ask('192.0.2.1', 8081)).toBe('port 8081');
    await expect.poll(() => ask('2001:db8::1', 80), { interval: 300 }).toBe('port 8080');
    await container.redirects.remove([{ protocol: 'tcp', address: '192.0.2.1', port: 80 }]);
    expect(ask('192.0.2.1', 80)).not.toContain('port');
    expect(ask('192.0.2.1', 8081)).toBe('port 8081');
  });

  it.each([
    [[{ ...WEB, port: 0 }], '[0].port'],
    [[WEB, { ...WEB, address: 'nowhere' }], '[1].address'],
    [[{ ...WEB, protocol: 'icmp' }], '[0].protocol'],
    [[{ ...WEB, toport: 3 }], '[0].toport'],
    [[WEB, { ...WEB, toPort: 81 }], '[1].toPort'],
    [[SIX, { ...SIX, address: '2001:DB8:0::1', toPort: 1 }], '[1].toPort'],
    ['all', ''],
  ])('reject %j before anything is sent', async (redirects, attribute) => {
    const { container } = make();
    const refused = expect.objectContaining({ attribute, code: expect.stringMatching(/^ERR_/) });
    await expect(container.redirects.set(redirects as Redirect[])).rejects.toEqual(refused);
    expect(() => container.redirects.sync.set(redirects as Redirect[])).toThrow(refused);
    expect(await container.nftables.tables()).toEqual([]);
  });
});

kernelSuite('log rules of a container', () => {
  const rules = [
    { group: 5, prefix: 'all ' },
    { group: 6, prefix: 'web ', match: [ip.daddr.eq('127.0.0.1'), tcp.dport.eq(80)], hook: 'output' as const },
  ];

  it('are set, listed with their matches, added and removed', async () => {
    const { logging } = make().container;
    await logging.set(rules);
    expect(await logging.list()).toEqual(rules);
    await logging.add([rules[0]!, { group: 7, hook: 'forward' }]);
    expect(await logging.list()).toEqual([rules[0], { group: 7, hook: 'forward' }, rules[1]]);
    await logging.remove([rules[0]!]);
    expect(await logging.list()).toEqual([{ group: 7, hook: 'forward' }, rules[1]]);
    await logging.release();
    expect(await logging.list()).toEqual([]);
  });

  it('are removed as they are listed, although the list says the same in other statements', async () => {
    const { logging } = make().container;
    const given = { group: 5, match: [meta.l4proto.eq('tcp'), th.dport.eq(80)] };
    await logging.set([given, { group: 6 }]);
    const [listed] = await logging.list();
    expect(listed).not.toEqual(given);
    await logging.remove([listed!]);
    expect(await logging.list()).toEqual([{ group: 6 }]);
  });

  it('change nothing when the state is right already', async () => {
    const { container } = make();
    await container.logging.set(rules);
    const generation = await container.nftables.generation();
    await container.logging.set(rules);
    await container.logging.add(rules);
    expect(await container.nftables.generation()).toBe(generation);
  });

  it('are named by the packets that they log', async () => {
    const { netns, container } = make();
    const links = Links.open({ netns });
    await links.set('lo', { up: true });
    links.close();
    await container.logging.set([{ group: 5, prefix: 'in ' }, rules[1]!]);
    const log = container.nflog({ groups: [5, 6] });
    netns.run(() =>
      execFileSync('bash', ['-c', 'echo x >/dev/udp/127.0.0.1/9; echo x >/dev/tcp/127.0.0.1/80 || true'], {
        stdio: 'ignore',
      }),
    );
    const seen = new Map<string, unknown>();
    for await (const packet of log) {
      seen.set(packet.prefix, packet.rule);
      if (seen.size === 2) break;
    }
    expect(seen).toEqual(
      new Map<string, unknown>([
        ['in ', { group: 5, prefix: 'in ' }],
        ['web ', rules[1]],
      ]),
    );
  });

  it.each([
    [[{ group: 70_000 }], '[0].group'],
    [[{ group: 1, prefix: '' }], '[0].prefix'],
    [[{ group: 1, hook: 'postrouting' }], '[0].hook'],
    [[{ group: 1 }, { group: 1 }], '[1]'],
  ])('reject %j before anything is sent', async (wrong, attribute) => {
    const { container } = make();
    await expect(container.logging.set(wrong as never)).rejects.toMatchObject({ attribute });
    expect(await container.nftables.tables()).toEqual([]);
  });

  it('reject a table of another owner with ERR_FOREIGN_TABLE', async () => {
    const { container } = make();
    await container.nftables.commit(new Transaction().add({ table: { family: 'inet', name: 'netsteer-logging' } }));
    await expect(container.logging.set(rules)).rejects.toMatchObject({ code: 'ERR_FOREIGN_TABLE' });
  });
});
