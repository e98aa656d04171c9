import * as If from '../../linux/if.ts';
import * as Ifa from '../../linux/if_addr.ts';
import { ARPHRD_ETHER, ARPHRD_LOOPBACK } from '../../linux/if_arp.ts';
import * as Link from '../../linux/if_link.ts';
import {
  NETLINK_ROUTE,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_MULTI,
  NLM_F_REPLACE,
} from '../../linux/netlink.ts';
import * as Rt from '../../linux/rtnetlink.ts';
import { AF_INET, AF_INET6 } from '../../linux/socket.ts';
import type { Family, Machine } from '../machine/machine.ts';
import { packed, type Request } from '../machine/netlink.ts';
import type { MemorySocket } from '../machine/socket.ts';
import type { Address, Link as Device, Namespace, Route } from '../machine/state.ts';
import { EADDRNOTAVAIL, EEXIST, EINVAL, ENETUNREACH, ENODEV, EOPNOTSUPP, ESRCH, refuse } from '../refusal.ts';
import { Attributes, type Writer as Bytes, Writer } from '../wire/attributes.ts';

/* Links, addresses and routes over NETLINK_ROUTE: what decides where packets go. */

const HEADER = 16;
/** ifinfomsg, ifaddrmsg, rtmsg. */
const IFINFO = 16;
const IFADDR = 8;
const RTMSG = 12;
const OPER_UP = 6;
const OPER_DOWN = 2;

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const equal = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i]);

/** Routing netlink. */
export const routing: Family = {
  protocol: NETLINK_ROUTE,
  answer(machine, socket, request) {
    const namespace = machine.namespace(socket.namespace);
    if ((request.flags & NLM_F_DUMP) === NLM_F_DUMP && DUMPS[request.type] !== undefined) {
      if (!socket.start(packed(DUMPS[request.type]!(namespace, request), request))) refuse(-16);
      return;
    }
    const operation = OPERATIONS[request.type];
    if (operation === undefined) return machine.notModelled(`the request ${request.type} of rtnetlink`);
    operation({ machine, namespace, socket, request });
  },
};

interface Call {
  readonly machine: Machine;
  readonly namespace: Namespace;
  readonly socket: MemorySocket;
  readonly request: Request;
}

function message(request: Request, type: number, flags: number, body: (writer: Bytes) => void): Uint8Array {
  const writer = new Writer();
  writer.message({ type, flags, sequence: request.sequence, port: request.port }, () => body(writer));
  return writer.take();
}

function writeLink(writer: Bytes, device: Device): void {
  const header = new Uint8Array(IFINFO);
  const view = viewOf(header);
  view.setUint16(2, device.loopback ? ARPHRD_LOOPBACK : ARPHRD_ETHER, true);
  view.setInt32(4, device.index, true);
  const running = device.up ? If.IFF_UP | If.IFF_RUNNING | If.IFF_LOWER_UP : 0;
  view.setUint32(8, running | (device.loopback ? If.IFF_LOOPBACK : If.IFF_BROADCAST | If.IFF_MULTICAST), true);
  writer.raw(header);
  writer.text(Link.IFLA_IFNAME, device.name);
  writer.u32(Link.IFLA_TXQLEN, 1000);
  writer.u8(Link.IFLA_OPERSTATE, device.loopback ? 0 : device.up ? OPER_UP : OPER_DOWN);
  writer.u8(Link.IFLA_LINKMODE, 0);
  writer.u32(Link.IFLA_MTU, device.mtu);
  writer.u32(Link.IFLA_GROUP, device.group);
  writer.u32(Link.IFLA_PROMISCUITY, 0);
  writer.u8(Link.IFLA_CARRIER, device.up ? 1 : 0);
  writer.attribute(Link.IFLA_ADDRESS, device.hardwareAddress);
  writer.attribute(Link.IFLA_BROADCAST, new Uint8Array(6).fill(device.loopback ? 0 : 255));
  if (device.kind !== undefined) writer.nest(Link.IFLA_LINKINFO, () => writer.text(Link.IFLA_INFO_KIND, device.kind!));
}

function writeAddress(writer: Bytes, device: Device, { family, bytes, prefix }: Address): void {
  const header = new Uint8Array(IFADDR);
  header.set([family, prefix, Ifa.IFA_F_PERMANENT, device.loopback ? Rt.RT_SCOPE_HOST : Rt.RT_SCOPE_UNIVERSE]);
  viewOf(header).setInt32(4, device.index, true);
  writer.raw(header);
  writer.attribute(Ifa.IFA_ADDRESS, bytes);
  if (family === AF_INET) {
    writer.attribute(Ifa.IFA_LOCAL, bytes);
    writer.text(Ifa.IFA_LABEL, device.name);
  }
  writer.u32(Ifa.IFA_FLAGS, Ifa.IFA_F_PERMANENT);
}

