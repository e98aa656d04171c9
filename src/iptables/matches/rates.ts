import type { Expression } from '../../nf_tables/expression.ts';
import type { Info } from '../../nf_tables/xt/layout.ts';
import { IptablesError } from '../error.ts';
import {
  type ExtensionRow,
  guided,
  incomplete,
  type OptionPlace,
  type OptionRow,
  refused,
  type Value,
} from '../extension.ts';
import {
  flag,
  listed,
  maskOf,
  NO_MASK,
  number,
  parseAddress,
  parseBig,
  parseNumber,
  present,
  text,
} from '../values.ts';

/* Matches on rates, amounts and times. */

const INVERT = flag('invert');
const UNITS: readonly (readonly [word: string, seconds: number, short: string])[] = [
  ['second', 1, 'sec'],
  ['minute', 60, 'min'],
  ['hour', 3600, 'hour'],
  ['day', 86400, 'day'],
];
/** The kernel counts the time between two packets in parts of a second: iptables rounds rates to that. */
const LIMIT_SCALE = 10000;
const DEFAULT_BURST = 5;

/** `10/minute`: the rate and the seconds of its unit. The beginning of a unit's name is enough. */
function parseRate(word: string): { rate: number; seconds: number } | undefined {
  const [rateText, unit, ...more] = word.split('/');
  if (more.length > 0 || rateText === undefined || !/^\d+/.test(rateText)) return undefined;
  const rate = Number.parseInt(rateText, 10);
  if (unit === undefined) return { rate, seconds: 1 };
  const lower = unit.toLowerCase();
  const found = lower === '' ? undefined : UNITS.find(([name]) => name.startsWith(lower));
  return found === undefined ? undefined : { rate, seconds: found[1] };
}

/** The rate of a time between packets, in the unit that iptables chooses: the smallest before one that loses more than it says. */
function rateOf(period: number, scale: number): { rate: number; seconds: number; word: string } {
  let [, chosen] = UNITS.at(-1)!;
  for (const [, seconds] of [...UNITS].reverse().slice(1)) {
    const unit = scale * seconds;
    if (period > unit || Math.floor(unit / period) < unit % period) break;
    chosen = seconds;
  }
  const word = UNITS.find(([, seconds]) => seconds === chosen)![2];
  return { rate: Math.floor((scale * chosen) / period), seconds: chosen, word };
}

const limit: ExtensionRow = {
  name: 'limit',
  revision: 0,
  initial: () => ({ rate: 3, unitSeconds: 3600, burst: DEFAULT_BURST }),
  options: [
    {
      name: 'limit',
      value: {
        words: 1,
        parse(info, [word], place) {
          const found = parseRate(word!);
          if (found === undefined || found.rate === 0 || found.rate > found.seconds * LIMIT_SCALE)
            throw refused(
              place,
              found !== undefined && found.rate > found.seconds * LIMIT_SCALE
                ? `Rate too fast "${word}"`
                : `bad rate "${word}"'`,
            );
          const { rate, seconds } = rateOf(Math.floor((LIMIT_SCALE * found.seconds) / found.rate), LIMIT_SCALE);
          info.rate = rate;
          info.unitSeconds = seconds;
        },
        print: info => printNativeRate(info),
      },
    },
    { name: 'limit-burst', value: number('burst', { max: 10000, hide: DEFAULT_BURST }) },
  ],
  native(info) {
    const { rate = 3, unitSeconds = 3600, burst = DEFAULT_BURST } = info as Record<string, number | undefined>;
    const fields = { rate: BigInt(rate), unitSeconds: BigInt(unitSeconds), burst, type: 'packets', flags: [] };
    return [{ limit: fields } as unknown as Expression];
  },
};

function printNativeRate(info: Info): string {
  const { rate = 3, unitSeconds = 3600 } = info as Record<string, number | undefined>;
  const unit = UNITS.find(([, seconds]) => seconds === unitSeconds);
  return `${rate}/${unit?.[2] ?? `${unitSeconds}s`}`;
}

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

