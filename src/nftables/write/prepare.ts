import { checkInteger, formatIPv4, formatIPv6, parseIPv6, placesOf, readIPv4 } from '../../codec/index.ts';
import { rangeError, typeError } from '../../errors.ts';
import type { EncodedMessage } from './encoded.ts';
import type { NewObject } from './new-objects.ts';
import { type TemplateValues, Transaction, type TransactionOperation } from './transaction.ts';

/** What a parameter of a prepared object is. */
export type ParameterType =
  | 'ipv4'
  | 'ipv6'
  /** 0 to 65535: a port, a group of NFLOG, a queue. */
  | 'port'
  | 'group'
  /** 0 to 2^32-1. */
  | 'mark'
  /** A prefix of the log, or a comment: at most so many bytes, for which room is kept. */
  | {
      /** The most bytes of the text. */
      text: number;
    };

type ValueOf<T extends ParameterType> = T extends 'ipv4' | 'ipv6' | { text: number } ? string : number;
type ValuesOf<P extends Record<string, ParameterType>> = { [K in keyof P]: ValueOf<P[K]> };

/** An object that was encoded once. */
export interface Prepared<P extends Record<string, ParameterType>> {
  /**
   * Adds it to a transaction with these values: as `transaction.add` would, for some 0.2 us.
   * @throws TypeError, RangeError with the parameter's name as the path
   */
  addTo(transaction: Transaction, values: ValuesOf<P>): Transaction;
  /** A transaction of nothing else. */
  transaction(values: ValuesOf<P>): Transaction;
}

/**
 * Encodes a rule or an element once, and then writes other values into copies of its bytes.
 * It is for thousands of containers that differ in an address, a port, a group or a prefix. `build` is called a few times, with sample values, to
 * find where each parameter stands; it must put them into the object as they are.
 * @param build makes the object of the parameters' values
 * @param parameters the name and the type of each parameter
 * @throws TypeError, RangeError what `transaction.add` throws; ERR_NOT_A_TEMPLATE where the object's form depends on a value, or a parameter
 * is not in it
 * @example
 * const rule = prepare(
 *   ({ address, port }) => ({
 *     rule: {
 *       family: 'ip',
 *       table: 'web',
 *       chain: 'prerouting',
 *       statements: [ip.daddr.eq(address), tcp.dport.eq(port), redirect({ to: 8080 })],
 *     },
 *   }),
 *   { address: 'ipv4', port: 'port' },
 * );
 * rule.addTo(tx, { address: '10.10.0.100', port: 80 });
 */
export function prepare<const P extends Record<string, ParameterType>>(
  build: (values: ValuesOf<P>) => NewObject,
  parameters: P,
): Prepared<P> {
  if (typeof build !== 'function') throw typeError(['build'], 'a function', build);
  if (typeof parameters !== 'object' || parameters === null) throw typeError(['parameters'], 'an object', parameters);
  const fields = Object.entries(parameters).map(([name, type]) => fieldOf(name, type));
  const encode = (which: (field: Field) => number) => {
    const values = Object.fromEntries(fields.map(field => [field.name, field.samples[which(field)]!]));
    return encodeOne(() => build(values as ValuesOf<P>));
  };
  const first = encode(() => 0);
  const offsets = fields.flatMap(field => {
    const other = encode(each => (each === field ? 1 : 0));
    return offsetsOf(field, first.bytes, other.bytes).map(offset => ({ field, ...offset }));
  });
  const template = new PreparedObject<P>(build, first, fields, offsets);
  template.check(encode(() => 2).bytes, Object.fromEntries(fields.map(({ name, samples }) => [name, samples[2]!])));
  return template;
}

interface Encoded {
  readonly bytes: Uint8Array;
  readonly message: EncodedMessage;
  readonly kind: NewObjectKind;
}
type NewObjectKind = TransactionOperation['kind'];

/** Where one parameter stands in the bytes, and in which order. */
interface ParameterOffset {
  readonly field: Field;
  readonly at: number;
  readonly littleEndian: boolean;
}

/** A parameter: how its values become bytes, and samples that differ from each other in every byte. */
interface Field {
  readonly name: string;
  readonly length: number;
  readonly samples: readonly (string | number)[];
  /** Writes a value's bytes, in network order; throws for what is none. */
  write(value: unknown, into: Uint8Array, at: number): void;
}

/** The object itself is wanted only where something went wrong: it is built then. */
class PreparedOperation<P extends Record<string, ParameterType>> implements TransactionOperation {
  readonly verb = 'add';
  readonly kind: NewObjectKind;
  readonly #build: (values: ValuesOf<P>) => NewObject;
  readonly #values: ValuesOf<P>;

  constructor(kind: NewObjectKind, build: (values: ValuesOf<P>) => NewObject, values: ValuesOf<P>) {
    this.kind = kind;
    this.#build = build;
    this.#values = values;
  }

  get subject(): object {
    return this.#build(this.#values);
  }
}

class PreparedObject<P extends Record<string, ParameterType>> implements Prepared<P>, TemplateValues {
  readonly #build: (values: ValuesOf<P>) => NewObject;
  readonly #encoded: Encoded;
  readonly #fields: readonly Field[];
  readonly #offsets: readonly ParameterOffset[];

  constructor(
    build: (values: ValuesOf<P>) => NewObject,
    encoded: Encoded,
    fields: readonly Field[],
    offsets: readonly ParameterOffset[],
  ) {
    this.#build = build;
    this.#encoded = encoded;
    this.#fields = fields;
    this.#offsets = offsets;
  }

