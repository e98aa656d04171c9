import type { Info } from '../../nf_tables/xt/layout.ts';
import { type ExtensionRow, incomplete, type OptionPlace, refused, type Value } from '../extension.ts';
import { listed, parseNumber, present } from '../values.ts';

/* The match `time`: the date, the time and the day. */

const WEEKDAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'];
const ALL_MONTHDAYS = 0xfffffffe;
const ALL_WEEKDAYS = 0xfe;
const DAY_SECONDS = 24 * 60 * 60;
const LAST_DATE = 0x7fffffff;

/** A date, of which all but the year may be left out. */
function parseDate(word: string, place: OptionPlace): number {
  const found = /^(\d{1,4})(?:-(\d{1,2})(?:-(\d{1,2})(?:T(?:(\d{1,2})(?::(\d{1,2})(?::(\d{1,2}))?)?)?)?)?)?$/.exec(
    word,
  );
  if (found === null) throw refused(place, `Invalid date "${word}" specified. Should be YYYY[-MM[-DD[Thh[:mm[:ss]]]]]`);
  const [year, month = 1, day = 1, hour = 0, minute = 0, second = 0] = found
    .slice(1)
    .map(part => (part === undefined ? undefined : Number(part)));
  const time = Date.UTC(year!, month - 1, day, hour, minute, second) / 1000;
  if (
    year! < 1970 ||
    year! > 2038 ||
    month > 12 ||
    day > 31 ||
    hour > 23 ||
    minute > 59 ||
    second > 59 ||
    time < 0 ||
    time > 0xffffffff
  )
    throw refused(place, `Invalid date "${word}" specified. Should be YYYY[-MM[-DD[Thh[:mm[:ss]]]]]`);
  return time;
}

const printDate = (seconds: number): string => new Date(seconds * 1000).toISOString().slice(0, 19);

/** `hh:mm` or `hh:mm:ss`. The message has what is left from the part that is wrong. */
function parseDayTime(word: string, place: OptionPlace): number {
  const parts = word.split(':');
  const seconds = parts.slice(0, 3).reduce((sum, part, i) => {
    const value = /^\+?\d*$/.test(part) ? Number(part) : Number.NaN;
    if (!(value <= (i === 0 ? 23 : 59)) || parts.length < 2 || (i === 2 && parts.length > 3))
      throw refused(
        place,
        `invalid time "${parts.slice(i).join(':')}" specified, should be hh:mm[:ss] format and within the boundaries`,
      );
    return sum * 60 + value;
  }, 0);
  return parts.length === 2 ? seconds * 60 : seconds;
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
      for (const part of word === '' ? [] : word!.split(',')) bits |= (2 ** parseDay(part, place)) & all;
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
    // iptables looks at two letters of each day.
    const begun = word.slice(0, 2);
    const day = begun === '' ? 0 : parseNumber(begun, 31);
    if (day === undefined) throw refused(place, `${begun} is not a valid day for --monthdays`);
    return day;
  },
  String,
);
const weekDays = days(
  'weekDays',
  7,
  ALL_WEEKDAYS,
  (word, place) => {
    // iptables looks at three letters of each day. A number that is no day is none.
    const begun = word.slice(0, 3);
    const named = begun.length < 2 ? 0 : WEEKDAYS.findIndex(name => name.startsWith(begun)) + 1;
    const day = named > 0 ? named : begun === '' ? 0 : parseNumber(begun.replace('-', ''), 999);
    if (day === undefined) throw refused(place, `${begun} is not a valid day specifier`);
    if (day === 0) throw refused(place, 'No, the week does NOT begin with Sunday.');
    // C shifts by the lower five bits of a number.
    return (begun[0] === '-' ? -day : day) & 31;
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
    {
      name: 'localtz',
      value: {
        words: 0,
        parse(info, _words, { warnings }) {
          warnings.push(
            'WARNING: --localtz is being replaced by --kerneltz, since "local" is ambiguous. Note the kernel timezone has caveats - see manpage for details.',
          );
          listed('flags', 'local-time').set(info);
        },
        print: () => undefined,
      },
      excludes: ['utc'],
      hidden: true,
    },
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

export const TIME_MATCHES: readonly ExtensionRow[] = [time];
