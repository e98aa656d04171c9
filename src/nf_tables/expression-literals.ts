/** Makes an expression of its fields' values, which stand in an array from `at` on. */
export type Literal = (values: readonly unknown[], at: number) => object;

/**
 * The expressions that most rules have, by name and fields in the order of the kernel's messages. An object that is made by a literal is
 * as small as it can be, and is made in a fifth of the time that fields take which are added one by one. Others are made in that way.
 */
export const LITERALS: ReadonlyMap<string, Literal> = /* @__PURE__ */ new Map<string, Literal>([
  [
    'payload register base offset length',
    (v, i) => ({ payload: { register: v[i], base: v[i + 1], offset: v[i + 2], length: v[i + 3] } }),
  ],
  ['meta key register', (v, i) => ({ meta: { key: v[i], register: v[i + 1] } })],
  ['meta key sourceRegister', (v, i) => ({ meta: { key: v[i], sourceRegister: v[i + 1] } })],
  ['ct register key', (v, i) => ({ ct: { register: v[i], key: v[i + 1] } })],
  ['ct register key direction', (v, i) => ({ ct: { register: v[i], key: v[i + 1], direction: v[i + 2] } })],
  ['ct sourceRegister key', (v, i) => ({ ct: { sourceRegister: v[i], key: v[i + 1] } })],
  ['fib register result flags', (v, i) => ({ fib: { register: v[i], result: v[i + 1], flags: v[i + 2] } })],
  ['cmp register op data', (v, i) => ({ cmp: { register: v[i], op: v[i + 1], data: v[i + 2] } })],
  ['range register op from to', (v, i) => ({ range: { register: v[i], op: v[i + 1], from: v[i + 2], to: v[i + 3] } })],
  [
    'bitwise sourceRegister register length op mask xor',
    (v, i) => ({
      bitwise: {
        sourceRegister: v[i],
        register: v[i + 1],
        length: v[i + 2],
        op: v[i + 3],
        mask: v[i + 4],
        xor: v[i + 5],
      },
    }),
  ],
  ['lookup set sourceRegister flags', (v, i) => ({ lookup: { set: v[i], sourceRegister: v[i + 1], flags: v[i + 2] } })],
  [
    'lookup set sourceRegister register flags',
    (v, i) => ({ lookup: { set: v[i], sourceRegister: v[i + 1], register: v[i + 2], flags: v[i + 3] } }),
  ],
  ['counter bytes packets', (v, i) => ({ counter: { bytes: v[i], packets: v[i + 1] } })],
  [
    'limit rate unitSeconds burst type flags',
    (v, i) => ({ limit: { rate: v[i], unitSeconds: v[i + 1], burst: v[i + 2], type: v[i + 3], flags: v[i + 4] } }),
  ],
  ['objref name type', (v, i) => ({ objref: { name: v[i], type: v[i + 1] } })],
  ['immediate register data', (v, i) => ({ immediate: { register: v[i], data: v[i + 1] } })],
  ['reject type code', (v, i) => ({ reject: { type: v[i], code: v[i + 1] } })],
  ['log prefix level', (v, i) => ({ log: { prefix: v[i], level: v[i + 1] } })],
  ['log prefix group', (v, i) => ({ log: { prefix: v[i], group: v[i + 1] } })],
  ['log prefix group snaplen', (v, i) => ({ log: { prefix: v[i], group: v[i + 1], snaplen: v[i + 2] } })],
  ['masq', () => ({ masq: {} })],
  ['masq flags', (v, i) => ({ masq: { flags: v[i] } })],
  [
    'nat type family addressRegister lastAddressRegister flags',
    (v, i) => ({
      nat: { type: v[i], family: v[i + 1], addressRegister: v[i + 2], lastAddressRegister: v[i + 3], flags: v[i + 4] },
    }),
  ],
  [
    'nat type family addressRegister lastAddressRegister portRegister lastPortRegister flags',
    (v, i) => ({
      nat: {
        type: v[i],
        family: v[i + 1],
        addressRegister: v[i + 2],
        lastAddressRegister: v[i + 3],
        portRegister: v[i + 4],
        lastPortRegister: v[i + 5],
        flags: v[i + 6],
      },
    }),
  ],
  [
    'redir portRegister lastPortRegister flags',
    (v, i) => ({ redir: { portRegister: v[i], lastPortRegister: v[i + 1], flags: v[i + 2] } }),
  ],
]);
