import { parseIPv6, readIPv4, type Template, template } from '../../codec/index.ts';
import type { Path } from '../../errors.ts';
import { isReachable } from '../../ip_vs/address.ts';
import { commandTable, type WireCommand } from '../../ip_vs/attributes.ts';
import type { Destination, DestinationKey } from '../../ip_vs/destination.ts';
import { FORWARD } from '../../ip_vs/destination-rows.ts';
import {
  PROTOCOLS,
  SERVICE,
  type Service,
  type ServiceKey,
  type TransportKey,
  writeService,
} from '../../ip_vs/service.ts';
import { SCHEDULERS } from '../../ip_vs/service-rows.ts';
import type { PlainLines } from '../../ipvsadm/plain-lines.ts';
import * as C from '../../linux/ip_vs.ts';
import { NLM_F_REQUEST } from '../../linux/netlink.ts';
import { AF_INET, AF_INET6 } from '../../linux/socket.ts';
import { beginMessage, type EncodedRequests, endMessage, genlmsghdr, NLMSG_HDRLEN } from '../../netlink/index.ts';
import { ofThread } from '../../thread.ts';
import { VERSION } from './netlink.ts';

/*
 * A batch has thousands of requests that differ in a few fields. The tables encode one of each kind; the others are copies of it with these
 * fields written over: templates. What is not plain is left to the tables, and so is what is bad: the checks before them say why. A property test
 * holds the two ways against each other (test/unit/ipvs-request-templates.test.ts).
 */

const KEY = {
  family: ['service', 'family'],
  protocol: ['service', 'protocol'],
  address: ['service', 'address'],
  port: ['service', 'port'],
} as const;
const SERVER_KEY = {
  ...KEY,
  serverAddress: ['destination', 'address'],
  serverPort: ['destination', 'port'],
  serverFamily: ['destination', 'family'],
} as const;
const SERVER = {
  ...SERVER_KEY,
  forward: ['destination', 'forward'],
  weight: ['destination', 'weight'],
  upperThreshold: ['destination', 'upperThreshold'],
  lowerThreshold: ['destination', 'lowerThreshold'],
} as const;
type KeyTemplate = Template<keyof typeof KEY>;
type ServerKeyTemplate = Template<keyof typeof SERVER_KEY>;
type ServerTemplate = Template<keyof typeof SERVER>;

/** A request of one kind, whole: its type, the family's number, is still to come. */
function requestTemplate<Name extends string>(
  command: number,
  value: WireCommand,
  fields: Readonly<Record<Name, Path>>,
): Template<Name> {
  return template(commandTable, value, fields, {
    frame(writer, body) {
      const start = beginMessage(writer, 0, NLM_F_REQUEST, 0);
      genlmsghdr.write(writer, { cmd: command, version: VERSION });
      body();
      endMessage(writer, start);
    },
  });
}

/* What is copied: all of it is written over. */
const ADDRESS_LENGTH = 16;
const BLANK = '00'.repeat(ADDRESS_LENGTH);
const BLANK_KEY = { family: 0, protocol: 0, address: BLANK, port: 0 };
const BLANK_SERVER_KEY = { address: BLANK, port: 0, family: 0 };
const BLANK_SERVER = { ...BLANK_SERVER_KEY, forward: 0, weight: 0, upperThreshold: 0, lowerThreshold: 0 };

/** The templates, from the first large batch of this thread on. */
const templates = ofThread('ipvs.templates', {
  newServer: undefined as ServerTemplate | undefined,
  oldServer: undefined as ServerKeyTemplate | undefined,
  /** By the scheduler's name, which has a length of its own; IPv6 has another mask. */
  services4: new Map<string, KeyTemplate>(),
  services6: new Map<string, KeyTemplate>(),
});

function newServerTemplate(): ServerTemplate {
  templates.newServer ??= requestTemplate(
    C.IPVS_CMD_NEW_DEST,
    { service: BLANK_KEY, destination: BLANK_SERVER },
    SERVER,
  );
  return templates.newServer.copy();
}

