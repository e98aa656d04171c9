import { NO_CONTEXT } from '../codec/index.ts';
import { type Exchange, locateIn, nfgenmsg, type Operation, writeHeader } from '../netlink/index.ts';
import { generationTable } from '../nf_tables/generation.ts';
import { MESSAGES, type MessageName, readObject } from '../nf_tables/message.ts';
import type { NftSet } from '../nf_tables/set.ts';

/** A request for one object, or for a list of them. */
export function requestFor(name: MessageName, family: number, object: Record<string, unknown>) {
  const { number, kernelName, table } = MESSAGES[name];
  return {
    type: number,
    syscall: kernelName,
    subject: object,
    locate: locateIn(table, nfgenmsg.size, { family }),
    write: (writer: Parameters<typeof writeHeader>[0]) => {
      writeHeader(writer, family, 0);
      table.write(writer, object, { family });
    },
  };
}

/** The generation of the ruleset: it grows by one with each commit, of any program. */
export function* readGeneration(exchange: Exchange): Operation<number> {
  return yield* exchange.get(requestFor('getgen', 0, {}), ({ source, payload, end }) => {
    return generationTable.read(source, payload + nfgenmsg.size, end, NO_CONTEXT)?.id;
  });
}

/** One set, without its elements. @throws NetlinkError ENOENT */
export function* readSet(exchange: Exchange, family: number, table: string, name: string): Operation<NftSet> {
  return yield* exchange.get(requestFor('getset', family, { table, name }), message =>
    message.type === MESSAGES.newset.number ? readObject('newset', message) : undefined,
  );
}
