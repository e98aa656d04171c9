import { classidEnd, ipv4End, ipv6End, isHex, macEnd } from './addresses.ts';
import type { Source } from './source.ts';
import { T, type TokenKind, WORD_SIGNS } from './tokens.ts';

/*
 * The scanner of nft's language. It reads one token at a time, by the codes of letters: a ruleset has millions of them. The longest token
 * counts, as in nft: `10.0.0.1-10.0.0.9` is three tokens, and `ftp-data` is one.
 */

/** What a letter may be: a table by its code. */
const [BLANK, DIGIT, LETTER, POINT, WITHIN] = [1, 2, 4, 8, 16];
const CLASSES = /* @__PURE__ */ classes();

function classes(): Uint8Array {
  const table = new Uint8Array(128);
  const put = (letters: string, bits: number) => {
    for (let i = 0; i < letters.length; i++) table[letters.charCodeAt(i)]! |= bits;
  };
  put(' \t', BLANK);
  put('0123456789', DIGIT | WITHIN);
  put('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_', LETTER | WITHIN);
  put('.', POINT | WITHIN);
  put('/-', WITHIN);
  return table;
}

const classOf = (code: number): number => (code < 128 ? CLASSES[code]! : 0);

/** Signs of one letter. */
const SIGNS = /* @__PURE__ */ signs();

function signs(): Uint8Array {
  const table = new Uint8Array(128).fill(T.JUNK);
  const kinds: Readonly<Record<string, TokenKind>> = {
    '\n': T.NEWLINE,
    ';': T.SEMICOLON,
    ':': T.COLON,
    ',': T.COMMA,
    '.': T.DOT,
    '/': T.SLASH,
    '-': T.DASH,
    '*': T.STAR,
    '@': T.AT,
    $: T.DOLLAR,
    '=': T.ASSIGN,
    '!': T.NOT,
    '{': T.LBRACE,
    '}': T.RBRACE,
    '(': T.LPAREN,
    ')': T.RPAREN,
    '[': T.LBRACKET,
    ']': T.RBRACKET,
    '<': T.LT,
    '>': T.GT,
    '&': T.AND,
    '|': T.OR,
    '^': T.XOR,
    '+': T.PLUS,
  };
  for (const sign in kinds) table[sign.charCodeAt(0)] = kinds[sign]!;
  return table;
}

const NEWLINE = 10;
const QUOTE = 34;
const HASH = 35;
const STAR = 42;
const COLON = 58;
const LESS = 60;
const EQUALS = 61;
const GREATER = 62;
const BRACKET = 91;
const BACKSLASH = 92;
const CLOSED_BRACKET = 93;
const ZERO = 48;
const LOWER_X = 120;
const UPPER_X = 88;
const MAXIMUM = 0xffffffffffffffffn;
/** A number of so many digits is exact in JavaScript. */
const SAFE_DIGITS = 15;
/** These begin with a digit, and are names of protocols all the same. */
const DIGIT_WORDS = ['8021ad', '8021q'];
/** Flags of the units that a time may have, in nft's order: a time has each once, the larger first. */
const UNITS = 'dhms';

/** A source whose rest is read later, when the included one is at its end. */
interface Pending {
  readonly source: Source;
  readonly at: number;
}

export class Scanner {
  /** The text that the current token stands in. */
  source: Source;
  #text: string;
  #at = 0;
  /** Behind this offset there is no newline. Kept, so that many `#` in the last line are not looked through again and again. */
  #lastLine = Number.POSITIVE_INFINITY;
  readonly #pending: Pending[] = [];

  /** The current token. */
  kind: TokenKind = T.EOF;
  /** Its text; of a quoted string and of an address in brackets what is inside. */
  text = '';
  /** The value of a number. Above 2^53 it is a bigint. */
  value: number | bigint = 0;
  /** The offset at which it begins. */
  start = 0;
  /** The offset behind it. */
  end = 0;

  constructor(source: Source) {
    this.source = source;
    this.#text = source.text;
  }

  /** How many sources are open. */
  get depth(): number {
    return this.#pending.length + 1;
  }

  /** Reads another text first, from the next token on. The current token must not have been read from behind this place. */
  protected enter(source: Source, resume: number): void {
    this.#pending.push({ source: this.source, at: resume });
    this.source = source;
    this.#text = source.text;
    this.#lastLine = Number.POSITIVE_INFINITY;
    this.#at = 0;
  }

