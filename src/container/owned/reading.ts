import {
  align4,
  attributeLength,
  attributeType,
  NLA_HDRLEN,
  nextAttribute,
  sourceOf,
  toText,
} from '../../codec/index.ts';
import { NFPROTO_INET, NFPROTO_UNSPEC } from '../../linux/netfilter.ts';
import * as C from '../../linux/nf_tables.ts';
import { type Exchange, type Message, messageAt, NLMSG_HDRLEN, nfgenmsg, type Operation } from '../../netlink/index.ts';
import { Disturbed } from '../../netlink/retry.ts';
import { type MessageName, readObject } from '../../nf_tables/message.ts';
import { XT_LAYOUTS } from '../../nf_tables/xt/layouts.ts';
import type { Chain, Family, Flowtable, NftObject, NftSet, RuleEntry, SetEntry, Table } from '../../nftables/index.ts';
import { Inquiry, type Question } from '../../nftables/read/inquiry.ts';
import { list } from '../../nftables/read/listing.ts';
import { MAX_LISTED } from './difference.ts';
import { FAMILY } from './table.ts';

/** The objects of a table of ours that are read by name. */
export interface TableNames {
  readonly table: string;
  readonly chains: readonly string[];
  readonly sets: readonly string[];
}

interface Answer {
  readonly name: MessageName;
  /** Its place in the bytes of the reading. */
  readonly start: number;
  readonly end: number;
}

/** Asks for a table, its rules, some chains and sets by name, and the generation, in one datagram. */
export class TableInquiry {
  readonly names: TableNames;
  readonly #inquiry: Inquiry;