function oldServerTemplate(): ServerKeyTemplate {
  const value = { service: BLANK_KEY, destination: BLANK_SERVER_KEY };
  templates.oldServer ??= requestTemplate(C.IPVS_CMD_DEL_DEST, value, SERVER_KEY);
  return templates.oldServer.copy();
}

function serviceTemplate(scheduler: string, ipv6: boolean): KeyTemplate | undefined {
  const known = (ipv6 ? templates.services6 : templates.services4).get(scheduler);
  if (known !== undefined || !(SCHEDULERS as readonly string[]).includes(scheduler)) return known;
  const service = writeService({ protocol: 'tcp', address: ipv6 ? '::1' : '127.0.0.1', port: 1, scheduler });
  const made = requestTemplate(C.IPVS_CMD_NEW_SERVICE, { service }, KEY);
  (ipv6 ? templates.services6 : templates.services4).set(scheduler, made);
  return made;
}

const METHODS: ReadonlyMap<unknown, number> = new Map(Object.entries(FORWARD));
const PROTOCOL_NUMBERS: ReadonlyMap<unknown, number> = new Map(Object.entries(PROTOCOLS));
const MAX_COUNT = 0x7fffffff;

/** Stands for the key of a service that a plain line has named. */
const PLAIN = {};

/** Writes requests into one list, each as a copy of a template. Each method returns false, and has added nothing, where a request is not plain. */
export class RequestTemplates {
  readonly #messages: EncodedRequests;
  readonly #newServer = newServerTemplate();
  readonly #oldServer = oldServerTemplate();
  /** The service that the templates of servers carry: many requests name one, as a rule by the same object. */
  #key: unknown;
  /** The one that the template of removals has. */
  #oldKey: unknown;
  #family = 0;
  #port = 0;
  /** Further numbers of the service, if a plain line named it. */
  #address = 0;
  #protocol = '';

  constructor(messages: EncodedRequests) {
    this.#messages = messages;
  }

