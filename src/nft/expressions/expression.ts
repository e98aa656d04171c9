import type { Evaluator } from '../compile/ir.ts';
import { entryOf, type Fields } from '../compile/json-fields.ts';
import { type Datatype, TYPES } from '../data/datatypes.ts';
import type { Dialect } from '../data/dialects.ts';
import type { AddressFamily, KeyRow } from '../data/keys.ts';
import type { Vocabulary } from '../decompile/format-value.ts';
import type { Json } from '../json-object.ts';
import { isFlags, isNumeric } from '../nodes.ts';
import type { ReadExpression } from '../parse/parser.ts';
import { type Ct, type Exthdr, type Load, type Meta, type Node, type Payload, Place, Undecompilable } from '../tree.ts';

/*
 * An expression of nft that one instruction of the kernel loads. It has JSON, text, an instruction in both directions, and a description in
 * the user data of sets. Each expression is one file of this folder and one line in registry.ts.
 */

/** The registers before an instruction runs. */
export interface RegisterReader {
  readonly dialect: Dialect;
  get(register: number): Node;
  /** Joins as many registers as the bits take, from this one on. */
  concat(register: number, bits: number): Node;
}

export interface PrintOptions {
  readonly words: Vocabulary;
  /** The expression is compared with something. */
  readonly compared?: boolean;
}
/** Prints a node within another. */
export type Print<T> = (node: Node, options: PrintOptions) => T;

/** Returns a number of a set's user data by its type; undefined if there is none. */
export type NumberAt = (type: number) => number | undefined;
export type NumberRecords = readonly (readonly [type: number, value: number])[];

/** The kind of an expression in the user data of sets. */
export interface TypeofRow {
  /** nft's number of the expression (EXPR_*). */
  readonly kind: number;
  /** The number in nft 1.0.6, if that differs. */
  readonly oldKind?: number;
  /** nft 1.0.6 has no such expression. */
  readonly newer?: true;
  /** nft 1.0.6 crashes on the present number. */
  readonly isUnsafe?: true;
  /** The types of the numbers that a description must have. */
  readonly needs: readonly number[];
}

/** The nodes that one instruction loads. */
export type Loaded = Payload | Exthdr | Meta | Ct | Load;

export interface LoadExpression<L extends Loaded = Loaded> {
  /** The kernel's name of the expression. */
  readonly kernel: string;
  /** The words that nft's JSON calls the expression by. */
  readonly words: readonly string[];
  readonly typeof: TypeofRow;
  /** From nft's text to JSON, by the words that the expression begins with. */
  readonly fromText: Readonly<Record<string, ReadExpression>>;
  /** Makes a node of the JSON. `parseArgument` parses an expression within it. */
  parse(json: unknown, place: Place, word: string, parseArgument: (json: unknown, place: Place) => Node): L;
  /** Checks the node, and completes the parts that depend on the rule. */
  evaluate?(load: L, e: Evaluator): void;
  /** Returns the highest possible value; 0 is no limit. */
  maximum?(load: L): number;
  /** Changes the node for a comparison with true or false. */
  askWhether?(load: L): void;
  /** Returns whether the byte order must be changed before the value is written. */
  converts?(type: Datatype, dialect: Dialect): boolean;
  /** Returns the fields of the kernel's expression, which loads into a register. `source` is the register of the argument. */
  write(load: L, register: number, source?: number): object;
  read(expression: object, registers: RegisterReader): L;
  json(load: L, options: PrintOptions, print: Print<Json>): Json;
  text(load: L, options: PrintOptions, print: Print<string>): string;
  /** Returns the numbers of the node for the user data of a set. */
  describe(load: L): NumberRecords;
  /** Returns the node that the numbers describe; undefined if one of them is not known. */
  described(at: NumberAt): L | undefined;
  /** Returns whether nft 1.0.6 can read these numbers without a crash; by default it can. */
  isSafe?(at: NumberAt): boolean;
}

/** Makes a node with the fields of all loads and the fields of its own kind. */
export function load<Own extends object>(
  name: string,
  { type, order, bits }: Pick<KeyRow, 'type' | 'order' | 'bits'>,
  place: Place | undefined,
  own: Own,
): Load & Own {
  const node: Load = { kind: 'load', place, type: TYPES[type], order, bits, name, argument: undefined };
  // A spread would be 60 times as slow.
  return Object.assign(node, own);
}

/** Returns nft's words by the kernel's keys. */
export const wordsByKey = <W extends string>(rows: Readonly<Record<W, KeyRow>>): ReadonlyMap<string | number, W> =>
  new Map(Object.entries<KeyRow>(rows).map(([word, { key }]) => [key, word as W]));

/** @throws Undecompilable if nft has no word for the key */
export function wordFor<W extends string>(
  words: ReadonlyMap<string | number, W>,
  key: string | number,
  name: string,
): W {
  const word = words.get(key);
  if (word === undefined) throw new Undecompilable(`${name} ${key}`);
  return word;
}

/** Returns nft's number of a key in the user data of sets. It is the key's index in the kernel's list. */
export const numberOfKey = (keys: readonly (string | undefined)[], key: string): number => keys.indexOf(key);

export function familyOf(fields: Fields, place: Place): AddressFamily | undefined {
  if (fields.family === undefined) return undefined;
  return entryOf({ ip: 'ip', ip6: 'ip6' } as const, fields.family, new Place(place, 'family'));
}

/** Gives a generated number the expected type, if that has 32 bits: an address or a mark. */
export function takeExpectedType(node: Load, e: Evaluator): void {
  if (e.type === undefined || e.bits !== 32 || !isNumeric(e.type) || isFlags(e.type)) return;
  node.type = e.type;
  node.bits = 32;
}
