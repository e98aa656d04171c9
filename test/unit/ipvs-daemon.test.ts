import type { SyncDaemon } from 'netsteer/ipvs';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../src/codec/index.ts';
import { openIpvs } from '../support/memory-ipvs.ts';
import { received } from '../support/memory-transport.ts';

/** The payload of the last request, behind its generic header. */
const lastRequest = ({ sent }: { sent: readonly Uint8Array[] }) => toHex(received(sent.at(-1)!)[0]!.payload.slice(4));

const minimal: SyncDaemon = { state: 'backup', interface: 'eth0', syncId: 0 };

describe('the sync daemon', () => {
  it('is started with the message that ipvsadm sends', () => {
    const { kernel, ipvs } = openIpvs();
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
    expect(lastRequest(kernel)).toBe(
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
    const { kernel, ipvs } = openIpvs();
    ipvs.sync.startSync({ ...minimal, group: 'ff02::81' });
    expect(lastRequest(kernel)).toBe(
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
    const { kernel, ipvs } = openIpvs();
    ipvs.sync.startSync(minimal);
    ipvs.sync.stopSync('backup');
    expect(lastRequest(kernel)).toBe('0c0003800800010002000000');
    expect(kernel.log.at(-1)).toMatchObject({ command: 10, errno: 0 });
    expect(kernel.daemons).toEqual([]);
    expect(() => ipvs.sync.stopSync('both' as 'backup')).toThrow('state: expected one of master, backup');
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
    const { kernel, ipvs } = openIpvs();
    expect(() => ipvs.sync.startSync({ ...minimal, ...patch } as SyncDaemon)).toThrow(
      expect.objectContaining({ attribute }),
    );
    expect(kernel.sent).toEqual([]);
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
