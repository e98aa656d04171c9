import { spawnSync } from 'node:child_process';
import { BatchError } from 'netsteer';
import { NftSyntaxError, parseRuleset } from 'netsteer/nftables';
import { expect, it } from 'vitest';
import { debian, freshNamespaces, netns, nft, other, otherNamespaces, there } from '../support/fresh-namespace.ts';
import { PATIENCE_MILLISECONDS } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

/* Texts of nft's language, applied without nft. */

freshNamespaces();
otherNamespaces();

const refusal = async (text: string): Promise<Error> =>
  nft.apply(text).then(
    () => expect.unreachable(),
    error => error,
  );

const CONFIGURATION = `#!/usr/sbin/nft -f

flush ruleset

define lan = { 10.0.0.0/8, 192.168.0.0/16 }
define web = { http, https }

table inet filter {
	set blocked {
		type ipv4_addr
		flags interval, timeout
		auto-merge
		elements = { 203.0.113.0/24 timeout 1d, 198.51.100.7 }
	}

	set seen {
		type ipv4_addr
		size 1000
		flags dynamic, timeout
		timeout 1h30m
	}

	map services {
		type inet_service : verdict
		elements = { 22 : jump ssh, 25 : drop }
	}

	counter refused {
		comment "what nobody asked for"
	}

	limit few { rate 5/minute burst 10 packets; }

	chain input {
		type filter hook input priority filter; policy drop;
		comment "everything that comes here"
		ct state established,related accept
		ct state invalid drop
		iif lo accept
		ip saddr @blocked drop
		tcp dport vmap @services
		ip saddr $lan tcp dport $web ct state new counter accept
		ip protocol icmp icmp type echo-request limit name "few" accept
		meta l4proto { tcp, udp } th dport 53 jump {
			ip saddr $lan accept
			counter drop
		}
		log prefix "refused: " group 5 counter name refused reject with icmpx admin-prohibited
	}

	chain ssh {
		ip saddr . tcp dport { 10.0.0.1 . 22, 10.0.0.2-10.0.0.9 . 22 } accept comment "admins"
		add @seen { ip saddr timeout 1h limit rate 5/second } drop
	}
}

table ip nat {
	chain prerouting {
		type nat hook prerouting priority dstnat - 5;
		tcp dport 80 redirect to :8080
		ip daddr 10.10.0.100 tcp dport { 443, 8443 } dnat to 192.168.0.50:443
	}
}

add rule ip nat prerouting meta mark set ct mark
insert rule inet filter ssh counter
`;

/** What both namespaces are listed as. */
function listings(): [string, string] {
  const [ours, theirs] = [netns, other].map(namespace =>
    namespace.run(() => spawnSync('nft', ['-s', 'list', 'ruleset'], { encoding: 'utf8' }).stdout),
  );
  return [ours!, theirs!].map(text => text.replace(/ expires \w+/g, '')) as [string, string];
}

