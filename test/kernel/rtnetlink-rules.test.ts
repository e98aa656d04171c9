import fc from 'fast-check';
import type { NewRule } from 'netsteer/rtnetlink';
import { beforeEach, expect, test } from 'vitest';
import { isExists, isNotFound } from '../../src/errors.ts';
import { kernelSuite } from '../support/where.ts';
import { failure, here, inTwoNamespaces, ip, links, others } from './rtnetlink-namespaces.ts';

/** What `ip -j rule` shows of the rule with this priority. */
const shown = (priority: number, ...family: string[]) =>
  ip(here, ...family, 'rule', 'show').filter(rule => rule.priority === priority);

/** Each selector: as it is given and read, what `ip rule add` is told, and what `ip -j rule` shows. */
const CASES: readonly [string, NewRule, string, Record<string, unknown>][] = [
  [
    'from',
    { from: '10.1.0.0/16', table: 100 },
    'from 10.1.0.0/16 table 100',
    { src: '10.1.0.0', srclen: 16, table: '100' },
  ],
  ['to', { to: '10.2.0.0/16', table: 100 }, 'to 10.2.0.0/16 table 100', { dst: '10.2.0.0', dstlen: 16 }],
  ['a large table', { from: '10.1.0.0/16', table: 70_000 }, 'from 10.1.0.0/16 table 70000', { table: '70000' }],
  ['a named table', { from: '10.1.0.0/16', table: 'main' }, 'from 10.1.0.0/16 table main', { table: 'main' }],
  ['not', { from: '10.1.0.0/16', not: true, table: 100 }, 'not from 10.1.0.0/16 table 100', { not: null }],
  ['inDevice', { inDevice: 'eth7', table: 100 }, 'iif eth7 table 100', { iif: 'eth7', iif_detached: null }],
  ['outDevice', { outDevice: 'lo', table: 100 }, 'oif lo table 100', { oif: 'lo' }],
  ['mark', { mark: 7, table: 100 }, 'fwmark 7 table 100', { fwmark: '0x7' }],
  ['mark and mask', { mark: 7, markMask: 0xff, table: 100 }, 'fwmark 7/0xff table 100', { fwmask: '0xff' }],
  ['tos', { tos: 16, table: 100 }, 'tos 0x10 table 100', { tos: '0x10' }],
  [
    'users',
    { users: { start: 1000, end: 2000 }, table: 100 },
    'uidrange 1000-2000 table 100',
    { uid_start: 1000, uid_end: 2000 },
  ],
  [
    'protocol and port',
    { ipProtocol: 'tcp', destinationPorts: { start: 80, end: 80 }, table: 100 },
    'ipproto tcp dport 80 table 100',
    { ipproto: 'tcp', dport: 80 },
  ],
  [
    'ports',
    { ipProtocol: 17, sourcePorts: { start: 1000, end: 2000 }, table: 100 },
    'ipproto udp sport 1000-2000 table 100',
    { sport_start: 1000, sport_end: 2000 },
  ],
  ['tunnelId', { tunnelId: 77n, table: 100 }, 'tun_id 77 table 100', { tun_id: 77 }],
  [
    'suppressors',
    { from: '10.1.0.0/16', table: 'main', suppressPrefixLength: 0, suppressGroup: 3 },
    'from 10.1.0.0/16 table main suppress_prefixlength 0 suppress_ifgroup 3',
    { suppress_prefixlen: 0 },
  ],
  ['goto', { from: '10.1.0.0/16', goto: 40_000 }, 'from 10.1.0.0/16 goto 40000', { goto: 40_000 }],
  ['an action', { from: '10.1.0.0/16', action: 'prohibit' }, 'from 10.1.0.0/16 type prohibit', { action: 'prohibit' }],
  [
    'who',
    { from: '10.1.0.0/16', table: 100, protocol: 'static' },
    'from 10.1.0.0/16 table 100 protocol static',
    { protocol: 'static' },
  ],
  [
    'IPv6',
    { from: 'fd00::/16', to: 'fd01::1/128', table: 100 },
    'from fd00::/16 to fd01::1 table 100',
    { src: 'fd00::', dst: 'fd01::1' },
  ],
  ['IPv6 without a prefix', { family: 'ipv6', mark: 5, table: 100 }, 'fwmark 5 table 100', { fwmark: '0x5' }],
];
const isSix = ({ family, from }: NewRule) => family === 'ipv6' || from?.includes(':') === true;

