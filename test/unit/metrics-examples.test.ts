import { once } from 'node:events';
import { expect, it } from 'vitest';
import { registry, serveMetrics } from '../../examples/metrics/balancer-metrics.ts';
import { exportContainer } from '../../examples/metrics/container-metrics.ts';
import { LoadBalancer, OPEN_METRICS_TYPE } from '../../src/balancer/index.ts';
import { tcp } from '../../src/testing/index.ts';
import { deployment } from '../support/balanced-deployment.ts';

it("the example for prom-client serves the load balancer's metrics and the program's own as one OpenMetrics text", async () => {
  const { lvs, webs, services } = deployment();
  await using lb = LoadBalancer.open({ balancers: [lvs] });
  await lb.apply(services);
  const own = registry();
  const [web] = webs;
  await web!.nftables.apply('table ip count { counter hits { packets 3 bytes 180; }; }');
  const log = web!.nflog({ groups: [1] });
  exportContainer('web1', web!, log, own);
  web!.receive(tcp({ from: '10.10.0.9:40000', to: '10.10.0.100:80' }), { on: 'eth0' });
  const server = serveMetrics(lb, own).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  try {
    const reply = await fetch(`http://127.0.0.1:${port}/metrics`);
    expect(reply.headers.get('content-type')).toBe(OPEN_METRICS_TYPE);
    const text = await reply.text();
    expect(text).toContain('nftables_counter_packets_total{container="web1",table="count",counter="hits"} 3\n');
    expect(text).toContain('nftables_counter_bytes_total{container="web1",table="count",counter="hits"} 180\n');
    expect(text).toContain('nflog_lost_packets_total{container="web1"} 0\n');
    expect(text).toMatch(/^netsteer_server_weight\{.*server="web1"\} 1$/m);
    expect(text.match(/^# EOF$/gm)).toHaveLength(1);
    expect(text.endsWith('# EOF\n')).toBe(true);
  } finally {
    server.close();
    await log.close();
  }
});
