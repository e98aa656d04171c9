import type { ContentOf } from '../../nf_tables/expression.ts';
import { bytesOf } from '../bits.ts';
import { entryOf, fieldsOf, numberOf, textOf } from '../compile/json-fields.ts';
import { TYPES } from '../data/datatypes.ts';
import { IPV6_EXTENSIONS, TCP_OPTION_ALIASES, TCP_OPTION_WORDS } from '../data/extensions.ts';
import { SCOPES } from '../data/scopes.ts';
import { word, words } from '../decompile/kernel-words.ts';
import {
  DCCP_OPTION,
  EXTENSIONS,
  type Extension,
  type ExtensionOp,
  extensionsByType,
  type HeaderField,
} from '../headers.ts';
import type { Json } from '../json-object.ts';
import type { Parser } from '../parse/parser.ts';
import { T } from '../parse/tokens.ts';
import { type Exthdr, Place, Undecompilable } from '../tree.ts';
import type { LoadExpression } from './expression.ts';
import { fieldCandidates, MAXIMUM_BITS } from './payload.ts';

/*
 * `exthdr`: a field of an IPv6 extension header, of an option of IPv4, TCP or DCCP, or of an SCTP chunk; or whether it is there.
 */

/** nft's numbers of the operations are the indexes. */
const OPERATIONS = ['ipv6', 'tcp', 'ipv4', 'sctp', 'dccp'] as const;
type Operation = (typeof OPERATIONS)[number];
/** nft's words for the owners of the fields. */
const OWNERS: Readonly<Record<ExtensionOp, string>> = {
  ipv6: 'exthdr',
  tcp: 'tcp option',
  ipv4: 'ip option',
  sctp: 'sctp chunk',
};
/** The field that stands for the whole extension if none is named. */
const FIRST_FIELDS = { tcp: 'kind', ipv4: 'type', sctp: 'type' } as const;
/** nft tries the kinds of the routing header in this order. */
const ROUTING_KINDS = ['srh', 'rt0', 'rt2'];
/** The highest offset of an option, in bits. */
const LONGEST_OPTIONS = 320;
const BLOCK_BITS = 64;

interface Located {
  readonly op: Operation;
  readonly number: number;
  readonly extension: Extension | undefined;
  readonly field: HeaderField | undefined;
  readonly present: boolean;
}

function made({ op, number, extension, field, present }: Located, offset: number, bits: number, place?: Place): Exthdr {
  const type = field?.type ?? TYPES.integer;
  return { kind: 'exthdr', place, type, order: 'big', bits, op, number, offset, present, extension, field };
}

/** Makes the node of a field. The blocks of sack have names of their own, but are fields of one option. */
function fieldOf(op: ExtensionOp, found: Extension, field: HeaderField, present: boolean, place?: Place): Exthdr {
  const extension = op === 'tcp' ? extensionsByType(op, found.type)[0] : found;
  return made({ op, number: found.type, extension, field, present }, field.offset, field.bits, place);
}

function parseIpv6(json: unknown, place: Place): Exthdr {
  const fields = fieldsOf(json, place);
  const found = entryOf(EXTENSIONS().ipv6, fields.name, new Place(place, 'name'));
  if (fields.field === undefined) return fieldOf('ipv6', found, found.fields[0]!, true, place);
  const name = textOf(fields, 'field', place);
  // JSON names rt0's addresses by the first one, addr[1], and the number of fields to skip.
  const skipped = fields.offset === undefined ? 0 : numberOf(fields, 'offset', place, 1);
  const at = found.fields.findIndex(each => each.name === name) + skipped;
  const wanted = skipped === 0 ? name : found.fields[at]?.name;
  return fieldOf('ipv6', found, entryOf(found.byName, wanted, new Place(place, 'field')), false, place);
}

function parseNamed(op: 'tcp' | 'ipv4' | 'sctp', json: unknown, place: Place): Exthdr {
  const fields = fieldsOf(json, place);
  if (op === 'tcp' && fields.base !== undefined) return parseRaw(fields, place);
  const aliases: Readonly<Record<string, string>> = op === 'tcp' ? TCP_OPTION_ALIASES : {};
  const name = aliases[fields.name as string] ?? fields.name;
  const found = entryOf(EXTENSIONS()[op], name, new Place(place, 'name'));
  const field = entryOf(found.byName, fields.field ?? FIRST_FIELDS[op], new Place(place, 'field'));
  return fieldOf(op, found, field, fields.field === undefined, place);
}

