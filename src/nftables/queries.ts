import { typeError } from '../errors.ts';
import type { Family } from '../nf_tables/family.ts';
import { OBJECTS, type ObjectName } from '../nft/data/objects.ts';

/* What nft's JSON asks for: the commands list and reset. */

/** The family, table or name that is asked for. A field that is left out matches all. */
interface Scope {
  /** Only tables of this family. */
  family?: Family;
  /** Only this table. */
  table?: string;
}

/** One thing, by its name. */
interface One {
  /** Only tables of this family. */
  family: Family;
  /** Only this table. */
  table: string;
  /** Its name. */
  name: string;
}

type Objects = { [K in ObjectName]: { [P in K]: One } | { [P in `${K}s`]: Scope | null } }[ObjectName];

/** What `list` shows: one thing, or all of a kind. A table, a chain and the ruleset are shown with all that is in them. */
export type JsonListed =
  | {
      /** All tables, with what is in them. */
      ruleset: {
        /** Only tables of this family. */
        family?: Family;
      } | null;
    }
  | {
      /** Only this table. */
      table: {
        /** Only tables of this family. */
        family: Family;
        /** Its name. */
        name: string;
      };
    }
  | {
      /** The tables. */
      tables: {
        /** Only tables of this family. */
        family?: Family;
      } | null;
    }
  | {
      /** One chain. */
      chain: One;
    }
  | {
      /** One set. */
      set: One;
    }
  | {
      /** One map. */
      map: One;
    }
  | {
      /** One flowtable. */
      flowtable: One;
    }
  | {
      /** The chains. */
      chains: Scope | null;
    }
  | {
      /** The sets. */
      sets: Scope | null;
    }
  | {
      /** The maps. */
      maps: Scope | null;
    }
  | {
      /** The flowtables. */
      flowtables: Scope | null;
    }
  | Objects;

/** What `reset` lets begin anew, and shows as it was before. */
export type JsonReset =
  | {
      /** One counter. */
      counter: One;
    }
  | {
      /** One quota. */
      quota: One;
    }
  | {
      /** The counters. */
      counters: Scope | null;
    }
  | {
      /** The quotas. */
      quotas: Scope | null;
    }
  | {
      /** One rule. */
      rule: {
        /** Only tables of this family. */
        family: Family;
        /** Only this table. */
        table: string;
        /** One chain. */
        chain: string;
        /** The kernel's number for it. */
        handle: number | bigint;
      };
    }
  | {
      /** The rules. */
      rules:
        | (Scope & {
            /** One chain. */
            chain?: string;
          })
        | null;
    };

/** A command of nft's JSON that asks for something. */
export type JsonQuery =
  | {
      /** Reads. */
      list: JsonListed;
    }
  | {
      /** Reads and sets counters and quotas back. */
      reset: JsonReset;
    };

/** A document that changes nothing but counters: it has a reply. */
export interface NftQuery {
  /** The questions, one or more. */
  nftables: (
    | {
        /** Ignored. */
        metainfo: object;
      }
    | JsonQuery
  )[];
}

/** A command list or reset, checked. */
export interface Query {
  readonly verb: 'list' | 'reset';
  /** The kind that is asked for, as the listing calls it: 'counter' also where all are asked for. */
  readonly kind: string;
  /** One, by its name or handle. */
  readonly one: boolean;
  readonly family: Family | undefined;
  readonly table: string | undefined;
  readonly chain: string | undefined;
  readonly name: string | undefined;
  readonly handle: bigint | undefined;
  /** In the document. */
  readonly path: readonly (string | number)[];
}

const LISTED = ['table', 'chain', 'set', 'map', 'flowtable', ...Object.keys(OBJECTS)];
const RESET = ['counter', 'quota', 'rule'];
const FIELDS = ['family', 'table', 'chain', 'name'] as const;

const verbOf = (command: unknown): 'list' | 'reset' | undefined => {
  const [verb] = typeof command === 'object' && command !== null ? Object.keys(command) : [];
  return verb === 'list' || verb === 'reset' ? verb : undefined;
};

/**
 * The queries of a document; undefined where it has none.
 * @throws TypeError with the path of what is wrong, or of a command that changes something beside them
 */
export function queriesIn(document: unknown): Query[] | undefined {
  const commands: unknown = (document as { nftables?: unknown } | undefined)?.nftables;
  if (!Array.isArray(commands) || !commands.some(command => verbOf(command) !== undefined)) return undefined;
  const queries: Query[] = [];
  for (const [index, command] of commands.entries()) {
    const verb = verbOf(command);
    if (verb !== undefined) queries.push(queryOf(verb, command[verb], ['nftables', index, verb]));
    else if (typeof command !== 'object' || command === null || !('metainfo' in command))
      throw typeError(
        ['nftables', index],
        'list or reset, as the others: what changes something goes by itself',
        command,
      );
  }
  return queries;
}

function queryOf(verb: 'list' | 'reset', subject: unknown, path: (string | number)[]): Query {
  const keys = typeof subject === 'object' && subject !== null ? Object.keys(subject) : [];
  const [word = ''] = keys;
  const kinds = verb === 'list' ? LISTED : RESET;
  const one = kinds.includes(word);
  const isRuleset = verb === 'list' && word === 'ruleset';
  if (keys.length !== 1 || !(one || isRuleset || (word.endsWith('s') && kinds.includes(word.slice(0, -1)))))
    throw typeError(path, `an object with one key of ${kinds.join(', ')}, or their plurals`, subject);
  const at = [...path, word];
  const fields = (subject as Record<string, unknown>)[word] ?? {};
  if (typeof fields !== 'object') throw typeError(at, 'an object, or null', fields);
  const { handle, ...rest } = fields as Record<string, unknown>;
  const kind = one || isRuleset ? word : word.slice(0, -1);
  const needed = !one
    ? []
    : kind === 'table'
      ? ['family', 'name']
      : kind === 'rule'
        ? ['family', 'table', 'chain']
        : ['family', 'table', 'name'];
  if (rest.table !== undefined) needed.push('family');
  if (rest.chain !== undefined) needed.push('table');
  for (const field of FIELDS) {
    const value = rest[field];
    if (value === undefined ? needed.includes(field) : typeof value !== 'string')
      throw typeError([...at, field], 'a name', value, value === undefined ? 'ERR_MISSING' : undefined);
  }
  if (kind === 'rule' && one && typeof handle !== 'bigint' && !Number.isSafeInteger(handle))
    throw typeError([...at, 'handle'], 'a whole number', handle);
  const { family, table, chain, name } = rest as { family?: Family; table?: string; chain?: string; name?: string };
  return {
    verb,
    kind,
    one,
    family,
    table: kind === 'table' ? name : table,
    chain,
    name: one ? name : undefined,
    handle: kind === 'rule' && one ? BigInt(handle as number) : undefined,
    path: at,
  };
}
