import { type TracingChannelSubscribers, tracingChannel } from 'node:diagnostics_channel';
import { afterEach, describe, expect, test } from 'vitest';
import { NetlinkError } from '../../src/errors.ts';
import { type Call, Exchange, pipeline, readAck } from '../../src/netlink/index.ts';
import { runAway, runNow } from '../../src/netlink/operation.ts';
import { LOST } from '../../src/netlink/transport.ts';
import { type Logger, Observer, REQUEST_CHANNEL, type RequestTrace } from '../../src/observe.ts';
import { runScript } from '../support/compiled.ts';
import {
  type Answer,
  acknowledge,
  done,
  MemoryTransport,
  message,
  type Received,
  received,
  refuse,
} from '../support/memory-transport.ts';

const SECRET = 'a prefix that nobody may see';
const call = (extra: Partial<Call> = {}): Call => ({
  type: 0x300,
  syscall: 'THING_NEW',
  write: writer => writer.string(SECRET),
  ...extra,
});
const BYTES = 16 + SECRET.length + 1 + (-(SECRET.length + 1) & 3);

interface Line {
  level: string;
  fields: Record<string, unknown>;
  message: string | undefined;
}

function logger(): Logger & { lines: Line[] } {
  const lines: Line[] = [];
  const log = (level: string) => (fields: object, text?: string) =>
    void lines.push({ level, fields: fields as Line['fields'], message: text });
  return { lines, debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') };
}

function kernel(answer: (request: Received) => Answer[], log?: Logger) {
  const wire = new MemoryTransport(datagram => received(datagram).flatMap(answer), 4026531840);
  const exchange = new Exchange(wire, 'things', new Observer(log));
  exchange.operation = 'things.add';
  return { wire, exchange };
}

const caught = (run: () => unknown): unknown => {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
};

const requests = tracingChannel<string, RequestTrace & { error?: unknown }>(REQUEST_CHANNEL);
let unsubscribe = () => {};
afterEach(() => unsubscribe());

/** Everything that is published, in order. */
function listen(): { event: string; trace: RequestTrace & { error?: unknown } }[] {
  const heard: { event: string; trace: RequestTrace & { error?: unknown } }[] = [];
  const on = (event: string) => (trace: unknown) =>
    void heard.push({ event, trace: { ...(trace as RequestTrace & { error?: unknown }) } });
  const subscribers = {
    start: on('start'),
    end: on('end'),
    asyncStart: on('asyncStart'),
    asyncEnd: on('asyncEnd'),
    error: on('error'),
  } as TracingChannelSubscribers<RequestTrace>;
  requests.subscribe(subscribers as never);
  unsubscribe = () => void requests.unsubscribe(subscribers as never);
  return heard;
}

const trace = { family: 'things', operation: 'things.add', netns: 4026531840, bytes: BYTES, messages: 1 };

describe('a logger', () => {
  test('is told each request and its duration at debug', () => {
    const log = logger();
    runNow(kernel(request => [acknowledge(request)], log).exchange.request(call()));
    expect(log.lines).toEqual([
      { level: 'debug', fields: { ...trace, microseconds: expect.any(Number) }, message: 'netlink request' },
    ]);
  });

  test('is told a refusal', () => {
    const log = logger();
    caught(() => runNow(kernel(request => [refuse(request, -17)], log).exchange.request(call())));
    expect(log.lines).toMatchObject([
      { level: 'debug', fields: { ...trace, code: 'EEXIST' }, message: 'netlink request refused' },
    ]);
  });

  test('is told a send that fails', () => {
    const log = logger();
    const { exchange, wire } = kernel(() => [], log);
    wire.sendError = -1;
    caught(() => runNow(exchange.request(call())));
    expect(log.lines).toMatchObject([{ fields: { code: 'EPERM' }, message: 'netlink request refused' }]);
  });

  test('is warned of lost replies, which reject with ERR_REPLIES_LOST', () => {
    const log = logger();
    caught(() => runNow(kernel(() => [LOST], log).exchange.request(call())));
    expect(log.lines).toMatchObject([
      {
        level: 'warn',
        fields: { operation: 'things.add', netns: 4026531840 },
        message: 'answers of the kernel were lost',
      },
      { level: 'debug', fields: { code: 'ERR_REPLIES_LOST' }, message: 'netlink request refused' },
    ]);
  });

  test('is never told what was sent', () => {
    const log = logger();
    const { exchange } = kernel(request => [refuse(request, -17)], log);
    caught(() => runNow(exchange.request(call())));
    runNow(pipeline(exchange, [call(), call()]));
    const text = JSON.stringify(log.lines);
    expect(text).not.toContain(SECRET);
    expect(text).not.toContain(Buffer.from(SECRET).toString('hex'));
  });

  test('is optional', () => {
    expect(new Observer().idle).toBe(true);
    expect(new Observer(logger()).idle).toBe(false);
    expect(() => new Observer().warn({}, 'nobody listens')).not.toThrow();
  });
});

describe('the tracing channel netsteer:request', () => {
  test('has the documented name', () => {
    expect(REQUEST_CHANNEL).toBe('netsteer:request');
  });

  test('publishes each request from its start to its end', () => {
    const heard = listen();
    runNow(kernel(request => [acknowledge(request)]).exchange.request(call()));
    expect(heard).toEqual([
      { event: 'start', trace },
      { event: 'end', trace },
    ]);
  });

  test('publishes the error of the caller in between', () => {
    const heard = listen();
    const error = caught(() => runNow(kernel(request => [refuse(request, -17)]).exchange.request(call())));
    expect(error).toBeInstanceOf(NetlinkError);
    expect(heard).toEqual([
      { event: 'start', trace },
      { event: 'error', trace: { ...trace, error } },
      { event: 'end', trace: { ...trace, error } },
    ]);
  });

  test('publishes every datagram of a pipeline, each attempt of a dump, and a transaction', async () => {
    const heard = listen();
    const acknowledging = kernel(request => ((request.flags & 4) !== 0 ? [acknowledge(request)] : []));
    runNow(
      pipeline(
        acknowledging.exchange,
        Array.from({ length: 201 }, () => call()),
      ),
    );
    expect(heard.filter(({ event }) => event === 'start').map(entry => entry.trace.messages)).toEqual([200, 1]);
    heard.length = 0;

    runNow(kernel(request => [done(request.sequence)]).exchange.dump(call(), () => undefined));
    expect(heard.map(({ event }) => event)).toEqual(['start', 'end']);
    heard.length = 0;

    const bytes = message(1, 0, 7, writer => writer.zeros(100_000));
    const large = kernel(request => [refuse(request, -22)]).exchange;
    const operation = large.transact([bytes], 3, answer => readAck(answer).errno !== 0);
    await runAway(operation, operation.next());
    expect(heard.map(({ event }) => event)).toEqual(['start', 'error', 'end']);
    expect(heard[0]!.trace).toMatchObject({ bytes: bytes.length, messages: 3 });
    expect(heard[1]!.trace.error).toMatchObject({ code: 'EINVAL' });
  });

  test('is received by subscribers that come after the handle was opened', () => {
    const { exchange } = kernel(request => [acknowledge(request)]);
    runNow(exchange.request(call()));
    const heard = listen();
    runNow(exchange.request(call()));
    expect(heard).toHaveLength(2);
  });
});

describe('NODE_DEBUG=netsteer', () => {
  const script = `
    import { Exchange } from './netlink/index.js';
    import { runNow } from './netlink/operation.js';
    const answers = [];
    const wire = {
      netnsInode: 7, closed: false, reserve: () => 1e9,
      send(bytes, length) {
        const refused = answers.length === 0 && bytes[16] === 1;
        const answer = new Uint8Array(36);
        answer.set(bytes.subarray(0, 16), 20);
        answer.set(bytes.subarray(8, 12), 8);
        const view = new DataView(answer.buffer);
        view.setUint32(0, 36, true); view.setUint16(4, 2, true); view.setInt32(16, refused ? -17 : 0, true);
        answers.push(answer);
        return length;
      },
      receive(into) { const answer = answers.shift(); if (!answer) return -11; into.set(answer); return answer.length; },
    };
    const exchange = new Exchange(wire, 'things');
    exchange.operation = 'things.add';
    const call = kind => ({ type: 0x300, syscall: 'X', write: w => { w.u8(kind); w.string('${SECRET}'); } });
    runNow(exchange.request(call(0)));
    try { runNow(exchange.request(call(1))); } catch (error) { console.log(error.code); }`;

  test('prints the same to stderr', () => {
    const { status, stdout, stderr } = runScript(script, { env: { NODE_DEBUG: 'netsteer' } });
    expect([status, stdout]).toEqual([0, 'EEXIST\n']);
    expect(stderr).toMatch(/NETSTEER \d+: things\.add \{[^}]*family: 'things'[^}]*netns: 7/);
    expect(stderr).toMatch(/NETSTEER \d+: things\.add refused EEXIST \{/);
    expect(stderr).not.toContain(SECRET);
  });

  test('prints nothing when it is not set', () => {
    const { status, stderr } = runScript(script, { env: { NODE_DEBUG: '' } });
    expect([status, stderr]).toEqual([0, '']);
  });
});
