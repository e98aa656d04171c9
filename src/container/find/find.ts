import fs from 'node:fs';
import fsp from 'node:fs/promises';
import { join } from 'node:path';
import { checkOneOf, checkString } from '../../codec/index.ts';
import { NetNsError, rangeError, StateError } from '../../errors.ts';
import { Exhausted, limitsOfUser, type SearchBudget } from './budget.ts';
import { Engine, ID } from './engine.ts';
import {
  isShared,
  machine,
  type Network,
  type Places,
  type Records,
  type RecordsFolder,
  RUNTIMES,
  type Runtime,
  recordsOf,
  users,
} from './records.ts';

export type { Runtime } from './records.ts';

/** Where a container is looked for. */
export interface FindOptions {
  /** Ask only this runtime; default all that have a socket or state on this machine. */
  runtime?: Runtime;
  /** The socket of docker's or podman's Engine API, if it is not in the usual place. */
  socket?: string;
  /**
   * How much of each user's records may be read. They are read only if none of root's runtimes has the container. A user with more records
   * is passed over, and the hint of the search's error says so.
   */
  budget?: SearchBudget;
}

/** A container as its runtime knows it. */
export interface FoundContainer {
  runtime: Runtime;
  /** The whole id, as the runtime has it. */
  id: string;
  /** Its first process, in the pid namespace of this process. */
  pid: number;
  /** When the process was started, in clock ticks since the boot (proc(5), field 22), if the runtime has recorded it. */
  startTime?: string;
  network: Network;
  /** The user whose runtime has told of it; undefined for root and for the user of this process. */
  owner?: number;
}

/** A container that was found, and the way to ask for it again. */
export interface Candidate {
  readonly found: FoundContainer;
  /** Its name, if a daemon has told it. */
  readonly name?: string;
  /** Asks the same runtime again, over a new connection. Undefined if the container does not run any more. */
  again(signal?: AbortSignal): Promise<FoundContainer | undefined>;
}

interface Search {
  readonly id: string;
  readonly runtime: Runtime | undefined;
  readonly at: Places;
  /** Sentences about records and daemons that could not be read, for the hint. */
  readonly missed: string[];
}

/** The timeout of users' daemons, which are all asked at once. It is shorter than that of root's. */
const USER_MILLISECONDS = 2000;
const NOBODY_LISTENS = ['ECONNREFUSED', 'ENOENT', 'ENOTDIR'];

/**
 * Looks a container up in the records of its runtime: root's daemons, root's files, then the daemons and files of users.
 * @throws NetNsError ERR_NO_CONTAINER no runtime has it, or it does not run
 * @throws StateError ERR_RUNTIME the daemon at `socket` cannot be asked; or one of root's cannot, and no other runtime of root has it
 */
export async function findContainer(
  id: string,
  options: FindOptions,
  at: Places = { root: '/' },
): Promise<FoundContainer> {
  return (await findCandidate(id, options, at)).found;
}

/** The same as `findContainer`, with the way to ask again. */
export async function findCandidate(id: string, options: FindOptions, at: Places = { root: '/' }): Promise<Candidate> {
  checkString(id, ['id'], 255);
  if (!ID.test(id)) throw rangeError(['id'], 'the name or id of a container', id);
  const { runtime, socket } = options;
  if (runtime !== undefined) checkOneOf(runtime, ['runtime'], RUNTIMES);
  if (socket !== undefined) checkString(socket, ['socket'], 107);
  const { budget } = options;
  limitsOfUser(budget);
  const search: Search = { id, runtime, at: budget === undefined ? at : { ...at, budget }, missed: [] };
  const found =
    socket === undefined
      ? ((await ofMachine(search)) ?? (await ofUsers(search)))
      : await byEngine(runtime === 'podman' ? 'podman' : 'docker', new Engine(socket), id);
  if (found !== undefined) return found;
  const hint = [`asked: ${runtime ?? RUNTIMES.join(', ')}`, ...search.missed].join('; ');
  throw new NetNsError(`no running container ${JSON.stringify(id)}`, { code: 'ERR_NO_CONTAINER', hint });
}

/** Asks root's runtimes. A daemon that cannot be asked ends the search: otherwise a user could answer in its place. */
async function ofMachine(search: Search): Promise<Candidate | undefined> {
  const place = machine(search.at);
  let ill: unknown;
  for (const [name, engine] of await enginesOf(search.runtime, place)) {
    try {
      const found = await byEngine(name, engine, search.id);
      if (found !== undefined) return found;
    } catch (error) {
      // A daemon that has ended may leave its socket behind.
      if (!isAbandoned(error)) ill ??= error;
    }
  }
  const found = await byRecords(search, place);
  if (found === undefined && ill !== undefined) throw ill;
  return found;
}

/** Asks the runtimes of all users. None of them can end the search or delay it for long. */
async function ofUsers(search: Search): Promise<Candidate | undefined> {
  const found = await Promise.all((await users(search.at)).map(place => ofUser(search, place)));
  return found.find(each => each !== undefined);
}

