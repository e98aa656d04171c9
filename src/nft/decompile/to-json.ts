import type { SetElement } from '../json.ts';
import { defined, type Json, type JsonObject, orNull } from '../json-object.ts';
import { logJson } from '../statements/log.ts';
import {
  BASE_TOKENS,
  blockOf,
  byteRate,
  jsonValue,
  OBJECT_WORDS,
  rejectCodeName,
  type Style,
  timeUnit,
  type Vocabulary,
} from './format-value.ts';
import { isKnown } from './loads.ts';
import { statementText } from './to-text.ts';
import {
  type Binary,
  type ExtensionNode,
  type FibNode,
  type FlowStatement,
  type HashNode,
  type Node,
  type PayloadNode,
  type SetMember,
  Undecompilable,
  type VerdictNode,
} from './tree.ts';

/* Nodes and statements as nft's JSON has them. What is written here is checked by the types of json.ts only where it is handed out. */

export interface JsonOptions {
  words: Vocabulary;
  /** Counters and the like as in sets: without what they have counted. */
  stateless?: boolean;
  style?: Style;
  /** fib's `check` has another name where it is compared. */
  compared?: boolean;
  /** The text of a chain that has no name of its own, and stands where it is jumped to. */
  nestedChain?: ((name: string) => string | undefined) | undefined;
}

const number = (value: bigint): number | bigint => (value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value);

export function nodeJson(node: Node, options: JsonOptions): Json {
  const json = (inner: Node) => nodeJson(inner, options);
  switch (node.kind) {
    case 'value':
      return jsonValue(node, options.words, options.style ?? 'names');
    case 'verdict':
      return verdictJson(node);
    case 'prefix':
      return { prefix: { addr: json(node.base), len: node.length } };
    case 'range': {
      const numbers: JsonOptions = { ...options, style: 'numbers' };
      return { range: [nodeJson(node.left, numbers), nodeJson(node.right, numbers)] };
    }
    case 'concat':
      return { concat: node.parts.map(json) };
    case 'list':
      return node.parts.map(json);
    case 'set':
      return { set: node.elements.map(json) };
    case 'element':
      return elementJson(node, options);
    case 'catch-all':
      return '*';
    case 'mapping':
      return [json(node.left), json(node.right)];
    case 'map': {
      const isVerdict = node.right.kind === 'set-reference' && node.right.set.data?.type.kind === 'verdict';
      const map = { key: json(node.left), data: json(node.right) };
      return isVerdict ? { vmap: map } : { map };
    }
    case 'set-reference':
      return node.literal === undefined ? `@${node.set.name}` : json(node.literal);
    case 'unary':
      return json(node.argument);
    case 'binary':
      return {
        [node.op]: options.words.dialect.flattensOperands
          ? operands(node, node, options)
          : [json(node.left), json(node.right)],
      };
    case 'relation': {
      const compared: JsonOptions = { ...options, compared: true };
      return { match: { op: node.op, left: nodeJson(node.left, compared), right: nodeJson(node.right, compared) } };
    }
    case 'flag-comparison':
      return {
        match: { op: node.op, left: { '&': [json(node.left), json(node.mask)] }, right: json(node.right) },
      };
    case 'payload':
      return { payload: payloadJson(node) };
    case 'extension':
      return extensionJson(node);
    case 'meta':
      return { meta: { key: node.key } };
    case 'ct':
      return { ct: { key: node.key, ...(node.direction === undefined ? {} : { dir: node.direction }) } };
    case 'rt':
      return { rt: { key: node.key, ...(node.family === undefined ? {} : { family: node.family }) } };
    case 'socket':
      return { socket: { key: node.key } };
    case 'osf':
      return { osf: { key: node.version ? 'version' : 'name', ...(node.ttl === undefined ? {} : { ttl: node.ttl }) } };
    case 'ipsec':
      return {
        ipsec: {
          key: node.key,
          ...(node.family === undefined ? {} : { family: node.family }),
          dir: node.direction,
          spnum: node.index,
        },
      };
    case 'tunnel':
      return { tunnel: { key: node.key } };
    case 'fib':
      return { fib: { result: fibResult(node, options), flags: node.flags } };
    case 'numgen':
      return { numgen: { mode: node.mode, mod: node.modulus, offset: node.offset } };
    case 'hash':
      return hashJson(node, options);
  }
}

/** Several operands of one operator stand side by side. */
function operands(of: Binary, node: Node, options: JsonOptions): Json[] {
  if (node.kind !== 'binary' || node.op !== of.op) return [nodeJson(node, options)];
  return [...operands(of, node.left, options), ...operands(of, node.right, options)];
}

function fibResult({ result, present }: FibNode, { compared, words }: JsonOptions): string {
  return words.dialect.printsCheck && !compared && result === 'oif' && present ? 'check' : result;
}

