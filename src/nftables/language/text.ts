import { printable } from '../../errors.ts';
import type { Chain } from '../chain.ts';
import type { Flowtable } from '../flowtable.ts';
import type { Rule, RuleEntry } from '../rule.ts';
import type { Table } from '../table.ts';
import { compileRule } from './compile/compile.ts';
import { isNamed, type NftObjectOf, objectLines, objectWord } from './decompile/objects.ts';
import { readRule } from './decompile/rule.ts';
import { contents, devicesOf, isBaseChain, type ListedRuleset, type TableContent } from './decompile/ruleset.ts';
import { type ListedSet, type SetShape, Sets } from './decompile/sets.ts';
import { nameText, nodeText, quoted, statementText, type TextOptions } from './decompile/to-text.ts';
import { type Node, Undecompilable } from './decompile/tree.ts';
import { formatDuration, type Vocabulary, vocabulary } from './decompile/words.ts';
import { type DecompileContext, finderOf } from './decompile.ts';
import type { Statement } from './json.ts';
import { formatPriority } from './tables/priorities.ts';

/**
 * The text of `nft list ruleset`, for people to read. Expressions that nft has no words for are shown as objects, in brackets, so that
 * nothing is left out. Names may come from a container: control characters are escaped.
 */
export function formatRuleset(ruleset: ListedRuleset, context: Omit<DecompileContext, 'sets'> = {}): string {
  const words = vocabulary(context);
  return contents(ruleset, words.old)
    .map(content => tableText(content, words))
    .join('');
}

type ListedRule = Pick<RuleEntry, 'family' | 'expressions' | 'comment'>;
type WrittenRule = Pick<Rule, 'family' | 'comment'> & { statements: Statement[] };

/**
 * One rule as `nft list ruleset` writes it, whether it was listed or is to be written.
 * @throws TypeError, RangeError statements that cannot be translated
 */
export function formatRule(rule: ListedRule | WrittenRule, context: DecompileContext = {}): string {
  const words = vocabulary(context);
  const find = finderOf(context.sets);
  if (!('statements' in rule)) return ruleText(rule, new Sets(find, words.old), { words });
  const { family, statements, comment } = rule;
  const { version = '1.1.6' } = context;
  const devices = new NamedDevices();
  const interfaces = (name: string) => devices.index(name);
  const interfaceName = (index: number) => devices.name(index) ?? words.interfaceName(index);
  const options: TextOptions = { words: { ...words, interfaceName } };
  const given = { version, names: words.names, interfaces, sets: (name: string) => find(name) };
  const compiled = compileRule({ family, statements }, given);
  const own = finderOf(compiled.sets);
  const sets = new Sets((name, id) => own(name, id) ?? find(name), words.old);
  const { expressions } = compiled;
  return ruleText(comment === undefined ? { family, expressions } : { family, expressions, comment }, sets, options);
}

const LAST_INDEX = 0x7fffffff;

/** Devices that statements name are shown by these names, whatever their indexes may be: here each has one that no device has. */
class NamedDevices {
  readonly #names: string[] = [];

  index(name: string): number | undefined {
    if (/^\d+$/.test(name)) return undefined;
    return LAST_INDEX + 1 - this.#names.push(name);
  }

  name(index: number): string | undefined {
    return this.#names[LAST_INDEX - index];
  }
}

function ruleText(rule: ListedRule, sets: Sets, options: TextOptions): string {
  const { statements, rest } = readRule(rule, sets, options.words.old);
  let parts: string[];
  try {
    parts = [...statements.map(statement => statementText(statement, options)), ...rest.map(bracketed)];
  } catch (error) {
    if (!(error instanceof Undecompilable)) throw error;
    parts = rule.expressions.map(bracketed);
  }
  if (rule.comment !== undefined) parts.push(`comment ${quoted(rule.comment)}`);
  return parts.join(' ');
}

function bracketed(content: object): string {
  const json = JSON.stringify(content, (_key, value) => (typeof value === 'bigint' ? String(value) : value));
  return `[ ${printable(json)} ]`;
}

