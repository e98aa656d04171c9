import { TYPES } from '../data/datatypes.ts';
import {
  DCCP_OPTION_FIELDS,
  type Extension,
  IP_OPTIONS,
  IPV6_EXTENSIONS,
  SCTP_CHUNKS,
  TCP_OPTION_ALIASES,
  TCP_OPTIONS,
} from '../data/extensions.ts';
import { type FieldRow, type Header, PROTOCOLS } from '../data/protocols.ts';
import { entryOf, fieldsOf, numberOf, textOf } from './json-fields.ts';
import { type Exthdr, INNER, LINK, NETWORK, type Payload, Place, refuse, type Term, TRANSPORT } from './term.ts';

/* Fields of the packet's headers, of their options, extensions and chunks. */

const BASES = { link: LINK, network: NETWORK, transport: TRANSPORT, inner: INNER } as const;
const RAW_BASES: Readonly<Record<string, number>> = { ll: LINK, nh: NETWORK, th: TRANSPORT, ih: INNER };
export const MAXIMUM_BITS = 64 * 8;

export function parsePayload(json: unknown, place: Place): Term {
  const fields = fieldsOf(json, place);
  if (fields.base !== undefined) {
    const base = entryOf(RAW_BASES, fields.base, new Place(place, 'base'));
    const bits = numberOf(fields, 'len', place, MAXIMUM_BITS);
    if (bits === 0) throw refuse(new Place(place, 'len'), `1 to ${MAXIMUM_BITS} bits`, bits);
    return rawPayload(base, numberOf(fields, 'offset', place), bits, place);
  }
  const protocol = fields.protocol;
  const header = entryOf<Header>(PROTOCOLS, protocol, new Place(place, 'protocol'));
  const field = entryOf(header.fields, fields.field, new Place(place, 'field'));
  const term = headerField(protocol as string, header, fields.field as string, field, place);
  if (fields.tunnel !== undefined) {
    const tunnel = entryOf<Header>(PROTOCOLS, fields.tunnel, new Place(place, 'tunnel'));
    if (tunnel.tunnel === undefined) throw refuse(new Place(place, 'tunnel'), 'a tunnel', fields.tunnel);
    term.tunnel = fields.tunnel as string;
  }
  return term;
}

/** nft's numbers of fields: their places, from 1 on, unless the table has another. */
export function numberOfField(fields: Readonly<Record<string, FieldRow>>, name: string, first: number): number {
  let number = first;
  for (const each in fields) {
    if (each === name) return fields[each]![3] ?? number;
    number++;
  }
  return 0;
}

export function headerField(
  protocol: string,
  header: Header,
  name: string,
  row: FieldRow,
  place: Place | undefined,
): Payload {
  return {
    kind: 'payload',
    place,
    type: TYPES[row[2] ?? 'integer'],
    order: 'big',
    bits: row[1],
    protocol,
    field: row,
    fieldName: name,
    icmp: header.icmp?.[name],
    base: BASES[header.base],
    offset: row[0],
    raw: protocol === 'th',
    tunnel: undefined,
    evaluated: false,
    tellsProtocol: name === header.next,
  };
}

export function rawPayload(base: number, offset: number, bits: number, place: Place | undefined): Payload {
  return {
    kind: 'payload',
    place,
    type: TYPES.xinteger,
    order: 'big',
    bits,
    protocol: undefined,
    field: undefined,
    fieldName: undefined,
    icmp: undefined,
    base,
    offset,
    raw: true,
    tunnel: undefined,
    evaluated: false,
    tellsProtocol: false,
  };
}

function extension(
  op: Exthdr['op'],
  { type, number }: Extension,
  [offset, bits, fieldType = 'integer']: FieldRow,
  fieldNumber: number,
  present: boolean,
  place: Place | undefined,
): Exthdr {
  return {
    kind: 'exthdr',
    place,
    type: TYPES[fieldType],
    order: 'big',
    bits,
    op,
    header: type,
    number: number ?? type,
    fieldNumber,
    offset,
    present,
  };
}

