import fs from 'node:fs';
import { NetNsError, oneOf, rangeError, typeError, UnsupportedError } from '../errors.ts';
import type { NetNs } from './netns.ts';

/*
 * The sysctls of one subsystem in one namespace, typed: what ipvs.settings and ct.settings are made of.
 */

export interface SettingDefinition {
  readonly type: 'boolean' | 'number' | 'string';
  /** The first kernel that has it, for those newer than 3.0. */
  readonly since?: string;
  /** In a namespace that a user namespace owns: read-only, or not there. */
  readonly inUserNamespace?: 'read-only' | 'absent';
  /** The range that the kernel takes. */
  readonly min?: number;
  readonly max?: number;
  /** The pattern of a text, and its description in errors. */
  readonly pattern?: RegExp;
  readonly expected?: string;
}

type Definitions = Readonly<Record<string, SettingDefinition>>;

export type SettingValue<D extends SettingDefinition> = D['type'] extends 'boolean'
  ? boolean
  : D['type'] extends 'number'
    ? number
    : string;

/** One setting that this namespace has. */
export interface Setting<Name extends string = string> {
  /** The name of the sysctl, without its folder. */
  name: Name;
  /** Its value. */
  value: boolean | number | string;
  /** May it be set, by this process? */
  writable: boolean;
  /** The first kernel that has it, for those newer than 3.0. */
  since?: string;
  /** What it is in a namespace that a user namespace owns (an unprivileged container), whoever asks. */
  inUserNamespace: 'writable' | 'read-only' | 'absent';
}

/** The settings of one subsystem. */
export interface SettingsGroup<D extends Definitions> {
  readonly definitions: D;
  /** The sysctl of a name: 'net.ipv4.vs.conntrack'. */
  sysctlOf(name: string): string;
  /** Why a setting is not there, in a few words. */
  whyAbsent(name: string, netns: NetNs): string;
}

/** The settings of one subsystem in one namespace, read and written on the spot. */
export class Settings<D extends Definitions> {
  readonly #group: SettingsGroup<D>;
  readonly #open: () => NetNs;

  /** @internal `open` gives the namespace for one call. */
  constructor(group: SettingsGroup<D>, open: () => NetNs) {
    this.#group = group;
    this.#open = open;
  }

  /**
   * The value of a setting. @throws UnsupportedError it is not there.
   * @param name the kernel's name of the setting, without its path
   * @example
   * console.log(ipvs.settings.get('conntrack'));
   */
  get<N extends keyof D & string>(name: N): SettingValue<D[N]> {
    const { type } = this.#definition(name);
    return this.#inside(name, netns => readValue(type, netns.sysctl.get(this.#group.sysctlOf(name)))) as SettingValue<
      D[N]
    >;
  }

  /**
   * Writes a setting of this namespace.
   * @param name the kernel's name of the setting, without its path
   * @param value a boolean, a number or a list of numbers, as the setting has it
   * @throws UnsupportedError it is not there, NetNsError `EACCES` read-only here, `EINVAL` a value that the kernel does not take.
   * @example
   * ipvs.settings.set('conntrack', true);
   */
  set<N extends keyof D & string>(name: N, value: SettingValue<D[N]>): void {
    const text = textOf(name, this.#definition(name), value);
    this.#inside(name, netns => netns.sysctl.set(this.#group.sysctlOf(name), text));
  }

  /**
   * All settings that this namespace has now, by name.
   * @example
   * for (const { name, value } of ipvs.settings.list()) console.log(name, value);
   */
  list(): Setting<keyof D & string>[] {
    const netns = this.#open();
    try {
      return netns.run(() => Object.keys(this.#group.definitions).flatMap(name => this.#read(name) ?? []));
    } finally {
      netns.close();
    }
  }

  #definition(name: string): SettingDefinition {
    const { definitions } = this.#group;
    const found = Object.hasOwn(definitions, name) ? definitions[name] : undefined;
    if (found === undefined) throw rangeError(['name'], oneOf(Object.keys(definitions), name), name);
    return found;
  }

  /** Called inside the namespace. */
  #read(name: string): Setting | undefined {
    const { type, since, inUserNamespace = 'writable' } = this.#definition(name);
    const path = pathOf(this.#group.sysctlOf(name));
    let text: string;
    try {
      text = fs.readFileSync(path, 'utf8').trimEnd();
    } catch {
      return undefined;
    }
    const setting: Setting = { name, value: readValue(type, text), writable: isWritable(path), inUserNamespace };
    if (since !== undefined) setting.since = since;
    return setting;
  }

  #inside<T>(name: string, call: (netns: NetNs) => T): T {
    const netns = this.#open();
    try {
      return call(netns);
    } catch (error) {
      throw this.#explained(name, error, netns);
    } finally {
      netns.close();
    }
  }

  #explained(name: string, error: unknown, netns: NetNs): unknown {
    if (!(error instanceof NetNsError) || error.errno === undefined) return error;
    const { since, inUserNamespace, min, max } = this.#definition(name);
    const sysctl = this.#group.sysctlOf(name);
    if (error.code === 'ENOENT') return new UnsupportedError(sysctl, since, this.#group.whyAbsent(name, netns));
    const hint =
      error.code === 'EACCES' || error.code === 'EPERM'
        ? inUserNamespace === 'read-only'
          ? 'read-only in a namespace that a user namespace owns: only a namespace of the initial user namespace can change it'
          : "read-only here: /proc/sys may be mounted read-only, or the caller is not the namespace's root"
        : error.code === 'EINVAL' && min !== undefined
          ? `the kernel takes ${min} to ${max}`
          : undefined;
    if (hint === undefined) return error;
    const { errno, syscall } = error;
    return new NetNsError(`sysctl ${sysctl}`, { errno, ...(syscall !== undefined && { syscall }), hint });
  }
}

/** Adds a property for each setting, so that `settings.acct = true` reads as what it does. */
export function defineSettings<D extends Definitions>(type: { prototype: Settings<D> }, definitions: D): void {
  for (const name of Object.keys(definitions)) {
    Object.defineProperty(type.prototype, name, {
      get(this: Settings<D>) {
        return this.get(name);
      },
      set(this: Settings<D>, value: never) {
        this.set(name, value);
      },
      enumerable: true,
      configurable: true,
    });
  }
}

const pathOf = (sysctl: string): string => `/proc/sys/${sysctl.replaceAll('.', '/')}`;

function readValue(type: SettingDefinition['type'], text: string): boolean | number | string {
  if (type === 'boolean') return text.trim() !== '0';
  // Two numbers are apart by a tab.
  return type === 'number' ? Number(text) : text.replaceAll(/\s+/g, ' ').trim();
}

function textOf(name: string, definition: SettingDefinition, value: unknown): string {
  const { type, min = 0, max = 0x7fffffff, pattern, expected } = definition;
  if (typeof value !== type) throw typeError([name], `a ${type}`, value);
  if (typeof value === 'boolean') return value ? '1' : '0';
  if (typeof value === 'number') {
    if (!Number.isInteger(value) || value < min || value > max)
      throw rangeError([name], `an integer ${min} to ${max}`, value);
    return String(value);
  }
  const text = String(value);
  if (pattern !== undefined && !pattern.test(text)) throw rangeError([name], expected ?? String(pattern), value);
  return text;
}

function isWritable(path: string): boolean {
  try {
    fs.accessSync(path, fs.constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
