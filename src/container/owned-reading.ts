import { attributeLength, attributeType, NLA_HDRLEN, nextAttribute, sourceOf } from '../codec/index.ts';
import * as C from '../linux/netfilter.ts';
import { type Exchange, type Message, messageAt, NLMSG_HDRLEN, nfgenmsg, type Operation } from '../netlink/index.ts';
import { type MessageName, readObject } from '../nf_tables/message.ts';
import type { Chain, Family, Flowtable, NftObject, NftSet, RuleEntry, SetEntry, Table } from '../nftables/index.ts';
import { Inquiry, type Question } from '../nftables/read/inquiry.ts';
import { list } from '../nftables/read/listing.ts';
import { MOST_TOLD } from './difference.ts';
import { FAMILY, Stale } from './owned-table.ts';

/** What a table of ours may be asked for by name. */
export interface TableNames {
  readonly table: string;
  readonly chains: readonly string[];
  readonly sets: readonly string[];
}

interface Answer {
  readonly name: MessageName;
  /** A copy: the buffer serves the next answer. */
  readonly bytes: Uint8Array;
}

/** Asks for the table, its rules, these chains and sets by name, and for the generation: in one datagram. */
export class TableInquiry {
  readonly names: TableNames;
  readonly #inquiry: Inquiry;

  /** Without `rules`: only the chains and sets. */
  constructor(names: TableNames, { rules = true }: { rules?: boolean } = {}) {
    const { table, chains, sets } = names;
    const one = (name: MessageName, object: Record<string, unknown>): Question => ({
      name,
      family: C.NFPROTO_INET,
      object,
    });
    this.names = names;
    const generation: Question = { name: 'getgen', family: C.NFPROTO_UNSPEC, object: {} };
    const parts = [
      ...chains.map(name => one('getchain', { table, name })),
      ...sets.map(name => one('getset', { table, name })),
    ];
    this.#inquiry = new Inquiry(
      rules
        ? [generation, one('gettable', { name: table }), ...parts, { ...one('getrule', { table }), dump: true }]
        : [...parts, generation],
    );
  }

  /** @throws Stale others have committed meanwhile */
  *read(exchange: Exchange): Operation<TableReading> {
    const { questions } = this.#inquiry;
    const reading = new TableReading(this.names.table);
    yield* this.#inquiry.ask(exchange, (index, message) => reading.take(questions[index]!.name, message));
    if (reading.disturbed) throw new Stale();
    return reading;
  }
}

/** Asks for tables by name, and for the generation. */
export class TablesInquiry extends Inquiry {
  constructor(names: readonly string[]) {
    super([
      ...names.map(name => ({ name: 'gettable', family: C.NFPROTO_INET, object: { name } }) as const),
      { name: 'getgen', family: C.NFPROTO_UNSPEC, object: {} },
    ]);
  }
}

/** The first look at a container, which has nothing yet as a rule. */
export function* readTables(
  exchange: Exchange,
  inquiry: TablesInquiry,
): Operation<{ generation: number; tables: Table[] }> {
  const tables: Table[] = [];
  let generation = 0;
  yield* inquiry.ask(exchange, (index, message) => {
    if (inquiry.questions[index]!.name === 'gettable') tables.push(readObject('newtable', message) as unknown as Table);
    else generation = (readObject('newgen', message) as { id: number }).id;
  });
  return { generation, tables };
}

const ANSWERS: Partial<Record<MessageName, MessageName>> = {
  gettable: 'newtable',
  getchain: 'newchain',
  getset: 'newset',
  getrule: 'newrule',
};

/** Attributes that differ between tables that are alike: the kernel's numbers for them, and how many elements there are at the moment. */
const VARYING: Partial<Record<MessageName, readonly number[]>> = {
  newtable: [C.NFTA_TABLE_HANDLE],
  newchain: [C.NFTA_CHAIN_HANDLE],
  newset: [C.NFTA_SET_HANDLE, C.NFTA_SET_COUNT],
  newrule: [C.NFTA_RULE_HANDLE, C.NFTA_RULE_POSITION],
};
const ATTRIBUTES = NLMSG_HDRLEN + nfgenmsg.size;

