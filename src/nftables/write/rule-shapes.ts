import { placesOf, Writer } from '../../codec/index.ts';
import { isArgumentError } from '../../errors.ts';
import { withAcceptedExpressions } from '../../nf_tables/accepted.ts';
import { type Family, familyNumber } from '../../nf_tables/family.ts';
import { MESSAGES } from '../../nf_tables/message.ts';
import { type CompiledRule, compileRule, type SourceMap } from '../../nft/compile/compile.ts';
import { Names } from '../../nft/names.ts';
import { type Constant, type ConstantValue, Shape } from '../../nft/shape.ts';
import type { Statement } from '../../nft/statements/registry.ts';
import { ofThread } from '../../thread.ts';

/*
 * Rules that are made in a loop differ in constants only. When a shape is seen for the second time, it is compiled with several values of its
 * constants, which shows where each of them stands in the bytes. Further rules of the shape are copies of these bytes with their own
 * constants. A constant that changes more than its own bytes becomes a part of the shape.
 */

const RULE = MESSAGES.newrule.table.partial();

/** Where a constant stands in the bytes of the expressions. */
interface Hole {
  readonly at: number;
  readonly size: number;
  readonly littleEndian: boolean;
  /** The bits of a number behind its first `size` bytes. */
  readonly shift: number;
}

/** The expressions of all rules of one shape. */
export class RuleTemplate {
  readonly shape: Shape;
  /** The path of the statement that each expression came from. */
  readonly origin: SourceMap;
  /** The attribute NFTA_RULE_EXPRESSIONS. */
  readonly #bytes: Uint8Array;
  readonly #holes: readonly Hole[];

  constructor(shape: Shape, origin: SourceMap, bytes: Uint8Array, holes: readonly Hole[]) {
    this.shape = shape;
    this.origin = origin;
    this.#bytes = bytes;
    this.#holes = holes;
  }

  /** Writes the expressions with these constants. */
  write(writer: Writer, values: readonly ConstantValue[]): void {
    const start = writer.length;
    writer.raw(this.#bytes);
    const { bytes } = writer;
    const holes = this.#holes;
    for (let i = 0; i < holes.length; i++) putValue(bytes, start, holes[i]!, values[i]!);
  }
}

function putValue(
  bytes: Uint8Array,
  start: number,
  { at, size, littleEndian, shift }: Hole,
  value: ConstantValue,
): void {
  const from = start + at;
  if (typeof value !== 'number') {
    for (let i = 0; i < size; i++) bytes[from + i] = value[i]!;
    return;
  }
  let rest = value >>> shift;
  for (let i = 0; i < size; i++) {
    bytes[littleEndian ? from + i : from + size - 1 - i] = rest;
    rest >>>= 8;
  }
}

/** What a rule's bytes depend on besides its statements. */
export interface RuleSetting {
  readonly family: Family;
  readonly version: '1.1.6' | '1.0.6' | undefined;
  /** The names of numbers that the transaction reads. */
  readonly source: { readonly names: Names };
}

/** A shape that has been seen. */
interface Seen {
  readonly shape: Shape;
  readonly family: Family;
  readonly version: RuleSetting['version'];
  /** The names that the compiler has read; undefined if it has read none. */
  names: Names | undefined;
  template: RuleTemplate | undefined;
  /** How often a template was looked for in vain. */
  failures: number;
  /** The shape of the rule that came after the last one of this shape. */
  next: Seen | undefined;
}

const NEW = { names: undefined, template: undefined, failures: 0, next: undefined };

/** How many shapes are kept of each number of statements. */
const MOST_SHAPES = 12;
/** After so many rules in a row without a template, only each of so many is remembered. */
const MANY_MISSES = 8;
/** A shape that needs more of its constants than a template can vary has so many templates. */
const MOST_FAILURES = 4;

/** The shapes of the rules that were written, and their templates. */
export class RuleShapes {
  /** By the number of statements, the newest first. */
  readonly #seen: Seen[][] = [];
  #last: Seen | undefined;
  #misses = 0;
  /** The constants of the rule that was found last. */
  readonly values: ConstantValue[] = [];