/** The lines of the rules of a chain without a name, which stand where it is jumped to. */
export function nestedRules(content: TableContent, words: Vocabulary): (name: string) => string | undefined {
  const nestedChain = (name: string): string | undefined => {
    if (!content.nested.has(name)) return undefined;
    const rules = content.rules.get(name) ?? [];
    return rules.map(rule => `\t\t\t${ruleText(rule, content.lookup, { words, nestedChain })}\n`).join('');
  };
  return nestedChain;
}

function tableText(content: TableContent, words: Vocabulary): string {
  const { table, chains, sets, objects, flowtables } = content;
  const blocks = [
    ...objects.filter(isNamed).map(object => objectText(object, words)),
    ...sets.map(set => setText(set, content.lookup, words)),
    ...flowtables.map(flowtable => flowtableText(flowtable, words)),
    ...chains.map(chain => chainText(chain, content, words)),
  ];
  const { head, separated } = headText(table);
  return `${head}${separated && blocks.length > 0 ? '\n' : ''}${blocks.join('\n')}}\n`;
}

const TABLE_FLAGS = ['dormant', 'owner', 'persist'];

function headText({ family, name, flags, comment }: Table): { head: string; separated: boolean } {
  const shown = TABLE_FLAGS.filter(flag => flags?.includes(flag as 'dormant'));
  const owner = shown.includes('owner') ? ' # progname unknown' : '';
  let head = `table ${family} ${nameText(name)} {${owner}\n`;
  if (shown.length > 0) head += `\tflags ${shown.join(',')}\n`;
  if (comment !== undefined) head += `\tcomment ${quoted(comment)}\n`;
  return { head, separated: shown.length > 0 };
}

function objectText(object: NftObjectOf, words: Vocabulary): string {
  let text = `\t${objectWord(object.type)} ${nameText(object.name)} {\n`;
  if (object.comment !== undefined) text += `\t\tcomment ${quoted(object.comment)}\n`;
  for (const line of linesOf(object, words)) text += `\t\t${line}\n`;
  return `${text}\t}\n`;
}

/** A container's root can make one that nft has no words for, such as a limit per seven seconds. */
function linesOf(object: NftObjectOf, words: Vocabulary): string[] {
  try {
    return objectLines(object, words);
  } catch (error) {
    if (!(error instanceof Undecompilable)) throw error;
    return [bracketed(object.data ?? {})];
  }
}

/** A type by its name; one without a length of its own is shown by what it is the type of. */
function typeText(node: Node, options: TextOptions): string {
  return node.type.bits > 0 || node.type.kind === 'verdict' ? node.type.name : nodeText(node, options);
}

function declaration(shape: SetShape, options: TextOptions): string {
  const show = shape.isTypeof ? nodeText : typeText;
  let text = `${shape.isTypeof ? 'typeof' : 'type'} ${show(shape.key, options)}`;
  if (shape.has('map')) text += ` : ${shape.dataIsRange ? 'interval ' : ''}${show(shape.data!, options)}`;
  else if (shape.has('object')) text += ` : ${objectWord(shape.set.objectType)}`;
  return text;
}

/** One that nft has no words for, whose name is no text for instance, is shown as it is. */
function setText(set: ListedSet, sets: Sets, words: Vocabulary): string {
  try {
    return describedSet(set, sets, words);
  } catch (error) {
    if (!(error instanceof Undecompilable)) throw error;
    return `\tset ${nameText(set.name)} {\n\t\t${bracketed(set)}\n\t}\n`;
  }
}

/** In the order in which nft writes them. */
const SET_FLAGS = ['constant', 'dynamic', 'interval', 'timeout'];

