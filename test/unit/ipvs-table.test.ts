import { formatTable, type Stats, type VirtualServer } from 'netsteer/ipvs';
import { describe, expect, it } from 'vitest';

/* The expected lines are the output of ipvsadm 1.31 on Linux 6.12 for the same table, its first line (the version) left out. */

const servers: VirtualServer[] = [
  {
    protocol: 'tcp',
    address: '10.0.0.1',
    port: 80,
    scheduler: 'sh',
    schedulerFlags: ['sh-fallback', 'sh-port', 'flag-3'],
    persistence: { timeoutSeconds: 600, netmask: '255.255.255.0' },
    destinations: [
      { address: '127.0.0.1', port: 80, forward: 'direct', weight: 1 },
      { address: '2001:db8::9', port: 80, forward: 'tunnel', weight: 1, tunnel: { type: 'ipip' } },
      { address: '10.1.0.4', port: 80, forward: 'tunnel', tunnel: { type: 'gue', port: 6080 } },
      { address: '10.1.0.3', port: 80, forward: 'tunnel', tunnel: { type: 'gre', checksum: 'required' } },
      { address: '10.1.0.2', port: 80, forward: 'tunnel', tunnel: { type: 'gue', port: 6080, checksum: 'remote' } },
      {
        address: '192.168.7.7',
        port: 81,
        forward: 'masquerade',
        weight: 1,
        upperThreshold: 100,
        lowerThreshold: 50,
      },
      { address: '10.1.0.1', port: 81, forward: 'masquerade', weight: 2147483647 },
      { address: '10.1.0.1', port: 80, forward: 'masquerade', weight: 70000 },
    ],
  },
  { protocol: 'tcp', address: '192.168.0.1', port: 80, scheduler: 'rr', destinations: [] },
  {
    protocol: 'udp',
    address: '10.0.0.9',
    port: 5060,
    scheduler: 'mh',
    schedulerFlags: ['mh-port'],
    onePacket: true,
    persistence: { timeoutSeconds: 60, netmask: '255.255.0.0', engine: 'sip' },
    destinations: [],
  },
  {
    protocol: 'tcp',
    address: '100.0.0.1',
    port: 80,
    scheduler: 'rr',
    schedulerFlags: ['flag-1', 'flag-3'],
    destinations: [],
  },
  {
    protocol: 'tcp',
    address: '2001:db8::1',
    port: 80,
    scheduler: 'wlc',
    destinations: [{ address: '2001:db8:1111:2222:3333:4444:5555:6666', port: 80, forward: 'masquerade' }],
  },
  {
    firewallMark: 5,
    family: 'ipv6',
    scheduler: 'rr',
    persistence: { timeoutSeconds: 10, netmask: 64 },
    destinations: [],
  },
  { firewallMark: 5, family: 'ipv4', scheduler: 'rr', destinations: [] },
];

