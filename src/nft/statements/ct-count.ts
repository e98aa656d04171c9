import { fieldsOf, wholeOf } from '../compile/json-fields.ts';
import { SCOPES } from '../data/scopes.ts';
import { defined } from '../json-object.ts';
import { T } from '../parse/tokens.ts';
import { Place } from '../tree.ts';
import { isInverted, type State } from './state.ts';

/* `ct count`, the kernel's connlimit: ends the rule while there are more connections than a number. */

/** Ends the rule while there are more connections than `val`; inverted, while there are not. */
export interface CtCount {
  /** The number of connections. */
  val: number;
  /** Ends the rule while there are not more. */
  inv?: boolean;
}

export interface CtCountStatement {
  kind: 'ct count';
  count: number;
  inverted: boolean;
}

export const CT_COUNT: State<CtCountStatement, 'connlimit'> = {
  expression: 'connlimit',
  compile(json, place) {
    const { val, inv = false } = fieldsOf(json, place);
    return { connlimit: { count: Number(wholeOf(val, new Place(place, 'val'))), flags: inv ? ['invert'] : [] } };
  },
  fromText(p) {
    const inv = p.acceptWord('over');
    if (!p.is(T.NUMBER)) p.unexpectedIn(SCOPES.ct, ...(inv ? ['number'] : ['number', 'over']));
    const val = p.number();
    return inv ? { val, inv } : { val };
  },
  read: ({ count, flags }) => ({ kind: 'ct count', count, inverted: isInverted(flags) }),
  text: ({ count, inverted }) => `ct count ${inverted ? 'over ' : ''}${count}`,
  json: ({ count, inverted }) => defined({ val: count, inv: inverted || undefined }),
};
