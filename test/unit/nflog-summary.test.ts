import { describe, expect, it } from 'vitest';
import * as C from '../../src/linux/nfnetlink_log.ts';
import { type Summarized, summarize } from '../../src/nflog/headers/summary.ts';
import { packetOf } from '../support/nflog-message.ts';

const nothing: Summarized = {
  prefix: '',
  family: 'ip',
  etherType: 0x0800,
  inDevice: undefined,
  outDevice: undefined,
  physInDevice: undefined,
  physOutDevice: undefined,
  linkHeader: undefined,
  payload: new Uint8Array(),
};

const bytes = (hex: string) => new Uint8Array(Buffer.from(hex.replace(/\s/g, ''), 'hex'));
const line = (payload: string, more: Partial<Summarized> = {}, properties = '') =>
  summarize({ ...nothing, payload: bytes(payload), ...more }, properties);

/* Packets recorded on a loopback device. */
const SYN =
  '4500003c01654000 40063b55 7f000001 7f000001 a40c0001 5eb7d2a4 00000000 a002ffd7 fe300000 0204ffd7 0402080a 00000000 00000000 0103030a';
const UDP = '45000022868740004011b6417f0000017f000001d9aa270f000efe2168656c6c6f0a';
const V6 = '60000000 000a1140 00000000000000000000000000000001 00000000000000000000000000000001 8fc7270f000a001d 780a';
const ONE = '0000:0000:0000:0000:0000:0000:0000:0001';

