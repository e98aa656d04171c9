import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NO_CONTEXT, sourceOf, Writer } from '../../src/codec/index.ts';
import type { ConnectionPolicy, Redirect } from '../../src/container/index.ts';
import { StaleConnections } from '../../src/container/redirects/connections.ts';
import { changeRedirects, RedirectSet } from '../../src/container/redirects/set.ts';
import { flowTable, type WireFlow } from '../../src/ctnetlink/tables.ts';
import { Exchange } from '../../src/netlink/index.ts';
import { runNow } from '../../src/netlink/operation.ts';
import { Transaction } from '../../src/nftables/index.ts';
import { Observer } from '../../src/observe.ts';
import { ACK, CannedTransport } from '../support/canned-transport.ts';

const [FLOW, GET, DELETE, TOTALS] = [0x100, 0x101, 0x102, 0x105];
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLM_F_ACK = 4;
const NFGENMSG = [2, 0, 0, 0];
const PROTOCOL_NUMBERS = { tcp: 6, udp: 17 } as const;

/** A connection, as the kernel shows it. */
interface Connection {
  protocol: 'tcp' | 'udp';
  destination: string;
  port: number;
  /** Where it was led to; undefined where nothing has translated it. */
  leadsTo: number | undefined;
}

const refusal = (errno: number): [number, number, Uint8Array] => {
  const payload = new Uint8Array(20);
  new DataView(payload.buffer).setInt32(0, errno, true);
  return [NLMSG_ERROR, 0, payload];
};

/** A datagram may have several messages. */
class MessageByMessage extends CannedTransport {
  override send(bytes: Uint8Array, length: number): number {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    for (let at = 0; at < length; at += view.getUint32(at, true)) {
      const size = view.getUint32(at, true);
      super.send(bytes.subarray(at, at + size), size);
    }
    return length;
  }
}

/** A kernel with these connections, which does not know any filter; and which of them it was told to end. */
function kernelOf(connections: readonly Connection[]) {
  const ended: number[] = [];
  const transport = new MessageByMessage(request => {
    const type = new DataView(request.buffer).getUint16(4, true);
    if (type === TOTALS) return [[TOTALS, 0, Uint8Array.of(...NFGENMSG, 8, 0, 1, 0, 0, 0, 0, 9)], ACK];
    if (type === GET)
      return [...connections.map((each, i) => flowMessage(each, i)), [NLMSG_DONE, 2, new Uint8Array(4)]];
    if (type !== DELETE) throw new Error(`message ${type}`);
    const source = sourceOf(request.slice(20));
    ended.push(flowTable.read(source, 0, source.bytes.length, NO_CONTEXT)!.id!);
    return (request[6]! & NLM_F_ACK) !== 0 ? [ACK] : [];
  });
  return { transport, ended };
}

function flowMessage({ protocol, destination, port, leadsTo }: Connection, id: number): [number, number, Uint8Array] {
  const number = PROTOCOL_NUMBERS[protocol];
  const [client, clientPort] = ['10.1.0.2', 40_000 + id];
  const wire: WireFlow = {
    original: {
      source4: client,
      destination4: destination,
      protocol: number,
      sourcePort: clientPort,
      destinationPort: port,
    },
    reply: {
      source4: leadsTo === undefined ? destination : '10.1.0.1',
      destination4: client,
      protocol: number,
      sourcePort: leadsTo ?? port,
      destinationPort: clientPort,
    },
    status: leadsTo === undefined ? ['confirmed'] : ['confirmed', 'destination-nat'],
    id,
  };
  const writer = new Writer();
  writer.raw(Uint8Array.from(NFGENMSG));
  flowTable.write(writer, wire, NO_CONTEXT);
  return [FLOW, 2, writer.copy()];
}

/** What a change ends. */
function endedBy(
  before: readonly Redirect[],
  after: readonly Redirect[],
  connections: readonly Connection[],
  policy?: ConnectionPolicy,
) {
  const { transport, ended } = kernelOf(connections);
  const stale = new StaleConnections(policy);
  const [present, wanted] = [new RedirectSet(before), new RedirectSet(after)];
  runNow(changeRedirects(new Transaction(), wanted, present, true, undefined, stale));
  stale.noteRanges(present.ranges, wanted.ranges);
  stale.notePresent(present.ports);
  runNow(stale.end(new Exchange(transport, 'nftables')));
  return { ended: ended.sort((a, b) => a - b), requests: transport.requests.length };
}

const ADDRESSES = ['10.0.0.1', '10.0.0.2', '10.0.1.1'];
const PORTS = [53, 54, 80];
const TARGETS = [53, 8080, 8081];

