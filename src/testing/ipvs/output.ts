import * as Vs from '../../linux/ip_vs.ts';
import { NF_ACCEPT, NF_DROP } from '../../linux/netfilter.ts';
import { destinationOf, type Packet, sourceOf, u16 } from '../packets/packet.ts';
import { isSame } from './address.ts';
import { count, keyOf } from './connections.ts';
import { follow } from './input.ts';
import { isSummed, quotedIn, redirect, redirectError } from './rewrite.ts';
import { type Context, setting } from './transmit.ts';

/* Answers of servers (ip_vs_out_hook of net/netfilter/ipvs/ip_vs_core.c). */

const TCP = 6;
const UDP = 17;
const RST = 4;

/** The hook for answers: those of masqueraded servers come from the virtual address again. */
export function output(context: Context, packet: Packet): number {
  const { namespace, host, now } = context;
  if (packet.balanced === true) return NF_ACCEPT;
  const related = outputError(context, packet);
  if (related !== undefined) return related;
  const { bytes, transport, transportProtocol: protocol } = packet;
  if (transport === undefined || (protocol !== TCP && protocol !== UDP) || bytes.length < transport + 4)
    return NF_ACCEPT;
  const server = { address: new Uint8Array(sourceOf(packet)), port: u16(bytes, transport) };
  const client = { address: new Uint8Array(destinationOf(packet)), port: u16(bytes, transport + 2) };
  const flags = protocol === TCP ? (bytes[transport + 13] ?? 0) : 0;
  const connection = namespace.ipvs.replies.get(keyOf(protocol, client, server))?.[0];
  if (connection === undefined) {
    const isRefused =
      setting(namespace, 'nat_icmp_send') !== 0 && isMasqueraded(context, protocol, server) && (flags & RST) === 0;
    if (!isRefused) return NF_ACCEPT;
    host.refuse(packet, 'port unreachable');
    return NF_DROP;
  }
  if (connection.method === Vs.IP_VS_CONN_F_MASQ) redirect(packet, 'source', connection.virtual);
  count(namespace, connection, now, 'out', bytes.length);
  follow(namespace, connection, flags, 'output');
  packet.balanced = true;
  packet.tracked = undefined;
  packet.untracked = true;
  connection.expires = now + connection.timeout;
  return NF_ACCEPT;
}

/** Whether an address and port are those of a masqueraded server. */
function isMasqueraded(
  { namespace }: Context,
  protocol: number,
  { address, port }: { readonly address: Uint8Array; readonly port: number },
): boolean {
  return namespace.ipvs.services.some(
    service =>
      (service.mark !== 0 || service.protocol === protocol) &&
      service.destinations.some(
        each =>
          (each.flags & Vs.IP_VS_CONN_F_FWD_MASK) === Vs.IP_VS_CONN_F_MASQ &&
          each.port === port &&
          isSame(each.address, address),
      ),
  );
}

/** An ICMP error about a packet that a server was sent, on its way to the client (ip_vs_out_icmp). */
function outputError(context: Context, packet: Packet): number | undefined {
  const { namespace, now } = context;
  const quoted = quotedIn(packet);
  if (quoted === undefined) return undefined;
  const connection = namespace.ipvs.replies.get(keyOf(quoted.protocol, quoted.source, quoted.target))?.[0];
  if (connection === undefined) return NF_ACCEPT;
  if (connection.method !== Vs.IP_VS_CONN_F_MASQ || !isSummed(packet)) return NF_DROP;
  redirectError(packet, quoted, 'client', connection.virtual);
  count(namespace, connection, now, 'out', packet.bytes.length);
  packet.balanced = true;
  packet.tracked = undefined;
  packet.untracked = true;
  return NF_ACCEPT;
}
