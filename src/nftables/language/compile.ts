import {
  type Context,
  HOST_IS_LITTLE_ENDIAN,
  listOf,
  parseIPv6,
  readIPv4,
  sourceOf,
  type Type,
  toHex,
} from '../../codec/index.ts';
import { type Path, rangeError, typeError, within } from '../../errors.ts';
import * as C from '../constants.ts';
import { EXPRESSION, type Expression } from '../expression.ts';
import { type Family, familyName } from '../family.ts';
import { type HeaderField, IP_PROTOCOLS, PROTOCOL_FIELDS, TRANSPORTS } from './protocols.ts';
import type { LeftSide, Log, Match, Origin, PayloadExpression, Redirect, RightSide, Statement } from './statement.ts';

/** A value's place and form in a register. */
interface Operand {
  /** Bytes. */
  readonly length: number;
  readonly type: HeaderField['type'] | 'device';
  /** Registers hold meta data in the host's byte order, the packet's fields in the network's. */
  readonly hostOrder: boolean;
}

const META_OPERANDS: Record<string, Operand> = {
  l4proto: { length: 1, type: 'protocol', hostOrder: false },
  nfproto: { length: 1, type: 'number', hostOrder: false },
  mark: { length: 4, type: 'number', hostOrder: true },
  skuid: { length: 4, type: 'number', hostOrder: true },
  skgid: { length: 4, type: 'number', hostOrder: true },
  iif: { length: 4, type: 'number', hostOrder: true },
  oif: { length: 4, type: 'number', hostOrder: true },
  iifname: { length: 16, type: 'device', hostOrder: false },
  oifname: { length: 16, type: 'device', hostOrder: false },
};

const OPERATORS = new Map<unknown, 'eq' | 'neq' | 'lt' | 'gt' | 'lte' | 'gte'>([
  ['==', 'eq'],
  ['!=', 'neq'],
  ['<', 'lt'],
  ['>', 'gt'],
  ['<=', 'lte'],
  ['>=', 'gte'],
]);
const NAT_FLAGS = { random: 'random', persistent: 'persistent', 'fully-random': 'fully-random' } as const;
const VERDICTS = ['accept', 'drop', 'continue', 'return', 'jump', 'goto'] as const;
const REGISTER = C.NFT_REG_1;

const EXPRESSIONS_LIST = listOf(C.NFTA_LIST_ELEM, EXPRESSION);
const RIGHT: Path = ['right'];
const PORT: Path = ['port'];
const PORT_OPERAND: Operand = { length: 2, type: 'port', hostOrder: false };

/**
 * Translates nft's statements into the kernel's expressions, as nft does: `nft list` prints the rule as a person would have written it.
 * `origin[i]` is the path of the statement that expression i came from.
 * @throws TypeError, RangeError with the path of what cannot be translated
 */
export function compileRule(rule: { family: Family; chain?: string; statements: Statement[] }): {
  expressions: Expression[];
  origin: Origin;
} {
  const compiler = new Compiler(rule.family);
  try {
    compiler.statements(rule.statements);
  } catch (error) {
    throw within(error, ['statements']);
  }
  return { expressions: compiler.expressions, origin: compiler.origin };
}

const places: Path[] = [];

/** The path of the statement at an index: the same array each time, for each expression of each rule refers to one. */
function placeOf(index: number): Path {
  places[index] ??= ['statements', index];
  return places[index];
}

/** What a caller of `STATEMENTS.write` finds in its context afterwards. */
export interface StatementContext extends Context {
  origin?: Origin;
}

/** A rule's statements as one attribute: compiled, and written as the list of expressions that they are to the kernel. */
export const STATEMENTS: Type<Statement[]> = {
  kind: 'list',
  write(writer, statements, context: StatementContext) {
    const compiler = new Compiler(familyName(context.family) as Family);
    compiler.statements(statements);
    context.origin = compiler.origin;
    EXPRESSIONS_LIST.write(writer, compiler.expressions, context);
  },
  read: () => undefined,
};

class Compiler {
  readonly expressions: Expression[] = [];
  readonly origin: Origin = [];
  #at: Path = [];
  /** What earlier matches have established: no need to ask again. */
  #network: number | undefined;
  #transport: number | undefined;

  constructor(family: Family) {
    if (family === 'ip') this.#network = C.NFPROTO_IPV4;
    if (family === 'ip6') this.#network = C.NFPROTO_IPV6;
  }

  #emit(expression: Expression): void {
    this.expressions.push(expression);
    this.origin.push(this.#at);
  }

  statements(statements: readonly Statement[]): void {
    if (!Array.isArray(statements)) throw typeError([], 'an array of statements', statements);
    for (let i = 0; i < statements.length; i++) {
      this.#at = placeOf(i);
      try {
        this.#statement(statements[i]);
      } catch (error) {
        throw within(error, [i]);
      }
    }
  }

