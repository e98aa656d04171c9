import type { Exchange, Operation } from '../../netlink/index.ts';
import type { WireElement } from '../../nf_tables/element.ts';
import { familyNumber } from '../../nf_tables/family.ts';
import { MESSAGES, readObject } from '../../nf_tables/message.ts';
import type { SetKey } from '../../nf_tables/set.ts';
import { compileElements } from '../../nft/compile/named-set.ts';
import type { SetMember } from '../../nft/json.ts';
import { type RulesetJson, rulesetJson } from '../../nft/ruleset-json.ts';
import { interfacesOf } from '../interfaces.ts';
import { readSet, requestFor } from '../request.ts';

/* The reply to `get element`: the set with the elements that were asked for, or with the ranges that they lie in. */

/**
 * Asks for elements of a set, as nft does it.
 * @throws NetlinkError ENOENT the set, or one of the elements, is not there
 * @throws RangeError an element is no element of such a set; the path begins with `elem`
 */
export function* getElements(
  exchange: Exchange,
  { family, table, name }: SetKey,
  elements: readonly SetMember[] | SetMember,
): Operation<RulesetJson['nftables']> {
  const number = familyNumber(family, ['family']);
  const set = yield* readSet(exchange, number, table, name);
  const wanted = compileElements(set, elements, { removes: true });
  const found: WireElement[] = [];
  yield* exchange.request(requestFor('getsetelem', number, { table, set: name, elements: wanted }), message => {
    if (message.type !== MESSAGES.newsetelem.number) return;
    for (const element of readObject('newsetelem', message).elements ?? []) found.push(element);
  });
  const { interfaceName } = interfacesOf(exchange.transport);
  const { nftables } = rulesetJson(
    { tables: [{ family, name: table }], sets: [{ ...set, elements: found }] },
    { interfaceName },
  );
  return nftables.filter(entry => 'set' in entry || 'map' in entry);
}
