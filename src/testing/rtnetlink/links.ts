import * as If from '../../linux/if.ts';
import { ARPHRD_ETHER, ARPHRD_LOOPBACK } from '../../linux/if_arp.ts';
import * as Link from '../../linux/if_link.ts';
import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_MULTI, NLM_F_REPLACE } from '../../linux/netlink.ts';
import * as Rt from '../../linux/rtnetlink.ts';
import { AF_INET, AF_INET6 } from '../../linux/socket.ts';
import { VETH_INFO_PEER } from '../../linux/veth.ts';
import type { Machine } from '../machine/machine.ts';
import { type Link as Device, isSince, type Namespace } from '../machine/state.ts';
import { EBUSY, EEXIST, EINVAL, ELOOP, ENODEV, EOPNOTSUPP, ERANGE, refuse } from '../refusal.ts';
import { Attributes, type Writer } from '../wire/attributes.ts';
import { forgetAddresses, renameLabels } from './addresses.ts';
import { adjustMtu, carried, hasCarrier, otherEnd, selectPorts } from './bridges.ts';
import { type Call, HEADER, LEAST_MTU, message, partsOf, tellOf, viewOf } from './call.ts';
import { forgetNeighbours } from './neighbours.ts';
import { forgetRoutes } from './routes.ts';

/* Devices: dummy, veth pairs, bridges and their ports (net/core/rtnetlink.c). */

/** ifinfomsg */
const LENGTH = 16;
const [OPER_UNKNOWN, OPER_DOWN, OPER_LOWER_DOWN, OPER_UP] = [0, 2, 3, 6];
const KINDS = ['dummy', 'veth', 'bridge'];
const QUEUE_LENGTH = 1000;
const RENAMES_WHILE_UP = [6, 2] as const;

/** Until its carrier changes for the first time, nobody knows how a device is; the loopback device says so always. */
function operationOf({ up, loopback, peer, carrier }: Device, isCarried: boolean): number {
  if (loopback || (up && peer === undefined && carrier === undefined)) return OPER_UNKNOWN;
  if (!up) return OPER_DOWN;
  if (isCarried) return OPER_UP;
  return peer === undefined ? OPER_DOWN : OPER_LOWER_DOWN;
}

function write(writer: Writer, machine: Machine, namespace: Namespace, device: Device): void {
  const { up, loopback, kind, master, alias } = device;
  const carrier = hasCarrier(machine, device);
  const header = new Uint8Array(LENGTH);
  const view = viewOf(header);
  view.setUint16(2, loopback ? ARPHRD_LOOPBACK : ARPHRD_ETHER, true);
  view.setInt32(4, device.index, true);
  const running = up ? If.IFF_UP | (carrier ? If.IFF_RUNNING | If.IFF_LOWER_UP : 0) : 0;
  const shape = loopback ? If.IFF_LOOPBACK : If.IFF_BROADCAST | If.IFF_MULTICAST;
  view.setUint32(8, running | shape | (kind === 'dummy' ? If.IFF_NOARP : 0), true);
  writer.raw(header);
  writer.text(Link.IFLA_IFNAME, device.name);
  writer.u32(Link.IFLA_TXQLEN, device.queueLength ?? QUEUE_LENGTH);
  writer.u8(Link.IFLA_OPERSTATE, operationOf(device, carrier));
  writer.u8(Link.IFLA_LINKMODE, 0);
  writer.u32(Link.IFLA_MTU, device.mtu);
  writer.u32(Link.IFLA_GROUP, device.group);
  writer.u32(Link.IFLA_PROMISCUITY, master === undefined ? 0 : 1);
  if (master !== undefined) writer.u32(Link.IFLA_MASTER, master);
  writer.u8(Link.IFLA_CARRIER, carrier ? 1 : 0);
  if (alias !== undefined) writer.text(Link.IFLA_IFALIAS, alias);
  if (device.peer !== undefined) {
    writer.u32(Link.IFLA_LINK, device.peer.index);
    if (device.peer.namespace !== namespace.inode) writer.u32(Link.IFLA_LINK_NETNSID, 0);
  }
  writer.attribute(Link.IFLA_ADDRESS, device.hardwareAddress);
  writer.attribute(Link.IFLA_BROADCAST, new Uint8Array(6).fill(loopback ? 0 : 255));
  if (kind === undefined) return;
  writer.nest(Link.IFLA_LINKINFO, () => {
    writer.text(Link.IFLA_INFO_KIND, kind);
    if (master !== undefined) writer.text(Link.IFLA_INFO_SLAVE_KIND, 'bridge');
  });
}

