import fs from 'node:fs';
import { join } from 'node:path';
import { checkOneOf, checkString } from '../codec/index.ts';
import { NetNsError, rangeError, StateError } from '../errors.ts';
import { Engine } from './engine.ts';

export const RUNTIMES = ['docker', 'podman', 'containerd', 'cri-o', 'lxc', 'nspawn', 'runc', 'crun'] as const;
export type Runtime = (typeof RUNTIMES)[number];

export interface FindOptions {
  /** Ask only this one; default all that have left a socket or state on this machine. */
  runtime?: Runtime;
  /** The socket of docker's or podman's Engine API, where it is not in its usual place. */
  socket?: string;
}

/** A container as its runtime knows it. */
export interface FoundContainer {
  runtime: Runtime;
  /** As the runtime has it: what was asked for may have been its beginning, or a name. */
  id: string;
  /** Its first process, as this process numbers it. */
  pid: number;
  /** When that was started, in clock ticks since the boot (proc(5), field 22), where the runtime has written it down. */
  startTime?: string;
  /** Whose network it has: one of its own, the host's, or that of another container. */
  network: 'own' | 'host' | 'shared';
}

type Finder = (id: string, at: Places) => FoundContainer | undefined;

/** Where runtimes keep their state; tests have another root. */
export interface Places {
  readonly root: string;
}

/** Ids and names of all runtimes: a path out of the folder of a state cannot be one. */
const ID = /^[A-Za-z0-9][A-Za-z0-9_.@:-]{0,254}$/;
/** Where containers/storage keeps what outlives a boot. */
const STORAGE = 'var/lib/containers/storage';
/** State of a container is small; config.json of a large one has some hundred kilobytes. */
const MAX_FILE = 8 << 20;
const CHUNK = 64 << 10;

const FINDERS: Record<Exclude<Runtime, 'docker'>, Finder> = {
  podman: (id, at) => inStorage('podman', id, at),
  containerd: inContainerd,
  'cri-o': (id, at) => inStorage('cri-o', id, at),
  lxc: inLxc,
  nspawn: inNspawn,
  runc: inRunc,
  crun: inCrun,
};

/**
 * Looks a container up in its runtime's own records.
 * @throws NetNsError ERR_NO_CONTAINER none of the runtimes has it, or it does not run
 * @throws StateError ERR_RUNTIME a daemon that was named cannot be asked
 */
export async function findContainer(
  id: string,
  options: FindOptions,
  at: Places = { root: '/' },
): Promise<FoundContainer> {
  checkString(id, ['id'], 255);
  if (!ID.test(id)) throw rangeError(['id'], 'the name or id of a container', id);
  const { runtime, socket } = options;
  if (runtime !== undefined) checkOneOf(runtime, ['runtime'], RUNTIMES);
  if (socket !== undefined) checkString(socket, ['socket'], 107);
  for (const [name, path] of socketsOf(runtime, socket, at)) {
    const found = await byEngine(name, path, id, socket !== undefined);
    if (found !== undefined) return found;
  }
  if (socket === undefined) {
    for (const [name, find] of Object.entries(FINDERS)) {
      const found = runtime === undefined || runtime === name ? find(id, at) : undefined;
      if (found !== undefined) return found;
    }
  }
  throw new NetNsError(`no running container ${JSON.stringify(id)}`, {
    code: 'ERR_NO_CONTAINER',
    hint: `asked: ${runtime ?? RUNTIMES.join(', ')}`,
  });
}

function socketsOf(
  runtime: Runtime | undefined,
  socket: string | undefined,
  at: Places,
): [runtime: 'docker' | 'podman', path: string][] {
  if (socket !== undefined) return [[runtime === 'podman' ? 'podman' : 'docker', socket]];
  const users = namesIn(at, 'run/user');
  const all: ['docker' | 'podman', string][] = [
    ['docker', 'run/docker.sock'],
    ...users.map((user): ['docker', string] => ['docker', `run/user/${user}/docker.sock`]),
    ['podman', 'run/podman/podman.sock'],
    ...users.map((user): ['podman', string] => ['podman', `run/user/${user}/podman/podman.sock`]),
  ];
  return all
    .filter(([name]) => runtime === undefined || runtime === name)
    .map(([name, path]): ['docker' | 'podman', string] => [name, join(at.root, path)])
    .filter(([, path]) => fs.existsSync(path));
}

