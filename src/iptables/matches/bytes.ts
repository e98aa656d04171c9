import { HOST_IS_LITTLE_ENDIAN } from '../../codec/index.ts';
import type { Info } from '../../nf_tables/xt/layout.ts';
import type { U32Test } from '../../nf_tables/xt/u32.ts';
import { type ExtensionRow, incomplete, type OptionPlace, refused, type Value } from '../extension.ts';
import { flag, hex, leadingNumber, listed, number, parseNumber, present, shorthand } from '../values.ts';
import { inQuotes } from '../words.ts';

/* Matches on bytes of a packet, wherever they stand. */

const INVERT = flag('invert');

const LONGEST_PATTERN = 128;
const STRING_INVERT = listed('flags', 'invert');

/** `|0d 0a|` is bytes, all else text; a backslash takes the next character as it is. */
function parseHexString(word: string, place: OptionPlace): Buffer {
  const bytes: number[] = [];
  let isHex = false;
  const raw = Buffer.from(word);
  for (let i = 0; i < raw.length; i++) {
    const code = raw[i]!;
    if (code === 0x5c && i + 1 < raw.length && !isHex) bytes.push(raw[++i]!);
    else if (code === 0x7c) isHex = !isHex;
    else if (!isHex) bytes.push(code);
    else if (code !== 0x20) {
      const digits = raw.toString('latin1', i, i + 2);
      if (digits.length < 2) throw refused(place, 'Odd number of hex digits');
      if (digits[1] === '|') throw refused(place, 'Invalid hex block');
      if (!/^[0-9a-fA-F]{2}$/.test(digits))
        throw refused(place, `Invalid hex char '${digits[/^[0-9a-fA-F]/.test(digits) ? 1 : 0]}'`);
      bytes.push(Number.parseInt(digits, 16));
      i++;
    }
  }
  if (isHex) throw refused(place, 'Invalid hex block');
  if (bytes.length === 0) throw refused(place, 'STRING must contain at least one char');
  return Buffer.from(bytes);
}

function setPattern(info: Info, bytes: Buffer, word: string, place: OptionPlace): void {
  if (bytes.length > LONGEST_PATTERN) throw refused(place, `STRING too long "${word}"`);
  info.pattern = bytes.toString('hex');
}

/** Is it printed as text? iptables asks isprint of each byte, and takes `|` for the sign of hex. */
function isText(bytes: Buffer): boolean {
  if (bytes.length > 0 && bytes.at(-1) === 0x5c) return false;
  return bytes.every(byte => byte > 0x1f && byte < 0x7f);
}

const patternOf = (info: Info): Buffer => Buffer.from((info.pattern as string | undefined) ?? '', 'hex');

const string: ExtensionRow = {
  name: 'string',
  revision: 1,
  initial: () => ({ to: 0xffff }),
  options: [
    {
      name: 'string',
      value: {
        words: 1,
        parse: (info, [word], place) => setPattern(info, Buffer.from(word!), word!, place),
        print(info) {
          const bytes = patternOf(info);
          return isText(bytes) ? inQuotes(bytes.toString('latin1')) : undefined;
        },
      },
      invert: STRING_INVERT,
      excludes: ['hex-string'],
    },
    {
      name: 'hex-string',
      value: {
        words: 1,
        parse: (info, [word], place) => setPattern(info, parseHexString(word!, place), word!, place),
        print(info) {
          const bytes = patternOf(info);
          return isText(bytes) ? undefined : `"|${bytes.toString('hex')}|"`;
        },
      },
      invert: STRING_INVERT,
      excludes: ['string'],
    },
    {
      name: 'algo',
      value: {
        words: 1,
        parse(info, [word]) {
          info.algorithm = word!.slice(0, 15);
        },
        print: info => info.algorithm as string | undefined,
      },
      required: true,
    },
    { name: 'from', value: number('from', { max: 0xffff, hide: 0 }) },
    {
      name: 'to',
      value: {
        ...number('to', { max: 0xffff }),
        print: info => (info.to === undefined || info.to === 0xffff ? undefined : String(info.to)),
      },
    },
    { name: 'icase', value: present(listed('flags', 'ignore-case')) },
  ],
  check(_info, given) {
    if (!given.has('string') && !given.has('hex-string'))
      throw incomplete("STRING match: You must specify `--string' or `--hex-string'");
  },
};

const U32_SIGNS = { and: '&', left: '<<', right: '>>', at: '@' } as const;
const U32_OPERATIONS = [
  ['&', 'and'],
  ['<<', 'left'],
  ['>>', 'right'],
  ['@', 'at'],
] as const;

