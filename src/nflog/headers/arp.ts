import type { Source } from '../../codec/index.ts';
import { ARPHRD_ETHER } from '../../linux/if_arp.ts';
import { ETH_ALEN } from '../../linux/if_ether.ts';
import type { Redactor } from '../address.ts';
import { hex, type Line } from './line.ts';
import type { NetworkFields } from './network.ts';

/** An ARP packet. */
export interface ArpHeader {
  /** 1 asks, 2 answers. */
  operation: number;
  /** The hardware address of the sender. */
  senderHardware: string;
  /** The hardware address of the target. */
  targetHardware: string;
}

export interface ArpFields {
  /** The addresses of an ARP message. */
  arp?: ArpHeader;
}

/** Only Ethernet with IPv4 has addresses of known lengths. */
function isUsualArp(view: DataView, at: number): boolean {
  return view.getUint16(at) === ARPHRD_ETHER && view.getUint8(at + 4) === ETH_ALEN && view.getUint8(at + 5) === 4;
}

/** ARP (RFC 826) and RARP. */
export const arp = {
  read({ view, bytes }: Source, start: number, end: number, show: Redactor): (NetworkFields & ArpFields) | undefined {
    if (end - start < 28 || !isUsualArp(view, start)) return undefined;
    return {
      network: 'arp',
      source: show.ipv4(bytes, start + 14),
      destination: show.ipv4(bytes, start + 24),
      arp: {
        operation: view.getUint16(start + 6),
        senderHardware: show.hardware(bytes, start + 8, start + 14),
        targetHardware: show.hardware(bytes, start + 18, start + 24),
      },
    };
  },

  summarize(line: Line, at: number): void {
    if (!line.has(at, 8)) {
      line.add('TRUNCATED');
      return;
    }
    line.add(`ARP HTYPE=${line.u16(at)} PTYPE=0x${hex(line.u16(at + 2), 4)} OPCODE=${line.u16(at + 6)} `);
    if (!isUsualArp(line.view, at)) return;
    if (!line.complete(at + 8, 20)) return;
    line.add(`MACSRC=${line.hardware(at + 8)} IPSRC=${line.ipv4(at + 14)} `);
    line.add(`MACDST=${line.hardware(at + 18)} IPDST=${line.ipv4(at + 24)} `);
  },
};
