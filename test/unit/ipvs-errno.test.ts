import { expect, test } from 'vitest';
import { NetlinkError } from '../../src/errors.ts';
import * as C from '../../src/linux/ip_vs.ts';
import { errorOf } from '../support/error-of.ts';
import { openIpvs } from '../support/memory-ipvs.ts';

/*
 * What a test cannot make a real kernel say: no memory, a module in the moment of its unloading, a kernel built without IPv6, and the limit of
 * threads for counters, which takes more services than a guest holds. What can be provoked is in test/guest/ipvs-errno.test.ts.
 */

const [ENOMEM, EINVAL, ENOPROTOOPT, EAFNOSUPPORT] = [-12, -22, -92, -97];

const web = { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'wlc' } as const;
const web6 = { ...web, address: '2001:db8::1' } as const;
const server = { address: '10.1.0.1', port: 80, forward: 'direct' } as const;

test('every call and a batch reject with ENOMEM when memory is short', () => {
  const { kernel, ipvs } = openIpvs('netlink');
  ipvs.sync.addService(web);
  kernel.refuses = () => ENOMEM;
  const calls = [
    () => ipvs.sync.addService(web6),
    () => ipvs.sync.setService(web),
    () => ipvs.sync.addDestination(web, server),
    () => ipvs.sync.editService(web, { scheduler: 'rr' }),
    () => ipvs.sync.startSync({ state: 'backup', interface: 'lo', syncId: 1 }),
  ];
  for (const call of calls) expect(errorOf(NetlinkError, call)).toMatchObject({ code: 'ENOMEM', errno: ENOMEM });
  const result = ipvs.sync.batch(b => b.addService(web6).addDestination(web, server), { onError: 'collect' });
  expect(result).toMatchObject({ outcome: 'none', failures: [{ code: 'ENOMEM' }, { code: 'ENOMEM' }] });
});

test('a batch that ends with ENOMEM halfway keeps what was done, or with rollback nothing', () => {
  const { kernel, ipvs } = openIpvs('netlink');
  const exhausted = () => {
    let left = 2;
    kernel.refuses = command => (command === C.IPVS_CMD_NEW_DEST && left-- <= 0 ? ENOMEM : undefined);
  };
  const batch = (rollback: boolean) =>
    ipvs.sync.batch(
      b => {
        b.addService(web);
        for (let last = 1; last <= 4; last++) b.addDestination(web, { ...server, address: `10.1.0.${last}` });
      },
      { rollback, onError: 'collect' },
    );
  exhausted();
  expect(batch(true)).toMatchObject({ outcome: 'none', rolledBack: true, failures: [{ index: 3 }, { index: 4 }] });
  expect(kernel.services).toEqual([]);
  exhausted();
  expect(batch(false)).toMatchObject({ outcome: 'partial', applied: [0, 1, 2] });
  expect(ipvs.sync.destinations(web)).toHaveLength(2);
});

test('a module that is being unloaded rejects with ENOPROTOOPT and advice', () => {
  const { kernel, ipvs } = openIpvs('netlink');
  ipvs.sync.addService(web);
  kernel.refuses = () => ENOPROTOOPT;
  const hint = expect.stringContaining('being unloaded');
  for (const call of [
    () => ipvs.sync.addService(web6),
    () => ipvs.sync.addDestination(web, server),
    () => ipvs.sync.flush(),
    () => ipvs.sync.startSync({ state: 'backup', interface: 'lo', syncId: 1 }),
    () => ipvs.sync.stopSync('backup'),
  ]) {
    expect(errorOf(NetlinkError, call)).toMatchObject({ code: 'ENOPROTOOPT', hint });
  }
});

test('a kernel without IPv6 rejects with EAFNOSUPPORT at the address', () => {
  const { kernel, ipvs } = openIpvs('netlink');
  ipvs.sync.addService(web);
  // Each change below has to do with IPv6.
  kernel.refuses = () => EAFNOSUPPORT;
  const hint = expect.stringContaining('CONFIG_IP_VS_IPV6');
  expect(errorOf(NetlinkError, () => ipvs.sync.addService(web6))).toMatchObject({
    code: 'EAFNOSUPPORT',
    attribute: 'address',
    hint,
  });
  const mark = { firewallMark: 7, family: 'ipv6', scheduler: 'rr' } as const;
  expect(errorOf(NetlinkError, () => ipvs.sync.addService(mark))).toMatchObject({ attribute: 'family', hint });
  const other = { address: '2001:db8::9', port: 80, forward: 'tunnel' } as const;
  expect(errorOf(NetlinkError, () => ipvs.sync.addDestination(web, other))).toMatchObject({
    code: 'EAFNOSUPPORT',
    hint,
  });
});

