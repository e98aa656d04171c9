import {
  type AttributeTable,
  attribute,
  attributes,
  byteString,
  type Framing,
  flags,
  named,
  opt,
  type ShapeOf,
  text,
  U32_NE,
} from '../codec/index.ts';
import { DecodeError, rangeError } from '../errors.ts';
import { shown } from './facets.ts';

/*
 * nft stores notes for itself in the kernel: comments, and how to print sets. The kernel stores the bytes and does not look at them.
 * The format is libnftnl's (udata.c): u8 type, u8 length, value, without padding; numbers have the host's byte order.
 */
const USERDATA: Framing = {
  headerLength: 2,
  begin(writer, type) {
    const start = writer.reserve(2);
    writer.bytes[start] = type;
    return start;
  },
  end(writer, start) {
    const size = writer.length - start - 2;
    if (size > 255) throw rangeError([], 'at most 255 bytes', size, 'ERR_TOO_LONG');
    writer.bytes[start + 1] = size;
  },
  each({ bytes }, start, end, visit) {
    for (let at = start; at < end; ) {
      const next = at + 2 + (bytes[at + 1] ?? 0);
      if (at + 2 > end || next > end) throw new DecodeError('user data that is longer than its attribute');
      visit(bytes[at]!, at + 2, next);
      at = next;
    }
  },
};

/** NFTNL_UDATA_COMMENT_MAXLEN, without the NUL. */
const COMMENT = text(128);

/** NFTNL_UDATA_TABLE_*, NFTNL_UDATA_CHAIN_*, NFTNL_UDATA_OBJ_*: the comment is 0 in each. */
export const commentUserdata = attributes(
  'NFTNL_UDATA',
  () => ({
    /** A remark for people; `nft list` prints it. At most 128 bytes. */
    comment: opt(attribute(0, COMMENT)),
  }),
  { framing: USERDATA },
);

/** NFTNL_UDATA_RULE_*. */
export const ruleUserdata = attributes(
  'NFTNL_UDATA_RULE',
  () => ({
    /** A remark for people; `nft list` prints it. At most 128 bytes. */
    comment: opt(attribute(0, COMMENT)),
    /** Marks the rule in which ebtables-nft keeps the policy of a chain of its own. */
    ebtablesPolicy: opt(attribute(1, U32_NE)),
  }),
  { framing: USERDATA },
);

const BYTE_ORDER = named(U32_NE, { host: 1, big: 2 });

const setUserdataRows = {
  /** How the bytes of keys are to be read: 'host' as numbers of this machine, 'big' as the packet has them. */
  keyByteOrder: shown(opt(attribute(0, BYTE_ORDER))),
  /** The same for the values of a map. */
  dataByteOrder: shown(opt(attribute(1, BYTE_ORDER))),
  /** 1: nft merges intervals that touch (auto-merge). */
  mergeElements: shown(opt(attribute(2, U32_NE))),
  /** The expression whose type the keys have (`typeof ip saddr`), in libnftnl's encoding. */
  keyTypeof: shown(opt(attribute(3, byteString()))),
  /** The expression whose type the values have, as nft stores it. */
  dataTypeof: shown(opt(attribute(4, byteString()))),
  /** How many expressions each element has. */
  expressionCount: opt(attribute(5, U32_NE)),
  /** 1: the values of the map are ranges. */
  dataInterval: shown(opt(attribute(6, U32_NE))),
  /** A remark for people; `nft list` prints it. At most 128 bytes. */
  comment: opt(attribute(7, COMMENT)),
};
export interface SetUserdata extends ShapeOf<typeof setUserdataRows> {}

/** NFTNL_UDATA_SET_*: without it `nft list` prints numbers in the wrong byte order. In nft's order of writing. */
export const setUserdata: AttributeTable<SetUserdata> = attributes('NFTNL_UDATA_SET', setUserdataRows, {
  framing: USERDATA,
});

const elementUserdataRows = {
  /** A remark for people; `nft list` prints it. At most 128 bytes. */
  comment: opt(attribute(0, COMMENT)),
  /** open-interval: the range reaches to the last value of the type, so that no end follows. */
  userdataFlags: opt(attribute(1, flags(U32_NE, { 'open-interval': 0x1 }))),
};
export interface ElementUserdata extends ShapeOf<typeof elementUserdataRows> {}

/** NFTNL_UDATA_SET_ELEM_*. */
export const elementUserdata: AttributeTable<ElementUserdata> = attributes(
  'NFTNL_UDATA_SET_ELEM',
  elementUserdataRows,
  { framing: USERDATA },
);
