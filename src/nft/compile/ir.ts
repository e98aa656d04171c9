import type { WireElement } from '../../nf_tables/element.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import type { Family } from '../../nf_tables/family.ts';
import type { NftSet } from '../../nf_tables/set.ts';
import type { ByteOrder, Datatype } from '../data/datatypes.ts';
import type { Dialect } from '../data/dialects.ts';
import type { Header } from '../headers.ts';
import type { ProtocolContext } from '../protocol-context.ts';
import type { Node, Range, Relation, SetInfo } from '../tree.ts';

/*
 * What the parts of the compiler hand to each other: evaluated matches and steps, and what a construct may ask of the evaluator and of the
 * emitter. Only types, so that every construct can stand in a file of its own.
 */

/** A part of an evaluated rule. The kernel runs the steps in this order. */
export interface Step {
  /** A match, which may be merged with others, or dropped. */
  readonly relation?: Relation;
  /** The index of the caller's statement that it came from. */
  readonly statement: number;
  readonly emit: (emitter: Emitter) => void;
}

/** Gives words and numbers their meaning: the other side of a match, the field that is written, or the key of a set. */
export interface Expectation {
  type: Datatype | undefined;
  order: ByteOrder;
  bits: number;
  maximum: number;
  /** The key of a set, or a part of a concatenation. */
  key: Node | undefined;
}

/** A set that a rule brings with it. It comes before the rule, in the same transaction. */
export interface CompiledSet {
  /** `id` is the number that the rule's expressions refer to as `setId`. */
  set: NftSet & { id: number };
  elements: WireElement[];
}

/** Writes evaluated terms as the kernel's instructions, and gives out its registers, in units of four bytes. */
export interface Emitter {
  push(expression: Expression): void;
  /** Reserves registers for a term. */
  take(term?: Node): number;
  release(term?: Node): void;
  load(term: Node, unit: number): void;
  /** Loads a verdict, or looks it up in a map. */
  verdict(term: Node): void;
  relation(relation: Relation): void;
}

/** The state of a rule's evaluation, and the services that each construct uses. */
export interface Evaluator extends Expectation {
  readonly dialect: Dialect;
  /** Sets made for this rule. */
  readonly sets: SetInfo[];
  nextSetId: number;
  steps: Step[];
  /** The index of the statement that is worked on. */
  readonly statement: number;
  isPayloadStatement: boolean;
  /** Bits that the statement writes, where that gives room for shifts. */
  statementBits: number;
  /** The set whose elements are evaluated. */
  set: SetInfo | undefined;
  /** Nesting in lists and sets. */
  readonly depth: number;
  /** The tunnel whose inner headers are looked at. */
  tunnel: Header | undefined;
  /** What is known about the protocols of the packet, or of the one in the tunnel. */
  readonly scope: ProtocolContext<Family>;
  /** A set of the rule's table. */
  findSet(name: string): SetInfo | undefined;
  expect(type: Datatype | undefined, order: ByteOrder, bits: number, maximum?: number): void;
  expectNothing(): void;
  expectType(type: Datatype, bits: number): void;
  /** The other side is compared with a term. */
  expectLike(term: Node, maximum?: number): void;
  expectation(): Expectation;
  evaluate(term: Node): Node;
  /** Evaluates both ends, without a look at which is lower. */
  evaluateEnds(term: Range): void;
  nested<T>(work: () => T): T;
}
