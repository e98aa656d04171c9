import type { EventLoopBudget, Operation } from '../../netlink/index.ts';

/** A multiplier that spreads its operand over all bits: 2^32 divided by the golden ratio, made odd. */
const SPREAD = 0x9e3779b1;

/** Shared by maps without a key, which are many. */
const NO_BYTES = new Uint8Array(0);
const NO_WORDS = new Uint32Array(0);
const NO_SLOTS = new Int32Array(0);

/**
 * Maps keys of one length to ports, in the order of insertion. Keys and ports are stored as bytes, as in the kernel's messages, so a
 * hundred thousand of them need no objects.
 */
export class PortMap {
  readonly keyLength: number;
  length = 0;
  #keys: Uint8Array;
  /** A view of the same bytes. */
  #words: Uint32Array;
  #ports: Uint8Array;
  /** A hash table of the keys that were inserted by `add`: their numbers, counted from 1. */
  #slots = NO_SLOTS;
  /** Random, so that an attacker cannot choose keys that collide. */
  readonly #seed = Math.floor(Math.random() * 0x1_0000_0000) | 0;

  /** @param keyLength bytes of a key, a multiple of 4 */
  constructor(keyLength: number, capacity = 0) {
    this.keyLength = keyLength;
    this.#keys = capacity === 0 ? NO_BYTES : new Uint8Array(capacity * keyLength);
    this.#words = capacity === 0 ? NO_WORDS : new Uint32Array(this.#keys.buffer);
    this.#ports = capacity === 0 ? NO_BYTES : new Uint8Array(capacity * 2);
  }

  /** The bytes of all keys, one behind the other. */
  get keys(): Uint8Array {
    return this.#keys.subarray(0, this.length * this.keyLength);
  }

  /** The bytes of all ports, in network order. */
  get ports(): Uint8Array {
    return this.#ports.subarray(0, this.length * 2);
  }

  portAt(index: number): number {
    return this.#ports[index * 2]! * 256 + this.#ports[index * 2 + 1]!;
  }

  /**
   * Reserves space for one more key and returns the bytes: write the key at `length * keyLength`, then call `push` or `add`. Bytes that no
   * key writes are zero.
   */
  reserve(): Uint8Array {
    if (this.#keys.length < (this.length + 1) * this.keyLength) this.#grow();
    return this.#keys;
  }

  /** Inserts the key that was written, without a look for an equal one. `find` does not find it. */
  push(port: number): void {
    const at = this.length * 2;
    this.#ports[at] = port >> 8;
    this.#ports[at + 1] = port;
    this.length++;
  }

  /** Inserts the key that was written unless there is an equal one. Returns the port of the key. */
  add(port: number): number {
    if (this.length * 2 >= this.#slots.length) this.#index();
    const slot = this.#slotOf(this.#words, this.length);
    const known = this.#slots[slot]!;
    if (known > 0) return this.portAt(known - 1);
    this.push(port);
    this.#slots[slot] = this.length;
    return port;
  }

  /** Removes the keys that were inserted by `push`. */
  clear(): void {
    this.length = 0;
  }

  /** Pushes a key of another map, with its port. */
  copy(from: PortMap, index: number): void {
    this.#write(from, index);
    this.push(from.portAt(index));
  }

  /** Adds a key of another map, with its port. */
  take(from: PortMap, index: number): void {
    this.#write(from, index);
    this.add(from.portAt(index));
  }

  #write(from: PortMap, index: number): void {
    const { keyLength } = this;
    const keys = this.reserve();
    const at = this.length * keyLength;
    for (let i = 0; i < keyLength; i++) keys[at + i] = from.#keys[index * keyLength + i]!;
  }

  /** The number that a key of another map has in this one; -1 if it is not here. */
  find(other: PortMap, index: number): number {
    if (this.#slots.length === 0) return -1;
    return this.#slots[this.#slotOf(other.#words, index)]! - 1;
  }

  /** The slot of a key, or the free slot where it belongs. */
  #slotOf(words: Uint32Array, index: number): number {
    const own = this.#words;
    const size = this.keyLength >> 2;
    const begin = index * size;
    let hash = this.#seed;
    for (let i = 0; i < size; i++) {
      hash = Math.imul(hash ^ words[begin + i]!, SPREAD);
      hash ^= hash >>> 15;
    }
    const slots = this.#slots;
    const mask = slots.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const known = slots[slot]! - 1;
      if (known < 0) return slot;
      let i = 0;
      while (i < size && own[known * size + i] === words[begin + i]) i++;
      if (i === size) return slot;
    }
  }

  /** Rebuilds the hash table for at least twice as many keys. */
  #index(): void {
    const capacity = Math.max(16, this.length * 2, this.#ports.length / 2);
    this.#slots = new Int32Array(2 ** Math.ceil(Math.log2(capacity * 2)));
    for (let i = 0; i < this.length; i++) this.#slots[this.#slotOf(this.#words, i)] = i + 1;
  }

  #grow(): void {
    const capacity = Math.max(8, this.length * 2);
    const keys = new Uint8Array(capacity * this.keyLength);
    keys.set(this.#keys);
    const ports = new Uint8Array(capacity * 2);
    ports.set(this.#ports);
    this.#keys = keys;
    this.#words = new Uint32Array(keys.buffer);
    this.#ports = ports;
  }
}

/** Long loops may let the event loop run after this many elements. */
const CHUNK = 256;

/** Goes through the keys of a map, and lets the event loop run in between: a container's root may have put any number there. */
export function* eachKey(map: PortMap, budget: EventLoopBudget, visit: (index: number) => void): Operation<void> {
  for (let i = 0; i < map.length; i++) {
    if (i % CHUNK === CHUNK - 1) yield budget;
    visit(i);
  }
}
