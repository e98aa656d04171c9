import { formatIPv4, formatIPv6, ipv4Number, parseIPv6 } from '../codec/index.ts';
import type { Statement } from './statements/registry.ts';

/*
 * The shape of a rule: its statements without the constants that differ from rule to rule. Rules that a loop makes, and the lines of a file, have few shapes.
 * A constant is only left out where its value never changes the rest of the compiled rule: addresses and ports of packets, marks, groups of the
 * log, and the addresses and ports of NAT. Other constants belong to the shape: protocols, lengths of prefixes, flags, names.
 */

/** What a constant is. Its number of bytes is that in the compiled rule: a prefix has only its first ones. */
export interface Constant {
  readonly kind: 'number' | 'ipv4' | 'ipv6';
  readonly bytes: number;
  /** The constant that must be less than this one, by its index: the other end of a range. */
  readonly above: number | undefined;
  /** Its index among those that the rule has when none of them is fixed. */
  readonly place: number;
}

/** The value of a constant: a number, an IPv4 address as a number, or the bytes of an IPv6 address. */
export type ConstantValue = number | Uint8Array;

const [FIXED, LIST, OBJECT, NUMBER, IPV4, IPV6] = [0, 1, 2, 3, 4, 5];

/** A part of a shape. All have the same fields, because comparing them with a rule is what takes the time. */
interface Part {
  readonly kind: number;
  /** Of a fixed part. */
  readonly value: unknown;
  readonly keys: readonly string[];
  readonly parts: readonly Part[];
  /** Of a constant: its index. */
  readonly index: number;
  /** Of a constant: the index of the one that must be less; -1 is none. */
  readonly above: number;
  /** Of a number: the largest of its length. Of an IPv4 address: the bits that must be 0. Of an IPv6 address: the bytes that may be others. */
  readonly limit: number;
}

/** The fields of headers that hold an address or a port. No other match depends on their values. */
const FIELDS: ReadonlySet<unknown> = /* @__PURE__ */ new Set(['saddr', 'daddr', 'sport', 'dport']);
/** Operators that have one constant on their right side. */
const OPERATORS: ReadonlySet<unknown> = /* @__PURE__ */ new Set(['==', '!=', '<', '>', '<=', '>=']);
const NATS: readonly string[] = ['snat', 'dnat', 'masquerade', 'redirect'];
const [PORT, MARK] = [2, 4];
const BYTE = 8;
const V4_BYTES = 4;
const V6_BYTES = 16;

type Fields = Readonly<Record<string, unknown>>;
type MakePart = (value: unknown) => Part;

/** Something that is not plain JSON. */
class NoShape extends Error {}

/** The statements of a rule without its constants. */
export class Shape {
  readonly constants: readonly Constant[];
  readonly #root: Part;
  readonly #constantParts: readonly Part[];

  private constructor({ constants, parts }: ShapeBuilder, root: Part) {
    this.constants = constants;
    this.#constantParts = parts;
    this.#root = root;
  }

  /**
   * Makes the shape of a rule. Returns undefined if it has no constants, or holds more than plain JSON.
   * @param fixed indexes of constants that belong to the shape all the same
   */
  static of(statements: readonly Statement[], fixed: ReadonlySet<number> = new Set()): Shape | undefined {
    const builder = new ShapeBuilder(fixed);
    try {
      const root = list(statements, statement => builder.statement(statement));
      return builder.constants.length === 0 ? undefined : new Shape(builder, root);
    } catch (error) {
      if (error instanceof NoShape) return undefined;
      throw error;
    }
  }

  /** Compares a rule with the shape. If it has this shape, its constants are put into `values`. */
  read(statements: readonly Statement[], values: ConstantValue[]): boolean {
    return matches(this.#root, statements, values);
  }

  /** Returns the statements with these constants. */
  statements(values: readonly ConstantValue[]): Statement[] {
    return filled(this.#root, values) as Statement[];
  }

  /** Tells whether a rule with these constants is of this shape. */
  takes(values: readonly ConstantValue[]): boolean {
    const parts = this.#constantParts;
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i]!;
      const value = values[i]!;
      if (typeof value === 'number') {
        if (!isInside(part, value, values)) return false;
      } else if (part.above >= 0 || !isPrefix(value, part.limit)) return false;
    }
    return true;
  }
}

