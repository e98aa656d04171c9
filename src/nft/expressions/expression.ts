import type { Evaluator } from '../compile/ir.ts';
import { entryOf, type Fields } from '../compile/json-fields.ts';
import { type Datatype, TYPES } from '../data/datatypes.ts';
import type { Dialect } from '../data/dialects.ts';
import type { AddressFamily, KeyRow } from '../data/keys.ts';
import type { Vocabulary } from '../decompile/format-value.ts';
import type { Json } from '../json-object.ts';
import { isFlags, isNumeric } from '../nodes.ts';
import { type Ct, type Exthdr, type Load, type Meta, type Node, type Payload, Place, Undecompilable } from '../tree.ts';

/*
 * An expression of nft that one instruction of the kernel loads: its JSON and its text, its instruction in both directions, and its
 * description in the user data of sets. Each is one file of this folder, and a line in registry.ts.
 */

/** The registers, as an instruction finds them. */
export interface RegisterReader {
  readonly dialect: Dialect;
  get(register: number): Node;
  /** As many registers as it takes, from this one on. */
  concat(register: number, bits: number): Node;
}

export interface PrintOptions {
  readonly words: Vocabulary;
  /** It is compared with something. */
  readonly compared?: boolean;
}
/** Prints a node within another. */
export type Print<T> = (node: Node, options: PrintOptions) => T;

/** Numbers of a set's user data, by their type; undefined where one is missing. */
export type NumberAt = (type: number) => number | undefined;
export type NumberRecords = readonly (readonly [type: number, value: number])[];

/** The kind of an expression in the user data of sets. */
export interface TypeofRow {
  /** nft's number of it (EXPR_*). */
  readonly kind: number;
  /** Its number in nft 1.0.6, where that differs. */
  readonly oldKind?: number;
  /** nft 1.0.6 has no such expression. */
  readonly newer?: true;
  /** nft 1.0.6 crashes on the present number. */
  readonly isUnsafe?: true;
  /** The types of the numbers that must be there for it to be understood. */
  readonly needs: readonly number[];
}

/** Nodes that one instruction loads. */
export type Loaded = Payload | Exthdr | Meta | Ct | Load;

export interface LoadExpression<L extends Loaded = Loaded> {
  /** The kernel's name of the expression. */
  readonly kernel: string;
  /** What nft's JSON calls it. */
  readonly words: readonly string[];
  readonly typeof: TypeofRow;
  /** A node of the JSON; `parseArgument` parses an expression within it. */
  parse(json: unknown, place: Place, word: string, parseArgument: (json: unknown, place: Place) => Node): L;
  /** Checks it, and completes what depends on the rule. */
  evaluate?(load: L, e: Evaluator): void;
  /** The highest value that it can have; 0 where there is no limit. */
  maximum?(load: L): number;
  /** It is compared with true or false. */
  askWhether?(load: L): void;
  /** Has its byte order to be changed before it is written? */
  converts?(type: Datatype, dialect: Dialect): boolean;
  /** The fields of the kernel's expression, which loads into a register; `source` is the register of the argument. */
  write(load: L, register: number, source?: number): object;
  read(expression: object, registers: RegisterReader): L;
  json(load: L, options: PrintOptions, print: Print<Json>): Json;
  text(load: L, options: PrintOptions, print: Print<string>): string;
  /** Its numbers in the user data of a set. */
  describe(load: L): NumberRecords;
  /** The node of such numbers; undefined where one of them is not known. */
  described(at: NumberAt): L | undefined;
  /** Does nft 1.0.6 survive these numbers? By default it does. */
  isSafe?(at: NumberAt): boolean;
}

/** A node with the fields of all loads, and its own ones. */
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

/** nft's words for the kernel's keys. */
export const wordsByKey = <W extends string>(rows: Readonly<Record<W, KeyRow>>): ReadonlyMap<string | number, W> =>
  new Map(Object.entries<KeyRow>(rows).map(([word, { key }]) => [key, word as W]));

/** @throws Undecompilable where nft has no word for the key */
export function wordFor<W extends string>(
  words: ReadonlyMap<string | number, W>,
  key: string | number,
  name: string,
): W {
  const word = words.get(key);
  if (word === undefined) throw new Undecompilable(`${name} ${key}`);
  return word;
}

/** nft's number of a key, as in the user data of sets: its place in the kernel's list. */
export const numberOfKey = (keys: readonly (string | undefined)[], key: string): number => keys.indexOf(key);

export function familyOf(fields: Fields, place: Place): AddressFamily | undefined {
  if (fields.family === undefined) return undefined;
  return entryOf({ ip: 'ip', ip6: 'ip6' } as const, fields.family, new Place(place, 'family'));
}

/** A generated number fits whatever else is 32 bits long: an address, a mark. */
export function takeExpectedType(node: Load, e: Evaluator): void {
  if (e.type === undefined || e.bits !== 32 || !isNumeric(e.type) || isFlags(e.type)) return;
  node.type = e.type;
  node.bits = 32;
}
