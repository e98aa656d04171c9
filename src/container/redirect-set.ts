import {
  checkAddress,
  checkInteger,
  checkObject,
  checkOneOf,
  formatIPv4,
  formatIPv6,
  parseIPv6,
  readIPv4,
} from '../codec/index.ts';
import { rangeError, typeError } from '../errors.ts';
import { type Expression, Transaction } from '../nftables/index.ts';
import { PackedElements, type PackedForm } from '../nftables/packed-elements.ts';
import { FAMILY, OWNED } from './owned-table.ts';
import { PortMap } from './port-map.ts';

/** Connections to a foreign address and port that this container accepts on a port of its own. */
export interface Redirect {
  protocol: 'tcp' | 'udp' | 'sctp' | 'dccp' | 'udplite';
  /** The address that clients connect to, IPv4 or IPv6. */
  address: string;
  /** 1 to 65535. */
  port: number;
  /** The port that the container listens on, 1 to 65535; default the same. */
  toPort?: number;
}

/** What names a redirect: there is one for each address, protocol and port. */
export type RedirectKey = Omit<Redirect, 'toPort'>;

/** How a container's redirects differ from those that are wanted. */
export interface RedirectDrift {
  missing: Redirect[];
  different: { wanted: Redirect; found: Redirect }[];
  unexpected: Redirect[];
}

const PROTOCOLS = ['tcp', 'udp', 'sctp', 'dccp', 'udplite'] as const;
/** IPPROTO_*, in that order. */
const PROTOCOL_NUMBERS = [6, 17, 132, 33, 136];
const FIELDS = ['protocol', 'address', 'port', 'toPort'];

export const REDIRECTS = 'netsteer-redirects';
export const REDIRECT_CHAIN = 'prerouting';
const PLACE = { family: FAMILY, table: REDIRECTS } as const;
/** NF_IP_PRI_NAT_DST, nft's `dstnat`. */
const DESTINATION_NAT = -100;
/** As nft numbers registers in a concatenation: the first part in register 1, the others in 32-bit ones behind it. */
const NFT_REG_1 = 1;
const NFT_REG32_00 = 8;

interface Version {
  /** One map for each IP version: a map's keys have one length. */
  readonly map: 'ipv4' | 'ipv6';
  /** NFPROTO_IPV4 or NFPROTO_IPV6. */
  readonly nfproto: string;
  readonly key: 'ipv4_addr . inet_proto . inet_service' | 'ipv6_addr . inet_proto . inet_service';
  /** Of the destination address in the network header. */
  readonly offset: number;
  readonly length: number;
  readonly format: (bytes: Uint8Array, at: number) => string;
}

const V4: Version = {
  map: 'ipv4',
  nfproto: '02',
  key: 'ipv4_addr . inet_proto . inet_service',
  offset: 16,
  length: 4,
  format: formatIPv4,
};
const V6: Version = {
  map: 'ipv6',
  nfproto: '0a',
  key: 'ipv6_addr . inet_proto . inet_service',
  offset: 24,
  length: 16,
  format: formatIPv6,
};
export const VERSIONS: readonly Version[] = [V4, V6];
const DATA = 'inet_service';

/**
 * `meta nfproto ipv4 redirect to :ip daddr . meta l4proto . th dport map @ipv4`, as nft writes it. A packet whose key is not in the map goes
 * on as if there were no rule.
 */
function ruleOf({ map, nfproto, offset, length }: Version): Expression[] {
  const behindAddress = NFT_REG32_00 + length / 4;
  return [
    { meta: { key: 'nfproto', register: NFT_REG_1 } },
    { cmp: { op: 'eq', register: NFT_REG_1, data: nfproto } },
    { payload: { base: 'network', offset, length, register: NFT_REG_1 } },
    { meta: { key: 'l4proto', register: behindAddress } },
    { payload: { base: 'transport', offset: 2, length: 2, register: behindAddress + 1 } },
    { lookup: { set: map, sourceRegister: NFT_REG_1, register: NFT_REG_1 } },
    { redir: { portRegister: NFT_REG_1, flags: ['ports-specified'] } },
  ];
}

/**
 * The port that each redirect leads to, by version. A key is address, protocol and port, each filled up to four bytes, as the kernel puts them
 * into registers.
 */
export type Ports = Readonly<Record<Version['map'], PortMap>>;

export const noPorts = (capacity = 0): Ports => ({
  ipv4: new PortMap(V4.length + 8, capacity),
  ipv6: new PortMap(V6.length + 8),
});

/** Redirects that are wanted, checked and in one form, and the transactions that bring them about. */
export class RedirectSet {
  readonly ports: Ports;
  #fresh: Transaction | undefined;

