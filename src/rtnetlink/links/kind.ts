import {
  type AttributeTable,
  checkInteger,
  checkObject,
  type Field,
  fromHex,
  NO_CONTEXT,
  toHex,
  Writer,
} from '../../codec/index.ts';
import { lazy } from '../../codec/lazy.ts';
import { elsewhere, noField, type Path, rangeError, typeError, within } from '../../errors.ts';
import { checkDevice, DEVICE_INDEX, PRESENCE } from '../device.ts';
import type { Refusals } from '../request.ts';
import { type NewLink, onlyOne, wasRead } from './settings.ts';

/**
 * The settings of a kind. They stand in the field with the kind's name, as in a link that was read (`vlan: { id: 5 }`), or as their own
 * fields (`id: 5`).
 */
export type SettingsOf<Name extends string, Settings> =
  | ({ [K in Name]: Settings } & { [K in keyof Settings]?: undefined })
  | (Settings & { [K in Name]?: undefined });

/** Makes some fields of a type required. */
export type Need<T, K extends keyof T> = Omit<T, K> & { [P in K]-?: NonNullable<T[P]> };

/** The description of a kind of link. `Options` is the type that a caller gives, `Data` is the type of IFLA_INFO_DATA. */
export interface LinkKindSpec<Name extends string, Options extends NewLink, Data extends object> {
  /** The kernel's name of the kind (IFLA_INFO_KIND), such as 'macvlan'. The field of `Link` with the data has the same name. */
  name: Name;
  /** The table of IFLA_INFO_DATA. A kind without a table has no data of its own. */
  data?: AttributeTable<Data>;
  /** Rows that the kernel reports but a caller cannot set. Every other row is a setting. */
  readOnly?: readonly (keyof Data & string)[];
  /** Accept the settings only inside the object with the kind's name. */
  nestedOnly?: true;
  /** Rows that a caller must give. */
  required?: readonly (keyof Data & string)[];
  /** The library's own default values, where they differ from the kernel's. */
  defaults?: Partial<Data>;
  /** The least and the greatest value of a number, if the kernel accepts a smaller range than the row can hold. */
  limits?: { readonly [K in keyof Data]?: readonly [min: number, max: number] };
  /** Whether the options name the device below in `link`. A kind without this needs no other device. */
  link?: 'required' | 'optional';
  /** The row with the index of the device below, for kinds that do not read it from IFLA_LINK. */
  linkRow?: keyof Data & string;
  /** Rows that cannot change after the device was created: the kernel refuses other values, or ignores them. */
  fixed?: readonly (keyof Data & string)[];
  /** A change replaces all settings, so the library reads the settings that it does not change and sends them again. */
  replacesAll?: true;
  /** Values that a new device already has. The kernel refuses these settings where they do not apply, so these values are not sent. */
  initial?: Partial<Data>;
  /** Rows that the kernel rounds, such as times in its own ticks. */
  rounded?: readonly (keyof Data & string)[];
  /** Compares the given value with the value read back, for rows that the kernel may report differently. */
  reads?: { readonly [K in keyof Data]?: (given: NonNullable<Data[K]>, read: Data[K]) => boolean };
  /** Rows that hold the IPv6 form of another row. The caller has one field for both. */
  ipv6Rows?: Readonly<Record<string, keyof Data & string>>;
  /** Adds the rows that a setting requires. */
  complete?(data: Partial<Data>): Partial<Data>;
  /** The kernel version that introduced a row, for rows that older kernels accept and ignore. */
  since?: { readonly [K in keyof Data]?: string };
  /** Checks that a row cannot make by itself. */
  check?(data: Partial<Data>, options: Options): void;
  /** Creates the data from options whose form differs from the rows. */
  write?(options: Options): Data;
  /** The fields of the options that `write` reads. */
  fields?: readonly (keyof Options & string)[];
  /** The kernel creates such devices through another interface than RTM_NEWLINK. */
  madeBy?: 'ioctl';
  /** Explains the kernel's refusals for this kind. These explanations take precedence over those for every new device. */
  refusals?(options: Options): Partial<Refusals>;
}

type Limits = Readonly<Record<string, readonly [min: number, max: number] | undefined>>;

/** The data of a link of any kind, row by row. */
export type AnyData = Record<string, unknown>;

