import { NetNs } from 'netsteer';
import { Conntrack, type Flow, type FlowFilter, type NewFlow } from 'netsteer/conntrack';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { isMeant } from './flow-filters.ts';
import { isLong, kernelSuite, where } from './where.ts';

/*
 * The kernel takes a deletion without a whole tuple for "all flows", whatever else it carries, and ignores filters that it does not know. So every
 * combination of fields is tried against a table of witnesses, each unlike the others: either the flows that are meant go, or none.
 */

/**
 * A dump walks through all buckets of the machine, so `npm test` tries each fourth combination of a filter (an emulated machine each eighth), others in
 * each run; `npm run test:long` tries all.
 */
const EVERY = isLong ? 1 : where === 'host' ? 4 : 8;

const ADDRESSES = {
  ipv4: ['10.0.0.1', '10.0.0.2', '10.7.7.7'],
  ipv6: ['2001:db8::1', '2001:db8::2', '2001:db8::7'],
} as const;

function witnesses(): NewFlow[] {
  const flows: NewFlow[] = [];
  for (const family of ['ipv4', 'ipv6'] as const)
    for (const [i, protocol] of (['udp', 'tcp', 'sctp', 'icmp', 253] as const).entries())
      for (const zone of [0, 7]) {
        const [source, destination, translated] = ADDRESSES[family];
        const icmp = family === 'ipv4' ? 'icmp' : 'icmpv6';
        const hasPorts = typeof protocol === 'string' && protocol !== 'icmp';
        const translates = hasPorts && zone === 0;
        flows.push({
          protocol: protocol === 'icmp' ? icmp : protocol,
          timeoutSeconds: 100_000,
          original: {
            source,
            destination,
            ...(hasPorts && { sourcePort: 4000 + i, destinationPort: 53 }),
            ...(protocol === 'icmp' && { icmp: { type: family === 'ipv4' ? 8 : 128, code: 0, id: 9 } }),
          },
          ...(zone !== 0 && { zone }),
          ...(i % 2 === 0 && { mark: 5 }),
          ...(translates && { nat: { destination: { address: translated, port: 8080 } } }),
          ...(protocol === 'tcp' && { tcp: { state: 'established' as const }, status: ['seen-reply', 'assured'] }),
          ...(protocol === 'sctp' && { sctp: { state: 'established' as const, originalTag: 1, replyTag: 2 } }),
        });
      }
  return flows;
}

/** Every combination of some of the fields of an object. */
function* combinations<T extends object>(fields: T): Generator<Partial<T>> {
  const entries = Object.entries(fields);
  for (let bits = 0; bits < 1 << entries.length; bits++)
    yield Object.fromEntries(entries.filter((_, i) => (bits & (1 << i)) !== 0)) as Partial<T>;
}

export function deletionSuite(): void {
  kernelSuite('every combination of fields of a deletion', () => {
    let netns: NetNs;
    let ct: Conntrack;
    let all: Flow[];

    beforeEach(() => {
      netns = NetNs.create();
      ct = Conntrack.open({ netns });
      for (const flow of witnesses()) ct.sync.create(flow);
      all = ct.sync.list();
      expect(all).toHaveLength(witnesses().length);
    });
    afterEach(async () => {
      await ct[Symbol.asyncDispose]();
      netns.close();
    });

    const again = (flow: Flow) => ct.sync.create({ ...flow, timeoutSeconds: 100_000 });

    it('ends the one flow that it names, or nothing', () => {
      let ended = 0;
      let tried = 0;
      for (const flow of all) {
        const { protocol, original, zone, id } = flow;
        const keys: object[] = [];
        for (const tuple of [original, flow.reply])
          for (const key of combinations({ protocol, ...tuple, zone, id })) keys.push(key);
        for (const key of combinations({ protocol, original, zone, id, reply: flow.reply })) keys.push(key);
        for (const key of keys)
          for (const options of [{}, { id }, { id: (id + 1) >>> 0 }, { id: undefined }]) {
            tried++;
            let error: unknown;
            try {
              ct.sync.delete(key as never, options as never);
            } catch (refused) {
              error = refused;
            }
            const count = ct.sync.count();
            if (error !== undefined) {
              expect(count, JSON.stringify([key, options])).toBe(all.length);
              continue;
            }
            ended++;
            expect(count, JSON.stringify([key, options])).toBe(all.length - 1);
            // A key without a zone names the flow of the default zone.
            const zoneMeant = (key as { zone?: number }).zone ?? 0;
            const meant = all.find(
              each => each.protocol === protocol && each.family === flow.family && each.zone === zoneMeant,
            )!;
            expect(ct.sync.get(meant), JSON.stringify([key, options])).toBeUndefined();
            again(meant);
            meant.id = ct.sync.get(meant)!.id;
            break;
          }
      }
      expect(tried).toBeGreaterThan(2000);
      expect(ended).toBeGreaterThan(all.length);
    });

    it('of a filter ends the flows that are meant, and no others', async () => {
      const { family, protocol, original, reply, mark, status } = all.find(flow => flow.nat.destination !== undefined)!;
      const fields: FlowFilter = {
        family,
        protocol,
        source: original.source,
        destination: `${original.destination}/${family === 'ipv4' ? 24 : 64}`,
        sourcePort: original.sourcePort!,
        destinationPort: original.destinationPort!,
        reply: { source: reply.source, sourcePort: reply.sourcePort! },
        mark: { value: mark & 4, mask: 4 },
        zone: 0,
        status: status.filter(flag => flag === 'confirmed') as ['confirmed'],
        nat: 'destination',
      };
      let ended = 0;
      let tried = 0;
      const turn = Math.floor(Math.random() * EVERY);
      for (const [i, filter] of [...combinations(fields)].entries()) {
        if (i % EVERY !== turn && i > 0) continue;
        tried++;
        if (i === 0) {
          await expect(ct.flush(filter)).rejects.toMatchObject({ code: 'ERR_MISSING' });
          continue;
        }
        const meant = all.filter(flow => isMeant(flow, filter));
        expect(ct.sync.flush(filter), JSON.stringify(filter)).toBe(meant.length);
        expect(ct.sync.count(), JSON.stringify(filter)).toBe(all.length - meant.length);
        ended += meant.length;
        for (const flow of meant) {
          expect(ct.sync.get(flow)).toBeUndefined();
          again(flow);
        }
      }
      expect(tried).toBeGreaterThanOrEqual(2048 / EVERY);
      expect(ended).toBeGreaterThan(tried);
    });
  });
}
