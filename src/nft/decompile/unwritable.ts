import { printable } from '../../errors.ts';
import type { Dialect } from '../data/dialects.ts';
import { isReserved, type NamedKind } from '../data/reserved.ts';
import type { InParts } from './in-parts.ts';

/* The limits of nft's language: it has no escapes in quoted strings, and names are bare words that must not be keywords. */

/** The most bytes that nft accepts in a comment; the kernel keeps up to 255 of a rule. */
const COMMENT_BYTES = 128;
/** The kernel has room for 128 bytes with the NUL at the end. */
const PREFIX_BYTES = 127;

/** The most reasons that are kept for one object. */
const REASONS = 4;

/** A dot alone is no name: it joins the parts of a key. */
const BARE_WORD = /^(?!\.$)[A-Za-z_.][A-Za-z0-9/_.-]*$/;
/** Two words that nft's scanner accepts although they begin with a digit. */
const NUMBERED_WORDS: ReadonlySet<string> = /* @__PURE__ */ new Set(['8021q', '8021ad']);

/**
 * Collects the reasons why an object cannot be written while its text is made. An object with a reason is printed as a comment, so that no
 * name and no value can become a command, or another rule, when somebody loads the text.
 */
export class Unwritable {
  #reasons: string[] = [];

  note(reason: string): void {
    if (this.#reasons.length < REASONS) this.#reasons.push(reason);
  }

  /** The reasons since the last call. */
  take(): string[] {
    const reasons = this.#reasons;
    if (reasons.length > 0) this.#reasons = [];
    return reasons;
  }

  /** Notes something that nft 1.0.6 has no words for. */
  newer(what: string, { hasNewerExpressions, version }: Dialect): void {
    if (!hasNewerExpressions) this.note(`${what}, which nft ${version} cannot read`);
  }

  /** A string between quotes: it may hold everything but a quote. Control characters are escaped, which makes it another string. */
  quoted(text: string): string {
    if (!isQuotable(text)) this.note('a string that cannot be quoted');
    return `"${printable(text)}"`;
  }

  /** In prefixes of logs `$` begins the name of a variable, and there is no escape for it. */
  prefix(text: string): string {
    if (text.includes('$') || Buffer.byteLength(text) > PREFIX_BYTES) this.note('a prefix that cannot be written');
    return this.quoted(text);
  }

  /** The name of an object; undefined if its bytes are no text. */
  name(kind: NamedKind, name: string | undefined, dialect: Dialect): string {
    if (!isWritableName(kind, name, dialect)) this.note(`the name of a ${kind}`);
    return name === undefined ? '(no text)' : printable(name);
  }
}

/** Can nft read this string between quotes, and is it the same then? */
export function isQuotable(text: string): boolean {
  return !text.includes('"') && !text.includes('\ufffd') && printable(text) === text;
}

/** Can a rule or an object have this comment in nft's language? If not, the comment is shown behind a `#`. */
export function isWritableComment(text: string): boolean {
  return isQuotable(text) && Buffer.byteLength(text) <= COMMENT_BYTES;
}

/** Does nft accept this name for an object of this kind? */
export function isWritableName(kind: NamedKind, name: string | undefined, dialect: Dialect): boolean {
  if (name === undefined) return false;
  if (!BARE_WORD.test(name)) return NUMBERED_WORDS.has(name);
  return !isReserved(kind, name, dialect);
}

/** Each line becomes a comment. */
export function commentedOut(text: string): string {
  return text.replace(/^(\t*)(?!\t|# |$)/gm, '$1# ');
}

/** The characters that become a comment between two yields. */
const COMMENTED_AT_ONCE = 4096;

/** The same for a text that may be long: the elements of a large set. */
export function* commentedOutInParts(text: string): InParts<string> {
  let whole = '';
  for (let start = 0; start < text.length; ) {
    const newLine = text.indexOf('\n', start + COMMENTED_AT_ONCE);
    const end = newLine < 0 ? text.length : newLine + 1;
    whole += commentedOut(text.slice(start, end));
    start = end;
    yield;
  }
  return whole;
}
