import type { Path } from '../../errors.ts';
import type { Span } from './source.ts';

/**
 * Where the parts of parsed JSON stand in the text. They are only recorded when a text is parsed a second time, because something in it was
 * refused: the JSON itself stays plain, and the first parse costs nothing for it.
 */
export class Places {
  readonly #spans = new WeakMap<object, Map<string | number, Span>>();

  set(object: object, key: string | number, span: Span): void {
    const spans = this.#spans.get(object);
    if (spans === undefined) this.#spans.set(object, new Map([[key, span]]));
    else spans.set(key, span);
  }

  get(object: object, key: string | number): Span | undefined {
    return this.#spans.get(object)?.get(key);
  }

  /** The deepest known place on the way from an object to one of its parts. */
  find(root: unknown, path: Path): Span | undefined {
    let found: Span | undefined;
    let at: unknown = root;
    for (const key of path) {
      if (typeof at !== 'object' || at === null) break;
      found = this.get(at, key) ?? found;
      at = (at as Readonly<Record<string | number, unknown>>)[key];
    }
    return found;
  }
}
