import fc from 'fast-check';
import { checksum } from '../../src/testing/packets/packet.ts';
import { ETHERTYPES } from './frames.ts';

/* Random packets, right ones and malformed ones, for 10.1.0.2 and what is behind it. */

/** A frame's EtherType, and the packet behind its header. */
export interface Frame {
  readonly type: number;
  readonly bytes: Uint8Array;
}

const be16 = (value: number): number[] => [(value >> 8) & 0xff, value & 0xff];
const be32 = (value: number): number[] => [...be16(value >>> 16), ...be16(value & 0xffff)];

export const PORTS = [22, 53, 80, 443, 1234, 3333, 40_000] as const;
export const LENGTHS = [0, 1, 7, 8, 32, 100] as const;
const port = fc.constantFrom(...PORTS);
const data = fc.constantFrom(...LENGTHS).map(length => Array.from({ length }, (_, i) => (i * 7 + 1) & 0xff));
const mostly = <T>(usual: T, ...others: T[]): fc.Arbitrary<T> =>
  fc.oneof({ weight: 12, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constantFrom(...others) });

/** A transport header with what follows it, and where its checksum stands. */
interface Transport {
  readonly protocol: number;
  readonly bytes: readonly number[];
  readonly sumAt: number | undefined;
  readonly hasPseudoHeader: boolean;
}

const TCP_OPTIONS: readonly (readonly number[])[] = [
  [],
  [2, 4, 0x05, 0xb4],
  [1, 1, 1, 0],
  [2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7],
  [3, 3, 9, 0],
  [1, 4, 2, 1],
  [0, 0, 0, 0, 2, 4, 2, 0],
  [2, 9, 1, 1],
];

const tcp: fc.Arbitrary<Transport> = fc
  .record({
    from: port,
    to: port,
    sequence: fc.constantFrom(0, 1000, 0xffff_ffff),
    acknowledgement: fc.constantFrom(0, 7, 0x8000_0000),
    flags: fc.constantFrom(2, 2, 2, 0x10, 0x12, 4, 0x11, 0x18, 0, 0x3f, 0xc2),
    window: fc.constantFrom(1, 22, 65_535),
    urgent: mostly(0, 5),
    options: fc.constantFrom(...TCP_OPTIONS),
    offset: mostly(0, 1, -2),
    data,
  })
  .map(({ from, to, sequence, acknowledgement, flags, window, urgent, options, offset, data: rest }) => ({
    protocol: 6,
    bytes: [
      ...be16(from),
      ...be16(to),
      ...be32(sequence),
      ...be32(acknowledgement),
      ((5 + options.length / 4 + offset) & 15) << 4,
      flags,
      ...be16(window),
      0,
      0,
      ...be16(urgent),
      ...options,
      ...rest,
    ],
    sumAt: 16,
    hasPseudoHeader: true,
  }));

const udp: fc.Arbitrary<Transport> = fc
  .record({ from: port, to: port, data, length: mostly(0, 4, -4), hasSum: mostly(true, false) })
  .map(({ from, to, data: rest, length, hasSum }) => ({
    protocol: 17,
    bytes: [...be16(from), ...be16(to), ...be16(8 + rest.length + length), 0, 0, ...rest],
    sumAt: hasSum ? 6 : undefined,
    hasPseudoHeader: true,
  }));

const icmpOf = (isV4: boolean): fc.Arbitrary<Transport> =>
  fc
    .record({
      type: isV4 ? fc.constantFrom(8, 0, 3, 11, 13, 14, 17, 42) : fc.constantFrom(128, 129, 1, 3, 200),
      code: mostly(0, 1, 3),
      id: port,
      sequence: fc.constantFrom(1, 2),
      data,
    })
    .map(({ type, code, id, sequence, data: rest }) => ({
      protocol: isV4 ? 1 : 58,
      bytes: [type, code, 0, 0, ...be16(id), ...be16(sequence), ...rest],
      sumAt: 2,
      hasPseudoHeader: !isV4,
    }));

const other: fc.Arbitrary<Transport> = fc
  .tuple(fc.constantFrom(132, 33, 47, 50, 136, 89, 4), fc.array(fc.nat(255), { minLength: 0, maxLength: 48 }))
  .map(([protocol, bytes]) => ({ protocol, bytes, sumAt: undefined, hasPseudoHeader: false }));

/** A header of chunks, as rules read them. */
const sctp: fc.Arbitrary<Transport> = fc
  .record({ from: port, to: port, chunk: fc.constantFrom(0, 1, 3, 10) })
  .map(({ from, to, chunk }) => ({
    protocol: 132,
    bytes: [
      ...be16(from),
      ...be16(to),
      ...be32(77),
      ...be32(0),
      chunk,
      3,
      0,
      20,
      ...Array.from({ length: 16 }, (_, i) => i),
      6,
      0,
      0,
      4,
    ],
    sumAt: undefined,
    hasPseudoHeader: false,
  }));

const transport = (isV4: boolean): fc.Arbitrary<Transport> =>
  fc.oneof(
    { weight: 8, arbitrary: tcp },
    { weight: 6, arbitrary: udp },
    { weight: 3, arbitrary: icmpOf(isV4) },
    { weight: 1, arbitrary: other },
    { weight: 1, arbitrary: sctp },
  );

const FOUR = { from: [10, 1, 0, 1], own: [10, 1, 0, 2], behind: [10, 2, 0, 2] } as const;
const six = (network: number, host: number): number[] => [0xfd, 0, 0, network, ...Array(11).fill(0), host];
const SIX = { from: six(1, 1), own: six(1, 2), behind: six(2, 2) } as const;

