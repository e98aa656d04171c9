import { BatchError } from 'netsteer';
import {
  accept,
  compileRule,
  decompileRule,
  formatRule,
  masquerade,
  type Statement,
  Transaction,
  tcp,
} from 'netsteer/nftables';
import { expect, it } from 'vitest';
import { debian, freshNamespaces, nft } from '../support/fresh-namespace.ts';
import { kernelSuite } from '../support/where.ts';

/* Rules that nft 1.0.6 writes otherwise than newer ones, or that were once read or written otherwise than by nft: by family. */
const RULES: Readonly<Record<string, readonly string[]>> = {
  inet: [
    'fib saddr . iif oif missing drop',
    'fib saddr . iif oif exists',
    'fib daddr . iif type { local, broadcast, multicast } accept',
    'meta nfproto ipv4 ct original ip saddr 1.2.3.4',
    'ct original ip saddr 10.0.0.0/8 ct original protocol tcp',
    'vlan id 1 vlan pcp set 3',
    'ip dscp . ip saddr { ef . 1.2.3.4 }',
    'tcp flags & (fin | syn | rst | ack) == syn',
    'tcp flags ! fin,rst ct state new',
    'sctp chunk init num-outbound-streams 3',
    'ct mark set ct mark & 0xffffff00 | 0x10',
    'meta hour "23:00"-"01:00"',
    'tcp dport vmap { 22 : accept, 24-30 : drop, 99 : return }',
    'dnat ip to numgen inc mod 2 map { 0 : 1.2.3.4, 1 : 1.2.3.5 }',
    'tcp dport 80 redirect to :numgen inc mod 3 offset 8080',
    'udp sport set symhash mod 4 offset 1000',
    'meta priority set numgen inc mod 3',
    'ether type 8021q @ll,112,16 & 42 != 0',
  ],
  ip: [
    'ct original saddr 1.2.3.4',
    'ip frag-off & 0x1fff != 0',
    'tcp sport 80 snat to 1.2.3.4-1.2.3.9:1000-2000 persistent',
  ],
  ip6: ['rt nexthop fd00::1', 'exthdr frag exists', 'ip6 dscp set af42', 'icmpv6 type echo-request icmpv6 id 5'],
  bridge: ['ether type 8021ad vlan id 10 vlan type 8021q vlan id 100', 'vlan id { 1, 4-100 } vlan pcp 3'],
  netdev: ['meta protocol ip udp dport 67', 'fwd ip to 192.168.2.200 device "lo"'],
  arp: ['arp saddr ip . arp daddr ip { 1.2.3.4 . 5.6.7.8 }', 'arp operation request arp daddr ether 00:11:22:33:44:55'],
};

freshNamespaces();

const version = '1.0.6';

kernelSuite('rules in the language of nft', () => {
  it.each(Object.entries(RULES))('are listed by nft as it would write them: %s', async (family, rules) => {
    const chains = rules.map((rule, i) => `add chain ${family} t c${i}\nadd rule ${family} t c${i} ${rule}\n`);
    debian(`add table ${family} t\n${chains.join('')}`, '-f', '-');
    const found = await nft.ruleset({ elements: true });
    expect(found.rules).toHaveLength(rules.length);
    for (const rule of found.rules) {
      const listing = ['list', 'chain', family, 't', rule.chain] as const;
      const context = { version, sets: found.sets } as const;
      const statements = decompileRule(rule, context);
      const document = JSON.parse(debian('', '-j', ...listing)) as { nftables: { rule?: { expr: Statement[] } }[] };
      const { expr } = document.nftables.find(each => each.rule !== undefined)!.rule!;
      expect(statements).toEqual(expr);
      expect(debian('', ...listing).split('\n')).toContain(`\t\t${formatRule(rule, context)}`);
      const { expressions, sets = [] } = compileRule({ family: rule.family, statements: expr }, { version });
      const again = decompileRule({ family: rule.family, expressions }, { version, sets });
      expect(again).toEqual(statements);
      expect(expressions.map(each => Object.keys(each)[0])).toEqual(rule.expressions.map(each => Object.keys(each)[0]));
    }
  });
});

kernelSuite('a rule of builders that only the kernel refuses', () => {
  it('is named by its statement', async () => {
    const at = { family: 'ip', table: 't', chain: 'c' } as const;
    const transaction = new Transaction()
      .add({ table: { family: 'ip', name: 't' } })
      .add({ chain: { family: 'ip', table: 't', name: 'c', type: 'filter', hook: 'input', priority: 0 } })
      .add({ rule: { ...at, statements: [tcp.dport.eq(80), { counter: 'none' }, accept()] } });
    const refused: unknown = await nft.commit(transaction).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(BatchError);
    expect((refused as BatchError).failures[0]).toMatchObject({
      code: 'ENOENT',
      index: 2,
      path: ['rule', 'statements', 1],
      attribute: 'rule.statements[1]',
    });
  });

  it('is named as a whole where the kernel reports no more', async () => {
    const at = { family: 'ip', table: 't', chain: 'c' } as const;
    const transaction = new Transaction()
      .add({ table: { family: 'ip', name: 't' } })
      .add({ chain: { family: 'ip', table: 't', name: 'c', type: 'filter', hook: 'input', priority: 0 } })
      .add({ rule: { ...at, statements: [masquerade()] } });
    await expect(nft.commit(transaction)).rejects.toMatchObject({ failures: [{ index: 2, code: 'EOPNOTSUPP' }] });
  });
});
