import fc from 'fast-check';
import { NetNs } from 'netsteer';
import { MemoryKernel } from 'netsteer/testing';
import { describe, expect, test } from 'vitest';
import {
  NETLINK_ROUTE,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REPLACE,
} from '../../src/linux/netlink.ts';
import {
  attribute,
  bytes,
  type Came,
  le16,
  le32,
  nest,
  type Part,
  RawSocket,
  shown,
  text,
} from '../support/two-kernels.ts';
import { isLong } from '../support/where.ts';

/*
 * Random requests of rtnetlink to the real kernel and to the kernel in memory: the same answers, the same events, the same lists. IPv4, on veth
 * pairs and a bridge.
 */

const SEED = Number(process.env.NETSTEER_SEED ?? 2026);
const RUNS = isLong ? 3000 : 100;

interface Request {
  readonly type: number;
  readonly flags: number;
  readonly header: Uint8Array;
  readonly parts: readonly Part[];
}

const [NEWLINK, DELLINK, NEWADDR, DELADDR, NEWROUTE, DELROUTE, NEWNEIGH, DELNEIGH, NEWRULE, DELRULE] = [
  16, 17, 20, 21, 24, 25, 28, 29, 32, 33,
];
const [GETLINK, GETADDR, GETROUTE, GETNEIGH, GETRULE] = [18, 22, 26, 30, 34];
const KERNEL = 2;

const maybe = <T>(value: fc.Arbitrary<T>, weight = 3): fc.Arbitrary<T | undefined> =>
  fc.oneof({ weight, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: value });
const given = (...parts: readonly (Part | undefined)[]): Part[] => parts.filter(part => part !== undefined);
const ip = (...numbers: number[]): Uint8Array => Uint8Array.from(numbers);
const created = fc.constantFrom(
  NLM_F_CREATE,
  NLM_F_CREATE | NLM_F_EXCL,
  NLM_F_CREATE | NLM_F_REPLACE,
  NLM_F_REPLACE,
  0,
);
const ifinfo = (index: number, flags: number, change: number): Uint8Array =>
  bytes([0, 0], le16(0), le32(index), le32(flags), le32(change));
const device = fc.constantFrom(2, 2, 2, 3, 4, 9, 1);

const link: fc.Arbitrary<Request> = fc
  .record({
    gone: fc.constantFrom(false, false, false, false, false, true),
    index: fc.constantFrom(2, 3, 4, 5, 9, 0),
    up: maybe(fc.constantFrom(0, 1), 1),
    mtu: maybe(fc.constantFrom(1400, 60, 9000), 4),
    name: maybe(fc.constantFrom('v0', 'w0', 'a name', ''), 6),
    alias: maybe(fc.constantFrom('x', ''), 6),
    group: maybe(fc.constantFrom(0, 7), 6),
    master: maybe(fc.constantFrom(0, 4, 2), 4),
    queue: maybe(fc.constantFrom(10, 1000), 8),
  })
  .map(({ gone, index, up, mtu, name, alias, group, master, queue }) => ({
    type: gone ? DELLINK : NEWLINK,
    flags: 0,
    header: ifinfo(index, up ?? 0, up === undefined ? 0 : 1),
    parts: gone
      ? []
      : given(
          mtu === undefined ? undefined : attribute(4, le32(mtu)),
          name === undefined ? undefined : attribute(3, text(name)),
          alias === undefined ? undefined : attribute(20, Buffer.from(alias)),
          group === undefined ? undefined : attribute(27, le32(group)),
          master === undefined ? undefined : attribute(10, le32(master)),
          queue === undefined ? undefined : attribute(13, le32(queue)),
        ),
  }));