function describedSet(set: ListedSet, sets: Sets, words: Vocabulary): string {
  const options: TextOptions = { words };
  const shape = sets.find(set.name);
  const isMap = shape.has('map') || shape.has('object');
  const lines = [declaration(shape, options)];
  const size = set.description?.size ?? 0;
  if (!shape.has('constant')) {
    if (set.policy !== undefined && set.policy !== 'performance') lines.push(`policy ${set.policy}`);
    if (size > 0) lines.push(`size ${size}${!words.old && set.count ? `\t# count ${set.count}` : ''}`);
  }
  const timeout = set.timeoutMilliseconds ?? 0n;
  const flags = SET_FLAGS.filter(flag => shape.has(flag));
  // A default timeout says that there are timeouts; beside other flags it is said again.
  if (flags.some(flag => flag !== 'timeout' || timeout === 0n)) lines.push(`flags ${flags.join(',')}`);
  if (shape.statements.length > 0)
    lines.push(shape.statements.map(statement => statementText(statement, { words, stateless: true })).join(' '));
  if (set.mergeElements) lines.push('auto-merge');
  if (timeout !== 0n) lines.push(`timeout ${formatDuration(timeout)}`);
  if (set.gcIntervalMilliseconds) lines.push(`gc-interval ${formatDuration(BigInt(set.gcIntervalMilliseconds))}`);
  if (set.comment !== undefined) lines.push(`comment ${quoted(set.comment)}`);
  const literal = set.elements === undefined || set.elements.length === 0 ? undefined : shape.literal();
  if (literal !== undefined && literal.elements.length > 0) {
    const oneEachLine =
      !words.old &&
      (timeout !== 0n ||
        ['map', 'object', 'timeout', 'concatenation'].some(flag => shape.has(flag)) ||
        set.elements!.some(({ comment }) => comment !== undefined) ||
        shape.statements.length > 0);
    lines.push(`elements = ${nodeText(literal, { words, oneEachLine })}`);
  }
  const body = lines.map(line => `\t\t${line}\n`).join('');
  return `\t${isMap ? 'map' : 'set'} ${nameText(set.name)} {\n${body}\t}\n`;
}

function flowtableText(flowtable: Flowtable, { old }: Vocabulary): string {
  const { name, hook, priority, flags } = flowtable;
  const devices = devicesOf({ devices: flowtable.devices });
  const lines: string[] = [];
  if (priority !== undefined) lines.push(`hook ${hook} priority ${formatPriority(priority, 'netdev', String(hook))}`);
  if (devices.length > 0) lines.push(`devices = { ${deviceList(devices, old)} }`);
  if (flags?.includes('offload')) lines.push('flags offload');
  if (flags?.includes('counter')) lines.push('counter');
  return `\tflowtable ${nameText(name)} {\n${lines.map(line => `\t\t${line}\n`).join('')}\t}\n`;
}

/** nft 1.0.6 knows no wildcards. */
function deviceList(devices: readonly string[], old: boolean): string {
  return devices.map(device => (old ? printable(device.replace(/\\\*$/, '*')) : quoted(device))).join(', ');
}

function chainText(chain: Chain, content: TableContent, words: Vocabulary): string {
  let text = `\tchain ${nameText(chain.name)} {\n`;
  if (chain.comment !== undefined) text += `\t\tcomment ${quoted(chain.comment)}\n`;
  if (isBaseChain(chain)) text += `\t\t${hookText(chain, words)}\n`;
  const options: TextOptions = { words, nestedChain: nestedRules(content, words) };
  for (const rule of content.rules.get(chain.name) ?? []) text += `\t\t${ruleText(rule, content.lookup, options)}\n`;
  return `${text}\t}\n`;
}

function hookText(chain: Chain, { old }: Vocabulary): string {
  const hook = typeof chain.hook === 'string' ? chain.hook : 'unknown';
  const devices = devicesOf(chain);
  const on =
    devices.length === 0
      ? ''
      : devices.length === 1
        ? ` device ${quoted(devices[0]!)}`
        : ` devices = { ${deviceList(devices, old)} }`;
  const priority = formatPriority(Number(chain.priority), chain.family, hook);
  const offload = chain.flags?.includes('offload') ? ' flags offload;' : '';
  return `type ${printable(chain.type!)} hook ${hook}${on} priority ${priority}; policy ${chain.policy ?? 'accept'};${offload}`;
}
