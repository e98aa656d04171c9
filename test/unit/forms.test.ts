import { describe, expect, test, vi } from 'vitest';
import { attributes, NO_CONTEXT, opt, string } from '../../src/codec/index.ts';
import { NetlinkError, StateError } from '../../src/errors.ts';
import { NLM_F_DUMP, NLM_F_MULTI, NLMSG_ERROR } from '../../src/linux/netlink.ts';
import { ackError, type Call, Exchange, type Operation, readAck, syncAndAsync } from '../../src/netlink/index.ts';
import { acknowledge, done, MemoryTransport, message, received, refuse } from '../support/memory-transport.ts';
import { foreignController, NO_SIGNALS } from '../support/signals.ts';

const table = attributes('THING', { name: opt(string(1, 63)) });
const ADD = 0x300;
const BULK = 0x301;

const call = (name: string): Call => ({
  type: ADD,
  syscall: 'THING_NEW',
  subject: name,
  write: writer => table.write(writer, { name }, NO_CONTEXT),
});

/** Operations of all sorts, as a family has them. */
class ThingOperations {
  readonly #exchange: Exchange;
  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  *add(name: string): Operation<string> {
    yield* this.#exchange.request(call(name));
    return `added ${name}`;
  }

  *list(_options: { signal?: AbortSignal } = {}): Operation<string[]> {
    return yield* this.#exchange.dump(call('all'), ({ source, payload, end }) => {
      return table.read(source, payload, end, NO_CONTEXT)?.name;
    });
  }

  /** So large that the promise form leaves the thread. */
  *bulk(name: string, _options: { signal?: AbortSignal } = {}): Operation<string> {
    const bytes = message(BULK, 0, 7, writer => {
      table.write(writer, { name }, NO_CONTEXT);
      writer.zeros(100_000);
    });
    let errno: number | undefined;
    const outcome = yield* this.#exchange.transact([bytes], 1, answer => {
      if (answer.type === NLMSG_ERROR) errno = readAck(answer).errno;
      return errno !== undefined;
    });
    if (outcome !== 'done' || errno === undefined) throw new StateError('ERR_NO_REPLY', 'nothing');
    if (errno !== 0) throw ackError(call(name), { errno }, 'things.bulk');
    return `stored ${name}`;
  }

  *twice(name: string): Operation<string[]> {
    return [yield* this.add(`${name} 1`), yield* this.add(`${name} 2`)];
  }
}

class Things extends syncAndAsync(ThingOperations) {
  static open(wire: MemoryTransport, subsystem = 'things'): Things {
    return new Things(new Exchange(wire, subsystem));
  }
}

let inodes = 1000;
const names = (wire: MemoryTransport) =>
  wire.sent.map(datagram => new TextDecoder().decode(datagram.subarray(20, datagram.indexOf(0, 20))));

/** A kernel that has two things, and refuses names that begin with 'bad'. */
function world(inode = inodes++) {
  const wire = new MemoryTransport(
    datagram =>
      received(datagram).flatMap(request => {
        if ((request.flags & NLM_F_DUMP) === NLM_F_DUMP) {
          const part = (name: string) =>
            message(ADD, NLM_F_MULTI, request.sequence, writer => table.write(writer, { name }, NO_CONTEXT));
          return [part('one'), part('two'), done(request.sequence)];
        }
        const name = new TextDecoder().decode(request.payload.subarray(4, 7));
        return [name === 'bad' ? refuse(request, -17, { text: 'No' }) : acknowledge(request)];
      }),
    inode,
  );
  return { wire, things: Things.open(wire) };
}

const caught = (run: () => unknown): unknown => {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
};
const codeOf = (run: () => unknown): unknown => (caught(run) as { code?: string } | undefined)?.code;

describe('both forms of an operation', () => {
  test('give the same results', async () => {
    const { things } = world();
    expect(things.sync.add('a')).toBe('added a');
    expect(await things.add('a')).toBe('added a');
    expect(things.sync.list()).toEqual(['one', 'two']);
    expect(await things.list()).toEqual(['one', 'two']);
    expect(things.sync.bulk('b')).toBe('stored b');
    expect(await things.bulk('b')).toBe('stored b');
    expect(things.sync.twice('c')).toEqual(await things.twice('c'));
  });

  test('send the same bytes', async () => {
    const { things, wire } = world();
    things.sync.twice('a');
    await things.twice('a');
    const withoutNumber = wire.sent.map(datagram => Buffer.from(datagram).fill(0, 8, 12).toString('hex'));
    expect(withoutNumber.slice(2)).toEqual(withoutNumber.slice(0, 2));
  });

  test('reject with the same errors', async () => {
    const { things } = world();
    for (const name of ['add', 'bulk'] as const) {
      const promised = await things[name]('bad').catch((error: unknown) => error);
      let thrown: unknown;
      try {
        things.sync[name]('bad');
      } catch (error) {
        thrown = error;
      }
      expect(promised).toBeInstanceOf(NetlinkError);
      expect(thrown).toBeInstanceOf(NetlinkError);
      const { request: _r, stack: _s, ...fields } = promised as NetlinkError;
      expect(thrown).toMatchObject({ ...fields, operation: `things.${name}`, message: (promised as Error).message });
    }
  });

  test('have the same names, which are exactly the operations', () => {
    const { things } = world();
    for (const name of ['add', 'list', 'bulk', 'twice'] as const) {
      expect(things[name]).toBeTypeOf('function');
      expect(things.sync[name]).toBeTypeOf('function');
    }
    expect(Object.keys(things.sync)).toEqual([]);
  });

  test('name their operation in each error', async () => {
    const { things, wire } = world();
    wire.sendError = -1;
    await expect(things.add('a')).rejects.toMatchObject({ operation: 'things.add' });
    await expect(things.list()).rejects.toMatchObject({ operation: 'things.list' });
  });
});

