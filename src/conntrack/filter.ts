import { checkInteger, checkObject, checkOneOf, parseIPv4, parseIPv6, type Source } from '../codec/index.ts';
import { type Protocol, protocolNumber } from '../ctnetlink/protocol.ts';
import { FILTER_FIELDS, STATUS, type StatusFlag, type WireFlow, type WireTuple } from '../ctnetlink/tables.ts';
import { type Path, rangeError, typeError } from '../errors.ts';
import { IPPROTO_TCP, IPPROTO_UDP } from '../linux/in.ts';
import { type FlowFamily, numberOfFamily } from './flow.ts';
import type { ByteSpan, FlowView, TupleView } from './view.ts';

/** One port, or a range that includes both ends. */
export type PortFilter =
  | number
  | {
      /** The lowest port. */
      from: number;
      /** The highest port. */
      to: number;
    };

/** The addresses and ports of one direction. A field that is left out matches anything. */
export interface TupleFilter {
  /** An address, or a prefix: '10.0.0.0/8'. */
  source?: string;
  /** A destination address, or a prefix. */
  destination?: string;
  /** A source port, or a range. */
  sourcePort?: PortFilter;
  /** A destination port, or a range. */
  destinationPort?: PortFilter;
}

/** Selects flows: all fields must match. The addresses and ports are those of the first packet. */
export interface FlowFilter extends TupleFilter {
  /** 'ipv4' or 'ipv6'; both where it is left out. */
  family?: FlowFamily;
  /** The transport protocol. */
  protocol?: Protocol;
  /** The addresses and ports of replies. If NAT changed the destination, replies come from the new destination. */
  reply?: TupleFilter;
  /** The mark, or only the bits of it that are set in `mask`. */
  mark?:
    | number
    | {
        /** The bits that the mark must have. */
        value: number;
        /** The bits that are compared. */
        mask: number;
      };
  /** The zone; 0 is the default zone. */
  zone?: number;
  /** Flags that must all be set. */
  status?: readonly StatusFlag[];
  /** Only flows whose source, or whose destination, NAT has changed. */
  nat?: 'source' | 'destination';
}

const TUPLE_FIELDS = ['source', 'destination', 'sourcePort', 'destinationPort'] as const;
const FIELDS = [...TUPLE_FIELDS, 'family', 'protocol', 'reply', 'mark', 'zone', 'status', 'nat'] as const;
const STATUS_NAMES = Object.keys(STATUS) as StatusFlag[];
const TRANSLATED = { source: STATUS['source-nat'], destination: STATUS['destination-nat'] };

interface Prefix {
  readonly bytes: Uint8Array;
  readonly length: number;
}

interface Range {
  readonly from: number;
  readonly to: number;
}

class TupleMatch {
  readonly source: Prefix | undefined;
  readonly destination: Prefix | undefined;
  readonly sourcePort: Range | undefined;
  readonly destinationPort: Range | undefined;

  constructor(filter: TupleFilter, path: Path) {
    this.source = filter.source === undefined ? undefined : prefixOf(filter.source, [...path, 'source']);
    this.destination =
      filter.destination === undefined ? undefined : prefixOf(filter.destination, [...path, 'destination']);
    this.sourcePort = filter.sourcePort === undefined ? undefined : rangeOf(filter.sourcePort, [...path, 'sourcePort']);
    this.destinationPort =
      filter.destinationPort === undefined ? undefined : rangeOf(filter.destinationPort, [...path, 'destinationPort']);
  }

  matches(source: Source, tuple: TupleView): boolean {
    return (
      within(this.sourcePort, tuple.sourcePort) &&
      within(this.destinationPort, tuple.destinationPort) &&
      isIn(this.source, source, tuple.source) &&
      isIn(this.destination, source, tuple.destination)
    );
  }

