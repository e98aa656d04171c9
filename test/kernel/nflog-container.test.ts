import { AsyncLocalStorage } from 'node:async_hooks';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { tracingChannel } from 'node:diagnostics_channel';
import { Writable } from 'node:stream';
import vm from 'node:vm';
import { Container, Links, NetNs } from 'netsteer';
import { Nflog, type Packet, type RecordLogger } from 'netsteer/nflog';
import { Nftables, udp } from 'netsteer/nftables';
import { expect, it } from 'vitest';
import { cleanUpsOfEach } from '../support/clean-ups.ts';
import { floodNow } from '../support/flood.ts';
import { nft } from '../support/nflog-lab.ts';
import { TurnMeter } from '../support/pauses.ts';
import { kernelSuite, where } from '../support/where.ts';

const HOUR = 3_600_000;
const LOG_OUTPUT =
  'table ip test { chain output { type filter hook output priority 0; udp dport 9999 log prefix "out " group 5; } }';
/** More than one packet a batch, and none before the group is let go. */
const LAZY = { packets: 100_000, milliseconds: HOUR, bufferBytes: 131_072 };

const cleanUps = cleanUpsOfEach();

function namespace(): NetNs {
  const netns = NetNs.create();
  cleanUps.add(() => netns.close());
  using links = Links.open({ netns });
  links.sync.set('lo', { up: true });
  return netns;
}

/** A container: a process in a namespace of its own, which lives until it is told to end. */
function container(): { netns: NetNs; web1: Container; process: ChildProcess } {
  const netns = namespace();
  const process = netns.run(() => spawn('sleep', ['1000'], { stdio: 'ignore' }));
  cleanUps.add(() => void process.kill('SIGKILL'));
  const web1 = Container.open({ pid: process.pid! });
  cleanUps.add(() => web1[Symbol.asyncDispose]());
  return { netns, web1, process };
}

const send = (netns: NetNs, count: number) => floodNow(netns, { count });
const bound = (netns: NetNs) => netns.readFile('/proc/net/netfilter/nfnetlink_log').trim();

async function all(log: AsyncIterable<Packet>): Promise<number> {
  let count = 0;
  for await (const _ of log) count++;
  return count;
}

/** A log rule for what `send` sends. */
const SENT = { hook: 'output', match: [udp.dport.eq(9999)] } as const;

