import { ETH_ALEN, ETH_P_8021AD, ETH_P_8021Q, ETH_P_QINQ1 } from '../../linux/if_ether.ts';
import { formatHardware, type Redactor } from '../address.ts';
import { hex } from './line.ts';

/** A VLAN tag: its EtherType and the VLAN's number. */
export interface Tag {
  readonly protocol: number;
  readonly id: number;
}

/** Is it the EtherType of a VLAN tag? Two bytes with its number follow, and the type of what is behind them. */
export const isTag = (etherType: number | undefined) =>
  etherType === ETH_P_8021Q || etherType === ETH_P_8021AD || etherType === ETH_P_QINQ1;

/** The tags at the end of an Ethernet header, each with the type of what is behind it. Other link layers have none. */
export function tagsOf(header: Uint8Array): (Tag & { next: number })[] {
  const tags: (Tag & { next: number })[] = [];
  const u16 = (at: number) => (header[at]! << 8) | header[at + 1]!;
  let at = 2 * ETH_ALEN;
  for (; header.length - at >= 6 && isTag(u16(at)); at += 4)
    tags.push({ protocol: u16(at), id: u16(at + 2) & 0xfff, next: u16(at + 4) });
  return at + 2 === header.length ? tags : [];
}

/** A tag as the kernel prints it with `flags ether`, but the number without its priority. */
export const tagText = ({ protocol, id }: Tag): string => `VPROTO=${hex(protocol, 4)} VID=${id} `;

/** The whole link-layer header, as the kernel prints it: of Ethernet two addresses and what follows them. */
export function macText(header: Uint8Array, show: Redactor): string {
  if (header.length < 2 * ETH_ALEN) return show.hardware(header, 0, header.length);
  const addresses = `${show.hardware(header, 0, ETH_ALEN)}:${show.hardware(header, ETH_ALEN, 2 * ETH_ALEN)}`;
  const rest = formatHardware(header, 2 * ETH_ALEN, header.length);
  return rest === '' ? addresses : `${addresses}:${rest}`;
}
