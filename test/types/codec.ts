import {
  attribute,
  attributes,
  byteString,
  flag,
  flags,
  type Infer,
  IP_ADDRESS,
  inline,
  list,
  named,
  nested,
  opt,
  string,
  struct,
  U8,
  U32_BE,
  U32_NE,
  type UnknownAttribute,
  u8,
  u32be,
  u64be,
} from 'netsteer/netlink';
import { proof, type Same } from './assert.ts';

const item = attributes('ITEM', { id: u32be(1), label: opt(string(2, 15)) });
const extra = attributes('EXTRA', { color: opt(u8(1)), weight: u8(2) });
const table = attributes('TABLE', {
  name: string(1, 31),
  handle: opt(u64be(2)),
  isDefault: opt(flag(3)),
  mode: opt(attribute(4, named(U32_BE, { fast: 1, slow: 2 }))),
  marks: attribute(5, flags(U32_NE, { a: 1, b: 2 })),
  address: opt(attribute(6, IP_ADDRESS)),
  inner: nested(7, item),
  items: opt(list(8, 1, item)),
  data: opt(attribute(9, byteString())),
  extra: inline(10, extra),
});
type Row = Infer<typeof table>;

/* What a table describes follows from its rows. */
proof<
  Same<
    Row,
    {
      name: string;
      marks: ('a' | 'b' | number)[];
      inner: Infer<typeof item>;
      handle?: bigint;
      isDefault?: boolean;
      mode?: 'fast' | 'slow' | number;
      address?: string;
      items?: Infer<typeof item>[];
      data?: string;
      color?: number;
      weight?: number;
      unknown?: UnknownAttribute[];
    }
  >
>();
proof<Same<Infer<typeof item>, { id: number; label?: string; unknown?: UnknownAttribute[] }>>();

export const whole: Row = { name: 'a', marks: ['a', 4], inner: { id: 1 } };
// @ts-expect-error a field that must be there is missing
export const missing: Row = { name: 'a', marks: [] };
// @ts-expect-error no such field
export const stranger: Row = { ...whole, nmae: 'a' };
// @ts-expect-error no such name
export const misspelt: Row = { ...whole, mode: 'fsat' };
// @ts-expect-error a 64-bit field is a bigint
export const narrow: Row = { ...whole, handle: 5 };
// @ts-expect-error an absent field is left out
export const absent: Row = { ...whole, handle: undefined };

/* A structure's padding is nobody's business. */
const header = struct('header', { family: [1, named(U8, { ip: 2 })], _pad: [3, U8], index: [4, U32_NE] });
proof<Same<Infer<typeof header>, { family: 'ip' | number; index: number }>>();

/* What identifies an object has the same fields, none of them required. */
proof<
  Same<
    ReturnType<typeof item.partial> extends { read(...a: never[]): infer R } ? R : never,
    Partial<Infer<typeof item>> | undefined
  >
>();
