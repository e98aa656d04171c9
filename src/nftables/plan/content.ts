import { toHex } from '../../codec/index.ts';
import { inside } from '../../errors.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import type { Family } from '../../nf_tables/family.ts';
import { decodeMessage, encodeMessage, type MessageName } from '../../nf_tables/message.ts';

/*
 * What an object says, as text that is equal for equal objects: without what packets and time change, and without what the kernel fills in by
 * itself.
 */

export type Fields = Record<string, unknown>;

/** What the kernel says of an object and nobody writes. */
const NOT_CONTENT = new Set([
  'handle',
  'use',
  'backend',
  'count',
  'id',
  'previousHandle',
  'owner',
  'expirationMilliseconds',
]);

/** State, by expression or object: it changes with each packet. */
const STATE: Readonly<Record<string, readonly string[]>> = {
  counter: ['packets', 'bytes'],
  quota: ['consumed'],
  last: ['seen', 'milliseconds'],
};

/** What the kernel takes where nothing is given. */
const DEFAULTS: Readonly<Record<string, Fields>> = {
  bitwise: { op: 'mask-xor' },
  hash: { offset: 0, type: 'jenkins' },
  numgen: { offset: 0 },
  limit: { type: 'packets' },
  log: { snaplen: 0, queueThreshold: 0, level: 'warn' },
  reject: { code: 0 },
  queue: { total: 1 },
  exthdr: { op: 'ipv6', offset: 0 },
  dynset: { timeoutMilliseconds: 0n },
  socket: { level: 0 },
  fwd: { family: 'unspecified' },
  dup: { addressRegister: 0 },
  xfrm: { index: 0 },
  payload: { checksumType: 'none', checksumOffset: 0 },
  osf: { ttl: 'exact' },
  synproxy: { windowScale: 0, maximumSegmentSize: 0 },
  tunnel: { typeOfService: 0, timeToLive: 255, sourcePort: 0, destinationPort: 0 },
};

/** Of a tunnel's addresses. */
const TUNNEL_DEFAULTS: Fields = { source: ['0.0.0.0', '::'], flowLabel: [0] };

/** Where the kernel repeats the first register as the last one, and derives flags. */
const REPEATED = [
  ['portRegister', 'lastPortRegister'],
  ['addressRegister', 'lastAddressRegister'],
] as const;
const DERIVED_FLAGS = ['ports-specified', 'map-addresses'];
const TRANSLATIONS = new Set(['nat', 'masq', 'redir']);

/** NFT_LIMIT_PKT_BURST_DEFAULT */
const PACKET_BURST = 5;

