import { type Datatype, TYPES } from './data/datatypes.ts';
import type { Dialect } from './data/dialects.ts';
import { type Header, type HeaderField, header, LINK, NETWORK, TRANSPORT } from './headers.ts';
import type { Node, Payload, Place } from './tree.ts';

/*
 * The protocols that earlier matches of a rule have established: which one is known at each layer, and which fact a match adds. The
 * compiler adds the matches that are missing, and the decompiler leaves out those that others imply.
 */

interface Start {
  readonly base: number;
  readonly protocol: string;
}

/** The first header that rules of a family see. */
const STARTS: Readonly<Record<string, Start>> = {
  bridge: { base: LINK, protocol: 'ether' },
  netdev: { base: LINK, protocol: 'netdev' },
  inet: { base: LINK, protocol: 'inet' },
  ip: { base: NETWORK, protocol: 'ip' },
  ip6: { base: NETWORK, protocol: 'ip6' },
  arp: { base: NETWORK, protocol: 'arp' },
};

/** ARPHRD_ETHER */
export const ETHER_DEVICE = 1;
const MOST_PROTOCOLS = 16;
const NONE: readonly never[] = [];

/**
 * Returns the type of the request for a reply to an echo, because both are the same message. A reply's 0 would mean that nothing is known.
 */
export function icmpMessage(protocol: string, type: number): number {
  if (protocol === 'icmp') return type === 0 ? 8 : type;
  return type === 129 ? 128 : type;
}

export class ProtocolContext<F extends string = string> {
  readonly family: F;
  readonly dialect: Dialect;
  readonly start: Start;
  /** The known protocols, by layer. */
  readonly #headers: (Header | undefined)[] = [undefined, undefined, undefined, undefined, undefined];
  #transports: readonly Header[] = NONE;
  #stacked: readonly Header[] = NONE;
  /** The type of the ICMP message; 0 is unknown. */
  icmpType = 0;
  /** The matches that told the network protocol and the transport protocol: errors mark them. */
  toldNetwork: Place | undefined;
  toldTransport: Place | undefined;

  constructor(family: F, dialect: Dialect) {
    this.family = family;
    this.dialect = dialect;
    this.start = STARTS[family] ?? STARTS.inet!;
    this.#headers[this.start.base] = header(this.start.protocol);
  }

  /** Returns the protocol that is known at a layer. */
  header(base: number): Header | undefined {
    return this.#headers[base];
  }

  /** Returns the name of the protocol that is known at a layer. */
  at(base: number): string | undefined {
    return this.#headers[base]?.name;
  }

  /** The link layer headers below the last one, as ether is below vlan. */
  get stacked(): readonly Header[] {
    return this.#stacked;
  }

  update(base: number, protocol: Header): void {
    if (base === TRANSPORT && this.#transports.length < MOST_PROTOCOLS && !this.#transports.includes(protocol))
      this.#transports = [...this.#transports, protocol];
    this.#headers[base] = protocol;
  }

  /** Returns another transport protocol that was matched. A packet has only one of the two, so their fields may not be there. */
  conflict(base: number, protocol: Header): Header | undefined {
    if (base !== TRANSPORT || this.#transports.length < 2) return undefined;
    return this.#transports.find(each => each !== protocol) ?? this.#transports[0];
  }

  /** Notes that a load was matched with a number. */
  learn(load: Node, number: number): void {
    if (load.kind === 'payload') {
      if (load.tellsProtocol) this.#learnFromPayload(load, number);
    } else if (load.kind === 'meta') {
      if (load.tellsProtocol) this.#learnFromMeta(load.key, number);
    } else if (load.kind === 'ct' && load.tellsProtocol) {
      const follower = this.#headers[load.base]?.upper.get(number);
      if (follower !== undefined) this.update(load.base + 1, follower);
    }
  }

  #learnFromPayload({ base, raw }: Payload, number: number): void {
    const protocol = this.#headers[base];
    if (protocol === undefined) return;
    const follower = protocol.upper.get(number);
    if (follower === undefined) {
      if (protocol.name === 'icmp' || protocol.name === 'icmpv6') this.icmpType = icmpMessage(protocol.name, number);
      return;
    }
    if (follower.base === protocol.base && !raw && follower.base === LINK && this.#stacked.length < MOST_PROTOCOLS)
      this.#stacked = [...this.#stacked, protocol];
    this.update(follower.base, follower);
  }

  #learnFromMeta(key: string, number: number): void {
    const { base, protocol } = this.start;
    const followerIn = (of: string) => header(of).upper.get(number) ?? header('unknown');
    switch (key) {
      case 'iiftype':
        if (base < NETWORK && this.family !== 'inet' && this.family !== 'netdev') return;
        this.update(LINK, header(number === ETHER_DEVICE ? 'ether' : 'unknown'));
        return;
      case 'nfproto':
        if (header('inet').upper.get(number)?.name === protocol) return;
        this.update(NETWORK, followerIn(protocol));
        return;
      case 'l4proto':
        this.update(TRANSPORT, followerIn('inet-service'));
        return;
      case 'protocol':
        if (this.family === 'netdev' || this.family === 'bridge') this.update(NETWORK, followerIn(protocol));
        return;
    }
  }

  /** Learns the type of ICMP message from the first element of a set, as nft does. */
  learnIcmpType(load: Payload, first: Node | undefined): void {
    if (first?.kind !== 'value' || load.base !== TRANSPORT) return;
    if (load.bits !== 8 || first.bits !== 8 || this.icmpType !== 0) return;
    const of = this.#headers[load.base];
    if (of === undefined || (of.name !== 'icmp' && of.name !== 'icmpv6') || of.next?.offset !== load.offset) return;
    load.header = of;
    load.field = of.next;
    this.icmpType = Number(first.value);
  }

  /** Returns the type of a field. nft 1.0.6 writes all numeric fields in decimal. */
  typeOf({ type }: HeaderField): Datatype {
    return !this.dialect.printsHexFields && type === TYPES.xinteger ? TYPES.integer : type;
  }
}
