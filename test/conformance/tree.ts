import { align4, HOST_IS_LITTLE_ENDIAN, NLA_HDRLEN, NLA_TYPE_MASK, sourceOf, toHex } from '../../src/codec/index.ts';

/*
 * Attributes as a tree, as the recordings are compared: the order of attributes of one type counts (they are a list), the order between
 * types does not (the tools and the kernel disagree with each other), neither does NLA_F_NESTED (the kernel leaves it out of dumps) nor what
 * stands in the padding (nft sends uninitialised bytes). What is a nest and what is not is not known here: two payloads are equal if their
 * bytes are, or if both are wholly made of attributes and those are equal.
 */

/** The payloads of each type, or undefined where the bytes are no attributes. */
function attributesOf(bytes: Uint8Array): Map<number, Uint8Array[]> | undefined {
  const { view } = sourceOf(bytes);
  const found = new Map<number, Uint8Array[]>();
  let at = 0;
  while (bytes.length - at >= NLA_HDRLEN) {
    const length = view.getUint16(at, HOST_IS_LITTLE_ENDIAN);
    if (length < NLA_HDRLEN || length > bytes.length - at) return undefined;
    const type = view.getUint16(at + 2, HOST_IS_LITTLE_ENDIAN) & NLA_TYPE_MASK;
    const payload = bytes.subarray(at + NLA_HDRLEN, at + length);
    const list = found.get(type);
    if (list === undefined) found.set(type, [payload]);
    else list.push(payload);
    at += align4(length);
  }
  return at >= bytes.length ? found : undefined;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** The first difference, with the types that lead to it, or undefined where there is none. */
export function differenceOf(
  expected: Uint8Array,
  actual: Uint8Array,
  path: readonly number[] = [],
): string | undefined {
  if (sameBytes(expected, actual)) return undefined;
  const a = attributesOf(expected);
  const b = attributesOf(actual);
  const at = path.length === 0 ? 'message' : `attribute ${path.join('.')}`;
  if (a === undefined || b === undefined) return `${at}: ${toHex(expected)} became ${toHex(actual)}`;
  for (const [type, payloads] of a) {
    const others = b.get(type) ?? [];
    if (others.length !== payloads.length) {
      return `${at}: ${payloads.length} of type ${type} became ${others.length}`;
    }
    for (const [i, payload] of payloads.entries()) {
      const difference = differenceOf(payload, others[i]!, [...path, type]);
      if (difference !== undefined) return difference;
    }
  }
  for (const type of b.keys()) if (!a.has(type)) return `${at}: type ${type} was added`;
  return undefined;
}
