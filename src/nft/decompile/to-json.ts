import { expressionOf } from '../expressions/registry.ts';
import type { Json, JsonObject } from '../json-object.ts';
import { isVerdictMap } from '../nodes.ts';
import { exactNumber } from '../statements/state.ts';
import { stateJson } from '../statements/stateful.ts';
import { type Binary, type Element, type Node, Undecompilable, type Verdict } from '../tree.ts';
import { jsonValue, type Style, type Vocabulary } from './format-value.ts';

/* Nodes as nft's JSON has them. The types of json.ts check the result only where it is handed out. */

export interface JsonOptions {
  words: Vocabulary;
  /** States are written without their counted values, as in sets. */
  stateless?: boolean;
  style?: Style;
  /** The node is a side of a comparison: fib's `check` has another name there. */
  compared?: boolean;
  /** Returns the text of the rules of a chain without a name, which stand in the place of the jump. */
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
      return node.items.map(json);
    case 'set':
      return { set: node.members.map(json) };
    case 'element':
      return elementJson(node, options);
    case 'catch-all':
      return '*';
    case 'mapping':
      return [json(node.left), json(node.right)];
    case 'map': {
      const map = { key: json(node.key), data: json(node.mappings) };
      return isVerdictMap(node) ? { vmap: map } : { map };
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
    case 'exthdr':
    case 'meta':
    case 'ct':
    case 'load':
      return expressionOf(node).json(node, options, nodeJson);
    default:
      throw new Undecompilable(`a ${node.kind}`);
  }
}

/** The operands of the same operator, side by side. */
function operands(of: Binary, node: Node, options: JsonOptions): Json[] {
  if (node.kind !== 'binary' || node.op !== of.op) return [nodeJson(node, options)];
  return [...operands(of, node.left, options), ...operands(of, node.right, options)];
}

function verdictJson({ verdict, chain }: Verdict): JsonObject {
  return { [verdict]: verdict === 'jump' || verdict === 'goto' ? { target: chain } : null };
}

/** The key of an element, with the settings that belong to it. */
function elementJson({ key, timeout, expires, comment, statements }: Element, options: JsonOptions): Json {
  const { hasElementTimeoutNever, hasElementStates } = options.words.dialect;
  const elem: JsonObject = { val: nodeJson(key, options) };
  const isPlain = !expires && comment === undefined && statements.length === 0;
  if (isPlain && (timeout === undefined || (timeout === 0n && !hasElementTimeoutNever))) return elem.val!;
  if (timeout !== undefined) elem.timeout = exactNumber((timeout === 0n ? NEVER : timeout) / 1000n);
  if (expires) elem.expires = exactNumber(expires / 1000n);
  if (comment !== undefined) elem.comment = comment;
  for (const statement of hasElementStates ? statements : statements.slice(0, 1)) {
    for (const [name, content] of Object.entries(stateJson(statement, options))) elem[name] ??= content;
  }
  return { elem };
}

/** nft's number for an element that never times out. */
const NEVER = 0xffff_ffff_ffff_ffffn;
