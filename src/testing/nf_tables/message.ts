import { NFNL_SUBSYS_NFTABLES } from '../../linux/nfnetlink.ts';
import { Writer } from '../wire/attributes.ts';
import type { NfTables } from './state.ts';

export interface Header {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly port: number;
  readonly family: number;
}

/** A message of nf_tables: the headers, with the generation in the lower one, and what `body` writes. */
export function nftMessage(
  { generation }: Pick<NfTables, 'generation'>,
  header: Header,
  body: (writer: Writer) => void,
): Uint8Array {
  const writer = new Writer();
  writer.message({ ...header, type: (NFNL_SUBSYS_NFTABLES << 8) | header.type }, () => {
    // nfgenmsg: the family, the version, and the resource, big-endian.
    writer.raw(Uint8Array.of(header.family, 0, generation >> 8, generation));
    body(writer);
  });
  return writer.take();
}
