import { formatIPv4, formatIPv6, fromHex, sourceOf } from '../codec/index.ts';
import { NFPROTO_IPV4, NFPROTO_IPV6 } from '../linux/netfilter.ts';
import type { Expression } from '../nf_tables/expression.ts';
import type { Info } from '../nf_tables/xt/layout.ts';
import { XT_LAYOUTS } from '../nf_tables/xt/layouts.ts';
import type { IptablesExtension, IptablesFamily, IptablesInterface, IptablesRule } from './model.ts';
import { hostNumber } from './native.ts';
import { lengthOfMask, maskOf } from './values.ts';

/* The kernel's expressions as a rule of iptables, if they are one. */

/** A rule of the kernel's. */
export interface ListedRule {
  table: string;
  chain: string;
  expressions: readonly Expression[];
}

/** What a register has: a part of the packet, and how it was changed. */
interface Loaded {
  readonly source: { meta: string } | { base: string; offset: number; length: number };
  readonly mask?: string;
}

/** What a comparison asks of it. */
interface Asked {
  readonly op: 'eq' | 'neq' | 'lt' | 'lte' | 'gt' | 'gte' | 'range';
  readonly invert: boolean;
  readonly data: string;
  /** The last value of a range. */
  readonly last?: string;
}

const ADDRESS_LENGTH = { ipv4: 4, ipv6: 16 } as const;
const PROTOCOLS_WITH_PORTS: Readonly<Record<number, string>> = { 6: 'tcp', 17: 'udp' };
const TCP_FLAGS = ['fin', 'syn', 'rst', 'psh', 'ack', 'urg', 'ecn', 'cwr'];
const VERDICTS: Readonly<Record<string, 'ACCEPT' | 'DROP' | 'RETURN'>> = {
  accept: 'ACCEPT',
  drop: 'DROP',
  return: 'RETURN',
};

/** The rule of iptables that these expressions are; undefined if iptables has no words for one of them. */
export function decompileRule(
  listed: ListedRule,
  family: IptablesFamily,
  interfaceName?: (index: number) => string | undefined,
): IptablesRule | undefined {
  const reader = new Reader(listed, family, interfaceName);
  return listed.expressions.every(expression => reader.take(expression)) ? reader.rule : undefined;
}

class Reader {
  readonly rule: IptablesRule;
  readonly #family: IptablesFamily;
  readonly #interfaceName: ((index: number) => string | undefined) | undefined;
  readonly #registers = new Map<number, Loaded>();

  constructor(
    { table, chain }: ListedRule,
    family: IptablesFamily,
    interfaceName: ((index: number) => string | undefined) | undefined,
  ) {
    this.rule = { table, chain, matches: [] };
    this.#family = family;
    this.#interfaceName = interfaceName;
  }

  /** Adds an expression to the rule. Returns false if it has no place there. */
  take(expression: Expression): boolean {
    if ('meta' in expression) return this.#meta(expression.meta as MetaFields);
    if ('payload' in expression) return this.#payload(expression.payload as PayloadFields);
    if ('bitwise' in expression) return this.#bitwise(expression.bitwise as BitwiseFields);
    if ('cmp' in expression) {
      const { register, op, data } = expression.cmp;
      if (typeof data !== 'string') return false;
      const asked: Asked = { op: op as Asked['op'], invert: op === 'neq', data };
      return this.#ask(register as number, asked);
    }
    if ('range' in expression) {
      const { register, op, from, to } = expression.range as RangeFields;
      if (typeof from !== 'string' || typeof to !== 'string') return false;
      return this.#ask(register, { op: 'range', invert: op === 'neq', data: from, last: to });
    }
    if ('counter' in expression) {
      const { packets = 0n, bytes = 0n } = expression.counter as { packets?: bigint; bytes?: bigint };
      this.rule.counters = { packets, bytes };
      return true;
    }
    if ('match' in expression) return this.#extension(expression.match as IptablesExtension, 'match');
    if ('target' in expression) return this.#extension(expression.target as IptablesExtension, 'target');
    if ('immediate' in expression) return this.#verdict(expression.immediate as ImmediateFields);
    if ('limit' in expression) return this.#limit(expression.limit as LimitFields);
    if ('log' in expression) return this.#log(expression.log as LogFields);
    return false;
  }

