import { paddedBits } from '../bits.ts';
import type { Dialect } from '../data/dialects.ts';
import { clone, concat, setReference, untyped } from '../nodes.ts';
import { type Concat, type Node, type SetReference, Undecompilable, type Value } from '../tree.ts';
import { type ReadShape, type Sets, splice } from './sets.ts';

/* The content of the registers while the expressions of a rule are read. */

/** The registers that nft uses, of four bytes each. */
const REGISTERS_MAX = 20;
/** The length of all registers together. */
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
  /** The register that was loaded last, for loads from a tunnel. */
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

  /** A concatenation of several registers, from this one on. */
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
    return concat(parts);
  }

  /** The key of a look-up: one register, or as many as the keys of the set have parts. */
  key(register: number, shape: ReadShape): Node {
    const node = this.get(register);
    return node.bits < shape.key.bits ? this.concat(register, shape.key.bits) : node;
  }

  find({ set, setId }: { set?: string | undefined; setId?: number | undefined }): ReadShape {
    return this.#options.sets.find(set, setId);
  }

  /** The parts of a value, each as long as the content of its register. */
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
    return concat(parts);
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

export function reference(set: ReadShape): SetReference {
  const key = untyped();
  key.type = set.key.type;
  return setReference(set, key, set.anonymous ? set.literal() : undefined);
}
