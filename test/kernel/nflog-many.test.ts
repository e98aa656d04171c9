import { expect, it } from 'vitest';
import { evaluate, runScript } from '../support/compiled.ts';
import { nativeProgram } from '../support/native.ts';
import { WAITING } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

const NAMESPACES = 200;
const GROUPS_EACH = 5;
const PACKETS_EACH = 100;

/*
 * Namespace i logs port 9000 + k to group i * 5 + k with the prefix 'i.k', and drops what comes back. The process has one log for each, and ends
 * by itself at the end of `body`: that is part of the test.
 */
const prelude = `
  import { spawn, spawnSync } from 'node:child_process';
  import { NetNs } from './netns/index.js';
  import { Nflog } from './nflog/index.js';
  import { Nftables, Transaction } from './nftables/index.js';
  import { Links } from './rtnetlink/index.js';

  const range = count => Array.from({ length: count }, (_, i) => i);
  const groupsOf = i => range(${GROUPS_EACH}).map(k => i * ${GROUPS_EACH} + k);

  function namespace(i) {
    const netns = NetNs.create();
    const links = Links.open({ netns });
    links.sync.set('lo', { up: true });
    links.close();
    const table = { family: 'ip', name: 'test' };
    const chain = { family: 'ip', table: 'test', type: 'filter' };
    const transaction = new Transaction()
      .add({ table })
      .add({ chain: { ...chain, name: 'sent', hook: 'output', priority: 0 } })
      .add({ chain: { ...chain, name: 'returned', hook: 'prerouting', priority: -300, policy: 'drop' } });
    for (const [k, group] of groupsOf(i).entries()) {
      const match = { left: { payload: { protocol: 'udp', field: 'dport' } }, op: '==', right: 9000 + k };
      const statements = [{ match }, { log: { group, prefix: i + '.' + k } }];
      transaction.add({ rule: { family: 'ip', table: 'test', chain: 'sent', statements } });
    }
    const nft = Nftables.open({ netns });
    nft.sync.commit(transaction);
    nft.close();
    return netns;
  }

  async function flood(netns, count) {
    const parameters = ['-p', '${GROUPS_EACH}', '127.0.0.1', '9000', String(count)];
    const child = netns.run(() => spawn(process.env.FLOOD, parameters, { stdio: ['ignore', 'ignore', 'inherit'] }));
    const code = await new Promise(resolve => child.on('close', resolve));
    if (code !== 0) throw new Error('the flood ended with ' + code);
  }

  ${WAITING}

  const spaces = range(${NAMESPACES}).map(namespace);
  const open = i => Nflog.open({ netns: spaces[i], groups: groupsOf(i), copy: { bytes: 64 }, receiveBufferBytes: 262144 });
`;

kernelSuite('many logs', () => {
  const env = () => ({ FLOOD: nativeProgram('flood') });

  it('read 1,000 groups in 200 namespaces while groups come and go, and end', () => {
    const script = `${prelude}
      const logs = spaces.map((_, i) => open(i));
      const seen = new Map();
      let strangers = 0;
      for (const [i, log] of logs.entries()) {
        log.onBatch(packets => {
          for (const packet of packets) {
            const k = packet.group - i * ${GROUPS_EACH};
            if (packet.prefix !== i + '.' + k) strangers++;
            // The group that is let go of in between counts anew.
            seen.set(packet.group, (seen.get(packet.group) ?? 0) + 1);
          }
        });
      }
      let changes = 0;
      let done = false;
      const changing = (async () => {
        for (let i = 0; !done || changes < 2 * logs.length; i = (i + 1) % logs.length) {
          // One that nothing is logged to, and is in nobody's way.
          await logs[i].addGroup(60_000 + i);
          await logs[i].removeGroup(60_000 + i);
          changes += 2;
          if (changes % 100 === 0) await new Promise(setImmediate);
        }
      })();
      for (let i = 0; i < spaces.length; i += 8)
        await Promise.all(spaces.slice(i, i + 8).map(netns => flood(netns, ${PACKETS_EACH})));
      const total = ${NAMESPACES * PACKETS_EACH};
      const received = () => logs.reduce((sum, log) => sum + log.stats.received, 0);
      await until(() => received() >= total, received);
      done = true;
      await changing;
      const lost = logs.reduce((sum, log) => sum + log.stats.lostPackets + log.stats.lostDatagrams, 0);
      // Half of the groups are let go of, and only the others hear of what comes now.
      for (const [i, log] of logs.entries()) for (const group of groupsOf(i)) if (group % 2 === 0) log.sync.removeGroup(group);
      for (let i = 0; i < spaces.length; i += 8)
        await Promise.all(spaces.slice(i, i + 8).map(netns => flood(netns, ${GROUPS_EACH})));
      await until(() => received() >= total + ${(NAMESPACES * GROUPS_EACH) / 2}, received);
      const bound = logs.reduce((sum, log) => sum + log.groups.length, 0);
      const counts = [...new Set(seen.values())].sort();
      console.log(JSON.stringify({ groups: seen.size, counts, received: received(), lost, strangers, changes: changes >= 400, bound }));
      for (const log of logs) log.close();
      for (const netns of spaces) netns.close();
    `;
    expect(evaluate(script, { env: env() })).toEqual({
      groups: NAMESPACES * GROUPS_EACH,
      counts: [PACKETS_EACH / GROUPS_EACH, PACKETS_EACH / GROUPS_EACH + 1],
      received: NAMESPACES * PACKETS_EACH + (NAMESPACES * GROUPS_EACH) / 2,
      lost: 0,
      strangers: 0,
      changes: true,
      bound: (NAMESPACES * GROUPS_EACH) / 2,
    });
  });

  it.each([
    ['exits while it receives from all of them', 'for (const log of logs) log.onBatch(() => {}); exit();', 7],
    ['ends when all of them are unreferenced', 'for (const log of logs) log.unref().onBatch(() => {});', 0],
    ['ends when nobody takes their packets', '', 0],
  ])('live in a process that %s', (_, body, status) => {
    const script = `${prelude}
      // What nothing refers to would be closed, with a warning, by the collector.
      const logs = (globalThis.logs = spaces.map((_, i) => open(i)));
      const some = spaces.slice(0, 8);
      const parameters = ['-p', '5', '127.0.0.1', '9000'];
      // These are there already when the process ends, and the others on their way: nobody waits for them.
      for (const netns of some) netns.run(() => spawnSync(process.env.FLOOD, [...parameters, '500'], { stdio: 'ignore' }));
      for (const netns of some) netns.run(() => spawn(process.env.FLOOD, [...parameters, '50000'], { stdio: 'ignore' })).unref();
      const exit = () => logs[0].onBatch(() => process.exit(7));
      ${body}
    `;
    const result = runScript(script, { env: env() });
    expect(result).toEqual({ status, stdout: '', stderr: '' });
  });
});
