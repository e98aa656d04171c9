import { describe, expect, test } from 'vitest';
import { attributes, NO_CONTEXT, opt, string, type Writer } from '../../src/codec/index.ts';
import { NLM_F_ACK } from '../../src/linux/netlink.ts';
import { type Operation, pipeline, readAck } from '../../src/netlink/index.ts';
import { runAway, runNow } from '../../src/netlink/operation.ts';
import { LOST } from '../../src/netlink/transport.ts';
import { errorOf } from '../support/error-of.ts';
import { call, kernel, type Thing } from '../support/memory-subsystem.ts';
import {
  type Answer,
  acknowledge,
  message,
  type Received,
  received,
  refuse,
  together,
} from '../support/memory-transport.ts';

describe('a pipeline', () => {
  const calls = (count: number, value: (index: number) => Thing = () => ({ name: 'a' })) =>
    Array.from({ length: count }, (_, i) => call(value(i)));

  test('sends many messages in one datagram, of which the last is acknowledged', () => {
    const { exchange, wire, requests } = kernel(request =>
      (request.flags & NLM_F_ACK) !== 0 ? [acknowledge(request)] : [],
    );
    expect(runNow(pipeline(exchange, calls(5)))).toEqual({ failures: [], unknownFrom: undefined, unsentFrom: 5 });
    expect(wire.sent).toHaveLength(1);
    expect(requests().map(({ flags }) => flags & NLM_F_ACK)).toEqual([0, 0, 0, 0, NLM_F_ACK]);
  });

  test('without messages sends nothing', () => {
    const { exchange, wire } = kernel(() => []);
    expect(runNow(pipeline(exchange, []))).toEqual({ failures: [], unknownFrom: undefined, unsentFrom: 0 });
    expect(wire.sent).toHaveLength(0);
  });

  /** Refuses every third, and acknowledges who asks for it. */
  const everyThird = (request: Received, index: number): Answer[] => {
    if (index % 3 === 2) return [refuse(request, -17, { text: `no ${index}`, offset: 16 })];
    return (request.flags & NLM_F_ACK) !== 0 ? [acknowledge(request)] : [];
  };

  test.each([1, 2, 3, 6, 199, 200, 201, 450])('of %i messages matches each refusal with its call', count => {
    const { exchange, wire, requests } = kernel(everyThird);
    const result = runNow(
      pipeline(
        exchange,
        calls(count, i => ({ name: `n${i}` })),
      ),
    );
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
    const result = runNow(pipeline(exchange, bigCalls));
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
    const { failures, unknownFrom, unsentFrom } = runNow(pipeline(exchange, calls(600)));
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
    const { failures, unknownFrom, unsentFrom } = runNow(pipeline(exchange, calls(8)));
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
    expect(errorOf(Error, () => runNow(pipeline(exchange, calls(3))))).toMatchObject({
      code: 'ENOBUFS',
      syscall: 'sendto',
    });
  });

  test('with a bad value sends nothing of that datagram', () => {
    const { exchange, wire } = kernel(everyThird);
    expect(() => runNow(pipeline(exchange, [...calls(2), call({ count: -1 })]))).toThrow(RangeError);
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
    const error = errorOf(Error, () => runNow(exchange.transact([large], 1, () => true)));
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
