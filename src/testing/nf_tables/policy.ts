import { EINVAL, ERANGE, Refusal } from '../refusal.ts';
import { type Attribute, type Attributes, Writer } from '../wire/attributes.ts';

/*
 * What the kernel wants of attributes before it looks at what they say (struct nla_policy): lengths, and the ranges of a few numbers.
 */

export interface AttributeRule {
  readonly kind: 'number' | 'be32' | 'string' | 'nul-string' | 'binary' | 'nested' | 'array' | 'reject';
  /** The least length of a number, the greatest of the others; 0 where there is none. */
  readonly length: number;
  /** Greater numbers are refused. */
  readonly most?: number;
  /** Numbers with other bits are refused. */
  readonly mask?: number;
  /** Of each entry of an array. */
  readonly entries?: Policy;
}
export type Policy = Readonly<Record<number, AttributeRule>>;

const FAILED = 'Attribute failed policy validation';
const OUT_OF_RANGE = 'integer out of range';
const RESERVED_BIT = 'reserved bit set';
const HEADER = 4;

/** What the kernel says of bytes that are no attribute; it takes the message. */
export const LEFTOVER = 'bytes leftover after parsing attributes';

/**
 * Refuses attributes that break a policy; the first of them, as they stand (nla_parse_deprecated).
 * @param warn is told what is no reason to refuse
 */
export function check(attributes: Attributes, policy: Policy, warn?: (text: string) => void): void {
  for (const attribute of attributes.list()) {
    const rule = policy[attribute.type];
    if (rule !== undefined) checkOne(attributes, attribute, rule, warn);
  }
  if (attributes.hasLeftover) warn?.(LEFTOVER);
}

/** The attributes inside of one, after a look at them. An extended acknowledgement does not point into them. */
export function parsed(attributes: Attributes, type: number, policy: Policy | undefined): Attributes | undefined {
  const attribute = attributes.get(type);
  return attribute && parsedInside(attributes, attribute, policy);
}

export function parsedInside(attributes: Attributes, attribute: Attribute, policy: Policy | undefined): Attributes {
  const inside = attributes.inside(attribute);
  if (policy !== undefined) silently(() => check(inside, policy));
  return inside;
}

/** As the kernel does where it gives the parser no extended acknowledgement: the errno alone. */
export function silently<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof Refusal) throw new Refusal(error.errno);
    throw error;
  }
}

function checkOne(
  attributes: Attributes,
  attribute: Attribute,
  rule: AttributeRule,
  warn: ((text: string) => void) | undefined,
): void {
  const { bytes, offset } = attribute;
  const fail = (errno: number, text = FAILED): never => {
    throw new Refusal(errno, offset, text, describe(rule));
  };
  switch (rule.kind) {
    case 'reject':
      fail(EINVAL);
      return;
    case 'number':
      if (bytes.length < rule.length) fail(ERANGE);
      return;
    case 'be32': {
      if (bytes.length < rule.length) fail(ERANGE);
      const value = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
      if (rule.most !== undefined && value > rule.most) fail(ERANGE, OUT_OF_RANGE);
      if (rule.mask !== undefined && (value & ~rule.mask) !== 0) fail(EINVAL, RESERVED_BIT);
      return;
    }
    case 'nul-string':
      if (!bytes.subarray(0, rule.length + 1).includes(0)) fail(EINVAL);
      checkLength(bytes, rule, fail);
      return;
    case 'string':
      checkLength(bytes, rule, fail);
      return;
    case 'binary':
      if (rule.length > 0 && bytes.length > rule.length) fail(ERANGE);
      return;
    case 'nested':
    case 'array':
      if (bytes.length > 0 && bytes.length < HEADER) fail(ERANGE);
      if (rule.entries === undefined) return;
      for (const entry of attributes.inside(attribute).list()) {
        if (entry.bytes.length === 0) continue;
        if (entry.bytes.length < HEADER) throw new Refusal(ERANGE, entry.offset, 'Array element too short');
        check(attributes.inside(entry), rule.entries, warn);
      }
  }
}

function checkLength(bytes: Uint8Array, { length }: AttributeRule, fail: (errno: number) => never): void {
  if (bytes.length === 0) fail(ERANGE);
  const end = bytes.at(-1) === 0 ? bytes.length - 1 : bytes.length;
  if (end > length) fail(ERANGE);
}

/** NL_POLICY_TYPE_ATTR_*, of the description of a policy in an extended acknowledgement. */
const TYPE = 1;
const LEAST = 4;
const MOST = 5;
const LONGEST = 7;
/** NL_ATTR_TYPE_* */
const NUMBERS: Readonly<Record<number, number>> = { 1: 2, 2: 3, 4: 4, 8: 5 };
const OTHERS: Readonly<Record<string, number>> = {
  binary: 10,
  string: 11,
  'nul-string': 12,
  nested: 13,
  array: 14,
};

/** What an extended acknowledgement tells of a policy (netlink_policy_dump_write_attr); nothing of big-endian numbers. */
function describe({ kind, length }: AttributeRule): Uint8Array | undefined {
  if (kind === 'be32' || kind === 'reject') return undefined;
  const writer = new Writer();
  if (kind === 'number') {
    writer.u64(LEAST, 0n);
    writer.u64(MOST, (1n << BigInt(8 * length)) - 1n);
  } else if (length > 0) writer.u32(LONGEST, length);
  writer.u32(TYPE, kind === 'number' ? NUMBERS[length]! : OTHERS[kind]!);
  return writer.take();
}
