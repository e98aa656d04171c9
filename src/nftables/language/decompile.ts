import { formatIPv4, formatIPv6, fromHex, HOST_IS_LITTLE_ENDIAN, sourceOf } from '../../codec/index.ts';
import * as C from '../constants.ts';
import type { Expression } from '../expression.ts';
import type { Family } from '../family.ts';
import { type HeaderField, IP_PROTOCOLS, PROTOCOL_FIELDS, TRANSPORTS } from './protocols.ts';
import type { LeftSide, Log, MatchOperator, Redirect, RightSide, Statement } from './statement.ts';

/** An expression that no statement of this library means: shown as it is, never left out. */
export interface UncompiledStatement {
  expression: Expression;
}

const OPERATORS: Record<string, MatchOperator> = { eq: '==', neq: '!=', lt: '<', gt: '>', lte: '<=', gte: '>=' };
const HOST_ORDER_KEYS = ['mark', 'skuid', 'skgid', 'iif', 'oif'];

/** What a register holds. */
type Loaded =
  | { left: LeftSide; field: HeaderField | undefined; implied: boolean; mask?: Uint8Array }
  | { data: string };

/**
 * Translates a rule's expressions back into nft's statements, as `nft list` prints them: matches that a later one implies are left out. What
 * cannot be translated comes as `{ expression }`, in its place.
 */
export function decompileRule(rule: {
  family: Family;
  expressions: readonly Expression[];
}): (Statement | UncompiledStatement)[] {
  return new Decompiler(rule.family, rule.expressions).run();
}

class Decompiler {
  readonly #expressions: readonly Expression[];
  readonly #out: { statement: Statement | UncompiledStatement; implies?: number }[] = [];
  readonly #registers = new Map<number, Loaded>();
  #pending: Expression[] = [];
  #transport: number | undefined;
  #network: number | undefined;

  constructor(family: Family, expressions: readonly Expression[]) {
    this.#expressions = expressions;
    if (family === 'ip') this.#network = C.NFPROTO_IPV4;
    if (family === 'ip6') this.#network = C.NFPROTO_IPV6;
  }

  run(): (Statement | UncompiledStatement)[] {
    for (const expression of this.#expressions) {
      this.#pending.push(expression);
      const done = this.#take(expression);
      if (done === 'loaded') continue;
      if (done === undefined) this.#giveUp();
      this.#pending = [];
    }
    this.#giveUp();
    return this.#out.map(({ statement }) => statement);
  }

  /** Shows what led to something unknown as it is. */
  #giveUp(): void {
    for (const expression of this.#pending) this.#out.push({ statement: { expression } });
    this.#pending = [];
  }