  addTo(transaction: Transaction, values: ValuesOf<P>): Transaction {
    const { bytes, message, kind } = this.#encoded;
    return transaction.append(new PreparedOperation(kind, this.#build, values), bytes, message, this, values);
  }

  transaction(values: ValuesOf<P>): Transaction {
    return this.addTo(new Transaction(), values);
  }

  fill(into: Uint8Array, start: number, values: Readonly<Record<string, unknown>>): void {
    for (let i = 0; i < this.#offsets.length; i++) {
      const { field, at, littleEndian } = this.#offsets[i]!;
      field.write(values[field.name], into, start + at);
      if (littleEndian) into.subarray(start + at, start + at + field.length).reverse();
    }
  }

  /** The template must give, for other values, what encoding the object gives. */
  check(expected: Uint8Array, values: Readonly<Record<string, unknown>>): void {
    const filled = this.#encoded.bytes.slice();
    this.fill(filled, 0, values);
    if (Buffer.compare(filled, expected) !== 0) throw noTemplate(this.#fields.map(({ name }) => name).join(', '));
  }
}

/** The message of an object by itself. */
function encodeOne(build: () => NewObject): Encoded {
  const transaction = new Transaction().add(build());
  const encoded = transaction.encode();
  const { messages, unresolved } = encoded;
  const message = messages.at(0);
  if (message === undefined || messages.length !== 1 || unresolved.length > 0)
    throw rangeError(
      [],
      'an object of one message: sets and elements of a known type, rules without sets of their own',
      messages.length,
      'ERR_NOT_A_TEMPLATE',
    );
  return { bytes: encoded.bytesOf(message).slice(), message, kind: transaction.operations[0]!.kind };
}

/** Where a parameter stands in two encodings that differ in its sample alone, and in which byte order. */
function offsetsOf(field: Field, first: Uint8Array, second: Uint8Array): { at: number; littleEndian: boolean }[] {
  const places = placesOf(first, second, field.length) ?? [];
  if (places.length === 0) throw noTemplate(field.name);
  const forward = new Uint8Array(field.length);
  field.write(field.samples[0], forward, 0);
  const backward = forward.slice().reverse();
  return places.map(at => {
    const found = first.subarray(at, at + field.length);
    const littleEndian = Buffer.compare(found, forward) !== 0;
    if (littleEndian && Buffer.compare(found, backward) !== 0) throw noTemplate(field.name);
    return { at, littleEndian };
  });
}

function noTemplate(name: string): Error {
  return rangeError([name], 'a parameter that stands in the object as it is', undefined, 'ERR_NOT_A_TEMPLATE');
}

function fieldOf(name: string, type: ParameterType): Field {
  switch (type) {
    case 'ipv4':
      return {
        name,
        length: 4,
        samples: [
          [1, 2, 3, 4],
          [129, 130, 131, 132],
          [65, 66, 67, 68],
        ].map(b => formatIPv4(Uint8Array.from(b))),
        write: writeIPv4(name),
      };
    case 'ipv6': {
      const sample = (from: number) => formatIPv6(Uint8Array.from({ length: 16 }, (_, i) => from + i));
      return { name, length: 16, samples: [sample(1), sample(129), sample(65)], write: writeIPv6(name) };
    }
    case 'port':
    case 'group':
      return { name, length: 2, samples: [0x0102, 0x8182, 0x4142], write: writeInteger(name, 2) };
    case 'mark':
      return { name, length: 4, samples: [0x01020304, 0x81828384, 0x41424344], write: writeInteger(name, 4) };
    default: {
      const length = checkInteger(type?.text, [name, 'text'], 1, 255);
      return {
        name,
        length,
        samples: ['a', 'b', 'c'].map(letter => letter.repeat(length)),
        write: writeText(name, length),
      };
    }
  }
}

const writeIPv4 =
  (name: string): Field['write'] =>
  (value, into, at) => {
    if (typeof value !== 'string') throw typeError([name], 'an IPv4 address', value);
    if (!readIPv4(value, into, at)) throw rangeError([name], 'an IPv4 address', value, 'ERR_INVALID_ADDRESS');
  };

const writeIPv6 =
  (name: string): Field['write'] =>
  (value, into, at) => {
    if (typeof value !== 'string') throw typeError([name], 'an IPv6 address', value);
    const bytes = parseIPv6(value);
    if (bytes === undefined) throw rangeError([name], 'an IPv6 address', value, 'ERR_INVALID_ADDRESS');
    into.set(bytes, at);
  };

const writeInteger = (name: string, length: 2 | 4): Field['write'] => {
  const max = length === 2 ? 0xffff : 0xffffffff;
  return (value, into, at) => {
    const number = checkInteger(value, [name], 0, max);
    for (let i = 0; i < length; i++) into[at + i] = number >>> (8 * (length - 1 - i));
  };
};

/** What is shorter is filled up with NULs: the kernel takes texts up to the first one. */
const writeText =
  (name: string, length: number): Field['write'] =>
  (value, into, at) => {
    if (typeof value !== 'string') throw typeError([name], 'a string', value);
    if (value === '' || value.includes('\0') || Buffer.byteLength(value) > length)
      throw rangeError([name], `1 to ${length} bytes without NUL`, value);
    into.fill(0, at, at + length);
    new TextEncoder().encodeInto(value, into.subarray(at, at + length));
  };