  #statement(statement: Statement): void {
    let kind: string | undefined;
    let more = false;
    if (typeof statement === 'object') {
      for (const key in statement) {
        more = kind !== undefined;
        kind = key;
      }
    }
    if (kind === undefined || more) throw typeError([], "an object with one key, the statement's name", statement);
    const value = (statement as Record<string, unknown>)[kind];
    try {
      if (kind === 'match') this.#match(value as Match);
      else if (kind === 'counter') this.#counter(value as { packets?: bigint; bytes?: bigint } | null);
      else if (kind === 'log') this.#log((value ?? {}) as Log);
      else if (kind === 'redirect') this.#redirect((value ?? {}) as Redirect);
      else if ((VERDICTS as readonly string[]).includes(kind)) this.#verdict(kind as (typeof VERDICTS)[number], value);
      else
        throw typeError(
          [],
          `no such statement (known: match, counter, log, redirect, ${VERDICTS.join(', ')})`,
          statement,
          'ERR_UNKNOWN_FIELD',
        );
    } catch (error) {
      throw within(error, [kind]);
    }
  }

  #match(match: Match): void {
    const op = OPERATORS.get(match.op);
    if (op === undefined) throw rangeError(['op'], `one of ${[...OPERATORS.keys()].join(', ')}`, match.op);
    const operand = this.#load(match.left);
    const { right } = match;
    if (typeof right === 'object' && right !== null && 'prefix' in right)
      this.#comparePrefix(operand, op, right.prefix);
    else if (typeof right === 'object' && right !== null && 'range' in right)
      this.#compareRange(operand, op, right.range);
    else this.#emit({ cmp: { register: REGISTER, op, data: value(operand, right, RIGHT) } });
    this.#learn(match);
  }

  /** Loads the left side into the register, after what must be true for it to be there. */
  #load(left: LeftSide): Operand {
    if ('meta' in left) {
      const operand = META_OPERANDS[left.meta.key];
      if (operand === undefined)
        throw rangeError(['left', 'meta', 'key'], `one of ${Object.keys(META_OPERANDS).join(', ')}`, left.meta.key);
      this.#emit({ meta: { key: left.meta.key, register: REGISTER } });
      return operand;
    }
    if (!('payload' in left)) throw typeError(['left'], '{ payload } or { meta }', left);
    const { protocol } = left.payload;
    const field = fieldOf(left.payload);
    if (protocol === 'ip' || protocol === 'ip6')
      this.#needNetwork(protocol === 'ip' ? C.NFPROTO_IPV4 : C.NFPROTO_IPV6, protocol);
    else if (protocol !== 'th') this.#needTransport(TRANSPORTS[protocol], protocol);
    const base = protocol === 'ip' || protocol === 'ip6' ? 'network' : 'transport';
    this.#emit({ payload: { register: REGISTER, base, offset: field.offset, length: field.length } });
    return field;
  }

  #needNetwork(family: number, protocol: string): void {
    if (this.#network === family) return;
    if (this.#network !== undefined)
      throw rangeError(['left', 'payload', 'protocol'], "a protocol of the rule's family", protocol);
    this.#emit({ meta: { key: 'nfproto', register: REGISTER } });
    this.#emit({ cmp: { register: REGISTER, op: 'eq', data: hexByteOf(family) } });
    this.#network = family;
  }

  #needTransport(number: number, protocol: string): void {
    if (this.#transport === number) return;
    if (this.#transport !== undefined)
      throw rangeError(['left', 'payload', 'protocol'], 'the protocol of the match before it', protocol);
    this.#emit({ meta: { key: 'l4proto', register: REGISTER } });
    this.#emit({ cmp: { register: REGISTER, op: 'eq', data: hexByteOf(number) } });
    this.#transport = number;
  }

  #learn({ op, left, right }: Match): void {
    if (op !== '==' || !('meta' in left) || typeof right === 'object') return;
    const number = typeof right === 'string' ? IP_PROTOCOLS[right] : right;
    if (left.meta.key === 'l4proto') this.#transport = number;
    else if (left.meta.key === 'nfproto') this.#network = nfproto(right);
  }

  /** A prefix of whole bytes is a shorter load, as nft has it; any other is masked first. */
  #comparePrefix(operand: Operand, op: 'eq' | string, prefix: { addr: string; len: number }): void {
    const path = ['right', 'prefix'];
    if (op !== 'eq' && op !== 'neq') throw rangeError(['op'], '== or != with a prefix', op);
    const bits = operand.length * 8;
    if (!Number.isInteger(prefix.len) || prefix.len < 1 || prefix.len > bits)
      throw rangeError([...path, 'len'], `1 to ${bits}`, prefix.len);
    const address = bytesOf(operand, prefix.addr, [...path, 'addr']);
    const mask = new Uint8Array(operand.length);
    for (let i = 0; i < prefix.len; i++) mask[i >> 3]! |= 0x80 >> (i & 7);
    const masked = address.map((byte, i) => byte & mask[i]!);
    if (prefix.len % 8 === 0) {
      const load = this.expressions.at(-1);
      if (load !== undefined && 'payload' in load) {
        load.payload.length = prefix.len / 8;
        this.#emit({ cmp: { register: REGISTER, op, data: toHex(masked, 0, prefix.len / 8) } });
        return;
      }
    }
    this.#emit({
      bitwise: {
        sourceRegister: REGISTER,
        register: REGISTER,
        length: operand.length,
        mask: toHex(mask),
        xor: '00'.repeat(operand.length),
      },
    });
    this.#emit({ cmp: { register: REGISTER, op, data: toHex(masked) } });
  }

  #compareRange(operand: Operand, op: string, range: readonly [string | number, string | number]): void {
    if (operand.hostOrder && HOST_IS_LITTLE_ENDIAN) throw rangeError(['right'], 'a single value of this key', range);
    const path = ['right', 'range'];
    const from = value(operand, range[0], [...path, 0]);
    const to = value(operand, range[1], [...path, 1]);
    if (from > to) throw rangeError(path, 'a range from the lower to the higher value', range);
    if (op === 'neq') {
      this.#emit({ range: { register: REGISTER, op: 'neq', from, to } });
    } else if (op === 'eq') {
      this.#emit({ cmp: { register: REGISTER, op: 'gte', data: from } });
      this.#emit({ cmp: { register: REGISTER, op: 'lte', data: to } });
    } else {
      throw rangeError(['op'], '== or != with a range', op);
    }
  }

  #counter(counter: { packets?: number | bigint; bytes?: number | bigint } | null): void {
    this.#emit({ counter: { bytes: BigInt(counter?.bytes ?? 0), packets: BigInt(counter?.packets ?? 0) } });
  }

  #log(log: Log): void {
    const expression: Extract<Expression, { log: unknown }>['log'] = {};
    // nft's order: the kernel dumps it so as well.
    if (log.prefix !== undefined) expression.prefix = log.prefix;
    if (log.group !== undefined) expression.group = log.group;
    if (log.snaplen !== undefined) expression.snaplen = log.snaplen;
    if (log['queue-threshold'] !== undefined) expression.queueThreshold = log['queue-threshold'];
    const known = ['group', 'prefix', 'snaplen', 'queue-threshold'];
    const stranger = Object.keys(log).find(key => !known.includes(key));
    if (stranger !== undefined)
      throw typeError([stranger], `no such field (known: ${known.join(', ')})`, log, 'ERR_UNKNOWN_FIELD');
    if (log.group === undefined && (log.snaplen !== undefined || log['queue-threshold'] !== undefined)) {
      throw typeError(['group'], 'a group with snaplen or queue-threshold', undefined, 'ERR_MISSING');
    }
    this.#emit({ log: expression });
  }

  #redirect({ port, flags }: Redirect): void {
    const redir: Extract<Expression, { redir: unknown }>['redir'] = {};
    const names: NonNullable<typeof redir.flags> = flags === undefined ? [] : natFlags(flags);
    if (port !== undefined) {
      // The kernel knows which protocol's ports it rewrites only from a match before it.
      if (this.#transport === undefined)
        throw typeError(PORT, 'a match of the transport protocol before it (tcp.dport, meta l4proto)', port);
      if (typeof port === 'object') {
        const [from, to] = port.range;
        this.#emit({
          immediate: {
            register: C.NFT_REG_1,
            data: value(PORT_OPERAND, from, to === undefined ? PORT : [...PORT, 'range', 0]),
          },
        });
        if (to !== undefined) {
          this.#emit({ immediate: { register: C.NFT_REG_2, data: value(PORT_OPERAND, to, [...PORT, 'range', 1]) } });
          redir.lastPortRegister = C.NFT_REG_2;
        }
      } else {
        this.#emit({ immediate: { register: C.NFT_REG_1, data: value(PORT_OPERAND, port, PORT) } });
      }
      redir.portRegister = C.NFT_REG_1;
      names.push('ports-specified');
    }
    if (names.length > 0) redir.flags = names;
    this.#emit({ redir });
  }

  #verdict(verdict: (typeof VERDICTS)[number], target: unknown): void {
    const jumps = verdict === 'jump' || verdict === 'goto';
    const chain = (target as { target?: unknown } | null)?.target;
    if (jumps && typeof chain !== 'string') throw typeError(['target'], "a chain's name", chain);
    const data = jumps ? { verdict, chain: chain as string } : { verdict };
    this.#emit({ immediate: { register: C.NFT_REG_VERDICT, data } });
  }
}

