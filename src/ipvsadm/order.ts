import { fromHex } from '../codec/index.ts';
import { addressBytes, ipv4Bytes } from '../ip_vs/address.ts';
import type { DestinationKey } from '../ip_vs/destination.ts';
import { familyOf, PROTOCOLS, type ServiceKey } from '../ip_vs/service.ts';

/*
 * The order in which ipvsadm lists. It subtracts 32-bit numbers in an int, so numbers that are 2^31 or more apart come in the wrong order: 192.168.0.1
 * before 10.0.0.1, and mark 3000000000 before mark 5. This comparison is not transitive (1.0.0.1 < 100.0.0.1 < 200.0.0.1 < 1.0.0.1), so the result
 * depends on the algorithm, too: glibc's qsort, when this was measured, was a merge sort that splits in the middle. Given the kernel's order, it
 * gives ipvsadm's.
 */

/** Numbers that are compared one after the other. */
type Words = readonly number[];

const compare = (a: Words, b: Words): number => {
  for (let i = 0; i < a.length; i++) {
    const difference = (a[i]! - (b[i] ?? 0)) | 0;
    if (difference !== 0) return difference;
  }
  return 0;
};

/** The address as four 32-bit numbers, an IPv4 address in the first. */
function words(address: string): number[] {
  const ipv4 = ipv4Bytes(address);
  if (ipv4 !== undefined) return [Number.parseInt(ipv4.slice(0, 8), 16), 0, 0, 0];
  const bytes = fromHex(addressBytes(address)) ?? new Uint8Array(16);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return [0, 4, 8, 12].map(at => view.getUint32(at));
}

function serviceWords(key: ServiceKey): Words {
  const family = familyOf(key);
  // ipvsadm leaves protocol, address and port of a firewall mark at zero.
  if ('firewallMark' in key) return [key.firewallMark, family];
  const protocol = typeof key.protocol === 'number' ? key.protocol : PROTOCOLS[key.protocol];
  return [0, family, protocol, ...words(key.address), key.port];
}

function destinationWords({ address, port }: DestinationKey): Words {
  return [...words(address), port];
}

/** Services by firewall mark, family, protocol, address and port. */
export function sortServices<T extends ServiceKey>(services: readonly T[]): T[] {
  return sortBy(services, serviceWords);
}

/** Destinations by address and port. */
export function sortDestinations<T extends DestinationKey>(destinations: readonly T[]): T[] {
  return sortBy(destinations, destinationWords);
}

function sortBy<T>(values: readonly T[], wordsOf: (value: T) => Words): T[] {
  const keyed = values.map(value => ({ value, words: wordsOf(value) }));
  return mergeSort(keyed).map(({ value }) => value);
}

function mergeSort<T extends { words: Words }>(values: readonly T[]): readonly T[] {
  if (values.length < 2) return values;
  const middle = values.length >> 1;
  const left = mergeSort(values.slice(0, middle));
  const right = mergeSort(values.slice(middle));
  const merged: T[] = [];
  let i = 0;
  let j = 0;
  while (i < left.length && j < right.length) {
    merged.push(compare(left[i]!.words, right[j]!.words) <= 0 ? left[i++]! : right[j++]!);
  }
  return merged.concat(left.slice(i), right.slice(j));
}
