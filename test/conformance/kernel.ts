import { spawnSync } from 'node:child_process';
import { type Chain, type Ruleset, type Table, Transaction, transactionOf } from '../../src/nftables/index.ts';
import { planOf } from '../../src/nftables/plan/plan.ts';
import { filesLike, type Outcome, readLines, tryAll } from './corpus.ts';
import { Place } from './place.ts';

export interface Case {
  name?: string;
  t?: string;
  line?: number;
  rule?: string;
  args?: string;
  cmd?: string;
  family?: string;
  table?: string;
  chain?: string;
  sent?: string[];
  list?: string;
}

type Fields = Record<string, unknown>;
const EVERYTHING = { prefix: '' };
const NOTHING: Ruleset = { generation: 0, tables: [], chains: [], sets: [], rules: [], objects: [], flowtables: [] };

/** Way 2: what the kernel has of a recorded batch is written again into an empty namespace, and is the same there. */
export async function kernel(): Promise<Outcome[]> {
  const from = new Place();
  const to = new Place();
  const nft = spawnSync('nft', ['--version'], { encoding: 'utf8' }).stdout ?? '';
  const outcomes: Outcome[] = [];
  try {
    for (const file of filesLike(/-(rules|rulesets)\.jsonl\.gz$/)) {
      const refused: string[] = [];
      const cases = readLines<Case>(file).filter(one => (one.sent ?? []).length > 0);
      const taken = cases.filter(one => {
        from.empty();
        const ok = prepared(from, one) && one.sent!.every(batch => from.replay(batch));
        if (!ok) refused.push(nameOf(one));
        return ok;
      });
      // The listing of the program that made the recording, where it is the one that is installed.
      const texts = file.includes('rulesets') && nft.includes(`v${/nft-([\d.]+)-/.exec(file)?.[1]} `);
      outcomes.push(tryAll('kernel', file, taken, nameOf, one => difference(from, to, one, texts)));
      if (refused.length > 0)
        console.log(`kernel ${file}: this kernel refuses ${refused.length}: ${refused.join('; ')}`);
    }
  } finally {
    await from.close();
    await to.close();
  }
  return outcomes;
}

export function nameOf({ name, t, line, rule, args, family, cmd }: Case): string {
  return name ?? `${t}:${line} ${family ?? cmd}: ${rule ?? args}`;
}

function difference(from: Place, to: Place, one: Case, texts: boolean): string | undefined {
  from.empty();
  to.empty();
  prepared(from, one);
  for (const batch of one.sent!) from.replay(batch);
  const before = from.ruleset();
  to.nft.sync.commit(transactionOf(planOf(NOTHING, before, EVERYTHING)));
  const after = to.ruleset();
  const [expected, actual] = [comparable(before), comparable(after)];
  for (const [i, line] of expected.entries()) if (line !== actual[i]) return `${line}\n    became ${actual[i]}`;
  if (actual.length > expected.length) return `more: ${actual[expected.length]}`;
  // What was written is what was wanted: nothing is left to do.
  const left = planOf(after, before, EVERYTHING).operations;
  if (left.length > 0) return `planned again: ${text(left)}`;
  if (texts && from.text() !== to.text()) return `listed as\n${from.text()}\n    and as\n${to.text()}`;
  return undefined;
}

const IPTABLES_PRIORITIES: Record<string, number> = { raw: -300, mangle: -150, filter: 0, security: 50 };

/** A recorded rule needs its table and its chain. */
export function prepared(place: Place, one: Case): boolean {
  if (one.rule === undefined && one.args === undefined) return true;
  const family = (one.family ?? (one.cmd === 'ip6tables-nft' ? 'ip6' : 'ip')) as Table['family'];
  const table = one.table!;
  const name = one.chain!;
  const chain: Chain = { family, table, name, ...(one.args === undefined ? listed(one) : ofIptables(table, name)) };
  try {
    place.nft.sync.commit(new Transaction().add({ table: { family, name: table } }).add({ chain }));
    return true;
  } catch {
    return false;
  }
}

function ofIptables(table: string, chain: string): Partial<Chain> {
  const hook = chain.toLowerCase() as NonNullable<Chain['hook']>;
  if (table === 'nat')
    return { type: 'nat', hook, priority: chain === 'PREROUTING' || chain === 'OUTPUT' ? -100 : 100 };
  const type = table === 'mangle' && chain === 'OUTPUT' ? 'route' : 'filter';
  return { type, hook, priority: IPTABLES_PRIORITIES[table]! };
}

