import {
  attributeLength,
  attributeType,
  HOST_IS_LITTLE_ENDIAN as HOST,
  NLA_HDRLEN,
  NO_CONTEXT,
  nextAttribute,
  type Source,
  toHex,
  toText,
} from '../../codec/index.ts';
import { DecodeError } from '../../errors.ts';
import { commandTable, type WireCommand, type WireDestination, type WireService } from '../../ip_vs/attributes.ts';
import { count64, type Stats } from '../../ip_vs/stats.ts';
import * as C from '../../linux/ip_vs.ts';
import { AF_INET } from '../../linux/socket.ts';
import { genlmsghdr, type Message } from '../../netlink/index.ts';

/*
 * Services and servers out of a dump, which has thousands: one walk over the attributes, without the 32-bit counters that stand beside those
 * of 64 bits, and without the bytes behind an IPv4 address, which mean nothing. What an attribute is says its row in attributes.ts; a message
 * with anything that is not as that says, or that is not known here, is read by the table. A property test holds the two ways against each
 * other (test/unit/ipvs-listed.test.ts).
 */

/** A service out of a dump; undefined if the message has none. Without `withStats` its counters are left out. */
export function listedService(message: Message, withStats: boolean): WireService | undefined {
  try {
    return walkService(message, withStats);
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    return byTable(message)?.service;
  }
}

/** As above, a server. */
export function listedDestination(message: Message, withStats: boolean): WireDestination | undefined {
  try {
    return walkDestination(message, withStats);
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    return byTable(message)?.destination;
  }
}

function byTable({ source, payload, end }: Message): WireCommand | undefined {
  return commandTable.read(source, payload + genlmsghdr.size, end, NO_CONTEXT);
}

function walkService({ source, payload, end }: Message, withStats: boolean): WireService {
  const { view, bytes } = source;
  const service: WireService = { family: 0 };
  const flags = { flags: 0, mask: 0 };
  let addressAt = 0;
  let seen = 0;
  const start = nestAt(view, payload + genlmsghdr.size, end, C.IPVS_CMD_ATTR_SERVICE);
  for (let at = start; at < end; at = nextAttribute(view, at)) {
    const size = attributeLength(view, at, end) - NLA_HDRLEN;
    const value = at + NLA_HDRLEN;
    const type = attributeType(view, at);
    seen = withBit(seen, type);
    switch (type) {
      case C.IPVS_SVC_ATTR_AF:
        service.family = u16(view, value, size, HOST);
        break;
      case C.IPVS_SVC_ATTR_PROTOCOL:
        service.protocol = u16(view, value, size, HOST);
        break;
      case C.IPVS_SVC_ATTR_ADDR:
        addressAt = address(value, size);
        break;
      case C.IPVS_SVC_ATTR_PORT:
        service.port = u16(view, value, size, false);
        break;
      case C.IPVS_SVC_ATTR_FWMARK:
        service.firewallMark = u32(view, value, size);
        break;
      case C.IPVS_SVC_ATTR_SCHED_NAME:
        service.scheduler = name(source, value, size, C.IP_VS_SCHEDNAME_MAXLEN - 1);
        break;
      case C.IPVS_SVC_ATTR_PE_NAME:
        service.engine = name(source, value, size, C.IP_VS_PENAME_MAXLEN);
        break;
      case C.IPVS_SVC_ATTR_FLAGS:
        if (size !== 8) throw odd();
        flags.flags = view.getUint32(value, HOST);
        flags.mask = view.getUint32(value + 4, HOST);
        service.flags = flags;
        break;
      case C.IPVS_SVC_ATTR_TIMEOUT:
        service.timeout = u32(view, value, size);
        break;
      case C.IPVS_SVC_ATTR_NETMASK:
        if (size !== 4) throw odd();
        service.netmask = toHex(bytes, value, value + 4);
        break;
      case C.IPVS_SVC_ATTR_STATS:
        break;
      case C.IPVS_SVC_ATTR_STATS64:
        if (withStats) service.counters = counters(view, value, value + size);
        break;
      default:
        throw odd();
    }
  }
  // Older kernels have no 64-bit counters.
  if ((seen & SERVICE_ATTRIBUTES) !== SERVICE_ATTRIBUTES) throw odd();
  if (addressAt !== 0) service.address = toHex(bytes, addressAt, addressAt + lengthOf(service.family));
  return service;
}

