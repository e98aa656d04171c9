import { isIPv4, isIPv6 } from 'node:net';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { addressVersion, formatIPv4, formatIPv6, parseIPv4, parseIPv6 } from '../../src/codec/index.ts';

const fourBytes = fc.uint8Array({ minLength: 4, maxLength: 4 });
const sixteenBytes = fc.uint8Array({ minLength: 16, maxLength: 16 });
/** Groups that are zero often, as in addresses that people write. */
const groups = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff })), { minLength: 8, maxLength: 8 });
const bytesOf = (list: readonly number[]) => Uint8Array.from(list.flatMap(group => [group >> 8, group & 0xff]));
/** Texts that are nearly addresses: pieces of them in any order. */
const nearlyIPv4 = fc
  .array(
    fc.oneof(fc.constantFrom('', '0', '00', '01', '9', '255', '256', '999', 'a', ' 1', '+1', '1e2'), fc.nat(300)),
    {
      minLength: 3,
      maxLength: 5,
    },
  )
  .map(parts => parts.join('.'));
const nearlyIPv6 = fc
  .array(fc.constantFrom('::', ':', '0', 'f00d', 'ABCD', '12345', 'g', '1', '1:', '1.2.3.4', '1.2.3', ' '), {
    maxLength: 12,
  })
  .map(parts => parts.join(''));

describe('IPv4', () => {
  test('parses what node:net accepts', () => {
    const anything = fc.oneof(fc.string(), nearlyIPv4, fc.ipV4());
    fc.assert(fc.property(anything, text => void expect(parseIPv4(text) !== undefined).toBe(isIPv4(text))));
  });

  test('returns every address after formatting and parsing', () => {
    fc.assert(fc.property(fourBytes, bytes => void expect(parseIPv4(formatIPv4(bytes))).toEqual(bytes)));
    fc.assert(fc.property(fc.ipV4(), text => void expect(formatIPv4(parseIPv4(text)!)).toBe(text)));
  });

  test('formats an address at an offset', () => {
    expect(formatIPv4(Uint8Array.of(9, 9, 10, 10, 0, 100, 9), 2)).toBe('10.10.0.100');
  });

  test.each([
    '',
    '1.2.3',
    '1.2.3.4.5',
    '01.2.3.4',
    '1.2.3.04',
    '0x1.2.3.4',
    '256.1.1.1',
    '1..2.3',
    '1.2.3.',
    '1.2.3.4 ',
    '१.2.3.4',
  ])('rejects %j', text => expect(parseIPv4(text)).toBeUndefined());
});

describe('IPv6', () => {
  test('parses what node:net accepts, without a zone', () => {
    const anything = fc.oneof(fc.string(), nearlyIPv6, fc.ipV6(), nearlyIPv4);
    fc.assert(
      fc.property(anything, text => {
        fc.pre(!text.includes('%'));
        expect(parseIPv6(text) !== undefined, text).toBe(isIPv6(text));
      }),
      { numRuns: 2000 },
    );
    expect(parseIPv6('fe80::1%eth0')).toBeUndefined();
  });

  test('returns every address after formatting and parsing', () => {
    fc.assert(fc.property(sixteenBytes, bytes => void expect(parseIPv6(formatIPv6(bytes))).toEqual(bytes)));
    fc.assert(fc.property(groups, list => void expect(parseIPv6(formatIPv6(bytesOf(list)))).toEqual(bytesOf(list))));
  });

  test('formats as URLs do', () => {
    fc.assert(
      fc.property(groups, list => {
        // A URL has no dotted form.
        fc.pre(!(list.slice(0, 5).every(group => group === 0) && list[5] === 0xffff));
        const text = formatIPv6(bytesOf(list));
        expect(`[${text}]`).toBe(new URL(`http://[${text}]`).hostname);
      }),
    );
  });

  // RFC 5952, sections 2.1 to 2.3 and 4.
  test.each([
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:0db8::0001', '2001:db8::1'],
    ['2001:db8:0:0:0:0:2:1', '2001:db8::2:1'],
    ['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:DB8:AAAA:BBBB:CCCC:DDDD:EEEE:AAA', '2001:db8:aaaa:bbbb:cccc:dddd:eeee:aaa'],
    ['::FFFF:192.0.2.1', '::ffff:192.0.2.1'],
    ['0:0:0:0:0:ffff:c000:0201', '::ffff:192.0.2.1'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['1:0:0:0:0:0:0:0', '1::'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
  ])('formats %s as %s', (text, printed) => {
    expect(formatIPv6(parseIPv6(text)!)).toBe(printed);
  });

  test.each([
    '',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:8::',
    '12345::',
    '::g',
    '1.2.3.4',
    '1.2.3.4::',
    '::1.2.3.4:5',
    '::1.2.3',
    '::01.2.3.4',
    '[::1]',
  ])('rejects %j', text => expect(parseIPv6(text)).toBeUndefined());

  test('has the bytes of the text', () => {
    expect(parseIPv6('1:203::a:1.2.3.4')).toEqual(Uint8Array.of(0, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 10, 1, 2, 3, 4));
    expect(formatIPv6(Uint8Array.of(9, ...parseIPv6('fd00::7')!), 1)).toBe('fd00::7');
  });
});

test('addressVersion returns 4, 6 or undefined', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), nearlyIPv4, nearlyIPv6), text => {
      expect(addressVersion(text)).toBe(isIPv4(text) ? 4 : isIPv6(text) ? 6 : undefined);
    }),
  );
});
