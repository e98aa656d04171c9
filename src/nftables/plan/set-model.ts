import type { Path } from '../../errors.ts';
import { contentOf, expressionContent, keysWith } from '../../nf_tables/content.ts';
import { elementTable } from '../../nf_tables/element.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import { type NftSet, setTable } from '../../nf_tables/set.ts';
import { VERDICT_DATA_TYPE } from '../../nft/data/datatypes.ts';
import { asValues, type GivenElement } from '../../nft/element-forms.ts';
import { type ElementValue, elementValues, wireElements } from '../../nft/element-values.ts';
import { type ElementShape, shapeOf } from '../../nft/set-types.ts';
import { hasUnreadableTypeof } from '../../nft/typeof.ts';
import { mergedElements, mergesRanges } from '../ranges/range-set.ts';
import type { SetEntry } from '../read/listing.ts';
import type { NewMap } from '../write/new-objects.ts';
import { wireSet } from '../write/wire-set.ts';
import { type Fields, kernelForm, textOf } from './content.ts';
import { at, twice } from './desired.ts';
import { EXACT, type Timeouts } from './timeouts.ts';

/** One element, by its key. */
export interface ElementModel {
  readonly content: string;
  readonly value: ElementValue;
  /** The chain or object that its value is. */
  readonly chain: string | undefined;
  readonly object: string | undefined;
}

export interface SetModel {
  /** Without its size: see `sameSet`. */
  readonly content: string;
  readonly size: number | undefined;
  /** A rule of the table adds to it. */
  readonly fed: boolean;
  readonly set: NewMap;
  /** Its elements as they were given. */
  readonly given: readonly GivenElement[] | undefined;
  /** As the kernel would give it back. */
  readonly form: NftSet;
  readonly isMap: boolean;
  readonly anonymous: boolean;
  /** By key; undefined where nothing is said of them. */
  readonly elements: ReadonlyMap<string, ElementModel> | undefined;
  readonly leadingEnd: boolean;
  /** Where it stands in what is wanted. */
  readonly path: Path;
}

/** What the kernel gives a set without a size as soon as a rule adds to it (net/netfilter/nft_dynset.c). */
export const FED_SIZE = 0xffff;

/** Whether a set that is there can stay for one that is wanted. */
export function sameSet(there: SetModel, wanted: SetModel): boolean {
  if (there.content !== wanted.content) return false;
  return there.size === wanted.size || (wanted.size === undefined && wanted.fed && there.size === FED_SIZE);
}

/** Whether the kernel counts time for the set or one of its elements. */
export function hasTimeouts({ form, elements }: SetModel): boolean {
  if (form.timeoutMilliseconds !== undefined || form.flags?.includes('timeout')) return true;
  for (const { value } of elements?.values() ?? []) {
    if (typeof value !== 'object' || value === null) continue;
    const fields = 'wire' in value ? value.wire : value;
    if ('timeoutMilliseconds' in fields && fields.timeoutMilliseconds !== undefined) return true;
  }
  return false;
}

/** Flags that follow from the rest. */
const DERIVED = ['expressions', 'map', 'object'];

/**
 * `isOwn`: the set of a rule, in which nft takes a key twice that leads to the same.
 * @throws TypeError, RangeError with the path inside the set
 */
