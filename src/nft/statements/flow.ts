import { entryOf, fieldsOf } from '../compile/json-fields.ts';
import { emit } from '../compile/lower.ts';
import { T } from '../parse/tokens.ts';
import { Place, refuse } from '../tree.ts';
import type { Construct } from './construct.ts';
import { readFlowMeter } from './meter.ts';

/* `flow add`: lets a flowtable forward the rest of the connection. */

export interface FlowStatement {
  kind: 'flow';
  flowtable: string;
}

export const FLOW: Construct<FlowStatement, 'flow'> = {
  compile: {
    flow(e, json, place) {
      const { op, flowtable } = fieldsOf(json, place);
      entryOf({ add: true }, op, new Place(place, 'op'));
      if (typeof flowtable !== 'string' || !flowtable.startsWith('@'))
        throw refuse(new Place(place, 'flowtable'), "a flowtable's name: '@name'", flowtable);
      emit(e, { flow_offload: { flowtable: flowtable.slice(1) } });
    },
  },
  fromText: {
    flow(p, word) {
      if (p.isWord('table')) return readFlowMeter(p, word);
      if (!p.isWord('add') && !p.isWord('offload')) p.unexpected('add', 'offload');
      p.next();
      p.expect(T.AT);
      const { start } = p;
      const flow = { op: 'add', flowtable: `@${p.name()}` };
      p.note(flow, 'flowtable', start);
      return { flow };
    },
  },
  read: { flow_offload: (_, { flowtable }) => ({ kind: 'flow', flowtable }) },
  text: ({ flowtable }, { words }) => `flow add @${words.unwritable.name('flowtable', flowtable, words.dialect)}`,
  json: ({ flowtable }) => ({ flow: { op: 'add', flowtable: `@${flowtable}` } }),
};
