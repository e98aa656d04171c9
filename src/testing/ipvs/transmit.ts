import { ETH_P_IP } from '../../linux/if_ether.ts';
import * as Vs from '../../linux/ip_vs.ts';
import { NF_ACCEPT, NF_DROP, NF_STOLEN, NF_INET_LOCAL_OUT as OUTPUT } from '../../linux/netfilter.ts';
import type { Machine } from '../machine/machine.ts';
import type { Link, Namespace } from '../machine/state.ts';
import { lowerHops } from '../packets/internet.ts';
import { destinationOf, type Packet, sourceOf } from '../packets/packet.ts';
import { isLocal } from './address.ts';
import { encapsulate, overheadOf, redirect } from './rewrite.ts';
import type { Destination, IpvsConnection } from './state.ts';

/** A server, and the way to it. */
export interface Forwarded {
  readonly address: Uint8Array;
  readonly port: number;
  readonly method: number;
}

/** The network around IPVS. */
export interface Host {
  /** The device through which an address is reached. */
  route(address: Uint8Array): Link | undefined;
  /** The address of a device from which packets to an address come. */
  sourceFor(device: Link, address: Uint8Array): Uint8Array | undefined;
  /** Answers with an ICMP error. The caller drops the packet. */
  refuse(packet: Packet, reason: 'port unreachable' | 'time exceeded' | 'too big'): void;
  /** A server has been chosen. `device` is undefined where the packet stays here. */
  forwarded(to: Forwarded, device: Link | undefined): void;
}

export interface Context {
  readonly machine: Machine;
  readonly namespace: Namespace;
  readonly host: Host;
  /** In milliseconds. */
  readonly now: number;
}

export const setting = ({ sysctls }: Namespace, name: string): number =>
  Number(sysctls.get(`net/ipv4/vs/${name}`) ?? '0');

const KIND = ['ipip', 'gue', 'gre'] as const;

/** Sends a packet to the server of its connection. @returns the verdict: accepted is what stays here, stolen what goes out */
export function transmit(context: Context, packet: Packet, connection: IpvsConnection): number {
  const { machine, namespace } = context;
  if (setting(namespace, 'conntrack') !== 0)
    return machine.notModelled('IPVS with connection tracking (net.ipv4.vs.conntrack)');
  const { method, destination, server } = connection;
  switch (method) {
    case Vs.IP_VS_CONN_F_LOCALNODE:
      return stay(context, packet, connection);
    case Vs.IP_VS_CONN_F_MASQ:
      return masquerade(context, packet, connection);
    case Vs.IP_VS_CONN_F_DROUTE:
      return isLocal(namespace, server.address)
        ? stay(context, packet, connection)
        : leave(context, packet, connection, server.address);
    case Vs.IP_VS_CONN_F_TUNNEL:
      return isLocal(namespace, server.address)
        ? stay(context, packet, connection)
        : tunnel(context, packet, connection, destination!);
    case Vs.IP_VS_CONN_F_BYPASS: {
      const target = destinationOf(packet);
      return isLocal(namespace, target) ? NF_DROP : leave(context, packet, connection, target);
    }
    default:
      // The kernel knows no way, and lets it pass.
      return NF_ACCEPT;
  }
}

/** It goes on to the sockets of this host. */
function stay({ host }: Context, packet: Packet, { server, method }: IpvsConnection): number {
  packet.balanced = true;
  untrack(packet);
  host.forwarded({ ...server, method }, undefined);
  return NF_ACCEPT;
}

function untrack(packet: Packet): void {
  packet.tracked = undefined;
  packet.untracked = true;
}

const isLoopback = (address: Uint8Array): boolean =>
  address.length === 4 ? address[0] === 127 : address.every((byte, i) => byte === Number(i === 15));

/** The way out, if the packet may take it: its TTL is one less from here on. */
function wayOut({ host }: Context, packet: Packet, address: Uint8Array, room: number): Link | undefined {
  const device = host.route(address);
  if (device === undefined || isLoopback(sourceOf(packet))) return undefined;
  if (!lowerHops(packet, false)) {
    host.refuse(packet, 'time exceeded');
    return undefined;
  }
  const { bytes, protocol } = packet;
  const mayNotBeCut = protocol !== ETH_P_IP || (bytes[6]! & 0x40) !== 0;
  if (mayNotBeCut && bytes.length > device.mtu - room) {
    host.refuse(packet, 'too big');
    return undefined;
  }
  return device;
}

function leave(context: Context, packet: Packet, { server, method }: IpvsConnection, address: Uint8Array): number {
  const device = wayOut(context, packet, address, 0);
  if (device === undefined) return NF_DROP;
  return send(context, packet, { ...server, ...(method === Vs.IP_VS_CONN_F_BYPASS && { address }), method }, device);
}

function send({ host }: Context, packet: Packet, to: Forwarded, device: Link): number {
  packet.balanced = true;
  untrack(packet);
  host.forwarded(to, device);
  return NF_STOLEN;
}

function masquerade(context: Context, packet: Packet, connection: IpvsConnection): number {
  const { server, method } = connection;
  const { machine, namespace } = context;
  if (connection.virtual.port === FTP) return machine.notModelled('FTP by masquerading');
  if (isLocal(namespace, server.address)) {
    // Nobody outside may reach the loopback address.
    if (isLoopback(server.address) && packet.inDevice !== undefined && !packet.inDevice.loopback) return NF_DROP;
    redirect(packet, 'target', server);
    return stay(context, packet, connection);
  }
  const device = wayOut(context, packet, server.address, 0);
  if (device === undefined) return NF_DROP;
  redirect(packet, 'target', server);
  return send(context, packet, { ...server, method }, device);
}

const FTP = 21;

function tunnel(context: Context, packet: Packet, { server, method }: IpvsConnection, to: Destination): number {
  const { host, namespace } = context;
  const type = KIND[to.tunnelType] ?? 'ipip';
  const hasSum =
    (to.tunnelFlags & Vs.IP_VS_TUNNEL_ENCAP_FLAG_CSUM) !== 0 ||
    (type === 'gue' && (to.tunnelFlags & Vs.IP_VS_TUNNEL_ENCAP_FLAG_REMCSUM) !== 0);
  const room = overheadOf({ type, hasSum }, server.address.length === 16);
  const keepsDf = setting(namespace, 'pmtu_disc') !== 0;
  const device = wayOut(context, packet, server.address, keepsDf || packet.protocol !== ETH_P_IP ? room : -Infinity);
  const from = device && host.sourceFor(device, server.address);
  if (device === undefined || from === undefined) return NF_DROP;
  encapsulate(packet, { type, port: to.tunnelPort, hasSum, from, to: server.address, keepsDf });
  packet.balanced = true;
  // Unlike other packets it is tracked anew.
  packet.tracked = undefined;
  packet.untracked = false;
  host.forwarded({ ...server, method }, device);
  return NF_STOLEN;
}

/** Sends an ICMP error to the server that it concerns (ip_vs_icmp_xmit). */
export function transmitError(
  context: Context,
  packet: Packet,
  connection: IpvsConnection,
  hook: number,
  rewrite: () => void,
): number {
  const { server, method } = connection;
  if (method !== Vs.IP_VS_CONN_F_MASQ) return hook === OUTPUT ? NF_ACCEPT : transmit(context, packet, connection);
  if (isLocal(context.namespace, server.address)) {
    rewrite();
    return stay(context, packet, connection);
  }
  const device = wayOut(context, packet, server.address, -Infinity);
  if (device === undefined) return NF_DROP;
  rewrite();
  return send(context, packet, { ...server, method }, device);
}
