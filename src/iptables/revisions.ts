import { attributes, string, u32be } from '../codec/index.ts';
import { BatchError, NetlinkError, UnsupportedError } from '../errors.ts';
import * as C from '../linux/nf_tables_compat.ts';
import { NFNL_SUBSYS_NFT_COMPAT } from '../linux/nfnetlink.ts';
import { type Exchange, nfnetlinkType, type Operation, writeHeader } from '../netlink/index.ts';
import type { Expression } from '../nf_tables/expression.ts';
import { familyNumber } from '../nf_tables/family.ts';
import type { Transaction } from '../nftables/write/transaction.ts';
import { FAMILIES } from './built-in.ts';
import type { LoadedExtension } from './command.ts';
import type { IptablesExtension, IptablesFamily } from './model.ts';

/*
 * A match or target has several structures: its revisions. Rules are written in the newest that iptables 1.8.9 has. Where the kernel refuses a rule, it is
 * asked for the revisions that it has of the matches and targets in it.
 */

const compatTable = attributes('NFTA_COMPAT', {
  name: string(C.NFTA_COMPAT_NAME, 31),
  revision: u32be(C.NFTA_COMPAT_REV),
  /** 0 is a match, 1 a target. */
  type: u32be(C.NFTA_COMPAT_TYPE),
});

const KINDS = ['match', 'target'] as const;
type Kind = (typeof KINDS)[number];

/** Rules of one refusal whose extensions are asked for. */
const MOST_RULES = 16;
/** What the kernel says of a rule with a match or target that it does not have. */
const REFUSALS: ReadonlySet<string> = new Set(['ENOENT', 'EOPNOTSUPP', 'EPROTONOSUPPORT']);

/** A match or target that the kernel does not have in any revision that iptables 1.8.9 has. */
export interface MissingExtension {
  readonly kind: Kind;
  readonly name: string;
}

/** all: the kernel has the revisions that were written. older: it has older ones of some. */
export type Answer = 'all' | 'older' | MissingExtension;

/** The revisions that the kernel of one handle has. */
export class Revisions {
  readonly #exchange: Exchange;
  readonly #family: number;
  /** The revision that is written in the place of a newer one, by kind and name: 'match conntrack'. */
  readonly older = new Map<string, number>();
  /** By kind, name and the newest revision that was asked for; undefined: it has none. */
  readonly #known = new Map<string, number | undefined>();

  constructor(exchange: Exchange, family: IptablesFamily) {
    this.#exchange = exchange;
    this.#family = familyNumber(FAMILIES[family], ['family']);
  }

  /** Asks for the extensions of the rules that the kernel has refused. Older revisions of them are noted. */
  *ask(error: unknown, transaction: Transaction): Operation<Answer> {
    if (!(error instanceof BatchError)) return 'all';
    let found: Answer = 'all';
    const refused = error.failures.filter(({ code }) => REFUSALS.has(code)).slice(0, MOST_RULES);
    for (const { index } of refused) {
      const { subject } = transaction.operations[index]!;
      const { expressions = [] } = (subject as { rule?: { expressions?: readonly Expression[] } }).rule ?? {};
      for (const expression of expressions)
        for (const kind of KINDS) {
          const extension = (expression as Partial<Record<Kind, IptablesExtension>>)[kind];
          if (extension === undefined) continue;
          const { name, revision } = extension;
          const best = yield* this.#best(kind, name, revision);
          if (best === undefined) return { kind, name };
          if (best === revision) continue;
          this.older.set(`${kind} ${name}`, best);
          found = 'older';
        }
    }
    return found;
  }

  /** Those of which the kernel has no revision. */
  *missing(extensions: readonly LoadedExtension[]): Operation<LoadedExtension[]> {
    const found: LoadedExtension[] = [];
    for (const extension of extensions) {
      const { kind, name, revision } = extension;
      if ((yield* this.#best(kind, name, revision)) === undefined) found.push(extension);
    }
    return found;
  }

  /** The newest revision up to this one that the kernel has. */
  *#best(kind: Kind, name: string, newest: number): Operation<number | undefined> {
    const key = `${kind} ${name} ${newest}`;
    if (this.#known.has(key)) return this.#known.get(key);
    let best: number | undefined;
    for (let revision = newest; revision >= 0 && best === undefined; revision--) {
      const answer = yield* this.#request(kind, name, revision);
      if (answer === 'none') break;
      if (answer === 'this') best = revision;
    }
    this.#known.set(key, best);
    return best;
  }

  *#request(kind: Kind, name: string, revision: number): Operation<'this' | 'others' | 'none'> {
    const subject = { name, revision, type: KINDS.indexOf(kind) };
    try {
      yield* this.#exchange.request({
        type: nfnetlinkType(NFNL_SUBSYS_NFT_COMPAT, C.NFNL_MSG_COMPAT_GET),
        syscall: 'NFNL_MSG_COMPAT_GET',
        subject,
        write: writer => {
          writeHeader(writer, this.#family, 0);
          compatTable.write(writer, subject, { family: this.#family });
        },
      });
      return 'this';
    } catch (error) {
      if (!(error instanceof NetlinkError)) throw error;
      if (error.code === 'EPROTONOSUPPORT') return 'others';
      // EINVAL: the kernel has no compatibility with xtables at all (CONFIG_NFT_COMPAT).
      if (error.code === 'ENOENT' || error.code === 'EINVAL') return 'none';
      throw error;
    }
  }
}

/** What iptables says of an extension that the kernel does not have. */
export const missingWarning = (name: string): string =>
  `Warning: Extension ${name} revision 0 not supported, missing kernel module?`;

/** The error that names an extension that the kernel does not have. */
export const missingError = ({ kind, name }: MissingExtension, cause: unknown): UnsupportedError =>
  Object.assign(new UnsupportedError(`the ${kind} ${name} of iptables`, undefined, 'its module is not there'), {
    cause,
  });

/** The expressions with the revisions that the kernel has. */
export function withOlder(expressions: Expression[], older: ReadonlyMap<string, number>): Expression[] {
  if (older.size === 0) return expressions;
  return expressions.map(expression => {
    for (const kind of KINDS) {
      const extension = (expression as Partial<Record<Kind, IptablesExtension>>)[kind];
      const revision = extension && older.get(`${kind} ${extension.name}`);
      if (revision !== undefined) return { [kind]: { ...extension, revision } } as unknown as Expression;
    }
    return expression;
  });
}
