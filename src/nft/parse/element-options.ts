import type { JsonObject } from '../json-object.ts';
import type { Parser } from './parser.ts';
import { readSeconds } from './times.ts';
import { T } from './tokens.ts';

/* What may stand behind an element of a set: states, a timeout, a comment. */

/** The fields of an object have got into another one. */
export function copyNotes({ places }: Parser, from: JsonObject | undefined, to: JsonObject): void {
  if (places === undefined || from === undefined) return;
  for (const name in from) {
    const span = places.get(from, name);
    if (span !== undefined) places.set(to, name, span);
  }
}

/** The states and options of an element. */
export function attachments(p: Parser): JsonObject | undefined {
  let found: JsonObject | undefined;
  while (p.kind === T.WORD) {
    const { start } = p;
    const more = attachment(p);
    if (more === undefined) return found;
    for (const name in more) p.note(more, name, start);
    const before = found;
    found = { ...before, ...more };
    for (const part of [before, more]) copyNotes(p, part, found);
  }
  return found;
}

function attachment(p: Parser): JsonObject | undefined {
  switch (p.text) {
    case 'timeout':
    case 'expires': {
      const { text } = p;
      p.next();
      return { [text]: p.dialect.hasElementTimeoutNever && p.acceptWord('never') ? 0 : readSeconds(p) };
    }
    case 'comment':
      p.next();
      return { comment: p.string() };
    default:
      return p.grammar.state(p, true);
  }
}
