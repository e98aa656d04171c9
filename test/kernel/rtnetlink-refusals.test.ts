import { beforeEach, expect, test } from 'vitest';
import { isExists, isPermission } from '../../src/errors.ts';
import { kernelSuite } from '../support/where.ts';
import { failure, here, inTwoNamespaces, links, others, there } from './rtnetlink-namespaces.ts';

kernelSuite('a refusal of rtnetlink', () => {
  inTwoNamespaces();

  beforeEach(async () => {
    await links.createBridge({ name: 'br0', up: true });
    await links.createVeth({ name: 'a', peer: { name: 'b' } });
    await links.addAddress('br0', '10.0.0.1/24');
  });

  test.each<[string, () => Promise<unknown>, string, string | undefined, string]>([
    ['get', () => links.get('nope'), 'ENODEV', 'name', "no device named 'nope'"],
    ['set', () => links.set('nope', { up: true }), 'ENODEV', 'name', "no device named 'nope'"],
    ['remove', () => links.remove('nope'), 'ENODEV', 'name', "no device named 'nope'"],
    ['set master', () => links.set('a', { master: 'nope' }), 'ENODEV', 'master', "no device named 'nope'"],
    ['create master', () => links.createBridge({ name: 'x', master: 'nope' }), 'ENODEV', 'master', "named 'nope'"],
    ['addAddress', () => links.addAddress('nope', '10.0.0.1/24'), 'ENODEV', 'name', "no device named 'nope'"],
    ['addRoute', () => links.addRoute({ to: '10.1.0.0/16', device: 'nope' }), 'ENODEV', 'device', "named 'nope'"],
    ['addresses', () => links.addresses({ device: 'nope' }), 'ENODEV', 'device', "no device named 'nope'"],
    ['neighbours', () => links.neighbours({ device: 'nope' }), 'ENODEV', 'device', "no device named 'nope'"],
    ['bridge', () => links.createBridge({ name: 'br0' }), 'EEXIST', 'name', "'br0' exists"],
    ['veth', () => links.createVeth({ name: 'a', peer: { name: 'c' } }), 'EEXIST', undefined, "'a' exists"],
    ['peer', () => links.createVeth({ name: 'c', peer: { name: 'b' } }), 'EEXIST', undefined, "named 'b'"],
    ['rename', () => links.set('a', { newName: 'b' }), 'EEXIST', 'newName', "'b' exists"],
    ['mtu', () => links.set('a', { mtu: 100_000 }), 'EINVAL', 'mtu', 'mtu greater than device maximum'],
    ['new mtu', () => links.createBridge({ name: 'x', mtu: 100_000 }), 'EINVAL', 'mtu', 'limits of the driver'],
    [
      'one setting of a bridge',
      () => links.createBridge({ name: 'x', bridge: { groupForwardMask: 7 } }),
      'EINVAL',
      'bridge.groupForwardMask',
      'limits of the driver',
    ],
    [
      'one of two settings of a bridge',
      () => links.createBridge({ name: 'x', bridge: { maxAgeCentiseconds: 700, helloTimeCentiseconds: 5000 } }),
      'ERANGE',
      undefined,
      'one of bridge.helloTimeCentiseconds, bridge.maxAgeCentiseconds',
    ],
    ['group', () => links.set('a', { address: '01:00:00:00:00:01' }), 'EADDRNOTAVAIL', 'address', 'of a group'],
    [
      'peer group',
      () => links.createVeth({ name: 'c', peer: { name: 'd', address: '01:00:00:00:00:01' } }),
      'EADDRNOTAVAIL',
      'peer.address',
      'of a group',
    ],
    ['lo', () => links.set('lo', { netns: there }), 'EINVAL', 'netns', 'cannot move'],
    ['port of a port', () => links.set('a', { master: 'b' }), 'EOPNOTSUPP', undefined, ''],
    ['bridge in bridge', () => links.set('br0', { master: 'br0' }), 'ELOOP', 'master', 'bridge'],
    ['lo in bridge', () => links.set('lo', { master: 'br0' }), 'EINVAL', 'master', 'lo can have none'],
    ['remove lo', () => links.remove('lo'), 'EOPNOTSUPP', 'name', 'cannot be removed'],
    ['address', () => links.addAddress('br0', '10.0.0.1/24'), 'EEXIST', 'address', 'has this address'],
    ['no address', () => links.removeAddress('br0', '10.0.0.1/25'), 'EADDRNOTAVAIL', 'address', 'no such address'],
    [
      'gateway',
      () => links.addRoute({ to: '10.1.0.0/16', via: '10.9.0.1' }),
      'ENETUNREACH',
      'via',
      'the gateway is on no network',
    ],
    [
      'gateway v6',
      () => links.addRoute({ to: 'fd01::/16', via: 'fd09::1' }),
      'EHOSTUNREACH',
      'via',
      'the gateway is on no network',
    ],
    ['down', () => links.addRoute({ to: '10.1.0.0/16', device: 'a' }), 'ENETDOWN', 'device', 'the device is down'],
    [
      'source',
      () => links.addRoute({ to: '10.1.0.0/16', device: 'br0', source: '10.9.9.9' }),
      'EINVAL',
      'source',
      'must be an address of this',
    ],
    ['no route', () => links.removeRoute({ to: '10.1.0.0/16' }), 'ESRCH', undefined, 'no such route'],
    [
      'no neighbour',
      () => links.removeNeighbour({ device: 'br0', address: '10.0.0.9' }),
      'ENOENT',
      'address',
      'knows no such',
    ],
  ])('has its code, path and hint: %s', async (_what, run, code, attribute, message) => {
    const error = await failure(run());
    // Node's name of the number 95.
    expect(error.code).toBe(code);
    expect(error.attribute).toBe(attribute);
    expect(error.message).toContain(message);
    expect(error.operation).toMatch(/^rtnetlink\.[a-z]+/);
    expect(error.syscall).toMatch(/^RTM_/);
    expect(error.subject).toBeTypeOf('object');
    expect(Object.keys(error)).not.toContain('request');
  });

  test('names a route that exists', async () => {
    await links.addRoute({ to: '10.1.0.0/16', via: '10.0.0.2' });
    const error = await failure(links.addRoute({ to: '10.1.0.0/16', via: '10.0.0.2' }));
    expect(error).toMatchObject({ code: 'EEXIST', attribute: 'to' });
    expect(isExists(error)).toBe(true);
  });

  test('names a name that is taken in the other namespace', async () => {
    await others.createBridge({ name: 'a' });
    expect(await failure(links.set('a', { netns: there }))).toMatchObject({ code: 'EEXIST', attribute: 'netns' });
    await others.createBridge({ name: 'c' });
    expect(await failure(links.set('a', { netns: there, newName: 'c' }))).toMatchObject({
      code: 'EEXIST',
      attribute: 'newName',
    });
    expect((await links.get('a')).name).toBe('a');
  });

  test('explains that IPv6 is switched off', async () => {
    here.sysctl.set('net.ipv6.conf.br0.disable_ipv6', '1');
    const error = await failure(links.addAddress('br0', 'fd00::1/64'));
    expect(error).toMatchObject({ code: 'EACCES', attribute: 'name' });
    expect(error.message).toContain('disable_ipv6');
  });

  test('is EPERM for a change without privileges, while reading works', () => {
    let error: unknown;
    let seen: unknown;
    process.seteuid!(65534);
    try {
      seen = links.sync.list().length;
      links.sync.createBridge({ name: 'x' });
    } catch (caught) {
      error = caught;
    } finally {
      process.seteuid!(0);
    }
    expect(seen).toBeGreaterThanOrEqual(4);
    expect(isPermission(error)).toBe(true);
    expect((error as Error).message).toContain('CAP_NET_ADMIN');
    expect(() => links.sync.get('x')).toThrow('ENODEV');
  });

  test('of a closed handle rejects with ERR_CLOSED', async () => {
    links.close();
    links.close();
    expect(links.closed).toBe(true);
    await expect(links.list()).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    expect(() => links.sync.createBridge({ name: 'x' })).toThrow('ERR_CLOSED');
  });
});
