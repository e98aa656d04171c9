import { describe, expect, test } from 'vitest';
import { NO_CONTEXT, sourceOf, type Type, Writer } from '../../src/codec/index.ts';
import { NetlinkError } from '../../src/errors.ts';
import { ADDRESS, IFA, ifaddrmsg, readAddress, writeAddress } from '../../src/rtnetlink/address.ts';
import { BRIDGE } from '../../src/rtnetlink/bridge.ts';
import * as C from '../../src/rtnetlink/constants.ts';
import { deviceName, HARDWARE_ADDRESS } from '../../src/rtnetlink/device.ts';
import { IFLA, ifinfomsg, LINK, MACVLAN, readLink } from '../../src/rtnetlink/link.ts';
import { Links } from '../../src/rtnetlink/links.ts';
import { NDA, ndmsg } from '../../src/rtnetlink/neighbour.ts';
import { checkPrefix } from '../../src/rtnetlink/prefix.ts';
import { request } from '../../src/rtnetlink/request.ts';
import { RTA, readRoute, rtmsg, writeRoute, writeRouteKey } from '../../src/rtnetlink/route.ts';
import {
  type NewBridge,
  type NewMacvlan,
  type NewVeth,
  writeBridge,
  writeChanges,
  writeDummy,
  writeMacvlan,
  writeVeth,
} from '../../src/rtnetlink/settings.ts';
import { Exchange, type Wire } from '../../src/transport/index.ts';

function roundTrip<T>(type: Type<T>, value: T): T | undefined {
  const writer = new Writer();
  type.write(writer, value, NO_CONTEXT);
  const bytes = writer.copy();
  return type.read(sourceOf(bytes), 0, bytes.length, NO_CONTEXT);
}

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));

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

