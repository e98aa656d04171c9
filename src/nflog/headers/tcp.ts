import { hex, type Line } from './line.ts';
import { type PortFields, readPorts } from './udp.ts';

/** The header of TCP, as far as it was captured. */
export interface TcpHeader {
  /** In the order of the header, from its high bit on. */
  flags: ('CWR' | 'ECE' | 'URG' | 'ACK' | 'PSH' | 'RST' | 'SYN' | 'FIN')[];
  /** The sequence number. */
  sequence: number;
  /** The acknowledgement number. */
  acknowledgement: number;
  /** Before scaling. */
  window: number;
}

export interface TcpFields extends PortFields {
  /** Sequence numbers, flags and window of TCP. */
  tcp?: TcpHeader;
}

/** From the high bit on. */
const FLAGS = ['CWR', 'ECE', 'URG', 'ACK', 'PSH', 'RST', 'SYN', 'FIN'] as const;

function flagsOf(bits: number): TcpHeader['flags'] {
  const names: TcpHeader['flags'] = [];
  for (let i = 0; i < FLAGS.length; i++) if ((bits & (0x80 >> i)) !== 0) names.push(FLAGS[i]!);
  return names;
}

/** TCP (RFC 9293). */
export const tcp = {
  read(fields: TcpFields, view: DataView, at: number, left: number): void {
    readPorts(fields, view, at, left);
    if (left < 16) return;
    fields.tcp = {
      flags: flagsOf(view.getUint8(at + 13)),
      sequence: view.getUint32(at + 4),
      acknowledgement: view.getUint32(at + 8),
      window: view.getUint16(at + 14),
    };
  },

  summarize(line: Line, at: number, fragment: boolean): boolean {
    line.add('PROTO=TCP ');
    if (fragment) return true;
    if (!line.complete(at, 20)) return false;
    line.add(`SPT=${line.u16(at)} DPT=${line.u16(at + 2)} WINDOW=${line.u16(at + 14)} `);
    line.add(`RES=0x${hex((line.u8(at + 12) & 0xf) << 2, 2)} `);
    for (const flag of flagsOf(line.u8(at + 13))) line.add(`${flag} `);
    line.add(`URGP=${line.u16(at + 18)} `);
    return true;
  },
};
