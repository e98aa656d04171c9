import { describe, expect, it } from 'vitest';
import { toHex } from '../../src/codec/index.ts';
import { ALL_MESSAGES, type AnyMessageName } from '../../src/nf_tables/all-messages.ts';
import { decodeMessage, encodeMessage, type NftMessage } from '../../src/nftables/index.ts';

/** Where the attributes begin: behind nlmsghdr and nfgenmsg. */
const BODY = 20;

function message(
  type: AnyMessageName,
  object: Record<string, unknown>,
  family: NftMessage['family'] = 'ip',
): NftMessage {
  return { type, family, object };
}

/** The attributes as hex, without spaces. */
function bytesOf(sent: NftMessage): string {
  return toHex(encodeMessage(sent), BODY);
}

const hex = (...parts: string[]): string => parts.join('').replaceAll(' ', '');

function expectRoundTrip(sent: NftMessage): void {
  expect(decodeMessage(encodeMessage(sent)).object).toEqual(sent.object);
}

describe('messages', () => {
  it('have the numbers of the kernel', () => {
    const numbers = Object.fromEntries(Object.entries(ALL_MESSAGES).map(([name, { number }]) => [name, number]));
    expect(numbers).toMatchObject({ newtable: 0xa00, newset: 0xa09, trace: 0xa11, getobj_reset: 0xa15 });
    expect(numbers).toMatchObject({ getrule_reset: 0xa19, destroytable: 0xa1a, getsetelem_reset: 0xa21, hook: 0xc00 });
    expect(new Set(Object.values(numbers)).size).toBe(Object.keys(numbers).length);
  });

  it('reject a missing field with ERR_MISSING, and a misspelt one with ERR_UNKNOWN_FIELD', () => {
    expect(() => encodeMessage(message('newset', { table: 'filter' }))).toThrow(
      expect.objectContaining({ code: 'ERR_MISSING', attribute: 'object.name' }),
    );
    expect(() =>
      encodeMessage(message('newobj', { table: 't', name: 'c', type: 'counter', data: { pakets: 1n } })),
    ).toThrow(expect.objectContaining({ code: 'ERR_UNKNOWN_FIELD', attribute: 'object.data.pakets' }));
  });
});

describe('sets', () => {
  it('are written as nft writes them', () => {
    const set = {
      table: 't',
      name: 'm',
      flags: ['interval', 'map'],
      keyType: 7,
      keyLength: 4,
      dataType: 0xffffff00,
      dataLength: 16,
      id: 1,
      description: { size: 10 },
      keyByteOrder: 'big',
      mergeElements: 1,
      comment: 'hi',
    };
    const sent = message('newset', set);
    expect(bytesOf(sent)).toBe(
      hex(
        '0600 0100 7400 0000',
        '0600 0200 6d00 0000',
        '0800 0300 0000000c',
        '0800 0400 00000007',
        '0800 0500 00000004',
        '0800 0600 ffffff00',
        '0800 0700 00000010',
        '0c00 0980 0800 0100 0000000a',
        '0800 0a00 00000001',
        // User data: type, length, value; numbers as this machine has them.
        '1500 0d00 0004 02000000 0204 01000000 0703 686900 000000',
      ),
    );
    expectRoundTrip(sent);
  });

  it('have concatenations, timeouts and the expressions of their elements', () => {
    expectRoundTrip(
      message('newset', {
        table: 't',
        name: 's',
        flags: ['timeout', 'dynamic', 'concatenation', 'expressions', 0x200],
        policy: 'memory',
        description: { fields: [{ length: 4 }, { length: 2 }] },
        timeoutMilliseconds: 60000n,
        gcIntervalMilliseconds: 1000,
        expressions: [{ counter: { bytes: 0n, packets: 0n } }, { quota: { bytes: 500n, flags: [], consumed: 0n } }],
        keyTypeof: '0004000000000102',
        dataTypeof: '01',
        expressionCount: 2,
        dataInterval: 1,
        dataByteOrder: 'host',
        objectType: 'ct-timeout',
        backend: 'nft_set_hash',
        count: 3,
        handle: 9n,
      }),
    );
  });

  it('keep an empty description, as the kernel sends it', () => {
    expectRoundTrip(message('newset', { table: 't', name: 's', description: {} }));
  });
});

describe('elements', () => {
  const elements = [
    { key: '0a000001', data: { verdict: 'jump', chain: 'other' }, comment: 'first' },
    { key: '0a000002', data: '1f90', timeoutMilliseconds: 5000n, expirationMilliseconds: 4000n },
    { key: '0a000003', keyEnd: '0a000009', flags: ['interval-end'], userdataFlags: ['open-interval'] },
    { flags: ['catch-all'], object: 'limit1', expressions: [{ last: { seen: 0 } }] },
  ];

  it('are written as a list of one type', () => {
    const sent = message('newsetelem', { table: 't', set: 'm', elements: [{ key: '01' }, { key: '02' }] });
    const list = ['1000 0180 0c00 0180 0500 0100 01 000000', '1000 0180 0c00 0180 0500 0100 02 000000'];
    expect(bytesOf(sent)).toBe(hex('0600 0100 7400 0000', '0600 0200 6d00 0000', '2400 0380', ...list));
  });

  it('are unchanged after writing and reading', () =>
    expectRoundTrip(message('newsetelem', { table: 't', set: 'm', setId: 3, elements })));

  it('that libnftnl has numbered are numbered again', () => {
    const sent = message('newsetelem', { table: 't', set: 'm', elements, numbered: true });
    expectRoundTrip(sent);
    expect(bytesOf(sent)).not.toBe(bytesOf(message('newsetelem', { table: 't', set: 'm', elements })));
  });

  it('name the wrong one', () => {
    const sent = message('newsetelem', { table: 't', set: 'm', elements: [{ key: '01' }, { key: 'xy' }] });
    expect(() => encodeMessage(sent)).toThrow(expect.objectContaining({ attribute: 'object.elements[1].key' }));
  });
});

