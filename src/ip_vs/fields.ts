import { type Attribute, checkInteger, checkObject, checkOneOf, type Need } from '../codec/index.ts';
import type { Path } from '../errors.ts';

/*
 * A row of an attribute table says what the kernel has. Its facets say everything else about the field: where a caller's object has it, how it is
 * checked, and what the socket options and ipvsadm's text call it. Encoding, decoding, comparing, editing, both backends and the text formats
 * are derived from the facets, so that a field is added in one row.
 */

/** How a caller's value becomes the attribute's value, and back. */
export interface ValueType<W> {
  /** @throws TypeError, RangeError with the path */
  encode(value: unknown, path: Path, family: number): W;
  /** Undefined where the value is the default, which a caller does not see. */
  decode(value: W, family: number): unknown;
  /** Refuses what the kernel takes although it does not work. What the kernel holds already may stay. */
  checkNew?(value: unknown, path: Path): void;
  /** The range of a number: of any, and of a new one. */
  readonly range?: NumberRange;
  readonly newRange?: NumberRange;
}
export type NumberRange = readonly [min: number, max: number];

/** A number that callers see as it is. */
export function integer(range: NumberRange, newRange?: NumberRange): ValueType<number> {
  return {
    range,
    ...(newRange !== undefined && {
      newRange,
      checkNew: (value, path) => {
        checkInteger(value, path, ...newRange);
      },
    }),
    encode: (value, path) => checkInteger(value, path, ...range),
    decode: value => value,
  };
}

/** A number that has names. A number without a name stays a number. */
export function named(names: Readonly<Record<string, number>>, max: number): ValueType<number> {
  const byName = new Map<unknown, number>(Object.entries(names));
  const byNumber = new Map(Object.entries(names).map(([name, number]) => [number, name]));
  const known = Object.keys(names);
  return {
    encode: (value, path) => {
      const number = byName.get(value);
      if (number !== undefined) return number;
      if (typeof value !== 'number') checkOneOf(value, path, known);
      return checkInteger(value, path, 0, max);
    },
    decode: value => byNumber.get(value) ?? value,
  };
}

/** An option of ipvsadm's text, with the letter that ipvsadm has for it. */
export interface TextOption {
  readonly option: string;
  readonly letter?: string;
  readonly argument: 'none' | 'required' | 'optional';
  /** ipvsadm has rules of its own for this option: ipvsadm/format.ts writes it and ipvsadm/read-rules.ts reads it. All others hold a number. */
  readonly apart?: true;
}

/** How the socket options have a field: the member of their structures, or what an error says of a field that they do not have. */
export type SockoptMember = string | { readonly missing: string };

/** What every setting says of itself. */
interface AnySetting {
  readonly role: 'setting';
  /** The attribute's value if the caller leaves the field out. Undefined leaves the attribute out, too. */
  readonly byDefault?: ((family: number) => unknown) | undefined;
  /** As above, if the caller leaves out the whole group. */
  readonly withoutGroup?: ((family: number) => unknown) | undefined;
  /** The value that a message without the attribute means; 0 unless it is said. */
  readonly absent?: unknown;
  /** The caller has to give it. */
  readonly required?: boolean;
  /** Callers see it even if it is 0. */
  readonly always?: boolean;
  /** The bits of the number that are the setting; the kernel keeps others beside them. */
  readonly bits?: number | undefined;
  readonly sockopt: SockoptMember;
  readonly ipvsadm: readonly TextOption[];
  /** What `formatPlan` writes before the value; '' for the value alone. */
  readonly label: string;
}

/** A setting that is one field of the caller's object, or of an object in it: ['weight'], ['tunnel', 'port']. */
interface Setting extends AnySetting {
  readonly path: readonly [string] | readonly [group: string, name: string];
  // biome-ignore lint/suspicious/noExplicitAny: rows hold values of every type
  readonly type: ValueType<any>;
}

/** An attribute that holds several fields of the caller's object: the module of the object encodes and decodes it. */
interface Composite {
  readonly role: 'composite';
  readonly names: readonly string[];
  /** The part of the value that a caller can set, as a number that can be compared. */
  // biome-ignore lint/suspicious/noExplicitAny: as above
  readonly compared: (value: any) => number;
  readonly sockopt: string;
  readonly ipvsadm: readonly TextOption[];
}

