import type { Info } from '../../nf_tables/xt/layout.ts';
import { type ExtensionRow, incomplete, type OptionRow, refused, type Value } from '../extension.ts';
import { listed, number, parseNumber, present, someOf } from '../values.ts';
import { cut, parseBounded } from './values.ts';

/* The targets with a state of their own in the kernel: connections, timers, lamps, estimators, clusters. */

const U32 = 0xffffffff;

const EVENTS = [
  'new',
  'related',
  'destroy',
  'reply',
  'assured',
  'protoinfo',
  'helper',
  'mark',
  'natseqinfo',
  'secmark',
];
const EXPECTATION_EVENTS = ['new'];

const events = (key: string, names: readonly string[]): Value =>
  someOf(key, Object.fromEntries(names.map(name => [name, name])), { bad: word => `Unknown event type "${word}"` });

const isNotrack = (info: Info): boolean => listed('flags', 'notrack-alias').has(info);

/** Which option saves the zone: that of both directions, or of one. */
function zoneOption(info: Info): string {
  const original = listed('flags', 'original').has(info);
  const reply = listed('flags', 'reply').has(info);
  return original === reply ? 'zone' : original ? 'zone-orig' : 'zone-reply';
}

const zone = (name: string, direction?: 'original' | 'reply'): OptionRow => ({
  name,
  value: {
    words: 1,
    parse(info, [text], place) {
      const number = text === 'mark' ? 0 : parseNumber(text!, 0xffff);
      if (number === undefined) throw refused(place, `Cannot parse ${text} as a zone ID`);
      if (text === 'mark') listed('flags', 'mark').set(info);
      else info.zone = number;
      if (direction !== undefined) listed('flags', direction).set(info);
    },
    print(info) {
      if (zoneOption(info) !== name) return undefined;
      if (listed('flags', 'mark').has(info)) return 'mark';
      return info.zone ? String(info.zone) : undefined;
    },
  },
});

const CT: ExtensionRow = {
  name: 'CT',
  revision: 2,
  aliases: ['NOTRACK'],
  initial: (_, word) => (word === 'NOTRACK' ? { flags: ['notrack', 'notrack-alias'] } : {}),
  word: info => (isNotrack(info) ? 'NOTRACK' : 'CT'),
  shows: (_, info) => !isNotrack(info),
  options: [
    { name: 'notrack', value: present(listed('flags', 'notrack')) },
    { name: 'helper', value: cut('helper', 16) },
    { name: 'timeout', value: cut('timeout', 32) },
    { name: 'ctevents', value: events('events', EVENTS) },
    { name: 'expevents', value: events('expectationEvents', EXPECTATION_EVENTS) },
    zone('zone'),
    zone('zone-orig', 'original'),
    zone('zone-reply', 'reply'),
  ],
};

const IDLETIMER: ExtensionRow = {
  name: 'IDLETIMER',
  revision: 1,
  options: [
    { name: 'timeout', value: number('timeout'), required: true },
    { name: 'label', value: cut('label', 28), required: true },
    { name: 'alarm', value: present(listed('flags', 'alarm')) },
  ],
};

const LED_PREFIX = 'netfilter-';

const LED: ExtensionRow = {
  name: 'LED',
  revision: 0,
  options: [
    {
      name: 'led-trigger-id',
      value: {
        words: 1,
        parse(info, [word], place) {
          if (Buffer.byteLength(word!) > 16)
            throw refused(place, 'Argument must have a maximum length of 16 characters\n');
          info.id = `${LED_PREFIX}${word}`;
        },
        print: info => `"${String(info.id ?? '').replace(LED_PREFIX, '')}"`,
      },
      required: true,
    },
    {
      name: 'led-delay',
      value: {
        words: 1,
        parse(info, [word], place) {
          const delay = word === 'inf' ? U32 : parseNumber(word!, U32);
          if (delay === undefined) throw refused(place, 'Delay value must be within range 0..4294967295');
          info.delay = delay;
        },
        print: info => (info.delay === U32 ? 'inf' : info.delay ? String(info.delay) : undefined),
      },
    },
    {
      name: 'led-always-blink',
      value: present({ set: info => (info.alwaysBlink = true), has: info => info.alwaysBlink === true }),
    },
  ],
};

/* RATEEST: the kernel knows powers of two of a quarter of a second, and of their number in the average. */

const SECOND = 1_000_000;
const MICROSECONDS: Readonly<Record<string, number>> = {
  s: SECOND,
  sec: SECOND,
  secs: SECOND,
  ms: 1000,
  msec: 1000,
  msecs: 1000,
  us: 1,
  usec: 1,
  usecs: 1,
  '': 1,
};

const duration = (key: string, what: string, print: (info: Info) => number): Value => ({
  words: 1,
  parse(info, [text], place) {
    const [, number, unit] = /^\s*([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[-+]?[0-9]+)?)(.*)$/i.exec(text!) ?? [];
    const name = unit?.toLowerCase();
    const factor = name !== undefined && Object.hasOwn(MICROSECONDS, name) ? MICROSECONDS[name] : undefined;
    if (number === undefined || factor === undefined) throw refused(place, `RATEEST: bad ${what} value "${text}"`);
    // C keeps the lower 32 bits, and none of what is larger than 64.
    const time = Math.trunc(Number(number) * factor);
    info[key] = Math.abs(time) < 2 ** 63 ? Number(BigInt.asUintN(32, BigInt(time))) : 0;
  },
  print: info => durationText(print(info)),
});