  /**
   * Writes the fields that the kernel can compare itself in a dump: whole addresses and single ports. Linux 6.1 to 6.18 compare IPv6
   * addresses in the wrong byte order, so the kernel is never asked to compare IPv6 addresses.
   */
  kernel(wire: WireTuple): number {
    let fields = 0;
    if (isWhole4(this.source)) {
      wire.source4 = this.source.bytes.join('.');
      fields |= FILTER_FIELDS.source;
    }
    if (isWhole4(this.destination)) {
      wire.destination4 = this.destination.bytes.join('.');
      fields |= FILTER_FIELDS.destination;
    }
    // The kernel compares the ports of only these two protocols.
    if (wire.protocol !== IPPROTO_TCP && wire.protocol !== IPPROTO_UDP) return fields;
    if (isSingle(this.sourcePort)) {
      wire.sourcePort = this.sourcePort.from;
      fields |= FILTER_FIELDS.sourcePort;
    }
    if (isSingle(this.destinationPort)) {
      wire.destinationPort = this.destinationPort.from;
      fields |= FILTER_FIELDS.destinationPort;
    }
    return fields;
  }
}

const isWhole4 = (prefix: Prefix | undefined): prefix is Prefix =>
  prefix !== undefined && prefix.bytes.length === 4 && prefix.length === 32;
const isSingle = (range: Range | undefined): range is Range => range !== undefined && range.from === range.to;

/** A filter that has been checked. It makes the request to the kernel, and decides about each flow. */
export class CheckedFilter {
  readonly family: FlowFamily | undefined;
  readonly #protocol: number | undefined;
  readonly #original: TupleMatch;
  readonly #reply: TupleMatch | undefined;
  readonly #mark: { value: number; mask: number } | undefined;
  readonly #zone: number | undefined;
  readonly #status: number;

  /** @throws TypeError, RangeError with the path */
  constructor(filter: FlowFilter) {
    checkObject(filter, [], FIELDS);
    const { protocol, reply, mark, zone, status = [], nat } = filter;
    this.#protocol = protocol === undefined ? undefined : protocolNumber(protocol, ['protocol']);
    this.#original = new TupleMatch(filter, []);
    if (reply !== undefined) checkObject(reply, ['reply'], TUPLE_FIELDS);
    this.#reply = reply === undefined ? undefined : new TupleMatch(reply, ['reply']);
    this.#mark = mark === undefined ? undefined : markOf(mark);
    this.#zone = zone === undefined ? undefined : checkInteger(zone, ['zone'], 0, 0xffff);
    if (!Array.isArray(status)) throw typeError(['status'], 'an array of flags', status);
    let bits = nat === undefined ? 0 : TRANSLATED[checkOneOf(nat, ['nat'], ['source', 'destination'])];
    for (const [i, flag] of status.entries()) bits |= STATUS[checkOneOf(flag, ['status', i], STATUS_NAMES)];
    this.#status = bits >>> 0;
    this.family = this.#familyOf(filter.family);
  }

