import { describe, expect, test } from 'vitest';
import { writeAddress } from '../../src/rtnetlink/address.ts';
import type { NewLink } from '../../src/rtnetlink/index.ts';
import { LINKS } from '../../src/rtnetlink/links/link.ts';
import { writeChanges } from '../../src/rtnetlink/links/settings.ts';
import { checkPrefix } from '../../src/rtnetlink/prefix.ts';
import { writeRoute, writeRouteKey } from '../../src/rtnetlink/routes/new-route.ts';

const write = (kind: string, options: unknown) => LINKS.write(kind, options as NewLink);

/** The path, the code and the class of what is thrown, in one line. */
function refused(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    const { code, attribute } = error as { code: string; attribute: string };
    return `${attribute} ${code} ${error instanceof RangeError ? 'RangeError' : 'TypeError'}`;
  }
  return 'nothing thrown';
}

describe('the input of links', () => {
  const names: [unknown, string][] = [
    ['', 'ERR_OUT_OF_RANGE RangeError'],
    ['.', 'ERR_OUT_OF_RANGE RangeError'],
    ['..', 'ERR_OUT_OF_RANGE RangeError'],
    ['a/b', 'ERR_OUT_OF_RANGE RangeError'],
    ['a b', 'ERR_OUT_OF_RANGE RangeError'],
    ['a\n', 'ERR_OUT_OF_RANGE RangeError'],
    ['a:b', 'ERR_OUT_OF_RANGE RangeError'],
    ['eth%d', 'ERR_OUT_OF_RANGE RangeError'],
    ['a\0', 'ERR_OUT_OF_RANGE RangeError'],
    // 'à' is c3 a0 in UTF-8, and a0 is white space to the kernel.
    ['à', 'ERR_OUT_OF_RANGE RangeError'],
    ['sixteen-bytes-xx', 'ERR_TOO_LONG RangeError'],
    ['éééééééé', 'ERR_TOO_LONG RangeError'],
    [5, 'ERR_INVALID_ARG_TYPE TypeError'],
    [undefined, 'ERR_INVALID_ARG_TYPE TypeError'],
    [null, 'ERR_INVALID_ARG_TYPE TypeError'],
  ];
  test.each(names)('rejects the name %j', (name, expected) => {
    expect(refused(() => write('dummy', { name }))).toBe(`name ${expected}`);
    expect(refused(() => write('veth', { name: 'a', peer: { name } }))).toBe(`peer.name ${expected}`);
    if (name !== undefined) expect(refused(() => writeChanges({ newName: name } as never))).toBe(`newName ${expected}`);
  });
  test.each(['a', 'fifteen-bytes-x', '...', '\u0001\u001b[31m', 'éééé', '\udcff'])('accepts the name %j', name => {
    expect(write('dummy', { name }).wire.attributes.name).toBe(name);
  });

  test.each([
    [{ mtu: 67 }, 'mtu ERR_OUT_OF_RANGE RangeError'],
    [{ mtu: 1500.5 }, 'mtu ERR_OUT_OF_RANGE RangeError'],
    [{ mtu: 2 ** 31 }, 'mtu ERR_OUT_OF_RANGE RangeError'],
    [{ mtu: '1500' }, 'mtu ERR_INVALID_ARG_TYPE TypeError'],
    [{ address: 'aa:bb:cc:dd:ee' }, 'address ERR_INVALID_ADDRESS RangeError'],
    [{ address: 'aabbccddeeff' }, 'address ERR_INVALID_ADDRESS RangeError'],
    [{ address: 'aa:bb:cc:dd:ee:fg' }, 'address ERR_INVALID_ADDRESS RangeError'],
    [{ address: 1 }, 'address ERR_INVALID_ARG_TYPE TypeError'],
    [{ up: 1 }, 'up ERR_INVALID_ARG_TYPE TypeError'],
    [{ netns: undefined }, 'netns ERR_NETNS_UNDEFINED TypeError'],
    [{ netns: 5 }, 'netns ERR_INVALID_ARG_TYPE TypeError'],
    [{ master: 'a/b' }, 'master ERR_OUT_OF_RANGE RangeError'],
    [{ master: 'br0', netns: 5 }, 'master ERR_CONFLICT TypeError'],
    [{ master: 5 }, 'master ERR_INVALID_ARG_TYPE TypeError'],
    [{ mut: 1500 }, 'mut ERR_UNKNOWN_FIELD TypeError'],
  ])('rejects %j', (given, expected) => {
    expect(refused(() => write('dummy', { name: 'a', ...given }))).toBe(expected);
    expect(refused(() => writeChanges(given as never))).toBe(expected);
  });

  test.each([
    [{ name: 'a' }, 'peer ERR_MISSING TypeError'],
    [{ name: 'a', peer: 'b' }, 'peer ERR_INVALID_ARG_TYPE TypeError'],
    [{ name: 'a', peer: { name: 'a' } }, 'peer.name ERR_OUT_OF_RANGE RangeError'],
    [{ name: 'a', peer: { name: 'b', mtu: 0 } }, 'peer.mtu ERR_OUT_OF_RANGE RangeError'],
    [{ name: 'a', peer: { name: 'b', address: 'x' } }, 'peer.address ERR_INVALID_ADDRESS RangeError'],
    [{ name: 'a', peer: { name: 'b', netns: undefined } }, 'peer.netns ERR_NETNS_UNDEFINED TypeError'],
    [{ name: 'a', peer: { name: 'b', up: true } }, 'peer.up ERR_UNKNOWN_FIELD TypeError'],
  ])('rejects the veth %j', (given, expected) => {
    expect(refused(() => write('veth', given))).toBe(expected);
  });

  test.each([
    [{ name: 'a', bridge: { priority: 65536 } }, 'bridge.priority ERR_OUT_OF_RANGE RangeError'],
    [{ name: 'a', bridge: { bridgeId: '' } }, 'bridge.bridgeId ERR_UNKNOWN_FIELD TypeError'],
    [{ name: 'a', bridge: { vlanFiltering: 1 } }, 'bridge.vlanFiltering ERR_INVALID_ARG_TYPE TypeError'],
    [{ name: 'a', bridge: true }, 'bridge ERR_INVALID_ARG_TYPE TypeError'],
  ])('rejects the bridge %j', (given, expected) => {
    expect(refused(() => write('bridge', given))).toBe(expected);
  });

  test.each([
    [{ name: 'a' }, 'link ERR_INVALID_ARG_TYPE TypeError'],
    [{ name: 'a', link: 'eth0', mode: 'loud' }, 'mode ERR_OUT_OF_RANGE RangeError'],
    [{ name: 'a', link: 'eth0', mode: 4 }, 'mode ERR_INVALID_ARG_TYPE TypeError'],
  ])('rejects the macvlan %j', (given, expected) => {
    expect(refused(() => write('macvlan', given))).toBe(expected);
  });

  test.each([
    ['10.0.0', {}, 'address ERR_INVALID_ADDRESS RangeError'],
    ['10.0.0.1/33', {}, 'address ERR_INVALID_ADDRESS RangeError'],
    ['10.0.0.1/', {}, 'address ERR_INVALID_ADDRESS RangeError'],
    ['10.0.0.1/024', {}, 'address ERR_INVALID_ADDRESS RangeError'],
    ['10.0.0.1/255.255.255.0', {}, 'address ERR_INVALID_ADDRESS RangeError'],
    ['fd00::1/129', {}, 'address ERR_INVALID_ADDRESS RangeError'],
    ['fe80::1%eth0/64', {}, 'address ERR_INVALID_ADDRESS RangeError'],
    [5, {}, 'address ERR_INVALID_ARG_TYPE TypeError'],
    ['10.0.0.1/24', { label: '' }, 'label ERR_OUT_OF_RANGE RangeError'],
    ['10.0.0.1/24', { label: 'sixteen-bytes-xx' }, 'label ERR_OUT_OF_RANGE RangeError'],
    ['10.0.0.1/24', { label: 5 }, 'label ERR_INVALID_ARG_TYPE TypeError'],
    ['fd00::1/64', { label: 'a' }, 'label ERR_INVALID_ARG_TYPE TypeError'],
    ['10.0.0.1/24', { noDad: true }, 'noDad ERR_INVALID_ARG_TYPE TypeError'],
    ['10.0.0.1/24', { lable: 'x' }, 'lable ERR_UNKNOWN_FIELD TypeError'],
  ])('rejects the address %j %j', (address, options, expected) => {
    expect(refused(() => writeAddress('eth0', address as string, options as never))).toBe(expected);
  });

  test.each([
    [{ to: '10.0.0.1/24', device: 'a' }, 'to ERR_INVALID_ADDRESS RangeError'],
    [{ to: 'fd00::1/64', device: 'a' }, 'to ERR_INVALID_ADDRESS RangeError'],
    [{ to: 'nowhere', device: 'a' }, 'to ERR_INVALID_ADDRESS RangeError'],
    [{ device: 'a' }, 'to ERR_INVALID_ARG_TYPE TypeError'],
    [{ to: '10.0.0.0/24' }, 'device ERR_MISSING TypeError'],
    [{ to: '10.0.0.0/24', via: 'fe80::1' }, 'via ERR_FAMILY_MISMATCH RangeError'],
    [{ to: 'default', via: 'fe80::1', source: '10.0.0.1' }, 'source ERR_FAMILY_MISMATCH RangeError'],
    [{ to: 'default', via: '10.0.0.1/24' }, 'via ERR_INVALID_ADDRESS RangeError'],
    [{ to: 'default', device: 'a/b' }, 'device ERR_OUT_OF_RANGE RangeError'],
    [{ to: 'default', device: 'a', metric: -1 }, 'metric ERR_OUT_OF_RANGE RangeError'],
    [{ to: 'default', device: 'a', table: 'mine' }, 'table ERR_OUT_OF_RANGE RangeError'],
    [{ to: 'default', device: 'a', type: 'constructor' }, 'type ERR_OUT_OF_RANGE RangeError'],
    [{ to: 'default', device: 'a', protocol: 256 }, 'protocol ERR_OUT_OF_RANGE RangeError'],
    [{ to: 'default', device: 'a', onLink: 'yes' }, 'onLink ERR_INVALID_ARG_TYPE TypeError'],
    [{ to: 'default', dev: 'a' }, 'dev ERR_UNKNOWN_FIELD TypeError'],
  ])('rejects the route %j', (route, expected) => {
    expect(refused(() => writeRoute(route as never))).toBe(expected);
  });
  test('accepts a route that was read for removal, and ignores what the kernel only reports', () => {
    const key = writeRouteKey({ to: 'default', onLink: true, flags: ['onlink'], expiresSeconds: 5 });
    expect(key).toEqual(writeRouteKey({ to: 'default' }));
    expect(refused(() => writeRouteKey({ to: 'default', dev: 'a' } as never))).toBe('dev ERR_UNKNOWN_FIELD TypeError');
  });

  test('normalises prefixes', () => {
    expect(checkPrefix('2001:DB8::0:1/64', [])).toEqual({
      family: 'ipv6',
      address: '2001:db8::1',
      length: 64,
      isNetwork: false,
    });
    expect(checkPrefix('10.0.0.1', [])).toMatchObject({ length: 32, isNetwork: true });
    expect(checkPrefix('10.0.0.128/25', []).isNetwork).toBe(true);
    expect(checkPrefix('0.0.0.0/0', []).isNetwork).toBe(true);
    expect(checkPrefix('::/0', []).isNetwork).toBe(true);
    expect(checkPrefix('fd00::/7', []).isNetwork).toBe(false);
  });
});
