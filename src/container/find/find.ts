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
  type Place,
  type Places,
  type Records,
  RUNTIMES,
  type Runtime,
  recordsOf,
  users,
} from './records.ts';

export type { Runtime } from './records.ts';

/** Where a container is looked for. */
export interface FindOptions {
  /** Ask only this one; default all that have left a socket or state on this machine. */
  runtime?: Runtime;
  /** The socket of docker's or podman's Engine API, where it is not in its usual place. */
  socket?: string;
  /**
   * How much of each user's records may be read. They are read only where none of root's runtimes has the container. What lies beyond is not read: the search
   * goes on with the next user, and its error says so in the hint.
   */
  budget?: SearchBudget;
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

/** A container, and where to ask for it again. */
export interface Candidate {
  readonly found: FoundContainer;
  /** What it is called, where a daemon has told. */
  readonly name?: string;
  /** Asks the same place again, and nobody else, over a new connection; undefined where it does not run any more. */
  again(signal?: AbortSignal): Promise<FoundContainer | undefined>;
}

/** What a search is about. */
interface Search {
  readonly id: string;
  readonly runtime: Runtime | undefined;
  readonly at: Places;
  /** What could not be read, in words. */
  readonly missed: string[];
}

/** Users' daemons are all asked at once, and need not be waited for as root's are. */
const USER_MILLISECONDS = 2000;
const NOBODY_LISTENS = ['ECONNREFUSED', 'ENOENT', 'ENOTDIR'];

/**
 * Looks a container up in its runtime's own records. Root's come before any user's: daemons first, then what is kept in files.
 * @throws NetNsError ERR_NO_CONTAINER none of the runtimes has it, or it does not run
 * @throws StateError ERR_RUNTIME a daemon that was named cannot be asked; or one of root's, and none of root's other runtimes has it
 */
export async function findContainer(
  id: string,
  options: FindOptions,
  at: Places = { root: '/' },
): Promise<FoundContainer> {
  return (await findCandidate(id, options, at)).found;
}

/** As `findContainer`, with the way to ask again. */
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

/** Whatever root's runtimes say. One that cannot be asked ends the search: users could answer in its place. */
async function ofMachine(search: Search): Promise<Candidate | undefined> {
  const place = machine(search.at);
  let ill: unknown;
  for (const [name, engine] of await enginesOf(search.runtime, place)) {
    try {
      const found = await byEngine(name, engine, search.id);
      if (found !== undefined) return found;
    } catch (error) {
      // A socket that a daemon has left behind is no daemon.
      if (!isAbandoned(error)) ill ??= error;
    }
  }
  const found = await byRecords(search, place);
  if (found === undefined && ill !== undefined) throw ill;
  return found;
}

/** What users' runtimes say. None of them can end the search, nor hold it up for long. */
async function ofUsers(search: Search): Promise<Candidate | undefined> {
  const found = await Promise.all((await users(search.at)).map(place => ofUser(search, place)));
  return found.find(each => each !== undefined);
}

async function ofUser(search: Search, place: Place): Promise<Candidate | undefined> {
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

/** The daemons that have a socket in a place. */
async function enginesOf(
  runtime: Runtime | undefined,
  { folder, run }: Place,
  milliseconds?: number,
): Promise<['docker' | 'podman', Engine][]> {
  const paths = { docker: 'docker.sock', podman: 'podman/podman.sock' };
  const engines: ['docker' | 'podman', Engine][] = [];
  for (const name of ['docker', 'podman'] as const) {
    if (runtime !== undefined && runtime !== name) continue;
    const path = join(folder, run, paths[name]);
    // A link is looked at when it is asked.
    const isThere = await fsp.lstat(path).then(
      stat => stat.isSocket() || stat.isSymbolicLink(),
      () => false,
    );
    if (isThere) engines.push([name, new Engine(path, milliseconds)]);
  }
  return engines;
}

/** By a daemon. @throws StateError ERR_RUNTIME it cannot be asked */
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

/** What may be in a name of a network; podman's own ones may have options. */
const NETWORK_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;
const WITH_OPTIONS = /^(bridge|slirp4netns|pasta):/;

/** Of what Docker's Engine API calls NetworkMode. What is not known is not taken for a network of its own. */
export function networkOf(mode: string): Network {
  if (mode === 'host') return 'host';
  return NETWORK_NAME.test(mode) && mode !== 'pod' ? 'own' : WITH_OPTIONS.test(mode) ? 'own' : 'shared';
}

/** By what the runtimes of a place have written down. @throws Exhausted there is more of it than is read */
async function byRecords({ id, runtime, at }: Search, place: Place): Promise<Candidate | undefined> {
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
  // What the record does not tell, the kernel does.
  const network = read.network ?? ((await isShared(records, id, read.pid, at)) ? 'shared' : 'own');
  return { runtime, id, ...read, network, ...(records.owner !== undefined && { owner: records.owner }) };
}

/** Read anew, with as much to be read as the first time; the folder may be somebody else's by now. */
async function recordAgain(
  runtime: Runtime,
  { id, owner }: FoundContainer,
  { folder, users: isUsers }: Place,
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
  try {
    const map = fs.readFileSync(join(at.root, `proc/${pid}/uid_map`), 'latin1');
    return new RegExp(`^ *\\d+ +${owner} +1$`, 'm').test(map);
  } catch {
    return false;
  }
}
