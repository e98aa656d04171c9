import { describe, expect, it } from 'vitest';
import { NO_CONTEXT, toHex, Writer } from '../../src/codec/index.ts';
import { backlogOf, configTable, settingsOf } from '../../src/nflog/config.ts';
import { Nflog } from '../../src/nflog/index.ts';

describe('the settings of a log', () => {
  it('fit one message, with the defaults', () => {
    const writer = new Writer();
    configTable.write(writer, { command: 'bind', ...settingsOf({}) }, NO_CONTEXT);
    expect(toHex(writer.copy())).toBe(
      [
        '0500010001000000',
        '0a0002000000fffb02000000',
        '0800030000010000',
        '0800040000000001',
        '08000500000003e8',
        '0600060000010000',
      ].join(''),
    );
  });

  it('take modes, sizes and flags', () => {
    const queue = { packets: 1, milliseconds: 15, bufferBytes: 131072 };
    expect(settingsOf({ copy: 'meta', sequence: false, conntrack: true, queue })).toEqual({
      mode: { copy_range: 0, copy_mode: 'meta' },
      bufferBytes: 131072,
      timeout: 2,
      packets: 1,
      flags: ['conntrack'],
    });
    expect(settingsOf({ copy: { bytes: 128 } }).mode).toEqual({ copy_range: 128, copy_mode: 'packet' });
  });

  const refused: [object, string, string][] = [
    [{ groups: [65536] }, 'ERR_OUT_OF_RANGE', 'groups[0]'],
    [{ groups: [5, 5] }, 'ERR_OUT_OF_RANGE', 'groups[1]'],
    [{ groups: 5 }, 'ERR_INVALID_ARG_TYPE', 'groups'],
    [{}, 'ERR_INVALID_ARG_TYPE', 'groups'],
    [{ groups: [5], copy: 'all' }, 'ERR_OUT_OF_RANGE', 'copy'],
    [{ groups: [5], copy: { bytes: 0 } }, 'ERR_OUT_OF_RANGE', 'copy.bytes'],
    [{ groups: [5], copy: { bytes: 65532 } }, 'ERR_OUT_OF_RANGE', 'copy.bytes'],
    [{ groups: [5], queue: { bufferBytes: 8191 } }, 'ERR_OUT_OF_RANGE', 'queue.bufferBytes'],
    [{ groups: [5], queue: { bufferBytes: 131073 } }, 'ERR_OUT_OF_RANGE', 'queue.bufferBytes'],
    [{ groups: [5], queue: { milliseconds: 42_949_671 } }, 'ERR_OUT_OF_RANGE', 'queue.milliseconds'],
    [{ groups: [5], queue: { packets: 0 } }, 'ERR_OUT_OF_RANGE', 'queue.packets'],
    [{ groups: [5], queue: { bytes: 1 } }, 'ERR_UNKNOWN_FIELD', 'queue.bytes'],
    [{ groups: [5], sequence: 1 }, 'ERR_INVALID_ARG_TYPE', 'sequence'],
    [{ groups: [5], backlog: { when: 'block' } }, 'ERR_OUT_OF_RANGE', 'backlog.when'],
    [{ groups: [5], backlog: { packets: 0 } }, 'ERR_OUT_OF_RANGE', 'backlog.packets'],
    [{ groups: [5], receiveBufferBytes: 1 }, 'ERR_OUT_OF_RANGE', 'receiveBufferBytes'],
    [{ groups: [5], netns: undefined }, 'ERR_NETNS_UNDEFINED', 'netns'],
    [{ groups: [5], group: 6 }, 'ERR_UNKNOWN_FIELD', 'group'],
  ];
  it.each(refused)('reject %j with %s, instead of leaving it to the kernel', (options, code, attribute) => {
    expect(() => Nflog.open(options as never)).toThrow(expect.objectContaining({ code, attribute }));
  });

  it('have a bounded backlog by default', () => {
    expect(backlogOf()).toEqual({ packets: 16384, when: 'leave-to-kernel' });
  });
});
