import type { Request } from '../machine/netlink.ts';
import { hasModule, type Namespace, type Release } from '../machine/state.ts';
import { EINVAL, ENODATA, EPROTO, ERANGE, refuse } from '../refusal.ts';
import type { Attribute, Attributes, Writer } from '../wire/attributes.ts';
import type { Chain, Element, Expression, NftSet, Rule, Table } from './state.ts';

/** The words of the register file: 0 to 3 hold the verdict, 4 to 19 values. */
const WORDS = 20;
export const VERDICT = 0;

/** What reading and writing messages needs of the kernel. */
export interface Codec {
  readonly release: Release;
  /** Milliseconds since the boot. */
  readonly now: bigint;
  /** What this kernel would have to guess. */
  notModelled(feature: string): never;
  /** What kind of expression it is, and whether its attributes can be right; `init` then does what refers to other objects. */
  parse(attributes: Attributes, context: RuleContext): Parsed;
  init(parsed: Parsed, context: RuleContext): Expression;
  /** The bytes that it takes in a rule. */
  size(parsed: Parsed): number;
  /** Both: expressions inside of expressions, sets and elements. */
  read(attributes: Attributes, context: RuleContext): Expression;
  write(expression: Expression, writer: Writer): void;
}

/** An expression of a message whose kind is known. */
export interface Parsed {
  readonly name: string;
  readonly data: Attributes | undefined;
}

/** What is true while one message of a batch is carried out. */
export interface Work {
  readonly engine: Codec;
  readonly namespace: Namespace;
  readonly request: Request;
  /** Of the nfgenmsg. */
  readonly family: number;
  readonly attributes: Attributes;
  readonly batch: Batch;
}

/** Elements that messages in a row add to a set, or take from it: they are one change of the kernel's, told with the flags of the first message. */
export interface ElementRun {
  readonly set: NftSet;
  readonly type: number;
  readonly flags: number;
  readonly report: boolean;
  count: number;
}

/** One change of a batch (struct nft_trans). */
export interface Change {
  readonly run?: ElementRun | undefined;
  readonly report: boolean;
  /** Carried out when the whole batch is. */
  readonly apply: (() => void) | undefined;
  /** Undefined where nothing is told. */
  readonly build: () => Uint8Array | undefined;
}

/** What has been done by the messages of a batch. */
export interface Batch {
  /** Taken back in the opposite order if the batch fails. */
  readonly undo: (() => void)[];
  /** What has been done, in its order: what takes effect at the end only, and what is told then. */
  readonly events: Change[];
  /** Ids of objects that this batch has made, the newest last. */
  readonly sets: { id: number; set: NftSet }[];
  readonly chains: { id: number; chain: Chain }[];
  readonly rules: { id: number; chain: Chain; rule: Rule }[];
  /** Tables whose jumps and hooks have to be validated. */
  readonly toValidate: Set<Table>;
  /** Sets that were made in it and are anonymous: each must be bound at the end. */
  readonly anonymous: Set<NftSet>;
  readonly bindings: Set<Chain>;
  /** Tables that were put to sleep or woken: once in a batch. */
  readonly dormant: Set<Table>;
  /** Sets whose elements have been kept as they were. */
  readonly kept: Set<NftSet>;
  /** Elements that it has taken away: they count until its end. */
  readonly deactivated: Map<NftSet, number>;
  /** The start that was there already when a tree was last given one. */
  readonly repeated: Map<NftSet, Element>;
  /** Tables with a chain that changes or goes. */
  readonly withChains: Set<Table>;
  /** Names that chains get at the end, and devices that chains and flowtables do. */
  readonly promised: { readonly table: Table; readonly what: string }[];
}

export const newBatch = (): Batch => ({
  undo: [],
  events: [],
  sets: [],
  chains: [],
  rules: [],
  toValidate: new Set(),
  anonymous: new Set(),
  bindings: new Set(),
  dormant: new Set(),
  kept: new Set(),
  deactivated: new Map(),
  repeated: new Map(),
  withChains: new Set(),
  promised: [],
});

/** What an expression may refer to, and which registers hold something by now. */
export interface RuleContext {
  readonly work: Work;
  readonly table: Table;
  /** Undefined for the expressions of sets and elements. */
  readonly chain: Chain | undefined;
  /** One bit a word. */
  written: number;
  /** An expression about the packet inside of a tunnel's is read. */
  isInner?: boolean;
}

/** The attribute, which the kernel wants. */
export function needed(attributes: Attributes | undefined, type: number): Attribute {
  const attribute = attributes?.get(type);
  return attribute ?? refuse(EINVAL);
}

export function neededU32(attributes: Attributes | undefined, type: number): number {
  needed(attributes, type);
  return attributes!.u32be(type) ?? refuse(ERANGE);
}

const TRACKED = [1, 2, 10];
const BRIDGE = 7;

/** What needs connections has none to see in tables of devices and of ARP; in those of bridges it takes a module (nf_ct_netns_get). */
export function needConnections({ family, engine }: Work): void {
  const isTracked = TRACKED.includes(family) || (family === BRIDGE && hasModule(engine.release, 'nf_conntrack_bridge'));
  if (!isTracked) refuse(EPROTO);
}

/** nft_parse_u32_check: a number of 32 bits that must fit fewer. */
export function limited(value: number, most: number): number {
  return value > most ? refuse(ERANGE) : value;
}

export function wordOf(register: number): number {
  if (register <= 4) return register * 4;
  if (register >= 8 && register <= 23) return register - 4;
  return refuse(ERANGE);
}

const bits = (word: number, length: number): number => ((1 << Math.ceil(length / 4)) - 1) << word;

function checkSpan(word: number, length: number): void {
  if (word < 4 || length === 0) refuse(EINVAL);
  if (word * 4 + length > WORDS * 4) refuse(ERANGE);
}

/** nft_parse_register_load: the first word of a register that is read. */
export function source(context: RuleContext, register: number, length: number): number {
  const word = wordOf(register);
  checkSpan(word, length);
  // Before 6.12 nobody looked whether something had been written.
  const { version } = context.work.engine.release;
  const checked = version[0] > 6 || version[1] >= 12;
  if (checked && context.chain !== undefined && (bits(word, length) & ~context.written) !== 0) refuse(ENODATA);
  return word;
}

/** nft_parse_register_store, of a value. */
export function target(context: RuleContext, register: number, length: number): number {
  const word = wordOf(register);
  checkSpan(word, length);
  context.written |= bits(word, length);
  return word;
}

/** The number by which a word is dumped. */
export const registerOf = (word: number): number => (word % 4 === 0 ? word / 4 : word + 4);
