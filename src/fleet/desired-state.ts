import { checkObject } from '../codec/index.ts';
import { LOGGING, type LogDrift, type LogRule, LogSet } from '../container/logging/set.ts';
import { TablesInquiry } from '../container/owned/reading.ts';
import { type RedirectSettings, settingsIn } from '../container/owned/table.ts';
import { type ConnectionPolicy, checkConnections, StaleConnections } from '../container/redirects/connections.ts';
import type { Redirect } from '../container/redirects/input.ts';
import { REDIRECTS } from '../container/redirects/maps.ts';
import type { ConnectionPolicyOptions } from '../container/redirects/redirects.ts';
import { createRedirects, type RedirectDrift, RedirectSet } from '../container/redirects/set.ts';
import { typeError, within } from '../errors.ts';
import type { IpvsOperation, VirtualServer } from '../ipvs/index.ts';
import { type Table, Transaction } from '../nftables/index.ts';

/** The desired state of one container. Fields that are left out are not touched. */
export interface ContainerState {
  /** The container's only redirects. */
  redirects?: readonly Redirect[];
  /** The settings of `redirects`, which must be given, too. Settings that are left out get their defaults. */
  redirectOptions?: Partial<RedirectSettings> & ConnectionPolicyOptions;
  /** The container's only log rules. */
  logging?: readonly LogRule[];
  /** A transaction that is committed on each run, after redirects and log rules. Write it so that a second commit changes nothing. */
  transaction?: Transaction;
  /** Virtual services with their destinations. Other services of the container stay unless `prune` is set. */
  virtualServers?: readonly VirtualServer[];
}

/** The differences between a container and its desired state. Fields without a difference are left out. */
export interface Drift {
  /** How the redirects differ. */
  redirects?: RedirectDrift;
  /** How the log rules differ. */
  logging?: LogDrift;
  /** Tables, chains, sets and maps of the transaction that are missing: `{ chain: { ... } }`. Rules have no name and are not compared. */
  missing?: object[];
  /** The operations that would make the virtual services as desired. */
  virtualServers?: IpvsOperation[];
}

/** The sockets that a state needs in a container. */
export interface Needs {
  nftables: boolean;
  ipvs: boolean;
}

/** A checked state, with the encoded transactions that its containers share. */
export class PreparedState {
  readonly state: ContainerState;
  readonly redirects: RedirectSet | undefined;
  readonly logging: LogSet | undefined;
  readonly needs: Needs;
  readonly ownsTable: boolean;
  /** Whether connections end when their redirect changes or goes; undefined if the state does not set it. */
  readonly connections: ConnectionPolicy | undefined;
  #fresh: Transaction | undefined;
  #tablesInquiry: TablesInquiry | undefined;
  #digest: string | undefined;
  /** By the policy of the run. */
  #ends: Map<ConnectionPolicy | undefined, boolean> | undefined;

  /** @throws TypeError, RangeError with the path of what is wrong */
  constructor(state: ContainerState) {
    checkObject(state, [], ['redirects', 'redirectOptions', 'logging', 'transaction', 'virtualServers']);
    const { redirects, redirectOptions, logging, transaction, virtualServers } = state;
    if (transaction !== undefined && !(transaction instanceof Transaction))
      throw typeError(['transaction'], 'a Transaction', transaction);
    if (virtualServers !== undefined && !Array.isArray(virtualServers))
      throw typeError(['virtualServers'], 'an array of virtual servers', virtualServers);
    this.state = state;
    if (redirectOptions !== undefined && redirects === undefined)
      throw typeError(['redirects'], 'redirects with redirectOptions', undefined, 'ERR_MISSING');
    // Each of thousands of containers may have a state of its own.
    this.redirects = redirects === undefined ? undefined : redirectsOf(redirects, redirectOptions);
    this.connections = redirectOptions?.connections;
    this.logging = logging === undefined ? undefined : at('logging', () => new LogSet(logging));
    const nftables = redirects !== undefined || logging !== undefined || transaction !== undefined;
    this.needs = { nftables, ipvs: virtualServers !== undefined };
    this.ownsTable = transaction?.hasTable(isOwned) ?? false;
  }

  /** Whether connections may end in a container that had no redirects. Each redirect is looked at once for all containers. */
  endsConnections(policy: ConnectionPolicy | undefined): boolean {
    this.#ends ??= new Map();
    let ends = this.#ends.get(policy);
    if (ends === undefined) {
      ends = this.redirects !== undefined && new StaleConnections(policy).concernAny(this.redirects);
      this.#ends.set(policy, ends);
    }
    return ends;
  }

  /** Asks which of the tables that the state needs are there. */
  get tablesInquiry(): TablesInquiry {
    const names = [this.redirects && REDIRECTS, this.logging && LOGGING].filter(name => name !== undefined);
    this.#tablesInquiry ??= new TablesInquiry(names);
    return this.#tablesInquiry;
  }

  /** Equal for states with the same tables, because a caller may pass an equal state in another object, or change the object. */
  get digest(): string {
    this.#digest ??= process
      .getBuiltinModule('node:crypto')
      .createHash('sha256')
      .update(this.fresh.encode().bytes)
      .digest('base64');
    return this.#digest;
  }

  /** The transaction for containers without redirects and log rules. It is made when the first container needs it. */
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

function redirectsOf(redirects: readonly Redirect[], options: ContainerState['redirectOptions'] = {}): RedirectSet {
  const settings = at('redirectOptions', () => {
    checkObject(options, [], ['priority', 'output', 'connections']);
    checkConnections(options.connections);
    return settingsIn(options);
  });
  return at('redirects', () => new RedirectSet(redirects, settings));
}

function at<T>(field: string, check: () => T): T {
  try {
    return check();
  } catch (error) {
    throw within(error, [field]);
  }
}

const isOwned = ({ flags }: Partial<Table>): boolean => flags?.includes('owner') === true;
