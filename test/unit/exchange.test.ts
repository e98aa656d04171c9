import { describe, expect, test } from 'vitest';
import { attributes, NO_CONTEXT, nested, opt, sourceOf, string, u32be, type Writer } from '../../src/codec/index.ts';
import { DecodeError, NetlinkError, StateError } from '../../src/errors.ts';
import { CTRL_ATTR_FAMILY_ID, CTRL_CMD_GETFAMILY, GENL_ID_CTRL } from '../../src/linux/genetlink.ts';
import {
  NLM_F_ACK,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_MULTI,
  NLM_F_REQUEST,
  NLMSG_ERROR,
  NLMSG_NOOP,
} from '../../src/linux/netlink.ts';
import {
  type Call,
  type Command,
  Exchange,
  GenericFamily,
  locateIn,
  type Message,
  messagesIn,
  NLMSG_HDRLEN,
  type Operation,
  readAck,
} from '../../src/netlink/index.ts';
import { runAway, runNow } from '../../src/netlink/operation.ts';
import { LOST } from '../../src/netlink/transport.ts';
import {
  type Answer,
  acknowledge,
  done,
  MemoryTransport,
  message,
  type Received,
  received,
  refuse,
  together,
} from '../support/memory-transport.ts';

const OBJECT = 0x300;
const inner = attributes('INNER', { id: u32be(1), label: opt(string(2, 15)) });
const table = attributes('OBJECT', { name: opt(string(1, 63)), inner: opt(nested(2, inner)), count: opt(u32be(3)) });
type Thing = { name?: string; inner?: { id: number; label?: string }; count?: number };

const call = (value: Thing = {}, extra: Partial<Call> = {}): Call => ({
  type: OBJECT,
  syscall: 'OBJECT_NEW',
  subject: value,
  locate: locateIn(table, 0, NO_CONTEXT),
  write: writer => table.write(writer, value, NO_CONTEXT),
  ...extra,
});

const thing = (request: { sequence: number }, value: Thing, flags = 0): Uint8Array =>
  message(OBJECT, flags, request.sequence, writer => table.write(writer, value, NO_CONTEXT));

const read = ({ source, payload, end }: Message): Thing | undefined => table.read(source, payload, end, NO_CONTEXT);

/** A kernel that answers each message on its own. */
function kernel(answer: (request: Received, index: number) => Iterable<Answer>) {
  let index = 0;
  const wire = new MemoryTransport(datagram => received(datagram).flatMap(request => [...answer(request, index++)]));
  const exchange = new Exchange(wire, 'test');
  exchange.operation = 'test.thing';
  return { wire, exchange, requests: () => wire.sent.flatMap(received) };
}

