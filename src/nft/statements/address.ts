import type { Evaluator } from '../compile/ir.ts';
import { entryOf, type Fields } from '../compile/json-fields.ts';
import { type Datatype, TYPES } from '../data/datatypes.ts';
import type { Registers } from '../decompile/registers.ts';
import { nodeText, type TextOptions } from '../decompile/to-text.ts';
import type { AddressFamily } from '../json.ts';
import { range, setType } from '../nodes.ts';
import { type Node, Place, refuse, Undecompilable } from '../tree.ts';

/* The addresses and ports that statements take as their arguments. */

/** The types of addresses by family. */
export const ADDRESS_TYPES: Readonly<Record<AddressFamily, Datatype>> = { ip: TYPES.ipv4_addr, ip6: TYPES.ipv6_addr };

export const isAddressFamily = (family: unknown): family is AddressFamily => family === 'ip' || family === 'ip6';

const NO_FAMILY = 'ip or ip6 must be specified with address for inet tables.';

/** The type of the addresses of a family. */
export function addressType(
  family: unknown,
  place: Place | undefined,
  expected = 'ip or ip6',
  nftMessage = NO_FAMILY,
): Datatype {
  if (!isAddressFamily(family)) throw refuse(place, expected, family, nftMessage);
  return ADDRESS_TYPES[family];
}

const FAMILIES = { ip: 'ip', ip6: 'ip6' } as const;

/** The family that a statement names; default that of the rule, or undefined in the family inet. */
export function natFamily(
  { scope }: Evaluator,
  fields: Fields,
  place: Place,
  nftMessage: string,
): AddressFamily | undefined {
  const given = fields.family === undefined ? undefined : entryOf(FAMILIES, fields.family, new Place(place, 'family'));
  const { family } = scope;
  if (family !== 'inet' && !isAddressFamily(family))
    throw refuse(place, 'a rule of family ip, ip6 or inet', family, nftMessage);
  return given ?? (family === 'inet' ? undefined : family);
}

/** The address in a register, as one of this family. */
export function readAddress(registers: Registers, register: number, family: unknown): Node {
  const node = registers.get(register);
  if (!isAddressFamily(family)) throw new Undecompilable('an address without a family');
  setType(node, ADDRESS_TYPES[family], 'big');
  return node;
}

/** One port, or a range. Of a single port the kernel repeats the first register as the last one. */
export function readPorts(registers: Registers, from: number | undefined, to?: number): Node | undefined {
  const portIn = (register: number): Node => {
    const node = registers.get(register);
    setType(node, TYPES.inet_service, 'big');
    return node;
  };
  if (from === undefined) return undefined;
  return to === undefined || to === from ? portIn(from) : range(portIn(from), portIn(to));
}

/** An address before a port: nft reads an IPv6 address there in brackets only. */
export function bracketedAddress(node: Node, options: TextOptions): string {
  const text = nodeText(node, options);
  if (node.kind === 'value' && node.type.kind === 'ipv6') return `[${text}]`;
  if (node.kind === 'range' && node.left.type.kind === 'ipv6')
    return `${bracketedAddress(node.left, options)}-${bracketedAddress(node.right, options)}`;
  return text;
}
