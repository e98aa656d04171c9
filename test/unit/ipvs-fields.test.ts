import { describe, expect, test, vi } from 'vitest';
import type { FieldRows } from '../../src/ip_vs/fields.ts';
import { formatPlan, formatRules, fromJson, parseRules, toJson } from '../../src/ipvs/index.ts';
import * as C from '../../src/linux/ip_vs.ts';
import type { KernelDestination, KernelService } from '../support/ipvs-abi.ts';
import { openIpvs } from '../support/ipvs-kernel.ts';

/*
 * A field is added in one row. Here a later kernel has more attributes than this library knows, and a row is added to each table for them: all
 * that the library does with a field works with these, without another line.
 */

const { EXTRA, INNER, IDLE } = vi.hoisted(() => ({ EXTRA: 77, INNER: 78, IDLE: 79 }));

/** The rows of a table with a setting, a setting of the group, and for destinations a number of the kernel's own. */
async function withMore(rows: FieldRows, group: string): Promise<FieldRows> {
  const { opt, u32ne } = await import('../../src/codec/index.ts');
  const { field, integer } = await import('../../src/ip_vs/fields.ts');
  const setting = (path: readonly [string] | readonly [string, string], option: string) =>
    ({
      role: 'setting',
      path,
      type: integer([0, 0xffffffff], [0, 100]),
      byDefault: () => 0,
      sockopt: { missing: `the field ${option}` },
      ipvsadm: [{ option, argument: 'required' }],
      label: option,
    }) as const;
  return {
    ...rows,
    extra: field(opt(u32ne(EXTRA)), setting(['extra'], 'extra')),
    innerExtra: field(opt(u32ne(INNER)), setting([group, 'inner'], 'inner')),
    ...(group === 'tunnel' && {
      idleConnections: field(opt(u32ne(IDLE)), { role: 'reading', sockopt: 'activeconns' }),
    }),
  };
}

vi.mock('../../src/ip_vs/destination-rows.ts', async original => {
  const actual = await original<typeof import('../../src/ip_vs/destination-rows.ts')>();
  return { ...actual, destinationRows: await withMore(actual.destinationRows, 'tunnel') };
});
vi.mock('../../src/ip_vs/service-rows.ts', async original => {
  const actual = await original<typeof import('../../src/ip_vs/service-rows.ts')>();
  return { ...actual, serviceRows: await withMore(actual.serviceRows, 'persistence') };
});

const u32 = (value: number): string => Buffer.from(Uint32Array.of(value).buffer).toString('hex');
const key = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const;
/* Their types do not have the new fields: a declaration is the third place of a field. */
const service = { ...key, scheduler: 'rr', extra: 5, persistence: { timeoutSeconds: 60, inner: 6 } };
const plain = { address: '10.1.0.1', port: 80, forward: 'direct', weight: 1, extra: 7 } as const;
const tunneled = {
  address: '10.1.0.2',
  port: 80,
  forward: 'tunnel',
  weight: 1,
  extra: 8,
  tunnel: { type: 'ipip', inner: 9 },
} as const;
const desired = [{ ...service, destinations: [plain, tunneled] }];

function filled(via?: 'netlink' | 'sockopt') {
  const made = openIpvs(via);
  made.ipvs.sync.reconcile(desired);
  const [held] = made.kernel.services.values();
  return { ...made, held: held! };
}

const othersOf = (held: { service: KernelService; destinations: ReadonlyMap<string, KernelDestination> }) => [
  held.service.others,
  ...[...held.destinations.values()].map(({ others }) => others),
];
const ALL = [{ [EXTRA]: u32(5), [INNER]: u32(6) }, { [EXTRA]: u32(7) }, { [EXTRA]: u32(8), [INNER]: u32(9) }];

