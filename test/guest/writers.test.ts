import { setImmediate as turn } from 'node:timers/promises';
import type { VirtualServer } from 'netsteer/ipvs';
import { expect, test } from 'vitest';
import { freshIpvsNamespaces, ipvs, netns, savedByIpvsadm } from '../support/ipvs-namespace.ts';
import { OtherProcess } from '../support/other-process.ts';
import { kernelSuite } from '../support/where.ts';

const ROUNDS = 20;

kernelSuite('a reconciliation of IPVS', () => {
  freshIpvsNamespaces();

  test('reaches the desired state beside an ipvsadm that never stops, and keeps what ipvsadm made', async () => {
    const script = `
      i=1
      trap 'echo "added $((i-1))"; exit 0' TERM
      ipvsadm -A -t 10.9.0.1:80 -s rr || exit 3
      while :; do
        ipvsadm -a -t 10.9.0.1:80 -r "10.8.$((i/256)).$((i%256))" -g || exit 4
        ipvsadm -A -u 10.9.0.2:53 -s rr || exit 5
        ipvsadm -D -u 10.9.0.2:53 || exit 6
        [ $i = 1 ] && echo begun
        i=$((i+1))
      done`;
    const other = netns.run(() => new OtherProcess('bash', ['-c', script]));
    await other.says('begun');
    const desired = (round: number): VirtualServer[] => [
      {
        protocol: 'tcp',
        address: '10.0.0.1',
        port: 80,
        scheduler: 'wlc',
        destinations: [1, 2, 3 + round].map(last => ({
          address: `10.1.0.${last}`,
          port: 80,
          forward: 'direct',
          weight: round + 1,
        })),
      },
    ];
    for (let round = 0; round < ROUNDS; round++) {
      await ipvs.reconcile(desired(round));
      expect(await ipvs.plan(desired(round))).toEqual([]);
      await turn();
      expect(other.running, other.said).toBe(true);
    }
    const added = Number(/added (\d+)/.exec(await other.end())?.[1]);
    expect(added).toBeGreaterThan(0);
    const theirs = savedByIpvsadm(netns).filter(line => line.startsWith('-a -t 10.9.0.1:80'));
    // The last one may have been interrupted before it was counted.
    expect([added, added + 1]).toContain(theirs.length);
  });
});
