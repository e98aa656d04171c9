import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Container, NetNs, NetNsError } from 'netsteer';
import { Transaction } from 'netsteer/nftables';
import { afterEach, expect, it } from 'vitest';
import { CleanUps, run, scratchFolder, startCrun, startRunc } from '../support/bundle.ts';
import { FakeEngine } from '../support/engine.ts';
import { kernelSuite } from '../support/where.ts';

const NAME = `netsteer-find-${process.pid}`;

const cleanUps = new CleanUps();
afterEach(() => cleanUps.run());

/** A process in a namespace of its own, and that namespace's inode. */
function inhabitant(...wrapper: string[]): { pid: number; inode: number; end(): Promise<void> } {
  const netns = NetNs.create();
  const [program, ...parameters] = [...wrapper, 'sleep', 'infinity'];
  const child = netns.run(() => spawn(program!, parameters, { stdio: 'ignore' }));
  const ended = new Promise<void>(resolve => child.once('close', () => resolve()));
  cleanUps.add(() => child.kill('SIGKILL'));
  const { inode } = netns;
  netns.close();
  return {
    pid: child.pid!,
    inode,
    end: () => {
      child.kill('SIGKILL');
      return ended;
    },
  };
}

kernelSuite("a container of a real runtime's", () => {
  it.each([
    ['runc', startRunc],
    ['crun', startCrun],
  ] as const)('is found by %s, until it ends', async (runtime, start) => {
    start(cleanUps, NAME, [{ type: 'network' }]);
    const { pid } = JSON.parse(run(runtime, 'state', NAME));
    {
      await using container = await Container.find(NAME, { runtime });
      expect(container.id).toBe(NAME);
      expect(container.netns.inode).toBe(fs.statSync(`/proc/${pid}/ns/net`).ino);
      await container.nftables.commit(new Transaction().add({ table: { family: 'ip', name: 'found' } }));
      expect((await container.nftables.tables()).map(({ name }) => name)).toEqual(['found']);
    }
    process.kill(pid, 'SIGKILL');
    await expect
      .poll(
        () =>
          Container.find(NAME).then(
            container => container.close(),
            error => error.code,
          ),
        { timeout: 30_000 },
      )
      .toMatch(/^(ERR_NO_CONTAINER|ESRCH)$/);
  });

  it.each([
    ['runc', startRunc],
    ['crun', startCrun],
  ] as const)("is refused by %s with the host's network, unless that is asked for", async (runtime, start) => {
    start(cleanUps, NAME, []);
    await expect(Container.find(NAME, { runtime })).rejects.toMatchObject({ code: 'ERR_HOST_NAMESPACE' });
    await expect(Container.find(NAME)).rejects.toBeInstanceOf(NetNsError);
    (await Container.find(NAME, { runtime, allowHost: true })).close();
  });

  it.each([
    ['runc', startRunc],
    ['crun', startCrun],
  ] as const)("is refused by %s with another container's network, unless that is asked for", async (runtime, start) => {
    const { pid, inode } = inhabitant();
    start(cleanUps, NAME, [{ type: 'network', path: `/proc/${pid}/ns/net` }]);
    await expect(Container.find(NAME, { runtime })).rejects.toMatchObject({ code: 'ERR_SHARED_NAMESPACE' });
    await using container = await Container.find(NAME, { runtime, allowShared: true });
    expect(container.netns.inode).toBe(inode);
  });

  it('shares a namespace with a name when another is in it, as the containers of a pod are', async () => {
    const { pid } = inhabitant();
    const path = join(scratchFolder(cleanUps), 'pod');
    fs.writeFileSync(path, '');
    run('mount', '--bind', `/proc/${pid}/ns/net`, path);
    cleanUps.add(() => run('umount', path));
    startRunc(cleanUps, NAME, [{ type: 'network', path }]);
    (await Container.find(NAME)).close();
    startRunc(cleanUps, `${NAME}-2`, [{ type: 'network', path }]);
    await expect(Container.find(NAME)).rejects.toMatchObject({ code: 'ERR_SHARED_NAMESPACE' });
    await expect(Container.find(`${NAME}-2`)).rejects.toMatchObject({ code: 'ERR_SHARED_NAMESPACE' });
  });

  it('is not found where there is none', async () => {
    await expect(Container.find(`${NAME}-absent`)).rejects.toMatchObject({ code: 'ERR_NO_CONTAINER' });
    await expect(Container.find('x', { runtime: 'rkt' as 'runc' })).rejects.toMatchObject({ attribute: 'runtime' });
    await expect(Container.find('x', { socket: '/nowhere.sock' })).rejects.toMatchObject({ code: 'ERR_RUNTIME' });
  });
});

