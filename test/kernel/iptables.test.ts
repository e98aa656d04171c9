import { spawn, spawnSync } from 'node:child_process';
import { NetNs } from 'netsteer';
import { Iptables, IptablesError, type IptablesFamily } from 'netsteer/iptables';
import { accept, ct, redirect, Transaction, tcp } from 'netsteer/nftables';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { freshNamespaces, netns, nft, other, otherNamespaces, there } from '../support/fresh-namespace.ts';
import { until } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

/* Debian's iptables-nft 1.8.9 is the witness: what one writes the other reads, and the kernel has the same rules of both. */

const FAMILIES: readonly IptablesFamily[] = ['ipv4', 'ipv6'];

/** One of iptables' programs in a namespace. */
function tool(where: NetNs, family: IptablesFamily, name: string, input = '', ...parameters: string[]) {
  const program = `${family === 'ipv4' ? 'iptables' : 'ip6tables'}-nft${name}`;
  return where.run(() => spawnSync(program, parameters, { encoding: 'utf8', input }));
}

const withoutComments = (text: string): string => text.replace(/^#.*\n/gm, '');
const saved = (where: NetNs, family: IptablesFamily, ...parameters: string[]): string =>
  withoutComments(tool(where, family, '-save', '', ...parameters).stdout);

/** Addresses of each family, for texts that are for both. */
const ADDRESSES = {
  ipv4: { one: '192.0.2.7', net: '198.51.100.0/24', range: '192.0.2.1-192.0.2.9', full: '255.255.255.255' },
  ipv6: {
    one: '2001:db8::7',
    net: '2001:db8:1::/48',
    range: '2001:db8::1-2001:db8::9',
    full: 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
  },
} as const;

function textFor(family: IptablesFamily): string {
  const { one, net, range, full } = ADDRESSES[family];
  return `*mangle
:PREROUTING ACCEPT [0:0]
-A PREROUTING -s ${net} -p tcp -m tcp --dport 80:90 ! --tcp-flags SYN,FIN SYN -j MARK --set-mark 7
-A PREROUTING -m socket --transparent -j CONNMARK --restore-mark
-A PREROUTING -m rpfilter --loose --invert -j DROP
COMMIT
*filter
:INPUT DROP [7:420]
:ours - [0:0]
-A INPUT -i lo+ -j ACCEPT
-A INPUT -m state --state RELATED,ESTABLISHED -m comment --comment "what is known, and \\"more\\"" -j ACCEPT
-A INPUT -s ${one},${net} -p udp ! --sport 53 --dport 1024: -g ours
-A INPUT -p tcp -m multiport ! --dports 22,80:90 -m conntrack --ctstate NEW --ctorigdst ${net} --ctexpire 5:60 -j REJECT
-A INPUT -m iprange --src-range ${range} -m length ! --length 100: -j ours
-A INPUT -m hashlimit --hashlimit-above 90/min --hashlimit-mode srcip,dstport --hashlimit-name login -j DROP
-A INPUT -m recent --update --seconds 60 --hitcount 4 --name seen --mask ${full} --rdest
-A INPUT -m limit --limit 36/hour --limit-burst 7 -j LOG --log-prefix "no: " --log-level info
-A INPUT -m statistic --mode nth --every 3 --packet 1 -m connlimit --connlimit-upto 9 --connlimit-mask 24 -j RETURN
-A INPUT -m string --hex-string "|0d 0a|x" --algo kmp --from 20 -m time --timestart 22:00 --timestop 4:00 --monthdays 1,15
-A OUTPUT -m owner --uid-owner 0-99 -m mark ! --mark 0x10/0xff -m u32 --u32 "6&0xFF=1,6:17" -j NFLOG --nflog-group 5 --nflog-prefix out
-A ours -p sctp --dport 5000 --chunk-types any DATA:Be,INIT -m policy --dir in --pol ipsec --reqid 9
-A ours -m bpf --bytecode "1,6 0 0 65535" -m quota --quota 100000 -m cpu --cpu 1 -j DROP
COMMIT
*nat
-A PREROUTING -d ${one} -p tcp --dport 80 -j REDIRECT --to-ports 8080
-A POSTROUTING ! -o lo -p udp -j MASQUERADE --to-ports 1024-2048 --random
COMMIT
`;
}

kernelSuite('Iptables', () => {
  freshNamespaces();
  otherNamespaces();
  let ipt: Record<IptablesFamily, Iptables>;

  beforeEach(() => {
    ipt = { ipv4: Iptables.open({ netns }), ipv6: Iptables.open({ netns, family: 'ipv6' }) };
  });
  afterEach(() => {
    for (const family of FAMILIES) ipt[family].close();
  });

  it.each(FAMILIES)(
    'leaves of a text of %s the rules that iptables-nft-restore leaves, and saves them as it does',
    async family => {
      const text = textFor(family);
      const { status, stderr } = tool(other, family, '-restore', text);
      expect(stderr).toBe('');
      expect(status).toBe(0);
      await ipt[family].restore(text);
      const expressions = async (handle: typeof nft) =>
        (await handle.rules()).map(rule => [rule.table, rule.chain, rule.expressions]);
      const theirs = await expressions(there);
      expect(theirs).toHaveLength(19);
      expect(await expressions(nft)).toEqual(theirs);
      expect(await ipt[family].save()).toBe(saved(other, family));
      expect(ipt[family].sync.save({ counters: true, table: 'filter' })).toBe(
        saved(other, family, '-c', '-t', 'filter'),
      );
    },
  );

  it.each(FAMILIES)(
    'reads what iptables-nft wrote for %s, and iptables-nft what is restored from that',
    async family => {
      tool(netns, family, '-restore', textFor(family));
      const text = await ipt[family].save();
      using mine = Iptables.open({ netns: other, family });
      await mine.restore(text);
      expect(saved(other, family)).toBe(text);
      expect(tool(other, family, '', '', '-S', 'ours').stdout).toContain('-A ours -p sctp -m sctp --dport 5000');
    },
  );

  it.each([false, true])('adds to what is there, or flushes it first (flush: %s), as --noflush does', async flush => {
    const before =
      '*filter\n:INPUT DROP [0:0]\n:old - [0:0]\n-A INPUT -j old\n-A old -j ACCEPT\nCOMMIT\n*raw\n-A OUTPUT -j ACCEPT\nCOMMIT\n';
    const text =
      '*filter\n:new - [0:0]\n:old - [0:0]\n-A INPUT -p tcp -j new\nCOMMIT\n*nat\n-A OUTPUT -p tcp -j REDIRECT\nCOMMIT\n';
    // A table that is flushed has no chain to jump to before it is declared.
    for (const part of [before, text])
      tool(other, 'ipv4', '-restore', part, ...(flush || part === before ? [] : ['--noflush']));
    await ipt.ipv4.restore(before);
    await ipt.ipv4.restore(text, { flush });
    expect(await ipt.ipv4.save({ counters: true })).toBe(saved(other, 'ipv4', '-c'));
  });

  it('gives chains and rules the counters of the text only where that is asked for', async () => {
    const text = '*filter\n:INPUT DROP [10:2000]\n[3:180] -A INPUT -p tcp\n-A INPUT -c 5 6\nCOMMIT\n';
    await ipt.ipv4.restore(text);
    expect(await ipt.ipv4.save({ counters: true })).toContain('[0:0] -A INPUT -p tcp\n[5:6] -A INPUT\n');
    await ipt.ipv4.restore(text, { counters: true });
    expect(await ipt.ipv4.save({ counters: true })).toContain(':INPUT DROP [10:2000]\n');
    expect(saved(netns, 'ipv4', '-c')).toContain('[3:180] -A INPUT -p tcp\n[5:6] -A INPUT\n');
  });

  it('restores one table of a text alone, and nothing with `test`', async () => {
    const text = '*filter\n-A INPUT -j ACCEPT\nCOMMIT\n*raw\n-A OUTPUT -j ACCEPT\nCOMMIT\n';
    await ipt.ipv4.restore(text, { test: true });
    expect(await ipt.ipv4.save()).toBe('');
    await ipt.ipv4.restore(text, { table: 'raw' });
    expect(saved(netns, 'ipv4')).toBe(
      '*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j ACCEPT\nCOMMIT\n',
    );
  });

  it('changes no table if one is wrong, rejects it with ERR_IPTABLES and names the line', async () => {
    const good = '*filter\n-A INPUT -j ACCEPT\nCOMMIT\n';
    await expect(ipt.ipv4.restore(`${good}*nat\n-A PREROUTING --dport 80\nCOMMIT\n`)).rejects.toMatchObject({
      code: 'ERR_IPTABLES',
      line: 5,
      argument: '--dport',
      exitCode: 2,
    });
    // The kernel itself refuses this one: the match wants a way in.
    const refused = ipt.ipv4.restore(
      `${good}*nat\n-A OUTPUT -j ACCEPT\n-A OUTPUT -m addrtype --src-type LOCAL --limit-iface-in\nCOMMIT\n`,
    );
    await expect(refused).rejects.toBeInstanceOf(IptablesError);
    await expect(refused).rejects.toMatchObject({ exitCode: 4, line: 6, cause: { code: 'EINVAL' } });
    expect(await nft.tables()).toEqual([]);
  });

  it('tells tables that iptables cannot read, and keeps and names a match that it does not know', async () => {
    await ipt.ipv4.restore('*filter\n-A INPUT -j ACCEPT\nCOMMIT\n*nat\n-A PREROUTING -j ACCEPT\nCOMMIT\n');
    const l2tp = { match: { name: 'l2tp', revision: 0, info: '01000000000000000300010000000000' } };
    const protocol = [
      { meta: { key: 'l4proto', register: 1 } },
      { cmp: { register: 1, op: 'eq', data: '73' } },
    ] as const;
    await nft.commit(
      new Transaction()
        .add({
          rule: {
            family: 'ip',
            table: 'nat',
            chain: 'PREROUTING',
            statements: [tcp.dport.eq(80), redirect({ to: 8080 })],
          },
        })
        .add({
          rule: { family: 'ip', table: 'filter', chain: 'INPUT', expressions: [...protocol, l2tp, { counter: {} }] },
        }),
    );
    const text = await ipt.ipv4.save();
    expect(text).toContain("# Table `nat' is incompatible, use 'nft' tool.\n");
    expect(text).toContain('-A INPUT -j ACCEPT\n-A INPUT -p l2tp -m l2tp\n');
    const [, rule] = await nft.rules({ family: 'ip', table: 'filter', chain: 'INPUT' });
    expect(rule!.expressions).toContainEqual(l2tp);
  });

  it('tells a base chain that is none of iptables, and leaves the rest of its table', async () => {
    await ipt.ipv4.restore('*filter\n-A INPUT -j ACCEPT\nCOMMIT\n');
    await nft.commit(
      new Transaction()
        .add({ chain: { family: 'ip', table: 'filter', name: 'mine', type: 'filter', hook: 'input', priority: 7 } })
        .add({ rule: { family: 'ip', table: 'filter', chain: 'mine', statements: [ct.state.in('new'), accept()] } }),
    );
    const text = await ipt.ipv4.save();
    expect(text).toContain("# Table `filter' contains incompatible base-chains, use 'nft' tool to list them.\n");
    expect(withoutComments(text)).toBe(saved(netns, 'ipv4'));
  });

  it('restores from outside into the namespace of a container without privileges, where iptables -S shows it', async () => {
    const child = spawn('unshare', ['--user', '--map-root-user', '--net', 'sleep', '1000'], { stdio: 'ignore' });
    try {
      const inode = () => spawnSync('readlink', [`/proc/${child.pid}/ns/net`], { encoding: 'utf8' }).stdout;
      await until(() => inode() !== spawnSync('readlink', ['/proc/self/ns/net'], { encoding: 'utf8' }).stdout);
      await until(() => spawnSync('cat', [`/proc/${child.pid}/comm`], { encoding: 'utf8' }).stdout === 'sleep\n');
      const container = NetNs.open({ pid: child.pid! });
      using rules = Iptables.open({ netns: container });
      container.close();
      await rules.restore(
        '*nat\n-A PREROUTING -d 10.10.0.100/32 -p tcp --dport 80 -j REDIRECT --to-ports 8080\nCOMMIT\n',
      );
      const inside = [
        '-t',
        String(child.pid),
        '-U',
        '-n',
        '--preserve-credentials',
        'iptables-nft',
        '-t',
        'nat',
        '-S',
        'PREROUTING',
      ];
      expect(spawnSync('nsenter', inside, { encoding: 'utf8' }).stdout).toBe(
        '-P PREROUTING ACCEPT\n-A PREROUTING -d 10.10.0.100/32 -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 8080\n',
      );
    } finally {
      child.kill('SIGKILL');
    }
  });

  it.each(['-m ipvs --ipvs', '-j LED --led-trigger-id x', '-m conntrack --ctstate NEW'])(
    'takes %s where the kernel has it, and otherwise names the extension as iptables does, with ERR_UNSUPPORTED',
    rule => {
      const words = `-A OUTPUT ${rule}`;
      const { status, stderr } = tool(other, 'ipv4', '', '', ...words.split(' '));
      try {
        ipt.ipv4.sync.run(words);
        expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      } catch (error) {
        if (!(error instanceof IptablesError)) throw error;
        expect(error.text('iptables')).toBe(stderr);
        expect(error.exitCode).toBe(status);
        expect(error.cause).toMatchObject({
          code: 'ERR_UNSUPPORTED',
          feature: expect.stringContaining(error.argument!),
        });
      }
      expect(ipt.ipv4.sync.save()).toBe(saved(other, 'ipv4'));
    },
  );

  it('names the sets of ipset as iptables does, in both directions', async () => {
    const commands = [
      '-A INPUT -m set --match-set netsteer-a src,dst -j ACCEPT',
      '-A INPUT -m set ! --match-set netsteer-b dst --return-nomatch ! --update-counters ! --update-subcounters -j DROP',
      '-A INPUT -p tcp -m set --match-set netsteer-b src --packets-gt 5 ! --bytes-eq 7',
      '-A INPUT -m set --match-set netsteer-b src --packets-eq 4 --bytes-lt 0x10',
      '-A INPUT -m set --match-set none src',
      '-A INPUT -m set --match-set netsteer-b sra',
      '-A INPUT -m set --match-set netsteer-b src,src,src,src,src,src,src',
      `-A INPUT -m set --match-set ${'a'.repeat(32)} src`,
      '-A INPUT -m set --match-set netsteer-6 src',
      '-A INPUT -m set --return-nomatch',
      '-A INPUT -j SET --add-set netsteer-a src,dst --exist --timeout 60',
      '-A INPUT -j SET --del-set netsteer-b dst --add-set netsteer-a src,src',
      '-t mangle -A FORWARD -j SET --map-set netsteer-b src --map-prio --map-mark',
      '-A INPUT -j SET',
      '-A INPUT -j SET --exist',
      '-A INPUT -j SET --del-set netsteer-b src --exist',
      '-A INPUT -j SET --del-set netsteer-b src --timeout 5',
      '-A INPUT -j SET --add-set netsteer-a src,dst --timeout x',
      '-A INPUT -j SET --add-set netsteer-a src,dst --timeout 4294967295',
      '-A INPUT -j SET --add-set netsteer-a src,dst --add-set netsteer-b src',
      '-A INPUT -j SET --add-set netsteer-a',
      '-A INPUT -j SET --add-set netsteer-a --exist',
      '-A INPUT -j SET --map-set netsteer-b src',
      '-A INPUT -j SET --add-set netsteer-a src,dst --map-queue',
      '-A INPUT -j SET ! --add-set netsteer-a src,dst',
      '-A INPUT -j SET --add-set none src',
      '-A INPUT -j SET --add-set netsteer-b src ! --exist ! --timeout 7',
    ];
    for (const where of [netns, other]) {
      // Sets have numbers of their own in each namespace: here those of the names differ.
      const sets = ['netsteer-a hash:ip,port', 'netsteer-b hash:net counters', 'netsteer-6 hash:ip family inet6'];
      for (const one of where === netns ? sets : sets.reverse())
        where.run(() => spawnSync('ipset', ['create', ...one.split(' ')]));
    }
    for (const command of commands) {
      const { status, stderr } = tool(other, 'ipv4', '', '', ...command.split(' '));
      const refused = (() => {
        try {
          ipt.ipv4.sync.run(command);
          return { status: 0, stderr: '' };
        } catch (error) {
          if (!(error instanceof IptablesError)) throw error;
          return { status: error.exitCode, stderr: error.text('iptables') };
        }
      })();
      expect(refused).toEqual({ status, stderr });
    }
    const text = await ipt.ipv4.save();
    expect(text).toBe(saved(other, 'ipv4'));
    expect(saved(netns, 'ipv4')).toBe(text);
    // Read as lines of one form, whose sets differ.
    const lines = Array.from(
      { length: 12 },
      (_, i) => `-A INPUT -m set --match-set netsteer-${'ab'[i % 2]} src -j ACCEPT`,
    );
    const many = `*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n${lines.join('\n')}\nCOMMIT\n`;
    if (text.includes('netsteer-a')) {
      await ipt.ipv4.restore(many);
      expect(await ipt.ipv4.save({ table: 'filter' })).toBe(many);
      expect(saved(netns, 'ipv4')).toContain(many);
    }
  });
});
