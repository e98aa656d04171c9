import type { Machine } from '../machine/machine.ts';
import { EXPRESSIONS, initExpression, parseExpression, writeExpression } from './expressions/index.ts';
import { sizeOf } from './expressions/sizes.ts';
import type { Engine } from './expressions/type.ts';
import { takeObject } from './objects.ts';

/** The kernel around the expressions of a machine: what they need of clock, tables of routes and connections, and logs. */
export function engineOf(machine: Machine): Engine {
  const engine: Engine = {
    release: machine.release,
    get now() {
      return machine.state.now;
    },
    get wallClock() {
      return machine.wallClock;
    },
    notModelled: feature => machine.notModelled(feature),
    parse: parseExpression,
    init: initExpression,
    size: parsed => sizeOf(parsed, machine.release),
    read: (attributes, context) => initExpression(parseExpression(attributes, context), context),
    write: (expression, writer) => writeExpression(expression, writer, engine),
    run: (expression, run) => EXPRESSIONS.get(expression.name)!.run(expression, run),
    take: takeObject,
  };
  return engine;
}
