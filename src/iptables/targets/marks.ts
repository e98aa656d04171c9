import type { Info } from '../../nf_tables/xt/layout.ts';
import { type ExtensionRow, type Flag, incomplete, type OptionRow, refused, type Value } from '../extension.ts';
import { prefixMask } from '../option-hosts.ts';
import { add, hex, listed, number, present, restOf } from '../values.ts';
import { cut, markAndMask, numberFor, parseBounded, slashed } from './values.ts';

/* The targets that mark packets and connections. */

const ALL = 0xffffffff;

/** The options of the same kind, of which one may be given. */
function oneOfThem(rows: readonly OptionRow[]): OptionRow[] {
  const names = rows.map(({ name }) => name);
  return rows.map(row => ({ ...row, excludes: names.filter(name => name !== row.name) }));
}

/** --and-mark, --or-mark and --xor-mark, and --set-mark beside --set-xmark: they are saved by --set-xmark. */
function settings(mark: string, mask: string, shown: (info: Info) => boolean): OptionRow[] {
  const put = (info: Info, value: number, bits: number): void => {
    info[mark] = value >>> 0;
    info[mask] = bits >>> 0;
  };
  return [
    {
      name: 'set-xmark',
      value: markAndMask(put, info => (shown(info) ? slashed(info, mark, mask) : undefined)),
    },
    { name: 'set-mark', value: markAndMask((info, value, bits) => put(info, value, value | bits)), hidden: true },
    { name: 'and-mark', value: numberFor((info, value) => put(info, 0, ~value)), hidden: true },
    { name: 'or-mark', value: numberFor((info, value) => put(info, value, value)), hidden: true },
    { name: 'xor-mark', value: numberFor((info, value) => put(info, value, 0)), hidden: true },
  ];
}

const isSet = (info: Info): boolean => info.mode === undefined || info.mode === 'set';

const masks = (info: Info): string =>
  ` --nfmask ${hex((info.nfmask as number | undefined) ?? 0)} --ctmask ${hex((info.ctmask as number | undefined) ?? 0)}`;

/** --save-mark or --restore-mark, with both masks behind it. */
const copying = (mode: 'save' | 'restore'): Value => ({
  words: 0,
  parse(info) {
    info.mode = mode;
  },
  print: info => (info.mode === mode ? masks(info).slice(1) : undefined),
});

/** A number of bits to shift by. */
const shift = (direction: 'left' | 'right'): Value => ({
  words: 1,
  parse(info, [text], place) {
    info.shift = direction;
    info.shiftBits = parseBounded(text!, place, 0, 32);
  },
  print: info => ((info.shift ?? 'left') === direction && info.shiftBits ? String(info.shiftBits) : undefined),
});

const MARK: ExtensionRow = {
  name: 'MARK',
  revision: 2,
  options: oneOfThem(settings('mark', 'mask', () => true)),
  check(_, given) {
    if (given.size === 0) throw incomplete('MARK: One of the --set-xmark, --{and,or,xor,set}-mark options is required');
  },
};

const CONNMARK_OPERATIONS = oneOfThem([
  ...settings('ctmark', 'ctmask', isSet),
  { name: 'save-mark', value: copying('save') },
  { name: 'restore-mark', value: copying('restore') },
]);

const CONNMARK: ExtensionRow = {
  name: 'CONNMARK',
  revision: 2,
  initial: () => ({ ctmask: ALL, nfmask: ALL }),
  options: [
    ...CONNMARK_OPERATIONS,
    { name: 'left-shift-mark', value: shift('left'), excludes: ['right-shift-mark'] },
    { name: 'right-shift-mark', value: shift('right'), excludes: ['left-shift-mark'] },
    { name: 'nfmask', value: numberFor((info, value) => (info.nfmask = value)), excludes: ['mask'], hidden: true },
    { name: 'ctmask', value: numberFor((info, value) => (info.ctmask = value)), excludes: ['mask'], hidden: true },
    {
      name: 'mask',
      value: numberFor((info, value) => {
        info.nfmask = value;
        info.ctmask = value;
      }),
      excludes: ['nfmask', 'ctmask'],
      hidden: true,
    },
  ],
  check(_, given) {
    if (!CONNMARK_OPERATIONS.some(({ name }) => given.has(name)))
      throw incomplete('CONNMARK target: No operation specified');
  },
};

const CONNSECMARK: ExtensionRow = {
  name: 'CONNSECMARK',
  revision: 0,
  options: oneOfThem([
    { name: 'save', value: mode('save') },
    { name: 'restore', value: mode('restore') },
  ]),
  check(_, given) {
    if (given.size === 0) throw incomplete('CONNSECMARK target: parameter required');
  },
};

function mode(word: string): Value {
  return present({ set: info => (info.mode = word), has: info => info.mode === word });
}

const SECMARK: ExtensionRow = {
  name: 'SECMARK',
  revision: 1,
  options: [{ name: 'selctx', value: cut('context', 256), required: true }],
};

/* HMARK: a mark from a hash of parts of the packet. */

