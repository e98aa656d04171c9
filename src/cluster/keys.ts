import { setTimeout as delay } from 'node:timers/promises';
import { Compacted, type Etcd, type KeyValue } from './etcd.ts';

/**
 * Follows all keys with a prefix, over lost connections, restarts and compactions of etcd, until the signal aborts.
 * @param changed called with each key that has changed: its entry, or undefined. First with all that there are
 * @param settled called whenever a group of changes was told
 */
export async function follow(
  etcd: Etcd,
  prefix: string,
  signal: AbortSignal,
  changed: (key: string, entry: KeyValue | undefined) => void,
  settled: () => void,
): Promise<void> {
  const known = new Map<string, bigint>();
  while (!signal.aborted) {
    try {
      const { entries, revision } = await etcd.range(prefix, signal);
      const now = new Set(entries.map(({ key }) => key));
      for (const key of known.keys()) {
        if (now.has(key)) continue;
        known.delete(key);
        changed(key, undefined);
      }
      for (const entry of entries) {
        if (known.get(entry.key) === entry.modRevision) continue;
        known.set(entry.key, entry.modRevision);
        changed(entry.key, entry);
      }
      settled();
      for await (const { events } of etcd.watch(prefix, revision + 1n, signal)) {
        for (const event of events) {
          if (event.type === 'delete') {
            known.delete(event.key);
            changed(event.key, undefined);
          } else {
            known.set(event.entry.key, event.entry.modRevision);
            changed(event.entry.key, event.entry);
          }
        }
        settled();
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Compacted) continue;
      await delay(250, undefined, { signal }).catch(() => {});
    }
  }
}
