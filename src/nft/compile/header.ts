import { TYPES } from '../data/datatypes.ts';
import { META } from '../data/keys.ts';
import { type Header, PROTOCOLS } from '../data/protocols.ts';
import type { Evaluator } from './ir.ts';
import { evaluateRelation, relationStep } from './match.ts';
import { headerField } from './parse-header.ts';
import { metaTerm } from './parse-load.ts';
import { bitsOf, ETHER_DEVICE, isMadeUp, isOfEther, nextProtocolField, numberFor } from './protocol-context.ts';
import {
  binary,
  bitmask,
  bytesOf,
  type Ct,
  type Exthdr,
  element,
  INNER,
  LINK,
  NETWORK,
  type Payload,
  refuse,
  setLiteral,
  type Term,
  TRANSPORT,
  value,
} from './term.ts';

/* Fields of headers: what must be true for them to be there, and how fields of odd bits are taken out of whole bytes. */

const headers: Readonly<Record<string, Header>> = PROTOCOLS;
const LONGEST_REGISTER = 128;

export function evaluatePayload(e: Evaluator, term: Payload): Term {
  if (term.tunnel === undefined || term.evaluated) return evaluateField(e, term);
  const { tunnel } = headers[term.tunnel]!;
  const base = headers[term.tunnel]!.base;
  const { scope } = e;
  if (scope.at(TRANSPORT) === undefined && base === 'transport') {
    // gre and gretap are transport protocols themselves.
    const below = scope.at(NETWORK) ?? 'ip';
    const number = numberFor(below, term.tunnel);
    if (number === undefined) throw refuse(term.place, `a protocol that ${below} may carry`, term.tunnel);
    const left = metaTerm('l4proto', META.l4proto, term.place);
    const right = value(term.place, TYPES.inet_proto, undefined, 8, BigInt(number));
    e.steps.push(relationStep(e, { op: '==', left, right, place: term.place }));
    scope.update(TRANSPORT, term.tunnel);
  }
  if (base === 'inner') {
    const below = scope.at(TRANSPORT);
    if (below === undefined || numberFor(below, term.tunnel) === undefined)
      throw refuse(term.place, `a match of udp before ${term.tunnel}`, below);
    scope.update(INNER, term.tunnel);
  }
  if (term.base !== INNER) e.tunnel = term.tunnel;
  void tunnel;
  return evaluateField(e, term);
}

function evaluateField(e: Evaluator, term: Payload): Term {
  if (term.evaluated) return term;
  const { key } = e;
  requireHeader(e, term);
  e.expectLike(term);
  e.key = key;
  const adjusted = term.offset % 8 !== 0 || term.bits % 8 !== 0 ? wholeBytes(e, term) : term;
  term.evaluated = true;
  return adjusted;
}

/** Makes sure that the packet has the header: by what earlier matches have said, or by a match of its own before this one. */
export function requireHeader(e: Evaluator, term: Payload): void {
  if (term.raw || term.protocol === undefined) return;
  const { scope } = e;
  let known = scope.at(term.base);
  if (known === undefined) {
    addDependency(e, term);
    known = scope.at(term.base);
    if (known !== term.protocol && term.base === LINK) {
      // ether came to be known, vlan is in it.
      const number = known === undefined ? undefined : numberFor(known, term.protocol);
      if (number === undefined) throw refuse(term.place, `a field of ${known}`, term.protocol);
      addLinkType(e, term, number);
      term.offset += bitsOf(scope.stacked[0] ?? '');
      return;
    }
    requireIcmpType(e, term);
    return;
  }
  const conflict = scope.conflict(term.base, term.protocol);
  if (conflict !== undefined)
    throw refuse(term.place, `the protocol of the match before it (${conflict})`, term.protocol);
  if (known === term.protocol) {
    if (term.base === LINK) for (const below of scope.stacked) term.offset += bitsOf(below);
    requireIcmpType(e, term);
    return;
  }
  if (term.base === LINK) {
    if (resolveLinkConflict(e, known, term)) return;
    known = scope.at(LINK);
    if (known === term.protocol) return;
  }
  throw refuse(term.place, `the protocol of the match before it (${known})`, term.protocol);
}

