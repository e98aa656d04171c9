import { Transaction } from 'netsteer/nftables';
import { MemoryKernel, tcp, udp } from 'netsteer/testing';
import { compare, type Program, type Result, timed, timedLoop } from './harness.ts';

const LINKS = [{ name: 'eth0', addresses: ['192.168.0.50/24'] }];
const RULES = 100;

/** The kernel in memory: what a unit test pays for it. */
export async function memory(quick: boolean): Promise<Result[]> {
  const rounds = quick ? 3 : 9;
  const measure = (name: string, operations: number, work: (index: number) => unknown) => {
    const programs: Program[] = [{ name: 'netsteer', run: () => timedLoop(operations, work) }];
    return compare(name, programs, { operations, rounds });
  };
  const results = await measure('fresh-kernel', 200, () => MemoryKernel.create().container('web', { links: LINKS }));
  const rules = () =>
    timed(() => {
      const kernel = MemoryKernel.create();
      manyRules(kernel.container('web', { links: LINKS }), 1000);
      return kernel.close();
    });
  results.push(...(await compare('rules/1000', [{ name: 'netsteer', run: rules }], { operations: 1000, rounds })));

  const kernel = MemoryKernel.create();
  const web = kernel.container('web', { links: LINKS });
  manyRules(web, RULES);
  const packet = tcp({ from: '192.168.0.1:40000', to: '192.168.0.50:8080' });
  const count = quick ? 5_000 : 20_000;
  results.push(...(await measure(`packets/${RULES}-rules`, count, () => web.receive(packet, { on: 'eth0' }))));

  const tracked = kernel.container('tracked', { links: LINKS });
  tracked.redirects.sync.set([{ protocol: 'udp', address: '192.168.0.50', port: 53, toPort: 5353 }]);
  tracked.logging.sync.set([{ group: 5, prefix: 'dns ' }]);
  let flows = 0;
  const query = () => {
    flows = (flows + 1) % 60_000;
    if (flows === 0) kernel.advance(60_000);
    return tracked.receive(udp({ from: `192.168.0.1:${flows + 1}`, to: '192.168.0.50:53' }), { on: 'eth0' });
  };
  results.push(...(await measure('packets/redirected', quick ? 2_000 : 10_000, query)));
  await kernel.close();
  return results;
}

function manyRules({ nftables }: ReturnType<MemoryKernel['container']>, count: number): void {
  const place = { family: 'ip', table: 'bench' } as const;
  const tx = new Transaction();
  tx.add({ table: { family: 'ip', name: 'bench' } });
  tx.add({ chain: { ...place, name: 'c', type: 'filter', hook: 'input', priority: 0 } });
  for (let i = 0; i < count; i++) {
    const address = (0x0a01_0000 + i).toString(16).padStart(8, '0');
    tx.add({
      rule: {
        ...place,
        chain: 'c',
        expressions: [
          { payload: { base: 'network', offset: 12, length: 4, register: 1 } },
          { cmp: { register: 1, op: 'eq', data: address } },
          { immediate: { register: 0, data: { verdict: 'drop' } } },
        ],
      },
    });
  }
  nftables.sync.commit(tx);
}
