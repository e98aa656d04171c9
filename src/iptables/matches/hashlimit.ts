import type { Info } from '../../nf_tables/xt/layout.ts';
import {
  type ExtensionRow,
  guided,
  incomplete,
  type OptionPlace,
  type OptionRow,
  refused,
  type Value,
} from '../extension.ts';
import { listed, number, parseBig, parseNumber, present, text } from '../values.ts';
import { DEFAULT_BURST, parseRate, rateOf } from './rates.ts';

/* The match `hashlimit`: a rate for each address or port. */

const HASHLIMIT_SCALE = 1_000_000n;
const BYTE_SHIFT = 4n;
const U32 = 0xffff_ffffn;
const MODES: readonly (readonly [word: string, key: string])[] = [
  ['srcip', 'source-address'],
  ['srcport', 'source-port'],
  ['dstip', 'destination-address'],
  ['dstport', 'destination-port'],
];
const BYTE_UNITS: readonly (readonly [unit: string, factor: bigint])[] = [
  ['mb', 1024n * 1024n],
  ['kb', 1024n],
  ['b', 1n],
];

/** A rate of packets is the time between two in millionths; one of bytes is the time of sixteen. */
function parseHashRate(info: Info, word: string, place: OptionPlace): void {
  const bytes = /^(\d+)(b|kb|mb)\/s$/.exec(word);
  if (bytes !== null) {
    const amount = BigInt(bytes[1]!) * BYTE_UNITS.find(([unit]) => unit === bytes[2])![1];
    if (amount === 0n || amount > U32 * 16n) throw refused(place, `bad rate "${word}"'`);
    info.average = costOf(amount) || 1n;
    listed('mode', 'bytes').set(info);
    return;
  }
  const found = parseRate(word);
  if (found === undefined || found.rate === 0)
    throw guided(place, `Bad value for "--${place.option}" option: "${word}"`);
  const unit = HASHLIMIT_SCALE * BigInt(found.seconds);
  if (BigInt(found.rate) > unit) throw refused(place, `Rate too fast "${word}"`);
  info.average = unit / BigInt(found.rate);
  info.expireMs = found.seconds * 1000;
}

const isBytes = (info: Info): boolean => listed('mode', 'bytes').has(info);

function printHashRate(info: Info): string {
  const average = (info.average as bigint | undefined) ?? 1n;
  if (!isBytes(info)) {
    const { rate, word } = rateOf(Number(average), Number(HASHLIMIT_SCALE));
    return `${rate}/${word}`;
  }
  const amount = bytesOf(average);
  // The largest unit in which the structure would be the same.
  const [unit, factor] = BYTE_UNITS.find(
    ([, each]) => amount >= each && costOf(amount - (amount % each)) === average,
  ) ?? ['b', 1n];
  return `${amount / factor}${unit}/s`;
}

/** Bytes a second of the time that sixteen of them take, and back. */
const bytesOf = (average: bigint): bigint => (U32 / (average || 1n) - 1n) << BYTE_SHIFT;
const costOf = (bytes: bigint): bigint => U32 / ((bytes >> BYTE_SHIFT) + 1n);

function printBurst(bytes: bigint): string {
  const [unit, factor] = BYTE_UNITS.find(([, each]) => bytes >= each) ?? ['b', 1n];
  return `${bytes / factor}${unit}`;
}

function hashRate(above: boolean, name: string, extra: Partial<OptionRow> = {}): OptionRow {
  const inverted = listed('mode', 'invert');
  return {
    name,
    value: {
      words: 1,
      parse(info, [word], place) {
        parseHashRate(info, word!, place);
        if (above) inverted.set(info);
      },
      print: info => (inverted.has(info) === above ? printHashRate(info) : undefined),
    },
    excludes: above ? ['hashlimit-upto', 'hashlimit'] : ['hashlimit-above'],
    ...extra,
  };
}

