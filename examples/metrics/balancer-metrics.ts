/*
 * Prometheus reads the metrics of a load balancer and those of the program itself, kept by prom-client, from one address.
 */
import { createServer, type Server } from 'node:http';
import { type LoadBalancer, OPEN_METRICS_TYPE } from 'netsteer/balancer';
import { type OpenMetricsContentType, Registry } from 'prom-client';

/** For the program's own metrics. It speaks OpenMetrics, so that both texts have one format. */
export function registry(): Registry<OpenMetricsContentType> {
  const own = new Registry<OpenMetricsContentType>();
  own.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  return own;
}

/** Serves both as one text. Close the server when you are done. */
export function serveMetrics(lb: LoadBalancer, own: Registry<OpenMetricsContentType>): Server {
  return createServer(async (_, reply) => {
    try {
      const [mine, balanced] = await Promise.all([own.metrics(), lb.metrics()]);
      // Each text ends with a mark. Only the last one is to stay.
      reply.setHeader('content-type', OPEN_METRICS_TYPE).end(mine.replace(/# EOF\n$/, '') + balanced);
    } catch (error) {
      reply.writeHead(500).end(String(error));
    }
  });
}