function caught(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

describe('a request', () => {
  test('asks for an acknowledgement and ends with it', () => {
    const { exchange, wire, requests } = kernel(request => [acknowledge(request)]);
    expect(runNow(exchange.request(call({ name: 'a' })))).toBeUndefined();
    expect(requests()).toMatchObject([{ type: OBJECT, flags: NLM_F_REQUEST | NLM_F_ACK }]);
    expect(table.read(sourceOf(requests()[0]!.payload), 0, requests()[0]!.payload.length, NO_CONTEXT)).toEqual({
      name: 'a',
    });
    expect(wire.sentAway).toBe(0);
  });

  test('carries the flags of its message', () => {
    const { exchange, requests } = kernel(request => [acknowledge(request)]);
    runNow(exchange.request(call({}, { flags: 0x400 })));
    expect(requests()[0]!.flags).toBe(NLM_F_REQUEST | NLM_F_ACK | 0x400);
  });

  test('has a new sequence number each time, and never 0', () => {
    const { exchange, requests } = kernel(request => [acknowledge(request)]);
    for (let i = 0; i < 5; i++) runNow(exchange.request(call()));
    const numbers = requests().map(({ sequence }) => sequence);
    expect(new Set(numbers).size).toBe(5);
    expect(numbers).not.toContain(0);
  });

  test('passes replies to its visitor in order, and notifications of the kernel to nobody', () => {
    const { exchange } = kernel(request => [
      together(
        message(NLMSG_NOOP, 0, request.sequence, () => {}),
        thing(request, { name: 'one' }),
      ),
      thing(request, { name: 'two' }),
      acknowledge(request),
    ]);
    const names: unknown[] = [];
    runNow(exchange.request(call(), answer => names.push(read(answer)?.name)));
    expect(names).toEqual(['one', 'two']);
  });

  test('that is refused rejects with everything that is known', () => {
    const subject = { name: 'web', inner: { id: 7, label: 'x' } };
    const { exchange } = kernel(request => [refuse(request, -17)]);
    const error = caught(() =>
      runNow(exchange.request(call(subject, { hint: code => (code === 'EEXIST' ? 'take another name' : undefined) }))),
    );
    expect(error).toBeInstanceOf(NetlinkError);
    expect(error).toMatchObject({
      code: 'EEXIST',
      errno: -17,
      syscall: 'OBJECT_NEW',
      operation: 'test.thing',
      subject,
      path: [],
      hint: 'take another name',
    });
    const { request } = error as NetlinkError;
    expect(received(request!)).toMatchObject([{ type: OBJECT }]);
  });

  test('is sent once even when it is refused', () => {
    const { exchange, wire } = kernel(request => [refuse(request, -17)]);
    caught(() => runNow(exchange.request(call())));
    expect(wire.sent).toHaveLength(1);
  });
});

describe('the extended acknowledgement', () => {
  const value = { name: 'web', inner: { id: 7, label: 'x' }, count: 3 };
  // nlmsghdr 16, name 4 + 4, inner 4, id 4 + 4, label 4 + 2 + 2, count 4 + 4
  test.each([
    [16, ['name']],
    [24, ['inner']],
    [28, ['inner', 'id']],
    [32, ['inner', 'id']],
    [36, ['inner', 'label']],
    [44, ['count']],
    [48, ['count']],
  ])('has an offset %i that becomes the field written there', (offset, path) => {
    for (const echo of [false, true]) {
      const { exchange } = kernel(request => [refuse(request, -22, { text: 'Bad thing', offset, echo })]);
      const error = caught(() => runNow(exchange.request(call(value))));
      expect(error).toMatchObject({ code: 'EINVAL', path, kernelMessage: 'Bad thing' });
      expect((error as Error).message).toContain(`(${path.join('.')}): Bad thing`);
    }
  });

  test('may have a text alone', () => {
    const { exchange } = kernel(request => [refuse(request, -22, { text: 'Bad thing' })]);
    expect(caught(() => runNow(exchange.request(call(value))))).toMatchObject({ path: [], kernelMessage: 'Bad thing' });
  });

  test('names no field where its offset is outside of the message or in the header', () => {
    for (const offset of [0, 15]) {
      const { exchange } = kernel(request => [refuse(request, -22, { offset })]);
      expect(
        caught(() => runNow(exchange.request(call(value)))),
        String(offset),
      ).toMatchObject({ path: [] });
    }
    const { exchange } = kernel(request => [refuse(request, -22, { offset: 1e9 })]);
    expect(caught(() => runNow(exchange.request(call(value))))).toMatchObject({ code: 'EINVAL' });
  });

  test('is preferred to the usual meaning of an errno', () => {
    const blaming = call(value, { blame: () => ['count'] });
    const pointing = kernel(request => [refuse(request, -22, { offset: 16 })]);
    expect(caught(() => runNow(pointing.exchange.request(blaming)))).toMatchObject({ path: ['name'] });
    const silent = kernel(request => [refuse(request, -22)]);
    expect(caught(() => runNow(silent.exchange.request(blaming)))).toMatchObject({ path: ['count'] });
  });

  test('is malformed with wrong lengths or without an error number', () => {
    const lying = kernel(request => [
      message(NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, request.sequence, writer => {
        writer.u32(-22 >>> 0, true);
        writer.raw(request.bytes.subarray(0, 16));
        writer.raw(Uint8Array.of(0xff, 0xff, 1, 0));
      }),
    ]);
    expect(caught(() => runNow(lying.exchange.request(call())))).toBeInstanceOf(DecodeError);
    const short = kernel(request => [message(NLMSG_ERROR, 0, request.sequence, writer => writer.u16(0, true))]);
    expect(caught(() => runNow(short.exchange.request(call())))).toBeInstanceOf(DecodeError);
  });

  test('names the missing attribute', () => {
    const request = received(message(OBJECT, 0, 5, writer => table.write(writer, value, NO_CONTEXT)))[0]!;
    const bytes = message(NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, 5, writer => {
      writer.u32(-22 >>> 0, true);
      writer.raw(request.bytes.subarray(0, 16));
      for (const [type, number] of [
        [5, 3],
        [6, 24],
      ] as const) {
        const start = writer.beginAttribute(type);
        writer.u32(number, true);
        writer.endAttribute(start);
      }
    });
    const [answer] = [...messagesIn(sourceOf(bytes))];
    expect(readAck(answer!)).toEqual({ errno: -22, missing: 3, missingIn: 24 });
  });
});

describe('a fault between library and kernel', () => {
  const stateOf = (answers: (request: Received) => Answer[]) => {
    const { exchange } = kernel(answers);
    const error = caught(() => runNow(exchange.request(call())));
    expect(error).toBeInstanceOf(StateError);
    return (error as StateError).code;
  };

  test('without an acknowledgement rejects with ERR_NO_REPLY', () => {
    expect(stateOf(() => [])).toBe('ERR_NO_REPLY');
    expect(stateOf(request => [thing(request, { name: 'only an answer' })])).toBe('ERR_NO_REPLY');
    expect(stateOf(request => [acknowledge({ ...request, sequence: request.sequence - 1 })])).toBe('ERR_NO_REPLY');
  });

  test('by an overrun of the receive buffer rejects with ERR_REPLIES_LOST: the request was carried out', () => {
    expect(stateOf(() => [LOST])).toBe('ERR_REPLIES_LOST');
    const { exchange } = kernel(() => [LOST]);
    expect((caught(() => runNow(exchange.request(call()))) as Error).message).toContain('has been carried out');
  });

  test('by a cut datagram rejects with ERR_TRUNCATED', () => {
    expect(stateOf(() => [new Uint8Array(128 * 1024 + 1)])).toBe('ERR_TRUNCATED');
  });

  test('of the socket rejects, when sending and when receiving', () => {
    const receiving = kernel(() => [-9]);
    expect(caught(() => runNow(receiving.exchange.request(call())))).toMatchObject({
      code: 'EBADF',
      syscall: 'recvmsg',
    });
    const sending = kernel(request => [acknowledge(request)]);
    sending.wire.sendError = -1;
    expect(caught(() => runNow(sending.exchange.request(call())))).toMatchObject({
      code: 'EPERM',
      syscall: 'sendto',
      operation: 'test.thing',
    });
  });

  test('by a wrong length rejects', () => {
    for (const bytes of [new Uint8Array(16), new Uint8Array(7), Uint8Array.of(99, 0, 0, 0, ...new Uint8Array(12))]) {
      const { exchange } = kernel(() => [bytes]);
      expect(caught(() => runNow(exchange.request(call())))).toBeInstanceOf(DecodeError);
    }
  });

  test('by a bad value rejects before sending, and leaves the next request intact', () => {
    const { exchange, wire } = kernel(request => [acknowledge(request)]);
    expect(() => runNow(exchange.request(call({ inner: { id: -1 } })))).toThrow(RangeError);
    expect(wire.sent).toHaveLength(0);
    runNow(exchange.request(call({ name: 'a' })));
    expect(wire.sent).toHaveLength(1);
    expect(wire.sent[0]).toHaveLength(NLMSG_HDRLEN + 8);
  });

  test('by an earlier request that gave up leaves replies that the next one does not take', () => {
    const { exchange, wire } = kernel((request, index) =>
      index === 0 ? [] : [thing(request, { name: 'new' }), acknowledge(request)],
    );
    caught(() => runNow(exchange.get(call(), read)));
    const [first] = wire.sent.flatMap(received);
    wire.push(thing(first!, { name: 'old' }), refuse(first!, -17));
    expect(runNow(exchange.get(call(), read))).toEqual({ name: 'new' });
    expect(wire.waiting).toBe(0);
  });
});

describe('a request for one object', () => {
  test('returns the first reply that can be read', () => {
    const { exchange } = kernel(request => [thing(request, {}), thing(request, { name: 'a' }), acknowledge(request)]);
    expect(runNow(exchange.get(call(), answer => read(answer)?.name))).toBe('a');
  });

  test('rejects an acknowledgement without a reply with ERR_NO_REPLY', () => {
    const { exchange } = kernel(request => [acknowledge(request)]);
    expect(caught(() => runNow(exchange.get(call(), read)))).toMatchObject({ code: 'ERR_NO_REPLY' });
  });
});

describe('a dump', () => {
  const part = (request: Received, ...names: string[]) =>
    together(...names.map(name => thing(request, { name }, NLM_F_MULTI)));

  test('collects the objects of all parts', () => {
    const { exchange, requests } = kernel(request => [
      part(request, 'a', 'b'),
      part(request, 'c'),
      together(thing(request, { name: 'd' }, NLM_F_MULTI), done(request.sequence)),
    ]);
    expect(runNow(exchange.dump(call(), answer => read(answer)?.name))).toEqual(['a', 'b', 'c', 'd']);
    expect(requests()).toMatchObject([{ flags: NLM_F_REQUEST | NLM_F_DUMP }]);
  });

  test('may be empty, and leaves out what its reader leaves out', () => {
    const { exchange } = kernel(request => [part(request, 'a'), done(request.sequence)]);
    expect(runNow(exchange.dump(call(), () => undefined))).toEqual([]);
  });

  test('ignores messages of other requests', () => {
    const { exchange } = kernel(request => [
      part({ ...request, sequence: 0 }, 'event'),
      part({ ...request, sequence: request.sequence - 1 }, 'stale'),
      done(request.sequence - 1),
      part(request, 'a'),
      done(request.sequence),
    ]);
    expect(runNow(exchange.dump(call(), answer => read(answer)?.name))).toEqual(['a']);
  });

  test('that was interrupted is repeated', () => {
    const { exchange, requests } = kernel((request, index) => [
      thing(request, { name: `old ${index}` }, index < 2 ? NLM_F_MULTI | NLM_F_DUMP_INTR : NLM_F_MULTI),
      done(request.sequence),
    ]);
    expect(runNow(exchange.dump(call(), answer => read(answer)?.name))).toEqual(['old 2']);
    expect(requests()).toHaveLength(3);
    expect(new Set(requests().map(({ sequence }) => sequence)).size).toBe(3);
  });

  test('notices an interruption that only its end reports', () => {
    const { exchange, requests } = kernel((request, index) => {
      const end = done(request.sequence);
      if (index === 0) new DataView(end.buffer).setUint16(6, NLM_F_MULTI | NLM_F_DUMP_INTR, true);
      return [part(request, 'a'), end];
    });
    expect(runNow(exchange.dump(call(), answer => read(answer)?.name))).toEqual(['a']);
    expect(requests()).toHaveLength(2);
  });

  test('that is interrupted every time is rejected with ERR_DUMP_INTERRUPTED', () => {
    const { exchange, requests } = kernel(request => [
      thing(request, { name: 'a' }, NLM_F_MULTI | NLM_F_DUMP_INTR),
      done(request.sequence),
    ]);
    expect(caught(() => runNow(exchange.dump(call(), read)))).toMatchObject({ code: 'ERR_DUMP_INTERRUPTED' });
    expect(requests()).toHaveLength(100);
  });

  test('that is refused at once rejects', () => {
    const { exchange } = kernel(request => [refuse(request, -1, { text: 'No' })]);
    expect(caught(() => runNow(exchange.dump(call(), read)))).toMatchObject({ code: 'EPERM', kernelMessage: 'No' });
  });

  test('that fails halfway rejects with the message of its end', () => {
    for (const text of ['No', 'A sentence that is longer than the header of a message']) {
      const { exchange } = kernel(request => [part(request, 'a'), done(request.sequence, -22, { text })]);
      expect(caught(() => runNow(exchange.dump(call(), read)))).toMatchObject({ code: 'EINVAL', kernelMessage: text });
    }
    const { exchange } = kernel(request => [part(request, 'a'), done(request.sequence, -12)]);
    const error = caught(() => runNow(exchange.dump(call(), read))) as NetlinkError;
    expect([error.code, error.kernelMessage]).toEqual(['ENOMEM', undefined]);
  });

  test('without an end is rejected with ERR_NO_REPLY', () => {
    const { exchange } = kernel(request => [part(request, 'a')]);
    expect(caught(() => runNow(exchange.dump(call(), read)))).toMatchObject({ code: 'ERR_NO_REPLY' });
  });

  test('that lost parts is rejected with ERR_REPLIES_LOST, and read to its end', () => {
    const { exchange, wire } = kernel(request => [
      part(request, 'a'),
      LOST,
      part(request, 'c'),
      LOST,
      done(request.sequence),
    ]);
    expect(caught(() => runNow(exchange.dump(call(), read)))).toMatchObject({ code: 'ERR_REPLIES_LOST' });
    expect(wire.waiting).toBe(0);
  });

  test('whose reader fails is still read to its end', () => {
    const { exchange, wire } = kernel(request => [part(request, 'a'), part(request, 'b'), done(request.sequence)]);
    const reader = () => {
      throw new Error('cannot read this');
    };
    expect(() => runNow(exchange.dump(call(), reader))).toThrow('cannot read this');
    expect(wire.waiting).toBe(0);
  });
});

describe('a pipeline', () => {
  const calls = (count: number, value: (index: number) => Thing = () => ({ name: 'a' })) =>
    Array.from({ length: count }, (_, i) => call(value(i)));

  test('sends many messages in one datagram, of which the last is acknowledged', () => {
    const { exchange, wire, requests } = kernel(request =>
      (request.flags & NLM_F_ACK) !== 0 ? [acknowledge(request)] : [],
    );
    expect(runNow(exchange.pipeline(calls(5)))).toEqual({ failures: [], unknownFrom: undefined, unsentFrom: 5 });
    expect(wire.sent).toHaveLength(1);
    expect(requests().map(({ flags }) => flags & NLM_F_ACK)).toEqual([0, 0, 0, 0, NLM_F_ACK]);
  });

  test('without messages sends nothing', () => {
    const { exchange, wire } = kernel(() => []);
    expect(runNow(exchange.pipeline([]))).toEqual({ failures: [], unknownFrom: undefined, unsentFrom: 0 });
    expect(wire.sent).toHaveLength(0);
  });

  /** Refuses every third, and acknowledges who asks for it. */
  const everyThird = (request: Received, index: number): Answer[] => {
    if (index % 3 === 2) return [refuse(request, -17, { text: `no ${index}`, offset: 16 })];
    return (request.flags & NLM_F_ACK) !== 0 ? [acknowledge(request)] : [];
  };

  test.each([1, 2, 3, 6, 199, 200, 201, 450])('of %i messages matches each refusal with its call', count => {
    const { exchange, wire, requests } = kernel(everyThird);
    const result = runNow(exchange.pipeline(calls(count, i => ({ name: `n${i}` }))));
    const refusedIndexes = Array.from({ length: count }, (_, i) => i).filter(i => i % 3 === 2);
    expect([result.unknownFrom, result.unsentFrom]).toEqual([undefined, count]);
    expect(result.failures.map(({ index }) => index)).toEqual(refusedIndexes);
    for (const { index, error } of result.failures) {
      expect(error).toMatchObject({
        code: 'EEXIST',
        subject: { name: `n${index}` },
        path: ['name'],
        kernelMessage: `no ${index}`,
      });
      expect(received(error.request!)).toHaveLength(1);
      expect(new TextDecoder().decode(error.request)).toContain(`n${index}`);
    }
    expect(wire.sent).toHaveLength(Math.ceil(count / 200));
    expect(requests()).toHaveLength(count);
  });

  test('is split before a datagram gets too large, and makes room for its replies', () => {
    const { exchange, wire, requests } = kernel(everyThird);
    const long = 'x'.repeat(63);
    const big = attributes(
      'BIG',
      Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`f${i}`, opt(string(i + 1, 63))])),
    );
    const value = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`f${i}`, long]));
    const bigCalls = calls(100).map(each => ({
      ...each,
      write: (writer: Writer) => big.write(writer, value as never, NO_CONTEXT),
    }));
    const result = runNow(exchange.pipeline(bigCalls));
    expect(result.failures).toHaveLength(33);
    expect(requests()).toHaveLength(100);
    expect(wire.sent.length).toBeGreaterThan(1);
    for (const datagram of wire.sent) expect(datagram.length).toBeLessThan(64 * 1024 + 4096);
    expect(wire.reserved.map(({ replies }) => replies)).toEqual(wire.sent.map(datagram => received(datagram).length));
  });

  test.each([
    ['the acknowledgement of the last', [] as Answer[]],
    ['answers for which there was no room', [LOST]],
  ])('that lost %s does not know what became of its messages, and stops there', (_what, answers) => {
    const { exchange, wire } = kernel((request, index) => {
      if (index < 200) return everyThird(request, index);
      if (index === 205) return [refuse(request, -17)];
      return (request.flags & NLM_F_ACK) !== 0 ? answers : [];
    });
    const { failures, unknownFrom, unsentFrom } = runNow(exchange.pipeline(calls(600)));
    expect([unknownFrom, unsentFrom]).toEqual([200, 400]);
    expect(wire.sent).toHaveLength(2);
    expect(failures.map(({ index }) => index).filter(index => index < 200)).toHaveLength(66);
  });

  test('that lost replies keeps those that were queued before, and has room for the next', () => {
    // Reading says so first, whatever is queued.
    const { exchange, wire } = kernel((request, index) => {
      if (index === 0) return [LOST];
      return index === 3 || index === 7 ? [refuse(request, -17)] : [];
    });
    const { failures, unknownFrom, unsentFrom } = runNow(exchange.pipeline(calls(8)));
    expect([unknownFrom, unsentFrom]).toEqual([0, 8]);
    expect(failures.map(({ index, error }) => [index, error.code])).toEqual([
      [3, 'EEXIST'],
      [7, 'EEXIST'],
    ]);
    expect(wire.waiting).toBe(0);
  });

  test('that cannot be sent rejects', () => {
    const { exchange, wire } = kernel(everyThird);
    wire.sendError = -105;
    expect(caught(() => runNow(exchange.pipeline(calls(3))))).toMatchObject({ code: 'ENOBUFS', syscall: 'sendto' });
  });

  test('with a bad value sends nothing of that datagram', () => {
    const { exchange, wire } = kernel(everyThird);
    expect(() => runNow(exchange.pipeline([...calls(2), call({ count: -1 })]))).toThrow(RangeError);
    expect(wire.sent).toHaveLength(0);
  });
});

