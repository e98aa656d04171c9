import { withReadableTypeof } from '../../src/nft/typeof.ts';
import { type DesiredRuleset, formatPlan, type NftDocument, type Rule } from '../../src/nftables/index.ts';
import { filesLike, type Outcome, readLines, tryAll } from './corpus.ts';
import { Crash, listRuleset, runNft, settled, tablesIn } from './debian.ts';
import { nameOf } from './decompile.ts';
import { desiredOf } from './desired.ts';
import { listed, prepared } from './kernel.ts';
import { Place } from './place.ts';

interface RuleCase {
  t: string;
  line: number;
  family: string;
  table: string;
  chain: string;
  rule: string;
  sent?: string[];
  list?: string;
  json?: unknown[];
}

interface RulesetCase {
  name: string;
  sent?: string[];
  list?: string;
  json?: NftDocument;
}

interface Places {
  /** Where the recording is replayed. */
  raw: Place;
  /** Where its statements are reconciled. */
  made: Place;
  /** Where the installed nft loads its text. */
  witness: Place;
}

const EVERYTHING = { prefix: '' };
/** Cases that share a namespace, each with a table of its own: nft is started once for all of them. */
const TOGETHER = 64;

/**
 * Way 8: the statements of each rule and ruleset are wanted in an empty namespace. After that nothing is left to do, neither for the statements
 * nor for what is read back, and Debian's nft lists them without crashing: as was recorded, or as it lists what it has itself loaded from the
 * same text (of a rule) or JSON (of a ruleset: nft's JSON leaves out some of what its text says). What it refuses to load it need only list.
 */
export async function reconcile(): Promise<Outcome[]> {
  const places: Places = { raw: new Place(), made: new Place(), witness: new Place() };
  try {
    return [
      ...filesLike(/^nft-.*-rules\.jsonl\.gz$/).map(file => rules(file, places)),
      ...filesLike(/^nft-.*-rulesets\.jsonl\.gz$/).map(file => rulesets(file, places)),
    ];
  } finally {
    for (const place of Object.values(places) as Place[]) await place.close();
  }
}

function tell(file: string, what: string, names: readonly string[]): void {
  if (names.length > 0) console.log(`reconcile ${file}: ${what} ${names.length}: ${names.join('; ')}`);
}

const KERNEL_REFUSES = 'this kernel refuses';
const NFT_DIES = 'the installed nft dies of the instructions themselves in';
const NOT_JSON = 'what nft printed is not its own JSON in';

/** Whether Debian's nft cannot list what was recorded, however its sets are described: no writer can help that. */
function diesAnyway(raw: Place, witness: Place): boolean {
  const { sets, ...rest } = raw.ruleset();
  const described = sets.map(set => withReadableTypeof(set as typeof set & { keyTypeof?: string }));
  witness.empty();
  witness.nft.sync.reconcile({ ...rest, sets: described } as DesiredRuleset, EVERYTHING);
  return runNft(witness.netns, ['list', 'ruleset']).signal !== null;
}

/** One rule under a table's name of its own. */
interface OwnRule {
  readonly one: RuleCase;
  readonly table: string;
  /** What nft may list in the table: empty where it is only to list. */
  readonly expected: string[];
}

function rules(file: string, { raw, made, witness }: Places): Outcome {
  const refused: string[] = [];
  const deadly: string[] = [];
  const taken = readLines<RuleCase>(file).filter(one => {
    if (one.json === undefined || one.list === undefined) return false;
    const ok = replayed(raw, one);
    if (!ok) refused.push(nameOf(one));
    return ok;
  });
  tell(file, KERNEL_REFUSES, refused);
  const own: OwnRule[] = taken.map((one, i) => ({ one, table: `t${i}`, expected: [] }));
  const differences = new Map<RuleCase, string>();
  for (let i = 0; i < own.length; i += TOGETHER) {
    const some = own.slice(i, i + TOGETHER);
    askWitness(witness, some);
    try {
      tryRules(made, some, differences);
    } catch {
      // One of them: which, each tells alone.
      for (const each of some) {
        try {
          tryRules(made, [each], differences);
        } catch (error) {
          if (error instanceof Crash && replayed(raw, each.one) && diesAnyway(raw, witness))
            deadly.push(nameOf(each.one));
          else differences.set(each.one, String(error));
        }
      }
    }
  }
  tell(file, NFT_DIES, deadly);
  return tryAll('reconcile', file, taken, nameOf, one => differences.get(one));
}

function replayed(raw: Place, one: RuleCase): boolean {
  raw.empty();
  return prepared(raw, one) && one.sent!.every(batch => raw.replay(batch));
}

/** The rest of a table's listing: that of the only one. */
const bodyOf = (list: string): string => [...tablesIn(settled(list)).values()][0] ?? '';