/** `0>>22&0x3C@4=0:16,7&&6&0xFF=1` */
function parseU32(word: string, place: OptionPlace): U32Test[] {
  let at = 0;
  const skip = (): void => {
    while (word[at] === ' ' || word[at] === '\t') at++;
  };
  const takes = (sign: string): boolean => {
    skip();
    if (!word.startsWith(sign, at)) return false;
    at += sign.length;
    return true;
  };
  const wrong = (text: string) => refused(place, `u32: at char ${at}: ${text}`);
  const one = (): number => {
    const found = leadingNumber(word.slice(at), 0xffffffffn);
    if (found === undefined) throw wrong('not a number or out of range');
    at = word.length - found.rest.length;
    return Number(found.value);
  };
  const location = (): void => {
    skip();
    if (at >= word.length) throw refused(place, 'u32: abrupt end of input after location specifier');
  };
  const tests: U32Test[] = [];
  do {
    location();
    const test: U32Test = { steps: [{ number: one() }], ranges: [] };
    for (location(); !takes('='); location()) {
      const operation = U32_OPERATIONS.find(([sign]) => takes(sign))?.[1];
      if (operation === undefined) {
        const shift = word[at];
        if (shift !== '<' && shift !== '>') throw wrong('operator expected');
        at++;
        throw wrong(`a second '${shift}' was expected`);
      }
      test.steps.push({ operation, number: one() });
    }
    skip();
    if (at >= word.length) throw refused(place, 'u32: test ended with no value specified');
    do {
      const first = one();
      test.ranges.push([first, takes(':') ? one() : first]);
    } while (takes(','));
    tests.push(test);
  } while (takes('&&'));
  skip();
  if (at < word.length) throw wrong('expected "," or "&&"');
  if (tests.length > 11) throw refused(place, 'u32: at char 0: too many "&&"s');
  return tests;
}

const u32: ExtensionRow = {
  name: 'u32',
  revision: 0,
  options: [
    {
      name: 'u32',
      value: {
        words: 1,
        parse(info, [word], place) {
          info.tests = parseU32(word!, place);
        },
        print(info) {
          const tests = ((info.tests as U32Test[] | undefined) ?? []).map(({ steps, ranges }) => {
            const location = steps
              .map(({ operation, number: value }) => (operation === undefined ? '' : U32_SIGNS[operation]) + hex(value))
              .join('');
            const values = ranges.map(([first, last]) => (first === last ? hex(first) : `${hex(first)}:${hex(last)}`));
            return `${location}=${values.join(',')}`;
          });
          return inQuotes(tests.join('&&'));
        },
      },
      invert: INVERT,
      required: true,
    },
  ],
};

const MOST_INSTRUCTIONS = 64;

/** `2,48 0 0 9,6 0 0 1`: how many instructions there are, and each one's four numbers. */
const bytecode: Value = {
  words: 1,
  parse(info, [word], place) {
    const [countText, ...parts] = word!.split(',');
    const count = parseNumber(countText!, 0xffff);
    if (count === undefined || parts.length === 0) throw refused(place, 'bpf: error parsing program length');
    if (count === 0) throw refused(place, 'bpf: illegal zero length program');
    if (count > MOST_INSTRUCTIONS) throw refused(place, 'bpf: number of instructions exceeds maximum');
    const bytes = Buffer.alloc(count * 8);
    const lines = parts.filter((part, i) => part.trim() !== '' || i < count);
    for (const [i, part] of lines.entries()) {
      if (i >= count) throw refused(place, 'bpf: real program length exceeds the encoded length parameter');
      const numbers = part
        .trim()
        .split(/\s+/)
        .map(each => Number(each));
      if (numbers.length !== 4 || numbers.some(each => !Number.isInteger(each)))
        throw refused(place, `bpf: error at instr ${i}`);
      const [code, ifTrue, ifFalse, k] = numbers;
      const view = new DataView(bytes.buffer, bytes.byteOffset + i * 8);
      view.setUint16(0, code!, HOST_IS_LITTLE_ENDIAN);
      view.setUint8(2, ifTrue!);
      view.setUint8(3, ifFalse!);
      view.setUint32(4, k!, HOST_IS_LITTLE_ENDIAN);
    }
    if (lines.length < count)
      throw refused(place, 'bpf: parsed program length is less than the encoded length parameter');
    info.program = bytes.toString('hex');
  },
  print(info) {
    if (info.mode !== undefined && info.mode !== 'bytecode') return undefined;
    const bytes = Buffer.from((info.program as string | undefined) ?? '', 'hex');
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const list: string[] = [];
    for (let at = 0; at < bytes.length; at += 8)
      list.push(
        `${view.getUint16(at, HOST_IS_LITTLE_ENDIAN)} ${bytes[at + 2]} ${bytes[at + 3]} ${view.getUint32(at + 4, HOST_IS_LITTLE_ENDIAN)}`,
      );
    return `"${list.length}${list.map(each => `,${each}`).join('')}"`;
  },
};
const bpf: ExtensionRow = {
  name: 'bpf',
  revision: 1,
  options: [
    { name: 'bytecode', value: bytecode, excludes: ['object-pinned'] },
    {
      name: 'object-pinned',
      // The kernel takes a descriptor of the object: what has a path in one process means nothing in another.
      value: shorthand((_info, place) => {
        throw refused(place, 'bpf: failed to get bpf object');
      }, 1),
      excludes: ['bytecode'],
      hidden: true,
    },
  ],
  check(_info, given) {
    if (given.size === 0) throw incomplete('bpf: one of --bytecode or --pinned is required');
  },
};

export const BYTE_MATCHES: readonly ExtensionRow[] = [string, u32, bpf];
