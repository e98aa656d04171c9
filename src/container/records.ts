import fs from 'node:fs';
import { join } from 'node:path';
import { Files, list, record } from './files.ts';

export const RUNTIMES = ['docker', 'podman', 'containerd', 'cri-o', 'lxc', 'nspawn', 'runc', 'crun'] as const;
export type Runtime = (typeof RUNTIMES)[number];

/** Whose network a container has: one of its own, the host's, or that of another container. */
export type Network = 'own' | 'host' | 'shared';

/** Where runtimes keep their state; tests have another root. */
export interface Places {
  readonly root: string;
}

/** What a runtime has written down of one container. */
export interface ContainerRecord {
  /** Its first process, as this process numbers it. */
  pid: number;
  /** When that was started, in clock ticks since the boot (proc(5), field 22), where the runtime has written it down. */
  startTime?: string;
  /** Whose network it has, where that can be told by the record. */
  network?: Network;
}

/** The containers that one runtime keeps in one place. */
export interface Records {
  /** The user who keeps them, where that is neither root nor the caller: his word counts for his own containers alone. */
  readonly owner?: number;
  ids(): string[];
  /** The id behind a name. */
  idOf?(name: string): string | undefined;
  /** Undefined where the container does not run. */
  read(id: string): ContainerRecord | undefined;
}

/** A place with state: the machine's, or one user's. */
export interface Place {
  readonly folder: string;
  readonly files: Files;
  /** In `files`, where the runtimes of this place keep what runs. */
  readonly run: string;
  /** Where containers/storage keeps what outlives a boot. */
  readonly storage: { files: Files; folder: string };
  readonly users: boolean;
  readonly owner?: number;
}

const MACHINE_STORAGE = 'var/lib/containers/storage';
const USER_STORAGE = '.local/share/containers/storage';

/** docker is asked. */
type ReadRuntime = Exclude<Runtime, 'docker'>;

/** In this order, since podman and containerd let runc or crun do the work. */
const READERS: Record<ReadRuntime, (place: Place) => Records[]> = {
  podman: place => inStorage('podman', place),
  containerd: inContainerd,
  'cri-o': place => inStorage('cri-o', place),
  lxc: inLxc,
  nspawn: inNspawn,
  runc: inRunc,
  crun: inCrun,
};

/** What can be read in these places, in their order. */
export function recordsOf(runtime: Runtime | undefined, places: readonly Place[]): [ReadRuntime, Records][] {
  const names = (Object.keys(READERS) as ReadRuntime[]).filter(name => runtime === undefined || runtime === name);
  return places.flatMap(place =>
    names.flatMap(name => READERS[name](place).map((records): [ReadRuntime, Records] => [name, records])),
  );
}

export function machine(at: Places): Place {
  const files = new Files(at.root);
  return { folder: at.root, files, run: 'run', storage: { files, folder: MACHINE_STORAGE }, users: false };
}

/** The folders that users have for what runs (XDG_RUNTIME_DIR). */
export function users(at: Places): Place[] {
  const root = new Files(at.root);
  const accounts = (root.text('etc/passwd') ?? '').split('\n').map(line => line.split(':'));
  const names = root.names('run/user').filter(name => /^\d{1,10}$/.test(name));
  return names.map(name => {
    const home = accounts.find(fields => fields[2] === name)?.[5] ?? 'nonexistent';
    const folder = join(at.root, 'run/user', name);
    const storage = { files: new Files(join(at.root, home)), folder: USER_STORAGE };
    return { folder, files: new Files(folder), run: '.', storage, users: true, ...ownerOf(folder) };
  });
}

/** Whose a file or folder is, where that is neither root nor the caller. */
export function ownerOf(path: string): { owner?: number } {
  const owner = fs.statSync(path, { throwIfNoEntry: false })?.uid ?? 0;
  return owner === 0 || owner === process.geteuid?.() ? {} : { owner };
}

const owned = ({ owner }: Place): { owner?: number } => (owner === undefined ? {} : { owner });

