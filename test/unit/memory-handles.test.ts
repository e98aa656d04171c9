import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, test } from 'vitest';
import { Conntrack } from '../../src/conntrack/index.ts';
import { Container, Fleet } from '../../src/container/index.ts';
import { Iptables } from '../../src/iptables/index.ts';
import { NetNs } from '../../src/netns/index.ts';
import { Transaction } from '../../src/nftables/index.ts';
import { Links } from '../../src/rtnetlink/index.ts';
import { frame, icmp, MemoryContainer, MemoryKernel, simulate, tcp, udp } from '../../src/testing/index.ts';
import { compiledSources } from '../support/compiled.ts';
import { until } from '../support/wait.ts';

const VIP = '10.10.0.100';
const SERVICE = { protocol: 'tcp', address: VIP, port: 80 } as const;
const kernels: MemoryKernel[] = [];
function kernelOf(options?: Parameters<typeof MemoryKernel.create>[0]): MemoryKernel {
  const kernel = MemoryKernel.create(options);
  kernels.push(kernel);
  return kernel;
}
afterEach(async () => {
  await Promise.all(kernels.splice(0).map(each => each.close()));
});
const eth0 = (...addresses: string[]) => ({ links: [{ name: 'eth0', addresses }] });

describe('the handles of a container of a kernel in memory', () => {
  test('work in both forms: nft, IPVS, links, connections, iptables', async () => {
    const web = kernelOf({ release: '6.18' }).container('web', eth0('192.168.0.50/24'));
    expect(web).toBeInstanceOf(Container);
    expect(web).toBeInstanceOf(MemoryContainer);
    web.nftables.sync.apply(
      'table ip t {\n chain c {\n type filter hook input priority 0\n tcp dport 22 drop\n }\n }\n',
    );
    expect(await web.nftables.chains({ family: 'ip' })).toMatchObject([{ table: 't', name: 'c', hook: 'input' }]);
    expect(web.nftables.sync.rules({ family: 'ip', table: 't' })).toHaveLength(1);
    web.ipvs.sync.addService({ ...SERVICE, scheduler: 'rr' });
    expect(await web.ipvs.save()).toBe(`-A -t ${VIP}:80 -s rr\n`);
    await using links = Links.open({ netns: web.netns });
    await links.createDummy({ name: 'dummy0' });
    await links.addAddress('dummy0', `${VIP}/32`);
    expect((await links.list()).map(({ name }) => name)).toEqual(['lo', 'eth0', 'dummy0']);
    await using ct = Conntrack.open({ netns: web.netns });
    expect(ct.sync.count()).toBe(0);
    await using ipt = Iptables.open({ netns: web.netns });
    await ipt.run('-A INPUT -p tcp --dport 23 -j DROP');
    expect(web.receive(tcp({ from: '192.168.0.1:1', to: '192.168.0.50:23' }), { on: 'eth0' }).verdict).toBe('drop');
    expect(web.receive(tcp({ from: '192.168.0.1:1', to: `${VIP}:24` }), { on: 'eth0' }).verdict).toBe('accept');
  });

  test('tell a monitor and a plan what has changed', async () => {
    const web = kernelOf({ release: '6.18' }).container('web');
    const monitor = web.nftables.monitor()[Symbol.asyncIterator]();
    const next = monitor.next();
    await web.nftables.apply('table ip t {\n chain c {\n }\n }\n');
    const events = [
      { action: 'new', kind: 'table' },
      { action: 'new', kind: 'chain' },
    ];
    expect((await next).value).toMatchObject({ type: 'transaction', events });
    await monitor.return?.(undefined);
    const desired = { ...(await web.nftables.ruleset({ elements: true })), chains: [] };
    const { operations } = await web.nftables.plan(desired, { prefix: '' });
    expect(operations).toMatchObject([{ verb: 'delete', kind: 'chain' }]);
  });

  test('are those of a fleet, which programs, verifies and lets go of a container whose process has ended', async () => {
    const kernel = kernelOf();
    const webs = ['web1', 'web2', 'web3'].map(name => kernel.container(name, eth0('192.168.0.50/24')));
    await using fleet = Fleet.open();
    const state = { redirects: [{ ...SERVICE, toPort: 8080 }], logging: [{ group: 5, prefix: 'http ' }] };
    const result = await fleet.apply(webs, state);
    expect([...result.failed.values()]).toEqual([]);
    expect(result.programmed).toEqual(webs);
    expect(webs.map(each => each.redirects.sync.list().length)).toEqual([1, 1, 1]);
    await webs[1]!.redirects.remove([SERVICE]);
    const { drift } = await fleet.verify(webs, state);
    expect([...drift.keys()]).toEqual([webs[1]]);
    webs[2]!.end();
    await webs[2]!.closed;
    const { gone } = await fleet.apply(webs, state);
    expect(gone).toEqual([webs[2]]);
  });

  test('wait for one another in a queue, and the synchronous form throws with ERR_BUSY meanwhile', async () => {
    const web = kernelOf().container('web');
    const tx = new Transaction();
    tx.add({ table: { family: 'ip', name: 'many' } });
    tx.add({ chain: { family: 'ip', table: 'many', name: 'c' } });
    for (let i = 0; i < 3000; i++)
      tx.add({
        rule: { family: 'ip', table: 'many', chain: 'c', expressions: [{ counter: {} }], comment: `rule ${i}` },
      });
    const committed = web.nftables.commit(tx);
    expect(() => web.nftables.sync.tables()).toThrow(expect.objectContaining({ code: 'ERR_BUSY' }));
    await committed;
    expect(await web.nftables.rules({ family: 'ip', table: 'many' })).toHaveLength(3000);
  });
});