  /** The text of the word behind the current token; undefined if it is no word. */
  peek(): string | undefined {
    const { kind, text, value, start, end, isAddress, source } = this;
    const at = this.#at;
    this.scan();
    // The end of an included text closes it: a look behind it must not.
    const found = this.source === source && this.kind === T.WORD ? this.text : undefined;
    if (this.source !== source) {
      this.#pending.push({ source: this.source, at: this.start });
      this.source = source;
      this.#text = source.text;
    }
    Object.assign(this, { kind, text, value, start, end, isAddress });
    this.#at = at;
    return found;
  }

  /** Goes on at another offset of this text, between two tokens. */
  goOnAt(offset: number): void {
    this.#at = offset;
    this.scan();
  }

  /** Reads the next token. */
  protected scan(): void {
    const text = this.#text;
    let at = this.#at;
    for (;;) {
      const code = text.charCodeAt(at);
      if (code === 32 || code === 9) {
        at++;
        continue;
      }
      this.start = at;
      const bits = classOf(code);
      if (bits & LETTER) {
        this.#word(at, code);
        return;
      }
      if (bits & DIGIT) {
        this.#digits(at, code);
        return;
      }
      if (code === HASH) {
        const end = at >= this.#lastLine ? -1 : text.indexOf('\n', at);
        if (end === -1) {
          this.#lastLine = at;
          this.#sign(T.JUNK, at + 1);
          return;
        }
        // A line with nothing but a comment has no newline either.
        at = this.#beginsLine(at) ? end + 1 : end;
        continue;
      }
      if (code === BACKSLASH) {
        if (text.charCodeAt(at + 1) === NEWLINE) {
          at += 2;
          continue;
        }
        if (text.charCodeAt(at + 1) === STAR) {
          this.#token(T.STAR_WORD, at + 2);
          return;
        }
        this.#sign(T.JUNK, at + 1);
        return;
      }
      if (at >= text.length) {
        const before = this.#pending.pop();
        if (before === undefined) {
          this.#at = at;
          this.end = at;
          this.kind = T.EOF;
          return;
        }
        this.source = before.source;
        this.#text = before.source.text;
        this.#lastLine = Number.POSITIVE_INFINITY;
        this.#at = before.at;
        this.scan();
        return;
      }
      this.#mark(at, code, bits);
      return;
    }
  }

