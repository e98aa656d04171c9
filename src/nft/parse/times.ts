import { parseTime } from '../compile/parse-value.ts';
import type { Parser } from './parser.ts';
import { T } from './tokens.ts';

/** Reads a time such as `1d2h3m4s5ms`, in seconds. */
export function readSeconds(p: Parser): number {
  const { start } = p;
  if (!p.isString() && p.kind !== T.QUOTED) p.unexpected('string');
  const milliseconds = parseTime(p.text);
  p.next();
  return milliseconds === undefined ? p.fail('wrong time format', start) : milliseconds / 1000;
}
