import { type ExtensionRow, incomplete, type OptionPlace, type OptionRow, refused } from '../extension.ts';
import { listed, parseNumber, present } from '../values.ts';

/* The match `rateest`: rates that an estimator has measured. */

const RATE_UNITS: Readonly<Record<string, number>> = {
  bit: 1,
  kibit: 1024,
  kbit: 1000,
  mibit: 1024 * 1024,
  mbit: 1000000,
  gibit: 1024 * 1024 * 1024,
  gbit: 1000000000,
  tibit: 1024 ** 4,
  tbit: 1000000000000,
  bps: 8,
  kibps: 8 * 1024,
  kbps: 8000,
  mibps: 8 * 1024 * 1024,
  mbps: 8000000,
  gibps: 8 * 1024 ** 3,
  gbps: 8000000000,
  tibps: 8 * 1024 ** 4,
  tbps: 8000000000000,
};

/** A rate in bits; the kernel has bytes. */
function parseBits(word: string, place: OptionPlace): number {
  const found = /^(\d+(?:\.\d+)?)([a-zA-Z]*)$/.exec(word);
  const unit = found === null ? undefined : found[2] === '' ? 1 : RATE_UNITS[found[2]!.toLowerCase()];
  if (found === null || unit === undefined) throw refused(place, `rateest: could not parse rate \`${word}'`);
  return Math.floor((Number(found[1]) * unit) / 8);
}

/** As few digits as say it: in thousands where nothing is lost. */
function printBits(bytes: number): string {
  const bits = bytes * 8;
  if (bits > 1_000_000 && bits % 1_000_000 === 0) return `${bits / 1_000_000}Mbit`;
  return bits > 1000 && bits % 1000 === 0 && bits >= 1_000_000 ? `${bits / 1000}Kbit` : `${bits}bit`;
}

/** A rate that an option gives may be left out where another estimator is compared with. */
function estimate(unit: 'bps' | 'pps', which: '' | '1' | '2'): OptionRow {
  const key = `${unit}${which === '2' ? 2 : 1}`;
  return {
    name: `rateest-${unit}${which}`,
    value: {
      words: 1,
      parse(info, [word], place) {
        listed('flags', unit).set(info);
        info[key] = unit === 'bps' ? parseBits(word!, place) : (parseNumber(word!, 0xffffffff) ?? bad(place, word!));
      },
      print: () => undefined,
    },
    hidden: true,
  };
}

function bad(place: OptionPlace, word: string): never {
  throw refused(place, `rateest: could not parse pps \`${word}'`);
}

const RATEEST_MODES = [
  ['rateest-lt', 'less'],
  ['rateest-gt', 'greater'],
  ['rateest-eq', 'equal'],
] as const;

const rateest: ExtensionRow = {
  name: 'rateest',
  revision: 0,
  options: [
    {
      name: 'rateest1',
      aliases: ['rateest'],
      value: {
        words: 1,
        parse(info, [word]) {
          info.name1 = word;
        },
        print: () => undefined,
      },
      hidden: true,
    },
    {
      name: 'rateest2',
      value: {
        words: 1,
        parse(info, [word]) {
          info.name2 = word;
          listed('flags', 'relative').set(info);
        },
        print: () => undefined,
      },
      hidden: true,
    },
    estimate('bps', ''),
    estimate('pps', ''),
    estimate('bps', '1'),
    estimate('pps', '1'),
    estimate('bps', '2'),
    estimate('pps', '2'),
    { name: 'rateest-delta', value: present(listed('flags', 'delta')), hidden: true },
    ...RATEEST_MODES.map(
      ([name, mode]): OptionRow => ({
        name,
        value: {
          words: 0,
          parse(info) {
            info.mode = mode;
          },
          print: () => undefined,
        },
        invert: listed('flags', 'invert'),
        hidden: true,
      }),
    ),
  ],
  tail(info) {
    const flags = (info.flags as string[] | undefined) ?? [];
    const name1 = (info.name1 as string | undefined) ?? '';
    const name2 = (info.name2 as string | undefined) ?? '';
    const mode = RATEEST_MODES.find(([, each]) => each === info.mode)?.[0];
    const operator = `${flags.includes('invert') ? ' !' : ''} --${mode ?? 'rateest-eq'}`;
    const rates = (which: 1 | 2, suffix: string): string =>
      (flags.includes('bps')
        ? ` --rateest-bps${suffix} ${printBits((info[`bps${which}`] as number | undefined) ?? 0)}`
        : '') +
      (flags.includes('pps') ? ` --rateest-pps${suffix} ${(info[`pps${which}`] as number | undefined) ?? 0}` : '');
    const delta = flags.includes('delta');
    if (flags.includes('relative')) {
      const first = ` --rateest1 ${name1}${delta ? rates(1, '1') : `${flags.includes('bps') ? ' --rateest-bps' : ''}${flags.includes('pps') ? ' --rateest-pps' : ''}`}`;
      return `${delta ? ' --rateest-delta' : ''}${first}${operator}${delta ? rates(2, '2') : ''} --rateest2 ${name2}`;
    }
    if (delta) return ` --rateest-delta --rateest ${name1}${rates(1, '1')}${operator}${rates(2, '2')}`;
    return ` --rateest ${name1}${operator}${rates(1, '')}`;
  },
  check(_info, given) {
    if (!given.has('rateest1')) throw incomplete('rateest: no estimator specified');
  },
};

export const RATEEST_MATCHES: readonly ExtensionRow[] = [rateest];