  #token(kind: TokenKind, end: number): void {
    this.kind = kind;
    this.text = this.#text.slice(this.start, end);
    this.end = end;
    this.#at = end;
  }

  #sign(kind: TokenKind, end: number): void {
    this.kind = kind;
    this.end = end;
    this.#at = end;
  }

  #beginsLine(at: number): boolean {
    let before = at - 1;
    while (before >= 0 && classOf(this.#text.charCodeAt(before)) & BLANK) before--;
    return before < 0 || this.#text.charCodeAt(before) === NEWLINE;
  }

  #word(start: number, first: number): void {
    const text = this.#text;
    let end = start + 1;
    let code = text.charCodeAt(end);
    while (code < 128 && CLASSES[code]! & WITHIN) code = text.charCodeAt(++end);
    if (code === COLON && end - start <= 4 && isHex(first)) {
      const address = this.#address(start, end);
      if (address > end) {
        this.#token(T.WORD, address);
        this.isAddress = true;
        return;
      }
    }
    this.isAddress = false;
    if (code === STAR || (code === BACKSLASH && text.charCodeAt(end + 1) === STAR)) {
      this.#starWord(end, code);
      return;
    }
    this.#token(T.WORD, end);
    const length = end - start;
    if (length > 6) return;
    const sign = WORD_SIGNS.get(this.text);
    if (sign !== undefined) this.kind = sign;
  }

  /** The token is an address or a time, and no word that could be a name or a keyword. */
  isAddress = false;

  #starWord(end: number, code: number): void {
    const text = this.#text;
    if (code === STAR) {
      this.#token(T.STAR_WORD, end + 1);
      return;
    }
    let to = end + 2;
    if (classOf(text.charCodeAt(to)) & (LETTER | POINT)) while (classOf(text.charCodeAt(to)) & WITHIN) to++;
    this.#token(T.STAR_WORD, to);
  }

  /** The end of the longest of: link layer address, IPv6 address, traffic class. */
  #address(start: number, atLeast: number): number {
    const text = this.#text;
    return Math.max(atLeast, macEnd(text, start), ipv6End(text, start), classidEnd(text, start));
  }

  #digits(start: number, first: number): void {
    const text = this.#text;
    let end = start + 1;
    let code = text.charCodeAt(end);
    let number = first - ZERO;
    while (code >= 48 && code <= 57) {
      number = number * 10 + code - ZERO;
      code = text.charCodeAt(++end);
    }
    // Most numbers end here.
    if (code === 32 || code === NEWLINE || code === 44 || code === 125 || code === 45 || code === 47 || code === 59) {
      this.#number(start, end, first, number);
      return;
    }
    if (code === 46) {
      const address = ipv4End(text, start);
      if (address > end) {
        this.#token(T.WORD, address);
        this.isAddress = true;
        return;
      }
    } else if ((code === LOWER_X || code === UPPER_X) && first === ZERO && end === start + 1) {
      let to = end + 1;
      while (isHex(text.charCodeAt(to))) to++;
      if (to > end + 1) {
        this.#radix(to);
        return;
      }
    } else {
      let longest = end;
      let hex = end;
      while (hex - start <= 4 && isHex(text.charCodeAt(hex))) hex++;
      if (text.charCodeAt(hex) === COLON && hex - start <= 4) longest = this.#address(start, longest);
      longest = Math.max(longest, timeEnd(text, start));
      for (const word of DIGIT_WORDS)
        if (text.startsWith(word, start)) longest = Math.max(longest, start + word.length);
      if (longest > end) {
        this.#token(T.WORD, longest);
        this.isAddress = true;
        return;
      }
    }
    this.#number(start, end, first, number);
  }

  #number(start: number, end: number, first: number, number: number): void {
    if (first === ZERO && end > start + 1) {
      this.#radix(end);
      return;
    }
    if (end - start > SAFE_DIGITS) {
      this.#radix(end);
      return;
    }
    this.kind = T.NUMBER;
    this.value = number;
    this.end = end;
    this.#at = end;
  }

  /** A number that is octal, hexadecimal or large. Text that is no number, or one above 64 bits, is a string in nft. */
  #radix(end: number): void {
    this.#token(T.NUMBER, end);
    const { text } = this;
    const isOctal = /^0\d/.test(text);
    if (isOctal && /[89]/.test(text)) {
      this.kind = T.WORD;
      this.isAddress = true;
      return;
    }
    // A megabyte of digits is not worth a number.
    const value = text.length > 80 ? MAXIMUM + 1n : BigInt(isOctal ? `0o${text}` : text);
    if (value > MAXIMUM) {
      this.kind = T.WORD;
      this.isAddress = true;
      return;
    }
    this.value = value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
  }

  #mark(at: number, code: number, bits: number): void {
    const text = this.#text;
    const next = text.charCodeAt(at + 1);
    switch (code) {
      case QUOTE: {
        const end = text.indexOf('"', at + 1);
        if (end === -1) break;
        this.kind = T.QUOTED;
        this.text = text.slice(at + 1, end);
        this.end = end + 1;
        this.#at = end + 1;
        return;
      }
      case COLON: {
        const address = next === COLON ? ipv6End(text, at) : -1;
        if (address === -1) break;
        this.#token(T.WORD, address);
        this.isAddress = true;
        return;
      }
      case BRACKET: {
        const address = ipv6End(text, at + 1);
        if (address === -1 || text.charCodeAt(address) !== CLOSED_BRACKET) break;
        this.#sign(T.WORD, address + 1);
        this.text = text.slice(at + 1, address);
        this.isAddress = true;
        return;
      }
      case EQUALS:
        if (next !== EQUALS) break;
        this.#sign(T.EQ, at + 2);
        return;
      case 33:
        if (next !== EQUALS) break;
        this.#sign(T.NEQ, at + 2);
        return;
      case LESS:
        if (next !== EQUALS && next !== LESS) break;
        this.#sign(next === EQUALS ? T.LTE : T.LSHIFT, at + 2);
        return;
      case GREATER:
        if (next !== EQUALS && next !== GREATER) break;
        this.#sign(next === EQUALS ? T.GTE : T.RSHIFT, at + 2);
        return;
      default:
        if (bits & POINT && classOf(next) & WITHIN) {
          this.#word(at, code);
          return;
        }
    }
    const kind = code < 128 ? (SIGNS[code]! as TokenKind) : T.JUNK;
    this.#sign(kind, code > 0xffff ? at + 2 : at + 1);
    if (kind === T.JUNK) this.text = text.slice(at, this.end);
  }
}

/** The end of a time such as 1d2h3m4s5ms; -1 if there is none. */
function timeEnd(text: string, start: number): number {
  let at = start;
  let end = -1;
  let after = -1;
  for (;;) {
    let to = at;
    while (classOf(text.charCodeAt(to)) & DIGIT) to++;
    if (to === at) return end;
    const isMilliseconds = text.startsWith('ms', to);
    const unit = isMilliseconds ? UNITS.length : UNITS.indexOf(text.charAt(to) || 'x');
    if (unit <= after) return end;
    after = unit;
    at = to + (isMilliseconds ? 2 : 1);
    end = at;
    if (isMilliseconds) return end;
  }
}
