import { printable, rangeError } from '../errors.ts';
import type { Chain } from '../nf_tables/chain.ts';
import type { Flowtable } from '../nf_tables/flowtable.ts';
import type { Table } from '../nf_tables/table.ts';
import { formatPriority } from './data/priorities.ts';
import type { NamedKind } from './data/reserved.ts';
import { formatDuration, type Vocabulary, vocabulary } from './decompile/format-value.ts';
import { ELEMENTS_AT_ONCE, finish, type InParts } from './decompile/in-parts.ts';
import { type Reference, referencesIn, referencesOf } from './decompile/references.ts';
import { contents, devicesOf, isBaseChain, type ListedRuleset, type TableContent } from './decompile/ruleset.ts';
import type { ReadShape } from './decompile/sets.ts';
import { nodeText, setText, type TextOptions } from './decompile/to-text.ts';
import { commentedOut, commentedOutInParts, isWritableComment, isWritableName } from './decompile/unwritable.ts';
import type { DecompileContext } from './decompile.ts';
import { elementOf, mapping } from './nodes.ts';
import { isNamed, type NamedObject, objectLines, objectWord } from './objects.ts';
import { type ListedRule, ruleText } from './rule-text.ts';
import { bracketed } from './statements/raw.ts';
import { statesText } from './statements/stateful.ts';
import { type Element, type ListedSet, type Node, Undecompilable } from './tree.ts';

/**
 * Prints a ruleset as `nft list ruleset` does, in text that nft of that version loads.
 *
 * nft's language cannot say everything: names are bare words, quoted strings have no escapes, nft 1.0.6 lacks newer words, and no nft reads
 * matches and targets of iptables. Such an object becomes a comment, in lines that begin with `#`, and so do the objects that refer to it.
 * So no name can become a command when somebody loads the text; the loaded ruleset then lacks these objects. With `unwritable: 'refuse'`
 * they are an error instead. Control characters are escaped.
 * @param ruleset the listing that `ruleset` returned
 * @param context nft's version, names of numbers and interfaces
 * @throws RangeError ERR_NO_TEXT with `unwritable: 'refuse'`: names the object
 * @example
 * formatRuleset(await nft.ruleset({ elements: true }), { version: '1.0.6', unwritable: 'refuse' });
 */
export function formatRuleset(ruleset: ListedRuleset, context: Omit<DecompileContext, 'sets'> = {}): string {
  return finish(rulesetText(ruleset, context));
}

/** The same in parts: the caller can let other work run between two rules. */
export function* rulesetText(ruleset: ListedRuleset, context: Omit<DecompileContext, 'sets'>): InParts<string> {
  const words = vocabulary(context);
  const parts: string[] = [];
  for (const content of yield* contents(ruleset, words.dialect)) {
    for (const part of new TableWriter(content, words).parts()) {
      if (part !== undefined) parts.push(part);
      yield;
    }
  }
  return parts.join('');
}

/** The lines of the rules of a chain without a name. nft prints them in the place of the jump. */
export function nestedRules(content: TableContent, words: Vocabulary): (name: string) => string | undefined {
  const nestedChain = (name: string): string | undefined => {
    if (!content.nested.has(name)) return undefined;
    const rules = content.rules.get(name) ?? [];
    return rules.map(rule => `\t\t\t${ruleText(rule, content.lookup, { words, nestedChain })}\n`).join('');
  };
  return nestedChain;
}

const TABLE_FLAGS = ['dormant', 'owner', 'persist'];
/** In the order in which nft writes them. */
const SET_FLAGS = ['constant', 'dynamic', 'interval', 'timeout'];

/** Writes one table. An object that refers to one which is left out is left out, too. */
class TableWriter {
  readonly #content: TableContent;
  readonly #words: Vocabulary;
  /** The objects that become comments: 'chain web'. */
  readonly #left = new Set<string>();

  constructor(content: TableContent, words: Vocabulary) {
    this.#content = content;
    this.#words = words;
  }

