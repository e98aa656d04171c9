import fc from 'fast-check';
import { NLM_F_CREATE, NLM_F_DUMP, NLM_F_ECHO, NLM_F_EXCL } from '../../src/linux/netlink.ts';
import { attribute, be16, be32, bytes, le32, nest, type Part, shown, text } from './two-kernels.ts';

/*
 * Random requests of ctnetlink, right ones and wrong ones. Attributes are numbers here: nf_conntrack_netlink.c has them in this order.
 */

const [CT, EXP] = [0x100, 0x200];
const [NEW, GET, DELETE, GET_ZERO] = [0, 1, 2, 3];

interface Endpoint {
  readonly family: 2 | 10;
  readonly protocol: number;
  readonly a: number;
  readonly b: number;
  readonly from: number;
  readonly to: number;
}

const address = (family: number, last: number): Uint8Array =>
  family === 2 ? Uint8Array.of(10, 0, 0, last) : bytes([0xfd], new Uint8Array(14), [last]);

function tuple(type: number, { family, protocol, a, b, from, to }: Endpoint, zone?: number): Part {
  const [src, dst] = family === 2 ? [1, 2] : [3, 4];
  const isIcmp = protocol === 1 || protocol === 58;
  const first = protocol === 1 ? 4 : 7;
  return nest(
    type,
    nest(1, attribute(src, address(family, a)), attribute(dst, address(family, b))),
    nest(
      2,
      attribute(1, [protocol]),
      ...(isIcmp
        ? [attribute(first, be16(from)), attribute(first + 1, [to]), attribute(first + 2, [0])]
        : [attribute(2, be16(from)), attribute(3, be16(to))]),
    ),
    zone === undefined ? undefined : attribute(3, be16(zone)),
  );
}

const reversed = (one: Endpoint): Endpoint => {
  const isIcmp = one.protocol === 1 || one.protocol === 58;
  const kinds: Record<number, number> = { 8: 0, 0: 8, 13: 14, 128: 129, 129: 128 };
  return isIcmp
    ? { ...one, a: one.b, b: one.a, to: kinds[one.to] ?? one.to }
    : { ...one, a: one.b, b: one.a, from: one.to, to: one.from };
};

export interface ConnectionRequest {
  readonly type: number;
  readonly flags: number;
  readonly family: number;
  readonly version: number;
  readonly parts: readonly Part[];
}

const endpoint: fc.Arbitrary<Endpoint> = fc
  .record({
    family: fc.constantFrom(2 as const, 2 as const, 10 as const),
    protocol: fc.constantFrom(6, 6, 17, 17, 17, 1, 47, 132, 136, 33, 253),
    a: fc.integer({ min: 1, max: 2 }),
    b: fc.integer({ min: 2, max: 3 }),
    from: fc.constantFrom(1000, 1001),
    to: fc.constantFrom(53, 80),
    type: fc.constantFrom(8, 8, 13, 3),
  })
  .map(({ type, ...one }) => {
    if (one.protocol !== 1) return one;
    return one.family === 2 ? { ...one, to: type } : { ...one, protocol: 58, to: type === 8 ? 128 : 129 };
  });

const maybe = <T>(value: fc.Arbitrary<T>, weight = 3): fc.Arbitrary<T | undefined> =>
  fc.oneof({ weight, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: value });

/** In tens, so that some milliseconds do not count. */
const seconds = fc.constantFrom(100, 200, 1000, 4_294_967_295);
const status = fc.constantFrom(0, 0x8, 0xa, 0xe, 0x6, 0x40e, 0x20e, 0x1ae, 0x400e);
const mark = fc.constantFrom(0, 1, 0xff, 0xf0);
const zone = fc.constantFrom(0, 1, 7);

