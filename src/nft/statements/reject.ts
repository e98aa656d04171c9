import { oneOf } from '../../errors.ts';
import { addProtocol } from '../compile/header.ts';
import type { Evaluator } from '../compile/ir.ts';
import { entryOf, type Fields, fieldsOf } from '../compile/json-fields.ts';
import { emit } from '../compile/lower.ts';
import { type Datatype, TYPES } from '../data/datatypes.ts';
import { describeType } from '../data/descriptions.ts';
import { SCOPES } from '../data/scopes.ts';
import type { ICMP_CODE, ICMPV6_CODE, ICMPX_CODE } from '../data/symbols.ts';
import { rejectCodeName } from '../decompile/format-value.ts';
import { word } from '../decompile/kernel-words.ts';
import { LINK, NETWORK, numberFor, TRANSPORT } from '../headers.ts';
import type { AddressFamily } from '../json.ts';
import type { Json, JsonObject } from '../json-object.ts';
import { setType, value } from '../nodes.ts';
import type { Parser } from '../parse/parser.ts';
import { T } from '../parse/tokens.ts';
import type { ProtocolContext } from '../protocol-context.ts';
import { Place, refuse, refuseWith, statementOf, type Value } from '../tree.ts';
import { isAddressFamily } from './address.ts';
import type { Completion, Construct } from './construct.ts';

/* `reject`: drops the packet and tells its sender. */

/** The ICMP messages: the type of their codes, and the code for a port that nobody listens on. */
const MESSAGES = {
  icmp: { name: 'icmp', family: 'ip', codes: TYPES.icmp_code, portUnreachable: 3 },
  icmpv6: { name: 'icmpv6', family: 'ip6', codes: TYPES.icmpv6_code, portUnreachable: 4 },
  /** The message of the packet's own family. */
  icmpx: { name: 'icmpx', family: undefined, codes: TYPES.icmpx_code, portUnreachable: 1 },
} as const;
type Message = keyof typeof MESSAGES;
type Codes = { icmp: typeof ICMP_CODE; icmpv6: typeof ICMPV6_CODE; icmpx: typeof ICMPX_CODE };
const OF_FAMILY = { ip: 'icmp', ip6: 'icmpv6' } as const;

/** The code of an ICMP message: a name or a number. */
export type RejectCode<M extends Message = Message> = keyof Codes[M] | number;

/**
 * The answer to a packet that is rejected. Without a type it is the ICMP message of the packet's family (icmpx), with a code of that
 * message; with a type alone, the code is 0.
 */
export type Reject =
  | {
      /** The kind of answer. */
      type: 'tcp reset';
      /** The code of the answer. */
      expr?: never;
    }
  | {
      [M in Message]: {
        /** The kind of answer. */
        type: M;
        /** The code of the answer. */
        expr?: RejectCode<M>;
      };
    }[Message]
  | {
      /** The kind of answer. */
      type?: never;
      /** The code of the answer. */
      expr?: RejectCode<'icmpx'>;
    };

export interface RejectStatement {
  kind: 'reject';
  type: 'icmp-unreachable' | 'tcp-reset' | 'icmpx-unreachable';
  code: Value;
  /** The family of the ICMP message, once it is known. */
  family: AddressFamily | undefined;
  /** The code is shown even if it is the default. */
  verbose: boolean;
}

/** Reads the name of a code. Some of them are variables. */
function readCode(p: Parser): Json {
  if (p.kind === T.DOLLAR) return p.grammar.constant(p);
  if (!p.isString() && p.kind !== T.QUOTED) p.unexpected('number', 'string', 'type');
  const { text } = p;
  p.next();
  return text;
}

export const REJECT: Construct<RejectStatement, 'reject'> = {
  compile: {
    reject(e, json, place) {
      const fields = json === null || json === undefined ? {} : fieldsOf(json, place);
      const { family } = e.scope;
      if (family === 'arp')
        throw refuse(place, 'a rule of another family than arp', family, 'cannot use reject with arp');
      if (fields.type === 'tcp reset') resetConnection(e, place);
      else sendMessage(e, fields, place);
    },
  },
  fromText: {
    reject(p) {
      if (!p.acceptWord('with')) {
        p.hold(SCOPES.reject);
        return { reject: null };
      }
      if (p.acceptWord('tcp')) {
        p.expectWord('reset');
        return { reject: { type: 'tcp reset' } };
      }
      const { text: type } = p;
      if (p.kind !== T.WORD || !Object.hasOwn(MESSAGES, type))
        return p.unexpectedIn(SCOPES.reject, 'icmp', 'icmpv6', 'tcp', 'icmpx');
      p.next();
      p.acceptWord('type');
      const content: JsonObject = { type };
      const { start } = p;
      content.expr = p.within(SCOPES.reject, () => (p.is(T.NUMBER) ? p.whole() : readCode(p)));
      p.note(content, 'expr', start);
      return { reject: content };
    },
  },
  read: {
    reject: (_, { type, code = 0 }) => ({
      kind: 'reject',
      type: word(type),
      code: value(8, BigInt(code), TYPES.integer, 'host'),
      family: undefined,
      verbose: false,
    }),
  },
  complete,
  text({ type, family, code, verbose }) {
    if (type === 'tcp-reset') return 'reject with tcp reset';
    const message = messageOf(type, family);
    if (message === undefined) return 'reject';
    const isDefault = (message === 'icmpx' || !verbose) && Number(code.value) === MESSAGES[message].portUnreachable;
    return isDefault ? 'reject' : `reject with ${message} ${rejectCodeName(code)}`;
  },
  json({ type, family, code }) {
    if (type === 'tcp-reset') return { reject: { type: 'tcp reset' } };
    const message = messageOf(type, family);
    return { reject: message === undefined ? null : { type: message, expr: rejectCodeName(code) } };
  },
  ends: () => true,
};

