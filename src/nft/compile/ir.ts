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
 * The records that the parts of the compiler hand to each other, and the services of the evaluator and the emitter that a construct may
 * use. This file has only types, so that each construct can be in a file of its own without import circles.
 */

/** A part of an evaluated rule. The kernel runs the steps in this order. */
export interface Step {
  /** The match, if the step is one. It may be merged with others, or dropped. */
  readonly relation?: Relation;
  /** The index of the caller's statement that the step came from. */
  readonly statement: number;
  readonly emit: (emitter: Emitter) => void;
}

/**
 * Gives words and numbers their meaning. It comes from the other side of a match, from the field that is written, or from the key of a set.
 */
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
  /** The elements. */
  elements: WireElement[];
}

/** Writes evaluated terms as the kernel's instructions, and allocates its registers in units of four bytes. */
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

/** The state of a rule's evaluation, and the services that all constructs use. */
export interface Evaluator extends Expectation {
  readonly dialect: Dialect;
  /** Sets made for this rule. */
  readonly sets: SetInfo[];
  nextSetId: number;
  steps: Step[];
  /** The index of the current statement. */
  readonly statement: number;
  isPayloadStatement: boolean;
  /** The number of bits that the statement writes, 0 if it writes none. A narrower value that is shifted is widened to them. */
  statementBits: number;
  /** The set whose elements are evaluated. */
  set: SetInfo | undefined;
  /** How many lists and sets the current term is nested in. */
  readonly depth: number;
  /** The tunnel whose inner headers the statement matches. */
  tunnel: Header | undefined;
  /** The protocols that are known of the packet, or of the packet in the tunnel. */
  readonly scope: ProtocolContext<Family>;
  /** Finds a set of the rule's table. */
  findSet(name: string): SetInfo | undefined;
  expect(type: Datatype | undefined, order: ByteOrder, bits: number, maximum?: number): void;
  expectNothing(): void;
  expectType(type: Datatype, bits: number): void;
  /** Expects a value of the same type as this term, for the other side of a comparison. */
  expectLike(term: Node, maximum?: number): void;
  expectation(): Expectation;
  evaluate(term: Node): Node;
  /** Evaluates both ends. They may be in the wrong order. */
  evaluateEnds(term: Range): void;
  nested<T>(work: () => T): T;
}
