import { checkOneOf, checkString } from '../../codec/index.ts';
import { type Path, rangeError } from '../../errors.ts';
import { RECORD_LEVELS, type RecordLevel } from '../../nflog/sinks/records.ts';

/*
 * The comment of a log rule in the kernel:
 *   netsteer HASH FORMdigest level=LEVEL name=NAME
 * HASH identifies the rule: equal rules have the same. The digest is of the rule's content in the kernel, and tells whether somebody has
 * changed it. Level and name are those of its records, for which the kernel has no field.
 */
const MARK = 'netsteer ';
/** The version of the text that the digest is made from. Raise it when that text changes. */
const CONTENT_FORM = '1';
const HASH = 24;
const DIGEST = 8;
const FORM = /^(netsteer [0-9a-f]{24})(?:[0-9a-f]{8})?(?: (\d)([0-9a-f]{8}))?(?: level=([a-z]+))?(?: name=(.*))?$/s;
/** nft takes comments of 127 bytes. */
const MAX_NAME = 64;

/** The level and name of a rule's records, as its comment holds them. */
export interface LogLabels {
  level?: RecordLevel;
  name?: string;
}

/** The first bytes of the comment of each of our rules. */
export const COMMENT_MARK: Buffer = Buffer.from(MARK);

/** @throws TypeError, RangeError */
export function checkLabels({ level, name }: LogLabels, path: Path): void {
  if (level !== undefined) checkOneOf(level, [...path, 'level'], RECORD_LEVELS);
  if (name === undefined) return;
  checkString(name, [...path, 'name'], MAX_NAME);
  // nft prints comments in quotes, and cannot escape a quote.
  if (name === '' || /["\p{C}]/u.test(name))
    throw rangeError([...path, 'name'], `1 to ${MAX_NAME} bytes without quotes and control characters`, name);
}

/** The identity of a rule, with which its comment begins. `fields` are the fields of the rule without its labels. */
export function logName(fields: readonly unknown[], { level, name }: LogLabels): string {
  const labels = level === undefined && name === undefined ? [] : [level ?? '', name ?? ''];
  return MARK + hashOf(JSON.stringify([...fields, ...labels]), HASH);
}

/** The whole comment. `content` is the rule's content in the kernel; undefined if it differs between namespaces. */
export function logComment(name: string, labels: LogLabels, content: string | undefined): string {
  let comment = name;
  if (content !== undefined) comment += ` ${CONTENT_FORM}${hashOf(content, DIGEST)}`;
  if (labels.level !== undefined) comment += ` level=${labels.level}`;
  if (labels.name !== undefined) comment += ` name=${labels.name}`;
  return comment;
}

const hashOf = (text: string, length: number): string =>
  process.getBuiltinModule('node:crypto').createHash('sha256').update(text).digest('hex').slice(0, length);

/** The identity in a rule's comment; undefined if the comment is not ours. */
export const nameIn = (comment: string): string | undefined => FORM.exec(comment)?.[1];

/** Whether a rule of ours is unchanged, by its content in the kernel. False if another version of the digest's text was used. */
export function isIntact(comment: string, content: string): boolean {
  const [, , form, digest] = FORM.exec(comment) ?? [];
  return form !== CONTENT_FORM || digest === hashOf(content, DIGEST);
}

/** The labels in a comment; none if the comment is not ours. Others can write any comment, so the level is checked. */
export function labelsIn(comment: string): LogLabels {
  const [, , , , level, name] = FORM.exec(comment) ?? [];
  const known = RECORD_LEVELS.find(each => each === level);
  return {
    ...(known !== undefined && { level: known }),
    ...(name !== undefined && { name }),
  };
}
