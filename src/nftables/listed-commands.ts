import { isArgumentError } from '../errors.ts';
import type { Family } from '../nf_tables/family.ts';
import { type CompiledRule, compileRule } from '../nft/compile/compile.ts';
import { type Dialect, dialectOf } from '../nft/data/dialects.ts';
import { decompileRule } from '../nft/decompile.ts';
import type { JsonCommand } from '../nft/json-commands.ts';
import { Names } from '../nft/names.ts';
import type { Statement } from '../nft/statements/registry.ts';
import type { ListedSet } from '../nft/tree.ts';
import { type Compiled, setNameOf } from './commands.ts';
import { partsOf } from './references.ts';

/*
 * The commands of a text as nft's JSON shows them. nft shows what the kernel has: names of ports are numbers, and matches that others imply are left out.
 */

type Fields = Record<string, unknown>;

/**
 * Returns commands with their rules as nft's JSON shows them. A rule stays as the text has it where nft's JSON lacks the words or loses something: the rule
 * is only changed if it compiles to the same bytecode again.
 */
export function listedCommands<T extends object>(
  commands: readonly T[],
  { sets }: Compiled,
  version: '1.1.6' | '1.0.6' = '1.1.6',
): T[] {
  const names = new Names();
  const dialect = dialectOf(version);
  /** Rules that are listed as they are written, by their shape: a large text has very many of few shapes. */
  const listedAsWritten = new Set<string>();
  return commands.map(command => {
    const { verb, kind, object } = partsOf(command as unknown as JsonCommand);
    if (kind === 'set' || kind === 'map') return { [verb]: { [kind]: listedSet(object, dialect) } } as T;
    const { family, table, chain, expr } = object as {
      family: Family;
      table: string;
      chain: string;
      expr?: Statement[];
    };
    if (kind !== 'rule' || expr === undefined || expr.some(bringsChain)) return command;
    const shape = shapeOf(family, table, expr);
    if (shape !== undefined && listedAsWritten.has(shape)) return command;
    const context = { version, names, table, sets: (name: string) => sets.get(setNameOf(family, table, name)) };
    const compiled = (statements: Statement[]): CompiledRule => compileRule({ family, chain, statements }, context);
    try {
      const rule = compiled(expr);
      const own = new Map<number | undefined, ListedSet>();
      for (const { set, elements } of rule.sets ?? []) own.set(set.id, { ...set, elements });
      const listed = decompileRule(
        { family, expressions: rule.expressions },
        { version, names, sets: (name: string, id?: number) => own.get(id) ?? context.sets(name) },
      );
      const isSame = listed.every(hasWords) && contentOf(compiled(listed)) === contentOf(rule);
      if (shape !== undefined && (!isSame || JSON.stringify(listed) === JSON.stringify(expr)))
        listedAsWritten.add(shape);
      return isSame ? ({ [verb]: { rule: { ...object, expr: listed } } } as T) : command;
    } catch (error) {
      // The rule refers to what only a namespace knows, or its listing cannot be compiled.
      if (isArgumentError(error)) return command;
      throw error;
    }
  });
}

/**
 * What a rule says, without the addresses and ports that it compares with: all of them are listed alike. Undefined where it has numbers that JSON lacks.
 */
function shapeOf(family: Family, table: string, expr: readonly Statement[]): string | undefined {
  let text: string;
  try {
    text = JSON.stringify(expr);
  } catch {
    return undefined;
  }
  return `${family} ${table} ${text.replace(ADDRESS, '$1A').replace(PORT, '$1P')}`;
}

const ADDRESS =
  /("[sd]addr"\}\},"right":)"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"/g;
const PORT = /("[sd]port"\}\},"right":)\d+/g;

/** A set with a timeout has the flag, whether the text says it or not. */
function listedSet(set: Fields, { splitsMapTypes }: Dialect): Fields {
  const { flags = [], timeout, map } = set;
  const listed = { ...set };
  if (timeout !== undefined && Array.isArray(flags) && !flags.includes('timeout')) listed.flags = [...flags, 'timeout'];
  if (Array.isArray(map) && !splitsMapTypes) listed.map = map.join(' . ');
  return listed;
}

/** Has nft's JSON words for it? nft 1.0.6 shows the text of changes of maps. */
const hasWords = (statement: unknown): boolean =>
  typeof statement === 'object' && statement !== null && !('raw' in statement);

/** Does the statement jump to a chain without a name? nft's JSON has no words for these. */
const bringsChain = (statement: object): boolean =>
  [(statement as { jump?: unknown }).jump, (statement as { goto?: unknown }).goto].some(
    verdict => typeof verdict === 'object' && verdict !== null && 'rules' in verdict,
  );

/** What the kernel gets of a rule. The order of a set's elements does not count, nor do the kernel's defaults: mask and xor, and the level of `log`. */
function contentOf({ expressions, sets = [] }: CompiledRule): string {
  const plain = (value: unknown): string =>
    JSON.stringify(value, (key, each: unknown) => {
      if ((key === 'op' && each === 'mask-xor') || (key === 'level' && each === DEFAULT_LEVEL)) return undefined;
      return typeof each === 'bigint' ? `${each}` : each;
    });
  return plain([expressions, sets.map(({ set, elements }) => [set, elements.map(plain).sort()])]);
}

/** The kernel's level of `log`: warn. */
const DEFAULT_LEVEL = 4;
