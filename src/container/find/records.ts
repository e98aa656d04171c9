import fs from 'node:fs';
import fsp from 'node:fs/promises';
import { join } from 'node:path';
import { Budget, type CpuClock, limitsOfUser, OF_MACHINE, type SearchBudget } from './budget.ts';
import { MAX_PID } from './engine.ts';
import { Files, isOurs, list, record } from './files.ts';
import { idOfName } from './storage-index.ts';

/** In the order in which they are asked: podman and containerd use runc or crun, which then have a record of the same container. */
export const RUNTIMES = ['docker', 'podman', 'containerd', 'cri-o', 'lxc', 'nspawn', 'runc', 'crun'] as const;
/** The runtimes in whose records containers are found. */
export type Runtime = (typeof RUNTIMES)[number];

/** Which network a container uses: its own, the host's, or that of another container. */
export type Network = 'own' | 'host' | 'shared';

/** Where the runtimes keep their state. Tests set another root. */
export interface Places {
  readonly root: string;
  /** How much may be read of each user's records. */
  readonly budget?: SearchBudget;
  readonly clock?: CpuClock;
}

/** The record that a runtime keeps of one container. */
export interface ContainerRecord {
  /** Its first process, in the pid namespace of this process. */
  pid: number;
  /** When the process was started, in clock ticks since the boot (proc(5), field 22), if the runtime has recorded it. */
  startTime?: string;
  /** Which network it uses, if the record tells. */
  network?: Network;
}

/** The containers that one runtime keeps in one place. */
export interface Records {
  /** The user who keeps them, if that is neither root nor the user of this process. He is believed only about his own containers. */
  readonly owner?: number;
  ids(): Promise<string[]>;
  /** The id behind a name. */
  idOf?(name: string): Promise<string | undefined>;
  /** The record of a container; undefined if it does not run. */
  read(id: string): Promise<ContainerRecord | undefined>;
  /** Only the pid of the record, which takes less reading. */
  pid(id: string): Promise<number | undefined>;
}

/** A place where runtimes keep state: the machine's, or one user's. */
export interface RecordsFolder {
  readonly folder: string;
  readonly files: Files;
  /** The folder in `files` where the runtimes keep the state of running containers. */
  readonly run: string;
  /** Where containers/storage keeps what survives a reboot. */
  readonly storage: { files: Files; folder: string };
  readonly users: boolean;
  readonly owner?: number;
}

const MACHINE_STORAGE = 'var/lib/containers/storage';
/** runc writes the id and the pid at the start of its state.json. */
const STATE_START = 4096;
const USER_STORAGE = '.local/share/containers/storage';

/** docker is asked over its socket, and its files are not read. */
type ReadRuntime = Exclude<Runtime, 'docker'>;

const READERS: Record<ReadRuntime, (place: RecordsFolder) => Promise<Records[]>> = {
  podman: place => inStorage('podman', place),
  containerd: inContainerd,
  'cri-o': place => inStorage('cri-o', place),
  lxc: inLxc,
  nspawn: inNspawn,
  runc: inRunc,
  crun: inCrun,
};

/** The records in a place, in the order of the runtimes. */
export async function recordsOf(runtime: Runtime | undefined, place: RecordsFolder): Promise<[ReadRuntime, Records][]> {
  const all: [ReadRuntime, Records][] = [];
  for (const name of RUNTIMES) {
    if (name === 'docker' || (runtime !== undefined && runtime !== name)) continue;
    for (const records of await READERS[name](place)) all.push([name, records]);
  }
  return all;
}

export function machine(at: Places): RecordsFolder {
  const files = new Files(at.root, new Budget("the runtimes' records", OF_MACHINE));
  return { folder: at.root, files, run: 'run', storage: { files, folder: MACHINE_STORAGE }, users: false };
}

