import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sourceOf } from '../../src/codec/index.ts';
import * as C from '../../src/linux/if_ether.ts';
import { NFULA_IFINDEX_OUTDEV, NFULA_PACKET_HDR, NFULA_PAYLOAD } from '../../src/linux/nfnetlink_log.ts';
import { PLAIN } from '../../src/nflog/address.ts';
import { readHeaders } from '../../src/nflog/headers/headers.ts';
import type { Headers } from '../../src/nflog/index.ts';
import { packetOf, TCP_SYN, UDP } from '../support/nflog-message.ts';

const bytes = (hex: string) => new Uint8Array(Buffer.from(hex.replace(/\s/g, ''), 'hex'));

/** Read from the middle of a buffer whose other bytes would show. */
function read(hex: string, etherType = C.ETH_P_IP, captured = Number.POSITIVE_INFINITY): Headers | undefined {
  const all = bytes(hex);
  const length = Math.min(all.length, captured);
  const around = new Uint8Array(all.length + 64).fill(0xee);
  around.set(all, 32);
  const found = readHeaders(sourceOf(around), 32, 32 + length, etherType, PLAIN);
  // Nothing behind the captured bytes is looked at.
  expect(readHeaders(sourceOf(all.slice(0, length)), 0, length, etherType, PLAIN)).toEqual(found);
  return found;
}

const V6 = (next: string, rest: string) =>
  `60500123 0040 ${next} 3f fd000000000000000000000000000001 fd000000000000000000000000000002 ${rest}`;

describe('the headers of a packet', () => {
  it('are read of IPv4 with TCP, UDP, ICMP, SCTP and others', () => {
    expect(read(TCP_SYN)).toEqual({
      network: 'ipv4',
      source: '127.0.0.1',
      destination: '127.0.0.1',
      length: 60,
      ttl: 64,
      trafficClass: 0,
      protocol: 'tcp',
      id: 357,
      dontFragment: true,
      sourcePort: 41996,
      destinationPort: 1,
      tcp: { flags: ['SYN'], sequence: 0x5eb7d2a4, acknowledgement: 0, window: 65495 },
    });
    expect(read(UDP)).toMatchObject({ protocol: 'udp', sourcePort: 55722, destinationPort: 9999, length: 34 });
    const ip = (protocol: string) => `45b8 0030 0001 0000 40 ${protocol} 0000 0a000001 0a000002`;
    expect(read(`${ip('01')} 0304 0000`)).toMatchObject({
      protocol: 'icmp',
      icmpType: 3,
      icmpCode: 4,
      trafficClass: 0xb8,
    });
    expect(read(`${ip('84')} 1234 0050`)).toMatchObject({ protocol: 'sctp', sourcePort: 0x1234, destinationPort: 80 });
    expect(read(ip('2f'))).toMatchObject({ protocol: 'gre' });
    expect(read(ip('fd'))).toMatchObject({ protocol: 253 });
    expect(read(`46${ip('11').slice(2)} 94040000 0001 0002`)).toMatchObject({ sourcePort: 1, destinationPort: 2 });
  });

  it('have ports only in the first fragment', () => {
    const fragment = (bits: string) => `45000030 0001 ${bits} 40 11 0000 0a000001 0a000002 1234 0050`;
    expect(read(fragment('2000'))).toMatchObject({ moreFragments: true, sourcePort: 0x1234 });
    const later = read(fragment('2005'));
    expect(later).toMatchObject({ moreFragments: true, fragmentOffset: 40, protocol: 'udp' });
    expect(later).not.toHaveProperty('sourcePort');
    const first6 = read(V6('2c', '11 00 0001 00000007 1234 0050'), C.ETH_P_IPV6);
    expect(first6).toMatchObject({ protocol: 'udp', moreFragments: true, id: 7, sourcePort: 0x1234 });
    const later6 = read(V6('2c', '11 00 0010 00000007 1234 0050'), C.ETH_P_IPV6);
    expect(later6).toMatchObject({ fragmentOffset: 16, protocol: 'udp' });
    expect(later6).not.toHaveProperty('sourcePort');
  });

  it('are read of IPv6 behind extension headers', () => {
    const chain = '3c 00 0104 00000000  2b 00 0104 00000000  33 00 0000 00000000  06 01 0000 00000001 00000001';
    const found = read(V6('00', `${chain} 0050 1234 00000001 00000002 5012 ffff`), C.ETH_P_IPV6);
    expect(found).toMatchObject({
      network: 'ipv6',
      source: 'fd00::1',
      destination: 'fd00::2',
      length: 104,
      ttl: 63,
      trafficClass: 5,
      flowLabel: 0x123,
      protocol: 'tcp',
      sourcePort: 80,
      tcp: { flags: ['ACK', 'SYN'], window: 0xffff },
    });
    expect(read(V6('3a', '8000'), C.ETH_P_IPV6)).toMatchObject({ protocol: 'icmpv6', icmpType: 128, icmpCode: 0 });
  });

  it('are read of ARP', () => {
    const arp = '0001 0800 06 04 0002 020000000001 0a000001 020000000002 0a000002';
    expect(read(arp, C.ETH_P_ARP)).toEqual({
      network: 'arp',
      source: '10.0.0.1',
      destination: '10.0.0.2',
      arp: { operation: 2, senderHardware: '02:00:00:00:00:01', targetHardware: '02:00:00:00:00:02' },
    });
    expect(read(arp.replace('0800', '86dd').replace('04', '10'), C.ETH_P_ARP)).toBeUndefined();
  });

  it('are read behind any number of VLAN tags', () => {
    expect(read(`0007 0800 ${UDP}`, C.ETH_P_8021Q)).toMatchObject({ network: 'ipv4', destinationPort: 9999 });
    expect(read(`0007 8100 0008 0800 ${UDP}`, C.ETH_P_8021AD)).toMatchObject({ network: 'ipv4', length: 34 });
    expect(read('0007 8100 '.repeat(16_000), C.ETH_P_8021Q)).toBeUndefined();
    expect(read('0007 08', C.ETH_P_8021Q)).toBeUndefined();
  });

  it('end where the captured bytes end', () => {
    expect(read(TCP_SYN, C.ETH_P_IP, 19)).toBeUndefined();
    expect(read(TCP_SYN, C.ETH_P_IP, 23)).not.toHaveProperty('sourcePort');
    expect(read(TCP_SYN, C.ETH_P_IP, 24)).toMatchObject({ sourcePort: 41996 });
    expect(read(TCP_SYN, C.ETH_P_IP, 35)).not.toHaveProperty('tcp');
    expect(read(TCP_SYN, C.ETH_P_IP, 36)).toHaveProperty('tcp');
    expect(read(V6('00', '3c'), C.ETH_P_IPV6)).not.toHaveProperty('protocol');
    expect(read('00', 0x88cc)).toBeUndefined();
    expect(packetOf([]).headers).toBeUndefined();
  });

  it('throw nothing for any bytes, and read only captured bytes', () => {
    const types = fc.constantFrom(C.ETH_P_IP, C.ETH_P_IPV6, C.ETH_P_ARP, 0x1234);
    const starts = fc.constantFrom('', '45', '60', '4f', '0001080006040001');
    fc.assert(
      fc.property(types, starts, fc.uint8Array({ maxLength: 120 }), (type, start, rest) => {
        read(start + Buffer.from(rest).toString('hex'), type);
      }),
      { numRuns: 5000 },
    );
  });

  it('are read behind a chain of extension headers of any length', () => {
    const many = '3c 00 0104 00000000'.repeat(8000);
    const found = read(V6('3c', many), C.ETH_P_IPV6);
    expect(found).not.toHaveProperty('protocol');
  });
});