const address: fc.Arbitrary<Request> = fc
  .record({
    gone: fc.constantFrom(false, false, true),
    flags: created,
    index: device,
    last: fc.integer({ min: 1, max: 4 }),
    net: fc.constantFrom(0, 0, 1),
    prefix: fc.constantFrom(24, 24, 24, 32, 16, 33, 31),
    scope: fc.constantFrom(0, 0, 0, 253),
    label: maybe(fc.constantFrom('v0:1', 'foo'), 5),
    broadcast: maybe(fc.constant(255), 3),
    peer: maybe(fc.integer({ min: 1, max: 4 }), 6),
    lifetimes: maybe(fc.constantFrom([100, 200], [200, 100], [0, 1000], [0, 0], [4_294_967_295, 4_294_967_295]), 4),
    more: maybe(fc.constantFrom(0x200, 0x80, 0x1), 5),
    metric: maybe(fc.constantFrom(0, 50), 5),
    protocol: maybe(fc.constantFrom(0, 5), 8),
    hasLocal: fc.constantFrom(true, true, true, true, true, true, false),
  })
  .map(one => {
    const own = ip(10, 0, one.net, one.last);
    return {
      type: one.gone ? DELADDR : NEWADDR,
      flags: one.gone ? 0 : one.flags,
      header: bytes([2, one.prefix, 0, one.scope], le32(one.index)),
      parts: given(
        attribute(1, one.peer === undefined ? own : ip(10, 5, 0, one.peer)),
        one.hasLocal ? attribute(2, own) : undefined,
        one.label === undefined || one.gone ? undefined : attribute(3, text(one.label)),
        one.broadcast === undefined ? undefined : attribute(4, ip(10, 0, one.net, one.broadcast)),
        one.lifetimes === undefined
          ? undefined
          : attribute(6, bytes(le32(one.lifetimes[0]!), le32(one.lifetimes[1]!), le32(0), le32(0))),
        one.more === undefined ? undefined : attribute(8, le32(one.more)),
        one.metric === undefined ? undefined : attribute(9, le32(one.metric)),
        one.protocol === undefined ? undefined : attribute(11, [one.protocol]),
      ),
    };
  });

const route: fc.Arbitrary<Request> = fc
  .record({
    gone: fc.constantFrom(false, false, true),
    flags: fc.oneof(created, fc.constant(NLM_F_CREATE | NLM_F_APPEND)),
    to: fc.constantFrom([10, 9, 0, 0], [10, 9, 0, 0], [10, 8, 0, 0], [10, 9, 0, 1]),
    prefix: fc.constantFrom(16, 16, 16, 24, 32, 33),
    table: fc.constantFrom(254, 254, 254, 100, 0),
    kind: fc.constantFrom(1, 1, 1, 1, 6, 7, 8),
    gateway: maybe(fc.integer({ min: 1, max: 6 }), 1),
    index: maybe(device, 1),
    priority: maybe(fc.constantFrom(0, 10, 20), 2),
    source: maybe(fc.integer({ min: 1, max: 4 }), 6),
    mtu: maybe(fc.constant(1300), 6),
    scope: fc.constantFrom(0, 0, 253),
    tos: fc.constantFrom(0, 0, 0, 0, 0x10),
    protocol: fc.constantFrom(3, 3, 4),
    onlink: fc.constantFrom(0, 0, 0, 0, 4),
  })
  .map(one => ({
    type: one.gone ? DELROUTE : NEWROUTE,
    flags: one.gone ? 0 : one.flags,
    header: bytes(
      [
        2,
        one.prefix,
        0,
        one.tos,
        one.table,
        one.gone ? 0 : one.protocol,
        one.gone ? 255 : one.scope,
        one.gone ? 0 : one.kind,
      ],
      le32(one.gone ? 0 : one.onlink),
    ),
    parts: given(
      attribute(1, one.to),
      one.gateway === undefined || (one.scope === 253 && !one.gone)
        ? undefined
        : attribute(5, ip(10, 0, 0, one.gateway)),
      one.index === undefined ? undefined : attribute(4, le32(one.index)),
      one.priority === undefined ? undefined : attribute(6, le32(one.priority)),
      one.source === undefined || one.gone ? undefined : attribute(7, ip(10, 0, 0, one.source)),
      one.mtu === undefined || one.gone ? undefined : nest(8, attribute(2, le32(one.mtu))),
    ),
  }));

