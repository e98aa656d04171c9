import type { Chain, Expression, Family, Hook, NftSet, Table, WireElement } from '../../nftables/index.ts';

interface TableName {
  family: 'inet';
  /** 'netsteer-redirects' or 'netsteer-logging'. */
  table: string;
}

/**
 * One difference between a table of ours and the wanted one. `problem` is 'missing', 'changed', or 'foreign' for what the library has not
 * made. `expected` is the wanted object and `found` the present one; if both are given, they have only the fields that differ.
 */
export type OwnedDifference =
  /** The table is missing, has other flags ('dormant' switches it off), or does not have our comment. */
  | (TableName & {
      kind: 'table';
      problem: 'missing' | 'changed' | 'foreign';
      expected?: Partial<Table>;
      found?: Partial<Table>;
    })
  /** A chain's type, hook, priority, policy or flags. */
  | (TableName & {
      kind: 'chain';
      problem: 'missing' | 'changed' | 'foreign';
      chain: string;
      expected?: Partial<Chain>;
      found?: Partial<Chain>;
    })
  /** A rule. `index` is its place in the chain, from 0; for 'missing' the place where it should be. */
  | (TableName & {
      kind: 'rule';
      problem: 'missing' | 'changed' | 'foreign';
      chain: string;
      index: number;
      handle?: bigint;
      comment?: string;
      expected?: readonly Expression[];
      found?: readonly Expression[];
    })
  /** The types of keys and values, flags, size or timeout of a set or map. */
  | (TableName & {
      kind: 'set' | 'map';
      problem: 'missing' | 'changed' | 'foreign';
      set: string;
      expected?: Partial<NftSet>;
      found?: Partial<NftSet>;
    })
  /** A counter, quota or other object with a name. */
  | (TableName & { kind: 'object'; problem: 'foreign'; name: string; type: string | number })
  | (TableName & { kind: 'flowtable'; problem: 'foreign'; name: string })
  /** An element that is no redirect: another protocol, port 0, a timeout, a counter, the catch-all. In the kernel's form. */
  | (TableName & { kind: 'element'; problem: 'foreign'; set: string; found: WireElement })
  /** A nat chain of somebody else that sees the same packets before ours. */
  | {
      kind: 'order';
      problem: 'foreign';
      family: Family;
      table: string;
      chain: string;
      expected: { hook: Hook; priorityAbove: number };
      found: { hook: Hook; priority: number };
    }
  /** Differences beyond those that are listed one by one. */
  | (TableName & { kind: 'more'; problem: 'foreign'; what: 'rules' | 'elements'; count: number });

/** How many differences of a kind are listed one by one: a container's root can make any number. */
export const MAX_LISTED = 256;
