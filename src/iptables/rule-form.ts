import { attributeType, eachAttribute, formatIPv4, formatIPv6, type Source, toHex } from '../codec/index.ts';
import { NFPROTO_IPV4, NFPROTO_IPV6 } from '../linux/netfilter.ts';
import { NLA_HDRLEN } from '../linux/netlink.ts';
import * as C from '../linux/nf_tables.ts';
import * as Compat from '../linux/nf_tables_compat.ts';
import type { Expression } from '../nf_tables/expression.ts';
import type { Layout } from '../nf_tables/xt/layout.ts';
import { XT_LAYOUTS } from '../nf_tables/xt/layouts.ts';
import { decompileRule } from './decompile.ts';
import type { ExtensionRow, Surroundings } from './extension.ts';
import { formatExtension, formatRule } from './format-rule.ts';
import type { IptablesExtension, IptablesFamily, IptablesRule } from './model.ts';
import { findMatch, findTarget } from './registry.ts';

/*
 * A namespace with thousands of rules has few forms of them: the same expressions, with other addresses, ports, texts and counters. The text of such a
 * rule is that of its form, with the words of its own bytes. It is the same text as that of the rule as an object.
 */

/** The bytes of a rule's expressions, from `start` to `end`. */
export interface RuleBytes {
  readonly source: Source;
  readonly start: number;
  readonly end: number;
  /** The same bytes as numbers, from the beginning of the source. */
  readonly words: Int32Array;
}

/** The bytes in which the rules of a form may differ. Places are counted from the beginning of the expressions. */
interface Hole {
  readonly at: number;
  readonly size: number;
  /** The text of the bytes at `at` of the source; undefined where only the whole rule can tell. */
  text(source: Source, at: number): string | undefined;
}

const octets = (size: number): ((source: Source, at: number) => string) =>
  size === 4
    ? ({ bytes }, at) => formatIPv4(bytes, at)
    : ({ bytes }, at) => {
        const whole = new Uint8Array(4);
        whole.set(bytes.subarray(at, at + size));
        return formatIPv4(whole);
      };

function addressHole(at: number, size: number, family: IptablesFamily): Hole {
  if (family === 'ipv4') return { at, size, text: octets(size) };
  return {
    at,
    size,
    text({ bytes }, start) {
      const whole = new Uint8Array(16);
      whole.set(bytes.subarray(start, start + size));
      return formatIPv6(whole);
    },
  };
}

const portHole = (at: number): Hole => ({
  at,
  size: 2,
  text: ({ bytes }, start) => String((bytes[start]! << 8) | bytes[start + 1]!),
});

/** The name of a chain that is jumped to: of one length, as the rules of one form have the same bytes. */
const nameHole = (at: number, size: number): Hole => ({
  at,
  size,
  text({ bytes }, start) {
    let name = '';
    for (let i = start; i < start + size - 1; i++) {
      const byte = bytes[i]!;
      if (byte === 0 || byte > 0x7e) return undefined;
      name += String.fromCharCode(byte);
    }
    return bytes[start + size - 1] === 0 ? name : undefined;
  },
});

/** The structure of a match or target. Most rules repeat the one before. */
class ExtensionHole implements Hole {
  readonly at: number;
  readonly size: number;
  readonly #extension: IptablesExtension;
  readonly #row: ExtensionRow | undefined;
  readonly #layout: Layout | undefined;
  readonly #surroundings: Surroundings;
  readonly #context: { family: number };
  readonly #last: Uint8Array;
  #text: string | undefined;