kernelSuite('policy rules', () => {
  inTwoNamespaces();
  beforeEach(() => links.set('lo', { up: true }));

  test.each(CASES)('with %s are written and shown by ip, and made by ip and read', async (_, rule, words, seen) => {
    const six = isSix(rule) ? ['-6'] : [];
    const read = { ipProtocol: rule.ipProtocol === 17 ? 'udp' : rule.ipProtocol };
    const wanted = Object.fromEntries(Object.entries({ ...rule, ...read }).filter(([, value]) => value !== undefined));
    await links.addRule({ ...rule, priority: 500 });
    expect(shown(500, ...six)).toEqual([expect.objectContaining(seen)]);
    const mine = (await links.rules()).filter(({ priority }) => priority === 500);
    expect(mine).toEqual([expect.objectContaining(wanted)]);
    // As it was read: in another namespace, and again here, where it is refused.
    await others.addRule(mine[0]!);
    expect((await others.rules()).filter(({ priority }) => priority === 500)).toEqual(mine);
    expect(isExists(await failure(links.addRule(mine[0]!)))).toBe(true);
    await links.removeRule(mine[0]!);
    expect(shown(500, ...six)).toEqual([]);
    ip(here, ...six, 'rule', 'add', 'priority', '500', ...words.split(' '));
    const theirs = (await links.rules()).filter(({ priority }) => priority === 500);
    expect(theirs).toEqual([expect.objectContaining(wanted)]);
    await links.removeRule(theirs[0]!);
    expect(shown(500, ...six)).toEqual([]);
  });

  test('of a new namespace are those of the kernel', async () => {
    const rules = await links.rules({ family: 'ipv4' });
    expect(rules.map(({ priority, table, action, protocol }) => [priority, table, action, protocol])).toEqual([
      [0, 'local', 'table', 'kernel'],
      [32766, 'main', 'table', 'kernel'],
      [32767, 'default', 'table', 'kernel'],
    ]);
    expect((await links.rules()).map(({ family }) => family)).toContain('ipv6');
  });

  test.each([
    ['nothing', {}],
    ['a family alone', { family: 'ipv4' }],
    ['fields without a value', { priority: undefined, table: undefined }],
  ] as [string, NewRule][])('rejects a deletion of %s with ERR_MISSING, and deletes nothing', async (_, key) => {
    const before = await links.rules();
    await expect(links.removeRule(key)).rejects.toMatchObject({ code: 'ERR_MISSING' });
    expect(await links.rules()).toEqual(before);
  });

  test('are deleted exactly: rejects a rule behind a more general one with ERR_CONFLICT', async () => {
    await links.addRule({ from: '10.1.0.0/16', table: 5, priority: 100 });
    await links.addRule({ table: 5, priority: 100 });
    const [first, second] = (await links.rules({ family: 'ipv4' })).filter(({ priority }) => priority === 100);
    expect([first?.from, second?.from]).toEqual(['10.1.0.0/16', undefined]);
    // The kernel would take the first one: what the second does not name is any.
    await expect(links.removeRule(second!)).rejects.toMatchObject({ code: 'ERR_CONFLICT' });
    expect(shown(100)).toHaveLength(2);
    await links.removeRule(first!);
    await links.removeRule(second!);
    expect(shown(100)).toEqual([]);
    expect(isNotFound(await failure(links.removeRule({ priority: 100 })))).toBe(true);
  });

  test('in any order are deleted one by one, or rejected with ERR_CONFLICT', async () => {
    const selector = fc.record(
      { from: fc.constantFrom('10.1.0.0/16', '10.2.0.0/16'), mark: fc.constantFrom(1, 2), inDevice: fc.constant('lo') },
      { requiredKeys: [] },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(selector, { selector: value => JSON.stringify(value), maxLength: 8 }),
        fc.nat(),
        async (list, which) => {
          for (const each of list) await links.addRule({ ...each, table: 7, priority: 200 });
          const mine = async () => (await links.rules({ family: 'ipv4' })).filter(({ priority }) => priority === 200);
          const all = await mine();
          const chosen = all[which % Math.max(1, all.length)];
          if (chosen !== undefined) {
            const gone = await links.removeRule(chosen).then(
              () => true,
              error => {
                expect(error).toMatchObject({ code: 'ERR_CONFLICT' });
                return false;
              },
            );
            expect(await mine()).toEqual(gone ? all.filter(each => each !== chosen) : all);
          }
          for (let left = await mine(); left.length > 0; left = await mine()) await links.removeRule(left[0]!);
        },
      ),
      { numRuns: 20 },
    );
  });

  test.each<[string, NewRule, string]>([
    ['no action', { from: '10.0.0.0/8' }, 'table'],
    ['host bits', { from: '10.0.0.7/24', table: 5 }, 'from'],
    ['two families', { from: '10.0.0.0/8', to: 'fd00::/16', table: 5 }, 'to'],
    ['a mask without its mark', { markMask: 5, table: 5 }, 'markMask'],
    ['a goto with a table', { goto: 500, action: 'table', table: 5 }, 'goto'],
    ['a flow label of IPv4', { flowLabel: 5, table: 5 }, 'flowLabel'],
    ['tos and dscp', { tos: 4, dscp: 1, table: 5 }, 'dscp'],
    ['ports the wrong way round', { destinationPorts: { start: 5, end: 4 }, table: 5 }, 'destinationPorts.end'],
    ['table 0', { table: 0 }, 'table'],
    ['a misspelt field', { form: '10.0.0.0/8', table: 5 } as NewRule, 'form'],
  ])('rejects %s with its path', async (_, rule, attribute) => {
    const before = await links.rules();
    await expect(links.addRule(rule)).rejects.toMatchObject({ attribute });
    expect(await links.rules()).toEqual(before);
  });

  test.each<[string, NewRule]>([
    ['dscp', { dscp: 10, table: 5, priority: 300 }],
    ['flowLabel', { family: 'ipv6', flowLabel: 0x12345, table: 5, priority: 300 }],
    [
      'sourcePortMask',
      { ipProtocol: 'tcp', sourcePorts: { start: 80, end: 80 }, sourcePortMask: 0xfffe, table: 5, priority: 300 },
    ],
    ['dscpMask', { dscp: 8, dscpMask: 56, table: 5, priority: 300 }],
  ])('with %s are as given, or rejected with ERR_UNSUPPORTED and not created', async (field, rule) => {
    const error = await links.addRule(rule).then(
      () => undefined,
      (refusal: unknown) => refusal,
    );
    const made = (await links.rules()).filter(({ priority }) => priority === 300);
    if (error === undefined) expect(made).toEqual([expect.objectContaining({ [field]: rule[field as keyof NewRule] })]);
    else {
      expect(error).toMatchObject({ code: 'ERR_UNSUPPORTED', minimumKernel: expect.stringMatching(/^6\.1[2-5]$/) });
      expect(made).toEqual([]);
    }
  });
});