/** The runtime folders of users (XDG_RUNTIME_DIR). The owner of a folder is responsible for everything in it. */
export async function users(at: Places): Promise<RecordsFolder[]> {
  const root = machine(at).files;
  const accounts = ((await root.text('etc/passwd')) ?? '').split('\n').map(line => line.split(':'));
  const names = (await root.names('run/user')).filter(name => /^\d{1,10}$/.test(name));
  const places: RecordsFolder[] = [];
  for (const name of names.sort((a, b) => Number(a) - Number(b))) {
    const folder = join(at.root, 'run/user', name);
    // A link could lead to the folder of somebody else.
    const stat = await fsp.lstat(folder).catch(() => undefined);
    if (!stat?.isDirectory()) continue;
    const owner = isOurs(stat.uid) ? undefined : stat.uid;
    const budget = new Budget(`the records of user ${name}`, limitsOfUser(at.budget), at.clock);
    const home = accounts.find(fields => fields[2] === name)?.[5] ?? 'nonexistent';
    places.push({
      folder,
      files: new Files(folder, budget, owner),
      run: '.',
      storage: { files: new Files(join(at.root, home), budget, owner), folder: USER_STORAGE },
      users: true,
      ...(owner !== undefined && { owner }),
    });
  }
  return places;
}

const owned = ({ owner }: RecordsFolder): { owner?: number } => (owner === undefined ? {} : { owner });

