import { fromHex, toHex } from '../../codec/index.ts';
import { CT_KEYS, META_KEYS } from '../../nf_tables/expressions/packet.ts';
import { datatypeByNumber, TYPES } from '../data/datatypes.ts';
import { type Dialect, NFT_1_1_6 } from '../data/dialects.ts';
import * as keys from '../data/keys.ts';
import { type Header, PROTOCOLS } from '../data/protocols.ts';
import { headerField, numberedExtension, numberOfField, rawPayload } from './parse-header.ts';
import { ctTerm, metaTerm } from './parse-load.ts';
import { bytesOf, concatenation, type Payload, type Term, value } from './term.ts';

/*
 * What nft keeps with a set to know what its keys were: `typeof tcp dport`. Records of u8 type, u8 length and value, nested; numbers are four
 * bytes in the host's order. The kernel stores the bytes and looks at none of them.
 */

/** nft's numbers of kinds of terms; from `tunnel` on they are one less in nft 1.0.6. */
const KINDS = {
  verdict: 1,
  value: 4,
  payload: 7,
  exthdr: 8,
  meta: 9,
  socket: 10,
  osf: 11,
  ct: 12,
  concat: 13,
  numgen: 23,
  hash: 24,
  rt: 25,
  tunnel: 26,
  fib: 27,
  xfrm: 28,
} as const;
const OLD_KINDS: Partial<Record<keyof typeof KINDS, number>> = { fib: 26, xfrm: 27 };
const OPERATIONS = { ipv6: 0, tcp: 1, ipv4: 2, sctp: 3, dccp: 4 } as const;
/** A concatenation of more is not described. */
const MOST_PARTS = 4;

class Records {
  readonly #bytes: number[] = [];

  number(type: number, value: number): void {
    this.#bytes.push(type, 4);
    const view = new DataView(new ArrayBuffer(4));
    view.setUint32(0, value >>> 0, LITTLE);
    for (let i = 0; i < 4; i++) this.#bytes.push(view.getUint8(i));
  }

  /** False where the work could not be finished: what it has written stays. */
  nest(type: number, work: () => boolean): boolean {
    this.#bytes.push(type, 0);
    const start = this.#bytes.length;
    const whole = work();
    this.#bytes[start - 1] = whole ? this.#bytes.length - start : 0;
    return whole;
  }

