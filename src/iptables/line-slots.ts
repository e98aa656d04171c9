import { formatIPv6, parseIPv4, parseIPv6, readIPv4, Writer } from '../codec/index.ts';
import { acceptedExpression } from '../nf_tables/accepted.ts';
import { EXPRESSION, type Expression } from '../nf_tables/expression.ts';
import type { RuleContext } from '../nf_tables/expressions/xt.ts';
import { XT_LAYOUTS } from '../nf_tables/xt/layouts.ts';
import type { EncodedMessage } from '../nftables/write/encoded.ts';
import { isBuiltIn } from './built-in.ts';
import type { TracedExtension } from './command.ts';
import type { OptionPlace, Surroundings } from './extension.ts';
import { finished, type Instance } from './loaded-extensions.ts';
import type { IptablesAddress, IptablesFamily } from './model.ts';
import { findTarget } from './registry.ts';
import type { RulesetState, StateChain } from './state.ts';
import { splitWords } from './words.ts';

/* The words of a line that differ from rule to rule, and the bytes of the rule's message that they are written to. */

/** The message of a rule. */
export interface Encoded {
  readonly bytes: Uint8Array;
  readonly message: EncodedMessage;
}

/** A word of a line, where the lines of one form may differ. */
export interface Slot {
  /** The word that the bytes stand for, as it is in the text; '' before the first one. */
  last: string;
  /** Writes a word into the message. Returns false where the line must be read as a whole. */
  put(word: string): boolean;
}

/** The name of the chain that the rule is put into. */
export class ChainSlot implements Slot {
  last = '';
  /** The chain of that name. */
  chain: StateChain | undefined;
  readonly #state: RulesetState;
  readonly #table: string;
  readonly #bytes: Uint8Array;
  readonly #at: number;
  /** The name if it may be no other one: what a rule can ask depends on the built-in chain that it is in. */
  readonly #only: string | undefined;
  readonly #length: number;

  constructor(state: RulesetState, table: string, name: string, bytes: Uint8Array, at: number) {
    this.#state = state;
    this.#table = table;
    this.#bytes = bytes;
    this.#at = at;
    this.#only = isBuiltIn(name) ? name : undefined;
    this.#length = name.length;
  }

  put(word: string): boolean {
    if (this.#only === undefined ? word.length !== this.#length || isBuiltIn(word) : word !== this.#only) return false;
    if (!isPlainName(word)) return false;
    const chain = this.#state.chain(this.#table, word);
    if (chain === undefined || !chain.exists) return false;
    this.chain = chain;
    this.#bytes.set(Buffer.from(word, 'latin1'), this.#at);
    return true;
  }
}

/** The name of the chain that the rule jumps to. */
export class JumpSlot implements Slot {
  last = '';
  readonly #state: RulesetState;
  readonly #table: string;
  readonly #bytes: Uint8Array;
  readonly #at: number;
  readonly #length: number;

  constructor(state: RulesetState, table: string, name: string, bytes: Uint8Array, at: number) {
    this.#state = state;
    this.#table = table;
    this.#bytes = bytes;
    this.#at = at;
    this.#length = name.length;
  }

