import { attributes, inline, list, nested, opt, string, type UnknownAttribute, u32be, u64be } from '../codec/index.ts';
import { typeError } from '../errors.ts';
import * as C from '../linux/nf_tables.ts';
import { EXPRESSION, type Expression } from './expression.ts';
import { local, told } from './facets.ts';
import type { Family } from './family.ts';
import { ruleUserdata } from './userdata.ts';

const compatTable = attributes('NFTA_RULE_COMPAT', () => ({
  protocol: u32be(C.NFTA_RULE_COMPAT_PROTO),
  flags: u32be(C.NFTA_RULE_COMPAT_FLAGS),
}));

/** The chain that a rule stands in. */
export const rulePlace = {
  table: string(C.NFTA_RULE_TABLE, 255),
  chain: string(C.NFTA_RULE_CHAIN, 255),
};

const place = {
  ...rulePlace,
  /** The kernel's number for it, unique in its table. */
  handle: told(opt(u64be(C.NFTA_RULE_HANDLE))),
};

const compat = {
  /** The protocol that xt matches and targets want to know. The kernel never gives it back. */
  compat: opt(nested(C.NFTA_RULE_COMPAT, compatTable)),
};
const position = opt(u64be(C.NFTA_RULE_POSITION));

const besides = {
  userdata: inline(C.NFTA_RULE_USERDATA, ruleUserdata),
  /** The number that the rule has within its own transaction. */
  id: local(opt(u32be(C.NFTA_RULE_ID))),
  positionId: opt(u32be(C.NFTA_RULE_POSITION_ID)),
  chainId: opt(u32be(C.NFTA_RULE_CHAIN_ID)),
};

/** The fields of a rule besides its place and its expressions. `position`: the handle of the rule to stand next to. */
export const ruleBesides = { ...compat, position, ...besides };

/** A field that a listed rule has and writing ignores: it tells where the rule stood, not where one goes. */
export const RULE_TOLD = 'previousHandle';

const expressions = { expressions: opt(list(C.NFTA_RULE_EXPRESSIONS, C.NFTA_LIST_ELEM, EXPRESSION)) };

export const ruleTable = attributes('NFTA_RULE', () => ({ ...place, ...expressions, ...ruleBesides }), {
  header: ['family', RULE_TOLD],
});

const CHAIN_OR_TABLE: ReadonlySet<number> = new Set([C.NFTA_RULE_TABLE, C.NFTA_RULE_CHAIN]);

/**
 * The key of a rule that is to be removed. Without the name of a chain the kernel removes every rule of the table, and ignores the rest of the
 * message: the handle, and the number of a chain (nf_tables_delrule).
 */
export const ruleRemovalTable = ruleTable.partial({
  before(rule) {
    const unknown = Array.isArray(rule.unknown) ? (rule.unknown as Partial<UnknownAttribute>[]) : [];
    // Numbers of attributes inside of a nest are others.
    const isOwn = (each: Partial<UnknownAttribute>) => each?.in === undefined;
    if (rule.chain !== undefined || unknown.some(each => isOwn(each) && each?.type === C.NFTA_RULE_CHAIN)) return rule;
    const { family: _, table: __, unknown: ___, [RULE_TOLD]: ____, ...others } = rule;
    const narrower =
      Object.values(others).some(value => value !== undefined) ||
      unknown.some(each => typeof each?.type === 'number' && !(isOwn(each) && CHAIN_OR_TABLE.has(each.type)));
    if (!narrower) return rule;
    throw typeError(
      ['chain'],
      "the name of the rule's chain: without it the kernel removes all rules of the table",
      undefined,
      'ERR_MISSING',
    );
  },
});

/** A rule of the kernel's listings and events: the attribute that asks for a place in requests tells there which rule stands before it. */
export const ruleEntryTable = attributes(
  'NFTA_RULE',
  () => ({ ...place, ...expressions, ...compat, [RULE_TOLD]: told(position), ...besides }),
  { header: ['family'] },
).partial();

/** What names a rule: its handle, within its chain. */
export interface RuleKey {
  /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
  family: Family;
  /** The name of the rule's table. */
  table: string;
  /** The name of the chain. */
  chain: string;
  /** The kernel's number for it, unique in its table. */
  handle: bigint;
}

interface RulePlace {
  /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
  family: Family;
  /** The name of the rule's table. */
  table: string;
  /** Its name. A chain without one is given as `chainId`. */
  chain: string;
  /** A remark for people, at most 127 bytes. */
  comment?: string;
  /** The kernel's number for it. `replace` and `delete` go by it; `add` and `insert` make another rule, which gets its own. */
  handle?: bigint;
  /** Where it stood when it was read: the handle of the rule before it in its chain. Writing ignores it. */
  previousHandle?: bigint;
}

/** Where a rule is written to. */
export type RuleTarget = Omit<RulePlace, 'chain'> &
  (
    | {
        /** The name of the chain. */
        chain: string;
        /** The chain by its number in the same transaction. */
        chainId?: undefined;
      }
    | {
        /** The name of the chain. */
        chain?: undefined;
        /** The chain by its number in the same transaction. */
        chainId: number;
      }
  ) & {
    /** With `add`, the handle of the rule after which it comes; with `insert`, of the one before which. */
    position?: bigint;
    /** As `position`, by the rule's place in its chain, counted from 0: `commit` looks up which one that is. */
    index?: number;
    /** The number that the rule has within its own transaction. */
    id?: number;
    /** As `position`, by the number of a rule of the same transaction. */
    positionId?: number;
    /** NFTA_RULE_COMPAT; derived where it is left out and the rule has xt expressions. */
    compat?: {
      /** The protocol that the rule matches. */
      protocol: number;
      /** 1 inverts the protocol. */
      flags: number;
    };
    /** The policy of ebtables' chain. */
    ebtablesPolicy?: number;
    /** Attributes that this library does not know, kept as they came. */
    unknown?: UnknownAttribute[];
  };

/** A rule as the kernel has it. */
export interface RuleEntry extends RulePlace {
  handle: bigint;
  /** The expressions, as the kernel runs them. */
  expressions: Expression[];
}
