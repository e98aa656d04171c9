import { bitmask, bytesOf } from '../bits.ts';
import { TYPES } from '../data/datatypes.ts';
import { metaNode } from '../expressions/meta.ts';
import { fieldNode } from '../expressions/payload.ts';
import { type Header, header, INNER, isOfEther, LINK, NETWORK, numberFor, TRANSPORT } from '../headers.ts';
import { binary, element, relation, setLiteral, unary, value } from '../nodes.ts';
import { ETHER_DEVICE } from '../protocol-context.ts';
import { type Ct, type Exthdr, type Node, type Payload, refuse } from '../tree.ts';
import type { Evaluator } from './ir.ts';
import { evaluateRelation, relationStep } from './match.ts';

/** nft's message for a field of a protocol that the packet cannot have. */
const conflicting = (known: string | undefined, wanted: string): string =>
  `conflicting protocols specified: ${known} vs. ${wanted}`;

/* Fields of headers. A field needs matches that make sure of its header, and a bit field is taken out of whole bytes. */

const LONGEST_REGISTER = 128;

export function evaluatePayload(e: Evaluator, node: Payload): Node {
  const { tunnel } = node;
  if (tunnel === undefined || node.evaluated) return evaluateField(e, node);
  const { scope } = e;
  if (tunnel.base === TRANSPORT && scope.at(TRANSPORT) === undefined) {
    // gre and gretap are transport protocols themselves.
    const below = scope.header(NETWORK) ?? header('ip');
    const number = numberFor(below, tunnel);
    if (number === undefined) throw refuse(node.place, `a protocol that ${below.name} may carry`, tunnel.name);
    const left = metaNode('l4proto', node.place);
    const right = value(8, BigInt(number), TYPES.inet_proto, undefined, node.place);
    e.steps.push(relationStep(e, relation('==', left, right, node.place)));
    scope.update(TRANSPORT, tunnel);
  }
  if (tunnel.base === INNER) {
    const below = scope.header(TRANSPORT);
    if (below === undefined || numberFor(below, tunnel) === undefined)
      throw refuse(node.place, `a match of udp before ${tunnel.name}`, below?.name);
    scope.update(INNER, tunnel);
  }
  if (node.base !== INNER) e.tunnel = tunnel;
  return evaluateField(e, node);
}

function evaluateField(e: Evaluator, term: Payload): Node {
  if (term.evaluated) return term;
  const { key } = e;
  requireHeader(e, term);
  e.expectLike(term);
  e.key = key;
  const adjusted = term.offset % 8 !== 0 || term.bits % 8 !== 0 ? wholeBytes(e, term) : term;
  term.evaluated = true;
  return adjusted;
}

/** Makes sure that the packet has the header. It adds a match before this one unless an earlier match implies the header. */
export function requireHeader(e: Evaluator, node: Payload): void {
  const { header: own } = node;
  if (node.raw || own === undefined) return;
  const { scope } = e;
  let known = scope.header(node.base);
  if (known === undefined) {
    addDependency(e, node, own);
    known = scope.header(node.base);
    if (known !== own && node.base === LINK) {
      // The new match implies ether, and the header is a vlan in it.
      const number = known === undefined ? undefined : numberFor(known, own);
      if (number === undefined) throw refuse(node.place, `a field of ${known?.name}`, own.name);
      addLinkType(e, node, number);
      node.offset += scope.stacked[0]?.bits ?? 0;
      return;
    }
    requireIcmpType(e, node, own);
    return;
  }
  const conflict = scope.conflict(node.base, own);
  if (conflict !== undefined)
    throw refuse(
      node.place,
      `the protocol of the match before it (${conflict.name})`,
      own.name,
      conflicting(conflict.name, own.name),
    );
  if (known === own) {
    if (node.base === LINK) for (const below of scope.stacked) node.offset += below.bits;
    requireIcmpType(e, node, own);
    return;
  }
  if (node.base === LINK) {
    if (resolveLinkConflict(e, known, node, own)) return;
    known = scope.header(LINK);
    if (known === own) return;
  }
  throw refuse(
    node.place,
    `the protocol of the match before it (${known?.name})`,
    own.name,
    conflicting(known?.name, own.name),
  );
}

function addDependency(e: Evaluator, node: Payload, own: Header): void {
  const { scope } = e;
  if (node.base < scope.start.base) {
    if (node.base < scope.start.base - 1) throw unseen(e, node, own);
    addDeviceType(e, node, own);
    return;
  }
  let below = scope.header(node.base - 1) ?? specialBelow(e, node, own);
  if (below === undefined) throw refuse(node.place, 'a match before it that tells the protocol below', own.name);
  // Matches the packet's meta data, not the ether header: that may have a vlan header between itself and the IP header.
  if (scope.family === 'bridge' && below.name === 'ether' && (own.name === 'ip' || own.name === 'ip6'))
    below = header('netdev');
  addProtocol(e, below.name, own.name, node);
}