describe('a transaction of encoded bytes', () => {
  const bytes = together(
    message(1, 0, 7, () => {}),
    message(2, 0, 8, () => {}),
  );

  test('passes every reply to its visitor until the visitor is done', () => {
    const { exchange, wire } = kernel(request => [refuse(request, -17), acknowledge(request)]);
    const seen: number[] = [];
    const outcome = runNow(exchange.transact([bytes], 2, answer => seen.push(answer.sequence) === 3));
    expect(outcome).toBe('done');
    expect(seen).toEqual([7, 7, 8]);
    expect(wire.sent).toEqual([bytes]);
  });

  test('is one datagram, also where its bytes are in several pieces', () => {
    const { exchange, wire } = kernel(request => [acknowledge(request)]);
    const parts = [bytes.subarray(0, 3), bytes.subarray(3, 20), bytes.subarray(20)];
    expect(runNow(exchange.transact(parts, 2, answer => answer.sequence === 8))).toBe('done');
    expect(wire.sent).toEqual([bytes]);
  });

  test('reports the end of the replies, and lost replies', () => {
    const some = kernel(request => [refuse(request, -17)]);
    expect(runNow(some.exchange.transact([bytes], 2, () => false))).toBe('drained');
    const lost = kernel(request => [LOST, refuse(request, -17)]);
    const seen: number[] = [];
    expect(runNow(lost.exchange.transact([bytes], 2, answer => seen.push(answer.sequence) > 99))).toBe('lost');
    expect(seen).toEqual([7, 8]);
  });

  test('ignores replies that were queued before', () => {
    const { exchange, wire } = kernel(request => [acknowledge(request)]);
    // One that gave up has read none of its own.
    const giveUp = () => {
      throw new Error('given up');
    };
    expect(() => runNow(exchange.transact([bytes], 2, giveUp))).toThrow('given up');
    wire.push(refuse({ ...received(bytes)[0]! }, -17), LOST, refuse({ ...received(bytes)[1]! }, -17));
    const verdicts: number[] = [];
    runNow(exchange.transact([bytes], 2, answer => verdicts.push(readAck(answer).errno) > 99));
    expect(verdicts).toEqual([0, 0]);
  });

  test('rejects a request that is too large for an unprivileged caller with ERR_TRANSACTION_TOO_LARGE before sending', () => {
    const { exchange, wire } = kernel(request => [acknowledge(request)]);
    wire.limit = 5000;
    const large = new Uint8Array(5001);
    const error = caught(() => runNow(exchange.transact([large], 1, () => true)));
    expect(error).toMatchObject({ code: 'ERR_TRANSACTION_TOO_LARGE' });
    expect((error as Error).message).toContain('net.core.wmem_max');
    expect(wire.sent).toHaveLength(0);
  });

  test('leaves the thread when it is large and may', async () => {
    const large = message(1, 0, 7, writer => writer.zeros(100_000));
    const { exchange, wire } = kernel(request => [acknowledge(request)]);
    const run = (): Operation<string> => exchange.transact([large], 1, () => true);
    expect(runNow(run())).toBe('done');
    expect(wire.sentAway).toBe(0);
    const operation = run();
    expect(await runAway(operation, operation.next())).toBe('done');
    expect(wire.sentAway).toBe(1);
  });
});

