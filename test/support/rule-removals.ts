import { MESSAGES } from '../../src/nf_tables/message.ts';

const TABLE = 1;
const CHAIN = 2;

/** Numbers of the attributes of an nf_tables message, in their order; what lies about its length ends them. */
function attributeTypes(message: Uint8Array): number[] {
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  const types: number[] = [];
  for (let at = 20; message.length - at >= 4; ) {
    const length = view.getUint16(at, true);
    if (length < 4 || length > message.length - at) break;
    types.push(view.getUint16(at + 2, true) & 0x3fff);
    at += (length + 3) & ~3;
  }
  return types;
}

/**
 * Whether the bytes are a message by which the kernel removes all rules of a table although they name something smaller: a removal of a rule without
 * the name of its chain. (A removal that names nothing but the table is `flush`.)
 */
export function removesTable(message: Uint8Array): boolean {
  const type = new DataView(message.buffer, message.byteOffset, message.length).getUint16(4, true);
  if (type !== MESSAGES.delrule.number && type !== MESSAGES.destroyrule.number) return false;
  const types = attributeTypes(message);
  return !types.includes(CHAIN) && types.some(each => each !== TABLE);
}
