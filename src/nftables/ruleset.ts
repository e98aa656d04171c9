import { checkObject } from '../codec/index.ts';
import { typeError } from '../errors.ts';
import type { Exchange, Operation } from '../transport/index.ts';
import { type RulesetJson, rulesetJson } from './language/ruleset-json.ts';
import * as listing from './listing.ts';

export interface RulesetOptions extends listing.RulesetFilter {
  /** objects, the default: as the kernel has it, without loss. json: as `nft -j list ruleset` shows it, with all elements. */
  as?: 'objects' | 'json';
  /** With json: the name of an interface by its index; what has none is shown as a number. */
  interfaceName?: (index: number) => string | undefined;
}

export function* ruleset(exchange: Exchange, options: RulesetOptions = {}): Operation<listing.Ruleset | RulesetJson> {
  checkObject(options, [], ['family', 'table', 'elements', 'signal', 'as', 'interfaceName']);
  const { as = 'objects', interfaceName, ...filter } = options;
  if (as !== 'objects' && as !== 'json') throw typeError(['as'], "'objects' or 'json'", as);
  if (as === 'objects') return yield* listing.ruleset(exchange, filter);
  const found = yield* listing.ruleset(exchange, { elements: true, ...filter });
  return rulesetJson(found, interfaceName === undefined ? {} : { interfaceName });
}
