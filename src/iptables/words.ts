/* The words of a line of iptables-save: how they are split, and how they are quoted. */

/**
 * Splits a line at blanks. Double quotes keep blanks; inside of them a backslash takes the next character as it is. A closing quote ends the
 * word, and quotes that do not end go on to the end of the line.
 */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  const { length } = line;
  let at = 0;
  while (at < length) {
    const code = line.charCodeAt(at);
    if (code === SPACE || code === TAB || code === NEWLINE) {
      at++;
      continue;
    }
    const start = at;
    let next = code;
    while (next !== SPACE && next !== TAB && next !== NEWLINE && next !== QUOTE && at < length)
      next = line.charCodeAt(++at);
    if (next !== QUOTE || at >= length) {
      words.push(line.slice(start, at));
      continue;
    }
    let word = line.slice(start, at++);
    let from = at;
    for (; at < length; at++) {
      const inner = line.charCodeAt(at);
      if (inner === QUOTE) break;
      if (inner !== BACKSLASH) continue;
      word += line.slice(from, at);
      from = ++at;
    }
    word += line.slice(from, at);
    words.push(word);
    at++;
  }
  return words;
}

const SPACE = 0x20;
const TAB = 0x09;
const NEWLINE = 0x0a;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** A word as iptables-save writes it: in quotes, unless it has only letters, digits, `_` and `-`. */
export const quoted = (word: string): string => (/^[A-Za-z0-9_-]+$/.test(word) ? word : inQuotes(word));

/** A word in quotes, whatever it is. */
export const inQuotes = (word: string): string => `"${word.replace(/["'\\]/g, '\\$&')}"`;

export const isOption = (word: string): boolean => word.startsWith('-') || word.startsWith('!');
