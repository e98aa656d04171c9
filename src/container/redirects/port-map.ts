/** Spreads what is multiplied by it over all bits: 2^32 divided by the golden ratio, odd. */
const SPREAD = 0x9e3779b1;

/** Most maps never get a key. */
const NO_BYTES = new Uint8Array(0);
const NO_WORDS = new Uint32Array(0);
const NO_SLOTS = new Int32Array(0);

/**
 * Ports by keys of one length, in the order in which they came. Keys and ports stand in columns of bytes, as the kernel has them in its messages:
 * a hundred thousand cost no object each.
 */
export class PortMap {
  readonly keyLength: number;
  length = 0;
  #keys: Uint8Array;
  /** The same bytes. */
  #words: Uint32Array;
  #ports: Uint8Array;
  /** By hash: the number of a key, counted from 1. Only of keys that came by `add`. */
  #slots = NO_SLOTS;
  /** What keys come together in a slot is not for whoever has chosen them to know. */
  readonly #seed = Math.floor(Math.random() * 0x1_0000_0000) | 0;

  /** Keys are `keyLength` bytes, a multiple of 4. */
  constructor(keyLength: number, capacity = 0) {
    this.keyLength = keyLength;
    this.#keys = capacity === 0 ? NO_BYTES : new Uint8Array(capacity * keyLength);
    this.#words = capacity === 0 ? NO_WORDS : new Uint32Array(this.#keys.buffer);
    this.#ports = capacity === 0 ? NO_BYTES : new Uint8Array(capacity * 2);
  }

  /** All keys, one behind the other. */
  get keys(): Uint8Array {
    return this.#keys.subarray(0, this.length * this.keyLength);
  }

  /** All ports, in network order. */
  get ports(): Uint8Array {
    return this.#ports.subarray(0, this.length * 2);
  }

  portAt(index: number): number {
    return this.#ports[index * 2]! * 256 + this.#ports[index * 2 + 1]!;
  }

  /**
   * Room for one more key: these bytes, from `length * keyLength` on. `push` or `add` takes what is written there. What is not written is zero, if all keys
   * leave out the same.
   */
  room(): Uint8Array {
    if (this.#keys.length < (this.length + 1) * this.keyLength) this.#grow();
    return this.#keys;
  }

  /** Takes the key that was written, whether it is there already or not. `find` does not see it. */
  push(port: number): void {
    const at = this.length * 2;
    this.#ports[at] = port >> 8;
    this.#ports[at + 1] = port;
    this.length++;
  }

  /** Takes the key that was written unless it is there already; returns the port that it leads to. */
  add(port: number): number {
    if (this.length * 2 >= this.#slots.length) this.#index();
    const slot = this.#slotOf(this.#words, this.length);
    const known = this.#slots[slot]!;
    if (known > 0) return this.portAt(known - 1);
    this.push(port);
    this.#slots[slot] = this.length;
    return port;
  }

  /** Forgets what came by `push`. */
  clear(): void {
    this.length = 0;
  }

  /** Takes a key of another map, and its port. */
  copy(from: PortMap, index: number): void {
    const { keyLength } = this;
    const keys = this.room();
    const at = this.length * keyLength;
    for (let i = 0; i < keyLength; i++) keys[at + i] = from.#keys[index * keyLength + i]!;
    this.push(from.portAt(index));
  }

  /** As `copy`, unless the key is there already; `find` sees it. */
  take(from: PortMap, index: number): void {
    const { keyLength } = this;
    const keys = this.room();
    const at = this.length * keyLength;
    for (let i = 0; i < keyLength; i++) keys[at + i] = from.#keys[index * keyLength + i]!;
    this.add(from.portAt(index));
  }

  /** The number of another map's key in this one, -1 where it is not there. */
  find(other: PortMap, index: number): number {
    if (this.#slots.length === 0) return -1;
    return this.#slots[this.#slotOf(other.#words, index)]! - 1;
  }

  /** The slot that a key has, or could have. */
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

  /** Makes the index anew, for twice as many keys as there are and more. */
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
