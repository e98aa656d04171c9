import { execFileSync } from 'node:child_process';
import { Links, NetNs } from 'netsteer';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ContainerNetwork } from '../../examples/container-network/container-network.ts';
import { becomes } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

const CONNECT = `require('net').connect(9, process.argv[1]).on('error', error => process.stdout.write(error.code))`;

/** ECONNREFUSED has come all the way from the other end, where nobody listens. */
function answer(from: NetNs, to: string): string {
  try {
    return from.run(() => execFileSync(process.execPath, ['-e', CONNECT, to], { encoding: 'utf8', timeout: 2000 }));
  } catch {
    return 'nothing';
  }
}

kernelSuite('the example container-network', () => {
  let host: NetNs;
  let containers: NetNs[];
  let links: Links;
  let network: ContainerNetwork;
  beforeEach(async () => {
    host = NetNs.create();
    containers = [NetNs.create(), NetNs.create()];
    links = Links.open({ netns: host });
    network = new ContainerNetwork(links, { bridge: 'br0', address: '10.7.0.1/24', table: 100 });
    await network.make();
  });
  afterEach(() => {
    links.close();
    for (const netns of [host, ...containers]) netns.close();
  });

  const join = (isolated: boolean) =>
    Promise.all(
      containers.map((netns, i) => network.join({ name: `web${i}`, netns, address: `10.7.0.${i + 2}/24`, isolated })),
    );

  test('containers reach the host and each other, and every step can be done again', async () => {
    await join(false);
    await network.make();
    await join(false);
    expect(await becomes(() => answer(containers[0]!, '10.7.0.1') === 'ECONNREFUSED')).toBe(true);
    expect(await becomes(() => answer(containers[0]!, '10.7.0.3') === 'ECONNREFUSED')).toBe(true);
    expect((await links.rules()).filter(({ table }) => table === 100)).toEqual([
      expect.objectContaining({ inDevice: 'br0', action: 'table' }),
    ]);
    expect((await links.list()).filter(({ master }) => master === 'br0')).toHaveLength(2);
  });

  test('isolated ones reach only the host', async () => {
    await join(true);
    expect(await becomes(() => answer(containers[0]!, '10.7.0.1') === 'ECONNREFUSED')).toBe(true);
    expect(answer(containers[0]!, '10.7.0.3')).not.toBe('ECONNREFUSED');
  });

  test('what it has made goes again', async () => {
    await join(false);
    await network.leave('web0');
    await network.leave('web0');
    await network.remove();
    const left = (await links.list()).map(({ name }) => name);
    expect(left).not.toContain('br0');
    expect(left).not.toContain('web0');
    expect(left).toContain('web1');
    expect((await links.rules()).filter(({ table }) => table === 100)).toEqual([]);
  });
});
