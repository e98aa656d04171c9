import { fieldsOf, wholeOf } from '../compile/json-fields.ts';
import { formatDuration } from '../decompile/format-value.ts';
import { readSeconds } from '../parse/times.ts';
import { Place } from '../tree.ts';
import { exactNumber, type State } from './state.ts';

/* `last`: remembers when the rule was last passed. */

/** Milliseconds since the rule was last passed; null if it never was. */
export type LastState = {
  /** How long ago the rule was last passed, in milliseconds. */
  used: number | bigint | null;
} | null;

export interface LastStatement {
  kind: 'last';
  seen: boolean;
  milliseconds: bigint;
}

export const LAST: State<LastStatement, 'last'> = {
  expression: 'last',
  compile(json, place) {
    const used = json === null || json === undefined ? null : (fieldsOf(json, place).used ?? null);
    if (used === null || used === -1) return { last: { seen: 0, milliseconds: 0n } };
    return { last: { seen: 1, milliseconds: wholeOf(used, new Place(place, 'used')) } };
  },
  fromText(p) {
    if (!p.acceptWord('used')) return null;
    if (p.acceptWord('never')) return null;
    return { used: readSeconds(p) * 1000 };
  },
  read: ({ seen = 0, milliseconds = 0n }) => ({ kind: 'last', seen: seen !== 0, milliseconds }),
  text({ seen, milliseconds }, { words, stateless }) {
    words.unwritable.newer('the time of the last packet', words.dialect);
    return stateless ? 'last' : `last used ${seen ? formatDuration(milliseconds) : 'never'}`;
  },
  json: ({ seen, milliseconds }, { stateless }) => (stateless || !seen ? null : { used: exactNumber(milliseconds) }),
};
