import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import fc from 'fast-check';
import { NetNs, Nftables, UnsupportedError } from 'netsteer';
import {
  Conntrack,
  type Flow,
  type FlowFilter,
  type FlowPatch,
  type NewExpectation,
  type NewFlow,
  type TupleFilter,
} from 'netsteer/conntrack';
import { NETLINK_NETFILTER, NetlinkSocket } from 'netsteer/netlink';
import { Transaction } from 'netsteer/nftables';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { isMeant } from '../support/flow-filters.ts';

let netns: NetNs;
let ct: Conntrack;

beforeEach(() => {
  netns = NetNs.create();
  ct = Conntrack.open({ netns });
});

afterEach(async () => {
  await ct[Symbol.asyncDispose]();
  netns.close();
});

/** Debian's conntrack in the namespace: what it prints. */
function conntrack(...parameters: string[]): string {
  const { status, stdout, stderr } = netns.run(() => spawnSync('conntrack', parameters, { encoding: 'utf8' }));
  expect(status, stderr).toBe(0);
  return stdout;
}

/** What the kernel answers to a list, in hexadecimal. */
function rawList(): string {
  const socket = new NetlinkSocket({ netns, protocol: NETLINK_NETFILTER });
  const request = Buffer.from('14000000010101030100000000000000' + '00000000', 'hex');
  socket.send(request, request.length);
  const answer = new Uint8Array(1 << 16);
  const length = socket.receive(answer);
  void socket.close();
  return Buffer.from(answer.subarray(0, length)).toString('hex');
}

/** A flow that a packet over lo has begun. */
async function flowOfPackets(): Promise<Flow> {
  shell(`ip link set lo up
    nft 'table ip t { chain c { type filter hook output priority 0; ct state new accept; }; }'
    bash -c 'echo x > /dev/udp/127.0.0.1/9'`);
  const [flow] = await ct.list({ protocol: 'udp', destinationPort: 9 });
  return flow!;
}

/** Loads nf_nat, which has the function nat-follow-master. */
const loadNat = (): void => shell("nft 'table ip nat { chain c { type nat hook output priority 0; }; }'");

function shell(script: string): void {
  const { status, stderr } = netns.run(() => spawnSync('sh', ['-ec', script], { encoding: 'utf8' }));
  expect(status, stderr).toBe(0);
}

/** Whether the kernel has settings for the time-outs of DCCP. */
const tracksDccp = (): boolean => netns.run(() => existsSync('/proc/sys/net/netfilter/nf_conntrack_dccp_loose'));

/** The label 3, as a rule has it. */
const LABEL_3 = `08${'00'.repeat(15)}`;

const udp = (port: number, more: Partial<NewFlow> = {}): NewFlow => ({
  protocol: 'udp',
  timeoutSeconds: 1000,
  original: { source: '10.0.0.1', sourcePort: port, destination: '10.0.0.2', destinationPort: 53 },
  ...more,
});

/** One flow of each kind that the kernel tracks. */
const KINDS: Record<string, NewFlow> = {
  udp: udp(4000),
  'udp over IPv6': udp(4000, {
    original: { source: '2001:db8::1', sourcePort: 4000, destination: '2001:db8::2', destinationPort: 53 },
  }),
  'udp-lite': udp(4001, { protocol: 'udplite' }),
  tcp: udp(4000, { protocol: 'tcp', tcp: { state: 'established' }, status: ['seen-reply', 'assured'] }),
  sctp: udp(4000, { protocol: 'sctp', sctp: { state: 'established', originalTag: 7, replyTag: 8 } }),
  icmp: {
    protocol: 'icmp',
    timeoutSeconds: 1000,
    original: { source: '10.0.0.1', destination: '10.0.0.2', icmp: { type: 8, code: 0, id: 9 } },
  },
  icmpv6: {
    protocol: 'icmpv6',
    timeoutSeconds: 1000,
    original: { source: '2001:db8::1', destination: '2001:db8::2', icmp: { type: 128, code: 0, id: 9 } },
  },
  gre: udp(1, { protocol: 'gre' }),
  'a protocol without ports': {
    protocol: 253,
    timeoutSeconds: 1000,
    original: { source: '10.0.0.1', destination: '10.0.0.2' },
  },
  'a mark and a zone': udp(4002, { mark: 0xfffffffe, zone: 7 }),
  'a zone of one direction': udp(4003, {
    original: { source: '10.0.0.1', sourcePort: 4003, destination: '10.0.0.2', destinationPort: 53, zone: 9 },
  }),
  'source NAT': udp(4004, { nat: { source: { address: '192.0.2.7', port: 40000 } } }),
  'destination NAT': udp(4005, { nat: { destination: { address: '10.7.7.7', port: 8080 } } }),
  'a helper': udp(4006, {
    protocol: 'tcp',
    original: { source: '10.0.0.1', sourcePort: 4006, destination: '10.0.0.2', destinationPort: 21 },
    helper: 'ftp',
    tcp: { state: 'established' },
  }),
};