function natFlags(flags: NonNullable<Redirect['flags']>): (keyof typeof NAT_FLAGS | 'ports-specified')[] {
  return (typeof flags === 'string' ? [flags] : flags).map((flag, i) => {
    if (!Object.hasOwn(NAT_FLAGS, flag))
      throw rangeError(['flags', i], `one of ${Object.keys(NAT_FLAGS).join(', ')}`, flag);
    return NAT_FLAGS[flag];
  });
}

/** A header's field, as it stands in a register once it is loaded. */
interface LoadedField extends Operand {
  readonly offset: number;
}

const FIELDS = new Map<unknown, Map<unknown, LoadedField>>(
  Object.entries(PROTOCOL_FIELDS).map(([protocol, fields]) => [
    protocol,
    new Map(
      Object.entries(fields).map(([name, field]: [string, HeaderField]) => [name, { ...field, hostOrder: false }]),
    ),
  ]),
);

function fieldOf(payload: PayloadExpression): LoadedField {
  const fields = FIELDS.get(payload.protocol);
  const path = ['left', 'payload'];
  if (fields === undefined)
    throw rangeError([...path, 'protocol'], `one of ${[...FIELDS.keys()].join(', ')}`, payload.protocol);
  const field = fields.get(payload.field);
  if (field === undefined)
    throw rangeError([...path, 'field'], `one of ${[...fields.keys()].join(', ')}`, payload.field);
  return field;
}

