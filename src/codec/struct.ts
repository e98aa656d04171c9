import { type Path, typeError, within } from '../errors.ts';
import type { Context, Infer, Lengths, Type } from './types.ts';
import { NO_CONTEXT } from './types.ts';
import type { Source } from './wire.ts';
import type { Writer } from './writer.ts';

/** The members of a structure, in their order: each with its size in bytes and its type. */
// biome-ignore lint/suspicious/noExplicitAny: members are of every type
export type Members = Record<string, readonly [size: number, type: Type<any>]>;
/** The object that a structure describes. Named in the declarations, so that the members' documentation is there. */
export type StructShape<M extends Members> = { -readonly [K in keyof M]: Infer<M[K][1]> };

/** A member of a structure, where it stands. */
export interface Member {
  /** The member's name. */
  readonly key: string;
  /** Where it begins, in bytes. */
  readonly offset: number;
  /** Its size in bytes. */
  readonly size: number;
  /** The type that reads and writes it. */
  readonly type: Type<unknown>;
}

interface Layout {
  readonly members: readonly Member[];
  readonly size: number;
  readonly lengths: Lengths | undefined;
}

/**
 * A C structure of fixed layout. The members follow each other as declared. A leading underscore in a name makes the member padding: zeros.
 * @example
 * const timespec = struct('timespec', { seconds: [4, U32_NE], nanoseconds: [4, U32_NE] });
 */
export class Struct<T> implements Type<T> {
  /** Marks it as a structure. */
  readonly kind = 'struct';
  /** The name in C, for example 'ifinfomsg'. native/linux compares sizes and offsets by it. */
  readonly name: string;
  readonly #declared: Members;
  #laidOut: Layout | undefined;

  constructor(name: string, members: Members) {
    this.name = name;
    this.#declared = members;
  }

  /** Its size in bytes. */
  get size(): number {
    return (this.#laidOut ?? this.#layOut()).size;
  }

  /** The lengths that `read` takes. A newer kernel may have a longer structure. Undefined if the bytes of a member may be no value. */
  get lengths(): Lengths | undefined {
    return (this.#laidOut ?? this.#layOut()).lengths;
  }

  /** The members, with their offsets and sizes in bytes. */
  get members(): readonly Member[] {
    return (this.#laidOut ?? this.#layOut()).members;
  }

  /** At the first use, as the rows of a table. */
  #layOut(): Layout {
    let offset = 0;
    const members = Object.entries(this.#declared).map(([key, [size, type]]) => {
      const member = { key, offset, size, type };
      offset += size;
      return member;
    });
    const takesAll = members.every(
      ({ size, type: { lengths } }) => lengths && lengths.min <= size && size <= lengths.max,
    );
    this.#laidOut = { members, size: offset, lengths: takesAll ? { min: offset, max: 0xffff } : undefined };
    return this.#laidOut;
  }

  /**
   * Writes the members, in the order of their declaration.
   * @param writer the writer that they go to
   * @param value the object
   * @param context the surroundings that the members' types depend on
   * @throws TypeError, RangeError a member is missing, not known or out of range; the error has its path
   * @example
   * struct('timespec', { seconds: [4, U32_NE] }).write(writer, { seconds: 1 });
   */
  write(writer: Writer, value: T, context: Context = NO_CONTEXT): void {
    if (typeof value !== 'object' || value === null) throw typeError([], 'an object', value);
    for (const { key, size, type } of this.members) {
      const item = (value as Record<string, unknown>)[key];
      if (key.startsWith('_')) {
        writer.zeros(size);
        continue;
      }
      try {
        type.write(writer, item, context);
      } catch (error) {
        throw within(error, [key]);
      }
    }
  }

  /**
   * Reads the structure. Returns undefined if there are fewer bytes than its members need.
   * @param source the bytes of the message
   * @param start where the structure begins
   * @param end where it ends
   * @param context the surroundings that the members' types depend on
   * @example
   * console.log(struct('timespec', { seconds: [4, U32_NE] }).read(source, 0, 4)?.seconds);
   */
  read(source: Source, start: number, end: number, context: Context = NO_CONTEXT): T | undefined {
    if (end - start < this.size) return undefined;
    const value: Record<string, unknown> = {};
    for (const { key, offset, size, type } of this.members) {
      if (key.startsWith('_')) continue;
      const item = type.read(source, start + offset, start + offset + size, context);
      if (item === undefined) return undefined;
      value[key] = item;
    }
    return value as T;
  }

  /**
   * Returns the path of the member at an offset.
   * @param _source not used, because the layout is fixed
   * @param start where the structure begins
   * @param _end not used, because the layout is fixed
   * @param offset the offset that the kernel points at
   * @example
   * console.log(struct('timespec', { seconds: [4, U32_NE] }).locate(source, 0, 4, 0));
   */
  locate(_source: Source, start: number, _end: number, offset: number): Path {
    const member = this.members.find(m => offset >= start + m.offset && offset < start + m.offset + m.size);
    return member === undefined ? [] : [member.key];
  }
}

/**
 * Declares a structure.
 * @param name the kernel's name
 * @param members their types, in order
 * @example
 * const timespec = struct('timespec', { seconds: [4, U32_NE], nanoseconds: [4, U32_NE] });
 */
export function struct<const M extends Members>(name: string, members: M): Struct<Omit<StructShape<M>, `_${string}`>> {
  return new Struct(name, members);
}