describe('a kernel in memory', () => {
  test('refuses an unknown release, a taken name, a bad address and an unknown device with ERR_OUT_OF_RANGE', () => {
    const kernel = kernelOf();
    const code = { code: 'ERR_OUT_OF_RANGE' };
    kernel.container('web', eth0('192.168.0.50/24'));
    expect(() => MemoryKernel.create({ release: '5.10' })).toThrow(expect.objectContaining(code));
    expect(() => MemoryKernel.create({ release: 'new' })).toThrow(expect.objectContaining(code));
    expect(() => kernel.container('web')).toThrow(expect.objectContaining(code));
    expect(() => kernel.container('a', eth0('192.168.0.500/24'))).toThrow(expect.objectContaining(code));
    expect(() => kernel.container('b', eth0('192.168.0.5/33'))).toThrow(expect.objectContaining(code));
    expect(() => kernel.container('c', { links: [{ name: 'a name of many bytes' }] })).toThrow(
      expect.objectContaining(code),
    );
    const web = kernel.container('d', eth0());
    const syn = tcp({ from: '10.0.0.1:1', to: '10.0.0.2:2' });
    expect(() => web.receive(syn, { on: 'eth1' })).toThrow(expect.objectContaining(code));
    expect(() => kernel.advance(-1)).toThrow(expect.objectContaining(code));
  });

  test('keeps its containers apart, and two kernels at once share nothing', async () => {
    const [one, other] = [kernelOf(), kernelOf()];
    const [a, b, c] = [one.container('a'), one.container('b'), other.container('a')];
    await Promise.all([
      a.nftables.apply('add table ip of-a'),
      b.nftables.apply('add table ip of-b'),
      c.nftables.apply('add table ip of-c'),
      a.ipvs.addService({ ...SERVICE, scheduler: 'rr' }),
      c.ipvs.addService({ ...SERVICE, scheduler: 'wrr' }),
    ]);
    const named = [a, b, c].map(each =>
      each.nftables.sync
        .tables()
        .map(({ name }) => name)
        .join(),
    );
    expect(named).toEqual(['of-a', 'of-b', 'of-c']);
    expect([a, b, c].map(each => each.ipvs.sync.save())).toEqual([
      `-A -t ${VIP}:80 -s rr\n`,
      '',
      `-A -t ${VIP}:80 -s wrr\n`,
    ]);
    expect(a.netns.equals(c.netns)).toBe(false);
    expect(a.netns.equals(NetNs.home())).toBe(false);
    one.advance(1000);
    expect(one.text()).toBe(`# a\ntable ip of-a {\n}\n-A -t ${VIP}:80 -s rr\n\n# b\ntable ip of-b {\n}\n`);
    expect(other.text()).toBe(`# a\ntable ip of-c {\n}\n-A -t ${VIP}:80 -s wrr\n`);
  });

  test('behaves as the release that it is made with: before 6.18 a rule reads the first 255 bytes of a header', async () => {
    const codes: string[] = [];
    for (const release of ['6.1', '6.12', '6.18']) {
      const payload = { base: 'network', offset: 300, length: 4, register: 1 } as const;
      const place = { family: 'ip', table: 't', chain: 'c' } as const;
      const tx = new Transaction();
      tx.add({ table: { family: 'ip', name: 't' } });
      tx.add({ chain: { family: 'ip', table: 't', name: 'c' } });
      tx.add({ rule: { ...place, expressions: [{ payload }, { cmp: { register: 1, op: 'eq', data: '0a000001' } }] } });
      const { nftables } = kernelOf({ release }).container('web');
      codes.push(
        await nftables.commit(tx).then(
          () => 'taken',
          (error: { code: string }) => error.code,
        ),
      );
    }
    expect(codes).toEqual(['ERANGE', 'ERANGE', 'taken']);
  });

  test('refuses what a module that it lacks would do, and the library says which', async () => {
    const web = kernelOf({ modules: ['nf_tables', 'nft_counter'] }).container('web');
    await expect(web.ipvs.info()).rejects.toMatchObject({ code: 'ENOENT', hint: expect.stringContaining('ip_vs') });
    await web.nftables.apply('table ip t {\n chain c {\n counter\n }\n }\n');
    await expect(web.nftables.apply('add rule ip t c meta l4proto tcp redirect to :80')).rejects.toMatchObject({
      code: 'ENOENT',
    });
  });

  test('has unprivileged containers: IPVS over netlink is EPERM there, and by socket options it works', async () => {
    const web = kernelOf().container('web', { userNamespace: true });
    await web.nftables.apply('add table ip t');
    await web.ipvs.addService({ ...SERVICE, scheduler: 'rr' });
    expect(web.ipvs.via).toBe('sockopt');
    expect(web.ipvs.sync.save()).toBe(`-A -t ${VIP}:80 -s rr\n`);
  });

  test('goes back to a snapshot from before a log was opened, and the log goes on', async () => {
    const kernel = kernelOf();
    const web = kernel.container('web', eth0('192.168.0.50/24'));
    const empty = kernel.snapshot();
    await web.logging.set([{ group: 5 }]);
    using log = web.nflog({ groups: [5] });
    const packets = log[Symbol.asyncIterator]();
    const send = (port: number) =>
      web.receive(tcp({ from: '10.0.0.9:1', to: `192.168.0.50:${port}` }), { on: 'eth0' }).logs.length;
    expect(send(1)).toBe(1);
    kernel.restore(empty);
    expect(send(2)).toBe(0);
    await web.logging.set([{ group: 5 }]);
    expect(send(3)).toBe(1);
    kernel.advance(60_000);
    const { value } = await packets.next();
    expect(value.headers).toMatchObject({ destinationPort: 3 });
    expect(log.stats).toMatchObject({ received: 1 });
  });

  test('goes back to a snapshot, also twice, and handles stay open', async () => {
    const kernel = kernelOf();
    const web = kernel.container('web', eth0('192.168.0.50/24'));
    await web.nftables.apply('table ip t {\n set s {\n type ipv4_addr\n }\n }\n');
    const before = kernel.snapshot();
    for (let i = 0; i < 2; i++) {
      await web.nftables.apply('add element ip t s { 10.0.0.1 }');
      await web.ipvs.addService({ ...SERVICE, scheduler: 'rr' });
      const later = kernel.container(`later${i}`);
      kernel.advance(60_000);
      kernel.restore(before);
      expect(await web.nftables.elements({ family: 'ip', table: 't', name: 's' })).toEqual([]);
      expect(web.ipvs.sync.save()).toBe('');
      expect(await later.nftables.tables()).toEqual([]);
    }
    expect(() => kernel.restore(kernelOf().snapshot())).toThrow(TypeError);
  });

  test('lets time pass by the manual clock: elements and connections end when their time is over', async () => {
    const kernel = kernelOf();
    const web = kernel.container('web', eth0('192.168.0.50/24'));
    await web.nftables.apply(`table ip t {
      set seen {
        type ipv4_addr
        flags dynamic, timeout
        timeout 10s
      }
      chain c {
        type filter hook input priority 0
        ct state new update @seen { ip saddr }
      }
    }
    `);
    web.receive(udp({ from: '192.168.0.1:1', to: '192.168.0.50:53' }), { on: 'eth0' });
    await using ct = Conntrack.open({ netns: web.netns });
    const place = { family: 'ip', table: 't', name: 'seen' } as const;
    const left = async () => [(await web.nftables.elements(place)).length, await ct.count()];
    expect(await left()).toEqual([1, 1]);
    kernel.advance(10_000);
    expect(await left()).toEqual([0, 1]);
    kernel.advance(20_000);
    expect(await left()).toEqual([0, 0]);
  });

  test('prints itself, and does not spend the faults that are still to come', async () => {
    const kernel = kernelOf();
    const web = kernel.container('web');
    kernel.fail({ syscall: 'sendto', errno: 'ENOBUFS' });
    expect(kernel.text()).toBe('# web\n');
    await expect(web.nftables.tables()).rejects.toMatchObject({ code: 'ENOBUFS', syscall: 'sendto' });
  });

  test('leaves nothing behind when it is closed, and its handles reject with ERR_CLOSED', async () => {
    const kernel = kernelOf();
    const web = kernel.container('web', eth0('192.168.0.50/24'));
    const log = web.nflog({ groups: [5] });
    log.onBatch(() => {});
    const monitor = web.nftables.monitor()[Symbol.asyncIterator]();
    const next = monitor.next();
    kernel.fail({ operation: 'ipvs.info', errno: 'EPERM' });
    await web.nftables.apply('add table ip t');
    await next;
    await kernel.close();
    await expect(web.nftables.tables()).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    await until(() => process.getActiveResourcesInfo().every(each => each !== 'Immediate'));
  });
});

