import { attribute, attributes, bytes, type Infer, nested, opt, string, U8, u16ne, u32ne } from '../codec/index.ts';
import * as C from '../linux/ip_vs.ts';
import { destinationRows } from './destination-rows.ts';
import { serviceRows } from './service-rows.ts';
import type { Stats } from './stats.ts';

export const serviceTable = attributes('IPVS_SVC_ATTR', serviceRows);
export const destinationTable = attributes('IPVS_DEST_ATTR', destinationRows);

export const daemonTable = attributes('IPVS_DAEMON_ATTR', () => ({
  state: opt(u32ne(C.IPVS_DAEMON_ATTR_STATE)),
  interface: opt(string(C.IPVS_DAEMON_ATTR_MCAST_IFN, C.IP_VS_IFNAME_MAXLEN - 1)),
  syncId: opt(u32ne(C.IPVS_DAEMON_ATTR_SYNC_ID)),
  /* Linux 4.3 from here on. */
  maxLength: opt(u16ne(C.IPVS_DAEMON_ATTR_SYNC_MAXLEN)),
  group: opt(bytes(C.IPVS_DAEMON_ATTR_MCAST_GROUP, { min: 4, max: 4 })),
  group6: opt(bytes(C.IPVS_DAEMON_ATTR_MCAST_GROUP6, { min: 16, max: 16 })),
  /** In host order, unlike every other port of the interface. */
  port: opt(u16ne(C.IPVS_DAEMON_ATTR_MCAST_PORT)),
  ttl: opt(attribute(C.IPVS_DAEMON_ATTR_MCAST_TTL, U8)),
}));

/** The top level of every request and answer. Those about INFO have a table of their own, whose attributes have the same numbers. */
export const commandTable = attributes('IPVS_CMD_ATTR', () => ({
  service: opt(nested(C.IPVS_CMD_ATTR_SERVICE, serviceTable)),
  destination: opt(nested(C.IPVS_CMD_ATTR_DEST, destinationTable)),
  daemon: opt(nested(C.IPVS_CMD_ATTR_DAEMON, daemonTable)),
  /** Of idle TCP connections, in seconds. 0 leaves it unchanged. */
  tcpSeconds: opt(u32ne(C.IPVS_CMD_ATTR_TIMEOUT_TCP)),
  tcpFinSeconds: opt(u32ne(C.IPVS_CMD_ATTR_TIMEOUT_TCP_FIN)),
  udpSeconds: opt(u32ne(C.IPVS_CMD_ATTR_TIMEOUT_UDP)),
}));

export const infoTable = attributes('IPVS_INFO_ATTR', () => ({
  /** One byte each: major, minor, patch. */
  version: opt(u32ne(C.IPVS_INFO_ATTR_VERSION)),
  connectionTableSize: opt(u32ne(C.IPVS_INFO_ATTR_CONN_TAB_SIZE)),
}));

export type WireCommand = Infer<typeof commandTable>;
/** `counters` is no attribute: a fast reader puts the counters there instead of `stats` and `stats64`. */
export type WireService = Infer<typeof serviceTable> & { counters?: Stats };
export type WireDestination = Infer<typeof destinationTable> & { counters?: Stats };
export type WireDaemon = Infer<typeof daemonTable>;