function messageOf(type: RejectStatement['type'], family: AddressFamily | undefined): Message | undefined {
  if (type === 'icmpx-unreachable') return 'icmpx';
  return family === undefined ? undefined : OF_FAMILY[family];
}

function resetConnection(e: Evaluator, place: Place): void {
  const { scope } = e;
  const transport = scope.at(TRANSPORT);
  if (transport !== undefined && transport !== 'tcp')
    throw refuseWith(
      scope.toldTransport,
      place,
      'a match of tcp',
      transport,
      'you cannot use tcp reset with this protocol',
    );
  if (transport === undefined) prepend(e, () => addProtocol(e, scope.at(NETWORK) ?? 'inet-service', 'tcp', { place }));
  emit(e, { reject: { type: 'tcp-reset', code: 0 } });
}

function sendMessage(e: Evaluator, { type, expr }: Fields, place: Place): void {
  const { family } = e.scope;
  const network = e.scope.at(NETWORK);
  let message: Message;
  let code: number;
  if (type === undefined && expr === undefined) {
    const known = isAddressFamily(family) ? family : isAddressFamily(network) ? network : undefined;
    message = known === undefined ? 'icmpx' : OF_FAMILY[known];
    code = MESSAGES[message].portUnreachable;
  } else {
    message = entryOf(MESSAGES, type ?? 'icmpx', new Place(place, 'type')).name;
    code = codeOf(expr, MESSAGES[message].codes, new Place(place, 'expr'));
  }
  const { family: wanted } = MESSAGES[message];
  if (wanted === undefined) {
    if (isAddressFamily(family))
      throw refuseWith(
        statementOf(place),
        new Place(place, 'expr'),
        'icmp or icmpv6 in a rule of one family',
        'icmpx',
        'abstracted ICMP unreachable not supported',
      );
    emit(e, { reject: { type: 'icmpx-unreachable', code } });
    return;
  }
  if (network === undefined) {
    const link = e.scope.at(LINK) ?? family;
    const below = family === 'bridge' && link === 'ether' ? 'netdev' : link;
    prepend(e, () => addProtocol(e, below, wanted, { place }));
  } else if (network !== wanted) {
    throw refuseWith(
      e.scope.toldNetwork ?? statementOf(place),
      new Place(place, 'expr'),
      `the code of ${network}`,
      message,
      isAddressFamily(network)
        ? 'conflicting protocols specified: ip vs ip6'
        : 'cannot infer ICMP reject variant to use: explicit value required.\n',
    );
  }
  emit(e, { reject: { type: 'icmp-unreachable', code } });
}

function codeOf(json: unknown, type: Datatype, place: Place): number {
  const { symbols = {} } = type;
  if (json === undefined) return 0;
  if (typeof json === 'string' && Object.hasOwn(symbols, json)) return symbols[json]!;
  const number = typeof json === 'string' && /^\d+$/.test(json) ? Number(json) : json;
  if (typeof number !== 'number' || !Number.isInteger(number) || number < 0 || number > 255)
    throw refuse(
      place,
      `0 to 255, or ${oneOf(Object.keys(symbols), json)}`,
      json,
      `Could not parse ${describeType(type)}`,
    );
  return number;
}

/** The match on the protocol comes before all else: only packets that are rejected are logged and counted before that. */
function prepend(e: Evaluator, work: () => void): void {
  const before = e.steps;
  e.steps = [];
  work();
  e.steps = [...e.steps, ...before];
}

/** Finds the family of the message, and leaves out the matches that the message needs anyway. */
function complete(statement: RejectStatement, rule: Completion): void {
  const { context } = rule;
  const give = (message: Message) => setType(statement.code, MESSAGES[message].codes, statement.code.order);
  if (isAddressFamily(context.family)) {
    statement.family = context.family;
    give(OF_FAMILY[context.family]);
    if (statement.type === 'tcp-reset') rule.release(TRANSPORT);
    return;
  }
  if (statement.type === 'icmpx-unreachable') {
    give('icmpx');
    return;
  }
  statement.verbose = true;
  const family = networkFamily(context);
  if (family !== undefined) {
    statement.family = family;
    give(OF_FAMILY[family]);
  }
  rule.release(NETWORK);
}

/** The family of the packet, if the link layer announces it. */
function networkFamily(context: ProtocolContext): AddressFamily | undefined {
  const [link, network] = [context.header(LINK), context.header(NETWORK)];
  if (link === undefined || network === undefined || numberFor(link, network) === undefined) return undefined;
  return isAddressFamily(network.name) ? network.name : undefined;
}