  get hex(): string {
    return toHex(Uint8Array.from(this.#bytes));
  }
}

const LITTLE = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** The description of a key or a value as hex; undefined where nft gives none. */
export function describe(term: Term, dialect: Dialect): string | undefined {
  const kind = kindOf(term, dialect);
  if (kind === undefined) return undefined;
  const records = new Records();
  records.number(0, kind);
  records.nest(1, () => {
    writeData(records, term, dialect);
    return true;
  });
  return records.hex;
}

/** Kinds that every nft reads. Of a constant nft learns nothing; IPsec and tunnels have other numbers in nft 1.0.6. */
const READ_BY_ALL: ReadonlySet<number> = /* @__PURE__ */ new Set<number>([
  KINDS.verdict,
  KINDS.payload,
  KINDS.exthdr,
  KINDS.meta,
  KINDS.socket,
  KINDS.osf,
  KINDS.ct,
  KINDS.concat,
  KINDS.numgen,
  KINDS.hash,
  KINDS.rt,
  KINDS.fib,
]);
const SYMMETRIC_HASH = 1;
/** Fields of ICMPv6 that nft 1.0.6 does not have. */
const NEWER_ICMPV6 = ['taddr', 'daddr'] as const;

/**
 * A set without the descriptions that nft 1.0.6 dies of (SIGSEGV), which many systems still have: of constants, IPsec, hashes with a seed, fields
 * that it does not know. Every nft then goes by the types, which say what the values are.
 */
export function withReadableTypeof<T extends Described>(set: T): T {
  const { keyTypeof, dataTypeof, ...rest } = set;
  const kept = {
    ...rest,
    ...(isReadable(keyTypeof) && { keyTypeof }),
    ...(isReadable(dataTypeof) && { dataTypeof }),
  };
  return kept as unknown as T;
}

/** Whether a set has such a description. */
export const hasUnreadableTypeof = ({ keyTypeof, dataTypeof }: Described): boolean =>
  [keyTypeof, dataTypeof].some(description => description !== undefined && !isReadable(description));

interface Described {
  keyTypeof?: string;
  dataTypeof?: string;
}

const isReadable = (description: string | undefined): boolean =>
  description !== undefined && isReadByAll(fromHex(description));

/** Of a concatenation nft gives up the whole where it does not know the kind of a part. */
function isReadByAll(description: Uint8Array | undefined, isPart = false): boolean {
  if (description === undefined) return false;
  const records = recordsOf(description);
  const kind = numberIn(records, 0);
  if (!isPart && (kind === undefined || !READ_BY_ALL.has(kind))) return false;
  const fields = recordsOf(records.get(1) ?? new Uint8Array(0));
  if (kind === KINDS.hash) return numberIn(fields, 0) === SYMMETRIC_HASH;
  if (kind === KINDS.payload && numberIn(fields, 0) === PROTOCOLS.icmpv6.number)
    return NEWER_ICMPV6.every(field => numberOfField(PROTOCOLS.icmpv6.fields, field, 1) !== numberIn(fields, 1));
  return kind !== KINDS.concat || [...fields.values()].every(part => isReadByAll(part, true));
}

function kindOf(term: Term, dialect: Dialect): number | undefined {
  const name = term.kind === 'load' ? term.name : term.kind;
  if (!Object.hasOwn(KINDS, name)) return undefined;
  if (!dialect.describesConstants && (name === 'value' || name === 'tunnel')) return undefined;
  return (dialect.countsTunnelKind ? undefined : OLD_KINDS[name as 'fib']) ?? KINDS[name as keyof typeof KINDS];
}

function writeData(records: Records, term: Term, dialect: Dialect): boolean {
  switch (term.kind) {
    case 'payload':
      records.number(0, term.protocol === undefined ? 0 : protocolNumber(term.protocol));
      records.number(1, fieldNumber(term));
      if (term.protocol === undefined) {
        records.number(2, term.base);
        records.number(3, term.offset);
      }
      if (term.type.id === TYPES.integer.id) records.number(4, term.bits);
      if (term.tunnel !== undefined) records.number(5, protocolNumber(term.tunnel));
      return true;
    case 'exthdr':
      records.number(1, term.fieldNumber);
      if (term.op !== 'ipv6') records.number(2, OPERATIONS[term.op]);
      records.number(0, term.number);
      return true;
    case 'meta':
      records.number(0, META_KEYS[(keys.META as Record<string, keys.KeyRow>)[term.key]!.key as 'mark']);
      if (term.tunnel !== undefined) records.number(1, protocolNumber(term.tunnel));
      return true;
    case 'ct':
      records.number(0, CT_KEYS[(keys.CT as Record<string, keys.KeyRow>)[term.key]!.key as 'mark']);
      records.number(1, term.direction === undefined ? -1 : term.direction === 'reply' ? 1 : 0);
      return true;
    case 'load':
      for (const [type, number] of term.numbers) records.number(type, number);
      return true;
    case 'verdict':
      return true;
    case 'concat':
      return term.parts.every((part, i) => {
        let described = part;
        if (dialect.describesCalculations) while (described.kind === 'binary') described = described.left;
        const kind = kindOf(described, dialect);
        if (kind === undefined || i >= MOST_PARTS) return false;
        return records.nest(i, () => {
          records.number(0, kind);
          return records.nest(1, () => writeData(records, described, dialect));
        });
      });
    default:
      return false;
  }
}

function fieldNumber({ protocol, fieldName }: Payload): number {
  const header = protocol === undefined ? undefined : (PROTOCOLS as Record<string, Header>)[protocol];
  return header === undefined || fieldName === undefined ? 0 : numberOfField(header.fields, fieldName, 1);
}

function protocolNumber(name: string): number {
  return (PROTOCOLS as Record<string, Header>)[name]?.number ?? 0;
}

type Records2 = Map<number, Uint8Array>;

function recordsOf(bytes: Uint8Array): Records2 {
  const found: Records2 = new Map();
  for (let at = 0; at + 2 <= bytes.length; ) {
    const end = at + 2 + bytes[at + 1]!;
    if (end > bytes.length) break;
    found.set(bytes[at]!, bytes.subarray(at + 2, end));
    at = end;
  }
  return found;
}

function numberIn(records: Records2, type: number): number | undefined {
  const bytes = records.get(type);
  if (bytes === undefined || bytes.length !== 4) return undefined;
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, LITTLE);
}

/** The term that a set's keys or values were described by; undefined where it tells nothing that is needed. */
export function described(hex: string, dialect = NFT_1_1_6): Term | undefined {
  const bytes = fromHex(hex);
  return bytes === undefined ? undefined : termIn(recordsOf(bytes), dialect);
}

function termIn(records: Records2, dialect: Dialect): Term | undefined {
  const kind = numberIn(records, 0);
  const data = records.get(1);
  if (kind === undefined || data === undefined) return undefined;
  const fields = recordsOf(data);
  switch (kind) {
    case KINDS.payload:
      return payloadIn(fields);
    case KINDS.exthdr:
      return extensionIn(fields);
    case KINDS.meta: {
      const number = numberIn(fields, 0);
      const found = Object.entries<keys.KeyRow>(keys.META).find(([, row]) => META_KEYS[row.key as 'mark'] === number);
      return found && metaTerm(found[0] as keys.MetaKey, found[1], undefined);
    }
    case KINDS.ct: {
      const number = numberIn(fields, 0);
      const found = Object.entries<keys.KeyRow>(keys.CT).find(([, row]) => CT_KEYS[row.key as 'mark'] === number);
      if (found === undefined) return undefined;
      const [key, row] = found;
      const direction = ([undefined, 'original', 'reply'] as const)[(numberIn(fields, 1) ?? -1) + 1];
      return ctTerm(key, row, direction, undefined);
    }
    case KINDS.value: {
      const type = datatypeByNumber(numberIn(fields, 0) ?? 0);
      return type && value(undefined, type, type.order, type.bits, 0n);
    }
    case KINDS.rt:
    case KINDS.socket:
    case KINDS.osf:
    case KINDS.numgen:
    case KINDS.hash:
    case KINDS.xfrm:
    case KINDS.fib:
      return loadIn(kind, numberIn(fields, 0) ?? 0, dialect);
    case KINDS.concat: {
      const parts: Term[] = [];
      for (let i = 0; fields.has(i); i++) {
        const part = termIn(recordsOf(fields.get(i)!), dialect);
        if (part === undefined) return undefined;
        parts.push(part);
      }
      if (parts.length < 2) return undefined;
      return { ...concatenation(undefined, parts), fields: parts.map(part => bytesOf(part.bits)) };
    }
    default:
      return undefined;
  }
}

/** What is loaded with one instruction: as much of it as says what its values are like. */
function loadIn(kind: number, key: number, dialect: Dialect): Term | undefined {
  const found = (Object.keys(LOADS) as (keyof typeof LOADS)[]).find(
    name => ((dialect.countsTunnelKind ? undefined : OLD_KINDS[name]) ?? KINDS[name]) === kind,
  );
  const row = found && LOADS[found](key);
  return row && value(undefined, TYPES[row.type], row.order, row.bits, 0n);
}

type Row = Pick<keys.KeyRow, 'type' | 'order' | 'bits'>;
/** By nft's number of the key. */
const LOADS: Readonly<
  Record<'rt' | 'socket' | 'osf' | 'numgen' | 'hash' | 'xfrm' | 'fib', (key: number) => Row | undefined>
> = {
  rt: key => [keys.RT.classid, keys.RT.nexthop, keys.RT_NEXTHOP6, keys.RT.mtu, keys.RT.ipsec][key],
  socket: key => [keys.SOCKET.transparent, keys.SOCKET.mark, keys.SOCKET.wildcard, keys.SOCKET.cgroupv2][key],
  osf: () => keys.OSF,
  numgen: () => keys.GENERATED,
  hash: () => keys.GENERATED,
  xfrm: key =>
    [
      undefined,
      keys.IPSEC.daddr,
      keys.IPSEC6.daddr,
      keys.IPSEC.saddr,
      keys.IPSEC6.saddr,
      keys.IPSEC.reqid,
      keys.IPSEC.spi,
    ][key],
  fib: key => [undefined, keys.FIB.oif, keys.FIB.oifname, keys.FIB.type][key],
};

function extensionIn(fields: Records2): Term | undefined {
  const operation = numberIn(fields, 2) ?? OPERATIONS.ipv6;
  const op = (['ipv6', 'tcp', 'ipv4', 'sctp'] as const).find(each => OPERATIONS[each] === operation);
  const header = numberIn(fields, 0);
  const field = numberIn(fields, 1);
  return op === undefined || header === undefined || field === undefined
    ? undefined
    : numberedExtension(op, header, field);
}

function payloadIn(fields: Records2): Term | undefined {
  const number = numberIn(fields, 0);
  const field = numberIn(fields, 1);
  const bits = numberIn(fields, 4);
  const protocol = Object.entries<Header>(PROTOCOLS).find(([, header]) => header.number === number);
  if (protocol === undefined) {
    const base = numberIn(fields, 2);
    const offset = numberIn(fields, 3);
    return base === undefined || offset === undefined || bits === undefined
      ? undefined
      : rawPayload(base, offset, bits, undefined);
  }
  const [name, header] = protocol;
  const row = Object.entries(header.fields).find(([, each], i) => (each[3] ?? i + 1) === field);
  return row && headerField(name, header, row[0], row[1], undefined);
}
