import { type Source, view } from '../codec/index.ts';
import { type Message, nfgenmsg } from '../netlink/index.ts';
import { readObject } from '../nf_tables/message.ts';
import { type RuleEntry, ruleEntryTable } from '../nf_tables/rule.ts';
import { decompileRule } from './decompile.ts';
import type { Surroundings } from './extension.ts';
import { formatRule } from './format-rule.ts';
import { formOf, type RuleBytes, type RuleForm } from './rule-form.ts';

/** Rules of one length that are read as a whole before their form is learnt. */
const LEARN_AT = 2;
/** Forms of one length; rules of more are read as a whole. */
const FORMS_OF_LENGTH = 8;

interface SavedChain {
  readonly table: string;
  readonly chain: string;
  text: string;
  /** iptables has words for all its rules. */
  readable: boolean;
}

/** The rules of a dump as lines of iptables-save, by chain. */
export class SavedRules {
  readonly #state: Pick<Surroundings, 'family' | 'names' | 'sets'>;
  readonly #interfaceName: (index: number) => string | undefined;
  readonly #counters: boolean;
  /** By table and chain. */
  readonly #chains = new Map<string, SavedChain>();
  readonly #forms = new Map<number, RuleForm[]>();
  /** How many rules of a length were read as a whole. */
  readonly #counts = new Map<number, number>();
  #last: RuleForm | undefined;
  readonly #view = view(ruleEntryTable, { table: ['table'], chain: ['chain'], expressions: ['expressions'] });
  #source: Source | undefined;
  #words: Int32Array = new Int32Array(0);
  /** The chain of the rule before. */
  #chain: SavedChain | undefined;

  constructor(
    state: Pick<Surroundings, 'family' | 'names' | 'sets'>,
    counters: boolean,
    interfaceName: (index: number) => string | undefined,
  ) {
    this.#state = state;
    this.#counters = counters;
    this.#interfaceName = interfaceName;
  }

  /** Takes in a rule of a dump. */
  read(message: Message): void {
    const { source, payload, end } = message;
    const fields = this.#view;
    fields.read(source, payload + nfgenmsg.size, end);
    const table = fields.value(fields.slots.table);
    const chain = fields.value(fields.slots.chain);
    // A name that is no text is none of iptables.
    if (typeof table !== 'string' || typeof chain !== 'string') return;
    const saved = this.#chainOf(table, chain);
    const start = fields.starts[fields.slots.expressions]!;
    const rule = this.#bytesOf(source, start, start === 0 ? 0 : fields.end(fields.slots.expressions));
    const form = this.#formOf(rule);
    if (form !== undefined) {
      saved.text += `${this.#lineOf(form, rule, chain)}\n`;
      return;
    }
    const entry = readObject('newrule', message, undefined);
    const found = decompileRule(entry, this.#state.family, this.#interfaceName);
    if (found === undefined) {
      saved.readable = false;
      return;
    }
    const line = formatRule(found, this.#state, this.#counters ? { counters: 'front' } : {});
    saved.text += `${line}\n`;
    this.#learn(rule, entry, line);
  }

  /** The text of the rule of the form that was found last. */
  #text = '';

  #lineOf(form: RuleForm, rule: RuleBytes, chain: string): string {
    return `${this.#counters ? form.counters(rule) : ''}-A ${chain}${this.#text}`;
  }

  /** The form of a rule, whose text is kept. */
  #formOf(rule: RuleBytes): RuleForm | undefined {
    const length = rule.end - rule.start;
    const last = this.#last;
    if (last?.length === length && this.#isOf(last, rule)) return last;
    for (const form of this.#forms.get(length) ?? []) {
      if (form === last || !this.#isOf(form, rule)) continue;
      this.#last = form;
      return form;
    }
    return undefined;
  }

  #isOf(form: RuleForm, rule: RuleBytes): boolean {
    const text = form.text(rule);
    if (text === undefined) return false;
    this.#text = text;
    return true;
  }

  #learn(rule: RuleBytes, { chain, expressions }: RuleEntry, line: string): void {
    const length = rule.end - rule.start;
    // Places are compared as numbers of four bytes.
    if (length === 0 || ((rule.start | length) & 3) !== 0) return;
    const count = (this.#counts.get(length) ?? 0) + 1;
    this.#counts.set(length, count);
    if (count < LEARN_AT || count >= LEARN_AT + FORMS_OF_LENGTH) return;
    const form = formOf(rule, expressions, this.#state, this.#interfaceName);
    if (form === undefined || !this.#isOf(form, rule)) return;
    if (line !== this.#lineOf(form, rule, chain)) return;
    const forms = this.#forms.get(length);
    if (forms === undefined) this.#forms.set(length, [form]);
    else forms.push(form);
  }

  #bytesOf(source: Source, start: number, end: number): RuleBytes {
    if (source !== this.#source) {
      this.#source = source;
      const { buffer, byteOffset, byteLength } = source.bytes;
      // Memory that begins elsewhere is copied by no kernel: its rules are read as a whole.
      this.#words = (byteOffset & 3) === 0 ? new Int32Array(buffer, byteOffset, byteLength >> 2) : new Int32Array(0);
    }
    return { source, start, end, words: this.#words };
  }

  #chainOf(table: string, chain: string): SavedChain {
    const last = this.#chain;
    if (last !== undefined && last.chain === chain && last.table === table) return last;
    const key = keyOf(table, chain);
    let found = this.#chains.get(key);
    if (found === undefined) {
      found = { table, chain, text: '', readable: true };
      this.#chains.set(key, found);
    }
    this.#chain = found;
    return found;
  }

  /** The lines of a chain; undefined if iptables has no words for one of its rules. */
  text(table: string, chain: string): string | undefined {
    const found = this.#chains.get(keyOf(table, chain));
    if (found === undefined) return '';
    return found.readable ? found.text : undefined;
  }
}

const keyOf = (table: string, chain: string): string => `${table} ${chain}`;
