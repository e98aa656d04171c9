import { execFileSync } from 'node:child_process';
import { Links, NetNs, UnsupportedError } from 'netsteer';
import type { NextHopObject } from 'netsteer/rtnetlink';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { kernelSuite } from './where.ts';

/* Nexthop objects in both directions: made by the library and shown by `ip -j nexthop`, made by `ip` and read by the library. */

interface Case {
  what: string;
  object: NextHopObject;
  /** `ip nexthop add id N ...`. */
  words: string;
  shown: object;
}
const WAYS = ['nexthop add id 1 via 10.9.0.2 dev eth0', 'nexthop add id 2 via 10.9.0.3 dev eth0'];

const CASES: readonly Case[] = [
  {
    what: 'a router',
    object: { id: 5, via: '10.9.0.9', device: 'eth0' },
    words: 'via 10.9.0.9 dev eth0',
    shown: { gateway: '10.9.0.9', dev: 'eth0', scope: 'link' },
  },
  {
    what: 'a router that no address makes reachable, of a protocol',
    object: { id: 5, via: '192.0.2.9', device: 'eth0', onLink: true, protocol: 'bgp' },
    words: 'via 192.0.2.9 dev eth0 onlink proto bgp',
    shown: { gateway: '192.0.2.9', protocol: 'bgp', flags: ['onlink'] },
  },
  {
    what: 'a router of IPv6',
    object: { id: 5, via: 'fd09::9', device: 'eth0' },
    words: 'via fd09::9 dev eth0',
    shown: { gateway: 'fd09::9' },
  },
  {
    what: 'a device',
    object: { id: 5, family: 'ipv4', device: 'eth0' },
    words: 'dev eth0',
    shown: { dev: 'eth0' },
  },
  {
    what: 'a blackhole of IPv6',
    object: { id: 5, family: 'ipv6', blackhole: true },
    words: 'blackhole',
    shown: { blackhole: null },
  },
  {
    what: 'a group with weights',
    object: { id: 5, group: [{ id: 1, weight: 200 }, { id: 2 }] },
    words: 'group 1,200/2',
    shown: { group: [{ id: 1, weight: 200 }, { id: 2 }] },
  },
  {
    what: 'a resilient group',
    object: {
      id: 5,
      group: [{ id: 1 }, { id: 2, weight: 2 }],
      groupType: 'resilient',
      resilient: { buckets: 64, idleCentiseconds: 6000, unbalancedCentiseconds: 30_000 },
    },
    words: 'group 1/2,2 type resilient buckets 64 idle_timer 60 unbalanced_timer 300',
    shown: { type: 'resilient', resilient_args: { buckets: 64, idle_timer: 60, unbalanced_timer: 300 } },
  },
];

/** The members of a group without weights that are usual, and without clocks. */
const settled = (object: NextHopObject | undefined): unknown =>
  JSON.parse(
    JSON.stringify(object, (key, value) => (key === 'sinceCentiseconds' || value === undefined ? undefined : value)),
  );

