import { describe, expect, test } from 'vitest';
import { NO_CONTEXT, sourceOf, type Type, Writer } from '../../src/codec/index.ts';
import { IFA, ifaddrmsg, readAddress } from '../../src/rtnetlink/address.ts';
import { deviceName, HARDWARE_ADDRESS } from '../../src/rtnetlink/device.ts';
import { bridge } from '../../src/rtnetlink/links/bridge.ts';
import { LINKS } from '../../src/rtnetlink/links/link.ts';
import { macvlan } from '../../src/rtnetlink/links/macvlan.ts';
import { ifinfomsg } from '../../src/rtnetlink/links/message.ts';
import { RTA, rtmsg } from '../../src/rtnetlink/routes/attributes.ts';
import { writeRoute } from '../../src/rtnetlink/routes/new-route.ts';
import { readRoute } from '../../src/rtnetlink/routes/route.ts';

const IFLA = LINKS.messages.table;

function roundTrip<T>(type: Type<T>, value: T): T | undefined {
  const writer = new Writer();
  type.write(writer, value, NO_CONTEXT);
  const bytes = writer.copy();
  return type.read(sourceOf(bytes), 0, bytes.length, NO_CONTEXT);
}

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));

describe('the tables of rtnetlink', () => {
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
      { name: 'a', info: { kind: 'geneve', kindData: '0102', slaveKind: 'team', slaveData: '' } },
    ],
    [
      'IFLA_INFO part of a bond',
      IFLA,
      {
        name: 'a',
        info: {
          kind: 'veth',
          slaveKind: 'bond',
          bondPort: { state: 'backup', queueId: 2, priority: -7, actorState: 69 },
        },
      },
    ],
    ['IFLA_INFO port of a VRF', IFLA, { name: 'a', info: { slaveKind: 'vrf', vrfPort: { table: 1000 } } }],
    ['IFLA unknown', IFLA, { name: 'a', unknown: [{ type: 4000, bytes: '00ff' }] }],
    [
      'IFLA_BR',
      bridge.data,
      { priority: 4096, vlanFiltering: true, vlanProtocol: 0x8100, bridgeId: '8000aabbccddeeff' },
    ],
    ['IFLA_MACVLAN', macvlan.data, { mode: 'bridge', flags: ['no-promiscuous'] }],
    ['IFLA_MACVLAN raw mode', macvlan.data, { mode: 3 }],
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
  ] as unknown as [string, Type<unknown>, unknown][])('return %s unchanged', (_name, table, value) => {
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
    'return struct %s unchanged, with the size of the kernel',
    (_name, struct, size, value) => {
      expect(struct.size).toBe(size);
      expect(roundTrip(struct, value)).toEqual(value);
    },
  );

  test('keep the bytes of names that are not UTF-8', () => {
    const raw = hex('61 ff 80 62 00');
    const name = deviceName().read(sourceOf(raw), 0, raw.length, NO_CONTEXT);
    expect(name).toBe('a\udcff\udc80b');
    const writer = new Writer();
    deviceName().write(writer, name!, NO_CONTEXT);
    expect(writer.copy()).toEqual(raw);
    expect(roundTrip(deviceName(), 'münchen')).toBe('münchen');
  });

  test('reject names without a NUL or with two', () => {
    for (const bytes of ['6162', '', '61006200']) {
      const raw = hex(bytes);
      expect(deviceName().read(sourceOf(raw), 0, raw.length, NO_CONTEXT)).toBeUndefined();
    }
  });

  test('accept hardware addresses of any length of the kernel', () => {
    expect(roundTrip(HARDWARE_ADDRESS, 'AA:bb:0C')).toBe('aa:bb:0c');
    expect(roundTrip(HARDWARE_ADDRESS, Array(20).fill('01').join(':'))).toHaveLength(59);
    expect(() => roundTrip(HARDWARE_ADDRESS, 'aabbcc')).toThrow(RangeError);
  });

  test('keep unknown and malformed attributes of a link', () => {
    const link = { ifi_family: 0, ifi_type: 1, ifi_index: 3, ifi_flags: 0x40000001, ifi_change: 0 };
    const attributes = {
      name: 'a\n',
      master: 9,
      link: 2,
      info: { kind: 'x', unknown: [{ type: 3, bytes: '01' }] },
      unknown: [{ type: 99, bytes: '02' }],
    };
    expect(LINKS.read({ ...link, ifi_type: 'ether' }, attributes, index => (index === 9 ? 'br0' : undefined))).toEqual({
      index: 3,
      name: 'a\n',
      kind: 'x',
      type: 'ether',
      up: true,
      flags: ['up', 0x40000000],
      multicast: false,
      master: 'br0',
      link: 2,
      unknown: [
        { type: 99, bytes: '02' },
        { type: 3, bytes: '01', in: 'IFLA_INFO' },
      ],
    });
    // A device of the same index in another namespace lends no name.
    expect(LINKS.read({ ...link, ifi_type: 1 }, { name: 'a', link: 9, linkNetnsId: 0 }, () => 'br0').link).toBe(9);
  });

  test('give an address on a point-to-point link its peer, and leave out unlimited lifetimes', () => {
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

  test('give routes a default, tables above 255 and several next hops', () => {
    const { header } = writeRoute({ to: 'default', via: '10.0.0.1' });
    const names = (index: number) => ['?', 'lo', 'eth0'][index];
    const read = readRoute(header, { table: 1000, device: 2, gateway: '10.0.0.1' }, names);
    expect(read).toEqual({
      family: 'ipv4',
      to: 'default',
      via: '10.0.0.1',
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
      nextHops: [{ device: 'eth0', via: 'fe80::1', weight: 5, flags: ['dead', 'linkdown'] }],
    });
  });
});
