import { eachAttribute, placesOf, sourceOf } from '../codec/index.ts';
import { NLMSG_HDRLEN } from '../linux/netlink.ts';
import * as C from '../linux/nf_tables.ts';
import { nfgenmsg } from '../netlink/index.ts';
import type { EncodedMessage } from '../nftables/write/encoded.ts';
import { Transaction } from '../nftables/write/transaction.ts';
import type { ArgumentTrace, TracedExtension } from './command.ts';
import {
  AddressSlot,
  addressBytes,
  ChainSlot,
  type Encoded,
  JumpSlot,
  otherAddress,
  PortSlot,
  ReadAgain,
  type Slot,
  ValueSlot,
} from './line-slots.ts';
import type { IptablesAddress, IptablesRule } from './model.ts';
import type { RulesetState } from './state.ts';

/* The form of lines: what they have in common, and where the words stand that differ. */

/** A piece of text that all lines of a form have, and the word behind it; undefined at the end of the line. */
interface Part {
  readonly before: string;
  readonly slot: Slot | undefined;
}

interface CounterPlaces {
  readonly packets: number;
  readonly bytes: number;
}

/** One form of lines, and the message of the line of that form that was read last. */
export class LineForm {
  readonly #bytes: Uint8Array;
  readonly #message: EncodedMessage;
  readonly #parts: readonly Part[];
  readonly #chain: ChainSlot;
  readonly #extensions: readonly ReadAgain[];
  /** Where the counters stand. ip6tables 1.8.9 sends none. */
  readonly #counters: CounterPlaces | undefined;
  /** The slots whose words are others than in the line before, and where these words stand. */
  readonly #changed: Slot[] = [];
  readonly #places: number[] = [];

  constructor(
    { bytes, message }: Encoded,
    parts: readonly Part[],
    chain: ChainSlot,
    extensions: readonly ReadAgain[],
    counters: CounterPlaces | undefined,
  ) {
    this.#counters = counters;
    this.#bytes = bytes;
    this.#message = message;
    this.#parts = parts;
    this.#chain = chain;
    this.#extensions = extensions;
  }

  get message(): EncodedMessage {
    return this.#message;
  }

