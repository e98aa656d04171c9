import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { NetNsError } from 'netsteer';
import { afterEach, describe, expect, it } from 'vitest';
import { findContainer, isOwnedBy } from '../../src/container/find/find.ts';
import { FakeEngine } from '../support/engine.ts';

const ID = '9779eb1f1433c8cdb889238abbd0d9956b7bcd0348e33fc66fb9a657f20b8f7f';
const OTHER = 'a6c482afca939c39219451142c628fd5eaeed8fa23ed9a083489c00e988f44b5';

const roots: string[] = [];
const engines: FakeEngine[] = [];
afterEach(() => {
  for (const engine of engines.splice(0)) engine.close();
  for (const root of roots.splice(0)) fs.rmSync(root, { recursive: true });
});

/** A machine with these files. */
function machine(files: Record<string, string | object> = {}): string {
  const root = fs.mkdtempSync(join(tmpdir(), 'netsteer-find-'));
  roots.push(root);
  for (const [path, content] of Object.entries(files)) {
    fs.mkdirSync(dirname(join(root, path)), { recursive: true });
    fs.writeFileSync(join(root, path), typeof content === 'string' ? content : JSON.stringify(content));
  }
  return root;
}

const find = (id: string, root: string, options: Parameters<typeof findContainer>[1] = {}) =>
  findContainer(id, options, { root });

const network = (path?: string) => ({ type: 'network', ...(path !== undefined && { path }) });
const config = (...namespaces: object[]) => ({ linux: { namespaces: [{ type: 'pid' }, ...namespaces] } });

/** As runc 1.1 writes it. */
const runcState = (namespaces: object[]) => ({
  id: ID,
  init_process_pid: 6022,
  init_process_start: 1671973,
  config: { namespaces: [{ type: 'NEWPID', path: '' }, ...namespaces] },
});

async function engineAt(root: string, path: string): Promise<FakeEngine> {
  const engine = new FakeEngine();
  engines.push(engine);
  fs.mkdirSync(dirname(join(root, path)), { recursive: true });
  await engine.listen(join(root, path));
  return engine;
}

