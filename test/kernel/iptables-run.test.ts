import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { readlinkSync } from 'node:fs';
import { Links, NetNs, Nflog } from 'netsteer';
import { Iptables, IptablesError, type IptablesFamily, parseIptables, toNft } from 'netsteer/iptables';
import { afterEach, expect, it } from 'vitest';
import { freshNamespaces, netns, nft, other, otherNamespaces, there } from '../support/fresh-namespace.ts';
import { until } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

/* Debian's iptables-nft 1.8.9 is the witness: each command is given to both, in namespaces of their own. */

const children: ChildProcess[] = [];

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

const programOf = (family: IptablesFamily): string => (family === 'ipv4' ? 'iptables-nft' : 'ip6tables-nft');

function tool(where: NetNs, family: IptablesFamily, words: readonly string[]) {
  return where.run(() => spawnSync(programOf(family), words, { encoding: 'utf8' }));
}

/** The same command by both: what they print, and what the kernel has afterwards. */
function compare(ipt: Iptables, family: IptablesFamily, line: string): void {
  const words = line.split(' ');
  const { status, stdout, stderr } = tool(other, family, words);
  let found = { status: 0, stdout: '', stderr: '' };
  try {
    found = { status: 0, ...ipt.sync.run(line) };
  } catch (error) {
    if (!(error instanceof IptablesError)) throw error;
    found = { status: error.exitCode, stdout: '', stderr: error.text(programOf(family).replace('-nft', '')) };
  }
  expect({ line, ...found }).toEqual({ line, status, stdout, stderr });
  expect(nft.sync.ruleset({ as: 'text', version: '1.0.6' })).toBe(there.sync.ruleset({ as: 'text', version: '1.0.6' }));
}

const COMMANDS: Record<IptablesFamily, readonly string[]> = {
  ipv4: [
    '-S',
    '-A INPUT -p tcp --dport 22 -j ACCEPT',
    '-I INPUT -i lo -j ACCEPT',
    '-I INPUT 2 -s 10.1.0.0/16,10.2.0.0/16 -j DROP',
    '-I INPUT 9 -j DROP',
    '-R INPUT 1 -i lo -m conntrack --ctstate NEW -j ACCEPT',
    '-C INPUT -s 10.1.0.0/16 -j DROP',
    '-C INPUT -s 10.9.0.0/16 -j DROP',
    '-N LOGGED',
    '-N LOGGED',
    '-A LOGGED -j LOG --log-prefix x --log-level info',
    '-A LOGGED -m limit --limit 5/min -j REJECT',
    '-A FORWARD -g LOGGED',
    '-A FORWARD -j NOSUCH',
    '-A NOSUCH -j ACCEPT',
    '-S',
    '-L -n -v',
    '-L -n --line-numbers',
    '-L FORWARD 1 -n',
    '-A INPUT -j LED',
    '-A INPUT -m iprange --src-range 2.0.0.0-1.0.0.0 --nosuch',
    '-t raw -A PREROUTING -m connlabel --label 3',
    '-t raw -S',
    '-X LOGGED',
    '-E LOGGED KEPT',
    '-v -A KEPT -p udp --sport 53 -j MARK --set-mark 7',
    '-P FORWARD DROP',
    '-P FORWARD REJECT',
    '-D INPUT 1',
    '-D INPUT -p tcp --dport 22 -j ACCEPT',
    '-D INPUT -p tcp --dport 22 -j ACCEPT',
    '-A INPUT --dport 22',
    '-t nosuch -S',
    '-t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8080-8090',
    '-t nat -A POSTROUTING -o eth0 -j MASQUERADE --random',
    '-t nat -S',
    '-t nat -L -n -v',
    '-Z',
    '-F KEPT',
    '-F',
    '-X',
    '-S',
  ],
  ipv6: [
    '-A INPUT -p icmpv6 --icmpv6-type echo-request -j ACCEPT',
    '-A INPUT -s 2001:db8::/32 -j REJECT',
    '-A INPUT -f',
    '-A INPUT -s 10.0.0.1',
    '-t mangle -A PREROUTING -j HL --hl-set 64',
    '-S',
    '-L -n',
    '-t mangle -L -n -v',
    '-D INPUT 2',
    '-S',
  ],
};

