import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromHex, sourceOf, toHex, Writer } from '../../src/codec/index.ts';
import { DecodeError } from '../../src/errors.ts';
import { beginMessage, endMessage, NLMSG_HDRLEN, nfgenmsg } from '../../src/netlink/index.ts';
import { ALL_MESSAGES, type AnyMessageName } from '../../src/nf_tables/all-messages.ts';
import { decodeMessage, encodeMessage, type NftMessage } from '../../src/nftables/index.ts';
import { type Tree, trees, writeTrees } from '../conformance/random-trees.ts';
import { differenceOf } from '../conformance/tree.ts';
import { removesTable } from '../support/rule-removals.ts';

const BODY = NLMSG_HDRLEN + nfgenmsg.size;
const NAMES = Object.keys(ALL_MESSAGES) as AnyMessageName[];

function messageOf(name: AnyMessageName, family: number, list: readonly Tree[]): Uint8Array {
  const writer = new Writer();
  const start = beginMessage(writer, ALL_MESSAGES[name].number, 0, 7);
  nfgenmsg.write(writer, { nfgen_family: family, version: 0, res_id: 0 });
  writeTrees(writer, list);
  endMessage(writer, start);
  return writer.copy();
}

/** The attributes of an encoded message, as hex. */
function attributesOf(message: NftMessage): string {
  const bytes = encodeMessage(message);
  return toHex(bytes, BODY);
}

function roundTrip(message: NftMessage): Record<string, unknown> {
  return decodeMessage(encodeMessage(message)).object;
}

