import type { Info } from '../../nf_tables/xt/layout.ts';
import type { ExtensionRow, Surroundings } from '../extension.ts';

/** How a list is printed. */
export interface ListPlace extends Surroundings {
  /** -n: numbers in the place of names. */
  readonly numeric: boolean;
  /** Of a translation: makes a set, and returns its name. */
  readonly newSet?: (prefix: string, type: 'ipv4_addr' | 'ipv6_addr') => string;
}

/** The options of an extension, as they are saved. */
export class Shown {
  readonly info: Info;
  readonly at: ListPlace;
  /** What is saved behind the options. */
  readonly tail: string;
  readonly #options: ReadonlyMap<string, { text: string; inverted: boolean }>;

  constructor(row: ExtensionRow, info: Info, at: ListPlace) {
    this.info = info;
    this.at = at;
    this.tail = row.tail?.(info, at) ?? '';
    const options = new Map<string, { text: string; inverted: boolean }>();
    for (const option of row.options) {
      if (option.hidden || row.shows?.(option, info) === false) continue;
      const text = option.value.print(info, at);
      if (text !== undefined) options.set(option.name, { text, inverted: option.invert?.has(info) === true });
    }
    this.#options = options;
  }

  get names(): string[] {
    return [...this.#options.keys()];
  }

  has(name: string): boolean {
    return this.#options.has(name);
  }

  text(name: string): string {
    return this.#options.get(name)?.text ?? '';
  }

  inverted(name: string): boolean {
    return this.#options.get(name)?.inverted === true;
  }

  /** `sign` where the option is inverted. */
  not(name: string, sign: string): string {
    return this.inverted(name) ? sign : '';
  }

  /** Something for each option that is there, with a blank in front of each. */
  each(names: readonly string[], print: (name: string) => string): string {
    return names
      .filter(name => this.has(name))
      .map(name => ` ${print(name)}`)
      .join('');
  }

  number(key: string): number {
    return (this.info[key] as number | undefined) ?? 0;
  }

  listed(key: string): readonly string[] {
    return (this.info[key] as readonly string[] | undefined) ?? [];
  }

  /** The options as they are saved, without `--`. */
  get plain(): string {
    return this.names
      .map(name => `${this.not(name, '! ')}${name}${this.text(name) === '' ? '' : ` ${this.text(name)}`}`)
      .join(' ');
  }
}

/** The text of an extension in a list; it begins with a blank if it is not empty. */
export type Listing = (shown: Shown) => string;
