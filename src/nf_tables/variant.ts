import {
  AttributeTable,
  type Context,
  eachAttribute,
  type Field,
  type Infer,
  NLA_F_NESTED,
  NLA_HDRLEN,
  type Schema,
  type Source,
  type TableOptions,
  type Type,
  type Writer,
} from '../codec/index.ts';
import { DecodeError, type Path, typeError, within } from '../errors.ts';
import { ofThread } from '../thread.ts';

interface VariantContext extends Context {
  /** The value of the attribute that decides. */
  readonly variant: unknown;
}

/** A table in which one attribute decides what another one holds, such as an object's type its data. */
export class VariantTable<T> extends AttributeTable<T> {
  /** The name of the field that decides. */
  readonly selector: string;
  readonly #options: TableOptions;
  #field: Field | undefined;

  constructor(name: string, selector: string, schema: Schema | (() => Schema), options: TableOptions = {}) {
    super(name, schema, options);
    this.selector = selector;
    this.#options = options;
  }

  override partial(): VariantTable<Partial<T>> {
    return new VariantTable<Partial<T>>(this.name, this.selector, () => rows(super.partial()), this.#options);
  }

  override write(writer: Writer, value: T, context: Context): void {
    const variant = (value as Record<string, unknown> | null)?.[this.selector];
    super.write(writer, value, contextOf(context, variant));
  }

  override read(source: Source, start: number, end: number, context: Context): T | undefined {
    return super.read(source, start, end, this.#context(source, start, end, context));
  }

  override readTolerant(
    source: Source,
    start: number,
    end: number,
    context: Context,
    value: object = {},
  ): Partial<T> | undefined {
    return super.readTolerant(source, start, end, this.#context(source, start, end, context), value);
  }

  override locate(source: Source, start: number, end: number, offset: number, context: Context): Path {
    let inner = context;
    try {
      inner = this.#context(source, start, end, context);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
    }
    return super.locate(source, start, end, offset, inner);
  }

  /** The attribute that decides need not come first. */
  #context(source: Source, start: number, end: number, context: Context): VariantContext {
    this.#field ??= this.fields.find(({ key }) => key === this.selector)!;
    const { number, type } = this.#field;
    let variant: unknown;
    eachAttribute(source, start, end, (found, payload, payloadEnd) => {
      if (found === number) variant ??= type.read(source, payload, payloadEnd, context);
    });
    return contextOf(context, variant);
  }
}

const rows = ({ fields }: AttributeTable<unknown>): Schema =>
  Object.fromEntries(fields.map(field => [field.key, field]));

function contextOf({ family }: Context, variant: unknown): VariantContext {
  return { family, variant };
}

// biome-ignore lint/suspicious/noExplicitAny: members are of every type
type Types = Readonly<Record<string, Type<any>>>;

const VARIANTS = ofThread('nf_tables.variants', new WeakMap<object, Types>());

/** The types that a selector's values stand for; undefined where the type is no `variant`. */
export const variantTypes = (type: Type<unknown>): Types | undefined => VARIANTS.get(type);

/** The type of an attribute that a VariantTable's selector decides about: one by the name of each value. For other values the bytes are kept raw. */
export function variant<T extends Types>(types: T): Type<Infer<T[keyof T]>> {
  const find = (context: Context): Type<unknown> | undefined => {
    const { variant: value } = context as VariantContext;
    return typeof value === 'string' && Object.hasOwn(types, value) ? types[value] : undefined;
  };
  const whole: Type<Infer<T[keyof T]>> = {
    kind: 'nest',
    contextual: true,
    write(writer, value, context) {
      const type = find(context);
      if (type === undefined)
        throw typeError([], 'nothing (this type has no fields here; its bytes go to `unknown`)', value);
      type.write(writer, value, context);
    },
    read: (source, start, end, context) => find(context)?.read(source, start, end, context) as Infer<T[keyof T]>,
    locate: (source, start, end, offset, context) => find(context)?.locate?.(source, start, end, offset, context) ?? [],
  };
  VARIANTS.set(whole, types);
  return whole;
}

// biome-ignore lint/suspicious/noExplicitAny: members are of every type
export type Choices = Readonly<Record<string, readonly [number: number, type: Type<any>]>>;
/** One of several attributes, by its name. Named in the declarations, so that the rows' documentation is there. */
export type Choice<T extends Choices> = { [K in keyof T]: { [P in K]: Infer<T[K][1]> } }[keyof T];

/** A nest of attributes of several kinds, in any order and number: an array of objects with one key each. */
export function choices<const T extends Choices>(rows: T): Type<Choice<T>[]> {
  const byNumber = new Map(Object.entries(rows).map(([key, [number, type]]) => [number, { key, type }]));
  return {
    kind: 'list',
    write(writer, value, context) {
      if (!Array.isArray(value)) throw typeError([], 'an array', value);
      for (const [i, item] of value.entries()) {
        const keys = typeof item === 'object' && item !== null ? Object.keys(item) : [];
        const key = keys[0];
        if (keys.length !== 1 || key === undefined || !Object.hasOwn(rows, key)) {
          throw typeError([i], `an object with one of the keys ${Object.keys(rows).join(', ')}`, item);
        }
        const [number, type] = rows[key]!;
        try {
          const start = writer.beginAttribute(type.kind === 'nest' ? number | NLA_F_NESTED : number);
          type.write(writer, (item as Record<string, unknown>)[key], context);
          writer.endAttribute(start);
        } catch (error) {
          throw within(error, [i, key]);
        }
      }
    },
    read(source, start, end, context) {
      const items: unknown[] = [];
      let whole = true;
      eachAttribute(source, start, end, (number, payload, payloadEnd) => {
        const row = byNumber.get(number);
        const item = row?.type.read(source, payload, payloadEnd, context);
        if (row === undefined || item === undefined) whole = false;
        else items.push({ [row.key]: item });
      });
      return whole ? (items as Choice<T>[]) : undefined;
    },
    locate(source, start, end, offset, context) {
      let path: Path = [];
      let index = 0;
      eachAttribute(source, start, end, (number, payload, payloadEnd) => {
        const row = byNumber.get(number);
        if (row !== undefined && offset >= payload - NLA_HDRLEN && offset < payloadEnd) {
          path = [index, row.key, ...(row.type.locate?.(source, payload, payloadEnd, offset, context) ?? [])];
        }
        index++;
      });
      return path;
    },
  };
}