async function byEngine(
  runtime: 'docker' | 'podman',
  path: string,
  id: string,
  named: boolean,
): Promise<FoundContainer | undefined> {
  try {
    const found = await new Engine(path).inspect(id);
    if (found === undefined || found.pid === 0) return undefined;
    const { networkMode } = found;
    const network = networkMode === 'host' ? 'host' : /^(container|ns):/.test(networkMode) ? 'shared' : 'own';
    return { runtime, id: found.id, pid: found.pid, network };
  } catch (error) {
    // A socket that a daemon has left behind is no reason not to ask the others.
    if (named || !(error instanceof StateError)) throw error;
    return undefined;
  }
}

/** runc's state.json: /run/runc, and the folders of those that use it. */
function inRunc(id: string, at: Places): FoundContainer | undefined {
  const roots = [
    'run/runc',
    'run/docker/runtime-runc/moby',
    ...namesIn(at, 'run/containerd/runc').map(name => `run/containerd/runc/${name}`),
  ];
  for (const root of roots) {
    const full = fullId(id, namesIn(at, root));
    const state = full === undefined ? undefined : jsonIn(at, `${root}/${full}/state.json`);
    if (full === undefined || state === undefined) continue;
    const pid = pidOf(state.init_process_pid);
    if (pid === undefined) continue;
    const namespaces = list(record(state.config).namespaces);
    const mine = namespaces.find(each => each.type === 'NEWNET');
    const startTime = state.init_process_start;
    return {
      runtime: 'runc',
      id: full,
      pid,
      network: networkOf(mine),
      ...(typeof startTime === 'number' && { startTime: String(startTime) }),
    };
  }
  return undefined;
}

/** crun's status, and the bundle's config.json that it names. */
function inCrun(id: string, at: Places): FoundContainer | undefined {
  const full = fullId(id, namesIn(at, 'run/crun'));
  const status = full === undefined ? undefined : jsonIn(at, `run/crun/${full}/status`);
  const pid = pidOf(status?.pid);
  if (full === undefined || status === undefined || pid === undefined) return undefined;
  const config = typeof status.bundle === 'string' ? jsonIn(at, join(status.bundle, 'config.json')) : undefined;
  const startTime = status['process-start-time'];
  return {
    runtime: 'crun',
    id: full,
    pid,
    network: networkOfConfig(config),
    ...(typeof startTime === 'number' && { startTime: String(startTime) }),
  };
}

/** The shim's bundle: init.pid and config.json, in each of containerd's namespaces. */
function inContainerd(id: string, at: Places): FoundContainer | undefined {
  const tasks = 'run/containerd/io.containerd.runtime.v2.task';
  for (const namespace of namesIn(at, tasks)) {
    const full = fullId(id, namesIn(at, `${tasks}/${namespace}`));
    const bundle = `${tasks}/${namespace}/${full}`;
    const pid = full === undefined ? undefined : pidOf(textIn(at, `${bundle}/init.pid`));
    if (full === undefined || pid === undefined) continue;
    return { runtime: 'containerd', id: full, pid, network: networkOfConfig(jsonIn(at, `${bundle}/config.json`)) };
  }
  return undefined;
}

/** What podman and CRI-O share: containers/storage, with conmon's pidfile and the runtime's config.json. */
function inStorage(runtime: 'podman' | 'cri-o', id: string, at: Places): FoundContainer | undefined {
  const runRoots = ['run/containers/storage', ...namesIn(at, 'run/user').map(user => `run/user/${user}/containers`)];
  for (const runRoot of runRoots) {
    for (const driver of namesIn(at, runRoot).filter(name => name.endsWith('-containers'))) {
      const folder = `${runRoot}/${driver}`;
      const named = idOfName(id, at, `${STORAGE}/${driver}/containers.json`);
      const full = fullId(named ?? id, namesIn(at, folder));
      if (full === undefined) continue;
      // podman keeps it in the storage that outlives a boot, CRI-O in this one too.
      const config =
        jsonIn(at, `${folder}/${full}/userdata/config.json`) ??
        jsonIn(at, `${STORAGE}/${driver}/${full}/userdata/config.json`);
      // podman has annotations of CRI-O's too; both say who they are.
      const manager = record(config?.annotations)['io.container.manager'] ?? 'libpod';
      if ((manager === 'cri-o') !== (runtime === 'cri-o')) continue;
      const pid = pidOf(textIn(at, `${folder}/${full}/userdata/pidfile`));
      if (pid !== undefined) return { runtime, id: full, pid, network: networkOfConfig(config) };
    }
  }
  return undefined;
}