/** runc's state.json: the folder of its own, and those of the runtimes that use it. */
function inRunc(place: Place): Records[] {
  const { files, run } = place;
  const folders = [
    `${run}/runc`,
    `${run}/docker/runtime-runc/moby`,
    ...files.names(`${run}/containerd/runc`).map(name => `${run}/containerd/runc/${name}`),
  ];
  return folders.map(folder => ({
    ...owned(place),
    ids: () => files.names(folder),
    read(id) {
      const state = files.json(`${folder}/${id}/state.json`);
      const pid = pidOf(state?.init_process_pid);
      const { namespaces, labels } = record(state?.config);
      // runc keeps the annotations of the specification as labels.
      const annotations = Array.isArray(labels) ? labels.map(label => String(label).split('=', 2)) : [];
      const network = list(namespaces).find(each => each.type === 'NEWNET');
      return told(pid, networkOf(network, Object.fromEntries(annotations)), state?.init_process_start);
    },
  }));
}

/** crun's status, with the specification beside it. */
function inCrun(place: Place): Records[] {
  const { files, run } = place;
  const folder = `${run}/crun`;
  const read = (id: string) => {
    const status = files.json(`${folder}/${id}/status`);
    const pid = pidOf(status?.pid);
    const network = networkOfConfig(files.json(`${folder}/${id}/config.json`));
    return told(pid, network, status?.['process-start-time']);
  };
  return [{ ...owned(place), ids: () => files.names(folder), read }];
}

/** The shims' bundles in each of containerd's namespaces: init.pid and config.json. */
function inContainerd(place: Place): Records[] {
  const { files, run } = place;
  const tasks = `${run}/containerd/io.containerd.runtime.v2.task`;
  return files.names(tasks).map(namespace => ({
    ...owned(place),
    ids: () => files.names(`${tasks}/${namespace}`),
    read(id) {
      const bundle = `${tasks}/${namespace}/${id}`;
      const pid = pidOf(files.text(`${bundle}/init.pid`));
      return told(pid, networkOfConfig(files.json(`${bundle}/config.json`)));
    },
  }));
}

/** What podman and CRI-O share: containers/storage, with conmon's pidfile and the specification. */
function inStorage(runtime: 'podman' | 'cri-o', place: Place): Records[] {
  const { files, run, storage } = place;
  const folder = place.users ? `${run}/containers` : `${run}/containers/storage`;
  const drivers = files.names(folder).filter(name => name.endsWith('-containers'));
  return drivers.map(driver => ({
    ...owned(place),
    ids: () => files.names(`${folder}/${driver}`),
    idOf(name) {
      const all = list(storage.files.json(`${storage.folder}/${driver}/containers.json`));
      const found = all.find(({ names }) => Array.isArray(names) && names.includes(name));
      return typeof found?.id === 'string' ? found.id : undefined;
    },
    read(id) {
      // podman keeps it in the storage that outlives a boot, CRI-O in this one too.
      const config =
        files.json(`${folder}/${driver}/${id}/userdata/config.json`) ??
        storage.files.json(`${storage.folder}/${driver}/${id}/userdata/config.json`);
      // podman has annotations of CRI-O's too; both say who they are.
      const manager = record(config?.annotations)['io.container.manager'] ?? 'libpod';
      if ((manager === 'cri-o') !== (runtime === 'cri-o')) return undefined;
      const pid = pidOf(files.text(`${folder}/${driver}/${id}/userdata/pidfile`));
      return told(pid, networkOfConfig(config));
    },
  }));
}

