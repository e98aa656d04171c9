import { eachAttribute, HOST_IS_LITTLE_ENDIAN, parseIPv6, readIPv4, sourceOf } from '../../codec/index.ts';
import type { WireCommand } from '../../ip_vs/attributes.ts';
import type { Destination, DestinationKey } from '../../ip_vs/destination.ts';
import { FORWARD } from '../../ip_vs/destination-rows.ts';
import {
  PROTOCOLS,
  SERVICE_FIELDS,
  type Service,
  type ServiceKey,
  type TransportKey,
  writeService,
} from '../../ip_vs/service.ts';
import { SCHEDULERS } from '../../ip_vs/service-rows.ts';
import * as C from '../../linux/ip_vs.ts';
import { AF_INET, AF_INET6 } from '../../linux/socket.ts';
import { EncodedRequests, genlmsghdr, NLMSG_HDRLEN } from '../../netlink/index.ts';
import { encode } from './netlink.ts';

/*
 * A batch has thousands of requests that differ in a few fields. The tables encode one of each kind; the others are copies of it with these
 * fields written over. What is not plain is left to the tables, and so is what is bad: the checks before them say why. A property test
 * holds the two ways against each other (test/unit/ipvs-stamps.test.ts).
 */

/** A request of one kind, and where its fields stand in it. */
class Stamp<Field extends string> {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly at: Readonly<Record<Field, number>>;

  constructor(command: number, value: WireCommand, places: Readonly<Record<Field, readonly number[]>>) {
    const messages = new EncodedRequests(1);
    encode(messages, { command, value });
    this.bytes = messages.bytes(0, 1).slice();
    this.view = new DataView(this.bytes.buffer);
    const found = Object.entries<readonly number[]>(places).map(([field, path]) => [field, find(this.bytes, path)]);
    this.at = Object.fromEntries(found) as Record<Field, number>;
  }
}

/** Where the payload of an attribute begins; `path` has the numbers of the nests around it, and its own. */
function find(bytes: Uint8Array, path: readonly number[]): number {
  let start = NLMSG_HDRLEN + genlmsghdr.size;
  let end = bytes.length;
  for (const number of path) {
    const around = { start, end };
    eachAttribute(sourceOf(bytes), around.start, around.end, (type, payload, payloadEnd) => {
      if (type === number) [start, end] = [payload, payloadEnd];
    });
    if (start === around.start) throw new TypeError(`no attribute ${path.join('.')} to write over`);
  }
  return start;
}

const inService = (number: number): number[] => [C.IPVS_CMD_ATTR_SERVICE, number];
const inDestination = (number: number): number[] => [C.IPVS_CMD_ATTR_DEST, number];
const KEY = {
  family: inService(C.IPVS_SVC_ATTR_AF),
  protocol: inService(C.IPVS_SVC_ATTR_PROTOCOL),
  address: inService(C.IPVS_SVC_ATTR_ADDR),
  port: inService(C.IPVS_SVC_ATTR_PORT),
};
const SERVER_KEY = {
  ...KEY,
  serverAddress: inDestination(C.IPVS_DEST_ATTR_ADDR),
  serverPort: inDestination(C.IPVS_DEST_ATTR_PORT),
  serverFamily: inDestination(C.IPVS_DEST_ATTR_ADDR_FAMILY),
};
const SERVER = {
  ...SERVER_KEY,
  forward: inDestination(C.IPVS_DEST_ATTR_FWD_METHOD),
  weight: inDestination(C.IPVS_DEST_ATTR_WEIGHT),
  upperThreshold: inDestination(C.IPVS_DEST_ATTR_U_THRESH),
  lowerThreshold: inDestination(C.IPVS_DEST_ATTR_L_THRESH),
};
type KeyStamp = Stamp<keyof typeof KEY>;
type ServerKeyStamp = Stamp<keyof typeof SERVER_KEY>;
type ServerStamp = Stamp<keyof typeof SERVER>;

/* What is copied: all of it is written over. */
const ADDRESS_LENGTH = 16;
const BLANK = '00'.repeat(ADDRESS_LENGTH);
const BLANK_KEY = { family: 0, protocol: 0, address: BLANK, port: 0 };
const BLANK_SERVER_KEY = { address: BLANK, port: 0, family: 0 };
const BLANK_SERVER = { ...BLANK_SERVER_KEY, forward: 0, weight: 0, upperThreshold: 0, lowerThreshold: 0 };

