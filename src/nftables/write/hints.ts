import { toHex } from '../../codec/index.ts';
import { type Path, printable, show } from '../../errors.ts';

/** What is known of a refusal. */
export interface Refused {
  /** The errno's name. */
  readonly code: string;
  /** From the kind of object on: `['rule', 'expressions', 2]`. */
  readonly path: Path;
  readonly kind?: string;
  readonly verb?: string;
  readonly object?: Readonly<Record<string, unknown>>;
}

type Hint = string | ((refused: Refused & { field: unknown; expression: string | undefined }) => string | undefined);

const NAMES: Record<string, string> = {
  ctHelper: 'connection tracking helper',
  ctTimeout: 'connection tracking timeout',
  ctExpectation: 'connection tracking expectation',
};
const nameOf = (kind: string | undefined): string => (kind === undefined ? 'object' : (NAMES[kind] ?? kind));

/** The usual cause of each errno, in the situation that the kernel's pointer tells. */
const HINTS: Record<string, Hint> = {
  EPERM: ({ field, kind }) =>
    field === 'table' || (kind === 'table' && field !== undefined)
      ? 'the table belongs to the socket of another process (its flag owner)'
      : 'this needs CAP_NET_ADMIN in the user namespace that owns the network namespace',
  ENOENT({ field, kind, path, expression, verb, object }) {
    if (field === 'table' || kind === 'table') return 'there is no such table in this family';
    if (field === 'chain' || field === 'chainId') return 'there is no such chain in this table';
    if (field === 'type' && kind === 'chain')
      return 'this kernel has no chains of this type in this family (nat needs the module nft_chain_nat)';
    if (field === 'set' || field === 'setId') return 'there is no such set in this table';
    if (field === 'positionId') return 'no rule of this transaction has this id';
    if (field === 'handle' || field === 'position') return `there is no ${nameOf(kind)} with this handle`;
    if (inElements(path)) {
      return verb === 'delete'
        ? 'the set has no such element (of a range, all of it must be given)'
        : 'what the element refers to (a chain, an object) is not in this table';
    }
    if (expression !== undefined) {
      const refers = REFERRING[expression];
      return refers ?? `this kernel lacks the expression ${expression}: its module is not there`;
    }
    if (path.includes('statements')) {
      const name = nameIn(valueAt(object, path));
      const what = name === undefined ? '' : `, ${show(name)},`;
      return `what the statement refers to${what} is not there, or this kernel lacks it`;
    }
    if (isTunnel(kind, object) && object?.family !== 'netdev') return 'tunnels are objects of tables of family netdev';
    if (kind === 'ctHelper') return 'this kernel has no such helper: its module is not loaded';
    if (kind === 'flowtable' && object !== undefined && path.includes('devices')) return 'there is no such device';
    if (
      kind === 'chain' &&
      (object?.hook === undefined) !== (object?.type === undefined && object?.priority === undefined)
    )
      return 'a base chain needs type, hook and priority, all three';
    if (kind === 'chain' && object?.hook !== undefined && object.priority === undefined)
      return 'a base chain needs type, hook and priority, all three';
    if (verb === 'add' || verb === 'create')
      return 'what it refers to is not there (a device), or this kernel lacks it';
    return `there is no such ${nameOf(kind)} in this table`;
  },
  EEXIST({ path, kind, verb }) {
    if (inElements(path)) {
      return verb === 'create'
        ? 'the set has the element already'
        : 'the set has the element with another value, or a range that it overlaps';
    }
    if (kind === 'rule')
      return 'a set of this rule has the same element twice with different values, or ranges that overlap';
    return verb === 'create'
      ? `there is a ${nameOf(kind)} of this name already`
      : `there is a ${nameOf(kind)} of this name already, and it is not like this one`;
  },
  ENOTEMPTY: ({ path }) => (inElements(path) ? 'a part of the range is in the set already' : undefined),
  ENFILE: ({ path }) =>
    inElements(path) ? 'the set is full: see its size' : 'there is an anonymous object of this name already',
  EBUSY({ kind, verb }) {
    if (verb !== 'delete' && verb !== 'destroy' && verb !== 'flush')
      return 'it is in use, or another change is under way';
    if (kind === 'chain')
      return 'rules or verdict maps jump to the chain, or it has rules that others need: remove those first';
    return `rules or maps use the ${nameOf(kind)}: remove those first`;
  },
  EOPNOTSUPP({ kind, expression, field, object }) {
    if (kind === 'chain') {
      if (field === 'policy' && object?.hook === undefined)
        return 'only base chains have a policy: those with type, hook and priority';
      if (object?.type === 'nat' && typeof object.priority === 'number' && object.priority <= CONNTRACK_PRIORITY)
        return 'a chain of type nat comes after connection tracking: its priority is above -200';
      if (object?.type === undefined && object?.hook === undefined)
        return 'this cannot be changed in a chain that is there, or not be done to this kind of chain';
      return `chains of type ${String(object.type ?? 'filter')} do not hang on the hook ${String(object.hook)} of this family, or it is a chain that is there and not like this one`;
    }
    if (kind === 'table') return 'this kernel does not know one of the flags';
    if (kind === 'set' || kind === 'map')
      return 'no implementation of sets has all of these flags (interval and dynamic go together only from Linux 5.7 on)';
    if (kind === 'element') return 'this kind of set does not take such an element';
    if (expression === 'bitwise')
      return 'this kernel does not know the operation (and, or, xor with a register: Linux 6.13)';
    if (expression !== undefined) {
      return `${expression}: ${NOT_HERE}`;
    }
    if (field === 'handle') return 'a rule that is to be added has no handle';
    return kind === 'rule' ? NOT_HERE : 'this kernel does not do this here';
  },
  EINVAL({ kind, field, expression, path, object }) {
    if (kind === 'chain' && object?.hook === undefined && field !== 'name' && path.length < 2)
      return 'a base chain needs type, hook and priority; nothing else has a policy';
    if (kind === 'chain') return 'hook, priority, policy or device do not fit the type and family of the chain';
    if (typeof field === 'string' && /register/i.test(field)) return REGISTERS;
    if (inElements(path))
      return 'key or value do not have the length that the set says, or the element has fields that the set does not allow (timeout)';
    if (kind === 'set' || kind === 'map') return 'types, lengths and flags of the set do not fit together';
    if (expression === 'immediate' || expression === 'cmp')
      return `the value's length and the register do not fit: ${REGISTERS}`;
    if (expression !== undefined)
      return `${expression} does not take one of these values, or reads a register that nothing was loaded into, or does not work in this chain`;
    return 'the kernel does not take this value, or not in this place';
  },
  ERANGE: ({ expression }) => (expression !== undefined ? REGISTERS : 'the number is beyond what the kernel takes'),
  ENODATA: 'the expression reads a register that nothing was loaded into',
  EOVERFLOW: 'the number is beyond what the kernel takes',
  EMLINK: 'chains jump more than 15 deep, or in a loop',
  ELOOP: 'the chain jumps to itself, by way of others',
  ERESTART: 'the ruleset has changed since that generation: read it again',
  EMFILE: 'it is referred to too often',
  ENODEV: 'there is no such device in this namespace',
  ENOSPC: 'the kernel has no room for it',
  ENOMEM: 'the kernel has no memory for it',
  EAFNOSUPPORT: 'this kernel does not have this family: its module is not there',
  E2BIG: 'it is larger than the kernel takes: a rule has at most 128 expressions',
  EPROTONOSUPPORT: 'this kernel has no conntrack support for the protocol',
};