describe('the summary of a packet', () => {
  it('prints TCP as LOG does', () => {
    const more = { prefix: 'web1 ', inDevice: 'eth0', linkHeader: bytes('0242ac110002 0242ac110001 0800') };
    expect(line(SYN, more)).toBe(
      'web1 IN=eth0 OUT= MAC=02:42:ac:11:00:02:02:42:ac:11:00:01:08:00 SRC=127.0.0.1 DST=127.0.0.1 LEN=60 TOS=0x00 PREC=0x00 TTL=64 ' +
        'ID=357 DF PROTO=TCP SPT=41996 DPT=1 WINDOW=65495 RES=0x00 SYN URGP=0',
    );
  });

  it('prints UDP, the sender and the mark', () => {
    const packet = packetOf([
      [C.NFULA_PACKET_HDR, '08000300'],
      [C.NFULA_IFINDEX_OUTDEV, '00000001'],
      [C.NFULA_UID, '000003e8'],
      [C.NFULA_GID, '00000064'],
      [C.NFULA_MARK, '000000ab'],
      [C.NFULA_PAYLOAD, UDP],
    ]);
    expect(packet.summary()).toBe(
      'IN= OUT=eth1 SRC=127.0.0.1 DST=127.0.0.1 LEN=34 TOS=0x00 PREC=0x00 TTL=64 ID=34439 DF PROTO=UDP SPT=55722 DPT=9999 LEN=14 ' +
        'UID=1000 GID=100 MARK=0xab',
    );
  });

  it('prints all TCP flags in the order of the kernel, with type of service and reserved bits', () => {
    const all = bytes(SYN);
    all[1] = 0xff;
    all[32] = 0xaf;
    all[33] = 0xff;
    expect(summarize({ ...nothing, payload: all })).toContain(
      'TOS=0x1E PREC=0xE0 TTL=64 ID=357 DF PROTO=TCP SPT=41996 DPT=1 WINDOW=65495 RES=0x3c CWR ECE URG ACK PSH RST SYN FIN URGP=0',
    );
  });

  it('prints ICMP errors with the packet inside', () => {
    const unreachable = `4500003e000000004001000001020304 05060708 0303000000000000${UDP}`;
    const inner =
      '[SRC=127.0.0.1 DST=127.0.0.1 LEN=34 TOS=0x00 PREC=0x00 TTL=64 ID=34439 DF PROTO=UDP SPT=55722 DPT=9999 LEN=14 ]';
    expect(line(unreachable, {}, 'MARK=0x1 ')).toBe(
      `IN= OUT= SRC=1.2.3.4 DST=5.6.7.8 LEN=62 TOS=0x00 PREC=0x00 TTL=64 ID=0 PROTO=ICMP TYPE=3 CODE=3 ${inner} MARK=0x1`,
    );
    expect(line(unreachable.replace('0303000000000000', '03040000000005dc'))).toMatch(/\[.*\] MTU=1500$/);
    expect(line(unreachable.replace('0303000000000000', '050100000a000001'))).toMatch(/GATEWAY=10\.0\.0\.1 \[/);
    // An error inside an error is not followed.
    expect(line(unreachable.replace(UDP, unreachable)).match(/\[/g)).toHaveLength(1);
    expect(line('4500001c0000000040010000 01020304 05060708 0800000012340001')).toMatch(/TYPE=8 CODE=0 ID=4660 SEQ=1$/);
  });

  it('needs as many bytes of each type of ICMP as the kernel', () => {
    const message = (rest: string) => line(`45000020000000004001000001020304 05060708 ${rest}`);
    expect(message('0303000000000000 4500')).toMatch(/TYPE=3 CODE=3 INCOMPLETE \[10 bytes\]$/);
    expect(message('0d00000000070001')).toMatch(/TYPE=13 CODE=0 INCOMPLETE \[8 bytes\]$/);
    expect(message('1100000000070001 ffffff00')).toMatch(/TYPE=17 CODE=0$/);
  });

  it('prints fragments without a transport header', () => {
    const fragment = '4500001c000120b940110000 01020304 05060708 0000000000000000';
    expect(line(fragment)).toMatch(/ID=1 MF FRAG:185 PROTO=UDP$/);
  });

  it('prints IPv6 with its addresses in full', () => {
    expect(line(V6, { family: 'ip6' })).toBe(
      `IN= OUT= SRC=${ONE} DST=${ONE} LEN=50 TC=0 HOPLIMIT=64 FLOWLBL=0 PROTO=UDP SPT=36807 DPT=9999 LEN=10`,
    );
  });

  it('skips the extension headers of IPv6', () => {
    const head = (next: string) => `60012345 0020${next}40 ${'0'.repeat(31)}1 ${'0'.repeat(31)}2`;
    const udp = '00010002000a0000';
    expect(line(`${head('00')} 3c00000000000000 1100000000000000 ${udp}`, { family: 'ip6' })).toMatch(
      /TC=0 HOPLIMIT=64 FLOWLBL=74565 PROTO=UDP SPT=1 DPT=2 LEN=10$/,
    );
    expect(line(`${head('2c')} 1100000100000007 ${udp}`, { family: 'ip6' })).toMatch(
      /FRAG:0 INCOMPLETE ID:00000007 PROTO=UDP SPT=1 DPT=2 LEN=10$/,
    );
    expect(line(`${head('2c')} 110005a800000007 ${udp}`, { family: 'ip6' })).toMatch(
      /FRAG:1448 ID:00000007 PROTO=UDP$/,
    );
    expect(line(`${head('3a')} 0200000000000500 ${V6}`, { family: 'ip6' })).toMatch(
      /PROTO=ICMPv6 TYPE=2 CODE=0 \[SRC=.* LEN=10 \] MTU=1280$/,
    );
    expect(line(`${head('3a')} 8000000000070001`, { family: 'ip6' })).toMatch(/TYPE=128 CODE=0 ID=7 SEQ=1$/);
    expect(line(head('3b'), { family: 'ip6' })).toMatch(/PROTO=59$/);
    expect(line(`${head('2c')} 11`, { family: 'ip6' })).toMatch(/FLOWLBL=74565 TRUNCATED$/);
    expect(line(`${head('2c')} 1100`, { family: 'ip6' })).toMatch(/FLOWLBL=74565 FRAG:TRUNCATED$/);
  });

  it('prints other protocols', () => {
    const ip = (protocol: string) => `45000020000000004${'0'.repeat(1)}${protocol}0000 01020304 05060708`;
    expect(line(`${ip('84')} 00500051 00000000 00000000`)).toMatch(/PROTO=SCTP SPT=80 DPT=81$/);
    expect(line(`${ip('2f')} 00000000`)).toMatch(/PROTO=47$/);
    expect(line(`${ip('32')} 0000001f 00000001`)).toMatch(/PROTO=ESP SPI=0x1f$/);
    expect(line(`${ip('33')} 06040000 0000002f 00000001`)).toMatch(/PROTO=AH SPI=0x2f$/);
    expect(line(`${ip('33').replace('00000000', '000000b9')} 06040000 0000002f 00000001`)).toMatch(/FRAG:\d+$/);
  });

  it('prints ARP, and packets of bridge and netdev rules', () => {
    const arp = '0001080006040001 0242ac110002ac110002 000000000000ac110001';
    const text =
      'ARP HTYPE=1 PTYPE=0x0800 OPCODE=1 MACSRC=02:42:ac:11:00:02 IPSRC=172.17.0.2 MACDST=00:00:00:00:00:00 IPDST=172.17.0.1';
    expect(line(arp, { family: 'arp', etherType: 0x0806, inDevice: 'eth0' })).toBe(`IN=eth0 OUT= ${text}`);
    expect(line(arp, { family: 'netdev', etherType: 0x0806 })).toBe(`IN= OUT= ${text}`);
    const bridged = {
      family: 'bridge',
      inDevice: 'br0',
      physInDevice: 'veth1',
      outDevice: 'br0',
      physOutDevice: 'br0',
    };
    expect(line(UDP, { ...bridged, linkHeader: bytes('aabb') })).toMatch(
      /^IN=veth1 OUT=br0 MAC=aa:bb SRC=127\.0\.0\.1 .* DPT=9999 LEN=14$/,
    );
    const sent = { family: 'bridge', etherType: 0x88cc, outDevice: 'eth0', linkHeader: bytes('aabb') };
    expect(line('aabb', sent)).toBe('IN= OUT=eth0 MAC=aa:bb');
    expect(line('aabb', { ...sent, etherType: 0x0806 })).toBe('IN= OUT=eth0 TRUNCATED');
    expect(line('aabb', { family: 'bridge', etherType: 0x88cc })).toBe('IN= OUT=');
  });

  it('prints each VLAN tag, and the addresses behind all of them', () => {
    const arp = '0001080006040001 0242ac110002ac110002 000000000000ac110001';
    const ethernet = '0242ac110002 0242ac110001';
    const inner = [
      { type: '0800', payload: UDP, shown: /SRC=127\.0\.0\.1 DST=127\.0\.0\.1 .*DPT=9999 LEN=14$/ },
      { type: '86dd', payload: V6, shown: new RegExp(`SRC=${ONE} DST=${ONE} .*DPT=9999 LEN=10$`) },
      { type: '0806', payload: arp, shown: /ARP HTYPE=1 .*IPSRC=172\.17\.0\.2 .*IPDST=172\.17\.0\.1$/ },
    ];
    for (const family of ['bridge', 'netdev']) {
      for (const { type, payload, shown } of inner) {
        const shows = (text: string, ids: number[]) => {
          expect(
            [...text.matchAll(/VID=(\d+) /g)].map(([, id]) => Number(id)),
            text,
          ).toEqual(ids);
          expect(text).toMatch(shown);
        };
        const vlan = { protocol: 0x88a8, id: 7 };
        const etherType = Number.parseInt(type, 16);
        // One, which the kernel has taken off; a second in the payload; three; both in the link-layer header, with a priority.
        shows(line(payload, { family, etherType, vlan }), [7]);
        shows(line(`e008${type}${payload}`, { family, etherType: 0x8100, vlan }), [7, 8]);
        shows(line(`00078100 0008 9100 0009 ${type}${payload}`, { family, etherType: 0x88a8 }), [7, 8, 9]);
        const linkHeader = bytes(`${ethernet} 88a8 e007 8100 0008 ${type}`);
        shows(line(payload, { family, etherType: 0x88a8, linkHeader, inDevice: 'eth0' }), [7, 8]);
        shows(line(payload, { family, etherType, linkHeader, inDevice: 'eth0' }), [7, 8]);
      }
    }
    const vlan = { protocol: 0x8100, id: 5 };
    const linkHeader = bytes(`${ethernet} 0800`);
    expect(line(UDP, { family: 'netdev', inDevice: 'eth0', linkHeader, vlan })).toMatch(
      /^IN=eth0 OUT= MAC=02:.*:08:00 VPROTO=8100 VID=5 SRC=127\.0\.0\.1 /,
    );
    // A header of another link layer in which a tag's type stands by chance.
    const tunnel = bytes(`4500001400000000 402f0000 81000001 0a000002`);
    expect(line(UDP, { inDevice: 'tun0', linkHeader: tunnel })).not.toContain('VID');
    expect(line('0008', { family: 'netdev', etherType: 0x8100, vlan })).toBe('IN= OUT= VPROTO=8100 VID=5 TRUNCATED');
    expect(line('00088100', { family: 'netdev', etherType: 0x8100 })).toBe('IN= OUT= VPROTO=8100 VID=8 TRUNCATED');
  });

  it('prints where the captured bytes end', () => {
    expect(line('')).toBe('IN= OUT=');
    expect(line('4500')).toBe('IN= OUT= TRUNCATED');
    expect(line('60', { family: 'ip6' })).toBe('IN= OUT= TRUNCATED');
    expect(line(SYN.slice(0, 60), {}, 'MARK=0x3 ')).toMatch(/PROTO=TCP INCOMPLETE \[\d+ bytes\]$/);
    for (let length = 0; length < SYN.length / 2; length++) {
      const payload = bytes(SYN).subarray(0, length);
      expect(summarize({ ...nothing, payload })).toBe(summarize({ ...nothing, payload: payload.slice() }));
    }
    // A header length that points behind the packet.
    expect(line(`4f${SYN.slice(2)}`)).toMatch(/PROTO=TCP INCOMPLETE \[0 bytes\]$/);
  });

  it('escapes control characters in prefix and device names', () => {
    expect(line('', { prefix: 'a\x1b[2J\n', inDevice: 'e\x1bth' })).toBe('a\\x1b[2J\\x0aIN=e\\x1bth OUT= MAC=');
  });
});
