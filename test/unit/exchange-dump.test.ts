import { describe, expect, test } from 'vitest';
import type { NetlinkError } from '../../src/errors.ts';
import { NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_MULTI, NLM_F_REQUEST } from '../../src/linux/netlink.ts';
import { runNow } from '../../src/netlink/operation.ts';
import { LOST } from '../../src/netlink/transport.ts';
import { errorOf } from '../support/error-of.ts';
import { call, kernel, read, thing } from '../support/memory-subsystem.ts';
import { done, type Received, refuse, together } from '../support/memory-transport.ts';

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
    expect(errorOf(Error, () => runNow(exchange.dump(call(), read)))).toMatchObject({ code: 'ERR_DUMP_INTERRUPTED' });
    expect(requests()).toHaveLength(100);
  });

  test('that is refused at once rejects', () => {
    const { exchange } = kernel(request => [refuse(request, -1, { text: 'No' })]);
    expect(errorOf(Error, () => runNow(exchange.dump(call(), read)))).toMatchObject({
      code: 'EPERM',
      kernelMessage: 'No',
    });
  });

  test('that fails halfway rejects with the message of its end', () => {
    for (const text of ['No', 'A sentence that is longer than the header of a message']) {
      const { exchange } = kernel(request => [part(request, 'a'), done(request.sequence, -22, { text })]);
      expect(errorOf(Error, () => runNow(exchange.dump(call(), read)))).toMatchObject({
        code: 'EINVAL',
        kernelMessage: text,
      });
    }
    const { exchange } = kernel(request => [part(request, 'a'), done(request.sequence, -12)]);
    const error = errorOf(Error, () => runNow(exchange.dump(call(), read))) as NetlinkError;
    expect([error.code, error.kernelMessage]).toEqual(['ENOMEM', undefined]);
  });

  test('without an end is rejected with ERR_NO_REPLY', () => {
    const { exchange } = kernel(request => [part(request, 'a')]);
    expect(errorOf(Error, () => runNow(exchange.dump(call(), read)))).toMatchObject({ code: 'ERR_NO_REPLY' });
  });

  test('that lost parts is rejected with ERR_REPLIES_LOST, and read to its end', () => {
    const { exchange, wire } = kernel(request => [
      part(request, 'a'),
      LOST,
      part(request, 'c'),
      LOST,
      done(request.sequence),
    ]);
    expect(errorOf(Error, () => runNow(exchange.dump(call(), read)))).toMatchObject({ code: 'ERR_REPLIES_LOST' });
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