  /** @throws TypeError, RangeError with the place in the list; ERR_DUPLICATE where two lead the same key to different ports */
  constructor(redirects: readonly Redirect[]) {
    if (!Array.isArray(redirects)) throw typeError([], 'an array of redirects', redirects);
    const ports = noPorts(redirects.length);
    for (let i = 0; i < redirects.length; i++) {
      const redirect = redirects[i] as Redirect;
      const map = writeKey(ports, redirect, i);
      const { port, toPort = port } = redirect;
      if (!isPort(toPort)) checkInteger(toPort, [i, 'toPort'], 1, MAX_PORT);
      const found = map.add(toPort);
      if (found !== toPort) throw duplicate(redirect, i, found, toPort);
    }
    this.ports = ports;
  }

  /** All of it, for a container that has nothing yet. It is made once, however many containers it is committed to. */
  get fresh(): Transaction {
    this.#fresh ??= createRedirects(new Transaction(), this.ports);
    return this.#fresh;
  }

  /** Adds what `present` has not. With `exactly`, what else is there is removed; what leads to another port is replaced in any case. */
  change(transaction: Transaction, present: Ports, exactly: boolean): Transaction {
    for (const version of VERSIONS) {
      const wanted = this.ports[version.map];
      const there = present[version.map];
      const stale = new PortMap(wanted.keyLength);
      const missing = new PortMap(wanted.keyLength);
      const stays = compare(wanted, there, (at, i) => {
        if (at >= 0 || exactly) stale.copy(there, i);
      });
      for (let i = 0; i < wanted.length; i++) if (stays[i] === 0) missing.copy(wanted, i);
      removeElements(transaction, version, stale);
      addElements(transaction, version, missing);
    }
    return transaction;
  }

  /** Adds all of it, whatever is there. */
  addAll(transaction: Transaction): Transaction {
    for (const version of VERSIONS) addElements(transaction, version, this.ports[version.map]);
    return transaction;
  }

  /** With what is there and leads elsewhere than what is wanted, or nowhere. */
  with(present: Ports): Ports {
    const both = noPorts();
    for (const { map } of VERSIONS) {
      const wanted = this.ports[map];
      const there = present[map];
      for (let i = 0; i < wanted.length; i++) both[map].copy(wanted, i);
      for (let i = 0; i < there.length; i++) if (wanted.find(there, i) < 0) both[map].copy(there, i);
    }
    return both;
  }

  differences(present: Ports): RedirectDrift {
    const drift: RedirectDrift = { missing: [], different: [], unexpected: [] };
    for (const version of VERSIONS) {
      const wanted = this.ports[version.map];
      const there = present[version.map];
      const found = new Uint8Array(wanted.length);
      compare(wanted, there, (at, i) => {
        if (at < 0) drift.unexpected.push(redirectAt(version, there, i));
        else drift.different.push({ wanted: redirectAt(version, wanted, at), found: redirectAt(version, there, i) });
        if (at >= 0) found[at] = 1;
      }).forEach((stays, i) => {
        if (stays === 0 && found[i] === 0) drift.missing.push(redirectAt(version, wanted, i));
      });
    }
    return drift;
  }
}

/** Which of the wanted are there as they should be; `differs` gets what else is there, with the wanted one's number where only the port is another (else -1). */
function compare(wanted: PortMap, there: PortMap, differs: (at: number, index: number) => void): Uint8Array {
  const stays = new Uint8Array(wanted.length);
  for (let i = 0; i < there.length; i++) {
    const at = wanted.find(there, i);
    if (at >= 0 && wanted.portAt(at) === there.portAt(i)) stays[at] = 1;
    else differs(at, i);
  }
  return stays;
}

/** Adds the table, which must not be there, and all that is in it. */
export function createRedirects(transaction: Transaction, ports: Ports): Transaction {
  transaction.create({ table: { family: FAMILY, name: REDIRECTS, comment: OWNED } });
  const chain = { name: REDIRECT_CHAIN, type: 'nat', hook: 'prerouting', priority: DESTINATION_NAT } as const;
  transaction.add({ chain: { ...PLACE, ...chain } });
  for (const version of VERSIONS) {
    const { map, key } = version;
    transaction.add({ map: { ...PLACE, name: map, key, data: DATA, elements: packed(ports[map]) } });
    transaction.add({ rule: { ...PLACE, chain: REDIRECT_CHAIN, expressions: ruleOf(version) } });
  }
  return transaction;
}

/** Removes the keys of `ports`, all of which must be there. */
export function removeRedirects(transaction: Transaction, ports: Ports): Transaction {
  for (const version of VERSIONS) removeElements(transaction, version, ports[version.map]);
  return transaction;
}

