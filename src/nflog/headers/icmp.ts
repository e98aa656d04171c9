import type { Inner, Line } from './line.ts';

/* include/uapi/linux/icmp.h */
const ICMP_ECHOREPLY = 0;
const ICMP_DEST_UNREACH = 3;
const ICMP_SOURCE_QUENCH = 4;
const ICMP_REDIRECT = 5;
const ICMP_ECHO = 8;
const ICMP_TIME_EXCEEDED = 11;
const ICMP_PARAMETERPROB = 12;
const ICMP_TIMESTAMP = 13;
const ICMP_TIMESTAMPREPLY = 14;
const ICMP_ADDRESS = 17;
const ICMP_ADDRESSREPLY = 18;
const ICMP_FRAG_NEEDED = 4;

/** Bytes that these have at least, beyond the eight that all have. */
const ICMP_LENGTHS: Readonly<Record<number, number>> = {
  [ICMP_DEST_UNREACH]: 28,
  [ICMP_SOURCE_QUENCH]: 28,
  [ICMP_REDIRECT]: 28,
  [ICMP_TIME_EXCEEDED]: 28,
  [ICMP_PARAMETERPROB]: 28,
  [ICMP_TIMESTAMP]: 20,
  [ICMP_TIMESTAMPREPLY]: 20,
  [ICMP_ADDRESS]: 12,
  [ICMP_ADDRESSREPLY]: 12,
};

export interface IcmpFields {
  /** The type of an ICMP message. */
  icmpType?: number;
  /** The code of an ICMP message. */
  icmpCode?: number;
}

export function readIcmp(fields: IcmpFields, view: DataView, at: number, left: number): void {
  if (left < 2) return;
  fields.icmpType = view.getUint8(at);
  fields.icmpCode = view.getUint8(at + 1);
}

/** ICMP (RFC 792). */
export const icmp = {
  network: 'ipv4',
  read: readIcmp,

  summarize(line: Line, at: number, fragment: boolean, inner: Inner | undefined): boolean {
    line.add('PROTO=ICMP ');
    if (fragment || !line.complete(at, 8)) return true;
    const type = line.u8(at);
    const code = line.u8(at + 1);
    line.add(`TYPE=${type} CODE=${code} `);
    if (!line.complete(at, ICMP_LENGTHS[type] ?? 0)) return true;
    switch (type) {
      case ICMP_ECHOREPLY:
      case ICMP_ECHO:
        line.add(`ID=${line.u16(at + 4)} SEQ=${line.u16(at + 6)} `);
        break;
      case ICMP_PARAMETERPROB:
        line.add(`PARAMETER=${line.u8(at + 4)} `);
        break;
      case ICMP_REDIRECT:
      case ICMP_DEST_UNREACH:
      case ICMP_SOURCE_QUENCH:
      case ICMP_TIME_EXCEEDED:
        if (type === ICMP_REDIRECT) line.add(`GATEWAY=${line.ipv4(at + 4)} `);
        if (inner) {
          line.add('[');
          inner(line, at + 8);
          line.add('] ');
        }
        if (type === ICMP_DEST_UNREACH && code === ICMP_FRAG_NEEDED) line.add(`MTU=${line.u16(at + 6)} `);
    }
    return true;
  },
} as const;