/** Words that are wrong, what is not there, and what the kernel refuses: iptables looks at the words of a whole table first. */
const WRONG_TEXTS: readonly string[] = [
  '*filter\n-A INPUT -j NOSUCH\nCOMMIT\n',
  '*filter\n-A INPUT -j NOSUCH\n-A INPUT --nosuch\nCOMMIT\n',
  '*filter\n-A NOSUCH\nCOMMIT\n',
  '*filter\n-A NOSUCH\n',
  '*filter\n:INPUT REJECT [0:0]\nCOMMIT\n',
  '*filter\n:RETURN - [0:0]\nCOMMIT\n',
  '*filter\n-A INPUT -m tcp\n-A INPUT -i lo\n-A INPUT -m udp\nCOMMIT\n',
  '*filter\n:U -\n:V -\n-A U -j V\n-A V -j U\n-A INPUT -j U\n-A OUTPUT -j ACCEPT\nCOMMIT\n',
  '*filter\nCOMMIT\n-A INPUT\n',
  '*nosuch\nCOMMIT\n',
];

kernelSuite('commands of iptables', () => {
  freshNamespaces();
  otherNamespaces();

  it.each(['ipv4', 'ipv6'] as const)('of %s print and leave what iptables-nft prints and leaves', family => {
    using ipt = Iptables.open({ netns, family });
    for (const line of COMMANDS[family]) compare(ipt, family, line);
  });

  it.each(WRONG_TEXTS)('rejects the text %j with ERR_IPTABLES as iptables-nft-restore does', text => {
    const program = 'iptables-nft-restore';
    const { status, stderr } = other.run(() => spawnSync(program, { input: text, encoding: 'utf8' }));
    using ipt = Iptables.open({ netns });
    let found = { status: 0, stderr: '' };
    try {
      ipt.sync.restore(text);
    } catch (error) {
      if (!(error instanceof IptablesError)) throw error;
      found = { status: error.exitCode, stderr: error.text(program) };
    }
    expect(found).toEqual({ status, stderr });
    expect(status).toBeGreaterThan(0);
  });

  it('puts a rule of a text before another one of the same text', async () => {
    await using ipt = Iptables.open({ netns });
    await ipt.restore('*filter\n-A INPUT -i a\n-A INPUT -i c\n-I INPUT 2 -i b\nCOMMIT\n');
    expect((await ipt.run('-S INPUT')).stdout).toBe('-P INPUT ACCEPT\n-A INPUT -i a\n-A INPUT -i b\n-A INPUT -i c\n');
  });

  it('rejects what the kernel refuses with ERR_IPTABLES, and keeps its reason', async () => {
    await using ipt = Iptables.open({ netns });
    const error = await ipt.run('-A INPUT -m tcp').catch((error: unknown) => error);
    expect(error).toMatchObject({ code: 'ERR_IPTABLES', exitCode: 4, cause: { code: 'EINVAL' } });
    expect((error as IptablesError).text()).toBe(
      'iptables v1.8.9 (nf_tables):  RULE_APPEND failed (Invalid argument): rule in chain INPUT\n',
    );
    expect(await nft.chains()).toEqual([]);
  });

  it.each([
    ['ipv4', 'ipv4_addr', 'ip saddr & 255.255.255.0'],
    ['ipv6', 'ipv6_addr', 'ip6 saddr & ffff:ff00::'],
  ] as const)(
    'of %s that count connections translate into a set of %s that nft takes',
    async (family, type, address) => {
      const lines = [
        '-A INPUT -m connlimit --connlimit-above 5 --connlimit-mask 24 -j DROP',
        '-A INPUT -p tcp -m hashlimit --hashlimit-above 4kb/s --hashlimit-burst 400kb --hashlimit-mode srcip --hashlimit-name n',
      ];
      const { nftables, untranslated } = toNft(parseIptables(`*filter\n${lines.join('\n')}\nCOMMIT\n`, { family }));
      expect(untranslated).toBeUndefined();
      await nft.apply({ nftables });
      const text = await nft.ruleset({ as: 'text' });
      expect(text).toContain(`set connlimit0 {\n\t\ttype ${type}\n`);
      expect(text).toContain(`add @connlimit0 { ${address} ct count over 5 } counter packets 0 bytes 0 drop`);
      expect(text).toContain('timeout 1m limit rate over 4 kbytes/second burst 400 kbytes } counter packets 0 bytes 0');
    },
  );

  it('translate into rules that nft takes, and name what nft has nothing like', async () => {
    const rules = parseIptables(
      '*filter\n:INPUT DROP [0:0]\n-A INPUT -s 10.0.0.0/8 -p tcp --dport 80:90 -j ACCEPT\n-A INPUT -m string --string x --algo bm -j DROP\nCOMMIT\n',
    );
    const { nftables, untranslated } = toNft(rules);
    expect(untranslated).toMatchObject([
      { argument: '-m string', rule: '-t filter -A INPUT -m string --string "x" --algo bm -j DROP' },
    ]);
    await nft.apply({ nftables } as never);
    expect(await nft.ruleset({ as: 'text', version: '1.0.6' })).toContain(
      'ip saddr 10.0.0.0/8 tcp dport 80-90 counter packets 0 bytes 0 accept',
    );
  });
});

