import { inNftsWords, type Path, rangeError, typeError } from '../errors.ts';
import { listOf } from '../nft/compile/named-set.ts';
import type { ObjectName } from '../nft/data/objects.ts';
import { parsePriority } from '../nft/data/priorities.ts';
import { objectData } from '../nft/objects.ts';

/* The objects of nft's JSON as a transaction takes them, and where the JSON has the fields that a transaction points at. */

export type Fields = Record<string, unknown>;
export const VERBS = ['add', 'create', 'insert', 'replace', 'delete', 'destroy', 'flush', 'rename'] as const;
export type Verb = (typeof VERBS)[number];
export const MAKING: readonly Verb[] = ['add', 'create'];

/** Where the document has what a transaction's path points at. */
export function asJson(kind: string, path: Path): Path {
  const [first, ...rest] = path;
  const name = first === undefined ? undefined : JSON_NAMES[kind]?.[first];
  return name === undefined ? path : [name, ...rest];
}

const JSON_NAMES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  rule: { statements: 'expr', position: 'handle' },
  set: { json: 'elem' },
  map: { json: 'elem' },
  element: { json: 'elem', set: 'name' },
  chain: { priority: 'prio', device: 'dev', devices: 'dev', newName: 'newname' },
  flowtable: { priority: 'prio', devices: 'dev' },
};

function numberIn(json: Fields, name: 'handle' | 'position'): bigint | undefined {
  const number = json[name];
  if (number === undefined) return undefined;
  if (typeof number === 'bigint') return number;
  if (!Number.isSafeInteger(number)) throw typeError([name], 'a whole number', number);
  return BigInt(number as number);
}

/** What identifies an object: its name, or its handle. */
export function keyOf(json: Fields): Fields {
  const { family, table, name } = json;
  const handle = numberIn(json, 'handle');
  return {
    family,
    ...(table !== undefined && { table }),
    ...(name !== undefined ? { name } : handle !== undefined && { handle }),
  };
}

export function ruleOf(verb: Verb, json: Fields): Fields {
  const { family, table, chain, index } = json;
  const handle = numberIn(json, 'handle');
  const rule: Fields = { family, table, chain };
  if (index !== undefined) rule.index = index;
  if (verb === 'delete' || verb === 'destroy') {
    if (handle !== undefined) rule.handle = handle;
    return rule;
  }
  addContent(rule, json);
  if (verb === 'replace') {
    if (handle !== undefined) rule.handle = handle;
    return rule;
  }
  // nft's JSON lists a rule with its handle, which means nothing for a new one.
  const position = numberIn(json, 'position') ?? (verb === 'insert' ? handle : undefined);
  if (position !== undefined) rule.position = position;
  return rule;
}

export function addContent(rule: Fields, { expr, comment }: Fields): Fields {
  if (!Array.isArray(expr)) throw typeError(['statements'], 'an array of statements', expr);
  rule.statements = expr;
  if (comment !== undefined) rule.comment = comment;
  return rule;
}

export function objectOf(verb: Verb, kind: string, json: Fields): Fields {
  if (kind === 'ruleset') return json;
  if (verb === 'rename') return { ...keyOf(json), newName: json.newname };
  const { family, table, name, comment } = json;
  if (!MAKING.includes(verb))
    return { ...keyOf(json), ...(json.dev !== undefined && { devices: listOf(json.dev, 'dev') }) };
  const place = {
    family,
    ...(table !== undefined && { table }),
    name,
    ...(comment !== undefined && { comment }),
  };
  const flags = json.flags === undefined ? undefined : listOf(json.flags, 'flags');
  switch (kind) {
    case 'table':
      // A table that is there, and dormant, is not from then on.
      return { ...place, flags: flags ?? [] };
    case 'chain':
      return {
        ...place,
        ...(json.hook !== undefined ? hooking(json) : json.policy !== undefined && { policy: json.policy }),
        ...(flags !== undefined && { flags }),
      };
    case 'flowtable':
      return {
        ...place,
        ...(json.hook !== undefined && { hook: json.hook, priority: priorityOf(json, 'ingress') }),
        ...(json.dev !== undefined && { devices: listOf(json.dev, 'dev') }),
        // Without this attribute the kernel would take devices for a flowtable of the hardware, too.
        flags: flags ?? [],
      };
    default:
      return { ...place, ...objectData(kind as ObjectName, json) };
  }
}

/** What makes a chain a base chain. */
function hooking(json: Fields): Fields {
  const { type, hook, dev, policy } = json;
  const devices = dev === undefined ? [] : listOf(dev, 'dev');
  return {
    type,
    hook,
    priority: priorityOf(json, hook as string),
    ...(devices.length === 1 ? { device: devices[0] } : devices.length > 1 && { devices }),
    ...(policy !== undefined && { policy }),
  };
}

function priorityOf({ prio, family }: Fields, hook: string): number {
  const number = typeof prio === 'string' ? parsePriority(prio, family as string, hook) : prio;
  if (typeof number !== 'number')
    throw inNftsWords(
      rangeError(['prio'], "a number, or nft's text of a priority of this family and hook", prio),
      'invalid priority expression value in this context.',
    );
  return number;
}