  /** A TCP, UDP or SCTP service without persistence and flags. */
  addService(service: Service): boolean {
    if (!isTransport(service) || service.port === 0 || typeof service.scheduler !== 'string') return false;
    let fields = 4;
    if ((service as { destinations?: unknown }).destinations !== undefined) fields++;
    if (countFields(service) !== fields) return false;
    const made = serviceTemplate(service.scheduler, service.address.includes(':'));
    if (made === undefined || writeKey(made, service) === 0 || !isReachable(service.address)) return false;
    made.write(this.#messages.writer);
    this.#messages.added();
    return true;
  }

  /** A server without a type of tunnel, of a service without a firewall mark. */
  addDestination(key: ServiceKey, server: Destination): boolean {
    return this.#carry(key) && this.#add(C.IPVS_CMD_NEW_DEST, server);
  }

  /** As above, and the request before it that replaces the server. */
  setDestination(key: ServiceKey, server: Destination): boolean {
    if (!this.#carry(key) || !this.#add(C.IPVS_CMD_SET_DEST, server)) return false;
    // The two differ in the command.
    const { writer } = this.#messages;
    const size = this.#newServer.bytes.length;
    const start = writer.reserve(size);
    const { bytes } = writer;
    bytes.copyWithin(start, start - size, start);
    bytes[start + NLMSG_HDRLEN] = C.IPVS_CMD_NEW_DEST;
    this.#messages.added();
    return true;
  }

  /** What a plain line of ipvsadm's format asks for. */
  addPlain(line: PlainLines): boolean {
    return line.isServer ? this.#addPlainServer(line) : this.#addPlainService(line);
  }

  #addPlainService(line: PlainLines): boolean {
    const made = serviceTemplate(line.scheduler, false);
    if (made === undefined) return false;
    writeNumbers(made, line);
    made.write(this.#messages.writer);
    this.#messages.added();
    return true;
  }

  #addPlainServer(line: PlainLines): boolean {
    const { port, serverPort, weight } = line;
    if (port === 0 && serverPort !== 0) return false;
    if (
      this.#key !== PLAIN ||
      line.address !== this.#address ||
      port !== this.#port ||
      line.protocol !== this.#protocol
    ) {
      this.#key = PLAIN;
      this.#oldKey = undefined;
      this.#address = line.address;
      this.#protocol = line.protocol;
      this.#port = port;
      this.#family = AF_INET;
      writeNumbers(this.#newServer, line);
    }
    const { writer } = this.#messages;
    const { holes } = this.#newServer;
    const start = this.#newServer.write(writer);
    const { view } = writer;
    view.setInt32(start + holes.serverAddress.at, line.serverAddress);
    holes.serverFamily.putNumber(view, start, AF_INET);
    holes.serverPort.putNumber(view, start, serverPort);
    if (!line.masquerades) holes.forward.putNumber(view, start, FORWARD.direct);
    holes.weight.putNumber(view, start, weight);
    this.#messages.added();
    return true;
  }

  removeDestination(key: ServiceKey, server: DestinationKey): boolean {
    if (!this.#carry(key) || typeof server !== 'object' || server === null || countFields(server) !== 2) return false;
    if (this.#oldKey !== key) writeKey(this.#oldServer, key as TransportKey);
    this.#oldKey = key;
    return this.#fillServer(this.#oldServer, C.IPVS_CMD_DEL_DEST, server) >= 0;
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

    const start = this.#fillServer(this.#newServer, command, server, tunneled);
    if (start < 0) return false;
    const { view } = this.#messages.writer;
    const { holes } = this.#newServer;
    // The template has zeros.
    return (
      (method === 0 || holes.forward.putNumber(view, start, method)) &&
      (weight === 0 || holes.weight.putNumber(view, start, weight)) &&
      (upperThreshold === 0 || holes.upperThreshold.putNumber(view, start, upperThreshold)) &&
      (lowerThreshold === 0 || holes.lowerThreshold.putNumber(view, start, lowerThreshold))
    );
  }

  /** Adds a request with the server's address and port, which must be of the service's family unless it is tunneled. Returns where it begins. */
  #fillServer(request: ServerKeyTemplate, command: number, server: DestinationKey, anyFamily = true): number {
    const { port } = server;
    if (!isPort(port)) return -1;
    const { writer } = this.#messages;
    const { holes } = request;
    const start = request.write(writer);
    const { view, bytes } = writer;
    const family = writeAddress(server.address, bytes, start + holes.serverAddress.at);
    if (
      family === 0 ||
      (family !== this.#family && !anyFamily) ||
      !holes.serverFamily.putNumber(view, start, family) ||
      !holes.serverPort.putNumber(view, start, port)
    ) {
      writer.length = start;
      return -1;
    }
    bytes[start + NLMSG_HDRLEN] = command;
    this.#messages.added();
    return start;
  }

  /** Puts the service into the templates of its servers. */
  #carry(key: ServiceKey): boolean {
    if (key === this.#key) return true;
    this.#key = undefined;
    this.#oldKey = undefined;
    if (!isTransport(key) || !SERVICE.hasOnlyFields(key)) return false;
    this.#family = writeKey(this.#newServer, key);
    if (this.#family === 0) return false;
    this.#port = key.port;
    this.#key = key;
    return true;
  }
}

/** Writes a service's key into a template. Returns its family; 0 if something about it is bad. */
function writeKey({ view, bytes, holes }: KeyTemplate, { protocol, address, port }: TransportKey): number {
  const number = PROTOCOL_NUMBERS.get(protocol);
  const at = holes.address.at;
  bytes.fill(0, at, at + ADDRESS_LENGTH);
  const family = writeAddress(address, bytes, at);
  const put =
    holes.family.putNumber(view, 0, family) &&
    holes.protocol.putNumber(view, 0, number) &&
    holes.port.putNumber(view, 0, port);
  return put ? family : 0;
}

/** As above, for the service of a plain line, which is correct. */
function writeNumbers({ view, bytes, holes }: KeyTemplate, { protocol, address, port }: PlainLines): void {
  const { at } = holes.address;
  bytes.fill(0, at, at + ADDRESS_LENGTH);
  view.setInt32(at, address);
  holes.family.putNumber(view, 0, AF_INET);
  holes.protocol.putNumber(view, 0, PROTOCOLS[protocol]);
  holes.port.putNumber(view, 0, port);
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
