import { execFileSync, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deadline, PATIENCE_MILLISECONDS } from '../../test/support/wait.ts';

/** The first of the host's user and group ids to which the ids of the container are mapped. */
const FIRST_MAPPED_ID = 100_000;
const MAPPED_IDS = 65_536;
const CAPABILITIES = ['CAP_NET_ADMIN', 'CAP_NET_BIND_SERVICE'];

export interface RuncOptions {
  /** Without a user namespace: its root is the host's root, with few capabilities. */
  privileged?: boolean;
  /** The capabilities of its root; default: to program its network, and to bind low ports. */
  capabilities?: readonly string[];
  /** Further folders of the host that are mounted in it. */
  mounts?: readonly string[];
}

/** A runc container. It is unprivileged by default: it has its own namespaces, with a user namespace that maps its ids. */
export class RuncContainer {
  readonly name: string;
  /** The pid of its first process, on the host. */
  readonly pid: number;
  /** The first output of its program. */
  readonly said: string;
  readonly #folder: string;

  private constructor(name: string, pid: number, said: string, folder: string) {
    this.name = name;
    this.pid = pid;
    this.said = said;
    this.#folder = folder;
  }

  /** Starts a container that runs a Node program, and waits until that prints something. */
  static async start(name: string, program: string, options: RuncOptions = {}): Promise<RuncContainer> {
    const folder = fs.mkdtempSync(join(tmpdir(), `netsteer-${name}-`));
    fs.chmodSync(folder, 0o755);
    writeBundle(folder, name, program, options);
    try {
      const child = spawn('runc', ['--root', join(folder, 'state'), 'run', '--bundle', folder, name], {
        stdio: ['ignore', 'pipe', 'pipe'],
        // Without this, Ctrl-C would also go to the container. This program stops its containers itself.
        detached: true,
      });
      const said = await firstOutput(child, name);
      const state = JSON.parse(
        execFileSync('runc', ['--root', join(folder, 'state'), 'state', name], { encoding: 'utf8' }),
      );
      return new RuncContainer(name, state.pid, said, folder);
    } catch (error) {
      remove(folder, name);
      throw error;
    }
  }

  stop(): void {
    remove(this.#folder, this.name);
  }
}

function remove(folder: string, name: string): void {
  // This fails for a container that has ended by itself, which does no harm.
  spawnSync('runc', ['--root', join(folder, 'state'), 'delete', '--force', name], { stdio: 'ignore' });
  fs.rmSync(folder, { recursive: true, force: true });
}

function firstOutput(child: ReturnType<typeof spawn>, name: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let errors = '';
    const cancel = deadline(PATIENCE_MILLISECONDS, () => reject(new Error(`${name} did not start: ${errors}`)));
    child.stderr?.on('data', chunk => {
      errors += chunk;
    });
    child.on('error', reject);
    child.on('exit', code => reject(new Error(`${name} ended with ${code}: ${errors}`)));
    child.stdout?.once('data', chunk => {
      cancel();
      // A running container does not keep this program alive.
      child.unref();
      resolve(String(chunk));
    });
  });
}

/** Makes an OCI bundle: its root has the host's programs and libraries, read-only, and this Node. */
function writeBundle(folder: string, name: string, program: string, options: RuncOptions): void {
  const { privileged = false, capabilities = CAPABILITIES, mounts = [] } = options;
  const root = join(folder, 'rootfs');
  const shared = ['/usr', '/etc', ...mounts];
  for (const directory of ['proc', 'dev', 'tmp', 'sys', ...shared])
    fs.mkdirSync(join(root, directory), { recursive: true });
  for (const directory of ['/bin', '/sbin', '/lib', '/lib64']) {
    const stat = fs.lstatSync(directory, { throwIfNoEntry: false });
    if (stat?.isSymbolicLink()) fs.symlinkSync(fs.readlinkSync(directory), join(root, directory));
    else if (stat !== undefined) {
      fs.mkdirSync(join(root, directory));
      shared.push(directory);
    }
  }
  fs.writeFileSync(join(root, 'node'), '');
  if (!privileged) fs.chownSync(root, FIRST_MAPPED_ID, FIRST_MAPPED_ID);
  const bind = (source: string, destination = source) => ({
    destination,
    source,
    type: 'bind',
    options: ['rbind', 'ro'],
  });
  const ids = [{ containerID: 0, hostID: FIRST_MAPPED_ID, size: MAPPED_IDS }];
  const config = {
    ociVersion: '1.0.2',
    hostname: name,
    root: { path: 'rootfs', readonly: true },
    process: {
      user: { uid: 0, gid: 0 },
      args: ['/node', '-e', program],
      env: ['PATH=/usr/bin:/bin'],
      cwd: '/',
      noNewPrivileges: true,
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
    },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
      { destination: '/tmp', type: 'tmpfs', source: 'tmpfs' },
      ...shared.map(directory => bind(directory)),
      bind(fs.realpathSync(process.execPath), '/node'),
    ],
    linux: {
      namespaces: ['pid', 'mount', 'uts', 'ipc', 'network', ...(privileged ? [] : ['user'])].map(type => ({ type })),
      ...(!privileged && { uidMappings: ids, gidMappings: ids }),
    },
  };
  fs.writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
}
