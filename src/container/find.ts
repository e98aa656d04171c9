import fs from 'node:fs';
import { join } from 'node:path';
import { checkOneOf, checkString } from '../codec/index.ts';
import { NetNsError, rangeError, StateError } from '../errors.ts';
import { Engine, ID } from './engine.ts';
import {
  isShared,
  machine,
  type Network,
  ownerOf,
  type Place,
  type Places,
  RUNTIMES,
  type Runtime,
  recordsOf,
  users,
} from './records.ts';

export type { Runtime } from './records.ts';

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
  network: Network;
  /** The user whose runtime says so, where it is not root's. */
  owner?: number;
}

/**
 * Looks a container up in its runtime's own records. Daemons are asked first, and root's before any user's.
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
  for await (const found of candidates(id, runtime, socket, at)) return found;
  throw new NetNsError(`no running container ${JSON.stringify(id)}`, {
    code: 'ERR_NO_CONTAINER',
    hint: `asked: ${runtime ?? RUNTIMES.join(', ')}`,
  });
}

/** All of root's before that of any user, who could call his container as somebody else's is called. */
async function* candidates(
  id: string,
  runtime: Runtime | undefined,
  socket: string | undefined,
  at: Places,
): AsyncGenerator<FoundContainer> {
  if (socket !== undefined) {
    const found = await byEngine(runtime === 'podman' ? 'podman' : 'docker', socket, id, true);
    if (found !== undefined) yield found;
    return;
  }
  for (const places of [[machine(at)], users(at)]) {
    for (const [name, path] of socketsOf(runtime, places)) {
      const found = await byEngine(name, path, id, false);
      if (found !== undefined) yield found;
    }
    for (const [name, records] of recordsOf(runtime, places)) {
      const full = fullId(records.idOf?.(id) ?? id, records.ids());
      const read = full === undefined ? undefined : records.read(full);
      if (full === undefined || read === undefined) continue;
      const { owner } = records;
      // What the record does not tell, the kernel does.
      const network = read.network ?? (isShared(records, full, read.pid, at) ? 'shared' : 'own');
      yield { runtime: name, id: full, ...read, network, ...(owner !== undefined && { owner }) };
    }
  }
}

function socketsOf(runtime: Runtime | undefined, places: readonly Place[]): ['docker' | 'podman', string][] {
  const paths = { docker: 'docker.sock', podman: 'podman/podman.sock' };
  return (['docker', 'podman'] as const)
    .filter(name => runtime === undefined || runtime === name)
    .flatMap(name => places.map(({ folder, run }) => [name, join(folder, run, paths[name])] as [typeof name, string]))
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
    return { runtime, id: found.id, pid: found.pid, network, ...ownerOf(path) };
  } catch (error) {
    // A socket that a daemon has left behind is no reason not to ask the others.
    if (named || !(error instanceof StateError)) throw error;
    return undefined;
  }
}

/** The only id that begins so, as the runtimes' own commands take them; what is not made by a runtime is a name, and has no beginning. */
function fullId(id: string, ids: readonly string[]): string | undefined {
  if (ids.includes(id)) return id;
  const found = id.length >= 3 ? ids.filter(each => each.startsWith(id) && /^[0-9a-f]{64}$/.test(each)) : [];
  return found.length === 1 ? found[0] : undefined;
}

/**
 * Whether a process is one of a user's containers: its user namespace is that user's, whose number alone (beside the ranges of /etc/subuid)
 * the kernel lets him map into it.
 */
export function isOwnedBy(owner: number, pid: number, at: Places = { root: '/' }): boolean {
  const map = machine(at).files.text(`proc/${pid}/uid_map`) ?? '';
  return new RegExp(`^ *\\d+ +${owner} +1$`, 'm').test(map);
}
