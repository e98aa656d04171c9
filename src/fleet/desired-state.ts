import { createHash } from 'node:crypto';
import { checkObject } from '../codec/index.ts';
import { LOGGING, type LogDrift, type LogRule, LogSet } from '../container/log-set.ts';
import { TablesInquiry } from '../container/owned-reading.ts';
import { type RedirectSettings, settingsIn } from '../container/owned-table.ts';
import type { Redirect } from '../container/redirect-input.ts';
import { REDIRECTS } from '../container/redirect-maps.ts';
import { createRedirects, type RedirectDrift, RedirectSet } from '../container/redirect-set.ts';
import { isNotFound, typeError, within } from '../errors.ts';
import type { IpvsOperation, ReconcileOptions, ServiceKey, VirtualServer } from '../ipvs/index.ts';
import { type Table, Transaction } from '../nftables/index.ts';
import type { Needs, Seat } from './session.ts';

/** What one container shall have. What is left out is not touched. */
export interface ContainerState {
  /** The container's redirects, and no others. */
  redirects?: readonly Redirect[];
  /** How `redirects` are asked for, which must be there; what is left out is the default. */
  redirectOptions?: Partial<RedirectSettings>;
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
  readonly needs: Needs;
  readonly ownsTable: boolean;
  #fresh: Transaction | undefined;
  #look: TablesInquiry | undefined;
  #digest: string | undefined;

  /** @throws TypeError, RangeError with the path of what is wrong */
  constructor(state: ContainerState) {
    checkObject(state, [], ['redirects', 'redirectOptions', 'logging', 'transaction', 'virtualServers']);
    const { redirects, redirectOptions = {}, logging, transaction, virtualServers } = state;
    if (transaction !== undefined && !(transaction instanceof Transaction))
      throw typeError(['transaction'], 'a Transaction', transaction);
    if (virtualServers !== undefined && !Array.isArray(virtualServers))
      throw typeError(['virtualServers'], 'an array of virtual servers', virtualServers);
    this.state = state;
    if (state.redirectOptions !== undefined && redirects === undefined)
      throw typeError(['redirects'], 'redirects with redirectOptions', undefined, 'ERR_MISSING');
    const settings = at('redirectOptions', () => {
      checkObject(redirectOptions, [], ['priority', 'output']);
      return settingsIn(redirectOptions);
    });
    this.redirects = at('redirects', () => redirects && new RedirectSet(redirects, settings));
    this.logging = at('logging', () => logging && new LogSet(logging));
    const nftables = [redirects, logging, transaction].some(each => each !== undefined);
    this.needs = { nftables, ipvs: virtualServers !== undefined };
    this.ownsTable = transaction?.operations.some(ownsTable) ?? false;
  }

  /** Asks whether the tables that it takes are there. */
  get look(): TablesInquiry {
    const names = [this.redirects && REDIRECTS, this.logging && LOGGING].filter(name => name !== undefined);
    this.#look ??= new TablesInquiry(names);
    return this.#look;
  }

  /** Equal for states that want the same tables: the caller may give the same state in another object, or another in the same. */
  get digest(): string {
    this.#digest ??= createHash('sha256').update(this.fresh.encode().bytes).digest('base64');
    return this.#digest;
  }

  /** Redirects and log rules in one transaction, for containers that have neither: made when the first one asks. */
  get fresh(): Transaction {
    if (this.#fresh === undefined) {
      const transaction = new Transaction();
      if (this.redirects !== undefined) createRedirects(transaction, this.redirects, this.redirects.settings);
      this.logging?.create(transaction);
      this.#fresh = transaction;
    }
    return this.#fresh;
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

interface ProgramOptions extends Pick<ReconcileOptions, 'drain' | 'signal'> {
  prune: boolean;
  force: boolean;
}

/** Brings one container to its state: without a promise where it is done when this returns. */
export function program(
  seat: Seat,
  prepared: PreparedState,
  { force, ...options }: ProgramOptions,
): void | Promise<void> {
  const { state, needs } = prepared;
  seat.open(needs);
  seat.ownsTable ||= prepared.ownsTable;
  const rules = needs.nftables ? seat.rules.runInline('program', prepared, force) : undefined;
  const { virtualServers } = state;
  if (virtualServers === undefined) return rules;
  return Promise.resolve(rules)
    .then(() => seat.ipvs.reconcile(virtualServers, options))
    .then(() => {});
}

/** Takes it away again: all redirects and log rules, and of the state its transaction's tables and its virtual servers. */
export async function unprogram(seat: Seat, { state }: PreparedState, force: boolean): Promise<void> {
  await seat.rules.unprogram(state.transaction, force);
  seat.ownsTable = false;
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
  { prune, force }: ProgramOptions,
): Promise<Drift | undefined> {
  const { state, needs } = prepared;
  seat.open(needs);
  const drift = needs.nftables ? await seat.rules.drift(prepared, force) : {};
  if (state.virtualServers !== undefined) {
    const operations = await seat.ipvs.plan(state.virtualServers, { prune });
    if (operations.length > 0) drift.virtualServers = operations;
  }
  return Object.keys(drift).length > 0 ? drift : undefined;
}

const keyOf = (server: VirtualServer): ServiceKey =>
  'firewallMark' in server
    ? { firewallMark: server.firewallMark, family: server.family }
    : { protocol: server.protocol, address: server.address, port: server.port };
