import { TYPES } from '../data/datatypes.ts';
import type { Dialect } from '../data/dialects.ts';
import { type Header, header, INNER, LINK, NETWORK, TRANSPORT } from '../headers.ts';
import { icmpMessage } from '../protocol-context.ts';
import type { MatchStatement } from '../statements/match.ts';
import type { Ct, Meta, Node, Payload, Relation } from '../tree.ts';

const ICMP_PROTOCOLS: Readonly<Record<number, string>> = { 1: 'ip', 58: 'ip6' };

/** Returns the network protocol that a match establishes: '' is one other than IPv4 and IPv6, undefined is none. */
function networkOf({ left, right }: Relation): string | undefined {
  if (right.kind !== 'value') return undefined;
  if (left.kind === 'meta') {
    if (left.key === 'nfproto') return right.value === 2n ? 'ip' : right.value === 10n ? 'ip6' : '';
    return left.key === 'protocol' ? etherName(right.value) : undefined;
  }
  if (left.kind !== 'payload' || left.base !== LINK || left.type !== TYPES.ether_type) return undefined;
  return etherName(right.value);
}

const etherName = (type: bigint): string => (type === 0x0800n ? 'ip' : type === 0x86ddn ? 'ip6' : '');

/** Returns whether the match announces another header of the same layer, such as a VLAN's in Ethernet. */
export function isStacked(of: Header | undefined, { op, left, right }: Relation): boolean {
  if (left.kind !== 'payload' || !left.tellsProtocol || op !== '==' || right.kind !== 'value') return false;
  const next = of?.upper.get(Number(right.value));
  return next !== undefined && next.base === of?.base;
}

/** A match on the next protocol. */
export interface Dependency {
  kind: 'match';
  node: Relation;
}

/** Remembers the matches on protocols. A match is left out if a later one implies it. */
export class Dependencies {
  readonly #found: (Dependency | undefined)[] = [];
  readonly #removed: Set<object>;
  #icmpType = 0;
  /** The previous match. */
  previous: MatchStatement | undefined;

  constructor(removed: Set<object>) {
    this.#removed = removed;
  }

  /** Forgets all matches. A match before a statement with an effect may not be left out. */
  reset(): void {
    this.#found.length = 0;
    this.#icmpType = 0;
    this.previous = undefined;
  }

  store(statement: Dependency, base: number): void {
    if (!this.#storeIcmpType(statement.node)) this.#found[base + 1] = statement;
  }

  #storeIcmpType({ left, right }: Relation): boolean {
    if (left.kind !== 'payload' || right.kind !== 'value' || right.bits !== 8) return false;
    const name = left.header?.name;
    if (name !== 'icmp' && name !== 'icmpv6') return false;
    const type = Number(right.value);
    const message = icmpMessage(name, type);
    this.#icmpType = name === 'icmp' ? message : type;
    return message === (name === 'icmp' ? 8 : 128);
  }

  at(base: number): Dependency | undefined {
    return this.#found[base];
  }

  get(base: number): Relation | undefined {
    const found = this.#found[base] ?? (base === TRANSPORT ? this.#found[INNER] : undefined);
    return found?.node;
  }

  release(base: number): void {
    const at = this.#found[base] === undefined && base === TRANSPORT ? INNER : base;
    const found = this.#found[at];
    if (found === undefined) return;
    this.#removed.add(found);
    if (found === this.previous) this.previous = undefined;
    this.#found[at] = undefined;
  }

  /** Leaves out the match that this load implies. */
  kill(node: Payload, family: string, dialect: Dialect): void {
    if (node.header === undefined) return;
    const dependency = this.get(node.base);
    if (dependency !== undefined && this.#mayKill(dependency, node, family, dialect)) this.release(node.base);
  }

  #mayKill(dependency: Relation, node: Payload, family: string, dialect: Dialect): boolean {
    const { left, op } = dependency;
    if (family === 'bridge' || family === 'netdev' || family === 'inet') {
      if (
        left.kind === 'payload' &&
        left.base === NETWORK &&
        (left.header?.name === 'ip' || left.header?.name === 'ip6') &&
        node.base === TRANSPORT
      )
        return false;
      if (left.kind === 'payload' && op === '==' && node.base === left.base) {
        if (node.tellsProtocol) return false;
        if (node.base === LINK) return this.#mayKillLink(dependency);
      }
    }
    if (node.base !== TRANSPORT) return true;
    if (dialect.keepsTransportBeforePorts && node.header === header('th')) {
      // These are the ports of any protocol. nft keeps the match on the protocol, and prints the ports as plain bits.
      node.header = undefined;
      node.type = TYPES.xinteger;
      return false;
    }
    if (left.kind !== 'payload' || left.base !== TRANSPORT) return true;
    if (left.header?.name === 'icmp' || left.header?.name === 'icmpv6') return this.#mayKillIcmp(left, node);
    return true;
  }

  #mayKillLink({ left, right }: Relation): boolean {
    if (left.kind !== 'payload' || left.header?.name === 'vlan') return false;
    if (left.header?.name === 'ether' && right.kind === 'value' && right.bits === 16) return right.value === 0x8100n;
    return true;
  }

  #mayKillIcmp(left: Payload, { header: of, field }: Payload): boolean {
    const icmp = field?.icmp;
    if (icmp === undefined || left.header !== of || icmp.length > 1) return false;
    return this.#icmpType === icmp[0];
  }

  /** Leaves out the match that a match on meta data or the connection implies. */
  killForKey(left: Meta | Ct, right: Node, family: string, dialect: Dialect): void {
    const { base, key } = left;
    if (!dialect.releasesConnectionKeys && left.kind === 'ct' && key.includes(' ')) return;
    if (this.get(base) !== undefined && this.#mayKillKey(left, right, family, dialect)) this.release(base);
  }

  /** Returns whether the match may be left out. A match on the network protocol stays, unless the transport protocol exists in no other. */
  #mayKillKey(left: Meta | Ct, right: Node, family: string, dialect: Dialect): boolean {
    const dependency = this.get(NETWORK);
    if (dependency === undefined) return true;
    const network = networkOf(dependency);
    if (network === undefined) return true;
    if (family === 'ip' || family === 'ip6') return family === network;
    if (family !== 'inet' && family !== 'netdev' && family !== 'bridge') return true;
    if (left.kind === 'meta') {
      if (left.key !== 'l4proto') return true;
      if (right.kind !== 'value' || right.bits !== 8) return false;
      const only = ICMP_PROTOCOLS[Number(right.value)];
      if (!dialect.keepsOnlyIcmpOfItsFamily) return only === undefined ? false : only === network || network === '';
      return only === network;
    }
    if (left.kind !== 'ct' || !dialect.releasesConnectionKeys) return true;
    if (left.key === 'saddr' || left.key === 'daddr')
      return network === (left.bits === 32 ? 'ip' : left.bits === 128 ? 'ip6' : undefined);
    if (left.key.startsWith('ip ')) return network === 'ip';
    return left.key.startsWith('ip6 ') && network === 'ip6';
  }
}
