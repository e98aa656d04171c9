import { WAITING } from './wait.ts';
/** What the kernel makes of a caller, by subsystem. */
export interface Permitted {
  nftables: boolean;
  nflog: boolean;
  ipvsNetlink: boolean;
  ipvsSockopt: boolean;
}

const ALL: Permitted = { nftables: true, nflog: true, ipvsNetlink: true, ipvsSockopt: true };
const NONE: Permitted = { nftables: false, nflog: false, ipvsNetlink: false, ipvsSockopt: false };

/** The table of docs/permissions.md: what works from where. The guest tests measure each row. */
export const PERMISSIONS = {
  'root on the host, in a privileged container': ALL,
  'root on the host, in a container with a user namespace of its own': ALL,
  'inside a privileged container, root with CAP_NET_ADMIN': ALL,
  'inside a container with a user namespace of its own, root with CAP_NET_ADMIN': { ...ALL, ipvsNetlink: false },
  'inside either, without CAP_NET_ADMIN': NONE,
  'another user on the host with CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_SYS_PTRACE, in either': ALL,
  'root who has opened all of it and has then become another user': { ...NONE, nflog: true },
} satisfies Record<string, Permitted>;

export type Caller = keyof typeof PERMISSIONS;

const COLUMNS: Record<keyof Permitted, string> = {
  nftables: 'nf_tables',
  nflog: 'NFLOG',
  ipvsNetlink: 'IPVS by netlink',
  ipvsSockopt: 'IPVS by socket options',
};

/** As it stands in the page. */
export function permissionsTable(): string {
  const row = (cells: string[]) => `| ${cells.join(' | ')} |`;
  const names = Object.keys(COLUMNS) as (keyof Permitted)[];
  return [
    row(['from where', ...Object.values(COLUMNS)]),
    row(['---', ...names.map(() => '---')]),
    ...Object.entries(PERMISSIONS).map(([caller, permitted]) =>
      row([caller, ...names.map(name => (permitted[name] ? 'yes' : 'no'))]),
    ),
  ].join('\n');
}

/**
 * A program that tries everything in the namespaces of the processes that it is given, or in its own, and prints a line of JSON: an array of
 * what worked. With `drop` it becomes nobody between opening and trying. `netsteer` is where the built package is.
 */
export const probe = (netsteer: string, { drop = false, pids = [] as number[], stay = false } = {}): string => `
  const { execFileSync } = require('node:child_process');
  const works = attempt => attempt().then(() => true, error => {
    if (error.code === 'EPERM' || error.code === 'EACCES') return false;
    throw error;
  });
  ${WAITING}
  import(${JSON.stringify(netsteer)}).then(async ({ Container, Ipvs, Links, NetNs, Nftables, Nflog, Transaction }) => {
    const results = [];
    for (const pid of ${JSON.stringify(pids.length > 0 ? pids : [0])}) {
      const reference = pid === 0 ? { netns: NetNs.home() } : { pid };
      const container = Container.open(reference, { allowHost: pid === 0 });
      const { netns } = container;
      const table = { family: 'ip', name: 'probe' + process.pid };
      const at = { family: 'ip', table: table.name };
      const rules = new Transaction().add({ table }).add({ chain: { ...at, name: 'in', type: 'filter', hook: 'input', priority: 0 } })
        .add({ rule: { ...at, chain: 'in', expressions: [{ log: { group: 9 } }] } });
      const service = via => ({ protocol: 'tcp', address: '10.0.0.1', port: via === 'netlink' ? 80 : 81, scheduler: 'rr' });
      const open = via => Ipvs.open({ netns, via });
      const [netlink, sockopt] = [open('netlink'), open('sockopt')];
      const tool = ipvs => works(async () => {
        await ipvs.addService(service(ipvs.via));
        await ipvs.removeService(service(ipvs.via));
      });
      const nft = Nftables.open({ netns });
      let log;
      const listen = () => works(async () => {
        log ??= Nflog.open({ netns, groups: [9] });
        const batch = new Promise(resolve => log.onBatch(resolve));
        netns.run(() => execFileSync('bash', ['--norc', '-c', 'echo hello > /dev/udp/127.0.0.1/9']));
        await within(batch, 'no packet');
      });
      await works(async () => Links.open({ netns }).set('lo', { up: true }));
      if (${drop}) {
        await nft.commit(rules);
        log = Nflog.open({ netns, groups: [9] });
        await netlink.info();
        await sockopt.info();
        const sender = netns.run(() => require('node:child_process').spawn('bash', ['--norc', '-c', 'read; echo hello > /dev/udp/127.0.0.1/9'], { stdio: ['pipe', 'ignore', 'inherit'] }));
        const batch = new Promise(resolve => log.onBatch(resolve));
        process.setgid(65534);
        process.setuid(65534);
        const again = new Transaction().add({ table: { ...table, name: 'again' } });
        const nftables = await works(() => nft.commit(again));
        sender.stdin.end('go\\n');
        await within(batch, 'no packet');
        results.push({ nftables, nflog: true, ipvsNetlink: await tool(netlink), ipvsSockopt: await tool(sockopt) });
        break;
      }
      const nftables = await works(() => nft.commit(rules));
      results.push({
        nftables,
        // Without a rule of its own it would wait in vain; the kernel refuses the group itself.
        nflog: nftables ? await listen() : await works(async () => { Nflog.open({ netns, groups: [9] }).close(); }),
        ipvsNetlink: await tool(netlink),
        ipvsSockopt: await tool(sockopt),
      });
      if (nftables) await nft.commit(new Transaction().delete({ table }));
      log?.close();
    }
    console.log(JSON.stringify(results));
    ${stay ? 'setInterval(() => {}, 1 << 30);' : 'process.exit();'}
  }).catch(error => { console.error(error); process.exit(1); });`;
