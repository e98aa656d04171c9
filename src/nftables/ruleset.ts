import { checkObject } from '../codec/index.ts';
import { typeError } from '../errors.ts';
import type { Exchange, Operation } from '../transport/index.ts';
import { interfacesOf } from './interfaces.ts';
import { type RulesetJson, rulesetJson } from './language/ruleset-json.ts';
import { formatRuleset } from './language/ruleset-text.ts';
import * as listing from './listing.ts';

export interface RulesetOptions extends listing.RulesetFilter {
  /**
   * objects, the default: as the kernel has it, without loss. json: as `nft -j list ruleset` shows it, with all elements. text: as `nft list ruleset`
   * shows it.
   */
  as?: 'objects' | 'json' | 'text';
  /** With json and text: the name of an interface by its index; default asks the namespace. What has none is shown as a number. */
  interfaceName?: (index: number) => string | undefined;
}

/** The ruleset in one of its forms. */
export function* ruleset(
  exchange: Exchange,
  options: RulesetOptions = {},
): Operation<listing.Ruleset | RulesetJson | string> {
  checkObject(options, [], ['family', 'table', 'elements', 'signal', 'as', 'interfaceName']);
  const { as = 'objects', interfaceName = interfacesOf(exchange.wire).interfaceName, ...filter } = options;
  if (as !== 'objects' && as !== 'json' && as !== 'text') throw typeError(['as'], "'objects', 'json' or 'text'", as);
  if (as === 'objects') return yield* listing.ruleset(exchange, filter);
  const found = yield* listing.ruleset(exchange, { elements: true, ...filter });
  return as === 'json' ? rulesetJson(found, { interfaceName }) : formatRuleset(found, { interfaceName });
}
