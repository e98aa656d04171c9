import {
  type AttributeTable,
  attributes,
  NO_CONTEXT,
  opt,
  string,
  struct,
  U8,
  U16_NE,
  u16ne,
  type Writer,
} from '../codec/index.ts';
import { NetlinkError, type Path } from '../errors.ts';
import { CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME, CTRL_CMD_GETFAMILY, GENL_ID_CTRL } from '../linux/genetlink.ts';
import { ofThread } from '../thread.ts';
import type { Locate, PipelineResult, RequestInfo } from './ack.ts';
import { locateIn } from './ack.ts';
import { EncodedRequests } from './encoded-requests.ts';
import type { Call, Exchange } from './exchange.ts';
import type { Message } from './message.ts';
import type { Operation } from './operation.ts';
import { streamRequests } from './pipeline.ts';

/** `struct genlmsghdr` (include/uapi/linux/genetlink.h). */
export const genlmsghdr = struct('genlmsghdr', {
  /** The command. */
  cmd: [1, U8],
  /** The version of the family. */
  version: [1, U8],
  _reserved: [2, U16_NE],
});

const CTRL = attributes('CTRL_ATTR', () => ({
  id: opt(u16ne(CTRL_ATTR_FAMILY_ID)),
  name: opt(string(CTRL_ATTR_FAMILY_NAME, 15)),
}));

/**
 * Family numbers by name. They are the same in every namespace of a kernel and live as long as the family's module: asked for once in a
 * process, and again when the kernel no longer knows one.
 */
const familyIds = ofThread('netlink.families', new Map<string, number>());

/** One command of a generic-netlink family. */
export interface Command<T> extends RequestInfo {
  /** The number of the command. */
  readonly command: number;
  /** The NLM_F_* flags. */
  readonly flags?: number;
  /** The object that is written. */
  readonly value: T;
}

/** A command as the exchange sends it. A class, since a pipeline has thousands: copying each command costs more than encoding it. */
class FamilyCall<T> implements Call {
  readonly type: number;
  readonly locate: Locate;
  readonly #command: Command<T>;
  readonly #version: number;
  readonly #table: AttributeTable<T>;

  constructor(type: number, command: Command<T>, version: number, table: AttributeTable<T>, locate: Locate) {
    this.type = type;
    this.locate = locate;
    this.#command = command;
    this.#version = version;
    this.#table = table;
  }

  get syscall(): string {
    return this.#command.syscall;
  }
  get subject(): unknown {
    return this.#command.subject;
  }
  get flags(): number {
    return this.#command.flags ?? 0;
  }

  hint(code: string, path: Path): string | undefined {
    return this.#command.hint?.(code, path);
  }
  blame(code: string): Path | undefined {
    return this.#command.blame?.(code);
  }

