import { NetNs } from 'netsteer';
import { type NamedObjectOf, Nftables, Transaction } from 'netsteer/nftables';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { kernelSuite } from '../support/where.ts';

/* Which tunnel a packet takes, as objects: only tables of family netdev have them. */

const T = { family: 'netdev', table: 't' } as const;
type TunnelData = Omit<NamedObjectOf<'tunnel'>, 'family' | 'table' | 'name'>;

let netns: NetNs;
let nft: Nftables;

beforeEach(() => {
  netns = NetNs.create();
  nft = Nftables.open({ netns });
  nft.sync.commit(new Transaction().add({ table: { family: 'netdev', name: 't' } }));
});
afterEach(async () => {
  await nft[Symbol.asyncDispose]();
  netns.close();
});

const tunnel = (name: string, data: TunnelData) => new Transaction().add({ tunnel: { ...T, name, ...data } });
const dataOf = (name: string) => nft.sync.objects().find(object => object.name === name)?.data;

kernelSuite('tunnels', () => {
  test.each<[string, TunnelData]>([
    [
      'VXLAN with a group policy',
      {
        id: 1,
        ip: { source: '10.0.0.1', destination: '10.0.0.2' },
        sourcePort: 1,
        destinationPort: 4789,
        flags: ['zero-checksum'],
        typeOfService: 8,
        timeToLive: 16,
        options: [{ vxlan: { gbp: 5 } }],
      },
    ],
    [
      'IPv6 with a flow label',
      {
        id: 2,
        ip6: { source: 'fd00::1', destination: 'fd00::2', flowLabel: 9 },
        flags: ['do-not-fragment', 'sequence-number'],
      },
    ],
    ['ERSPAN 1', { id: 3, ip: { destination: '10.0.0.2' }, options: [{ erspan: { version: 1, index: 7 } }] }],
    [
      'ERSPAN 2',
      { id: 4, ip: { destination: '10.0.0.2' }, options: [{ erspan: { version: 2, direction: 1, hardwareId: 4 } }] },
    ],
    [
      'GENEVE',
      { id: 5, ip: { destination: '10.0.0.2' }, options: [{ geneve: { class: 0x101, type: 1, data: '00112233' } }] },
    ],
    [
      'GENEVE with several options',
      {
        id: 6,
        ip: { destination: '10.0.0.2' },
        options: [
          { geneve: { class: 0x101, type: 1, data: '00112233' } },
          { geneve: { class: 0x102, type: 2, data: '0011223344556677' } },
          { geneve: { class: 0x102, type: 3, data: '01020304' } },
        ],
      },
    ],
  ])('of the type %s are read back as given, written again, and leave nothing to plan', (_, data) => {
    nft.sync.commit(tunnel('one', data));
    const [read] = nft.sync.objects();
    expect(read).toMatchObject({ ...T, name: 'one', type: 'tunnel', data });
    nft.sync.commit(new Transaction().add({ object: { ...read!, name: 'other' } }));
    expect(dataOf('other')).toEqual(read!.data);

    const { data: _data, ...place } = read!;
    const desired = {
      tables: nft.sync.tables(),
      objects: [
        { ...place, data },
        { ...read!, name: 'other' },
      ],
    };
    expect(nft.sync.plan(desired as never, { prefix: '' }).operations).toEqual([]);
  });

  test('are rejected outside of netdev tables, with a hint', () => {
    const ip = { family: 'ip', table: 't' } as const;
    const transaction = new Transaction()
      .add({ table: { family: 'ip', name: 't' } })
      .add({ tunnel: { ...ip, name: 'one', id: 1, ip: { destination: '10.0.0.2' } } });
    expect(() => nft.sync.commit(transaction)).toThrow('tunnels are objects of tables of family netdev');
  });
});
