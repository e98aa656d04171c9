import { switchOrder } from '../bits.ts';
import { concatenationOf, datatypeByNumber, TYPES } from '../data/datatypes.ts';
import type { Dialect } from '../data/dialects.ts';
import { completeAddress } from '../expressions/ct.ts';
import { NETWORK, TRANSPORT } from '../headers.ts';
import { elementOf, hasPrefixes, isFlags, isText, prefix, range, relation, setType } from '../nodes.ts';
import { ProtocolContext } from '../protocol-context.ts';
import type { Completion } from '../statements/construct.ts';
import type { MatchStatement } from '../statements/match.ts';
import { completeStatement, type FlowStatement, looksAt } from '../statements/registry.ts';
import type {
  Binary,
  Concat,
  Ct,
  MapLookup,
  Meta,
  Node,
  Payload,
  Relation,
  SetInfo,
  SetLiteral,
  SetMember,
  Value,
} from '../tree.ts';
import { Dependencies, type Dependency, isStacked } from './dependencies.ts';
import { completePayload, expandPayload, narrowExtension, trimPayload, trimRaw } from './payload.ts';
import { splice } from './sets.ts';
import {
  adjust,
  flagTest,
  isPrefix,
  isWithin,
  looksInside,
  prefixLength,
  rangeOperator,
  reverseHours,
  textValue,
} from './shapes.ts';
import { flagsToTree } from './values.ts';

/*
 * The second pass, which needs the whole rule. It finds the protocol of each load, the types of values, the matches that others imply, and
 * the masks that stand for a field, a prefix or flags.
 */

/** The facts about a packet, or about the packet inside a tunnel. */
interface Layered {
  context: ProtocolContext;
  dependencies: Dependencies;
}

export class Postprocessor implements Completion {
  readonly #removed = new Set<object>();
  readonly #outer: Layered;
  readonly #tunneled: Layered;
  readonly #dialect: Dialect;
  #current: Layered;
  #out: FlowStatement[] = [];
  /** The current match; undefined once several matches have replaced it. */
  #statement: MatchStatement | undefined;
  /** The depth in keys of sets and concatenations. A mask in a key belongs to a field, because there is no comparison. */
  #keys = 0;
  /** The set of the current look-up. */
  #set: SetInfo | undefined;

  constructor(family: string, dialect: Dialect) {
    this.#outer = { context: new ProtocolContext(family, dialect), dependencies: new Dependencies(this.#removed) };
    // The packet in a tunnel begins with Ethernet, as in bridges.
    this.#tunneled = { context: new ProtocolContext('bridge', dialect), dependencies: new Dependencies(this.#removed) };
    this.#current = this.#outer;
    this.#dialect = dialect;
  }

  run(statements: readonly FlowStatement[]): FlowStatement[] {
    for (const statement of statements) {
      this.#statement = statement.kind === 'match' ? statement : undefined;
      this.#out.push(statement);
      const looked = looksAt(statement);
      this.#current = looked !== undefined && looksInside(looked) ? this.#tunneled : this.#outer;
      const { dependencies } = this.#current;
      if (statement.kind === 'match') {
        this.#match(statement);
        dependencies.previous = this.#statement;
      } else {
        completeStatement(statement, this);
        // A match may not move behind a statement with an effect, so only matches in a row may be left out.
        dependencies.reset();
      }
    }
    return this.#out.filter(statement => !this.#removed.has(statement));
  }

  get context(): ProtocolContext {
    return this.#current.context;
  }

  get dialect(): Dialect {
    return this.#dialect;
  }

  node(node: Node): Node {
    return this.#node(node);
  }

  mask(of: Binary, mask: Binary, replace: (node: Node) => void): boolean {
    return this.#mask({ of, compared: of.right }, mask, replace);
  }

  release(base: number): void {
    this.#current.dependencies.release(base);
  }

  forget(): void {
    this.#current.dependencies.reset();
  }