  /** The message of a line of this form, until the next call; undefined if the line must be read as a whole. */
  read(text: string, start: number, end: number): Uint8Array | undefined {
    const changes = this.#compare(text, start, end);
    if (changes < 0) return undefined;
    for (let i = 0; i < changes; i++) {
      const slot = this.#changed[i]!;
      const word = text.slice(this.#places[2 * i], this.#places[2 * i + 1]);
      // Until it is written, the bytes stand for no word.
      slot.last = '';
      if (!slot.put(word)) return undefined;
      slot.last = word;
    }
    for (const extension of this.#extensions) if (extension.changed && !extension.write()) return undefined;
    return this.#bytes;
  }

  /** The chain that the line names. */
  get chain(): NonNullable<ChainSlot['chain']> {
    return this.#chain.chain!;
  }

  /** The number of words that are others than in the line before; -1 for a line of another form. */
  #compare(text: string, start: number, end: number): number {
    let at = start;
    let changes = 0;
    for (const { before, slot } of this.#parts) {
      if (!text.startsWith(before, at)) return -1;
      at += before.length;
      if (slot === undefined) break;
      const { last } = slot;
      const same = at + last.length;
      if (last !== '' && text.startsWith(last, at) && (same === end || text.charCodeAt(same) === SPACE)) {
        at = same;
        continue;
      }
      const stop = wordEnd(text, at, end);
      if (stop < 0 || stop - at > LONGEST_WORD) return -1;
      this.#changed[changes] = slot;
      this.#places[2 * changes] = at;
      this.#places[2 * changes + 1] = stop;
      changes++;
      at = stop;
    }
    return at === end ? changes : -1;
  }

  /** The counters that the rule begins with. */
  putCounters(packets: bigint, bytes: bigint): void {
    if (this.#counters === undefined) return;
    const view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset);
    view.setBigUint64(this.#counters.packets, packets);
    view.setBigUint64(this.#counters.bytes, bytes);
  }

  /** Another command has changed chains: their names must be looked up again. */
  forgetChains(): void {
    for (const { slot } of this.#parts) if (slot instanceof ChainSlot || slot instanceof JumpSlot) slot.last = '';
  }
}

/** Longer words are read with their line, which may refuse them. */
const LONGEST_WORD = 300;

const SPACE = 0x20;
const TAB = 0x09;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Where the word that begins at `start` ends; -1 if there is none, or if its quotes are in its middle. */
function wordEnd(text: string, start: number, end: number): number {
  let at = start;
  if (text.charCodeAt(at) === QUOTE) {
    for (at++; at < end; at++) {
      const code = text.charCodeAt(at);
      if (code === QUOTE) return at + 1 === end || text.charCodeAt(at + 1) === SPACE ? at + 1 : -1;
      if (code === BACKSLASH) at++;
    }
    return -1;
  }
  for (; at < end; at++) {
    const code = text.charCodeAt(at);
    if (code === SPACE) break;
    if (code === QUOTE || code === TAB) return -1;
  }
  return at === start ? -1 : at;
}
/** Makes a form of one line. */
export class Learner {
  readonly #state: RulesetState;
  readonly #text: string;
  readonly #trace: ArgumentTrace;
  readonly #rule: IptablesRule;
  readonly #encoded: Encoded;
  /** By the places of their words in the line. */
  readonly #slots = new Map<number, Slot>();
  readonly #extensions: ReadAgain[] = [];
  /** Other words for slots, and the rule with them. */
  readonly #others = new Map<Slot, string>();
  #other: IptablesRule;

  constructor(state: RulesetState, text: string, trace: ArgumentTrace, rule: IptablesRule) {
    this.#state = state;
    this.#text = text;
    this.#trace = trace;
    this.#rule = rule;
    this.#other = rule;
    this.#encoded = this.#encode(rule);
  }

  /** Undefined where a word that may differ has no place of its own in the message. */
  form(words: readonly string[], start: number, end: number): LineForm | undefined {
    const places = placesOfWords(this.#text, start, end);
    const chain = this.#addChain();
    if (chain === undefined || places?.length !== words.length) return undefined;
    this.#addJump();
    this.#addAddress('source', 's', words);
    this.#addAddress('destination', 'd', words);
    const elements = expressionsIn(this.#encoded.bytes);
    const { expressions } = this.#state.written(this.#rule);
    for (const traced of this.#trace.extensions) {
      const { info } = traced.instance;
      const index = expressions.findIndex(one => Object.values(one).some(each => each.info === info));
      const element = elements[index];
      if (element === undefined) this.#addPorts(traced, words);
      else this.#addExtension(traced, 'match' in expressions[index]! ? 'match' : 'target', element, words);
    }
    const parts: Part[] = [];
    let from = start;
    for (const [index, [begin, stop]] of places.entries()) {
      const slot = this.#slots.get(index);
      if (slot === undefined) continue;
      parts.push({ before: this.#text.slice(from, begin), slot });
      from = stop;
    }
    parts.push({ before: this.#text.slice(from, end), slot: undefined });
    const form = new LineForm(this.#encoded, parts, chain, this.#extensions, this.#counterPlaces());
    return this.#isRight(form, start, end) ? form : undefined;
  }

  /** The form must give what encoding the rule gives: for other words, and for those of the line. */
  #isRight(form: LineForm, start: number, end: number): boolean {
    const { bytes } = this.#encoded;
    const expected = bytes.slice();
    for (const [slot, word] of this.#others) if (!slot.put(word)) return false;
    if (Buffer.compare(bytes, this.#encode(this.#other).bytes) !== 0) return false;
    return form.read(this.#text, start, end) !== undefined && Buffer.compare(bytes, expected) === 0;
  }

  #encode(rule: IptablesRule): Encoded {
    const encoded = new Transaction().add({ rule: this.#state.written(rule) }).encode();
    const message = encoded.messages.at(0)!;
    return { bytes: encoded.bytesOf(message).slice(), message };
  }

  /** Where the bytes of a part of the rule stand: those that are others in another rule. */
  #placeOf(other: IptablesRule, size: number): number | undefined {
    const places = placesOf(this.#encoded.bytes, this.#encode(other).bytes, size);
    return places?.length === 1 ? places[0] : undefined;
  }

  #counterPlaces(): CounterPlaces | undefined {
    const most = (1n << 64n) - 1n;
    const packets = this.#placeOf({ ...this.#rule, counters: { packets: most, bytes: 0n } }, 8);
    const bytes = this.#placeOf({ ...this.#rule, counters: { packets: 0n, bytes: most } }, 8);
    return packets === undefined || bytes === undefined ? undefined : { packets, bytes };
  }

  /** Without `-A CHAIN` as two words there is no form. */
  #addChain(): ChainSlot | undefined {
    const rule = this.#rule;
    const index = this.#trace.general.get('A');
    const at = this.#placeOf({ ...rule, chain: otherName(rule.chain) }, rule.chain.length);
    if (index === undefined || at === undefined) return undefined;
    const slot = new ChainSlot(this.#state, rule.table, rule.chain, this.#encoded.bytes, at);
    this.#slots.set(index, slot);
    return slot;
  }

  #addJump(): void {
    const { target, table } = this.#rule;
    const key = target !== undefined && 'jump' in target ? 'jump' : 'goto';
    const index = this.#trace.general.get(key === 'jump' ? 'j' : 'g');
    const name = (target as Record<string, string> | undefined)?.[key];
    if (index === undefined || name === undefined) return;
    const at = this.#placeOf({ ...this.#rule, target: { [key]: otherName(name) } as never }, name.length);
    if (at !== undefined) this.#slots.set(index, new JumpSlot(this.#state, table, name, this.#encoded.bytes, at));
  }

  #addAddress(side: 'source' | 'destination', letter: 's' | 'd', words: readonly string[]): void {
    const index = this.#trace.general.get(letter);
    const address = this.#rule[side];
    if (index === undefined || address === undefined) return;
    const { raw, mask } = addressBytes(address);
    // The message has the bytes in front of which at least one bit counts, or all of them.
    const size = raw.length;
    const found = [size, ...Array.from({ length: size - 1 }, (_, i) => i + 1)]
      .map(bytes => ({ bytes, at: this.#placeOf(this.#with(side, otherAddress(raw, mask)), bytes) }))
      .find(({ at }) => at !== undefined);
    if (found === undefined) return;
    const word = words[index]!;
    const slash = word.indexOf('/');
    const suffix = slash < 0 ? '' : word.slice(slash);
    const { family } = this.#state;
    const slot = new AddressSlot(family, suffix, mask.subarray(0, found.bytes), this.#encoded.bytes, found.at!);
    this.#slots.set(index, slot);
    const other = otherAddress(raw, mask);
    this.#others.set(slot, other + suffix);
    this.#other = { ...this.#other, [side]: { ...address, address: other } };
  }

  #with(side: 'source' | 'destination', address: string): IptablesRule {
    return { ...this.#rule, [side]: { ...(this.#rule[side] as IptablesAddress), address } };
  }

  /** The ports of a match that is written natively. */
  #addPorts({ instance, options }: TracedExtension, words: readonly string[]): void {
    const match = this.#rule.matches.findIndex(({ info }) => info === instance.info);
    for (const { option, first, values } of options) {
      const key = ({ sport: 'sourcePorts', dport: 'destinationPorts' } as Record<string, string>)[option.name];
      const [word] = values;
      if (match < 0 || key === undefined || words[first] !== word || !/^[1-9]\d*$/.test(word!)) continue;
      const port = [0x0102, 0x8384].find(
        each => (each ^ Number(word)) >> 8 !== 0 && ((each ^ Number(word)) & 0xff) !== 0,
      );
      if (port === undefined) continue;
      const withPort = (rule: IptablesRule): IptablesRule => ({
        ...rule,
        matches: rule.matches.map((one, i) =>
          i === match ? { ...one, info: { ...(one.info as object), [key]: [port, port] } } : one,
        ),
      });
      const at = this.#placeOf(withPort(this.#rule), 2);
      if (at === undefined) continue;
      const slot = new PortSlot(this.#encoded.bytes, at);
      this.#slots.set(first, slot);
      this.#others.set(slot, String(port));
      this.#other = withPort(this.#other);
    }
  }

  /** All values of an extension whose structure the message has. */
  #addExtension(
    traced: TracedExtension,
    kind: 'match' | 'target',
    element: readonly [start: number, end: number],
    words: readonly string[],
  ): void {
    const { row } = traced.instance;
    const apart = traced.options.every(({ first, values }) => values.every((value, i) => words[first + i] === value));
    // Such a row may have no structure for other values.
    if (row.native !== undefined || !apart) return;
    const { protocol } = this.#rule;
    const at = {
      ...traced.at,
      protocol: protocol?.number ?? 0,
      protocolInverted: protocol?.invert === true,
    };
    const extension = new ReadAgain(traced, kind, at, this.#encoded, element);
    this.#extensions.push(extension);
    let index = 0;
    for (const { first, values } of traced.options)
      for (let i = 0; i < values.length; i++) this.#slots.set(first + i, new ValueSlot(extension, index++));
  }
}

/** A name of the same length with other letters. */
const otherName = (name: string): string => name.replace(/./gs, letter => (letter === 'x' ? 'y' : 'x'));

/** Where the words of a line stand in the text; undefined where they are not apart by blanks. */
function placesOfWords(text: string, start: number, end: number): [start: number, end: number][] | undefined {
  const places: [number, number][] = [];
  for (let at = start; at < end; ) {
    if (text.charCodeAt(at) === SPACE) {
      at++;
      continue;
    }
    const stop = wordEnd(text, at, end);
    if (stop < 0) return undefined;
    places.push([at, stop]);
    at = stop;
  }
  return places;
}

/** Where the expressions stand in the message of a rule. */
function expressionsIn(bytes: Uint8Array): [start: number, end: number][] {
  const source = sourceOf(bytes);
  const found: [number, number][] = [];
  eachAttribute(source, NLMSG_HDRLEN + nfgenmsg.size, bytes.length, (type, start, end) => {
    if (type !== C.NFTA_RULE_EXPRESSIONS) return;
    eachAttribute(source, start, end, (_, from, to) => found.push([from, to]));
  });
  return found;
}