const redirect: fc.Arbitrary<Redirect> = fc.record(
  {
    protocol: fc.constantFrom('tcp' as const, 'udp' as const),
    address: fc.constantFrom(...ADDRESSES, '10.0.0.0/24'),
    port: fc.oneof(fc.constantFrom(...PORTS), fc.constantFrom({ from: 50, to: 60 }, { from: 53, to: 53 })),
    toPort: fc.constantFrom(...TARGETS),
  },
  { requiredKeys: ['protocol', 'port', 'toPort'] },
);
const redirects = fc.array(redirect, { maxLength: 5 }).filter(list => {
  try {
    new RedirectSet(list);
    return true;
  } catch {
    return false;
  }
});
const connection: fc.Arbitrary<Connection> = fc.record({
  protocol: fc.constantFrom('tcp' as const, 'udp' as const),
  destination: fc.constantFrom(...ADDRESSES),
  port: fc.constantFrom(...PORTS, 55),
  leadsTo: fc.constantFrom(undefined, ...TARGETS),
});

/** Where redirects lead, said once more and slowly: an address and port of its own first. */
function target(list: readonly Redirect[], { protocol, destination, port }: Connection): number | undefined {
  const meets = (each: Redirect, exact: boolean) => {
    const { from, to } = typeof each.port === 'number' ? { from: each.port, to: each.port } : each.port;
    const isExact = from === to && each.address !== undefined && !each.address.includes('/');
    const isAt =
      each.address === undefined ||
      each.address === destination ||
      (each.address === '10.0.0.0/24' && destination.startsWith('10.0.0.'));
    return each.protocol === protocol && isExact === exact && isAt && from <= port && port <= to;
  };
  const found = list.find(each => meets(each, true)) ?? list.find(each => meets(each, false));
  return found?.toPort;
}

describe('a change of redirects', () => {
  test.each<[ConnectionPolicy | undefined]>([[undefined], ['end'], ['keep']])(
    'ends with %j exactly the connections that no longer match',
    policy => {
      let ending = 0;
      fc.assert(
        fc.property(
          redirects,
          redirects,
          fc.array(connection, { minLength: 1, maxLength: 20 }),
          (before, after, all) => {
            const wanted = all.flatMap((each, i) => {
              const [was, is] = [target(before, each), target(after, each)];
              const ends = policy === 'end' || (policy === undefined && each.protocol === 'udp');
              if (!ends || was === is) return [];
              if (was === undefined) return each.leadsTo === undefined && each.protocol === 'udp' ? [i] : [];
              return each.leadsTo === was ? [i] : [];
            });
            const { ended, requests } = endedBy(before, after, all, policy);
            expect(ended).toEqual(wanted);
            ending += ended.length;
            if (policy === 'keep') expect(requests).toBe(0);
          },
        ),
        { numRuns: 300 },
      );
      if (policy !== 'keep') expect(ending).toBeGreaterThan(20);
    },
  );
});

describe('a kernel that cannot end them', () => {
  const DNS: Redirect = { protocol: 'udp', address: '10.0.0.1', port: 53, toPort: 5353 };
  const EINVAL = -22;
  const EPERM = -1;
  const end = (errno: number, before: Redirect[], after: Redirect[], policy?: ConnectionPolicy) => {
    const warnings: string[] = [];
    const logger = {
      trace() {},
      debug() {},
      info() {},
      error() {},
      warn: (_: object, text?: string) => warnings.push(text!),
    };
    const exchange = new Exchange(
      new CannedTransport(() => [refusal(errno)]),
      'nftables',
      new Observer(logger as never),
    );
    const stale = new StaleConnections(policy);
    runNow(changeRedirects(new Transaction(), new RedirectSet(after), new RedirectSet(before), true, undefined, stale));
    runNow(stale.end(exchange));
    return warnings;
  };

  test('rejects the change with ERR_UNSUPPORTED, which says that the redirects are set', () => {
    const error = expect.objectContaining({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringContaining('the redirects are set'),
    });
    expect(() => end(EINVAL, [DNS], [])).toThrow(error);
    expect(() => end(EINVAL, [DNS], [{ ...DNS, toPort: 5354 }])).toThrow(error);
    expect(() => end(EINVAL, [], [DNS], 'end')).toThrow(error);
  });

  test('warns where nothing was translated before and no policy was given', () => {
    expect(end(EINVAL, [], [DNS])).toEqual([expect.stringContaining('cannot be ended')]);
  });

  test('is not asked where no connection would end', () => {
    expect(end(EINVAL, [DNS], [], 'keep')).toEqual([]);
    expect(end(EINVAL, [{ ...DNS, protocol: 'tcp' }], [])).toEqual([]);
  });

  test('rejects other refusals with ERR_CONNECTIONS_KEPT and their cause', () => {
    expect(() => end(EPERM, [DNS], [])).toThrow(
      expect.objectContaining({ code: 'ERR_CONNECTIONS_KEPT', cause: expect.objectContaining({ code: 'EPERM' }) }),
    );
  });
});