const METHODS: ReadonlyMap<unknown, number> = new Map(Object.entries(FORWARD));
const PROTOCOL_NUMBERS: ReadonlyMap<unknown, number> = new Map(Object.entries(PROTOCOLS));
const MAX_COUNT = 0x7fffffff;

/** Stamps requests into one list. Each method returns false, and has added nothing, where a request is not plain. */
export class Stamps {
  readonly #messages: EncodedRequests;
  /** By the scheduler's name, which has a length of its own; IPv6 has another mask. */
  readonly #services4 = new Map<string, KeyStamp>();
  readonly #services6 = new Map<string, KeyStamp>();
  readonly #newServer: ServerStamp = new Stamp(
    C.IPVS_CMD_NEW_DEST,
    { service: BLANK_KEY, destination: BLANK_SERVER },
    SERVER,
  );
  readonly #oldServer: ServerKeyStamp = new Stamp(
    C.IPVS_CMD_DEL_DEST,
    { service: BLANK_KEY, destination: BLANK_SERVER_KEY },
    SERVER_KEY,
  );
  /** The service that the stamps of servers carry: many requests name one, as a rule by the same object. */
  #key: unknown;
  #family = 0;
  #port = 0;

  constructor(messages: EncodedRequests) {
    this.#messages = messages;
  }

  /** A TCP, UDP or SCTP service without persistence and flags. */
  addService(service: Service): boolean {
    if (!isTransport(service) || service.port === 0 || typeof service.scheduler !== 'string') return false;
    let fields = 4;
    if ((service as { destinations?: unknown }).destinations !== undefined) fields++;
    if (countFields(service) !== fields) return false;
    const stamp = this.#serviceStamp(service.scheduler, service.address.includes(':'));
    if (stamp === undefined || writeKey(stamp, service) === 0 || !isReachableAt(stamp)) return false;
    this.#messages.writer.raw(stamp.bytes);
    this.#messages.added();
    return true;
  }

  #serviceStamp(scheduler: string, ipv6: boolean): KeyStamp | undefined {
    const stamps = ipv6 ? this.#services6 : this.#services4;
    const known = stamps.get(scheduler);
    if (known !== undefined || !(SCHEDULERS as readonly string[]).includes(scheduler)) return known;
    const service = writeService({ protocol: 'tcp', address: ipv6 ? '::1' : '127.0.0.1', port: 1, scheduler });
    const stamp: KeyStamp = new Stamp(C.IPVS_CMD_NEW_SERVICE, { service }, KEY);
    stamps.set(scheduler, stamp);
    return stamp;
  }

  /** A server without a type of tunnel, of a service without a firewall mark. */
  addDestination(key: ServiceKey, server: Destination): boolean {
    return this.#carry(key) && this.#add(C.IPVS_CMD_NEW_DEST, server);
  }

  /** As above, and the request before it that replaces the server. */
  setDestination(key: ServiceKey, server: Destination): boolean {
    return this.#carry(key) && this.#add(C.IPVS_CMD_SET_DEST, server) && this.#add(C.IPVS_CMD_NEW_DEST, server);
  }

  removeDestination(key: ServiceKey, server: DestinationKey): boolean {
    if (!this.#carry(key) || typeof server !== 'object' || server === null || countFields(server) !== 2) return false;
    const stamp = this.#oldServer;
    return this.#stampServer(stamp, C.IPVS_CMD_DEL_DEST, server) >= 0;
  }

  #add(command: number, server: Destination): boolean {
    if (typeof server !== 'object' || server === null) return false;
    const { weight = 1, upperThreshold = 0, lowerThreshold = 0 } = server;
    const method = METHODS.get(server.forward);
    if (method === undefined || !isCount(weight) || !isCount(upperThreshold) || !isCount(lowerThreshold)) return false;
    if (lowerThreshold > upperThreshold) return false;
    // A field that is not counted here is a tunnel, or an error.
    let fields = 3;
    if (server.weight !== undefined) fields++;
    if (server.upperThreshold !== undefined) fields++;
    if (server.lowerThreshold !== undefined) fields++;
    if (countFields(server) !== fields) return false;
    const tunneled = method === FORWARD.tunnel;
    if ((tunneled || method === FORWARD.direct) && server.port !== this.#port) return false;
    // Of every port, masquerade can change none.
    if (this.#port === 0 && server.port !== 0) return false;

    const { writer } = this.#messages;
    const stamp = this.#newServer;
    const start = this.#stampServer(stamp, command, server, tunneled);
    if (start < 0) return false;
    const { view } = writer;
    const { at } = stamp;
    view.setUint32(start + at.forward, method, HOST_IS_LITTLE_ENDIAN);
    view.setUint32(start + at.weight, weight, HOST_IS_LITTLE_ENDIAN);
    view.setUint32(start + at.upperThreshold, upperThreshold, HOST_IS_LITTLE_ENDIAN);
    view.setUint32(start + at.lowerThreshold, lowerThreshold, HOST_IS_LITTLE_ENDIAN);
    return true;
  }

  /** Adds a request with the server's address and port, which must be of the service's family unless it is tunneled. Returns where it begins. */
  #stampServer(stamp: ServerKeyStamp, command: number, server: DestinationKey, anyFamily = true): number {
    const { port } = server;
    if (!isPort(port)) return -1;
    const { writer } = this.#messages;
    const { at } = stamp;
    const start = writer.length;
    writer.raw(stamp.bytes);
    const { view } = writer;
    const family = writeAddress(server.address, writer.bytes, start + at.serverAddress);
    if (family === 0 || (family !== this.#family && !anyFamily)) {
      writer.length = start;
      return -1;
    }
    writer.bytes[start + NLMSG_HDRLEN] = command;
    view.setUint16(start + at.serverFamily, family, HOST_IS_LITTLE_ENDIAN);
    view.setUint16(start + at.serverPort, port, false);
    this.#messages.added();
    return start;
  }

  /** Puts the service into the stamps of its servers. */
  #carry(key: ServiceKey): boolean {
    if (key === this.#key) return true;
    this.#key = undefined;
    if (!isTransport(key)) return false;
    for (const field in key) {
      if (!SERVICE_FIELDS.includes(field) && (key as unknown as Record<string, unknown>)[field] !== undefined)
        return false;
    }
    this.#family = writeKey(this.#newServer, key);
    if (this.#family === 0) return false;
    writeKey(this.#oldServer, key);
    this.#port = key.port;
    this.#key = key;
    return true;
  }
}

/** Writes a service's key into a stamp. Returns its family; 0 if something about it is bad. */
function writeKey({ view, bytes, at }: KeyStamp, { protocol, address, port }: TransportKey): number {
  const number = PROTOCOL_NUMBERS.get(protocol);
  if (number === undefined || !isPort(port)) return 0;
  bytes.fill(0, at.address, at.address + ADDRESS_LENGTH);
  const family = writeAddress(address, bytes, at.address);
  view.setUint16(at.family, family, HOST_IS_LITTLE_ENDIAN);
  view.setUint16(at.protocol, number, HOST_IS_LITTLE_ENDIAN);
  view.setUint16(at.port, port, false);
  return family;
}

/** Returns the family of the address; 0 if it is none. The bytes behind an IPv4 address stay as they are. */
function writeAddress(text: unknown, bytes: Uint8Array, at: number): number {
  if (typeof text !== 'string') return 0;
  if (readIPv4(text, bytes, at)) return AF_INET;
  const ipv6 = parseIPv6(text);
  if (ipv6 === undefined) return 0;
  bytes.set(ipv6, at);
  return AF_INET6;
}

/** As `isReachable`, of the key that a stamp carries. */
function isReachableAt({ bytes, view, at }: KeyStamp): boolean {
  const ipv6 = view.getUint16(at.family, HOST_IS_LITTLE_ENDIAN) === AF_INET6;
  const first = bytes[at.address]!;
  if (ipv6) return first !== 0xff && bytes.subarray(at.address, at.address + ADDRESS_LENGTH).some(byte => byte !== 0);
  const address = view.getUint32(at.address);
  return address !== 0 && address !== 0xffffffff && (first & 0xf0) !== 0xe0;
}

function isTransport(key: ServiceKey): key is TransportKey {
  return typeof key === 'object' && key !== null && !('firewallMark' in key) && typeof key.address === 'string';
}

/* For numbers, bit operations tell integers of a range from everything else: from negative ones, fractions and NaN. */
const isPort = (value: number): boolean => typeof value === 'number' && (value & 0xffff) === value;
const isCount = (value: number): boolean => typeof value === 'number' && (value & MAX_COUNT) === value;

/** How many fields an object has, inherited ones included, as the checks of the long way see it. */
export function countFields(value: object): number {
  let count = 0;
  for (const _ in value) count++;
  return count;
}
