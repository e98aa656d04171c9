import { concatenationOf, datatypeByNumber, TYPES } from '../data/datatypes.ts';
import type { Dialect } from '../data/dialects.ts';
import { switchOrder } from './bits.ts';
import { Dependencies, type Dependency, isStacked } from './dependencies.ts';
import { narrowExtension } from './extensions.ts';
import { BASE_NETWORK, BASE_TRANSPORT, PacketContext } from './headers.ts';
import { completeCt, learn, learnIcmpType } from './learn.ts';
import { isKnown } from './loads.ts';
import { completePayload, expandPayload, trimPayload, trimRaw } from './payload.ts';
import { narrowWrite } from './payload-write.ts';
import { finishReject } from './reject.ts';
import { splice } from './sets.ts';
import {
  adjust,
  flagTest,
  isPrefix,
  isWithin,
  listOf,
  looksInside,
  prefixLength,
  rangeOperator,
  reverseHours,
  textValue,
} from './shapes.ts';
import {
  type Binary,
  type Concat,
  type CtNode,
  type FlowStatement,
  hasPrefixes,
  isBitmask,
  isString,
  type MetaNode,
  type Node,
  type PayloadNode,
  prefix,
  type Relation,
  range,
  relation,
  type SetShape,
  setType,
  Undecompilable,
  type Value,
} from './tree.ts';
import { flagsToTree } from './values.ts';

/*
 * What is known only from the whole rule: which protocol a load's header belongs to, the types of values, which matches the others imply,
 * and which masks stand for a field, a prefix or flags.
 */

/** A packet, or the one inside a tunnel: what is known about it. */
interface Layered {
  context: PacketContext;
  dependencies: Dependencies;
}

export class Postprocessor {
  readonly #removed = new Set<FlowStatement>();
  readonly #outer: Layered;
  readonly #tunneled: Layered;
  readonly #dialect: Dialect;
  #current: Layered;
  #out: FlowStatement[] = [];
  /** The statement at work; undefined once it was replaced by several. */
  #statement: FlowStatement | undefined;
  /** How deep in keys of sets and concatenations: a mask belongs to the field there, as nothing is compared. */
  #keys = 0;
  /** The keys of this set are looked at. */
  #set: SetShape | undefined;

  constructor(family: string, dialect: Dialect) {
    this.#outer = { context: new PacketContext(family, dialect), dependencies: new Dependencies(this.#removed) };
    // What a tunnel carries begins with Ethernet, as in bridges.
    this.#tunneled = { context: new PacketContext('bridge', dialect), dependencies: new Dependencies(this.#removed) };
    this.#current = this.#outer;
    this.#dialect = dialect;
  }

  run(statements: readonly FlowStatement[]): FlowStatement[] {
    for (const statement of statements) {
      this.#statement = statement;
      this.#out.push(statement);
      this.#current = looksInside(statement) ? this.#tunneled : this.#outer;
      const { dependencies } = this.#current;
      this.#process(statement);
      dependencies.previous = this.#statement;
      // What comes before an effect must not come after it: only matches in a row may be left out.
      if (statement.kind !== 'match') dependencies.reset();
    }
    return this.#out.filter(statement => !this.#removed.has(statement));
  }

