import * as C from '../linux/ip_vs.ts';
import { AF_INET, AF_INET6 } from '../linux/socket.ts';
import type { WireDestination, WireService } from './attributes.ts';
import { DESTINATION } from './destination.ts';
import { SERVICE } from './service.ts';

/* Comparing services and destinations as they are on the wire: which are the same object, and which have equal settings. */

/** The bytes of an address that have a meaning. The kernel leaves old content after an IPv4 address. */
const significant = (address: string, family: number): string => (family === AF_INET6 ? address : address.slice(0, 8));

/** A text that identifies a service in its namespace. The kernel has one service for each family of a firewall mark. */
export function serviceId({ family, protocol, address = '', port, firewallMark }: WireService): string {
  return firewallMark ? `${family}/${firewallMark}` : `${family}/${protocol}/${significant(address, family)}/${port}`;
}

/** A text that identifies a destination in its service. */
export function destinationId({ family, address, port }: WireDestination, serviceFamily: number): string {
  const own = family || serviceFamily;
  return `${own}/${significant(address, own)}/${port}`;
}

/** Everything of a service that can be set, as one text: two services with the same settings have the same. */
export const serviceSettings = (wire: WireService): string => SERVICE.settingsText(wire);

/** As above, of a destination. */
export const destinationSettings = (wire: WireDestination): string => DESTINATION.settingsText(wire);

function isSameAddress(a: string, b: string, family: number | undefined): boolean {
  return a === b || (family === AF_INET && a.startsWith(significant(b, AF_INET)));
}

/** Is it the same destination with the same settings? Most are, so the fields are compared first, without making texts. */
export function isSameDestination(a: WireDestination, b: WireDestination, serviceFamily: number): boolean {
  const plain =
    isSameAddress(a.address, b.address, a.family) &&
    a.port === b.port &&
    a.family === b.family &&
    DESTINATION.isPlainlySame(a, b);
  if (plain) return true;
  if (destinationId(a, serviceFamily) !== destinationId(b, serviceFamily)) return false;
  return destinationSettings(a) === destinationSettings(b);
}

/** The key of a service, as requests about it or its destinations carry it. */
export function keyPart({ family, protocol, address, port, firewallMark }: WireService): WireService {
  if (firewallMark) return { family, firewallMark };
  return { family, ...(protocol !== undefined && { protocol }), ...(address && { address }), port: port ?? 0 };
}

/** What a request may carry of a service that was read. Counters are not part of it, nor is the flag that the kernel sets itself. */
export function settable(wire: WireService): WireService {
  const flags = { flags: ((wire.flags?.flags ?? 0) & ~C.IP_VS_SVC_F_HASHED) >>> 0, mask: 0xffffffff };
  return { ...SERVICE.settable(wire), flags };
}

/** As above, of a destination. */
export function settableDestination(wire: WireDestination): WireDestination {
  return { ...DESTINATION.settable(wire), forward: (wire.forward ?? 0) & C.IP_VS_CONN_F_FWD_MASK };
}
