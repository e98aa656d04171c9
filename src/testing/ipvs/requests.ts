import * as Vs from '../../linux/ip_vs.ts';
import { AF_INET, AF_INET6 } from '../../linux/socket.ts';
import type { Namespace } from '../machine/state.ts';
import { EAFNOSUPPORT, EINVAL, refuse } from '../refusal.ts';
import type { Attributes } from '../wire/attributes.ts';

import type { DaemonSettings } from './daemons.ts';
import { type DestinationSettings, findService, type ServiceKey, type ServiceSettings } from './operations.ts';
import { DESTINATION_POLICY, type Policy, SERVICE_POLICY, violation } from './policy.ts';
import type { Service } from './state.ts';

/* Requests as their attributes have them (ip_vs_genl_parse_service, ip_vs_genl_parse_dest). */

const TCP = 6;

function insideOf(attributes: Attributes, type: number, policy: Policy): Attributes {
  const inside = attributes.nested(type) ?? refuse(EINVAL);
  if (violation(inside, policy) !== undefined) refuse(EINVAL);
  return inside;
}

export function serviceOf(
  attributes: Attributes,
  namespace: Namespace,
  isWhole: boolean,
): { readonly key: ServiceKey; readonly settings: ServiceSettings | undefined } {
  const inside = insideOf(attributes, Vs.IPVS_CMD_ATTR_SERVICE, SERVICE_POLICY);
  const key = keyOf(inside);
  return { key, settings: isWhole ? settingsOf(inside, findService(namespace, key)) : undefined };
}

function keyOf(inside: Attributes): ServiceKey {
  const family = inside.u16(Vs.IPVS_SVC_ATTR_AF);
  const mark = inside.u32(Vs.IPVS_SVC_ATTR_FWMARK);
  const protocol = inside.u16(Vs.IPVS_SVC_ATTR_PROTOCOL);
  const address = inside.get(Vs.IPVS_SVC_ATTR_ADDR)?.bytes;
  const port = inside.u16be(Vs.IPVS_SVC_ATTR_PORT);
  const hasAddress = protocol !== undefined && address !== undefined && port !== undefined;
  if (family === undefined || (mark === undefined && !hasAddress)) return refuse(EINVAL);
  if (family !== AF_INET && family !== AF_INET6) return refuse(EAFNOSUPPORT);
  // With a mark, be it 0, nothing else counts.
  if (mark !== undefined || !hasAddress)
    return { family, mark: mark ?? 0, protocol: TCP, address: sized(undefined, family), port: 0 };
  return { family, mark: 0, protocol, address: sized(address, family), port };
}

function sized(address: Uint8Array | undefined, family: number): Uint8Array {
  const bytes = new Uint8Array(family === AF_INET ? 4 : 16);
  if (address !== undefined) bytes.set(address.subarray(0, bytes.length));
  return bytes;
}

function settingsOf(inside: Attributes, known: Service | undefined): ServiceSettings {
  const scheduler = inside.text(Vs.IPVS_SVC_ATTR_SCHED_NAME);
  const flags = inside.get(Vs.IPVS_SVC_ATTR_FLAGS)?.bytes;
  const seconds = inside.u32(Vs.IPVS_SVC_ATTR_TIMEOUT);
  const netmask = inside.u32(Vs.IPVS_SVC_ATTR_NETMASK);
  if (scheduler === undefined || flags === undefined || seconds === undefined || netmask === undefined)
    return refuse(EINVAL);
  const words = new Uint8Array(8);
  words.set(flags);
  const view = new DataView(words.buffer);
  const mask = view.getUint32(4, true);
  return {
    scheduler,
    // The one partial update: of the bits in the mask.
    flags: (((known?.flags ?? 0) & ~mask) | (view.getUint32(0, true) & mask)) >>> 0,
    seconds,
    netmask,
    engine: inside.text(Vs.IPVS_SVC_ATTR_PE_NAME) || undefined,
  };
}

export function destinationOf(attributes: Attributes, service: Service, isWhole: boolean): DestinationSettings {
  const inside = insideOf(attributes, Vs.IPVS_CMD_ATTR_DEST, DESTINATION_POLICY);
  const address = inside.get(Vs.IPVS_DEST_ATTR_ADDR)?.bytes;
  const port = inside.u16be(Vs.IPVS_DEST_ATTR_PORT);
  if (address === undefined || port === undefined) return refuse(EINVAL);
  const method = inside.u32(Vs.IPVS_DEST_ATTR_FWD_METHOD);
  const weight = inside.u32(Vs.IPVS_DEST_ATTR_WEIGHT);
  const upper = inside.u32(Vs.IPVS_DEST_ATTR_U_THRESH);
  const lower = inside.u32(Vs.IPVS_DEST_ATTR_L_THRESH);
  if (isWhole && (method === undefined || weight === undefined || upper === undefined || lower === undefined))
    return refuse(EINVAL);
  const family = inside.u16(Vs.IPVS_DEST_ATTR_ADDR_FAMILY) || service.family;
  return {
    family,
    address: sized(address, family),
    port,
    flags: (method ?? 0) & Vs.IP_VS_CONN_F_FWD_MASK,
    weight: (weight ?? 0) | 0,
    upper: upper ?? 0,
    lower: lower ?? 0,
    tunnelType: inside.u8(Vs.IPVS_DEST_ATTR_TUN_TYPE) ?? 0,
    tunnelPort: inside.u16be(Vs.IPVS_DEST_ATTR_TUN_PORT) ?? 0,
    tunnelFlags: inside.u16(Vs.IPVS_DEST_ATTR_TUN_FLAGS) ?? 0,
  };
}

export function daemonOf(inside: Attributes): DaemonSettings {
  const state = inside.u32(Vs.IPVS_DAEMON_ATTR_STATE);
  const name = inside.text(Vs.IPVS_DAEMON_ATTR_MCAST_IFN);
  const syncId = inside.u32(Vs.IPVS_DAEMON_ATTR_SYNC_ID);
  if (state === undefined || name === undefined || syncId === undefined) return refuse(EINVAL);
  const group4 = inside.get(Vs.IPVS_DAEMON_ATTR_MCAST_GROUP)?.bytes.slice(0, 4);
  const group6 = inside.get(Vs.IPVS_DAEMON_ATTR_MCAST_GROUP6)?.bytes.slice(0, 16);
  if (group4 === undefined ? group6 !== undefined && group6[0] !== 0xff : (group4[0]! & 0xf0) !== 0xe0) refuse(EINVAL);
  return {
    state,
    interface: name,
    syncId,
    maxLength: inside.u16(Vs.IPVS_DAEMON_ATTR_SYNC_MAXLEN) ?? 0,
    group: group4 ?? group6,
    port: inside.u16(Vs.IPVS_DAEMON_ATTR_MCAST_PORT) ?? 0,
    ttl: inside.u8(Vs.IPVS_DAEMON_ATTR_MCAST_TTL) ?? 0,
  };
}