/** A part of what identifies the object. */
interface Key {
  readonly role: 'key';
  /** Of the fields that callers have; the family is told by the address. */
  readonly name?: string;
}

/** A number that only the kernel changes. Callers see it under the name of its row. */
interface Reading {
  readonly role: 'reading';
  readonly sockopt: string;
}

/** The nest of an object's counters (ip_vs/stats.ts). */
interface Counters {
  readonly role: 'counters';
}

export type Facets = Setting | Composite | Key | Reading | Counters;

/** A row of an attribute table with its facets. */
export type FieldRow<T = unknown, N extends Need = Need> = Attribute<T, N> & { readonly facets: Facets };
// biome-ignore lint/suspicious/noExplicitAny: as above
export type FieldRows = Readonly<Record<string, FieldRow<any>>>;

export function field<T, N extends Need, const F extends Facets>(row: Attribute<T, N>, facets: F) {
  return { ...row, facets };
}

type Values = Record<string, unknown>;
const valuesOf = (object: object): Values => object as Values;

/** A setting of a table, ready for use. */
export interface SettingField extends Setting {
  readonly encode: ValueType<unknown>['encode'];
  /** Of the row, and so of the attribute's value in a decoded message. */
  readonly key: string;
  readonly group: string | undefined;
  /** The last part of the path. */
  readonly name: string;
}

/** All have the same hidden class, so that the loops over them are fast. */
function settingField(facets: Setting, key: string, group: string | undefined, name: string): SettingField {
  const { path, type, byDefault, withoutGroup, absent = 0, required = false, always = false, bits } = facets;
  const { role, sockopt, ipvsadm, label } = facets;
  const { encode } = type;
  return {
    key,
    group,
    name,
    path,
    type,
    encode,
    byDefault,
    withoutGroup,
    absent,
    required,
    always,
    bits,
    role,
    sockopt,
    ipvsadm,
    label,
  };
}

/** Does an object have the fields of a group, such as `tunnel`? */
export type Groups<W> = Readonly<Record<string, (wire: W) => boolean>>;

/** A group with its members. */
interface Group<W> {
  readonly name: string;
  readonly names: readonly string[];
  readonly members: readonly SettingField[];
  /** Those that have a value if a caller leaves out the group. */
  readonly byDefault: readonly SettingField[];
  readonly has: (wire: W) => boolean;
}

/** The fields of a service or of a destination: everything that follows from the facets of their rows. */
export class FieldTable<W extends object> {
  readonly settings: readonly SettingField[];
  readonly composites: readonly (Composite & { key: string })[];
  readonly readings: readonly (Reading & { key: string })[];
  /** The fields of a caller's object. */
  readonly names: readonly string[];
  /** Those that a caller can change. */
  readonly changeable: readonly string[];
  /** The options of ipvsadm's text. */
  readonly options: readonly TextOption[];
  /** The settings that the text has as plain numbers. */
  readonly numbers: readonly { setting: SettingField; option: string }[];
  readonly #has: Groups<W>;
  readonly #own: readonly SettingField[];
  /** Those of which `checkNew` refuses values. */
  readonly #checked: readonly SettingField[];
  readonly #known: ReadonlySet<string>;
  readonly #groups: readonly Group<W>[];
  readonly #kernels: ReadonlySet<string>;

