import { checkObject } from '../codec/index.ts';
import { isNotFound, typeError, within } from '../errors.ts';
import type { IpvsOperation, ServiceKey, VirtualServer } from '../ipvs/index.ts';
import { type Family, type Table, Transaction } from '../nftables/index.ts';
import type { Seat } from './fleet-sockets.ts';
import { type LogDrift, type LogRule, LogSet } from './logging.ts';
import { type Redirect, type RedirectDrift, RedirectSet } from './redirect-set.ts';

/** What one container shall have. What is left out is not touched. */
export interface ContainerState {
  /** The container's redirects, and no others. */
  redirects?: readonly Redirect[];
  /** The container's log rules, and no others. */
  logging?: readonly LogRule[];
  /** Committed each time, after those two: a transaction can be written so that doing it again changes nothing. */
  transaction?: Transaction;
  virtualServers?: readonly VirtualServer[];
}

/** How a container differs from its desired state; what is as it should be is left out. */
export interface Drift {
  redirects?: RedirectDrift;
  logging?: LogDrift;
  /** Objects with a name that the transaction adds and that are not there: `{ chain: { ... } }`. Rules have no name and are not compared. */
  missing?: object[];
  /** The operations that would bring the virtual servers about. */
  virtualServers?: IpvsOperation[];
}

/** A state that has been checked, with what is encoded once for all containers that share it. */
export class PreparedState {
  readonly state: ContainerState;
  readonly redirects: RedirectSet | undefined;
  readonly logging: LogSet | undefined;
  readonly needs: { nftables: boolean; ipvs: boolean };
  readonly ownsTable: boolean;

  /** @throws TypeError, RangeError with the path of what is wrong */
  constructor(state: ContainerState) {
    checkObject(state, [], ['redirects', 'logging', 'transaction', 'virtualServers']);
    const { redirects, logging, transaction, virtualServers } = state;
    if (transaction !== undefined && !(transaction instanceof Transaction))
      throw typeError(['transaction'], 'a Transaction', transaction);
    if (virtualServers !== undefined && !Array.isArray(virtualServers))
      throw typeError(['virtualServers'], 'an array of virtual servers', virtualServers);
    this.state = state;
    this.redirects = at('redirects', () => redirects && new RedirectSet(redirects));
    this.logging = at('logging', () => logging && new LogSet(logging));
    const nftables = [redirects, logging, transaction].some(each => each !== undefined);
    this.needs = { nftables, ipvs: virtualServers !== undefined };
    this.ownsTable = transaction?.operations.some(ownsTable) ?? false;
  }
}

function at<T>(field: string, check: () => T): T {
  try {
    return check();
  } catch (error) {
    throw within(error, [field]);
  }
}

const ownsTable = ({ kind, subject }: Transaction['operations'][number]): boolean =>
  kind === 'table' && (subject as { table: Table }).table.flags?.includes('owner') === true;

/** Brings one container to its state. */
export async function program(seat: Seat, prepared: PreparedState, { prune }: { prune: boolean }): Promise<void> {
  const { redirects, logging, state, needs } = prepared;
  seat.open(needs);
  if (redirects !== undefined) await seat.rules.redirects.set(redirects);
  if (logging !== undefined) await seat.rules.logging.set(logging);
  if (state.transaction !== undefined) {
    seat.ownsTable ||= prepared.ownsTable;
    await seat.rules.nftables.commit(state.transaction);
  }
  if (state.virtualServers !== undefined) await seat.ipvs.reconcile(state.virtualServers, { prune });
}

/** Takes it away again: all redirects, and of the state its transaction's tables and its virtual servers. */
export async function unprogram(seat: Seat, { state }: PreparedState): Promise<void> {
  await seat.rules.redirects.release();
  await seat.rules.logging.release();
  const tables = tablesOf(state.transaction);
  if (tables.length > 0) {
    const removal = new Transaction();
    for (const table of tables) removal.destroy({ table });
    await seat.rules.nftables.commit(removal);
    seat.ownsTable = false;
  }
  const { virtualServers = [] } = state;
  if (virtualServers.length === 0) return;
  const { failures } = await seat.ipvs.apply(
    virtualServers.map(server => ({ op: 'removeService', key: keyOf(server) })),
    { onError: 'collect' },
  );
  const failed = failures.find(failure => !isNotFound(failure));
  if (failed !== undefined) throw failed;
}

/** What is not as it should be; undefined where all is. */
export async function driftOf(
  seat: Seat,
  prepared: PreparedState,
  { prune }: { prune: boolean },
): Promise<Drift | undefined> {
  const { redirects, logging, state, needs } = prepared;
  seat.open(needs);
  const drift: Drift = {};
  if (redirects !== undefined) {
    const found = await seat.rules.redirects.differences(redirects);
    if (Object.values(found).some(list => list.length > 0)) drift.redirects = found;
  }
  if (logging !== undefined) {
    const found = await seat.rules.logging.differences(logging);
    if (Object.values(found).some(list => list.length > 0)) drift.logging = found;
  }
  if (state.transaction !== undefined) {
    const missing = await missingOf(seat, state.transaction);
    if (missing.length > 0) drift.missing = missing;
  }
  if (state.virtualServers !== undefined) {
    const operations = await seat.ipvs.plan(state.virtualServers, { prune });
    if (operations.length > 0) drift.virtualServers = operations;
  }
  return Object.keys(drift).length > 0 ? drift : undefined;
}

interface Named {
  family: Family;
  name: string;
  table?: string;
}

const KINDS = ['table', 'chain', 'set', 'map'];

/** Objects with a name that a transaction adds. */
const named = (transaction: Transaction | undefined, kinds: readonly string[]) =>
  (transaction?.operations ?? [])
    .filter(({ verb, kind }) => (verb === 'add' || verb === 'create') && kinds.includes(kind))
    .map(({ kind, subject }) => ({ subject, kind, object: (subject as Record<string, Named>)[kind]! }));

const tablesOf = (transaction: Transaction | undefined): { family: Family; name: string }[] =>
  named(transaction, ['table']).map(({ object: { family, name } }) => ({ family, name }));

async function missingOf({ rules: { nftables } }: Seat, transaction: Transaction): Promise<object[]> {
  const { tables, chains, sets } = await nftables.ruleset();
  const there = (kind: string): readonly Named[] =>
    (kind === 'table' ? tables : kind === 'chain' ? chains : sets) as readonly Named[];
  return named(transaction, KINDS)
    .filter(({ kind, object: { family, table, name } }) =>
      there(kind).every(each => each.family !== family || each.name !== name || each.table !== table),
    )
    .map(({ subject }) => subject);
}

const keyOf = (server: VirtualServer): ServiceKey =>
  'firewallMark' in server
    ? { firewallMark: server.firewallMark, family: server.family }
    : { protocol: server.protocol, address: server.address, port: server.port };
