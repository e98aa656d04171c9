import { afterEach, describe, expect, test } from 'vitest';
import { RTM_GETLINK, RTM_NEWLINK } from '../../src/linux/rtnetlink.ts';
import { Exchange } from '../../src/netlink/index.ts';
import { Links, type NewLinkOfKind } from '../../src/rtnetlink/index.ts';
import { ACK, CannedTransport, LO } from '../support/canned-transport.ts';

/** A kernel that takes everything, and knows one device. */
const wire = new CannedTransport(request => (request[4] === RTM_GETLINK ? [[RTM_NEWLINK, 0, LO], ACK] : [ACK]));
const links = new Links(new Exchange(wire, 'rtnetlink')).sync;
const create = (kind: string, options: unknown) => links.create({ kind, ...(options as object) } as NewLinkOfKind);
const set = (changes: unknown) => links.set('eth0', changes as never);

afterEach(() => {
  wire.requests.length = 0;
});

/** What a call sends: each request behind its header, as hex. */
function sent(call: () => unknown): string[] {
  wire.requests.length = 0;
  call();
  return wire.requests.map(request => Buffer.from(request.subarray(16)).toString('hex'));
}

/** The path, the code and the class of what is thrown, in one line. */
function refused(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    const { code, attribute } = error as { code: string; attribute: string };
    expect(wire.requests, 'nothing was sent').toEqual([]);
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
    expect(refused(() => create('dummy', { name }))).toBe(`name ${expected}`);
    expect(refused(() => create('veth', { name: 'a', peer: { name } }))).toBe(`peer.name ${expected}`);
    if (name !== undefined) expect(refused(() => set({ newName: name }))).toBe(`newName ${expected}`);
  });
  test.each([
    ['a', '61'],
    ['fifteen-bytes-x', '6669667465656e2d62797465732d78'],
    ['...', '2e2e2e'],
    ['\u0001\u001b[31m', '011b5b33316d'],
    ['éééé', 'c3a9c3a9c3a9c3a9'],
    // A byte that is not UTF-8.
    ['\udcff', 'ff'],
  ])('accepts the name %j', (name, bytes) => {
    const [request] = sent(() => create('dummy', { name }));
    const header = Buffer.from(Uint16Array.of(4 + bytes.length / 2 + 1, 3).buffer).toString('hex');
    expect(request).toContain(`${header}${bytes}00`);
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
    expect(refused(() => create('dummy', { name: 'a', ...given }))).toBe(expected);
    expect(refused(() => set(given))).toBe(expected);
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
    expect(refused(() => create('veth', given))).toBe(expected);
  });

  test.each([
    [{ name: 'a', bridge: { priority: 65536 } }, 'bridge.priority ERR_OUT_OF_RANGE RangeError'],
    [{ name: 'a', bridge: { bridgeId: '' } }, 'bridge.bridgeId ERR_UNKNOWN_FIELD TypeError'],
    [{ name: 'a', bridge: { vlanFiltering: 1 } }, 'bridge.vlanFiltering ERR_INVALID_ARG_TYPE TypeError'],
    [{ name: 'a', bridge: true }, 'bridge ERR_INVALID_ARG_TYPE TypeError'],
  ])('rejects the bridge %j', (given, expected) => {
    expect(refused(() => create('bridge', given))).toBe(expected);
  });

  test.each([
    [{ name: 'a' }, 'link ERR_INVALID_ARG_TYPE TypeError'],
    [{ name: 'a', link: 'eth0', mode: 'loud' }, 'mode ERR_OUT_OF_RANGE RangeError'],
    [{ name: 'a', link: 'eth0', mode: 4 }, 'mode ERR_INVALID_ARG_TYPE TypeError'],
  ])('rejects the macvlan %j', (given, expected) => {
    expect(refused(() => create('macvlan', given))).toBe(expected);
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
    expect(refused(() => links.addAddress('eth0', address as string, options as never))).toBe(expected);
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
    expect(refused(() => links.addRoute(route as never))).toBe(expected);
  });
  test('accepts a route that was read for removal, and ignores what the kernel only reports', () => {
    const read = { to: 'default', onLink: true, flags: ['onlink'], expiresSeconds: 5 } as never;
    expect(sent(() => links.removeRoute(read))).toEqual(sent(() => links.removeRoute({ to: 'default' })));
    wire.requests.length = 0;
    const misspelt = { to: 'default', dev: 'a' } as never;
    expect(refused(() => links.removeRoute(misspelt))).toBe('dev ERR_UNKNOWN_FIELD TypeError');
  });

  test('normalises prefixes', () => {
    const same = (one: () => unknown, other: () => unknown) => expect(sent(one)).toEqual(sent(other));
    same(
      () => links.addAddress('eth0', '2001:DB8::0:1/64'),
      () => links.addAddress('eth0', '2001:db8::1/64'),
    );
    same(
      () => links.addAddress('eth0', '10.0.0.1'),
      () => links.addAddress('eth0', '10.0.0.1/32'),
    );
    // A route leads to a network: no bit may be set behind the prefix.
    for (const to of ['10.0.0.128/25', '0.0.0.0/0', '::/0', '10.0.0.1'])
      expect(sent(() => links.addRoute({ to, device: 'a' }))).not.toEqual([]);
    wire.requests.length = 0;
    expect(refused(() => links.addRoute({ to: 'fd00::/7', device: 'a' }))).toBe('to ERR_INVALID_ADDRESS RangeError');
  });
});