describe('formatTable', () => {
  it('prints connections as ipvsadm -Ln', () => {
    expect(formatTable(servers).split('\n')).toEqual([
      'Prot LocalAddress:Port Scheduler Flags',
      '  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn',
      'TCP  100.0.0.1:80 rr (flag-1,flag-3)',
      'TCP  192.168.0.1:80 rr',
      'TCP  10.0.0.1:80 sh (sh-fallback,sh-port) persistent 600 mask 255.255.255.0',
      '  -> 192.168.7.7:81               Masq    1      0          0         ',
      '  -> 10.1.0.1:80                  Masq    70000  0          0         ',
      '  -> 10.1.0.1:81                  Masq    2147483647 0          0         ',
      '  -> 10.1.0.2:80                  Tunnel  1      0          0         ',
      '  -> 10.1.0.3:80                  Tunnel  1      0          0         ',
      '  -> 10.1.0.4:80                  Tunnel  1      0          0         ',
      '  -> [2001:db8::9]:80             Tunnel  1      0          0         ',
      '  -> 127.0.0.1:80                 Route   1      0          0         ',
      'UDP  10.0.0.9:5060 mh (mh-port) persistent 60 mask 255.255.0.0 pe sip ops',
      'TCP  [2001:db8::1]:80 wlc',
      '  -> [2001:db8:1111:2222:3333:4444:5555:6666]:80 Masq    1      0          0         ',
      'FWM  5 rr',
      'FWM  5 IPv6 rr persistent 10 mask 64',
      '',
    ]);
  });

  it('prints thresholds, persistence and tunnels as the options of these names', () => {
    const lines = (view: 'thresholds' | 'persistence' | 'tunnels') =>
      formatTable([servers[0]!], view).split('\n').slice(0, 8);
    expect(lines('thresholds')).toEqual([
      'Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn ',
      '  -> RemoteAddress:Port',
      'TCP  10.0.0.1:80 sh (sh-fallback,sh-port) persistent 600 mask 255.255.255.0',
      '  -> 192.168.7.7:81               100        50         0          0         ',
      '  -> 10.1.0.1:80                  0          0          0          0         ',
      '  -> 10.1.0.1:81                  0          0          0          0         ',
      '  -> 10.1.0.2:80                  0          0          0          0         ',
      '  -> 10.1.0.3:80                  0          0          0          0         ',
    ]);
    expect(lines('persistence').slice(0, 6)).toEqual([
      'Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn ',
      '  -> RemoteAddress:Port',
      'TCP  10.0.0.1:80 sh (sh-fallback,sh-port) persistent 600 mask 255.255.255.0',
      '  -> 192.168.7.7:81               1         0           0          0         ',
      '  -> 10.1.0.1:80                  70000     0           0          0         ',
      '  -> 10.1.0.1:81                  2147483647 0           0          0         ',
    ]);
    expect(formatTable([servers[0]!], 'tunnels').split('\n').slice(0, 9)).toEqual([
      'Prot LocalAddress:Port Scheduler Flags',
      '  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn',
      'TCP  10.0.0.1:80 sh (sh-fallback,sh-port) persistent 600 mask 255.255.255.0',
      '  -> 192.168.7.7:81               Masq    n/a           1      0          0         ',
      '  -> 10.1.0.1:80                  Masq    n/a           70000  0          0         ',
      '  -> 10.1.0.1:81                  Masq    n/a           2147483647 0          0         ',
      '  -> 10.1.0.2:80                  Tunnel  gue:6080:r+c  1      0          0         ',
      '  -> 10.1.0.3:80                  Tunnel  gre:+c        1      0          0         ',
      '  -> 10.1.0.4:80                  Tunnel  gue:6080:-c   1      0          0         ',
    ]);
  });

  const stats: Stats = {
    connections: 99_999_999n,
    inPackets: 100_000_000n,
    outPackets: 1_000_000_000n,
    inBytes: 123_456_789_012n,
    outBytes: 1n << 63n,
    rates: {
      connections: 123_456_789n,
      inPackets: 0n,
      outPackets: 7n,
      inBytes: 999_999_999n,
      outBytes: 100_000_000_000n,
    },
  };
  const counted = {
    ...servers[1]!,
    stats,
    destinations: [
      {
        address: '10.1.0.1',
        port: 8080,
        forward: 'masquerade' as const,
        weight: 1,
        activeConnections: 12,
        inactiveConnections: 4_000_000_000,
        persistentConnections: 3,
        stats,
      },
    ],
  };

  it('abbreviates large numbers, in rates only where ipvsadm does', () => {
    expect(formatTable([counted], 'stats').split('\n')).toEqual([
      'Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes',
      '  -> RemoteAddress:Port',
      'TCP  192.168.0.1:80               99999999  100000K    1000M     123G 9223372T',
      '  -> 10.1.0.1:8080                99999999  100000K    1000M     123G 9223372T',
      '',
    ]);
    expect(formatTable([counted], 'rate').split('\n')).toEqual([
      'Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS',
      '  -> RemoteAddress:Port',
      'TCP  192.168.0.1:80                123456K        0        7  999999K     100G',
      '  -> 10.1.0.1:8080                123456789        0        7  999999K     100G',
      '',
    ]);
  });

  it('prints exact numbers on demand, and connections', () => {
    expect(formatTable([counted], 'stats', { exact: true }).split('\n')[2]).toBe(
      'TCP  192.168.0.1:80               99999999 100000000 1000000000 123456789012 9223372036854775808',
    );
    expect(formatTable([counted]).split('\n')[3]).toBe(
      '  -> 10.1.0.1:8080                Masq    1      12         4000000000',
    );
  });

  it('prints by number or name what ipvsadm has no words for', () => {
    const text = formatTable([
      {
        protocol: 1,
        address: '10.0.0.1',
        port: 5,
        scheduler: 'rr',
        destinations: [
          { address: '10.1.0.1', port: 1, forward: 'bypass' },
          { address: '10.1.0.1', port: 2, forward: 'local' },
        ],
      },
      { firewallMark: 3_000_000_000, family: 'ipv4', scheduler: 'rr', destinations: [] },
    ]);
    expect(text.split('\n').slice(2)).toEqual([
      'FWM  3000000000 rr',
      '1    10.0.0.1:5 rr',
      '  -> 10.1.0.1:1                   bypass  1      0          0         ',
      '  -> 10.1.0.1:2                   Local   1      0          0         ',
      '',
    ]);
  });

  it('sorts as ipvsadm does, whose comparison overflows', () => {
    // The kernel's order, and the order that ipvsadm printed.
    const given = ['127.255.255.255', '200.0.0.1', '1.0.0.1', '100.0.0.1', '192.168.0.1', '10.0.0.1'];
    const table = formatTable(
      given.map(address => ({ protocol: 'tcp', address, port: 80, scheduler: 'rr', destinations: [] })),
    );
    const printed = table
      .split('\n')
      .slice(2, -1)
      .map(line => line.slice(5, line.indexOf(':')));
    expect(printed).toEqual(['100.0.0.1', '127.255.255.255', '192.168.0.1', '200.0.0.1', '1.0.0.1', '10.0.0.1']);
  });

  it('rejects unknown views and options', () => {
    expect(() => formatTable([], 'nosuch' as 'stats')).toThrow(RangeError);
    expect(() => formatTable([], 'stats', { wide: true } as object)).toThrow('no such field');
  });
});