function walkDestination({ source, payload, end }: Message, withStats: boolean): WireDestination {
  const { view, bytes } = source;
  const server: WireDestination = {
    address: '',
    port: 0,
    family: 0,
    forward: 0,
    weight: 0,
    upperThreshold: 0,
    lowerThreshold: 0,
    activeConnections: 0,
    inactiveConnections: 0,
    persistentConnections: 0,
  };
  let addressAt = 0;
  let family = 0;
  let seen = 0;
  const start = nestAt(view, payload + genlmsghdr.size, end, C.IPVS_CMD_ATTR_DEST);
  for (let at = start; at < end; at = nextAttribute(view, at)) {
    const size = attributeLength(view, at, end) - NLA_HDRLEN;
    const value = at + NLA_HDRLEN;
    const type = attributeType(view, at);
    seen = withBit(seen, type);
    switch (type) {
      case C.IPVS_DEST_ATTR_ADDR:
        addressAt = address(value, size);
        break;
      case C.IPVS_DEST_ATTR_PORT:
        server.port = u16(view, value, size, false);
        break;
      case C.IPVS_DEST_ATTR_FWD_METHOD:
        server.forward = u32(view, value, size);
        break;
      case C.IPVS_DEST_ATTR_WEIGHT:
        server.weight = u32(view, value, size) | 0;
        break;
      case C.IPVS_DEST_ATTR_U_THRESH:
        server.upperThreshold = u32(view, value, size);
        break;
      case C.IPVS_DEST_ATTR_L_THRESH:
        server.lowerThreshold = u32(view, value, size);
        break;
      case C.IPVS_DEST_ATTR_ACTIVE_CONNS:
        server.activeConnections = u32(view, value, size);
        break;
      case C.IPVS_DEST_ATTR_INACT_CONNS:
        server.inactiveConnections = u32(view, value, size);
        break;
      case C.IPVS_DEST_ATTR_PERSIST_CONNS:
        server.persistentConnections = u32(view, value, size);
        break;
      case C.IPVS_DEST_ATTR_ADDR_FAMILY:
        family = u16(view, value, size, HOST);
        break;
      case C.IPVS_DEST_ATTR_TUN_TYPE:
        if (size !== 1) throw odd();
        server.tunnelType = bytes[value]!;
        break;
      case C.IPVS_DEST_ATTR_TUN_PORT:
        server.tunnelPort = u16(view, value, size, false);
        break;
      case C.IPVS_DEST_ATTR_TUN_FLAGS:
        server.tunnelFlags = u16(view, value, size, HOST);
        break;
      case C.IPVS_DEST_ATTR_STATS:
        break;
      case C.IPVS_DEST_ATTR_STATS64:
        if (withStats) server.counters = counters(view, value, value + size);
        break;
      default:
        throw odd();
    }
  }
  // Older kernels have neither the family nor 64-bit counters.
  if ((seen & SERVER_ATTRIBUTES) !== SERVER_ATTRIBUTES) throw odd();
  server.family = family;
  server.address = toHex(bytes, addressAt, addressAt + lengthOf(family));
  return server;
}

const bitsOf = (...types: number[]): number => types.reduce((bits, type) => bits | (1 << type), 0);

