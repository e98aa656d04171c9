import {
  checkAddress,
  checkInteger,
  checkObject,
  checkOneOf,
  formatIPv4,
  formatIPv6,
  parseIPv4,
  parseIPv6,
} from '../codec/index.ts';
import { rangeError, typeError } from '../errors.ts';
import { type Expression, Transaction } from '../nftables/index.ts';
import { FAMILY, OWNED } from './owned-table.ts';

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
  readonly map: string;
  /** NFPROTO_IPV4 or NFPROTO_IPV6. */
  readonly nfproto: string;
  readonly key: 'ipv4_addr . inet_proto . inet_service' | 'ipv6_addr . inet_proto . inet_service';
  /** Of the destination address in the network header. */
  readonly offset: number;
  readonly length: number;
  readonly format: (bytes: Uint8Array) => string;
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

/** The port that each key leads to. */
export type Ports = ReadonlyMap<string, number>;

/** Redirects that are wanted, checked and in one form, and the transactions that bring them about. */
export class RedirectSet {
  readonly ports: Ports;
  #fresh: Transaction | undefined;

  /** @throws TypeError, RangeError with the place in the list; ERR_DUPLICATE where two lead the same key to different ports */
  constructor(redirects: readonly Redirect[]) {
    if (!Array.isArray(redirects)) throw typeError([], 'an array of redirects', redirects);
    const ports = new Map<string, number>();
    for (const [i, redirect] of redirects.entries()) {
      const key = keyOf(redirect, i);
      const toPort =
        redirect.toPort === undefined ? redirect.port : checkInteger(redirect.toPort, [i, 'toPort'], 1, 65535);
      if ((ports.get(key) ?? toPort) !== toPort)
        throw rangeError([i, 'toPort'], `${ports.get(key)}, as an earlier one of ${key}`, toPort, 'ERR_DUPLICATE');
      ports.set(key, toPort);
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
    const stale = [...present].filter(([key, port]) => (this.ports.get(key) ?? (exactly ? undefined : port)) !== port);
    removeKeys(
      transaction,
      stale.map(([key]) => key),
    );
    const missing = [...this.ports].filter(([key, port]) => present.get(key) !== port);
    for (const version of VERSIONS) {
      const elements = elementsOf(version, missing);
      if (elements.length > 0) transaction.add({ element: { ...elementPlace(version), elements } });
    }
    return transaction;
  }

  differences(present: Ports): RedirectDrift {
    const drift: RedirectDrift = { missing: [], different: [], unexpected: [] };
    for (const [key, port] of this.ports) {
      const found = present.get(key);
      const wanted = redirectOf(key, port);
      if (found === undefined) drift.missing.push(wanted);
      else if (found !== port) drift.different.push({ wanted, found: redirectOf(key, found) });
    }
    for (const [key, port] of present) if (!this.ports.has(key)) drift.unexpected.push(redirectOf(key, port));
    return drift;
  }
}

/** Adds the table, which must not be there, and all that is in it. */
export function createRedirects(transaction: Transaction, ports: Ports): Transaction {
  transaction.create({ table: { family: FAMILY, name: REDIRECTS, comment: OWNED } });
  const chain = { name: REDIRECT_CHAIN, type: 'nat', hook: 'prerouting', priority: DESTINATION_NAT } as const;
  transaction.add({ chain: { ...PLACE, ...chain } });
  for (const version of VERSIONS) {
    const elements = elementsOf(version, [...ports]);
    transaction.add({ map: { ...PLACE, name: version.map, key: version.key, data: DATA, elements } });
    transaction.add({ rule: { ...PLACE, chain: REDIRECT_CHAIN, expressions: ruleOf(version) } });
  }
  return transaction;
}

export function removeKeys(transaction: Transaction, keys: readonly string[]): Transaction {
  for (const version of VERSIONS) {
    const elements = keys.filter(key => versionOf(key) === version).map(key => ({ key: partsOf(key) }));
    if (elements.length > 0) transaction.delete({ element: { ...elementPlace(version), elements } });
  }
  return transaction;
}

const elementPlace = ({ map, key }: Version) => ({ ...PLACE, set: map, type: { key, data: DATA } }) as const;

const elementsOf = (version: Version, ports: readonly (readonly [string, number])[]) =>
  ports.filter(([key]) => versionOf(key) === version).map(([key, data]) => ({ key: partsOf(key), data }));

/** Checks what names a redirect, and writes it as one text: an address can be written in many ways. */
export function keyOf(redirect: RedirectKey, index: number): string {
  checkObject(redirect, [index], ['protocol', 'address', 'port', 'toPort']);
  const protocol = checkOneOf(redirect.protocol, [index, 'protocol'], PROTOCOLS);
  checkAddress(redirect.address, [index, 'address']);
  const port = checkInteger(redirect.port, [index, 'port'], 1, 65535);
  const four = parseIPv4(redirect.address);
  const address = four === undefined ? formatIPv6(parseIPv6(redirect.address)!) : formatIPv4(four);
  return `${address} ${protocol} ${port}`;
}

const versionOf = (key: string): Version => (key.includes(':') ? V6 : V4);

function partsOf(key: string): [address: string, protocol: string, port: number] {
  const [address, protocol, port] = key.split(' ') as [string, string, string];
  return [address, protocol, Number(port)];
}

/** As a caller would write it. */
export function redirectOf(key: string, toPort: number): Redirect {
  const [address, protocol, port] = partsOf(key);
  const redirect = { protocol: protocol as Redirect['protocol'], address, port };
  return toPort === port ? redirect : { ...redirect, toPort };
}
