import type { Line } from './line.ts';

/** The front of the headers of TCP, UDP, SCTP and DCCP. */
export interface PortFields {
  /** The source port. */
  sourcePort?: number;
  /** The destination port. */
  destinationPort?: number;
}

export function readPorts(fields: PortFields, view: DataView, at: number, left: number): void {
  if (left < 4) return;
  fields.sourcePort = view.getUint16(at);
  fields.destinationPort = view.getUint16(at + 2);
}

function protocol(name: string) {
  return {
    read: readPorts,
    summarize(line: Line, at: number, fragment: boolean): boolean {
      line.add(`PROTO=${name} `);
      if (fragment) return true;
      if (!line.complete(at, 8)) return false;
      line.add(`SPT=${line.u16(at)} DPT=${line.u16(at + 2)} LEN=${line.u16(at + 4)} `);
      return true;
    },
  };
}

/** UDP (RFC 768). */
export const udp = protocol('UDP');
/** UDP-Lite (RFC 3828), whose header has the same places. */
export const udplite = protocol('UDPLITE');
