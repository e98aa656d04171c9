import { emit, parse } from '../compile/lower.ts';
import { nodeJson } from '../decompile/to-json.ts';
import { nodeText } from '../decompile/to-text.ts';
import { exthdr } from '../expressions/exthdr.ts';
import { type Node, refuse } from '../tree.ts';
import type { Construct } from './construct.ts';

/* `reset`: takes an option out of the TCP header. */

export interface ResetStatement {
  kind: 'reset';
  target: Node;
}

export const RESET: Construct<ResetStatement, 'reset'> = {
  compile: {
    reset(e, json, place) {
      const term = parse(json, place);
      if (term.kind !== 'exthdr' || term.op !== 'tcp') throw refuse(place, 'a TCP option', json);
      emit(e, { exthdr: { type: term.number, op: 'tcp' } });
    },
  },
  fromText: {
    reset(p) {
      p.expectWord('tcp');
      p.expectWord('option');
      return { reset: p.grammar.expressions.get('tcp option')!(p, 'tcp') };
    },
  },
  read: {
    exthdr: (registers, expression) =>
      expression.register === undefined && expression.sourceRegister === undefined
        ? { kind: 'reset', target: { ...exthdr.read(expression, registers), present: true } }
        : undefined,
  },
  text: ({ target }, options) => `reset ${nodeText(target, options)}`,
  json: ({ target }, options) => ({ reset: nodeJson(target, options) }),
};