  #push(statement: Statement): true {
    this.#out.push({ statement });
    return true;
  }

  #take(expression: Expression): true | 'loaded' | undefined {
    if ('payload' in expression) return this.#payload(expression.payload);
    if ('meta' in expression) return this.#meta(expression.meta);
    if ('cmp' in expression) return this.#cmp(expression.cmp);
    if ('range' in expression) return this.#range(expression.range);
    if ('bitwise' in expression) return this.#bitwise(expression.bitwise);
    if ('immediate' in expression) return this.#immediate(expression.immediate);
    if ('counter' in expression) {
      const { packets = 0n, bytes = 0n } = expression.counter;
      return this.#push({ counter: { packets, bytes } });
    }
    if ('log' in expression) return this.#log(expression.log);
    if ('redir' in expression) return this.#redir(expression.redir);
    return undefined;
  }

  #payload({
    base,
    offset,
    length,
    register,
  }: Extract<Expression, { payload: unknown }>['payload']): 'loaded' | undefined {
    if (register === undefined) return undefined;
    const protocol =
      base === 'network' ? this.#networkProtocol() : base === 'transport' ? this.#transportProtocol() : undefined;
    if (protocol === undefined) return undefined;
    const fields: Record<string, HeaderField> = PROTOCOL_FIELDS[protocol];
    // A shorter load from where a field begins is a prefix of it.
    const name = Object.keys(fields).find(key => {
      const field = fields[key]!;
      return (
        field.offset === offset && (field.length === length || (field.type.startsWith('ipv') && length < field.length))
      );
    });
    if (name === undefined) return undefined;
    const left = { payload: { protocol, field: name } } as LeftSide;
    this.#registers.set(register, { left, field: fields[name], implied: base === 'transport' });
    return 'loaded';
  }

  #networkProtocol(): 'ip' | 'ip6' | undefined {
    if (this.#network === C.NFPROTO_IPV4) return 'ip';
    return this.#network === C.NFPROTO_IPV6 ? 'ip6' : undefined;
  }

  #transportProtocol(): keyof typeof TRANSPORTS | 'th' {
    const names = Object.keys(TRANSPORTS) as (keyof typeof TRANSPORTS)[];
    return names.find(name => TRANSPORTS[name] === this.#transport) ?? 'th';
  }

  #meta({ key, register }: Extract<Expression, { meta: unknown }>['meta']): 'loaded' | undefined {
    if (register === undefined || typeof key !== 'string') return undefined;
    this.#registers.set(register, { left: { meta: { key } }, field: undefined, implied: false });
    return 'loaded';
  }

  #bitwise({
    register,
    sourceRegister,
    mask,
    xor,
    op,
  }: Extract<Expression, { bitwise: unknown }>['bitwise']): 'loaded' | undefined {
    const loaded = this.#registers.get(sourceRegister);
    if (loaded === undefined || !('left' in loaded) || register !== sourceRegister) return undefined;
    if (
      (op !== undefined && op !== 'mask-xor') ||
      typeof mask !== 'string' ||
      typeof xor !== 'string' ||
      !/^0*$/.test(xor)
    )
      return undefined;
    const bytes = fromHex(mask);
    if (bytes === undefined || prefixLength(bytes) === undefined) return undefined;
    this.#registers.set(register, { ...loaded, mask: bytes });
    return 'loaded';
  }

  #cmp({ register, op, data }: Extract<Expression, { cmp: unknown }>['cmp']): true | undefined {
    const loaded = this.#registers.get(register);
    const operator = OPERATORS[op];
    if (loaded === undefined || !('left' in loaded) || operator === undefined || typeof data !== 'string')
      return undefined;
    const bytes = fromHex(data);
    if (bytes === undefined) return undefined;
    const right = this.#right(loaded, bytes);
    if (right === undefined || this.#mergeRange(loaded, operator, right)) return right === undefined ? undefined : true;
    this.#dropImplied(loaded);
    this.#out.push({
      statement: { match: { op: operator, left: loaded.left, right } },
      ...this.#learn(loaded.left, operator, bytes),
    });
    return true;
  }

  /** `>=` followed by `<=` of the same register's content is how nft writes a range. */
  #mergeRange(loaded: Extract<Loaded, { left: LeftSide }>, operator: MatchOperator, right: RightSide): boolean {
    const last = this.#out.at(-1)?.statement;
    if (operator !== '<=' || this.#pending.length > 1 || last === undefined || !('match' in last)) return false;
    const { match } = last;
    if (match.op !== '>=' || match.left !== loaded.left || typeof match.right === 'object' || typeof right === 'object')
      return false;
    match.op = '==';
    match.right = { range: [match.right, right] };
    return true;
  }

  /** What a match on a protocol tells about the packet, so that a later match of that protocol's fields makes it redundant. */
  #learn(left: LeftSide, operator: MatchOperator, bytes: Uint8Array): { implies?: number } {
    if (operator !== '==' || !('meta' in left) || bytes.length !== 1) return {};
    if (left.meta.key === 'l4proto') this.#transport = bytes[0];
    else if (left.meta.key === 'nfproto') this.#network = bytes[0];
    else return {};
    return { implies: this.#out.length };
  }

  #dropImplied(loaded: Extract<Loaded, { left: LeftSide }>): void {
    if (!('payload' in loaded.left) || loaded.left.payload.protocol === 'th') return;
    const key = loaded.implied ? 'l4proto' : 'nfproto';
    const last = this.#out.at(-1);
    if (last?.implies === undefined || !('match' in last.statement)) return;
    const { left } = last.statement.match;
    if ('meta' in left && left.meta.key === key) this.#out.pop();
  }

  #right({ left, field, mask }: Extract<Loaded, { left: LeftSide }>, bytes: Uint8Array): RightSide | undefined {
    if (field?.type === 'ipv4' || field?.type === 'ipv6') {
      const full = new Uint8Array(field.length);
      full.set(bytes.subarray(0, field.length));
      const addr = field.type === 'ipv4' ? formatIPv4(full) : formatIPv6(full);
      if (mask !== undefined) return { prefix: { addr, len: prefixLength(mask)! } };
      return bytes.length < field.length ? { prefix: { addr, len: bytes.length * 8 } } : addr;
    }
    if (mask !== undefined) return undefined;
    if ('meta' in left && left.meta.key.endsWith('ifname')) return deviceName(bytes);
    const little = 'meta' in left && HOST_ORDER_KEYS.includes(left.meta.key) && HOST_IS_LITTLE_ENDIAN;
    const { view } = sourceOf(bytes);
    const number =
      bytes.length === 1
        ? bytes[0]
        : bytes.length === 2
          ? view.getUint16(0, little)
          : bytes.length === 4
            ? view.getUint32(0, little)
            : undefined;
    if (field?.type === 'protocol' || ('meta' in left && left.meta.key === 'l4proto')) {
      return Object.keys(IP_PROTOCOLS).find(name => IP_PROTOCOLS[name] === number) ?? number;
    }
    if ('meta' in left && left.meta.key === 'nfproto')
      return number === C.NFPROTO_IPV4 ? 'ipv4' : number === C.NFPROTO_IPV6 ? 'ipv6' : number;
    return number;
  }

  #range({ register, op, from, to }: Extract<Expression, { range: unknown }>['range']): true | undefined {
    const loaded = this.#registers.get(register);
    if (loaded === undefined || !('left' in loaded) || typeof from !== 'string' || typeof to !== 'string')
      return undefined;
    const [low, high] = [from, to].map(hex => this.#right(loaded, fromHex(hex) ?? new Uint8Array(0)));
    if (low === undefined || high === undefined || typeof low === 'object' || typeof high === 'object')
      return undefined;
    this.#dropImplied(loaded);
    return this.#push({ match: { op: op === 'neq' ? '!=' : '==', left: loaded.left, right: { range: [low, high] } } });
  }

  #immediate({
    register,
    data,
  }: Extract<Expression, { immediate: unknown }>['immediate']): true | 'loaded' | undefined {
    if (typeof data === 'string') {
      this.#registers.set(register, { data });
      return 'loaded';
    }
    const { verdict, chain } = data;
    if (register !== C.NFT_REG_VERDICT || typeof verdict !== 'string' || verdict === 'break') return undefined;
    if (verdict === 'jump' || verdict === 'goto') {
      if (chain === undefined) return undefined;
      return this.#push(verdict === 'jump' ? { jump: { target: chain } } : { goto: { target: chain } });
    }
    return this.#push({ [verdict]: null } as Statement);
  }

  #log({
    level,
    flags,
    unknown,
    queueThreshold,
    ...rest
  }: Extract<Expression, { log: unknown }>['log']): true | undefined {
    if (unknown !== undefined || (rest.group === undefined && (level ?? 'warn') !== 'warn') || (flags ?? []).length > 0)
      return undefined;
    const statement: Log = {};
    if (rest.prefix !== undefined && rest.prefix !== '') statement.prefix = rest.prefix;
    if (rest.group !== undefined) statement.group = rest.group;
    if (rest.snaplen) statement.snaplen = rest.snaplen;
    if (queueThreshold) statement['queue-threshold'] = queueThreshold;
    return this.#push({ log: Object.keys(statement).length > 0 ? statement : null });
  }

  #redir({
    portRegister,
    lastPortRegister,
    flags = [],
    unknown,
  }: Extract<Expression, { redir: unknown }>['redir']): true | undefined {
    if (unknown !== undefined) return undefined;
    const statement: Redirect = {};
    if (portRegister !== undefined) {
      const from = this.#port(portRegister);
      const to = lastPortRegister === undefined ? from : this.#port(lastPortRegister);
      if (from === undefined || to === undefined) return undefined;
      statement.port = from === to ? from : { range: [from, to] };
    }
    const named = flags.filter(flag => flag !== 'ports-specified');
    if (named.some(flag => typeof flag === 'number' || flag === 'map-addresses')) return undefined;
    const list = named as Exclude<Redirect['flags'], string | undefined>;
    if (list.length > 0) statement.flags = list.length === 1 ? list[0]! : list;
    return this.#push({ redirect: Object.keys(statement).length > 0 ? statement : null });
  }

  #port(register: number): number | undefined {
    const loaded = this.#registers.get(register);
    if (loaded === undefined || !('data' in loaded) || loaded.data.length < 4) return undefined;
    return Number.parseInt(loaded.data.slice(0, 4), 16);
  }
}

function prefixLength(mask: Uint8Array): number | undefined {
  let bits = '';
  for (const byte of mask) bits += byte.toString(2).padStart(8, '0');
  return /^1+0*$/.test(bits) ? bits.lastIndexOf('1') + 1 : undefined;
}

function deviceName(bytes: Uint8Array): string | undefined {
  const end = bytes.indexOf(0);
  const text = new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
  return end < 0 ? `${text}*` : text;
}
