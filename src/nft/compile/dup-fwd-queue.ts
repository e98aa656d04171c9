import { type Datatype, TYPES } from '../data/datatypes.ts';
import { argument } from './argument.ts';
import type { Evaluator } from './ir.ts';
import { entryOf, fieldsOf, flagsOf } from './json-fields.ts';
import { registerNumber } from './linearize.ts';
import { emit, loaded, parse, single, step } from './lower.ts';
import { Place, refuse, type Term, type Value } from './term.ts';

/* Statements that send the packet, or a copy of it, elsewhere. */

const QUEUE_FLAGS = { bypass: 1, fanout: 2 } as const;

export function queue(e: Evaluator, json: unknown, place: Place): void {
  const fields = json === null || json === undefined ? {} : fieldsOf(json, place);
  const bits = flagsOf(QUEUE_FLAGS, fields.flags, new Place(place, 'flags'));
  const flags: ('bypass' | 'cpu-fanout')[] = [];
  if (bits & QUEUE_FLAGS.bypass) flags.push('bypass');
  if (bits & QUEUE_FLAGS.fanout) flags.push('cpu-fanout');
  const besides = flags.length > 0 ? { flags } : {};
  if (fields.num === undefined) {
    emit(e, { queue: { number: 0, total: 1, ...besides } });
    return;
  }
  const term = argument(
    e,
    parse(fields.num, place, 'num'),
    e.dialect.hasQueueType ? TYPES.queue : TYPES.integer,
    16,
    'host',
  );
  if (bits & QUEUE_FLAGS.fanout && term.kind !== 'range')
    throw refuse(place, 'a range of queues with fanout', fields.num);
  if (term.kind === 'range' || term.kind === 'value') {
    const first = Number((term.kind === 'range' ? (term.left as Value) : term).value);
    const last = Number((term.kind === 'range' ? (term.right as Value) : term).value);
    emit(e, { queue: { number: first, total: last - first + 1, ...besides } });
    return;
  }
  step(e, emitter => {
    const numberRegister = loaded(emitter, term);
    emitter.push({ queue: { numberRegister, ...besides } });
  });
}

function addressType(family: unknown, place: Place): Datatype {
  return entryOf({ ip: TYPES.ipv4_addr, ip6: TYPES.ipv6_addr }, family, place);
}

export function dup(e: Evaluator, json: unknown, place: Place): void {
  const fields = fieldsOf(json, place);
  const { family } = e.scope;
  const to = parse(fields.addr, place, 'addr');
  if (family === 'netdev') {
    const device = single(argument(e, to, TYPES.iface_index, 32, 'host'));
    step(e, emitter => emitter.push({ dup: { deviceRegister: loaded(emitter, device) } }));
    return;
  }
  const type = addressType(family, place);
  const address = single(argument(e, to, type, type.bits, 'big'));
  const device =
    fields.dev === undefined
      ? undefined
      : single(argument(e, parse(fields.dev, place, 'dev'), TYPES.iface_index, 32, 'host'));
  step(e, emitter => {
    const unit = emitter.take(address);
    emitter.load(address, unit);
    const deviceRegister = device === undefined ? undefined : loaded(emitter, device);
    emitter.release(address);
    emitter.push({
      dup: { addressRegister: registerNumber(unit), ...(deviceRegister !== undefined && { deviceRegister }) },
    });
  });
}

export function fwd(e: Evaluator, json: unknown, place: Place): void {
  const fields = fieldsOf(json, place);
  if (e.scope.family !== 'netdev') throw refuse(place, 'a rule of family netdev', e.scope.family);
  const device = single(argument(e, parse(fields.dev, place, 'dev'), TYPES.iface_index, 32, 'host'));
  const family = fields.addr === undefined ? undefined : (fields.family as 'ip');
  let address: Term | undefined;
  if (fields.addr !== undefined) {
    const type = addressType(fields.family, new Place(place, 'family'));
    address = single(argument(e, parse(fields.addr, place, 'addr'), type, type.bits, 'big'));
  }
  step(e, emitter => {
    const unit = emitter.take(device);
    emitter.load(device, unit);
    const addressRegister = address === undefined ? undefined : loaded(emitter, address);
    emitter.release(device);
    emitter.push({
      fwd: {
        deviceRegister: registerNumber(unit),
        ...(addressRegister !== undefined && { addressRegister }),
        ...(family !== undefined && { family }),
      },
    });
  });
}

export function flow(e: Evaluator, json: unknown, place: Place): void {
  const { op, flowtable } = fieldsOf(json, place);
  entryOf({ add: true }, op, new Place(place, 'op'));
  if (typeof flowtable !== 'string' || !flowtable.startsWith('@'))
    throw refuse(new Place(place, 'flowtable'), "a flowtable's name: '@name'", flowtable);
  emit(e, { flow_offload: { flowtable: flowtable.slice(1) } });
}