kernelSuite("a runtime's record", () => {
  it('that says another process by now is not believed', async () => {
    const [first, second] = [inhabitant(), inhabitant()];
    const engine = new FakeEngine();
    cleanUps.add(() => engine.close());
    const socket = join(scratchFolder(cleanUps), 'docker.sock');
    await engine.listen(socket);
    for (const next of [second.pid, 0]) {
      engine.start('1', 'web', first.pid);
      (await Container.find('web', { socket })).close();
      engine.onTold = () => engine.start('1', 'web', next);
      await expect(Container.find('web', { socket })).rejects.toMatchObject({ code: 'ERR_NO_CONTAINER' });
      engine.onTold = undefined;
    }
  });

  it('of a process that ends meanwhile is not believed', async () => {
    const web = inhabitant();
    const engine = new FakeEngine();
    cleanUps.add(() => engine.close());
    const socket = join(scratchFolder(cleanUps), 'docker.sock');
    await engine.listen(socket);
    engine.start('1', 'web', web.pid);
    let told = 0;
    // At the second question the namespace is open already.
    engine.onTold = () => ++told === 2 && void process.kill(web.pid, 'SIGKILL');
    await expect(Container.find('web', { socket })).rejects.toMatchObject({ code: 'ERR_NO_CONTAINER' });
    expect(told).toBe(2);
    await web.end();
  });

  it("that is a user's is believed for that user's processes alone", async () => {
    const uid = 54_321;
    const theirs = inhabitant();
    // The user namespace is the user's, as `podman` and `dockerd` without root have it; the network namespace is one within.
    const mine = spawn(
      'setpriv',
      [
        `--reuid=${uid}`,
        `--regid=${uid}`,
        '--clear-groups',
        'unshare',
        '--user',
        '--map-root-user',
        '--net',
        'sleep',
        'infinity',
      ],
      { stdio: 'ignore' },
    );
    cleanUps.add(() => mine.kill('SIGKILL'));
    await expect.poll(() => fs.readFileSync(`/proc/${mine.pid}/comm`, 'utf8'), { timeout: 30_000 }).toBe('sleep\n');
    const engine = new FakeEngine();
    cleanUps.add(() => engine.close());
    const socket = join(scratchFolder(cleanUps), 'docker.sock');
    await engine.listen(socket);
    fs.chownSync(socket, uid, uid);
    engine.start('1', 'mine', mine.pid!);
    engine.start('2', 'theirs', theirs.pid);
    await using container = await Container.find('mine', { socket });
    expect(container.netns.inode).toBe(fs.statSync(`/proc/${mine.pid}/ns/net`).ino);
    await expect(Container.find('theirs', { socket })).rejects.toMatchObject({
      code: 'ERR_NO_CONTAINER',
      hint: expect.stringContaining(`user ${uid}`),
    });
  });

  it('of a number that has gone to another process is not believed', () => {
    const dist = new URL('../../dist/index.js', import.meta.url).pathname;
    // In a pid namespace of its own, where the next number can be chosen.
    const script = `
      import { execFileSync, spawn } from 'node:child_process';
      import { once } from 'node:events';
      import fs from 'node:fs';
      import { Container, NetNs } from ${JSON.stringify(dist)};
      execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/run']);
      const startTime = pid => Number(fs.readFileSync('/proc/' + pid + '/stat', 'utf8').split(') ')[1].split(' ')[19]);
      const start = netns => netns.run(() => spawn('sleep', ['infinity'], { stdio: 'ignore' }));
      const end = async child => { child.kill('SIGKILL'); await once(child, 'close'); };
      const [a, b] = [NetNs.create(), NetNs.create()];
      const first = start(a);
      const { pid } = first;
      const ticks = startTime(pid);
      fs.mkdirSync('/run/runc/web', { recursive: true });
      fs.writeFileSync('/run/runc/web/state.json', JSON.stringify({
        init_process_pid: pid, init_process_start: ticks, config: { namespaces: [{ type: 'NEWNET', path: '' }] },
      }));
      const container = await Container.find('web');
      const found = container.netns.equals(a);
      await end(first);
      let second = start(b);
      while (second.pid !== pid || startTime(second.pid) === ticks) {
        await end(second);
        fs.writeFileSync('/proc/sys/kernel/ns_last_pid', String(pid - 1));
        second = start(b);
      }
      const code = await Container.find('web').then(() => 'found', error => error.code);
      console.log(JSON.stringify({ found, ended: container.ended, code }));
      await end(second);
      container.close();`;
    const folder = fs.mkdtempSync(join(tmpdir(), 'netsteer-reuse-'));
    cleanUps.add(() => fs.rmSync(folder, { recursive: true }));
    const file = join(folder, 'reuse.mjs');
    fs.writeFileSync(file, script);
    const unshare = ['--pid', '--fork', '--kill-child', '--mount', '--mount-proc', process.execPath, file];
    const output = execFileSync('unshare', unshare, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
    expect(JSON.parse(output)).toEqual({ found: true, ended: true, code: 'ERR_NO_CONTAINER' });
  });
});

kernelSuite('the host', () => {
  it('is the namespace of process 1, also for a process in another', () => {
    const dist = new URL('../../dist/index.js', import.meta.url).pathname;
    const script = `
      import { Container } from ${JSON.stringify(dist)};
      const open = options => { try { Container.open({ pid: 1 }, options).close(); return 'opened'; } catch (error) { return error.code; } };
      console.log(JSON.stringify([open(), open({ allowHost: true })]));`;
    // Process 1 is the shell, of a pid namespace in which it can be looked at also where the machine's own cannot.
    const shell = ['sh', '-c', 'unshare --net "$0" --input-type=module -e "$1"; exit $?', process.execPath, script];
    const unshare = ['--pid', '--fork', '--kill-child', '--mount-proc', ...shell];
    expect(JSON.parse(execFileSync('unshare', unshare, { encoding: 'utf8' }))).toEqual([
      'ERR_HOST_NAMESPACE',
      'opened',
    ]);
  });
});
