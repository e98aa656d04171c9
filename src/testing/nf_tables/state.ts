/*
 * What nf_tables of one namespace holds. Plain objects only, which refer to each other: a snapshot of the kernel is a structured clone.
 */

/** An expression: the fields of its attributes, and the objects of the kernel that it refers to. */
export interface Expression {
  readonly name: string;
  /** Numbers, bytes and texts by the name of their row. */
  readonly values: Record<string, Value>;
  set?: NftSet;
  chain?: Chain;
  object?: NftObject;
  flowtable?: Flowtable;
  /** Of an immediate verdict. */
  verdict?: Verdict;
  /** The expressions of a dynset. */
  inner?: Expression[];
  /** What changes with packets: tokens of a limit, counts. */
  state?: Record<string, bigint>;
}

export type Value = number | bigint | string | Uint8Array;

export interface Verdict {
  readonly code: number;
  readonly chain?: Chain;
}

export interface Rule {
  readonly handle: number;
  readonly expressions: readonly Expression[];
  readonly userdata: Uint8Array | undefined;
}

export interface Base {
  readonly type: string;
  readonly hook: number;
  readonly priority: number;
  policy: number;
  devices: string[];
  /** Its hook is on devices. */
  readonly onDevices: boolean;
  counters: { packets: bigint; bytes: bigint } | undefined;
  /** When its hooks were registered: of equal priorities the last is the first. */
  registered: number;
}

export interface Chain {
  readonly table: Table;
  name: string;
  readonly handle: number;
  readonly base: Base | undefined;
  flags: number;
  rules: Rule[];
  /** Rules and elements that jump to it. */
  jumps: number;
  /** It belongs to one rule and goes with it. */
  readonly binding: boolean;
  bound: boolean;
  readonly userdata: Uint8Array | undefined;
}

export interface Element {
  readonly key: Uint8Array | undefined;
  readonly keyEnd: Uint8Array | undefined;
  readonly flags: number;
  data: Uint8Array | undefined;
  verdict: Verdict | undefined;
  object: NftObject | undefined;
  expressions: Expression[];
  /** Milliseconds; undefined where it has none. */
  timeout: bigint | undefined;
  /** On the kernel's clock, in milliseconds. */
  expires: bigint | undefined;
  readonly userdata: Uint8Array | undefined;
}

export interface NftSet {
  /** The starts and ends of a set of intervals in their order, for as long as the set stays as it is. */
  sorted?: readonly Element[] | undefined;
  readonly table: Table;
  readonly name: string;
  handle: number;
  readonly flags: number;
  readonly keyType: number;
  readonly keyLength: number;
  readonly dataType: number;
  readonly dataLength: number;
  readonly objectType: number;
  readonly policy: number;
  /** The lengths of the fields of a concatenation. */
  readonly fields: readonly number[];
  size: number;
  timeout: bigint;
  gcInterval: number;
  readonly userdata: Uint8Array | undefined;
  /** Its message had expressions: they keep it out of a bitmap. */
  readonly hasExpressions: boolean;
  expressions: readonly Expression[];
  /** By the hexadecimal digits of key, end and flags, in the order in which they came. */
  elements: Map<string, Element>;
  catchAll: Element | undefined;
  /** Expressions that refer to it. */
  users: number;
  bound: boolean;
  /** When expired elements were last looked for, on the kernel's clock; undefined before the first time. */
  collected: bigint | undefined;
}

export interface NftObject {
  readonly table: Table;
  readonly name: string;
  readonly type: number;
  readonly handle: number;
  values: Record<string, Value>;
  state: Record<string, bigint>;
  users: number;
  readonly userdata: Uint8Array | undefined;
}

export interface Flowtable {
  readonly table: Table;
  readonly name: string;
  readonly handle: number;
  readonly hook: number;
  readonly priority: number;
  devices: string[];
  flags: number;
  users: number;
}

export interface Table {
  readonly family: number;
  readonly name: string;
  readonly handle: number;
  flags: number;
  readonly userdata: Uint8Array | undefined;
  /** The port of the socket that owns it. */
  owner: number | undefined;
  chains: Chain[];
  sets: NftSet[];
  objects: NftObject[];
  flowtables: Flowtable[];
  /** One counter for all that is in the table, which never goes back. */
  lastHandle: number;
}

export interface NfTables {
  tables: Table[];
  generation: number;
  lastTableHandle: number;
  /** How many hooks have been registered. */
  registrations: number;
}

export const newNfTables = (): NfTables => ({ tables: [], generation: 1, lastTableHandle: 0, registrations: 0 });