const quota: ExtensionRow = {
  name: 'quota',
  revision: 0,
  options: [
    {
      name: 'quota',
      value: {
        words: 1,
        parse(info, [word], place) {
          const value = parseBig(word!);
          if (value === undefined)
            throw guided(place, `bad value for option "--quota", or out of range (0-${(1n << 64n) - 1n}).`);
          info.quota = value;
        },
        print: info => String((info.quota as bigint | undefined) ?? 0n),
      },
      invert: listed('flags', 'invert'),
      required: true,
    },
  ],
};

const PROBABILITY_SCALE = 0x80000000;

const statistic: ExtensionRow = {
  name: 'statistic',
  revision: 0,
  options: [
    {
      name: 'mode',
      value: {
        words: 1,
        parse(info, [word], place) {
          if (word !== 'random' && word !== 'nth') throw refused(place, `Bad mode "${word}"`);
          info.mode = word;
        },
        print: info => (info.mode as string | undefined) ?? 'random',
      },
      required: true,
    },
    {
      name: 'probability',
      value: {
        words: 1,
        parse(info, [word], place) {
          const value = Number(word);
          if (!/^\s*[+-]?(\d|\.\d|0x)/i.test(word!) || !(value >= 0 && value <= 1))
            throw guided(place, 'bad value for option "--probability", or out of range (0-1).');
          info.probability = Math.round(value * PROBABILITY_SCALE);
        },
        print: info =>
          info.mode === 'nth'
            ? undefined
            : (((info.probability as number | undefined) ?? 0) / PROBABILITY_SCALE).toFixed(11),
      },
      invert: listed('flags', 'invert'),
      excludes: ['every', 'packet'],
    },
    {
      name: 'every',
      value: {
        ...number('every', { min: 1 }),
        parse(info, words, place) {
          number('every', { min: 1 }).parse(info, words, place);
          info.every = (info.every as number) - 1;
        },
        print: info => (info.mode === 'nth' ? String(((info.every as number | undefined) ?? 0) + 1) : undefined),
      },
      invert: listed('flags', 'invert'),
      excludes: ['probability'],
    },
    {
      name: 'packet',
      value: {
        ...number('packet'),
        print: info => (info.mode === 'nth' ? String((info.packet as number | undefined) ?? 0) : undefined),
      },
      excludes: ['probability'],
    },
  ],
  check(info, given) {
    if (info.mode !== 'nth' && !given.has('probability'))
      throw incomplete('--probability must be specified when using random mode');
    if (info.mode === 'nth' && !given.has('every')) throw incomplete('--every must be specified when using nth mode');
    if (info.mode === 'nth' && !given.has('packet'))
      throw new IptablesError('statistic: option "--every" also requires "--packet".', {
        argument: '--every',
        guided: true,
      });
    if (info.mode === 'nth' && (info.packet as number) > (info.every as number))
      throw incomplete('the --packet p must be 0 <= p <= n-1');
    // iptables subtracts the two in either mode: they share their place in the structure with the probability.
    info.count =
      (((info.mode === 'nth' ? info.every : info.probability) as number) -
        ((info.packet as number | undefined) ?? 0)) >>>
      0;
  },
};

const RECENT_VERBS = ['set', 'rcheck', 'update', 'remove'] as const;
const RECENT_KEYS = { set: 'set', rcheck: 'check', update: 'update', remove: 'remove' } as const;

