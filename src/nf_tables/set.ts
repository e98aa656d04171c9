import {
  attribute,
  attributes,
  flags,
  type Infer,
  inline,
  list,
  named,
  nested,
  opt,
  string,
  U32_BE,
  u32be,
  u64be,
} from '../codec/index.ts';
import * as C from '../linux/nf_tables.ts';
import { EXPRESSION } from './expression.ts';
import { local, told } from './facets.ts';
import type { Family } from './family.ts';
import { OBJECT_TYPE } from './names.ts';
import { setUserdata } from './userdata.ts';

const fieldTable = attributes('NFTA_SET_FIELD', () => ({
  /** Bytes. */
  length: u32be(C.NFTA_SET_FIELD_LEN),
}));

const descriptionTable = attributes('NFTA_SET_DESC', () => ({
  /** How many elements it may have; absent is no limit. */
  size: opt(u32be(C.NFTA_SET_DESC_SIZE)),
  /** Of a concatenation: its parts, each filled up to four bytes in the key. */
  fields: opt(list(C.NFTA_SET_DESC_CONCAT, C.NFTA_LIST_ELEM, fieldTable)),
}));

/** A set, or a map: a set whose keys have values. */
export const setTable = attributes(
  'NFTA_SET',
  () => ({
    /** The name of the set's table. */
    table: string(C.NFTA_SET_TABLE, 255),
    /** At most 255 bytes. In requests, `__set%d` is an anonymous set that the kernel numbers. */
    name: string(C.NFTA_SET_NAME, 255),
    /** dynamic: rules add elements. object: the values are names of objects. expressions: each element has some. */
    flags: opt(
      attribute(
        C.NFTA_SET_FLAGS,
        flags(U32_BE, {
          anonymous: C.NFT_SET_ANONYMOUS,
          constant: C.NFT_SET_CONSTANT,
          interval: C.NFT_SET_INTERVAL,
          map: C.NFT_SET_MAP,
          timeout: C.NFT_SET_TIMEOUT,
          dynamic: C.NFT_SET_EVAL,
          object: C.NFT_SET_OBJECT,
          concatenation: C.NFT_SET_CONCAT,
          expressions: C.NFT_SET_EXPR,
        }),
      ),
    ),
    /** nft's number for the type of the keys; the kernel only keeps it. */
    keyType: opt(u32be(C.NFTA_SET_KEY_TYPE)),
    /** Bytes. */
    keyLength: opt(u32be(C.NFTA_SET_KEY_LEN)),
    /** nft's number for the type of the values; 0xffffff00 is a verdict. */
    dataType: opt(u32be(C.NFTA_SET_DATA_TYPE)),
    /** Bytes. */
    dataLength: opt(u32be(C.NFTA_SET_DATA_LEN)),
    /** What the kernel chooses the implementation for: 'performance' or 'memory'. */
    policy: opt(
      attribute(
        C.NFTA_SET_POLICY,
        named(U32_BE, { performance: C.NFT_SET_POL_PERFORMANCE, memory: C.NFT_SET_POL_MEMORY }),
      ),
    ),
    /** The kernel always gives one, mostly empty. */
    description: opt(nested(C.NFTA_SET_DESC, descriptionTable)),
    /** The number that the set has within its own transaction. */
    id: local(opt(u32be(C.NFTA_SET_ID))),
    /** Of elements that have none of their own. */
    timeoutMilliseconds: opt(u64be(C.NFTA_SET_TIMEOUT)),
    /** How often timed out elements are removed. */
    gcIntervalMilliseconds: opt(u32be(C.NFTA_SET_GC_INTERVAL)),
    userdata: inline(C.NFTA_SET_USERDATA, setUserdata),
    /** Of a map with the flag `object`. */
    objectType: opt(attribute(C.NFTA_SET_OBJ_TYPE, OBJECT_TYPE)),
    /** The kernel's number for it. */
    handle: told(opt(u64be(C.NFTA_SET_HANDLE))),
    /** The expression that each element gets. */
    expression: opt(attribute(C.NFTA_SET_EXPR, EXPRESSION)),
    /** The same, where there are several. */
    expressions: opt(list(C.NFTA_SET_EXPRESSIONS, C.NFTA_LIST_ELEM, EXPRESSION)),
    /** The kernel's implementation: 'nft_set_rhash_type' ..., or an address where the kernel has no symbols. Read only. */
    backend: told(opt(string(C.NFTA_SET_TYPE, 255))),
    /** How many elements it has. Read only. */
    count: told(opt(u32be(C.NFTA_SET_COUNT))),
  }),
  { header: ['family'] },
);

/** What names a set or map. */
export interface SetKey {
  /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
  family: Family;
  /** The name of the set's table. */
  table: string;
  /** At most 255 bytes. */
  name: string;
}

/** A set or map as the kernel has it, without its elements. */
export type NftSet = {
  /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
  family: Family;
} & Infer<typeof setTable>;