describe('the search for a container', () => {
  it("finds runc's by its whole id or a prefix", async () => {
    const root = machine({ [`run/runc/${ID}/state.json`]: runcState([{ type: 'NEWNET', path: '' }]) });
    const expected = { runtime: 'runc', id: ID, pid: 6022, startTime: '1671973', network: 'own' };
    expect(await find(ID, root)).toEqual(expected);
    expect(await find(ID.slice(0, 12), root)).toEqual(expected);
  });

  it("finds runc's with the host's network or another container's", async () => {
    const host = machine({ [`run/runc/${ID}/state.json`]: runcState([]) });
    expect(await find(ID, host)).toMatchObject({ network: 'host' });
    const shared = machine({ [`run/runc/${ID}/state.json`]: runcState([{ type: 'NEWNET', path: '/proc/77/ns/net' }]) });
    expect(await find(ID, shared)).toMatchObject({ network: 'shared' });
    const pod = machine({ [`run/runc/${ID}/state.json`]: runcState([{ type: 'NEWNET', path: '/run/netns/cni-1' }]) });
    expect(await find(ID, pod)).toMatchObject({ network: 'own' });
  });

  it("finds crun's", async () => {
    const root = machine({
      'run/crun/web/status': { pid: 42, 'process-start-time': 7, bundle: '/bundles/web' },
      'run/crun/web/config.json': config(),
    });
    expect(await find('web', root)).toEqual({ runtime: 'crun', id: 'web', pid: 42, startTime: '7', network: 'host' });
  });

  it("finds containerd's by its shims, in each of its namespaces", async () => {
    const task = `run/containerd/io.containerd.runtime.v2.task/k8s.io/${ID}`;
    const root = machine({
      [`${task}/init.pid`]: '7312',
      [`${task}/config.json`]: config(network('/var/run/netns/cni-x')),
    });
    expect(await find(ID, root)).toEqual({ runtime: 'containerd', id: ID, pid: 7312, network: 'own' });
  });

  it("finds podman's in the storage by name, and in a user's by id", async () => {
    const files = (folder: string) => ({
      [`${folder}/${ID}/userdata/pidfile`]: '6022\n',
      [`${folder}/${ID}/userdata/config.json`]: config(network()),
    });
    const rootful = machine({
      ...files('run/containers/storage/overlay-containers'),
      'var/lib/containers/storage/overlay-containers/containers.json': [
        null,
        { id: OTHER, names: 'none' },
        { id: ID, names: ['web1'] },
      ],
    });
    const expected = { runtime: 'podman', id: ID, pid: 6022, network: 'own' };
    expect(await find('web1', rootful)).toEqual(expected);
    const rootless = machine(files('run/user/1000/containers/vfs-containers'));
    expect(await find(ID.slice(0, 10), rootless)).toEqual(expected);
  });

  it("finds podman's in the storage that CRI-O shares, told apart by annotations: rejects others with ERR_NO_CONTAINER", async () => {
    const folder = `run/containers/storage/overlay-containers/${ID}/userdata`;
    const root = machine({
      [`${folder}/pidfile`]: '99',
      [`${folder}/config.json`]: {
        ...config(network('/proc/3/ns/net')),
        annotations: { 'io.container.manager': 'cri-o', 'io.kubernetes.cri-o.Name': 'web' },
      },
    });
    expect(await find(ID, root)).toEqual({ runtime: 'cri-o', id: ID, pid: 99, network: 'shared' });
    await expect(find(ID, root, { runtime: 'podman' })).rejects.toMatchObject({ code: 'ERR_NO_CONTAINER' });
  });

  it.each([
    ['containerd', 'io.kubernetes.cri.container-type'],
    ['cri-o', 'io.kubernetes.cri-o.ContainerType'],
  ] as const)(
    'finds a pod of Kubernetes by %s: the pause container has the network, the others share it',
    async (runtime, role) => {
      const pod = { ...config(network('/var/run/netns/cni-1')), annotations: { 'io.container.manager': runtime } };
      const of = (kind: string) => ({ ...pod, annotations: { ...pod.annotations, [role]: kind } });
      const files = (id: string, kind: string): Record<string, string | object> => {
        const task = `run/containerd/io.containerd.runtime.v2.task/k8s.io/${id}`;
        const userdata = `run/containers/storage/overlay-containers/${id}/userdata`;
        return runtime === 'containerd'
          ? { [`${task}/init.pid`]: '7', [`${task}/config.json`]: of(kind) }
          : { [`${userdata}/pidfile`]: '7', [`${userdata}/config.json`]: of(kind) };
      };
      const root = machine({ ...files(ID, 'sandbox'), ...files(OTHER, 'container') });
      expect(await find(ID, root)).toMatchObject({ runtime, network: 'own' });
      expect(await find(OTHER, root)).toMatchObject({ runtime, network: 'shared' });
    },
  );

  it('finds a container in a pod by the labels that runc keeps', async () => {
    const state = (kind: string) => {
      const { config, ...rest } = runcState([{ type: 'NEWNET', path: '/var/run/netns/cni-1' }]);
      return { ...rest, config: { ...config, labels: [`io.kubernetes.cri.container-type=${kind}`, 'bundle=/a=b'] } };
    };
    const root = machine({
      [`run/containerd/runc/k8s.io/${ID}/state.json`]: state('sandbox'),
      [`run/containerd/runc/k8s.io/${OTHER}/state.json`]: state('container'),
    });
    expect(await find(ID, root)).toMatchObject({ runtime: 'runc', network: 'own' });
    expect(await find(OTHER, root)).toMatchObject({ runtime: 'runc', network: 'shared' });
  });

  it('finds a container in a named namespace, which another container of the runtime may share', async () => {
    const named = (id: string, pid: number) => {
      const task = `run/containerd/io.containerd.runtime.v2.task/default/${id}`;
      return { [`${task}/init.pid`]: `${pid}`, [`${task}/config.json`]: config(network('/run/netns/web')) };
    };
    const root = machine({
      ...named('a', 1),
      ...named('b', 2),
      ...named('c', 3),
      'proc/1/ns/net': '',
      'proc/3/ns/net': '',
    });
    fs.mkdirSync(join(root, 'proc/2/ns'), { recursive: true });
    fs.linkSync(join(root, 'proc/1/ns/net'), join(root, 'proc/2/ns/net'));
    expect(await find('a', root)).toMatchObject({ network: 'shared' });
    expect(await find('b', root)).toMatchObject({ network: 'shared' });
    expect(await find('c', root)).toMatchObject({ network: 'own' });
  });

  it("finds runc's and crun's of a user, by a name in the storage of that user", async () => {
    const userdata = `${ID}/userdata`;
    const root = machine({
      'etc/passwd': 'root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/home/web:/bin/sh\n',
      [`run/user/1000/runc/${OTHER}/state.json`]: { ...runcState([{ type: 'NEWNET', path: '' }]), id: OTHER },
      'run/user/1000/crun/mine/status': { pid: 42, 'process-start-time': 7 },
      [`run/user/1000/containers/vfs-containers/${userdata}/pidfile`]: '6022',
      [`home/web/.local/share/containers/storage/vfs-containers/${userdata}/config.json`]: config(),
      'home/web/.local/share/containers/storage/vfs-containers/containers.json': [{ id: ID, names: ['web1'] }],
    });
    expect(await find(OTHER, root)).toMatchObject({ runtime: 'runc', pid: 6022, network: 'own' });
    expect(await find('mine', root)).toMatchObject({ runtime: 'crun', pid: 42, network: 'own' });
    expect(await find('web1', root)).toEqual({ runtime: 'podman', id: ID, pid: 6022, network: 'host' });
  });

  it("finds LXC's by its cgroup: the process that is number 1 inside", async () => {
    const root = machine({
      'sys/fs/cgroup/cpu/lxc.payload.web/cgroup.procs': '499\n500\n501\n',
      'proc/499/status': 'Name:\tnested\nNSpid:\t499\t9\t1\n',
      'proc/500/status': 'Name:\tsh\nNSpid:\t500\t7\n',
      'proc/501/status': 'Name:\tinit\nNSpid:\t501\t1\n',
    });
    expect(await find('web', root)).toEqual({ runtime: 'lxc', id: 'web', pid: 501, network: 'own' });
  });

  it("finds systemd-machined's by its record, and rejects virtual machines with ERR_NO_CONTAINER", async () => {
    const root = machine({
      'run/systemd/machines/web': '# comment\nNAME=web\nCLASS=container\nSERVICE=systemd-nspawn\nLEADER=321\n',
      'run/systemd/machines/vm': 'NAME=vm\nCLASS=vm\nLEADER=322\n',
    });
    expect(await find('web', root)).toEqual({ runtime: 'nspawn', id: 'web', pid: 321, network: 'own' });
    await expect(find('vm', root)).rejects.toMatchObject({ code: 'ERR_NO_CONTAINER' });
  });

  it.each([
    ['docker', 'run/docker.sock'],
    ['podman', 'run/podman/podman.sock'],
    ['podman', 'run/user/1000/podman/podman.sock'],
  ])("finds %s's by its socket %s, and rejects others with ERR_NO_CONTAINER", async (runtime, path) => {
    const root = machine();
    const engine = await engineAt(root, path);
    engine.start('1', 'own', 11);
    engine.start('2', 'host', 12, 'host');
    engine.start('3', 'sidecar', 13, 'container:1');
    engine.start('4', 'stopped', 0);
    expect(await find('own', root)).toEqual({ runtime, id: '1', pid: 11, network: 'own' });
    expect(await find('host', root)).toMatchObject({ network: 'host' });
    expect(await find('sidecar', root)).toMatchObject({ network: 'shared' });
    await expect(find('stopped', root)).rejects.toMatchObject({ code: 'ERR_NO_CONTAINER' });
    await expect(find('absent', root)).rejects.toBeInstanceOf(NetNsError);
  });

  it('asks the other runtimes where a daemon fails, which rejects with ERR_RUNTIME where it was named', async () => {
    const root = machine({ 'run/systemd/machines/web': 'CLASS=container\nLEADER=321\n' });
    const engine = await engineAt(root, 'run/docker.sock');
    for (const broken of [
      { status: 500, body: '' },
      { status: 200, body: 'no json' },
      { status: 200, body: '{"Id":3}' },
      { status: 200, body: '{"Id":"x","State":{"Pid":-1}}' },
      { status: 200, body: '[]' },
    ]) {
      engine.broken = broken;
      expect(await find('web', root)).toMatchObject({ runtime: 'nspawn' });
      const socket = join(root, 'run/docker.sock');
      await expect(find('web', root, { socket })).rejects.toMatchObject({ code: 'ERR_RUNTIME' });
    }
  });
});

