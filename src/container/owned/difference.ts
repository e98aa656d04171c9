import type { Chain, Expression, Family, Hook, NftSet, Table, WireElement } from '../../nftables/index.ts';

interface TableName {
  /** The family of the table. */
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
      /** The kind of object that differs. */
      kind: 'table';
      /** 'missing', 'changed', or 'foreign' where somebody else made it. */
      problem: 'missing' | 'changed' | 'foreign';
      /** What it should be. */
      expected?: Partial<Table>;
      /** What it is. */
      found?: Partial<Table>;
    })
  /** A chain's type, hook, priority, policy or flags. */
  | (TableName & {
      /** The kind of object that differs. */
      kind: 'chain';
      /** 'missing', 'changed', or 'foreign' where somebody else made it. */
      problem: 'missing' | 'changed' | 'foreign';
      /** The name of the chain. */
      chain: string;
      /** What it should be. */
      expected?: Partial<Chain>;
      /** What it is. */
      found?: Partial<Chain>;
    })
  /** A rule. `index` is its place in the chain, from 0; for 'missing' the place where it should be. */
  | (TableName & {
      /** The kind of object that differs. */
      kind: 'rule';
      /** 'missing', 'changed', or 'foreign' where somebody else made it. */
      problem: 'missing' | 'changed' | 'foreign';
      /** The name of the chain. */
      chain: string;
      /** The rule's place in its chain, counted from 0. */
      index: number;
      /** The kernel's number for it. */
      handle?: bigint;
      /** A comment, as nft shows it. */
      comment?: string;
      /** What it should be. */
      expected?: readonly Expression[];
      /** What it is. */
      found?: readonly Expression[];
    })
  /** The types of keys and values, flags, size or timeout of a set or map. */
  | (TableName & {
      /** The kind of object that differs. */
      kind: 'set' | 'map';
      /** 'missing', 'changed', or 'foreign' where somebody else made it. */
      problem: 'missing' | 'changed' | 'foreign';
      /** The name of the set or map. */
      set: string;
      /** What it should be. */
      expected?: Partial<NftSet>;
      /** What it is. */
      found?: Partial<NftSet>;
    })
  /** A counter, quota or other object with a name. */
  | (TableName & {
      /** The kind of object that differs. */
      kind: 'object';
      /** 'missing', 'changed', or 'foreign' where somebody else made it. */
      problem: 'foreign';
      /** The name of the object. */
      name: string;
      /** The type of the object. */
      type: string | number;
    })
  | (TableName & {
      /** The kind of object that differs. */
      kind: 'flowtable';
      /** 'missing', 'changed', or 'foreign' where somebody else made it. */
      problem: 'foreign';
      /** The name of the object. */
      name: string;
    })
  /** An element that is no redirect: another protocol, port 0, a timeout, a counter, the catch-all. In the kernel's form. */
  | (TableName & {
      /** The kind of object that differs. */
      kind: 'element';
      /** 'missing', 'changed', or 'foreign' where somebody else made it. */
      problem: 'foreign';
      /** The name of the set or map. */
      set: string;
      /** What it is. */
      found: WireElement;
    })
  /** A nat chain of somebody else that sees the same packets before ours. */
  | {
      /** The kind of object that differs. */
      kind: 'order';
      /** 'missing', 'changed', or 'foreign' where somebody else made it. */
      problem: 'foreign';
      /** The family of the table. */
      family: Family;
      table: string;
      /** The name of the chain. */
      chain: string;
      /** What it should be. */
      expected: {
        /** The hook. */
        hook: Hook;
        /** Chains of the library come after this priority. */
        priorityAbove: number;
      };
      /** What it is. */
      found: {
        /** The hook. */
        hook: Hook;
        /** The priority of the chain. */
        priority: number;
      };
    }
  /** Differences beyond those that are listed one by one. */
  | (TableName & {
      /** The kind of object that differs. */
      kind: 'more';
      /** 'missing', 'changed', or 'foreign' where somebody else made it. */
      problem: 'foreign';
      /** What there is more of. */
      what: 'rules' | 'elements';
      /** How many there are. */
      count: number;
    });

/** How many differences of a kind are listed one by one: a container's root can make any number. */
export const MAX_LISTED = 256;
