import { expect, test } from 'vitest';
import { formatRuleset, Transaction } from '../../src/nftables/index.ts';
import { MemoryKernel } from '../../src/testing/memory-kernel.ts';

test('a kernel in memory takes a ruleset and gives it back', async () => {
  const web = MemoryKernel.create({ release: '6.18' }).container('web');
  await web.nftables.apply(`table inet t {
  set s { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 }; }
  chain d { limit rate 5/second log prefix "x" group 3; }
  chain c { type filter hook input priority 0; policy drop; ip saddr @s tcp dport { 80, 443 } counter accept; jump d; }
}`);
  expect(formatRuleset(await web.nftables.ruleset())).toMatchInlineSnapshot(`
    "table inet t {
    	set s {
    		type ipv4_addr
    	}

    	chain d {
    		limit rate 5/second burst 5 packets log prefix "x" group 3
    	}

    	chain c {
    		type filter hook input priority filter; policy drop;
    		ip saddr @s tcp dport { 80, 443 } counter packets 0 bytes 0 accept
    		jump d
    	}
    }
    "
  `);
  const tx = new Transaction();
  tx.add({ chain: { family: 'ip', table: 'nope', name: 'x' } });
  await expect(web.nftables.commit(tx)).rejects.toThrow('ENOENT');
});