export function setModel(
  given: NewMap | SetEntry,
  path: Path = [],
  { timeouts = EXACT, isOwn = false }: { timeouts?: Timeouts | undefined; isOwn?: boolean } = {},
): SetModel {
  const { elements, leadingEnd, handle, ...set } = given as NewMap;
  const isMap = 'data' in set || set.dataType !== undefined || set.objectType !== undefined;
  const wire = wireSet(set as NewMap, isMap, 1);
  // Without the number that it has in one transaction: rules refer to it by its name.
  const { id: _, ...form } = kernelForm('newset', {
    ...wire,
    family: given.family,
    table: given.table,
    name: 'set',
  }) as Fields & Partial<NftSet>;
  const { expression, expressions, flags = [], description, ...rest } = form;
  const all = (expressions ?? (expression === undefined ? [] : [expression])).map(expressionContent);
  const content = textOf({
    // Those of a rule's own sets are another nft's in rules that it has made; but what crashes an nft shall not stay.
    ...(flags.includes('anonymous')
      ? { ...withoutShown(contentOf(setTable, rest)), isUnreadable: hasUnreadableTypeof(form) }
      : contentOf(setTable, rest)),
    policy: form.policy === 'memory' ? 'memory' : undefined,
    // The kernel says how large it thinks a verdict is.
    dataLength: form.dataType === VERDICT_DATA_TYPE ? undefined : form.dataLength,
    timeoutMilliseconds: timeouts(rest.timeoutMilliseconds),
    gcIntervalMilliseconds: rest.gcIntervalMilliseconds || undefined,
    description: { fields: description?.fields },
    flags: flags.filter(flag => !DERIVED.includes(flag as string)).sort(),
    expressions: all,
  });
  const shape = shapeOf(form as NftSet);
  const values = at(['elements'], () =>
    valuesOf(
      mergesRanges(form as NftSet, shape) && elements !== undefined
        ? mergedElements(elements, shape, handle !== undefined)
        : elements,
      shape,
      handle !== undefined,
      isMap && !isOwn,
    ),
  );
  const context: ElementContext = { own: all, timeouts, default: rest.timeoutMilliseconds };
  return {
    content,
    size: description?.size || undefined,
    fed: false,
    set: set as NewMap,
    given: elements,
    form: { ...form, family: given.family, table: given.table, name: given.name } as NftSet,
    isMap,
    anonymous: flags.includes('anonymous'),
    elements: values && new Map(values.elements.map(value => elementModel(value, context))),
    leadingEnd: leadingEnd ?? values?.leadingEnd ?? false,
    path,
  };
}

/** Without what nft keeps with a set so as to print it: the kernel does not look at it. */
function withoutShown(content: Fields): Fields {
  const shown = keysWith(setTable, 'shown');
  return Object.fromEntries(Object.entries(content).filter(([key]) => !shown.includes(key)));
}

/** Elements in the one form that both sides have. */
function valuesOf(given: readonly GivenElement[] | undefined, shape: ElementShape, wasRead: boolean, isMap: boolean) {
  if (given === undefined) return undefined;
  const { elements, origin } = wireElements(asValues(given, shape, wasRead), shape);
  const first = new Map<string, number>();
  const left: typeof elements = [];
  for (const [i, element] of elements.entries()) {
    const from = origin[i]!;
    const { key, keyEnd, flags } = element;
    const name = `${key as string} ${keyEnd as string} ${flags?.join() ?? ''}`;
    const before = first.get(name);
    first.set(name, before ?? from);
    const isEnd = flags?.includes('interval-end') === true;
    if (before === undefined) left.push(element);
    else if (!isEnd && (isMap || textOf(given[before]) !== textOf(given[from]))) throw twice([from], given[from]);
  }
  return elementValues(left, shape);
}

interface ElementContext {
  /** The expressions that the set gives elements which bring none. */
  readonly own: readonly Fields[];
  readonly timeouts: Timeouts;
  /** The timeout that it gives them. */
  readonly default: bigint | undefined;
}

function elementModel(value: ElementValue, context: ElementContext): readonly [string, ElementModel] {
  const whole = typeof value === 'object' && 'wire' in value;
  const fields: Fields = whole
    ? (value.wire as Fields)
    : typeof value === 'object' && !Array.isArray(value) && !(value instanceof Uint8Array) && 'key' in value
      ? (value as Fields)
      : { key: value };
  const {
    expressions = [],
    expression,
    timeoutMilliseconds,
    ...rest
  } = fields as Fields & { expressions?: Expression[]; expression?: Expression; timeoutMilliseconds?: bigint };
  const data = fields.data as { chain?: string } | undefined;
  const own = (expression === undefined ? expressions : [expression]).map(expressionContent);
  const timeout = timeoutMilliseconds === undefined ? undefined : BigInt(timeoutMilliseconds);
  return [
    textOf([whole, fields.key, whole ? fields.flags : undefined]),
    {
      content: textOf([
        contentOf(elementTable, rest),
        own.length > 0 ? own : context.own,
        timeout === context.default ? undefined : context.timeouts(timeout),
      ]),
      value,
      chain: typeof data === 'object' ? data?.chain : undefined,
      object: (typeof fields.data === 'string' ? fields.data : undefined) ?? (fields.object as string | undefined),
    },
  ];
}