const creation: fc.Arbitrary<ConnectionRequest> = fc
  .record({
    one: endpoint,
    flags: fc.constantFrom(NLM_F_CREATE, NLM_F_CREATE | NLM_F_EXCL, 0, NLM_F_CREATE | NLM_F_ECHO, NLM_F_ECHO),
    reply: fc.constantFrom('inverse', 'inverse', 'inverse', 'inverse', 'other', 'none', 'protocol'),
    timeout: fc.oneof({ weight: 6, arbitrary: seconds }, { weight: 1, arbitrary: fc.constant(undefined) }),
    status: maybe(status, 2),
    mark: maybe(mark),
    mask: maybe(mark, 6),
    zone: maybe(zone, 5),
    tupleZone: maybe(zone, 8),
    replyZone: maybe(zone, 12),
    tcp: maybe(
      fc.record({
        state: fc.integer({ min: 0, max: 10 }),
        flags: maybe(fc.constantFrom(8, 10, 15)),
        scale: maybe(fc.constantFrom(0, 7, 14, 15)),
      }),
      2,
    ),
    sctp: maybe(fc.record({ state: fc.integer({ min: 0, max: 8 }), tags: fc.boolean() }), 3),
    helper: maybe(fc.constantFrom('ftp', 'tftp', 'sip', 'none', ''), 5),
    nat: maybe(
      fc.record({ source: fc.boolean(), port: maybe(fc.constantFrom(4000, 53), 1), last: fc.constantFrom(2, 9) }),
      6,
    ),
    adjustment: maybe(fc.boolean(), 9),
    proxy: maybe(fc.boolean(), 9),
    labels: maybe(fc.constantFrom(4, 16, 8), 9),
    master: maybe(endpoint, 8),
  })
  .map(given => {
    const { one } = given;
    const reply =
      given.reply === 'protocol'
        ? { ...reversed(one), protocol: one.protocol === 6 ? 17 : 6 }
        : given.reply === 'other'
          ? { ...reversed(one), a: 9 }
          : reversed(one);
    const parts: (Part | undefined)[] = [
      tuple(1, one, given.tupleZone),
      given.reply === 'none' ? undefined : tuple(2, reply, given.replyZone),
      given.timeout === undefined ? undefined : attribute(7, be32(given.timeout)),
      given.status === undefined ? undefined : attribute(3, be32(given.status)),
      given.mark === undefined ? undefined : attribute(8, be32(given.mark)),
      given.mask === undefined ? undefined : attribute(21, be32(given.mask)),
      given.zone === undefined ? undefined : attribute(18, be16(given.zone)),
      given.tcp === undefined
        ? undefined
        : nest(
            4,
            nest(
              1,
              attribute(1, [given.tcp.state]),
              ...(given.tcp.flags === undefined
                ? []
                : [attribute(4, [given.tcp.flags, 15]), attribute(5, [given.tcp.flags, 15])]),
              ...(given.tcp.scale === undefined
                ? []
                : [attribute(2, [given.tcp.scale]), attribute(3, [given.tcp.scale])]),
            ),
          ),
      given.sctp === undefined || given.tcp !== undefined
        ? undefined
        : nest(
            4,
            nest(
              3,
              attribute(1, [given.sctp.state]),
              ...(given.sctp.tags ? [attribute(2, be32(7)), attribute(3, be32(8))] : []),
            ),
          ),
      given.helper === undefined ? undefined : nest(5, attribute(1, text(given.helper))),
      given.nat === undefined || one.family !== 2
        ? undefined
        : nest(
            given.nat.source ? 6 : 13,
            attribute(1, [10, 7, 7, given.nat.last]),
            given.nat.port === undefined ? undefined : nest(3, attribute(1, be16(given.nat.port))),
          ),
      given.adjustment === undefined
        ? undefined
        : nest(15, attribute(1, be32(1)), attribute(2, be32(2)), ...(given.adjustment ? [attribute(3, be32(3))] : [])),
      given.proxy === undefined
        ? undefined
        : nest(24, attribute(1, be32(1)), attribute(2, be32(2)), ...(given.proxy ? [attribute(3, be32(3))] : [])),
      given.labels === undefined ? undefined : attribute(22, new Uint8Array(given.labels).fill(5)),
      given.master === undefined ? undefined : tuple(14, given.master),
    ];
    return {
      type: CT | NEW,
      flags: given.flags,
      family: one.family,
      version: 0,
      parts: parts.filter(part => part !== undefined),
    };
  });

const single: fc.Arbitrary<ConnectionRequest> = fc
  .record({
    type: fc.constantFrom(GET, GET, DELETE, GET_ZERO),
    one: endpoint,
    at: fc.constantFrom(1, 1, 1, 2),
    turned: fc.boolean(),
    zone: maybe(zone, 3),
    tupleZone: maybe(zone, 6),
    family: maybe(fc.constantFrom(0, 2, 10, 7), 15),
    echo: fc.boolean(),
  })
  .map(({ type, one, at, turned, zone: inZone, tupleZone, family, echo }) => ({
    type: CT | type,
    flags: echo ? NLM_F_ECHO : 0,
    family: family ?? one.family,
    version: 0,
    parts: [
      tuple(at, turned ? reversed(one) : one, tupleZone),
      ...(inZone === undefined ? [] : [attribute(18, be16(inZone))]),
    ],
  }));

/** Dumps and flushes; a flush is rare. */
const filtered: fc.Arbitrary<ConnectionRequest> = fc
  .record({
    type: fc.constantFrom(GET, GET, GET, GET_ZERO, DELETE),
    family: fc.constantFrom(0, 2, 10, 7),
    version: fc.constantFrom(0, 1),
    mark: maybe(mark, 1),
    mask: maybe(mark, 1),
    status: maybe(fc.constantFrom(0, 8, 0xe, 2), 2),
    statusMask: maybe(fc.constantFrom(0, 8, 2), 3),
    zone: maybe(zone, 3),
    filter: maybe(
      fc.record({
        original: fc.constantFrom(0, 1, 2, 3, 8, 24, 40, 59, 16, 8 | 64 | 128 | 256, 8 | 512 | 1024, 4096),
        reply: fc.constantFrom(0, 0, 1, 10),
        one: endpoint,
        hasTuple: fc.constantFrom(true, true, true, false),
      }),
      1,
    ),
  })
  .map(given => ({
    type: CT | given.type,
    flags: given.type === DELETE ? 0 : NLM_F_DUMP,
    family: given.family,
    version: given.version,
    parts: [
      given.mark === undefined ? undefined : attribute(8, be32(given.mark)),
      given.mask === undefined ? undefined : attribute(21, be32(given.mask)),
      given.status === undefined ? undefined : attribute(3, be32(given.status)),
      given.statusMask === undefined ? undefined : attribute(26, be32(given.statusMask)),
      given.zone === undefined ? undefined : attribute(18, be16(given.zone)),
      ...(given.filter === undefined
        ? []
        : [
            nest(25, attribute(1, le32(given.filter.original)), attribute(2, le32(given.filter.reply))),
            ...(given.filter.hasTuple ? [tuple(1, given.filter.one), tuple(2, reversed(given.filter.one))] : []),
          ]),
    ].filter(part => part !== undefined),
  }));

