import { execFileSync, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Container, NetNs, NetNsError } from 'netsteer';
import { Transaction } from 'netsteer/nftables';
import { beforeAll, expect, it } from 'vitest';
import { rootArchive, rootFolder, run, scratchFolder, startCrun, startRunc } from '../support/bundle.ts';
import { cleanUpsOfEach } from '../support/clean-ups.ts';
import { FakeEngine } from '../support/engine.ts';
import { PATIENCE_MILLISECONDS, patience, untilNow } from '../support/wait.ts';
import { isLong, kernelSuite } from '../support/where.ts';
import { ensurePackages } from '../vm/packages.ts';

const NAME = `netsteer-find-${process.pid}`;

const cleanUps = cleanUpsOfEach();

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

/** A signal is only sent: the process has ended some time after. Who ends it is its parent, and so sees it until the event loop runs. */
function killNow(pid: number): void {
  process.kill(pid, 'SIGKILL');
  untilNow(() => /\) Z /.test(fs.readFileSync(`/proc/${pid}/stat`, 'latin1')));
}

kernelSuite('a container of a real runtime', () => {
  it.each([
    ['runc', startRunc],
    ['crun', startCrun],
  ] as const)('is found by %s until it ends', async (runtime, start) => {
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
        { timeout: PATIENCE_MILLISECONDS },
      )
      .toMatch(/^(ERR_NO_CONTAINER|ESRCH)$/);
  });

  it.each([
    ['runc', startRunc],
    ['crun', startCrun],
  ] as const)(
    "is rejected by %s with ERR_HOST_NAMESPACE where it uses the host's network, unless allowHost is set",
    async (runtime, start) => {
      start(cleanUps, NAME, []);
      await expect(Container.find(NAME, { runtime })).rejects.toMatchObject({ code: 'ERR_HOST_NAMESPACE' });
      await expect(Container.find(NAME)).rejects.toBeInstanceOf(NetNsError);
      (await Container.find(NAME, { runtime, allowHost: true })).close();
    },
  );

  it.each([
    ['runc', startRunc],
    ['crun', startCrun],
  ] as const)(
    "is rejected by %s with ERR_SHARED_NAMESPACE where it uses another container's network, unless that is allowed",
    async (runtime, start) => {
      const { pid, inode } = inhabitant();
      start(cleanUps, NAME, [{ type: 'network', path: `/proc/${pid}/ns/net` }]);
      await expect(Container.find(NAME, { runtime })).rejects.toMatchObject({ code: 'ERR_SHARED_NAMESPACE' });
      await using container = await Container.find(NAME, { runtime, allowShared: true });
      expect(container.netns.inode).toBe(inode);
    },
  );

  it('in a named namespace is rejected with ERR_SHARED_NAMESPACE when another container is in it', async () => {
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

  it('that does not exist is rejected with ERR_NO_CONTAINER, or with ERR_RUNTIME where its runtime is absent', async () => {
    await expect(Container.find(`${NAME}-absent`)).rejects.toMatchObject({ code: 'ERR_NO_CONTAINER' });
    await expect(Container.find('x', { runtime: 'rkt' as 'runc' })).rejects.toMatchObject({ attribute: 'runtime' });
    await expect(Container.find('x', { socket: '/nowhere.sock' })).rejects.toMatchObject({ code: 'ERR_RUNTIME' });
  });
});

kernelSuite('a record of a runtime', () => {
  it('whose process number was reused is rejected with ERR_NO_CONTAINER', async () => {
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

  it('whose process ends during the search is rejected with ERR_NO_CONTAINER', async () => {
    const web = inhabitant();
    const engine = new FakeEngine();
    cleanUps.add(() => engine.close());
    const socket = join(scratchFolder(cleanUps), 'docker.sock');
    await engine.listen(socket);
    engine.start('1', 'web', web.pid);
    let told = 0;
    // At the second question the namespace is open already.
    engine.onTold = () => {
      if (++told === 2) killNow(web.pid);
    };
    await expect(Container.find('web', { socket })).rejects.toMatchObject({ code: 'ERR_NO_CONTAINER' });
    expect(told).toBe(2);
    await web.end();
  });

  it("in a user's folder is believed only about that user's processes: others are rejected with ERR_NO_CONTAINER", async () => {
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
    await expect.poll(() => fs.readFileSync(`/proc/${mine.pid}/comm`, 'utf8')).toBe('sleep\n');
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

  it('whose process number another process has taken is rejected with ERR_NO_CONTAINER', () => {
    const dist = new URL('../../dist/index.js', import.meta.url).pathname;
    // In a pid namespace of its own, where the next number can be chosen.
    const script = `
      import { execFileSync, spawn, spawnSync } from 'node:child_process';
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
  it('is the namespace of process 1, which a process elsewhere finds too: rejects it with ERR_HOST_NAMESPACE', () => {
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

/** They bring a hundred packages with them, which only `npm run test:long` installs. */
const PACKAGES = ['podman', 'uidmap', 'docker.io', 'lxc', 'containerd', 'systemd-container'];
/** The runtimes' own limits are higher than what some machines allow. */
const LIMITS = ['--ulimit', 'nofile=1000:1000', '--ulimit', 'nproc=100:100'];
const SLEEP = ['/bin/sleep', '1000'];

type FindOptions = Parameters<typeof Container.find>[1];

/** It is the one that its runtime says it is. */
async function expectFound(id: string, pid: string, options: FindOptions): Promise<void> {
  await using container = await Container.find(id, options);
  expect(container.netns.inode).toBe(fs.statSync(`/proc/${pid}/ns/net`).ino);
}

/** One with the host's network, and one with that of another, are refused unless they are asked for. */
async function expectRefused(host: string, shared: string, options: FindOptions): Promise<void> {
  await expect(Container.find(host, options)).rejects.toMatchObject({ code: 'ERR_HOST_NAMESPACE' });
  (await Container.find(host, { ...options, allowHost: true })).close();
  await expect(Container.find(shared, options)).rejects.toMatchObject({ code: 'ERR_SHARED_NAMESPACE' });
  (await Container.find(shared, { ...options, allowShared: true })).close();
}

/** A daemon, once its socket is there. */
async function daemon(socket: string, program: string, parameters: string[]): Promise<void> {
  const child = spawn(program, parameters, { stdio: 'ignore' });
  const ended = new Promise(resolve => child.once('close', resolve));
  cleanUps.add(async () => {
    child.kill('SIGTERM');
    await ended;
  });
  await expect.poll(() => fs.existsSync(socket)).toBe(true);
}

if (isLong) {
  kernelSuite('the search finds a container', () => {
    beforeAll(() => ensurePackages(PACKAGES), patience(600_000));

    it('of docker, by the API of a real daemon', async () => {
      const folder = scratchFolder(cleanUps);
      const socket = join(folder, 'docker.sock');
      cleanUps.add(() => run('umount', join(folder, 'exec/netns/default')));
      // Nothing of the machine's network is touched.
      const own = [
        '--data-root',
        join(folder, 'data'),
        '--exec-root',
        join(folder, 'exec'),
        '--pidfile',
        join(folder, 'pid'),
      ];
      const network = ['--bridge', 'none', '--iptables=false', '--ip6tables=false', '--ip-forward=false'];
      await daemon(socket, 'dockerd', [...own, ...network, '--storage-driver', 'vfs', '-H', `unix://${socket}`]);
      const docker = (...parameters: string[]) => run('docker', '-H', `unix://${socket}`, ...parameters);
      await expect.poll(() => spawnSync('docker', ['-H', `unix://${socket}`, 'version']).status).toBe(0);
      docker('import', rootArchive(cleanUps), NAME);
      const start = (suffix: string, net: string) => {
        cleanUps.add(() => docker('rm', '--force', NAME + suffix));
        return docker('run', '--detach', '--name', NAME + suffix, '--network', net, ...LIMITS, NAME, ...SLEEP);
      };
      const id = start('', 'none');
      start('-host', 'host');
      start('-shared', `container:${NAME}`);
      const pid = docker('inspect', NAME, '--format', '{{.State.Pid}}');
      const options = { runtime: 'docker', socket } as const;
      await expectFound(NAME, pid, options);
      await expectFound(id.slice(0, 12), pid, options);
      await expectRefused(`${NAME}-host`, `${NAME}-shared`, options);
    });

    it('of podman, in its storage and by its socket, in pods and outside', async () => {
      const config = join(scratchFolder(cleanUps), 'containers.conf');
      const limits = 'default_ulimits = ["nofile=1000:1000", "nproc=100:100"]';
      fs.writeFileSync(config, `[containers]\n${limits}\n[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\n`);
      const podman = (...parameters: string[]) => run('env', `CONTAINERS_CONF=${config}`, 'podman', ...parameters);
      podman('import', rootArchive(cleanUps), NAME);
      const image = `localhost/${NAME}`;
      cleanUps.add(() => podman('rmi', '--force', NAME));
      const start = (suffix: string, ...options: string[]) => {
        cleanUps.add(() => podman('rm', '--force', '--time', '0', NAME + suffix));
        return podman('run', '--detach', '--name', NAME + suffix, ...options, image, ...SLEEP);
      };
      const id = start('', '--network', 'none');
      start('-host', '--network', 'host');
      start('-shared', '--network', `container:${NAME}`);
      cleanUps.add(() => podman('pod', 'rm', '--force', '--time', '0', `${NAME}-pod`));
      const infra = ['--infra-image', image, '--infra-command', SLEEP.join(' ')];
      podman('pod', 'create', '--name', `${NAME}-pod`, '--network', 'none', ...infra);
      start('-member', '--pod', `${NAME}-pod`);
      const pid = podman('inspect', NAME, '--format', '{{.State.Pid}}');
      const socket = join(scratchFolder(cleanUps), 'podman.sock');
      await daemon(socket, 'podman', ['system', 'service', '--time', '60', `unix://${socket}`]);
      for (const options of [{ runtime: 'podman' }, { runtime: 'podman', socket }] as const) {
        await expectFound(NAME, pid, options);
        await expectFound(id.slice(0, 12), pid, options);
        await expectRefused(`${NAME}-host`, `${NAME}-shared`, options);
        await expectRefused(`${NAME}-host`, `${NAME}-member`, options);
      }
    });

    it('of rootless podman, in the storage of its user', async () => {
      const uid = 54_321;
      const home = scratchFolder(cleanUps);
      const runtime = `/run/user/${uid}`;
      const own = (path: string) => fs.chownSync(path, uid, uid);
      const config = join(home, '.config/containers');
      fs.mkdirSync(config, { recursive: true });
      fs.mkdirSync(runtime, { recursive: true });
      cleanUps.add(() => fs.rmSync(runtime, { recursive: true, force: true }));
      const limits = 'default_ulimits = ["nofile=1000:1000", "nproc=100:100"]';
      const engine = '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n';
      fs.writeFileSync(join(config, 'containers.conf'), `[containers]\n${limits}\n${engine}`);
      const storage = '[storage]\ndriver = "vfs"\n[storage.options.vfs]\nignore_chown_errors = "true"\n';
      fs.writeFileSync(join(config, 'storage.conf'), storage);
      fs.copyFileSync(rootArchive(cleanUps), join(home, 'root.tar'));
      for (const path of [
        runtime,
        home,
        ...fs.readdirSync(home, { recursive: true, encoding: 'utf8' }).map(name => join(home, name)),
      ])
        own(path);
      const user = ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', 'env', '-i', '-C', home];
      const env = [`HOME=${home}`, `XDG_RUNTIME_DIR=${runtime}`, `PATH=${process.env.PATH}`];
      const podman = (...parameters: string[]) => run(user[0]!, ...user.slice(1), ...env, 'podman', ...parameters);
      cleanUps.add(() => {
        const pause = fs.readFileSync(`${runtime}/libpod/tmp/pause.pid`, 'utf8');
        process.kill(Number(pause), 'SIGKILL');
      });
      podman('import', 'root.tar', NAME);
      cleanUps.add(() => podman('rm', '--force', '--time', '0', '--all'));
      const start = (suffix: string, net: string) =>
        podman('run', '--detach', '--name', NAME + suffix, '--network', net, `localhost/${NAME}`, ...SLEEP);
      const id = start('', 'none');
      const pid = podman('inspect', NAME, '--format', '{{.State.Pid}}');
      await expectFound(id, pid, { runtime: 'podman' });
      await expectFound(id.slice(0, 12), pid, { runtime: 'podman' });
      await expectFound(id, pid, { runtime: 'runc' });
      // This user has no account, by which the folder with the record of the network is found: of two in one namespace, neither has it alone.
      const [host, shared] = [start('-host', 'host'), start('-shared', `container:${NAME}`)];
      cleanUps.add(() => podman('rm', '--force', '--time', '0', shared));
      await expectRefused(host, shared, { runtime: 'podman' });
    });

    it('of LXC', async () => {
      const folder = scratchFolder(cleanUps);
      const start = (suffix: string, ...network: string[]) => {
        const name = NAME + suffix;
        fs.mkdirSync(join(folder, name));
        const root = `lxc.rootfs.path = dir:${rootFolder(cleanUps)}`;
        const lines = [
          `lxc.uts.name = ${name}`,
          root,
          'lxc.init.cmd = /bin/sleep 1000',
          'lxc.apparmor.profile = unconfined',
        ];
        fs.writeFileSync(join(folder, name, 'config'), `${[...lines, ...network].join('\n')}\n`);
        run('lxc-start', '--lxcpath', folder, '--name', name);
        cleanUps.add(() => spawnSync('lxc-stop', ['--kill', '--lxcpath', folder, '--name', name]));
        return run('lxc-info', '--lxcpath', folder, '--name', name, '--pid', '--no-humanize');
      };
      const pid = start('', 'lxc.net.0.type = empty');
      await expectFound(NAME, pid, { runtime: 'lxc' });
      start('-host', 'lxc.net.0.type = none');
      start('-shared', `lxc.namespace.share.net = ${pid}`);
      await expectRefused(`${NAME}-host`, `${NAME}-shared`, { runtime: 'lxc' });
    });

    it('of containerd, by its shim', async () => {
      const folder = scratchFolder(cleanUps);
      const socket = join(folder, 'c.sock');
      await daemon(socket, 'containerd', ['--root', join(folder, 'root'), '--address', socket]);
      const ctr = (...parameters: string[]) => run('ctr', '--address', socket, ...parameters);
      const start = (suffix: string, ...network: string[]) => {
        cleanUps.add(() => spawnSync('ctr', ['--address', socket, 'container', 'rm', NAME + suffix]));
        cleanUps.add(() => spawnSync('ctr', ['--address', socket, 'task', 'rm', '--force', NAME + suffix]));
        ctr('run', '--detach', ...network, '--rootfs', rootFolder(cleanUps), NAME + suffix, ...SLEEP);
        return new RegExp(`^${NAME + suffix}\\s+(\\d+)`, 'm').exec(ctr('task', 'ls'))![1]!;
      };
      const pid = start('');
      await expectFound(NAME, pid, { runtime: 'containerd' });
      start('-host', '--net-host');
      start('-shared', '--with-ns', `network:/proc/${pid}/ns/net`);
      await expectRefused(`${NAME}-host`, `${NAME}-shared`, { runtime: 'containerd' });
    });

    it('of systemd-nspawn, by the record that machined would keep', async () => {
      // machined works where systemd is the first process alone: what it writes is written for it (systemd's src/machine/machine.c).
      const start = async (suffix: string, ...network: string[]) => {
        const name = NAME + suffix;
        const parameters = [
          '--quiet',
          '--register=no',
          '--keep-unit',
          '--machine',
          name,
          '--directory',
          rootFolder(cleanUps),
        ];
        const child = spawn('systemd-nspawn', [...parameters, ...network, ...SLEEP], { stdio: 'ignore' });
        const ended = new Promise(resolve => child.once('close', resolve));
        const children = () => fs.readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim();
        const program = (pid: string) => fs.readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
        await expect.poll(() => children() !== '' && program(children())).toBe('sleep');
        const leader = children();
        cleanUps.add(async () => {
          process.kill(Number(leader), 'SIGKILL');
          await ended;
        });
        const record = `/run/systemd/machines/${name}`;
        fs.mkdirSync('/run/systemd/machines', { recursive: true });
        fs.writeFileSync(
          record,
          `# This is private data. Do not parse.\nNAME=${name}\nSERVICE=nspawn\nLEADER=${leader}\nCLASS=container\n`,
        );
        cleanUps.add(() => fs.rmSync(record));
        return leader;
      };
      const pid = await start('', '--private-network');
      await expectFound(NAME, pid, { runtime: 'nspawn' });
      await start('-host');
      await start('-shared', `--network-namespace-path=/proc/${pid}/ns/net`);
      await expectRefused(`${NAME}-host`, `${NAME}-shared`, { runtime: 'nspawn' });
    });
  });
}