/** Where fields are looked for by nft's numbers, and from which number on they count. */
const NUMBERED = {
  ipv6: { table: IPV6_EXTENSIONS, first: 1 },
  tcp: { table: TCP_OPTIONS, first: 0 },
  ipv4: { table: IP_OPTIONS, first: 0 },
  sctp: { table: SCTP_CHUNKS, first: 0 },
} as const satisfies Record<string, { table: Readonly<Record<string, Extension>>; first: number }>;

/** A field by nft's numbers of its header and of itself, as the user data of sets has them. */
export function numberedExtension(op: keyof typeof NUMBERED, header: number, field: number): Exthdr | undefined {
  const { table, first } = NUMBERED[op];
  for (const found of Object.values<Extension>(table)) {
    if ((found.number ?? found.type) !== header) continue;
    for (const [name, row] of Object.entries<FieldRow>(found.fields)) {
      if (numberOfField(found.fields, name, first) === field) return extension(op, found, row, field, false, undefined);
    }
  }
  return undefined;
}

function parseNamedExtension(
  op: 'ipv4' | 'sctp',
  table: Readonly<Record<string, Extension>>,
  json: unknown,
  place: Place,
): Term {
  const fields = fieldsOf(json, place);
  const found = entryOf(table, fields.name, new Place(place, 'name'));
  const name = fields.field ?? 'type';
  const row = entryOf(found.fields, name, new Place(place, 'field'));
  return extension(op, found, row, numberOfField(found.fields, name as string, 0), fields.field === undefined, place);
}

export const parseIpOption = (json: unknown, place: Place): Term =>
  parseNamedExtension('ipv4', IP_OPTIONS, json, place);

export const parseSctpChunk = (json: unknown, place: Place): Term =>
  parseNamedExtension('sctp', SCTP_CHUNKS, json, place);

export function parseDccpOption(json: unknown, place: Place): Term {
  const header = numberOf(fieldsOf(json, place), 'type', place, 255);
  return extension('dccp', { type: header, fields: DCCP_OPTION_FIELDS }, DCCP_OPTION_FIELDS.type, 1, true, place);
}

export function parseExthdr(json: unknown, place: Place): Term {
  const fields = fieldsOf(json, place);
  const found = entryOf<Extension>(IPV6_EXTENSIONS, fields.name, new Place(place, 'name'));
  if (fields.field === undefined) {
    const first = Object.values(found.fields)[0]!;
    return extension('ipv6', found, first, 1, true, place);
  }
  const name = textOf(fields, 'field', place);
  // rt0's addresses come as addr[1] with how many to go on from there.
  const places = Object.keys(found.fields);
  const at = places.indexOf(name) + (fields.offset === undefined ? 0 : numberOf(fields, 'offset', place, 1));
  const row = entryOf(found.fields, fields.offset === undefined ? name : places[at], new Place(place, 'field'));
  return extension('ipv6', found, row, at + 1, false, place);
}

export function parseTcpOption(json: unknown, place: Place): Term {
  const fields = fieldsOf(json, place);
  if (fields.base !== undefined) {
    const type = numberOf(fields, 'base', place, 255);
    const offset = numberOf(fields, 'offset', place, 320);
    const bits = numberOf(fields, 'len', place, MAXIMUM_BITS);
    const known: Extension | undefined = Object.values<Extension>(TCP_OPTIONS).find(each => each.type === type);
    const row = known && Object.values(known.fields).find(each => each[0] === offset && each[1] === bits);
    const present = offset === 0 && bits === 8;
    return extension('tcp', { type, fields: {} }, row ?? [offset, bits], 0, present, place);
  }
  const alias = TCP_OPTION_ALIASES[fields.name as 'sack0'] ?? fields.name;
  const found = entryOf<Extension>(TCP_OPTIONS, alias, new Place(place, 'name'));
  const name = fields.field ?? 'kind';
  const row = entryOf(found.fields, name, new Place(place, 'field'));
  return extension(
    'tcp',
    found,
    row,
    numberOfField(found.fields, name as string, 0),
    fields.field === undefined,
    place,
  );
}
