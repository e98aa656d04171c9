import * as C from '../linux/ip_vs.ts';
import { AF_INET, AF_INET6 } from '../linux/socket.ts';
import type { WireDestination, WireService } from './attributes.ts';

/* Services and servers as they are on the wire, whether they come from a caller or from the kernel: what is the same, and what is equal. */

/** The bytes of an address that mean something: behind an IPv4 address the kernel's answers hold what was there before. */
const significant = (address: string, family: number): string => (family === AF_INET6 ? address : address.slice(0, 8));

/** What tells services of one namespace apart. The kernel has one for each family of a firewall mark. */
export function serviceId({ family, protocol, address = '', port, firewallMark }: WireService): string {
  return firewallMark ? `${family}/${firewallMark}` : `${family}/${protocol}/${significant(address, family)}/${port}`;
}

/** What tells the servers of one service apart. */
export function destinationId({ family, address, port }: WireDestination, serviceFamily: number): string {
  const own = family || serviceFamily;
  return `${own}/${significant(address, own)}/${port}`;
}

/** Everything of a service that can be set, the kernel's defaults and its own mark left out. */
export function serviceSettings({ scheduler, flags, timeout, netmask, engine }: WireService): string {
  const bits = (flags?.flags ?? 0) & ~C.IP_VS_SVC_F_HASHED;
  // Without persistence nobody asks what the timeout and the mask are.
  const persistence = bits & C.IP_VS_SVC_F_PERSISTENT ? `${timeout}/${netmask}/${engine ?? ''}` : '';
  return `${scheduler}/${bits}/${persistence}`;
}

/** Everything of a server that can be set. */
export function destinationSettings(wire: WireDestination): string {
  const forward = (wire.forward ?? 0) & C.IP_VS_CONN_F_FWD_MASK;
  const { tunnelType = 0, tunnelPort = 0, tunnelFlags = 0 } = wire;
  const tunnel = forward === C.IP_VS_CONN_F_TUNNEL ? `${tunnelType}/${tunnelPort}/${tunnelFlags}` : '';
  return `${forward}/${wire.weight ?? 0}/${wire.upperThreshold ?? 0}/${wire.lowerThreshold ?? 0}/${tunnel}`;
}

function isSameAddress(a: string, b: string, family: number | undefined): boolean {
  return a === b || (family === AF_INET && a.startsWith(significant(b, AF_INET)));
}

/** The same server with the same settings. Most are, and that is seen without a text of either. */
export function isSameDestination(a: WireDestination, b: WireDestination, serviceFamily: number): boolean {
  const plain =
    isSameAddress(a.address, b.address, a.family) &&
    a.port === b.port &&
    a.family === b.family &&
    a.forward === b.forward &&
    a.weight === b.weight &&
    a.upperThreshold === b.upperThreshold &&
    a.lowerThreshold === b.lowerThreshold &&
    a.forward !== C.IP_VS_CONN_F_TUNNEL;
  if (plain) return true;
  if (destinationId(a, serviceFamily) !== destinationId(b, serviceFamily)) return false;
  return destinationSettings(a) === destinationSettings(b);
}

/** The service's key alone: what requests about it or its servers carry. */
export function keyPart({ family, protocol, address, port, firewallMark }: WireService): WireService {
  if (firewallMark) return { family, firewallMark };
  return { family, ...(protocol !== undefined && { protocol }), ...(address && { address }), port: port ?? 0 };
}

/** What a request may carry of a service that was read: counters are not among it, and the kernel's own mark is its own. */
export function settable(wire: WireService): WireService {
  const { stats: _, stats64: __, counters: ___, flags, ...service } = wire;
  return { ...service, flags: { flags: ((flags?.flags ?? 0) & ~C.IP_VS_SVC_F_HASHED) >>> 0, mask: 0xffffffff } };
}

/** As above, of a server. */
export function settableDestination(wire: WireDestination): WireDestination {
  const {
    stats: _,
    stats64: __,
    activeConnections: ___,
    inactiveConnections: ____,
    persistentConnections: _____,
    counters: ______,
    ...destination
  } = wire;
  return { ...destination, forward: (wire.forward ?? 0) & C.IP_VS_CONN_F_FWD_MASK };
}