function addDependency(e: Evaluator, term: Payload): void {
  const { scope } = e;
  if (term.base < scope.start.base) {
    if (term.base < scope.start.base - 1 || !isOfEther(term.protocol!))
      throw refuse(term.place, `a header that family ${scope.family} sees`, term.protocol);
    addDeviceType(e, term);
    return;
  }
  let below = scope.at(term.base - 1) ?? specialBelow(e, term);
  if (below === undefined) throw refuse(term.place, 'a match before it that tells the protocol below', term.protocol);
  // What carries an IP packet is asked of the packet's meta data: an ether header may pretend to have a vlan header after it.
  if (scope.family === 'bridge' && below === 'ether' && (term.protocol === 'ip' || term.protocol === 'ip6'))
    below = 'netdev';
  addProtocol(e, below, term.protocol!, term);
}

const linkOf = (family: string): string | undefined =>
  family === 'inet' ? 'inet' : family === 'bridge' ? 'ether' : family === 'netdev' ? 'netdev' : undefined;

function specialBelow(e: Evaluator, term: Payload): string | undefined {
  const { scope } = e;
  if (term.base === LINK) return linkOf(scope.family);
  if (term.base !== TRANSPORT) return undefined;
  const { protocol } = term;
  if (protocol !== 'icmp' && protocol !== 'icmpv6' && protocol !== 'igmp') return 'inet-service';
  let link = scope.at(LINK) ?? linkOf(scope.family);
  if (link === undefined) return 'inet-service';
  if (term.tunnel !== undefined && !headers[term.tunnel]!.tunnel!.flags.includes('link')) link = 'netdev';
  const network = protocol === 'icmpv6' ? 'ip6' : 'ip';
  addProtocol(e, link, network, term);
  return network;
}

/** A match of the field, or the meta data, in which one protocol says that another follows. */
export function addProtocol(e: Evaluator, below: string, protocol: string, term: Pick<Term, 'place'>): void {
  const number = numberFor(below, protocol);
  const teller = nextProtocolField(below);
  if (number === undefined || teller === undefined)
    throw refuse(term.place, `a protocol that ${below} may carry`, protocol);
  const left =
    'meta' in teller
      ? metaTerm(teller.meta, META[teller.meta], term.place)
      : headerField(below, headers[below]!, teller.field, headers[below]!.fields[teller.field]!, term.place);
  const right = value(term.place, left.type, left.type.order, left.bits, BigInt(number));
  addMatch(e, left, right);
}

/** nft lists a connection's address without its family, and leaves the match of the family out: what it is compared with tells. */
export function addFamilyOf(e: Evaluator, { key, place }: Ct, compared: Term): void {
  const { scope } = e;
  if ((key !== 'saddr' && key !== 'daddr') || scope.at(NETWORK) !== undefined) return;
  const word = firstWord(compared);
  if (typeof word !== 'string') return;
  const family = word.includes(':') ? 'ip6' : /^\d+\./.test(word) ? 'ip' : undefined;
  if (family !== undefined) addProtocol(e, scope.at(LINK) ?? scope.family, family, { place });
}

