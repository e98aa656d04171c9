import {
  type GivenElement,
  type NewObject,
  type Nftables,
  type ObjectKinds,
  RulesetMirror,
  Transaction,
} from '../../src/nftables/index.ts';
import { filesLike, type Outcome, readLines, tryAll } from './corpus.ts';
import { type Case, comparable, nameOf, prepared } from './kernel.ts';
import { Place } from './place.ts';

/** How the elements of named sets are read: with their sets by `ruleset`, or by `elements` in one of its forms. */
const FORMS = ['ruleset', 'wire', 'values'] as const;
type Form = (typeof FORMS)[number];

/** What each list gives of a recorded batch, object by object and as it is, makes the same state in an empty namespace. */
export async function readings(): Promise<Outcome[]> {
  const from = new Place();
  const to = new Place();
  const outcomes: Outcome[] = [];
  try {
    for (const file of filesLike(/-(rules|rulesets)\.jsonl\.gz$/)) {
      const cases = readLines<Case>(file).filter(one => {
        if ((one.sent ?? []).length === 0) return false;
        from.empty();
        return prepared(from, one) && one.sent!.every(batch => from.replay(batch));
      });
      outcomes.push(tryAll('readings', file, cases, nameOf, one => difference(from, to, one)));
    }
  } finally {
    await from.close();
    await to.close();
  }
  return outcomes;
}

function difference(from: Place, to: Place, one: Case): string | undefined {
  from.empty();
  prepared(from, one);
  for (const batch of one.sent!) from.replay(batch);
  const before = from.ruleset();
  for (const form of FORMS) {
    to.empty();
    to.nft.sync.commit(copyOf(from.nft, form));
    const [expected, actual] = [comparable(before), comparable(to.ruleset())];
    for (const [i, line] of expected.entries())
      if (line !== actual[i]) return `by ${form}: ${line}\n    became ${actual[i]}`;
    if (actual.length > expected.length) return `by ${form}: more: ${actual[expected.length]}`;
  }
  const mirror = new RulesetMirror(before).ruleset;
  const [expected, actual] = [comparable(before), comparable(mirror)];
  for (const [i, line] of expected.entries()) if (line !== actual[i]) return `mirrored: ${line}\n    as ${actual[i]}`;
  return undefined;
}

/** A transaction of everything that is read: each list by itself, and each object once more by its name. */
export function copyOf({ sync: nft }: Nftables, form: Form): Transaction {
  const copy = new Transaction();
  for (const table of nft.tables()) copy.add({ table: nft.table(table)! });
  for (const chain of nft.chains()) copy.add({ chain: nft.chain(chain)! });
  for (const flowtable of nft.flowtables()) copy.add({ flowtable: nft.flowtable(flowtable)! });
  for (const object of nft.objects()) {
    const kind = KINDS[object.type as string];
    if (form === 'ruleset' || kind === undefined) copy.add({ object: nft.object(object)! });
    else if (form === 'wire') copy.add({ [kind]: object } as unknown as NewObject);
    else copy.add({ [kind]: nft[kind](object)! } as unknown as NewObject);
  }
  if (form === 'ruleset') {
    for (const set of nft.ruleset({ elements: true }).sets) copy.add({ set });
  } else {
    for (const set of nft.sets()) {
      const { family, table, name } = set;
      copy.add(nft.map(set) === undefined ? { set } : { map: nft.set(set)! });
      const elements: GivenElement[] =
        form === 'values' ? nft.elements(set, { as: 'values' }) : nft.elements(set, { as: 'wire' });
      if (elements.length > 0) copy.add({ element: { family, table, set: name, as: form, elements } });
    }
  }
  for (const rule of nft.rules()) copy.add({ rule: form === 'wire' ? rule : nft.rule(rule)! });
  return copy;
}

/** What a transaction and a handle call each type of object. */
const KINDS: Readonly<Record<string, ObjectKinds>> = {
  counter: 'counter',
  quota: 'quota',
  limit: 'limit',
  connlimit: 'connlimit',
  'ct-helper': 'ctHelper',
  'ct-timeout': 'ctTimeout',
  'ct-expectation': 'ctExpectation',
  synproxy: 'synproxy',
  secmark: 'secmark',
  tunnel: 'tunnel',
};