/** A kind of link, without the types of its options and its data. */
export interface AnyLinkKind {
  readonly name: string;
  readonly data: AttributeTable<object> | undefined;
  /** The fields of the options that this kind adds to those of every new device. */
  readonly fields: readonly string[];
  /** Rows that contain the index of a device. */
  readonly deviceRows: readonly string[];
  /** The row with the index of the device below, if that is not in IFLA_LINK. */
  readonly linkRow: string | undefined;
  readonly replacesAll: boolean;
  readonly madeBy: 'ioctl' | undefined;
  /** Whether the kernel reports the settings of this kind. */
  readonly isRead: boolean;
  /** Checks the fields of this kind. @returns the data, and the name of the device below, if there are any */
  write(options: NewLink): { data?: object; link?: string };
  /**
   * Checks settings for a device that exists.
   * @param current its present data. @param path the position of the settings in the caller's object
   * @returns the settings to send; undefined if none of them changes
   */
  change(given: object, current: object, path: Path): object | undefined;
  /** Converts settings to the kernel's form, and back. */
  toWire(settings: object): object;
  fromWire(data: object): object;
  /** Finds the first setting that the kernel ignored. @returns its field, and the kernel version that has it */
  ignored(given: object, read: object): { field: string; since: string | undefined } | undefined;
  /** Maps the path of a field of the data to the path in the options. */
  fieldOf(path: Path, options?: object): Path;
  /** Explains the kernel's refusals for this kind. */
  refusals(options: NewLink): Refusals;
}

/** The keys of a kind's rows, by what they are. */
interface Rows {
  readonly all: readonly string[];
  readonly settable: readonly string[];
  readonly presence: readonly string[];
  readonly device: readonly string[];
  /** The fields of the options. */
  readonly fields: readonly string[];
}

// biome-ignore lint/suspicious/noExplicitAny: of any kind
function rowsOf({ name, data, link, linkRow, ipv6Rows, nestedOnly, ...spec }: LinkKindSpec<any, any, any>): Rows {
  const readOnly: readonly string[] = spec.readOnly ?? [];
  const rows: readonly Field[] = data?.fields ?? [];
  const all = rows.map(({ key }) => key);
  const hidden = [linkRow, ...Object.keys(ipv6Rows ?? {})];
  const settable = all.filter(key => !readOnly.includes(key) && !hidden.includes(key));
  const presence = rows.filter(({ type }) => type === PRESENCE).map(({ key }) => key);
  const device = rows.filter(({ key, type }) => type === DEVICE_INDEX && key !== linkRow).map(({ key }) => key);
  const own = spec.fields ?? [...(nestedOnly ? [] : settable), ...(data ? [name] : [])];
  return { all, settable, presence, device, fields: link === undefined ? own : ['link', ...own] };
}

/** A kind of link. It checks options, writes and reads the kind's own data, and explains the kernel's refusals. */
export class LinkKind<Name extends string, Options extends NewLink, Data extends object> implements AnyLinkKind {
  readonly name: Name;
  readonly data: AttributeTable<Data> | undefined;
  readonly linkRow: string | undefined;
  readonly replacesAll: boolean;
  readonly madeBy: 'ioctl' | undefined;
  readonly isRead: boolean;
  readonly #spec: LinkKindSpec<Name, Options, Data>;
  readonly #rows = lazy(() => rowsOf(this.#spec));

  constructor(spec: LinkKindSpec<Name, Options, Data>) {
    this.name = spec.name;
    this.data = spec.data;
    this.linkRow = spec.linkRow;
    this.replacesAll = spec.replacesAll ?? false;
    this.madeBy = spec.madeBy;
    this.isRead = spec.write === undefined;
    this.#spec = spec;
  }

  get fields(): readonly string[] {
    return this.#rows().fields;
  }

  get deviceRows(): readonly string[] {
    return this.#rows().device;
  }

  write(options: Options): { data?: Partial<Data>; link?: string } {
    const { link } = options as { link?: unknown };
    const name =
      this.#spec.link === 'required' || (this.#spec.link && link !== undefined)
        ? checkDevice(link, ['link'])
        : undefined;
    const data = this.#spec.write?.(options) ?? this.#new(options);
    return { ...(data !== undefined && { data }), ...(name !== undefined && { link: name }) };
  }

