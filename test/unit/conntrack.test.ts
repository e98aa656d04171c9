import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NO_CONTEXT, sourceOf, Writer } from '../../src/codec/index.ts';
import { FlowView } from '../../src/conntrack/view.ts';
import { flowTable, type WireFlow } from '../../src/ctnetlink/tables.ts';

const byte = fc.integer({ min: 0, max: 255 });
const short = fc.integer({ min: 0, max: 0xffff });
const word = fc.integer({ min: 0, max: 0xffffffff });
const ipv4 = fc.tuple(byte, byte, byte, byte).map(bytes => bytes.join('.'));
const tuple = fc.record(
  { source4: ipv4, destination4: ipv4, protocol: byte, sourcePort: short, destinationPort: short, zone: short },
  { requiredKeys: [] },
);
const flow = fc.record(
  {
    original: tuple,
    reply: tuple,
    status: word.map(bits => [bits]),
    mark: word,
    zone: short,
    id: word,
    timeoutSeconds: word,
  },
  { requiredKeys: [] },
);

describe('the view of a flow', () => {
  test('finds what the table reads', () => {
    fc.assert(
      fc.property(flow, given => {
        const writer = new Writer();
        flowTable.write(writer, given as WireFlow, NO_CONTEXT);
        const source = sourceOf(writer.copy());
        const read = flowTable.read(source, 0, source.bytes.length, NO_CONTEXT)!;
        const view = new FlowView().read(source, 0, source.bytes.length);
        for (const side of ['original', 'reply'] as const) {
          const { source4, destination4, protocol = -1, sourcePort = -1, destinationPort = -1 } = read[side] ?? {};
          const { [side]: found } = view;
          expect([found.protocol, found.sourcePort, found.destinationPort]).toEqual([
            protocol,
            sourcePort,
            destinationPort,
          ]);
          const text = ({ start, end }: { start: number; end: number }) =>
            start < 0 ? undefined : source.bytes.subarray(start, end).join('.');
          expect([text(found.source), text(found.destination)]).toEqual([source4, destination4]);
        }
        const bits = (given.status ?? [0])[0];
        expect([view.status, view.mark, view.zone]).toEqual([bits, read.mark ?? 0, read.zone ?? 0]);
        expect(view.id.start < 0 ? undefined : source.view.getUint32(view.id.start, false)).toBe(read.id);
      }),
    );
  });
});
