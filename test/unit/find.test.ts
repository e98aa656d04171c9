import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { NetNsError } from 'netsteer';
import { afterEach, describe, expect, it } from 'vitest';
import { findContainer } from '../../src/container/find.ts';
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

describe('a container is found', () => {
  it('by runc, with its whole id or the beginning of it', async () => {
    const root = machine({ [`run/runc/${ID}/state.json`]: runcState([{ type: 'NEWNET', path: '' }]) });
    const expected = { runtime: 'runc', id: ID, pid: 6022, startTime: '1671973', network: 'own' };
    expect(await find(ID, root)).toEqual(expected);
    expect(await find(ID.slice(0, 12), root)).toEqual(expected);
  });

  it("by runc, with the host's network or another container's", async () => {
    const host = machine({ [`run/runc/${ID}/state.json`]: runcState([]) });
    expect(await find(ID, host)).toMatchObject({ network: 'host' });
    const shared = machine({ [`run/runc/${ID}/state.json`]: runcState([{ type: 'NEWNET', path: '/proc/77/ns/net' }]) });
    expect(await find(ID, shared)).toMatchObject({ network: 'shared' });
    const pod = machine({ [`run/runc/${ID}/state.json`]: runcState([{ type: 'NEWNET', path: '/run/netns/cni-1' }]) });
    expect(await find(ID, pod)).toMatchObject({ network: 'own' });
  });

  it('by crun', async () => {
    const root = machine({
      'run/crun/web/status': { pid: 42, 'process-start-time': 7, bundle: '/bundles/web' },
      'bundles/web/config.json': config(),
    });
    expect(await find('web', root)).toEqual({ runtime: 'crun', id: 'web', pid: 42, startTime: '7', network: 'host' });
  });

  it("by containerd's shims, in each of its namespaces", async () => {
    const task = `run/containerd/io.containerd.runtime.v2.task/k8s.io/${ID}`;
    const root = machine({
      [`${task}/init.pid`]: '7312',
      [`${task}/config.json`]: config(network('/var/run/netns/cni-x')),
    });
    expect(await find(ID, root)).toEqual({ runtime: 'containerd', id: ID, pid: 7312, network: 'own' });
  });

  it("in podman's storage by name, and in a user's by id", async () => {
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

  it('in the storage that CRI-O shares with podman, told apart by its annotations', async () => {
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

  it("by LXC's cgroup: the process that is number 1 inside", async () => {
    const root = machine({
      'sys/fs/cgroup/cpu/lxc.payload.web/cgroup.procs': '500\n501\n',
      'proc/500/status': 'Name:\tsh\nNSpid:\t500\t7\n',
      'proc/501/status': 'Name:\tinit\nNSpid:\t501\t1\n',
    });
    expect(await find('web', root)).toEqual({ runtime: 'lxc', id: 'web', pid: 501, network: 'own' });
  });

  it("by systemd-machined's record, virtual machines excepted", async () => {
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
  ])("by %s's socket %s", async (runtime, path) => {
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

  it('by the others where a daemon is ill, unless it was named', async () => {
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

describe('a search', () => {
  it.each(['../../etc', '.', '', 'a/b', 'a b', '-x', '\u001b[31m', 'x'.repeat(256)])('for %j is refused', async id => {
    await expect(find(id, machine())).rejects.toMatchObject({ attribute: 'id' });
  });

  it('takes no id that several begin with, and no name as the beginning of one', async () => {
    const root = machine({
      [`run/runc/${ID}/state.json`]: runcState([]),
      [`run/runc/${ID.slice(0, 20)}${OTHER.slice(20)}/state.json`]: runcState([]),
      'run/runc/website/state.json': runcState([]),
    });
    for (const id of [ID.slice(0, 10), 'web', '97'])
      await expect(find(id, root)).rejects.toMatchObject({ code: 'ERR_NO_CONTAINER' });
  });

  it('is not led astray by records that are damaged', async () => {
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
});