  /** Finds the IP version, which must be the same for all addresses. */
  #familyOf(given: FlowFamily | undefined): FlowFamily | undefined {
    let family = given === undefined ? undefined : checkOneOf(given, ['family'], ['ipv4', 'ipv6']);
    const sides = [
      { match: this.#original, path: [] },
      { match: this.#reply, path: ['reply'] },
    ];
    for (const { match, path } of sides) {
      for (const field of ['source', 'destination'] as const) {
        const bytes = match?.[field]?.bytes;
        if (bytes === undefined) continue;
        const own = bytes.length === 4 ? 'ipv4' : 'ipv6';
        family ??= own;
        if (family !== own) throw rangeError([...path, field], `an address of ${family}, as the others`, own);
      }
    }
    return family;
  }

  /** The filter of a dump. Kernels ignore the parts that they do not know, so the caller must also check each flow with `matches`. */
  request(): { family: number; wire: WireFlow } {
    const wire: WireFlow = {};
    const family = this.family === undefined ? 0 : numberOfFamily(this.family);
    if (this.#mark !== undefined && this.#mark.mask !== 0) {
      wire.mark = this.#mark.value;
      wire.markMask = this.#mark.mask;
    }
    if (this.#status !== 0) {
      wire.status = [this.#status];
      wire.statusMask = this.#status;
    }
    if (this.#zone !== undefined) wire.zone = this.#zone;
    if (this.family === undefined) return { family, wire };
    const tuple = (match: TupleMatch | undefined): [number, WireTuple] => {
      const of: WireTuple = this.#protocol === undefined ? {} : { protocol: this.#protocol };
      const fields = (match?.kernel(of) ?? 0) | (this.#protocol === undefined ? 0 : FILTER_FIELDS.protocol);
      return [fields, of];
    };
    const [originalFields, original] = tuple(this.#original);
    const [replyFields, reply] = this.#reply === undefined ? [0, {}] : tuple(this.#reply);
    if (originalFields !== 0) wire.original = original;
    if (replyFields !== 0) wire.reply = reply;
    if ((originalFields | replyFields) !== 0) wire.filter = { originalFields, replyFields };
    return { family, wire };
  }

  matches(source: Source, flow: FlowView): boolean {
    const { original, reply } = flow;
    if (this.#protocol !== undefined && original.protocol !== this.#protocol) return false;
    if ((flow.status & this.#status) >>> 0 !== this.#status) return false;
    if (this.#mark !== undefined && (flow.mark & this.#mark.mask) >>> 0 !== this.#mark.value) return false;
    if (this.#zone !== undefined && flow.zone !== this.#zone) return false;
    if (this.family !== undefined && original.source.end - original.source.start !== (this.family === 'ipv4' ? 4 : 16))
      return false;
    return this.#original.matches(source, original) && (this.#reply?.matches(source, reply) ?? true);
  }
}

function within(range: Range | undefined, port: number): boolean {
  return range === undefined || (port >= range.from && port <= range.to);
}

function isIn(prefix: Prefix | undefined, { bytes }: Source, place: ByteSpan): boolean {
  if (prefix === undefined) return true;
  if (place.start < 0 || place.end - place.start !== prefix.bytes.length) return false;
  const whole = prefix.length >> 3;
  for (let i = 0; i < whole; i++) if (bytes[place.start + i] !== prefix.bytes[i]) return false;
  const rest = prefix.length & 7;
  return rest === 0 || (bytes[place.start + whole]! ^ prefix.bytes[whole]!) >> (8 - rest) === 0;
}

function prefixOf(text: unknown, path: Path): Prefix {
  const expected = "an address or a prefix: '10.0.0.0/8'";
  if (typeof text !== 'string') throw typeError(path, expected, text);
  const slash = text.indexOf('/');
  const address = slash < 0 ? text : text.slice(0, slash);
  const bytes = parseIPv4(address) ?? parseIPv6(address);
  if (bytes === undefined) throw rangeError(path, expected, text, 'ERR_INVALID_ADDRESS');
  const bits = bytes.length * 8;
  const digits = slash < 0 ? String(bits) : text.slice(slash + 1);
  if (!/^\d{1,3}$/.test(digits) || Number(digits) > bits) throw rangeError(path, expected, text, 'ERR_INVALID_ADDRESS');
  return { bytes, length: Number(digits) };
}

function rangeOf(port: unknown, path: Path): Range {
  if (typeof port !== 'object' || port === null) {
    const single = checkInteger(port, path, 0, 0xffff);
    return { from: single, to: single };
  }
  checkObject(port, path, ['from', 'to']);
  const { from, to } = port as { from: number; to: number };
  checkInteger(from, [...path, 'from'], 0, 0xffff);
  checkInteger(to, [...path, 'to'], from, 0xffff);
  return { from, to };
}

function markOf(mark: unknown): { value: number; mask: number } {
  if (typeof mark !== 'object' || mark === null)
    return { value: checkInteger(mark, ['mark'], 0, 0xffffffff), mask: 0xffffffff };
  checkObject(mark, ['mark'], ['value', 'mask']);
  const { value, mask } = mark as { value: number; mask: number };
  checkInteger(value, ['mark', 'value'], 0, 0xffffffff);
  checkInteger(mask, ['mark', 'mask'], 0, 0xffffffff);
  // The kernel compares the masked mark with the whole value, so a bit outside the mask would match nothing.
  if ((value & ~mask) !== 0) throw rangeError(['mark', 'value'], 'no bits outside of the mask', value);
  return { value, mask };
}