function firstWord(term: Term): string | number | bigint | undefined {
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

/** A match that others depend on: it comes before them. */
function addMatch(e: Evaluator, left: Term, right: Term): void {
  const { tunnel } = e;
  const bits = e.statementBits;
  const expected = e.expectation();
  e.statementBits = 0;
  e.expectNothing();
  const relation = evaluateRelation(e, { op: right.kind === 'set' ? 'in' : '==', left, right, place: left.place });
  if (tunnel !== undefined && (left.kind === 'meta' || left.kind === 'payload')) left.tunnel = tunnel;
  e.steps.push(relationStep(e, relation));
  e.statementBits = bits;
  Object.assign(e, expected);
}

function addDeviceType(e: Evaluator, term: Payload): void {
  if (!isOfEther(term.protocol!))
    throw refuse(term.place, `a header that family ${e.scope.family} sees`, term.protocol);
  const left = metaTerm('iiftype', META.iiftype, term.place);
  addMatch(e, left, value(term.place, TYPES.iface_type, 'host', 16, BigInt(ETHER_DEVICE)));
}

/** A match of the type field of the last link layer header. */
function addLinkType(e: Evaluator, term: Payload, number: number): void {
  const link = e.scope.at(LINK)!;
  const header = headers[link]!;
  const left = headerField(link, header, header.next!, header.fields[header.next!]!, term.place);
  addMatch(e, left, value(term.place, left.type, 'big', left.bits, BigInt(number)));
}

function resolveLinkConflict(e: Evaluator, known: string, term: Payload): boolean {
  const { scope } = e;
  let below = known;
  if (isMadeUp(known)) {
    if (e.tunnel !== undefined) {
      scope.update(LINK, 'ether');
    } else {
      addDeviceType(e, term);
      below = term.protocol!;
    }
  } else if (scope.stacked.includes(term.protocol!)) {
    return true;
  }
  const number = numberFor(below, term.protocol!);
  if (number === undefined) return false;
  addLinkType(e, term, number);
  for (const each of scope.stacked) term.offset += bitsOf(each);
  return true;
}

/** Some fields of ICMP are there in some types of message only. */
function requireIcmpType(e: Evaluator, term: Payload): void {
  if (term.icmp === undefined) return;
  const { scope } = e;
  const { types } = term.icmp;
  const wanted = term.protocol === 'icmpv6' && types.length > 2 ? 135 : types[0]!;
  if (scope.icmpType !== 0) {
    if (types.includes(scope.icmpType)) return;
    throw refuse(term.place, `a field of ICMP messages of type ${scope.icmpType}`, term.fieldName);
  }
  const header = headers[term.protocol!]!;
  const left = headerField(term.protocol!, header, 'type', header.fields.type!, term.place);
  const values = types.map(type => value(term.place, left.type, 'big', 8, BigInt(type)));
  scope.icmpType = wanted;
  if (values.length === 1) {
    addMatch(e, left, values[0]!);
  } else {
    addMatch(
      e,
      left,
      setLiteral(
        term.place,
        values.map(each => element(term.place, each)),
      ),
    );
  }
}

/** How far the last bit of a field is from the end of its last byte. */
export function shiftOf(bits: number, offset: number): { shift: number; extra: number } {
  let shift = bytesOf(bits) * 8 - ((offset % 8) + bits);
  let extra = 0;
  while (shift < 0) {
    shift += 8;
    extra += 8;
  }
  return { shift, extra };
}

/** A field that is not made of whole bytes: loads these, masks them, and shifts. */
function wholeBytes(e: Evaluator, term: Payload | Exthdr): Term {
  if (e.isPayloadStatement && !e.dialect.masksInWrites) return term;
  const { shift, extra } = shiftOf(term.bits, term.offset);
  const bits = term.bits + shift;
  if (bits > LONGEST_REGISTER)
    throw refuse(term.place, `at most ${LONGEST_REGISTER} bits with what stands around them`, bits);
  const { type, order } = term;
  const mask = value(term.place, TYPES.integer, 'host', bits, bitmask(term.bits) << BigInt(shift));
  let taken: Term = { ...binary(term.place, '&', term, mask), type, order, bits };
  if (shift > 0) {
    let shifted = order;
    if (e.dialect.turnsMaskedFields && (e.key !== undefined || e.statementBits > 0) && bytesOf(bits) > 1) {
      taken = { kind: 'conversion', place: term.place, type, order: 'host', bits, to: 'host', argument: taken };
      shifted = 'host';
    }
    const distance = value(term.place, TYPES.integer, 'host', 8, BigInt(shift));
    taken = { ...binary(term.place, '>>', taken, distance), type, order: shifted, bits };
  }
  term.bits += extra;
  return taken;
}

const LONGEST_TCP_OPTIONS = 320;

export function evaluateExthdr(e: Evaluator, term: Exthdr): Term {
  if (term.op === 'ipv4' || term.op === 'ipv6') {
    const needed = term.op === 'ipv4' ? 'ip' : 'ip6';
    const known = e.scope.at(NETWORK);
    if (known === undefined) {
      const link = e.scope.at(LINK);
      if (link === undefined) throw refuse(term.place, `a rule that sees ${needed}`, e.scope.family);
      // It stands before all else.
      const before = e.steps;
      e.steps = [];
      addProtocol(e, link, needed, term);
      e.steps = [...e.steps, ...before];
      // nft has forgotten by now which set is looked into.
      e.key = undefined;
    } else if (known !== needed) {
      throw refuse(term.place, `an extension of ${known}`, needed);
    }
  }
  return evaluateExtension(e, term);
}

export function evaluateExtension(e: Evaluator, term: Exthdr): Term {
  const { key } = e;
  if (term.present) term.type = TYPES.boolean;
  e.expectLike(term);
  e.key = key;
  if ((term.op === 'tcp' || term.op === 'ipv4') && term.offset + term.bits > LONGEST_TCP_OPTIONS)
    throw refuse(term.place, 'a field within the header', term.offset);
  return term.offset % 8 !== 0 || term.bits % 8 !== 0 ? wholeBytes(e, term) : term;
}
