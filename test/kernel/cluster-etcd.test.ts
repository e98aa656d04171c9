import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Compacted, Etcd, type WatchEvent } from '../../src/cluster/etcd.ts';
import { checkEtcd } from '../../src/cluster/etcd-options.ts';
import { Lease } from '../../src/cluster/lease.ts';
import { EtcdServer } from '../support/etcd.ts';
import { until } from '../support/wait.ts';

describe('etcd', () => {
  let server: EtcdServer;
  let etcd: Etcd;
  beforeEach(async () => {
    server = await EtcdServer.start();
    etcd = new Etcd(checkEtcd({ endpoints: [server.endpoint] }, []));
  });
  afterEach(async () => {
    etcd.close();
    await server[Symbol.asyncDispose]();
  });

  it('gives back what was put, in pages of one revision, and carries a transaction out only where its conditions hold', async () => {
    for (let i = 0; i < 12; i++)
      await etcd.transaction(
        [],
        Array.from({ length: 100 }, (_, j) => ({ put: `a/${i}/${j}`, value: `ü${i}-${j}` })),
      );
    const { entries } = await etcd.range('a/');
    expect(entries.length).toBe(1200);
    expect(new Set(entries.map(({ key }) => key)).size).toBe(1200);
    expect((await etcd.get('a/3/7'))?.value).toBe('ü3-7');
    expect((await etcd.range('b/')).entries).toEqual([]);
    const once = { key: 'c', target: 'create', revision: 0n } as const;
    expect((await etcd.transaction([once], [{ put: 'c', value: '1' }])).succeeded).toBe(true);
    expect((await etcd.transaction([once], [{ put: 'c', value: '2' }])).succeeded).toBe(false);
    expect((await etcd.get('c'))?.value).toBe('1');
  });

  it('tells every change to a watch, also those that were made while it was killed and started again', async () => {
    const stop = new AbortController();
    const seen: string[] = [];
    const { revision } = await etcd.range('w/');
    const watching = (async () => {
      for await (const { events } of etcd.watch('w/', revision + 1n, stop.signal))
        for (const event of events)
          seen.push(event.type === 'put' ? `${event.entry.key}=${event.entry.value}` : `-${event.key}`);
    })().catch(() => {});
    await etcd.transaction([], [{ put: 'w/1', value: 'x' }]);
    await until(() => seen.length === 1);
    await server.stop();
    await server.run();
    await etcd.transaction([], [{ put: 'w/2', value: 'y' }]);
    await etcd.transaction([], [{ delete: 'w/1' }]);
    await until(() => seen.length === 3);
    expect(seen).toEqual(['w/1=x', 'w/2=y', '-w/1']);
    stop.abort();
    await watching;
  });

  it('says that a revision is compacted', async () => {
    for (let i = 0; i < 5; i++) await etcd.transaction([], [{ put: 'k', value: String(i) }]);
    const { revision } = await etcd.range('k');
    await etcd.call('/v3/kv/compaction', { revision: String(revision) });
    const events: WatchEvent[] = [];
    const watching = async () => {
      for await (const message of etcd.watch('k', 2n, new AbortController().signal)) events.push(...message.events);
    };
    await expect(watching()).rejects.toBeInstanceOf(Compacted);
  });

  it('ends a call in its time while etcd is stopped', async () => {
    server.kill('SIGSTOP');
    await expect(etcd.get('k')).rejects.toThrow('in time');
    server.kill('SIGCONT');
    await until(async () => (await etcd.get('k').catch(() => null)) === undefined);
  });

  it('ends a call in its time, and by its signal, also where garbage is collected meanwhile', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const collecting = setInterval(collect, 20);
    server.kill('SIGSTOP');
    const never = new AbortController();
    await expect(etcd.get('k', never.signal)).rejects.toThrow('in time');
    const leaving = new AbortController();
    const call = etcd.get('k', leaving.signal);
    leaving.abort(new Error('leaving'));
    await expect(call).rejects.toThrow('leaving');
    clearInterval(collecting);
    server.kill('SIGCONT');
    await until(async () => (await etcd.get('k').catch(() => null)) === undefined);
  });

  it('keeps a lease while etcd answers, and knows by its own clock that it is lost when etcd does not', async () => {
    const told: string[] = [];
    const lease = new Lease(etcd, 2, 500, () => performance.now(), {
      held: () => told.push('held'),
      renewed: () => {},
      lost: () => told.push('lost'),
    });
    await until(() => lease.counts.renewed >= 3);
    expect(told).toEqual(['held']);
    server.kill('SIGSTOP');
    await until(() => told.length === 2);
    expect(lease.id).toBeUndefined();
    server.kill('SIGCONT');
    await until(() => told.length === 3);
    expect(told).toEqual(['held', 'lost', 'held']);
    await lease.close();
  });
});
