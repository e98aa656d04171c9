/*
 * Which chains jump to which, for the kernel's bare EMLINK: it means a loop of jumps, or more of them in a row than there may be. Jumps by way of a
 * verdict map are jumps of the rule that looks up in it, to each chain that the map names.
 */

type Fields = Readonly<Record<string, unknown>>;

/** The parts of a message or a listing that matter here. */
export interface JumpMessage {
  readonly name: string;
  readonly object: Fields;
}

interface RuleJumps {
  readonly handle: unknown;
  /** Chains, and maps as `map NAME`. */
  readonly targets: readonly string[];
}

/** The kernel's NFT_JUMP_STACK_SIZE is 16: so many jumps may follow each other. */
const MOST_JUMPS = 15;

const isRecord = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !(value instanceof Uint8Array);

/** Sets and chains that have a number in their transaction go by that where they have no name. */
const mapKey = (name: unknown, id: unknown): string =>
  id !== undefined && (typeof name !== 'string' || name.includes('%')) ? `map #${id}` : `map ${String(name)}`;

function verdictTarget(data: unknown): string | undefined {
  if (!isRecord(data) || (data.verdict !== 'jump' && data.verdict !== 'goto')) return undefined;
  return chainKey(data.chain, data.chainId);
}

const chainKey = (name: unknown, id: unknown): string => (typeof name === 'string' ? name : `#${String(id)}`);

/** The jumps of one table: those that the kernel has, and those of the messages that came after them, in their order. */
export class Jumps {
  readonly #rules = new Map<string, RuleJumps[]>();
  readonly #elements = new Map<string, string[]>();
  /** Names of chains that the transaction gives a number as well. */
  readonly #named = new Map<string, string>();

  /** Applies a message, or takes over an object of a listing as the message that would make it. */
  apply({ name, object }: JumpMessage): void {
    switch (name) {
      case 'newchain':
        if (typeof object.name === 'string' && object.id !== undefined) this.#named.set(`#${object.id}`, object.name);
        return;
      case 'newrule':
        this.#addRule(object);
        return;
      case 'delrule':
      case 'destroyrule':
        this.#removeRules(object);
        return;
      case 'newsetelem':
        this.#addElements(object);
        return;
      case 'delsetelem':
      case 'destroysetelem':
        // Which of them goes is not worth looking at but where all do.
        if (object.elements === undefined) this.#elements.delete(mapKey(object.set, object.setId));
    }
  }

