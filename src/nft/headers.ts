import { lazy } from '../codec/lazy.ts';
import { type Datatype, TYPES } from './data/datatypes.ts';
import {
  DCCP_OPTION_FIELDS,
  type Extension as ExtensionRow,
  IP_OPTIONS,
  IPV6_EXTENSIONS,
  SCTP_CHUNKS,
  TCP_OPTIONS,
} from './data/extensions.ts';
import { type FieldRow, type Header as HeaderRow, PROTOCOLS } from './data/protocols.ts';

/*
 * The headers, extensions and options of the tables in data/, prepared for look-ups: fields by name, number and place, and the protocols
 * that follow each other.
 */

/* The layers, in the order of a packet. The numbers are nft's. */

export const LINK = 1;
export const NETWORK = 2;
export const TRANSPORT = 3;
export const INNER = 4;
/** The tunnel's own header, seen from the packet inside. */
export const TUNNEL_HEADER = 5;
const LAYERS = { link: LINK, network: NETWORK, transport: TRANSPORT, inner: INNER } as const;
/** Returns the layer of a word of the kernel. */
export const layerOf = (base: string | number): number | undefined => LAYERS[base as keyof typeof LAYERS];
/** The kernel's words for the layers. */
export const LAYER_NAMES = [undefined, 'link', 'network', 'transport', 'inner', 'tunnel'] as const;

export interface HeaderField {
  readonly name: string;
  /** In bits. */
  readonly offset: number;
  readonly bits: number;
  readonly type: Datatype;
  /** nft's number of the field in the user data of sets. */
  readonly number: number;
  /** The types of ICMP messages that have the field; undefined if all have it. */
  readonly icmp: readonly number[] | undefined;
  /** nft 1.0.6 does not know the field. */
  readonly newer: boolean;
}

export interface Header {
  readonly name: string;
  /** nft's number of the protocol; 0 for protocols that nft makes up. */
  readonly number: number;
  readonly base: number;
  /** The length in bits if another header of the same layer may follow; else 0. */
  readonly bits: number;
  readonly fields: readonly HeaderField[];
  readonly byName: Readonly<Record<string, HeaderField>>;
  /** The field that names the next protocol. */
  readonly next: HeaderField | undefined;
  /** The next protocols, by the number in that field or in the packet's meta data. */
  readonly upper: ReadonlyMap<number, Header>;
  /** The numbers of the next protocols. If one has several, it is the lowest. */
  readonly numbers: ReadonlyMap<Header, number>;
  /** The key of the meta data that names the next protocol, if no field does. */
  readonly meta: 'l4proto' | 'nfproto' | 'protocol' | undefined;
  readonly tunnel: HeaderRow['tunnel'];
  readonly checksum: HeaderRow['checksum'];
  /** The checksum that nft 1.0.6 corrects. */
  readonly oldChecksum: HeaderRow['oldChecksum'];
  /** The fields that the transport's checksum covers too. */
  readonly pseudoHeader: readonly string[];
}

