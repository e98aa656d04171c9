import { expect, test } from 'vitest';
import { evaluate } from '../support/compiled.ts';
import { kernelSuite } from '../support/where.ts';

/** Loops that never let the event loop run, in a process that may have `limit` descriptors. */
function loops(limit: number, iterations: number, kinds: readonly string[]): unknown {
  const body = `
    import fs from 'node:fs';
    import { setImmediate as turn } from 'node:timers/promises';
    import { execFileSync, spawn } from 'node:child_process';
    import { Container } from './container/index.js';
    import { Ipvs } from './ipvs/index.js';
    import { NetNs } from './netns/index.js';
    import { NetlinkSocket, OptionSocket } from './netlink/index.js';
    import { Nflog } from './nflog/index.js';
    import { Nftables, Transaction } from './nftables/index.js';
    import { Links } from './rtnetlink/index.js';
    const netns = NetNs.create();
    const sleeper = netns.run(() => spawn('sleep', ['infinity'], { stdio: 'ignore' }));
    const table = { table: { family: 'ip', name: 't' } };
    const attempt = call => { try { call(); } catch (error) { if (error.code === 'EMFILE') throw error; } };
    const kinds = {
      commits: () => { const nft = Nftables.open({ netns }); nft.sync.commit(new Transaction().add(table)); nft.close(); },
      disposals: () => { const nft = Nftables.open({ netns }); nft.sync.generation(); nft[Symbol.dispose](); },
      promises: () => { const nft = Nftables.open({ netns }); nft.generation().catch(() => {}); nft.close(); },
      watchers: () => { const nft = Nftables.open({ netns }); nft.monitor(); nft.trace(); nft.close(); },
      links: () => { const links = Links.open({ netns }); links.sync.list(); links.close(); },
      ipvs: () => { const ipvs = Ipvs.open({ netns }); attempt(() => ipvs.sync.info()); ipvs.close(); },
      options: () => { const ipvs = Ipvs.open({ netns, via: 'sockopt' }); attempt(() => ipvs.sync.info()); ipvs.close(); },
      logs: () => { const log = Nflog.open({ netns, groups: [5] }); log.close(); },
      batches: () => { const log = Nflog.open({ netns, groups: [5] }); log.onBatch(() => {}); log.close(); },
      containers: () => { const one = Container.open({ netns }); one.redirects.sync.list(); attempt(() => one.ipvs.sync.info()); one.nflog({ groups: [5] }); one.close(); },
      processes: () => { const one = Container.open({ pid: sleeper.pid }); one.logging.sync.list(); one.close(); },
      namespaces: () => { const own = NetNs.open({ fd: netns.descriptor }); own.run(() => {}); own.close(); },
      sockets: () => { const socket = new NetlinkSocket({ netns, protocol: 12 }); void socket.port; void socket.close(); },
      optionSockets: () => { const socket = new OptionSocket(netns); socket.get(1, 3, new Uint8Array(4)); void socket.close(); },
    };
    const open = () => fs.readdirSync('/proc/self/fd').length;
    for (const kind of Object.keys(kinds)) attempt(kinds[kind]);
    /* The first child that is waited for leaves Node with a descriptor of /dev/null, for good. */
    execFileSync('true');
    await turn(); await turn(); await turn();
    const before = open();
    /* Not earlier: Node opens hundreds of modules at once. */
    execFileSync('prlimit', ['--nofile=${limit}', '--pid', String(process.pid)]);
    const failed = {};
    for (const kind of ${kinds.length > 0 ? JSON.stringify(kinds) : 'Object.keys(kinds)'}) {
      try { for (let i = 0; i < ${iterations}; i++) kinds[kind](); }
      catch (error) { failed[kind] = error.message; }
    }
    /* What was on its way when the loops ended is closed now. */
    while (open() > before) await turn();
    sleeper.kill('SIGKILL');
    console.log(JSON.stringify({ failed }));`;
  return evaluate(body);
}

kernelSuite('a loop that opens, uses and closes handles and never lets the event loop run', () => {
  test('completes 5,000 rounds of nf_tables with 1,024 descriptors', () => {
    expect(loops(1024, 5000, ['disposals'])).toEqual({ failed: {} });
  });

  test('completes 400 rounds with handles of every kind and 100 descriptors', () => {
    expect(loops(100, 400, [])).toEqual({ failed: {} });
  });
});
