import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { inspect } from 'node:util';
import { Container, Ipvs, Links, NetlinkError, NetNs, NetNsError, Nftables } from 'netsteer';
import { accept, log, Transaction, udp } from 'netsteer/nftables';
import { afterEach, expect, it } from 'vitest';
import { kernelSuite, where } from '../support/where.ts';

const sleepers: ChildProcess[] = [];

/** A process in a namespace of its own. */
function start(): { pid: number; netns: NetNs; child: ChildProcess } {
  const netns = NetNs.create();
  const child = netns.run(() => spawn('sleep', ['infinity'], { stdio: 'ignore' }));
  sleepers.push(child);
  return { pid: child.pid!, netns, child };
}

afterEach(() => {
  for (const child of sleepers.splice(0)) child.kill('SIGKILL');
});

kernelSuite('a container', () => {
  it('opens by the pid of a process in it', async () => {
    const { pid, netns } = start();
    await using container = Container.open({ pid });
    expect(container.netns.equals(netns)).toBe(true);
    await container.nftables.commit(new Transaction().add({ table: { family: 'ip', name: 'mine' } }));
    await using inside = Nftables.open({ netns });
    expect((await inside.tables()).map(table => table.name)).toEqual(['mine']);
    netns.close();
  });

  it('rejects the namespace of the host with ERR_HOST_NAMESPACE unless allowHost is set', () => {
    const open = (options?: { allowHost: boolean }) => Container.open({ pid: process.pid }, options);
    expect(() => open()).toThrow(expect.objectContaining({ code: 'ERR_HOST_NAMESPACE' }));
    expect(() => Container.open({ netns: NetNs.home() })).toThrow(NetNsError);
    open({ allowHost: true }).close();
  });

  it('is inspected with its name and its handles, without internals', async () => {
    const netns = NetNs.create();
    await using container = Container.open({ netns });
    const { inode } = netns;
    expect([netns, container, container.nftables].map(each => inspect(each))).toEqual([
      `NetNs { inode: ${inode} }`,
      `Container { netns: ${inode}, ended: false }`,
      `Nftables { netns: ${inode}, closed: false }`,
    ]);
    netns.close();
  });

  it('rejects a process that has ended', async () => {
    const { pid, child, netns } = start();
    child.kill('SIGKILL');
    await once(child, 'close');
    expect(() => Container.open({ pid })).toThrow(expect.objectContaining({ code: 'ESRCH' }));
    netns.close();
  });

  it('reports when its process ends', async () => {
    const { pid, child, netns } = start();
    await using container = Container.open({ pid });
    let closed = false;
    void container.closed.then(() => {
      closed = true;
    });
    child.kill('SIGKILL');
    await container.closed;
    expect(closed).toBe(true);
    netns.close();
  });

  it('rejects misspelt options with ERR_UNKNOWN_FIELD', () => {
    expect(() => Container.open({} as never)).toThrow(TypeError);
    expect(() => Container.open({ pid: 1.5 })).toThrow(RangeError);
    expect(() => Container.open({ netns: 'web1' } as never)).toThrow(TypeError);
    expect(() => Container.open({ netns: NetNs.home() }, { allowhost: true } as never)).toThrow(
      expect.objectContaining({ code: 'ERR_UNKNOWN_FIELD' }),
    );
  });

  it('opens its packet log and closes it, which then rejects with ERR_CLOSED', async () => {
    const { pid, netns } = start();
    const container = Container.open({ pid });
    using links = Links.open({ netns });
    await links.set('lo', { up: true });
    const place = { family: 'ip', table: 't' } as const;
    await container.nftables.commit(
      new Transaction()
        .add({ table: { family: 'ip', name: 't' } })
        .add({ chain: { ...place, name: 'in', type: 'filter', hook: 'input', priority: 'filter' } })
        .add({
          rule: { ...place, chain: 'in', statements: [udp.dport.eq(9), log({ group: 3, prefix: 'here ' }), accept()] },
        }),
    );
    const packets = container.nflog({ groups: [3] });
    netns.run(() => execFileSync('bash', ['-c', 'echo hello > /dev/udp/127.0.0.1/9']));
    for await (const packet of packets) {
      expect(packet).toMatchObject({ prefix: 'here ', group: 3, inDevice: 'lo' });
      break;
    }
    await container[Symbol.asyncDispose]();
    expect(packets.closed).toBe(true);
    expect(() => container.netns.run(() => {})).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
    netns.close();
  });

  it('reports in preflight what works, and how to mend the rest', async () => {
    const { pid, netns } = start();
    await using container = Container.open({ pid });
    const { ok, abilities } = await container.preflight();
    const by = Object.fromEntries(abilities.map(ability => [ability.name, ability]));
    for (const name of ['nftables', 'redirect', 'log', 'nflog', 'conntrack'])
      expect(by[name]).toMatchObject({ works: true });
    if (where === 'host') {
      // Debian's kernels have IPVS; this machine's may or may not, and preflight must agree with what happens.
      await using ipvs = Ipvs.open({ netns });
      const works = await ipvs.info().then(
        () => true,
        () => false,
      );
      expect(by.ipvs?.works).toBe(works);
      expect(ok).toBe(works);
      if (!works) expect(by.ipvs).toMatchObject({ why: expect.stringContaining('ip_vs'), remedy: expect.any(String) });
    } else {
      expect(ok).toBe(true);
    }
    netns.close();
  });

  it('reports in preflight what works for root of a user namespace', () => {
    const dist = new URL('../../dist/index.js', import.meta.url).pathname;
    const script = `
      import { Container, NetNs } from ${JSON.stringify(dist)};
      const container = Container.open({ netns: NetNs.home() }, { allowHost: true });
      console.log(JSON.stringify(await container.preflight({ load: true })));`;
    const output = execFileSync('unshare', ['-Urn', process.execPath, '--input-type=module', '-e', script], {
      encoding: 'utf8',
    });
    const { abilities } = JSON.parse(output);
    expect(abilities).toContainEqual(expect.objectContaining({ name: 'nftables', works: true }));
    // Where the kernel has IPVS, its socket options are for such a root, too.
    if (where !== 'host') expect(abilities).toContainEqual(expect.objectContaining({ name: 'ipvs', works: true }));
  });
});

kernelSuite('a kernel without IPVS', () => {
  it('is told from a missing service, and names the module to load', async () => {
    const netns = NetNs.create();
    await using ipvs = Ipvs.open({ netns });
    const error = await ipvs.service({ protocol: 'tcp', address: '10.0.0.1', port: 80 }).catch(error => error);
    expect(error).toBeInstanceOf(NetlinkError);
    const missing = error.code === 'ENOENT';
    expect(error).toMatchObject(
      missing
        ? { syscall: 'CTRL_CMD_GETFAMILY', operation: 'ipvs.service', hint: expect.stringContaining('modprobe ip_vs') }
        : { code: 'ESRCH', syscall: 'IPVS_CMD_GET_SERVICE' },
    );
    netns.close();
  });
});
