import { setTimeout as delay } from 'node:timers/promises';
import { Compacted, type Etcd, type KeyValue } from './etcd.ts';

/** A key that has changed. */
export interface KeyChange {
  readonly key: string;
  /** Its entry; undefined: it is gone. */
  readonly entry: KeyValue | undefined;
  readonly revision: bigint;
  /** The key went because etcd has lost its data, not because somebody deleted it. */
  readonly isLost?: boolean;
}

const RETRY_MS = 250;
/** Names are at most 63 characters. Longer keys are somebody else's. */
const MOST_KEY_LENGTH = 512;

/**
 * Follows all keys with a prefix, over lost connections, restarts and compactions of etcd, until the signal aborts. First it tells all that there
 * are.
 * @param failed called when etcd cannot be read; it may throw, to end the following
 * @returns groups of changes; the first may be empty
 */
export async function* follow(
  etcd: Etcd,
  prefix: string,
  signal: AbortSignal,
  failed: (error: Error) => void,
): AsyncGenerator<KeyChange[]> {
  const known = new Map<string, bigint>();
  let newest = 0n;
  while (!signal.aborted) {
    try {
      const { entries: all, revision } = await etcd.range(prefix, signal);
      const entries = all.filter(({ key }) => key.length <= MOST_KEY_LENGTH);
      // A revision that is older than one that was seen: etcd was emptied, or restored from a copy.
      const isLost = revision < newest;
      if (isLost) for (const key of known.keys()) known.set(key, -1n);
      newest = revision;
      const now = new Set(entries.map(({ key }) => key));
      const changes: KeyChange[] = [];
      for (const key of known.keys()) {
        if (now.has(key)) continue;
        known.delete(key);
        changes.push({ key, entry: undefined, revision, ...(isLost && { isLost }) });
      }
      for (const entry of entries) {
        if (known.get(entry.key) === entry.modRevision) continue;
        known.set(entry.key, entry.modRevision);
        changes.push({ key: entry.key, entry, revision: entry.modRevision });
      }
      yield changes;
      for await (const { events, revision: at } of etcd.watch(prefix, revision + 1n, signal)) {
        if (at > newest) newest = at;
        const read = events.filter(
          event => (event.type === 'put' ? event.entry.key : event.key).length <= MOST_KEY_LENGTH,
        );
        if (read.length === 0) continue;
        yield read.map((event): KeyChange => {
          if (event.type === 'delete') {
            known.delete(event.key);
            return { key: event.key, entry: undefined, revision: at };
          }
          known.set(event.entry.key, event.entry.modRevision);
          return { key: event.entry.key, entry: event.entry, revision: event.entry.modRevision };
        });
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Compacted) continue;
      failed(error as Error);
      await delay(RETRY_MS, undefined, { signal }).catch(() => {});
    }
  }
}
