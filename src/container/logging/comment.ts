import { createHash } from 'node:crypto';
import { checkOneOf, checkString } from '../../codec/index.ts';
import { type Path, rangeError } from '../../errors.ts';
import { RECORD_LEVELS, type RecordLevel } from '../../nflog/sinks/records.ts';

/*
 * What a log rule is known by in the kernel, its comment: a hash of all that it says, so that equal rules are known as such; a digest of what the kernel has
 * of it, by which it is known that nobody has changed it; and what the kernel has no place for: the level and the name of its records.
 */
const MARK = 'netsteer ';
/** How the content is written down for its digest: another figure, once that changes. */
const CONTENT_FORM = '1';
const HASH = 24;
const DIGEST = 8;
const FORM = /^(netsteer [0-9a-f]{24})(?:[0-9a-f]{8})?(?: (\d)([0-9a-f]{8}))?(?: level=([a-z]+))?(?: name=(.*))?$/s;
/** nft takes comments of 127 bytes. */
const MAX_NAME = 64;

/** What is in a rule's comment besides its hash. */
export interface LogLabels {
  level?: RecordLevel;
  name?: string;
}

/** Bytes that the comment of each of our rules begins with. */
export const COMMENT_MARK: Buffer = Buffer.from(MARK);

/** @throws TypeError, RangeError */
export function checkLabels({ level, name }: LogLabels, path: Path): void {
  if (level !== undefined) checkOneOf(level, [...path, 'level'], RECORD_LEVELS);
  if (name === undefined) return;
  checkString(name, [...path, 'name'], MAX_NAME);
  // nft prints comments in quotes and cannot escape what would end them.
  if (name === '' || /["\p{C}]/u.test(name))
    throw rangeError([...path, 'name'], `1 to ${MAX_NAME} bytes without quotes and control characters`, name);
}

/** A rule's name in the kernel, with which its comment begins: `said` is all that it says besides its labels. */
export function logName(said: readonly unknown[], { level, name }: LogLabels): string {
  const labels = level === undefined && name === undefined ? [] : [level ?? '', name ?? ''];
  return MARK + hashOf(JSON.stringify([...said, ...labels]), HASH);
}

/** `content` is what the kernel has of the rule, where that is the same in each namespace. */
export function logComment(name: string, labels: LogLabels, content: string | undefined): string {
  let comment = name;
  if (content !== undefined) comment += ` ${CONTENT_FORM}${hashOf(content, DIGEST)}`;
  if (labels.level !== undefined) comment += ` level=${labels.level}`;
  if (labels.name !== undefined) comment += ` name=${labels.name}`;
  return comment;
}

const hashOf = (text: string, length: number): string =>
  createHash('sha256').update(text).digest('hex').slice(0, length);

/** The name in a rule's comment; undefined where it is none of ours. */
export const nameIn = (comment: string): string | undefined => FORM.exec(comment)?.[1];

/** Whether a rule of ours is as it was made, by what the kernel has of it. What another version has written down cannot be compared. */
export function isIntact(comment: string, content: string): boolean {
  const [, , form, digest] = FORM.exec(comment) ?? [];
  return form !== CONTENT_FORM || digest === hashOf(content, DIGEST);
}

/** What a comment says of a rule's records; nothing where it is not one of ours: others can write any. */
export function labelsIn(comment: string): LogLabels {
  const [, , , , level, name] = FORM.exec(comment) ?? [];
  return {
    ...(RECORD_LEVELS.includes(level as RecordLevel) && { level: level as RecordLevel }),
    ...(name !== undefined && { name }),
  };
}