function tellLink(machine: Machine, namespace: Namespace, device: Device, type: number = Rt.RTM_NEWLINK): void {
  tellOf(machine, namespace, Rt.RTNLGRP_LINK, type, writer => write(writer, machine, namespace, device));
}

interface Named {
  readonly header: DataView;
  readonly attributes: Attributes;
  readonly device: Device | undefined;
}

/** The device that a message means, by its index or its name; `isMany` where it may mean others. */
function named(call: Call, isMany = false): Named {
  const { header, attributes } = partsOf(call, LENGTH);
  const index = header.getInt32(4, true);
  const name = attributes.text(Link.IFLA_IFNAME);
  const alternative = attributes.text(Link.IFLA_ALT_IFNAME);
  const { links } = call.namespace;
  if (index <= 0 && name === undefined && alternative === undefined && !isMany) refuse(EINVAL);
  const device = links.find(each => (index > 0 ? each.index === index : each.name === (name ?? alternative)));
  return { header, attributes, device };
}

export function getLink(call: Call): void {
  const { machine, namespace, request, socket } = call;
  const device = named(call).device ?? refuse(ENODEV);
  socket.deliver(message(request, Rt.RTM_NEWLINK, 0, writer => write(writer, machine, namespace, device)));
}

export function* listLinks(call: Call): Generator<Uint8Array> {
  const { machine, namespace, request } = call;
  const attributes = new Attributes(request.bytes, HEADER + LENGTH, request.bytes.length);
  const kind = attributes.nested(Link.IFLA_LINKINFO)?.text(Link.IFLA_INFO_KIND);
  const master = attributes.u32(Link.IFLA_MASTER);
  for (const device of namespace.links)
    if ((kind === undefined || device.kind === kind) && (master === undefined || device.master === master))
      yield message(request, Rt.RTM_NEWLINK, NLM_F_MULTI, writer => write(writer, machine, namespace, device));
}

/** Makes a device, or changes one. */
export function setLink(call: Call): void {
  const { request, machine, namespace } = call;
  const isNew = request.type === Rt.RTM_NEWLINK;
  const { header, attributes, device } = named(call, isNew);
  if (device !== undefined) {
    if (isNew && (request.flags & NLM_F_EXCL) !== 0) refuse(EEXIST);
    if (isNew && (request.flags & NLM_F_REPLACE) !== 0) refuse(EOPNOTSUPP);
    change(call, attributes, header, device);
    tellLink(machine, namespace, device);
    return;
  }
  if (!isNew) refuse(ENODEV);
  if ((request.flags & NLM_F_CREATE) !== 0) {
    create(call, attributes, header);
    return;
  }
  // Without an index and a name, all devices of a group are meant.
  const group = attributes.u32(Link.IFLA_GROUP);
  const isNamed =
    header.getInt32(4, true) > 0 || attributes.has(Link.IFLA_IFNAME) || attributes.has(Link.IFLA_ALT_IFNAME);
  if (isNamed || group === undefined) refuse(ENODEV);
  for (const each of namespace.links.filter(one => one.group === group)) {
    change(call, attributes, header, each);
    tellLink(machine, namespace, each);
  }
}

const isName = (name: string): boolean =>
  name !== '' && Buffer.byteLength(name) <= 15 && !/[\s/:]/.test(name) && name !== '.' && name !== '..';

function nameFor({ links }: Namespace, attributes: Attributes, kind: string): string {
  const name = attributes.text(Link.IFLA_IFNAME) ?? '';
  if (name !== '') {
    if (!isName(name)) refuse(EINVAL);
    if (links.some(each => each.name === name)) refuse(EEXIST);
    return name;
  }
  for (let number = 0; ; number++) if (!links.some(each => each.name === `${kind}${number}`)) return `${kind}${number}`;
}