const hashlimit: ExtensionRow = {
  name: 'hashlimit',
  revision: 3,
  initial: ({ family }) => {
    const full = family === 'ipv4' ? 32 : 128;
    return {
      mode: [],
      burst: BigInt(DEFAULT_BURST),
      gcIntervalMs: HASHLIMIT_GC_MS,
      sourceMask: full,
      destinationMask: full,
    };
  },
  options: [
    hashRate(false, 'hashlimit-upto', { aliases: ['hashlimit'] }),
    hashRate(true, 'hashlimit-above'),
    {
      name: 'hashlimit-burst',
      value: {
        words: 1,
        parse(info, [word], place) {
          const bytes = /^(\d+)(b|kb|mb)$/.exec(word!);
          if (bytes !== null) {
            info.burst = BigInt(bytes[1]!) * BYTE_UNITS.find(([unit]) => unit === bytes[2])![1];
            return;
          }
          const value = parseBig(word!);
          if (value === undefined || value < 1n || value > U32)
            throw guided(place, `bad value for option "--hashlimit-burst", or out of range (1-${U32}).`);
          info.burst = value;
        },
        print(info) {
          const burst = (info.burst as bigint | undefined) ?? 0n;
          if (!isBytes(info)) return String(burst);
          // Of rates of bytes the burst is a number of rates.
          return burst === 0n ? undefined : printBurst(bytesOf((info.average as bigint | undefined) ?? 1n) * burst);
        },
      },
    },
    {
      name: 'hashlimit-mode',
      value: {
        words: 1,
        parse(info, [word], place) {
          for (const part of word!.split(',')) {
            const found = MODES.find(([name]) => name === part);
            if (found === undefined)
              throw refused(place, `hashlimit: Bad value for "--hashlimit-mode" option: "${word}"`);
            listed('mode', found[1]).set(info);
          }
        },
        print(info) {
          const words = MODES.filter(([, key]) => listed('mode', key).has(info)).map(([name]) => name);
          return words.length === 0 ? undefined : words.join(',');
        },
      },
    },
    { name: 'hashlimit-name', value: { ...text('name', 254), print: info => info.name as string }, required: true },
    { name: 'hashlimit-htable-size', value: number('size', { hide: 0 }) },
    { name: 'hashlimit-htable-max', value: number('max', { hide: 0 }) },
    {
      name: 'hashlimit-htable-gcinterval',
      value: {
        ...number('gcIntervalMs'),
        print: info => (info.gcIntervalMs === HASHLIMIT_GC_MS ? undefined : String(info.gcIntervalMs ?? 0)),
      },
    },
    {
      name: 'hashlimit-htable-expire',
      value: {
        ...number('expireMs'),
        print(info) {
          const value = (info.expireMs as number | undefined) ?? 0;
          return value === expiryOf(info) ? undefined : String(value);
        },
      },
    },
    {
      name: 'hashlimit-srcmask',
      value: prefixLength('sourceMask'),
    },
    {
      name: 'hashlimit-dstmask',
      value: prefixLength('destinationMask'),
    },
    { name: 'hashlimit-rate-match', value: present(listed('mode', 'rate-match')) },
    {
      name: 'hashlimit-rate-interval',
      value: {
        ...number('interval', { min: 1 }),
        print: info => (info.interval === undefined || info.interval === 1 ? undefined : String(info.interval)),
      },
    },
  ],
  check(info, given) {
    if (!given.has('hashlimit-upto') && !given.has('hashlimit-above'))
      throw incomplete('You have to specify --hashlimit');
    if (isBytes(info)) {
      const rate = bytesOf(info.average as bigint);
      const burst = given.has('hashlimit-burst') ? (info.burst as bigint) : 0n;
      if (given.has('hashlimit-burst') && burst < rate) throw incomplete(`burst cannot be smaller than ${rate}b`);
      info.burst = rate <= 0n ? 0n : (burst + rate - 1n) / rate;
      if (!given.has('hashlimit-htable-expire')) info.expireMs = expiryOf(info);
    }
    if (listed('mode', 'rate-match').has(info) && !given.has('hashlimit-rate-interval')) info.interval = 1;
  },
};
const HASHLIMIT_GC_MS = 1000;

const BYTES_EXPIRE_MS = 15_000;
const BYTES_BURST_EXPIRE_MS = 60_000;

/** How long entries stay by default: of rates of packets the unit's time. */
function expiryOf(info: Info): number {
  if (isBytes(info)) return info.burst ? BYTES_BURST_EXPIRE_MS : BYTES_EXPIRE_MS;
  const average = Number((info.average as bigint | undefined) ?? 1n);
  return rateOf(average, Number(HASHLIMIT_SCALE)).seconds * 1000;
}

function prefixLength(key: string): Value {
  return {
    words: 1,
    parse(info, [word], place) {
      const full = place.family === 'ipv4' ? 32 : 128;
      const length = parseNumber(word!, full);
      if (length === undefined)
        throw guided(place, `bad value for option "--${place.option}", or out of range (0-${full}).`);
      info[key] = length;
    },
    print(info, { family }) {
      const length = (info[key] as number | undefined) ?? 0;
      return length === (family === 'ipv4' ? 32 : 128) ? undefined : String(length);
    },
  };
}

export const HASHLIMIT_MATCHES: readonly ExtensionRow[] = [hashlimit];