const recent: ExtensionRow = {
  name: 'recent',
  revision: 1,
  initial: () => ({ name: 'DEFAULT', mask: NO_MASK }),
  options: [
    ...RECENT_VERBS.map(
      (verb): OptionRow => ({
        name: verb,
        value: present(listed('checkSet', RECENT_KEYS[verb])),
        invert: INVERT,
        excludes: RECENT_VERBS.filter(each => each !== verb),
      }),
    ),
    { name: 'seconds', value: number('seconds', { min: 1, hide: 0 }) },
    { name: 'reap', value: present(listed('checkSet', 'reap')) },
    { name: 'hitcount', value: number('hitCount', { hide: 0 }) },
    { name: 'rttl', value: present(listed('checkSet', 'ttl')), excludes: ['set', 'remove'] },
    { name: 'name', value: { ...text('name', 199), print: info => (info.name as string | undefined) ?? '' } },
    {
      name: 'mask',
      value: {
        words: 1,
        parse(info, [word], place) {
          const mask = parseAddress(word!, place);
          if (mask === undefined) throw guided(place, `bad value for option "--mask"`);
          info.mask = mask;
        },
        print(info, { family }) {
          const mask = (info.mask as string | undefined) ?? maskOf(0, family);
          return family === 'ipv4' && mask === NO_MASK ? maskOf(32, family) : mask;
        },
      },
    },
    {
      name: 'rsource',
      value: {
        words: 0,
        parse(info) {
          info.side = 'source';
        },
        print: info => (info.side === undefined || info.side === 'source' ? '' : undefined),
      },
      excludes: ['rdest'],
    },
    {
      name: 'rdest',
      value: {
        words: 0,
        parse(info) {
          info.side = 'destination';
        },
        print: info => (info.side === 'destination' ? '' : undefined),
      },
      excludes: ['rsource'],
    },
  ],
  check(_info, given) {
    if (!RECENT_VERBS.some(verb => given.has(verb)))
      throw incomplete("recent: you must specify one of `--set', `--rcheck' `--update' or `--remove'");
    if (given.has('reap') && !given.has('seconds'))
      throw new IptablesError('recent: option "--reap" also requires "--seconds".', {
        argument: '--reap',
        guided: true,
      });
  },
};

const WEEKDAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'];
const ALL_MONTHDAYS = 0xfffffffe;
const ALL_WEEKDAYS = 0xfe;
const DAY_SECONDS = 24 * 60 * 60;
const LAST_DATE = 0x7fffffff;

/** A date, of which all but the year may be left out. */
function parseDate(word: string, place: OptionPlace): number {
  const found = /^(\d{1,4})(?:-(\d{1,2})(?:-(\d{1,2})(?:T(\d{1,2})(?::(\d{1,2})(?::(\d{1,2}))?)?)?)?)?$/.exec(word);
  if (found === null)
    throw refused(place, `xt_time: Invalid date "${word}" specified. Should be YYYY[-MM[-DD[Thh[:mm[:ss]]]]]`);
  const [year, month = 1, day = 1, hour = 0, minute = 0, second = 0] = found
    .slice(1)
    .map(part => (part === undefined ? undefined : Number(part)));
  const time = Date.UTC(year!, month - 1, day, hour, minute, second) / 1000;
  if (
    year! < 1970 ||
    month > 12 ||
    day > 31 ||
    hour > 24 ||
    minute > 59 ||
    second > 59 ||
    time < 0 ||
    time > 0xffffffff
  )
    throw refused(place, `xt_time: Invalid date "${word}" specified. Should be YYYY[-MM[-DD[Thh[:mm[:ss]]]]]`);
  return time;
}

const printDate = (seconds: number): string => new Date(seconds * 1000).toISOString().slice(0, 19);

function parseDayTime(word: string, place: OptionPlace): number {
  const found = /^(\d{1,2}):(\d{1,2})(?::(\d{1,2}))?$/.exec(word);
  const [hours, minutes, seconds = 0] =
    found?.slice(1).map(part => (part === undefined ? undefined : Number(part))) ?? [];
  if (hours === undefined || hours > 23 || minutes! > 59 || seconds > 59)
    throw refused(
      place,
      `xt_time: invalid time "${word}" specified, should be hh:mm[:ss] format and within the boundaries`,
    );
  return hours * 3600 + minutes! * 60 + seconds;
}

