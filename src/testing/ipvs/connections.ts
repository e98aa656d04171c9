import * as Vs from '../../linux/ip_vs.ts';
import type { Namespace } from '../machine/state.ts';
import { hex } from './address.ts';
import { settle } from './estimator.ts';
import type { Destination, End, Ipvs, IpvsConnection } from './state.ts';

/* The table of connections (net/netfilter/ipvs/ip_vs_conn.c). */

const UDP = 17;
/** Of a template that still has connections when its time is over. */
const LATER = 60_000;
/** Before the first packet says better. */
const FIRST_TIMEOUT = 3000;

export const endKey = ({ address, port }: End): string => `${hex(address)}:${port}`;
export const keyOf = (protocol: number, client: End, other: End): string =>
  `${protocol} ${endKey(client)} ${endKey(other)}`;

type NewConnection = Pick<IpvsConnection, 'family' | 'protocol' | 'client' | 'virtual' | 'server'> & {
  readonly destination: Destination | undefined;
  readonly method?: number;
  readonly isTemplate?: boolean;
  readonly isOnePacket?: boolean;
  readonly timeout?: number;
  readonly control?: IpvsConnection;
};

/** Makes a connection and binds it to its server. One for a single packet is not put into the table. */
export function connect(ipvs: Ipvs, now: number, made: NewConnection): IpvsConnection {
  const { destination, protocol, isTemplate = false, isOnePacket = false, timeout = FIRST_TIMEOUT } = made;
  const connection: IpvsConnection = {
    family: made.family,
    protocol,
    client: made.client,
    virtual: made.virtual,
    server: made.server,
    destination,
    method: made.method ?? (destination?.flags ?? 0) & Vs.IP_VS_CONN_F_FWD_MASK,
    isTemplate,
    isOnePacket,
    noOutput: ((destination?.flags ?? 0) & Vs.IP_VS_CONN_F_NOOUTPUT) !== 0,
    state: !isTemplate && protocol === UDP ? 'UDP' : 'NONE',
    inactive: true,
    assured: false,
    timeout,
    expires: now + timeout,
    control: made.control,
    controlled: 0,
  };
  if (made.control !== undefined) made.control.controlled++;
  if (destination !== undefined) bind(destination, isTemplate);
  if (isOnePacket) return connection;
  ipvs.entries.add(connection);
  const key = keyOf(protocol, connection.client, connection.virtual);
  if (isTemplate) {
    ipvs.templates.set(key, connection);
    return connection;
  }
  ipvs.connections.set(key, connection);
  const replyKey = keyOf(protocol, connection.client, connection.server);
  const others = ipvs.replies.get(replyKey);
  if (others === undefined) ipvs.replies.set(replyKey, [connection]);
  else others.unshift(connection);
  return connection;
}

function bind(destination: Destination, isTemplate: boolean): void {
  destination.references++;
  if (isTemplate) destination.persistent++;
  else destination.inactive++;
  const { upper, active, inactive } = destination;
  if (upper !== 0 && active + inactive >= upper) destination.overloaded = true;
}

/** A server that has had as many connections as its upper threshold gets none until it is below the lower one. */
function unbind(destination: Destination, { isTemplate, inactive: isInactive }: IpvsConnection): void {
  destination.references--;
  if (isTemplate) destination.persistent--;
  else if (isInactive) destination.inactive--;
  else destination.active--;
  const { upper, lower, active, inactive } = destination;
  const total = active + inactive;
  if (lower !== 0 ? total < lower : upper === 0 || total * 4 < upper * 3) destination.overloaded = false;
}