  /** Each part has whole lines; it is undefined while a long part is being made. */
  *parts(): Generator<string | undefined> {
    const { table, chains, sets, objects, flowtables } = this.#content;
    const { head, separated } = this.#head(table);
    const isLeft = this.#words.unwritable.take().length > 0;
    if (isLeft) this.#refuse('table', table.name);
    const shown = (part: string) => (isLeft ? commentedOut(part) : part);
    yield shown(head);
    let between = separated ? '\n' : '';
    // Chains and objects come first: elements of sets refer to them, and rules refer to all.
    const heads = new Map(chains.map(chain => [chain, this.#chainHead(chain)]));
    for (const object of objects.filter(isNamed)) {
      yield between + shown(this.#block(object.type, object.name, () => this.#object(object)));
      between = '\n';
    }
    for (const set of sets) {
      const text = yield* this.#set(set);
      yield between + (isLeft ? yield* commentedOutInParts(text) : text);
      between = '\n';
    }
    for (const flowtable of flowtables) {
      yield between + shown(this.#block('flowtable', flowtable.name, () => this.#flowtable(flowtable)));
      between = '\n';
    }
    for (const chain of chains) {
      yield between;
      for (const part of this.#chain(chain, heads.get(chain)!)) yield shown(part);
      between = '\n';
    }
    yield shown('}\n');
  }

  #refuse(kind: NamedKind | 'rule', name: unknown): void {
    if (!this.#words.strict) return;
    const { family, name: table } = this.#content.table;
    const { version } = this.#words.dialect;
    throw rangeError(
      [kind],
      `what nft ${version} can read as text, in the table ${family} ${table}`,
      name,
      'ERR_NO_TEXT',
    );
  }

  /** One object. It becomes a comment if nft's language has no words for a part of it. */
  #block(kind: NamedKind, name: string | undefined, write: () => string): string {
    const text = write();
    if (this.#words.unwritable.take().length === 0) return text;
    this.#leave(kind, name);
    return commentedOut(text);
  }

  #leave(kind: NamedKind, name: string | undefined): void {
    this.#refuse(kind, name);
    this.#left.add(`${kind} ${name}`);
  }

  #name(kind: NamedKind, name: string | undefined): string {
    return this.#words.unwritable.name(kind, name, this.#words.dialect);
  }

  /** Notes a name that nft cannot read, or the name of an object that is left out. */
  #refers(references: Iterable<Reference>): void {
    for (const { kind, name } of references) {
      if (this.#content.nested.has(name ?? '')) continue;
      if (this.#left.has(`${kind} ${name}`) || !isWritableName(kind, name, this.#words.dialect))
        this.#words.unwritable.note(`the ${kind} ${name}`);
    }
  }

  #head({ family, name, flags, comment }: Table): { head: string; separated: boolean } {
    const shown = TABLE_FLAGS.filter(flag => flags?.includes(flag as 'dormant'));
    const owner = shown.includes('owner') ? ' # progname unknown' : '';
    let head = `table ${family} ${this.#name('table', name)} {${owner}\n`;
    if (shown.length > 0) head += `\tflags ${shown.join(',')}\n`;
    if (comment !== undefined) head += `\t${commentLine(comment)}\n`;
    return { head, separated: shown.length > 0 };
  }

  #object(object: NamedObject): string {
    let text = `\t${objectWord(object.type)} ${this.#name(object.type, object.name)} {\n`;
    if (object.type === 'tunnel' && !this.#words.dialect.hasTunnels)
      this.#words.unwritable.note('tunnels, which nft 1.0.6 cannot read');
    if (object.comment !== undefined) text += `\t\t${commentLine(object.comment)}\n`;
    for (const line of this.#objectLines(object)) text += `\t\t${line}\n`;
    return `${text}\t}\n`;
  }

  /** The root user of a container can make an object that nft has no words for, such as a limit per seven seconds. */
  #objectLines(object: NamedObject): string[] {
    try {
      return objectLines(object, this.#words);
    } catch (error) {
      if (!(error instanceof Undecompilable)) throw error;
      return [bracketed(object.data ?? {}, this.#words)];
    }
  }

  /** It becomes a comment if nft's language has no words for a part of it. It may have very many elements. */
  *#set(set: ListedSet): InParts<string> {
    const name = this.#name('set', set.name);
    let referred = 0;
    for (const reference of referencesIn(set)) {
      this.#refers([reference]);
      if (++referred % ELEMENTS_AT_ONCE === 0) yield;
    }
    const text = yield* this.#setText(set, name);
    if (this.#words.unwritable.take().length === 0) return text;
    this.#leave('set', set.name);
    return yield* commentedOutInParts(text);
  }

  /** A set that nft has no words for is shown as the kernel has it: one whose name is no text, for instance. */
  *#setText(set: ListedSet, name: string): InParts<string> {
    try {
      return yield* describedSet(set, name, this.#content, this.#words);
    } catch (error) {
      if (!(error instanceof Undecompilable)) throw error;
      return `\tset ${name} {\n\t\t${bracketed(set, this.#words)}\n\t}\n`;
    }
  }

  #flowtable({ name, hook, priority, flags, devices: all }: Flowtable): string {
    const devices = devicesOf({ devices: all });
    const lines: string[] = [];
    if (priority !== undefined) lines.push(`hook ${hook} priority ${formatPriority(priority, 'netdev', String(hook))}`);
    if (devices.length > 0) lines.push(`devices = { ${this.#devices(devices)} }`);
    if (flags?.includes('offload')) lines.push('flags offload');
    if (flags?.includes('counter')) lines.push('counter');
    const body = lines.map(line => `\t\t${line}\n`).join('');
    return `\tflowtable ${this.#name('flowtable', name)} {\n${body}\t}\n`;
  }

  /** nft 1.0.6 has no wildcards for devices. */
  #devices(devices: readonly string[]): string {
    const { dialect, unwritable } = this.#words;
    return devices
      .map(device => {
        const quoted = unwritable.quoted(device);
        if (!dialect.hasDevicePrefixes && device.endsWith('*') && !device.endsWith('\\*'))
          unwritable.note('a prefix of device names');
        const bare = device.replace(/\\\*$/, '*');
        return !dialect.quotesDevices && BARE_DEVICE.test(bare) ? bare : quoted;
      })
      .join(', ');
  }

  #chainHead(chain: Chain): { text: string; isLeft: boolean } {
    let text = `\tchain ${this.#name('chain', chain.name)} {\n`;
    if (chain.comment !== undefined) text += `\t\t${commentLine(chain.comment)}\n`;
    if (isBaseChain(chain)) text += `\t\t${this.#hook(chain)}\n`;
    const isLeft = this.#words.unwritable.take().length > 0;
    if (isLeft) this.#leave('chain', chain.name);
    return { text, isLeft };
  }

  *#chain(chain: Chain, { text: head, isLeft }: { text: string; isLeft: boolean }): Generator<string> {
    const { rules } = this.#content;
    const options: TextOptions = { words: this.#words, nestedChain: nestedRules(this.#content, this.#words) };
    const shown = (part: string) => (isLeft ? commentedOut(part) : part);
    yield shown(head);
    for (const rule of rules.get(chain.name) ?? []) yield shown(this.#rule(rule, options));
    yield shown('\t}\n');
  }

  #rule(rule: ListedRule, options: TextOptions): string {
    const { lookup } = this.#content;
    this.#refersFrom(rule, 0);
    const text = `\t\t${ruleText(rule, lookup, options)}\n`;
    if (this.#words.unwritable.take().length === 0) return text;
    this.#refuse('rule', rule);
    return commentedOut(text);
  }

  /** The objects that a rule, or a chain without a name inside it, refers to. */
  #refersFrom({ expressions = [] }: ListedRule, depth: number): void {
    const { lookup, nested, rules } = this.#content;
    for (const reference of referencesOf(expressions, name => lookup.listed(name))) {
      this.#refers([reference]);
      if (reference.kind !== 'chain' || !nested.has(reference.name ?? '') || depth > 16) continue;
      for (const inner of rules.get(reference.name!) ?? []) this.#refersFrom(inner, depth + 1);
    }
  }

  #hook(chain: Chain): string {
    const { dialect, unwritable } = this.#words;
    if (typeof chain.hook !== 'string') unwritable.note('a hook without a name');
    const hook = typeof chain.hook === 'string' ? chain.hook : 'unknown';
    const devices = devicesOf(chain);
    const on =
      devices.length === 0
        ? ''
        : devices.length === 1
          ? ` device ${unwritable.quoted(devices[0]!)}`
          : ` devices = { ${this.#devices(devices)} }`;
    const priority = formatPriority(Number(chain.priority), chain.family, hook, dialect);
    const offload = chain.flags?.includes('offload') ? ' flags offload;' : '';
    return `type ${printable(chain.type!)} hook ${hook}${on} priority ${priority}; policy ${chain.policy ?? 'accept'};${offload}`;
  }
}

const BARE_DEVICE = /^[A-Za-z_.][A-Za-z0-9/_.-]*\*?$/;

/** A comment that cannot be quoted stands behind a `#`: the object is the same without it. */
function commentLine(comment: string): string {
  return isWritableComment(comment) ? `comment "${comment}"` : `# comment "${printable(comment)}"`;
}

/** A type by its name. A type without a length is shown by the expression that has it. */
function typeText(node: Node, options: TextOptions): string {
  return node.type.bits > 0 || node.type.kind === 'verdict' ? node.type.name : nodeText(node, options);
}

function declaration(shape: ReadShape, options: TextOptions): string {
  // nft 1.0.6 cannot read `typeof` in maps of objects.
  const isTypeof = shape.isTypeof && !(!options.words.dialect.hasTypeofOfObjectMaps && shape.has('object'));
  const show = isTypeof ? nodeText : typeText;
  let text = `${isTypeof ? 'typeof' : 'type'} ${show(shape.key, options)}`;
  if (shape.has('map')) text += ` : ${shape.dataInterval ? 'interval ' : ''}${show(shape.data!, options)}`;
  else if (shape.has('object')) text += ` : ${objectWord(shape.set.objectType)}`;
  return text;
}

function* describedSet(set: ListedSet, name: string, { lookup }: TableContent, words: Vocabulary): InParts<string> {
  const options: TextOptions = { words };
  const shape = lookup.find(set.name);
  const isMap = shape.has('map') || shape.has('object');
  const lines = [declaration(shape, options)];
  const size = set.description?.size ?? 0;
  if (!shape.has('constant')) {
    if (set.policy !== undefined && set.policy !== 'performance') lines.push(`policy ${set.policy}`);
    if (size > 0)
      lines.push(`size ${size}${words.dialect.countsElements && set.count ? `\t# count ${set.count}` : ''}`);
  }
  const timeout = set.timeoutMilliseconds ?? 0n;
  const flags = SET_FLAGS.filter(flag => shape.has(flag));
  // A default timeout implies the flag `timeout`; nft prints the flag only beside others.
  if (flags.some(flag => flag !== 'timeout' || timeout === 0n)) lines.push(`flags ${flags.join(',')}`);
  if (shape.statements.length > 0) lines.push(statesText(shape.statements, { words }).trimStart());
  if (set.mergeElements) lines.push('auto-merge');
  if (timeout !== 0n) lines.push(`timeout ${formatDuration(timeout)}`);
  if (set.gcIntervalMilliseconds) lines.push(`gc-interval ${formatDuration(BigInt(set.gcIntervalMilliseconds))}`);
  if (set.comment !== undefined) lines.push(commentLine(set.comment));
  const literal = set.elements === undefined || set.elements.length === 0 ? undefined : yield* shape.literalInParts();
  if (literal !== undefined && literal.members.length > 0) {
    const oneEachLine =
      words.dialect.breaksLongElements &&
      (timeout !== 0n ||
        ['map', 'object', 'timeout', 'concatenation'].some(flag => shape.has(flag)) ||
        set.elements!.some(({ comment }) => comment !== undefined) ||
        shape.statements.length > 0);
    lines.push(`elements = ${yield* setText(literal, { words, oneEachLine })}`);
    for (const member of literal.members) {
      const element = elementOf(member);
      if (element.comment === undefined || isWritableComment(element.comment)) continue;
      const plain: Element = { ...element, comment: undefined };
      const text = nodeText(member.kind === 'mapping' ? mapping(plain, member.right) : plain, { words });
      lines.push(`# ${text} comment "${printable(element.comment)}"`);
    }
  }
  const body = lines.map(line => `\t\t${line}\n`).join('');
  return `\t${isMap ? 'map' : 'set'} ${name} {\n${body}\t}\n`;
}
