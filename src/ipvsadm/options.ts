import { rangeError } from '../errors.ts';
import { DESTINATION } from '../ip_vs/destination.ts';
import { SERVICE } from '../ip_vs/service.ts';

/* The words of a rule line and its options, as popt(3) reads them for ipvsadm (version 1.31). */

type Argument = 'none' | 'required' | 'optional';

/** Long name, short name, and whether an argument follows. */
type Option = readonly [long: string, short: string, argument: Argument];

/** Those of the settings are in the rows of their fields (ip_vs/service-rows.ts, ip_vs/destination-rows.ts). */
const SETTINGS: readonly Option[] = [...SERVICE.options, ...DESTINATION.options].map(
  ({ option, letter = '', argument }) => [option, letter, argument],
);
const OPTIONS: readonly Option[] = [
  ...SETTINGS,
  ['add-service', 'A', 'none'],
  ['edit-service', 'E', 'none'],
  ['delete-service', 'D', 'none'],
  ['clear', 'C', 'none'],
  ['add-server', 'a', 'none'],
  ['edit-server', 'e', 'none'],
  ['delete-server', 'd', 'none'],
  ['zero', 'Z', 'none'],
  ['set', '', 'none'],
  ['start-daemon', '', 'required'],
  ['stop-daemon', '', 'required'],
  ['tcp-service', 't', 'required'],
  ['udp-service', 'u', 'required'],
  ['sctp-service', '', 'required'],
  ['fwmark-service', 'f', 'required'],
  ['ipv6', '6', 'none'],
  ['real-server', 'r', 'required'],
  ['mcast-interface', '', 'required'],
  ['syncid', '', 'required'],
  ['sync-maxlen', '', 'required'],
  ['mcast-group', '', 'required'],
  ['mcast-port', '', 'required'],
  ['mcast-ttl', '', 'required'],
  // Options of this library, which `save()` writes for values that ipvsadm has no option for, or that -R would refuse or change.
  ['protocol-service', '', 'required'],
  ['forward', '', 'required'],
  ['tun-flags', '', 'required'],
  ['as-is', '', 'none'],
];

const BY_LONG = new Map(OPTIONS.map(([long, , argument]) => [long, { long, argument }]));
const BY_SHORT = new Map(
  OPTIONS.filter(([, short]) => short !== '').map(([long, short]) => [short, BY_LONG.get(long)!]),
);
const SHORT = new Map(OPTIONS.map(([long, short]) => [long, short === '' ? `--${long}` : `-${short}`]));

/** How messages call an option: -w, --tun-port. */
export const optionName = (long: string): string => SHORT.get(long) ?? `--${long}`;

/** The options of one line: the command is the first, positional words are left over. */
export interface Line {
  readonly command: string;
  /** By long name; '' for an option without an argument. */
  readonly options: ReadonlyMap<string, string>;
  readonly words: readonly string[];
}

/**
 * Splits a line into words. Quotes and backslashes work as in a shell, and a word that begins with # ends the line; ipvsadm itself knows
 * neither.
 */
export function splitLine(text: string): string[] {
  const words: string[] = [];
  let start = -1;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === SPACE || code === TAB) {
      if (start >= 0) words.push(text.slice(start, i));
      start = -1;
    } else if (code <= SPACE || code > TILDE || code === BACKSLASH || code === DOUBLE_QUOTE || code === SINGLE_QUOTE) {
      return splitCarefully(text);
    } else if (start < 0) {
      if (code === HASH) return words;
      start = i;
    }
  }
  if (start >= 0) words.push(text.slice(start));
  return words;
}

const [TAB, SPACE, DOUBLE_QUOTE, HASH, SINGLE_QUOTE, BACKSLASH, TILDE] = [0x09, 0x20, 0x22, 0x23, 0x27, 0x5c, 0x7e];

/** As above, with everything that a line may hold. */
function splitCarefully(text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    if (c === '\\' && quote !== "'") {
      if (++i >= text.length) throw rangeError([], 'a character behind the backslash', text);
      word = (word ?? '') + text[i]!;
    } else if (quote !== '') {
      if (c === quote) quote = '';
      else word += c;
    } else if (c === '"' || c === "'") {
      quote = c;
      word ??= '';
    } else if (/\s/.test(c)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (c === '#' && word === undefined) {
      break;
    } else {
      word = (word ?? '') + c;
    }
  }
  if (quote !== '') throw rangeError([], `a closing ${quote}`, text);
  if (word !== undefined) words.push(word);
  return words;
}

/** Reads the words of a line, which may begin with 'ipvsadm'; undefined for an empty line. */
export function readOptions(words: readonly string[]): Line | undefined {
  let at = 0;
  while (words[at] === 'ipvsadm') at++;
  if (at === words.length) return undefined;
  const options = new Map<string, string>();
  const positional: string[] = [];
  const take = (long: string, argument: Argument, attached: string | undefined): void => {
    let value = attached;
    if (argument === 'none') {
      if (value !== undefined) throw rangeError([optionName(long)], 'no argument', value);
      value = '';
    } else if (value === undefined) {
      const next = words[at];
      const optional = argument === 'optional' && (next === undefined || next.startsWith('-'));
      value = optional ? '' : words[at++];
      if (value === undefined) throw rangeError([optionName(long)], 'an argument', undefined);
    }
    if (options.has(long)) throw rangeError([optionName(long)], 'this option once', value);
    options.set(long, value);
  };
  while (at < words.length) {
    const next = words[at++]!;
    if (next.startsWith('--') && next.length > 2) {
      const equals = next.indexOf('=');
      const long = equals < 0 ? next.slice(2) : next.slice(2, equals);
      const option = BY_LONG.get(long);
      if (option === undefined) throw unknown(`--${long}`);
      take(long, option.argument, equals < 0 ? undefined : next.slice(equals + 1));
    } else if (next.startsWith('-') && next.length > 1) {
      readShort(next, take);
    } else {
      positional.push(next);
    }
  }
  const command = options.keys().next().value;
  if (command === undefined) throw rangeError([], 'a command such as -A', positional[0]);
  return { command, options, words: positional };
}

/** The short options of one word, behind its dash; the first that takes an argument takes what is left of it. */
function readShort(word: string, take: (long: string, argument: Argument, attached?: string) => void): void {
  for (let i = 1; i < word.length; i++) {
    const option = BY_SHORT.get(word[i]!);
    if (option === undefined) throw unknown(`-${word[i]}`);
    const { long, argument } = option;
    if (argument === 'none') {
      take(long, argument);
      continue;
    }
    const from = word[i + 1] === '=' ? i + 2 : i + 1;
    take(long, argument, from < word.length ? word.slice(from) : undefined);
    return;
  }
}

function unknown(option: string) {
  return rangeError([], 'an option that ipvsadm -R takes (this prints, or does not exist)', option);
}
