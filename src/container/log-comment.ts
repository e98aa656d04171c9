import { createHash } from 'node:crypto';
import { checkOneOf, checkString } from '../codec/index.ts';
import { type Path, rangeError } from '../errors.ts';
import { RECORD_LEVELS, type RecordLevel } from '../nflog/records.ts';

/*
 * What a log rule is known by in the kernel, its comment: a hash of all that it says, so that equal rules are known as such, and what the kernel
 * has no place for: the level and the name of its records.
 */
const MARK = 'netsteer ';
const FORM = /^netsteer [0-9a-f]{32}(?: level=([a-z]+))?(?: name=(.*))?$/s;
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

/** `said` is all else that the rule says. */
export function logComment(said: readonly unknown[], { level, name }: LogLabels): string {
  const labels = level === undefined && name === undefined ? [] : [level ?? '', name ?? ''];
  const hash = createHash('sha256')
    .update(JSON.stringify([...said, ...labels]))
    .digest('hex')
    .slice(0, 32);
  return `${MARK}${hash}${level === undefined ? '' : ` level=${level}`}${name === undefined ? '' : ` name=${name}`}`;
}

/** What a comment says of a rule's records; nothing where it is not one of ours: others can write any. */
export function labelsIn(comment: string): LogLabels {
  const [, level, name] = FORM.exec(comment) ?? [];
  return {
    ...(RECORD_LEVELS.includes(level as RecordLevel) && { level: level as RecordLevel }),
    ...(name !== undefined && { name }),
  };
}