/** LXC puts each container into a cgroup of its name, which no container can make; its first process is number 1 inside. */
function inLxc({ files, users }: Place): Records[] {
  if (users) return [];
  const cgroups = 'sys/fs/cgroup';
  const hierarchies = ['.', ...files.names(cgroups)].map(name => `${cgroups}/${name}`);
  const folders = (id: string) => [`lxc.payload.${id}`, `lxc.payload/${id}`, `lxc/${id}`];
  const names = hierarchies.flatMap(hierarchy => [
    ...files
      .names(hierarchy)
      .filter(name => name.startsWith('lxc.payload.'))
      .map(name => name.slice('lxc.payload.'.length)),
    ...files.names(`${hierarchy}/lxc.payload`),
    ...files.names(`${hierarchy}/lxc`),
  ]);
  // Not of a namespace within the container's: anybody in there is number 1 of what he makes.
  const isFirst = (pid: number) => /^NSpid:\t\d+\t1$/m.test(files.text(`proc/${pid}/status`) ?? '');
  const read = (id: string) => {
    for (const folder of hierarchies.flatMap(hierarchy => folders(id).map(name => `${hierarchy}/${name}`))) {
      const pids = files.text(`${folder}/cgroup.procs`)?.split('\n').map(pidOf) ?? [];
      const pid = pids.find(each => each !== undefined && isFirst(each));
      if (pid !== undefined) return told(pid, undefined);
    }
    return undefined;
  };
  return [{ ids: () => [...new Set(names)], read }];
}

/** systemd-machined's records of machines. */
function inNspawn({ files, run, users }: Place): Records[] {
  if (users) return [];
  const folder = `${run}/systemd/machines`;
  const read = (id: string) => {
    const text = files.text(`${folder}/${id}`);
    const pid = pidOf(/^LEADER=(\d+)$/m.exec(text ?? '')?.[1]);
    return pid !== undefined && /^CLASS=container$/m.test(text ?? '') ? told(pid, undefined) : undefined;
  };
  return [{ ids: () => files.names(folder), read }];
}

const told = (
  pid: number | undefined,
  network: Network | undefined,
  startTime?: unknown,
): ContainerRecord | undefined =>
  pid === undefined
    ? undefined
    : {
        pid,
        ...(network !== undefined && { network }),
        ...(typeof startTime === 'number' && { startTime: String(startTime) }),
      };

/** Of the runtime's specification. */
function networkOfConfig(config: Record<string, unknown> | undefined): Network | undefined {
  if (config === undefined) return undefined;
  const network = list(record(config.linux).namespaces).find(each => each.type === 'network');
  return networkOf(network, record(config.annotations));
}

/** What the containers of a pod say who they are by; the pod's network is that of its sandbox, the pause container. */
const POD_ROLES = ['io.kubernetes.cri.container-type', 'io.kubernetes.cri-o.ContainerType'];

/**
 * No network namespace in the specification is the host's; one of another process is shared. One with a name was made for the container, or
 * for a pod: where no annotation tells, whether another container is in it does.
 */
function networkOf(
  namespace: Record<string, unknown> | undefined,
  annotations: Record<string, unknown>,
): Network | undefined {
  if (namespace === undefined) return 'host';
  if (typeof namespace.path !== 'string' || namespace.path === '') return 'own';
  if (namespace.path.startsWith('/proc/')) return 'shared';
  const role = POD_ROLES.map(name => annotations[name]).find(each => each !== undefined);
  return role === 'sandbox' ? 'own' : role === 'container' ? 'shared' : undefined;
}

function pidOf(value: unknown): number | undefined {
  const pid = typeof value === 'string' ? Number(/^\d{1,10}(?=\s*$)/.exec(value)?.[0]) : value;
  return typeof pid === 'number' && Number.isInteger(pid) && pid > 0 ? pid : undefined;
}

/** Whether another container of the runtime has the same network namespace as this process. */
export function isShared(records: Records, id: string, pid: number, at: Places): boolean {
  const inode = (each: number) => {
    try {
      return fs.statSync(join(at.root, `proc/${each}/ns/net`), { bigint: true }).ino;
    } catch {
      return undefined;
    }
  };
  const mine = inode(pid);
  return mine !== undefined && records.ids().some(each => each !== id && inode(records.read(each)?.pid ?? 0) === mine);
}
