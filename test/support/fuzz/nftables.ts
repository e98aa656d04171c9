import { sourceOf, Writer } from '../../../src/codec/index.ts';
import { Exchange, GroupReader, type GroupSocket, messageAt, messagesIn } from '../../../src/netlink/index.ts';
import { MESSAGES } from '../../../src/nf_tables/message.ts';
import type { RuleEntry } from '../../../src/nf_tables/rule.ts';
import { encodeMessage, type NftMessage, readMessage } from '../../../src/nf_tables/whole-message.ts';
import { decompileRule } from '../../../src/nft/decompile.ts';
import { rulesetJson } from '../../../src/nft/ruleset-json.ts';
import { formatRuleset } from '../../../src/nft/ruleset-text.ts';
import { formatRule } from '../../../src/nft/text.ts';
import { Nftables, type Ruleset, RulesetMirror } from '../../../src/nftables/index.ts';
import { Monitor } from '../../../src/nftables/watch/monitor.ts';
import { Trace } from '../../../src/nftables/watch/tracing.ts';
import { acknowledge, done, MemoryTransport, type Received, received, together } from '../memory-transport.ts';
import { amidst, canonical, refuseControl, type Target } from './judge.ts';
import { mutated } from './mutate.ts';
import type { Random } from './random.ts';
import recorded from './recorded.json' with { type: 'json' };

export const bytesOf = (messages: readonly string[]): Uint8Array[] =>
  messages.map(hex => new Uint8Array(Buffer.from(hex, 'hex')));

const SEEDS = bytesOf(recorded.nftables);

const make = (random: Random, pool: readonly Uint8Array[]) => mutated(random.pick(pool), random, pool);

/** One message of a dump or an event: as an object, and back. */
export const nftMessages: Target = {
  name: 'nf_tables message',
  weight: 6,
  seeds: SEEDS,
  make,
  read(input) {
    let message: NftMessage | undefined;
    amidst(input, (source, start, end) => {
      message = readMessage(messageAt(source, start, end));
      return canonical(message);
    });
    // What has been read can be written, but for a name that is longer than the kernel's own.
    const { flags = 0, sequence = 0, resource = 0 } = message!;
    encodeMessage({ ...message!, flags, sequence, resource });
  },
};

/** The rule in it, in nft's language. */
export const nftRules: Target = {
  name: 'rule in the language of nft',
  weight: 5,
  seeds: SEEDS.filter(bytes => new DataView(bytes.buffer).getUint16(4, true) === MESSAGES.newrule.number),
  make,
  read(input) {
    const { type, object, family } = readMessage(messageAt(sourceOf(input), 0, input.length));
    if (type !== 'newrule') return;
    const rule = { family, ...object } as unknown as RuleEntry;
    canonical(decompileRule(rule));
    refuseControl(formatRule(rule));
  },
};

const LISTS: Record<string, keyof Omit<Ruleset, 'generation'>> = {
  newtable: 'tables',
  newchain: 'chains',
  newset: 'sets',
  newrule: 'rules',
  newobj: 'objects',
  newflowtable: 'flowtables',
};

/** Several messages as a ruleset that belongs together as little as may be. */
export const nftRulesets: Target = {
  name: 'ruleset as text and JSON',
  weight: 3,
  seeds: SEEDS,
  make(random, pool) {
    const parts = Array.from({ length: 1 + random.below(5) }, () =>
      random.chance(2) ? random.pick(pool) : make(random, pool),
    );
    return together(...parts.map(padded));
  },
  read(input) {
    const ruleset: Ruleset = {
      generation: 1,
      tables: [],
      chains: [],
      sets: [],
      rules: [],
      objects: [],
      flowtables: [],
    };
    for (const message of messagesIn(sourceOf(input))) {
      const { type, object, family } = readMessage(message);
      const list = LISTS[type];
      if (list !== undefined) (ruleset[list] as object[]).push({ family, ...object });
    }
    refuseControl(formatRuleset(ruleset as never));
    const json = rulesetJson(ruleset as never);
    JSON.stringify(json);
    canonical(json);
    new RulesetMirror(ruleset);
  },
};

export function padded(bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array((bytes.length + 3) & ~3);
  whole.set(bytes);
  return whole;
}

/** A multicast group in memory: each datagram comes once. */
export class FuzzGroup implements GroupSocket {
  closed = false;
  next: Uint8Array | undefined;
  port = 0;
  ready = () => {};

