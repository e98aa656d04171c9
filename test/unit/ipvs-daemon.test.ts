import type { SyncDaemon } from 'netsteer/ipvs';
import { describe, expect, it } from 'vitest';
import { NO_CONTEXT, toHex, Writer } from '../../src/codec/index.ts';
import { NetlinkError, StateError } from '../../src/errors.ts';
import { commandTable, type WireCommand } from '../../src/ip_vs/attributes.ts';
import type { Backend, IpvsCommand } from '../../src/ipvs/backends/backend.ts';
import { startSync, stopSync, syncDaemons } from '../../src/ipvs/daemon.ts';
import { runNow } from '../../src/netlink/operation.ts';

/** A backend that keeps what it is asked, and answers dumps with `answers`. */
function recorder(answers: WireCommand[] = []): { backend: Backend; asked: IpvsCommand[] } {
  const asked: IpvsCommand[] = [];
  const backend = {
    // biome-ignore lint/correctness/useYield: it answers at once
    *request(command: IpvsCommand) {
      asked.push(command);
    },
    *dump<R>(command: IpvsCommand, read: (value: WireCommand) => R | undefined) {
      asked.push(command);
      return answers.flatMap(answer => read(answer) ?? []);
    },
  } as Partial<Backend> as Backend;
  return { backend, asked };
}

const hex = (value: WireCommand) => {
  const writer = new Writer();
  commandTable.write(writer, value, NO_CONTEXT);
  return toHex(writer.copy());
};

const minimal: SyncDaemon = { state: 'backup', interface: 'eth0', syncId: 0 };

describe('the sync daemon', () => {
  it('is started with the message that ipvsadm sends', () => {
    const { backend, asked } = recorder();
    const daemon: SyncDaemon = {
      state: 'master',
      interface: 'dummy0',
      syncId: 9,
      maxLength: 1400,
      group: '224.0.0.99',
      port: 9000,
      ttl: 4,
    };
    runNow(startSync(backend, daemon));
    expect(asked[0]).toMatchObject({ syscall: 'IPVS_CMD_NEW_DAEMON', command: 9, subject: daemon });
    // The port is in host order, as the length is, unlike every other port of IPVS.
    expect(hex(asked[0]!.value)).toBe(
      [
        '40000380',
        '0800010001000000',
        '0b00020064756d6d79300000',
        '0800030009000000',
        '0600040078050000',
        '08000500e0000063',
        '0600070028230000',
        '0500080004000000',
      ].join(''),
    );
  });

  it('takes an IPv6 group, and sends only what is given', () => {
    const { backend, asked } = recorder();
    runNow(startSync(backend, { ...minimal, group: 'ff02::81' }));
    expect(asked[0]!.value.daemon).toEqual({
      state: 2,
      interface: 'eth0',
      syncId: 0,
      group6: 'ff020000000000000000000000000081',
    });
  });

  it('is stopped by its state', () => {
    const { backend, asked } = recorder();
    runNow(stopSync(backend, 'backup'));
    expect(asked[0]).toMatchObject({ command: 10, value: { daemon: { state: 2 } } });
    expect(() => runNow(stopSync(backend, 'both' as 'backup'))).toThrow('state: expected one of master, backup');
  });

  it.each([
    ['netlink, which does not acknowledge', new StateError('ERR_NO_REPLY', 'nothing')],
    ['the socket options', new NetlinkError({ errno: -4, syscall: 'setsockopt' })],
  ])(
    'is stopped before its thread has run: %s; a missing acknowledgement is rejected with ERR_NO_REPLY',
    (_, interrupted) => {
      const stopping = (answers: WireCommand[]) => {
        const { backend } = recorder(answers);
        // biome-ignore lint/correctness/useYield: it fails at once
        const request = function* () {
          throw interrupted;
        };
        return () => runNow(stopSync({ ...backend, request } as Backend, 'backup'));
      };
      expect(stopping([])).not.toThrow();
      expect(stopping([{ daemon: { state: 1, interface: 'eth0', syncId: 0 } }])).not.toThrow();
      expect(stopping([{ daemon: { state: 2, interface: 'eth0', syncId: 0 } }])).toThrow(interrupted);
    },
  );

  it('is listed, also in the form of kernels before 4.3', () => {
    const { backend } = recorder([
      {
        daemon: {
          state: 1,
          interface: 'eth0',
          syncId: 9,
          maxLength: 1472,
          group: 'e0000051',
          port: 8848,
          ttl: 1,
        },
      },
      { daemon: { state: 2, interface: 'eth1', syncId: 300 } },
      {},
    ]);
    expect(runNow(syncDaemons(backend))).toEqual([
      { state: 'master', interface: 'eth0', syncId: 9, maxLength: 1472, group: '224.0.0.81', port: 8848, ttl: 1 },
      { state: 'backup', interface: 'eth1', syncId: 300 },
    ]);
  });

  it.each<[Partial<Record<keyof SyncDaemon, unknown>>, string]>([
    [{ state: 'both' }, 'state'],
    [{ interface: '' }, 'interface'],
    [{ interface: 'a-name-of-sixteen' }, 'interface'],
    [{ syncId: 256 }, 'syncId'],
    [{ syncId: undefined }, 'syncId'],
    [{ maxLength: 0 }, 'maxLength'],
    [{ maxLength: 65508 }, 'maxLength'],
    [{ group: '10.0.0.1' }, 'group'],
    [{ group: 'fe80::1' }, 'group'],
    [{ group: 'everyone' }, 'group'],
    [{ port: 0 }, 'port'],
    [{ ttl: 256 }, 'ttl'],
  ])('rejects %j before anything is sent', (patch, attribute) => {
    const { backend, asked } = recorder();
    expect(() => runNow(startSync(backend, { ...minimal, ...patch } as SyncDaemon))).toThrow(
      expect.objectContaining({ attribute }),
    );
    expect(asked).toEqual([]);
  });

  it('explains the errors of the kernel', () => {
    const { backend, asked } = recorder();
    runNow(startSync(backend, minimal));
    const [start] = asked;
    expect(start!.hint?.('ENODEV', [])).toContain('no such device');
    expect(start!.blame?.('ENODEV')).toEqual(['interface']);
    expect(start!.hint?.('EEXIST', [])).toContain('stopSync');
    runNow(stopSync(backend, 'master'));
    expect(asked[1]!.hint?.('ESRCH', [])).toContain('no master daemon');
  });
});