  #process(statement: FlowStatement): void {
    switch (statement.kind) {
      case 'match':
        this.#match(statement);
        return;
      case 'set-payload':
        this.#setPayload(statement);
        return;
      case 'meter':
        statement.key = this.#node(statement.key);
        return;
      case 'set-meta':
        statement.value = this.#node(statement.value);
        return;
      case 'set-ct':
        statement.value = this.#node(statement.value);
        if (statement.value.kind === 'binary' && statement.key === 'event') statement.value = listOf(statement.value);
        return;
      case 'nat':
        if (statement.address !== undefined) statement.address = this.#node(statement.address);
        if (statement.port !== undefined) {
          if (this.#dialect.forgetsBeforePorts) this.#current.dependencies.reset();
          statement.port = this.#node(statement.port);
        }
        return;
      case 'tproxy':
        if (statement.address !== undefined) statement.address = this.#node(statement.address);
        if (statement.port !== undefined) {
          this.#current.dependencies.reset();
          statement.port = this.#node(statement.port);
        }
        return;
      case 'reject':
        finishReject(statement, this.#current.context, this.#current.dependencies);
        return;
      case 'set-update':
        statement.key = this.#node(statement.key);
        return;
      case 'map-update':
        statement.key = this.#node(statement.key);
        statement.data = this.#node(statement.data);
        return;
      case 'dup':
        if (statement.to !== undefined) statement.to = this.#node(statement.to);
        if (statement.device !== undefined) statement.device = this.#node(statement.device);
        return;
      case 'fwd':
        statement.device = this.#node(statement.device);
        if (statement.address !== undefined) statement.address = this.#node(statement.address);
        return;
      case 'object':
        statement.reference = this.#node(statement.reference);
        return;
      case 'queue':
        if (statement.number.kind !== 'value' && statement.number.kind !== 'range')
          statement.number = this.#node(statement.number);
        return;
      default:
    }
  }

  #match(statement: FlowStatement & { kind: 'match' }): void {
    statement.node = this.#node(statement.node);
    const { dependencies } = this.#current;
    const { previous } = dependencies;
    if (this.#statement === undefined || previous?.kind !== 'match') return;
    const op = rangeOperator(previous.node, statement.node);
    if (op === undefined) return;
    const [low, high] = [previous.node as Relation, statement.node as Relation];
    const whole = range(low.right, high.right);
    setType(whole, high.right.type, high.right.order);
    statement.node = relation(op, high.left, whole);
    this.#removed.add(previous);
  }

  /** Gives a node its meaning; what comes back stands in its place. */
  #node(node: Node): Node {
    switch (node.kind) {
      case 'map':
        if (
          node.left.kind === 'binary' &&
          node.left.op === '&' &&
          node.left.left.kind === 'payload' &&
          node.left.right.kind === 'value'
        )
          this.#mask(node, node.left, masked => {
            node.left = masked;
          });
        node.left = this.#node(node.left);
        node.right = this.#node(node.right);
        return node;
      case 'mapping':
      case 'range':
        node.left = this.#node(node.left);
        node.right = this.#node(node.right);
        return node;
      case 'set':
        for (const element of node.elements) element.key = this.#node(element.key);
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
      case 'extension':
        if (node.op === 'tcp') this.#current.dependencies.release(BASE_TRANSPORT);
        else if (node.op === 'ipv6' || node.op === 'ipv4') this.#current.dependencies.release(BASE_NETWORK);
        return node;
      case 'hash':
        if (node.argument !== undefined) node.argument = this.#node(node.argument);
        return node;
      case 'ct':
        completeCt(node, this.#current.context);
        return node;
      default:
        return node;
    }
  }

  #load(node: PayloadNode): void {
    const { context, dependencies } = this.#current;
    completePayload(node, context);
    if (node.tunnel !== undefined) this.#releaseOuter(node);
    dependencies.kill(node, context.family, this.#dialect);
  }

  /** GRE's own number is implied by a look into the tunnel. */
  #releaseOuter({ tunnel }: PayloadNode): void {
    const { dependencies } = this.#outer;
    const found = dependencies.at(tunnel!.base);
    if (found === undefined) return;
    const { left, right } = found.node;
    if (left.kind !== 'meta' || left.key !== 'l4proto' || right.kind !== 'value' || right.value !== 47n) return;
    if (tunnel!.name === 'gre' || tunnel!.name === 'gretap') dependencies.release(tunnel!.base);
  }

  #value(node: Value): Node {
    if (node.order === 'host' && !this.#set?.has('interval')) switchOrder(node);
    if (isString(node.type)) return textValue(node);
    return isBitmask(node.type) ? flagsToTree(node) : node;
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
      this.#mask(node, node, masked => {
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

  /** A field that is not whole bytes, moved to the lowest bits. */
  #shiftedField(node: Binary): Node | undefined {
    if (node.op !== '>>' || !this.#dialect.unshiftsFields) return undefined;
    if (node.left.kind === 'unary') node.left = node.left.argument;
    const mask = node.left;
    if (mask.kind !== 'binary' || mask.op !== '&') return undefined;
    if (mask.left.kind !== 'payload' && mask.left.kind !== 'extension') return undefined;
    mask.left = this.#node(mask.left);
    setType(node.right, TYPES.integer, 'host');
    node.right = this.#node(node.right);
    let found: Node | undefined;
    this.#mask(node, mask, masked => {
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

  #matchPayload(node: Relation, load: PayloadNode): void {
    const { context, dependencies } = this.#current;
    if (node.op === '==' || node.op === '!=') {
      if (node.right.kind === 'value') {
        this.#expand(node, load, node.right);
        return;
      }
      if (node.right.kind === 'set-reference') learnIcmpType(context, load, node.right.literal?.elements[0]?.key);
    }
    completePayload(load, context);
    setType(node.right, load.type, load.order);
    dependencies.kill(load, context.family, this.#dialect);
  }

  /** One match for each field of a load of several. */
  #expand(node: Relation, load: PayloadNode, whole: Value): void {
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
      if (node.op === '==') learn(context, match);
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
      if (isStacked(context.layers[base], match)) base--;
      dependencies.kill(field, context.family, this.#dialect);
      if (this.#dialect.forgetsOrderOfFields) setType(right, field.type, undefined);
      if (node.op === '==' && field.protocol) dependencies.store(statement, base);
    }
    this.#statement = undefined;
  }

  #matchKey(node: Relation, left: MetaNode | CtNode): void {
    if (node.right.kind === 'set-reference') setType(node.right, left.type, left.order);
    if (node.op !== '==' || node.right.kind === 'range' || node.right.kind === 'set-reference') return;
    const { context, dependencies } = this.#current;
    learn(context, node);
    if (left.base >= BASE_TRANSPORT) return;
    dependencies.killForKey(left, node.right, context.family, this.#dialect);
    if (left.protocol && this.#statement?.kind === 'match')
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
      this.#mask(node, left, masked => {
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
      this.#mask(left, left.left, masked => {
        left.left = masked;
      });
      if (left.right.value === 0n) node.left = left.left;
    }
    return node;
  }

  /** Takes a mask away that only picks the bits of a field, and shifts what is compared with them. */
  #mask(of: Node & { left: Node; right: Node }, mask: Binary, replace: (node: Node) => void): boolean {
    const { left, right } = mask;
    if (right.kind !== 'value' || right.value === 0n) return false;
    if (of.kind === 'relation' && of.right.kind === 'value' && !isWithin(of.right, right)) return false;
    const { context } = this.#current;
    const shift =
      left.kind === 'payload'
        ? trimPayload(left, right, context)
        : left.kind === 'extension'
          ? narrowExtension(left, right)
          : undefined;
    if (shift !== undefined) {
      adjust(of.right, left, shift);
      replace(left);
      if (left.kind === 'payload') this.#afterMask(of, left);
      else setType(of.right, left.type, left.order);
      return true;
    }
    if (!this.#dialect.trimsRawBits || left.kind !== 'payload' || of.right.kind !== 'value') return false;
    const by = trimRaw(left, right);
    if (by === undefined) return false;
    of.right.value >>= BigInt(by);
    replace(left);
    return true;
  }

  /** As with a match of the field itself. */
  #afterMask(of: Node & { left: Node; right: Node }, load: PayloadNode): void {
    const { context, dependencies } = this.#current;
    if (of.kind === 'relation') {
      this.#matchPayload(of, load);
      return;
    }
    completePayload(load, context);
    setType(of.right, load.type, load.order);
    dependencies.kill(load, context.family, this.#dialect);
  }

  #setPayload(statement: FlowStatement & { kind: 'set-payload' }): void {
    const { target } = statement;
    if (target.kind !== 'payload') throw new Undecompilable('no field to write');
    completePayload(target, this.#current.context);
    if (!isKnown(target)) {
      const { context } = this.#current;
      narrowWrite(statement, target, {
        context,
        dialect: this.#dialect,
        mask: (of, load, replace) => this.#mask(of, load, replace),
      });
    }
    statement.target = this.#node(statement.target);
    setType(statement.value, statement.target.type, statement.target.order);
    statement.value = this.#node(statement.value);
  }
}