describe('the link-layer header that the kernel copies with the packet', () => {
  const frame = `020000000002020000000001 0800 ${UDP}`;
  const egress = (family: number, hook: number, type: string, payload: string, deviceType?: number) =>
    packetOf(
      [
        [NFULA_PACKET_HDR, `${type} 0${hook} 00`],
        [NFULA_IFINDEX_OUTDEV, '00000001'],
        [NFULA_PAYLOAD, payload],
      ],
      family,
      5,
      { microseconds: 0, devices: { nameOf: () => 'x', typeOf: () => deviceType } },
    );

  it('is not part of the payload in the egress hook of netdev', () => {
    for (const deviceType of [1, 772, undefined]) {
      const packet = egress(5, 1, '0800', frame, deviceType);
      expect(packet.hook).toBe('egress');
      expect(Buffer.from(packet.linkHeader!).toString('hex')).toBe('0200000000020200000000010800');
      expect(packet.payload).toEqual(bytes(UDP));
      expect(packet.headers).toMatchObject({ source: '127.0.0.1', destinationPort: 9999 });
      expect(packet.summary()).toMatch(/^IN= OUT=x SRC=127\.0\.0\.1 /);
    }
  });

  it('is not part of the payload in the output hook of arp', () => {
    const arp = '0001080006040002 020000000001 0a000001 020000000002 0a000002';
    const packet = egress(3, 1, '0806', `020000000002020000000001 0806 ${arp}`, 1);
    expect(packet.headers).toMatchObject({ network: 'arp', source: '10.0.0.1' });
    expect(packet.payload).toHaveLength(28);
  });

  it('is not removed from packets of devices without one', () => {
    expect(egress(5, 1, '0800', UDP, 65534).payload).toEqual(bytes(UDP));
    expect(egress(5, 1, '0800', UDP, undefined).payload).toEqual(bytes(UDP));
    expect(egress(5, 0, '0800', UDP, 1).payload).toEqual(bytes(UDP));
    expect(egress(5, 1, '0800', '0102', 1).payload).toHaveLength(0);
  });
});