/** Has Debian's nft load the rules and list them. */
function askWitness(witness: Place, some: readonly OwnRule[]): void {
  witness.empty();
  const commands = some.map(({ one, table }) => {
    const body = bodyOf(one.list!);
    const [, chain, head = '', rule] = /\tchain (\S+) \{\n(?:\t\t(type [^\n]*)\n)?\t\t([^\n]*)\n/.exec(body) ?? [];
    const place = `${one.family} ${table}`;
    return `add table ${place}\nadd chain ${place} ${chain} { ${head} }\nadd rule ${place} ${chain} ${rule}\n`;
  });
  // It carries out one line after the other: a rule that it refuses is missing, and no other.
  runNft(witness.netns, ['-i'], commands.join(''));
  const tables = tablesIn(settled(listRuleset(witness.netns)));
  for (const { one, table, expected } of some) {
    const body = tables.get(`${one.family} ${table}`);
    const loaded = body !== undefined && body.split('\n').length === bodyOf(one.list!).split('\n').length;
    if (loaded) expected.push(bodyOf(one.list!), body);
  }
}

function tryRules(made: Place, some: readonly OwnRule[], differences: Map<RuleCase, string>): void {
  made.empty();
  const desired = {
    tables: some.map(({ one, table }) => ({ family: one.family, name: table })),
    chains: some.map(({ one, table }) => ({ family: one.family, table, name: one.chain, ...listed(one) })),
    rules: some.map(({ one, table }) => ({ family: one.family, table, chain: one.chain, statements: one.json })),
  } as unknown as DesiredRuleset & { rules: Rule[] };
  mustSettle(made, desired);
  const tables = tablesIn(settled(listRuleset(made.netns)));
  for (const { one, table, expected } of some) {
    const found = tables.get(`${one.family} ${table}`) ?? '';
    if (expected.length > 0 && !expected.includes(found))
      differences.set(one, `listed as ${JSON.stringify(found)}\n    not ${JSON.stringify(expected[0])}`);
  }
}

/** Reconciles; then nothing is left to do, neither for what is wanted nor for what is read. */
function mustSettle({ nft }: Place, desired: DesiredRuleset): void {
  nft.sync.reconcile(desired, EVERYTHING);
  const again = formatPlan(nft.sync.plan(desired, EVERYTHING));
  if (again !== '') throw new Error(`planned again: ${again}`);
  const read = formatPlan(nft.sync.plan(nft.sync.ruleset({ elements: true }), EVERYTHING));
  if (read !== '') throw new Error(`read and planned: ${read}`);
}

function rulesets(file: string, { raw, made, witness }: Places): Outcome {
  const refused: string[] = [];
  const deadly: string[] = [];
  const garbled: string[] = [];
  const replay = (one: RulesetCase) => {
    raw.empty();
    return one.sent!.every(batch => raw.replay(batch));
  };
  const desired = new Map<RulesetCase, DesiredRuleset>();
  const cases = readLines<RulesetCase>(file).filter(one => {
    if (one.json === undefined || (one.sent ?? []).length === 0) return false;
    if (!replay(one)) refused.push(one.name);
    else {
      try {
        desired.set(one, desiredOf(one.json));
        return true;
      } catch (error) {
        // nft 1.0.6 prints some things as JSON that no nft reads back.
        if (listingOf(witness, one.json) !== undefined) throw error;
        garbled.push(one.name);
      }
    }
    return false;
  });
  const outcome = tryAll('reconcile', file, cases, nameOfRuleset, one => {
    made.empty();
    mustSettle(made, desired.get(one)!);
    let found: string;
    try {
      found = settled(listRuleset(made.netns));
    } catch (error) {
      if (!(error instanceof Crash) || !replay(one) || !diesAnyway(raw, witness)) throw error;
      deadly.push(one.name);
      return undefined;
    }
    if (found === settled(one.list!)) return undefined;
    const loaded = listingOf(witness, one.json!);
    return loaded === undefined || found === loaded ? undefined : `listed as\n${found}\n    not as\n${loaded}`;
  });
  tell(file, KERNEL_REFUSES, refused);
  tell(file, NOT_JSON, garbled);
  tell(file, NFT_DIES, deadly);
  return outcome;
}

const nameOfRuleset = ({ name }: RulesetCase): string => name;

/** What Debian's nft lists, having loaded the document; undefined where it refuses it. */
function listingOf(witness: Place, document: NftDocument): string | undefined {
  witness.empty();
  const { status } = runNft(witness.netns, ['-j', '-f', '-'], JSON.stringify(document));
  return status === 0 ? settled(listRuleset(witness.netns)) : undefined;
}
