import type { Expression } from '../../nf_tables/expression.ts';
import type { Info } from '../../nf_tables/xt/layout.ts';
import { type ExtensionRow, guided, incomplete, type OptionRow, refused } from '../extension.ts';
import { parseHost } from '../option-hosts.ts';
import { flag, listed, maskOf, NO_MASK, number, parseBig, present, text } from '../values.ts';

/* Matches on rates, amounts and chances. */

const INVERT = flag('invert');
const UNITS: readonly (readonly [word: string, seconds: number, short: string])[] = [
  ['second', 1, 'sec'],
  ['minute', 60, 'min'],
  ['hour', 3600, 'hour'],
  ['day', 86400, 'day'],
];
/** The kernel counts the time between two packets in parts of a second: iptables rounds rates to that. */
const LIMIT_SCALE = 10000;
export const DEFAULT_BURST = 5;

/** `10/minute`: the rate and the seconds of its unit. The beginning of a unit's name is enough. */
export function parseRate(word: string): { rate: number; seconds: number } | undefined {
  const [rateText, unit, ...more] = word.split('/');
  const digits = /^\s*[-+]?\d+/.exec(rateText ?? '')?.[0];
  if (more.length > 0 || digits === undefined) return undefined;
  // C's atoi keeps 32 bits; a negative number is a very large one.
  const rate = Number(BigInt.asUintN(32, BigInt(digits)));
  if (unit === undefined) return { rate, seconds: 1 };
  const lower = unit.toLowerCase();
  const found = lower === '' ? undefined : UNITS.find(([name]) => name.startsWith(lower));
  return found === undefined ? undefined : { rate, seconds: found[1] };
}

/** The rate of a time between packets, in the unit that iptables chooses: the smallest before one that loses more than it says. */
export function rateOf(period: number, scale: number): { rate: number; seconds: number; word: string } {
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
      requires: ['packet'],
    },
    {
      name: 'packet',
      value: {
        ...number('packet'),
        print: info => (info.mode === 'nth' ? String((info.packet as number | undefined) ?? 0) : undefined),
      },
      excludes: ['probability'],
      requires: ['every'],
    },
  ],
  check(info, given) {
    if (info.mode !== 'nth' && !given.has('probability'))
      throw incomplete('--probability must be specified when using random mode');
    if (info.mode === 'nth' && !given.has('every') && !given.has('packet'))
      throw incomplete('--every and --packet must be specified when using nth mode');
    if (info.mode === 'nth' && ((info.packet as number | undefined) ?? 0) > ((info.every as number | undefined) ?? 0))
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
    { name: 'reap', value: present(listed('checkSet', 'reap')), requires: ['seconds'] },
    { name: 'hitcount', value: number('hitCount', { hide: 0 }) },
    { name: 'rttl', value: present(listed('checkSet', 'ttl')), excludes: ['set', 'remove'] },
    { name: 'name', value: { ...text('name', 200), print: info => (info.name as string | undefined) ?? '' } },
    {
      name: 'mask',
      value: {
        words: 1,
        parse(info, [word], place) {
          info.mask = parseHost(word!, place);
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
  },
};

export const RATE_MATCHES: readonly ExtensionRow[] = [limit, quota, statistic, recent];
