import { afterAll, beforeAll, expect, it } from 'vitest';
import { accept, balance, follow, SERVICE } from '../../examples/deployment/deployment.ts';
import { fetchFrom } from '../../examples/deployment/fetch.ts';
import { Lab } from '../../examples/deployment/lab.ts';
import { kernelSuite } from '../support/where.ts';

kernelSuite('the example of a deployment', () => {
  const lab = new Lab();
  const logs = [[], []] as string[][];
  const listening: Promise<void>[] = [];
  let answers: string[] = [];

  beforeAll(async () => {
    await lab.build(() => {});
    await balance(
      lab.balancer,
      lab.webs.map(web => web.address),
    );
    for (const [i, { name, container }] of lab.webs.entries()) {
      await accept(container, name, i + 1);
      listening.push(follow(container, i + 1, line => logs[i]!.push(line)));
    }
    answers = await fetchFrom(lab.client, `http://${SERVICE.address}`, 6);
  });

  afterAll(async () => {
    await lab.close();
    await Promise.all(listening);
  });

  it('spreads requests over the containers in turn', () => {
    const [first, second] = answers;
    expect(new Set([first, second])).toEqual(new Set(['HELLO,This is web1', 'HELLO,This is web2']));
    expect(answers).toEqual([first, second, first, second, first, second]);
  });

  it('logs in each container its own packets and no others', () => {
    for (const [i, lines] of logs.entries()) {
      expect(lines).toHaveLength(3);
      for (const line of lines) {
        expect(line).toMatch(
          new RegExp(
            `^web${i + 1} IN=eth0 OUT= MAC=\\S+ SRC=10\\.10\\.0\\.1 DST=10\\.10\\.0\\.100 .*PROTO=TCP SPT=\\d+ DPT=80 .*SYN`,
          ),
        );
      }
    }
  });

  it('counts each connection at the server that accepted it', async () => {
    const servers = () => lab.balancer.ipvs.destinations(SERVICE);
    // The kernel folds its counters every two seconds.
    await expect.poll(async () => (await servers()).map(({ stats }) => stats.connections)).toEqual([3n, 3n]);
  });

  it('gives each container its own ruleset', async () => {
    for (const [i, { container }] of lab.webs.entries()) {
      const { tables, rules } = await container.nftables.ruleset();
      expect(tables.map(table => table.name)).toEqual(['web']);
      expect(rules).toHaveLength(1);
      expect(rules[0]?.expressions).toContainEqual({ log: { group: i + 1, prefix: `web${i + 1} ` } });
    }
  });

  it('reports in preflight that everything works in a container', async () => {
    for (const { container } of lab.webs) expect(await container.preflight()).toMatchObject({ ok: true });
  });

  it('reports that a container has ended', async () => {
    const [web] = lab.webs;
    process.kill(web!.pid, 'SIGKILL');
    await web!.container.closed;
  });
});
