import { createHash } from 'node:crypto';
import { isNotFound, StateError } from '../errors.ts';
import { type DesiredRuleset, type ElementValue, type Nftables, table } from '../nftables/index.ts';

/*
 * IPVS, addresses and settings carry no mark of who has made them. So each namespace has a table of ours, whose set `record` names what we have made
 * there. It is in the kernel: it outlives this process, and ends with the container. Something is recorded before it is made, and taken off the
 * record after it is gone: a process that is killed between the two leaves a name without a thing, and never a thing without a name.
 */

/** Something that a balancer has made in a namespace. */
export type Entry =
  | { readonly kind: 'service'; readonly name: string }
  | { readonly kind: 'address'; readonly name: string }
  | { readonly kind: 'redirect'; readonly name: string }
  | { readonly kind: 'device'; readonly name: string }
  | { readonly kind: 'route'; readonly name: string }
  /** A sysctl, and its value before. */
  | { readonly kind: 'setting'; readonly name: string; readonly before: string }
  /** A server that somebody has drained: `service/server`. */
  | { readonly kind: 'drained'; readonly name: string };

const KINDS: readonly string[] = ['service', 'address', 'redirect', 'device', 'route', 'setting', 'drained'];
/** What the root of a container may have put into the set has a bound. */
const MOST_ENTRIES = 65_536;
export const RECORD_TABLE = 'netsteer-balancer';
export const OWNER = 'managed by netsteer';

/** The table of one load balancer in one namespace. */
export class RecordTable {
  readonly name: string;
  readonly #nft: Nftables;

  /** @param owner the name of the load balancer, whose record it is */
  constructor(nft: Nftables, owner: string) {
    this.#nft = nft;
    this.name = owner === '' ? RECORD_TABLE : `${RECORD_TABLE}-${owner}`;
  }

  /** What is recorded. What is no entry of ours is left out. */
  async read(): Promise<Entry[]> {
    let elements: ElementValue[];
    try {
      elements = await this.#nft.elements({ family: 'inet', table: this.name, name: 'record' }, { as: 'values' });
    } catch (error) {
      if (isNotFound(error)) return [];
      throw error;
    }
    if (elements.length > MOST_ENTRIES)
      throw new StateError(
        'ERR_TOO_MANY',
        `the set record of the table inet ${this.name} has more than ${MOST_ENTRIES} elements`,
      );
    const entries: Entry[] = [];
    for (const element of elements) {
      const comment = typeof element === 'object' && 'comment' in element ? element.comment : undefined;
      const entry = comment === undefined ? undefined : parseEntry(comment);
      if (entry !== undefined) entries.push(entry);
    }
    return entries;
  }

  /**
   * Makes the table as wanted: the record, and the rules beside it.
   * @returns whether anything has changed
   */
  async write(entries: readonly Entry[], rules: TableRules = {}): Promise<boolean> {
    const plan = await this.#nft.reconcile(this.desired(entries, rules), {
      prefix: this.name,
      only: [{ table: { family: 'inet', name: this.name } }],
    });
    return plan.operations.length > 0;
  }

  /** The wanted table; no table where there is nothing to keep. */
  desired(entries: readonly Entry[], rules: TableRules): DesiredRuleset {
    const { chains = [], sets = [], rules: list = [] } = rules;
    if (entries.length === 0 && chains.length === 0) return { tables: [] };
    const place = { family: 'inet', table: this.name } as const;
    const elements: ElementValue[] = entries.map(entry => ({ key: keyOf(entry), comment: formatEntry(entry) }));
    return {
      tables: [{ ...table('inet', this.name).table, comment: OWNER }],
      sets: [{ ...place, name: 'record', key: 'mark . mark', elements }, ...sets.map(set => ({ ...set, ...place }))],
      chains: chains.map(chain => ({ ...chain, ...place })),
      rules: list.map(rule => ({ ...rule, ...place })),
    };
  }
}

type Unplaced<T> = T extends object ? Omit<T, 'family' | 'table'> : never;

/** Rules beside the record, without their place. */
export interface TableRules {
  readonly sets?: readonly Unplaced<NonNullable<DesiredRuleset['sets']>[number]>[];
  readonly chains?: readonly Unplaced<NonNullable<DesiredRuleset['chains']>[number]>[];
  readonly rules?: readonly Unplaced<NonNullable<DesiredRuleset['rules']>[number]>[];
}

export function formatEntry(entry: Entry): string {
  return entry.kind === 'setting' ? `setting ${entry.name}=${entry.before}` : `${entry.kind} ${entry.name}`;
}

export function parseEntry(text: string): Entry | undefined {
  const space = text.indexOf(' ');
  const kind = text.slice(0, space);
  const name = text.slice(space + 1);
  if (space < 1 || !KINDS.includes(kind) || name === '' || /[^ -~]/.test(name)) return undefined;
  if (kind !== 'setting') return { kind, name } as Entry;
  const [, setting, before] = /^(net\.[\w./-]+)=(.*)$/.exec(name) ?? [];
  return setting === undefined || before === undefined ? undefined : { kind, name: setting, before };
}

/** The identity of an entry: the value that a setting had before does not belong to it. */
export const identityOf = ({ kind, name }: Entry): string => `${kind} ${name}`;

/** Eight bytes of a hash, as the two numbers of the set's key. */
function keyOf(entry: Entry): ElementValue & string[] {
  const hash = createHash('sha256').update(identityOf(entry)).digest();
  return [hash.readUInt32BE(0), hash.readUInt32BE(4)] as never;
}
