import type { Family } from '../../nf_tables/family.ts';
import { type Header, PROTOCOLS } from '../data/protocols.ts';
import { INNER, LINK, NETWORK, TRANSPORT } from './term.ts';

/*
 * What earlier matches of a rule have established about the packet's protocols. Besides real protocols there are those that nft makes up:
 * inet and netdev tell the network protocol from meta data, inet-service the transport's where the network protocol is unknown.
 */

/** How a protocol tells what follows it: a field of its own, or the packet's meta data. */
export type NextProtocolField = { readonly field: string } | { readonly meta: 'l4proto' | 'nfproto' | 'protocol' };

const LINK_UPPER = PROTOCOLS.ether.upper as Readonly<Record<number, string>>;
const MADE_UP: Readonly<
  Record<string, { upper: Readonly<Record<number, string>>; meta: 'l4proto' | 'nfproto' | 'protocol' }>
> = {
  inet: { upper: { 2: 'ip', 10: 'ip6' }, meta: 'nfproto' },
  netdev: { upper: LINK_UPPER, meta: 'protocol' },
  'inet-service': { upper: PROTOCOLS.ip.upper, meta: 'l4proto' },
};

const headers: Readonly<Record<string, Header>> = PROTOCOLS;

export const isMadeUp = (protocol: string): boolean => protocol === 'inet' || protocol === 'netdev';

function upperOf(protocol: string): Readonly<Record<number, string>> | undefined {
  return MADE_UP[protocol]?.upper ?? headers[protocol]?.upper;
}

export function nextProtocolField(protocol: string): NextProtocolField | undefined {
  const madeUp = MADE_UP[protocol];
  if (madeUp !== undefined) return { meta: madeUp.meta };
  if (protocol === 'ip' || protocol === 'ip6' || protocol === 'gre' || protocol === 'gretap')
    return { meta: 'l4proto' };
  const field = headers[protocol]?.next;
  return field === undefined ? undefined : { field };
}

/** What follows a protocol that has this number in it. */
export function protocolAfter(protocol: string, number: number): string | undefined {
  if (protocol === 'udp') return number === 0 ? 'vxlan' : undefined;
  return upperOf(protocol)?.[number];
}

/** Numbers by the protocol that they are in and the one that follows. */
const NUMBERS: ReadonlyMap<string, ReadonlyMap<string, number>> = /* @__PURE__ */ new Map(
  [...Object.keys(MADE_UP), ...Object.keys(PROTOCOLS)].map(protocol => {
    const followers = new Map<string, number>();
    const upper = upperOf(protocol);
    for (const number in upper)
      if (!followers.has(upper[Number(number)]!)) followers.set(upper[Number(number)]!, Number(number));
    const gre = followers.get('gre');
    if (gre !== undefined) followers.set('gretap', gre);
    if (protocol === 'udp') for (const tunnel of ['vxlan', 'geneve']) followers.set(tunnel, 0);
    return [protocol, followers];
  }),
);

/** The number by which a protocol announces another; undefined where that cannot follow. */
export function numberFor(protocol: string, follower: string): number | undefined {
  return NUMBERS.get(protocol)?.get(follower);
}

/** Headers that a device of type ether has. */
export function isOfEther(protocol: string): boolean {
  return protocol === 'ether' || numberFor('ether', protocol) !== undefined;
}

export const ETHER_DEVICE = 1;

interface Start {
  readonly base: number;
  readonly protocol: string;
}

const STARTS: Readonly<Record<Family, Start>> = {
  bridge: { base: LINK, protocol: 'ether' },
  netdev: { base: LINK, protocol: 'netdev' },
  inet: { base: LINK, protocol: 'inet' },
  ip: { base: NETWORK, protocol: 'ip' },
  ip6: { base: NETWORK, protocol: 'ip6' },
  arp: { base: NETWORK, protocol: 'arp' },
};

const UNKNOWN = 'unknown';
const MOST_PROTOCOLS = 16;

const NONE: readonly string[] = [];

export class ProtocolContext {
  readonly family: Family;
  readonly start: Start;
  /** By layer. */
  readonly #protocols: (string | undefined)[];
  #transports: readonly string[] = NONE;
  /** Link layer headers below the last one, as ether is below vlan. */
  stacked: readonly string[] = NONE;
  /** The type of ICMP message; echo stands for its reply too. 0 is unknown. */
  icmpType = 0;

  constructor(family: Family) {
    this.family = family;
    this.start = STARTS[family];
    this.#protocols = [undefined, undefined, undefined, undefined, undefined];
    this.#protocols[this.start.base] = this.start.protocol;
  }

  at(base: number): string | undefined {
    return this.#protocols[base];
  }

  update(base: number, protocol: string): void {
    if (base === TRANSPORT && this.#transports.length < MOST_PROTOCOLS && !this.#transports.includes(protocol))
      this.#transports = [...this.#transports, protocol];
    this.#protocols[base] = protocol;
  }

  /** A transport protocol that was matched besides this one: fields of either may not be there. */
  conflict(base: number, protocol: string): string | undefined {
    if (base !== TRANSPORT || this.#transports.length < 2) return undefined;
    return this.#transports.find(each => each !== protocol) ?? this.#transports[0];
  }

  /** A field that tells the next protocol has this number. */
  learnFromPayload(base: number, raw: boolean, number: number): void {
    const protocol = this.at(base);
    if (protocol === undefined) return;
    const follower = protocolAfter(protocol, number);
    if (follower === undefined) {
      // 0 is the reply to an echo, and would look as if nothing were known.
      if (protocol === 'icmp') this.icmpType = number === 0 ? 8 : number;
      else if (protocol === 'icmpv6') this.icmpType = number === 129 ? 128 : number;
      return;
    }
    const followerBase = BASES[headers[follower]!.base];
    if (followerBase === base && !raw && followerBase === LINK && this.stacked.length < MOST_PROTOCOLS)
      this.stacked = [...this.stacked, protocol];
    this.update(followerBase, follower);
  }

  learnFromMeta(key: string, number: number): void {
    switch (key) {
      case 'iiftype':
        if (this.start.base < NETWORK && this.family !== 'inet' && this.family !== 'netdev') return;
        this.update(LINK, number === ETHER_DEVICE ? 'ether' : UNKNOWN);
        return;
      case 'nfproto': {
        if ((number === 2 && this.start.protocol === 'ip') || (number === 10 && this.start.protocol === 'ip6')) return;
        this.update(NETWORK, protocolAfter(this.start.protocol, number) ?? UNKNOWN);
        return;
      }
      case 'l4proto':
        this.update(TRANSPORT, protocolAfter('inet-service', number) ?? UNKNOWN);
        return;
      case 'protocol':
        if (this.start.base !== LINK || (this.family !== 'netdev' && this.family !== 'bridge')) return;
        this.update(NETWORK, protocolAfter(this.start.protocol, number) ?? UNKNOWN);
        return;
    }
  }

  learnFromCt(key: string, number: number): void {
    const base = key === 'protocol' ? NETWORK : LINK;
    const below = this.at(base);
    const follower = below === undefined ? undefined : protocolAfter(below, number);
    if (follower !== undefined) this.update(base + 1, follower);
  }
}

const BASES = { link: LINK, network: NETWORK, transport: TRANSPORT, inner: INNER } as const;

/** Bits of the link layer headers that come before one. */
export function bitsOf(protocol: string): number {
  return headers[protocol]?.bits ?? 0;
}