/** A logger that keeps what it is given. */
function recorder(): { lines: { level: string; fields: Record<string, unknown> }[]; logger: RecordLogger } {
  const lines: { level: string; fields: Record<string, unknown> }[] = [];
  const at = (level: string) => (fields: object) =>
    void lines.push({ level, fields: fields as Record<string, unknown> });
  const logger = { trace: at('trace'), debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
  return { lines, logger: { ...logger, fatal: at('fatal') } };
}

kernelSuite('the log of a container', () => {
  it('ends when the container does, after every packet logged before, and rejects later calls with ERR_CLOSED', async () => {
    const { netns, web1, process } = container();
    nft(netns, LOG_OUTPUT);
    const log = web1.nflog({ groups: [5], queue: LAZY });
    const counted = all(log);
    send(netns, 300);
    process.kill('SIGKILL');
    expect(await counted).toBe(300);
    expect([log.closed, log.stats.received]).toEqual([true, 300]);
    // The group is free, and the namespace is not kept alive by the log.
    expect(bound(netns)).toBe('');
    await web1.closed;
    expect(() => log.to()).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
  });

  it('ends for a loop that is slower than the packets and has a small backlog', async () => {
    const { netns, web1, process } = container();
    nft(netns, LOG_OUTPUT);
    const log = web1.nflog({ groups: [5], queue: { packets: 1 }, backlog: { packets: 4, when: 'leave-to-kernel' } });
    send(netns, 100);
    let count = 0;
    for await (const _ of log) {
      if (++count === 5) {
        process.kill('SIGKILL');
        await web1.closed;
        await expect.poll(() => log.closed).toBe(true);
      }
    }
    expect(count).toBe(100);
  });

  it('gives the remaining packets to a loop that begins after the end, and rejects one after close() with ERR_CLOSED', async () => {
    const { netns, web1, process } = container();
    nft(netns, LOG_OUTPUT);
    const log = web1.nflog({ groups: [5], queue: { packets: 1 } });
    send(netns, 7);
    process.kill('SIGKILL');
    await expect.poll(() => log.closed).toBe(true);
    const loop = log[Symbol.asyncIterator]();
    expect((await loop.next()).done).toBe(false);
    expect(await all(log)).toBe(6);
    expect((await loop.next()).done).toBe(true);
    log.close();
    expect(() => log[Symbol.asyncIterator]()).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
  });

  it('ends at once when it is opened after the end of the container', async () => {
    const { web1, process } = container();
    process.kill('SIGKILL');
    await web1.closed;
    expect(await all(web1.nflog({ groups: [5] }))).toBe(0);
  });

  it('completes its files, records and handlers at its end', async () => {
    const { netns, web1, process } = container();
    nft(netns, LOG_OUTPUT);
    const log = web1.nflog({ groups: [5], queue: LAZY });
    const chunks: Buffer[] = [];
    const file = new Writable({
      write(chunk: Buffer, _, done) {
        chunks.push(chunk);
        done();
      },
    });
    const capture = log.toPcap(file);
    const { lines, logger } = recorder();
    const records = log.to(logger);
    let handled = 0;
    log.onBatch(packets => {
      handled += packets.length;
    });
    send(netns, 50);
    process.kill('SIGKILL');
    await Promise.all([capture.finished, records.finished, web1.closed]);
    expect([capture.packets, records.packets, lines.length, handled]).toEqual([50, 50, 50, 50]);
    expect(file.writableFinished).toBe(true);
    expect(Buffer.concat(chunks).length).toBe(capture.bytes);
  });

  it('is dropped by its container when it is closed', async () => {
    const { netns, web1 } = container();
    const log = web1.nflog({ groups: [5] });
    await log[Symbol.asyncDispose]();
    let closed = 0;
    log[Symbol.asyncDispose] = async () => {
      closed++;
    };
    const other = web1.nflog({ groups: [5] });
    await web1[Symbol.asyncDispose]();
    expect([closed, other.closed, bound(netns)]).toEqual([0, true, '']);
  });
});

kernelSuite('the signal of a log', () => {
  it('closes the log, whose loops reject with the reason of the signal, later loops with ERR_CLOSED', async () => {
    const netns = namespace();
    nft(netns, LOG_OUTPUT);
    const controller = new AbortController();
    const log = Nflog.open({ netns, groups: [5], queue: { packets: 1 }, signal: controller.signal });
    send(netns, 3);
    const loops = [log, log].map(each => all(each).catch((error: unknown) => error));
    await expect.poll(() => log.stats.received).toBe(3);
    const reason = new Error('enough');
    controller.abort(reason);
    expect(log.closed).toBe(true);
    expect(await Promise.all(loops)).toEqual([reason, reason]);
    expect(() => log[Symbol.asyncIterator]()).toThrow(reason);
    await expect.poll(() => bound(netns)).toBe('');
    await expect(log.addGroup(6)).rejects.toMatchObject({ code: 'ERR_CLOSED' });
  });

  it('that is aborted already is thrown before any group is bound, and rejects another object with ERR_INVALID_ARG_TYPE', () => {
    const netns = namespace();
    const open = (signal: unknown) => () => Nflog.open({ netns, groups: [5], signal: signal as AbortSignal });
    expect(open(AbortSignal.abort(new Error('before')))).toThrow('before');
    for (const wrong of [5, {}, 'abort', null, { aborted: false }])
      expect(open(wrong)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE', attribute: 'signal' }));
    expect(bound(netns)).toBe('');
  });

  it("works from another realm, and for a container's log", async () => {
    const { netns, web1 } = container();
    const signal = new EventTarget() as EventTarget & { aborted: boolean; reason: unknown };
    signal.aborted = false;
    const log = web1.nflog({ groups: [5], signal: signal as unknown as AbortSignal });
    const loop = all(log);
    signal.aborted = true;
    signal.reason = vm.runInNewContext('new Error("elsewhere")');
    signal.dispatchEvent(new Event('abort'));
    await expect(loop).rejects.toMatchObject({ message: 'elsewhere' });
    await expect.poll(() => bound(netns)).toBe('');
  });

  it('holds no listener after the log is closed', async () => {
    const netns = namespace();
    const listeners = new Set<unknown>();
    const signal = {
      aborted: false,
      addEventListener: (_: string, listener: unknown) => void listeners.add(listener),
      removeEventListener: (_: string, listener: unknown) => void listeners.delete(listener),
    };
    const log = Nflog.open({ netns, groups: [5], signal: signal as unknown as AbortSignal });
    expect(listeners.size).toBe(1);
    await log[Symbol.asyncDispose]();
    expect(listeners.size).toBe(0);
  });
});

kernelSuite('callbacks of a log', () => {
  it('run in the asynchronous context in which they were given', async () => {
    const netns = namespace();
    nft(netns, LOG_OUTPUT);
    const storage = new AsyncLocalStorage<string>();
    const seen: Record<string, string | undefined> = {};
    const log = Nflog.open({
      netns,
      groups: [5],
      queue: { packets: 1, bufferBytes: 8192 },
      receiveBufferBytes: 16_384,
    });
    cleanUps.add(() => log[Symbol.asyncDispose]());
    const tell = (what: string) => () => {
      seen[what] = storage.getStore();
    };
    storage.run('batch', () => log.onBatch(tell('batch')));
    storage.run('loss', () => log.onLoss(tell('loss')));
    const logger = { debug() {}, warn() {}, error() {}, info: tell('record') };
    const level = () => {
      tell('level')();
      return 'info' as const;
    };
    storage.run('to', () => log.to(logger, { level }));
    const file = new Writable({
      write(_chunk, _encoding, done) {
        tell('file')();
        done();
      },
    });
    storage.run('file', () => log.toPcap(file));
    const loop = storage.run('loop', async () => {
      for await (const _ of log) {
        tell('loop')();
        break;
      }
    });
    // More than the buffer holds: some are lost.
    storage.run('sender', () => send(netns, 2000));
    await loop;
    await expect.poll(() => seen.loss).toBeDefined();
    expect(seen).toEqual({ batch: 'batch', loss: 'loss', record: 'to', level: 'to', file: 'file', loop: 'loop' });
  });
});

kernelSuite('records of log rules', () => {
  it('have the level and the name of their rule, in another process too', async () => {
    const { netns, web1 } = container();
    const rules = [
      { group: 5, prefix: 'ssh ', ...SENT, level: 'warn' as const, name: 'somebody tries ssh' },
      { group: 6, ...SENT, name: 'all' },
      { group: 7, prefix: 'plain: ', ...SENT },
    ];
    await web1.logging.set(rules);
    expect(await web1.logging.list()).toEqual(rules);
    expect(await web1.logging.list()).toEqual(web1.logging.sync.list());
    const generation = await web1.nftables.generation();
    await web1.logging.set(rules);
    expect(await web1.nftables.generation()).toBe(generation);
    await web1.logging.set([...rules.slice(0, 2), { ...rules[2]!, level: 'error' }]);
    expect(await web1.nftables.generation()).not.toBe(generation);
    await web1.logging.set(rules);

    const next = Container.open({ netns });
    cleanUps.add(() => next[Symbol.asyncDispose]());
    expect(await next.logging.list()).toEqual(rules);
    const log = next.nflog({ groups: [5, 6, 7], queue: { packets: 1 } });
    const plain = recorder();
    log.to(plain.logger, { fields: ['group', 'ruleName'] });
    const chosen = recorder();
    const level = (rule: unknown, packet: Packet) =>
      packet.group === 6
        ? ('debug' as const)
        : (rule as { level?: 'warn' }).level === 'warn'
          ? ('fatal' as const)
          : undefined;
    log.to(chosen.logger, { level, fields: ['group'] });
    const fixed = recorder();
    log.to(fixed.logger, { level: 'trace', fields: ['group'] });
    send(netns, 1);
    const levels = ({ lines }: ReturnType<typeof recorder>) =>
      Object.fromEntries(lines.map(({ level, fields }) => [fields.group as number, level]));
    await expect.poll(() => fixed.lines.length).toBe(3);
    expect(levels(plain)).toEqual({ 5: 'warn', 6: 'info', 7: 'info' });
    expect(Object.fromEntries(plain.lines.map(({ fields }) => [fields.group as number, fields.ruleName]))).toEqual({
      5: 'somebody tries ssh',
      6: 'all',
      7: 'plain:',
    });
    expect(levels(chosen)).toEqual({ 5: 'fatal', 6: 'debug', 7: 'info' });
    expect(levels(fixed)).toEqual({ 5: 'trace', 6: 'trace', 7: 'trace' });
  });

  it('use rules that this object changes at once, and those of others a moment later', async () => {
    const { netns, web1 } = container();
    const log = web1.nflog({ groups: [5], queue: { packets: 1 } });
    const names: unknown[] = [];
    log.onBatch(packets => names.push(...packets.map(packet => packet.rule?.name)));
    const told = async (name: unknown, count = 1) => {
      send(netns, 1);
      await expect.poll(() => names.length).toBe(count);
      expect(names.splice(0).at(-1)).toBe(name);
    };
    await web1.logging.set([{ group: 5, ...SENT, name: 'first' }]);
    await told('first');
    web1.logging.sync.set([{ group: 5, ...SENT, name: 'second' }]);
    await told('second');
    await web1.logging.remove([{ group: 5, ...SENT, name: 'second' }]);
    await web1.logging.add([{ group: 5, ...SENT, prefix: 'p', name: 'third' }]);
    await told('third');
    // Two with the same prefix: which one it was cannot be told.
    await web1.logging.add([{ group: 5, ...SENT, prefix: 'p', name: 'fourth' }]);
    await told(undefined, 2);
    const other = Container.open({ netns });
    cleanUps.add(() => other[Symbol.asyncDispose]());
    await other.logging.set([{ group: 5, ...SENT, prefix: 'p', name: 'fifth' }]);
    const found = async () => {
      send(netns, 1);
      await expect.poll(() => names.length).toBe(1);
      return names.splice(0)[0];
    };
    await expect.poll(found).toBe('fifth');
  });

  it.each([
    [{ level: 'loud' }, '[0].level'],
    [{ level: 5 }, '[0].level'],
    [{ name: '' }, '[0].name'],
    [{ name: 'x'.repeat(65) }, '[0].name'],
    [{ name: 'a"b' }, '[0].name'],
    [{ name: 'a\nb' }, '[0].name'],
  ])('reject %j before anything is sent', async (wrong, attribute) => {
    const { web1 } = container();
    await expect(web1.logging.set([{ group: 5, ...wrong } as never])).rejects.toMatchObject({ attribute });
    expect(await web1.nftables.tables()).toEqual([]);
  });
});

kernelSuite('records of a container that floods its logging table', () => {
  const PREFIXES = 200;
  /** Where every instruction is emulated, it takes some twenty times as long, and more beside others. */
  const LONGEST_PAUSE = where === 'host' ? 10 : 500;

  /** A container's root: many rules, in our chain or beside it, and one log rule for each of 200 prefixes. */
  function flood(netns: NetNs, junk: string, comment: string): void {
    const rules = Array.from(
      { length: 20_000 },
      () => `add rule inet netsteer-logging ${junk} udp dport 1 counter${comment}`,
    );
    for (let i = 0; i < PREFIXES; i++)
      rules.push(`add rule inet netsteer-logging output udp dport 9999 log prefix "p${i} " group 5`);
    netns.run(() => execFileSync('nft', ['-f', '-'], { input: `${rules.join('\n')}\n` }));
  }

  it.each([
    ['beside its chains', 'junk', ''],
    ['in its chains', 'output', ''],
    ['in its chains, with our mark', 'output', ` comment "netsteer ${'0'.repeat(32)}"`],
  ])(
    'never wait for its rules, which are %s and are read once a second behind the packets',
    async (_, junk, comment) => {
      const { netns, web1 } = container();
      await web1.logging.set([{ group: 6, ...SENT, prefix: 'ours ', name: 'ours' }]);
      nft(netns, 'add chain inet netsteer-logging junk');
      flood(netns, junk, comment);
      // Each reading is a request for the generation, and one for each chain where that is a new one.
      const requests = { begun: 0, ended: 0 };
      const count = (which: 'begun' | 'ended') => (message: unknown) => {
        if ((message as { operation: string }).operation === 'logging.rules') requests[which]++;
      };
      const channel = tracingChannel('netsteer:request');
      const [begin, end] = [count('begun'), count('ended')];
      channel.start.subscribe(begin);
      channel.end.subscribe(end);
      cleanUps.add(
        () => channel.start.unsubscribe(begin),
        () => channel.end.unsubscribe(end),
      );
      const pauses: number[] = [];
      // The first rounds compile; with a reading in the packets' path each has a pause of seconds.
      for (let round = 0; round < 10 && Math.min(...pauses) > LONGEST_PAUSE; round++) {
        Object.assign(requests, { begun: 0, ended: 0 });
        // Somebody who knows no rule yet.
        const fresh = Container.open({ netns });
        const { lines, logger } = recorder();
        const watched = new TurnMeter();
        const begun = performance.now();
        await new Promise<void>(resolve => {
          setImmediate(() => {
            const log = fresh.nflog({ groups: [5, 6], queue: { packets: 50 } });
            log.to(logger);
            resolve();
          });
        });
        const opening = watched.longest;
        send(netns, 1);
        watched.reset();
        const state = () => [lines.length, requests.begun >= 5 && requests.begun === requests.ended];
        await expect.poll(state, { interval: 5 }).toEqual([PREFIXES + 1, true]);
        await watched.stop();
        pauses.push(Math.max(opening, watched.longest));
        // Of this log there was one reading, and another one after each second.
        expect(requests.begun / 5).toBeLessThanOrEqual(1 + (performance.now() - begun) / 1000);
        expect(new Set(lines.map(({ fields }) => fields.prefix)).size).toBe(PREFIXES + 1);
        expect(lines.find(({ fields }) => fields.group === 6)?.fields).toMatchObject({ prefix: 'ours ' });
        await fresh[Symbol.asyncDispose]();
      }
      expect(Math.min(...pauses)).toBeLessThanOrEqual(LONGEST_PAUSE);
    },
  );

  it('do not delay what this process does with its rules', async () => {
    const { netns, web1 } = container();
    await web1.logging.set([{ group: 5, ...SENT }]);
    flood(netns, 'output', '');
    const log = web1.nflog({ groups: [5], queue: { packets: 1 } });
    log.onBatch(packets => void packets.map(packet => packet.rule));
    // ERR_BUSY, if the reading were one of theirs.
    expect(web1.nftables.sync.tables().length).toBe(1);
    send(netns, 1);
    await expect.poll(() => log.stats.received).toBeGreaterThan(0);
    using other = Nftables.open({ netns });
    expect(other.sync.tables().length).toBe(1);
  });
});