function writeRoute(writer: Bytes, { to, prefix, device, via }: Route): void {
  const family = to.length === 4 ? AF_INET : AF_INET6;
  writer.raw(
    Uint8Array.of(
      family,
      prefix,
      0,
      0,
      Rt.RT_TABLE_MAIN,
      Rt.RTPROT_BOOT,
      via === undefined ? Rt.RT_SCOPE_LINK : 0,
      Rt.RTN_UNICAST,
      0,
      0,
      0,
      0,
    ),
  );
  writer.u32(Rt.RTA_TABLE, Rt.RT_TABLE_MAIN);
  if (prefix > 0) writer.attribute(Rt.RTA_DST, to);
  if (via !== undefined) writer.attribute(Rt.RTA_GATEWAY, via);
  writer.u32(Rt.RTA_OIF, device);
}

function* links({ links: devices }: Namespace, request: Request): Generator<Uint8Array> {
  for (const device of devices)
    yield message(request, Rt.RTM_NEWLINK, NLM_F_MULTI, writer => writeLink(writer, device));
}

function* addresses({ links: devices }: Namespace, request: Request): Generator<Uint8Array> {
  const family = request.bytes[HEADER] ?? 0;
  for (const device of devices)
    for (const address of device.addresses)
      if (family === 0 || address.family === family)
        yield message(request, Rt.RTM_NEWADDR, NLM_F_MULTI, writer => writeAddress(writer, device, address));
}

function* routes(namespace: Namespace, request: Request): Generator<Uint8Array> {
  const family = request.bytes[HEADER] ?? 0;
  for (const route of namespace.routes)
    if (family === 0 || (route.to.length === 4 ? AF_INET : AF_INET6) === family)
      yield message(request, Rt.RTM_NEWROUTE, NLM_F_MULTI, writer => writeRoute(writer, route));
}

const DUMPS: Record<number, (namespace: Namespace, request: Request) => Generator<Uint8Array>> = {
  [Rt.RTM_GETLINK]: links,
  [Rt.RTM_GETADDR]: addresses,
  [Rt.RTM_GETROUTE]: routes,
};

/** The device that a message means, by its index or its name. */
function deviceOf({ namespace, request }: Call, attributes: Attributes): Device {
  const index = viewOf(request.bytes).getInt32(HEADER + 4, true);
  const name = attributes.text(Link.IFLA_IFNAME);
  const device = namespace.links.find(each => (index > 0 ? each.index === index : each.name === name));
  return device ?? refuse(ENODEV);
}

const getLink = (call: Call): void => {
  const { request, socket } = call;
  const device = deviceOf(call, new Attributes(request.bytes, HEADER + IFINFO, request.bytes.length));
  socket.deliver(message(request, Rt.RTM_NEWLINK, 0, writer => writeLink(writer, device)));
};

const setLink = (call: Call): void => {
  const { request, namespace, machine } = call;
  const attributes = new Attributes(request.bytes, HEADER + IFINFO, request.bytes.length);
  const info = attributes.nested(Link.IFLA_LINKINFO);
  const kind = info?.text(Link.IFLA_INFO_KIND);
  const name = attributes.text(Link.IFLA_IFNAME);
  const index = viewOf(request.bytes).getInt32(HEADER + 4, true);
  const existing = namespace.links.find(each => (index > 0 ? each.index === index : each.name === name));
  if (existing === undefined) {
    if ((request.flags & NLM_F_CREATE) === 0) refuse(ENODEV);
    if (kind !== 'dummy') machine.notModelled(`links of the kind ${kind}`);
    const number = ++namespace.lastIndex;
    namespace.links.push({
      index: number,
      name: name ?? `dummy${number}`,
      up: false,
      mtu: attributes.u32(Link.IFLA_MTU) ?? 1500,
      group: attributes.u32(Link.IFLA_GROUP) ?? 0,
      kind,
      hardwareAddress: attributes.get(Link.IFLA_ADDRESS)?.bytes.slice() ?? Uint8Array.of(2, 0, 0, 0, 1, number),
      loopback: false,
      addresses: [],
    });
    return;
  }
  if ((request.flags & NLM_F_EXCL) !== 0) refuse(EEXIST);
  const view = viewOf(request.bytes);
  const change = view.getUint32(HEADER + 12, true);
  if ((change & If.IFF_UP) !== 0) existing.up = (view.getUint32(HEADER + 8, true) & If.IFF_UP) !== 0;
  if (index > 0 && name !== undefined && name !== existing.name) {
    if (namespace.links.some(each => each.name === name)) refuse(EEXIST);
    existing.name = name;
  }
  existing.mtu = attributes.u32(Link.IFLA_MTU) ?? existing.mtu;
  existing.group = attributes.u32(Link.IFLA_GROUP) ?? existing.group;
  existing.hardwareAddress = attributes.get(Link.IFLA_ADDRESS)?.bytes.slice() ?? existing.hardwareAddress;
  if (attributes.has(Link.IFLA_MASTER) || attributes.has(Link.IFLA_NET_NS_FD))
    machine.notModelled('bridges, and links that change their namespace');
};