  /** Without `rules` it asks only for the chains, the sets and the generation. */
  constructor(names: TableNames, { rules = true }: { rules?: boolean } = {}) {
    const { table, chains, sets } = names;
    const one = (name: MessageName, object: Record<string, unknown>): Question => ({
      name,
      family: NFPROTO_INET,
      object,
    });
    this.names = names;
    const generation: Question = { name: 'getgen', family: NFPROTO_UNSPEC, object: {} };
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

  /** Reads all of it, of one generation. @throws Disturbed others have committed meanwhile */
  *read(exchange: Exchange): Operation<TableReading> {
    const { questions } = this.#inquiry;
    const reading = new TableReading(this.names.table);
    yield* this.#inquiry.ask(exchange, (index, message) => reading.take(questions[index]!.name, message));
    if (reading.disturbed) throw new Disturbed();
    return reading;
  }
}

/** Asks for tables by name, and the generation. */
export class TablesInquiry extends Inquiry {
  constructor(names: readonly string[]) {
    super([
      ...names.map(name => ({ name: 'gettable', family: NFPROTO_INET, object: { name } }) as const),
      { name: 'getgen', family: NFPROTO_UNSPEC, object: {} },
    ]);
  }
}

/** Reads which of our tables a container has. Most have none at first. */
export function* readTables(
  exchange: Exchange,
  inquiry: TablesInquiry,
): Operation<{ generation: number; tables: Table[] }> {
  const tables: Table[] = [];
  let generation = 0;
  yield* inquiry.ask(exchange, (index, message) => {
    if (inquiry.questions[index]!.name === 'gettable') tables.push(readObject('newtable', message));
    else generation = readObject('newgen', message).id;
  });
  return { generation, tables };
}

const ANSWERS: Partial<Record<MessageName, MessageName>> = {
  gettable: 'newtable',
  getchain: 'newchain',
  getset: 'newset',
  getrule: 'newrule',
};

/** Attributes that differ between equal tables: the kernel's handles, and the number of elements. */
const VARYING: Partial<Record<MessageName, readonly number[]>> = {
  newtable: [C.NFTA_TABLE_HANDLE],
  newchain: [C.NFTA_CHAIN_HANDLE],
  newset: [C.NFTA_SET_HANDLE, C.NFTA_SET_COUNT],
  newrule: [C.NFTA_RULE_HANDLE, C.NFTA_RULE_POSITION],
};
const HEADERS = NLMSG_HDRLEN + nfgenmsg.size;
/** A table with a chain, two maps and four rules takes less. */
const INITIAL_BYTES = 2048;

/** The contents of a table of ours, of one generation. They are kept as bytes, and decoded when they are asked for. */
export class TableReading {
  readonly table: string;
  generation = 0;
  /** The number of rules. Only the first `MAX_LISTED` are kept. */
  ruleCount = 0;
  /** Others have committed during the reading. The answers are read to their end all the same, or they would disturb the next request. */
  disturbed = false;
  /** Copies of the answers, one behind the other: the buffer of the socket is used again. */
  #source = sourceOf(new Uint8Array(INITIAL_BYTES));
  #length = 0;
  readonly #answers: Answer[] = [];
  /** The lower half of the generation, which every answer has (`res_id` of nfgenmsg). */
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
      this.generation = readObject('newgen', message).id;
      return;
    }
    const name = ANSWERS[question]!;
    if (name === 'newrule' && ++this.ruleCount > MAX_LISTED) return;
    this.#keep(name, source.bytes.subarray(start, end));
  }

  #keep(name: MessageName, bytes: Uint8Array): void {
    const start = this.#length;
    const end = start + align4(bytes.length);
    if (end > this.#source.bytes.length) {
      const larger = sourceOf(new Uint8Array(2 * end));
      larger.bytes.set(this.#source.bytes);
      this.#source = larger;
    }
    this.#source.bytes.set(bytes, start);
    this.#length = end;
    this.#answers.push({ name, start, end: start + bytes.length });
    this.#text = undefined;
  }

  /** Adds the answers of another reading of the same table and generation. @throws Disturbed it is of another generation */
  join(other: TableReading): void {
    if (other.generation !== this.generation) throw new Disturbed();
    for (const { name, start, end } of other.#answers)
      if (name !== 'newrule') this.#keep(name, other.#source.bytes.subarray(start, end));
  }

  /** The answers as text, without the kernel's numbers: equal tables have the same text, in every namespace. */
  get text(): string {
    this.#text ??= this.#textOf();
    return this.#text;
  }

  #textOf(): string {
    const { bytes, view } = sourceOf(this.#source.bytes.slice(0, this.#length));
    for (const { name, start, end } of this.#answers) {
      const varying = VARYING[name]!;
      // Sequence number, port and generation.
      bytes.fill(0, start, start + HEADERS);
      for (let at = start + HEADERS; end - at >= NLA_HDRLEN; at = nextAttribute(view, at)) {
        const length = attributeLength(view, at, end);
        if (varying.includes(attributeType(view, at))) bytes.fill(0, at + NLA_HDRLEN, at + length);
      }
    }
    return `${this.ruleCount} ${Buffer.from(bytes.buffer).toString('latin1')}`;
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

  /** The number of elements of each set. Empty before Linux 6.18, which first tells it. */
  get counts(): ReadonlyMap<string, number> {
    const { bytes, view } = this.#source;
    const counts = new Map<string, number>();
    for (const { name: kind, start, end } of this.#answers) {
      if (kind !== 'newset') continue;
      let name = '';
      for (let at = start + HEADERS; end - at >= NLA_HDRLEN; at = nextAttribute(view, at)) {
        const length = attributeLength(view, at, end);
        const type = attributeType(view, at);
        if (type === C.NFTA_SET_NAME) name = toText({ bytes, view }, at + NLA_HDRLEN, at + length - 1) ?? '';
        else if (type === C.NFTA_SET_COUNT && length === NLA_HDRLEN + 4)
          counts.set(name, view.getUint32(at + NLA_HDRLEN, false));
      }
    }
    return counts;
  }

  /** Whether there is such a table. */
  get exists(): boolean {
    return this.#answers.some(({ name }) => name === 'newtable');
  }

  #objects<T>(name: MessageName): T[] {
    return this.#answers
      .filter(answer => answer.name === name)
      .map(({ start, end }) => readObject(name, messageAt(this.#source, start, end), XT_LAYOUTS) as T);
  }
}

/** Everything in a table but rules and elements, whatever its name. */
export interface TableContents {
  chains: Chain[];
  sets: SetEntry[];
  objects: NftObject[];
  flowtables: Flowtable[];
}

/** Reads everything in a table, by four dumps. */
export function* readContents(exchange: Exchange, table: string): Operation<TableContents> {
  const filter = { family: FAMILY, table } as const;
  return {
    chains: yield* list(exchange, 'chain', filter),
    sets: yield* list(exchange, 'set', filter),
    objects: yield* list(exchange, 'object', filter),
    flowtables: yield* list(exchange, 'flowtable', filter),
  };
}
