import { normalize } from 'node:path';
import type { RulesetTextOptions } from '../../src/nftables/index.ts';
import { Links } from '../../src/rtnetlink/index.ts';
import { Place } from './place.ts';

/** A recorded text of nft's language. */
export interface ScriptCase {
  readonly name: string;
  readonly source: string;
  readonly text: string;
  /** Texts that were loaded before it. */
  readonly setup?: readonly string[];
  /** Files beside it, by their paths. */
  readonly files?: Readonly<Record<string, string>>;
  readonly variables?: Readonly<Record<string, string>>;
  /** Interfaces that there were; which kind they are does not matter. */
  readonly links?: readonly string[];
}

/** How nft 1.0.6 read the recorded texts. */
export function readingOf({ files = {}, variables }: ScriptCase): RulesetTextOptions {
  return {
    source: 'ruleset.nft',
    version: '1.0.6',
    ...(variables !== undefined && { variables }),
    include: pattern => matching(files, pattern),
  };
}

/** The files that a pattern names, as glob(3) finds and sorts them. Folders are empty. */
function matching(files: Readonly<Record<string, string>>, pattern: string): { name: string; text: string }[] {
  if (pattern === '' || pattern === '/dev/null') return [{ name: pattern, text: '' }];
  const wanted = normalize(pattern).split('/').map(asExpression);
  const paths = Object.keys(files).map(path => normalize(path).split('/'));
  const isFolder = paths.some(path => path.length > wanted.length && wanted.every((part, i) => part.test(path[i]!)));
  const found = paths
    .filter(path => path.length === wanted.length && wanted.every((part, i) => part.test(path[i]!)))
    .map(path => path.join('/'))
    .sort();
  if (found.length === 0 && isFolder) return [{ name: pattern, text: '' }];
  const begin = pattern.startsWith('./') ? './' : '';
  return found.map(path => ({ name: begin + path, text: files[path] ?? files[`./${path}`]! }));
}

/** One part of a path with wildcards. They do not match a dot at the beginning. */
function asExpression(part: string): RegExp {
  const text = part
    .replace(/[.+^${}()|\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
    .replaceAll('[!', '[^');
  return new RegExp(`^${/^[*?[]/.test(part) ? '(?!\\.)' : ''}${text}$`);
}

/** Namespaces for texts: those with the same interfaces share one. */
export class ScriptPlaces {
  readonly #places = new Map<string, Place>();

  /** An empty namespace in which we have applied the texts before this one. Places of other names are others. */
  prepared(one: ScriptCase, name = ''): Place {
    const key = [name, ...(one.links ?? [])].join(' ');
    let place = this.#places.get(key);
    if (place === undefined) {
      place = new Place();
      this.#places.set(key, place);
      const links = Links.open({ netns: place.netns });
      for (const name of one.links ?? []) links.sync.createBridge({ name });
      void links.close();
    }
    place.empty();
    for (const text of one.setup ?? []) place.nft.sync.apply(text, readingOf(one));
    return place;
  }

  async close(): Promise<void> {
    for (const place of this.#places.values()) await place.close();
  }
}