export const durationText = (microseconds: number): string => {
  if (microseconds >= SECOND) return `${(microseconds / SECOND).toFixed(1)}s`;
  return microseconds >= 1000 ? `${(microseconds / 1000).toFixed(1)}ms` : `${microseconds}us`;
};

/** What an interval of the structure lasts: a signed byte. */
export const rateestInterval = (info: Info): number =>
  (SECOND / 4) * 2 ** (((((info.interval as number | undefined) ?? 0) << 24) >> 24) + 2);
export const rateestAverage = (info: Info): number =>
  rateestInterval(info) * 2 ** ((info.ewmaLog as number | undefined) ?? 0);

const RATEEST: ExtensionRow = {
  name: 'RATEEST',
  revision: 0,
  // Microseconds, until all options are read.
  initial: () => ({ interval: 0, ewmaLog: 0 }),
  options: [
    { name: 'rateest-name', value: cut('name', 16), required: true },
    { name: 'rateest-interval', value: duration('interval', 'interval', rateestInterval) },
    { name: 'rateest-ewmalog', value: duration('ewmaLog', 'ewmalog', rateestAverage) },
  ],
  check(info) {
    const { interval, ewmaLog } = info as { interval: number; ewmaLog: number };
    let power = 0;
    while (power <= 5 && interval > (SECOND / 4) * 2 ** power) power++;
    if (power > 5) throw incomplete('RATEEST: interval value is too large');
    let log = 1;
    while (log < 32 && interval / -Math.log(1 - 1 / 2 ** log) <= ewmaLog) log++;
    log--;
    if (log === 0 || log >= 31) throw incomplete('RATEEST: ewmalog value is out of range');
    info.interval = (power - 2) & 0xff;
    info.ewmaLog = log;
  },
};

/* CLUSTERIP: until Linux 6.4. */

const isNew = listed('flags', 'new');

const ofNew =
  (print: (info: Info) => string | undefined): Value['print'] =>
  info =>
    isNew.has(info) ? print(info) : undefined;

const CLUSTERIP: ExtensionRow = {
  name: 'CLUSTERIP',
  revision: 0,
  families: ['ipv4'],
  initial: () => ({ nodes: new Array<number>(16).fill(0) }),
  options: [
    { name: 'new', value: present(isNew) },
    {
      name: 'hashmode',
      value: {
        words: 1,
        parse(info, [word], place) {
          if (!['sourceip', 'sourceip-sourceport', 'sourceip-sourceport-destport'].includes(word!))
            throw refused(place, `Unknown hashmode "${word}"`);
          info.hashMode = word;
        },
        print: ofNew(info => String(info.hashMode ?? 'sourceip')),
      },
    },
    {
      name: 'clustermac',
      value: {
        words: 1,
        parse(info, [word], place) {
          if (!/^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$/.test(word!))
            throw refused(place, 'Invalid MAC address specified.');
          const mac = word!.replaceAll(':', '').toLowerCase();
          if ((Number.parseInt(mac.slice(0, 2), 16) & 1) === 0)
            throw refused(place, 'MAC has to be a multicast ethernet address');
          info.mac = mac;
        },
        print: ofNew(info =>
          String(info.mac ?? '000000000000')
            .toUpperCase()
            .match(/../g)!
            .join(':'),
        ),
      },
    },
    {
      name: 'total-nodes',
      value: {
        words: 1,
        parse(info, [text], place) {
          info.totalNodes = parseBounded(text!, place, 0, 16);
        },
        print: ofNew(info => String(info.totalNodes ?? 0)),
      },
    },
    {
      name: 'local-node',
      value: {
        words: 1,
        parse(info, [text], place) {
          const node = parseBounded(text!, place, 0, 16);
          info.localNodes = 1;
          info.nodes = [node, ...new Array<number>(15).fill(0)];
        },
        print: ofNew(info => String((info.nodes as readonly number[])[0])),
      },
    },
    { name: 'hash-init', value: { ...number('hashInitial'), print: ofNew(info => String(info.hashInitial ?? 0)) } },
  ],
  check(_, given) {
    const complete = ['new', 'hashmode', 'clustermac', 'total-nodes', 'local-node'].every(name => given.has(name));
    if (given.size > 0 && !complete) throw incomplete('CLUSTERIP target: Invalid parameter combination');
  },
};

/* SET: the kernel knows sets of ipset by numbers, which are asked for when a rule is read or written. */

const SET_OPTIONS = ['add-set', 'del-set', 'map-set'] as const;

/** A set's name, and the directions of its dimensions. */
const setOf: Value = {
  words: 2,
  parse(_, [name], place) {
    throw refused(place, `Set ${name} doesn't exist.\n`);
  },
  print: () => undefined,
};

const SET: ExtensionRow = {
  name: 'SET',
  revision: 3,
  options: SET_OPTIONS.map(name => ({ name, value: setOf })),
  check(_, given) {
    if (given.size === 0) throw incomplete("You must specify either `--add-set' or `--del-set' or `--map-set'");
  },
};

export const STATE_TARGETS: readonly ExtensionRow[] = [CT, IDLETIMER, LED, RATEEST, CLUSTERIP, SET];