export function nextHopSuite(): void {
  kernelSuite('nexthop objects', () => {
    let netns: NetNs;
    let links: Links;

    beforeEach(() => {
      netns = NetNs.create();
      links = Links.open({ netns });
      links.sync.createVeth({ name: 'eth0', up: true, peer: { name: 'eth1' } });
      links.sync.set('eth1', { up: true });
      links.sync.set('lo', { up: true });
      links.sync.createVeth({ name: 'eth8', peer: { name: 'eth9' } });
      links.sync.addAddress('eth0', '10.9.0.1/24');
      links.sync.addAddress('eth0', 'fd09::1/64', { noDad: true });
    });
    afterEach(async () => {
      await links[Symbol.asyncDispose]();
      netns.close();
    });

    const ip = (...words: string[]): string => netns.run(() => execFileSync('ip', words, { encoding: 'utf8' }));
    const shown = (): { id: number }[] => JSON.parse(ip('-j', 'nexthop'));
    const one = (id: number) => links.sync.nextHopObjects().find(object => object.id === id);

    test.each(CASES.map(each => [each.what, each] as const))(
      'of %s are made, shown by ip, read, and made again from what was read',
      (_, { object, words, shown: wanted }) => {
        for (const way of WAYS) ip(...way.split(' '));
        links.sync.addNextHopObject(object);
        expect(shown().find(({ id }) => id === 5)).toMatchObject(wanted);
        const made = one(5);
        expect(made).toMatchObject(
          object.group === undefined
            ? object
            : { ...object, group: object.group.map(each => ({ weight: 1, ...each })) },
        );
        links.sync.removeNextHopObject({ id: 5 });
        expect(one(5)).toBeUndefined();
        links.sync.addNextHopObject(made!);
        expect(settled(one(5))).toEqual(settled(made));
        links.sync.setNextHopObject(made!);
        expect(settled(one(5))).toEqual(settled(made));
        // The witness's, as we read it.
        links.sync.removeNextHopObject(made!);
        const family = object.family === 'ipv6' ? ['-6'] : [];
        ip(...family, 'nexthop', 'add', 'id', '5', ...words.split(' '), ...(object.protocol ? [] : ['proto', 'boot']));
        expect(settled(one(5))).toEqual(settled(made));
      },
    );

    test('carry routes, which follow when an object is replaced, and go with it', async () => {
      for (const way of WAYS) ip(...way.split(' '));
      await links.addNextHopObject({ id: 10, group: [{ id: 1 }, { id: 2 }] });
      await links.addRoute({ to: '30.0.0.0/8', nextHopId: 10 });
      await links.addRoute({ to: '31.0.0.0/8', nextHopId: 1 });
      const route = async (to: string) => (await links.routes({ table: 'main' })).find(each => each.to === to);
      expect((await route('30.0.0.0/8'))!.nextHops).toMatchObject([{ via: '10.9.0.2' }, { via: '10.9.0.3' }]);
      await links.setNextHopObject({ id: 1, via: '10.9.0.77', device: 'eth0' });
      expect(await route('31.0.0.0/8')).toMatchObject({ via: '10.9.0.77', nextHopId: 1 });
      expect(JSON.parse(ip('-j', 'route', 'show', '31.0.0.0/8'))).toMatchObject([{ gateway: '10.9.0.77', nhid: 1 }]);
      expect((await route('30.0.0.0/8'))!.nextHops).toMatchObject([{ via: '10.9.0.77' }, { via: '10.9.0.3' }]);
      await links.removeRoute({ to: '31.0.0.0/8', nextHopId: 1 });
      expect(await route('31.0.0.0/8')).toBeUndefined();
      await links.removeNextHopObject({ id: 10 });
      expect(await route('30.0.0.0/8')).toBeUndefined();
      expect((await links.nextHopObjects({ device: 'eth0' })).map(({ id }) => id)).toEqual([1, 2]);
      expect(await links.nextHopObjects({ device: 'eth1' })).toEqual([]);
    });

    test('have weights above 256, or are rejected with UnsupportedError or EINVAL', async () => {
      for (const way of WAYS) ip(...way.split(' '));
      const object = { id: 10, group: [{ id: 1, weight: 1000 }, { id: 2 }] };
      const refusal = await links.addNextHopObject(object).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (refusal === undefined)
        expect(one(10)!.group).toEqual([
          { id: 1, weight: 1000 },
          { id: 2, weight: 1 },
        ]);
      else if (!(refusal instanceof UnsupportedError))
        expect(refusal).toMatchObject({
          code: 'EINVAL',
          attribute: expect.stringContaining('group'),
          hint: expect.stringContaining('6.12'),
        });
    });

    test.each<[string, NextHopObject, string, string]>([
      ['an id that is taken', { id: 1, device: 'eth0' }, 'EEXIST', 'id'],
      ['a router that is on no network', { id: 5, via: '192.0.2.9', device: 'eth0' }, 'ENETUNREACH', 'via'],
      ['a device that is down', { id: 5, device: 'eth8' }, 'ENETDOWN', 'device'],
      ['a device that does not exist', { id: 5, device: 'eth7' }, 'ENODEV', 'device'],
      ['a member that does not exist', { id: 5, group: [{ id: 77 }] }, 'EINVAL', 'group'],
      ['nothing', { id: 5 }, 'ERR_MISSING', 'device'],
      ['no member', { id: 5, group: [] }, 'ERR_INVALID_ARG_TYPE', 'group'],
      ['a router beside a group', { id: 5, group: [{ id: 1 }], via: '10.9.0.2' }, 'ERR_CONFLICT', 'via'],
      ['a router beside a blackhole', { id: 5, blackhole: true, via: '10.9.0.2' }, 'ERR_CONFLICT', 'via'],
      ['a device beside a blackhole', { id: 5, blackhole: true, device: 'eth0' }, 'ERR_CONFLICT', 'device'],
      [
        'settings of a resilient group in another',
        { id: 5, group: [{ id: 1 }], resilient: { buckets: 4 } },
        'ERR_CONFLICT',
        'resilient',
      ],
      ['a router of the other family', { id: 5, family: 'ipv6', via: '10.9.0.2' }, 'ERR_FAMILY_MISMATCH', 'via'],
      ['the id 0', { id: 0, device: 'eth0' }, 'ERR_OUT_OF_RANGE', 'id'],
      ['a weight of 0', { id: 5, group: [{ id: 1, weight: 0 }] }, 'ERR_OUT_OF_RANGE', 'group[0].weight'],
    ])('refuse %s: %j with %s, which names %s', async (_, object, code, attribute) => {
      for (const way of WAYS) ip(...way.split(' '));
      await expect(links.addNextHopObject(object)).rejects.toMatchObject({ code, attribute });
      expect((await links.nextHopObjects()).map(({ id }) => id)).toEqual([1, 2]);
    });

    test('that do not exist cannot be removed: rejects with ENOENT', async () => {
      await expect(links.removeNextHopObject({ id: 9 })).rejects.toMatchObject({ code: 'ENOENT', attribute: 'id' });
    });
  });
}
