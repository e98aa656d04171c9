import { printable } from '../../errors.ts';
import { PLAIN, type Redactor } from '../address.ts';
import { arp } from './arp.ts';
import { isTag, macText, tagsOf, tagText } from './ethernet.ts';
import { NETWORKS, networkProtocol } from './headers.ts';
import { Line } from './line.ts';

/*
 * One line for a packet, as the kernel's LOG prints it (net/netfilter/nf_log_syslog.c), in the same words and the
 * same order, so that programs that read kernel logs can read it. Every header is looked at only as far as it was
 * captured.
 */

/** The properties that the line shows. */
export interface Summarized {
  readonly prefix: string;
  readonly family: string | number;
  readonly etherType: number | undefined;
  readonly inDevice: string | undefined;
  readonly outDevice: string | undefined;
  readonly physInDevice: string | undefined;
  readonly physOutDevice: string | undefined;
  readonly linkHeader: Uint8Array | undefined;
  /** The tag that the kernel has taken off. */
  readonly vlan?: { readonly protocol: number; readonly id: number } | undefined;
  readonly payload: Uint8Array;
}

/** `properties` is what the kernel knows about the packet besides its bytes, as text. `show` prints the addresses. */
export function summarize(packet: Summarized, properties = '', show: Redactor = PLAIN): string {
  const { prefix, physInDevice, physOutDevice, linkHeader } = packet;
  // To the rules of a bridge its ports are the devices.
  const bridged = packet.family === 'bridge';
  const inDevice = (bridged ? physInDevice : undefined) ?? packet.inDevice;
  const outDevice = (bridged ? physOutDevice : undefined) ?? packet.outDevice;
  const line = new Line(packet.payload, properties, show);
  // Only these are text that a container chose; everything else is numbers.
  line.add(`${printable(prefix)}IN=${printable(inDevice ?? '')} OUT=${printable(outDevice ?? '')} `);
  if (physInDevice !== undefined && physInDevice !== inDevice) line.add(`PHYSIN=${printable(physInDevice)} `);
  if (physOutDevice !== undefined && physOutDevice !== outDevice) line.add(`PHYSOUT=${printable(physOutDevice)} `);
  // Three places of tags: the one that the kernel took off, the end of the link-layer header, the front of the
  // payload.
  const outer = networkProtocol(packet);
  let protocol = outer;
  let tags = packet.vlan === undefined ? '' : tagText(packet.vlan);
  if (linkHeader !== undefined) for (const tag of tagsOf(linkHeader)) tags += tagText(tag);
  let at = 0;
  for (; isTag(protocol) && line.has(at, 4); at += 4) {
    tags += tagText({ protocol, id: line.u16(at) & 0xfff });
    protocol = line.u16(at + 2);
  }
  const network = NETWORKS.get(protocol);
  const isArp = network === arp;
  const isIp = network !== undefined && !isArp;
  // Of a protocol that it does not know, a second tag among them, the kernel prints the header where nothing came in, too.
  const hasMac = inDevice !== undefined || ((!isIp || outer !== protocol) && linkHeader !== undefined);
  if (hasMac && !isArp) line.add(`MAC=${linkHeader ? macText(linkHeader, show) : ''} `);
  line.add(tags);
  if (line.bytes.length > 0) {
    if (isTag(protocol)) line.add('TRUNCATED');
    else if (network !== undefined) network.summarize(line, at);
  }
  return line.text.trimEnd();
}
