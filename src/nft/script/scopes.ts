import type { Variable, Variables } from '../parse/parser.ts';
import { nearest } from './edit-distance.ts';

/** The names that a text has defined, as they are visible at one place. A block has a scope of its own, and sees those around it. */
export class Scopes implements Variables {
  readonly #scopes: Map<string, Variable>[] = [new Map()];

  find(name: string): Variable | undefined {
    for (let i = this.#scopes.length - 1; i >= 0; i--) {
      const found = this.#scopes[i]!.get(name);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  nearest(name: string): string | undefined {
    const names = new Set<string>();
    for (const scope of this.#scopes.toReversed()) for (const each of scope.keys()) names.add(each);
    return nearest(name, names);
  }

  /** Binds a name in the innermost scope. */
  set(name: string, variable: Variable): void {
    this.#scopes.at(-1)!.set(name, variable);
  }

  /** Takes a name out of the innermost scope. One of an outer scope stays. */
  delete(name: string): void {
    this.#scopes.at(-1)!.delete(name);
  }

  open(): void {
    this.#scopes.push(new Map());
  }

  close(): void {
    this.#scopes.pop();
  }
}