describe('the order and the limits of a search', () => {
  it("put root's runtimes before those of users", async () => {
    const root = machine({ 'run/systemd/machines/web': 'CLASS=container\nLEADER=321\n' });
    const engine = await engineAt(root, 'run/user/1000/docker.sock');
    engine.start('web', 'web', 666);
    expect(await find('web', root)).toMatchObject({ runtime: 'nspawn', pid: 321 });
    expect(await find('web', root, { runtime: 'docker' })).toMatchObject({ pid: 666 });
  });

  it.skipIf(process.getuid?.() !== 0)('name the user whose record was believed', async () => {
    const root = machine({ 'run/user/1000/crun/web/status': { pid: 42 } });
    fs.chownSync(join(root, 'run/user/1000'), 1000, 1000);
    expect(await find('web', root)).toMatchObject({ pid: 42, owner: 1000 });
    const engine = await engineAt(root, 'run/user/1000/docker.sock');
    engine.start('1', 'other', 43);
    fs.chownSync(join(root, 'run/user/1000/docker.sock'), 1000, 1000);
    expect(await find('other', root)).toMatchObject({ pid: 43, owner: 1000 });
  });

  it("make a user's record count for processes in a namespace of that user only", () => {
    const maps = {
      1: '         0          0 4294967295\n',
      2: '         0       1000          1\n         1     100000      65536\n',
      3: '         0     100000       1000\n      1000       1000          1\n      1001     101000      64536\n',
      4: '         0      10000          1\n',
      5: '         0       1000          2\n',
    };
    const root = machine(Object.fromEntries(Object.entries(maps).map(([pid, map]) => [`proc/${pid}/uid_map`, map])));
    expect([1, 2, 3, 4, 5, 6].filter(pid => isOwnedBy(1000, pid, { root }))).toEqual([2, 3]);
  });

  it('exclude links out of the folder of records, and what is no file: rejects with ERR_NO_CONTAINER', async () => {
    const outside = machine({ secret: { pid: 4, init_process_pid: 4 }, 'a/status': { pid: 4 } });
    const root = machine({ 'run/user/1000/crun/ours/status': { pid: 5 } });
    const crun = join(root, 'run/user/1000/crun');
    for (const id of ['last', 'fifo', 'folder', 'inside']) fs.mkdirSync(join(crun, id));
    fs.symlinkSync(join(outside, 'secret'), join(crun, 'last/status'));
    fs.symlinkSync(join(outside, 'a'), join(crun, 'middle'));
    fs.symlinkSync('../../../../../../../../etc', join(crun, 'up'));
    fs.symlinkSync('ours', join(crun, 'alias'));
    execFileSync('mkfifo', [join(crun, 'fifo/status')]);
    fs.mkdirSync(join(crun, 'folder/status'));
    for (const id of ['last', 'middle', 'up', 'fifo', 'folder'])
      await expect(find(id, root)).rejects.toMatchObject({ code: 'ERR_NO_CONTAINER' });
    expect(await find('ours', root)).toMatchObject({ pid: 5 });
    expect(await find('alias', root)).toMatchObject({ pid: 5 });
    fs.rmSync(crun, { recursive: true });
    fs.symlinkSync(outside, crun);
    await expect(find('a', root)).rejects.toMatchObject({ code: 'ERR_NO_CONTAINER' });
  });

  it.each(['../../etc', '.', '', 'a/b', 'a b', '-x', '\u001b[31m', 'x'.repeat(256)])('reject the name %j', async id => {
    await expect(find(id, machine())).rejects.toMatchObject({ attribute: 'id' });
  });

  it('reject a prefix of several ids, and a prefix of a name, with ERR_NO_CONTAINER', async () => {
    const root = machine({
      [`run/runc/${ID}/state.json`]: runcState([]),
      [`run/runc/${ID.slice(0, 20)}${OTHER.slice(20)}/state.json`]: runcState([]),
      'run/runc/website/state.json': runcState([]),
    });
    for (const id of [ID.slice(0, 10), 'web', '97'])
      await expect(find(id, root)).rejects.toMatchObject({ code: 'ERR_NO_CONTAINER' });
  });

  it('pass over damaged records, and reject a missing container with ERR_NO_CONTAINER', async () => {
    const root = machine({
      [`run/runc/${ID}/state.json`]: '{',
      'run/crun/a/status': { pid: 'x' },
      'run/crun/b/status': { pid: 1.5 },
      'run/crun/c/status': 'null',
      'run/crun/d/status': { pid: -4 },
      'run/containerd/io.containerd.runtime.v2.task/ns/e/init.pid': '99 and more',
      'run/systemd/machines/f': 'CLASS=container\nLEADER=\n',
    });
    for (const id of [ID, 'a', 'b', 'c', 'd', 'e', 'f'])
      await expect(find(id, root)).rejects.toMatchObject({ code: 'ERR_NO_CONTAINER' });
  });

  it.each([
    ['500', { status: 500, body: '' }],
    ['no JSON', { status: 200, body: '{' }],
    ['a pid of 2^53 - 1', { status: 200, body: `{"Id":"x","State":{"Pid":${2 ** 53 - 1}}}` }],
  ])("exclude users where root's daemon answers %s: rejects with ERR_RUNTIME", async (_, broken) => {
    const root = machine({ 'run/user/1000/crun/web/status': { pid: 666 } });
    const user = await engineAt(root, 'run/user/1000/docker.sock');
    user.start('web', 'web', 667);
    const engine = await engineAt(root, 'run/docker.sock');
    engine.broken = broken;
    await expect(find('web', root)).rejects.toMatchObject({ name: 'StateError', code: 'ERR_RUNTIME' });
    expect(await find('web', root, { runtime: 'crun' })).toMatchObject({ pid: 666 });
    // It is well again, and has no such container.
    engine.broken = undefined;
    expect(await find('web', root)).toMatchObject({ pid: 667 });
  });

  it("include users where nothing listens at root's socket", async () => {
    const root = machine({ 'run/user/1000/crun/web/status': { pid: 666 } });
    const script = `require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`;
    fs.mkdirSync(join(root, 'run'), { recursive: true });
    spawnSync(process.execPath, ['-e', script, join(root, 'run/docker.sock')]);
    expect(fs.lstatSync(join(root, 'run/docker.sock')).isSocket()).toBe(true);
    expect(await find('web', root)).toMatchObject({ pid: 666 });
  });

  it('exclude links, FIFOs, sockets and folders at every place of a path: rejects with ERR_NO_CONTAINER', async () => {
    const ours: Record<string, string | object> = {
      'crun/web/status': { pid: 5 },
      [`runc/${ID}/state.json`]: runcState([]),
      [`containers/vfs-containers/${OTHER}/userdata/pidfile`]: '5',
    };
    const ids: Record<string, string> = { crun: 'web', runc: ID, containers: OTHER };
    for (const path of Object.keys(ours)) {
      const parts = path.split('/');
      for (let depth = 1; depth <= parts.length; depth++) {
        const place = parts.slice(0, depth).join('/');
        const traps: Record<string, (at: string, victim: string) => void> = {
          link: (at, victim) => fs.symlinkSync(victim, at),
          'link upwards': at => fs.symlinkSync(`${'../'.repeat(20)}proc`, at),
          'link to itself': at => fs.symlinkSync(at, at),
          FIFO: at => execFileSync('mkfifo', [at]),
          folder: at => fs.mkdirSync(at),
        };
        for (const [name, set] of Object.entries(traps)) {
          const root = machine({ [`run/user/1000/${path}`]: ours[path]! });
          const victim = machine({ [path]: ours[path]! });
          const at = join(root, 'run/user/1000', place);
          fs.rmSync(at, { recursive: true });
          set(at, join(victim, place));
          const found = find(ids[parts[0]!]!, root);
          await expect(found, `${name} at ${place}`).rejects.toMatchObject({ code: 'ERR_NO_CONTAINER' });
        }
      }
    }
  });
});