/* What a message has to have, to be read here. */
const SERVICE_ATTRIBUTES = bitsOf(C.IPVS_SVC_ATTR_AF, C.IPVS_SVC_ATTR_STATS64);
const SERVER_ATTRIBUTES = bitsOf(
  C.IPVS_DEST_ATTR_ADDR,
  C.IPVS_DEST_ATTR_PORT,
  C.IPVS_DEST_ATTR_FWD_METHOD,
  C.IPVS_DEST_ATTR_WEIGHT,
  C.IPVS_DEST_ATTR_U_THRESH,
  C.IPVS_DEST_ATTR_L_THRESH,
  C.IPVS_DEST_ATTR_ACTIVE_CONNS,
  C.IPVS_DEST_ATTR_INACT_CONNS,
  C.IPVS_DEST_ATTR_PERSIST_CONNS,
  C.IPVS_DEST_ATTR_ADDR_FAMILY,
  C.IPVS_DEST_ATTR_STATS64,
);
const COUNTERS = (2 << C.IPVS_STATS_ATTR_OUTBPS) - (1 << C.IPVS_STATS_ATTR_CONNS);

/** Of two attributes with one number the table keeps the second apart. */
function withBit(seen: number, type: number): number {
  const bit = 1 << type;
  if (type > 30 || (seen & bit) !== 0) throw odd();
  return seen | bit;
}

/** Where the attributes of the one nest of a message begin: it fills the message. */
function nestAt(view: DataView, at: number, end: number, type: number): number {
  if (end - at < NLA_HDRLEN || attributeType(view, at) !== type || attributeLength(view, at, end) !== end - at)
    throw odd();
  return at + NLA_HDRLEN;
}

function counters(view: DataView, start: number, end: number): Stats {
  const stats: Stats = {
    connections: 0n,
    inPackets: 0n,
    outPackets: 0n,
    inBytes: 0n,
    outBytes: 0n,
    rates: { connections: 0n, inPackets: 0n, outPackets: 0n, inBytes: 0n, outBytes: 0n },
  };
  let seen = 0;
  for (let at = start; at < end; at = nextAttribute(view, at)) {
    const size = attributeLength(view, at, end) - NLA_HDRLEN;
    const type = attributeType(view, at);
    if (type === C.IPVS_STATS_ATTR_PAD) continue;
    if (size !== 8) throw odd();
    seen = withBit(seen, type);
    const value = count64(view, at + NLA_HDRLEN);
    switch (type) {
      case C.IPVS_STATS_ATTR_CONNS:
        stats.connections = value;
        break;
      case C.IPVS_STATS_ATTR_INPKTS:
        stats.inPackets = value;
        break;
      case C.IPVS_STATS_ATTR_OUTPKTS:
        stats.outPackets = value;
        break;
      case C.IPVS_STATS_ATTR_INBYTES:
        stats.inBytes = value;
        break;
      case C.IPVS_STATS_ATTR_OUTBYTES:
        stats.outBytes = value;
        break;
      case C.IPVS_STATS_ATTR_CPS:
        stats.rates.connections = value;
        break;
      case C.IPVS_STATS_ATTR_INPPS:
        stats.rates.inPackets = value;
        break;
      case C.IPVS_STATS_ATTR_OUTPPS:
        stats.rates.outPackets = value;
        break;
      case C.IPVS_STATS_ATTR_INBPS:
        stats.rates.inBytes = value;
        break;
      case C.IPVS_STATS_ATTR_OUTBPS:
        stats.rates.outBytes = value;
        break;
      default:
        throw odd();
    }
  }
  if (seen !== COUNTERS) throw odd();
  return stats;
}

const odd = (): DecodeError => new DecodeError('an attribute that is not as its row says');

function u16(view: DataView, at: number, size: number, littleEndian: boolean): number {
  if (size !== 2) throw odd();
  return view.getUint16(at, littleEndian);
}

function u32(view: DataView, at: number, size: number): number {
  if (size !== 4) throw odd();
  return view.getUint32(at, HOST);
}

function address(at: number, size: number): number {
  if (size !== 16) throw odd();
  return at;
}

const lengthOf = (family: number): number => (family === AF_INET ? 4 : 16);

function name(source: Source, at: number, size: number, max: number): string {
  const last = at + size - 1;
  const text = size > 0 && size <= max + 1 && source.bytes[last] === 0 ? toText(source, at, last) : undefined;
  if (text === undefined || text.includes('\0')) throw odd();
  return text;
}
