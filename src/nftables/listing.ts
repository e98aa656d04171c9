import { checkObject, NO_CONTEXT } from '../codec/index.ts';
import { StateError, typeError } from '../errors.ts';
import { type Exchange, nfgenmsg, type Operation, writeHeader } from '../transport/index.ts';
import type { Chain } from './chain.ts';
import { type Family, familyNumber } from './family.ts';
import { generationTable } from './generation.ts';
import { HINTS } from './hints.ts';
import { MESSAGES, type MessageName, readMessage } from './message.ts';
import type { RuleEntry } from './rule.ts';
import type { Table } from './table.ts';

export interface RulesetFilter {
  family?: Family;
  /** With `family`: only what is in this table. */
  table?: string;
  signal?: AbortSignal;
}

/** The objects of a namespace, all of one generation. */
export interface Ruleset {
  generation: number;
  tables: Table[];
  chains: Chain[];
  rules: RuleEntry[];
}

/** A ruleset that others change faster than it can be read this many times in a row will not be read. */
const READ_ATTEMPTS = 20;

const LISTS = {
  table: { get: 'gettable', new: 'newtable' },
  chain: { get: 'getchain', new: 'newchain' },
  rule: { get: 'getrule', new: 'newrule' },
} as const satisfies Record<string, { get: MessageName; new: MessageName }>;

/** The generation of the ruleset: it grows by one with each commit, whoever makes it. */
export function* generation(exchange: Exchange): Operation<number> {
  const request = call('getgen', 0, {});
  return yield* exchange.get(request, ({ source, payload, end }) => {
    return generationTable.read(source, payload + nfgenmsg.size, end, NO_CONTEXT)?.id;
  });
}

/** Tables, chains and rules, consistent: read again, some times, while others commit in between. */
export function* ruleset(exchange: Exchange, filter: RulesetFilter = {}): Operation<Ruleset> {
  checkObject(filter, [], ['family', 'table', 'signal']);
  return yield* consistent(exchange, generation => read(exchange, generation, filter));
}

function* read(exchange: Exchange, generation: number, filter: RulesetFilter): Operation<Ruleset> {
  const tables = (yield* list(exchange, 'table', filter)) as unknown as Table[];
  const chains = (yield* list(exchange, 'chain', filter)) as unknown as Chain[];
  const rules = (yield* list(exchange, 'rule', filter)) as unknown as RuleEntry[];
  return { generation, tables, chains, rules };
}

/** The tables of the namespace. */
export function* tables(exchange: Exchange, filter: RulesetFilter = {}): Operation<Table[]> {
  checkObject(filter, [], ['family', 'table', 'signal']);
  return (yield* list(exchange, 'table', filter)) as unknown as Table[];
}

/** The chains of the namespace, base chains and others. */
export function* chains(exchange: Exchange, filter: RulesetFilter = {}): Operation<Chain[]> {
  checkObject(filter, [], ['family', 'table', 'signal']);
  return (yield* list(exchange, 'chain', filter)) as unknown as Chain[];
}

/** The rules, in their order within each chain; `chain` needs `table`, and that `family`. */
export function* rules(exchange: Exchange, filter: RulesetFilter & { chain?: string } = {}): Operation<RuleEntry[]> {
  checkObject(filter, [], ['family', 'table', 'chain', 'signal']);
  return (yield* list(exchange, 'rule', filter)) as unknown as RuleEntry[];
}

function* list(
  exchange: Exchange,
  kind: keyof typeof LISTS,
  filter: RulesetFilter & { chain?: string },
): Operation<Record<string, unknown>[]> {
  const family = filter.family === undefined ? 0 : familyNumber(filter.family, ['family']);
  if (filter.table !== undefined && family === 0)
    throw typeError(['family'], 'a family with a table', undefined, 'ERR_MISSING');
  if (filter.chain !== undefined && filter.table === undefined)
    throw typeError(['table'], 'a table with a chain', undefined, 'ERR_MISSING');
  // The kernel filters rules itself; tables and chains are few, and are filtered here.
  const object: Record<string, unknown> = {};
  if (kind === 'rule' && filter.table !== undefined) object.table = filter.table;
  if (kind === 'rule' && filter.chain !== undefined) object.chain = filter.chain;
  const request = call(LISTS[kind].get, family, object);
  return yield* exchange.dump(request, message => {
    if (message.type !== MESSAGES[LISTS[kind].new].number) return undefined;
    const { object: found } = readMessage(message, true);
    const inTable = filter.table === undefined || found[kind === 'table' ? 'name' : 'table'] === filter.table;
    return inTable ? found : undefined;
  });
}

/** Several dumps make one state only if no commit came between the first and the last. */
function* consistent<T>(exchange: Exchange, read: (generation: number) => Operation<T>): Operation<T> {
  for (let attempt = 0; attempt < READ_ATTEMPTS; attempt++) {
    const before = yield* generation(exchange);
    const value = yield* read(before);
    if ((yield* generation(exchange)) === before) return value;
  }
  throw new StateError('ERR_DUMP_INTERRUPTED', `the ruleset changed ${READ_ATTEMPTS} times in a row while it was read`);
}

function call(name: MessageName, family: number, object: Record<string, unknown>) {
  const { number, kernelName, table } = MESSAGES[name];
  return {
    type: number,
    syscall: kernelName,
    subject: object,
    hint: (code: string) => HINTS[code],
    write: (writer: Parameters<typeof writeHeader>[0]) => {
      writeHeader(writer, family, 0);
      table.write(writer, object as never, { family });
    },
  };
}
