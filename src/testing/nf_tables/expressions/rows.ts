import type { Writer } from '../../wire/attributes.ts';
import { registerOf } from '../context.ts';
import type { Value } from '../state.ts';

/** How a value is written: numbers are big-endian in nf_tables; a register is kept as the word at which it begins. */
type Kind = 'u8' | 'u16' | 'u32' | 'u64' | 'text' | 'bytes' | 'register';
/** The field of an expression's values, its attribute, and how it is written. */
export type Row = readonly [field: string, attribute: number, kind: Kind];

/** Writes the values that are there, in the kernel's order. */
export function writeRows(rows: readonly Row[], values: Record<string, Value>, writer: Writer): void {
  for (const [field, attribute, kind] of rows) {
    const value = values[field];
    if (value === undefined) continue;
    switch (kind) {
      case 'u8':
        writer.u8(attribute, value as number);
        break;
      case 'u16':
        writer.u16be(attribute, value as number);
        break;
      case 'u32':
        writer.u32be(attribute, value as number);
        break;
      case 'u64':
        writer.u64be(attribute, value as bigint);
        break;
      case 'text':
        writer.text(attribute, value as string);
        break;
      case 'bytes':
        writer.attribute(attribute, value as Uint8Array);
        break;
      case 'register':
        writer.u32be(attribute, registerOf(value as number));
        break;
    }
  }
}

/** Leaves out what is undefined. */
export function given(values: Record<string, Value | undefined>): Record<string, Value> {
  const result: Record<string, Value> = {};
  for (const [field, value] of Object.entries(values)) if (value !== undefined) result[field] = value;
  return result;
}
