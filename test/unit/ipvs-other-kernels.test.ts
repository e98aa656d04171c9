import { afterEach, describe, expect, it, test, vi } from 'vitest';
import { UnsupportedError } from '../../src/errors.ts';
import * as C from '../../src/linux/ip_vs.ts';
import { openIpvs } from '../support/ipvs-kernel.ts';

/*
 * Answers that the kernel in memory does not give: of kernels before Linux 5.2, of a moment that no test can hit, and lists with an entry twice.
 * They are written down here, by the kernel of support/ipvs-kernel.ts.
 */

const release = vi.hoisted(() => ({ text: '6.12.0' }));
vi.mock('node:os', async original => {
  const os = await original<typeof import('node:os')>();
  return { default: { ...os, release: () => release.text } };
});
afterEach(() => {
  release.text = '6.12.0';
});

const key = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const;
const web = { ...key, scheduler: 'wlc' } as const;
const server = (last: number) => ({ address: `10.1.0.${last}`, port: 80, forward: 'direct' }) as const;
const gue = { address: '10.1.0.5', port: 80, forward: 'tunnel', tunnel: { type: 'gue', port: 6080 } } as const;

test('a plain tunnel is removed that the kernel made in place of the requested one', () => {
  const { ipvs, kernel, wire } = openIpvs();
  release.text = '4.19.0-27-amd64';
  kernel.ignoresTunnels = true;
  ipvs.sync.addService(web);
  expect(() => ipvs.sync.addDestination(key, gue)).toThrow(UnsupportedError);
  expect(ipvs.sync.destinations(key)).toEqual([]);
  ipvs.sync.addDestination(key, { ...gue, tunnel: { type: 'ipip' } });
  expect(() => ipvs.sync.setDestination(key, gue)).toThrow('Linux 5.2');
  expect(() => ipvs.sync.editDestination(key, gue, { tunnel: { type: 'gre' } })).toThrow('Linux 5.3');
  const result = ipvs.sync.apply([{ op: 'setDestination', key, destination: gue }], { onError: 'collect' });
  expect(result.failures).toMatchObject([{ index: 0, code: 'EOPNOTSUPP', cause: expect.any(UnsupportedError) }]);
  kernel.ignoresTunnels = false;
  ipvs.sync.setDestination(key, gue);
  expect(ipvs.sync.apply([{ op: 'setDestination', key, destination: gue }]).outcome).toBe('all');
  // A newer kernel is not asked.
  release.text = '5.3.0';
  const sent = wire.sent.length;
  ipvs.sync.setDestination(key, gue);
  expect(wire.sent.length).toBe(sent + 1);
});

test('entries that a dump repeats appear once', () => {
  const { ipvs, kernel } = openIpvs();
  ipvs.sync.reconcile([
    { ...web, destinations: [server(1), server(2)] },
    { ...web, port: 81, destinations: [] },
  ]);
  const { listed } = kernel;
  kernel.listed = (command, value) => {
    const all = listed.call(kernel, command, value);
    return [...all, ...all.slice(0, 1)];
  };
  const { servers } = ipvs.sync.snapshot();
  expect(servers).toHaveLength(2);
  expect(servers[0]?.destinations).toHaveLength(2);
  expect(ipvs.sync.services()).toHaveLength(2);
  expect(ipvs.sync.destinations(key)).toHaveLength(2);
});

describe('the sync daemon', () => {
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
});