kernelSuite('texts of nft', () => {
  it('make of a configuration what nft makes of it', async () => {
    await nft.apply(CONFIGURATION, { version: '1.0.6' });
    other.run(() => expect(spawnSync('nft', ['-f', '-'], { encoding: 'utf8', input: CONFIGURATION }).stderr).toBe(''));
    const [ours, theirs] = listings();
    expect(ours).toContain('comment "admins"');
    expect(ours).toBe(theirs);
  });

  it('are read as the JSON that nft has for them', () => {
    const echo = debian('', '-j', '-e', CONFIGURATION);
    const rulesOf = (nftables: readonly object[]) =>
      nftables.flatMap(command => {
        const [[verb, { rule }] = ['', {}]] = Object.entries(command) as [
          string,
          { rule?: { handle?: number; expr: object[] } },
        ][];
        const { handle: _, ...content } = rule ?? { expr: [] };
        // nft's JSON has no words for chains without a name.
        return rule === undefined || JSON.stringify(rule).includes('__chain') ? [] : [{ [verb]: content }];
      });
    const expected = rulesOf((JSON.parse(echo) as { nftables: object[] }).nftables);
    const { nftables } = parseRuleset(CONFIGURATION, { version: '1.0.6' });
    expect(expected.length).toBeGreaterThan(8);
    expect(rulesOf(nftables)).toEqual(expect.arrayContaining(expected));
  });

  it('of the listing of a configuration make the same again, synchronously too', async () => {
    await nft.apply(CONFIGURATION);
    there.sync.apply(await nft.ruleset({ elements: true, as: 'text' }));
    const [ours, theirs] = listings();
    expect(theirs).toBe(ours);
  });

  it('change what is there: elements, rules by handle, chains, one after the other in one transaction', async () => {
    await nft.apply('table t { set s { type mark; }; chain c { meta mark @s accept; }; chain d { drop; }; }');
    const [rule] = await nft.rules({ family: 'ip', table: 't', chain: 'c' });
    await nft.apply(`add element t s { 1, 2 }
      replace rule t c handle ${rule!.handle} meta mark != @s counter
      add rule t c handle ${rule!.handle} drop
      delete element t s { 1 }
      insert rule t c jump d
      rename chain t d e`);
    expect(debian('', '-s', 'list', 'ruleset')).toBe(`table ip t {
	set s {
		type mark
		elements = { 0x00000002 }
	}

	chain c {
		jump e
		meta mark != @s counter
		drop
	}

	chain e {
		drop
	}
}
`);
  });

  it('ask: list is answered in JSON, with what there was before the text changed it; other questions are refused with ERR_NFT_SYNTAX', async () => {
    await nft.apply('add table t; add counter t k { packets 3 bytes 4; }');
    const reply = await nft.apply('list counters table ip t; add table u');
    expect(reply).toMatchObject({ nftables: [{}, { counter: { name: 'k', packets: 3, bytes: 4 } }] });
    expect(await nft.tables()).toHaveLength(2);
    await expect(nft.apply('list ruleset; describe ip saddr')).rejects.toThrow('apply does not answer describe');
    for (const question of ['list meters', 'list hooks'])
      await expect(nft.apply(question)).rejects.toMatchObject({
        code: 'ERR_NFT_SYNTAX',
        errors: [{ line: 1, column: 1, message: `apply does not answer ${question}` }],
      });
  });

  it('get elements, or the ranges that they lie in, and reject with ERR_NFT_SYNTAX where they are not', async () => {
    await nft.apply(`table t {
      set s { type mark; flags interval; elements = { 0x23-0x42, 0x1337 }; }
      map m { type ipv4_addr : mark; elements = { 1.1.1.1 : 5, 2.2.2.2 : 6 }; }
    }
`);
    expect(await nft.apply('get element t s { 0x26-0x28 }; get element t m { 1.1.1.1 }')).toMatchObject({
      nftables: [
        { metainfo: {} },
        { set: { name: 's', elem: [{ range: [0x23, 0x42] }] } },
        { map: { name: 'm', elem: [['1.1.1.1', 5]] } },
      ],
    });
    const wrong = {
      'get element t s { 0x55 }': [1, 1, 24, 'Could not process rule: No such file or directory'],
      'get element t s { foo }': [1, 19, 21, 'Could not parse packet mark'],
      'get element t nosuch { 1 }': [1, 15, 20, 'No such file or directory'],
    };
    for (const [text, [line, column, endColumn, message]] of Object.entries(wrong))
      await expect(nft.apply(text)).rejects.toMatchObject({
        code: 'ERR_NFT_SYNTAX',
        errors: [{ line, column, endColumn, message }],
      });
  });

  it('show what a statement or an element names where the kernel refuses it, and suggest a chain, with ERR_NFT_SYNTAX', async () => {
    await nft.apply(
      'table t { chain base { type filter hook input priority 0; }; chain c { }; map m { type ipv4_addr : verdict; }; }',
    );
    const refused = {
      'add rule t c jump base': ['EOPNOTSUPP', 19, 22],
      'add element t m { 1.1.1.1 : jump nosuch }': ['ENOENT', 19, 25],
    };
    for (const [text, [code, column, endColumn]] of Object.entries(refused))
      await expect(nft.apply(text)).rejects.toMatchObject({ failures: [{ code, line: 1, column, endColumn }] });
    await expect(nft.apply('add rule t c counter name nosuch')).rejects.toMatchObject({
      code: 'ERR_NFT_SYNTAX',
      errors: [
        { column: 27, endColumn: 32, message: 'No such file or directory; did you mean chain ‘base’ in table ip ‘t’?' },
      ],
    });
  });

  it('reset the objects that they name, and no others', async () => {
    await nft.apply('table t { counter k { packets 3 bytes 4; }; quota q { 1 mbytes used 5 bytes; }; }');
    await nft.apply('reset quotas');
    expect(await nft.objects()).toMatchObject([
      { name: 'k', data: { packets: 3n, bytes: 4n } },
      { name: 'q', data: { consumed: 0n } },
    ]);
  });

  it('give an object what nft gives it: a counter its zeros, a policy of timeouts the defaults that it does not name', async () => {
    await nft.apply(`table t {
      counter k { comment "new"; }
      ct timeout x { protocol udp; policy = { replied : 7 }; }
    }`);
    expect(await nft.ctTimeout({ family: 'ip', table: 't', name: 'x' })).toMatchObject({
      stateSeconds: { unreplied: 30, replied: 7 },
    });
    expect(await nft.counter({ family: 'ip', table: 't', name: 'k' })).toMatchObject({ packets: 0n, bytes: 0n });
  });

  it('map to a range that is one address, and remove an element of a map by its key', async () => {
    const map = { family: 'ip', table: 't', name: 'm' } as const;
    await nft.apply(`table t {
      map m { typeof ip saddr : interval ip daddr; flags interval; elements = { 10.0.0.1 : 10.0.0.2/32, 10.0.0.3 : 10.0.0.4/31 }; }
      map v { type ipv4_addr : verdict; elements = { 10.0.0.1 : accept }; }
    }`);
    expect(await nft.elements(map, { as: 'values' })).toHaveLength(2);
    await nft.apply('delete element t v { 10.0.0.1 : goto nowhere }');
    expect(await nft.elements({ ...map, name: 'v' })).toEqual([]);
  });

  it('commit under the options of commit: nothing in a dry run, handles with echo', async () => {
    await nft.apply('add table t', { dryRun: true });
    expect(await nft.tables()).toEqual([]);
    expect(await nft.apply('add table t; add chain t c', { echo: true })).toMatchObject({
      handles: [expect.any(BigInt), 1n],
    });
    await expect(nft.apply('add table u', { generation: 1 })).rejects.toMatchObject({ code: 'ERESTART' });
  });
});

