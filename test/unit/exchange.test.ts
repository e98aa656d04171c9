import { describe, expect, test } from 'vitest';
import { NO_CONTEXT, sourceOf } from '../../src/codec/index.ts';
import { DecodeError, NetlinkError, StateError } from '../../src/errors.ts';
import {
  NLM_F_ACK,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_REQUEST,
  NLMSG_ERROR,
  NLMSG_NOOP,
} from '../../src/linux/netlink.ts';
import { messagesIn, NLMSG_HDRLEN, readAck } from '../../src/netlink/index.ts';
import { runNow } from '../../src/netlink/operation.ts';
import { LOST } from '../../src/netlink/transport.ts';
import { errorOf } from '../support/error-of.ts';
import { call, kernel, OBJECT, read, table, thing } from '../support/memory-subsystem.ts';
import {
  type Answer,
  acknowledge,
  message,
  type Received,
  received,
  refuse,
  together,
} from '../support/memory-transport.ts';

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
    const error = errorOf(Error, () =>
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
    errorOf(Error, () => runNow(exchange.request(call())));
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
      const error = errorOf(Error, () => runNow(exchange.request(call(value))));
      expect(error).toMatchObject({ code: 'EINVAL', path, kernelMessage: 'Bad thing' });
      expect((error as Error).message).toContain(`(${path.join('.')}): Bad thing`);
    }
  });

  test('may have a text alone', () => {
    const { exchange } = kernel(request => [refuse(request, -22, { text: 'Bad thing' })]);
    expect(errorOf(Error, () => runNow(exchange.request(call(value))))).toMatchObject({
      path: [],
      kernelMessage: 'Bad thing',
    });
  });

  test('names no field where its offset is outside of the message or in the header', () => {
    for (const offset of [0, 15]) {
      const { exchange } = kernel(request => [refuse(request, -22, { offset })]);
      expect(
        errorOf(Error, () => runNow(exchange.request(call(value)))),
        String(offset),
      ).toMatchObject({ path: [] });
    }
    const { exchange } = kernel(request => [refuse(request, -22, { offset: 1e9 })]);
    expect(errorOf(Error, () => runNow(exchange.request(call(value))))).toMatchObject({ code: 'EINVAL' });
  });

  test('is preferred to the usual meaning of an errno', () => {
    const blaming = call(value, { blame: () => ['count'] });
    const pointing = kernel(request => [refuse(request, -22, { offset: 16 })]);
    expect(errorOf(Error, () => runNow(pointing.exchange.request(blaming)))).toMatchObject({ path: ['name'] });
    const silent = kernel(request => [refuse(request, -22)]);
    expect(errorOf(Error, () => runNow(silent.exchange.request(blaming)))).toMatchObject({ path: ['count'] });
  });

  test('is malformed with wrong lengths or without an error number', () => {
    const lying = kernel(request => [
      message(NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, request.sequence, writer => {
        writer.u32(-22 >>> 0, true);
        writer.raw(request.bytes.subarray(0, 16));
        writer.raw(Uint8Array.of(0xff, 0xff, 1, 0));
      }),
    ]);
    expect(errorOf(Error, () => runNow(lying.exchange.request(call())))).toBeInstanceOf(DecodeError);
    const short = kernel(request => [message(NLMSG_ERROR, 0, request.sequence, writer => writer.u16(0, true))]);
    expect(errorOf(Error, () => runNow(short.exchange.request(call())))).toBeInstanceOf(DecodeError);
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
    const error = errorOf(Error, () => runNow(exchange.request(call())));
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
    expect((errorOf(Error, () => runNow(exchange.request(call()))) as Error).message).toContain('has been carried out');
  });

  test('by a cut datagram rejects with ERR_TRUNCATED', () => {
    expect(stateOf(() => [new Uint8Array(128 * 1024 + 1)])).toBe('ERR_TRUNCATED');
  });

  test('of the socket rejects, when sending and when receiving', () => {
    const receiving = kernel(() => [-9]);
    expect(errorOf(Error, () => runNow(receiving.exchange.request(call())))).toMatchObject({
      code: 'EBADF',
      syscall: 'recvmsg',
    });
    const sending = kernel(request => [acknowledge(request)]);
    sending.wire.sendError = -1;
    expect(errorOf(Error, () => runNow(sending.exchange.request(call())))).toMatchObject({
      code: 'EPERM',
      syscall: 'sendto',
      operation: 'test.thing',
    });
  });

  test('by a wrong length rejects', () => {
    for (const bytes of [new Uint8Array(16), new Uint8Array(7), Uint8Array.of(99, 0, 0, 0, ...new Uint8Array(12))]) {
      const { exchange } = kernel(() => [bytes]);
      expect(errorOf(Error, () => runNow(exchange.request(call())))).toBeInstanceOf(DecodeError);
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
    errorOf(Error, () => runNow(exchange.get(call(), read)));
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
    expect(errorOf(Error, () => runNow(exchange.get(call(), read)))).toMatchObject({ code: 'ERR_NO_REPLY' });
  });
});
