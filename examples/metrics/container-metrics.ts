/*
 * The named counters of a container's ruleset, and what its packet log has lost, as metrics of prom-client.
 */
import type { Container, Nflog } from 'netsteer';
import { Counter, type OpenMetricsContentType, type Registry } from 'prom-client';

/** Registers the metrics. The kernel is asked when Prometheus asks. */
export function exportContainer(
  name: string,
  container: Container,
  log: Nflog,
  register: Registry<OpenMetricsContentType>,
): void {
  for (const unit of ['packets', 'bytes'] as const)
    new Counter({
      name: `nftables_counter_${unit}`,
      help: `The ${unit} of a named counter.`,
      labelNames: ['container', 'table', 'counter'],
      registers: [register],
      async collect() {
        this.reset();
        for (const { type, table, name: counter, data } of await container.nftables.objects())
          if (type === 'counter') this.inc({ container: name, table, counter }, Number(data?.[unit] ?? 0));
      },
    });
  for (const [field, help] of [
    ['received', 'Packets of the log.'],
    ['lostPackets', 'Packets that the kernel could not deliver.'],
  ] as const)
    new Counter({
      name: field === 'received' ? 'nflog_received_packets' : 'nflog_lost_packets',
      help,
      labelNames: ['container'],
      registers: [register],
      collect() {
        this.reset();
        this.inc({ container: name }, log.stats[field]);
      },
    });
}