/** Finds the constants of a rule while it copies the rest. */
class ShapeBuilder {
  readonly constants: Constant[] = [];
  /** By the index of the constant. */
  readonly parts: Part[] = [];
  readonly #fixed: ReadonlySet<number>;
  #seen = 0;

  constructor(fixed: ReadonlySet<number>) {
    this.#fixed = fixed;
  }

  statement(statement: unknown): Part {
    const number = (bytes: number) => (value: unknown) => this.#constant(value, bytes);
    const nat = (value: unknown) => object(value, { addr: number(V4_BYTES), port: number(PORT) });
    const inside: Record<string, MakePart> = {
      match: value => this.#match(value),
      mangle: value => object(value, isMark((value as Fields).key) ? { value: number(MARK) } : {}),
      log: value => object(value, { group: number(PORT) }),
    };
    for (const name of NATS) inside[name] = nat;
    return object(statement, inside);
  }

  #match(value: unknown): Part {
    const { op, left } = value as Fields;
    const bytes = isMark(left) ? MARK : isAddressOrPort(left) ? PORT : 0;
    if (bytes === 0 || !OPERATORS.has(op)) return fixed(value);
    return object(value, { right: right => this.#right(right, bytes) });
  }

  #right(right: unknown, bytes: number): Part {
    if (typeof right !== 'object' || right === null) return this.#constant(right, bytes);
    const { range, prefix } = right as Fields;
    if (Array.isArray(range)) {
      if (range.length !== 2 || range.some(end => kindOf(end) === undefined || kindOf(end) !== kindOf(range[0])))
        return fixed(right);
      // Both ends are constants, or none: a range must not end before it begins.
      const areFixed = this.#fixed.has(this.#seen) || this.#fixed.has(this.#seen + 1);
      if (areFixed) this.#seen += 2;
      if (areFixed) return fixed(right);
      const low = this.constants.length;
      const ends = (value: unknown) =>
        list(value as unknown[], (end, i) => this.#constant(end, bytes, i === 0 ? undefined : low));
      return object(right, { range: ends });
    }
    if (typeof prefix !== 'object' || prefix === null) return fixed(right);
    const { addr: base, len } = prefix as Fields;
    const most = BYTE * (kindOf(base) === 'ipv6' ? V6_BYTES : V4_BYTES);
    if (typeof len !== 'number' || !(len > 0 && len <= most) || len % BYTE !== 0) return fixed(right);
    return object(right, {
      prefix: inner => object(inner, { addr: addr => this.#constant(addr, bytes, undefined, len / BYTE) }),
    });
  }

  /** A constant. Any other value belongs to the shape. */
  #constant(value: unknown, bytes: number, above?: number, prefix?: number): Part {
    const kind = kindOf(value);
    switch (kind) {
      case 'number':
        return this.#add({ kind, bytes, above }, value, NUMBER, 2 ** (BYTE * bytes) - 1);
      case 'ipv4': {
        const size = prefix ?? V4_BYTES;
        return this.#add({ kind, bytes: size, above }, value, IPV4, hostBits(size));
      }
      case 'ipv6': {
        const size = prefix ?? V6_BYTES;
        return this.#add({ kind, bytes: size, above }, value, IPV6, size);
      }
      default:
        return fixed(value);
    }
  }

  #add(constant: Omit<Constant, 'place'>, value: unknown, kind: number, limit: number): Part {
    const place = this.#seen++;
    if (this.#fixed.has(place)) return fixed(value);
    const index = this.constants.push({ ...constant, place }) - 1;
    const part = { ...NONE, kind, index, above: constant.above ?? -1, limit };
    this.parts.push(part);
    return part;
  }
}

function kindOf(value: unknown): Constant['kind'] | undefined {
  if (typeof value === 'number') return 'number';
  if (typeof value !== 'string') return undefined;
  if (ipv4Number(value) >= 0) return 'ipv4';
  return value.includes(':') && parseIPv6(value) !== undefined ? 'ipv6' : undefined;
}

const isMark = (left: unknown): boolean =>
  typeof left === 'object' && left !== null && [onlyKey(left, 'meta'), onlyKey(left, 'ct')].includes('mark');

const onlyKey = (expression: object, name: 'meta' | 'ct'): unknown => {
  const inner = (expression as Fields)[name];
  return typeof inner === 'object' && inner !== null ? (inner as Fields).key : undefined;
};

function isAddressOrPort(left: unknown): boolean {
  if (typeof left !== 'object' || left === null) return false;
  const { payload } = left as Fields;
  return typeof payload === 'object' && payload !== null && FIELDS.has((payload as Fields).field);
}

/** The bits of an IPv4 address behind its first bytes. */
const hostBits = (bytes: number): number => (bytes >= V4_BYTES ? 0 : 0xffffffff >>> (BYTE * bytes));

const NONE = { value: undefined, keys: [], parts: [], index: -1, above: -1, limit: 0 };

function fixed(value: unknown): Part {
  if (Array.isArray(value)) return list(value, fixed);
  if (typeof value === 'object' && value !== null) return object(value, {});
  if (typeof value === 'function') throw new NoShape();
  return { ...NONE, kind: FIXED, value };
}

function list(values: readonly unknown[], part: (value: unknown, index: number) => Part): Part {
  return { ...NONE, kind: LIST, parts: values.map(part) };
}

function object(value: unknown, inside: Readonly<Record<string, MakePart>>): Part {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return fixed(value);
  if (Object.getPrototypeOf(value) !== Object.prototype) throw new NoShape();
  const keys = Object.keys(value);
  const parts = keys.map(key => (Object.hasOwn(inside, key) ? inside[key]! : fixed)((value as Fields)[key]));
  return { ...NONE, kind: OBJECT, keys, parts };
}

function matches(part: Part, value: unknown, values: ConstantValue[]): boolean {
  switch (part.kind) {
    case FIXED:
      return value === part.value;
    case OBJECT: {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
      const { keys, parts } = part;
      let i = 0;
      for (const key in value) {
        if (key !== keys[i] || !matches(parts[i]!, (value as Fields)[key], values)) return false;
        i++;
      }
      return i === keys.length;
    }
    case LIST: {
      const { parts } = part;
      if (!Array.isArray(value) || value.length !== parts.length) return false;
      for (let i = 0; i < parts.length; i++) if (!matches(parts[i]!, value[i], values)) return false;
      return true;
    }
    case NUMBER:
      if (typeof value !== 'number' || value >>> 0 !== value || !isInside(part, value, values)) return false;
      values[part.index] = value;
      return true;
    case IPV4: {
      const number = typeof value === 'string' ? ipv4Number(value) : -1;
      if (!isInside(part, number, values)) return false;
      values[part.index] = number;
      return true;
    }
    default: {
      const bytes = typeof value === 'string' && value.includes(':') ? parseIPv6(value) : undefined;
      if (bytes === undefined || part.above >= 0 || !isPrefix(bytes, part.limit)) return false;
      values[part.index] = bytes;
      return true;
    }
  }
}

/** The values at the ends of a range are left to the compiler: some of them have a meaning of their own. */
function isInside({ kind, above, limit }: Part, value: number, values: readonly ConstantValue[]): boolean {
  if (value <= 0 || (above >= 0 && (values[above] as number) >= value)) return false;
  return kind === NUMBER ? value < limit : value < 0xffffffff && (value & limit) === 0;
}

/** Is this an address other than `::`, with nothing behind its first bytes? */
function isPrefix(address: Uint8Array, bytes: number): boolean {
  let bits = 0;
  for (let i = 0; i < bytes; i++) bits |= address[i]!;
  for (let i = bytes; i < V6_BYTES; i++) if (address[i] !== 0) return false;
  return bits !== 0;
}

function filled(part: Part, values: readonly ConstantValue[]): unknown {
  switch (part.kind) {
    case FIXED:
      return part.value;
    case OBJECT:
      return Object.fromEntries(part.keys.map((key, i) => [key, filled(part.parts[i]!, values)]));
    case LIST:
      return part.parts.map(inner => filled(inner, values));
    case NUMBER:
      return values[part.index];
    case IPV4: {
      const number = values[part.index] as number;
      return formatIPv4(Uint8Array.of(number >>> 24, number >>> 16, number >>> 8, number));
    }
    default:
      return formatIPv6(values[part.index] as Uint8Array);
  }
}