async function ofUser(search: Search, place: RecordsFolder): Promise<Candidate | undefined> {
  for (const [name, engine] of await enginesOf(search.runtime, place, USER_MILLISECONDS)) {
    try {
      const found = await byEngine(name, engine, search.id);
      if (found !== undefined) return found;
    } catch (error) {
      if (!(error instanceof StateError)) throw error;
      if (!isAbandoned(error)) search.missed.push(error.message);
    }
  }
  try {
    return await byRecords(search, place);
  } catch (error) {
    if (!(error instanceof Exhausted)) throw error;
    search.missed.push(error.message);
    return undefined;
  }
}

const isAbandoned = (error: unknown): boolean =>
  error instanceof StateError &&
  NOBODY_LISTENS.includes((error.cause as NodeJS.ErrnoException | undefined)?.code ?? '');

/** The daemons that have a socket in this place. */
async function enginesOf(
  runtime: Runtime | undefined,
  { folder, run }: RecordsFolder,
  milliseconds?: number,
): Promise<['docker' | 'podman', Engine][]> {
  const paths = { docker: 'docker.sock', podman: 'podman/podman.sock' };
  const engines: ['docker' | 'podman', Engine][] = [];
  for (const name of ['docker', 'podman'] as const) {
    if (runtime !== undefined && runtime !== name) continue;
    const path = join(folder, run, paths[name]);
    // Where a link leads to is checked when the daemon is asked.
    const isThere = await fsp.lstat(path).then(
      stat => stat.isSocket() || stat.isSymbolicLink(),
      () => false,
    );
    if (isThere) engines.push([name, new Engine(path, milliseconds)]);
  }
  return engines;
}

/** Asks a daemon. @throws StateError ERR_RUNTIME it cannot be asked */
export async function byEngine(
  runtime: 'docker' | 'podman',
  engine: Engine,
  id: string,
  signal?: AbortSignal,
): Promise<Candidate | undefined> {
  const ask = async (which: string, stop?: AbortSignal) => {
    const found = await engine.inspect(which, stop);
    if (found === undefined || found.pid === 0) return undefined;
    const { networkMode, name, ...rest } = found;
    return { name, found: { runtime, ...rest, network: networkOf(networkMode) } };
  };
  const first = await ask(id, signal);
  return first && { ...first, again: async stop => (await ask(first.found.id, stop))?.found };
}

/** The names of networks. Those of podman may have options. */
const NETWORK_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;
const WITH_OPTIONS = /^(bridge|slirp4netns|pasta):/;

/** Reads NetworkMode of Docker's Engine API. An unknown mode counts as the network of another container. */
export function networkOf(mode: string): Network {
  if (mode === 'host') return 'host';
  return NETWORK_NAME.test(mode) && mode !== 'pod' ? 'own' : WITH_OPTIONS.test(mode) ? 'own' : 'shared';
}

/** Looks into the files of the runtimes of a place. @throws Exhausted there are more of them than the budget allows */
async function byRecords({ id, runtime, at }: Search, place: RecordsFolder): Promise<Candidate | undefined> {
  for (const [name, records] of await recordsOf(runtime, place)) {
    const full = fullId((await records.idOf?.(id)) ?? id, await records.ids());
    const found = full === undefined ? undefined : await byRecord(name, records, full, at);
    if (found !== undefined) return { found, again: () => recordAgain(name, found, place, at) };
  }
  return undefined;
}

async function byRecord(
  runtime: Runtime,
  records: Records,
  id: string,
  at: Places,
): Promise<FoundContainer | undefined> {
  const read = await records.read(id);
  if (read === undefined) return undefined;
  // Some records do not tell. Then the kernel does: it shows which processes share a namespace.
  const network = read.network ?? ((await isShared(records, id, read.pid, at)) ? 'shared' : 'own');
  return { runtime, id, ...read, network, ...(records.owner !== undefined && { owner: records.owner }) };
}

/** Reads the record again, with a new budget, and only if the folder still has the same owner. */
async function recordAgain(
  runtime: Runtime,
  { id, owner }: FoundContainer,
  { folder, users: isUsers }: RecordsFolder,
  at: Places,
): Promise<FoundContainer | undefined> {
  const places = isUsers ? await users(at) : [machine(at)];
  const place = places.find(each => each.folder === folder && each.owner === owner);
  if (place === undefined) return undefined;
  for (const [, records] of await recordsOf(runtime, place)) {
    if (!(await records.ids()).includes(id)) continue;
    const found = await byRecord(runtime, records, id, at);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The only id that begins with `id`, as the commands of the runtimes accept it. Only ids that a runtime has made can be abbreviated. */
function fullId(id: string, ids: readonly string[]): string | undefined {
  if (ids.includes(id)) return id;
  const found = id.length >= 3 ? ids.filter(each => each.startsWith(id) && /^[0-9a-f]{64}$/.test(each)) : [];
  return found.length === 1 ? found[0] : undefined;
}

/**
 * Whether a process runs in a user namespace of this user. The kernel lets an unprivileged user map only his own number into it, and the
 * ranges that /etc/subuid gives him.
 */
export function isOwnedBy(owner: number, pid: number, at: Places = { root: '/' }): boolean {
  try {
    const map = fs.readFileSync(join(at.root, `proc/${pid}/uid_map`), 'latin1');
    return new RegExp(`^ *\\d+ +${owner} +1$`, 'm').test(map);
  } catch {
    return false;
  }
}
