import { readIcmp } from './icmp.ts';
import { hex, type Inner, type Line } from './line.ts';

/* include/uapi/linux/icmpv6.h */
const ICMPV6_DEST_UNREACH = 1;
const ICMPV6_PKT_TOOBIG = 2;
const ICMPV6_PARAMPROB = 4;
const ICMPV6_ECHO_REQUEST = 128;
const ICMPV6_ECHO_REPLY = 129;

/** ICMPv6 (RFC 4443). */
export const icmpv6 = {
  network: 'ipv6',
  read: readIcmp,

  summarize(line: Line, at: number, fragment: boolean, inner: Inner | undefined): boolean {
    line.add('PROTO=ICMPv6 ');
    if (fragment) return true;
    if (!line.complete(at, 8)) return false;
    const type = line.u8(at);
    line.add(`TYPE=${type} CODE=${line.u8(at + 1)} `);
    if (type === ICMPV6_ECHO_REQUEST || type === ICMPV6_ECHO_REPLY) {
      line.add(`ID=${line.u16(at + 4)} SEQ=${line.u16(at + 6)} `);
    } else if (type >= ICMPV6_DEST_UNREACH && type <= ICMPV6_PARAMPROB) {
      if (type === ICMPV6_PARAMPROB) line.add(`POINTER=${hex(line.u32(at + 4), 8)} `);
      if (inner) {
        line.add('[');
        inner(line, at + 8);
        line.add('] ');
      }
      if (type === ICMPV6_PKT_TOOBIG) line.add(`MTU=${line.u32(at + 4)} `);
    }
    return true;
  },
} as const;