  #meta({ key, register, sourceRegister }: MetaFields): boolean {
    if (sourceRegister !== undefined) {
      // TRACE is `meta nftrace set 1`.
      if (key !== 'nftrace') return false;
      this.rule.target = { name: 'TRACE', revision: 0, info: {} };
      return true;
    }
    if (register === undefined) return false;
    this.#registers.set(register, { source: { meta: String(key) } });
    return true;
  }

  #payload({ register, base, offset, length }: PayloadFields): boolean {
    if (register === undefined || typeof base !== 'string') return false;
    this.#registers.set(register, { source: { base, offset, length } });
    return true;
  }

  #bitwise({ sourceRegister, register, mask, xor, op }: BitwiseFields): boolean {
    const loaded = this.#registers.get(sourceRegister);
    if (loaded === undefined || (op !== undefined && op !== 'boolean' && op !== 'mask-xor')) return false;
    if (typeof mask !== 'string' || typeof xor !== 'string' || /[^0]/.test(xor)) return false;
    this.#registers.set(register, { ...loaded, mask });
    return true;
  }

  #ask(register: number, asked: Asked): boolean {
    const loaded = this.#registers.get(register);
    if (loaded === undefined) return false;
    const { source, mask } = loaded;
    if ('meta' in source) return this.#askMeta(source.meta, mask, asked);
    return source.base === 'network'
      ? this.#askNetwork(source, mask, asked)
      : source.base === 'transport' && this.#askTransport(source, mask, asked);
  }

  #askMeta(key: string, mask: string | undefined, asked: Asked): boolean {
    if (asked.op !== 'eq' && asked.op !== 'neq') return false;
    const { rule } = this;
    switch (key) {
      case 'iifname':
      case 'oifname': {
        rule[key === 'iifname' ? 'inInterface' : 'outInterface'] = interfaceOf(asked);
        return true;
      }
      case 'iif':
      case 'oif': {
        const name = this.#interfaceName?.(Buffer.from(asked.data, 'hex').readUInt32LE());
        if (name === undefined) return false;
        rule[key === 'iif' ? 'inInterface' : 'outInterface'] = asked.invert ? { name, invert: true } : { name };
        return true;
      }
      case 'l4proto':
        return this.#protocol(asked);
      case 'mark': {
        const info: Info = { mark: hostNumber(asked.data), mask: mask === undefined ? 0xffffffff : hostNumber(mask) };
        if (asked.invert) info.invert = true;
        rule.matches.push({ name: 'mark', revision: 1, info });
        return true;
      }
      default:
        return false;
    }
  }

  #protocol({ data, invert }: Asked): boolean {
    const number = Number.parseInt(data, 16);
    if (number !== 0) this.rule.protocol = invert ? { number, invert: true } : { number };
    return true;
  }

  #askNetwork({ offset, length }: { offset: number; length: number }, mask: string | undefined, asked: Asked): boolean {
    if (asked.op !== 'eq' && asked.op !== 'neq') return false;
    const { rule } = this;
    const family = this.#family;
    const size = ADDRESS_LENGTH[family];
    const source = family === 'ipv4' ? 12 : 8;
    if (offset === source || offset === source + size) {
      if (length > size) return false;
      const data = asked.data.padEnd(size * 2, '0');
      const bits = mask === undefined ? maskOf(length * 8, family) : format(mask.padEnd(size * 2, '0'));
      const where = { address: format(data) };
      const address = {
        ...where,
        ...(lengthOfMask(bits) !== size * 8 && { mask: bits }),
        ...(asked.invert && { invert: true as const }),
      };
      rule[offset === source ? 'source' : 'destination'] = address;
      return true;
    }
    if (length === 1 && offset === (family === 'ipv4' ? 9 : 6)) return this.#protocol(asked);
    if (family === 'ipv4' && offset === 6 && length === 2) {
      rule.fragment = asked.invert ? {} : { invert: true };
      return true;
    }
    return false;
  }

  #askTransport(
    { offset, length }: { offset: number; length: number },
    mask: string | undefined,
    asked: Asked,
  ): boolean {
    const { protocol } = this.rule;
    const name = protocol === undefined || protocol.invert ? undefined : PROTOCOLS_WITH_PORTS[protocol.number];
    if (name === undefined) return false;
    const info = this.#portsMatch(name);
    if (offset === 0 && length === 4 && (asked.op === 'eq' || asked.op === 'neq')) {
      const ends = [asked.data.slice(0, 4), asked.data.slice(4)];
      setPorts(info, 'source', { ...asked, data: ends[0]! });
      setPorts(info, 'destination', { ...asked, data: ends[1]! });
      return true;
    }
    if (length === 2 && (offset === 0 || offset === 2))
      return setPorts(info, offset === 0 ? 'source' : 'destination', asked);
    if (name === 'tcp' && length === 1 && offset === 13) {
      info.flagsMask = flagsOf(mask === undefined ? 0xff : Number.parseInt(mask, 16));
      info.flags = flagsOf(Number.parseInt(asked.data, 16));
      if (asked.invert) info.invert = [...((info.invert as string[] | undefined) ?? []), 'flags'];
      return true;
    }
    return false;
  }

  /** The ports and flags of a rule are one match, wherever they stand. */
  #portsMatch(name: string): Info {
    const found = this.rule.matches.find(match => match.name === name);
    if (found !== undefined && typeof found.info !== 'string') return found.info;
    const info: Info = {};
    this.rule.matches.push({ name, revision: 0, info });
    return info;
  }

  #extension({ name, revision, info }: IptablesExtension, kind: 'match' | 'target'): boolean {
    const extension = {
      name,
      revision,
      info: typeof info === 'string' ? this.#read(name, revision, info, kind) : info,
    };
    if (kind === 'match') this.rule.matches.push(extension);
    else this.rule.target = extension;
    return true;
  }

  /** Structures with bytes of the kernel's own in them are read all the same: the rest says what the rule means. */
  #read(name: string, revision: number, raw: string, kind: 'match' | 'target'): Info | string {
    const family = this.#family === 'ipv4' ? NFPROTO_IPV4 : NFPROTO_IPV6;
    const layout = XT_LAYOUTS[kind](name, revision, family);
    const bytes = fromHex(raw);
    if (layout === undefined || bytes === undefined || bytes.length !== layout.size) return raw;
    return layout.read(sourceOf(bytes), 0, { family }) ?? raw;
  }

  #verdict({ register, data }: ImmediateFields): boolean {
    if (register !== 0 && !(typeof data === 'object' && data !== null)) {
      // `meta nftrace set 1` loads its 1 first.
      return true;
    }
    if (typeof data !== 'object' || data === null) return false;
    const { verdict, chain } = data;
    if (verdict === 'jump' || verdict === 'goto') {
      this.rule.target = verdict === 'jump' ? { jump: chain! } : { goto: chain! };
      return true;
    }
    const word = VERDICTS[String(verdict)];
    if (word === undefined) return false;
    this.rule.target = { verdict: word };
    return true;
  }

  #limit({ rate, unitSeconds, burst, type, flags }: LimitFields): boolean {
    if (type !== 'packets' || (flags?.length ?? 0) > 0) return false;
    this.rule.matches.push({
      name: 'limit',
      revision: 0,
      info: { rate: Number(rate), unitSeconds: Number(unitSeconds), burst },
    });
    return true;
  }

  #log({ group, prefix, snaplen, queueThreshold }: LogFields): boolean {
    if (group === undefined) return false;
    const info: Info = {};
    if (group !== 0) info.group = group;
    if (prefix !== undefined) info.prefix = prefix;
    if (snaplen !== undefined) {
      if (snaplen !== 0) info.copyBytes = snaplen;
      info.flags = ['copy-length'];
    }
    if (queueThreshold) info.threshold = queueThreshold;
    this.rule.target = { name: 'NFLOG', revision: 0, info };
    return true;
  }
}