describe('the promise form', () => {
  test('completes a small operation before it returns', () => {
    const { things, wire } = world();
    void things.add('a');
    expect(names(wire)).toEqual(['a']);
    expect(wire.sentAway).toBe(0);
  });

  test('leaves the thread for a large operation', async () => {
    const { things, wire } = world();
    await things.bulk('a');
    expect(wire.sentAway).toBe(1);
    things.sync.bulk('a');
    expect(wire.sentAway).toBe(1);
  });

  test('rejects and never throws, whatever its argument', async () => {
    const { things, wire } = world();
    for (const bad of [5, null, undefined, 'x'.repeat(64)]) {
      const promise = things.add(bad as string);
      expect(promise).toBeInstanceOf(Promise);
      if (bad === undefined) await expect(promise).resolves.toBe('added undefined');
      else await expect(promise).rejects.toMatchObject({ attribute: 'name' });
    }
    const before = wire.sent.length;
    await expect(things.list({ signal: AbortSignal.abort() })).rejects.toThrow('aborted');
    expect(wire.sent).toHaveLength(before);
  });

  test('keeps its order behind a slow operation, also of another handle', async () => {
    const { things, wire } = world(77);
    const other = Things.open(wire);
    const release = wire.hold();
    const results = [things.bulk('slow'), other.add('a'), things.bulk('slow too'), things.add('b')];
    await new Promise(resolve => setImmediate(resolve));
    expect(names(wire)).toEqual([]);
    release();
    expect(await Promise.all(results)).toEqual(['stored slow', 'added a', 'stored slow too', 'added b']);
    expect(names(wire)).toEqual(['slow', 'a', 'slow too', 'b']);
  });

  test('does not wait for other namespaces or subsystems', async () => {
    const { things, wire } = world();
    const elsewhere = world();
    const otherKind = Things.open(wire, 'others');
    const release = wire.hold();
    const slow = things.bulk('slow');
    expect(await elsewhere.things.add('a')).toBe('added a');
    expect(await otherKind.add('b')).toBe('added b');
    expect(names(wire)).toEqual(['b']);
    release();
    await slow;
  });
});

describe('the synchronous form', () => {
  test('rejects with ERR_BUSY while promises are under way, on every handle of the namespace', async () => {
    const { things, wire } = world(78);
    const other = Things.open(wire);
    const release = wire.hold();
    const slow = things.bulk('slow');
    for (const handle of [things, other]) expect(codeOf(() => handle.sync.add('a'))).toBe('ERR_BUSY');
    expect(names(wire)).toEqual([]);
    release();
    await slow;
    for (const handle of [things, other]) expect(handle.sync.add('a')).toBe('added a');
  });

  test('is free again after a failure', async () => {
    const { things } = world();
    await expect(things.bulk('bad')).rejects.toThrow('EEXIST');
    expect(things.sync.add('a')).toBe('added a');
  });
});