const rule: fc.Arbitrary<Request> = fc
  .record({
    gone: fc.constantFrom(false, false, true),
    flags: fc.constantFrom(NLM_F_CREATE, NLM_F_CREATE | NLM_F_EXCL),
    priority: maybe(fc.constantFrom(50, 100), 1),
    table: fc.constantFrom(100, 254),
    from: maybe(fc.constantFrom(24, 32), 2),
    to: maybe(fc.constantFrom(16), 3),
    mark: maybe(fc.constantFrom(1, 2), 3),
    mask: maybe(fc.constantFrom(15), 6),
    device: maybe(fc.constantFrom('v0', 'lo'), 5),
    protocol: maybe(fc.constantFrom(6, 17), 6),
    ports: maybe(fc.constantFrom(80), 6),
    kind: fc.constantFrom(1, 1, 1, 6, 7, 8),
  })
  .map(one => ({
    type: one.gone ? DELRULE : NEWRULE,
    flags: one.gone ? 0 : one.flags,
    header: bytes([2, one.to ?? 0, one.from ?? 0, 0, one.table, 0, 0, one.kind], le32(0)),
    parts: given(
      one.to === undefined ? undefined : attribute(1, ip(10, 9, 0, 0)),
      one.from === undefined ? undefined : attribute(2, ip(10, 0, 0, 7)),
      one.priority === undefined ? (one.gone ? attribute(6, le32(100)) : undefined) : attribute(6, le32(one.priority)),
      one.mark === undefined ? undefined : attribute(10, le32(one.mark)),
      one.mask === undefined || one.mark === undefined ? undefined : attribute(16, le32(one.mask)),
      one.device === undefined ? undefined : attribute(3, text(one.device)),
      one.protocol === undefined ? undefined : attribute(22, [one.protocol]),
      one.ports === undefined ? undefined : attribute(24, bytes(le16(one.ports), le16(one.ports + 1))),
    ),
  }));

const neighbour: fc.Arbitrary<Request> = fc
  .record({
    gone: fc.constantFrom(false, false, true),
    flags: created,
    index: fc.constantFrom(2, 2, 3, 9),
    last: fc.constantFrom(9, 10),
    // Others go at some time after their device has lost its carrier.
    state: fc.constant(0x80),
    hardware: maybe(fc.constantFrom(1, 2), 0),
    protocol: maybe(fc.constantFrom(0, 9), 5),
  })
  .map(one => ({
    type: one.gone ? DELNEIGH : NEWNEIGH,
    flags: one.gone ? 0 : one.flags,
    header: bytes([2, 0, 0, 0], le32(one.index), le16(one.state), [0, 0]),
    parts: given(
      attribute(1, ip(10, 0, 0, one.last)),
      one.hardware === undefined || one.gone ? undefined : attribute(2, [2, 0, 0, 0, 0, one.hardware]),
      one.protocol === undefined || one.gone ? undefined : attribute(12, [one.protocol]),
    ),
  }));

const UP: Request = { type: NEWLINK, flags: 0, header: ifinfo(2, 1, 1), parts: [] };
const request = fc.oneof(
  { weight: 3, arbitrary: link },
  { weight: 5, arbitrary: address },
  { weight: 5, arbitrary: route },
  { weight: 3, arbitrary: rule },
  { weight: 2, arbitrary: neighbour },
  { weight: 1, arbitrary: fc.constant(UP) },
);

/** What is compared of a link: a message of the kernel's has many attributes more. */
const OF_LINKS = ['3', '4', '10', '5', '13', '20', '27', '33'];

/** The kernel has neighbours of its own for groups. */
const isOfGroup = ({ type, body }: Came): boolean => type >= NEWNEIGH && type <= GETNEIGH && body[16] === 224;

class Side {
  readonly #socket: RawSocket;
  readonly #events: RawSocket;

