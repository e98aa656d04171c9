import { SCOPES, scopeOf } from '../data/scopes.ts';
import { readSeconds } from '../parse/times.ts';
import { T } from '../parse/tokens.ts';
import { LIMIT } from '../statements/limit.ts';
import { QUOTA } from '../statements/quota.ts';
import { exactNumber } from '../statements/state.ts';
import { BYTE_UNITS, type ByteUnit } from '../statements/units.ts';
import { hook, priority } from './chains.ts';
import { comment, devices, family } from './names.ts';
import type { Fields, Reader } from './reader.ts';

/* Objects with names (counters, quotas, helpers of connection tracking and the like), and flowtables. */

/** Reads the settings of one kind of object, as a command or a block has them. */
type Settings = (reader: Reader, object: Fields) => void;

interface ObjectKind {
  /** The settings. */
  readonly settings: Settings;
  /** The settings may stand behind the name, without a block. */
  readonly bare: boolean;
  /** Settings in the block have a separator behind them. */
  readonly separated: boolean;
}

interface QuotaText {
  val: number | bigint;
  val_unit: ByteUnit;
  used?: number | bigint;
  used_unit?: ByteUnit;
  inv?: boolean;
}

const inBytes = (amount: number | bigint, unit: ByteUnit): number | bigint =>
  exactNumber(BigInt(amount) * BigInt(BYTE_UNITS[unit]));

const PROTOCOLS: readonly string[] = ['tcp', 'udp'];

/** What an object has whose block does not say it. */
const UNUSED: Readonly<Record<string, Fields>> = {
  counter: { packets: 0, bytes: 0 },
  quota: { bytes: 0, used: 0, inv: false },
};

const counter: Settings = ({ parser }, object) => {
  if (!parser.acceptWord('packets')) parser.unexpectedIn(SCOPES.counter);
  object.packets = parser.number();
  parser.expectWord('bytes');
  object.bytes = parser.number();
};

const quota: Settings = ({ parser }, object) => {
  const { val, val_unit, used = 0, used_unit = 'bytes', inv = false } = QUOTA.fromText(parser) as unknown as QuotaText;
  Object.assign(object, { bytes: inBytes(val, val_unit), used: inBytes(used, used_unit), inv });
};

const limit: Settings = ({ parser }, object) => {
  if (!parser.isWord('rate')) parser.unexpectedIn(SCOPES.limit);
  Object.assign(object, LIMIT.fromText(parser));
};

const secmark: Settings = ({ parser }, object) => {
  const { start } = parser;
  object.context = parser.string();
  parser.note(object, 'context', start);
};

const synproxy: Settings = ({ parser }, object) => {
  if (!parser.acceptWord('mss')) parser.unexpected();
  object.mss = parser.whole();
  if (!parser.isWord('wscale')) {
    if (!parser.isSeparator()) parser.unexpected('newline', 'semicolon', 'wscale');
    parser.separators();
  }
  parser.expectWord('wscale');
  object.wscale = parser.whole();
  const flags: string[] = [];
  parser.separators();
  while (parser.isWord('timestamp') || parser.isWord('sack-perm')) {
    flags.push(parser.text);
    parser.next();
    parser.separators();
  }
  if (flags.length > 0) object.flags = flags;
};

function protocol({ parser }: Reader, object: Fields): void {
  const { start, text } = parser;
  if (parser.kind !== T.WORD || !PROTOCOLS.includes(text)) parser.unexpected('udp', 'tcp');
  parser.next();
  object.protocol = text;
  parser.note(object, 'protocol', start);
}

/** Reads `l3proto FAMILY`. True if it was there. */
function networkProtocol(reader: Reader, object: Fields): boolean {
  const { parser } = reader;
  const { start } = parser;
  if (!parser.acceptWord('l3proto')) return false;
  const own = parser.family;
  const found = family(reader);
  parser.family = own;
  if (found === undefined) parser.unexpected();
  object.l3proto = found;
  parser.note(object, 'l3proto', start);
  return true;
}

const ctHelper: Settings = (reader, object) => {
  const { parser } = reader;
  if (networkProtocol(reader, object)) return;
  if (!parser.acceptWord('type')) parser.unexpected();
  const { start } = parser;
  if (!parser.is(T.QUOTED)) parser.unexpected('quoted string');
  object.type = parser.text;
  parser.next();
  parser.note(object, 'type', start);
  parser.expectWord('protocol');
  protocol(reader, object);
};

