import type { SetElement } from '../json.ts';
import type { Json, JsonObject } from '../json-object.ts';
import { exactNumber } from '../statements/state.ts';
import { stateJson } from '../statements/stateful.ts';
import { BASE_TOKENS, blockOf, jsonValue, type Style, type Vocabulary } from './format-value.ts';
import { isKnown } from './loads.ts';
import {
  type Binary,
  type ExtensionNode,
  type FibNode,
  type HashNode,
  type Node,
  type PayloadNode,
  type SetMember,
  Undecompilable,
  type VerdictNode,
} from './tree.ts';

/* Nodes as nft's JSON has them. The types of json.ts check the result only where it is handed out. */

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
  if (timeout !== undefined) elem.timeout = exactNumber((timeout === 0n ? NEVER : timeout) / 1000n);
  if (expires) elem.expires = exactNumber(expires / 1000n);
  if (comment !== undefined) elem.comment = comment;
  for (const statement of options.words.dialect.hasElementStates ? statements : statements.slice(0, 1)) {
    for (const [name, content] of Object.entries(stateJson(statement, options))) elem[name] ??= content;
  }
  return { elem } satisfies { elem: JsonObject } as unknown as SetElement as unknown as Json;
}

/** nft's own number for an element that never times out. */
const NEVER = 0xffff_ffff_ffff_ffffn;