function idOfName(name: string, at: Places, path: string): string | undefined {
  const found = list(jsonIn(at, path)).find(each => texts(each.names).includes(name));
  return typeof found?.id === 'string' ? found.id : undefined;
}

/** LXC puts each container into a cgroup of its name, which no container can make; its first process is number 1 inside. */
function inLxc(id: string, at: Places): FoundContainer | undefined {
  const cgroups = 'sys/fs/cgroup';
  for (const hierarchy of ['.', ...namesIn(at, cgroups)]) {
    for (const folder of [`lxc.payload.${id}`, `lxc.payload/${id}`, `lxc/${id}`]) {
      const pids = textIn(at, `${cgroups}/${hierarchy}/${folder}/cgroup.procs`)?.split('\n') ?? [];
      const pid = pids.map(pidOf).find(each => each !== undefined && isFirst(each, at));
      if (pid !== undefined) return { runtime: 'lxc', id, pid, network: 'own' };
    }
  }
  return undefined;
}

const isFirst = (pid: number, at: Places): boolean => /^NSpid:.*\t1$/m.test(textIn(at, `proc/${pid}/status`) ?? '');

/** systemd-machined's record of a machine. */
function inNspawn(id: string, at: Places): FoundContainer | undefined {
  const text = textIn(at, `run/systemd/machines/${id}`);
  if (text === undefined || !/^CLASS=container$/m.test(text)) return undefined;
  const pid = pidOf(/^LEADER=(\d+)$/m.exec(text)?.[1]);
  return pid === undefined ? undefined : { runtime: 'nspawn', id, pid, network: 'own' };
}

/** Of the runtime's specification. Without one, the namespace itself will tell whether it is the host's. */
const networkOfConfig = (config: Record<string, unknown> | undefined): FoundContainer['network'] =>
  config === undefined ? 'own' : networkOf(list(record(config.linux).namespaces).find(each => each.type === 'network'));

/** No network namespace in the list is the host's; one of another process is shared; one with a name was made for it, or for its pod. */
function networkOf(namespace: Record<string, unknown> | undefined): FoundContainer['network'] {
  if (namespace === undefined) return 'host';
  return typeof namespace.path === 'string' && namespace.path.startsWith('/proc/') ? 'shared' : 'own';
}

/** The only id that begins so, as the runtimes' own commands take them. */
function fullId(id: string, ids: readonly string[]): string | undefined {
  if (ids.includes(id)) return id;
  const found = id.length >= 3 && /^[0-9a-f]+$/.test(id) ? ids.filter(each => each.startsWith(id)) : [];
  return found.length === 1 ? found[0] : undefined;
}

const record = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};

const list = (value: unknown): Record<string, unknown>[] => (Array.isArray(value) ? value.map(record) : []);

const texts = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);

function pidOf(value: unknown): number | undefined {
  const pid = typeof value === 'string' ? Number(/^\d{1,10}(?=\s*$)/.exec(value)?.[0]) : value;
  return typeof pid === 'number' && Number.isInteger(pid) && pid > 0 ? pid : undefined;
}

function namesIn(at: Places, folder: string): string[] {
  try {
    return fs.readdirSync(join(at.root, folder));
  } catch {
    return [];
  }
}

/** What stands under /run/user is its user's: a FIFO or a device there must neither hold this up nor fill the memory. */
function textIn(at: Places, path: string): string | undefined {
  let fd: number | undefined;
  try {
    fd = fs.openSync(join(at.root, path), fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    return fs.fstatSync(fd).isFile() ? textOf(fd) : undefined;
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

/** The size of files under /proc and in cgroups is 0, and a file may grow: what is read is counted. */
function textOf(fd: number): string | undefined {
  const chunks: Buffer[] = [];
  let length = 0;
  for (;;) {
    const chunk = Buffer.allocUnsafe(CHUNK);
    const size = fs.readSync(fd, chunk);
    if (size === 0) return Buffer.concat(chunks).toString('utf8');
    length += size;
    if (length > MAX_FILE) return undefined;
    chunks.push(chunk.subarray(0, size));
  }
}

function jsonIn(at: Places, path: string): Record<string, unknown> | undefined {
  const text = textIn(at, path);
  try {
    return text === undefined ? undefined : record(JSON.parse(text));
  } catch {
    return undefined;
  }
}
