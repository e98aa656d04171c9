import type { Source } from '../codec/index.ts';
import { rangeError, StateError } from '../errors.ts';
import { ofThread } from '../thread.ts';
import { COLUMNS, type PacketProperties, PROPERTIES } from './attributes.ts';
import type { PacketBatch } from './batch.ts';
import { NFGENMSG_LENGTH, type Packet } from './packet.ts';

const { slots: AT, starts } = COLUMNS;

/** Handlers ask for several properties of a packet in a row, so its attributes are walked over once. */
const thread = ofThread('nflog.columns', { columns: undefined as PacketColumns | undefined, index: 0 });

let close: (columns: PacketColumns) => void;

/** The properties of packets that are one attribute each, by the number of the packet. */
type PropertyColumns = { readonly [Key in keyof PacketProperties]: (i: number) => PacketProperties[Key] };

// biome-ignore lint/correctness/noUnusedVariables: both declarations must have the same parameters
export interface PacketColumns<R> extends PropertyColumns {}

/**
 * Packets that were read together, without an object for each: every property is a method that takes the number of a packet, from 0 to
 * `length` - 1. Each property of `Packet` that is one attribute of the kernel's message has its column.
 *
 * The memory is read over when the handler returns. A column that is asked afterwards throws `ERR_CLOSED`; what columns and `packet` have
 * returned stays good.
 * @example
 * const marked = new Map<number, number>();
 * nflog.onColumns(columns => {
 *   for (let i = 0; i < columns.length; i++) {
 *     const mark = columns.mark(i);
 *     marked.set(mark, (marked.get(mark) ?? 0) + columns.payloadLength(i));
 *   }
 * });
 */
// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: the class makes a method for each property of the interface
export class PacketColumns<R = unknown> {
  static {
    close = columns => {
      columns.#batch = undefined;
    };
    for (const { key, says } of PROPERTIES) {
      const slot = AT[key];
      const { absent, read } = says;
      const value = function (this: PacketColumns, i: number): unknown {
        const source = this.#walk(i);
        const at = starts[slot] ?? 0;
        if (at === 0) return absent;
        return read === undefined ? COLUMNS.number(slot, 0) : read(source, at, COLUMNS.end(slot));
      };
      Object.defineProperty(PacketColumns.prototype, key, { value, configurable: true, writable: true });
    }
  }

  #batch: PacketBatch | undefined;
  /** How many packets there are. */
  readonly length: number;

  /** @internal The log makes columns. */
  constructor(batch: PacketBatch) {
    this.#batch = batch;
    this.length = batch.length;
  }

  #of(i: number): PacketBatch {
    const batch = this.#batch;
    if (batch === undefined) {
      throw new StateError('ERR_CLOSED', "the columns are the handler's until it returns: keep `packet(i)`, or values");
    }
    if (!Number.isInteger(i) || i < 0 || i >= this.length) {
      throw rangeError(['i'], `the number of a packet, 0 to ${this.length - 1}`, i);
    }
    return batch;
  }

  /** Returns the memory of a packet. Its attributes are in the view. */
  #walk(i: number): Source {
    const batch = this.#of(i);
    const source = batch.source(i);
    if (thread.columns !== this || thread.index !== i) {
      COLUMNS.walk(source, batch.start(i) + NFGENMSG_LENGTH, batch.end(i));
      thread.columns = this;
      thread.index = i;
    }
    return source;
  }

  /**
   * The NFLOG group, 0 to 65535.
   * @param i the number of the packet
   * @example
   * nflog.onColumns(columns => console.log(columns.group(0)));
   */
  group(i: number): number {
    const batch = this.#of(i);
    return batch.source(i).view.getUint16(batch.start(i) + 2);
  }

  /**
   * The bytes of the packet that were copied: the smallest of the log's `copy`, the rule's snaplen and the packet's length; 0 with
   * `copy: 'none'` or 'meta'. In netdev's egress hook and arp's output hook the link-layer header is among them.
   * @param i the number of the packet
   * @example
   * nflog.onColumns(columns => console.log(columns.payloadLength(0)));
   */
  payloadLength(i: number): number {
    this.#walk(i);
    const at = starts[AT.payload] ?? 0;
    return at === 0 ? 0 : COLUMNS.end(AT.payload) - at;
  }

  /**
   * When this process read the packet, in microseconds since 1970.
   * @param i the number of the packet
   * @example
   * nflog.onColumns(columns => console.log(columns.receivedAtMicroseconds(0)));
   */
  receivedAtMicroseconds(i: number): number {
    return this.#of(i).received(i);
  }

  /**
   * The packet as an object, in memory of its own: it may be kept.
   * @param i the number of the packet
   * @example
   * const dropped: Packet[] = [];
   * nflog.onColumns(columns => {
   *   for (let i = 0; i < columns.length; i++) if (columns.mark(i) === 7) dropped.push(columns.packet(i));
   * });
   */
  packet(i: number): Packet<R> {
    return this.#of(i).packet(i).copy() as Packet<R>;
  }
}

/** Takes the memory away from columns. */
export { close as closeColumns };