interface MetaFields {
  key: unknown;
  register?: number;
  sourceRegister?: number;
}
interface PayloadFields {
  register?: number;
  base: unknown;
  offset: number;
  length: number;
}
interface BitwiseFields {
  sourceRegister: number;
  register: number;
  mask?: unknown;
  xor?: unknown;
  op?: unknown;
}
interface RangeFields {
  register: number;
  op: string;
  from: unknown;
  to: unknown;
}
interface ImmediateFields {
  register: number;
  data: string | { verdict?: unknown; chain?: string } | undefined;
}
interface LimitFields {
  rate: bigint;
  unitSeconds: bigint;
  burst: number;
  type: string;
  flags?: readonly unknown[];
}
interface LogFields {
  group?: number;
  prefix?: string;
  snaplen?: number;
  queueThreshold?: number;
}

function interfaceOf({ data, invert }: Asked): IptablesInterface {
  const bytes = Buffer.from(data, 'hex');
  const end = bytes.indexOf(0);
  const text = bytes.toString('utf8', 0, end < 0 ? bytes.length : end);
  // A name that no interface has: `! -i +`.
  if (!invert && text === 'INVAL/D') return { name: '+', invert: true };
  const name = end < 0 ? `${text}+` : text;
  return invert ? { name, invert: true } : { name };
}

function setPorts(info: Info, side: 'source' | 'destination', { op, data, last, invert }: Asked): boolean {
  const key = side === 'source' ? 'sourcePorts' : 'destinationPorts';
  const port = Number.parseInt(data, 16);
  const [from, to] = (info[key] as [number, number] | undefined) ?? [0, 0xffff];
  switch (op) {
    case 'eq':
    case 'neq':
      info[key] = [port, port];
      break;
    case 'range':
      info[key] = [port, Number.parseInt(last!, 16)];
      break;
    case 'gte':
      info[key] = [port, to];
      break;
    case 'gt':
      info[key] = [port + 1, to];
      break;
    case 'lte':
      info[key] = [from, port];
      break;
    case 'lt':
      info[key] = [from, port - 1];
  }
  if (invert) info.invert = [...((info.invert as string[] | undefined) ?? []), `${side}-ports`];
  return true;
}

const flagsOf = (bits: number): string[] => TCP_FLAGS.filter((_, i) => (bits & (1 << i)) !== 0);

function format(hexadecimal: string): string {
  const bytes = fromHex(hexadecimal)!;
  return bytes.length === 4 ? formatIPv4(bytes) : formatIPv6(bytes);
}
