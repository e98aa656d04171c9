import { lazy } from '../../codec/lazy.ts';
import { typeError } from '../../errors.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import type { Evaluator } from '../compile/ir.ts';
import { type Fields, onlyKey } from '../compile/json-fields.ts';
import type { Compile } from '../compile/lower.ts';
import type { Registers } from '../decompile/registers.ts';
import type { JsonOptions } from '../decompile/to-json.ts';
import type { TextOptions } from '../decompile/to-text.ts';
import type {
  AddressFamily,
  JsonExpression,
  PacketExpression,
  TcpOptionReference,
  VerdictExpression,
} from '../json.ts';
import type { Json } from '../json-object.ts';
import type { ReadStatement } from '../parse/parser.ts';
import { type Node, Place } from '../tree.ts';
import type { Completion, Construct } from './construct.ts';
import { DUP } from './dup.ts';
import { DYNAMIC_SET, type MapStatement, type SetStatement } from './dynamic-set.ts';
import { FLOW } from './flow.ts';
import { FWD } from './fwd.ts';
import { LOG, type Log } from './log.ts';
import { MANGLE } from './mangle.ts';
import { MATCH, type Match } from './match.ts';
import { METER } from './meter.ts';
import { type AddressNat, NAT, type PortNat } from './nat.ts';
import { NOTRACK } from './notrack.ts';
import { OBJECT, STATEFUL } from './object-reference.ts';
import { QUEUE, type QueueFlag } from './queue.ts';
import { compileRaw } from './raw.ts';
import { REJECT, type Reject } from './reject.ts';
import { RESET } from './reset.ts';
import { type ObjectReferenceExpression, STATES, type Stateful } from './stateful.ts';
import { SYNPROXY, type SynproxyOptions } from './synproxy.ts';
import { TPROXY } from './tproxy.ts';
import { VERDICT } from './verdict.ts';
import { XT } from './xt.ts';

/* All statements of nft's language. Each has a file with its construct, and one line in each of the two lists here. */

/** By `kind`. If several read the same expression of the kernel, the first one that returns a statement counts. */
const CONSTRUCTS = {
  match: MATCH,
  verdict: VERDICT,
  mangle: MANGLE,
  reset: RESET,
  nat: NAT,
  tproxy: TPROXY,
  log: LOG,
  reject: REJECT,
  queue: QUEUE,
  'dynamic-set': DYNAMIC_SET,
  meter: METER,
  flow: FLOW,
  fwd: FWD,
  dup: DUP,
  notrack: NOTRACK,
  synproxy: SYNPROXY,
  object: OBJECT,
  xt: XT,
};

/** A chain without a name, which belongs to the rule that jumps to it. `apply` makes it. nft has this in its text only. */
export interface OwnChain {
  /** The rules of the chain. */
  rules: {
    /** The statements of the rule. */
    expr: Statement[];
    /** A comment, as nft shows it. */
    comment?: string;
  }[];
}