/** A header, option or chunk that the kernel finds by its number. */
export interface Extension {
  readonly name: string;
  readonly type: number;
  /** nft's number of the extension in the user data of sets. */
  readonly number: number;
  readonly fields: readonly HeaderField[];
  readonly byName: Readonly<Record<string, HeaderField>>;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

function fieldsOf(rows: Readonly<Record<string, FieldRow>>, first: number, icmp: HeaderRow['icmp']): HeaderField[] {
  return Object.entries<FieldRow>(rows).map(([name, row], i) => ({
    name,
    number: row[3] ?? i + first,
    offset: row[0],
    bits: row[1],
    type: TYPES[row[2] ?? 'integer'],
    icmp: icmp?.[name]?.types,
    newer: icmp?.[name]?.newer ?? false,
  }));
}

const named = (fields: readonly HeaderField[]): Readonly<Record<string, HeaderField>> =>
  Object.fromEntries(fields.map(field => [field.name, field]));

/** For these protocols the packet's meta data names the next one, even if they have a field for it. */
const TOLD_BY_META: Readonly<Record<string, 'l4proto'>> = {
  ip: 'l4proto',
  ip6: 'l4proto',
  gre: 'l4proto',
  gretap: 'l4proto',
};

function headerOf(name: string, row: HeaderRow): Writable<Header> {
  const fields = fieldsOf(row.fields, 1, row.icmp);
  const byName = named(fields);
  return {
    name,
    number: row.number,
    base: LAYERS[row.base],
    bits: row.bits ?? 0,
    fields,
    byName,
    next: row.next === undefined ? undefined : byName[row.next],
    upper: new Map(),
    numbers: new Map(),
    meta: TOLD_BY_META[name],
    tunnel: row.tunnel,
    checksum: row.checksum,
    oldChecksum: row.oldChecksum,
    pseudoHeader: row.pseudoHeader ?? [],
  };
}

/** Builds the headers. Some of their protocols are made up by nft: they stand for a layer as the family or the meta data gives it. */
function buildHeaders(): Readonly<Record<string, Header>> {
  const headers: Record<string, Writable<Header>> = {};
  const rows = Object.entries<HeaderRow>(PROTOCOLS);
  for (const [name, row] of rows) headers[name] = headerOf(name, row);
  const link = (upper: HeaderRow['upper'] = {}) =>
    new Map(Object.entries(upper).map(([number, name]) => [Number(number), headers[name]!]));
  for (const [name, row] of rows) headers[name]!.upper = link(row.upper);
  const madeUp = (name: string, base: HeaderRow['base'], upper: ReadonlyMap<number, Header>, meta: Header['meta']) => {
    headers[name] = { ...headerOf(name, { number: 0, base, fields: {} }), upper, meta };
  };
  madeUp('inet', 'link', link({ 2: 'ip', 10: 'ip6' }), 'nfproto');
  madeUp('netdev', 'link', headers.ether!.upper, 'protocol');
  madeUp('inet-service', 'transport', headers.ip!.upper, 'l4proto');
  madeUp('unknown', 'link', new Map(), undefined);
  headers.unknown!.base = 0;
  for (const each of Object.values(headers))
    each.numbers = new Map([...each.upper].reverse().map(([number, follower]) => [follower, number]));
  return headers;
}

const HEADERS = /* @__PURE__ */ lazy(buildHeaders);
/** The protocols that nft has a word for. */
export const NAMED_HEADERS = /* @__PURE__ */ lazy(
  (): Readonly<Record<string, Header>> =>
    Object.fromEntries(Object.entries(HEADERS()).filter(([, { number }]) => number !== 0)),
);

/** The names of these protocols, from the table: the registry of words asks for them when it is imported. */
export const headerWords = (): string[] =>
  Object.entries<HeaderRow>(PROTOCOLS).flatMap(([name, { number }]) => (number === 0 ? [] : [name]));

export const header = (name: string): Header => HEADERS()[name]!;

export function headerByNumber(number: number): Header | undefined {
  if (number === 0) return undefined;
  for (const name in HEADERS()) if (HEADERS()[name]!.number === number) return HEADERS()[name];
  return undefined;
}

/** Returns the tunnel that NFTA_INNER_* describe. */
export function tunnelHeader(
  type: string | number,
  headerSize: number,
  flags: readonly (string | number)[],
): Header | undefined {
  for (const name in HEADERS()) {
    const { tunnel } = HEADERS()[name]!;
    if (
      tunnel?.type === type &&
      tunnel.headerBytes === headerSize &&
      tunnel.flags.length === flags.length &&
      tunnel.flags.every(flag => flags.includes(flag))
    )
      return HEADERS()[name];
  }
  return undefined;
}

/** Returns the number by which a protocol announces another; undefined if that one cannot follow. */
export function numberFor(protocol: Header, follower: Header): number | undefined {
  // gretap shares the number of gre. vxlan and geneve have ports, and no number.
  if (protocol.name === 'udp' && follower.base === INNER) return 0;
  return protocol.numbers.get(follower.name === 'gretap' ? header('gre') : follower);
}

/** Returns whether packets of an Ethernet device may have the header. */
export function isOfEther(protocol: Header): boolean {
  const ether = header('ether');
  return protocol === ether || numberFor(ether, protocol) !== undefined;
}

/* Extensions. */

export type ExtensionOp = 'ipv6' | 'tcp' | 'ipv4' | 'sctp';

function extensionsOf(
  rows: Readonly<Record<string, ExtensionRow>>,
  first: number,
): Readonly<Record<string, Extension>> {
  return Object.fromEntries(
    Object.entries(rows).map(([name, { type, number, fields: row }]) => {
      const fields = fieldsOf(row, first, undefined);
      return [name, { name, type, number: number ?? type, fields, byName: named(fields) }];
    }),
  );
}

/** The extensions, by nft's names. nft numbers the fields of IPv6 extensions from 1, and others from 0. */
export const EXTENSIONS = /* @__PURE__ */ lazy(
  (): Readonly<Record<ExtensionOp, Readonly<Record<string, Extension>>>> => ({
    ipv6: extensionsOf(IPV6_EXTENSIONS, 1),
    tcp: extensionsOf(TCP_OPTIONS, 0),
    ipv4: extensionsOf(IP_OPTIONS, 0),
    sctp: extensionsOf(SCTP_CHUNKS, 0),
  }),
);

/** The only field of DCCP's options: whether the option is there. The options have numbers and no names. */
export const DCCP_OPTION = /* @__PURE__ */ lazy((): HeaderField => fieldsOf(DCCP_OPTION_FIELDS, 1, undefined)[0]!);

/** Groups the extensions by the kernel's number. Extensions with the same number are kinds of one. */
function byType(extensions: Readonly<Record<string, Extension>>): ReadonlyMap<number, Extension[]> {
  const map = new Map<number, Extension[]>();
  for (const extension of Object.values(extensions))
    map.set(extension.type, [...(map.get(extension.type) ?? []), extension]);
  return map;
}

/** Joins the blocks 0 to 3 of sack, which are fields of one option. */
function joined(map: ReadonlyMap<number, Extension[]>): ReadonlyMap<number, Extension[]> {
  return new Map(
    [...map].map(([type, list]) => [
      type,
      [{ ...list[0]!, fields: list.flatMap(({ fields }, i) => (i === 0 ? fields : fields.slice(2))) }],
    ]),
  );
}

const BY_TYPE = /* @__PURE__ */ lazy((): Readonly<Record<ExtensionOp, ReadonlyMap<number, readonly Extension[]>>> => {
  const { ipv6, tcp, ipv4, sctp } = EXTENSIONS();
  return { ipv6: byType(ipv6), tcp: joined(byType(tcp)), ipv4: byType(ipv4), sctp: byType(sctp) };
});

/** Returns the extensions that have a number of the kernel. */
export const extensionsByType = (op: ExtensionOp | 'dccp', type: number): readonly Extension[] =>
  op === 'dccp' ? [] : (BY_TYPE()[op].get(type) ?? []);