const expectation: fc.Arbitrary<ConnectionRequest> = fc
  .record({
    type: fc.constantFrom(NEW, NEW, NEW, GET, DELETE),
    flags: fc.constantFrom(NLM_F_CREATE, NLM_F_CREATE | NLM_F_EXCL, 0, NLM_F_CREATE | NLM_F_ECHO),
    dumps: fc.boolean(),
    master: endpoint,
    port: fc.constantFrom(2000, 2001),
    last: fc.constantFrom(5, 6),
    timeout: maybe(
      seconds.filter(value => value < 10_000),
      1,
    ),
    kind: maybe(fc.constantFrom(0, 1, 2), 5),
    expectFlags: maybe(fc.constantFrom(0, 1, 2, 3), 4),
    name: maybe(fc.constantFrom('nat-follow-master', 'nothing', 'sip'), 6),
    helper: maybe(fc.constantFrom('ftp', 'tftp', 'none'), 3),
    saved: maybe(fc.constantFrom(0, 1), 4),
    mask: fc.constantFrom(0xffff, 0),
    whole: fc.constantFrom(true, true, true, true, false),
  })
  .map(given => {
    const { master } = given;
    const expected: Endpoint = { family: master.family, protocol: 6, a: 1, b: given.last, from: 0, to: given.port };
    const isNew = given.type === NEW;
    const full = (value: number): Endpoint => ({ ...expected, from: value, to: 0xffff });
    const masked = nest(
      3,
      nest(
        1,
        attribute(master.family === 2 ? 1 : 3, new Uint8Array(master.family === 2 ? 4 : 16).fill(255)),
        attribute(master.family === 2 ? 2 : 4, new Uint8Array(master.family === 2 ? 4 : 16).fill(255)),
      ),
      nest(2, attribute(1, [6]), attribute(2, be16(full(given.mask).from)), attribute(3, be16(0xffff))),
    );
    const parts = [
      given.whole || given.type === GET ? tuple(2, expected) : undefined,
      isNew ? tuple(1, master) : undefined,
      isNew ? masked : undefined,
      given.timeout === undefined ? undefined : attribute(4, be32(given.timeout)),
      isNew && given.expectFlags !== undefined ? attribute(8, be32(given.expectFlags)) : undefined,
      isNew && given.kind !== undefined ? attribute(9, be32(given.kind)) : undefined,
      isNew && given.name !== undefined ? attribute(11, text(given.name)) : undefined,
      given.helper === undefined ? undefined : attribute(6, text(given.helper)),
      isNew && given.saved !== undefined
        ? nest(10, attribute(1, be32(given.saved)), tuple(2, { ...master, protocol: 6, from: 77, to: 0 }))
        : undefined,
    ];
    return {
      type: EXP | given.type,
      flags: given.type === GET ? (given.dumps ? NLM_F_DUMP : 0) : given.flags,
      family: master.family,
      version: 0,
      parts: parts.filter(part => part !== undefined),
    };
  });

/** Masters with helpers, so that expectations are made. */
const withHelper: fc.Arbitrary<ConnectionRequest> = endpoint.map(one => ({
  type: CT | NEW,
  flags: NLM_F_CREATE,
  family: one.family,
  version: 0,
  parts: [
    tuple(1, { ...one, protocol: 6, from: 1000, to: 80 }),
    tuple(2, reversed({ ...one, protocol: 6, from: 1000, to: 80 })),
    attribute(7, be32(1000)),
    nest(5, attribute(1, text('ftp'))),
  ],
}));
const ofHelper = expectation.map(request => request);

export const connectionRequest = fc.oneof(
  { weight: 8, arbitrary: creation },
  { weight: 4, arbitrary: single },
  { weight: 3, arbitrary: filtered },
  { weight: 2, arbitrary: withHelper },
  { weight: 4, arbitrary: ofHelper },
);

export const described = ({ type, flags, family, version, parts }: ConnectionRequest): string =>
  shown({ type, flags, port: 0, body: bytes([family, version, 0, 0], ...parts) }, 4, () => undefined);
export const header = ({ family, version }: ConnectionRequest): Uint8Array => Uint8Array.of(family, version, 0, 0);
