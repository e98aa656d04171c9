import type { SyncDaemon } from 'netsteer/ipvs';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../src/codec/index.ts';
import * as C from '../../src/linux/ip_vs.ts';
import { openIpvs } from '../support/ipvs-kernel.ts';
import { received } from '../support/memory-transport.ts';

/** The payload of the last request, behind its generic header. */
const lastRequest = ({ sent }: { sent: readonly Uint8Array[] }) => toHex(received(sent.at(-1)!)[0]!.payload.slice(4));

const minimal: SyncDaemon = { state: 'backup', interface: 'eth0', syncId: 0 };

describe('the sync daemon', () => {
  it('is started with the message that ipvsadm sends', () => {
    const { kernel, wire, ipvs } = openIpvs();
    const daemon: SyncDaemon = {
      state: 'master',
      interface: 'eth0',
      syncId: 9,
      maxLength: 1400,
      group: '224.0.0.99',
      port: 9000,
      ttl: 4,
    };
    ipvs.sync.startSync(daemon);
    expect(kernel.log.at(-1)).toMatchObject({ command: 9, errno: 0 });
    // The port is in host order, as the length is, unlike every other port of IPVS.
    expect(lastRequest(wire)).toBe(
      [
        '40000380',
        '0800010001000000',
        '090002006574683000000000',
        '0800030009000000',
        '0600040078050000',
        '08000500e0000063',
        '0600070028230000',
        '0500080004000000',
      ].join(''),
    );
  });

  it('takes an IPv6 group, and sends only what is given', () => {
    const { wire, ipvs } = openIpvs();
    ipvs.sync.startSync({ ...minimal, group: 'ff02::81' });
    expect(lastRequest(wire)).toBe(
      [
        '34000380',
        '0800010002000000',
        '090002006574683000000000',
        '0800030000000000',
        '14000600ff020000000000000000000000000081',
      ].join(''),
    );
  });

  it('is stopped by its state', () => {
    const { kernel, wire, ipvs } = openIpvs();
    ipvs.sync.startSync(minimal);
    ipvs.sync.stopSync('backup');
    expect(lastRequest(wire)).toBe('0c0003800800010002000000');
    expect(kernel.log.at(-1)).toMatchObject({ command: 10, errno: 0 });
    expect(kernel.daemons.size).toBe(0);
    expect(() => ipvs.sync.stopSync('both' as 'backup')).toThrow('state: expected one of master, backup');
  });

  it.each(['netlink', 'sockopt'] as const)(
    'is stopped before its thread has run, over %s; one that runs on is rejected with ERR_NO_REPLY or EINTR',
    via => {
      const EINTR = -4;
      const code = via === 'netlink' ? 'ERR_NO_REPLY' : 'EINTR';
      const stopping = (running: number | undefined) => {
        const { kernel, ipvs } = openIpvs(via);
        if (running !== undefined) kernel.daemons.set(running, { state: running, interface: 'eth0', syncId: 0 });
        // Over netlink the request is not acknowledged, over the socket options it is interrupted.
        kernel.refuses = command => (command === C.IPVS_CMD_DEL_DAEMON ? EINTR : undefined);
        kernel.acknowledges = command => command !== C.IPVS_CMD_DEL_DAEMON;
        return () => ipvs.sync.stopSync('backup');
      };
      expect(stopping(undefined)).not.toThrow();
      expect(stopping(C.IP_VS_STATE_MASTER)).not.toThrow();
      expect(stopping(C.IP_VS_STATE_BACKUP)).toThrow(expect.objectContaining({ code }));
    },
  );

  it('is listed, also in the form of kernels before 4.3', () => {
    const { kernel, ipvs } = openIpvs();
    const group = { maxLength: 1472, group: 'e0000051', port: 8848, ttl: 1 };
    kernel.daemons.set(1, { state: 1, interface: 'eth0', syncId: 9, ...group });
    kernel.daemons.set(2, { state: 2, interface: 'eth1', syncId: 300 });
    // A message without a daemon is passed over.
    kernel.daemons.set(3, undefined as never);
    expect(ipvs.sync.syncDaemons()).toEqual([
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
    const { wire, ipvs } = openIpvs();
    expect(() => ipvs.sync.startSync({ ...minimal, ...patch } as SyncDaemon)).toThrow(
      expect.objectContaining({ attribute }),
    );
    expect(wire.sent).toEqual([]);
  });

  it('explains the errors of the kernel', () => {
    const { ipvs } = openIpvs();
    expect(() => ipvs.sync.startSync({ ...minimal, interface: 'nosuch0' })).toThrow(
      expect.objectContaining({
        code: 'ENODEV',
        attribute: 'interface',
        hint: expect.stringContaining('no such device'),
        syscall: 'IPVS_CMD_NEW_DAEMON',
        subject: { ...minimal, interface: 'nosuch0' },
      }),
    );
    ipvs.sync.startSync(minimal);
    expect(() => ipvs.sync.startSync(minimal)).toThrow(
      expect.objectContaining({ code: 'EEXIST', attribute: 'state', hint: expect.stringContaining('stopSync') }),
    );
    expect(() => ipvs.sync.stopSync('master')).toThrow(
      expect.objectContaining({ code: 'ESRCH', hint: expect.stringContaining('no master daemon') }),
    );
  });
});
