import { attribute, attributes, flags, inline, opt, string, U32_BE, u32be, u64be } from '../codec/index.ts';
import * as C from '../linux/nf_tables.ts';
import { told } from './facets.ts';
import type { Family } from './family.ts';
import { commentUserdata } from './userdata.ts';

export const tableTable = attributes(
  'NFTA_TABLE',
  () => ({
    name: string(C.NFTA_TABLE_NAME, 255),
    /**
     * dormant: its chains see no packets. owner (Linux 5.12): it belongs to the socket that made it, and goes with it. persist (6.9): it
     * stays, and a new owner may take it.
     */
    flags: opt(
      attribute(
        C.NFTA_TABLE_FLAGS,
        flags(U32_BE, {
          dormant: C.NFT_TABLE_F_DORMANT,
          owner: C.NFT_TABLE_F_OWNER,
          persist: C.NFT_TABLE_F_PERSIST,
        }),
      ),
    ),
    /** Chains, sets, objects and flowtables in it. Read only. */
    use: told(opt(u32be(C.NFTA_TABLE_USE))),
    /** The kernel's number for it. Read only. */
    handle: told(opt(u64be(C.NFTA_TABLE_HANDLE))),
    /** The netlink port of its owner. Read only. */
    owner: told(opt(u32be(C.NFTA_TABLE_OWNER))),
    userdata: inline(C.NFTA_TABLE_USERDATA, commentUserdata),
  }),
  { header: ['family'] },
);

/** What names a table. */
export interface TableKey {
  /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
  family: Family;
  /** At most 255 bytes. */
  name: string;
}

/** A table: a namespace of chains, sets and objects of one family. */
export interface Table extends TableKey {
  /** 'dormant' switches its chains off, 'owner' binds it to this socket, 'persist' keeps an owned one. */
  flags?: ('dormant' | 'owner' | 'persist' | number)[];
  /** A comment, as nft shows it. */
  comment?: string;
  /** How many chains, sets, flowtables and objects it has. Read only. */
  use?: number;
  /** The kernel's number for it. */
  handle?: bigint;
  /** The port id of the socket that owns it. Read only. */
  owner?: number;
}

export const hasFlag = ({ flags }: Table, flag: string): boolean =>
  (flags as readonly unknown[] | undefined)?.includes(flag) ?? false;

/** Its chains see no packets. */
export const isDormant = (table: Table): boolean => hasFlag(table, 'dormant');