function nfproto(right: RightSide): number | undefined {
  if (right === 'ipv4') return C.NFPROTO_IPV4;
  if (right === 'ipv6') return C.NFPROTO_IPV6;
  return typeof right === 'number' ? right : undefined;
}

/** Room for the longest value but a device's name; what is in it is printed before anything else can write to it. */
const scratch = sourceOf(new Uint8Array(16));

function hexByteOf(number: number): string {
  scratch.bytes[0] = number;
  return toHex(scratch.bytes, 0, 1);
}

/** The value as it stands in the register, in hex. */
function value(operand: Operand, right: unknown, path: Path): string {
  const { type, length } = operand;
  if (type === 'device') return toHex(deviceName(right, path));
  fill(operand, right, path);
  return toHex(scratch.bytes, 0, length);
}

function bytesOf(operand: Operand, right: unknown, path: Path): Uint8Array {
  if (operand.type === 'device') return deviceName(right, path);
  fill(operand, right, path);
  return scratch.bytes.slice(0, operand.length);
}

/** Writes the value to `scratch`. */
function fill({ type, length, hostOrder }: Operand, right: unknown, path: Path): void {
  const { bytes, view } = scratch;
  if (type === 'ipv4') {
    if (typeof right !== 'string' || !readIPv4(right, bytes, 0))
      throw rangeError(path, 'an IPv4 address', right, 'ERR_INVALID_ADDRESS');
    return;
  }
  if (type === 'ipv6') {
    const address = typeof right === 'string' ? parseIPv6(right) : undefined;
    if (address === undefined) throw rangeError(path, 'an IPv6 address', right, 'ERR_INVALID_ADDRESS');
    bytes.set(address);
    return;
  }
  let number = right;
  if (typeof right === 'string')
    number = type === 'protocol' ? IP_PROTOCOLS[right] : length === 1 ? nfproto(right) : undefined;
  const max = length === 4 ? 0xffffffff : (1 << (length * 8)) - 1;
  if (typeof number !== 'number')
    throw typeError(
      path,
      type === 'protocol' ? `a number, or one of ${Object.keys(IP_PROTOCOLS).join(', ')}` : 'a number',
      right,
    );
  if (!Number.isInteger(number) || number < 0 || number > max) throw rangeError(path, `an integer 0 to ${max}`, right);
  const little = hostOrder && HOST_IS_LITTLE_ENDIAN;
  if (length === 1) view.setUint8(0, number);
  else if (length === 2) view.setUint16(0, number, little);
  else view.setUint32(0, number, little);
}

/** A device's name fills its register with NULs; one that ends in '*' is compared only as far as it goes. */
function deviceName(right: unknown, path: Path): Uint8Array {
  if (typeof right !== 'string' || !/^[^\s/\0]{1,15}$/.test(right))
    throw rangeError(path, "a device's name, 1 to 15 bytes", right);
  const bytes = new TextEncoder().encode(right);
  if (right.endsWith('*') && right.length > 1) return bytes.subarray(0, -1);
  const padded = new Uint8Array(16);
  padded.set(bytes);
  return padded;
}