function newDevice(namespace: Namespace, attributes: Attributes, kind: string): Device {
  const name = nameFor(namespace, attributes, kind);
  const mtu = attributes.u32(Link.IFLA_MTU) ?? 1500;
  if (mtu < LEAST_MTU || mtu > 65_535) refuse(EINVAL);
  const index = ++namespace.lastIndex;
  const device: Device = {
    index,
    name,
    up: false,
    mtu,
    group: attributes.u32(Link.IFLA_GROUP) ?? 0,
    kind,
    // The kernel's is random.
    hardwareAddress:
      attributes.get(Link.IFLA_ADDRESS)?.bytes.slice() ?? Uint8Array.of(2, 0, 0, 0, namespace.inode & 255, index),
    loopback: false,
    addresses: [],
  };
  namespace.links.push(device);
  return device;
}

function create(call: Call, attributes: Attributes, header: DataView): void {
  const { machine, namespace } = call;
  const info = attributes.nested(Link.IFLA_LINKINFO);
  const kind = info?.text(Link.IFLA_INFO_KIND) ?? refuse(EOPNOTSUPP);
  if (!KINDS.includes(kind)) machine.notModelled(`links of the kind ${kind}`);
  if (attributes.has(Link.IFLA_NET_NS_FD)) machine.notModelled('devices that are made in another namespace');
  const data = info?.nested(Link.IFLA_INFO_DATA);
  if (kind === 'bridge' && (data?.list().length ?? 0) > 0) machine.notModelled('the settings of bridges');
  const master = attributes.u32(Link.IFLA_MASTER);
  if (kind === 'veth') createPeer(call, attributes, data);
  const device = newDevice(namespace, attributes, kind);
  if (kind === 'veth') join(namespace, device);
  if ((header.getUint32(8, true) & If.IFF_UP) !== 0) device.up = true;
  tellLink(machine, namespace, device);
  if (master !== undefined && master !== 0) {
    enslave(machine, namespace, device, master);
    tellLink(machine, namespace, device);
  }
}

/** The other end of a veth pair is made first. */
function createPeer({ machine, namespace }: Call, attributes: Attributes, data: Attributes | undefined): void {
  const inside = data?.get(VETH_INFO_PEER);
  const peer = inside && new Attributes(inside.bytes, LENGTH, inside.bytes.length);
  if (peer?.has(Link.IFLA_NET_NS_FD)) machine.notModelled('devices that are made in another namespace');
  const own = attributes.text(Link.IFLA_IFNAME);
  if (own !== undefined && (!isName(own) || namespace.links.some(({ name }) => name === own)))
    refuse(isName(own) ? EEXIST : EINVAL);
  if (own !== undefined && peer?.text(Link.IFLA_IFNAME) === own) refuse(EEXIST);
  tellLink(machine, namespace, newDevice(namespace, peer ?? new Attributes(new Uint8Array(0), 0, 0), 'veth'));
}

function join(namespace: Namespace, device: Device): void {
  const other = namespace.links.at(-2)!;
  device.peer = { namespace: namespace.inode, index: other.index };
  other.peer = { namespace: namespace.inode, index: device.index };
}

function enslave(machine: Machine, namespace: Namespace, device: Device, master: number): void {
  const bridge = namespace.links.find(({ index }) => index === master) ?? refuse(EINVAL);
  if (bridge.kind !== 'bridge') refuse(EOPNOTSUPP);
  if (device.kind === 'bridge') refuse(ELOOP);
  if (device.loopback) refuse(EINVAL);
  device.master = master;
  adjustMtu(namespace, bridge);
  selectPorts(machine, namespace, bridge);
}

function release(machine: Machine, namespace: Namespace, device: Device): void {
  const bridge = namespace.links.find(({ index }) => index === device.master);
  device.master = undefined;
  adjustMtu(namespace, bridge);
  if (bridge !== undefined) selectPorts(machine, namespace, bridge);
}

