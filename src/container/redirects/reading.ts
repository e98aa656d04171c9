import { type Source, toHex } from '../../codec/index.ts';
import { isNotFound } from '../../errors.ts';
import * as C from '../../linux/netfilter.ts';
import type { Exchange, Message, Operation } from '../../netlink/index.ts';
import { Disturbed } from '../../netlink/retry.ts';
import { elementTable, type WireElement } from '../../nf_tables/element.ts';
import { MESSAGES } from '../../nf_tables/message.ts';
import { type PackedForm, readPacked } from '../../nftables/packed-elements.ts';
import { requestFor } from '../../nftables/request.ts';
import { MAX_LISTED } from '../owned/difference.ts';
import { noPorts, type Ports } from './input.ts';
import { PROTOCOL_NUMBERS, RANGE_SETS, type RangeSetName, REDIRECTS, VERSIONS, type Version } from './maps.ts';
import type { PortMap } from './port-map.ts';
import { type Range, Ranges, readRange } from './ranges.ts';

/** How many elements are kept: a container's root may fill our maps. The others are only counted. */
const MAX_ELEMENTS = 1 << 20;
const MAX_RANGES = 1 << 16;

/** An element that is no redirect. */
export interface ForeignElement {
  set: string;
  found: WireElement;
}

/** The elements of a container's maps and sets of ranges. */
export class ElementReading {
  readonly ports: Ports = noPorts();
  ranges = new Ranges();
  /** The first elements that are no redirects. */
  readonly foreign: ForeignElement[] = [];
  /** The number of elements that are no redirects. */
  foreignCount = 0;
  /** The number of elements that were not read. */
  beyond = 0;
  readonly #ranges: Range[] = [];

  /** Reads these sets, all of one generation. @throws Disturbed others have committed meanwhile */
  *read(exchange: Exchange, generation: number, sets: ReadonlySet<string>): Operation<void> {
    for (const version of VERSIONS)
      if (sets.has(version.map))
        yield* this.#readSet(exchange, generation, version.map, this.exact(version, this.ports[version.map]));
    for (const { name, version, isMap } of RANGE_SETS)
      if (sets.has(name)) yield* this.#readSet(exchange, generation, name, this.#wide(name, version, isMap));
    this.ranges = new Ranges(this.#ranges);
  }

  /** Reads the redirects with these keys. @throws NetlinkError ENOENT one of them is not there */
  *readKeys(exchange: Exchange, version: Version, { keys, keyLength, length }: PortMap): Operation<void> {
    if (length === 0) return;
    const elements = Array.from({ length }, (_, i) => ({ key: keys.subarray(i * keyLength, (i + 1) * keyLength) }));
    const form = this.exact(version, this.ports[version.map]);
    const call = requestFor('getsetelem', C.NFPROTO_INET, { table: REDIRECTS, set: version.map, elements });
    yield* exchange.request(call, message => {
      if (message.type === MESSAGES.newsetelem.number) readPacked(message, form);
    });
  }

  /** The number of redirects: `set` would remove them one by one. */
  get length(): number {
    return this.ports.ipv4.length + this.ports.ipv6.length + this.ranges.size;
  }

  *#readSet(exchange: Exchange, generation: number, set: string, form: PackedForm): Operation<void> {
    const call = requestFor('getsetelem', C.NFPROTO_INET, { table: REDIRECTS, set });
    let disturbed = false;
    const read = ({ type, source, payload }: Message): boolean => {
      disturbed ||= source.view.getUint16(payload + 2, false) !== (generation & 0xffff);
      return type === MESSAGES.newsetelem.number && !disturbed;
    };
    try {
      yield* exchange.dump(call, message => {
        if (read(message)) readPacked(message, form);
        return undefined;
      });
    } catch (error) {
      // The table had the set when it was read.
      if (isNotFound(error)) throw new Disturbed();
      throw error;
    }
    if (disturbed) throw new Disturbed();
  }

  /** Reads the elements of an exact map. */
  exact({ map: set, length }: Version, map: PortMap): PackedForm {
    const { keyLength } = map;
    return {
      keyLength,
      dataLength: 2,
      take: (bytes, keyAt, dataAt) => {
        const toPort = bytes[dataAt]! * 256 + bytes[dataAt + 1]!;
        const port = bytes[keyAt + length + 4]! * 256 + bytes[keyAt + length + 5]!;
        if (toPort === 0 || port === 0 || !PROTOCOL_NUMBERS.includes(bytes[keyAt + length]!)) {
          this.#tell(set, () =>
            wire({ key: bytes.slice(keyAt, keyAt + keyLength), data: bytes.slice(dataAt, dataAt + 2) }),
          );
          return;
        }
        if (map.length >= MAX_ELEMENTS) {
          this.beyond++;
          return;
        }
        const keys = map.reserve();
        const at = map.length * keyLength;
        for (let i = 0; i < keyLength; i++) keys[at + i] = bytes[keyAt + i]!;
        map.push(toPort);
      },
      other: (source, start, end) => this.#other(set, source, start, end),
    };
  }

  #wide(set: RangeSetName, version: Version, isMap: boolean): PackedForm {
    const keyLength = version.length + 8;
    return {
      keyLength,
      dataLength: isMap ? 2 : 0,
      ranges: true,
      take: (bytes, keyAt, dataAt, endAt) => {
        if (this.#ranges.length >= MAX_RANGES) {
          this.beyond++;
          return;
        }
        const toPort = isMap ? bytes[dataAt]! * 256 + bytes[dataAt + 1]! : undefined;
        const range = readRange(version, bytes, keyAt, endAt, toPort);
        if (range !== undefined) {
          this.#ranges.push(range);
          return;
        }
        this.#tell(set, () =>
          wire({
            key: bytes.slice(keyAt, keyAt + keyLength),
            keyEnd: bytes.slice(endAt, endAt + keyLength),
            ...(isMap && { data: bytes.slice(dataAt, dataAt + 2) }),
          }),
        );
      },
      other: (source, start, end) => this.#other(set, source, start, end),
    };
  }

  #other(set: string, source: Source, start: number, end: number): void {
    this.#tell(set, () => elementTable.readTolerant(source, start, end, { family: C.NFPROTO_INET }, {}) as WireElement);
  }

  #tell(set: string, read: () => WireElement | undefined): void {
    this.foreignCount++;
    if (this.foreign.length >= MAX_LISTED) return;
    const found = read();
    if (found !== undefined) this.foreign.push({ set, found });
  }
}

/** An element in the kernel's form, with its bytes as hex. */
const wire = (fields: Record<string, Uint8Array>): WireElement =>
  Object.fromEntries(Object.entries(fields).map(([name, bytes]) => [name, toHex(bytes)])) as WireElement;