function verdictJson({ verdict, chain }: VerdictNode): JsonObject {
  return { [verdict]: verdict === 'jump' || verdict === 'goto' ? { target: chain } : null };
}

function payloadJson(node: PayloadNode): JsonObject {
  if (!isKnown(node)) return { base: BASE_TOKENS[node.base], offset: node.offset, len: node.bits };
  return {
    ...(node.tunnel === undefined ? {} : { tunnel: node.tunnel.name }),
    protocol: node.header!.name,
    field: node.field!.name,
  };
}

function extensionJson(node: ExtensionNode): JsonObject {
  const { op, extension, present, field } = node;
  if (op === 'dccp') return { 'dccp option': { type: node.number } };
  if (op === 'tcp' && extension === undefined)
    return { 'tcp option': { base: node.number, offset: node.offset, len: node.bits } };
  if (extension === undefined || (!present && field === undefined))
    throw new Undecompilable(`the header or option ${node.number}`);
  const name = op === 'tcp' ? extension.name + blockOf(node) : extension.name;
  const reference = present ? { name } : { name, field: field!.name };
  if (op === 'tcp') return { 'tcp option': reference };
  if (op === 'ipv4') return { 'ip option': reference };
  return op === 'sctp' ? { 'sctp chunk': reference } : { exthdr: reference };
}

function hashJson(node: HashNode, options: JsonOptions): JsonObject {
  const content: JsonObject = { mod: node.modulus };
  if (node.seed !== undefined) content.seed = node.seed;
  if (node.offset !== 0) content.offset = node.offset;
  if (node.symmetric) return { symhash: content };
  return { jhash: { ...content, expr: nodeJson(node.argument!, options) } };
}

function elementJson(node: SetMember, options: JsonOptions): Json {
  if (node.key.kind !== 'mapping') return attached(node, node.key, options);
  return [attached(node, node.key.left, options), nodeJson(node.key.right, options)];
}

/** A key with what belongs to its element, if anything does. */
function attached(node: SetMember, key: Node, options: JsonOptions): Json {
  const val = nodeJson(key, options);
  const { timeout, expires, comment, statements } = node;
  const has = timeout !== undefined || (expires ?? 0n) !== 0n || comment !== undefined || statements.length > 0;
  if (
    !has ||
    (!options.words.dialect.hasElementTimeoutNever &&
      timeout === 0n &&
      !expires &&
      comment === undefined &&
      statements.length === 0)
  )
    return val;
  const elem: JsonObject = { val };
  if (timeout !== undefined) elem.timeout = number((timeout === 0n ? NEVER : timeout) / 1000n);
  if (expires) elem.expires = number(expires / 1000n);
  if (comment !== undefined) elem.comment = comment;
  for (const statement of options.words.dialect.hasElementStates ? statements : statements.slice(0, 1)) {
    for (const [name, content] of Object.entries(statementJson(statement, options) as JsonObject))
      elem[name] ??= content;
  }
  return { elem } satisfies { elem: JsonObject } as unknown as SetElement as unknown as Json;
}

/** nft's own number for an element that never times out. */
const NEVER = 0xffff_ffff_ffff_ffffn;

/** A list of flags; in nft 1.0.6, a single one alone. */
function flagsJson(flags: string[], { words }: JsonOptions): Json | undefined {
  if (flags.length === 0) return undefined;
  return !words.dialect.listsSingleFlags && flags.length === 1 ? flags[0]! : flags;
}

