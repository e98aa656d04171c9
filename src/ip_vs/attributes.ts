import {
  attribute,
  attributes,
  byteString,
  bytes,
  type Infer,
  nested,
  opt,
  s32ne,
  string,
  struct,
  U8,
  U16_NE,
  U32_NE,
  u16be,
  u16ne,
  u32ne,
} from '../codec/index.ts';
import * as C from '../linux/ip_vs.ts';
import { type Stats, stats32, stats64 } from './stats.ts';

/** `struct ip_vs_flags` (include/uapi/linux/ip_vs.h): only the bits of the mask are changed. */
export const ip_vs_flags = struct('ip_vs_flags', { flags: [4, U32_NE], mask: [4, U32_NE] });

/** Four bytes of an IPv4 address, or sixteen. The kernel always answers with sixteen, and what follows an IPv4 address means nothing. */
const address = byteString({ min: 4, max: 16 });

export const serviceTable = attributes('IPVS_SVC_ATTR', {
  family: u16ne(C.IPVS_SVC_ATTR_AF),
  /** An IP protocol number; absent for a firewall mark. */
  protocol: opt(u16ne(C.IPVS_SVC_ATTR_PROTOCOL)),
  address: opt(attribute(C.IPVS_SVC_ATTR_ADDR, address)),
  port: opt(u16be(C.IPVS_SVC_ATTR_PORT)),
  firewallMark: opt(u32ne(C.IPVS_SVC_ATTR_FWMARK)),
  scheduler: opt(string(C.IPVS_SVC_ATTR_SCHED_NAME, C.IP_VS_SCHEDNAME_MAXLEN - 1)),
  engine: opt(string(C.IPVS_SVC_ATTR_PE_NAME, C.IP_VS_PENAME_MAXLEN)),
  flags: opt(attribute(C.IPVS_SVC_ATTR_FLAGS, ip_vs_flags)),
  /** Persistence, in seconds. */
  timeout: opt(u32ne(C.IPVS_SVC_ATTR_TIMEOUT)),
  /** IPv4: the mask's bytes in network order. IPv6: a prefix length as a number in host order. */
  netmask: opt(bytes(C.IPVS_SVC_ATTR_NETMASK, { min: 4, max: 4 })),
  stats: opt(nested(C.IPVS_SVC_ATTR_STATS, stats32)),
  stats64: opt(nested(C.IPVS_SVC_ATTR_STATS64, stats64)),
});

export const destinationTable = attributes('IPVS_DEST_ATTR', {
  address: attribute(C.IPVS_DEST_ATTR_ADDR, address),
  port: u16be(C.IPVS_DEST_ATTR_PORT),
  /** IP_VS_CONN_F_*, three bits. */
  forward: opt(u32ne(C.IPVS_DEST_ATTR_FWD_METHOD)),
  weight: opt(s32ne(C.IPVS_DEST_ATTR_WEIGHT)),
  tunnelType: opt(attribute(C.IPVS_DEST_ATTR_TUN_TYPE, U8)),
  tunnelPort: opt(u16be(C.IPVS_DEST_ATTR_TUN_PORT)),
  /** Host order, unlike the port before it. */
  tunnelFlags: opt(attribute(C.IPVS_DEST_ATTR_TUN_FLAGS, U16_NE)),
  upperThreshold: opt(u32ne(C.IPVS_DEST_ATTR_U_THRESH)),
  lowerThreshold: opt(u32ne(C.IPVS_DEST_ATTR_L_THRESH)),
  activeConnections: opt(u32ne(C.IPVS_DEST_ATTR_ACTIVE_CONNS)),
  inactiveConnections: opt(u32ne(C.IPVS_DEST_ATTR_INACT_CONNS)),
  persistentConnections: opt(u32ne(C.IPVS_DEST_ATTR_PERSIST_CONNS)),
  stats: opt(nested(C.IPVS_DEST_ATTR_STATS, stats32)),
  /** Linux 3.18; older kernels mean the service's family. */
  family: opt(u16ne(C.IPVS_DEST_ATTR_ADDR_FAMILY)),
  stats64: opt(nested(C.IPVS_DEST_ATTR_STATS64, stats64)),
});

export const daemonTable = attributes('IPVS_DAEMON_ATTR', {
  state: opt(u32ne(C.IPVS_DAEMON_ATTR_STATE)),
  interface: opt(string(C.IPVS_DAEMON_ATTR_MCAST_IFN, C.IP_VS_IFNAME_MAXLEN - 1)),
  syncId: opt(u32ne(C.IPVS_DAEMON_ATTR_SYNC_ID)),
  /* Linux 4.3 from here on. */
  maxLength: opt(u16ne(C.IPVS_DAEMON_ATTR_SYNC_MAXLEN)),
  group: opt(bytes(C.IPVS_DAEMON_ATTR_MCAST_GROUP, { min: 4, max: 4 })),
  group6: opt(bytes(C.IPVS_DAEMON_ATTR_MCAST_GROUP6, { min: 16, max: 16 })),
  /** Host order: the only port of the interface that is. */
  port: opt(u16ne(C.IPVS_DAEMON_ATTR_MCAST_PORT)),
  ttl: opt(attribute(C.IPVS_DAEMON_ATTR_MCAST_TTL, U8)),
});

/** The top level of every request and answer but those about INFO, whose attributes have the same numbers. */
export const commandTable = attributes('IPVS_CMD_ATTR', {
  service: opt(nested(C.IPVS_CMD_ATTR_SERVICE, serviceTable)),
  destination: opt(nested(C.IPVS_CMD_ATTR_DEST, destinationTable)),
  daemon: opt(nested(C.IPVS_CMD_ATTR_DAEMON, daemonTable)),
  /** Idle TCP connections, in seconds; 0 leaves it as it is. */
  tcpSeconds: opt(u32ne(C.IPVS_CMD_ATTR_TIMEOUT_TCP)),
  tcpFinSeconds: opt(u32ne(C.IPVS_CMD_ATTR_TIMEOUT_TCP_FIN)),
  udpSeconds: opt(u32ne(C.IPVS_CMD_ATTR_TIMEOUT_UDP)),
});

export const infoTable = attributes('IPVS_INFO_ATTR', {
  /** One byte each: major, minor, patch. */
  version: opt(u32ne(C.IPVS_INFO_ATTR_VERSION)),
  connectionTableSize: opt(u32ne(C.IPVS_INFO_ATTR_CONN_TAB_SIZE)),
});

export type WireCommand = Infer<typeof commandTable>;
/** `counters` is what `stats` or `stats64` say, where they were read in another way; no attribute. */
export type WireService = Infer<typeof serviceTable> & { counters?: Stats };
export type WireDestination = Infer<typeof destinationTable> & { counters?: Stats };
export type WireDaemon = Infer<typeof daemonTable>;