/** Text of a plain value: keys in order, nothing that is undefined or an empty list. */
export function textOf(value: unknown): string {
  if (typeof value === 'bigint' || typeof value === 'number') return String(value);
  if (value instanceof Uint8Array) return JSON.stringify(toHex(value));
  if (Array.isArray(value)) return `[${value.map(textOf).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const fields = value as Fields;
  const parts: string[] = [];
  for (const key of Object.keys(fields).sort()) {
    const item = fields[key];
    if (item === undefined || (Array.isArray(item) && item.length === 0)) continue;
    parts.push(`${key}:${textOf(item)}`);
  }
  return `{${parts.join(',')}}`;
}

/** The object as the kernel would give it back: names for numbers, hex for bytes. */
export function kernelForm(type: MessageName, object: object): Fields {
  const { family, ...rest } = object as { family: Family } & Fields;
  try {
    return decodeMessage(encodeMessage({ type, family, object: rest })).object;
  } catch (error) {
    throw inside(error, 'object');
  }
}

/** An object without what is no content. */
export function contentOf(object: object, ...others: string[]): Fields {
  const content: Fields = {};
  for (const [key, value] of Object.entries(object)) {
    if (!NOT_CONTENT.has(key) && !others.includes(key)) content[key] = value;
  }
  return content;
}

/** One expression, or an object's type and data, in the one form that both sides have. */
export function normal(name: string, given: unknown): unknown {
  if (typeof given !== 'object' || given === null) return given;
  const fields: Fields = { ...given };
  for (const field of STATE[name] ?? []) delete fields[field];
  for (const [field, value] of Object.entries(DEFAULTS[name] ?? {}))
    if (textOf(fields[field]) === textOf(value)) delete fields[field];
  if (name === 'quota' || TRANSLATIONS.has(name)) {
    const drop = name === 'quota' ? ['depleted'] : DERIVED_FLAGS;
    if (Array.isArray(fields.flags)) fields.flags = fields.flags.filter(flag => !drop.includes(flag as string));
  }
  if (TRANSLATIONS.has(name))
    for (const [first, last] of REPEATED) if (fields[first] === fields[last]) delete fields[last];
  if (name === 'limit' && (fields.burst === 0 || (fields.type === undefined && fields.burst === PACKET_BURST)))
    delete fields.burst;
  if (name === 'dynset') normalDynset(fields);
  for (const field of ignored(name, fields)) delete fields[field];
  if (name === 'tunnel') for (const version of ['ip', 'ip6']) normalAddresses(fields, version);
  if (fields.expression !== undefined) fields.expression = normalExpression(fields.expression as Expression);
  if (Array.isArray(fields.expressions)) fields.expressions = normalExpressions(fields.expressions as Expression[]);
  return fields;
}

const ONLY_JENKINS = ['sourceRegister', 'length', 'seed'];
/** Of a map that the kernel does not look them up in any more. */
const MAP_OF_NUMBERS = ['set', 'setId'];

/** What of a connection is another thing in each direction. */
const DIRECTED: ReadonlySet<unknown> = /* @__PURE__ */ new Set([
  'src',
  'dst',
  'src-ip',
  'dst-ip',
  'src-ip6',
  'dst-ip6',
  'proto-src',
  'proto-dst',
  'bytes',
  'pkts',
  'avgpkt',
  'zone',
]);

/** Fields that mean nothing beside the others: the kernel takes them, and does not give them back. */
function ignored(name: string, fields: Fields): readonly string[] {
  if (name === 'hash') return fields.type === 'symmetric' ? [...MAP_OF_NUMBERS, ...ONLY_JENKINS] : MAP_OF_NUMBERS;
  if (name === 'numgen') return MAP_OF_NUMBERS;
  if (name === 'ct' && !DIRECTED.has(fields.key)) return ['direction'];
  if (name === 'objref') {
    const { sourceRegister, set, setId } = fields;
    const isMap = sourceRegister !== undefined && (set !== undefined || setId !== undefined);
    return isMap ? ['type', 'name'] : ['sourceRegister', 'set', 'setId'];
  }
  // Register 0 has verdicts: no address and no port.
  return TRANSLATIONS.has(name) ? REPEATED.flat().filter(field => fields[field] === 0) : [];
}

/** One expression or a list with one are the same, and a flag says again that there is a list. */
function normalDynset(fields: Fields): void {
  const { expressions } = fields;
  if (fields.expression !== undefined && !(Array.isArray(expressions) && expressions.length > 0)) {
    fields.expressions = [fields.expression];
  }
  delete fields.expression;
  if (Array.isArray(fields.flags)) fields.flags = fields.flags.filter(flag => flag !== 'expressions');
}

function normalAddresses(tunnel: Fields, version: string): void {
  const addresses = tunnel[version];
  if (typeof addresses !== 'object' || addresses === null) return;
  const given = Object.entries(addresses).filter(([field, value]) => {
    const defaults = TUNNEL_DEFAULTS[field];
    return !(Array.isArray(defaults) && defaults.includes(value));
  });
  tunnel[version] = Object.fromEntries(given);
}

function normalExpression(expression: Expression): Fields {
  const [name, value] = Object.entries(expression)[0] as [string, unknown];
  return { [name]: normal(name, value) };
}

export const normalExpressions = (expressions: readonly Expression[]): Fields[] => expressions.map(normalExpression);