  /** Finds the template of a rule, and puts the rule's constants into `values`. */
  find(
    statements: readonly Statement[],
    family: Family,
    version: RuleSetting['version'],
    source: RuleSetting['source'],
  ): RuleTemplate | undefined {
    const seen = this.#find(statements, family, version, source);
    const template =
      seen === undefined ? undefined : (seen.template ?? this.#make(seen, statements, { family, version, source }));
    if (template !== undefined) this.#misses = 0;
    else if (this.#misses++ < MANY_MISSES || this.#misses % MANY_MISSES === 0)
      if (seen === undefined) this.#remember(statements, family, version);
    return template;
  }

  /** Finds the template of a shape. Undefined if a template cannot vary all its constants. */
  of(shape: Shape, values: readonly ConstantValue[], setting: RuleSetting): RuleTemplate | undefined {
    const { family, version, source } = setting;
    const known = this.#byShape.get(shape);
    if (
      known?.family === family &&
      known.version === version &&
      (known.names === undefined || known.names === source.names)
    )
      return known.template;
    const statements = shape.statements(values);
    if (this.#find(statements, family, version, source) === undefined) this.#remember(statements, family, version);
    const template = this.find(statements, family, version, source);
    const isWhole = template?.shape.constants.length === shape.constants.length;
    const found = { family, version, names: this.#last?.names, template: isWhole ? template : undefined };
    this.#byShape.set(shape, found);
    return found.template;
  }

  readonly #byShape = new WeakMap<Shape, Pick<Seen, 'family' | 'version' | 'names' | 'template'>>();

  #find(
    statements: readonly Statement[],
    family: Family,
    version: RuleSetting['version'],
    source: RuleSetting['source'],
  ): Seen | undefined {
    const last = this.#last;
    const expected = last?.next;
    if (expected !== undefined && this.#fits(expected, statements, family, version, source)) {
      this.#last = expected;
      return expected;
    }
    const shapes = this.#seen[statements.length];
    if (shapes === undefined) return undefined;
    for (const each of shapes) {
      if (each === expected || !this.#fits(each, statements, family, version, source)) continue;
      if (last !== undefined) last.next = each;
      this.#last = each;
      return each;
    }
    return undefined;
  }

  #fits(
    seen: Seen,
    statements: readonly Statement[],
    family: Family,
    version: RuleSetting['version'],
    source: RuleSetting['source'],
  ): boolean {
    return (
      seen.family === family &&
      seen.version === version &&
      (seen.names === undefined || seen.names === source.names) &&
      seen.shape.read(statements, this.values)
    );
  }

  #remember(statements: readonly Statement[], family: Family, version: RuleSetting['version']): void {
    const shape = Shape.of(statements);
    if (shape !== undefined) this.#keep(statements.length, { ...NEW, shape, family, version });
  }

  #keep(length: number, seen: Seen): void {
    this.#seen[length] ??= [];
    const shapes = this.#seen[length];
    if (shapes.length >= MOST_SHAPES) shapes.pop();
    shapes.unshift(seen);
  }

  /** Makes the template of a shape, or of a narrower one that this rule has. */
  #make(seen: Seen, statements: readonly Statement[], setting: RuleSetting): RuleTemplate | undefined {
    if (seen.failures >= MOST_FAILURES) return undefined;
    const { family, version } = setting;
    const fixed = new Set<number>();
    let { shape } = seen;
    for (;;) {
      const compiler = new ShapeCompiler(shape, setting);
      const made = compiler.template();
      if (made instanceof RuleTemplate) {
        shape.read(statements, this.values);
        if (!compiler.agrees(made, this.values)) break;
        const { names } = compiler;
        if (shape === seen.shape) Object.assign(seen, { names, template: made });
        else {
          seen.failures++;
          this.#keep(statements.length, { ...NEW, shape, family, version, names, template: made });
        }
        return made;
      }
      if (made === undefined) break;
      fixed.add(made.place);
      const narrower = Shape.of(statements, fixed);
      if (narrower === undefined) break;
      shape = narrower;
    }
    seen.failures = MOST_FAILURES;
    return undefined;
  }
}

/** Values of constants: three that differ from each other in every byte. Of a range, each end has its own. */
const SAMPLES: readonly (readonly [low: number, high: number])[] = [
  [0x01020304, 0xf1f2f3f4],
  [0x41424344, 0xe1e2e3e4],
  [0x21222324, 0xd1d2d3d4],
];

function sample({ kind, bytes, above }: Constant, which: number): ConstantValue {
  const number = SAMPLES[which]![above === undefined ? 0 : 1];
  if (kind === 'number') return number >>> (32 - 8 * bytes);
  if (kind === 'ipv4') return bytes === 4 ? number : (number & (0xffffffff << (32 - 8 * bytes))) >>> 0;
  return Uint8Array.from({ length: 16 }, (_, i) => (i < bytes ? (number >>> 24) + i : 0));
}

/** Compiles rules of one shape. */
class ShapeCompiler {
  readonly #shape: Shape;
  readonly #setting: RuleSetting;
  /** The names that the compiler has read; undefined if it has read none. */
  names: Names | undefined;

