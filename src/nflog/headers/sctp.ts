import type { Line } from './line.ts';
import { readPorts } from './udp.ts';

/** SCTP (RFC 9260). The kernel's LOG prints its number only. */
export const sctp = {
  read: readPorts,
  summarize(line: Line, at: number, fragment: boolean): boolean {
    line.add('PROTO=SCTP ');
    if (fragment) return true;
    if (!line.complete(at, 12)) return false;
    line.add(`SPT=${line.u16(at)} DPT=${line.u16(at + 2)} `);
    return true;
  },
};
