import type { ContentOf, Expression } from '../../nf_tables/expression.ts';
import type { Vocabulary } from '../decompile/format-value.ts';
import type { JsonObject } from '../json-object.ts';
import type { Parser } from '../parse/parser.ts';
import { type Place, Undecompilable } from '../tree.ts';

/* The parts of a statement with a state of its own: counter, limit, quota, last and ct count. Elements of sets can have them, too. */

export interface StateOptions {
  words: Vocabulary;
  /** Without the counted values, as in the declarations of sets. */
  stateless?: boolean;
}

export interface State<S extends { kind: string }, E extends 'counter' | 'limit' | 'quota' | 'last' | 'connlimit'> {
  /** The name of the kernel's expression. */
  readonly expression: E;
  /** The kernel's expression. */
  compile(json: unknown, place: Place): Expression;
  /** The statement of an expression. */
  read(expression: ContentOf<E>): S;
  /** Reads nft's text behind the statement's words; the result stands beside the statement's name in JSON. */
  fromText(p: Parser, isOfElement?: boolean): JsonObject | null;
  /** nft's text. */
  text(statement: S, options: StateOptions): string;
  /** The value beside the statement's name in nft's JSON. */
  json(statement: S, options: StateOptions): JsonObject | null;
}

/** Has the expression the flag `invert`? `depleted` is the kernel's own note. */
export function isInverted(flags: readonly (string | number)[] | undefined): boolean {
  for (const flag of flags ?? [])
    if (flag !== 'invert' && flag !== 'depleted') throw new Undecompilable(`the flag ${flag}`);
  return flags?.includes('invert') ?? false;
}

/** A number up to 2^53 - 1, as JSON has it; a larger one stays a bigint. */
export const exactNumber = (value: bigint): number | bigint =>
  value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