describe('tables', () => {
  test.each([
    ['IFLA', IFLA, { name: 'eth0', mtu: 1400, address: 'aa:bb:cc:dd:ee:ff', operationalState: 'up', carrier: true }],
    [
      'IFLA raw values',
      IFLA,
      { name: 'a\u001b[31m', operationalState: 99, linkNetnsId: -1, altNames: ['x', 'a longer one'] },
    ],
    [
      'IFLA_INFO veth',
      IFLA,
      { name: 'a', info: { kind: 'veth', veth: { peer: { name: 'b', mtu: 9000, netnsFd: 7 } } } },
    ],
    [
      'IFLA_INFO other',
      IFLA,
      { name: 'a', info: { kind: 'vxlan', kindData: '0102', slaveKind: 'bond', slaveData: '' } },
    ],
    ['IFLA unknown', IFLA, { name: 'a', unknown: [{ type: 4000, bytes: '00ff' }] }],
    ['IFLA_BR', BRIDGE, { priority: 4096, vlanFiltering: true, vlanProtocol: 0x8100, bridgeId: '8000aabbccddeeff' }],
    ['IFLA_MACVLAN', MACVLAN, { mode: 'bridge', flags: 1 }],
    ['IFLA_MACVLAN raw mode', MACVLAN, { mode: 3 }],
    ['IFA', IFA, { address: '10.0.0.2', local: '10.0.0.1', label: 'eth0:vip', flags: 0x80, origin: 'link-local' }],
    [
      'IFA v6',
      IFA,
      { address: 'fd00::1', cacheInfo: { ifa_prefered: 1, ifa_valid: 2, cstamp: 3, tstamp: 4 }, origin: 99 },
    ],
    ['RTA', RTA, { to: '10.0.0.0', device: 2, gateway: '10.0.0.1', metric: 5, table: 1000, metrics: { mtu: 1400 } }],
    ['RTA via', RTA, { via: 'fe80::1', device: 2 }],
    [
      'RTA multipath',
      RTA,
      {
        nextHops: [
          { flags: 0, hops: 0, index: 2, attributes: { gateway: '10.0.0.2' } },
          { flags: 1, hops: 9, index: 3, attributes: { via: 'fe80::1' } },
        ],
      },
    ],
    ['NDA', NDA, { address: 'fe80::1', hardwareAddress: '02:00:00:00:00:01', probes: 3, protocol: 2 }],
  ] as unknown as [string, Type<unknown>, unknown][])('%s survives a round trip', (_name, table, value) => {
    expect(roundTrip(table, value)).toEqual(value);
  });

  test.each([
    ['ifinfomsg', ifinfomsg, 16, { ifi_family: 0, ifi_type: 'ether', ifi_index: 5, ifi_flags: 1, ifi_change: 1 }],
    [
      'ifinfomsg',
      ifinfomsg,
      16,
      { ifi_family: 7, ifi_type: 4711, ifi_index: -1, ifi_flags: 0x80000001, ifi_change: 0 },
    ],
    ['ifaddrmsg', ifaddrmsg, 8, { ifa_family: 2, ifa_prefixlen: 32, ifa_flags: 0, ifa_scope: 7, ifa_index: 5 }],
    ['ndmsg', ndmsg, 12, { ndm_family: 2, ndm_ifindex: 3, ndm_state: 'permanent', ndm_flags: 0, ndm_type: 0 }],
    [
      'rtmsg',
      rtmsg,
      12,
      {
        rtm_family: 2,
        rtm_dst_len: 24,
        rtm_src_len: 0,
        rtm_tos: 0,
        rtm_table: 254,
        rtm_protocol: 99,
        rtm_scope: 'link',
        rtm_type: 77,
        rtm_flags: 0,
      },
    ],
  ] as unknown as [string, Type<unknown> & { size: number }, number, unknown][])(
    'struct %s has its size and survives a round trip',
    (_name, struct, size, value) => {
      expect(struct.size).toBe(size);
      expect(roundTrip(struct, value)).toEqual(value);
    },
  );

  test('names that are no UTF-8 keep their bytes', () => {
    const raw = hex('61 ff 80 62 00');
    const name = deviceName().read(sourceOf(raw), 0, raw.length, NO_CONTEXT);
    expect(name).toBe('a\udcff\udc80b');
    const writer = new Writer();
    deviceName().write(writer, name!, NO_CONTEXT);
    expect(writer.copy()).toEqual(raw);
    expect(roundTrip(deviceName(), 'münchen')).toBe('münchen');
  });

  test('names without their NUL, or with two, are no names', () => {
    for (const bytes of ['6162', '', '61006200']) {
      const raw = hex(bytes);
      expect(deviceName().read(sourceOf(raw), 0, raw.length, NO_CONTEXT)).toBeUndefined();
    }
  });

  test('hardware addresses have any length that the kernel has', () => {
    expect(roundTrip(HARDWARE_ADDRESS, 'AA:bb:0C')).toBe('aa:bb:0c');
    expect(roundTrip(HARDWARE_ADDRESS, Array(20).fill('01').join(':'))).toHaveLength(59);
    expect(() => roundTrip(HARDWARE_ADDRESS, 'aabbcc')).toThrow(RangeError);
  });

  test('a link keeps what it does not know, and what lies', () => {
    const link = { ifi_family: 0, ifi_type: 1, ifi_index: 3, ifi_flags: 0x40000001, ifi_change: 0 };
    const attributes = {
      name: 'a\n',
      master: 9,
      link: 2,
      info: { kind: 'x', unknown: [{ type: 3, bytes: '01' }] },
      unknown: [{ type: 99, bytes: '02' }],
    };
    expect(readLink({ ...link, ifi_type: 'ether' }, attributes, index => (index === 9 ? 'br0' : undefined))).toEqual({
      index: 3,
      name: 'a\n',
      kind: 'x',
      type: 'ether',
      up: true,
      flags: ['up', 0x40000000],
      master: 'br0',
      link: 2,
      unknown: [
        { type: 99, bytes: '02' },
        { type: 3, bytes: '01', in: 'IFLA_INFO' },
      ],
    });
    // A device of the same index in another namespace lends no name.
    expect(readLink({ ...link, ifi_type: 1 }, { name: 'a', link: 9, linkNetnsId: 0 }, () => 'br0').link).toBe(9);
  });

  test('an address on a point-to-point link has a peer; lifetimes that are for ever are left out', () => {
    const header = { ifa_family: 2, ifa_prefixlen: 32, ifa_flags: 0x81, ifa_scope: 'link' as const, ifa_index: 1 };
    const cacheInfo = { ifa_prefered: 0xffffffff, ifa_valid: 60, cstamp: 1, tstamp: 2 };
    const value = { address: '10.0.0.2', local: '10.0.0.1', flags: 0x1081, cacheInfo };
    expect(readAddress(header, value, 'ppp0')).toEqual({
      device: 'ppp0',
      family: 'ipv4',
      address: '10.0.0.1/32',
      peer: '10.0.0.2',
      scope: 'link',
      flags: ['secondary', 'permanent', 0x1000],
      validSeconds: 60,
      createdCentiseconds: 1,
      updatedCentiseconds: 2,
    });
    expect(readAddress({ ...header, ifa_family: 10 }, { address: 'fd00::1' }, 'a')?.flags).toEqual([
      'temporary',
      'permanent',
    ]);
    expect(readAddress({ ...header, ifa_family: 45 }, value, 'a')).toBeUndefined();
  });

  test('routes: default, tables above 255, several ways', () => {
    const { header } = writeRoute({ to: 'default', via: '10.0.0.1' });
    const names = (index: number) => ['?', 'lo', 'eth0'][index];
    const read = readRoute(header, { table: 1000, device: 2, gateway: '10.0.0.1' }, names);
    expect(read).toEqual({
      family: 'ipv4',
      to: 'default',
      gateway: '10.0.0.1',
      device: 'eth0',
      table: 1000,
      protocol: 'boot',
      scope: 'global',
      type: 'unicast',
      flags: [],
    });
    const hop = { flags: 17, hops: 4, index: 2, attributes: { via: 'fe80::1' } };
    expect(readRoute({ ...header, rtm_protocol: 77, rtm_type: 55 }, { nextHops: [hop] }, names)).toMatchObject({
      protocol: 77,
      type: 55,
      nextHops: [{ device: 'eth0', gateway: 'fe80::1', weight: 5, flags: ['dead', 'linkdown'] }],
    });
  });
});