kernelSuite('texts of nft that are wrong', () => {
  it('change nothing, and reject with ERR_NFT_SYNTAX: all errors with their places', async () => {
    const text = 'add table table1\nadd table\nadd rule table1 c tcp dport nonsense\nadd set tabel s { type mark; }\n';
    const error = await refusal(text);
    expect(error).toBeInstanceOf(NftSyntaxError);
    expect(error).toMatchObject({ code: 'ERR_NFT_SYNTAX' });
    expect((error as NftSyntaxError).errors).toMatchObject([
      { line: 2, column: 10, message: 'syntax error, unexpected newline, expecting string' },
      { line: 3, column: 29, endColumn: 36 },
      { line: 4, column: 9, message: 'No such file or directory; did you mean table ‘table1’ in family ip?' },
    ]);
    expect(await nft.tables()).toEqual([]);
  });

  it('suggest others for sets, chains and tables that are not there', async () => {
    await nft.apply('table t { set known { type ipv4_addr; }; chain input { }; }');
    const messages = async (text: string) =>
      ((await refusal(text)) as NftSyntaxError).errors.map(({ message }) => message);
    const missing = 'No such file or directory; did you mean';
    expect(await messages('add rule t input ip saddr @knwon drop')).toEqual([
      `${missing} set ‘known’ in table ip ‘t’?`,
    ]);
    expect(await messages('add element t knwn { 1.1.1.1 }')).toEqual([`${missing} set ‘known’ in table ip ‘t’?`]);
    expect(await messages('add rule t inptu drop')).toEqual([`${missing} chain ‘input’ in table ip ‘t’?`]);
    // The chain is there, the object is not.
    const error = await refusal('add table inet t; add chain inet t input; add rule t input counter name "k"');
    expect(error).toMatchObject({ code: 'ENOENT' });
    expect(await messages('add chain tt c')).toEqual([`${missing} table ‘t’ in family ip?`]);
  });

  it('name the line that the kernel has refused with EEXIST or EOPNOTSUPP', async () => {
    await nft.apply('add table t; add chain t c');
    const error = await refusal('add table t\ncreate chain t c\ntable t {\n\tchain n { policy drop; }\n}\n');
    expect(error).toBeInstanceOf(BatchError);
    const { failures } = error as BatchError;
    expect(failures).toMatchObject([
      {
        code: 'EEXIST',
        index: 1,
        attribute: 'nftables[1].create.chain.name',
        source: '/dev/stdin',
        line: 2,
        column: 16,
      },
      { code: 'EOPNOTSUPP', line: 4, column: 12, endColumn: 22 },
    ]);
    expect(failures[0]!.message).toMatch(
      /\n\/dev\/stdin:2:16-16: Error: Could not process rule: File exists\ncreate chain t c\n {15}\^$/,
    );
  });
});