describe('packets', () => {
  test('are plain objects with their ends, and come out of a result as they go into the next container', () => {
    expect(tcp({ from: '10.0.0.1:1', to: '10.0.0.2:80', flags: ['syn', 'ack'] })).toMatchObject({
      protocol: 'tcp',
      from: '10.0.0.1:1',
      to: '10.0.0.2:80',
      ttl: 64,
    });
    expect(icmp({ from: '2001:db8::1', to: '2001:db8::2' })).toMatchObject({ protocol: 'icmpv6', from: '2001:db8::1' });
    const { bytes } = udp({ from: '[2001:db8::1]:5', to: '[2001:db8::2]:53', payload: 'hello' });
    expect(frame(bytes)).toEqual(frame(Buffer.from(bytes, 'hex')));
    expect(frame(`020000000001020000000002${'86dd'}${bytes}`)).toEqual(frame(bytes));
  });

  test('are refused with ERR_OUT_OF_RANGE or ERR_INVALID_ARG_TYPE where they cannot be', () => {
    expect(() => tcp({ from: '10.0.0.1', to: '10.0.0.2:80' })).toThrow(
      expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }),
    );
    expect(() => udp({ from: '10.0.0.1:1', to: '[::1]:80' })).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }),
    );
    expect(() => frame('00')).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }));
  });

  test('tell the connection that they are part of', () => {
    const web = kernelOf().container('web', eth0('192.168.0.50/24', `${VIP}/32`));
    web.redirects.sync.set([{ ...SERVICE, toPort: 8080 }]);
    const { connection } = web.receive(tcp({ from: '192.168.0.1:1', to: `${VIP}:80` }), { on: 'eth0' });
    expect(connection).toEqual({
      state: 'new',
      direction: 'original',
      original: { from: '192.168.0.1:1', to: `${VIP}:80` },
      reply: { from: '192.168.0.50:8080', to: '192.168.0.1:1' },
      mark: 0,
      seenReply: false,
      assured: false,
    });
    const answer = web.send(tcp({ from: '192.168.0.50:8080', to: '192.168.0.1:1', flags: ['syn', 'ack'] }));
    expect(answer).toMatchObject({
      packet: { from: `${VIP}:80` },
      connection: { direction: 'reply', seenReply: true },
    });
  });
});

