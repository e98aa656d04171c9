import { fieldsOf, wholeOf } from '../compile/json-fields.ts';
import { SCOPES } from '../data/scopes.ts';
import { Place } from '../tree.ts';
import { exactNumber, type State } from './state.ts';

/* `counter`: counts packets and bytes. */

/** The counted packets and bytes. */
export interface CounterState {
  /** Packets so far. */
  packets: number | bigint;
  /** Bytes so far. */
  bytes: number | bigint;
}

export interface CounterStatement {
  kind: 'counter';
  packets: bigint;
  bytes: bigint;
}

export const COUNTER: State<CounterStatement, 'counter'> = {
  expression: 'counter',
  compile(json, place) {
    if (json === null || json === undefined) return { counter: {} };
    const fields = fieldsOf(json, place);
    const bytes = wholeOf(fields.bytes ?? 0, new Place(place, 'bytes'));
    const packets = wholeOf(fields.packets ?? 0, new Place(place, 'packets'));
    return { counter: { ...(bytes !== 0n && { bytes }), ...(packets !== 0n && { packets }) } };
  },
  fromText(p, isOfElement = false) {
    const state: { packets: number | bigint; bytes: number | bigint } = { packets: 0, bytes: 0 };
    const outer = p.scope;
    p.scope = SCOPES.counter;
    if (isOfElement && p.acceptWord('packets')) {
      state.packets = p.number();
      p.expectWord('bytes');
      state.bytes = p.number();
    }
    while (!isOfElement && (p.isWord('packets') || p.isWord('bytes'))) {
      const name = p.text as keyof CounterState;
      p.next();
      state[name] = p.number();
    }
    p.hold(SCOPES.counter);
    p.scope = outer;
    return state;
  },
  read: ({ packets = 0n, bytes = 0n }) => ({ kind: 'counter', packets, bytes }),
  text: ({ packets, bytes }, { stateless }) => (stateless ? 'counter' : `counter packets ${packets} bytes ${bytes}`),
  json: ({ packets, bytes }, { stateless }) =>
    stateless ? null : { packets: exactNumber(packets), bytes: exactNumber(bytes) },
};