  /** The object that contains the settings: the kind's own object, or the options themselves. */
  #given(options: object): unknown {
    const own = (options as AnyData)[this.name];
    return own === undefined && this.#spec.nestedOnly === undefined && !wasRead(options) ? options : own;
  }

  #new(options: Options): Partial<Data> | undefined {
    const { defaults, initial, required = [], check } = this.#spec;
    if (this.data === undefined) return undefined;
    const given = this.#given(options);
    if (given === undefined && required.length === 0) return undefined;
    const path = given === options ? [] : [this.name];
    const own = given === undefined ? {} : this.#settings(given, path, given !== options);
    const settings: Partial<Data> = { ...defaults, ...own };
    for (const key of required)
      if (settings[key] === undefined) throw typeError([...path, key], 'a value', undefined, 'ERR_MISSING');
    try {
      check?.(settings, options);
    } catch (error) {
      throw within(error, path);
    }
    this.#encode(settings, path);
    for (const [key, value] of Object.entries((initial ?? {}) as AnyData))
      if (this.#isSame(key, (settings as AnyData)[key], value)) delete (settings as AnyData)[key];
    return Object.keys(settings).length > 0 || given !== options ? settings : undefined;
  }

  /** Checks settings, and leaves out those that only the kernel sets. */
  #settings(given: unknown, path: Path, nested: boolean): Partial<Data> {
    if (nested) {
      checkObject(given, path, [...this.#rows().all, 'unknown']);
      const told = this.#rows().all.find(
        key => !this.#rows().settable.includes(key) && (given as AnyData)[key] !== undefined,
      );
      const isRead = this.#rows().all.some(
        key => this.#rows().settable.includes(key) && (given as AnyData)[key] !== undefined,
      );
      if (told !== undefined && !isRead) this.#refuse(path, told, (given as AnyData)[told]);
    }
    const entries = Object.entries(given as object).filter(
      ([key, value]) =>
        value !== undefined &&
        this.#rows().settable.includes(key) &&
        !(value === false && this.#rows().presence.includes(key)),
    );
    for (const [key, value] of entries) {
      const limits = (this.#spec.limits as Limits | undefined)?.[key];
      if (limits !== undefined) checkInteger(value, [...path, key], ...limits);
    }
    return Object.fromEntries(entries) as Partial<Data>;
  }

  /** Runs the table's own checks before anything is sent, so that their paths lead into the caller's object. */
  #encode(settings: Partial<Data>, path: Path): void {
    const written: AnyData = { ...settings };
    for (const key of this.deviceRows) {
      if (written[key] === undefined) continue;
      checkDevice(written[key], [...path, key]);
      written[key] = 0;
    }
    try {
      this.#bytesOf(written);
    } catch (error) {
      throw elsewhere(error, at => [...path, ...this.#renamed(at)]);
    }
  }

  #refuse(path: Path, key: string, value: unknown): never {
    throw typeError([...path, key], noField(key, this.#rows().settable), value, 'ERR_UNKNOWN_FIELD');
  }

  change(given: object, current: object, path: Path): Partial<Data> | undefined {
    const { fixed = [], replacesAll } = this.#spec;
    const settings: AnyData = this.#settings(given, path, true);
    this.#encode(settings as Partial<Data>, path);
    const now = current as AnyData;
    // The value false removes a setting that is on if its attribute is present.
    const removed = this.#rows().presence.filter(key => (given as AnyData)[key] === false && now[key] === true);
    const different = Object.keys(settings).filter(key => !this.#isSame(key, settings[key], now[key]));
    for (const key of [...different, ...removed]) {
      if (!(fixed as readonly string[]).includes(key)) continue;
      throw rangeError(
        [...path, key],
        `${JSON.stringify(now[key]) ?? 'none'}, as it is: it cannot be changed. Make another device`,
        settings[key] ?? false,
        'ERR_CONFLICT',
      );
    }
    if (different.length + removed.length === 0) return undefined;
    const keys = replacesAll ? this.#rows().settable.filter(key => !removed.includes(key)) : different;
    const data = replacesAll ? { ...now, ...settings } : settings;
    return Object.fromEntries(
      keys.filter(key => data[key] !== undefined).map(key => [key, data[key]]),
    ) as Partial<Data>;
  }

  toWire(settings: object): object {
    const data: AnyData = { ...(this.#spec.complete?.(settings as Partial<Data>) ?? settings) };
    for (const [six, key] of Object.entries(this.#spec.ipv6Rows ?? {})) {
      if (typeof data[key] !== 'string' || !data[key].includes(':')) continue;
      data[six] = data[key];
      delete data[key];
    }
    return data;
  }

  fromWire(data: object): object {
    const settings: AnyData = { ...data };
    for (const [six, key] of Object.entries(this.#spec.ipv6Rows ?? {})) {
      if (settings[six] === undefined) continue;
      settings[key] = settings[six];
      delete settings[six];
    }
    if (this.linkRow !== undefined) delete settings[this.linkRow];
    return settings;
  }

  ignored(given: object, read: object): { field: string; since: string | undefined } | undefined {
    const { reads = {}, rounded = [], since = {} } = this.#spec;
    const ignored = Object.keys(given).find(key => {
      if (!this.#rows().settable.includes(key) || (given as AnyData)[key] === undefined) return false;
      if (this.deviceRows.includes(key)) return false;
      const [wanted, got] = [(given as AnyData)[key], (read as AnyData)[key]];
      const isRight = (reads as Record<string, ((wanted: unknown, got: unknown) => boolean) | undefined>)[key];
      if (isRight !== undefined) return !isRight(wanted, got);
      if (wanted === false && this.#rows().presence.includes(key)) return got === true;
      if ((rounded as readonly string[]).includes(key) && isNear(wanted, got)) return false;
      return !this.#isSame(key, wanted, got);
    });
    return ignored === undefined
      ? undefined
      : { field: `${this.name}.${ignored}`, since: (since as Record<string, string | undefined>)[ignored] };
  }

  #isSame(key: string, one: unknown, other: unknown): boolean {
    if (one === undefined || other === undefined) return one === other;
    if (this.deviceRows.includes(key)) return one === other;
    return this.#bytesOf({ [key]: one }) === this.#bytesOf({ [key]: other });
  }

  #bytesOf(settings: object): string {
    const writer = new Writer(256);
    this.data?.partial().write(writer, this.toWire(settings) as Partial<Data>, NO_CONTEXT);
    return toHex(writer.bytes, 0, writer.length);
  }

  #renamed(path: Path): Path {
    const known = this.#spec.ipv6Rows?.[String(path[0])];
    return known === undefined ? path : [known, ...path.slice(1)];
  }

  fieldOf(path: Path, options: object = {}): Path {
    const isFlat = this.#spec.write !== undefined || this.#given(options) === options;
    if (path[0] !== undefined && path[0] === this.linkRow) return ['link'];
    return isFlat ? this.#renamed(path) : [this.name, ...this.#renamed(path)];
  }

  refusals(options: Options): Refusals {
    const { link, refusals } = this.#spec;
    const fields: Record<string, unknown> = { mtu: options.mtu };
    const given = this.#given(options);
    const prefix = given === options ? '' : `${this.name}.`;
    if (typeof given === 'object' && given !== null)
      for (const key of this.#rows().settable) fields[`${prefix}${key}`] = (given as AnyData)[key];
    if (link !== undefined) fields.link = (options as { link?: unknown }).link;
    const { hints = {}, blame = {} } = refusals?.(options) ?? {};
    const one = onlyOne(fields);
    const named = Object.keys(fields).filter(key => fields[key] !== undefined);
    // Few drivers say which setting they refuse.
    const limits = `a value is outside the limits of the driver${named.length > 1 ? `: one of ${named.join(', ')}` : ''}`;
    return { hints: { EINVAL: limits, ERANGE: limits, ...hints }, blame: { EINVAL: one, ERANGE: one, ...blame } };
  }
}

/** A kind that is not decoded. Its data is written and read as it is. */
export const rawKind = (name: string): AnyLinkKind =>
  new LinkKind<string, NewLink & { kindData?: string }, { kindData?: string }>({
    name,
    link: 'optional',
    fields: ['kindData'],
    write: ({ kindData }) => (kindData === undefined ? {} : { kindData: checkRaw(kindData) }),
  });

/** Checks the data of a kind that is not decoded. */
export function checkRaw(kindData: unknown): string {
  if (typeof kindData !== 'string' || fromHex(kindData) === undefined)
    throw typeError(['kindData'], 'hex text', kindData);
  return kindData;
}

function isNear(one: unknown, other: unknown): boolean {
  const [a, b] = [Number(one), Number(other)];
  return Math.abs(a - b) <= 1;
}