test('a result has the rules that counted, what was sent back, and why the kernel drops of its own accord', async () => {
  const web = kernelOf().container('web', eth0('192.168.0.50/24'));
  await web.nftables.apply(`table ip t {
  counter seen {
  }
  chain c {
    type filter hook input priority 0
    counter name seen
    tcp dport 23 counter reject with tcp reset
  }
}
`);
  const to = (address: string) => web.receive(tcp({ from: '192.168.0.1:1', to: address }), { on: 'eth0' });
  const refused = to('192.168.0.50:23');
  expect(refused.verdict).toBe('reject');
  const rules = await web.nftables.rules({ family: 'ip', table: 't' });
  expect(refused.counters.map(({ rule, bytes }) => [rule, bytes])).toEqual(rules.map(({ handle }) => [handle, 40]));
  expect(refused.answers).toMatchObject([{ device: 'eth0', packet: { from: '192.168.0.50:23', to: '192.168.0.1:1' } }]);
  const { verdict, reason, steps } = to('10.0.0.1:80');
  expect({ verdict, steps }).toEqual({ verdict: 'drop', steps: [] });
  expect(reason).toEqual(expect.any(String));
});

test('simulate answers why a packet is dropped, for text, for JSON and for a ruleset that was read', async () => {
  const text =
    'table inet f {\n chain in {\n type filter hook input priority 0; policy drop\n tcp dport 22 accept\n }\n }\n';
  const web = kernelOf().container('web');
  await web.nftables.apply(text);
  const read = await web.nftables.ruleset({ elements: true });
  const json = await web.nftables.ruleset({ as: 'json' });
  const packet = (port: number) => tcp({ from: '10.0.0.1:1', to: `10.0.0.2:${port}` });
  for (const ruleset of [text, read, json]) {
    expect(simulate(ruleset, packet(22)).verdict).toBe('accept');
    const { verdict, steps } = simulate(ruleset, packet(23));
    expect({ verdict, steps }).toEqual({
      verdict: 'drop',
      steps: [{ family: 'inet', table: 'f', chain: 'in', verdict: 'drop' }],
    });
  }
});

test('a worker thread has kernels in memory of its own', async () => {
  const worker = new Worker(
    `import { parentPort } from 'node:worker_threads';
     import { MemoryKernel } from ${JSON.stringify(`${compiledSources()}/testing/index.js`)};
     const web = MemoryKernel.create().container('web');
     await web.nftables.apply('add table ip of-worker');
     parentPort.postMessage((await web.nftables.tables()).map(({ name }) => name));
     await web.close();`,
    { eval: true, execArgv: ['--input-type=module'] },
  );
  const names = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  expect(names).toEqual(['of-worker']);
});
