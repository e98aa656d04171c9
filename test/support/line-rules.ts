import type { NftDocument } from '../../src/nft/json-commands.ts';
import { LineRule } from '../../src/nft/parse/lines.ts';
import { Script, type ScriptOptions } from '../../src/nft/script/script.ts';
import { compileDocument } from '../../src/nftables/commands.ts';

/* Compares texts whose lines are read by their forms with the same texts when each line is parsed. */

/** The text of a table with one chain. */
export const chainText = (family: string, lines: readonly string[]): string =>
  `table ${family} t {\nchain c {\n${lines.map(line => `\t\t${line}\n`).join('')}}\n}\n`;

/** Returns the line with other numbers and addresses in the place of some of its own. */
export function withOtherNumbers(line: string, next: () => number): string {
  return line.replaceAll(/\d+/g, digits => (next() % 3 === 0 ? digits : otherDigits(next)));
}

const DIGITS = [
  '0',
  '1',
  '2',
  '6',
  '10',
  '010',
  '24',
  '80',
  '127',
  '255',
  '256',
  '65535',
  '65536',
  '4294967295',
  '99999999999',
];

const otherDigits = (next: () => number): string =>
  next() % 2 === 0 ? DIGITS[next() % DIGITS.length]! : String(next() % 200);

interface Read {
  /** What differs; undefined if nothing does. */
  readonly difference: string | undefined;
  /** The lines that were not parsed. */
  readonly skipped: number;
}

/** Reads a text in both ways. */
export function readBothWays(text: string, options: ScriptOptions = {}): Read {
  const parsed = new Script(text, options);
  const fast = new Script(text, options, true);
  const rules = fast.entries.map(entry => entry.add?.rule);
  const skipped = rules.filter(rule => rule instanceof LineRule).length;
  const expanded = fast.entries.map((entry, i) => {
    const rule = rules[i];
    return rule instanceof LineRule ? { add: { rule: { ...rule.place, expr: rule.expr } } } : entry;
  });
  const differing = [
    [parsed.problems.map(each => each.message), fast.problems.map(each => each.message)],
    [parsed.entries, expanded],
    [parsed.entries, fast.json],
    [bytesOf(parsed, options), bytesOf(fast, options)],
  ].map(each => each.map(side => JSON.stringify(side, plain)));
  const found = differing.find(([a, b]) => a !== b);
  return { difference: found && `${text}\n  parsed  ${found[0]}\n  by form ${found[1]}`, skipped };
}

/** The bytes that the commands are sent as, and the errors of those that are wrong. */
function bytesOf(script: Script, { version }: ScriptOptions): string[] {
  const errors: string[] = [];
  const document = { nftables: script.entries as NftDocument['nftables'] };
  const { transaction, places } = compileDocument(document, {
    surroundings: { version, set: () => undefined },
    isText: true,
    refused: (index, error) =>
      errors.push(`${index} ${error.message} ${JSON.stringify(script.place(error.path.slice(1))?.start)}`) > 0,
  });
  const encoded = transaction.encode();
  const operations = transaction.operations.map(({ verb, subject }) => JSON.stringify({ [verb]: subject }, plain));
  const at = places.map(place => (typeof place === 'number' ? ['nftables', place, 'add', 'rule'] : place).join('.'));
  return [Buffer.from(encoded.bytes).toString('hex'), ...errors, ...operations, ...at];
}

const plain = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value);