describe('named objects', () => {
  it.each([
    ['counter', { bytes: 1n, packets: 2n }],
    ['quota', { bytes: 500n, flags: ['invert'], consumed: 3n }],
    ['limit', { rate: 400n, unitSeconds: 3600n, burst: 5, type: 'packets', flags: [] }],
    ['connlimit', { count: 4, flags: ['invert'] }],
    ['synproxy', { maximumSegmentSize: 1460, windowScale: 7, flags: ['timestamp'] }],
    ['secmark', { context: 'system_u:object_r:ssh_server_packet_t:s0' }],
    ['ct-helper', { helper: 'ftp', l3protocol: 'ip', l4protocol: 'tcp' }],
    ['ct-timeout', { l3protocol: 'ip', l4protocol: 'tcp', stateSeconds: { established: 100, close: 4 } }],
    ['ct-timeout', { l3protocol: 'ip6', l4protocol: 'udp', stateSeconds: { unreplied: 100 } }],
    ['ct-expectation', { l3protocol: 'ip', l4protocol: 'tcp', port: 9876, timeoutMilliseconds: 60000, size: 12 }],
    [
      'tunnel',
      {
        id: 10,
        ip: { source: '192.0.2.1', destination: '192.0.2.2' },
        flags: ['do-not-fragment'],
        typeOfService: 1,
        timeToLive: 64,
        sourcePort: 1,
        destinationPort: 4789,
        options: [
          { geneve: { class: 0x101, type: 1, data: '0011' } },
          { geneve: { class: 0x101, type: 2, data: '22' } },
        ],
      },
    ],
    [
      'tunnel',
      {
        id: 1,
        ip6: { source: '2001:db8::1', destination: '2001:db8::2', flowLabel: 7 },
        options: [{ vxlan: { gbp: 1 } }],
      },
    ],
    ['tunnel', { id: 1, options: [{ erspan: { version: 2, direction: 1, hardwareId: 3 } }] }],
  ])('are unchanged after writing and reading: %s', (type, data) => {
    expectRoundTrip(message('newobj', { table: 't', name: 'o', type, data, use: 1, handle: 4n, comment: 'c' }));
  });

  it('of an unknown type keep their data raw', () => {
    expectRoundTrip(
      message('newobj', { table: 't', name: 'o', type: 77, unknown: [{ type: 4, bytes: '0800010000000001' }] }),
    );
  });

  it('are requested by type alone', () => expectRoundTrip(message('getobj_reset', { table: 't', type: 'quota' })));

  it('have the timeout of an expectation in the byte order of this machine, and the rest in network order', () => {
    const data = { l3protocol: 'ip', l4protocol: 'tcp', port: 80, timeoutMilliseconds: 1, size: 2 };
    const sent = message('newobj', { table: 't', name: 'e', type: 'ct-expectation', data });
    expect(bytesOf(sent)).toContain(
      hex('0600 0100 0002 0000 0500 0200 06 000000 0600 0300 0050 0000 0800 0400 01000000'),
    );
  });
});

describe('flowtables, devices, traces, generations, hooks', () => {
  it('tell a device from a prefix of names', () => {
    const sent = message('newflowtable', { table: 't', name: 'f', devices: ['eth0', 'veth*', 'odd\\*'] });
    expect(bytesOf(sent)).toContain(
      hex('0900 0100 6574683000 000000', '0900 0200 7665746800 000000', '0900 0100 6f64642a00 000000'),
    );
    expectRoundTrip(sent);
  });

  it('are unchanged after writing and reading', () => {
    const hooked = { hook: 'ingress', priority: -5, devices: ['lo'] };
    expectRoundTrip(
      message(
        'newflowtable',
        { table: 't', name: 'f', ...hooked, use: 2, handle: 3n, flags: ['offload', 'counter'] },
        'inet',
      ),
    );
    expectRoundTrip(message('newchain', { table: 't', name: 'c', ...hooked, priority: 0 }, 'netdev'));
    expectRoundTrip(
      message('newtable', {
        name: 't',
        flags: ['persist'],
        comment: 'c',
        unknown: [{ type: 1, bytes: '01', in: 'NFTNL_UDATA' }],
      }),
    );
    expectRoundTrip(message('newrule', { table: 't', chain: 'c', comment: 'c', ebtablesPolicy: 1 }, 'bridge'));
    expectRoundTrip(message('newgen', { id: 4, processId: 77, processName: 'nft' }, 'unspecified'));
    expectRoundTrip(
      message('trace', {
        table: 't',
        chain: 'c',
        ruleHandle: 4n,
        type: 'rule',
        verdict: { verdict: 'drop' },
        id: 0x1234,
        networkHeader: '45000014',
        inDevice: 2,
        inDeviceType: 1,
        mark: 1,
        protocolFamily: 'ip',
        policy: 'accept',
        connectionId: 9,
        connectionDirection: 'original',
        connectionStatus: ['assured', 'dnat', 0x10000],
        connectionState: ['new'],
      }),
    );
  });

  it('have the functions attached to a hook', () => {
    const chain = { type: 'chain', description: { table: 't', family: 2, name: 'c' } };
    expectRoundTrip(message('hook', { hook: 'input', priority: 0, function: 'nft_do_chain_ipv4', attached: chain }));
    expectRoundTrip(message('hook', { attached: { type: 'bpf', description: { id: 7 } } }));
    expectRoundTrip(message('hook', { attached: { type: 'flowtable', description: { name: 'f' } } }));
  });
});