/** One statement of a rule. */
export type Statement =
  | VerdictExpression
  /** `jump { ... }`: goes through these rules, and comes back. */
  | {
      /** Goes on in another chain, and comes back. */
      jump: OwnChain;
    }
  | {
      /** Goes on in another chain, and does not come back. */
      goto: OwnChain;
    }
  | Stateful
  | {
      /** Ends the rule for packets that do not match. */
      match: Match;
    }
  /** Writes a field, the packet's meta data, or the connection's. */
  | {
      /** Writes a field. */
      mangle: {
        /** The field, or the key of the map. */
        key: PacketExpression;
        /** The new value. */
        value: JsonExpression;
      };
    }
  /** A map from keys to verdicts. */
  | {
      /** The verdict that a map has for a key. */
      vmap: {
        /** The field, or the key of the map. */
        key: JsonExpression;
        /** The map: its pairs, or its name with '@'. */
        data: JsonExpression;
      };
    }
  | {
      /** Rewrites the source of connections. */
      snat: AddressNat | null;
    }
  | {
      /** Rewrites the destination of connections. */
      dnat: AddressNat | null;
    }
  | {
      /** Rewrites the source to the address of the device. */
      masquerade: PortNat | null;
    }
  | {
      /** Sends the packet to this host. */
      redirect: PortNat | null;
    }
  | {
      /** Logs the packet. */
      log: Log | null;
    }
  | {
      /** Drops the packet and tells its sender. */
      reject: Reject | null;
    }
  | {
      /** Hands the packet to a program. */
      queue: {
        /** The queue, or a range. */
        num?: JsonExpression;
        /** 'bypass' and 'fanout'. */
        flags?: QueueFlag | QueueFlag[];
      } | null;
    }
  | {
      /** Changes a set. */
      set: SetStatement;
    }
  | {
      /** Changes a map. */
      map: MapStatement;
    }
  /** A dynamic set in the words of nft before 0.9.1. It becomes a named set, which stays when the rule is deleted. */
  | {
      /** Changes a set of its own; nft's older form. */
      meter: {
        /** The name. */
        name: string;
        /** The field, or the key of the map. */
        key: JsonExpression;
        /** The states that each element gets. */
        stmt: Stateful;
        /** The largest number of elements. */
        size?: number;
      };
    }
  | {
      /** Lets a flowtable forward the rest of the connection. */
      flow: {
        /** 'add'. */
        op: 'add';
        /** Its name, with '@'. */
        flowtable: string;
      };
    }
  | {
      /** Sends the packet out by another device. */
      fwd: {
        /** The device. */
        dev: JsonExpression;
        /** The family of the address. */
        family?: AddressFamily;
        /** The address. */
        addr?: JsonExpression;
      };
    }
  | {
      /** Sends a copy to another host. */
      dup: {
        /** The address. */
        addr: JsonExpression;
        /** The device. */
        dev?: JsonExpression;
      };
    }
  | {
      /** Keeps the packet out of connection tracking. */
      notrack: null;
    }
  | {
      /** Gives the packet to a local socket. */
      tproxy: {
        /** The family of the address. */
        family?: AddressFamily;
        /** The address. */
        addr?: JsonExpression;
        /** The port of the socket. */
        port?: JsonExpression;
      };
    }
  | {
      /** Answers handshakes in the server's place. */
      synproxy: SynproxyOptions | null | ObjectReferenceExpression;
    }
  /** Takes an option out of the TCP header. */
  | {
      /** Takes a TCP option out of the header. */
      reset: {
        /** The option. */
        'tcp option': TcpOptionReference;
      };
    }
  | {
      /** Gives the packet a security context. */
      secmark: ObjectReferenceExpression;
    }
  | {
      /** Gives the packet the settings of a tunnel. */
      tunnel: ObjectReferenceExpression;
    }
  | {
      /** Gives the connection a helper. */
      'ct helper': ObjectReferenceExpression;
    }
  | {
      /** Gives the connection timeouts. */
      'ct timeout': ObjectReferenceExpression;
    }
  | {
      /** Expects another connection. */
      'ct expectation': ObjectReferenceExpression;
    }
  /** A match or target of xtables: nft prints it, and cannot read it. */
  | {
      /** A match or target of xtables. */
      xt: {
        /** 'match' or 'target'. */
        type: string;
        /** The name. */
        name: string;
      } | null;
    }
  /** The kernel's own expressions, where nft has no words. */
  | {
      /** Expressions of the kernel that nft has no words for. */
      raw: Expression[];
    };

type StatementOf<C> = C extends Construct<infer S, infer _> ? S : never;
/** A statement as it was read from the kernel's expressions, before it is put into words. */
export type FlowStatement = StatementOf<(typeof CONSTRUCTS)[keyof typeof CONSTRUCTS] | typeof STATEFUL>;

type Names<C> = C extends Construct<infer _, infer N> ? N : never;
type Keys<S> = S extends unknown ? keyof S : never;
type Compiled = Names<(typeof CONSTRUCTS)[keyof typeof CONSTRUCTS] | typeof STATEFUL> | 'raw';
/** A name that only one of the lists has is an error of types here. */
type Compilers = Readonly<
  Record<Exclude<Keys<Statement>, 'xt'>, Compile> & Record<Exclude<Compiled, Keys<Statement>>, never>
>;

