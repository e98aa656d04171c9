import { onTestFinished } from 'vitest';
import type { BalancedService } from '../../src/balancer/index.ts';
import { type MemoryContainer, MemoryKernel } from '../../src/testing/index.ts';

/** A balancer and two web containers on a kernel in memory, and the declaration of their service. */
export function deployment() {
  const kernel = MemoryKernel.create();
  onTestFinished(() => kernel.close());
  const lvs = kernel.container('lvs', {
    links: [
      { name: 'eth0', addresses: ['10.10.0.2/24'] },
      { name: 'eth1', addresses: ['192.168.0.2/24'] },
    ],
  });
  const webs = [50, 51].map(host =>
    kernel.container(`web${host}`, { links: [{ name: 'eth0', addresses: [`192.168.0.${host}/24`] }] }),
  );
  const services: BalancedService[] = [
    {
      name: 'web',
      protocol: 'tcp',
      address: '10.10.0.100',
      port: 80,
      scheduler: 'rr',
      forward: 'direct',
      device: 'eth0',
      servers: webs.map((container, i) => ({
        name: `web${i + 1}`,
        address: `192.168.0.${50 + i}`,
        container,
        toPort: 8080,
        log: { group: i + 1, prefix: `web${i + 1} ` },
      })),
    },
  ];
  return { kernel, lvs, webs, services };
}

/** The weights in the kernel, by the last part of the address. */
export const weightsOf = async (lvs: MemoryContainer) =>
  Object.fromEntries(
    (await lvs.ipvs.services({ destinations: true })).flatMap(({ destinations = [] }) =>
      destinations.map(({ address, weight }) => [address.split('.')[3]!, weight]),
    ),
  );
