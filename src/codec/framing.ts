import { eachAttribute, NLA_HDRLEN, type Source } from './wire.ts';
import type { Writer } from './writer.ts';

/** The layout of a row of attributes: netlink's, or the short one of nf_tables user data. */
export interface Framing {
  /** The bytes before each payload. */
  readonly headerLength: number;
  /** Writes a header, and returns where it begins. */
  begin(writer: Writer, type: number): number;
  /** Sets the length in a header, once the payload is written. */
  end(writer: Writer, start: number): void;
  /** Visits the attributes between two offsets. */
  each(source: Source, start: number, end: number, visit: (type: number, start: number, end: number) => void): void;
}

export const NETLINK_FRAMING: Framing = {
  headerLength: NLA_HDRLEN,
  begin: (writer, type) => writer.beginAttribute(type),
  end: (writer, start) => writer.endAttribute(start),
  each: eachAttribute,
};