test('a kernel at its limit of counter threads rejects with EINVAL, which names no parameter', () => {
  const { kernel, ipvs } = openIpvs('netlink');
  kernel.refuses = command => (command === C.IPVS_CMD_NEW_SERVICE ? EINVAL : undefined);
  const error = errorOf(NetlinkError, () => ipvs.sync.addService(web));
  expect(error).toMatchObject({ code: 'EINVAL', hint: expect.stringContaining('est_cpulist') });
  expect(error.attribute).toBeUndefined();
  const result = ipvs.sync.batch(b => b.addService(web), { onError: 'collect' });
  expect(result.failures).toMatchObject([{ code: 'EINVAL', hint: expect.stringContaining('est_cpulist') }]);
});

test('a kernel without IPVS rejects with ENOENT and advice', () => {
  const { ipvs } = openIpvs('netlink', { modules: ['nf_tables'] });
  const hint = expect.stringContaining('modprobe ip_vs');
  expect(errorOf(NetlinkError, () => ipvs.sync.info())).toMatchObject({ code: 'ENOENT', hint });
  expect(errorOf(NetlinkError, () => ipvs.sync.batch(b => b.addService(web)))).toMatchObject({ code: 'ENOENT', hint });
});

test('EINVAL for a server lists the causes that fit the request, and no others', () => {
  const { kernel, ipvs } = openIpvs('netlink');
  ipvs.sync.addService(web);
  ipvs.sync.addService(web6);
  ipvs.sync.addDestination(web, server);
  const tunnel = { address: '2001:db8::9', port: 80, forward: 'tunnel' } as const;
  ipvs.sync.addDestination(web, tunnel);
  kernel.refuses = command => (command === C.IPVS_CMD_NEW_DEST || command === C.IPVS_CMD_SET_DEST ? EINVAL : undefined);
  const words = {
    unreachable: 'no packet can be sent',
    broadcast: 'broadcast address here',
    lo: 'lo is down',
    local: 'link-local',
    family: 'other family',
    limit: 'est_cpulist',
  };
  const causes = (call: () => unknown) => {
    const { code, hint = '' } = errorOf(NetlinkError, call);
    expect(code).toBe('EINVAL');
    return Object.entries(words).flatMap(([name, word]) => (hint.includes(word) ? name : []));
  };
  const add = (address: string, base: object = web) =>
    causes(() => ipvs.sync.addDestination(base as typeof web, { ...server, address }));
  expect(add('10.1.0.2')).toEqual(['broadcast', 'lo', 'limit']);
  for (const address of ['0.0.0.0', '224.0.0.1', '255.255.255.255']) expect(add(address)).toEqual(['unreachable']);
  expect(add('2001:db8::8', web6)).toEqual(['limit']);
  expect(add('fe80::1', web6)).toEqual(['local', 'limit']);
  expect(add('ff02::1', web6)).toEqual(['unreachable']);
  expect(causes(() => ipvs.sync.addDestination(web, { ...tunnel, address: '2001:db8::7' }))).toEqual([
    'family',
    'limit',
  ]);
  // What is there already has a good address, and its counters.
  expect(causes(() => ipvs.sync.editDestination(web, tunnel, { weight: 3 }))).toEqual(['family']);
  expect(causes(() => ipvs.sync.editDestination(web, server, { weight: 3 }))).toEqual([]);
  kernel.refuses = command =>
    command === C.IPVS_CMD_SET_SERVICE || command === C.IPVS_CMD_NEW_DAEMON ? EINVAL : undefined;
  expect(causes(() => ipvs.sync.setService(web))).toEqual([]);
  expect(causes(() => ipvs.sync.startSync({ state: 'master', interface: 'lo', syncId: 1 }))).toEqual(['family']);
});
