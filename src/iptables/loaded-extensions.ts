import type { Info } from '../nf_tables/xt/layout.ts';
import { IptablesError } from './error.ts';
import type { ExtensionRow, OptionRow, Surroundings } from './extension.ts';
import type { IptablesExtension } from './model.ts';

/* Matches and targets while a command is read. */

/** An extension while its options are read. */
export interface Instance {
  readonly row: ExtensionRow;
  readonly info: Info;
  readonly given: Set<string>;
}

/** An option of an extension that is loaded. */
export interface Found {
  readonly instance: Instance;
  readonly option: OptionRow;
}

/** The extensions that the words before have loaded, the newest first: their options count. */
export class LoadedExtensions {
  readonly #instances: Instance[] = [];

  load(row: ExtensionRow, word: string, at: Surroundings): Instance {
    const info = row.initial?.(at, word) ?? {};
    const instance: Instance = { row, info, given: new Set() };
    this.#instances.unshift(instance);
    return instance;
  }

  /** The newest extension that has the option. */
  find(name: string): Found | undefined {
    for (const instance of this.#instances) {
      const { row, info } = instance;
      for (const option of row.options)
        if ((option.name === name || option.aliases?.includes(name)) && row.shows?.(option, info) !== false)
          return { instance, option };
    }
    return undefined;
  }

  /** The options that begin so. */
  like(prefix: string): Found[] {
    const found = new Map<OptionRow, Found>();
    for (const instance of this.#instances)
      for (const option of offered(instance))
        if ([option.name, ...(option.aliases ?? [])].some(name => name.startsWith(prefix)) && !found.has(option))
          found.set(option, { instance, option });
    return [...found.values()];
  }
}

function offered({ row, info }: Instance): readonly OptionRow[] {
  const { shows } = row;
  return shows === undefined ? row.options : row.options.filter(option => shows(option, info));
}

/** The options of an extension are complete, and fit together. */
export function finished({ row, info, given }: Instance, at: Surroundings): IptablesExtension {
  row.check?.(info, given, at);
  const { title = row.name, order, options } = row;
  const wrong = (option: string, text: string): IptablesError =>
    new IptablesError(`${title}: option "--${titleOf(row, option)}" ${text}`, {
      argument: `--${option}`,
      guided: true,
    });
  for (const { name, required, requires, excludes } of order === undefined ? options : inOrder(options, order)) {
    if (!given.has(name)) {
      if (required) throw wrong(name, 'must be specified');
      continue;
    }
    const missing = requires?.find(needed => !given.has(needed));
    if (missing !== undefined) throw wrong(name, `also requires "--${titleOf(row, missing)}".`);
    const other = excludes?.find(excluded => given.has(excluded));
    if (other !== undefined) throw wrong(name, `cannot be used together with "--${titleOf(row, other)}".`);
  }
  return { name: row.name, revision: row.revision, info };
}

function titleOf({ options }: ExtensionRow, name: string): string {
  return options.find(option => option.name === name)?.title ?? name;
}

const inOrder = (options: readonly OptionRow[], order: readonly string[]): OptionRow[] =>
  [...options].sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
