import * as Nd from '../../linux/neighbour.ts';
import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_MULTI, NLM_F_REPLACE } from '../../linux/netlink.ts';
import * as Rt from '../../linux/rtnetlink.ts';
import { AF_INET, AF_INET6 } from '../../linux/socket.ts';
import type { Machine } from '../machine/machine.ts';
import type { Namespace } from '../machine/state.ts';
import { EEXIST, EINVAL, ENOENT, refuse } from '../refusal.ts';
import { inTable } from '../routes.ts';
import type { Writer } from '../wire/attributes.ts';
import { type Call, equal, HEADER, linkAt, message, partsOf, tell, tellOf } from './call.ts';
import type { Neighbour } from './state.ts';

/* Neighbours: who has an address on a link (net/core/neighbour.c). */

/** ndmsg */
const LENGTH = 12;

function read(call: Call) {
  const { header, attributes } = partsOf(call, LENGTH);
  const family = header.getUint8(0);
  if (family !== AF_INET && family !== AF_INET6) call.machine.notModelled('the forwarding table of bridges');
  const address = attributes.get(Nd.NDA_DST)?.bytes.slice() ?? refuse(EINVAL);
  if (address.length < (family === AF_INET ? 4 : 16)) refuse(EINVAL);
  const flags = header.getUint8(10);
  const isProxy = (flags & Nd.NTF_PROXY) !== 0;
  const device = linkAt(call.namespace, header.getInt32(4, true));
  const hardware = attributes.get(Nd.NDA_LLADDR)?.bytes.slice();
  if (hardware !== undefined && hardware.length < device.hardwareAddress.length) refuse(EINVAL);
  const found = call.namespace.neighbours.find(
    each => each.device === device.index && each.isProxy === isProxy && equal(each.address, address),
  );
  const protocol = attributes.u8(Nd.NDA_PROTOCOL);
  return { family, address, flags, isProxy, device, hardware, found, protocol, state: header.getUint16(8, true) };
}

function write(
  writer: Writer,
  { family, device, state, flags, address, hardware, isProxy, protocol, type }: Neighbour,
): void {
  const header = new Uint8Array(LENGTH);
  const view = new DataView(header.buffer);
  header[0] = family;
  view.setInt32(4, device, true);
  view.setUint16(8, state, true);
  header[10] = flags | (isProxy ? Nd.NTF_PROXY : 0);
  header[11] = type;
  writer.raw(header);
  writer.attribute(Nd.NDA_DST, address);
  if (hardware !== undefined && !isProxy) writer.attribute(Nd.NDA_LLADDR, hardware);
  if (!isProxy) {
    writer.u32(Nd.NDA_PROBES, 0);
    writer.attribute(Nd.NDA_CACHEINFO, new Uint8Array(16));
  }
  if (protocol !== 0) writer.u8(Nd.NDA_PROTOCOL, protocol);
}

/** States that need an address of the link. */
const VALID = Nd.NUD_PERMANENT | Nd.NUD_NOARP | Nd.NUD_REACHABLE | Nd.NUD_PROBE | Nd.NUD_STALE | Nd.NUD_DELAY;

export function newNeighbour(call: Call): void {
  const { family, address, flags, isProxy, device, hardware, found, protocol, state } = read(call);
  const { request, namespace } = call;
  if (found === undefined && (request.flags & NLM_F_CREATE) === 0) refuse(ENOENT);
  if (found !== undefined && !isProxy && (request.flags & NLM_F_EXCL) !== 0) refuse(EEXIST);
  if (!isProxy && found === undefined && (state & VALID) !== 0 && hardware === undefined) refuse(EINVAL);
  if (!isProxy && (state & ~VALID) !== 0 && state !== Nd.NUD_NONE)
    call.machine.notModelled('neighbours in states that only the kernel gives');
  const kept = flags & (Nd.NTF_ROUTER | Nd.NTF_EXT_LEARNED);
  const local = inTable(namespace, { destination: address, device: 0, scope: 0 }, Rt.RT_TABLE_LOCAL);
  const neighbour: Neighbour = found ?? {
    family,
    device: device.index,
    address,
    hardware: undefined,
    state: 0,
    flags: kept,
    protocol: 0,
    isProxy,
    type: typeof local === 'number' ? Rt.RTN_UNICAST : local.type,
  };
  if (found === undefined) namespace.neighbours.push(neighbour);
  if (protocol !== undefined) neighbour.protocol = protocol;
  if (isProxy) return;
  // Without REPLACE, an entry that has another address stays as it is.
  const isOther = hardware !== undefined && neighbour.hardware !== undefined && !equal(neighbour.hardware, hardware);
  if (isOther && (request.flags & NLM_F_REPLACE) === 0) return;
  const isChanged =
    neighbour.state !== state || isOther || (hardware !== undefined && neighbour.hardware === undefined);
  neighbour.hardware = hardware ?? neighbour.hardware;
  neighbour.state = state;
  neighbour.flags = kept;
  if (isChanged) tell(call, Rt.RTNLGRP_NEIGH, Rt.RTM_NEWNEIGH, 0, writer => write(writer, neighbour));
}

/** An entry is told as failed, then as gone. */
export function deleteNeighbour(call: Call): void {
  const { found: named, isProxy } = read(call);
  const { neighbours } = call.namespace;
  const found = named ?? refuse(ENOENT);
  neighbours.splice(neighbours.indexOf(found), 1);
  if (isProxy) return;
  const failed: Neighbour = { ...found, state: Nd.NUD_FAILED, hardware: undefined };
  tell(call, Rt.RTNLGRP_NEIGH, Rt.RTM_NEWNEIGH, 0, writer => write(writer, failed));
  tellOf(call.machine, call.namespace, Rt.RTNLGRP_NEIGH, Rt.RTM_DELNEIGH, writer => write(writer, failed));
}

/** With a device that goes down its neighbours go, or those of a family. */
export function forgetNeighbours(machine: Machine, namespace: Namespace, device: number, family?: number): void {
  const gone = namespace.neighbours.filter(
    each => each.device === device && (family === undefined || each.family === family),
  );
  namespace.neighbours = namespace.neighbours.filter(each => !gone.includes(each));
  for (const each of gone)
    if (!each.isProxy) tellOf(machine, namespace, Rt.RTNLGRP_NEIGH, Rt.RTM_DELNEIGH, writer => write(writer, each));
}

export function* listNeighbours({ namespace, request }: Call): Generator<Uint8Array> {
  const family = request.bytes[HEADER] ?? 0;
  const wantsProxies = ((request.bytes[HEADER + 10] ?? 0) & Nd.NTF_PROXY) !== 0;
  for (const one of namespace.neighbours)
    if ((family === 0 || one.family === family) && one.isProxy === wantsProxies)
      yield message(request, Rt.RTM_NEWNEIGH, NLM_F_MULTI, writer => write(writer, one));
}
