import type { Chain, Expression, Family, Hook, NftSet, Table, WireElement } from '../../nftables/index.ts';

interface Place {
  family: 'inet';
  /** 'netsteer-redirects' or 'netsteer-logging'. */
  table: string;
}

/**
 * One thing in a table of ours that is not as wanted. `problem`: it is 'missing', it is 'changed', or it is 'foreign': nobody of us has put it
 * there. `expected` and `found` say what it should be and what it is: where both are there, the fields that differ.
 */
export type OwnedDifference =
  /** The table is not there, has other flags ('dormant': no packet meets it), or has not our remark. */
  | (Place & {
      kind: 'table';
      problem: 'missing' | 'changed' | 'foreign';
      expected?: Partial<Table>;
      found?: Partial<Table>;
    })
  /** Type, hook, priority, policy, flags. */
  | (Place & {
      kind: 'chain';
      problem: 'missing' | 'changed' | 'foreign';
      chain: string;
      expected?: Partial<Chain>;
      found?: Partial<Chain>;
    })
  /** `index` counts the rules of the chain: for 'missing' the place where it should be. */
  | (Place & {
      kind: 'rule';
      problem: 'missing' | 'changed' | 'foreign';
      chain: string;
      index: number;
      handle?: bigint;
      comment?: string;
      expected?: readonly Expression[];
      found?: readonly Expression[];
    })
  /** Types of keys and values, flags, size, timeout. */
  | (Place & {
      kind: 'set' | 'map';
      problem: 'missing' | 'changed' | 'foreign';
      set: string;
      expected?: Partial<NftSet>;
      found?: Partial<NftSet>;
    })
  /** A counter, quota or other object with a name. */
  | (Place & { kind: 'object'; problem: 'foreign'; name: string; type: string | number })
  | (Place & { kind: 'flowtable'; problem: 'foreign'; name: string })
  /** An element that no redirect can mean: another protocol, port 0, a timeout, a counter, the catch-all. In the kernel's own form. */
  | (Place & { kind: 'element'; problem: 'foreign'; set: string; found: WireElement })
  /** A nat chain of somebody else's that is asked before ours about the same packets. */
  | {
      kind: 'order';
      problem: 'foreign';
      family: Family;
      table: string;
      chain: string;
      expected: { hook: Hook; priorityAbove: number };
      found: { hook: Hook; priority: number };
    }
  /** There are more of a kind than are told one by one. */
  | (Place & { kind: 'more'; problem: 'foreign'; what: 'rules' | 'elements'; count: number });

/** So many of each kind are told one by one: a container's root may make any number. */
export const MOST_TOLD = 256;