const ctTimeout: Settings = (reader, object) => {
  const { parser } = reader;
  if (networkProtocol(reader, object)) return;
  if (parser.acceptWord('protocol')) {
    protocol(reader, object);
    return;
  }
  if (!parser.acceptWord('policy')) parser.unexpected();
  parser.expect(T.ASSIGN);
  parser.expect(T.LBRACE);
  const policy: Fields = {};
  do {
    parser.newlines();
    if (parser.is(T.RBRACE)) break;
    const { start } = parser;
    const state = parser.name();
    parser.expect(T.COLON);
    policy[state] = parser.is(T.NUMBER) || !parser.dialect.printsTimeoutUnits ? parser.whole() : readSeconds(parser);
    parser.noteSpan(policy, state, start, start + state.length);
    parser.newlines();
  } while (parser.accept(T.COMMA));
  if (!parser.accept(T.RBRACE)) parser.unexpected('comma', "'}'");
  object.policy = policy;
};

const ctExpectation: Settings = (reader, object) => {
  const { parser } = reader;
  if (networkProtocol(reader, object)) return;
  const { start } = parser;
  if (parser.acceptWord('protocol')) protocol(reader, object);
  else if (parser.acceptWord('dport')) object.dport = parser.whole();
  else if (parser.acceptWord('timeout')) object.timeout = readSeconds(parser) * 1000;
  else if (parser.acceptWord('size')) object.size = parser.whole();
  else parser.unexpected();
  parser.note(object, 'expectation', start);
};

const ofState = (settings: Settings): ObjectKind => ({ settings, bare: true, separated: false });
const ofConnections = (settings: Settings): ObjectKind => ({ settings, bare: false, separated: true });

/** The kinds of objects by nft's words; those of connection tracking have two. */
export const OBJECT_KINDS: ReadonlyMap<string, ObjectKind> = /* @__PURE__ */ new Map([
  ['counter', ofState(counter)],
  ['quota', ofState(quota)],
  ['limit', ofState(limit)],
  ['secmark', ofState(secmark)],
  ['synproxy', ofState(synproxy)],
  ['ct helper', ofConnections(ctHelper)],
  ['ct timeout', ofConnections(ctTimeout)],
  ['ct expectation', ofConnections(ctExpectation)],
]);

/** Reads the words of a kind of object; undefined if there are none. */
export function objectKind({ parser }: Reader): string | undefined {
  if (parser.kind !== T.WORD) return undefined;
  const { text } = parser;
  if (text === 'ct') {
    parser.next();
    for (const word of ['helper', 'timeout', 'expectation']) {
      if (!parser.acceptWord(word)) continue;
      parser.hold(SCOPES.ct);
      return `ct ${word}`;
    }
    return parser.unexpectedIn(SCOPES.ct, 'timeout', 'expectation', 'helper');
  }
  if (!OBJECT_KINDS.has(text)) return undefined;
  parser.next();
  const scope = scopeOf(text);
  if (scope !== undefined) parser.hold(scope);
  return text;
}

/** Reads the block of an object, alone or within that of its table. */
export function objectBlock(reader: Reader, kind: string, object: Fields, isInner = false): void {
  const { parser } = reader;
  const { settings, separated } = OBJECT_KINDS.get(kind)!;
  const outer = parser.scope;
  if (kind.startsWith('ct ')) parser.scope = SCOPES.ct;
  Object.assign(object, UNUSED[kind]);
  reader.block(() => {
    if (parser.isWord('comment')) comment(reader, object);
    else {
      settings(reader, object);
      if (separated) parser.separator();
    }
  }, isInner);
  if (kind.startsWith('ct ')) parser.scope = outer;
}

/** Reads the settings behind a name: a block, the settings alone, or nothing. */
export function objectContent(reader: Reader, kind: string, object: Fields): void {
  const { parser } = reader;
  const { settings, bare } = OBJECT_KINDS.get(kind)!;
  if (parser.is(T.LBRACE)) objectBlock(reader, kind, object);
  else if (!bare) parser.unexpected("'{'");
  else if (kind === 'counter' && (parser.isSeparator() || parser.is(T.EOF))) Object.assign(object, UNUSED.counter);
  else if (kind === 'counter' && !parser.isWord('packets')) parser.unexpected('end of file', 'newline', 'semicolon');
  else if (kind === 'limit' && !parser.isWord('rate')) parser.unexpectedIn(SCOPES.limit, 'rate', "'{'");
  else settings(reader, object);
}

/** Reads the block of a flowtable, alone or within that of its table. */
export function flowtableBlock(reader: Reader, flowtable: Fields, isInner = false): void {
  const { parser } = reader;
  const flags: string[] = [];
  reader.block(() => {
    const { start } = parser;
    if (parser.acceptWord('hook')) {
      hook(reader, flowtable);
      priority(reader, flowtable);
    } else if (parser.acceptWord('devices')) {
      parser.expect(T.ASSIGN);
      const list = devices(reader);
      flowtable.dev = list.length === 1 ? list[0] : list;
      parser.note(flowtable, 'dev', start);
    } else if (parser.acceptWord('counter')) flags.push('counter');
    else if (parser.acceptWord('flags')) {
      parser.expectWord('offload');
      flags.push('offload');
    } else parser.unexpected();
    parser.separator();
  }, isInner);
  if (flags.length > 0) flowtable.flags = flags;
}