describe('a generic netlink family', () => {
  let families = 0;
  /** A kernel with one family, whose number may change as it does when a module is loaded anew. */
  function familyKernel(id: { now: number | undefined }, answer: (request: Received) => Answer[]) {
    const name = `family${families++}`;
    const { exchange, wire, requests } = kernel(request => {
      if (request.type !== GENL_ID_CTRL) return request.type === id.now ? answer(request) : [refuse(request, -2)];
      expect(request.payload[0]).toBe(CTRL_CMD_GETFAMILY);
      expect(new TextDecoder().decode(request.payload)).toContain(`${name}\0`);
      if (id.now === undefined) return [refuse(request, -2)];
      const reply = message(GENL_ID_CTRL, 0, request.sequence, writer => {
        writer.u32(0, true);
        const start = writer.beginAttribute(CTRL_ATTR_FAMILY_ID);
        writer.u16(id.now!, true);
        writer.endAttribute(start);
      });
      return [reply, acknowledge(request)];
    });
    const family = new GenericFamily(exchange, { name, version: 1, table, missing: 'load the module' });
    return { family, wire, requests, types: () => requests().map(({ type }) => type), exchange, name };
  }
  const command = (value: Thing = {}): Command<Thing> => ({ syscall: 'THING_NEW', command: 9, value, subject: value });

  test('is resolved once', () => {
    const { family, types } = familyKernel({ now: 33 }, request => [acknowledge(request)]);
    for (let i = 0; i < 3; i++) runNow(family.request(command({ name: 'a' })));
    expect(types()).toEqual([GENL_ID_CTRL, 33, 33, 33]);
  });

  test('is resolved once for all handles of the process', () => {
    const first = familyKernel({ now: 33 }, request => [acknowledge(request)]);
    runNow(first.family.request(command()));
    const second = kernel(request => [acknowledge(request)]);
    const again = new GenericFamily(second.exchange, { name: first.name, version: 1, table, missing: '' });
    runNow(again.request(command()));
    expect(second.requests().map(({ type }) => type)).toEqual([33]);
  });

  test('writes its header and its table', () => {
    const { family, requests } = familyKernel({ now: 33 }, request => [acknowledge(request)]);
    runNow(family.request(command({ name: 'a' })));
    expect(Buffer.from(requests()[1]!.payload).toString('hex')).toBe(`09010000${'060001006100'}0000`);
  });

  test('is resolved again, and the request repeated, when its number has changed', () => {
    const id = { now: 33 as number | undefined };
    const { family, types } = familyKernel(id, request => [acknowledge(request)]);
    runNow(family.request(command()));
    id.now = 44;
    runNow(family.request(command()));
    runNow(family.request(command()));
    expect(types()).toEqual([GENL_ID_CTRL, 33, 33, GENL_ID_CTRL, 44, 44]);
  });

  test('does not repeat a request whose ENOENT is about an object', () => {
    const { family, types } = familyKernel({ now: 33 }, request => [refuse(request, -2)]);
    const error = caught(() => runNow(family.request(command({ name: 'a' }))));
    expect(error).toMatchObject({ code: 'ENOENT', syscall: 'THING_NEW', subject: { name: 'a' } });
    expect(types()).toEqual([GENL_ID_CTRL, 33, GENL_ID_CTRL]);
  });

  test('explains what to do when the kernel lacks it', () => {
    const id = { now: undefined as number | undefined };
    const { family, types } = familyKernel(id, request => [acknowledge(request)]);
    const error = caught(() => runNow(family.request(command())));
    expect(error).toMatchObject({ code: 'ENOENT', syscall: 'CTRL_CMD_GETFAMILY', hint: 'load the module' });
    id.now = 33;
    runNow(family.request(command()));
    expect(types()).toEqual([GENL_ID_CTRL, GENL_ID_CTRL, 33]);
  });

  test('reports that it was unloaded meanwhile', () => {
    const id = { now: 33 as number | undefined };
    const { family } = familyKernel(id, request => [acknowledge(request)]);
    runNow(family.request(command()));
    id.now = undefined;
    expect(caught(() => runNow(family.request(command())))).toMatchObject({ hint: 'load the module' });
  });

  test('reads one object or all', () => {
    const reply = (request: Received, name: string, flags = 0) =>
      message(33, flags, request.sequence, writer => {
        writer.u32(0, true);
        table.write(writer, { name }, NO_CONTEXT);
      });
    const { family } = familyKernel({ now: 33 }, request =>
      (request.flags & NLM_F_DUMP) === NLM_F_DUMP
        ? [reply(request, 'a', NLM_F_MULTI), reply(request, 'b', NLM_F_MULTI), done(request.sequence)]
        : [reply(request, 'one'), acknowledge(request)],
    );
    expect(runNow(family.get(command(), value => value.name))).toBe('one');
    expect(runNow(family.dump(command(), value => value.name))).toEqual(['a', 'b']);
  });

  test('turns offsets of the kernel into paths behind its header', () => {
    const { family } = familyKernel({ now: 33 }, request => [refuse(request, -22, { offset: 20 })]);
    expect(caught(() => runNow(family.request(command({ name: 'a' }))))).toMatchObject({ path: ['name'] });
  });

  test('sends pipelines', () => {
    const { family, wire } = familyKernel({ now: 33 }, request => [
      ...(new TextDecoder().decode(request.payload).includes('bad') ? [refuse(request, -17)] : []),
      ...((request.flags & NLM_F_ACK) !== 0 ? [acknowledge(request)] : []),
    ]);
    const result = runNow(
      family.pipeline([command({ name: 'good' }), command({ name: 'bad' }), command({ name: 'fine' })]),
    );
    expect(result.failures.map(({ index, error }) => [index, error.code])).toEqual([[1, 'EEXIST']]);
    expect(wire.sent).toHaveLength(2);
  });
});