  #chain(name: unknown, id: unknown): string {
    const key = chainKey(name, id);
    return this.#named.get(key) ?? key;
  }

  #addRule({ chain, chainId, handle, expressions }: Fields): void {
    const targets: string[] = [];
    for (const expression of Array.isArray(expressions) ? (expressions as unknown[]) : []) {
      if (!isRecord(expression)) continue;
      const { immediate, lookup } = expression;
      const target = isRecord(immediate) ? verdictTarget(immediate.data) : undefined;
      if (target !== undefined) targets.push(target);
      if (isRecord(lookup)) targets.push(mapKey(lookup.set, lookup.setId));
    }
    const key = this.#chain(chain, chainId);
    const rules = this.#rules.get(key) ?? [];
    this.#rules.set(key, rules);
    const replaced = handle === undefined ? -1 : rules.findIndex(rule => rule.handle === handle);
    if (replaced >= 0) rules[replaced] = { handle, targets };
    else rules.push({ handle, targets });
  }

  #removeRules({ chain, handle }: Fields): void {
    if (typeof chain !== 'string') this.#rules.clear();
    else if (handle === undefined) this.#rules.delete(chain);
    else {
      const left = this.#rules.get(chain)?.filter(rule => rule.handle !== handle);
      if (left !== undefined) this.#rules.set(chain, left);
    }
  }

  #addElements({ set, setId, elements }: Fields): void {
    const key = mapKey(set, setId);
    const targets = this.#elements.get(key) ?? [];
    this.#elements.set(key, targets);
    for (const element of Array.isArray(elements) ? (elements as unknown[]) : []) {
      const target = isRecord(element) ? verdictTarget(element.data) : undefined;
      if (target !== undefined) targets.push(target);
    }
  }

  /** Each chain's jumps, those by way of maps included. */
  #edges(): Map<string, Set<string>> {
    const edges = new Map<string, Set<string>>();
    for (const [chain, rules] of this.#rules) {
      const to = new Set<string>();
      edges.set(chain, to);
      for (const { targets } of rules) {
        for (const target of targets) {
          const reached = target.startsWith('map ') ? (this.#elements.get(target) ?? []) : [target];
          for (const each of reached) to.add(this.#named.get(each) ?? each);
        }
      }
    }
    return edges;
  }

  /**
   * Says what is wrong with the jumps, seen from the message that the kernel has refused: the loop, or the row that is too long. Undefined where
   * neither is found: the table may have rules that are not known here.
   */
  explain({ name, object }: JumpMessage): string | undefined {
    const edges = this.#edges();
    const starts =
      name === 'newsetelem'
        ? this.#usersOf(mapKey(object.set, object.setId))
        : [this.#chain(object.chain, object.chainId)];
    for (const start of starts) {
      const loop = loopFrom(start, edges);
      if (loop !== undefined) return `the chains jump in a loop: ${loop.map(shown).join(' -> ')}`;
    }
    for (const start of starts) {
      const row = [...longest(start, backwards(edges)).slice(1).reverse(), ...longest(start, edges)];
      if (row.length - 1 <= MOST_JUMPS) continue;
      const [first, second] = row;
      return `more than ${MOST_JUMPS} jumps follow each other: ${[first!, second!].map(shown).join(' -> ')} -> ... -> ${shown(row.at(-1)!)}`;
    }
    return undefined;
  }

  #usersOf(map: string): string[] {
    const users: string[] = [];
    for (const [chain, rules] of this.#rules) if (rules.some(({ targets }) => targets.includes(map))) users.push(chain);
    return users;
  }
}

const shown = (chain: string): string => (chain.startsWith('#') ? '(a chain without a name)' : chain);

function backwards(edges: ReadonlyMap<string, ReadonlySet<string>>): Map<string, Set<string>> {
  const back = new Map<string, Set<string>>();
  for (const [from, targets] of edges) {
    for (const to of targets) {
      const sources = back.get(to) ?? new Set();
      back.set(to, sources.add(from));
    }
  }
  return back;
}

/** A loop that jumps from `start` lead into, the first chain of it again at its end. */
function loopFrom(start: string, edges: ReadonlyMap<string, ReadonlySet<string>>): string[] | undefined {
  const done = new Set<string>();
  const path: { chain: string; next: Iterator<string> }[] = [];
  const on = new Map<string, number>();
  const enter = (chain: string) => {
    on.set(chain, path.length);
    path.push({ chain, next: (edges.get(chain) ?? new Set<string>()).values() });
  };
  enter(start);
  while (path.length > 0) {
    const { chain, next } = path.at(-1)!;
    const { value: target, done: all } = next.next();
    if (all) {
      done.add(chain);
      on.delete(chain);
      path.pop();
    } else if (on.has(target)) {
      return [...path.slice(on.get(target)).map(each => each.chain), target];
    } else if (!done.has(target)) enter(target);
  }
  return undefined;
}

/** A longest row of jumps from `start`, of no more than one jump too many. There is no loop. */
function longest(start: string, edges: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const levels: Map<string, string | undefined>[] = [new Map([[start, undefined]])];
  while (levels.length <= MOST_JUMPS + 1) {
    const next = new Map<string, string | undefined>();
    for (const chain of levels.at(-1)!.keys()) for (const target of edges.get(chain) ?? []) next.set(target, chain);
    if (next.size === 0) break;
    levels.push(next);
  }
  let at: string | undefined = levels.at(-1)!.keys().next().value;
  const row: string[] = [];
  for (let level = levels.length - 1; level >= 0; level--) {
    row.unshift(at!);
    at = levels[level]!.get(at!);
  }
  return row;
}