kernelSuite('large texts', () => {
  it('name the lines that the kernel has refused with ENOENT, although all but the first were not parsed', async () => {
    const lines = Array.from({ length: 20 }, (_, i) => `tcp dport ${i + 10} jump nowhere\n`);
    const error = await refusal(`table ip t {\nchain c {\n${lines.join('')}}\n}\n`);
    expect(error).toBeInstanceOf(BatchError);
    expect((error as BatchError).failures).toMatchObject(
      lines.map((_, i) => ({
        code: 'ENOENT',
        attribute: `nftables[${2 + i}].add.rule.expr[1]`,
        line: 3 + i,
        column: 19,
        endColumn: 25,
      })),
    );
  });

  it('give each rule its handle where the line was not parsed', async () => {
    const lines = Array.from({ length: 20 }, (_, i) => `tcp dport ${i + 1} accept\n`);
    const result = await nft.apply(`table ip t {\nchain c {\n${lines.join('')}}\n}\n`, { echo: true });
    const rules = await nft.rules({ family: 'ip', table: 't' });
    expect((result as { handles: bigint[] }).handles.slice(2)).toEqual(rules.map(rule => rule.handle));
    expect(rules.map(rule => rule.expressions[3])).toEqual(
      lines.map((_, i) => ({ cmp: { register: 1, op: 'eq', data: (i + 1).toString(16).padStart(4, '0') } })),
    );
  });

  it('load ten thousand rules and a hundred thousand elements', { timeout: PATIENCE_MILLISECONDS }, async () => {
    const rules = Array.from(
      { length: 10_000 },
      (_, i) => `\t\tip saddr 10.0.${i >> 8}.${i & 255} tcp dport ${i + 1} counter accept\n`,
    );
    const elements = Array.from(
      { length: 100_000 },
      (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255} . ${(i & 0xfff) + 1}`,
    );
    const set = `\tset s {\n\t\ttype ipv4_addr . inet_service\n\t\telements = { ${elements.join(',\n')} }\n\t}\n`;
    await nft.apply(`table ip t {\n${set}\tchain c {\n${rules.join('')}\t}\n}\n`);
    expect(await nft.rules({ family: 'ip', table: 't' })).toHaveLength(rules.length);
    expect(await nft.elements({ family: 'ip', table: 't', name: 's' })).toHaveLength(elements.length);
  });
});
