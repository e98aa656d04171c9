import { describe, expect, test } from 'vitest';
import { NO_CONTEXT } from '../../src/codec/index.ts';
import { CTRL_ATTR_FAMILY_ID, CTRL_CMD_GETFAMILY, GENL_ID_CTRL } from '../../src/linux/genetlink.ts';
import { NLM_F_ACK, NLM_F_DUMP, NLM_F_MULTI } from '../../src/linux/netlink.ts';
import { type Command, GenericFamily } from '../../src/netlink/index.ts';
import { runNow } from '../../src/netlink/operation.ts';
import { errorOf } from '../support/error-of.ts';
import { kernel, type Thing, table } from '../support/memory-subsystem.ts';
import { type Answer, acknowledge, done, message, type Received, refuse } from '../support/memory-transport.ts';

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
    const error = errorOf(Error, () => runNow(family.request(command({ name: 'a' }))));
    expect(error).toMatchObject({ code: 'ENOENT', syscall: 'THING_NEW', subject: { name: 'a' } });
    expect(types()).toEqual([GENL_ID_CTRL, 33, GENL_ID_CTRL]);
  });

  test('explains what to do when the kernel lacks it', () => {
    const id = { now: undefined as number | undefined };
    const { family, types } = familyKernel(id, request => [acknowledge(request)]);
    const error = errorOf(Error, () => runNow(family.request(command())));
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
    expect(errorOf(Error, () => runNow(family.request(command())))).toMatchObject({ hint: 'load the module' });
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
    expect(errorOf(Error, () => runNow(family.request(command({ name: 'a' }))))).toMatchObject({ path: ['name'] });
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