describe('a row that is added to the tables', () => {
  test('is written, in single calls and in a batch', () => {
    expect(othersOf(filled().held)).toEqual(ALL);
    const { kernel, ipvs } = openIpvs('netlink');
    const many = Array.from({ length: 20 }, (_, i) => ({ ...plain, address: `10.1.1.${i + 1}` }));
    ipvs.sync.batch(batch => {
      batch.addService(service);
      for (const each of many) batch.addDestination(service, each);
    });
    const [held] = kernel.services.values();
    expect(othersOf(held!)).toEqual([ALL[0], ...many.map(() => ALL[1])]);
  });

  test('is read, also where only the kernel sets it, and in JSON', () => {
    const { ipvs, held } = filled();
    const [first] = held.destinations.values();
    first!.others = { ...first!.others, [IDLE]: u32(11) };
    const { servers } = ipvs.sync.snapshot();
    expect(servers).toMatchObject([{ extra: 5, persistence: { inner: 6 } }]);
    expect(servers[0]!.destinations).toMatchObject([
      { extra: 8, tunnel: { inner: 9 }, idleConnections: 0 },
      { extra: 7, idleConnections: 11 },
    ]);
    expect(fromJson(toJson(servers))).toEqual(servers);
    expect(ipvs.sync.plan(servers, { prune: true })).toEqual([]);
  });

  test('is compared: a difference in it alone is planned and printed', () => {
    const { ipvs } = filled();
    expect(ipvs.sync.plan(desired)).toEqual([]);
    const other = [
      {
        ...service,
        destinations: [
          { ...plain, extra: 6 },
          { ...tunneled, tunnel: { type: 'ipip', inner: 1 } },
        ],
      },
    ];
    const planned = ipvs.sync.plan(other as typeof desired);
    expect(planned.map(({ op }) => op)).toEqual(['setDestination', 'setDestination']);
    expect(formatPlan(planned)).toContain('direct weight 1 extra 6\n');
    expect(formatPlan(planned)).toContain('tunnel type ipip weight 1 extra 8 inner 1\n');
    const inner = [{ ...desired[0]!, persistence: { timeoutSeconds: 60, inner: 7 } }];
    expect(ipvs.sync.plan(inner).map(({ op }) => op)).toEqual(['setService']);
    expect(formatPlan(ipvs.sync.plan(inner))).toContain('rr persistent 60 extra 5 inner 7\n');
  });

  test('is edited: kept where a patch omits it, changed where it has it', () => {
    const { ipvs, held } = filled();
    ipvs.sync.editService(key, { scheduler: 'lc' });
    for (const each of [plain, tunneled]) ipvs.sync.editDestination(key, each, { weight: 3 });
    expect(othersOf(held)).toEqual(ALL);
    ipvs.sync.editDestination(key, tunneled, { tunnel: { inner: 3 } } as object);
    ipvs.sync.editService(key, { extra: 4, persistence: { inner: 2 } } as object);
    expect(ipvs.sync.service(key)).toMatchObject({
      scheduler: 'lc',
      extra: 4,
      persistence: { timeoutSeconds: 60, inner: 2 },
    });
    expect(ipvs.sync.destinations(key)[0]).toMatchObject({ weight: 3, extra: 8, tunnel: { type: 'ipip', inner: 3 } });
  });

  test('is restored by a rollback', () => {
    const { kernel, ipvs, held } = filled();
    kernel.refuses = (command, value) => (command === C.IPVS_CMD_DEL_DEST && value.destination ? -12 : undefined);
    const { op } = { op: 'setDestination' } as const;
    const destinationKey = { address: '10.1.0.2', port: 80 };
    const operations = [
      { op, key, destination: { ...plain, extra: 1 } },
      { op: 'removeDestination' as const, key, destinationKey },
    ];
    expect(() => ipvs.sync.apply(operations, { rollback: true })).toThrow(
      expect.objectContaining({ rolledBack: true }),
    );
    expect(othersOf(held)).toEqual(ALL);
  });

  test('is an option in the texts', () => {
    const { ipvs } = filled();
    const text = ipvs.sync.save();
    expect(text).toBe(formatRules(desired));
    expect(text.split('\n')).toEqual([
      '-A -t 10.0.0.1:80 -s rr -p 60 --inner 6 --extra 5',
      '-a -t 10.0.0.1:80 -r 10.1.0.1:80 -g -w 1 --extra 7',
      '-a -t 10.0.0.1:80 -r 10.1.0.2:80 -i -w 1 --extra 8 --tun-type ipip --inner 9',
      '',
    ]);
    expect(parseRules(text)).toEqual(desired);
    const empty = openIpvs('netlink');
    empty.ipvs.sync.restore(text);
    expect(othersOf([...empty.kernel.services.values()][0]!)).toEqual(ALL);
    expect(() => parseRules(text.replace('--inner 9', '--inner 101'))).toThrow('--inner: expected an integer 0 to 100');
    expect(() => parseRules(text.replace('-w 1 --extra 7', '-w 1 --inner 7'))).toThrow('a tunnel with it');
  });

  test('is checked for its range, unless the kernel holds the value, and rejects a misspelt name with ERR_UNKNOWN_FIELD', () => {
    const { ipvs, held } = filled();
    const odd = [{ ...service, destinations: [{ ...plain, extra: 101 }, tunneled] }];
    const path = expect.objectContaining({ attribute: 'desired[0].destinations[0].extra', name: 'RangeError' });
    expect(() => ipvs.sync.plan(odd as typeof desired)).toThrow(path);
    const [first] = held.destinations.values();
    first!.others![EXTRA] = u32(101);
    expect(ipvs.sync.plan(odd as typeof desired)).toEqual([]);
    const misspelt = [{ ...service, destinations: [{ ...plain, extras: 1 }] }];
    expect(() => ipvs.sync.plan(misspelt)).toThrow(expect.objectContaining({ code: 'ERR_UNKNOWN_FIELD' }));
  });

  test('is rejected over socket options that lack it with ERR_UNSUPPORTED', () => {
    const { ipvs, kernel } = openIpvs('sockopt');
    const unsupported = expect.objectContaining({
      name: 'UnsupportedError',
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('the field extra'),
    });
    expect(() => ipvs.sync.addService({ ...key, scheduler: 'rr', extra: 5 } as never)).toThrow(unsupported);
    ipvs.sync.addService({ ...key, scheduler: 'rr' });
    expect(() => ipvs.sync.addDestination(key, plain)).toThrow(unsupported);
    ipvs.sync.addDestination(key, { address: '10.1.0.1', port: 80, forward: 'direct' });
    const [held] = kernel.services.values();
    for (const destination of held!.destinations.values()) destination.activeConnections = 12;
    expect(ipvs.sync.destinations(key)).toMatchObject([{ activeConnections: 12, idleConnections: 12 }]);
  });
});

describe('an incomplete row', () => {
  test('is rejected when its table is made: without facets', async () => {
    const { FieldTable } = await import('../../src/ip_vs/fields.ts');
    const { opt, u32ne } = await import('../../src/codec/index.ts');
    // @ts-expect-error the compiler finds it, too
    const rows: FieldRows = { forgotten: opt(u32ne(EXTRA)) };
    expect(() => new FieldTable(rows, {})).toThrow('the row forgotten has no facets');
  });

  test('is rejected when its table is made: in a group that does not exist', async () => {
    const { FieldTable } = await import('../../src/ip_vs/fields.ts');
    const { serviceRows } = await import('../../src/ip_vs/service-rows.ts');
    expect(() => new FieldTable(serviceRows, {})).toThrow('no such group: persistence');
  });
});