  receiveFrom(into: Uint8Array, address: Uint8Array): number {
    const { next } = this;
    this.next = undefined;
    if (next === undefined) return -11;
    new DataView(address.buffer).setUint32(4, this.port, true);
    into.set(next.subarray(0, into.length));
    return next.length;
  }
  watch(ready: () => void) {
    this.ready = ready;
    return { ref() {}, unref() {}, close() {} };
  }
  async close() {
    this.closed = true;
  }
}

const EMPTY: Ruleset = { generation: 1, tables: [], chains: [], sets: [], rules: [], objects: [], flowtables: [] };
const SOURCE = { ruleset: async () => EMPTY, order: async () => [], generation: async () => 0 };

const generation = (() => {
  const bytes = encodeMessage({ type: 'newgen', object: { id: 7 } });
  return padded(bytes);
})();

/** Events of the ruleset, and steps of traces, in a datagram; some from a forger. */
export const nftEvents: Target = {
  name: 'events',
  weight: 2,
  seeds: SEEDS,
  make: (random, pool) =>
    together(padded(make(random, pool)), random.chance(4) ? generation.slice(0, random.below(40)) : generation),
  async read(input, random) {
    const socket = new FuzzGroup();
    const reader = new GroupReader(socket);
    const tracing = random.chance(4);
    const watcher = tracing ? new Trace(reader, {}, () => {}) : new Monitor(reader, SOURCE, {}, () => {});
    socket.next = input;
    socket.port = random.chance(8) ? 1 + random.below(1000) : 0;
    const events = watcher[Symbol.asyncIterator]() as AsyncIterator<unknown, undefined>;
    const first = events.next();
    first.catch(() => {});
    // What waits for more is ended: there is no more.
    for (let turn = 0; turn < 10; turn++) await undefined;
    await watcher.close();
    const { value } = await first;
    if (socket.port !== 0 && (value !== undefined || reader.rejectedSenders !== 1))
      throw new Error('a forged event was read');
    if (value !== undefined) canonical(value);
  },
};

/** Answers to requests: some messages are not as they should be, of another sequence, or missing. */
export const nftAnswers: Target = {
  name: 'answers of nf_tables',
  weight: 2,
  seeds: SEEDS,
  make,
  read(input, random) {
    const wire = new MemoryTransport(datagram =>
      received(datagram).flatMap(request => answers(request, input, random)),
    );
    const { sync } = new Nftables(new Exchange(wire, 'nftables'));
    const ask = random.pick([
      () => sync.generation(),
      () => sync.tables(),
      () => sync.rules({ family: 'ip', table: 't' }),
      () => sync.sets(),
      () => sync.elements({ family: 'ip', table: 't', name: 's' }, { as: 'values' }),
      () => sync.apply({ nftables: [{ add: { table: { family: 'ip', name: 't' } } }] }, { echo: true }),
    ]);
    canonical(ask());
  },
};

/** A message that answers something, with the request's sequence number or not, and an end. */
export function answers(request: Received, input: Uint8Array, random: Random): Uint8Array[] {
  const message = Uint8Array.from(input);
  const view = new DataView(message.buffer);
  if (message.length >= 12 && !random.chance(5)) view.setUint32(8, request.sequence, true);
  const isDump = (request.flags & 0x300) === 0x300;
  const end = isDump ? done(request.sequence) : acknowledge(request);
  const all = [message, end];
  if (random.chance(6)) all.reverse();
  if (random.chance(6)) all.pop();
  if (random.chance(4)) all.unshift(acknowledge({ ...request, sequence: random.u32() }));
  return random.chance(2) ? all : [together(...all.map(padded))];
}

/** Nests in nests, as deep as an attribute can be. */
export function nested(depth: number): Uint8Array {
  const writer = new Writer(1 << 17);
  const message = SEEDS.find(bytes => new DataView(bytes.buffer).getUint16(4, true) === MESSAGES.newrule.number)!;
  writer.raw(message.subarray(0, 20));
  const starts: number[] = [];
  for (let i = 0; i < depth; i++) starts.push(writer.beginAttribute(i % 3 === 0 ? 4 : i % 3));
  for (const start of starts.reverse()) writer.endAttribute(start);
  const bytes = writer.copy();
  new DataView(bytes.buffer).setUint32(0, bytes.length, true);
  return bytes;
}
