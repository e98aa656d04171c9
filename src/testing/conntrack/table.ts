import { NETLINK_NETFILTER } from '../../linux/netlink.ts';
import { IPS_ASSURED, IPS_CONFIRMED, IPS_DYING, IPS_SRC_NAT_DONE } from '../../linux/nf_conntrack_common.ts';
import { NFT_CT_LABELS } from '../../linux/nf_tables.ts';
import type { Namespace } from '../machine/state.ts';
import { forget, tellExpectation } from './expectations.ts';
import type { Kernel } from './kernel.ts';
import { type Author, EVENT, tell } from './messages.ts';
import { settingOf } from './settings.ts';
import { type Connection, newTcpTracker, type Tuple, type Zone } from './state.ts';
import { isSameAddress, tupleKey } from './tuples.ts';

/* The table of connections: what comes in, and what goes out. */

/** All groups of ctnetlink: NFNLGRP_CONNTRACK_NEW to NFNLGRP_CONNTRACK_EXP_DESTROY. */
const CTNETLINK_GROUPS = [1, 2, 3, 4, 5, 6];

/** A connection that is not in the table yet (__nf_conntrack_alloc, and the extensions that the settings ask for). */
export function newConnection(
  kernel: Kernel,
  namespace: Namespace,
  family: number,
  protocol: number,
  original: Tuple,
  reply: Tuple,
  zone: Zone,
): Connection {
  const { conntrack } = namespace;
  return {
    id: ++conntrack.lastId,
    family,
    protocol,
    zone: zone.id,
    zoneDirections: zone.directions,
    original,
    reply,
    status: 0,
    mark: 0,
    labels: usesLabels(namespace) ? new Uint8Array(16) : undefined,
    expires: kernel.now,
    timeout: 0n,
    tcp: newTcpTracker(),
    sctp: { state: 0, tags: [0, 0] },
    streamAfter: 0n,
    started: settingOf(namespace, 'timestamp') === 1 ? kernel.wallClock : undefined,
    counters:
      settingOf(namespace, 'acct') === 1
        ? [
            { packets: 0n, bytes: 0n },
            { packets: 0n, bytes: 0n },
          ]
        : undefined,
    events: tellsEvents(kernel, namespace) ? 0 : undefined,
    master: undefined,
    helper: undefined,
    adjustments: undefined,
    synproxy: undefined,
    masquerade: undefined,
  };
}

/** By default, only connections that begin while somebody listens are told of. */
function tellsEvents(kernel: Kernel, namespace: Namespace): boolean {
  const setting = settingOf(namespace, 'events');
  return setting === 1 || (setting === 2 && kernel.hears(NETLINK_NETFILTER, CTNETLINK_GROUPS));
}

/** Labels are kept where a rule reads or writes them. */
function usesLabels({ nfTables }: Namespace): boolean {
  return nfTables.tables.some(({ chains }) =>
    chains.some(({ rules }) =>
      rules.some(({ expressions }) =>
        expressions.some(({ name, values }) => name === 'ct' && values.key === NFT_CT_LABELS),
      ),
    ),
  );
}

/** Puts a connection into the table. @returns false where another one has one of its tuples */
export function insert({ conntrack }: Namespace, connection: Connection): boolean {
  const keys = [tupleKey(connection, connection.original, 0), tupleKey(connection, connection.reply, 1)] as const;
  if (keys.some(key => conntrack.tuples.has(key))) return false;
  connection.status |= IPS_CONFIRMED;
  conntrack.connections.add(connection);
  conntrack.tuples.set(keys[0], { connection, direction: 0 });
  conntrack.tuples.set(keys[1], { connection, direction: 1 });
  return true;
}

/** Takes a connection out of the table and tells of its end (nf_ct_delete). */
export function remove(kernel: Kernel, namespace: Namespace, connection: Connection, author?: Author): void {
  const { conntrack } = namespace;
  if (!conntrack.connections.delete(connection)) return;
  conntrack.tuples.delete(tupleKey(connection, connection.original, 0));
  conntrack.tuples.delete(tupleKey(connection, connection.reply, 1));
  connection.status |= IPS_DYING;
  tell(kernel, namespace, connection, EVENT.destroy, author);
  for (const expectation of [...conntrack.expectations])
    if (expectation.master === connection) {
      forget(namespace, expectation);
      tellExpectation(kernel, namespace, 'destroy', expectation, author);
    }
}

/** Whether the time of a connection is over, or the device or the address behind which it is masqueraded is gone (masq_device_event). */
export function isOver(kernel: Kernel, { links }: Namespace, { expires, masquerade, reply }: Connection): boolean {
  if (expires <= kernel.now) return true;
  if (masquerade === undefined) return false;
  const device = links.find(({ index }) => index === masquerade);
  return !device?.up || !device.addresses.some(({ bytes }) => isSameAddress(bytes, reply.destination));
}

/** Takes entries out that are over. */
export function expire(kernel: Kernel, namespace: Namespace): void {
  const { conntrack } = namespace;
  for (const connection of conntrack.connections)
    if (isOver(kernel, namespace, connection)) remove(kernel, namespace, connection);
  for (const expectation of [...conntrack.expectations])
    if (expectation.expires <= kernel.now) {
      forget(namespace, expectation);
      tellExpectation(kernel, namespace, 'destroy', expectation);
    }
}

/**
 * Makes room where the table is full: an entry goes that is not assured. The kernel looks at some neighbours in its hash table, which nobody
 * can foretell; here the oldest goes.
 * @returns whether there is room
 */
export function makeRoom(kernel: Kernel, namespace: Namespace): boolean {
  const { conntrack } = namespace;
  const most = settingOf(namespace, 'max');
  if (most === 0 || conntrack.connections.size < most) return true;
  for (const connection of conntrack.connections) {
    if ((connection.status & IPS_ASSURED) !== 0) continue;
    remove(kernel, namespace, connection);
    conntrack.statistics.earlyDrop++;
    return true;
  }
  conntrack.statistics.drop++;
  return false;
}
