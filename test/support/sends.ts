import diagnostics from 'node:diagnostics_channel';

/** How many datagrams this process sends while `work` runs. */
export async function sends(work: () => unknown): Promise<number> {
  let count = 0;
  const channel = diagnostics.tracingChannel('netsteer:request');
  const handlers = { start: () => void count++ };
  channel.subscribe(handlers as never);
  try {
    await work();
  } finally {
    channel.unsubscribe(handlers as never);
  }
  return count;
}
