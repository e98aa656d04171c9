import type { ContentOf } from '../../nf_tables/expression.ts';
import { entryOf, fieldsOf, flagsOf } from '../compile/json-fields.ts';
import { TYPES } from '../data/datatypes.ts';
import { FIB, FIB_BITS, FIB_FLAGS, FIB_NUMBERS, type FibFlag, type KeyRow } from '../data/keys.ts';
import { SCOPES } from '../data/scopes.ts';
import { T } from '../parse/tokens.ts';
import { type Load, Place, refuse, Undecompilable } from '../tree.ts';
import { type LoadExpression, load, numberOfKey, wordFor, wordsByKey } from './expression.ts';

/** A query to the routing table. */
export interface FibReference {
  /** The result of the query; 'check' asks only whether there is a route. */
  result: 'oif' | 'oifname' | 'type' | 'check';
  /** The parts of the packet that the look-up uses. */
  flags: FibFlag | FibFlag[];
}

/** `fib`: a query to the routing table. `present` asks only whether there is a route. */
interface Fib extends Load {
  readonly result: keyof typeof FIB;
  readonly flags: readonly FibFlag[];
  present: boolean;
}

const bitOf = (flag: (typeof FIB_BITS)[number]): number => 1 << FIB_BITS.indexOf(flag);
const BITS: Readonly<Record<string, number>> = /* @__PURE__ */ Object.fromEntries(
  /* @__PURE__ */ FIB_FLAGS.map(flag => [flag, bitOf(flag)]),
);
const WORDS = /* @__PURE__ */ wordsByKey(FIB);
const PRESENT = /* @__PURE__ */ bitOf('present');
const ADDRESS = /* @__PURE__ */ bitOf('saddr') | /* @__PURE__ */ bitOf('daddr');
const INTERFACE = /* @__PURE__ */ bitOf('iif') | /* @__PURE__ */ bitOf('oif');

const allBits = ({ flags, present }: Fib): number =>
  flags.reduce((all, flag) => all | bitOf(flag), present ? PRESENT : 0);

/** Returns nft's word for the result. `present` has a word of its own if it is not compared. */
function resultWord({ result, present }: Fib, check: boolean): string {
  return check && result === 'oif' && present ? 'check' : result;
}

/** Makes a node of the kernel's expression. It rejects unknown flags, because dropping one would change the rule. */
function ofResult(kernel: string | number, flags: readonly (string | number)[]): Fib {
  const result = wordFor(WORDS, kernel, 'fib');
  if (flags.some(flag => !FIB_BITS.some(known => known === flag))) throw new Undecompilable('a flag of fib');
  const known = FIB_FLAGS.filter(flag => flags.includes(flag));
  const present = flags.includes('present');
  return load('fib', FIB[result], undefined, { result, flags: known, present });
}

/** Turns the result into a truth value if the query asks only whether there is a route. */
function asBoolean(node: Fib, bits: number): Fib {
  if (!node.present) return node;
  node.type = TYPES.boolean;
  node.bits = bits;
  return node;
}

/** What nft has against flags. */
function wrongFlags(bits: number): string | undefined {
  if ((bits & ADDRESS) === 0) return 'need either saddr or daddr';
  if ((bits & ADDRESS) === ADDRESS) return 'saddr and daddr are mutually exclusive';
  return (bits & INTERFACE) === INTERFACE ? 'iif and oif are mutually exclusive' : undefined;
}

export const fib: LoadExpression<Fib> = {
  kernel: 'fib',
  words: ['fib'],
  typeof: { kind: 27, oldKind: 26, needs: [0, 1] },

  fromText: {
    fib(p) {
      const flags: string[] = [];
      const { start } = p;
      do {
        const { text } = p;
        if (p.kind !== T.WORD || !Object.hasOwn(BITS, text)) p.unexpectedIn(SCOPES.fib);
        p.next();
        flags.push(text);
      } while (p.accept(T.DOT));
      const end = p.lastEnd;
      const { text: result } = p;
      const isResult = Object.hasOwn(FIB, result) || (result === 'check' && p.dialect.hasNewerExpressions);
      if (p.kind !== T.WORD || !isResult) return p.unexpectedIn(SCOPES.fib, 'type', 'oif', 'oifname');
      p.next();
      const wrong = wrongFlags(flags.reduce((all, flag) => all | BITS[flag]!, 0));
      if (wrong !== undefined) p.fail(`fib: ${wrong}`, start, end);
      return { fib: { result, flags } };
    },
  },
  parse(json, place) {
    const { result, flags: given } = fieldsOf(json, place);
    const flagsPlace = new Place(place, 'flags');
    const bits = flagsOf(BITS, given, flagsPlace);
    if ((bits & ADDRESS) === 0 || (bits & ADDRESS) === ADDRESS)
      throw refuse(flagsPlace, 'either saddr or daddr', given);
    if ((bits & INTERFACE) === INTERFACE) throw refuse(flagsPlace, 'at most one of iif and oif', given);
    const present = result === 'check';
    const row = present ? FIB.oif : entryOf<KeyRow>(FIB, result, new Place(place, 'result'));
    const flags = FIB_FLAGS.filter(flag => bits & bitOf(flag));
    const node: Fib = load('fib', row, place, { result: present ? 'oif' : (result as Fib['result']), flags, present });
    return asBoolean(node, node.bits);
  },

  evaluate(node, { dialect }) {
    asBoolean(node, dialect.fibBooleanBits);
  },
  askWhether(node) {
    node.present = true;
    asBoolean(node, node.bits);
  },

  write: ({ result, flags, present }, register): ContentOf<'fib'> => ({
    register,
    result: FIB[result].key,
    flags: present ? [...flags, 'present'] : [...flags],
  }),
  read: ({ result, flags }: ContentOf<'fib'>, { dialect }) =>
    asBoolean(ofResult(result, flags ?? []), dialect.fibBooleanBits),
  json: (node, { compared, words }) => ({
    fib: { result: resultWord(node, words.dialect.printsCheck && !compared), flags: [...node.flags] },
  }),
  text: (node, { words }) => `fib ${node.flags.join(' . ')} ${resultWord(node, words.dialect.printsCheck)}`,
  describe: node => [
    [0, numberOfKey(FIB_NUMBERS, FIB[node.result].key)],
    [1, allBits(node)],
  ],
  described(at) {
    const result = FIB_NUMBERS[at(0)!];
    const flags = FIB_BITS.filter((_, bit) => (at(1)! >> bit) & 1);
    return result && asBoolean(ofResult(result, flags), TYPES.boolean.bits * 8);
  },
};
