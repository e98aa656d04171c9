import type { Source } from '../../codec/index.ts';
import type { Redactor } from '../address.ts';
import type { Line } from './line.ts';

/** The fields of all networks. */
export interface NetworkFields {
  /** The network protocol. */
  network: 'ipv4' | 'ipv6' | 'arp';
  /** The sender's address; of ARP the one that it claims. */
  source: string;
  /** The destination address; of ARP, the target's. */
  destination: string;
}

/** One network protocol. */
export interface Network<Fields> {
  /** Reads what begins at `start`, never past `end`. Undefined if the network header was cut off. `show` prints the addresses. */
  read(source: Source, start: number, end: number, show: Redactor): Fields | undefined;
  /** Adds what the kernel's LOG prints. */
  summarize(line: Line, at: number): void;
}