/** runc's state.json, in runc's folder and in those of the runtimes that use it. */
async function inRunc(place: RecordsFolder): Promise<Records[]> {
  const { files, run } = place;
  const folders = [
    `${run}/runc`,
    `${run}/docker/runtime-runc/moby`,
    ...(await files.names(`${run}/containerd/runc`)).map(name => `${run}/containerd/runc/${name}`),
  ];
  return folders.map(folder => ({
    ...owned(place),
    ids: () => files.names(folder),
    async read(id) {
      const state = await files.json(`${folder}/${id}/state.json`);
      const pid = pidOf(state?.init_process_pid);
      const { namespaces, labels } = record(state?.config);
      // runc keeps the annotations of the specification as labels.
      const annotations = Array.isArray(labels) ? labels.map(label => String(label).split('=', 2)) : [];
      const network = list(namespaces).find(each => each.type === 'NEWNET');
      return told(pid, networkOf(network, Object.fromEntries(annotations)), state?.init_process_start);
    },
    async pid(id) {
      // The pid is the second field that runc writes.
      const start = await files.bytes(`${folder}/${id}/state.json`, STATE_START, true);
      return pidOf(/^[^{]*\{[^{}[\]]*"init_process_pid":(\d{1,10})/.exec(start?.toString('latin1') ?? '')?.[1]);
    },
  }));
}

/** crun's status, and the OCI specification beside it. */
async function inCrun(place: RecordsFolder): Promise<Records[]> {
  const { files, run } = place;
  const folder = `${run}/crun`;
  const statusOf = (id: string) => files.json(`${folder}/${id}/status`);
  const read = async (id: string) => {
    const status = await statusOf(id);
    const pid = pidOf(status?.pid);
    const network = networkOfConfig(await files.json(`${folder}/${id}/config.json`));
    return told(pid, network, status?.['process-start-time']);
  };
  const pid = async (id: string) => pidOf((await statusOf(id))?.pid);
  return [{ ...owned(place), ids: () => files.names(folder), read, pid }];
}

/** The bundles of the shims in each namespace of containerd: init.pid and config.json. */
async function inContainerd(place: RecordsFolder): Promise<Records[]> {
  const { files, run } = place;
  const tasks = `${run}/containerd/io.containerd.runtime.v2.task`;
  return (await files.names(tasks)).map(namespace => {
    const bundle = (id: string) => `${tasks}/${namespace}/${id}`;
    const pid = async (id: string) => pidOf(await files.text(`${bundle(id)}/init.pid`));
    return {
      ...owned(place),
      ids: () => files.names(`${tasks}/${namespace}`),
      read: async (id: string) => told(await pid(id), networkOfConfig(await files.json(`${bundle(id)}/config.json`))),
      pid,
    };
  });
}

/** containers/storage, which podman and CRI-O share: conmon's pidfile and the OCI specification. */
async function inStorage(runtime: 'podman' | 'cri-o', place: RecordsFolder): Promise<Records[]> {
  const { files, run, storage } = place;
  const folder = place.users ? `${run}/containers` : `${run}/containers/storage`;
  const drivers = (await files.names(folder)).filter(name => name.endsWith('-containers'));
  return drivers.map(driver => {
    const pid = async (id: string) => pidOf(await files.text(`${folder}/${driver}/${id}/userdata/pidfile`));
    return {
      ...owned(place),
      ids: () => files.names(`${folder}/${driver}`),
      idOf: (name: string) => idOfName(storage.files, `${storage.folder}/${driver}/containers.json`, name),
      async read(id: string) {
        // podman keeps it only in the storage that survives a reboot.
        const config =
          (await files.json(`${folder}/${driver}/${id}/userdata/config.json`)) ??
          (await storage.files.json(`${storage.folder}/${driver}/${id}/userdata/config.json`));
        // podman sets annotations of CRI-O, too. This one tells the two apart.
        const manager = record(config?.annotations)['io.container.manager'] ?? 'libpod';
        if ((manager === 'cri-o') !== (runtime === 'cri-o')) return undefined;
        return told(await pid(id), networkOfConfig(config));
      },
      pid,
    };
  });
}

/** LXC puts each container into a cgroup of its name, which a container cannot create. The first process has pid 1 inside. */
async function inLxc({ files, users }: RecordsFolder): Promise<Records[]> {
  if (users) return [];
  const cgroups = 'sys/fs/cgroup';
  const hierarchies = ['.', ...(await files.names(cgroups))].map(name => `${cgroups}/${name}`);
  const folders = (id: string) => [`lxc.payload.${id}`, `lxc.payload/${id}`, `lxc/${id}`];
  const ids = async () => {
    const names = new Set<string>();
    for (const hierarchy of hierarchies) {
      for (const name of await files.names(hierarchy))
        if (name.startsWith('lxc.payload.')) names.add(name.slice('lxc.payload.'.length));
      for (const folder of ['lxc.payload', 'lxc'])
        for (const name of await files.names(`${hierarchy}/${folder}`)) names.add(name);
    }
    return [...names];
  };
  // Exactly two levels: inside the container anybody can make a deeper pid namespace and be pid 1 there.
  const isFirst = async (pid: number) => /^NSpid:\t\d+\t1$/m.test((await files.text(`proc/${pid}/status`)) ?? '');
  const pid = async (id: string) => {
    for (const folder of hierarchies.flatMap(hierarchy => folders(id).map(name => `${hierarchy}/${name}`))) {
      for (const line of (await files.text(`${folder}/cgroup.procs`))?.split('\n') ?? []) {
        const each = pidOf(line);
        if (each !== undefined && (await isFirst(each))) return each;
      }
    }
    return undefined;
  };
  return [{ ids, read: async id => told(await pid(id), undefined), pid }];
}

/** The records of systemd-machined. */
async function inNspawn({ files, run, users }: RecordsFolder): Promise<Records[]> {
  if (users) return [];
  const folder = `${run}/systemd/machines`;
  const pid = async (id: string) => {
    const text = (await files.text(`${folder}/${id}`)) ?? '';
    return /^CLASS=container$/m.test(text) ? pidOf(/^LEADER=(\d+)$/m.exec(text)?.[1]) : undefined;
  };
  return [{ ids: () => files.names(folder), read: async id => told(await pid(id), undefined), pid }];
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

/** The network by the OCI specification. */
function networkOfConfig(config: Record<string, unknown> | undefined): Network | undefined {
  if (config === undefined) return undefined;
  const network = list(record(config.linux).namespaces).find(each => each.type === 'network');
  return networkOf(network, record(config.annotations));
}

/** Annotations that tell the role of a container in a pod. The pod's network is that of its sandbox, the pause container. */
const POD_ROLES = ['io.kubernetes.cri.container-type', 'io.kubernetes.cri-o.ContainerType'];

/**
 * The network by its entry in the specification. No entry means the host's, and the path of a process means that it is shared. A named
 * namespace was made for the container or for its pod: if no annotation tells which (undefined), `isShared` does.
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
  return typeof pid === 'number' && Number.isInteger(pid) && pid > 0 && pid <= MAX_PID ? pid : undefined;
}

/** Whether another container of the runtime has the same network namespace as this process. */
export async function isShared(records: Records, id: string, pid: number, at: Places): Promise<boolean> {
  const inode = (each: number) => {
    try {
      return fs.statSync(join(at.root, `proc/${each}/ns/net`), { bigint: true }).ino;
    } catch {
      return undefined;
    }
  };
  const mine = inode(pid);
  if (mine === undefined) return false;
  for (const each of await records.ids()) {
    if (each === id) continue;
    const other = await records.pid(each);
    if (other !== undefined && inode(other) === mine) return true;
  }
  return false;
}
