import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ContainerState, Fleet, type FleetEvent, type FleetWatch, NetNs, Nftables } from 'netsteer';
import { Transaction } from 'netsteer/nftables';
import { expect, it } from 'vitest';
import { cleanUpsOfEach } from '../support/clean-ups.ts';
import { FakeEngine } from '../support/engine.ts';
import { kernelSuite } from '../support/where.ts';

const cleanUps = cleanUpsOfEach();

/** A directory as /run/netns is one. */
class Names {
  readonly path = fs.mkdtempSync(join(tmpdir(), 'netsteer-names-'));
  readonly #mounted = new Set<string>();

  constructor() {
    cleanUps.add(() => {
      for (const name of this.#mounted) execFileSync('umount', ['-l', join(this.path, name)]);
      fs.rmSync(this.path, { recursive: true });
    });
  }

  /** As `ip netns add` does it: a file, and then the namespace over it. */
  add(name: string): NetNs {
    const netns = NetNs.create();
    cleanUps.add(() => netns.close());
    const file = join(this.path, name);
    fs.writeFileSync(file, '');
    execFileSync('mount', ['--bind', `/proc/${process.pid}/fd/${netns.descriptor}`, file]);
    this.#mounted.add(name);
    return netns;
  }

  remove(name: string): void {
    execFileSync('umount', ['-l', join(this.path, name)]);
    this.#mounted.delete(name);
    fs.unlinkSync(join(this.path, name));
  }
}

const STATE: ContainerState = { transaction: new Transaction().add({ table: { family: 'ip', name: 'watched' } }) };

function watch(desired: Parameters<Fleet['watch']>[0], options: Parameters<Fleet['watch']>[1]): FleetWatch {
  const fleet = Fleet.open();
  const watching = fleet.watch(desired, options);
  cleanUps.add(async () => {
    watching.close();
    await fleet[Symbol.asyncDispose]();
  });
  return watching;
}

async function next(watching: FleetWatch): Promise<FleetEvent> {
  for await (const event of watching) return event;
  throw new Error('the watch has ended');
}

function tablesOf(netns: NetNs): string[] {
  const nft = Nftables.open({ netns });
  try {
    return nft.sync.tables().map(({ name }) => name);
  } finally {
    nft.close();
  }
}

function sleeper(): { child: ChildProcess; netns: NetNs } {
  const netns = NetNs.create();
  const child = netns.run(() => spawn('sleep', ['infinity'], { stdio: 'ignore' })) as ChildProcess;
  cleanUps.add(() => {
    child.kill('SIGKILL');
    netns.close();
  });
  return { child, netns };
}

kernelSuite('a watching fleet', () => {
  it('programs named namespaces, present and new ones', async () => {
    const names = new Names();
    const first = names.add('first');
    const watching = watch(STATE, { directories: [names.path], runtimes: [] });
    expect(await next(watching)).toMatchObject({ event: 'programmed', name: 'first', from: names.path });
    expect(tablesOf(first)).toEqual(['watched']);
    const second = names.add('second');
    expect(await next(watching)).toMatchObject({ event: 'programmed', name: 'second' });
    expect(tablesOf(second)).toEqual(['watched']);
    expect(watching.size).toBe(2);
  });

  it('waits for a directory that does not exist yet', async () => {
    const names = new Names();
    const directory = join(names.path, 'later');
    const watching = watch(STATE, { directories: [directory], runtimes: [] });
    const netns = NetNs.create();
    cleanUps.add(() => {
      execFileSync('umount', ['-l', join(directory, 'x')]);
      netns.close();
    });
    fs.mkdirSync(directory);
    fs.writeFileSync(join(directory, 'x'), '');
    execFileSync('mount', ['--bind', `/proc/${process.pid}/fd/${netns.descriptor}`, join(directory, 'x')]);
    expect(await next(watching)).toMatchObject({ event: 'programmed', name: 'x', from: directory });
  });

  it('reports a name that is gone, and closes its namespace', async () => {
    const names = new Names();
    names.add('short');
    const watching = watch(STATE, { directories: [names.path], runtimes: [] });
    await next(watching);
    names.remove('short');
    expect(await next(watching)).toEqual({ event: 'gone', name: 'short', from: names.path });
    expect(watching.size).toBe(0);
  });

  it('leaves containers alone for which the function returns undefined', async () => {
    const names = new Names();
    const theirs = names.add('theirs');
    const ours = names.add('ours');
    const watching = watch((_, { name }) => (name === 'ours' ? STATE : undefined), {
      directories: [names.path],
      runtimes: [],
    });
    expect(await next(watching)).toMatchObject({ event: 'programmed', name: 'ours' });
    expect(tablesOf(ours)).toEqual(['watched']);
    expect(tablesOf(theirs)).toEqual([]);
  });

  it('reports failures and continues: a name of the host is rejected with ERR_HOST_NAMESPACE', async () => {
    const names = new Names();
    const watching = watch(
      (_, { name }) => ({
        transaction: new Transaction().add({
          chain: { family: 'ip', table: name === 'good' ? 'there' : 'absent', name: 'c' },
        }),
      }),
      { directories: [names.path], runtimes: [] },
    );
    names.add('bad');
    expect(await next(watching)).toMatchObject({ event: 'failed', name: 'bad', error: { code: 'ENOENT' } });
    fs.symlinkSync('/proc/self/ns/net', join(names.path, 'host'));
    expect(await next(watching)).toMatchObject({
      event: 'failed',
      name: 'host',
      error: { code: 'ERR_HOST_NAMESPACE' },
    });
  });

  it('programs containers that docker starts, and forgets them when they end', async () => {
    const engine = new FakeEngine();
    const socketPath = join(new Names().path, 'docker.sock');
    await engine.listen(socketPath);
    cleanUps.add(() => engine.close());
    const watching = watch(STATE, { directories: [], runtimes: [socketPath] });
    await expect.poll(() => engine.listeners).toBe(1);
    const { child, netns } = sleeper();
    engine.start('4f1c', 'web1', child.pid!);
    expect(await next(watching)).toMatchObject({ event: 'programmed', name: 'web1', from: socketPath });
    expect(tablesOf(netns)).toEqual(['watched']);
    child.kill('SIGKILL');
    expect(await next(watching)).toEqual({ event: 'gone', name: 'web1', from: socketPath });
  });

  it('rejects containers that share a network with ERR_HOST_NAMESPACE, and never programs them', async () => {
    const engine = new FakeEngine();
    const socketPath = join(new Names().path, 'docker.sock');
    await engine.listen(socketPath);
    cleanUps.add(() => engine.close());
    const watching = watch(STATE, { directories: [], runtimes: [socketPath] });
    await expect.poll(() => engine.listeners).toBe(1);
    engine.start('1', 'host', process.pid, 'host');
    const { child, netns } = sleeper();
    engine.start('2', 'sidecar', child.pid!, 'container:3');
    engine.start('3', 'lying', process.pid);
    expect(await next(watching)).toMatchObject({
      event: 'failed',
      name: 'lying',
      error: { code: 'ERR_HOST_NAMESPACE' },
    });
    expect(tablesOf(netns)).toEqual([]);
  });

  it('reports a broken daemon with ERR_RUNTIME, and asks it again', async () => {
    const engine = new FakeEngine();
    engine.broken = { status: 500, body: 'ill' };
    const socketPath = join(new Names().path, 'docker.sock');
    await engine.listen(socketPath);
    cleanUps.add(() => engine.close());
    const watching = watch(STATE, { directories: [], runtimes: [socketPath] });
    expect(await next(watching)).toMatchObject({ event: 'failed', error: { code: 'ERR_RUNTIME' } });
    engine.broken = undefined;
    await expect.poll(() => engine.listeners).toBe(1);
    engine.tell('no json\n{"Actor":3}\n[]\n{"Actor":{"ID":"absent"}}\n');
    const { child } = sleeper();
    engine.start('4', 'web2', child.pid!);
    for await (const event of watching) {
      if (event.event === 'programmed') {
        expect(event.name).toBe('web2');
        break;
      }
    }
  });

  it('ends when it is closed or aborted', async () => {
    const names = new Names();
    const controller = new AbortController();
    const watching = watch(STATE, { directories: [names.path], runtimes: [], signal: controller.signal });
    const ended = (async () => {
      for await (const event of watching) return event;
      return 'ended';
    })();
    controller.abort();
    expect(await ended).toBe('ended');
    names.add('after');
    expect(watching.size).toBe(0);
  });

  it.each([
    [{ directories: 'x' }, 'directories'],
    [{ directories: [1] }, 'directories[0]'],
    [{ runtimes: [null] }, 'runtimes[0]'],
    [{ folders: [] }, 'folders'],
  ])('rejects %j', (options, attribute) => {
    expect(() => watch(STATE, options as never)).toThrow(expect.objectContaining({ attribute }));
  });
});