/** The attributes of an answer, without the values of those that vary. */
function textOf({ name, bytes }: Answer): string {
  const text = sourceOf(bytes.slice(ATTRIBUTES));
  const { view } = text;
  const end = view.byteLength;
  const varying = VARYING[name]!;
  for (let at = 0; end - at >= NLA_HDRLEN; at = nextAttribute(view, at)) {
    const length = attributeLength(view, at, end);
    if (varying.includes(attributeType(view, at))) text.bytes.fill(0, at + NLA_HDRLEN, at + length);
  }
  return Buffer.from(text.bytes.buffer).toString('latin1');
}

/** What a table of ours has, all of one generation: as bytes, until somebody asks for it. */
export class TableReading {
  readonly table: string;
  generation = 0;
  /** Rules that there are. Those above what can be told are not kept. */
  ruleCount = 0;
  /** Others have committed while it was read. The answers are taken to their end all the same: a dump that is left is in the way of the next. */
  disturbed = false;
  readonly #answers: Answer[] = [];
  /** The lower half of the generation stands in every answer. */
  #resource: number | undefined;
  #text: string | undefined;

  constructor(table: string) {
    this.table = table;
  }

  take(question: MessageName, message: Message): void {
    const { source, payload, start, end } = message;
    const resource = source.view.getUint16(payload + 2, false);
    this.#resource ??= resource;
    if (resource !== this.#resource) this.disturbed = true;
    if (question === 'getgen') {
      this.generation = (readObject('newgen', message) as { id: number }).id;
      return;
    }
    const name = ANSWERS[question]!;
    if (name === 'newrule' && ++this.ruleCount > MOST_TOLD) return;
    this.#answers.push({ name, bytes: source.bytes.slice(start, end) });
  }

  /** More answers about the same table at the same generation. */
  join(other: TableReading): void {
    if (other.generation !== this.generation) throw new Stale();
    for (const answer of other.#answers) if (answer.name !== 'newrule') this.#answers.push(answer);
    this.#text = undefined;
  }

  /** All of it but the kernel's own numbers: two tables with the same text are the same, in whatever namespaces they are. */
  get text(): string {
    if (this.#text === undefined) {
      let text = `${this.ruleCount} `;
      for (const answer of this.#answers) text += textOf(answer);
      this.#text = text;
    }
    return this.#text;
  }

  /** How many elements each set has, since Linux 6.18. */
  get counts(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const { name, count } of this.sets) if (count !== undefined) counts.set(name, count);
    return counts;
  }

  get entry(): (Table & { family: Family }) | undefined {
    return this.#objects<Table>('newtable')[0];
  }

  get chains(): Chain[] {
    return this.#objects('newchain');
  }

  get sets(): NftSet[] {
    return this.#objects('newset');
  }

  get rules(): RuleEntry[] {
    return this.#objects('newrule');
  }

  /** Whether the table is there at all. */
  get exists(): boolean {
    return this.#answers.some(({ name }) => name === 'newtable');
  }

  #objects<T>(name: MessageName): T[] {
    return this.#answers
      .filter(answer => answer.name === name)
      .map(({ bytes }) => readObject(name, messageAt(sourceOf(bytes), 0, bytes.length)) as T);
  }
}

/** All that a table has besides rules and elements: what nobody has asked for by name is foreign. */
export interface TableContents {
  chains: Chain[];
  sets: SetEntry[];
  objects: NftObject[];
  flowtables: Flowtable[];
}

/** Four dumps: only where the table says that it has more in it than it should. */
export function* readContents(exchange: Exchange, table: string): Operation<TableContents> {
  const filter = { family: FAMILY, table } as const;
  return {
    chains: yield* list(exchange, 'chain', filter),
    sets: yield* list(exchange, 'set', filter),
    objects: yield* list(exchange, 'object', filter),
    flowtables: yield* list(exchange, 'flowtable', filter),
  };
}
