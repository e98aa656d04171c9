import { TYPES } from '../data/datatypes.ts';
import {
  type Extension as ExtensionRow,
  IP_OPTIONS,
  IPV6_EXTENSIONS,
  SCTP_CHUNKS,
  TCP_OPTIONS,
} from '../data/extensions.ts';
import type { FieldRow } from '../data/protocols.ts';
import { lowestOne, lowestZero } from './bits.ts';
import type { HeaderField } from './headers.ts';
import { type Extension, type ExtensionNode, untyped, type Value } from './tree.ts';

type Op = ExtensionNode['op'];

function fieldsOf(fields: Readonly<Record<string, FieldRow>>, first: number): HeaderField[] {
  return Object.entries(fields).map(([name, row], i) => ({
    name,
    number: row[3] ?? i + first,
    offset: row[0],
    bits: row[1],
    type: TYPES[row[2] ?? 'integer'],
  }));
}

/** By the kernel's number. Several rows of one number are the further blocks of the first one, or kinds of it. */
function byType(rows: Readonly<Record<string, ExtensionRow>>, first: number): ReadonlyMap<number, Extension[]> {
  const map = new Map<number, Extension[]>();
  for (const [name, { type, number, fields }] of Object.entries(rows)) {
    const list = map.get(type) ?? [];
    list.push({ name, type, number: number ?? 0, fields: fieldsOf(fields, first) });
    map.set(type, list);
  }
  return map;
}

/** sack has blocks 0 to 3, all of them fields of one option. */
function joined(map: ReadonlyMap<number, Extension[]>): ReadonlyMap<number, Extension[]> {
  return new Map(
    [...map].map(([type, list]) => [
      type,
      [{ ...list[0]!, fields: list.flatMap(({ fields }, i) => (i === 0 ? fields : fields.slice(2))) }],
    ]),
  );
}

const KNOWN: Readonly<Record<Op, ReadonlyMap<number, Extension[]>>> = {
  ipv6: /* @__PURE__ */ byType(IPV6_EXTENSIONS, 1),
  tcp: /* @__PURE__ */ joined(/* @__PURE__ */ byType(TCP_OPTIONS, 0)),
  ipv4: /* @__PURE__ */ byType(IP_OPTIONS, 1),
  sctp: /* @__PURE__ */ byType(SCTP_CHUNKS, 0),
  dccp: new Map(),
};

/** nft tries the kinds of the routing header in this order. */
const ROUTING_KINDS = ['srh', 'rt0', 'rt2'];

export function extensionsOf(op: Op, type: number): readonly Extension[] {
  return KNOWN[op].get(type) ?? [];
}

export function extensionNode(op: Op, number: number, offset: number, bits: number, present: boolean): ExtensionNode {
  const node: ExtensionNode = {
    kind: 'extension',
    ...untyped(bits),
    order: 'big',
    op,
    number,
    offset,
    present,
    extension: undefined,
    field: undefined,
  };
  place(node, offset, bits, present);
  return node;
}

/** Finds the field at this place. */
function place(node: ExtensionNode, offset: number, bits: number, present: boolean): void {
  node.offset = offset;
  node.bits = bits;
  node.present = present;
  const [first, ...kinds] = extensionsOf(node.op, node.number);
  node.extension = first;
  const fits = (field: HeaderField) => field.offset === offset && field.bits === bits;
  node.field = first?.fields.find(fits);
  if (node.field === undefined) {
    for (const name of ROUTING_KINDS) {
      const kind = kinds.find(each => each.name === name);
      const field = kind?.fields.find(fits);
      if (field === undefined) continue;
      node.extension = kind;
      node.field = field;
      break;
    }
  }
  if (present || node.op === 'dccp') node.type = TYPES.boolean;
  else if (node.field !== undefined) node.type = node.field.type;
  else node.type = node.op === 'tcp' || node.op === 'sctp' ? TYPES.integer : TYPES.invalid;
}

/** Finds the field that a mask leaves; returns how far the value is to be shifted, undefined where there is no such field. */
export function narrowExtension(node: ExtensionNode, mask: Value): number | undefined {
  const shift = lowestOne(mask.value);
  const end = lowestZero(mask.value, shift + 1);
  if (end === Infinity || node.op === 'sctp' || node.op === 'dccp') return undefined;
  if (node.op !== 'ipv6' && (node.field !== undefined || node.extension === undefined)) return undefined;
  const offset = node.offset + Math.ceil(mask.bits / 8) * 8 - end;
  const trial = { ...node };
  place(trial, offset, end - shift, false);
  if (trial.field === undefined) return undefined;
  Object.assign(node, trial);
  return shift;
}

/** By the numbers in the user data of sets. */
export function numberedExtension(op: Op, number: number, field: number): ExtensionNode | undefined {
  let found: Extension | undefined;
  if (op === 'ipv6') for (const list of KNOWN.ipv6.values()) found ??= list.find(each => each.number === number);
  else found = extensionsOf(op, number)[0];
  const row = found?.fields.find(each => each.number === field);
  if (found === undefined || row === undefined) return undefined;
  return {
    kind: 'extension',
    type: row.type,
    order: 'big',
    bits: row.bits,
    op,
    number: found.type,
    offset: row.offset,
    present: false,
    extension: found,
    field: row,
  };
}