const unseen = ({ scope }: Evaluator, { place }: Payload, own: Header): Error =>
  refuse(place, `a header that family ${scope.family} sees`, own.name, conflicting(scope.family, own.name));

/** Returns the protocol below the first header that rules of the family see. */
function linkOf(family: string): Header | undefined {
  if (family !== 'inet' && family !== 'bridge' && family !== 'netdev') return undefined;
  return header(family === 'bridge' ? 'ether' : family);
}

const OWN_NETWORK: Readonly<Record<string, 'ip' | 'ip6'>> = { icmp: 'ip', icmpv6: 'ip6', igmp: 'ip' };

function specialBelow(e: Evaluator, node: Payload, own: Header): Header | undefined {
  const { scope } = e;
  if (node.base === LINK) return linkOf(scope.family);
  if (node.base !== TRANSPORT) return undefined;
  const network = OWN_NETWORK[own.name];
  const link = network && (scope.header(LINK) ?? linkOf(scope.family));
  if (network === undefined || link === undefined) return header('inet-service');
  const isBare = node.tunnel !== undefined && !node.tunnel.tunnel!.flags.includes('link');
  addProtocol(e, isBare ? 'netdev' : link.name, network, node);
  return header(network);
}

/** Adds a match of the field, or of the meta data, in which one protocol announces the next. */
export function addProtocol(e: Evaluator, below: string, protocol: string, { place }: Pick<Node, 'place'>): void {
  const of = header(below);
  const number = numberFor(of, header(protocol));
  if (number === undefined || (of.meta === undefined && of.next === undefined))
    throw refuse(place, `a protocol that ${below} may carry`, protocol, conflicting(below, protocol));
  const left = of.meta === undefined ? fieldNode(of, of.next!, place) : metaNode(of.meta, place);
  addMatch(e, left, value(left.bits, BigInt(number), left.type, left.type.order, place));
}

/** Adds the match of the family that nft leaves out when it lists an address of a connection. The compared value tells the family. */
export function addFamilyOf(e: Evaluator, { key, place }: Ct, compared: Node): void {
  const { scope } = e;
  if ((key !== 'saddr' && key !== 'daddr') || scope.at(NETWORK) !== undefined) return;
  const word = firstWord(compared);
  if (typeof word !== 'string') return;
  const family = word.includes(':') ? 'ip6' : /^\d+\./.test(word) ? 'ip' : undefined;
  if (family !== undefined) addProtocol(e, scope.at(LINK) ?? scope.family, family, { place });
}

function firstWord(term: Node): string | number | bigint | undefined {
  switch (term.kind) {
    case 'word':
      return term.word;
    case 'prefix':
      return firstWord(term.base);
    case 'range':
      return firstWord(term.left);
    case 'set':
      return firstWord(term.members[0]!);
    case 'element':
      return firstWord(term.key);
    default:
      return undefined;
  }
}

/** Adds a match before the one that depends on it. */
function addMatch(e: Evaluator, left: Node, right: Node): void {
  const { tunnel } = e;
  const bits = e.statementBits;
  const expected = e.expectation();
  e.statementBits = 0;
  e.expectNothing();
  const match = evaluateRelation(e, relation(right.kind === 'set' ? 'in' : '==', left, right, left.place));
  if (tunnel !== undefined && (left.kind === 'meta' || left.kind === 'payload')) left.tunnel = tunnel;
  e.steps.push(relationStep(e, match));
  e.statementBits = bits;
  Object.assign(e, expected);
}

function addDeviceType(e: Evaluator, node: Payload, own: Header): void {
  if (!isOfEther(own)) throw unseen(e, node, own);
  const left = metaNode('iiftype', node.place);
  addMatch(e, left, value(16, BigInt(ETHER_DEVICE), TYPES.iface_type, 'host', node.place));
}

/** Adds a match of the type field of the last link layer header. */
function addLinkType(e: Evaluator, { place }: Payload, number: number): void {
  const link = e.scope.header(LINK)!;
  const left = fieldNode(link, link.next!, place);
  addMatch(e, left, value(left.bits, BigInt(number), left.type, 'big', place));
}