/** Elements may be given in nft's JSON, too. */
const inElements = (path: Path): boolean => path.includes('elements') || path.includes('json');

const isTunnel = (kind: string | undefined, object: Refused['object']): boolean =>
  kind === 'tunnel' || (kind === 'object' && object?.type === 'tunnel');

/** NF_IP_PRI_CONNTRACK. */
const CONNTRACK_PRIORITY = -200;
const NOT_HERE =
  'an expression of the rule does not work in this chain, or in one that jumps here: their type, hook and family must fit (nat, redir and masq: chains of type nat)';
const REGISTERS =
  'registers are 1 to 4 of 16 bytes, or 8 to 23 of 4 bytes each; 0 takes a verdict, and what is read must have been loaded';

/** Expressions that refer to something by its name. */
const REFERRING: Record<string, string> = {
  lookup: 'there is no such set in this table',
  dynset: 'there is no such set in this table',
  immediate: 'there is no such chain in this table',
  objref: 'there is no object of this name and type in this table',
  flow_offload: 'there is no such flowtable in this table',
};

/** The usual cause of a refusal, in one sentence. */
export function hintFor(refused: Refused): string | undefined {
  const hint = HINTS[refused.code];
  if (typeof hint !== 'function') return hint;
  const { path, object } = refused;
  const field = path.length > 1 ? path.at(-1) : undefined;
  const text = hint({ ...refused, field, expression: expressionAt(path, object) });
  const element = inElements(path) ? elementText(valueAt(object, path)) : undefined;
  return text === undefined || element === undefined ? text : `${text}: ${element}`;
}

/** The name that a statement of nft's JSON refers to: of a chain, a set or an object. */
function nameIn(statement: unknown): string | undefined {
  if (typeof statement === 'string') return statement;
  if (typeof statement !== 'object' || statement === null) return undefined;
  const [content] = Object.values(statement) as unknown[];
  if (typeof content === 'string') return content;
  const { target } = (content ?? {}) as { target?: unknown };
  return typeof target === 'string' ? target : undefined;
}

const ELEMENT_CHARACTERS = 80;

/** The key of an element, as it was given. */
function elementText(element: unknown): string | undefined {
  const key = typeof element === 'object' && element !== null && 'key' in element ? element.key : element;
  if (key === undefined) return undefined;
  const text = JSON.stringify(key, (_, value) =>
    value instanceof Uint8Array ? toHex(value) : typeof value === 'bigint' ? String(value) : value,
  );
  return printable(text.length > ELEMENT_CHARACTERS ? `${text.slice(0, ELEMENT_CHARACTERS)}...` : text);
}

/** What a path leads to; it begins with the kind of the object. */
function valueAt(object: Refused['object'], path: Path): unknown {
  let at: unknown = object;
  for (const part of path.slice(1)) {
    if (typeof at !== 'object' || at === null) return undefined;
    at = (at as Record<string | number, unknown>)[part];
  }
  return at === object ? undefined : at;
}

/** The name of the expression that a path leads to. */
function expressionAt(path: Path, object: Refused['object']): string | undefined {
  const at = path.indexOf('expressions');
  const index = path[at + 1];
  if (at < 0 || typeof index !== 'number') return undefined;
  const expressions = object?.expressions;
  const expression = Array.isArray(expressions) ? (expressions[index] as unknown) : undefined;
  if (typeof path[at + 2] === 'string') return path[at + 2] as string;
  const name = typeof expression === 'object' && expression !== null ? Object.keys(expression)[0] : undefined;
  return name === 'unknown' ? (expression as { unknown: { name: string } }).unknown.name : name;
}
