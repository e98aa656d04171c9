import { type InspectOptions, inspect } from 'node:util';
import { printableOutput } from './errors.ts';

/**
 * How a handle prints itself (`console.log`, util.inspect): its class and what tells it from others. Its sockets and queues are nothing that
 * a log should show.
 */
export function inspected(handle: object, facts: object, options: InspectOptions): string {
  // Bundlers give a class that names itself an underscore.
  const name = handle.constructor.name.replace(/^_/, '');
  return `${name} ${printableOutput(inspect(facts, options))}`;
}
