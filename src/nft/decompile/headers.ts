import { type Datatype, TYPES } from '../data/datatypes.ts';
import type { Dialect } from '../data/dialects.ts';
import { type FieldRow, type Header as HeaderRow, PROTOCOLS } from '../data/protocols.ts';

/*
 * The headers of the tables, with what is looked up in them: fields by their place, what follows by its number.
 */

/** Layers in the order in which they stand in a packet. */
export const BASE_LINK = 1;
export const BASE_NETWORK = 2;
export const BASE_TRANSPORT = 3;
export const BASE_INNER = 4;
export const BASE_NUMBERS = { link: BASE_LINK, network: BASE_NETWORK, transport: BASE_TRANSPORT, inner: BASE_INNER };

export interface HeaderField {
  readonly name: string;
  /** Bits. */
  readonly offset: number;
  readonly bits: number;
  readonly type: Datatype;
  /** nft's number of it, in the user data of sets. */
  readonly number: number;
  /** The types of ICMP's messages that have it; absent in all. */
  readonly icmp?: readonly number[] | undefined;
  /** nft 1.0.6 does not know it. */
  readonly newer?: boolean | undefined;
}

export interface Header {
  readonly name: string;
  /** nft's number of it. */
  readonly number: number;
  readonly base: number;
  /** Bits, of headers that others of the same layer follow; else 0. */
  readonly bits: number;
  readonly fields: readonly HeaderField[];
  /** The field that says what follows. */
  readonly next: HeaderField | undefined;
  readonly upper: ReadonlyMap<number, Header>;
  readonly tunnel: HeaderRow['tunnel'];
}

type Writable = { -readonly [K in keyof Header]: Header[K] };

function fieldsOf({ fields, icmp }: HeaderRow): HeaderField[] {
  return Object.entries(fields).map(([name, row]: [string, FieldRow], i) => ({
    name,
    number: row[3] ?? i + 1,
    offset: row[0],
    bits: row[1],
    type: TYPES[row[2] ?? 'integer'],
    icmp: icmp?.[name]?.types,
    newer: icmp?.[name]?.newer,
  }));
}

function buildHeaders(): Readonly<Record<string, Header>> {
  const headers: Record<string, Writable> = {};
  const rows: [string, HeaderRow][] = Object.entries(PROTOCOLS);
  for (const [name, row] of rows) {
    const fields = fieldsOf(row);
    headers[name] = {
      name,
      number: row.number,
      base: BASE_NUMBERS[row.base],
      bits: row.bits ?? 0,
      fields,
      next: fields.find(field => field.name === row.next),
      upper: new Map(),
      tunnel: row.tunnel,
    };
  }
  const link = (upper: HeaderRow['upper']) =>
    new Map(Object.entries(upper ?? {}).map(([number, name]) => [Number(number), headers[name]!]));
  for (const [name, row] of rows) headers[name]!.upper = link(row.upper);
  const dummy = (name: string, base: number, upper: ReadonlyMap<number, Header>): Writable => ({
    name,
    number: 0,
    base,
    bits: 0,
    fields: [],
    next: undefined,
    upper,
    tunnel: undefined,
  });
  headers.inet = dummy('inet', BASE_LINK, link({ 2: 'ip', 10: 'ip6' }));
  headers.netdev = dummy('netdev', BASE_LINK, headers.ether!.upper);
  headers['inet-service'] = dummy('inet-service', BASE_TRANSPORT, headers.ip!.upper);
  headers.unknown = dummy('unknown', 0, new Map());
  return headers;
}

const HEADERS = /* @__PURE__ */ buildHeaders();

export const header = (name: string): Header => HEADERS[name]!;

export function headerByNumber(number: number): Header | undefined {
  if (number === 0) return undefined;
  for (const name in HEADERS) if (HEADERS[name]!.number === number) return HEADERS[name];
  return undefined;
}

/** The tunnel that NFTA_INNER_* describe. */
export function tunnelHeader(
  type: string | number,
  headerSize: number,
  flags: readonly (string | number)[],
): Header | undefined {
  for (const name in HEADERS) {
    const { tunnel } = HEADERS[name]!;
    if (
      tunnel?.type === type &&
      tunnel.headerBytes === headerSize &&
      tunnel.flags.length === flags.length &&
      tunnel.flags.every(flag => flags.includes(flag))
    )
      return HEADERS[name];
  }
  return undefined;
}

/** The number by which `base` announces `upper`. */
export function numberOf(base: Header | undefined, upper: Header | undefined): number {
  if (base !== undefined && upper !== undefined) {
    for (const [number, each] of base.upper) if (each === upper) return number;
  }
  return -1;
}

/** What is known about the packet's protocols at some place of a rule. */
export class PacketContext {
  readonly family: string;
  readonly dialect: Dialect;
  /** Of each layer, by BASE_*. */
  readonly layers: (Header | undefined)[] = [];
  /** Link layers below the current one. */
  readonly stacked: Header[] = [];
  icmpType = 0;

  constructor(family: string, dialect: Dialect) {
    this.family = family;
    this.dialect = dialect;
    const { base, first } = HOOKS[family] ?? HOOKS.inet!;
    this.layers[base] = header(first);
  }

  /** nft 1.0.6 writes all fields that are numbers in decimal. */
  typeOf({ type }: HeaderField): Datatype {
    return !this.dialect.printsHexFields && type === TYPES.xinteger ? TYPES.integer : type;
  }

  /** What the family starts with. */
  get start(): { base: number; first: string } {
    return HOOKS[this.family] ?? HOOKS.inet!;
  }
}

const HOOKS: Record<string, { base: number; first: string }> = {
  bridge: { base: BASE_LINK, first: 'ether' },
  netdev: { base: BASE_LINK, first: 'netdev' },
  inet: { base: BASE_LINK, first: 'inet' },
  ip: { base: BASE_NETWORK, first: 'ip' },
  ip6: { base: BASE_NETWORK, first: 'ip6' },
  arp: { base: BASE_NETWORK, first: 'arp' },
};