/** Takes a connection out of the table, and lets its server and its template go. */
export function end(ipvs: Ipvs, connection: IpvsConnection): void {
  const { protocol, client, virtual, server, control, destination } = connection;
  ipvs.entries.delete(connection);
  const table = connection.isTemplate ? ipvs.templates : ipvs.connections;
  const key = keyOf(protocol, client, virtual);
  if (table.get(key) === connection) table.delete(key);
  const replyKey = keyOf(protocol, client, server);
  const others = ipvs.replies.get(replyKey);
  if (others?.includes(connection)) {
    others.splice(others.indexOf(connection), 1);
    if (others.length === 0) ipvs.replies.delete(replyKey);
  }
  if (control !== undefined) control.controlled--;
  if (destination !== undefined) unbind(destination, connection);
}

/** Invalid templates are no client's, and stay until their time is over. */
const NOBODY = 0xffff;
export function invalidate(ipvs: Ipvs, template: IpvsConnection): void {
  const { protocol, client, virtual, server } = template;
  ipvs.templates.delete(keyOf(protocol, client, virtual));
  template.virtual = { address: virtual.address, port: NOBODY };
  template.server = { address: server.address, port: NOBODY };
}

/** Ends the connections whose time is over, and forgets removed destinations that nothing refers to any longer. */
export function expire(namespace: Namespace, now: number): void {
  const { ipvs } = namespace;
  const due = [...ipvs.entries].filter(({ expires }) => expires <= now).sort((a, b) => a.expires - b.expires);
  for (let next = due.shift(); next !== undefined; next = due.shift()) {
    // Ended by one before it.
    if (!ipvs.entries.has(next)) continue;
    if (next.controlled === 0) {
      end(ipvs, next);
      continue;
    }
    next.timeout = LATER;
    next.expires += LATER;
    const { expires } = next;
    if (expires > now) continue;
    const at = due.findIndex(each => each.expires > expires);
    due.splice(at < 0 ? due.length : at, 0, next);
  }
  emptyTrash(namespace, now);
}

const TRASH_INTERVAL = 60_000;
const TRASH_PERIOD = 120_000;

/** Puts a destination where it is found again if it comes back soon. */
export function throwAway({ ipvs }: Namespace, destination: Destination, now: number): void {
  if (ipvs.trash.length === 0) ipvs.trashCheck = now + TRASH_INTERVAL;
  destination.idleSince = undefined;
  ipvs.trash.unshift(destination);
}

function emptyTrash(namespace: Namespace, now: number): void {
  const { ipvs } = namespace;
  for (; ipvs.trash.length > 0 && ipvs.trashCheck <= now; ipvs.trashCheck += TRASH_INTERVAL) {
    const at = ipvs.trashCheck;
    ipvs.trash = ipvs.trash.filter(each => {
      if (each.references > 0) return true;
      if (each.idleSince !== undefined) return at < each.idleSince + TRASH_PERIOD;
      each.idleSince = at;
      return true;
    });
  }
}

/** Ends the connections whose server was taken away: expire_nodest_conn. */
export function flushWithoutServer({ ipvs }: Namespace): void {
  for (const each of [...ipvs.entries]) {
    if (each.destination === undefined || each.destination.available || each.controlled > 0) continue;
    end(ipvs, each);
    const { control } = each;
    if (control !== undefined && control.controlled === 0 && !control.assured) end(ipvs, control);
  }
}

/** Counts a packet where its server is still in use. */
export function count(
  namespace: Namespace,
  { destination }: IpvsConnection,
  now: number,
  direction: 'in' | 'out',
  length: number,
): void {
  if (destination === undefined || !destination.available) return;
  for (const counters of [destination.counters, destination.service.counters, namespace.ipvs.counters]) {
    settle(namespace, counters, now);
    if (direction === 'in') {
      counters.live.inPackets++;
      counters.live.inBytes += length;
    } else {
      counters.live.outPackets++;
      counters.live.outBytes += length;
    }
  }
}

export function countConnection(namespace: Namespace, destination: Destination, now: number): void {
  for (const counters of [destination.counters, destination.service.counters, namespace.ipvs.counters]) {
    settle(namespace, counters, now);
    counters.live.connections++;
  }
}