const deleteLink = (call: Call): void => {
  const { request, namespace } = call;
  const device = deviceOf(call, new Attributes(request.bytes, HEADER + IFINFO, request.bytes.length));
  if (device.loopback) refuse(EOPNOTSUPP);
  namespace.links.splice(namespace.links.indexOf(device), 1);
  namespace.routes = namespace.routes.filter(each => each.device !== device.index);
};

function addressOf({ request, namespace }: Call): { device: Device; address: Address } {
  const [family, prefix] = [request.bytes[HEADER]!, request.bytes[HEADER + 1]!];
  const attributes = new Attributes(request.bytes, HEADER + IFADDR, request.bytes.length);
  const bytes = (attributes.get(Ifa.IFA_LOCAL) ?? attributes.get(Ifa.IFA_ADDRESS))?.bytes.slice();
  if (bytes === undefined || prefix > bytes.length * 8) return refuse(EINVAL);
  const index = viewOf(request.bytes).getInt32(HEADER + 4, true);
  const device = namespace.links.find(each => each.index === index) ?? refuse(ENODEV);
  return { device, address: { family, bytes, prefix } };
}

const newAddress = (call: Call): void => {
  const { device, address } = addressOf(call);
  const isThere = device.addresses.some(each => equal(each.bytes, address.bytes) && each.prefix === address.prefix);
  if (isThere) {
    if ((call.request.flags & NLM_F_REPLACE) === 0) refuse(EEXIST);
    return;
  }
  device.addresses.push(address);
};

const deleteAddress = (call: Call): void => {
  const { device, address } = addressOf(call);
  const at = device.addresses.findIndex(each => equal(each.bytes, address.bytes) && each.prefix === address.prefix);
  if (at < 0) refuse(EADDRNOTAVAIL);
  device.addresses.splice(at, 1);
};

function routeOf({ request, namespace }: Call): Route {
  const [family, prefix] = [request.bytes[HEADER]!, request.bytes[HEADER + 1]!];
  const attributes = new Attributes(request.bytes, HEADER + RTMSG, request.bytes.length);
  const to = attributes.get(Rt.RTA_DST)?.bytes.slice() ?? new Uint8Array(family === AF_INET ? 4 : 16);
  const via = attributes.get(Rt.RTA_GATEWAY)?.bytes.slice();
  const asked = attributes.u32(Rt.RTA_OIF);
  const reached =
    via &&
    namespace.links.find(link => link.addresses.some(({ bytes, prefix: bits }) => sharesPrefix(bytes, via, bits)));
  const device = asked ?? reached?.index;
  if (device === undefined) return refuse(ENETUNREACH);
  return { to, prefix, device, via };
}

function sharesPrefix(a: Uint8Array, b: Uint8Array, bits: number): boolean {
  if (a.length !== b.length) return false;
  for (let bit = 0; bit < bits; bit++) if (((a[bit >> 3]! ^ b[bit >> 3]!) & (0x80 >> (bit & 7))) !== 0) return false;
  return true;
}

const isSame = (a: Route, b: Route): boolean => equal(a.to, b.to) && a.prefix === b.prefix;

const newRoute = (call: Call): void => {
  const { namespace, request } = call;
  const route = routeOf(call);
  const at = namespace.routes.findIndex(each => isSame(each, route));
  if (at < 0) namespace.routes.push(route);
  else if ((request.flags & NLM_F_REPLACE) !== 0) namespace.routes[at] = route;
  else refuse(EEXIST);
};

const deleteRoute = (call: Call): void => {
  const { namespace, request } = call;
  const [family, prefix] = [request.bytes[HEADER]!, request.bytes[HEADER + 1]!];
  const attributes = new Attributes(request.bytes, HEADER + RTMSG, request.bytes.length);
  const to = attributes.get(Rt.RTA_DST)?.bytes ?? new Uint8Array(family === AF_INET ? 4 : 16);
  const at = namespace.routes.findIndex(each => equal(each.to, to) && each.prefix === prefix);
  if (at < 0) refuse(ESRCH);
  namespace.routes.splice(at, 1);
};

const OPERATIONS: Record<number, (call: Call) => void> = {
  [Rt.RTM_GETLINK]: getLink,
  [Rt.RTM_NEWLINK]: setLink,
  [Rt.RTM_SETLINK]: setLink,
  [Rt.RTM_DELLINK]: deleteLink,
  [Rt.RTM_NEWADDR]: newAddress,
  [Rt.RTM_DELADDR]: deleteAddress,
  [Rt.RTM_NEWROUTE]: newRoute,
  [Rt.RTM_DELROUTE]: deleteRoute,
};