function addElements(transaction: Transaction, version: Version, ports: PortMap): void {
  if (ports.length > 0) transaction.add({ element: { ...elementPlace(version), elements: packed(ports) } });
}

function removeElements(transaction: Transaction, version: Version, ports: PortMap): void {
  if (ports.length > 0) transaction.delete({ element: { ...elementPlace(version), elements: packed(ports) } });
}

const elementPlace = ({ map, key }: Version) => ({ ...PLACE, set: map, type: { key, data: DATA } }) as const;

/** Stands where elements do, which callers of a transaction give as values. */
const packed = ({ length, keys, ports }: PortMap) => new PackedElements(length, keys, ports) as never;

/** The keys of a list, for those who name redirects. */
export function keysOf(redirects: readonly RedirectKey[]): Ports {
  if (!Array.isArray(redirects)) throw typeError([], 'an array of redirects', redirects);
  const ports = noPorts(redirects.length);
  for (let i = 0; i < redirects.length; i++) writeKey(ports, redirects[i]!, i).add(0);
  return ports;
}

const MAX_PORT = 65535;
const isPort = (value: unknown): boolean =>
  Number.isInteger(value) && (value as number) >= 1 && (value as number) <= MAX_PORT;

/** Checks what names a redirect, and writes it as the next key of the map that it belongs to, which is returned. */
function writeKey(ports: Ports, redirect: RedirectKey, index: number): PortMap {
  checkFields(redirect, index);
  const { protocol, address, port } = redirect;
  let which = PROTOCOLS.indexOf(protocol);
  if (which < 0) which = PROTOCOLS.indexOf(checkOneOf(protocol, [index, 'protocol'], PROTOCOLS));
  if (!isPort(port)) checkInteger(port, [index, 'port'], 1, MAX_PORT);
  let map = ports.ipv4;
  let keys = map.room();
  let at = map.length * map.keyLength;
  if (typeof address !== 'string' || !readIPv4(address, keys, at)) {
    const bytes = typeof address === 'string' ? parseIPv6(address) : undefined;
    if (bytes === undefined) checkAddress(address, [index, 'address']);
    map = ports.ipv6;
    keys = map.room();
    at = map.length * map.keyLength;
    keys.set(bytes!, at);
  }
  at += map.keyLength - 8;
  keys[at] = PROTOCOL_NUMBERS[which]!;
  keys[at + 4] = port >> 8;
  keys[at + 5] = port;
  return map;
}

function checkFields(redirect: unknown, index: number): void {
  if (typeof redirect === 'object' && redirect !== null && !Array.isArray(redirect)) {
    let known = true;
    for (const field in redirect) if (!FIELDS.includes(field)) known = false;
    if (known) return;
  }
  checkObject(redirect, [index], FIELDS);
}

function duplicate(redirect: Redirect, index: number, found: number, toPort: number): Error {
  const { protocol, address, port } = redirect;
  const earlier = `${found}, as an earlier one of ${address} ${protocol} ${port}`;
  return rangeError([index, 'toPort'], earlier, toPort, 'ERR_DUPLICATE');
}

/** As a caller would write it. */
function redirectAt({ length, format }: Version, ports: PortMap, index: number): Redirect {
  const { keys } = ports;
  const at = index * ports.keyLength;
  const protocol = PROTOCOLS[PROTOCOL_NUMBERS.indexOf(keys[at + length]!)]!;
  const port = keys[at + length + 4]! * 256 + keys[at + length + 5]!;
  const toPort = ports.portAt(index);
  const redirect = { protocol, address: format(keys, at), port };
  return toPort === port ? redirect : { ...redirect, toPort };
}

export const listOf = (ports: Ports): Redirect[] =>
  VERSIONS.flatMap(version =>
    Array.from({ length: ports[version.map].length }, (_, i) => redirectAt(version, ports[version.map], i)),
  );

/** Reads what is in a map. An element that is no redirect is left out: nobody but its maker knows what it is for. */
export function redirectsIn({ length }: Version, map: PortMap): PackedForm {
  const { keyLength } = map;
  return {
    keyLength,
    dataLength: 2,
    take(bytes, keyAt, dataAt) {
      const toPort = bytes[dataAt]! * 256 + bytes[dataAt + 1]!;
      const port = bytes[keyAt + length + 4]! * 256 + bytes[keyAt + length + 5]!;
      if (toPort === 0 || port === 0 || !PROTOCOL_NUMBERS.includes(bytes[keyAt + length]!)) return;
      const keys = map.room();
      const at = map.length * keyLength;
      for (let i = 0; i < keyLength; i++) keys[at + i] = bytes[keyAt + i]!;
      map.push(toPort);
    },
  };
}