  /**
   * @param rows of the attribute table
   * @param has whether an object has the fields of a group
   * @param more fields of a caller's object that are no rows
   */
  constructor(rows: FieldRows, has: Groups<W>, more: readonly string[] = []) {
    const settings: SettingField[] = [];
    const composites: (Composite & { key: string })[] = [];
    const readings: (Reading & { key: string })[] = [];
    const keys: string[] = [];
    const kernels = new Set<string>(['counters']);
    for (const [key, { facets }] of Object.entries(rows)) {
      switch (facets?.role) {
        case 'setting': {
          const { path } = facets;
          const [group, name] = path.length === 2 ? path : [undefined, path[0]];
          if (group !== undefined && has[group] === undefined) throw new TypeError(`${key}: no such group: ${group}`);
          settings.push(settingField(facets, key, group, name));
          break;
        }
        case 'composite':
          composites.push({ ...facets, key });
          break;
        case 'reading':
          readings.push({ ...facets, key });
          kernels.add(key);
          break;
        case 'counters':
          kernels.add(key);
          break;
        case 'key':
          if (facets.name !== undefined) keys.push(facets.name);
          break;
        default:
          throw new TypeError(`the row ${key} has no facets: say with field() what the attribute is to a caller`);
      }
    }
    this.settings = settings;
    this.composites = composites;
    this.readings = readings;
    this.#has = has;
    this.#checked = settings.filter(({ type }) => type.checkNew !== undefined);
    this.#own = settings.filter(({ group }) => group === undefined);
    this.#groups = Object.entries(has).map(([name, hasIt]) => {
      const members = settings.filter(({ group }) => group === name);
      const byDefault = members.filter(({ withoutGroup }) => withoutGroup !== undefined);
      return { name, names: members.map(each => each.name), members, byDefault, has: hasIt };
    });
    this.#kernels = kernels;
    const made = composites.flatMap(({ names }) => names);
    this.changeable = [...new Set([...settings.map(({ path }) => path[0]), ...made])];
    this.names = [...keys, ...this.changeable, ...readings.map(({ key }) => key), 'stats', ...more];
    this.#known = new Set(this.names);
    this.numbers = settings.flatMap(setting =>
      setting.ipvsadm.filter(({ apart }) => !apart).map(({ option }) => ({ setting, option })),
    );
    this.options = [...settings, ...composites].flatMap(({ ipvsadm }) => ipvsadm);
  }

  /** As `checkObject` with the names of the fields; faster, for a batch has thousands of objects. */
  checkNames(object: object): void {
    if (typeof object === 'object' && object !== null && !Array.isArray(object) && this.hasOnlyFields(object)) return;
    checkObject(object, [], this.names);
  }

  hasOnlyFields(object: object): boolean {
    for (const name in object) {
      if (!this.#known.has(name) && valuesOf(object)[name] !== undefined) return false;
    }
    return true;
  }

  /**
   * Adds to the key of an object what all its settings are if a caller gives none. `encode` changes a copy of this: filling an object field by
   * field makes V8 look up a hidden class for each.
   */
  withDefaults(key: W, family: number): W {
    const values = valuesOf(key);
    for (const { key: row, required, byDefault } of this.#own) {
      if (required) values[row] = undefined;
      else if (byDefault !== undefined) values[row] = byDefault(family);
    }
    for (const { byDefault } of this.#groups)
      for (const { key: row, withoutGroup } of byDefault) values[row] = withoutGroup?.(family);
    return key;
  }

  /**
   * Writes the settings of a caller's object into the attributes' values, which have the defaults.
   * @throws TypeError, RangeError what no kernel can hold, with the path
   */
  encode(object: object, wire: W, family: number): void {
    const given = valuesOf(object);
    const values = valuesOf(wire);
    for (const { key, name, encode, path, required } of this.#own) {
      const value = given[name];
      if (value !== undefined || required) values[key] = encode(value, path, family);
    }
    for (const { name, names, members } of this.#groups) {
      const inner = given[name];
      if (inner === undefined) continue;
      checkObject(inner, [name], names);
      encodeAll(members, valuesOf(Object(inner)), values, family);
    }
  }

  /**
   * Refuses what the kernel takes although it does not work, unless `kept`, which is how the kernel has the object, has it already.
   * @throws TypeError, RangeError with the path
   */
  checkNew(object: object, wire: W, kept: W | undefined): void {
    const values = valuesOf(wire);
    for (const setting of this.#checked) {
      const { key, group, path, type } = setting;
      const value = this.valueOf(object, setting);
      if (value === undefined || !this.#hasGroup(group, wire)) continue;
      const held = kept !== undefined && this.#hasGroup(group, kept);
      if (!held || valuesOf(kept)[key] !== values[key]) type.checkNew?.(value, path);
    }
  }

  #hasGroup(group: string | undefined, wire: W): boolean {
    return group === undefined || this.#has[group]?.(wire) === true;
  }

  /** Adds the settings to `entry`, as a caller sees them. `told` leaves out groups that an old kernel does not tell. */
  decode(entry: object, wire: W, family: number, told?: Groups<W>): void {
    const into = valuesOf(entry);
    const values = valuesOf(wire);
    for (const { key, name, bits, always, absent = 0, type } of this.#own) {
      let value = values[key] ?? absent;
      if (bits !== undefined) value = Number(value) & bits;
      if (value !== 0 || always) into[name] = type.decode(value, family);
    }
    for (const { name, members, has } of this.#groups) {
      if (!has(wire) || told?.[name]?.(wire) === false) continue;
      const inner: Values = {};
      into[name] = inner;
      for (const { key, name: field, always, type } of members) {
        const value = values[key] ?? (always ? 0 : undefined);
        if (value === undefined || (value === 0 && !always)) continue;
        const decoded = type.decode(value, family);
        if (decoded !== undefined) inner[field] = decoded;
      }
    }
  }

  /** Adds to `entry` what only the kernel changes. */
  decodeReadings(entry: object, wire: W): void {
    const into = valuesOf(entry);
    const values = valuesOf(wire);
    for (const { key } of this.readings) into[key] = values[key] ?? 0;
  }

  /** All settings as one text, which is the same for two objects that have the same settings. */
  settingsText(wire: W): string {
    const values = valuesOf(wire);
    let text = '';
    for (const { key, bits, absent = 0 } of this.#own) {
      const value = values[key] ?? absent;
      text += `${bits === undefined ? value : Number(value) & bits}/`;
    }
    for (const { key, compared } of this.composites)
      text += `${values[key] === undefined ? 0 : compared(values[key])}/`;
    for (const { members, has } of this.#groups) {
      if (has(wire)) for (const { key, absent = 0 } of members) text += `${values[key] ?? absent}/`;
    }
    return text;
  }

  /** Are all settings the same, seen without making a text? False also where only the text tells. */
  isPlainlySame(a: W, b: W): boolean {
    const left = valuesOf(a);
    const right = valuesOf(b);
    for (const { key } of this.#own) if (left[key] !== right[key]) return false;
    for (const { has } of this.#groups) if (has(a)) return false;
    return this.composites.length === 0;
  }

  /** What a request may carry of an object that was read: neither counters nor other numbers of the kernel. */
  settable(wire: W): W {
    const kept = Object.entries(wire).filter(([key]) => !this.#kernels.has(key));
    return Object.fromEntries(kept) as W;
  }

  /** `current` with the fields of a patch. Of a group some fields may be given, and the others stay. */
  merge<T extends object>(current: T, patch: object): T {
    const merged = { ...current, ...patch };
    const before = valuesOf(current);
    for (const { name } of this.#groups) {
      const given = valuesOf(patch)[name];
      if (typeof given === 'object' && given !== null) valuesOf(merged)[name] = { ...Object(before[name]), ...given };
    }
    return merged;
  }

  /** The patch that makes all settings those of `object`: what it leaves out goes back to its default. */
  replacing(object: object): object {
    const given = valuesOf(object);
    const patch: Values = {};
    for (const { name, byDefault } of this.#own) patch[name] = given[name] ?? byDefault?.(0);
    for (const { name, names } of this.#groups) {
      const inner = given[name];
      patch[name] = inner && { ...Object.fromEntries(names.map(each => [each, undefined])), ...Object(inner) };
    }
    return patch;
  }

  /** The value of a setting in a caller's object. */
  valueOf(object: object, { group, name }: SettingField): unknown {
    const holder = group === undefined ? object : valuesOf(object)[group];
    return typeof holder === 'object' && holder !== null ? valuesOf(holder)[name] : undefined;
  }
}

function encodeAll(settings: readonly SettingField[], given: Values, values: Values, family: number): void {
  for (const { key, name, type, path, required, byDefault } of settings) {
    const value = given[name];
    if (value !== undefined || required) values[key] = type.encode(value, path, family);
    else if (byDefault !== undefined) values[key] = byDefault(family);
  }
}