const HEAD =
  /type (\w+) hook (\w+)(?: devices? (?:= \{ )?"?([^" ;}]+)"?(?: \})?)? priority (\w+|-?\d+)(?: ([+-]) (\d+))?;/;

/** The chain as the recorded listing describes it. */
export function listed({ list }: Case): Partial<Chain> {
  const head = HEAD.exec(list ?? '');
  if (head === null) return {};
  const [, type, hook, device, priority, sign, offset] = head;
  const number = Number(priority);
  const chain: Fields = { type, hook, priority: Number.isNaN(number) ? priority : number };
  if (sign !== undefined) chain.priority = named(priority!, list!) + Number(`${sign}${offset}`);
  if (device !== undefined) chain.device = device;
  return chain as Partial<Chain>;
}

const PRIORITIES: Record<string, number> = {
  raw: -300,
  mangle: -150,
  dstnat: -100,
  filter: 0,
  security: 50,
  srcnat: 100,
};
const named = (name: string, list: string): number =>
  list.startsWith('table bridge')
    ? ({ dstnat: -300, filter: -200, out: 100, srcnat: 300 }[name] ?? 0)
    : PRIORITIES[name]!;

/** What differs although it is the same: the kernel's own numbers, and the state of what counts. */
const DROPPED = new Set(['handle', 'use', 'previousHandle', 'expirationMilliseconds', 'backend', 'owner', 'consumed']);
const COUNTING = new Set(['counter', 'counters', 'last']);

/** The ruleset as lines, one an object, in an order of its own but for rules. */
export function comparable(
  { tables, chains, sets, rules, objects, flowtables }: Ruleset,
  counting: ReadonlySet<string> = COUNTING,
): string[] {
  // Names that the kernel numbers itself get the number of their first use.
  const names = new Map<string, string>();
  const renamed = (value: unknown): unknown => {
    if (typeof value === 'string' && /^__(set|map|chain|meter)\d+$/.test(value)) {
      if (!names.has(value)) names.set(value, `__own${names.size}`);
      return names.get(value);
    }
    return value;
  };
  const settled = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(settled);
    if (typeof value !== 'object' || value === null) return renamed(value);
    const fields: Fields = {};
    for (const [key, item] of Object.entries(value))
      if (!DROPPED.has(key)) fields[key] = counting.has(key) ? {} : settled(item);
    return fields;
  };
  const lines = (list: readonly object[], kind: string) => list.map(object => `${kind} ${text(settled(object))}`);
  // Rules first: their order is what numbers the names.
  const ordered = lines([...rules].sort(byChain), 'rule');
  const withElements = sets.map(set => ({ ...set, elements: [...(set.elements ?? [])].map(text).sort() }));
  return [
    ...ordered,
    ...lines(tables, 'table').sort(),
    ...lines(chains, 'chain').sort(),
    ...lines(withElements, 'set').sort(),
    ...lines(objects, 'object').sort(),
    ...lines(flowtables, 'flowtable').sort(),
  ];
}

/** The ruleset as lines with all that counts and counters' values. nft names the devices of a chain or flowtable in another order. */
export function exactLines(ruleset: Ruleset): string[] {
  const sorted = <T extends { devices?: string[] }>(list: T[]): T[] =>
    list.map(object => (object.devices === undefined ? object : { ...object, devices: object.devices.toSorted() }));
  const { chains, flowtables } = ruleset;
  const exact = { ...ruleset, chains: sorted(chains), flowtables: sorted(flowtables) };
  // What is left of a time depends on the moment.
  return comparable(exact, new Set()).map(line => line.replace(/\\"expirationMilliseconds\\":\\"\d+\\",?/g, ''));
}

/** Chains that rules bring with them are numbered; the rules of others stay together. */
function byChain(a: Ruleset['rules'][number], b: Ruleset['rules'][number]): number {
  const [one, other] = [a, b].map(
    ({ family, table, chain }) => `${family} ${table} ${chain.replace(/^__chain\d+$/, '~')}`,
  );
  return one === other ? 0 : one! < other! ? -1 : 1;
}

const text = (value: unknown): string =>
  JSON.stringify(value, (key, item: unknown) =>
    typeof item === 'bigint' ? `${item}` : key === 'expirationMilliseconds' ? undefined : item,
  );
