import type { ContentOf } from '../../nf_tables/expression.ts';
import { bytesOf } from '../bits.ts';
import { entryOf, fieldsOf, numberOf } from '../compile/json-fields.ts';
import { TYPES } from '../data/datatypes.ts';
import { SCOPES, scopeOf } from '../data/scopes.ts';
import {
  type Header,
  type HeaderField,
  header,
  headerByNumber,
  headerWords,
  INNER,
  LAYER_NAMES,
  LINK,
  layerOf,
  NAMED_HEADERS,
  NETWORK,
  TRANSPORT,
  TUNNEL_HEADER,
} from '../headers.ts';
import { defined, type Json } from '../json-object.ts';
import { isKnown } from '../nodes.ts';
import type { Parser } from '../parse/parser.ts';
import { T } from '../parse/tokens.ts';
import { type Payload, Place, refuse, Undecompilable } from '../tree.ts';
import type { LoadExpression, NumberRecords } from './expression.ts';

/* `payload`: a field of a header of the packet, or any of its bits. */

/** nft's words for the layers. */
const RAW_BASES: Readonly<Record<string, number>> = { ll: LINK, nh: NETWORK, th: TRANSPORT, ih: INNER };
const BASE_WORDS = ['invalid', ...Object.keys(RAW_BASES)];
export const MAXIMUM_BITS = 64 * 8;
/** nft 1.0.6 does not know these headers. */
const NEWER_HEADERS: ReadonlySet<string> = /* @__PURE__ */ new Set(['vxlan', 'geneve', 'gre', 'gretap']);
/** nft 1.0.6 does not know these fields of ICMPv6. It crashes if the description of a set has one. */
const UNSAFE_ICMPV6 = ['taddr', 'daddr'] as const;
const PORT_BITS = 16;

/** Makes a node of a field of a known header. `th` stands for any transport protocol. */
export function fieldNode(of: Header, field: HeaderField, place?: Place): Payload {
  return {
    kind: 'payload',
    place,
    type: field.type,
    order: 'big',
    bits: field.bits,
    base: of.base,
    offset: field.offset,
    header: of,
    field,
    tellsProtocol: of.next === field,
    tunnel: undefined,
    raw: of.name === 'th',
    evaluated: false,
  };
}

/** Makes a node of bits without a name, or whose header is not known yet. */
export function rawNode(base: number, offset: number, bits: number, place?: Place): Payload {
  return {
    kind: 'payload',
    place,
    type: TYPES.xinteger,
    order: 'big',
    bits,
    base,
    offset,
    header: undefined,
    field: undefined,
    tellsProtocol: false,
    tunnel: undefined,
    raw: true,
    evaluated: false,
  };
}

/** Makes a node of listed bits. Ports are recognised without the protocol, because they are the same bits in every transport protocol. */
export function listedNode(base: number, offset: number, bits: number): Payload {
  const node = rawNode(base, offset, bits);
  node.order = undefined;
  if (base !== TRANSPORT || bits !== PORT_BITS || offset > PORT_BITS) return node;
  const th = header('th');
  const field = th.fields.find(each => each.offset === offset);
  if (field === undefined) return node;
  node.header = th;
  node.field = field;
  node.type = field.type;
  return node;
}

/** Writes the instruction that loads the bytes of the field into a register. */
export function writePayload({ base, offset, bits, tunnel }: Payload, register: number) {
  const layer = tunnel !== undefined && base === INNER ? TUNNEL_HEADER : base;
  return { register, base: LAYER_NAMES[layer]!, offset: offset >> 3, length: bytesOf(bits) };
}

/** What stands behind the words of some headers instead of a field: a part that is found by its number. */
const PARTS: Readonly<Record<string, string>> = { ip: 'option', tcp: 'option', sctp: 'chunk', dccp: 'option' };
/** The order in which nft's errors name the fields. */
const FIELD_ORDER =
  'saddr daddr type hdrlength nexthdr length checksum sport dport csumcov flags cpi sequence spi mrt group last-entry tag sid'.split(
    ' ',
  );

/** The names of fields as nft's errors have them. */
export function fieldCandidates(names: readonly string[]): string[] {
  const place = (name: string) => (FIELD_ORDER.includes(name) ? FIELD_ORDER.indexOf(name) : FIELD_ORDER.length);
  return [...names].sort((a, b) => place(a) - place(b)).map(name => (name === 'sequence' ? 'seq' : name));
}

/** Reads a field behind the name of its header. */
function readField(p: Parser, word: string, tunnel?: string): Json {
  const { byName, tunnel: isTunnel, base } = NAMED_HEADERS()[word]!;
  let { text } = p;
  const isWord = p.kind === T.WORD;
  if (isWord && Object.hasOwn(byName, text) && (!byName[text]!.newer || p.dialect.hasNewerIcmpFields)) {
    p.next();
    // nft's JSON calls such a header its own tunnel.
    if (base === INNER) return { payload: { tunnel: word, protocol: word, field: text } };
    return {
      payload: tunnel === undefined ? { protocol: word, field: text } : { protocol: word, field: text, tunnel },
    };
  }
  if (isWord && text === PARTS[word]) {
    p.next();
    return p.grammar.expressions.get(`${word} ${text}`)!(p, word);
  }
  if (isWord && isTunnel !== undefined && tunnel === undefined && Object.hasOwn(NAMED_HEADERS(), text)) {
    p.next();
    return readField(p, text, word);
  }
  // ARP's addresses have two words: `arp saddr ip`.
  if (isWord && word === 'arp' && (text === 'saddr' || text === 'daddr')) {
    p.next();
    text = `${text} ${p.text}`;
    if (!Object.hasOwn(byName, text)) p.unexpectedIn(SCOPES.arp, 'ether', 'ip');
    p.next();
    return { payload: { protocol: word, field: text } };
  }
  // nft knows chunks of sctp by a word that may stand here, too.
  const parts = word === 'sctp' ? [PARTS[word]!] : [];
  return p.unexpectedIn(scopeOf(word), ...fieldCandidates([...Object.keys(byName), ...parts]));
}