function resolveLinkConflict(e: Evaluator, known: Header, node: Payload, own: Header): boolean {
  const { scope } = e;
  // nft 1.0.6 has no way back from the network layer to a vlan header that no match has told of.
  const isLate = scope.header(NETWORK) !== undefined && own.name !== 'ether' && !scope.stacked.includes(own);
  if (isLate && e.tunnel === undefined && !e.dialect.hasNewerExpressions)
    throw refuse(
      node.place,
      'a match of the link layer before those of the network layer',
      own.name,
      conflicting('ether', own.name),
    );
  let below = known;
  if (known.name === 'inet' || known.name === 'netdev') {
    if (e.tunnel !== undefined) {
      scope.update(LINK, header('ether'));
    } else {
      addDeviceType(e, node, own);
      below = own;
    }
  } else if (scope.stacked.includes(own)) {
    return true;
  }
  const number = numberFor(below, own);
  if (number === undefined) return false;
  addLinkType(e, node, number);
  for (const each of scope.stacked) node.offset += each.bits;
  return true;
}

const ICMPV6_NEIGHBOUR_SOLICITATION = 135;

/** Adds a match of the ICMP type if only some types of messages have the field. */
function requireIcmpType(e: Evaluator, { field, place }: Payload, own: Header): void {
  const types = field?.icmp;
  if (types === undefined) return;
  const { scope } = e;
  if (scope.icmpType !== 0) {
    if (types.includes(scope.icmpType)) return;
    throw refuse(place, `a field of ICMP messages of type ${scope.icmpType}`, field?.name);
  }
  const left = fieldNode(own, own.byName.type!, place);
  const values = types.map(type => value(8, BigInt(type), left.type, 'big', place));
  scope.icmpType = own.name === 'icmpv6' && types.length > 2 ? ICMPV6_NEIGHBOUR_SOLICITATION : types[0]!;
  const elements = values.map(each => element(each, {}, place));
  addMatch(e, left, values.length === 1 ? values[0]! : setLiteral(elements, place));
}

/** Returns how many bits follow the field in its last byte. */
export function shiftOf(bits: number, offset: number): { shift: number; extra: number } {
  let shift = bytesOf(bits) * 8 - ((offset % 8) + bits);
  let extra = 0;
  while (shift < 0) {
    shift += 8;
    extra += 8;
  }
  return { shift, extra };
}

/** Takes a bit field out of whole bytes: loads them, masks them, and shifts the result. */
function wholeBytes(e: Evaluator, term: Payload | Exthdr): Node {
  if (e.isPayloadStatement && !e.dialect.masksInWrites) return term;
  const { shift, extra } = shiftOf(term.bits, term.offset);
  const bits = term.bits + shift;
  if (bits > LONGEST_REGISTER)
    throw refuse(term.place, `at most ${LONGEST_REGISTER} bits with what stands around them`, bits);
  const { type, order } = term;
  const mask = value(bits, bitmask(term.bits) << BigInt(shift), TYPES.integer, 'host', term.place);
  let taken: Node = { ...binary('&', term, mask, 0, term.place), type, order, bits };
  if (shift > 0) {
    let shifted = order;
    if (e.dialect.turnsMaskedFields && (e.key !== undefined || e.statementBits > 0) && bytesOf(bits) > 1) {
      taken = unary(taken, 'host');
      shifted = 'host';
    }
    const distance = value(8, BigInt(shift), TYPES.integer, 'host', term.place);
    taken = { ...binary('>>', taken, distance, 0, term.place), type, order: shifted, bits };
  }
  term.bits += extra;
  return taken;
}

const LONGEST_TCP_OPTIONS = 320;

export function evaluateExthdr(e: Evaluator, term: Exthdr): Node {
  if (term.op === 'ipv4' || term.op === 'ipv6') {
    const needed = term.op === 'ipv4' ? 'ip' : 'ip6';
    const known = e.scope.at(NETWORK);
    if (known === undefined) {
      const link = e.scope.at(LINK);
      if (link === undefined) throw refuse(term.place, `a rule that sees ${needed}`, e.scope.family);
      // nft puts this match before all others.
      const before = e.steps;
      e.steps = [];
      addProtocol(e, link, needed, term);
      e.steps = [...e.steps, ...before];
      // nft forgets here which set the rule looks into.
      e.key = undefined;
    } else if (known !== needed) {
      throw refuse(term.place, `an extension of ${known}`, needed, `cannot use exthdr with ${known}`);
    }
  }
  return evaluateExtension(e, term);
}

export function evaluateExtension(e: Evaluator, term: Exthdr): Node {
  const { key } = e;
  if (term.present) term.type = TYPES.boolean;
  e.expectLike(term);
  e.key = key;
  if ((term.op === 'tcp' || term.op === 'ipv4') && term.offset + term.bits > LONGEST_TCP_OPTIONS)
    throw refuse(term.place, 'a field within the header', term.offset);
  return term.offset % 8 !== 0 || term.bits % 8 !== 0 ? wholeBytes(e, term) : term;
}
