import type { Ipvs, ServiceEntry } from 'netsteer/ipvs';
import { Exchange, type Operation, syncAndAsync, type Transport } from 'netsteer/netlink';
import type { Nftables, Ruleset, RulesetJson, Table, Transaction } from 'netsteer/nftables';
import { proof, type Same } from './assert.ts';

declare class ThingOperations {
  constructor(exchange: Exchange);
  add(_name: string, _options?: { signal?: AbortSignal }): Operation<number>;
  list(): Operation<string[]>;
  notAnOperation(): string;
}

declare const things: InstanceType<ReturnType<typeof make>>;
const make = () => syncAndAsync(ThingOperations);

/* One definition, two forms: the same parameters, a promise or the value. */
proof<Same<Parameters<typeof things.add>, Parameters<ThingOperations['add']>>>();
proof<Same<ReturnType<typeof things.add>, Promise<number>>>();
proof<Same<ReturnType<typeof things.sync.add>, number>>();
proof<Same<Parameters<typeof things.sync.add>, Parameters<typeof things.add>>>();
proof<Same<ReturnType<typeof things.sync.list>, string[]>>();
proof<Same<keyof typeof things.sync, 'add' | 'list'>>();

export function misuse(): void {
  // @ts-expect-error wrong parameter
  void things.add(5);
  // @ts-expect-error no operation of that name
  void things.sync.remove('a');
  // @ts-expect-error only operations have two forms
  things.sync.notAnOperation();
  // @ts-expect-error the synchronous form returns no promise
  things.sync.list().then(() => {});
}

/* The handles of the library are made this way. */
declare const ipvs: Ipvs;
declare const nft: Nftables;
declare const transaction: Transaction;
proof<Same<ReturnType<typeof ipvs.service>, Promise<ServiceEntry>>>();
proof<Same<ReturnType<typeof ipvs.sync.service>, ServiceEntry>>();
proof<Same<ReturnType<typeof nft.sync.tables>, Table[]>>();
proof<Same<ReturnType<typeof nft.tables>, Promise<Table[]>>>();

export async function use(): Promise<void> {
  using _closedAtTheEnd = ipvs;
  await using _closedAndWaitedFor = nft;
  await nft.commit(transaction, { signal: AbortSignal.abort() });
  nft.sync.commit(transaction);
  const ruleset = await nft.ruleset({ family: 'ip' });
  proof<Same<typeof ruleset, Ruleset>>();
  const json = nft.sync.ruleset({ as: 'json' });
  proof<Same<typeof json, RulesetJson>>();
  // @ts-expect-error no such option
  await nft.commit(transaction, { sginal: AbortSignal.abort() });
}

/* The seam to the kernel can be named, and filled by a kernel of one's own. */
export const silent: Transport = {
  netnsInode: 0,
  closed: false,
  send: (_bytes, length) => length,
  sendOffThread: async (_bytes, length) => length,
  receive: () => -11,
  receiveOffThread: async () => -11,
  reserve: bytes => bytes,
  close: async () => {},
};
export const exchange = new Exchange(silent, 'mine');
