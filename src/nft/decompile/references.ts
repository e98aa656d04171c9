import type { Data } from '../../nf_tables/data.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import type { NamedKind } from '../data/reserved.ts';
import type { ListedSet } from '../tree.ts';
import type { SetFinder } from './sets.ts';

/** An object that a rule, or an element, refers to. */
export interface Reference {
  readonly kind: NamedKind;
  readonly name: string | undefined;
}

interface SetReference {
  readonly set?: string;
  readonly setId?: number;
}

/** The objects that the expressions of a rule refer to by name. An anonymous set counts as the references of its elements. */
export function* referencesOf(expressions: readonly Expression[], find: SetFinder): Generator<Reference> {
  for (const expression of expressions) {
    if ('lookup' in expression) yield* setReference(expression.lookup, find);
    else if ('dynset' in expression) yield* setReference(expression.dynset, find);
    else if ('objref' in expression) {
      const { type, name } = expression.objref;
      if (type !== undefined) yield { kind: type as NamedKind, name };
      else yield* setReference(expression.objref, find);
    } else if ('immediate' in expression) yield* verdictReference(expression.immediate.data);
    else if ('flow_offload' in expression) yield { kind: 'flowtable', name: expression.flow_offload.flowtable };
  }
}

function* setReference({ set: name, setId }: SetReference, find: SetFinder): Generator<Reference> {
  const set = name === undefined ? undefined : find(name, setId);
  if (set?.flags?.includes('anonymous')) yield* referencesIn(set);
  else yield { kind: 'set', name };
}

/** The objects that the elements of a set refer to by name. */
export function* referencesIn(set: ListedSet): Generator<Reference> {
  const isMap = set.flags?.includes('map') || set.flags?.includes('object');
  if (!isMap) return;
  for (const { data, object } of set.elements ?? []) {
    if (object !== undefined) yield { kind: set.objectType as NamedKind, name: object };
    else yield* verdictReference(data);
  }
}

function* verdictReference(data: Data | undefined): Generator<Reference> {
  if (typeof data === 'object' && (data.verdict === 'jump' || data.verdict === 'goto'))
    yield { kind: 'chain', name: data.chain };
}