/** The upper 16 bits are of the source, the lower of the destination. */
const port = (key: string, flagName: string, shifted: 0 | 16, digits: number): Value => ({
  words: 1,
  parse(info, [text], place) {
    const value = parseBounded(text!, place, 0, 0xffff);
    const others = ((info[key] as number | undefined) ?? 0) & (0xffff << (16 - shifted));
    info[key] = ((value << shifted) | others) >>> 0;
    add(info, 'flags', flagName);
  },
  print(info) {
    if (!listed('flags', flagName).has(info)) return undefined;
    return hex((((info[key] as number | undefined) ?? 0) >>> shifted) & 0xffff, digits);
  },
});

/** A value that counts by its flag. */
function flagged(flagName: string, value: Value): Value {
  const where: Flag = listed('flags', flagName);
  return {
    words: value.words,
    parse(info, words, place) {
      value.parse(info, words, place);
      where.set(info);
    },
    print: (info, at) => (where.has(info) ? value.print(info, at) : undefined),
  };
}

const padded = (digits: number) => (value: number) => hex(value, digits);

const TUPLE: Readonly<Record<string, (info: Info, all: string) => void>> = {
  src(info, all) {
    info.sourceMask = all;
    add(info, 'flags', 'source-mask');
  },
  dst(info, all) {
    info.destinationMask = all;
    add(info, 'flags', 'destination-mask');
  },
  sport(info) {
    info.portMask = (((info.portMask as number | undefined) ?? 0) | (0xffff << 16)) >>> 0;
    add(info, 'flags', 'source-port-mask');
  },
  dport(info) {
    info.portMask = (((info.portMask as number | undefined) ?? 0) | 0xffff) >>> 0;
    add(info, 'flags', 'destination-port-mask');
  },
  spi(info) {
    info.portMask = ALL;
    add(info, 'flags', 'spi-mask');
  },
  proto(info) {
    info.protocolMask = 0xffff;
    add(info, 'flags', 'protocol-mask');
  },
  ct(info) {
    add(info, 'flags', 'ct');
  },
};

const tuple: Value = {
  words: 1,
  parse(info, [text], place) {
    const all = place.family === 'ipv4' ? '255.255.255.255' : 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff';
    if (text === '')
      throw refused(place, '"--hmark-tuple" requires a list of types with no spaces, e.g. src,dst,sport,dport,proto');
    for (const [i, word] of text!.split(',').entries()) {
      if (!Object.hasOwn(TUPLE, word)) throw refused(place, `Bad type "${restOf(text!, i)}"`);
      TUPLE[word]!(info, all);
    }
  },
  print: info => (listed('flags', 'ct').has(info) ? 'ct' : undefined),
};

/** What says nothing about the parts of the packet that the mark comes from. */
const HMARK_NUMBERS = ['modulus', 'random', 'offset'];

const HMARK: ExtensionRow = {
  name: 'HMARK',
  revision: 0,
  options: [
    { name: 'hmark-src-prefix', value: flagged('source-mask', prefixMask('sourceMask')) },
    { name: 'hmark-dst-prefix', value: flagged('destination-mask', prefixMask('destinationMask')) },
    { name: 'hmark-sport-mask', value: port('portMask', 'source-port-mask', 16, 4) },
    { name: 'hmark-dport-mask', value: port('portMask', 'destination-port-mask', 0, 4) },
    { name: 'hmark-spi-mask', value: flagged('spi-mask', number('portMask', { print: padded(8) })) },
    { name: 'hmark-sport', value: port('ports', 'source-port', 16, 4) },
    { name: 'hmark-dport', value: port('ports', 'destination-port', 0, 4) },
    { name: 'hmark-spi', value: flagged('spi', number('ports', { print: padded(8) })) },
    {
      name: 'hmark-proto-mask',
      value: flagged('protocol-mask', number('protocolMask', { max: 0xffff, print: padded(2) })),
    },
    { name: 'hmark-rnd', value: flagged('random', number('seed', { print: padded(8) })) },
    { name: 'hmark-mod', value: flagged('modulus', number('modulus', { min: 1 })) },
    { name: 'hmark-offset', value: flagged('offset', number('offset')) },
    { name: 'hmark-tuple', value: tuple },
  ],
  check(info) {
    const flags = new Set(info.flags as readonly string[] | undefined);
    if (!flags.has('modulus')) throw incomplete('--hmark-mod is mandatory');
    if (!flags.has('random')) throw incomplete('--hmark-rnd is mandatory');
    if (flags.has('spi-mask') && (flags.has('source-port-mask') || flags.has('destination-port-mask')))
      throw incomplete('you cannot use --hmark-spi-mask and --hmark-?port-mask,at the same time');
    if (flags.has('spi') && (flags.has('source-port') || flags.has('destination-port')))
      throw incomplete('you cannot use --hmark-spi and --hmark-?port,at the same time');
    if ([...flags].every(flag => HMARK_NUMBERS.includes(flag)))
      throw incomplete('you have to specify --hmark-tuple at least');
  },
};

export const MARK_TARGETS: readonly ExtensionRow[] = [MARK, CONNMARK, CONNSECMARK, SECMARK, HMARK];
