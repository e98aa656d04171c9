import { within } from '../../errors.ts';
import type { Exchange, Operation } from '../../netlink/index.ts';
import { familyNumber } from '../../nf_tables/family.ts';
import type { MessageName } from '../../nf_tables/message.ts';
import type { RuleEntry } from '../../nf_tables/rule.ts';
import { XT_LAYOUTS } from '../../nf_tables/xt/layouts.ts';
import { type RulesetJson, rulesetJson } from '../../nft/ruleset-json.ts';
import { interfacesOf } from '../interfaces.ts';
import type { Query } from '../queries.ts';
import { requestFor } from '../request.ts';
import * as listing from './listing.ts';
import { reset } from './reset.ts';

/* The replies to list and reset in nft's JSON: the same as nft prints. */

type Entry = Record<string, unknown>;

const SHOW_ELEMENTS = ['ruleset', 'table', 'set', 'map'];

/** The replies to all queries, one after the other in one document. */
export function* queryReply(
  exchange: Exchange,
  queries: readonly Query[],
  version?: '1.1.6' | '1.0.6',
): Operation<RulesetJson> {
  const { interfaceName } = interfacesOf(exchange.transport);
  const nftables: RulesetJson['nftables'] = [{ metainfo: { json_schema_version: 1 } }];
  for (const query of queries) {
    try {
      if (query.family !== undefined) familyNumber(query.family, ['family']);
      yield* expectThere(exchange, query);
      const filter = {
        ...(query.family !== undefined && { family: query.family }),
        ...(query.table !== undefined && { table: query.table }),
        elements: query.verb === 'list' && SHOW_ELEMENTS.includes(query.kind),
      };
      const found = yield* listing.ruleset(exchange, filter, XT_LAYOUTS);
      if (query.verb === 'reset') yield* begun(exchange, query, found);
      const { nftables: all } = rulesetJson(found, { interfaceName, ...(version !== undefined && { version }) });
      for (const entry of all.slice(1)) if (isAsked(entry, query)) nftables.push(entry);
    } catch (error) {
      throw within(error, query.path);
    }
  }
  return { nftables };
}

const GET: Readonly<Record<string, MessageName>> = {
  table: 'gettable',
  chain: 'getchain',
  set: 'getset',
  map: 'getset',
  flowtable: 'getflowtable',
};

/** The kernel refuses what is not there. */
function* expectThere(exchange: Exchange, { kind, one, family, table, name }: Query): Operation<void> {
  if (table === undefined) return;
  const ask = (message: MessageName, object: Entry) =>
    exchange.request(requestFor(message, familyNumber(family, ['family']), object), () => undefined);
  yield* ask('gettable', { name: table });
  if (!one || kind === 'table' || kind === 'rule') return;
  const message = GET[kind];
  if (message !== undefined) yield* ask(message, { table, name });
  else yield* ask('getobj', { table, name, type: kind.replace(' ', '-') });
}

/** Resets, and puts the values from before in the place of those that were read. */
function* begun(exchange: Exchange, query: Query, found: listing.Ruleset): Operation<void> {
  const { kind, name, chain, handle } = query;
  const rules = new Map<string, RuleEntry>();
  if (kind !== 'rule') found.objects = [];
  for (const { family, name: table } of found.tables) {
    const values =
      kind === 'rule'
        ? yield* reset(exchange, {
            rule: { family, table, ...(chain !== undefined && { chain }), ...(handle !== undefined && { handle }) },
          })
        : kind === 'counter'
          ? yield* reset(exchange, { counter: { family, table, ...(name !== undefined && { name }) } })
          : yield* reset(exchange, { quota: { family, table, ...(name !== undefined && { name }) } });
    for (const rule of values.rules) rules.set(keyOf(rule), rule);
    found.objects.push(...values.objects);
  }
  found.rules = found.rules.map(rule => rules.get(keyOf(rule)) ?? rule);
}

const keyOf = ({ family, table, handle }: RuleEntry): string => `${family} ${table} ${handle}`;

function isAsked(entry: Entry, { kind, one, chain, name, handle }: Query): boolean {
  if (kind === 'ruleset' || (kind === 'table' && one)) return true;
  // A chain is listed with its rules.
  if (kind === 'chain' && one && 'rule' in entry) return (entry.rule as Entry).chain === name;
  const found = entry[kind] as Entry | undefined;
  return (
    found !== undefined &&
    (name === undefined || found.name === name) &&
    (chain === undefined || found.chain === chain) &&
    (handle === undefined || found.handle === Number(handle))
  );
}