  constructor(netns: NetNs) {
    this.#socket = new RawSocket(netns, NETLINK_ROUTE);
    this.#events = new RawSocket(netns, NETLINK_ROUTE, [3, 5, 7, 8]);
    const pair = (peer: string) =>
      nest(18, attribute(1, text('veth')), nest(2, attribute(1, bytes(new Uint8Array(16), attribute(3, text(peer))))));
    const make = NLM_F_CREATE | NLM_F_EXCL;
    for (const parts of [
      [attribute(3, text('v0')), pair('v1')],
      [attribute(3, text('br0')), nest(18, attribute(1, text('bridge')))],
    ])
      expect(this.#socket.ask(NEWLINK, make, new Uint8Array(16), ...parts).errno).toBe(0);
    // A container in memory has its loopback device up.
    expect(this.#socket.ask(NEWLINK, 0, ifinfo(1, 1, 1)).errno).toBe(0);
    this.#events.read();
  }

  #shown(one: Came): string {
    const kind =
      one.type < 20
        ? 'link'
        : one.type < 24
          ? 'address'
          : one.type < 28
            ? 'route'
            : one.type < 32
              ? 'neighbour'
              : 'rule';
    const length = { link: 16, address: 8, route: 12, neighbour: 12, rule: 12 }[kind];
    const isBridge = kind === 'link' && Buffer.from(one.body).includes('bridge\0');
    const known = (path: string, value: Buffer): string | undefined => {
      if (kind === 'link' && !path.startsWith('18') && !OF_LINKS.includes(path)) return '';
      if (kind === 'link' && path.startsWith('18.') && path !== '18.1') return '';
      if (kind === 'link' && path === '18') return '';
      // A bridge hears of its ports' carriers a little later.
      if (kind === 'link' && path === '33' && isBridge) return '';
      if (kind === 'address' && path === '6')
        return [0, 4].map(at => Math.floor((value.readUInt32LE(at) + 3) / 10)).join(' ');
      if (kind === 'neighbour' && (path === '3' || path === '4')) return '';
      return undefined;
    };
    // Whether it runs is seen a little later, and then the state and the routes.
    if (kind === 'link') one.body[8]! &= ~0x40;
    if (isBridge) one.body[10]! &= ~0x01;
    if (kind === 'route') one.body[8]! &= ~0x10;
    return `${one.port === this.#socket.port ? 'own' : one.port} ${shown(one, length, known)}`;
  }

  take({ type, flags, header, parts }: Request): string[] {
    const { errno } = this.#socket.ask(type, flags, header, ...parts);
    // Routes that the kernel makes for addresses are told by it, too.
    const events = this.#events
      .read()
      .filter(({ type: kind, body }) => body[0] === 2 && (kind < 24 || kind > 25 || body[5] !== KERNEL))
      .filter(one => !isOfGroup(one));
    // The neighbours of a device go in the order of their hash.
    const isGone = (one: Came) => one.type === DELNEIGH && one.port === 0;
    const told = [
      ...events.filter(one => !isGone(one)).map(one => this.#shown(one)),
      ...events
        .filter(isGone)
        .map(one => this.#shown(one))
        .sort(),
    ];
    return [`errno ${errno}`, '-- events', ...told, '-- lists', ...this.lists()];
  }

  lists(): string[] {
    return [GETLINK, GETADDR, GETROUTE, GETNEIGH, GETRULE].flatMap(type => {
      const header = type === GETLINK ? new Uint8Array(16) : bytes([2], new Uint8Array(11));
      const { messages } = this.#socket.ask(type, NLM_F_DUMP, header);
      const lines = messages.filter(one => !isOfGroup(one)).map(one => this.#shown(one));
      // Routes come in the order of their tree, neighbours in that of their hash.
      return type === GETROUTE || type === GETNEIGH ? lines.sort() : lines;
    });
  }

  close(): void {
    this.#socket.close();
    this.#events.close();
  }
}

const described = ({ type, flags, header, parts }: Request): string =>
  shown({ type, flags, port: 0, body: bytes(header, ...parts) }, header.length, () => undefined);

describe('links, addresses and routes of a kernel in memory', () => {
  test('are answered, told and listed as by the real kernel, whatever is asked', {
    timeout: isLong ? 3_000_000 : 240_000,
  }, () => {
    fc.assert(
      fc.property(fc.array(request, { minLength: 1, maxLength: 16, size: 'max' }), requests => {
        const netns = NetNs.create();
        const sides = [netns, MemoryKernel.create({ release: '6.18' }).container('memory').netns].map(
          one => new Side(one),
        );
        const begun = performance.now();
        try {
          for (const [i, one] of requests.entries()) {
            // Seconds would count by then.
            if (performance.now() - begun > 2000) return;
            const [real, memory] = sides.map(side => side.take(one));
            expect(memory, `request ${i} of ${requests.length}: ${described(one)}`).toEqual(real);
          }
        } finally {
          for (const side of sides) side.close();
          netns.close();
        }
      }),
      { numRuns: RUNS, ...(!isLong && { seed: SEED }) },
    );
  });
});