describe('every message', () => {
  it('keeps attributes of any type and content, known, unknown and malformed; a missing one is rejected with ERR_MISSING', () => {
    fc.assert(
      fc.property(fc.constantFrom(...NAMES), fc.constantFrom(0, 1, 2, 5, 7, 10), trees, (name, family, list) => {
        const before = messageOf(name, family, list);
        let decoded: NftMessage;
        try {
          decoded = decodeMessage(before);
        } catch (error) {
          // A message without what every such message has.
          expect(error).toBeInstanceOf(DecodeError);
          return;
        }
        if (removesTable(before)) {
          expect(() => encodeMessage(decoded)).toThrow(
            expect.objectContaining({ code: 'ERR_MISSING', attribute: 'object.chain' }),
          );
          return;
        }
        const after = encodeMessage(decoded);
        expect(differenceOf(before.subarray(BODY), after.subarray(BODY))).toBeUndefined();
        expect(toHex(encodeMessage(decodeMessage(after)))).toBe(toHex(after));
      }),
      { numRuns: 3000 },
    );
  });

  it('keeps rules with any expressions', () => {
    const expression = fc.tuple(fc.constantFrom('cmp', 'inner', 'dynset', 'masq', 'notrack', 'new-one'), trees).map(
      ([name, data]): Tree => ({
        type: 1,
        payload: [
          { type: 1, payload: new TextEncoder().encode(`${name}\0`) },
          { type: 2, payload: data },
        ],
      }),
    );
    fc.assert(
      fc.property(fc.array(expression, { maxLength: 4 }), list => {
        const before = messageOf('newrule', 2, [{ type: 4, payload: list }]);
        const decoded = decodeMessage(before);
        expect(decoded.object.expressions).toHaveLength(list.length);
        expect(differenceOf(before.subarray(BODY), encodeMessage(decoded).subarray(BODY))).toBeUndefined();
      }),
      { numRuns: 1000 },
    );
  });

  it('throws only a DecodeError for bytes that are no message', () => {
    const header = fc.record({ bytes: fc.uint8Array({ maxLength: 80 }), name: fc.constantFrom(...NAMES) });
    fc.assert(
      fc.property(header, ({ bytes, name }) => {
        const framed = new Uint8Array(BODY + bytes.length);
        framed.set(bytes, BODY);
        const { view } = sourceOf(framed);
        view.setUint32(0, framed.length, true);
        view.setUint16(4, ALL_MESSAGES[name].number, true);
        for (const candidate of [bytes, framed]) {
          try {
            decodeMessage(candidate);
          } catch (error) {
            expect(error).toBeInstanceOf(DecodeError);
          }
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('keeps a name that is not UTF-8, and shows the rest', () => {
    const before = messageOf('newtable', 2, [
      { type: 1, payload: Uint8Array.of(0xff, 0xfe, 0) },
      { type: 3, payload: Uint8Array.of(0, 0, 0, 9) },
    ]);
    const { object } = decodeMessage(before);
    expect(object).toEqual({ use: 9, unknown: [{ type: 1, bytes: 'fffe00' }] });
    expect(differenceOf(before.subarray(BODY), encodeMessage(decodeMessage(before)).subarray(BODY))).toBeUndefined();
  });

  it('keeps user data in another order as bytes', () => {
    const userdata = fromHex('0104010000000003610062')!.subarray(0, 6);
    const before = messageOf('newrule', 2, [{ type: 7, payload: Uint8Array.of(...userdata, 0, 2, 0x61, 0) }]);
    const decoded = decodeMessage(before);
    expect(decoded.object).toEqual({ unknown: [{ type: 7, bytes: `${toHex(userdata)}00026100` }] });
    expect(toHex(encodeMessage(decoded))).toBe(toHex(before));
  });
});

describe('expressions', () => {
  const rule = (expression: object): NftMessage => ({
    type: 'newrule',
    family: 'ip',
    object: { expressions: [expression] },
  });

  it.each([
    { bitwise: { sourceRegister: 1, register: 1, length: 4, op: 'xor', secondSourceRegister: 2 } },
    { bitwise: { sourceRegister: 1, register: 1, length: 4, op: 'shift-left', data: '00000008' } },
    { byteorder: { sourceRegister: 1, register: 1, op: 'host-to-network', length: 2, size: 2 } },
    { lookup: { set: 'blocked', sourceRegister: 1, register: 0, setId: 3, flags: ['invert'] } },
    { match: { name: 'comment', revision: 0, info: '00ff' } },
    { payload: { sourceRegister: 1, base: 'tunnel', offset: 4, length: 3, checksumType: 'inet', checksumOffset: 16 } },
    { exthdr: { register: 1, type: 2, offset: 0, length: 1, flags: ['present'], op: 'tcp' } },
    { meta: { key: 'bri-iifhwaddr', register: 1 } },
    { meta: { key: 99, sourceRegister: 1 } },
    { ct: { key: 'src-ip6', register: 1, direction: 'reply' } },
    { rt: { register: 1, key: 'tcpmss' } },
    { socket: { key: 'cgroupv2', register: 1, level: 2 } },
    { fib: { register: 1, result: 'address-type', flags: ['daddr', 'iif'] } },
    { osf: { register: 1, ttl: 'loose', flags: ['version'] } },
    { hash: { sourceRegister: 1, register: 2, length: 4, modulus: 3, seed: 7, offset: 1, type: 'jenkins' } },
    { numgen: { register: 1, modulus: 2, type: 'random', offset: 100 } },
    { tunnel: { key: 'id', register: 1, mode: 'transmit' } },
    { xfrm: { register: 1, key: 'spi', direction: 1, index: 2 } },
    { quota: { bytes: 1000n, flags: ['invert', 'depleted'], consumed: 12n } },
    { limit: { rate: 5n, unitSeconds: 60n, burst: 5, type: 'bytes', flags: ['invert'] } },
    { connlimit: { count: 20, flags: ['invert'] } },
    { last: { seen: 1, milliseconds: 4000n } },
    { nat: { type: 'dnat', family: 'ip6', addressRegister: 1, portRegister: 2, flags: ['ports-specified', 'netmap'] } },
    { masq: { flags: ['fully-random'], portRegister: 1, lastPortRegister: 2 } },
    { reject: { type: 'icmpx-unreachable', code: 3 } },
    { queue: { number: 1, total: 4, flags: ['bypass', 'cpu-fanout'] } },
    { tproxy: { family: 'ip', addressRegister: 1, portRegister: 2 } },
    { synproxy: { maximumSegmentSize: 1460, windowScale: 7, flags: ['maximum-segment-size', 'ecn'] } },
    { notrack: {} },
    { dup: { addressRegister: 1, deviceRegister: 2 } },
    { fwd: { deviceRegister: 1, addressRegister: 2, family: 'ip' } },
    { objref: { type: 'ct-helper', name: 'ftp' } },
    { flow_offload: { flowtable: 'fast' } },
    { target: { name: 'TCPMSS', revision: 0, info: 'b4050000' } },
    {
      dynset: {
        set: 'seen',
        op: 'update',
        keyRegister: 1,
        timeoutMilliseconds: 60000n,
        flags: ['expressions'],
        expressions: [{ counter: { bytes: 0n, packets: 0n } }, { unknown: { name: 'newer', bytes: '01' } }],
      },
    },
    {
      inner: {
        number: 0,
        type: 'vxlan',
        flags: ['header-size', 'link', 'network', 'transport'],
        headerSize: 8,
        expression: { payload: { register: 1, base: 'network', offset: 12, length: 4 } },
      },
    },
    { unknown: { name: 'newer', bytes: '0800010000000001' } },
    { unknown: { name: 'newer' } },
    { unknown: { name: 'masq' } },
  ])('are unchanged after writing and reading $#: %o', expression => {
    expect(roundTrip(rule(expression))).toEqual({ expressions: [expression] });
  });

  it('have no data for notrack, as libnftnl and the kernel', () => {
    expect(attributesOf(rule({ notrack: {} }))).toBe('14000480' + '10000180' + '0c000100' + '6e6f747261636b00');
  });
});