  constructor(
    { name, revision }: IptablesExtension,
    kind: 'match' | 'target',
    at: number,
    size: number,
    surroundings: Surroundings,
  ) {
    const { family } = surroundings;
    this.at = at;
    this.size = size;
    this.#extension = { name, revision, info: '' };
    this.#row = kind === 'match' ? findMatch(name, family) : findTarget(name, family);
    this.#context = { family: family === 'ipv4' ? NFPROTO_IPV4 : NFPROTO_IPV6 };
    const layout = XT_LAYOUTS[kind](name, revision, this.#context.family);
    this.#layout = layout?.size === size ? layout : undefined;
    this.#surroundings = surroundings;
    this.#last = new Uint8Array(size);
  }

  text(source: Source, at: number): string {
    const { bytes } = source;
    const last = this.#last;
    let same = 0;
    if (this.#text !== undefined) while (same < last.length && last[same] === bytes[at + same]) same++;
    if (this.#text !== undefined && same === last.length) return this.#text;
    this.#text = undefined;
    last.set(bytes.subarray(at, at + last.length));
    const info = this.#layout?.read(source, at, this.#context) ?? toHex(bytes, at, at + last.length);
    this.#text = formatExtension(this.#row, { ...this.#extension, info }, this.#surroundings);
    return this.#text;
  }
}

/** Rules of one form. */
export class RuleForm {
  /** The bytes of all its rules together, where they do not differ. */
  readonly length: number;
  readonly #words: Int32Array;
  /** Ones at the bits that do not differ. */
  readonly #mask: Int32Array;
  readonly #before: readonly string[];
  readonly #holes: readonly Hole[];
  readonly #counters: { readonly packets: number; readonly bytes: number } | undefined;

  constructor(
    sample: Uint8Array,
    before: readonly string[],
    holes: readonly Hole[],
    counters: { readonly packets: number; readonly bytes: number } | undefined,
  ) {
    this.length = sample.length;
    const mask = new Uint8Array(sample.length).fill(0xff);
    for (const { at, size } of holes) mask.fill(0, at, at + size);
    if (counters !== undefined) for (const at of [counters.packets, counters.bytes]) mask.fill(0, at, at + 8);
    this.#words = new Int32Array(sample.slice().buffer);
    this.#mask = new Int32Array(mask.buffer);
    this.#before = before;
    this.#holes = holes;
    this.#counters = counters;
  }

  /** The rule behind `-A CHAIN`; undefined if it is none of this form. */
  text({ source, start, words }: RuleBytes): string | undefined {
    const own = this.#words;
    const mask = this.#mask;
    const first = start >> 2;
    for (let i = 0; i < own.length; i++) if (((own[i]! ^ words[first + i]!) & mask[i]!) !== 0) return undefined;
    const holes = this.#holes;
    const before = this.#before;
    let text = before[0]!;
    for (let i = 0; i < holes.length; i++) {
      const hole = holes[i]!;
      const word = hole.text(source, start + hole.at);
      if (word === undefined) return undefined;
      text += word + before[i + 1]!;
    }
    return text;
  }

  /** `[packets:bytes] ` */
  counters({ source: { view }, start }: RuleBytes): string {
    const places = this.#counters;
    if (places === undefined) return '[0:0] ';
    return `[${view.getBigUint64(start + places.packets)}:${view.getBigUint64(start + places.bytes)}] `;
  }
}

/** A text that no rule has, in the place of the words of a hole. */
const mark = (hole: number): string => `\uE000${hole}\uE000`;
const MARKS = /\uE000(\d+)\uE000/;

/** Makes the form of a rule; undefined where its words do not stand in its bytes one by one. */
export function formOf(
  rule: RuleBytes,
  expressions: readonly Expression[],
  surroundings: Pick<Surroundings, 'family' | 'names' | 'sets'>,
  interfaceName: (index: number) => string | undefined,
): RuleForm | undefined {
  return new Learner(rule, expressions, surroundings, interfaceName).form();
}

class Learner {
  readonly #rule: RuleBytes;
  readonly #expressions: readonly Expression[];
  readonly #surroundings: Pick<Surroundings, 'family' | 'names' | 'sets'>;
  readonly #interfaceName: (index: number) => string | undefined;
  readonly #holes: Hole[] = [];
  #counters: { packets: number; bytes: number } | undefined;

  constructor(
    rule: RuleBytes,
    expressions: readonly Expression[],
    surroundings: Pick<Surroundings, 'family' | 'names' | 'sets'>,
    interfaceName: (index: number) => string | undefined,
  ) {
    this.#rule = rule;
    this.#expressions = expressions;
    this.#surroundings = surroundings;
    this.#interfaceName = interfaceName;
  }

  form(): RuleForm | undefined {
    const { source, start, end } = this.#rule;
    const { family } = this.#surroundings;
    const isEmpty = (info: unknown) => Object.keys(info as object).length === 0;
    // Each structure is an object of its own, so that its place in the rule is known.
    const infos = this.#expressions.map(() => ({}));
    const bare = this.#expressions.map((expression, i): Expression => {
      const kind = kindOf(expression);
      if (kind === undefined) return expression;
      return { [kind]: { ...extensionOf(expression), info: infos[i] } } as unknown as Expression;
    });
    const marked = decompileRule({ table: '', chain: '', expressions: bare }, family, this.#interfaceName);
    // Ports that are compared natively become a part of the structure of the same match.
    if (marked === undefined || !infos.every(isEmpty)) return undefined;
    const elements: [start: number, end: number][] = [];
    eachAttribute(source, start, end, (_, from, to) => elements.push([from, to]));
    const { protocol } = marked;
    const at: Surroundings = {
      ...this.#surroundings,
      protocol: protocol?.number ?? 0,
      protocolInverted: protocol?.invert === true,
      table: '',
      chain: '',
    };
    for (const [i, expression] of this.#expressions.entries()) {
      const kind = kindOf(expression);
      if (kind !== undefined) this.#addExtension(marked, kind, infos[i]!, extensionOf(expression), elements[i]!, at);
      else if ('payload' in expression) this.#addCompared(marked, i, elements);
      else if ('counter' in expression) this.#addCounters(elements[i]!);
      else if ('immediate' in expression) this.#addJump(marked, elements[i]!);
    }
    const text = formatRule(marked, this.#surroundings).slice(EMPTY.length);
    const pieces = text.split(MARKS);
    const holes = pieces.filter((_, i) => i % 2 === 1).map(number => this.#holes[Number(number)]!);
    const before = pieces.filter((_, i) => i % 2 === 0);
    // A hole without a word would be bytes that are not looked at.
    if (holes.length !== this.#holes.length) return undefined;
    return new RuleForm(source.bytes.slice(start, end), before, holes, this.#counters);
  }

  /** The mark of a new hole. */
  #add(hole: Hole): string {
    this.#holes.push(hole);
    return mark(this.#holes.length - 1);
  }

  /** Places count from the beginning of the expressions. */
  #from(at: number): number {
    return at - this.#rule.start;
  }

  #addExtension(
    marked: IptablesRule,
    kind: 'match' | 'target',
    info: object,
    extension: IptablesExtension,
    element: readonly [number, number],
    at: Surroundings,
  ): void {
    const { source } = this.#rule;
    const data = inside(source, element, C.NFTA_EXPR_DATA);
    const place = data && inside(source, data, kind === 'match' ? Compat.NFTA_MATCH_INFO : Compat.NFTA_TARGET_INFO);
    if (place === undefined) return;
    const [start, end] = place;
    const hole = new ExtensionHole(extension, kind, this.#from(start), end - start, at);
    // An extension without a structure is written as its name.
    const word = { name: this.#add(hole), revision: 0, info: '' };
    if (kind === 'target') marked.target = word;
    else marked.matches[marked.matches.findIndex(each => each.info === info)] = word;
  }

  /** An address or ports that are compared natively. */
  #addCompared(marked: IptablesRule, i: number, elements: readonly (readonly [number, number])[]): void {
    const { payload } = this.#expressions[i] as { payload: { base: unknown; offset: number; length: number } };
    const masked = 'bitwise' in (this.#expressions[i + 1] ?? {});
    const at = masked ? i + 2 : i + 1;
    const expression = this.#expressions[at];
    if (expression === undefined || !('cmp' in expression)) return;
    const { op, data } = expression.cmp as { op: unknown; data: unknown };
    if ((op !== 'eq' && op !== 'neq') || typeof data !== 'string' || data.length !== 2 * payload.length) return;
    const start = this.#dataOf(elements[at]!, C.NFTA_CMP_DATA);
    if (start === undefined) return;
    const { base, offset, length } = payload;
    if (base === 'network') this.#addAddress(marked, offset, length, start);
    else if (base === 'transport' && !masked) this.#addPorts(marked, offset, length, start);
  }

  #addAddress(marked: IptablesRule, offset: number, length: number, start: number): void {
    const { family } = this.#surroundings;
    const [first, size] = family === 'ipv4' ? [12, 4] : [8, 16];
    const side = offset === first ? 'source' : offset === first + size ? 'destination' : undefined;
    const address = side && marked[side];
    if (address === undefined || length > size || address.address.startsWith('\uE000')) return;
    address.address = this.#add(addressHole(this.#from(start), length, family));
  }

  #addPorts(marked: IptablesRule, offset: number, length: number, start: number): void {
    const sides =
      offset === 0 && length === 4
        ? ['sourcePorts', 'destinationPorts']
        : length === 2
          ? [['sourcePorts'], [], ['destinationPorts']][offset]
          : undefined;
    const match = marked.matches.find(({ name }) => name === 'tcp' || name === 'udp');
    if (sides === undefined || match === undefined || typeof match.info === 'string') return;
    const { info } = match;
    for (const [i, key] of sides.entries()) {
      if (typeof (info[key] as number[] | undefined)?.[0] !== 'number') continue;
      const word = this.#add(portHole(this.#from(start) + 2 * i));
      info[key] = [word, word];
    }
  }

  #addCounters(element: readonly [number, number]): void {
    const { source } = this.#rule;
    const data = inside(source, element, C.NFTA_EXPR_DATA);
    const packets = data && inside(source, data, C.NFTA_COUNTER_PACKETS);
    const bytes = data && inside(source, data, C.NFTA_COUNTER_BYTES);
    if (packets === undefined || bytes === undefined) return;
    this.#counters = { packets: this.#from(packets[0]), bytes: this.#from(bytes[0]) };
  }

  #addJump(marked: IptablesRule, element: readonly [number, number]): void {
    const { target } = marked;
    const key = target === undefined || !('jump' in target || 'goto' in target) ? undefined : Object.keys(target)[0]!;
    if (key === undefined) return;
    const { source } = this.#rule;
    let place = inside(source, element, C.NFTA_EXPR_DATA);
    for (const type of [C.NFTA_IMMEDIATE_DATA, C.NFTA_DATA_VERDICT, C.NFTA_VERDICT_CHAIN])
      place = place && inside(source, place, type);
    if (place === undefined) return;
    const [start, end] = place;
    (target as Record<string, string>)[key] = this.#add(nameHole(this.#from(start), end - start));
  }

  /** Where the value of a comparison stands. */
  #dataOf(element: readonly [number, number], type: number): number | undefined {
    const { source } = this.#rule;
    const data = inside(source, element, C.NFTA_EXPR_DATA);
    const nest = data && inside(source, data, type);
    return nest && inside(source, nest, C.NFTA_DATA_VALUE)?.[0];
  }
}

/** What stands in front of a rule of no chain. */
const EMPTY = '-A ';

const kindOf = (expression: Expression): 'match' | 'target' | undefined =>
  'match' in expression ? 'match' : 'target' in expression ? 'target' : undefined;
const extensionOf = (expression: Expression): IptablesExtension =>
  Object.values(expression)[0] as unknown as IptablesExtension;

/** The payload of the first attribute of a type. */
function inside(source: Source, [start, end]: readonly [number, number], type: number): [number, number] | undefined {
  const { view } = source;
  let found: [number, number] | undefined;
  eachAttribute(source, start, end, (_, from, to) => {
    if (found === undefined && attributeType(view, from - NLA_HDRLEN) === type) found = [from, to];
  });
  return found;
}