/** Parses any bits of a TCP option. If they are a field, the node gets its type. */
function parseRaw(fields: Record<string, unknown>, place: Place): Exthdr {
  const number = numberOf(fields, 'base', place, 255);
  const offset = numberOf(fields, 'offset', place, LONGEST_OPTIONS);
  const bits = numberOf(fields, 'len', place, MAXIMUM_BITS);
  const field = Object.values(EXTENSIONS().tcp)
    .find(each => each.type === number)
    ?.fields.find(each => each.offset === offset && each.bits === bits);
  const present = offset === 0 && bits === 8;
  const node = made({ op: 'tcp', number, extension: undefined, field: undefined, present }, offset, bits, place);
  if (field !== undefined) node.type = field.type;
  return node;
}

/** Parses an option of DCCP. These have numbers only. */
function parseDccp(json: unknown, place: Place): Exthdr {
  const number = numberOf(fieldsOf(json, place), 'type', place, 255);
  const { offset, bits } = DCCP_OPTION();
  return made({ op: 'dccp', number, extension: undefined, field: DCCP_OPTION(), present: true }, offset, bits, place);
}

/** Reads a field of an extension header behind its name. */
function readIpv6(p: Parser, word: string): Json {
  const { byName } = EXTENSIONS().ipv6[word]!;
  let { text: field } = p;
  if (p.kind === T.WORD && (field === 'addr' || field === 'sid') && !Object.hasOwn(byName, field)) {
    p.next();
    p.expect(T.LBRACKET);
    field = `${field}[${p.whole()}]`;
    if (!Object.hasOwn(byName, field)) p.fail('unknown field of an extension header', p.lastEnd - 1);
    p.expect(T.RBRACKET);
    return { exthdr: { name: word, field } };
  }
  if (p.kind !== T.WORD || !Object.hasOwn(byName, field))
    return p.unexpectedIn(
      SCOPES[word as keyof typeof SCOPES],
      ...fieldCandidates([...new Set(Object.keys(byName).map(name => name.replace(/\[.*/, '')))]),
    );
  p.next();
  return { exthdr: { name: word, field } };
}

/** Reads the number of a TCP option. */
function readKind(p: Parser): number {
  const { start } = p;
  const base = p.whole();
  return base > 255 ? p.fail('value too large', start) : base;
}

/** The words that are keywords behind `option` and `chunk`. */
const PART_SCOPES = { tcp: SCOPES.tcp, ipv4: SCOPES.ip, sctp: SCOPES.chunk } as const;

/** Reads the name of an option or a chunk, and its field if there is one. */
function readPart(p: Parser, op: 'tcp' | 'ipv4' | 'sctp', key: string): Json {
  const aliases: Readonly<Record<string, string>> = op === 'tcp' ? TCP_OPTION_WORDS : {};
  const name = aliases[p.text] ?? p.text;
  const scope = PART_SCOPES[op];
  if (p.kind !== T.WORD || !Object.hasOwn(EXTENSIONS()[op], name))
    return p.unexpectedIn(scope, ...Object.keys(EXTENSIONS()[op]));
  p.next();
  const { text: field } = p;
  if (p.kind !== T.WORD || !Object.hasOwn(EXTENSIONS()[op][name]!.byName, field)) {
    p.hold(scope);
    return { [key]: { name } };
  }
  p.next();
  return { [key]: { name, field } };
}

/** Finds the field at an offset. */
export function locate(node: Exthdr, offset: number, bits: number, present: boolean): void {
  node.offset = offset;
  node.bits = bits;
  node.present = present;
  const [first, ...kinds] = extensionsByType(node.op, node.number);
  node.extension = first;
  const fits = (field: HeaderField) => field.offset === offset && field.bits === bits;
  node.field = first?.fields.find(fits);
  if (node.field === undefined) {
    for (const name of ROUTING_KINDS) {
      const kind = kinds.find(each => each.name === name);
      const field = kind?.fields.find(fits);
      if (field === undefined) continue;
      node.extension = kind;
      node.field = field;
      break;
    }
  }
  if (present || node.op === 'dccp') node.type = TYPES.boolean;
  else if (node.field !== undefined) node.type = node.field.type;
  else node.type = node.op === 'tcp' || node.op === 'sctp' ? TYPES.integer : TYPES.invalid;
}

/** Returns the block of a repeated TCP option that the offset lies in; the first block is ''. */
function blockOf({ offset }: Exthdr): string {
  const block = Math.floor(offset / BLOCK_BITS);
  return block > 0 && block < 4 ? String(block) : '';
}

function extensionOf({ extension, present, field, number }: Exthdr): Extension {
  if (extension === undefined || (!present && field === undefined))
    throw new Undecompilable(`the header or option ${number}`);
  return extension;
}

export const exthdr: LoadExpression<Exthdr> = {
  kernel: 'exthdr',
  words: ['exthdr', 'tcp option', 'ip option', 'sctp chunk', 'dccp option'],
  typeof: { kind: 8, needs: [0, 1] },

  fromText: {
    .../* @__PURE__ */ Object.fromEntries(
      /* @__PURE__ */ Object.keys(IPV6_EXTENSIONS).map(name => [name === 'rt' ? 'rt header' : name, readIpv6]),
    ),
    exthdr(p) {
      const { text: name } = p;
      if (p.kind !== T.WORD || !Object.hasOwn(EXTENSIONS().ipv6, name)) return p.unexpected();
      p.next();
      return { exthdr: { name } };
    },
    'ip option': p => readPart(p, 'ipv4', 'ip option'),
    'sctp chunk': p => readPart(p, 'sctp', 'sctp chunk'),
    'tcp option'(p) {
      if (p.kind === T.NUMBER) {
        const base = readKind(p);
        const offset = p.acceptWord('length') ? 8 : 0;
        if (offset === 0) p.hold(SCOPES.tcp);
        return { 'tcp option': { base, offset, len: 8 } };
      }
      if (!p.accept(T.AT)) return readPart(p, 'tcp', 'tcp option');
      if (!p.is(T.NUMBER)) p.unexpectedIn(SCOPES.at);
      const base = p.whole();
      p.expect(T.COMMA);
      const offset = p.whole();
      p.expect(T.COMMA);
      return { 'tcp option': { base, offset, len: p.whole() } };
    },
    'dccp option': p => ({ 'dccp option': { type: p.whole() } }),
  },
  parse(json, place, name) {
    switch (name) {
      case 'exthdr':
        return parseIpv6(json, place);
      case 'dccp option':
        return parseDccp(json, place);
      case 'tcp option':
        return parseNamed('tcp', json, place);
      default:
        return parseNamed(name === 'ip option' ? 'ipv4' : 'sctp', json, place);
    }
  },

  write: ({ op, number, offset, bits, present }, register): ContentOf<'exthdr'> => ({
    register,
    type: number,
    offset: offset >> 3,
    length: bytesOf(bits),
    op,
    flags: present ? ['present'] : [],
  }),
  read({ op: written, type, offset = 0, length = 0, flags }: ContentOf<'exthdr'>, { dialect }) {
    const op = word(written ?? 'ipv6') as Operation;
    const located = { op, number: type, extension: undefined, field: undefined, present: false };
    const node = made(located, 0, 0);
    locate(node, offset * 8, length * 8, words(flags, ['present']).length > 0);
    if (!dialect.knowsIpOptionAddresses && op === 'ipv4' && node.type === TYPES.ipv4_addr) node.type = TYPES.integer;
    return node;
  },

  json(node) {
    const { op, number, extension, present, field, offset, bits } = node;
    if (op === 'dccp') return { 'dccp option': { type: number } };
    if (op === 'tcp' && extension === undefined) return { 'tcp option': { base: number, offset, len: bits } };
    const { name: own } = extensionOf(node);
    const name = op === 'tcp' ? own + blockOf(node) : own;
    return { [OWNERS[op]]: present ? { name } : { name, field: field!.name } };
  },
  text(node) {
    const { op, number, extension, present, field, offset, bits } = node;
    if (op === 'dccp') return `dccp option ${number}`;
    if (op === 'tcp' && extension === undefined)
      return offset === 0 && present ? `tcp option ${number}` : `tcp option @${number},${offset},${bits}`;
    const { name } = extensionOf(node);
    if (present) return `${OWNERS[op]} ${name}`;
    if (op === 'ipv6') return `${name} ${field!.name}`;
    return `${OWNERS[op]} ${name}${op === 'tcp' ? blockOf(node) : ''} ${field!.name}`;
  },

  describe: ({ op, number, extension, field }) => [
    [1, field?.number ?? 0],
    ...(op === 'ipv6' ? [] : [[2, OPERATIONS.indexOf(op)] as const]),
    [0, extension?.number ?? number],
  ],
  described(at) {
    const op = OPERATIONS[at(2) ?? 0];
    if (op === undefined || op === 'dccp') return undefined;
    for (const extension of Object.values(EXTENSIONS()[op])) {
      if (extension.number !== at(0)) continue;
      const field = extension.fields.find(each => each.number === at(1));
      if (field !== undefined) return fieldOf(op, extension, field, false);
    }
    return undefined;
  },
};
