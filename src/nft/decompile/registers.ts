import type { Dialect } from '../data/dialects.ts';
import { paddedBits } from './bits.ts';
import { type Sets, splice } from './sets.ts';
import {
  type Concat,
  clone,
  type Node,
  type SetReference,
  type SetShape,
  Undecompilable,
  untyped,
  type Value,
} from './tree.ts';

/* The content of the registers while the expressions of a rule are read. */

/** Those that nft has words for; the rest of a register's 64 bytes is the kernel's. */
const REGISTERS_MAX = 20;
/** What all registers hold together (NFT_REG_SIZE of each). */
const MAX_BITS = 512;

export interface RegistersOptions {
  family: string;
  sets: Sets;
  dialect: Dialect;
}

/** The registers of one rule. */
export class Registers {
  readonly #options: RegistersOptions;
  readonly #registers: (Node | undefined)[] = [];
  /** While the packet in a tunnel is looked at: the register that was loaded last. */
  #loaded = 0;

  constructor(options: RegistersOptions) {
    this.#options = options;
  }

  get family(): string {
    return this.#options.family;
  }

  get dialect(): Dialect {
    return this.#options.dialect;
  }

  set(register: number, node: Node): void {
    const at = wordOf(register);
    if (at < 1 || at > REGISTERS_MAX) throw new Undecompilable(`the register ${register}`);
    if (node.bits > MAX_BITS) throw new Undecompilable(`${node.bits} bits in a register`);
    this.#registers[at] = node;
    this.#loaded = register;
  }

  get(register: number): Node {
    return this.#word(wordOf(register));
  }

  #word(at: number): Node {
    const node = this.#registers[at];
    if (node === undefined) throw new Undecompilable('a register that nothing was loaded into');
    return clone(node);
  }

  optional(register: number | undefined): Node | undefined {
    return register === undefined ? undefined : this.get(register);
  }

  /** Several registers from this one on. */
  concat(register: number, bits: number, each?: (node: Node, index: number) => void): Concat {
    const parts: Node[] = [];
    let at = wordOf(register);
    for (let left = bits; left > 0; ) {
      const node = this.#word(at);
      if (node.bits === 0) throw new Undecompilable('a part of a concatenation without a length');
      each?.(node, parts.length);
      parts.push(node);
      left -= paddedBits(node.bits);
      at += paddedBits(node.bits) / 32;
    }
    if (parts.length < 2) throw new Undecompilable('more bits than were loaded');
    return { kind: 'concat', ...untyped(), parts };
  }

  /** What a set is asked for: one register, or as many as its keys have parts. */
  key(register: number, shape: SetShape): Node {
    const node = this.get(register);
    return node.bits < shape.key.bits ? this.concat(register, shape.key.bits) : node;
  }

  find({ set, setId }: { set?: string | undefined; setId?: number | undefined }): SetShape {
    return this.#options.sets.find(set, setId);
  }

  /** The same value's parts, each as long as what stands in its register. */
  parts(register: number, whole: Value): Concat {
    const parts: Node[] = [];
    let at = wordOf(register);
    for (let left = whole.bits; left > 0; ) {
      const { bits } = this.#word(at);
      parts.push(splice(whole, bits));
      whole.bits -= paddedBits(bits) - bits;
      left -= paddedBits(bits);
      at += paddedBits(bits) / 32;
    }
    return { kind: 'concat', ...untyped(), parts };
  }

  get loaded(): number {
    return this.#loaded;
  }
}

/** The 128-bit registers 1 to 4 are four words each; from 8 on they are words. */
function wordOf(register: number): number {
  if (register >= 1 && register <= 4) return 1 + (register - 1) * 4;
  return register >= 8 ? register - 7 : 0;
}

export function hexOf(data: unknown): string {
  if (typeof data !== 'string') throw new Undecompilable('a verdict where a value belongs');
  return data;
}

export function reference(set: SetShape): SetReference {
  return {
    kind: 'set-reference',
    ...untyped(),
    type: set.key.type,
    set,
    literal: set.isAnonymous ? set.literal() : undefined,
  };
}

/** Unknown names of an enumeration or set of flags are numbers. */
export function words<T extends string>(flags: readonly (string | number)[] | undefined, allowed: readonly T[]): T[] {
  for (const flag of flags ?? [])
    if (!allowed.some(name => name === flag)) throw new Undecompilable(`the flag ${flag}`);
  return allowed.filter(flag => flags?.includes(flag));
}

export function word<T extends string>(name: T | number | undefined): T {
  if (typeof name !== 'string') throw new Undecompilable(`the number ${name}`);
  return name;
}
