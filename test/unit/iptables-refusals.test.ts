import { describe, expect, test } from 'vitest';
import { parseArguments } from '../../src/iptables/arguments.ts';
import { formatRule } from '../../src/iptables/format-rule.ts';
import { IptablesError, type IptablesFamily, parseIptables } from '../../src/iptables/index.ts';
import { Names } from '../../src/nft/names.ts';

/* Messages are those of Debian's iptables-nft 1.8.9, which was given the same words. */

const names = new Names({ readFile: path => (path === '/etc/services' ? 'http 80/tcp\n' : undefined) });

/** Blanks separate the words; a word in quotes keeps its blanks. */
const wordsOf = (line: string): string[] =>
  (line.match(/'[^']*'|\S+/g) ?? []).map(word => (word.startsWith("'") ? word.slice(1, -1) : word));

const parse = (line: string, family: IptablesFamily) => parseArguments(wordsOf(`-A INPUT ${line}`), { family, names });

function refusal(act: () => unknown): IptablesError {
  try {
    act();
  } catch (error) {
    if (error instanceof IptablesError) return error;
    throw error;
  }
  throw new Error('taken');
}

type Case = readonly [family: IptablesFamily, line: string, message: string];

const PREFIX_RANGE = 'neither a valid network mask nor valid CIDR';

const REFUSED: readonly Case[] = [
  // Numbers and ranges of iptables' own option parser.
  [
    'ipv4',
    '-m connbytes --connbytes -1:0',
    'connbytes: bad value for option "--connbytes" near "-1:0", or out of range (0-18446744073709551615).',
  ],
  [
    'ipv4',
    '-m length --length 1:70000',
    'length: bad value for option "--length" near "70000", or out of range (0-65535).',
  ],
  ['ipv4', '-m length --length 1x:2', 'length: Argument to "--length" has unexpected characters near "x:2".'],
  ['ipv4', '-m length --length 1:2:3', 'length: Too many components for option "--length" (max: 2)'],
  [
    'ipv4',
    '-p tcp -m tcpmss --mss 42:65536',
    'tcpmss: bad value for option "--mss" near "65536", or out of range (0-65535).',
  ],
  ['ipv4', '-j NFQUEUE --queue-balance 5', 'Bad range "5"'],
  ['ipv4', '-m mark --mark 1:2', 'mark: trailing garbage after value for option "--mark".'],
  ['ipv4', '-m mark --mark 1/x', 'mark: bad integer value for option "--mark", or out of range.'],
  ['ipv4', '-m devgroup --src-group 1/2/3', 'devgroup: trailing garbage after value for option "--src-group".'],
  ['ipv4', '-m devgroup --src-group x', 'devgroup: could not map name x to an integer value for option "--src-group".'],
  [
    'ipv4',
    '-m cluster --cluster-local-nodemask 33',
    'cluster: bad value for option "--cluster-local-nodemask", or out of range (1-32).',
  ],
  // Options that may be given once, and the names of options and extensions in messages.
  ['ipv4', '-p tcp --dport 1 --dport 2', "Only one `--destination-port' allowed"],
  ['ipv4', '-p tcp --syn --tcp-flags ALL SYN', "Only one of `--syn' or `--tcp-flags'  allowed"],
  ['ipv4', '-p udp --sport 1 --sport 2', 'udp: option "--source-port" can only be used once.'],
  [
    'ipv4',
    '-p tcp -m multiport --sports 1 --dports 2',
    'multiport: option "--source-ports" cannot be used together with "--destination-ports".',
  ],
  ['ipv4', '-m state', 'state: option "--state" must be specified'],
  ['ipv4', '-m state --state NEW --state NEW', 'state: option "--state" can only be used once.'],
  ['ipv4', '-m connbytes --connbytes 1:2', 'connbytes: option "--connbytes-dir" must be specified'],
  ['ipv4', '-m recent --update --reap', 'recent: option "--reap" also requires "--seconds".'],
  ['ipv4', '-m policy --dir in --pol ipsec --next', 'policy: option "--next" also requires "--strict".'],
  ['ipv4', '-m statistic --mode nth --packet 0', 'statistic: option "--packet" also requires "--every".'],
  ['ipv4', '-p sctp --chunk-types all', '--chunk-types requires two args'],
  // Hosts and masks.
  ['ipv4', '-j TEE --gateway nosuch', 'getaddrinfo: Temporary failure in name resolution'],
  ['ipv4', '-j TEE --gateway -1', 'getaddrinfo: Name or service not known'],
  ['ipv4', '-j TEE --gateway 999.1', 'getaddrinfo: Name or service not known'],
  ['ipv4', '-j TEE --gateway ::1', 'getaddrinfo: Address family for hostname not supported'],
  ['ipv6', '-j TEE --gateway 65536', 'getaddrinfo: Address family for hostname not supported'],
  [
    'ipv4',
    '-m conntrack --ctorigsrc 10.0.0.1/x',
    `conntrack: bad value for option "--ctorigsrc", ${PREFIX_RANGE} (0-32).`,
  ],
  ['ipv6', '-m srh --srh-psid ::1/129', `srh: bad value for option "--srh-psid", ${PREFIX_RANGE} (0-128).`],
  [
    'ipv4',
    '-j HMARK --hmark-src-prefix x',
    `HMARK: bad value for option "--hmark-src-prefix", ${PREFIX_RANGE} (0-32).`,
  ],
  ['ipv4', '-j HMARK --hmark-rnd 1 --hmark-mod 2', 'you have to specify --hmark-tuple at least'],
  ['ipv4', '-p udp --dport 99999999999999999999', 'Port "99999999999999999999" does not resolve to anything.'],
  ['ipv4', '-p udp --dport 1:2:3', 'udp: Too many components for option "--destination-port" (max: 2)'],
  // Words of their own.
  ['ipv4', '-p icmp --icmp-type 256', "Unknown ICMP type `256'"],
  ['ipv4', '-p icmp --icmp-type 1:2', 'ICMP type range not supported'],
  ['ipv4', '-p icmp --icmp-type 1/256', "Unknown ICMP code `1/256'"],
  ['ipv6', '-p icmpv6 --icmpv6-type 1x', 'unknown character x'],
  ['ipv4', '-p icmp -m multiport --ports 1', 'multiport only works with TCP, UDP, UDPLITE, SCTP and DCCP'],
  ['ipv4', '-m policy --strict', 'policy match: neither --dir in nor --dir out specified'],
  [
    'ipv4',
    '-m policy --dir in --pol ipsec --tunnel-src 10.0.0.1',
    'policy match: --tunnel-src/--tunnel-dst is only valid in tunnel mode',
  ],
  [
    'ipv4',
    '-m time --timestart 23:60',
    'invalid time "60" specified, should be hh:mm[:ss] format and within the boundaries',
  ],
  ['ipv4', '-m time --datestart 2039', 'Invalid date "2039" specified. Should be YYYY[-MM[-DD[Thh[:mm[:ss]]]]]'],
  ['ipv4', '-m time --monthdays 1,32', '32 is not a valid day for --monthdays'],
  ['ipv4', '-m time --weekdays monday', 'mon is not a valid day specifier'],
  ['ipv4', '-m time --weekdays 0', 'No, the week does NOT begin with Sunday.'],
  ['ipv4', '-m iprange --src-range 1.1.1.1-x', 'iprange: Bad value for "--src-range" option: "x"'],
  [
    'ipv4',
    '-m hashlimit --hashlimit-upto 1/ --hashlimit-name n',
    'hashlimit: Bad value for "--hashlimit-upto" option: "1/"',
  ],
  [
    'ipv4',
    '-m hashlimit --hashlimit-upto 1/s --hashlimit-burst 1mb --hashlimit-name n',
    'bad value for option "--hashlimit-burst", or out of range (1-1000000).',
  ],
  ['ipv4', '-m limit --limit -1', 'Rate too fast "-1"'],
  ['ipv4', "-m u32 --u32 ''", 'u32: abrupt end of input after location specifier'],
  ['ipv4', '-m u32 --u32 0=', 'u32: test ended with no value specified'],
  ['ipv4', '-m u32 --u32 0<1=1', "u32: at char 2: a second '<' was expected"],
  ['ipv4', '-m u32 --u32 0=1;', 'u32: at char 3: expected "," or "&&"'],
  ['ipv4', '-m u32 --u32 0=x', 'u32: at char 2: not a number or out of range'],
  ['ipv4', '-m string --algo bm --hex-string |1', 'Odd number of hex digits'],
  ['ipv4', "-m string --algo bm --hex-string ''", 'STRING must contain at least one char'],
  ['ipv4', '-m tos --tos 1x', 'Illegal value: "1x"'],
  ['ipv4', '-m tos --tos 256', 'Symbolic name "256" is unknown'],
  ['ipv4', '-m addrtype --src-type LOCAL,q,y', "addrtype: bad type `q,y'"],
  ['ipv4', '-m conntrack --ctstate NEW,x,y', 'Bad ctstate "x,y"'],
  ['ipv4', '-m conntrack --ctdir x', 'conntrack: Bad value for "--ctdir" option: "x"'],
  ['ipv6', '-m rt --rt-0-res', "`--rt-type 0' required before `--rt-0-res'"],
  ['ipv6', '-m rt --rt-type 0 --rt-0-not-strict', "`--rt-0-addr ...' required before `--rt-0-not-strict'"],
  ['ipv6', '-m hbh --hbh-opts 1:x', "hbh: no valid digits in length `x'"],
  ['ipv4', '-j RATEEST --rateest-name a --rateest-interval x', 'RATEEST: bad interval value "x"'],
  ['ipv4', '-m bpf', 'bpf: one of --bytecode or --pinned is required'],
  ['ipv4', "-j NFLOG --nflog-prefix ''", 'Argument must have a minimum length of 1 characters'],
  [
    'ipv4',
    '-j RATEEST --rateest-interval 250ms --rateest-ewmalog .5s',
    'RATEEST: option "--rateest-name" must be specified',
  ],
];

/** Lines that iptables takes, and how it saves them. */
const TAKEN: readonly Case[] = [
  ['ipv4', "-p tcp --dport ' 1'", '-p tcp -m tcp --dport 1'],
  ['ipv4', '-p udp --dport +65537', '-p udp -m udp --dport 1'],
  ['ipv6', '-p mh --mh-type b', '-p mobility-header -m mh --mh-type 0'],
  ['ipv4', '-m conntrack --ctorigsrc 10.1.2.3/8', '-m conntrack --ctorigsrc 10.1.2.3/8'],
  ['ipv4', '-m conntrack --ctorigsrc 10.1.2.3/255.0.255.0', '-m conntrack --ctorigsrc 10.1.2.3'],
  [
    'ipv4',
    '-m hashlimit ! --hashlimit-above 1x/s --hashlimit-name n',
    '-m hashlimit --hashlimit-upto 1/sec --hashlimit-burst 5 --hashlimit-name n',
  ],
  [
    'ipv4',
    '-m hashlimit --hashlimit-upto 10/min --hashlimit-name n --hashlimit-rate-match',
    '-m hashlimit --hashlimit-upto 10/sec --hashlimit-burst 5 --hashlimit-name n --hashlimit-htable-expire 60000 --hashlimit-rate-match --hashlimit-rate-interval 60',
  ],
  ['ipv4', '-m statistic --mode random --probability 1e-1', '-m statistic --mode random --probability 0.10000000009'],
  ['ipv4', '-m time --weekdays Monx,Tue', '-m time --weekdays Mon,Tue --datestop 2038-01-19T03:14:07'],
  ['ipv4', '-m owner --uid-owner 1:2', '-m owner --uid-owner 1-2'],
  [
    'ipv4',
    '-m helper --helper aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
    '-m helper --helper aaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
  ],
];

describe('options of extensions', () => {
  test.each(REFUSED)('of %s rejects %s with ERR_IPTABLES and the words of iptables', (family, line, message) => {
    const error = refusal(() => parse(line, family));
    expect(error).toMatchObject({ code: 'ERR_IPTABLES', exitCode: 2, message });
  });

  test.each(TAKEN)('of %s takes %s as iptables does', (family, line, saved) => {
    const [rule] = parse(line, family).rules;
    expect(formatRule(rule!, { family, names })).toBe(`-A INPUT ${saved}`);
  });

  test('warn, and a refusal has the warnings before it', () => {
    const warning = 'xt_iprange: range 2.0.0.0-1.0.0.0 is reversed and will never match';
    expect(parse('-m iprange --src-range 2.0.0.0-1.0.0.0', 'ipv4').warnings).toEqual([warning]);
    const error = refusal(() => parse('-m iprange --src-range 2.0.0.0-1.0.0.0 --nosuch', 'ipv4'));
    expect(error.warnings).toEqual([warning]);
    expect(error.text()).toBe(
      `${warning}\niptables v1.8.9 (nf_tables): unknown option "--nosuch"\nTry \`iptables -h' or 'iptables --help' for more information.\n`,
    );
  });
});

describe('lines of a text', () => {
  test.each([
    ['*nosuch\nCOMMIT\n', "iptables-restore: line 1 table name 'nosuch' invalid"],
    ['*\nCOMMIT\n', 'iptables-restore: line 1 table name invalid'],
    ['*filter\n:x\nCOMMIT\n', 'iptables-restore: line 2 policy invalid'],
    ['*filter\n: -\nCOMMIT\n', 'iptables-restore: line 2 chain name invalid'],
    ['*filter\n[1] -A INPUT\nCOMMIT\n', 'Bad line 2: need ]'],
    ['*filter\n[:2] -A INPUT\nCOMMIT\n', 'Bad line 2: need ]'],
    ['*filter\n-t nat -A INPUT\nCOMMIT\n', 'The -t option cannot be used in iptables-restore.'],
    [`*filter\n-A INPUT -m comment --comment ${'a'.repeat(1024)}\nCOMMIT\n`, 'Parameter too long!'],
    [`*filter\n-A INPUT${' !'.repeat(250)}\nCOMMIT\n`, 'Parser cannot handle more arguments'],
  ])('rejects %j with ERR_IPTABLES and the words of iptables-restore', (text, message) => {
    expect(refusal(() => parseIptables(text, { family: 'ipv4', names }))).toMatchObject({ exitCode: 2, message });
  });

  test('outside a table rejects with ERR_IPTABLES once, by the name of the program', () => {
    const error = refusal(() => parseIptables('*filter\nCOMMIT\n-A INPUT\n', { family: 'ipv4', names }));
    expect(error).toMatchObject({ code: 'ERR_IPTABLES', line: 3 });
    expect(error.text('ip6tables-restore')).toBe('ip6tables-restore: line 3 failed\n');
  });
});