const SERVER = `require('node:net').createServer(socket => socket.end('hello')).listen(8080, () => console.log('listens'));`;
const CLIENT = `require('node:net').connect(80, '10.10.0.100').on('data', data => console.log(String(data)));`;

/** A program inside of a namespace; its first line. */
async function inside(where: NetNs, script: string): Promise<string> {
  const child = where.run(() => spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] }));
  children.push(child);
  const [line] = await new Promise<string[]>(resolve => child.stdout!.once('data', data => resolve([String(data)])));
  return line!.trim();
}

kernelSuite('an unprivileged container', () => {
  it('is redirected and logged from the host, in the words of iptables', async () => {
    const home = readlinkSync('/proc/self/ns/net');
    const container = spawn('unshare', ['-Urn', 'sleep', 'infinity'], { stdio: 'ignore' });
    children.push(container);
    const link = `/proc/${container.pid}/ns/net`;
    await until(() => readlinkSync(link) !== home);
    using web1 = NetNs.open({ pid: container.pid! });
    using client = NetNs.create();

    using here = Links.open({ netns: client });
    using links = Links.open({ netns: web1 });
    await here.createVeth({ name: 'eth0', peer: { name: 'eth0', netns: web1 } });
    for (const [each, address] of [
      [here, '10.10.0.1/24'],
      [links, '10.10.0.100/24'],
    ] as const) {
      await each.addAddress('eth0', address);
      await each.set('eth0', { up: true });
      await each.set('lo', { up: true });
    }

    await using ipt = Iptables.open({ netns: web1 });
    await ipt.run('-t nat -A PREROUTING -p tcp --dport 80 -d 10.10.0.100 -j REDIRECT --to-ports 8080');
    await ipt.run('-A INPUT -p tcp --dport 8080 --syn -j NFLOG --nflog-group 5 --nflog-prefix "web1 "');
    expect(tool(web1, 'ipv4', ['-t', 'nat', '-S', 'PREROUTING']).stdout).toBe(
      '-P PREROUTING ACCEPT\n-A PREROUTING -d 10.10.0.100/32 -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 8080\n',
    );
    expect(tool(web1, 'ipv4', ['-S', 'INPUT']).stdout).toContain('-j NFLOG --nflog-prefix "web1 " --nflog-group 5');

    await using log = Nflog.open({ netns: web1, groups: [5] });
    expect(await inside(web1, SERVER)).toBe('listens');
    expect(await inside(client, CLIENT)).toBe('hello');
    for await (const packet of log) {
      expect(packet.prefix).toBe('web1 ');
      expect(packet.summary()).toContain('SRC=10.10.0.1 DST=10.10.0.100');
      break;
    }
  });
});
