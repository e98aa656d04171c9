import type { Info } from '../../nf_tables/xt/layout.ts';
import type { IptablesError } from '../error.ts';
import { type ExtensionRow, incomplete, type OptionPlace, type OptionRow, refused, type Value } from '../extension.ts';
import { parseLength } from '../option-hosts.ts';
import { leadingNumber, listed, number, present, text } from '../values.ts';
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

/** How many packets, or bytes, in which time. Letters behind the number are passed over unless they are a unit of bytes. */
const RATE = /^\s*([-+]?\d+)([^/]*)(?:\/(.*))?$/s;

/** A rate of packets is the time between two in millionths; one of bytes is the time of sixteen. */
function parseHashRate(info: Info, word: string, place: OptionPlace): void {
  const [, digits, letters = '', unit] = RATE.exec(word) ?? [];
  const bytes = unit === undefined ? undefined : BYTE_UNITS.find(([name]) => name === letters);
  const found = digits === undefined ? undefined : parseRate(unit === undefined ? '1' : `1/${unit}`);
  const amount = BigInt(digits?.replace('+', '') ?? 0);
  if (found === undefined || amount === 0n || (bytes !== undefined && found.seconds !== 1))
    throw refused(place, `hashlimit: Bad value for "--${place.option}" option: "${word}"`);
  if (bytes !== undefined) {
    info.average = costOf(BigInt.asUintN(64, amount * bytes[1])) || 1n;
    listed('mode', 'bytes').set(info);
    return;
  }
  const unitTime = HASHLIMIT_SCALE * BigInt(found.seconds);
  if (amount < 0n || amount > unitTime) throw refused(place, `Rate too fast "${word}"`);
  info.average = unitTime / amount;
  info.expireMs = found.seconds * 1000;
  info.interval = found.seconds;
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
    invert: {
      // The other one of the two.
      set(info) {
        const mode = (info.mode as string[] | undefined) ?? [];
        info.mode = above ? mode.filter(each => each !== 'invert') : [...mode, 'invert'];
      },
      has: () => false,
    },
    ...extra,
  };
}

const LARGEST_BURST = 1_000_000n;

const badBurst = (place?: OptionPlace): IptablesError => {
  const text = `bad value for option "--hashlimit-burst", or out of range (1-${LARGEST_BURST}).`;
  return place === undefined ? incomplete(text) : refused(place, text);
};

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
          const found = leadingNumber(word!, LARGEST_BURST);
          if (found === undefined || found.value === 0n) throw badBurst(place);
          const [, factor] = BYTE_UNITS.find(([unit]) => found.rest.startsWith(unit)) ?? ['', 1n];
          info.burst = found.value * factor;
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
          for (const part of word!.split(',').filter(Boolean)) {
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
    {
      name: 'hashlimit-name',
      value: { ...text('name', 255, { required: true }), print: info => info.name as string },
      required: true,
    },
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
        words: 1,
        parse(info, [word], place) {
          const found = leadingNumber(word!, U32);
          if (found === undefined || found.value === 0n)
            throw refused(place, `hashlimit: Bad value for "--hashlimit-rate-interval" option: "${word}"`);
          info.chosenInterval = Number(found.value);
        },
        print: info =>
          listed('mode', 'rate-match').has(info) && info.interval !== undefined && info.interval !== 1
            ? String(info.interval)
            : undefined,
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
    } else if (given.has('hashlimit-burst') && (info.burst as bigint) > LARGEST_BURST) throw badBurst();
    const { interval: unitSeconds = 1, chosenInterval } = info as Record<string, number | undefined>;
    delete info.chosenInterval;
    if (!listed('mode', 'rate-match').has(info)) {
      delete info.interval;
      return;
    }
    // The rate is one of the interval and not of its unit.
    if (!isBytes(info)) info.average = (info.average as bigint) / BigInt(unitSeconds);
    info.interval = chosenInterval ?? unitSeconds;
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
      info[key] = parseLength(word!, place);
    },
    print(info, { family }) {
      const length = (info[key] as number | undefined) ?? 0;
      return length === (family === 'ipv4' ? 32 : 128) ? undefined : String(length);
    },
  };
}

export const HASHLIMIT_MATCHES: readonly ExtensionRow[] = [hashlimit];