function change({ machine, namespace }: Call, attributes: Attributes, header: DataView, device: Device): void {
  if (attributes.has(Link.IFLA_NET_NS_FD)) machine.notModelled('devices that go to another namespace');
  const name = attributes.text(Link.IFLA_IFNAME);
  const mtu = attributes.u32(Link.IFLA_MTU);
  if (mtu !== undefined) {
    if (!device.loopback && (mtu < LEAST_MTU || mtu > 65_535)) refuse(EINVAL);
    if (device.kind === 'bridge' && mtu !== device.mtu) device.hasOwnMtu = true;
    device.mtu = mtu;
    adjustMtu(
      namespace,
      namespace.links.find(({ index }) => index === device.master),
    );
    if (mtu < LEAST_MTU) forgetAddresses(machine, namespace, device, AF_INET);
  }
  const hardware = attributes.get(Link.IFLA_ADDRESS)?.bytes.slice();
  if (hardware !== undefined) {
    if (hardware.length < 6) refuse(ERANGE);
    device.hardwareAddress = hardware;
  }
  device.group = attributes.u32(Link.IFLA_GROUP) ?? device.group;
  if (name !== undefined && name !== '' && name !== device.name) {
    if (!isName(name)) refuse(EINVAL);
    if (device.up && !isSince(machine.release, RENAMES_WHILE_UP)) refuse(EBUSY);
    if (namespace.links.some(each => each.name === name)) refuse(EEXIST);
    device.name = name;
    renameLabels(machine, namespace, device);
  }
  const alias = attributes.text(Link.IFLA_IFALIAS);
  if (alias !== undefined) device.alias = alias === '' ? undefined : alias;
  if ((header.getUint32(12, true) & If.IFF_UP) !== 0)
    setUp(machine, namespace, device, (header.getUint32(8, true) & If.IFF_UP) !== 0);
  const master = attributes.u32(Link.IFLA_MASTER);
  if (master === 0) release(machine, namespace, device);
  else if (master !== undefined) {
    if (device.master !== undefined && device.master !== master) release(machine, namespace, device);
    enslave(machine, namespace, device, master);
  }
  device.queueLength = attributes.u32(Link.IFLA_TXQLEN) ?? device.queueLength ?? QUEUE_LENGTH;
}

/** With a device that goes down, its routes and its addresses of IPv6 go. */
function setUp(machine: Machine, namespace: Namespace, device: Device, up: boolean): void {
  if (device.up === up) return;
  device.up = up;
  if (up) for (const address of device.addresses) address.networkOrder = ++namespace.lastAddress;
  if (!up) {
    forgetRoutes(namespace, device.index);
    forgetNeighbours(machine, namespace, device.index);
    forgetAddresses(machine, namespace, device, AF_INET6);
  }
  if (namespace.links.some(({ master }) => master === device.index)) selectPorts(machine, namespace, device);
  carried(machine, namespace, device);
  const other = otherEnd(machine, device);
  if (other === undefined) return;
  const owner = machine.namespace(device.peer!.namespace);
  carried(machine, owner, other);
  if (other.up) tellLink(machine, owner, other);
}

export function deleteLink(call: Call): void {
  const { namespace, request } = call;
  const group = new Attributes(request.bytes, HEADER + LENGTH, request.bytes.length).u32(Link.IFLA_GROUP);
  const { device, attributes, header } = named(call, group !== undefined);
  const isOne =
    header.getInt32(4, true) > 0 || attributes.has(Link.IFLA_IFNAME) || attributes.has(Link.IFLA_ALT_IFNAME);
  const wanted = isOne
    ? namespace.links.filter(each => each === device)
    : namespace.links.filter(each => each.group === group);
  if (wanted.length === 0) refuse(ENODEV);
  if (wanted.some(({ loopback }) => loopback)) refuse(EOPNOTSUPP);
  for (const each of wanted) if (namespace.links.includes(each)) removePair(call, each);
}

function removePair({ machine, namespace }: Call, device: Device): void {
  const other = otherEnd(machine, device);
  const owner = device.peer && machine.state.namespaces.get(device.peer.namespace);
  remove(machine, namespace, device);
  if (other !== undefined && owner !== undefined) remove(machine, owner, other);
}

/** Takes a device away with all that belongs to it. */
function remove(machine: Machine, namespace: Namespace, device: Device): void {
  if (namespace.links.some(each => each === device) === false) refuse(EBUSY);
  for (const port of namespace.links) if (port.master === device.index) port.master = undefined;
  device.up = false;
  namespace.links.splice(namespace.links.indexOf(device), 1);
  if (device.master !== undefined) release(machine, namespace, device);
  forgetRoutes(namespace, device.index);
  forgetNeighbours(machine, namespace, device.index);
  forgetAddresses(machine, namespace, device);
  tellLink(machine, namespace, device, Rt.RTM_DELLINK);
}