describe('an AbortSignal', () => {
  const reason = new Error('enough');

  test('that is aborted already sends nothing and rejects with its reason', async () => {
    const { things, wire } = world();
    await expect(things.bulk('a', { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(wire.sent).toHaveLength(0);
    expect(things.sync.add('b')).toBe('added b');
  });

  test('that aborts a waiting operation sends nothing', async () => {
    const { things, wire } = world();
    const controller = new AbortController();
    const release = wire.hold();
    const slow = things.bulk('slow');
    const waiting = things.bulk('waiting', { signal: controller.signal });
    controller.abort(reason);
    release();
    await expect(waiting).rejects.toBe(reason);
    expect(await slow).toBe('stored slow');
    expect(names(wire)).toEqual(['slow']);
  });

  test('changes nothing once the bytes are under way: the promise tells the result', async () => {
    const { things, wire } = world();
    for (const [name, expected] of [
      ['good', 'stored good'],
      ['bad', 'EEXIST'],
    ] as const) {
      const controller = new AbortController();
      const release = wire.hold();
      const promise = things.bulk(name, { signal: controller.signal }).catch((error: NetlinkError) => error.code);
      controller.abort(reason);
      release();
      expect(await promise).toBe(expected);
    }
  });

  test('ends a dump between two parts and leaves nothing behind', async () => {
    const { things, wire } = world();
    const controller = new AbortController();
    const listing = things.list({ signal: controller.signal });
    controller.abort(reason);
    await expect(listing).rejects.toBe(reason);
    expect(wire.waiting).toBe(0);
    expect(await things.list()).toEqual(['one', 'two']);
  });

  test('that is aborted already makes the synchronous forms throw its reason and send nothing', () => {
    const { things, wire } = world();
    const signal = AbortSignal.abort(reason);
    expect(caught(() => things.sync.bulk('a', { signal }))).toBe(reason);
    expect(caught(() => things.sync.list({ signal }))).toBe(reason);
    expect(wire.sent).toHaveLength(0);
    expect(things.sync.bulk('a', { signal: new AbortController().signal })).toBe('stored a');
  });

  test('rejects what is no signal with ERR_INVALID_ARG_TYPE in both forms, before anything is sent', async () => {
    const { things, wire } = world();
    for (const bad of NO_SIGNALS) {
      const options = { signal: bad as AbortSignal };
      const refusal = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE', attribute: 'options.signal' };
      expect(caught(() => things.sync.list(options))).toMatchObject(refusal);
      await expect(things.list(options)).rejects.toMatchObject(refusal);
      await expect(things.bulk('a', options)).rejects.toMatchObject(refusal);
    }
    expect(wire.sent).toHaveLength(0);
    expect(things.sync.list({ signal: undefined } as object)).toEqual(['one', 'two']);
  });

  test('of another realm works', async () => {
    const { things, wire } = world();
    const foreign = foreignController();
    expect(foreign.signal).not.toBeInstanceOf(AbortSignal);
    expect(await things.list({ signal: foreign.signal })).toEqual(['one', 'two']);
    const listing = things.list({ signal: foreign.signal });
    foreign.abort(reason);
    await expect(listing).rejects.toBe(reason);
    const { length } = wire.sent;
    expect(caught(() => things.sync.bulk('a', { signal: foreign.signal }))).toBe(reason);
    await expect(things.bulk('a', { signal: foreign.signal })).rejects.toBe(reason);
    expect(wire.sent).toHaveLength(length);
  });
});

describe('a closed handle', () => {
  test('rejects both forms with ERR_CLOSED, and sends nothing', async () => {
    const { things, wire } = world();
    things.close();
    expect(things.closed).toBe(true);
    expect(codeOf(() => things.sync.add('a'))).toBe('ERR_CLOSED');
    await expect(things.add('a')).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    await expect(things.bulk('a')).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    await expect(things.list()).rejects.toBeInstanceOf(StateError);
    expect(wire.sent).toHaveLength(0);
  });

  test('may be closed again, and by the end of its block', async () => {
    const { things, wire } = world();
    const close = vi.spyOn(wire, 'close');
    things.close();
    things.close();
    things[Symbol.dispose]();
    await things[Symbol.asyncDispose]();
    expect(close).toHaveBeenCalledTimes(1);
    expect(wire.closed).toBe(true);
  });

  test('leaves the queue to open handles, which reject a synchronous call with ERR_BUSY', async () => {
    const { things } = world(79);
    const { things: other, wire } = world(79);
    const release = wire.hold();
    const slow = other.bulk('slow');
    things.close();
    expect(codeOf(() => other.sync.add('a'))).toBe('ERR_BUSY');
    release();
    await slow;
    expect(other.sync.add('a')).toBe('added a');
  });

  test('still tells the result of a call under way, closes after it, and rejects others with ERR_CLOSED', async () => {
    for (const [name, expected] of [
      ['good', 'stored good'],
      ['bad', 'EEXIST'],
    ] as const) {
      const { things, wire } = world();
      const release = wire.hold();
      const inFlight = things.bulk(name).catch((error: NetlinkError) => error.code);
      const waiting = things.add('waiting').catch((error: StateError) => error.code);
      let gone = false;
      const closing = things[Symbol.asyncDispose]().then(() => {
        gone = true;
      });
      expect(things.closed).toBe(true);
      expect(codeOf(() => things.sync.add('a'))).toBe('ERR_CLOSED');
      await expect(things.add('late')).rejects.toMatchObject({ code: 'ERR_CLOSED' });
      expect([gone, wire.closed]).toEqual([false, false]);
      release();
      expect(await inFlight).toBe(expected);
      expect(await waiting).toBe('ERR_CLOSED');
      await closing;
      expect(wire.closed).toBe(true);
      expect(names(wire)).toEqual([name]);
    }
  });
});