export function statementJson(statement: FlowStatement, options: JsonOptions): Json {
  const json = (node: Node) => nodeJson(node, options);
  const optional = (node: Node | undefined) => (node === undefined ? undefined : json(node));
  switch (statement.kind) {
    case 'match':
      return json(statement.node);
    case 'verdict': {
      // A chain without a name has no JSON: nft shows the text.
      const { node } = statement;
      const chain = node.kind === 'verdict' ? node.chain : undefined;
      const isNested = chain !== undefined && options.nestedChain?.(chain) !== undefined;
      return isNested ? statementText(statement, options) : json(node);
    }
    case 'set-payload':
    case 'set-extension':
      return { mangle: { key: json(statement.target), value: json(statement.value) } };
    case 'reset-option':
      return { reset: json(statement.target) };
    case 'set-meta':
      return { mangle: { key: { meta: { key: statement.key } }, value: json(statement.value) } };
    case 'set-ct': {
      const { key, direction } = statement;
      return { mangle: { key: { ct: defined({ key, dir: direction }) }, value: json(statement.value) } };
    }
    case 'counter':
      if (options.stateless) return { counter: null };
      return { counter: { packets: number(statement.packets), bytes: number(statement.bytes) } };
    case 'limit':
      return { limit: limitJson(statement) };
    case 'quota':
      return { quota: quotaJson(statement, options) };
    case 'last':
      return { last: options.stateless || !statement.seen ? null : { used: number(statement.milliseconds) } };
    case 'connlimit':
      return { 'ct count': defined({ val: statement.count, inv: statement.inverted || undefined }) };
    case 'log':
      return { log: logJson(statement, options.words) };
    case 'nat': {
      const content = defined({
        family: statement.family,
        addr: optional(statement.address),
        port: optional(statement.port),
        flags: flagsJson(statement.flags, options),
        type_flags: flagsJson(statement.prefix ? ['prefix'] : [], options),
      });
      return { [statement.type]: orNull(content) };
    }
    case 'reject':
      return { reject: rejectJson(statement) };
    case 'queue':
      return { queue: defined({ num: json(statement.number), flags: flagsJson(statement.flags, options) }) };
    case 'tproxy':
      return {
        tproxy: defined({
          family: statement.family,
          addr: optional(statement.address),
          port: optional(statement.port),
        }),
      };
    case 'synproxy': {
      const content = synproxyJson(statement);
      return { synproxy: orNull(content) };
    }
    case 'notrack':
      return { notrack: null };
    case 'dup':
      return {
        dup: statement.to === undefined ? null : defined({ addr: json(statement.to), dev: optional(statement.device) }),
      };
    case 'fwd': {
      const { device, address, family } = statement;
      return { fwd: defined({ dev: json(device), family: address && family, addr: optional(address) }) };
    }
    case 'set-update': {
      const { op, set, key, statements } = statement;
      const stmt = statesJson(statements, options);
      return { set: defined({ op, elem: json(key), set: `@${set.name}`, stmt }) };
    }
    case 'map-update': {
      // nft 1.0.6 has no JSON for it.
      if (!options.words.dialect.hasMapUpdates) return statementText(statement, { words: options.words });
      const { op, set, key, data, statements } = statement;
      const stmt = statesJson(statements, options);
      return { map: defined({ op, elem: json(key), data: json(data), map: `@${set.name}`, stmt }) };
    }
    case 'meter':
      return {
        meter: {
          key: json(statement.key),
          stmt: statementJson(statement.statement, { ...options, stateless: true }),
          size: statement.size,
          name: statement.set.name,
        },
      };
    case 'object':
      return { [OBJECT_WORDS[statement.type]!]: json(statement.reference) };
    case 'flow':
      return { flow: { op: 'add', flowtable: `@${statement.flowtable}` } };
    case 'xt':
      return { xt: { type: statement.type, name: statement.name } };
  }
}

export function statesJson(statements: readonly FlowStatement[], options: JsonOptions): Json[] | undefined {
  if (statements.length === 0) return undefined;
  return statements.map(statement => statementJson(statement, { ...options, stateless: true }));
}

type Of<K extends FlowStatement['kind']> = Extract<FlowStatement, { kind: K }>;

function limitJson({ rate, burst, unit, bytes, inverted }: Of<'limit'>): JsonObject {
  const scaled = bytes ? byteRate(rate) : { amount: rate, unit: undefined };
  const most = bytes ? byteRate(BigInt(burst)) : { amount: BigInt(burst), unit: undefined };
  return defined({
    rate: number(scaled.amount),
    burst: number(most.amount),
    per: timeUnit(unit),
    inv: inverted || undefined,
    rate_unit: scaled.unit,
    burst_unit: most.unit,
  });
}

function quotaJson({ bytes, used, inverted }: Of<'quota'>, { stateless }: JsonOptions): JsonObject {
  const total = byteRate(bytes);
  const content: JsonObject = { val: number(total.amount), val_unit: total.unit };
  if (inverted) content.inv = true;
  if (stateless || used === 0n) return content;
  const past = byteRate(used);
  return { ...content, used: number(past.amount), used_unit: past.unit };
}

function rejectJson({ type, family, code }: Of<'reject'>): Json {
  if (type === 'tcp-reset') return { type: 'tcp reset' };
  if (code.kind !== 'value') throw new Undecompilable('a code of reject');
  if (type === 'icmpx-unreachable') return { type: 'icmpx', expr: rejectCodeName(code) };
  return family === undefined ? null : { type: family === 'ip' ? 'icmp' : 'icmpv6', expr: rejectCodeName(code) };
}

function synproxyJson({ mss, wscale, flags }: Of<'synproxy'>): JsonObject {
  const words = [
    ...(flags.includes('timestamp') ? ['timestamp'] : []),
    ...(flags.includes('sack-permitted') ? ['sack-perm'] : []),
  ];
  return defined({
    mss: flags.includes('maximum-segment-size') ? mss : undefined,
    wscale: flags.includes('window-scale') ? wscale : undefined,
    flags: words.length > 0 ? words : undefined,
  });
}
