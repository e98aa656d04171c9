import fc from 'fast-check';
import {
  NLM_F_ACK,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_ECHO,
  NLM_F_EXCL,
  NLM_F_ROOT as NLM_F_NONREC,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
} from '../../../src/linux/netlink.ts';
import type { Attribute, Message } from './wire.ts';

/* Few names, so that random messages meet. */

export const INET = 1;
export const IP = 2;
export const ARP = 3;
export const NETDEV = 5;
export const BRIDGE = 7;
const IP6 = 10;

export interface Place {
  readonly family: number;
  readonly table: string;
}
export const place: fc.Arbitrary<Place> = fc.oneof(
  { weight: 8, arbitrary: fc.constant({ family: INET, table: 't' }) },
  { weight: 5, arbitrary: fc.constant({ family: IP, table: 't' }) },
  { weight: 1, arbitrary: fc.constant({ family: INET, table: 'u' }) },
  { weight: 1, arbitrary: fc.constant({ family: IP6, table: 't' }) },
  { weight: 1, arbitrary: fc.constant({ family: NETDEV, table: 't' }) },
  { weight: 1, arbitrary: fc.constant({ family: BRIDGE, table: 't' }) },
  { weight: 1, arbitrary: fc.constant({ family: ARP, table: 't' }) },
);
export const REGULAR = ['a', 'b', 'c', 'd'];
const BASES = ['pre', 'in', 'fwd', 'out', 'post', 'snat', 'dnat', 'route', 'ing'];
export const chainName = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom(...REGULAR) },
  { weight: 5, arbitrary: fc.constantFrom(...BASES) },
);
export const maybe = <T>(arbitrary: fc.Arbitrary<T>, often = 3): fc.Arbitrary<T | undefined> =>
  fc.option(arbitrary, { nil: undefined, freq: often });
export const rarely = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.oneof({ weight: 12, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary });
export const handle = fc.integer({ min: 1, max: 24 });
export const userdata = rarely(fc.uint8Array({ minLength: 1, maxLength: 12 }));

/** Each of them may be there. */
const someOf = (weights: readonly (readonly [flag: number, of100: number])[]): fc.Arbitrary<number> =>
  fc
    .array(fc.integer({ min: 0, max: 99 }), { minLength: weights.length, maxLength: weights.length })
    .map(draws =>
      weights.reduce((flags, [flag, of100], i) => (draws[i]! < of100 ? flags | flag : flags), NLM_F_REQUEST),
    );
export const CREATING = someOf([
  [NLM_F_CREATE, 92],
  [NLM_F_EXCL, 12],
  [NLM_F_ACK, 50],
  [NLM_F_ECHO, 15],
  [NLM_F_REPLACE, 3],
]);
export const OF_RULES = someOf([
  [NLM_F_CREATE, 94],
  [NLM_F_EXCL, 5],
  [NLM_F_ACK, 50],
  [NLM_F_ECHO, 15],
  [NLM_F_APPEND, 60],
  [NLM_F_REPLACE, 12],
]);
export const DELETING = someOf([
  [NLM_F_NONREC, 25],
  [NLM_F_ACK, 50],
  [NLM_F_ECHO, 15],
]);

export const message = (type: number, { family }: Place, flags: number, attributes: readonly Attribute[]): Message => ({
  type,
  flags,
  family,
  attributes,
});

/** Which deletion it is: the plain one, or that which takes what is missing. */
export const deleting = (plain: number, destroy: number): fc.Arbitrary<number> =>
  fc.oneof({ weight: 4, arbitrary: fc.constant(plain) }, { weight: 1, arbitrary: fc.constant(destroy) });
