import { inspect } from 'node:util';
import { printableOutput } from './errors.ts';

/** Names the method by which Node prints an object. The symbol is global, so declarations need no types of Node. */
export const PRINTED: unique symbol = /* @__PURE__ */ Symbol.for('nodejs.util.inspect.custom');

/**
 * The printed form of a handle (`console.log`, util.inspect): its class and a few facts that identify it. Sockets and queues are left out.
 */
export function inspected(handle: object, facts: object, options: object): string {
  // Bundlers put an underscore before the name of a class that refers to itself.
  const name = handle.constructor.name.replace(/^_/, '');
  return `${name} ${printableOutput(inspect(facts, options))}`;
}