const ALL = /* @__PURE__ */ [...Object.values(CONSTRUCTS), STATEFUL] as unknown as readonly AnyConstruct[];
type AnyConstruct = Construct<FlowStatement, Compiled>;
type Reader = (registers: Registers, expression: never) => FlowStatement | undefined;

/** The compilers, by the names of nft's JSON. */
const COMPILERS: Compilers = /* @__PURE__ */ Object.assign(
  { raw: compileRaw },
  .../* @__PURE__ */ ALL.map(({ compile }) => compile),
);

/** The readers, by the kernel's names of expressions. */
const READERS = /* @__PURE__ */ lazy((): ReadonlyMap<string, readonly Reader[]> => {
  const readers = new Map<string, Reader[]>();
  for (const { read } of ALL)
    for (const [name, reader] of Object.entries(read))
      readers.set(name, [...(readers.get(name) ?? []), reader as Reader]);
  return readers;
});

/** How nft's text begins the statements, by the first words. */
export const STATEMENT_TEXTS: ReadonlyMap<string, ReadStatement> = /* @__PURE__ */ new Map(
  /* @__PURE__ */ ALL.flatMap(({ fromText }) => Object.entries(fromText ?? {})),
);

const rowOf = (kind: FlowStatement['kind']): AnyConstruct =>
  (Object.hasOwn(STATES, kind) ? STATEFUL : CONSTRUCTS[kind as keyof typeof CONSTRUCTS]) as unknown as AnyConstruct;

/** What was expected in the place of something that is no statement, and how it becomes one. */
function statementFor(given: unknown): string {
  if (typeof given === 'function') return 'a statement (call the function)';
  if (typeof given === 'string') return 'a statement: an object, not text';
  if (Array.isArray(given)) return 'a statement, not a list: spread it with ...';
  if (typeof given === 'object' && given !== null && 'expression' in given)
    return 'a statement: a field becomes one by .eq(value), .in([...]) or .set(value)';
  return 'a statement: an object with one key';
}

/** From a statement of nft's JSON to steps, each of which gives expressions of the kernel. */
export function compileStatement(e: Evaluator, statement: unknown, place: Place): void {
  const name = onlyKey(statement, place, statementFor(statement));
  if (!Object.hasOwn(COMPILERS, name)) {
    const known = Object.keys(COMPILERS).join(', ');
    throw typeError(place.path, `a statement (${known})`, statement, 'ERR_UNKNOWN_FIELD');
  }
  COMPILERS[name as keyof Compilers](e, (statement as Fields)[name], new Place(place, name), name);
}

/**
 * The statement that an expression of the kernel ends; undefined for one that only loads a register.
 * @throws Undecompilable where nft has no words for it
 */
export function readStatement(registers: Registers, expression: Expression): FlowStatement | undefined {
  for (const name in expression) {
    const content = (expression as unknown as Record<string, { unknown?: unknown }>)[name]!;
    if (content.unknown !== undefined) return undefined;
    for (const read of READERS().get(name) ?? []) {
      const statement = read(registers, content as never);
      if (statement !== undefined) return statement;
    }
  }
  return undefined;
}

/** Gives the values of a statement their types, once the protocols of the packet are known. */
export const completeStatement = (statement: FlowStatement, rule: Completion): void =>
  rowOf(statement.kind).complete?.(statement, rule);

/** As `nft list ruleset` prints a statement. */
export const statementText = (statement: FlowStatement, options: TextOptions): string =>
  rowOf(statement.kind).text(statement, options);

/** As `nft -j list ruleset` has a statement. */
export const statementJson = (statement: FlowStatement, options: JsonOptions): Json =>
  rowOf(statement.kind).json(statement, options);

/** The statements of a rule in nft's JSON, for callers. */
export const statementsJson = (statements: readonly FlowStatement[], options: JsonOptions): Statement[] =>
  statements.map(statement => statementJson(statement, options)) as unknown[] as Statement[];

/** Must the statement be the last one of its rule? nft reads no others behind it. */
export const endsRule = (statement: FlowStatement): boolean => rowOf(statement.kind).ends?.(statement) ?? false;

/** The part of the packet that a statement looks at, if that can be inside a tunnel. */
export const looksAt = (statement: FlowStatement): Node | undefined => rowOf(statement.kind).looksAt?.(statement);
