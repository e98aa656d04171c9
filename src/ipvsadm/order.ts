import { fromHex, ipv4Bits, NO_BITS } from '../codec/index.ts';
import { addressBytes } from '../ip_vs/address.ts';
import type { DestinationKey } from '../ip_vs/destination.ts';
import { familyOf, PROTOCOLS, type ServiceKey } from '../ip_vs/service.ts';

/*
 * The order in which ipvsadm lists. It subtracts 32-bit numbers in an int, so numbers that are 2^31 or more apart come in the wrong order: 192.168.0.1
 * before 10.0.0.1, and mark 3000000000 before mark 5. This comparison is not transitive (1.0.0.1 < 100.0.0.1 < 200.0.0.1 < 1.0.0.1), so the result
 * depends on the algorithm, too: glibc's qsort, when this was measured, was a merge sort that splits in the middle. Given the kernel's order, it
 * gives ipvsadm's.
 */

const SERVICE_WORDS = 8;
const DESTINATION_WORDS = 5;

/** Sorts lists, one after the other, in columns that it keeps: a table has a list of destinations for each service. */
export class Sorter {
  /** The numbers that are compared one after the other, `#width` for each value. */
  #words = new Int32Array(1024);
  #width = 0;
  #order = new Uint32Array(128);
  #merged = new Uint32Array(128);

  /** The indexes of services in their order: by firewall mark, family, protocol, address and port. */
  services(services: readonly ServiceKey[]): number[] {
    const { length } = services;
    this.#begin(length, SERVICE_WORDS);
    for (let i = 0; i < length; i++) this.#addService(services[i]!, i * SERVICE_WORDS);
    return this.#sorted(length);
  }

  /** The indexes of destinations in their order: by address and port. */
  destinations(destinations: readonly DestinationKey[]): number[] {
    const { length } = destinations;
    this.#begin(length, DESTINATION_WORDS);
    for (let i = 0; i < length; i++) {
      const { address, port } = destinations[i]!;
      this.#addAddress(address, i * DESTINATION_WORDS);
      this.#words[i * DESTINATION_WORDS + 4] = port;
    }
    return this.#sorted(length);
  }

  #addService(key: ServiceKey, at: number): void {
    const words = this.#words;
    words[at + 1] = familyOf(key);
    if ('firewallMark' in key) {
      // ipvsadm leaves protocol, address and port of a firewall mark at zero.
      words.fill(0, at + 2, at + SERVICE_WORDS);
      words[at] = key.firewallMark;
      return;
    }
    words[at] = 0;
    words[at + 2] = typeof key.protocol === 'number' ? key.protocol : PROTOCOLS[key.protocol];
    this.#addAddress(key.address, at + 3);
    words[at + 7] = key.port;
  }

  /** The address as four 32-bit numbers, an IPv4 address in the first. */
  #addAddress(address: string, at: number): void {
    const words = this.#words;
    const bits = typeof address === 'string' ? ipv4Bits(address, 0, address.length) : NO_BITS;
    if (bits !== NO_BITS) {
      words[at] = bits;
      words.fill(0, at + 1, at + 4);
      return;
    }
    const bytes = fromHex(addressBytes(address)) ?? new Uint8Array(16);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    for (let i = 0; i < 4; i++) words[at + i] = view.getInt32(4 * i);
  }

  /** Makes room for so many values. */
  #begin(length: number, width: number): void {
    if (length * width > this.#words.length) this.#words = new Int32Array(2 * length * width);
    if (length > this.#order.length) {
      this.#order = new Uint32Array(2 * length);
      this.#merged = new Uint32Array(2 * length);
    }
    this.#width = width;
  }

  #sorted(length: number): number[] {
    const order = this.#order;
    for (let i = 0; i < length; i++) order[i] = i;
    this.#mergeSort(0, length);
    const indexes = new Array<number>(length);
    for (let i = 0; i < length; i++) indexes[i] = order[i]!;
    return indexes;
  }

  #mergeSort(start: number, end: number): void {
    if (end - start < 2) return;
    const middle = start + ((end - start) >> 1);
    this.#mergeSort(start, middle);
    this.#mergeSort(middle, end);
    const order = this.#order;
    const merged = this.#merged;
    let i = start;
    let j = middle;
    for (let to = start; to < end; to++) {
      const left = j === end || (i < middle && this.#compare(order[i]!, order[j]!) <= 0);
      merged[to] = left ? order[i++]! : order[j++]!;
    }
    for (let at = start; at < end; at++) order[at] = merged[at]!;
  }

  #compare(a: number, b: number): number {
    const words = this.#words;
    const left = a * this.#width;
    const right = b * this.#width;
    for (let i = 0; i < this.#width; i++) {
      const difference = (words[left + i]! - words[right + i]!) | 0;
      if (difference !== 0) return difference;
    }
    return 0;
  }
}