  put(word: string): boolean {
    if (word.length !== this.#length || !isPlainName(word)) return false;
    if (VERDICTS.has(word) || findTarget(word, this.#state.family) !== undefined) return false;
    if (this.#state.chain(this.#table, word) === undefined) return false;
    this.#bytes.set(Buffer.from(word, 'latin1'), this.#at);
    return true;
  }
}

const VERDICTS: ReadonlySet<string> = new Set(['ACCEPT', 'DROP', 'RETURN', 'QUEUE']);
const isPlainName = (word: string): boolean => /^[A-Za-z0-9_.][A-Za-z0-9_.:-]*$/.test(word);

/** An address in its usual form, always with the same mask behind it. */
export class AddressSlot implements Slot {
  last = '';
  readonly #family: IptablesFamily;
  readonly #suffix: string;
  readonly #bytes: Uint8Array;
  readonly #at: number;
  /** The bits that count, of the bytes that the message has. */
  readonly #mask: Uint8Array;
  readonly #raw = new Uint8Array(4);

  /** `suffix` is the text behind the address: '/24'. */
  constructor(family: IptablesFamily, suffix: string, mask: Uint8Array, bytes: Uint8Array, at: number) {
    this.#family = family;
    this.#suffix = suffix;
    this.#mask = mask;
    this.#bytes = bytes;
    this.#at = at;
  }

  put(word: string): boolean {
    if (!word.endsWith(this.#suffix)) return false;
    const address = word.slice(0, word.length - this.#suffix.length);
    let raw: Uint8Array | undefined = this.#raw;
    if (this.#family === 'ipv6') raw = parseIPv6(address);
    else if (!readIPv4(address, this.#raw, 0)) return false;
    if (raw === undefined) return false;
    const mask = this.#mask;
    for (let i = 0; i < mask.length; i++) this.#bytes[this.#at + i] = raw[i]! & mask[i]!;
    return true;
  }
}

/** Another address, whose bytes are all others, and the bytes of the address and its mask. */
export function addressBytes({ address, mask }: IptablesAddress): { raw: Uint8Array; mask: Uint8Array } {
  const raw = (parseIPv4(address) ?? parseIPv6(address))!;
  if (mask === undefined) return { raw, mask: new Uint8Array(raw.length).fill(0xff) };
  return { raw, mask: (parseIPv4(mask) ?? parseIPv6(mask))! };
}

/** One port of a comparison that iptables writes natively. Zero is compared otherwise. */
export class PortSlot implements Slot {
  last = '';
  readonly #bytes: Uint8Array;
  readonly #at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.#at = at;
  }

  put(word: string): boolean {
    const { length } = word;
    if (length > 5 || word.charCodeAt(0) === ZERO) return false;
    let port = 0;
    for (let i = 0; i < length; i++) {
      const digit = word.charCodeAt(i) - ZERO;
      if (digit < 0 || digit > 9) return false;
      port = port * 10 + digit;
    }
    if (port > 0xffff) return false;
    this.#bytes[this.#at] = port >> 8;
    this.#bytes[this.#at + 1] = port & 0xff;
    return true;
  }
}

const ZERO = 0x30;

/** A value of an extension whose structure the message has: the extension reads its options again. */
export class ValueSlot implements Slot {
  last = '';
  readonly #extension: ReadAgain;
  readonly #index: number;

  constructor(extension: ReadAgain, index: number) {
    this.#extension = extension;
    this.#index = index;
  }

  put(word: string): boolean {
    // A word that begins so could be an option.
    const first = word.charCodeAt(0);
    if (first === DASH || first === EXCLAMATION) return false;
    this.#extension.change(this.#index, first === QUOTE ? splitWords(word)[0]! : word);
    return true;
  }
}

const DASH = 0x2d;
const EXCLAMATION = 0x21;
const QUOTE = 0x22;

/** A match or target of a form, which reads its options again if one of their values has changed. */
export class ReadAgain {
  /** A value has changed since the structure was written. */
  changed = false;
  readonly #traced: TracedExtension;
  readonly #kind: 'match' | 'target';
  /** What the rule says in the end. */
  readonly #at: Surroundings;
  readonly #values: string[];
  readonly #bytes: Uint8Array;
  /** Where the expression stands in the message. */
  readonly #start: number;
  readonly #end: number;
  readonly #context: RuleContext;
  readonly #writer = new Writer(512);

  constructor(
    traced: TracedExtension,
    kind: 'match' | 'target',
    at: Surroundings,
    { bytes, message }: Encoded,
    [start, end]: readonly [start: number, end: number],
  ) {
    this.#traced = traced;
    this.#kind = kind;
    this.#at = at;
    this.#values = traced.options.flatMap(({ values }) => values);
    this.#bytes = bytes;
    this.#start = start;
    this.#end = end;
    this.#context = { family: message.family, xt: XT_LAYOUTS };
  }

  change(index: number, value: string): void {
    this.#values[index] = value;
    this.changed = true;
  }

  /** Writes the structure of the values. Returns false where the line must be read as a whole. */
  write(): boolean {
    const { row } = this.#traced.instance;
    const instance: Instance = {
      row,
      info: row.initial?.(this.#traced.at, this.#traced.word) ?? {},
      given: new Set(),
    };
    const warnings: string[] = [];
    let next = 0;
    for (const { option, place, values } of this.#traced.options) {
      const here: OptionPlace = { ...place, given: instance.given, warnings };
      option.value.parse(instance.info, this.#values.slice(next, next + values.length), here);
      if (place.inverted) option.invert!.set(instance.info);
      instance.given.add(option.name);
      next += values.length;
    }
    const writer = this.#writer;
    writer.reset();
    const expression = { [this.#kind]: finished(instance, { ...this.#at, warnings }) } as unknown as Expression;
    EXPRESSION.write(writer, acceptedExpression(expression), this.#context);
    if (warnings.length > 0 || writer.length !== this.#end - this.#start) return false;
    this.#bytes.set(writer.bytes.subarray(0, writer.length), this.#start);
    this.changed = false;
    return true;
  }
}

/** The text of an address whose bytes are all others. */
export function otherAddress(raw: Uint8Array, mask: Uint8Array): string {
  const other = raw.map((byte, i) => (byte ^ 0xff) & mask[i]!);
  return other.length === 4 ? other.join('.') : formatIPv6(other);
}