  #match(statement: MatchStatement): void {
    statement.node = this.#node(statement.node);
    const { dependencies } = this.#current;
    const { previous } = dependencies;
    if (this.#statement === undefined || previous === undefined) return;
    const op = rangeOperator(previous.node, statement.node);
    if (op === undefined) return;
    const [low, high] = [previous.node as Relation, statement.node as Relation];
    const whole = range(low.right, high.right);
    setType(whole, high.right.type, high.right.order);
    statement.node = relation(op, high.left, whole);
    this.#removed.add(previous);
  }

  /** Gives a node its type and its field. The returned node takes its place. */
  #node(node: Node): Node {
    switch (node.kind) {
      case 'map':
        if (
          node.key.kind === 'binary' &&
          node.key.op === '&' &&
          node.key.left.kind === 'payload' &&
          node.key.right.kind === 'value'
        )
          this.#mask({ of: node, compared: node.mappings }, node.key, masked => {
            node.key = masked;
          });
        node.key = this.#node(node.key);
        node.mappings = this.#node(node.mappings);
        return node;
      case 'range':
        node.left = this.#node(node.left);
        node.right = this.#node(node.right);
        return node;
      case 'set':
        for (const member of node.members) this.#member(member);
        return node;
      case 'concat':
        return this.#concat(node);
      case 'unary':
        node.argument = this.#node(node.argument);
        node.type = node.argument.type;
        node.order = node.argument.order === undefined ? 'host' : undefined;
        return node;
      case 'binary':
        return this.#binary(node);
      case 'relation':
        return this.#relation(node);
      case 'payload':
        this.#load(node);
        return node;
      case 'value':
        return this.#value(node);
      case 'prefix':
        node.base = this.#node(node.base);
        return node;
      case 'element':
        this.#keys++;
        node.key = this.#node(node.key);
        this.#keys--;
        return node;
      case 'exthdr':
        if (node.op === 'tcp') this.#current.dependencies.release(TRANSPORT);
        else if (node.op === 'ipv6' || node.op === 'ipv4') this.#current.dependencies.release(NETWORK);
        return node;
      case 'load':
        if (node.argument !== undefined) node.argument = this.#node(node.argument);
        return node;
      case 'ct':
        completeAddress(node, this.#current.context.at(NETWORK));
        return node;
      default:
        return node;
    }
  }

  #member(member: SetMember): void {
    const element = elementOf(member);
    element.key = this.#node(element.key);
    if (member.kind === 'mapping') member.right = this.#node(member.right);
  }

  #load(node: Payload): void {
    const { context, dependencies } = this.#current;
    completePayload(node, context);
    if (node.tunnel !== undefined) this.#releaseOuter(node);
    dependencies.kill(node, context.family, this.#dialect);
  }

  /** Leaves out the match of GRE's number if a look into the GRE tunnel implies it. */
  #releaseOuter({ tunnel }: Payload): void {
    const { dependencies } = this.#outer;
    const found = dependencies.at(tunnel!.base);
    if (found === undefined) return;
    const { left, right } = found.node;
    if (left.kind !== 'meta' || left.key !== 'l4proto' || right.kind !== 'value' || right.value !== 47n) return;
    if (tunnel!.name === 'gre' || tunnel!.name === 'gretap') dependencies.release(tunnel!.base);
  }

  #value(node: Value): Node {
    if (node.order === 'host' && !this.#set?.interval) switchOrder(node);
    if (isText(node.type)) return textValue(node);
    return isFlags(node.type) ? flagsToTree(node) : node;
  }

  #concat(node: Concat): Concat {
    const { parts: types } = node.type;
    this.#keys++;
    for (const [i, part] of node.parts.entries()) {
      const type = types?.[i];
      if (type !== undefined) setType(part, type, type.order);
      node.parts[i] = this.#node(part);
    }
    this.#keys--;
    node.type = concatenationOf(node.parts.map(({ type }) => datatypeByNumber(type.id) ?? type));
    return node;
  }

  #binary(node: Binary): Node {
    const shifted = this.#shiftedField(node);
    if (shifted !== undefined) return shifted;
    node.left = this.#node(node.left);
    const { left, right, op } = node;
    if (op === '<<' || op === '>>') setType(right, TYPES.integer, 'host');
    else setType(right, left.type, right.bits > left.bits && this.#dialect.widensMaskOrder ? 'host' : left.order);
    if (op === '&' && this.#keys > 0 && left.kind === 'payload' && right.kind === 'value') {
      let field: Node = node;
      this.#mask({ of: node, compared: node.right }, node, masked => {
        field = masked;
      });
      return field;
    }
    node.right = this.#node(right);
    if ((op === '<<' || op === '>>') && this.#dialect.hasIntegerShifts) {
      node.type = TYPES.xinteger;
      node.order = 'host';
    } else {
      node.type = node.left.type;
      node.order = node.left.order;
    }
    return node;
  }

  /** Finds a bit field that is shifted to the lowest bits. */
  #shiftedField(node: Binary): Node | undefined {
    if (node.op !== '>>' || !this.#dialect.unshiftsFields) return undefined;
    if (node.left.kind === 'unary') node.left = node.left.argument;
    const mask = node.left;
    if (mask.kind !== 'binary' || mask.op !== '&') return undefined;
    if (mask.left.kind !== 'payload' && mask.left.kind !== 'exthdr') return undefined;
    mask.left = this.#node(mask.left);
    setType(node.right, TYPES.integer, 'host');
    node.right = this.#node(node.right);
    let found: Node | undefined;
    this.#mask({ of: node, compared: node.right }, mask, masked => {
      found = masked;
    });
    return found;
  }

  #relation(node: Relation): Node {
    const { left } = node;
    if (left.kind === 'payload') {
      this.#matchPayload(node, left);
      return node;
    }
    if (left.kind === 'concat') {
      if (node.right.kind === 'set-reference') {
        left.type = node.right.type;
        if (this.#dialect.knowsSetOfConcatenation) this.#set = node.right.set;
      }
      node.left = this.#node(left);
      this.#set = undefined;
    } else {
      if (left.kind === 'unary' && this.#dialect.turnsHoursRound) reverseHours(node, left.argument);
      node.left = this.#node(left);
    }
    setType(node.right, node.left.type, node.left.order);
    node.right = this.#node(node.right);
    if (node.left.kind === 'ct' || node.left.kind === 'meta') this.#matchKey(node, node.left);
    else if (node.left.kind === 'binary') return this.#matchBinary(node, node.left);
    return node;
  }

  #matchPayload(node: Relation, load: Payload): void {
    const { context, dependencies } = this.#current;
    if (node.op === '==' || node.op === '!=') {
      if (node.right.kind === 'value') {
        this.#expand(node, load, node.right);
        return;
      }
      if (node.right.kind === 'set-reference') context.learnIcmpType(load, firstKey(node.right.literal));
    }
    completePayload(load, context);
    setType(node.right, load.type, load.order);
    dependencies.kill(load, context.family, this.#dialect);
  }

  /** Replaces the match of a load of several fields by one match for each field. */
  #expand(node: Relation, load: Payload, whole: Value): void {
    const { context, dependencies } = this.#current;
    const fields = expandPayload(load, context);
    this.#out.pop();
    let { base } = load;
    for (const field of fields) {
      let right: Node = splice(whole, field.bits);
      setType(right, field.type, field.order);
      if (field.field !== undefined && field.bits < field.field.bits) {
        const part = right as Value;
        part.value <<= BigInt(field.field.bits - field.bits);
        part.bits = field.field.bits;
        right = prefix(part, field.bits);
      }
      const match = relation(node.op, field, right);
      if (node.op === '==' && right.kind === 'value') context.learn(field, Number(right.value));
      const statement: Dependency = { kind: 'match', node: match };
      this.#out.push(statement);
      if (load.tunnel !== undefined) {
        if (load.tunnel === load.header) {
          field.header = load.header;
          field.field = load.field;
        }
        field.tunnel = load.tunnel;
        this.#releaseOuter(load);
      }
      if (isStacked(context.header(base), match)) base--;
      dependencies.kill(field, context.family, this.#dialect);
      if (this.#dialect.forgetsOrderOfFields) setType(right, field.type, undefined);
      if (node.op === '==' && field.tellsProtocol) dependencies.store(statement, base);
    }
    this.#statement = undefined;
  }

  #matchKey(node: Relation, left: Meta | Ct): void {
    if (node.right.kind === 'set-reference') setType(node.right, left.type, left.order);
    if (node.op !== '==' || node.right.kind === 'range' || node.right.kind === 'set-reference') return;
    const { context, dependencies } = this.#current;
    if (node.right.kind === 'value') context.learn(left, Number(node.right.value));
    if (left.base >= TRANSPORT) return;
    dependencies.killForKey(left, node.right, context.family, this.#dialect);
    if (left.tellsProtocol && this.#statement?.kind === 'match')
      dependencies.store(this.#statement as Dependency, left.base);
  }

  #matchBinary(node: Relation, left: Binary): Node {
    const { right } = node;
    const flags = flagTest(node, left, this.#dialect);
    if (flags !== undefined) return flags;
    if (
      hasPrefixes(left.left.type, this.#dialect) &&
      left.op === '&' &&
      right.kind === 'value' &&
      left.right.kind === 'value' &&
      isPrefix(left.right) &&
      isWithin(right, left.right)
    ) {
      node.left = left.left;
      node.right = prefix(right, prefixLength(left.right));
    } else if (left.op === '&' && left.right.kind === 'value') {
      this.#mask({ of: node, compared: right }, left, masked => {
        node.left = masked;
      });
    } else if (
      left.op === '>>' &&
      left.left.kind === 'binary' &&
      left.left.op === '&' &&
      left.right.kind === 'value' &&
      left.left.right.kind === 'value' &&
      (right.kind !== 'value' || right.value <= left.left.right.value >> left.right.value)
    ) {
      this.#mask({ of: left, compared: left.right }, left.left, masked => {
        left.left = masked;
      });
      if (left.right.value === 0n) node.left = left.left;
    }
    return node;
  }

  /** Removes a mask that only selects the bits of a field, and shifts the other side of the comparison. */
  #mask({ of, compared }: Masked, mask: Binary, replace: (node: Node) => void): boolean {
    const { left, right } = mask;
    if (right.kind !== 'value' || right.value === 0n) return false;
    if (of.kind === 'relation' && compared.kind === 'value' && !isWithin(compared, right)) return false;
    const { context } = this.#current;
    const shift =
      left.kind === 'payload'
        ? trimPayload(left, right, context)
        : left.kind === 'exthdr'
          ? narrowExtension(left, right)
          : undefined;
    if (shift !== undefined) {
      adjust(compared, left, shift);
      replace(left);
      if (left.kind === 'payload') this.#afterMask({ of, compared }, left);
      else setType(compared, left.type, left.order);
      return true;
    }
    if (!this.#dialect.trimsRawBits || left.kind !== 'payload' || compared.kind !== 'value') return false;
    const by = trimRaw(left, right);
    if (by === undefined) return false;
    compared.value >>= BigInt(by);
    replace(left);
    return true;
  }

  /** Completes a field whose mask was removed, as for a match of the field itself. */
  #afterMask({ of, compared }: Masked, load: Payload): void {
    const { context, dependencies } = this.#current;
    if (of.kind === 'relation') {
      this.#matchPayload(of, load);
      return;
    }
    completePayload(load, context);
    setType(compared, load.type, load.order);
    dependencies.kill(load, context.family, this.#dialect);
  }
}

/** A node that contains a mask, and the node that the masked bits are compared with or belong to. */
interface Masked {
  readonly of: Relation | MapLookup | Binary;
  readonly compared: Node;
}

function firstKey(literal: SetLiteral | undefined): Node | undefined {
  const first = literal?.members[0];
  return first && elementOf(first).key;
}
