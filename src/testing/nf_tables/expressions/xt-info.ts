import { ETH_P_IP } from '../../../linux/if_ether.ts';
import type { Packet } from '../../packets/packet.ts';
import type { Outcome, Run } from './type.ts';

/* What matches and targets of xtables read their C structures and packets with. */

/** 'drop' is what the kernel calls hotdrop: the header that a match needs is not there. */
export type MatchOutcome = boolean | 'drop';
/** @param state what the match of a rule remembers from one packet to the next */
export type XtMatch = (info: DataView, run: Run, state: Record<string, bigint>) => MatchOutcome;

export type XtTarget = (info: DataView, run: Run) => Outcome;

export const bytesAt = (info: DataView, at: number, length: number): Uint8Array =>
  new Uint8Array(info.buffer, info.byteOffset + at, length);
export const isIn = (value: number, low: number, high: number): boolean => value >= low && value <= high;
/** Whether a mark is that of a structure which begins with a mark and its mask. */
export const isMarked = (value: number, info: DataView): boolean =>
  (value & info.getUint32(4, true)) >>> 0 === info.getUint32(0, true);

/** The transport header of a packet that is no later fragment; 'drop' where it is cut off. */
export function headerOf({ bytes, transport, fragmentOffset }: Packet, length: number): number | undefined | 'drop' {
  if (fragmentOffset > 0 || transport === undefined) return undefined;
  return transport + length > bytes.length ? 'drop' : transport;
}

/** Whether a packet is of IPv4. */
export const isFour = ({ protocol }: Packet): boolean => protocol === ETH_P_IP;
