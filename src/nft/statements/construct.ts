import type { ContentOf, Expression } from '../../nf_tables/expression.ts';
import type { Compile } from '../compile/lower.ts';
import type { Dialect } from '../data/dialects.ts';
import type { Registers } from '../decompile/registers.ts';
import type { JsonOptions } from '../decompile/to-json.ts';
import type { TextOptions } from '../decompile/to-text.ts';
import type { Json } from '../json-object.ts';
import type { ReadStatement } from '../parse/parser.ts';
import type { ProtocolContext } from '../protocol-context.ts';
import type { Binary, Node } from '../tree.ts';

/* The parts of a statement of nft's language. Each statement has a file with such a construct, and the registry lists them. */

type NameOf<E> = E extends unknown ? keyof E & string : never;
type Readers<S> = {
  readonly [E in NameOf<Expression>]?: (registers: Registers, expression: ContentOf<E>) => S | undefined;
};

/** `S` is the statement as it is read from the kernel, `Name` its names in nft's JSON. */
export interface Construct<S extends { kind: string }, Name extends string = never> {
  /** From nft's JSON to the kernel's expressions, for each of its names. */
  readonly compile: Readonly<Record<Name, Compile>>;
  /** From the kernel's expressions, by their names; undefined for an expression that only loads a register. */
  readonly read: Readers<S>;
  /** Gives the statement's values their types, once the protocols of the packet are known. */
  complete?(statement: S, rule: Completion): void;
  /** From nft's text, by the words that the statement begins with. */
  readonly fromText?: Readonly<Record<string, ReadStatement>>;
  /** nft's text. */
  text(statement: S, options: TextOptions): string;
  /** nft's JSON. */
  json(statement: S, options: JsonOptions): Json;
  /** Must it be the last statement of a rule? nft reads no others behind it. */
  ends?(statement: S): boolean;
  /** The part of the packet that it looks at, if that can be inside a tunnel. */
  looksAt?(statement: S): Node | undefined;
}

/** The services of the pass that completes a rule. */
export interface Completion {
  readonly dialect: Dialect;
  readonly context: ProtocolContext;
  /** Gives a node its type and its field; the result takes its place. */
  node(node: Node): Node;
  /** Takes a mask away that only picks the bits of a field. */
  mask(of: Binary, mask: Binary, replace: (node: Node) => void): boolean;
  /** The match on the protocol of this layer (BASE_*) is implied by the statement, and is left out. */
  release(base: number): void;
  /** No match before this place may be left out. */
  forget(): void;
}
