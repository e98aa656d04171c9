import { type AttributeTable, checkObject, NO_CONTEXT, Writer } from '../../codec/index.ts';
import { type Path, typeError, within } from '../../errors.ts';
import { checkName } from '../device.ts';
import type { Refusals } from '../request.ts';
import { type NewLink, onlyOne } from './settings.ts';

/** What there is to say of a kind of link. `Options` is what a caller gives, `Data` is IFLA_INFO_DATA. */
export interface LinkKindSpec<Name extends string, Options extends NewLink, Data extends object> {
  /** The kernel's name of the kind (IFLA_INFO_KIND): 'macvlan'. It is the field of `Link` that has the data, too. */
  name: Name;
  /** The table of IFLA_INFO_DATA; a kind without one has no data of its own. */
  data?: AttributeTable<Data>;
  /** Rows of the table that the kernel tells and a caller cannot give. Every other row is a field of the options. */
  readOnly?: readonly (keyof Data & string)[];
  /** The options have the rows in an object of this name. Without it, the rows are fields of the options themselves. */
  inside?: keyof Options & string;
  /** Rows that must be given. */
  required?: readonly (keyof Data & string)[];
  /** Rows with a value that differs from the kernel's own where the caller gives none. */
  defaults?: Partial<Data>;
  /** The device below, which the options name in `link`. A kind without it stands on no other device. */
  link?: 'required' | 'optional';
  /** Checks that the rows cannot make. */
  check?(data: Partial<Data>, options: Options): void;
  /** Makes the data of options that are not like the rows. */
  write?(options: Options): Data;
  /** The fields of the options that `write` reads. */
  fields?: readonly (keyof Options & string)[];
  /** What the kernel's refusals mean for this kind. It comes before what they mean for every new device. */
  refusals?(options: Options): Partial<Refusals>;
}

/** A kind of link, whatever its options and its data. */
export interface AnyLinkKind {
  readonly name: string;
  readonly data: AttributeTable<object> | undefined;
  /** The fields of the options beside those of every new device. */
  readonly fields: readonly string[];
  /** Checks the fields of this kind. @returns the data and the name of the device below, where there are any */
  write(options: NewLink): { data?: object; link?: string };
  /** From the path of a field of the data to that of the options. */
  fieldOf(path: Path): Path;
  /** What the kernel's refusals mean for this kind. */
  refusals(options: NewLink): Refusals;
}

/** A kind of link: checks options, writes and reads the kind's own data, and knows what refusals mean. */
export class LinkKind<Name extends string, Options extends NewLink, Data extends object> implements AnyLinkKind {
  readonly name: Name;
  readonly data: AttributeTable<Data> | undefined;
  readonly fields: readonly string[];
  readonly #spec: LinkKindSpec<Name, Options, Data>;
  readonly #settable: readonly string[];

  constructor(spec: LinkKindSpec<Name, Options, Data>) {
    this.name = spec.name;
    this.data = spec.data;
    this.#spec = spec;
    const readOnly: readonly string[] = spec.readOnly ?? [];
    this.#settable = (spec.data?.fields ?? []).map(({ key }) => key).filter(key => !readOnly.includes(key));
    const own = spec.fields ?? (spec.inside === undefined ? this.#settable : [spec.inside]);
    this.fields = spec.link === undefined ? own : ['link', ...own];
  }

  write(options: Options): { data?: Partial<Data>; link?: string } {
    const { link } = options as { link?: unknown };
    const name =
      this.#spec.link === 'required' || (this.#spec.link && link !== undefined) ? checkName(link, ['link']) : undefined;
    const data = this.#spec.write?.(options) ?? this.#settings(options);
    return { ...(data !== undefined && { data }), ...(name !== undefined && { link: name }) };
  }

  #settings(options: Options): Partial<Data> | undefined {
    const { inside, defaults, required = [], check } = this.#spec;
    if (this.data === undefined) return undefined;
    const given: unknown = inside === undefined ? options : options[inside];
    if (given === undefined) return undefined;
    const path = inside === undefined ? [] : [inside];
    if (inside !== undefined) checkObject(given, path, this.#settable);
    const entries = Object.entries(given as object).filter(
      ([key, value]) => value !== undefined && this.#settable.includes(key),
    );
    const data = { ...defaults, ...Object.fromEntries(entries) } as Partial<Data>;
    for (const key of required)
      if (data[key] === undefined) throw typeError([...path, key], 'a value', undefined, 'ERR_MISSING');
    check?.(data, options);
    try {
      // The table's own checks, made here already: the path must lead into the caller's object.
      this.data.partial().write(new Writer(256), data, NO_CONTEXT);
    } catch (error) {
      throw within(error, path);
    }
    return Object.keys(data).length > 0 || inside !== undefined ? data : undefined;
  }

  fieldOf(path: Path): Path {
    return this.#spec.inside === undefined ? path : [this.#spec.inside, ...path];
  }

  refusals(options: Options): Refusals {
    const { inside, link, refusals } = this.#spec;
    const fields: Record<string, unknown> = { mtu: options.mtu };
    if (inside !== undefined) fields[inside] = options[inside];
    if (link !== undefined) fields.link = (options as { link?: unknown }).link;
    const { hints = {}, blame = {} } = refusals?.(options) ?? {};
    return { hints, blame: { EINVAL: onlyOne(fields), ...blame } };
  }
}