/** What time, the table and the kernel's own numbering change. */
function stable({ id: _, use: __, timeoutSeconds: ___, ...flow }: Flow): object {
  return flow;
}

describe('flows', () => {
  test.each(Object.entries(KINDS))(
    'of %s are created, shown by conntrack, read, and created again from what was read',
    async (_, flow) => {
      await ct.create(flow);
      const [made, ...others] = await ct.list();
      expect(others).toEqual([]);
      expect(made).toMatchObject({
        protocol: flow.protocol,
        original: flow.original,
        mark: flow.mark ?? 0,
        zone: flow.zone ?? 0,
      });
      expect(made!.timeoutSeconds).toBeGreaterThan(990);
      if (flow.nat !== undefined) expect(made!.nat).toEqual(flow.nat);
      expect(await ct.get(made!)).toEqual({ ...made, use: 2, timeoutSeconds: expect.any(Number) });

      const shown = conntrack('-L', '-o', 'extended,id', ...(made!.family === 'ipv6' ? ['-f', 'ipv6'] : []));
      expect(shown).toContain(`src=${made!.original.source} dst=${made!.original.destination}`);
      expect(shown).toContain(`src=${made!.reply.source} dst=${made!.reply.destination}`);
      expect(shown).toContain(`id=${made!.id}`);
      if (flow.zone !== undefined) expect(shown).toContain(`zone=${flow.zone}`);
      if (flow.mark !== undefined) expect(shown).toContain(`mark=${flow.mark}`);
      if (flow.helper !== undefined) expect(shown).toContain(`helper=${flow.helper}`);

      // What was read names it, and makes it again as it was.
      await ct.delete(made!, { id: made!.id });
      expect(await ct.list()).toEqual([]);
      await ct.create({ ...made!, timeoutSeconds: 1000 });
      expect((await ct.list()).map(stable)).toEqual([stable(made!)]);
    },
  );

  test('that the program conntrack made are read', async () => {
    conntrack(
      '-I',
      '-p',
      'tcp',
      '-s',
      '10.1.0.1',
      '-d',
      '10.1.0.2',
      '--sport',
      '1',
      '--dport',
      '2',
      '--state',
      'ESTABLISHED',
      '-u',
      'SEEN_REPLY,ASSURED',
      '-t',
      '100',
      '-m',
      '5',
      '--dst-nat',
      '10.9.9.9',
    );
    const [flow] = await ct.list();
    expect(flow).toMatchObject({
      family: 'ipv4',
      protocol: 'tcp',
      original: { source: '10.1.0.1', sourcePort: 1, destination: '10.1.0.2', destinationPort: 2 },
      reply: { source: '10.9.9.9', sourcePort: 2, destination: '10.1.0.1', destinationPort: 1 },
      mark: 5,
      tcp: { state: 'established' },
      nat: { destination: { address: '10.9.9.9', port: 2 } },
    });
    expect(flow!.status).toEqual(expect.arrayContaining(['seen-reply', 'assured', 'destination-nat']));
  });

  test('are changed: timeout, mark under a mask, status and helper', async () => {
    await ct.create(udp(1, { mark: 0xf1 }));
    const key = { protocol: 'udp', ...udp(1).original } as const;
    await ct.update(key, { mark: { value: 0x0e, mask: 0x0f }, timeoutSeconds: 5000, status: ['assured'] });
    const flow = await ct.get(key);
    expect(flow).toMatchObject({ mark: 0xfe });
    expect(flow!.timeoutSeconds).toBeGreaterThan(4990);
    expect(flow!.status).toContain('assured');
    await ct.update(key, { status: ['fixed-timeout'] });
    await expect(ct.update(key, { timeoutSeconds: 7 })).rejects.toMatchObject({
      code: 'EPERM',
      hint: expect.stringContaining('fixed'),
    });
    await expect(ct.update(key, { helper: 'ftp' })).rejects.toMatchObject({ code: 'EOPNOTSUPP', attribute: 'helper' });
    await expect(ct.update({ ...key, sourcePort: 2 }, { mark: 1 })).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('take labels where a rule of the namespace uses them, and are rejected with UnsupportedError where the kernel would drop the labels', async () => {
    await expect(ct.create(udp(1, { labels: [3] }))).rejects.toBeInstanceOf(UnsupportedError);
    expect(await ct.list()).toEqual([]);
    const nft = Nftables.open({ netns });
    const chain = { family: 'ip', table: 't', chain: 'c' } as const;
    await nft.commit(
      new Transaction()
        .add({ table: { family: 'ip', name: 't' } })
        .add({ chain: { family: 'ip', table: 't', name: 'c' } })
        .add({
          rule: {
            ...chain,
            expressions: [{ immediate: { register: 1, data: LABEL_3 } }, { ct: { key: 'labels', sourceRegister: 1 } }],
          },
        }),
    );
    await ct.create(udp(1, { labels: [0, 3, 127] }));
    const [flow] = await ct.list();
    expect(flow!.labels).toEqual([0, 3, 127]);
    await ct.update(flow!, { labels: [64] });
    expect((await ct.get(flow!))!.labels).toEqual([64]);
    await nft[Symbol.asyncDispose]();
  });

  const adjusted: NewFlow = {
    ...KINDS.tcp!,
    sequenceAdjustment: {
      original: { position: 1, offsetBefore: 2, offsetAfter: 3 },
      reply: { position: 4, offsetBefore: 5, offsetAfter: 6 },
    },
    synproxy: { initialSequence: 7, initialTimestamp: 8, timestampOffset: 9 },
  };

  test("have corrections of TCP's sequence numbers and SYNPROXY's numbers, which are created, read, changed, and created again", async () => {
    await ct.create(adjusted);
    const [made] = await ct.list();
    const { sequenceAdjustment, synproxy } = adjusted;
    expect(made).toMatchObject({ sequenceAdjustment, synproxy, status: expect.arrayContaining(['sequence-adjust']) });
    // The program conntrack prints none of them, so the bytes of the kernel are the witness.
    const bytes = rawList();
    for (const [type, first] of [
      ['0f80', 1],
      ['1080', 4],
      ['1880', 7],
    ] as const)
      expect(bytes).toContain(
        `1c00${type}080001000000000${first}080002000000000${first + 1}080003000000000${first + 2}`,
      );
    await ct.update(made!, { sequenceAdjustment: { reply: { position: 14, offsetBefore: 15, offsetAfter: 16 } } });
    await ct.update(made!, { synproxy: { initialSequence: 0, initialTimestamp: 0, timestampOffset: 0 } });
    const changed = await ct.get(made!);
    expect(changed).toMatchObject({
      sequenceAdjustment: {
        original: sequenceAdjustment!.original,
        reply: { position: 14, offsetBefore: 15, offsetAfter: 16 },
      },
      synproxy: { initialSequence: 0, initialTimestamp: 0, timestampOffset: 0 },
    });
    await ct.delete(changed!);
    await ct.create({ ...changed!, timeoutSeconds: 1000 });
    expect((await ct.list()).map(stable)).toEqual([stable(changed!)]);
  });

  test('that packets began have no room for such corrections: rejects them with UnsupportedError', async () => {
    const flow = await flowOfPackets();
    await expect(ct.update(flow, { sequenceAdjustment: adjusted.sequenceAdjustment! })).rejects.toMatchObject({
      name: 'UnsupportedError',
      feature: 'sequenceAdjustment.original of a flow',
    });
    await expect(ct.update(flow, { synproxy: adjusted.synproxy! })).rejects.toBeInstanceOf(UnsupportedError);
    // What a packet may have changed meanwhile does not matter.
    expect((await ct.get(flow))!.sequenceAdjustment).toBeUndefined();
  });

  test('of TCP and SCTP change their state', async () => {
    await ct.create(KINDS.tcp!);
    await ct.create(KINDS.sctp!);
    const key = (name: string) => ({ protocol: KINDS[name]!.protocol, ...KINDS[name]!.original });
    await ct.update(key('tcp'), { tcp: { state: 'close-wait' } });
    await ct.update(key('sctp'), { sctp: { state: 'shutdown-sent', originalTag: 17, replyTag: 18 } });
    expect((await ct.get(key('tcp')))!.tcp!.state).toBe('close-wait');
    expect((await ct.get(key('sctp')))!.sctp).toEqual({ state: 'shutdown-sent', originalTag: 17, replyTag: 18 });
    expect(conntrack('-L', '-p', 'tcp')).toContain('CLOSE_WAIT');
    expect(conntrack('-L', '-p', 'sctp')).toContain('SHUTDOWN_SENT');
  });

  test('of DCCP have a state, or are rejected with UnsupportedError by a kernel that does not track it', async () => {
    const flow = udp(4000, { protocol: 'dccp', dccp: { state: 'open', role: 1, handshakeSequence: 77n } });
    const refusal = await ct.create(flow).then(
      () => undefined,
      (error: unknown) => error,
    );
    if (tracksDccp()) {
      expect(refusal).toBeUndefined();
      expect((await ct.list())[0]).toMatchObject({ dccp: flow.dccp });
      expect(conntrack('-L', '-p', 'dccp')).toContain('OPEN');
      await ct.update({ protocol: 'dccp', ...flow.original }, { dccp: { state: 'closing', role: 1 } });
      expect((await ct.list())[0]).toMatchObject({ dccp: { state: 'closing', role: 1, handshakeSequence: 77n } });
    } else {
      expect(refusal).toMatchObject({ name: 'UnsupportedError', feature: 'dccp of a flow' });
      expect(await ct.list()).toEqual([]);
    }
  });

  test.each<[string, Partial<NewFlow>, string]>([
    ['TCP state of a UDP flow', { tcp: { state: 'established' } }, 'tcp'],
    ['SCTP state of a UDP flow', { sctp: { state: 'established', originalTag: 1, replyTag: 2 } }, 'sctp'],
    [
      'part of a correction',
      { sequenceAdjustment: { original: { position: 1 } } },
      'sequenceAdjustment.original.offsetBefore',
    ],
    [
      'part of the numbers of SYNPROXY',
      { synproxy: { initialSequence: 1, timestampOffset: 2 } },
      'synproxy.initialTimestamp',
    ],
    ['direction that does not exist', { sequenceAdjustment: { both: {} } as never }, 'sequenceAdjustment.both'],
  ])('refuse a %s before the kernel could ignore it', async (_, fields, attribute) => {
    await expect(ct.create(udp(1, fields))).rejects.toMatchObject({ attribute });
    await ct.create(udp(1));
    await expect(ct.update({ protocol: 'udp', ...udp(1).original }, fields as FlowPatch)).rejects.toMatchObject({
      attribute,
    });
    expect(await ct.count()).toBe(1);
  });

  test('are counted, rejected with EEXIST when they exist already, and with ERR_TOO_MANY when one is to be found', async () => {
    expect(await ct.count()).toBe(0);
    for (let i = 0; i < 20; i++) ct.sync.create(udp(i));
    expect(await ct.count()).toBe(20);
    expect(ct.sync.count()).toBe(20);
    await expect(ct.create(udp(3))).rejects.toMatchObject({ code: 'EEXIST', attribute: 'original', subject: udp(3) });
    await expect(ct.list({}, { limit: 19 })).rejects.toMatchObject({ code: 'ERR_TOO_MANY' });
    expect(await ct.list({}, { limit: 20 })).toHaveLength(20);
  });

  test('have counters and times where the settings say so, and listAndZero zeroes only those that match', async () => {
    ct.settings.acct = true;
    ct.settings.timestamp = true;
    expect(ct.settings.get('acct')).toBe(true);
    await ct.create(udp(1));
    await ct.create(udp(2));
    const [flow] = await ct.listAndZero({ sourcePort: 1 });
    expect(flow!.counters).toEqual({ original: { packets: 0n, bytes: 0n }, reply: { packets: 0n, bytes: 0n } });
    expect(flow!.timestamp!.startNanoseconds).toBeGreaterThan(0n);
    expect(await ct.listAndZero()).toHaveLength(2);
  });

  test('have statistics for every processor and settings for the namespace', async () => {
    await ct.create(udp(1));
    const statistics = await ct.statistics();
    expect(statistics.map(({ cpu }) => cpu)).toEqual(statistics.map((_, i) => i));
    expect(statistics.reduce((sum, { insert }) => sum + insert, 0)).toBe(1);
    expect(ct.settings.count).toBe(1);
    expect(ct.settings.list().map(({ name }) => name)).toEqual(
      expect.arrayContaining(['acct', 'tcp_loose', 'udp_timeout']),
    );
    expect(() => {
      ct.settings.udp_timeout = -1;
    }).toThrow(RangeError);
    ct.settings.udp_timeout = 31;
    expect(ct.settings.udp_timeout).toBe(31);
  });

  test('have expectations of a helper, which are created, read, monitored and deleted', async () => {
    const flow = KINDS['a helper']!;
    // A flow that began before anybody listened has no events, and its expectations have none.
    const monitor = ct.monitor({ expectations: true, kinds: ['destroy'] });
    await ct.create(flow);
    const events = monitor[Symbol.asyncIterator]();
    const master = { protocol: 'tcp', ...flow.original } as const;
    const tuple = {
      protocol: 'tcp',
      source: '10.0.0.2',
      sourcePort: 0,
      destination: '10.0.0.1',
      destinationPort: 2000,
    } as const;
    await ct.createExpectation({ master, tuple, flags: ['permanent'] });
    const [found, ...others] = await ct.expectations();
    expect(others).toEqual([]);
    expect(found).toMatchObject({ master, tuple, helper: 'ftp', flags: ['permanent'] });
    expect(conntrack('-L', 'expect')).toContain('dport=2000');
    expect(await ct.expectations({ master })).toEqual([{ ...found, timeoutSeconds: expect.any(Number) }]);
    await ct.deleteExpectation(found!);
    expect(await ct.expectations()).toEqual([]);
    expect((await events.next()).value).toMatchObject({ type: 'expectation-new', expectation: { tuple } });
    expect((await events.next()).value).toMatchObject({ type: 'expectation-destroy', expectation: { tuple } });
    await events.return(undefined);
    await expect(ct.createExpectation({ master: { ...master, sourcePort: 1 }, tuple })).rejects.toMatchObject({
      code: 'ENOENT',
      attribute: 'master',
    });
  });

  test('have expectations with NAT, a function, a class and every flag, which are created again from what was read', async () => {
    const flow = udp(4006, { ...KINDS['a helper']!, zone: 7 });
    await ct.create(flow);
    const master = { protocol: 'tcp', ...flow.original } as const;
    const expectation: NewExpectation = {
      master: { ...master, zone: 7 },
      tuple: { protocol: 'tcp', source: '10.0.0.2', sourcePort: 0, destination: '10.0.0.1', destinationPort: 2000 },
      mask: { source: '255.255.0.0', destination: '255.255.255.255', sourcePort: 0, destinationPort: 0xffff },
      flags: ['permanent', 'inactive'],
      class: 0,
      translation: { direction: 'reply', tuple: { source: '10.9.9.9', sourcePort: 2001 } },
      function: 'nat-follow-master',
    };
    loadNat();
    await ct.createExpectation(expectation);
    const [found] = await ct.expectations();
    expect(found).toMatchObject({
      master,
      tuple: expectation.tuple,
      mask: { source: '255.255.0.0', sourcePort: 0 },
      flags: ['permanent', 'inactive'],
      class: 0,
      helper: 'ftp',
      translation: { direction: 'reply', tuple: { protocol: 'tcp', source: '10.9.9.9', sourcePort: 2001 } },
      function: 'nat-follow-master',
    });
    const shown = conntrack('-L', 'expect');
    expect(shown).toContain('mask-src=255.255.0.0');
    expect(shown).toMatch(/class=0 helper=ftp/);
    // The kernel does not report the zone.
    await expect(ct.deleteExpectation({ ...found!, zone: 8 })).rejects.toMatchObject({ code: 'ENOENT' });
    await ct.deleteExpectation({ ...found!, zone: 7 });
    await ct.createExpectation({ ...found!, zone: 7 });
    const [again] = await ct.expectations();
    expect({ ...again, id: 0, timeoutSeconds: 0 }).toEqual({ ...found, id: 0, timeoutSeconds: 0 });
    const statistics = await ct.expectationStatistics();
    expect(statistics.map(({ cpu }) => cpu)).toEqual((await ct.statistics()).map(({ cpu }) => cpu));
    const sum = (name: 'new' | 'create' | 'delete') =>
      statistics.reduce((total, counters) => total + counters[name], 0);
    expect([sum('new'), sum('create'), sum('delete')]).toEqual([0, 2, 1]);
  });

  test.each<[string, Partial<NewExpectation>, object]>([
    ['a class that the helper does not have, with EINVAL', { class: 1 }, { code: 'EINVAL' }],
    ['a function that the kernel does not know, with EINVAL', { function: 'nothing' }, { code: 'EINVAL' }],
    [
      'a direction that does not exist',
      { translation: { direction: 2, tuple: { source: '10.9.9.9', sourcePort: 1 } } },
      { attribute: 'translation.direction' },
    ],
    [
      'NAT to an address of the other family',
      { translation: { direction: 'reply', tuple: { source: '::1', sourcePort: 1 } } },
      { attribute: 'translation.tuple.source' },
    ],
    [
      'NAT without a port',
      { translation: { direction: 'reply', tuple: { source: '10.9.9.9' } } },
      { attribute: 'translation.tuple.sourcePort' },
    ],
    ['a flag that does not exist', { flags: ['lasting' as never] }, { attribute: 'flags[0]' }],
  ])('have no expectations with %s', async (_, fields, refusal) => {
    await ct.create(KINDS['a helper']!);
    const master = { protocol: 'tcp', ...KINDS['a helper']!.original } as const;
    const tuple = { ...master, sourcePort: 0, destinationPort: 2000 };
    await expect(ct.createExpectation({ master, tuple, ...fields })).rejects.toMatchObject(refusal);
    expect(await ct.expectations()).toEqual([]);
  });
});

/* Flows that differ in every field that a filter has, few values each, so that random filters meet some of them. */
const ADDRESSES = ['10.0.0.1', '10.0.0.2', '10.0.1.1', '192.0.2.1'];
const ADDRESSES6 = ['2001:db8::1', '2001:db8::2', '2001:db8:1::1'];
const PORTS = [53, 80, 8080];

function manyFlows(): NewFlow[] {
  const flows: NewFlow[] = [];
  let port = 1000;
  for (const protocol of ['tcp', 'udp', 'sctp'] as const)
    for (const addresses of [ADDRESSES, ADDRESSES6])
      for (const destination of addresses)
        for (const destinationPort of PORTS) {
          const at = flows.length;
          const source = addresses[at % addresses.length]!;
          const address = addresses === ADDRESSES ? '10.7.7.7' : '2001:db8:7::7';
          flows.push({
            protocol,
            timeoutSeconds: 10_000,
            original: { source, sourcePort: port++, destination, destinationPort },
            ...(at % 3 === 1 && { mark: at % 5 }),
            ...(at % 4 === 1 && { zone: (at % 2) + 1 }),
            ...(at % 5 === 1 && { nat: { destination: { address, port: 8080 } } }),
            ...(at % 7 === 1 && { nat: { source: { address, port: 40_000 + at } } }),
            ...(at % 2 === 1 && { status: ['seen-reply', 'assured'] }),
            ...(protocol === 'tcp' && { tcp: { state: 'established' } }),
            ...(protocol === 'sctp' && { sctp: { state: 'established', originalTag: 1, replyTag: 2 } }),
          });
        }
  return flows;
}

const anyPort = fc.oneof(
  fc.constantFrom(...PORTS, 1005, 40_001),
  fc
    .tuple(fc.constantFrom(0, 53, 1000), fc.constantFrom(80, 1010, 65535))
    .map(([from, to]) => ({ from: Math.min(from, to), to })),
);
const ofOneFamily = (addresses: readonly string[], prefixes: readonly string[]): fc.Arbitrary<TupleFilter> =>
  fc.record(
    {
      source: fc.constantFrom(...addresses, ...prefixes),
      destination: fc.constantFrom(...addresses, ...prefixes),
      sourcePort: anyPort,
      destinationPort: anyPort,
    },
    { requiredKeys: [] },
  );
const FOUR = ofOneFamily([...ADDRESSES, '10.7.7.7'], ['10.0.0.0/24', '10.0.0.0/15', '0.0.0.0/0']);
const SIX = ofOneFamily([...ADDRESSES6, '2001:db8:7::7'], ['2001:db8::/64', '2001:db8::/33', '::/0']);
const others = fc.record(
  {
    protocol: fc.constantFrom('tcp' as const, 'udp' as const, 'sctp' as const, 132),
    mark: fc.oneof(
      fc.constantFrom(0, 1, 4),
      fc.constantFrom({ value: 1, mask: 1 }, { value: 0, mask: 3 }, { value: 0, mask: 0 }),
    ),
    zone: fc.constantFrom(0, 1, 2),
    status: fc.subarray(['assured' as const, 'seen-reply' as const, 'confirmed' as const]),
    nat: fc.constantFrom('source' as const, 'destination' as const),
  },
  { requiredKeys: [] },
);
const anyFilter: fc.Arbitrary<FlowFilter> = fc
  .oneof(
    fc.tuple(FOUR, fc.option(FOUR, { nil: undefined }), fc.constantFrom('ipv4' as const, undefined)),
    fc.tuple(SIX, fc.option(SIX, { nil: undefined }), fc.constantFrom('ipv6' as const, undefined)),
  )
  .chain(([original, reply, family]) =>
    others.map(more => ({ ...original, ...more, ...(reply && { reply }), ...(family && { family }) })),
  )
  // Few conditions at once: a filter that nothing meets tells nothing.
  .chain(filter => fc.subarray(Object.entries(filter), { minLength: 1, maxLength: 2 }))
  .map(entries => Object.fromEntries(entries) as FlowFilter)
  .filter(filter => Object.keys(filter).length > 0);

describe('filters', () => {
  test('list exactly the flows that match, whatever the kernel returns', () => {
    for (const flow of manyFlows()) ct.sync.create(flow);
    const all = ct.sync.list();
    expect(all).toHaveLength(manyFlows().length);
    let met = 0;
    fc.assert(
      fc.property(anyFilter, filter => {
        const wanted = all.filter(flow => isMeant(flow, filter)).map(({ id }) => id);
        met += wanted.length > 0 ? 1 : 0;
        expect(
          ct.sync
            .list(filter)
            .map(({ id }) => id)
            .sort(),
        ).toEqual(wanted.sort());
      }),
      { numRuns: 200 },
    );
    expect(met).toBeGreaterThan(30);
  });

  test('delete exactly the flows that match, and return their number', () => {
    fc.assert(
      fc.property(anyFilter, filter => {
        ct.sync.flush();
        for (const flow of manyFlows()) ct.sync.create(flow);
        const all = ct.sync.list();
        const wanted = all.filter(flow => isMeant(flow, filter)).length;
        expect(ct.sync.flush(filter)).toBe(wanted);
        expect(ct.sync.list().map(stable)).toEqual(all.filter(flow => !isMeant(flow, filter)).map(stable));
      }),
      { numRuns: 30 },
    );
  });

  test('that are empty or have an undefined field delete nothing: rejects them with ERR_MISSING', async () => {
    await ct.create(udp(1));
    await expect(ct.flush({})).rejects.toMatchObject({ code: 'ERR_MISSING' });
    await expect(ct.flush({ destination: undefined } as never)).rejects.toThrow(TypeError);
    await expect(ct.flush(null as never)).rejects.toThrow(TypeError);
    expect(await ct.count()).toBe(1);
    expect(await ct.flush()).toBe(1);
    expect(await ct.count()).toBe(0);
  });

  test.each<[object, string]>([
    [{ destination: '10.0.0.0/33' }, 'ERR_INVALID_ADDRESS'],
    [{ destination: 'web1' }, 'ERR_INVALID_ADDRESS'],
    [{ destination: '10.0.0.1', source: '::1' }, 'ERR_OUT_OF_RANGE'],
    [{ destination: '10.0.0.1', reply: { source: '::1' } }, 'ERR_OUT_OF_RANGE'],
    [{ destination: '10.0.0.1', family: 'ipv6' }, 'ERR_OUT_OF_RANGE'],
    [{ destinationPort: 65536 }, 'ERR_OUT_OF_RANGE'],
    [{ sourcePort: { from: 2, to: 1 } }, 'ERR_OUT_OF_RANGE'],
    [{ mark: { value: 2, mask: 1 } }, 'ERR_OUT_OF_RANGE'],
    [{ dport: 53 }, 'ERR_UNKNOWN_FIELD'],
    [{ status: ['established'] }, 'ERR_OUT_OF_RANGE'],
  ])('rejects %j with %s', async (filter, code) => {
    await ct.create(udp(1));
    await expect(ct.flush(filter as FlowFilter)).rejects.toMatchObject({ code });
    await expect(ct.list(filter as FlowFilter)).rejects.toMatchObject({ code });
    expect(await ct.count()).toBe(1);
  });
});

describe('a deletion', () => {
  test('deletes at most one flow, whatever is in the key', async () => {
    const flows = manyFlows();
    for (const flow of flows) ct.sync.create(flow);
    const all = ct.sync.list();
    const bad = { ...all[0]!.original, sourcePort: 9 };
    for (const key of [
      { protocol: 'udp', ...bad },
      { protocol: 'tcp', original: bad, zone: 0 },
      { protocol: all[0]!.protocol, original: all[0]!.original, zone: 99 },
    ] as const)
      await expect(ct.delete(key)).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(ct.delete(all[0]!, { id: (all[0]!.id + 1) >>> 0 })).rejects.toMatchObject({ code: 'ENOENT' });
    for (const key of [
      {},
      { protocol: 'udp' },
      { protocol: 'udp', source: '10.0.0.1', destination: '10.0.0.2' },
      { protocol: 'udp', source: '10.0.0.1', destination: '::1', sourcePort: 1, destinationPort: 2 },
      { protocol: 'icmp', source: '10.0.0.1', destination: '10.0.0.2' },
      { original: all[0]!.original },
      { id: all[0]!.id },
      undefined,
      null,
    ])
      await expect(ct.delete(key as never)).rejects.toThrow(/^(?!.*EN).*/);
    expect(await ct.count()).toBe(all.length);
    for (const [i, flow] of all.entries()) {
      // By either direction.
      const key =
        i % 2 === 0 ? flow : { protocol: flow.protocol, ...flow.reply, ...(flow.zone > 0 && { zone: flow.zone }) };
      await ct.delete(key, { id: flow.id });
      expect(await ct.count()).toBe(all.length - i - 1);
    }
  });
});

describe('events', () => {
  test('begin with the present flows, and tell what becomes of flows and who did it', async () => {
    await ct.create(udp(1));
    const events = ct.monitor({ initial: true })[Symbol.asyncIterator]();
    expect((await events.next()).value).toMatchObject({
      type: 'state',
      reason: 'initial',
      flows: [{ original: udp(1).original }],
    });
    await ct.create(udp(2));
    await ct.update({ protocol: 'udp', ...udp(2).original }, { mark: 9 });
    await ct.delete({ protocol: 'udp', ...udp(2).original });
    const seen = [];
    for (let i = 0; i < 3; i++) seen.push((await events.next()).value!);
    expect(seen).toMatchObject([
      { type: 'new', flow: { original: udp(2).original, mark: 0 } },
      { type: 'update', flow: { original: udp(2).original, mark: 9 } },
      { type: 'destroy', flow: { original: udp(2).original } },
    ]);
    expect(seen.every(event => 'port' in event && event.port > 0)).toBe(true);
    await events.return(undefined);
  });

  test('leave out kinds that were not asked for', async () => {
    const events = ct.monitor({ kinds: ['destroy'] })[Symbol.asyncIterator]();
    await ct.create(udp(1));
    await ct.delete({ protocol: 'udp', ...udp(1).original });
    expect((await events.next()).value).toMatchObject({ type: 'destroy' });
    await events.return(undefined);
  });

  test('that were lost are replaced by a new reading of the table', async () => {
    const monitor = ct.monitor({ receiveBufferBytes: 4096 });
    const events = monitor[Symbol.asyncIterator]();
    for (let i = 1; i <= 2000; i++) ct.sync.create(udp(i));
    const seen = new Set<number>();
    let lost = false;
    while (!lost) {
      const { value } = await events.next();
      if (value!.type === 'state') {
        expect(value!.reason).toBe('lost');
        for (const flow of value!.flows) seen.add(flow.original.sourcePort!);
        lost = true;
      } else if (value!.type === 'new') seen.add(value!.flow.original.sourcePort!);
    }
    expect(seen.size).toBe(2000);
    await ct.create(udp(3000));
    expect((await events.next()).value).toMatchObject({ type: 'new', flow: { original: { sourcePort: 3000 } } });
    await monitor.close();
    expect(await events.next()).toEqual({ value: undefined, done: true });
  });

  test('end with the signal, and with their handle, which is then rejected with ERR_CLOSED', async () => {
    const controller = new AbortController();
    const aborted = ct.monitor({ signal: controller.signal })[Symbol.asyncIterator]();
    const waiting = aborted.next();
    controller.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    const monitor = ct.monitor();
    const open = monitor[Symbol.asyncIterator]().next();
    await ct[Symbol.asyncDispose]();
    expect(await open).toEqual({ value: undefined, done: true });
    expect(monitor.closed).toBe(true);
    expect(() => ct.monitor()).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
    await expect(ct.count()).rejects.toMatchObject({ code: 'ERR_CLOSED' });
  });
});