  constructor(shape: Shape, setting: RuleSetting) {
    this.#shape = shape;
    this.#setting = setting;
  }

  /** Returns the template, or the constant that it cannot vary. Undefined is neither. */
  template(): RuleTemplate | Constant | undefined {
    const { constants } = this.#shape;
    const values = (which: (constant: Constant) => number) => constants.map(each => sample(each, which(each)));
    const first = this.#compile(values(() => 0));
    if (first === undefined) return undefined;
    const holes: Hole[] = [];
    for (const constant of constants) {
      const other = this.#compile(values(each => (each === constant ? 1 : 0)));
      const hole = other && holeOf(constant, first.bytes, other.bytes);
      if (hole === undefined) return constant;
      holes.push(hole);
    }
    const template = new RuleTemplate(this.#shape, first.origin, first.bytes, holes);
    return this.agrees(
      template,
      values(() => 2),
    )
      ? template
      : undefined;
  }

  /** Tells whether the template gives the bytes of the compiler. */
  agrees(template: RuleTemplate, values: readonly ConstantValue[]): boolean {
    const compiled = this.#compile(values);
    if (compiled === undefined) return false;
    const writer = new Writer(256);
    template.write(writer, values);
    return Buffer.compare(compiled.bytes, writer.bytes.subarray(0, writer.length)) === 0;
  }

  /** Undefined for a rule that is refused, and for one that is more than its expressions or depends on the namespace. */
  #compile(values: readonly ConstantValue[]): { bytes: Uint8Array; origin: SourceMap } | undefined {
    const { family, version, source } = this.#setting;
    const rule = { family, statements: this.#shape.statements(values) };
    let refers = false;
    const refer = () => {
      refers = true;
      return undefined;
    };
    const noteNames = () => {
      this.names = source.names;
      return undefined;
    };
    const names = this.names ?? new Names({ readFile: noteNames });
    const context = { sets: refer, interfaces: refer, names, ...(version !== undefined && { version }) };
    const compiled = compiledOf(rule, context);
    if (this.names !== undefined && this.names !== names) return this.#compile(values);
    if (compiled === undefined || refers || compiled.sets !== undefined) return undefined;
    const { expressions, origin } = compiled;
    if (expressions.some(expression => 'match' in expression || 'target' in expression)) return undefined;
    const writer = new Writer(512);
    RULE.write(writer, withAcceptedExpressions({ expressions }), { family: familyNumber(family, ['family']) });
    return { bytes: writer.copy(), origin };
  }
}

function compiledOf(...parameters: Parameters<typeof compileRule>): CompiledRule | undefined {
  try {
    return compileRule(...parameters);
  } catch (error) {
    if (isArgumentError(error)) return undefined;
    throw error;
  }
}

/** The place of a constant in two encodings that differ in it alone: its first and its second sample. */
function holeOf(constant: Constant, first: Uint8Array, second: Uint8Array): Hole | undefined {
  const { kind, bytes: size } = constant;
  const places = placesOf(first, second, size);
  if (places?.length !== 1) return undefined;
  const at = places[0]!;
  const shift = kind === 'ipv4' ? 32 - 8 * size : 0;
  for (const littleEndian of kind === 'number' ? [false, true] : [false]) {
    const hole = { at, size, littleEndian, shift };
    const copy = first.slice();
    putValue(copy, 0, hole, sample(constant, 1));
    if (Buffer.compare(copy, second) === 0) return hole;
  }
  return undefined;
}

/** The shapes of this thread. */
export const SHAPES = /* @__PURE__ */ ofThread('nftables.rules', new RuleShapes());
