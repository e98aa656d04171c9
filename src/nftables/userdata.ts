import { attribute, attributes, type Framing, opt, text } from '../codec/index.ts';
import { DecodeError, rangeError } from '../errors.ts';

/*
 * What nft keeps for itself in the kernel: comments and, with sets, how to print them. The kernel stores the bytes and looks at none of them.
 * The format is libnftnl's (udata.c): u8 type, u8 length, value, without padding.
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
const COMMENT = text(127);

/** NFTNL_UDATA_TABLE_*, NFTNL_UDATA_CHAIN_*, NFTNL_UDATA_RULE_*: the comment is 0 in each. */
export const commentUserdata = attributes(
  'NFTNL_UDATA',
  {
    /** A remark for people; `nft list` prints it. At most 127 bytes. */
    comment: opt(attribute(0, COMMENT)),
  },
  { framing: USERDATA },
);
