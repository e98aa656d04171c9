import { fromHex, sourceOf } from '../../src/codec/index.ts';
import { messagesIn } from '../../src/netlink/index.ts';
import type { WireElement } from '../../src/nf_tables/element.ts';
import { decodeMessage } from '../../src/nftables/index.ts';

type Objects = Record<string, unknown>[];

/** What a dump of the kernel holds, each object with its family. */
export interface Dump {
  tables: Objects;
  chains: Objects;
  rules: Objects;
  sets: (Record<string, unknown> & { elements: WireElement[] })[];
  objects: Objects;
  flowtables: Objects;
}

export function readDump(datagrams: readonly string[]): Dump {
  const dump: Dump = { tables: [], chains: [], rules: [], sets: [], objects: [], flowtables: [] };
  for (const hex of datagrams) {
    const bytes = fromHex(hex)!;
    for (const { start, end } of messagesIn(sourceOf(bytes))) {
      const { type, family, object } = decodeMessage(bytes.subarray(start, end));
      const whole = { family, ...object };
      if (type === 'newtable') dump.tables.push(whole);
      else if (type === 'newchain') dump.chains.push(whole);
      else if (type === 'newrule') dump.rules.push(whole);
      else if (type === 'newobj') dump.objects.push(whole);
      else if (type === 'newflowtable') dump.flowtables.push(whole);
      else if (type === 'newset') dump.sets.push({ ...whole, elements: [] });
      else if (type === 'newsetelem') {
        const set = dump.sets.find(
          each => each.family === family && each.table === object.table && each.name === object.set,
        );
        set?.elements.push(...((object.elements ?? []) as WireElement[]));
      }
    }
  }
  return dump;
}