/** Reads `ll,0,48` behind the `@`. */
function readRaw(p: Parser): Json {
  const { text: base, start } = p;
  if (!p.isString() && !p.isWord('th')) p.unexpected('string', 'll', 'nh', 'th');
  p.next();
  if (!Object.hasOwn(RAW_BASES, base)) p.fail('unknown raw payload base', start);
  const content: { base: string; offset: number; len: number } = { base, offset: 0, len: 0 };
  if (!p.accept(T.COMMA)) p.unexpectedIn(SCOPES.at, 'comma');
  content.offset = p.whole();
  p.expect(T.COMMA);
  const at = p.start;
  content.len = p.whole();
  p.note(content, 'len', at);
  if (base === 'th' && content.len === PORT_BITS && (content.offset === 0 || content.offset === PORT_BITS))
    return { payload: { protocol: 'th', field: content.offset === 0 ? 'sport' : 'dport' } };
  return { payload: content };
}

export const payload: LoadExpression<Payload> = {
  kernel: 'payload',
  words: ['payload'],
  typeof: { kind: 7, needs: [0, 1] },

  fromText: {
    .../* @__PURE__ */ Object.fromEntries(
      /* @__PURE__ */ headerWords().map(name => [name, (p: Parser, word: string) => readField(p, word)]),
    ),
    '@': readRaw,
  },
  parse(json, place) {
    const fields = fieldsOf(json, place);
    if (fields.base !== undefined) {
      const base = entryOf(RAW_BASES, fields.base, new Place(place, 'base'));
      const bits = numberOf(fields, 'len', place, MAXIMUM_BITS);
      if (bits === 0) throw refuse(new Place(place, 'len'), `1 to ${MAXIMUM_BITS} bits`, bits);
      return rawNode(base, numberOf(fields, 'offset', place), bits, place);
    }
    const of = entryOf(NAMED_HEADERS(), fields.protocol, new Place(place, 'protocol'));
    const node = fieldNode(of, entryOf(of.byName, fields.field, new Place(place, 'field')), place);
    if (fields.tunnel !== undefined) {
      node.tunnel = entryOf(NAMED_HEADERS(), fields.tunnel, new Place(place, 'tunnel'));
      if (node.tunnel.tunnel === undefined) throw refuse(new Place(place, 'tunnel'), 'a tunnel', fields.tunnel);
    }
    return node;
  },

  write: writePayload,
  read({ base, offset, length }: ContentOf<'payload'>) {
    const layer = base === 'tunnel' ? INNER : layerOf(base);
    if (layer === undefined) throw new Undecompilable(`the header ${base}`);
    return listedNode(layer, offset * 8, length * 8);
  },

  json(node) {
    const { header: of, field, tunnel } = node;
    if (of === undefined || field === undefined)
      return { payload: { base: BASE_WORDS[node.base], offset: node.offset, len: node.bits } };
    return { payload: defined({ tunnel: tunnel?.name, protocol: of.name, field: field.name }) };
  },
  text(node, { words }) {
    const { header: of, field, tunnel } = node;
    if (tunnel !== undefined || NEWER_HEADERS.has(of?.name ?? ''))
      words.unwritable.newer('the header of a tunnel', words.dialect);
    const inside = tunnel !== undefined && tunnel !== of ? `${tunnel.name} ` : '';
    if (!isKnown(node)) return `${inside}@${BASE_WORDS[node.base]},${node.offset},${node.bits}`;
    return `${inside}${of!.name} ${field!.name}`;
  },

  describe({ header: of, field, base, offset, type, bits, tunnel }) {
    const numbers: (readonly [number, number])[] = [
      [0, of?.number ?? 0],
      [1, field?.number ?? 0],
    ];
    if (of === undefined) numbers.push([2, base], [3, offset]);
    if (type.id === TYPES.integer.id) numbers.push([4, bits]);
    if (tunnel !== undefined) numbers.push([5, tunnel.number]);
    return numbers satisfies NumberRecords;
  },
  described(at) {
    const [number, fieldNumber, base, offset, bits, tunnel] = [0, 1, 2, 3, 4, 5].map(at);
    const of = headerByNumber(number!);
    const field = of?.fields.find(each => each.number === fieldNumber);
    if (of === undefined ? base === undefined || offset === undefined : field === undefined) return undefined;
    const node = of === undefined ? rawNode(base!, offset!, bits ?? 0) : fieldNode(of, field!);
    if (bits) node.bits = bits;
    if (tunnel !== undefined) node.tunnel = headerByNumber(tunnel);
    return node;
  },
  isSafe(at) {
    const { number, byName } = header('icmpv6');
    return at(0) !== number || UNSAFE_ICMPV6.every(name => byName[name]!.number !== at(1));
  },
};
