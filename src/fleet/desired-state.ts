import { createHash } from 'node:crypto';
import { checkObject } from '../codec/index.ts';
import { LOGGING, type LogDrift, type LogRule, LogSet } from '../container/logging/set.ts';
import { TablesInquiry } from '../container/owned/reading.ts';
import { type RedirectSettings, settingsIn } from '../container/owned/table.ts';
import type { Redirect } from '../container/redirects/input.ts';
import { REDIRECTS } from '../container/redirects/maps.ts';
import { createRedirects, type RedirectDrift, RedirectSet } from '../container/redirects/set.ts';
import { typeError, within } from '../errors.ts';
import type { IpvsOperation, VirtualServer } from '../ipvs/index.ts';
import { type Table, Transaction } from '../nftables/index.ts';

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

/** The sockets that a container's state takes. */
export interface Needs {
  nftables: boolean;
  ipvs: boolean;
}

/** A state that has been checked, with what is encoded once for all containers that share it. */
export class PreparedState {
  readonly state: ContainerState;
  readonly redirects: RedirectSet | undefined;
  readonly logging: LogSet | undefined;
  readonly needs: Needs;
  readonly ownsTable: boolean;
  #fresh: Transaction | undefined;
  #tablesInquiry: TablesInquiry | undefined;
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
  get tablesInquiry(): TablesInquiry {
    const names = [this.redirects && REDIRECTS, this.logging && LOGGING].filter(name => name !== undefined);
    this.#tablesInquiry ??= new TablesInquiry(names);
    return this.#tablesInquiry;
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