/** Puts the checksum into a transport header, a wrong one now and then. */
function summed(
  { bytes, sumAt, hasPseudoHeader, protocol }: Transport,
  ends: readonly number[],
  wrong: number,
): number[] {
  const result = Uint8Array.from(bytes);
  if (sumAt === undefined || sumAt + 2 > result.length) return [...result];
  const pseudo = Uint8Array.from([...ends, ...be32(result.length), 0, 0, 0, protocol]);
  const begun = hasPseudoHeader ? ~checksum(pseudo, 0, pseudo.length) & 0xffff : 0;
  const sum = checksum(result, 0, result.length, begun);
  const told = (sum === 0 && protocol === 17 ? 0xffff : sum) ^ wrong;
  result[sumAt] = told >> 8;
  result[sumAt + 1] = told & 0xff;
  return [...result];
}

const IP_OPTIONS: readonly (readonly number[])[] = [[], [1, 1, 1, 0], [148, 4, 0, 0], [1, 148, 4, 0, 0, 0, 0, 0]];

export const four: fc.Arbitrary<Frame> = fc
  .record({
    transport: transport(true),
    to: fc.constantFrom(FOUR.own, FOUR.behind, FOUR.behind),
    from: mostly<readonly number[]>(FOUR.from, [10, 1, 0, 77], [10, 9, 9, 9]),
    tos: mostly(0, 0x10, 0xb8, 3),
    id: fc.constantFrom(0, 1, 0xbeef),
    fragment: mostly(0x4000, 0, 0x2000, 0x0004, 0x2001),
    ttl: mostly(64, 1, 2, 255),
    options: mostly(IP_OPTIONS[0]!, ...IP_OPTIONS),
    wrong: mostly(0, 1),
    wrongHeader: mostly(0, 0, 0, 1),
    cut: mostly(0, 0, 1, 9),
    padding: mostly(0, 6),
  })
  .map(({ transport: inside, to, from, tos, id, fragment, ttl, options, wrong, wrongHeader, cut, padding }) => {
    const whole = summed(inside, [...from, ...to], wrong);
    const rest = whole.slice(0, Math.max(0, whole.length - cut));
    const words = 5 + options.length / 4;
    const header = Uint8Array.from([
      0x40 | words,
      tos,
      ...be16(words * 4 + rest.length),
      ...be16(id),
      ...be16(fragment),
      ttl,
      inside.protocol,
      0,
      0,
      ...from,
      ...to,
      ...options,
    ]);
    const sum = checksum(header, 0, header.length) ^ wrongHeader;
    header.set(be16(sum), 10);
    return { type: ETHERTYPES.ip, bytes: Uint8Array.from([...header, ...rest, ...Array(padding).fill(0)]) };
  });

/** Extension headers of IPv6: the number of each, and its bytes without the number of the next. */
const EXTENSIONS: readonly (readonly (readonly [number, ...number[]])[])[] = [
  [],
  [],
  [],
  [[0, 0, 1, 4, 0, 0, 0, 0]],
  [[60, 0, 1, 4, 0, 0, 0, 0]],
  [[44, 0, 0, 0, 0, 0, 0, 9]],
  [[44, 0, 0, 1, 0, 0, 0, 9]],
  [[44, 0, 0, 8, 0, 0, 0, 9]],
  [
    [0, 0, 5, 2, 0, 0, 1, 0],
    [60, 0, 1, 4, 0, 0, 0, 0],
  ],
  [[51, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
];

export const sixth: fc.Arbitrary<Frame> = fc
  .record({
    transport: transport(false),
    to: fc.constantFrom(SIX.own, SIX.behind, SIX.behind),
    from: mostly(SIX.from, six(1, 0x77)),
    flow: fc.constantFrom(0, 0x12345),
    traffic: mostly(0, 0x28, 3),
    hops: mostly(64, 1, 2, 255),
    extensions: fc.constantFrom(...EXTENSIONS),
    wrong: mostly(0, 1),
    cut: mostly(0, 0, 1, 9),
    none: mostly(false, false, true),
  })
  .map(({ transport: inside, to, from, flow, traffic, hops, extensions, wrong, cut, none }) => {
    const whole = summed(inside, [...from, ...to], wrong);
    const rest = whole.slice(0, Math.max(0, whole.length - cut));
    const numbers = [...extensions.map(([number]) => number), none ? 59 : inside.protocol];
    const headers = extensions.flatMap(([, ...body], i) => [numbers[i + 1]!, ...body]);
    const payload = [...headers, ...rest];
    const head = [...be32((6 << 28) | (traffic << 20) | flow), ...be16(payload.length), numbers[0]!, hops];
    return { type: ETHERTYPES.ip6, bytes: Uint8Array.from([...head, ...from, ...to, ...payload]) };
  });

/** DCCP, an authentication header and SCTP: connections of them are not followed. */
const UNFOLLOWED: readonly number[] = [33, 51, 132];

/** Whether connection tracking in memory follows such packets; it does not put parts of packets together. */
export function isFollowed({ type, bytes }: Frame): boolean {
  const protocols = type === ETHERTYPES.ip ? [bytes[9]!] : [bytes[6]!, bytes[40]!, bytes[48] ?? 0];
  if (protocols.some(each => UNFOLLOWED.includes(each))) return false;
  return type === ETHERTYPES.ip ? (((bytes[6]! << 8) | bytes[7]!) & 0x3fff) === 0 : bytes[6] !== 44;
}

export const anyFrame: fc.Arbitrary<Frame> = fc.oneof({ weight: 3, arbitrary: four }, { weight: 2, arbitrary: sixth });
