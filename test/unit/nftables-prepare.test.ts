import fc from 'fast-check';
import { counter, ip, ip6, log, meta, prepare, redirect, Transaction, tcp } from 'netsteer/nftables';
import { describe, expect, it } from 'vitest';

const chain = { family: 'inet', table: 't', chain: 'c' } as const;
const KEY = { key: 'ipv4_addr . inet_proto . inet_service', data: 'inet_service' } as const;

/** The bytes of one operation. */
const bytesOf = (transaction: Transaction): string => Buffer.from(transaction.encode().bytes).toString('hex');

const port = fc.integer({ min: 0, max: 65535 });
const mark = fc.integer({ min: 0, max: 0xffffffff });
const v4 = fc.ipV4();
const v6 = fc.ipV6().filter(address => !address.includes('.'));

describe('a prepared object', () => {
  it('has the bytes of an encoded rule', () => {
    const rule = (address: string, dport: number, to: number) => ({
      rule: { ...chain, statements: [ip.daddr.eq(address), tcp.dport.eq(dport), counter(), redirect({ to })] },
    });
    const prepared = prepare(({ address, dport, to }) => rule(address, dport, to), {
      address: 'ipv4',
      dport: 'port',
      to: 'port',
    });
    fc.assert(
      fc.property(v4, port, port, (address, dport, to) => {
        const expected = new Transaction().add(rule(address, dport, to));
        expect(bytesOf(prepared.transaction({ address, dport, to }))).toBe(bytesOf(expected));
      }),
    );
  });

  it('has the bytes of an IPv6 rule with a mark in the byte order of this machine', () => {
    const rule = (address: string, value: number) => ({
      rule: {
        ...chain,
        expressions: [
          { meta: { key: 'mark' as const, register: 1 } },
          { cmp: { op: 'eq' as const, register: 1, data: Buffer.from(Uint32Array.of(value).buffer).toString('hex') } },
          {
            immediate: {
              register: 1,
              data: Buffer.from([value >>> 24, value >>> 16, value >>> 8, value]).toString('hex'),
            },
          },
        ],
        comment: address,
      },
    });
    const prepared = prepare(({ value }) => rule('x', value), { value: 'mark' });
    fc.assert(
      fc.property(mark, value => {
        expect(bytesOf(prepared.transaction({ value }))).toBe(bytesOf(new Transaction().add(rule('x', value))));
      }),
    );
    const six = prepare(
      ({ address }) => ({ rule: { ...chain, statements: [ip6.saddr.eq(address), meta.l4proto.eq('tcp')] } }),
      { address: 'ipv6' },
    );
    fc.assert(
      fc.property(v6, address => {
        const expected = { rule: { ...chain, statements: [ip6.saddr.eq(address), meta.l4proto.eq('tcp')] } };
        expect(bytesOf(six.transaction({ address }))).toBe(bytesOf(new Transaction().add(expected)));
      }),
    );
  });

  it('has the bytes of an element of a map', () => {
    const element = (address: string, dport: number, to: number) => ({
      element: {
        family: 'inet' as const,
        table: 't',
        set: 'm',
        type: KEY,
        elements: [{ key: [address, 'tcp', dport], data: to }],
      },
    });
    const prepared = prepare(({ address, dport, to }) => element(address, dport, to), {
      address: 'ipv4',
      dport: 'port',
      to: 'port',
    });
    fc.assert(
      fc.property(v4, port, port, (address, dport, to) => {
        const expected = new Transaction().add(element(address, dport, to));
        expect(bytesOf(prepared.transaction({ address, dport, to }))).toBe(bytesOf(expected));
      }),
    );
  });

  it('has a text of any length up to the reserved one', () => {
    const prepared = prepare(
      ({ group, prefix }) => ({ rule: { ...chain, expressions: [{ log: { group, prefix } }] } }),
      { group: 'group', prefix: { text: 16 } },
    );
    const full = { group: 5, prefix: 'sixteen letters!' };
    expect(bytesOf(prepared.transaction(full))).toBe(
      bytesOf(new Transaction().add({ rule: { ...chain, expressions: [{ log: full }] } })),
    );
    const { bytes } = prepared.transaction({ group: 7, prefix: 'web1 ' }).encode();
    expect(Buffer.from(bytes).includes(Buffer.from(`web1 ${'\0'.repeat(12)}`))).toBe(true);
  });

  it('keeps its place among other operations, and is reported as its object', () => {
    const prepared = prepare(({ to }) => ({ rule: { ...chain, statements: [tcp.dport.eq(80), redirect({ to })] } }), {
      to: 'port',
    });
    const copied = new Transaction().add({ table: { family: 'inet', name: 't' } });
    const added = new Transaction().add({ table: { family: 'inet', name: 't' } });
    for (const to of [1, 2, 3]) {
      prepared.addTo(copied, { to });
      added.add({ rule: { ...chain, statements: [tcp.dport.eq(80), redirect({ to })] } });
    }
    expect(bytesOf(copied)).toBe(bytesOf(added));
    const told = ({ operations }: Transaction) =>
      operations.map(({ verb, kind, subject }) => ({ verb, kind, subject }));
    expect(told(copied)).toEqual(told(added));
  });

  it.each([
    [{ address: '10.0.0' }, 'address'],
    [{ address: 5 }, 'address'],
    [{ dport: 65536 }, 'dport'],
    [{ dport: '80' }, 'dport'],
    [{ prefix: '' }, 'prefix'],
    [{ prefix: 'nine bytes' }, 'prefix'],
    [{ mark: -1 }, 'mark'],
  ])('rejects %j, and leaves the transaction unchanged', (wrong, attribute) => {
    const prepared = prepare(
      ({ address, dport, prefix, mark }) => ({
        rule: {
          ...chain,
          statements: [ip.daddr.eq(address), tcp.dport.eq(dport), meta.mark.eq(mark), log({ group: 1, prefix })],
        },
      }),
      { address: 'ipv4', dport: 'port', prefix: { text: 8 }, mark: 'mark' },
    );
    const right = { address: '10.0.0.1', dport: 80, prefix: 'web', mark: 1 };
    const transaction = prepared.transaction(right);
    const before = bytesOf(transaction);
    expect(() => prepared.addTo(transaction, { ...right, ...wrong } as never)).toThrow(
      expect.objectContaining({ attribute, code: expect.stringMatching(/^ERR_/) }),
    );
    expect(bytesOf(transaction)).toBe(before);
  });

  it('rejects a malformed IPv6 address', () => {
    const prepared = prepare(({ six }) => ({ rule: { ...chain, statements: [ip6.daddr.eq(six)] } }), { six: 'ipv6' });
    for (const six of ['fe80::%eth0', '10.0.0.1', 6])
      expect(() => prepared.transaction({ six } as never)).toThrow(expect.objectContaining({ attribute: 'six' }));
  });

  it.each([
    ['is not in it', () => ({ rule: { ...chain, statements: [tcp.dport.eq(80)] } })],
    [
      'changes its form',
      (dport: number) => ({ rule: { ...chain, statements: dport > 1000 ? [] : [tcp.dport.eq(dport)] } }),
    ],
    [
      'is calculated with',
      (dport: number) => ({ rule: { ...chain, statements: [tcp.dport.eq((dport + 1) & 0xffff)] } }),
    ],
    [
      'is of two messages',
      (dport: number) => ({
        set: { family: 'inet' as const, table: 't', name: 's', key: 'inet_service' as const, elements: [dport] },
      }),
    ],
  ])('rejects a template with ERR_NOT_A_TEMPLATE whose parameter %s', (_, build) => {
    expect(() => prepare(({ dport }) => build(dport), { dport: 'port' })).toThrow(
      expect.objectContaining({ code: 'ERR_NOT_A_TEMPLATE' }),
    );
  });
});
