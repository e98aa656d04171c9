import { checkObject, checkOneOf } from '../../codec/index.ts';
import { typeError } from '../../errors.ts';
import type { EventLoopBudget, Exchange, Operation } from '../../netlink/index.ts';
import { XT_LAYOUTS } from '../../nf_tables/xt/layouts.ts';
import type { InParts } from '../../nft/decompile/in-parts.ts';
import type { DecompileContext } from '../../nft/decompile.ts';
import { type RulesetJson, rulesetJsonInParts } from '../../nft/ruleset-json.ts';
import { rulesetText } from '../../nft/ruleset-text.ts';
import { interfacesOf } from '../interfaces.ts';
import * as listing from './listing.ts';
import { READING_OPTIONS, Reading } from './reading.ts';

/** What `ruleset()` reads; in which form; and, with json and text, for which nft it is put into words. */
export interface RulesetOptions extends listing.RulesetFilter, Omit<DecompileContext, 'sets'> {
  /**
   * objects, the default: as the kernel has it, without loss. json: as `nft -j list ruleset` of that version shows it, with all elements. text: as
   * `nft list ruleset` shows it, and as that nft loads it; see `formatRuleset` for what it cannot say.
   */
  as?: 'objects' | 'json' | 'text';
  /** With json and text: the name of an interface by its index; default asks the namespace. What has none is shown as a number. */
  interfaceName?: (index: number) => string | undefined;
}

const WORDS = ['version', 'names', 'interfaceName', 'unwritable'] as const;
const FILTER = ['family', 'table', 'elements', ...READING_OPTIONS] as const;

/** The ruleset in one of its forms. */
export function* ruleset(
  exchange: Exchange,
  options: RulesetOptions = {},
): Operation<listing.Ruleset | RulesetJson | string> {
  checkObject(options, [], ['as', ...FILTER, ...WORDS]);
  const { as = 'objects', version, names, unwritable, ...rest } = options;
  const { interfaceName = interfacesOf(exchange.transport).interfaceName, ...filter } = rest;
  if (as !== 'objects' && as !== 'json' && as !== 'text') throw typeError(['as'], "'objects', 'json' or 'text'", as);
  if (version !== undefined) checkOneOf(version, ['version'], ['1.1.6', '1.0.6']);
  if (unwritable !== undefined) checkOneOf(unwritable, ['unwritable'], ['comment', 'refuse']);
  if (as === 'objects') return yield* listing.ruleset(exchange, filter, XT_LAYOUTS);
  const { budget } = new Reading(exchange, filter);
  const found = yield* listing.ruleset(exchange, { elements: true, ...filter }, XT_LAYOUTS);
  const words = {
    interfaceName,
    ...(version !== undefined && { version }),
    ...(names !== undefined && { names }),
    ...(unwritable !== undefined && { unwritable }),
  };
  return as === 'json'
    ? yield* unhurried(rulesetJsonInParts(found, words), budget)
    : yield* unhurried(rulesetText(found, words), budget);
}

/** Parts between two looks at the clock: a rule, or four elements of a set, take some twenty microseconds. */
const IN_A_ROW = 8;

/** Lets the event loop run in between. */
function* unhurried<T>(work: InParts<T>, turn: EventLoopBudget): Operation<T> {
  for (let done = 1; ; done++) {
    const step = work.next();
    if (step.done) return step.value;
    if (done % IN_A_ROW === 0) yield turn;
  }
}