const two = (value: number): string => String(value).padStart(2, '0');
const printDayTime = (seconds: number): string =>
  `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;

/** Days as bits: day n is bit n. The kernel has no inverted form, so the other days are set. */
function days(
  key: string,
  last: number,
  all: number,
  parseDay: (word: string, place: OptionPlace) => number,
  print: (day: number) => string,
): Value {
  return {
    words: 1,
    parse(info, [word], place) {
      let bits = 0;
      for (const part of word!.split(',')) bits |= 2 ** parseDay(part, place);
      info[key] = (place.inverted ? ~bits & all : bits) >>> 0;
    },
    print(info) {
      const bits = (info[key] as number | undefined) ?? 0;
      if (bits === all) return undefined;
      const list: string[] = [];
      for (let day = 1; day <= last; day++) if ((bits & (2 ** day)) !== 0) list.push(print(day));
      return list.join(',');
    },
  };
}

/** The value itself is the other days. */
const OTHERS = { set() {}, has: () => false };

const monthDays = days(
  'monthDays',
  31,
  ALL_MONTHDAYS,
  (word, place) => {
    const day = parseNumber(word, 31);
    if (day === undefined || day === 0) throw refused(place, `${word} is an invalid day of month`);
    return day;
  },
  String,
);
const weekDays = days(
  'weekDays',
  7,
  ALL_WEEKDAYS,
  (word, place) => {
    const begun = word.slice(0, 3);
    const named = begun.length < 2 ? -1 : WEEKDAYS.findIndex(name => name.startsWith(begun));
    const day = /^[1-7]$/.test(word) ? Number(word) : named + 1;
    if (day === 0) throw refused(place, `${word} is not a valid day specifier`);
    return day;
  },
  day => WEEKDAYS[day - 1]!,
);

const time: ExtensionRow = {
  name: 'time',
  revision: 0,
  initial: () => ({
    dateStart: 0,
    dateStop: LAST_DATE,
    daytimeStart: 0,
    daytimeStop: DAY_SECONDS - 1,
    monthDays: ALL_MONTHDAYS,
    weekDays: ALL_WEEKDAYS,
  }),
  options: [
    {
      name: 'timestart',
      value: {
        words: 1,
        parse(info, [word], place) {
          info.daytimeStart = parseDayTime(word!, place);
        },
        print: info => (isWholeDay(info) ? undefined : printDayTime((info.daytimeStart as number | undefined) ?? 0)),
      },
    },
    {
      name: 'timestop',
      value: {
        words: 1,
        parse(info, [word], place) {
          info.daytimeStop = parseDayTime(word!, place);
        },
        print: info => (isWholeDay(info) ? undefined : printDayTime((info.daytimeStop as number | undefined) ?? 0)),
      },
    },
    { name: 'monthdays', value: monthDays, invert: OTHERS },
    { name: 'weekdays', value: weekDays, invert: OTHERS },
    {
      name: 'datestart',
      value: {
        words: 1,
        parse(info, [word], place) {
          info.dateStart = parseDate(word!, place);
        },
        print: info => (info.dateStart ? printDate(info.dateStart as number) : undefined),
      },
    },
    {
      name: 'datestop',
      value: {
        words: 1,
        parse(info, [word], place) {
          info.dateStop = parseDate(word!, place);
        },
        print: info => printDate((info.dateStop as number | undefined) ?? 0),
      },
    },
    { name: 'kerneltz', value: present(listed('flags', 'local-time')), excludes: ['utc'] },
    { name: 'contiguous', value: present(listed('flags', 'contiguous')) },
    {
      name: 'utc',
      value: { words: 0, parse() {}, print: () => undefined },
      excludes: ['kerneltz'],
      hidden: true,
    },
  ],
  check(info) {
    const { daytimeStart = 0, daytimeStop = 0 } = info as Record<string, number | undefined>;
    if (listed('flags', 'contiguous').has(info) && daytimeStart < daytimeStop)
      throw incomplete('time: --contiguous only makes sense when stoptime is smaller than starttime');
  },
};

const isWholeDay = (info: Info): boolean => !info.daytimeStart && info.daytimeStop === DAY_SECONDS - 1;

export const RATE_MATCHES: readonly ExtensionRow[] = [limit, hashlimit, quota, statistic, recent, time];