describe('bad input', () => {
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
  test.each(names)('the name %j', (name, expected) => {
    expect(refused(() => writeDummy({ name } as never))).toBe(`name ${expected}`);
    expect(refused(() => writeVeth({ name: 'a', peer: { name } } as never))).toBe(`peer.name ${expected}`);
    if (name !== undefined) expect(refused(() => writeChanges({ newName: name } as never))).toBe(`newName ${expected}`);
  });
  test.each(['a', 'fifteen-bytes-x', '...', '\u0001\u001b[31m', 'éééé', '\udcff'])('the name %j is good', name => {
    expect(writeDummy({ name }).attributes.name).toBe(name);
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
    [{ mut: 1500 }, 'mut ERR_UNKNOWN_FIELD TypeError'],
  ])('%j', (given, expected) => {
    expect(refused(() => writeDummy({ name: 'a', ...given } as never))).toBe(expected);
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
  ])('veth %j', (given, expected) => {
    expect(refused(() => writeVeth(given as unknown as NewVeth))).toBe(expected);
  });

  test.each([
    [{ name: 'a', bridge: { priority: 65536 } }, 'bridge.priority ERR_OUT_OF_RANGE RangeError'],
    [{ name: 'a', bridge: { bridgeId: '' } }, 'bridge.bridgeId ERR_UNKNOWN_FIELD TypeError'],
    [{ name: 'a', bridge: { vlanFiltering: 1 } }, 'bridge.vlanFiltering ERR_INVALID_ARG_TYPE TypeError'],
    [{ name: 'a', bridge: true }, 'bridge ERR_INVALID_ARG_TYPE TypeError'],
  ])('bridge %j', (given, expected) => {
    expect(refused(() => writeBridge(given as unknown as NewBridge))).toBe(expected);
  });

  test.each([
    [{ name: 'a' }, 'link ERR_INVALID_ARG_TYPE TypeError'],
    [{ name: 'a', link: 'eth0', mode: 'loud' }, 'mode ERR_OUT_OF_RANGE RangeError'],
    [{ name: 'a', link: 'eth0', mode: 4 }, 'mode ERR_INVALID_ARG_TYPE TypeError'],
  ])('macvlan %j', (given, expected) => {
    expect(refused(() => writeMacvlan(given as unknown as NewMacvlan))).toBe(expected);
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
  ])('address %j %j', (address, options, expected) => {
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
  ])('route %j', (route, expected) => {
    expect(refused(() => writeRoute(route as never))).toBe(expected);
  });
  test('a route to remove takes no onLink', () => {
    expect(refused(() => writeRouteKey({ to: 'default', onLink: true } as never))).toBe(
      'onLink ERR_UNKNOWN_FIELD TypeError',
    );
  });

  test('prefixes are canonical', () => {
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

/** A kernel that answers each request with what `answer` gives: message type, flags, and payload in hex. */
class CannedWire implements Wire {
  readonly netnsInode = 0;
  closed = false;
  readonly requests: Uint8Array[] = [];
  readonly #answer: (request: Uint8Array) => [type: number, flags: number, payload: Uint8Array][];
  #waiting: Uint8Array[] = [];

  constructor(answer: (request: Uint8Array) => [number, number, Uint8Array][]) {
    this.#answer = answer;
  }
  send(bytes: Uint8Array, length: number): number {
    const request = bytes.slice(0, length);
    this.requests.push(request);
    const sequence = new DataView(request.buffer).getUint32(8, true);
    for (const [type, flags, payload] of this.#answer(request)) {
      const message = new Uint8Array(16 + payload.length);
      const view = new DataView(message.buffer);
      view.setUint32(0, message.length, true);
      view.setUint16(4, type, true);
      view.setUint16(6, flags, true);
      view.setUint32(8, sequence, true);
      message.set(payload, 16);
      this.#waiting.push(message);
    }
    return length;
  }
  receive(into: Uint8Array): number {
    const message = this.#waiting.shift();
    if (message === undefined) return -11;
    into.set(message);
    return message.length;
  }
  async sendOffThread(bytes: Uint8Array, length: number) {
    return this.send(bytes, length);
  }
  async receiveOffThread(into: Uint8Array) {
    return this.receive(into);
  }
  reserve() {
    return 1 << 20;
  }
  async close() {
    this.closed = true;
  }
}

const ACK: [number, number, Uint8Array] = [2, 0, new Uint8Array(20)];
const DONE: [number, number, Uint8Array] = [3, 2, new Uint8Array(4)];
const LO = hex(
  '00 00 0403 01000000 49000100 00000000' + // ifinfomsg: loopback, 1, up running lower-up loopback
    '0700 0300 6c6f00 00' + // lo
    '0800 0400 00000100' + // mtu 65536
    '0a00 0100 000000000000 0000', // address
);
const PORT = hex(
  '00 00 0100 05000000 03100100 00000000' + // ether, 5, up broadcast multicast lower-up
    '0a00 0300 6574 683a 1b00 0000' + // a name with an escape in it
    '0800 0a00 01000000' + // master 1
    '0800 0500 01000000 0800 2500 00000000' + // link 1 in namespace 0
    '1600 1280 0900 0100 76657468 00 000000 0600 6300 abcd', // IFLA_LINKINFO, its kind, an attribute of the future
);

function errorMessage(errno: number, text: string, offset: number): [number, number, Uint8Array] {
  const payload = new Uint8Array(4 + 16 + 8 + 4 + 4 + ((text.length + 4) & ~3));
  const view = new DataView(payload.buffer);
  view.setInt32(0, errno, true);
  view.setUint16(20, 8, true);
  view.setUint16(22, 2, true);
  view.setUint32(24, offset, true);
  view.setUint16(28, 5 + text.length, true);
  view.setUint16(30, 1, true);
  payload.set(new TextEncoder().encode(text), 32);
  return [2, 0x300, payload.subarray(0, 28 + ((5 + text.length + 3) & ~3))];
}

describe('over a kernel in memory', () => {
  const open = (wire: Wire) => new Links(new Exchange(wire, 'rtnetlink'));

  test('list: a dump with zeros in its header; names, masters and what is not known', async () => {
    const wire = new CannedWire(() => [[16, 2, LO], [16, 2, PORT], DONE]);
    const links = open(wire);
    const [lo, port] = await links.list();
    expect(lo).toEqual({
      index: 1,
      name: 'lo',
      type: 'loopback',
      up: true,
      flags: ['up', 'loopback', 'running', 'lower-up'],
      mtu: 65536,
      address: '00:00:00:00:00:00',
    });
    expect(port).toEqual({
      index: 5,
      name: 'eth:\u001b',
      kind: 'veth',
      type: 'ether',
      up: true,
      flags: ['up', 'broadcast', 'multicast', 'lower-up'],
      master: 'lo',
      link: 1,
      linkNetnsId: 0,
      unknown: [{ type: 99, bytes: 'abcd', in: 'IFLA_INFO' }],
    });
    const request = wire.requests[0]!;
    expect([request.length, request[4], request[6], request[7]]).toEqual([32, 18, 0x01, 0x03]);
    expect(request.subarray(16).every(byte => byte === 0)).toBe(true);
    expect(links.sync.list()).toEqual([lo, port]);
  });

  test('get asks by name, and for the name of the master', async () => {
    const wire = new CannedWire(request => [[16, 0, request[20] === 1 ? LO : PORT], ACK]);
    expect(await open(wire).get('eth0')).toMatchObject({ index: 5, master: 'lo', link: 1 });
    expect(wire.requests).toHaveLength(2);
    expect(Buffer.from(wire.requests[0]!.subarray(32)).toString('hex')).toBe('090003006574683000000000');
  });

  test('a refusal points into the object of the caller', async () => {
    // The attribute that stands in a nest in a nest behind a header: where it begins is found in the request itself.
    const wire = new CannedWire(request => {
      const offset = Buffer.from(request).indexOf(hex('0800 0400 28230000'));
      return [errorMessage(-34, 'mtu \u001b[31mtoo large', offset)];
    });
    const options = { name: 'a', peer: { name: 'b', mtu: 9000 } };
    const error = await open(wire)
      .createVeth(options)
      .catch(caught => caught);
    expect(error).toBeInstanceOf(NetlinkError);
    expect(error).toMatchObject({
      code: 'ERANGE',
      errno: -34,
      syscall: 'RTM_NEWLINK',
      operation: 'rtnetlink.createVeth',
      path: ['peer', 'mtu'],
      attribute: 'peer.mtu',
    });
    expect(error.subject).toBe(options);
    expect(error.message).not.toContain('\u001b');
    expect(() => open(wire).sync.createVeth(options)).toThrow(error.message);
  });

  test.each([
    ['mtu', ['mtu'], { name: 'a', mtu: 9000 }, '0800 0400 28230000'],
    ['a setting of a bridge', ['bridge', 'priority'], { name: 'a', bridge: { priority: 4096 } }, '0600 0600 0010'],
    ['a kind', [], { name: 'a' }, '0b00 0100 627269646765'],
  ])('the path to %s', async (_what, path, options, bytes) => {
    const wire = new CannedWire(request => [errorMessage(-34, 'no', Buffer.from(request).indexOf(hex(bytes)))]);
    await expect(open(wire).createBridge(options)).rejects.toMatchObject({ path });
  });

  test('the paths of other requests', () => {
    const at = (kind: typeof LINK | typeof ADDRESS, value: object, number: number) => {
      const call = request(kind as typeof LINK, {
        type: 0,
        syscall: '',
        header: (kind === LINK
          ? { ifi_family: 0, ifi_type: 0, ifi_index: 0, ifi_flags: 0, ifi_change: 0 }
          : { ifa_family: 0, ifa_prefixlen: 0, ifa_flags: 0, ifa_scope: 0, ifa_index: 0 }) as never,
        value,
      });
      const writer = new Writer();
      writer.zeros(16);
      call.write(writer);
      const source = sourceOf(writer.copy());
      return call.locate!(source, 0, source.bytes.length, number);
    };
    expect(at(LINK, { name: 'a', mtu: 5 }, 32)).toEqual(['name']);
    expect(at(LINK, { name: 'a', mtu: 5 }, 44)).toEqual(['mtu']);
    expect(at(LINK, { name: 'a', mtu: 5 }, 20)).toEqual([]);
    expect(at(ADDRESS, { local: '10.0.0.1' }, 24)).toEqual(['local']);
  });

  test('no such device: named in the message, escaped, with the path', async () => {
    const wire = new CannedWire(() => [[2, 0x100, hex('edffffff 00000000000000000000000000000000')]]);
    const links = open(wire);
    const missing = await links.get('a\u001b').catch(caught => caught);
    expect(missing).toMatchObject({ code: 'ENODEV', path: ['name'], subject: { name: 'a\u001b' } });
    expect(missing.message).toContain("'a\\x1b'");
    await expect(links.set('a', { master: 'br0' })).rejects.toMatchObject({ code: 'ENODEV', path: ['master'] });
    await expect(links.addRoute({ to: 'default', device: 'a' })).rejects.toMatchObject({ path: ['device'] });
    await expect(links.addAddress('a', '10.0.0.1/24')).rejects.toMatchObject({ path: ['name'] });
  });

  test('what is refused here is never sent', async () => {
    const wire = new CannedWire(() => [ACK]);
    const links = open(wire);
    await expect(links.get('a/b')).rejects.toMatchObject({ path: ['name'] });
    await expect(links.list({ device: 'a' } as never)).rejects.toMatchObject({ code: 'ERR_UNKNOWN_FIELD' });
    await expect(links.routes({ table: 'x' as never })).rejects.toMatchObject({ path: ['table'] });
    await expect(links.routes({ family: 'ipx' as never })).rejects.toMatchObject({ path: ['family'] });
    await expect(links.neighbours({ device: '' })).rejects.toMatchObject({ path: ['device'] });
    await expect(
      links.addNeighbour({ device: 'a', address: 'x', hardwareAddress: '02:00:00:00:00:01' }),
    ).rejects.toMatchObject({ path: ['address'] });
    await expect(links.addNeighbour({ device: 'a', address: '10.0.0.1' } as never)).rejects.toMatchObject({
      path: ['hardwareAddress'],
    });
    await expect(
      links.addNeighbour({
        device: 'a',
        address: '10.0.0.1',
        hardwareAddress: '02:00:00:00:00:01',
        state: 'x' as never,
      }),
    ).rejects.toMatchObject({ path: ['state'] });
    expect(wire.requests).toHaveLength(0);
    expect(refused(() => Links.open({ netns: undefined } as never))).toBe('netns ERR_NETNS_UNDEFINED TypeError');
    expect(refused(() => Links.open({ nets: 1 } as never))).toBe('nets ERR_UNKNOWN_FIELD TypeError');
  });

  test('a macvlan names its lower device by index, and its mode', async () => {
    const wire = new CannedWire(request => (request[4] === 18 ? [[16, 0, PORT], ACK] : [ACK]));
    await open(wire).createMacvlan({ name: 'm0', link: 'eth0', mode: 'private' });
    const sent = Buffer.from(wire.requests[1]!).toString('hex');
    expect(sent).toContain('0800050005000000');
    expect(sent).toContain('0800010001000000');
    expect(wire.requests[1]![4]).toBe(C.RTM_NEWLINK);
  });

  test('up: false goes before the other changes, as a message of its own', async () => {
    const wire = new CannedWire(request => (request[4] === 18 ? [[16, 0, PORT], ACK] : [ACK]));
    const links = open(wire);
    await links.set('eth0', { up: false, newName: 'eth1' });
    await links.set('eth0', { up: true, newName: 'eth1' });
    const set = wire.requests.filter(request => request[4] === C.RTM_SETLINK).map(bytes => [...bytes.subarray(24, 32)]);
    expect(set).toEqual([
      [0, 0, 0, 0, 1, 0, 0, 0],
      [0, 0, 0, 0, 0, 0, 0, 0],
      [1, 0, 0, 0, 1, 0, 0, 0],
    ]);
  });
});
