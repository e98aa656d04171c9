import { HOST_IS_LITTLE_ENDIAN, toHex } from '../codec/index.ts';
import type { Expression } from '../nf_tables/expression.ts';

/** The comparison of what register 1 has. */
export const compare = (data: string, inverted?: boolean): Expression => ({
  cmp: { register: 1, op: inverted ? 'neq' : 'eq', data },
});

/** A number of 32 bits as a register has it, in the byte order of this machine. */
export function hostHex(value: number): string {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, HOST_IS_LITTLE_ENDIAN);
  return toHex(bytes);
}

export const hostNumber = (data: string): number =>
  new DataView(Uint8Array.from(Buffer.from(data, 'hex')).buffer).getUint32(0, HOST_IS_LITTLE_ENDIAN);
