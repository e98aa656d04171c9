import { printable } from '../../errors.ts';
import type { Dialect } from '../data/dialects.ts';
import { isReserved, type NamedKind } from '../data/reserved.ts';
import type { InParts } from './in-parts.ts';

/* What nft's language cannot say: it has no escapes in quoted strings, and names are bare words that must not be its own. */

/** Bytes that nft takes for a comment; the kernel keeps up to 255 of a rule. */
const COMMENT_BYTES = 128;
/** The terminating NUL is one of the kernel's 128. */
const PREFIX_BYTES = 127;

/** Of one object; one would do. */
const REASONS = 4;

/** A point alone joins the parts of a key. */
const BARE_WORD = /^(?!\.$)[A-Za-z_.][A-Za-z0-9/_.-]*$/;
/** Two words that nft's scanner knows although they begin with a digit. */
const NUMBERED_WORDS: ReadonlySet<string> = /* @__PURE__ */ new Set(['8021q', '8021ad']);

/**
 * Collects, while a text is made, what the language cannot say. An object for which something was noted is printed as a comment, so that
 * no name and no value can become a command, or another rule, when somebody loads the text.
 */
export class Unwritable {
  #reasons: string[] = [];

  note(reason: string): void {
    if (this.#reasons.length < REASONS) this.#reasons.push(reason);
  }

  /** What was noted since the last call. */
  take(): string[] {
    const reasons = this.#reasons;
    if (reasons.length > 0) this.#reasons = [];
    return reasons;
  }

  /** nft 1.0.6 has no words for it. */
  newer(what: string, { hasNewerExpressions, version }: Dialect): void {
    if (!hasNewerExpressions) this.note(`${what}, which nft ${version} cannot read`);
  }

  /** A string between quotes: it may hold everything but a quote. What a terminal would obey is escaped, and then is another string. */
  quoted(text: string): string {
    if (!isQuotable(text)) this.note('a string that cannot be quoted');
    return `"${printable(text)}"`;
  }

  /** In prefixes of logs `$` begins the name of a variable, and nothing escapes it. */
  prefix(text: string): string {
    if (text.includes('$') || Buffer.byteLength(text) > PREFIX_BYTES) this.note('a prefix that cannot be written');
    return this.quoted(text);
  }

  /** The name of an object. One whose bytes are no text was left raw when it was read, and has no name here. */
  name(kind: NamedKind, name: string | undefined, dialect: Dialect): string {
    if (!isWritableName(kind, name, dialect)) this.note(`the name of a ${kind}`);
    return name === undefined ? '(no text)' : printable(name);
  }
}

/** Can it stand between quotes, and is it the same when it is read again? */
export function isQuotable(text: string): boolean {
  return !text.includes('"') && !text.includes('\ufffd') && printable(text) === text;
}

/** Can a rule or an object have this comment in nft's language? Where it cannot, it is told behind a `#`. */
export function isWritableComment(text: string): boolean {
  return isQuotable(text) && Buffer.byteLength(text) <= COMMENT_BYTES;
}

/** Can an object of this kind be declared and referred to by this name? */
export function isWritableName(kind: NamedKind, name: string | undefined, dialect: Dialect): boolean {
  if (name === undefined) return false;
  if (!BARE_WORD.test(name)) return NUMBERED_WORDS.has(name);
  return !isReserved(kind, name, dialect);
}

/** Lines as a comment, each. */
export function commentedOut(text: string): string {
  return text.replace(/^(\t*)(?!\t|# |$)/gm, '$1# ');
}

/** Characters of a text that are made a comment between two yields. */
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