  write(writer: Writer): void {
    genlmsghdr.write(writer, { cmd: this.#command.command, version: this.#version });
    this.#table.write(writer, this.#command.value, NO_CONTEXT);
  }
}

/**
 * The requests of one generic-netlink family over an exchange.
 * @example
 * const genericFamily = new GenericFamily(exchange, { name: 'IPVS', version: 1, table, missing: 'modprobe ip_vs on the host' });
 */
export class GenericFamily<T> {
  readonly #exchange: Exchange;
  readonly #name: string;
  readonly #version: number;
  readonly #table: AttributeTable<T>;
  readonly #locate: Locate;
  /** What to say when the kernel does not have the family. */
  readonly #missing: string;

  constructor(
    exchange: Exchange,
    options: { name: string; version: number; table: AttributeTable<T>; missing: string },
  ) {
    this.#exchange = exchange;
    this.#name = options.name;
    this.#version = options.version;
    this.#table = options.table;
    this.#missing = options.missing;
    this.#locate = locateIn(options.table, genlmsghdr.size, NO_CONTEXT);
  }

  /**
   * The family's number. Asking makes the kernel load its module, from Linux 5.16 on for IPVS.
   * @throws NetlinkError ENOENT the kernel has no such family
   * @example
   * function* number(): Operation<number> {
   *   return yield* genericFamily.id();
   * }
   */
  *id(): Operation<number> {
    return familyIds.get(this.#name) ?? (yield* this.#resolve());
  }

  *#resolve(): Operation<number> {
    const call: Call = {
      type: GENL_ID_CTRL,
      syscall: 'CTRL_CMD_GETFAMILY',
      subject: this.#name,
      hint: code => (code === 'ENOENT' ? this.#missing : undefined),
      write: writer => {
        genlmsghdr.write(writer, { cmd: CTRL_CMD_GETFAMILY, version: 1 });
        CTRL.write(writer, { name: this.#name }, NO_CONTEXT);
      },
    };
    const id = yield* this.#exchange.get(call, ({ source, payload, end }) => {
      return CTRL.read(source, payload + genlmsghdr.size, end, NO_CONTEXT)?.id;
    });
    familyIds.set(this.#name, id);
    return id;
  }

  /**
   * One command that the kernel acknowledges.
   * @param command the command and its attributes
   * @throws NetlinkError the kernel refuses, or has no such family (ENOENT)
   * @example
   * function* set(): Operation<void> {
   *   yield* genericFamily.request({ syscall: 'MINE', command: 1, value: { name: 'x' } });
   * }
   */
  *request(command: Command<T>): Operation<void> {
    yield* this.#current(id => this.#exchange.request(this.#call(id, command)));
  }

  /**
   * One command with one answer, decoded.
   * @param command the command and its attributes
   * @param read called with the answer's value
   * @throws NetlinkError the kernel refuses, or has no such family (ENOENT)
   * @example
   * function* name(): Operation<string> {
   *   return yield* genericFamily.get({ syscall: 'MINE', command: 1, value: { name: 'x' } }, value => value.name);
   * }
   */
  *get<R>(command: Command<T>, read: (value: T) => R | undefined): Operation<R> {
    return yield* this.#current(id => this.#exchange.get(this.#call(id, command), this.#reader(read)));
  }

  /**
   * All objects of a kind, decoded.
   * @param command the command and its attributes
   * @param read called with each; what it returns is in the list, unless it is undefined
   * @throws NetlinkError the kernel refuses, or has no such family (ENOENT)
   * @example
   * function* names(): Operation<string[]> {
   *   return yield* genericFamily.dump({ syscall: 'MINE', command: 1, value: { name: '' } }, ({ name }) => name);
   * }
   */
  *dump<R>(command: Command<T>, read: (value: T) => R | undefined): Operation<R[]> {
    return yield* this.#current(id => this.#exchange.dump(this.#call(id, command), this.#reader(read)));
  }

  /**
   * As `dump`, for those who read the messages themselves: their payload begins with the header of generic netlink.
   * @param command the command and its attributes
   * @param read called with each message; what it returns is in the list, unless it is undefined
   * @throws NetlinkError the kernel refuses, or has no such family (ENOENT)
   * @example
   * function* types(): Operation<number[]> {
   *   return yield* genericFamily.dumpMessages({ syscall: 'MINE', command: 1, value: { name: '' } }, found => found.type);
   * }
   */
  *dumpMessages<R>(command: Command<T>, read: (message: Message) => R | undefined): Operation<R[]> {
    return yield* this.#current(id => this.#exchange.dump(this.#call(id, command), read));
  }

  /**
   * Many commands in few datagrams; one that fails does not stop the rest.
   * @param commands in order
   * @throws NetlinkError ENOENT the kernel has no such family. What it refuses is in the result
   * @example
   * function* all(): Operation<PipelineResult> {
   *   return yield* genericFamily.pipeline([{ syscall: 'MINE', command: 1, value: { name: 'x' } }]);
   * }
   */
  *pipeline(commands: readonly Command<T>[]): Operation<PipelineResult> {
    const messages = new EncodedRequests();
    for (const command of commands) {
      const call = this.#call(0, command);
      messages.add(0, call.flags ?? 0, writer => call.write(writer));
    }
    const result = yield* this.stream(messages, index => commands[index]!);
    messages.release();
    return result;
  }

  /**
   * As `pipeline`, of commands that are encoded, whose type is written here: those from `begin` up to `end`, by which all indexes count.
   * @param messages the encoded commands
   * @param describe tells what a refused one was, by its index
   * @throws NetlinkError ENOENT the kernel has no such family. What it refuses is in the result
   * @example
   * function* all(): Operation<PipelineResult> {
   *   return yield* genericFamily.stream(requests, () => ({ syscall: 'MINE' }));
   * }
   */
  *stream(
    messages: EncodedRequests,
    describe: (index: number) => RequestInfo,
    begin = 0,
    end = messages.length,
  ): Operation<PipelineResult> {
    const located = (index: number): RequestInfo => {
      const command = describe(index);
      return command.locate === undefined ? { ...command, locate: this.#locate } : command;
    };
    const id = yield* this.id();
    messages.setTypes(begin, end, id);
    const result = yield* streamRequests(this.#exchange, messages, located, begin, end);
    // As with single requests: when nothing was understood, the family may have another number by now.
    if (begin === end || result.failures.length < end - begin) return result;
    if (result.failures.some(({ error }) => error.code !== 'ENOENT')) return result;
    const now = yield* this.#resolve();
    if (now === id) return result;
    messages.setTypes(begin, end, now);
    return yield* streamRequests(this.#exchange, messages, located, begin, end);
  }

  /** ENOENT can mean that the family has another number since its module was loaded anew: ask once more before believing it. */
  *#current<R>(send: (id: number) => Operation<R>): Operation<R> {
    const id = yield* this.id();
    try {
      return yield* send(id);
    } catch (error) {
      if (!(error instanceof NetlinkError) || error.code !== 'ENOENT') throw error;
      const now = yield* this.#resolve();
      if (now === id) throw error;
      return yield* send(now);
    }
  }

  #call(id: number, command: Command<T>): Call {
    return new FamilyCall(id, command, this.#version, this.#table, command.locate ?? this.#locate);
  }

  #reader<R>(read: (value: T) => R | undefined): (message: Message) => R | undefined {
    return ({ source, payload, end }) => {
      const value = this.#table.read(source, payload + genlmsghdr.size, end, NO_CONTEXT);
      return value === undefined ? undefined : read(value);
    };
  }
}
