import { describe, expect, test } from 'vitest';
import { parseArguments } from '../../src/iptables/arguments.ts';
import { formatRule } from '../../src/iptables/format-rule.ts';
import { IptablesError, type IptablesFamily } from '../../src/iptables/index.ts';
import { Names } from '../../src/nft/names.ts';

const FILES: Readonly<Record<string, string>> = {
  '/etc/services': 'ftp-data 20/tcp\nftp 21/tcp\nssh 22/tcp\nhttp 80/tcp\n',
  '/etc/protocols': 'icmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\ndccp 33 DCCP\nsctp 132 SCTP\nudplite 136 UDPLite\n',
};
const names = new Names({ readFile: path => FILES[path] });

/** Blanks separate the words; a word in quotes keeps its blanks. */
const wordsOf = (line: string): string[] =>
  (line.match(/'[^']*'|\S+/g) ?? []).map(word => (word.startsWith("'") ? word.slice(1, -1) : word));

const parse = (line: string, family: IptablesFamily = 'ipv4') => parseArguments(wordsOf(line), { family, names });

function refusal(line: string, family: IptablesFamily): IptablesError {
  try {
    parse(line, family);
  } catch (error) {
    if (error instanceof IptablesError) return error;
    throw error;
  }
  throw new Error(`taken: ${line}`);
}

const saved = (line: string, family: IptablesFamily = 'ipv4'): string[] =>
  parse(line, family).rules.map(rule => formatRule(rule, { family, names }));

type TargetCase = [family: IptablesFamily, table: string, given: string, saved?: string];

/** A rule as it is given, and as it is saved where that differs. */
const TARGETS: TargetCase[] = [
  ['ipv4', 'nat', '-p tcp -j REDIRECT --to-ports 80-90 --random'],
  ['ipv4', 'nat', '-p tcp -j REDIRECT --to http', '-p tcp -j REDIRECT --to-ports 80'],
  ['ipv4', 'nat', '-p sctp -j REDIRECT --to-ports 0x50', '-p sctp -j REDIRECT --to-ports 80'],
  ['ipv4', 'nat', '-p tcp -j MASQUERADE --to-ports 1024-2048 --random --random-fully'],
  ['ipv4', 'nat', '-p tcp -j DNAT --to-destination 10.0.0.1-10.0.0.9:80-90/8000 --random --persistent'],
  ['ipv4', 'nat', '-p tcp -j DNAT --to-destination :8080'],
  ['ipv4', 'nat', '-p tcp -j DNAT --to-destination 10.0.0.1:ftp-data', '-p tcp -j DNAT --to-destination 10.0.0.1:20'],
  ['ipv6', 'nat', '-p tcp -j DNAT --to-destination [fe80::1-fe80::9]:80-90'],
  ['ipv6', 'nat', '-j DNAT --to-destination [fe80::1]', '-j DNAT --to-destination fe80::1'],
  ['ipv4', 'nat', '-j SNAT --to-source 10.0.0.1-10.0.0.9 --random-fully --persistent'],
  ['ipv6', 'nat', '-p udp -j SNAT --to-source [fe80::1]:5353'],
  ['ipv4', 'nat', '-j NETMAP --to 10.1.2.3/24', '-j NETMAP --to 10.1.2.0/24'],
  ['ipv6', 'nat', '-j NETMAP --to fe80::1/64', '-j NETMAP --to fe80::/64'],
  ['ipv4', 'filter', '-j REJECT', '-j REJECT --reject-with icmp-port-unreachable'],
  ['ipv4', 'filter', '-j REJECT --reject-with host-prohib', '-j REJECT --reject-with icmp-host-prohibited'],
  ['ipv6', 'filter', '-j REJECT --reject-with no-route', '-j REJECT --reject-with icmp6-no-route'],
  ['ipv6', 'filter', '-p tcp -j REJECT --reject-with tcp-reset'],
  ['ipv4', 'filter', "-j LOG --log-prefix 'a b'", '-j LOG --log-prefix "a b"'],
  ['ipv4', 'filter', '-j LOG --log-level debug --log-uid', '-j LOG --log-level 7 --log-uid'],
  ['ipv4', 'filter', '-j LOG --log-level warning', '-j LOG'],
  ['ipv4', 'filter', '-j LOG --log-tcp-sequence --log-tcp-options --log-ip-options --log-macdecode'],
  ['ipv4', 'filter', '-j NFLOG --nflog-prefix web1 --nflog-group 5 --nflog-size 64 --nflog-threshold 9'],
  ['ipv4', 'filter', '-j NFLOG --nflog-group 0', '-j NFLOG'],
  ['ipv4', 'raw', '-j TRACE'],
  ['ipv4', 'raw', '-j NOTRACK'],
  ['ipv4', 'raw', '-j CT --notrack --zone 3'],
  ['ipv4', 'raw', '-p tcp -j CT --helper ftp --ctevents new,destroy --expevents new'],
  ['ipv4', 'raw', '-j CT --zone-orig mark'],
  ['ipv4', 'raw', '-j CT --zone-orig 5'],
  ['ipv4', 'mangle', '-j MARK --set-mark 1/2', '-j MARK --set-xmark 0x1/0x3'],
  ['ipv4', 'mangle', '-j MARK --and-mark 3', '-j MARK --set-xmark 0x0/0xfffffffc'],
  ['ipv4', 'mangle', '-j MARK --xor-mark 3', '-j MARK --set-xmark 0x3/0x0'],
  ['ipv4', 'mangle', '-j CONNMARK --set-mark 010', '-j CONNMARK --set-xmark 0x8/0xffffffff'],
  ['ipv4', 'mangle', '-j CONNMARK --save-mark --mask 0xff', '-j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff'],
  [
    'ipv4',
    'mangle',
    '-j CONNMARK --restore-mark --right-shift-mark 1 --nfmask 3',
    '-j CONNMARK --restore-mark --nfmask 0x3 --ctmask 0xffffffff --right-shift-mark 1',
  ],
  ['ipv4', 'mangle', '-j CONNSECMARK --restore'],
  ['ipv4', 'security', '-j SECMARK --selctx a:b', '-j SECMARK --selctx "a:b"'],
  ['ipv4', 'mangle', '-j TTL --ttl-dec 1'],
  ['ipv6', 'mangle', '-j HL --hl-set 64'],
  ['ipv4', 'mangle', '-j DSCP --set-dscp-class ef', '-j DSCP --set-dscp 0x2e'],
  ['ipv4', 'mangle', '-j TOS --set-tos minimize-delay', '-j TOS --set-tos 0x10/0x3f'],
  ['ipv4', 'mangle', '-j TOS --and-tos 5', '-j TOS --set-tos 0x00/0xfa'],
  ['ipv4', 'mangle', '-p tcp -j ECN --ecn-tcp-ece 1 --ecn-tcp-cwr 0 --ecn-ip-ect 2'],
  ['ipv4', 'mangle', '-p tcp -j ECN --ecn-tcp-remove'],
  ['ipv4', 'mangle', '-j CLASSIFY --set-class 1:a', '-j CLASSIFY --set-class 0001:000a'],
  ['ipv4', 'mangle', '-j CHECKSUM --checksum-fill'],
  ['ipv4', 'mangle', '-p tcp -j TCPMSS --clamp-mss-to-pmtu'],
  ['ipv4', 'mangle', '-p tcp -j TCPMSS --set-mss 1220'],
  [
    'ipv4',
    'mangle',
    '-p tcp -j TCPOPTSTRIP --strip-options sack,mss,255',
    '-p tcp -j TCPOPTSTRIP --strip-options 2,5,255',
  ],
  ['ipv4', 'filter', '-j NFQUEUE --queue-balance 5:', '-j NFQUEUE --queue-balance 5:65535'],
  ['ipv4', 'filter', '-j NFQUEUE --queue-num 0x10 --queue-bypass', '-j NFQUEUE --queue-num 16 --queue-bypass'],
  ['ipv4', 'filter', '-j NFQUEUE --queue-balance 1:4 --queue-bypass --queue-cpu-fanout'],
  [
    'ipv4',
    'mangle',
    '-p tcp -j TPROXY --on-port http',
    '-p tcp -j TPROXY --on-port 80 --on-ip 0.0.0.0 --tproxy-mark 0x0/0x0',
  ],
  ['ipv6', 'mangle', '-p udp -j TPROXY --on-port 1 --on-ip fe80::1 --tproxy-mark 0x1/0xff'],
  ['ipv4', 'mangle', '-j TEE --gateway 10.1', '-j TEE --gateway 10.0.0.1'],
  ['ipv6', 'mangle', '-j TEE --gateway fe80::1 --oif eth0'],
  ['ipv4', 'filter', '-j AUDIT --type DROP', '-j AUDIT --type drop'],
  ['ipv4', 'filter', '-p tcp -j SYNPROXY --sack-perm --timestamp --wscale 7 --mss 1460 --ecn'],
  ['ipv4', 'mangle', '-j IDLETIMER --timeout 5 --label x --alarm'],
  ['ipv4', 'mangle', '-j LED --led-trigger-id x --led-delay inf', '-j LED --led-trigger-id "x" --led-delay inf'],
  [
    'ipv4',
    'mangle',
    '-j RATEEST --rateest-name a --rateest-interval 0.25s --rateest-ewmalog 500ms',
    '-j RATEEST --rateest-name a --rateest-interval 250.0ms --rateest-ewmalog 500.0ms',
  ],
  ['ipv6', 'mangle', '-j SNPT --src-pfx fd00::/64 --dst-pfx 2001:db8::/48'],
  ['ipv6', 'mangle', '-j DNPT --src-pfx 2001:db8::/48 --dst-pfx fd00::/64'],
  [
    'ipv4',
    'mangle',
    '-j HMARK --hmark-tuple src,dst,sport,ct --hmark-mod 5 --hmark-rnd 5 --hmark-offset 100',
    '-j HMARK --hmark-src-prefix 32 --hmark-dst-prefix 32 --hmark-sport-mask 0xffff --hmark-rnd 0x00000005 --hmark-mod 5 --hmark-offset 100 --hmark-tuple ct',
  ],
  [
    'ipv4',
    'filter',
    '-j CLUSTERIP --new --hashmode sourceip --clustermac 01:00:5E:00:00:01 --total-nodes 2 --local-node 1 --hash-init 0',
  ],
];

describe('the targets of rules', () => {
  test.each(TARGETS)('of %s in %s are saved as iptables saves them: %s', (family, table, given, expected = given) => {
    expect(saved(`-t ${table} -A C ${given}`, family)).toEqual([`-A C ${expected}`]);
  });
});

/** Messages of iptables 1.8.9 for words that it does not take. */
const REFUSED: [line: string, message: string, argument?: string][] = [
  ['-A', 'option "-A" requires an argument', '-A'],
  ['-x', 'no command specified'],
  ['foo', "Bad argument `foo'", 'foo'],
  ['-A INPUT -D INPUT', 'Cannot use -D with -A', '-D'],
  ['-L -F', 'Cannot use -F with -L', '-F'],
  ['-A INPUT ! ! -s 1.1.1.1', 'multiple consecutive ! not allowed', '!'],
  ['-A INPUT !', 'nothing appropriate following !', '!'],
  ['! -A INPUT', "unexpected '!' flag", '-A'],
  ['-A INPUT ! -j ACCEPT', 'cannot have ! before -j', '-j'],
  ['-A INPUT -j A -g B', 'multiple -j flags not allowed', '-g'],
  ['-L -s 1.1.1.1', "Illegal option `-s' with this command", '-s'],
  ['-D INPUT 1 -p tcp', "Illegal option `-p' with this command", '-p'],
  ['-A INPUT --line-numbers', "Illegal option `-0' with this command", '-0'],
  ['-A INPUT -o lo', "Can't use -o with INPUT", 'lo'],
  ['-A OUTPUT -i lo', "Can't use -i with OUTPUT", 'lo'],
  ['-I INPUT 0', "Invalid rule number `0'", '0'],
  ['-R INPUT -j ACCEPT', '-R requires a rule number', '-R'],
  ['-R INPUT 1 -s 1.1.1.1,2.2.2.2', 'Replacement rule does not specify a unique address'],
  [
    '-A INPUT ! -s 1.1.1.1,2.2.2.2',
    '! not allowed with multiple source or destination IP addresses',
    '1.1.1.1,2.2.2.2',
  ],
  ['-E A', '-E requires old-chain-name and new-chain-name', '-E'],
  ['-P INPUT', '-P requires a chain and a policy', '-P'],
  ['-N LOG', 'chain name may not clash with target name', 'LOG'],
  ['-N -x', "chain name not allowed to start with `-'", '-x'],
  ['-N abcdefghijklmnopqrstuvwxyzabc', "chain name `abcdefghijklmnopqrstuvwxyzabc' too long (must be under 29 chars)"],
  ['-A INPUT -p nosuch', 'unknown protocol "nosuch" specified', 'nosuch'],
  ['-A INPUT ! -p all', 'rule would never match protocol', 'all'],
  ['-A INPUT -ptcp', 'unknown protocol "-ptcp" specified', '-ptcp'],
  ['-A INPUT -s 1.2.3.4/33', "invalid mask `33' specified"],
  ['-A INPUT --dport 22', 'unknown option "--dport"', '--dport'],
  ['-A INPUT --s 5', 'unknown option "--s"', '--s'],
  ['-A INPUT -j LOG --log-', 'unknown option "--log-"', '--log-'],
  ['-A INPUT -i abcdefghijklmnop', "interface name `abcdefghijklmnop' must be shorter than IFNAMSIZ (15)"],
  ['-A INPUT -c 1', '-c requires packet and byte counter', '-c'],
  ['-A INPUT -c x y', '-c packet counter not numeric', 'x'],
  ['-A INPUT -w x', 'wait seconds not numeric', 'x'],
  ['-A INPUT -- -p tcp', 'unknown arguments found on commandline', '-p'],
  [
    '-t nat -P INPUT DROP',
    'The "nat" table is not intended for filtering, the use of DROP is therefore inhibited.',
    'DROP',
  ],
  ['-A C -j REDIRECT --to-ports 80', 'Need TCP, UDP, SCTP or DCCP with port specification', '--to-ports'],
  ['-A C -p tcp -j REDIRECT --to-ports 80:90', 'Invalid port:port syntax - use dash', '--to-ports'],
  ['-A C -p tcp -j REDIRECT --to-ports 90-80', "Port range `80' funky", '--to-ports'],
  ['-A C -p tcp -j REDIRECT --to-ports 80,90', "Garbage after port value: `,90'", '--to-ports'],
  ['-A C -p tcp -j REDIRECT --to-ports 80-90/1', 'Shifted portmap ranges not supported with this kernel', '--to-ports'],
  ['-A C -j DNAT --to-destination foo', 'Bad IP address "foo"', '--to-destination'],
  ['-A C -j DNAT --random', 'DNAT: option "--to-destination" must be specified', '--to-destination'],
  [
    '-A C -j SNAT --to-source 1.1.1.1 --to-source 2.2.2.2',
    'SNAT: option "--to-source" can only be used once.',
    '--to-source',
  ],
  ['-A C -j LOG ! --log-uid', 'LOG: option "--log-uid" cannot be inverted.', '--log-uid'],
  ['-A C -j LOG --log-level bad', 'log level "bad" unknown', '--log-level'],
  ['-A C -j MARK --set-mark 1/x', 'MARK: bad integer value for option "--set-mark", or out of range.', '--set-mark'],
  ['-A C -j MARK --set-mark 1 --or-mark 2', 'MARK: option "--set-mark" cannot be used together with "--or-mark".'],
  ['-A C -j TTL --ttl-inc 0', 'TTL: bad value for option "--ttl-inc", or out of range (1-255).', '--ttl-inc'],
  ['-A C -j TTL', 'TTL: You must specify an action'],
  ['-A C -j TOS --set-tos x', 'Symbolic name "x" is unknown', '--set-tos'],
  ['-A C -j CLASSIFY --set-class 1', 'Bad class value "1"', '--set-class'],
  ['-A C -j CT --zone 65536', 'Cannot parse 65536 as a zone ID', '--zone'],
  ['-A C -j NOTRACK --zone 1', 'unknown option "--zone"', '--zone'],
  ['-A C -j NFQUEUE --queue-balance 5:4', '5 should be less than 4', '--queue-balance'],
  ['-A C -j TCPOPTSTRIP --strip-options 1', 'Option value may not be 0 or 1', '--strip-options'],
  ['-A C -j RATEEST --rateest-interval 9s --rateest-ewmalog 20s', 'RATEEST: interval value is too large'],
  ['-A C -j HMARK --hmark-mod 5', '--hmark-rnd is mandatory'],
];

describe('arguments', () => {
  test.each(REFUSED)('rejects %s with ERR_IPTABLES, in the words of iptables', (line, message, argument) => {
    const error = refusal(line, 'ipv4');
    expect(error).toMatchObject({ code: 'ERR_IPTABLES', exitCode: 2, message });
    if (argument !== undefined) expect(error.argument).toBe(argument);
    expect(error.text()).toMatch(/\nTry `iptables -h' or 'iptables --help' for more information\.\n$/);
  });

  test('of IPv6 rejects options of IPv4 with ERR_IPTABLES', () => {
    expect(refusal('-A INPUT -f', 'ipv6')).toMatchObject({
      code: 'ERR_IPTABLES',
      message: "`-f' is not supported in IPv6, use -m frag instead",
    });
    expect(refusal('-A INPUT -4', 'ipv6').text('ip6tables')).toBe(
      "Try `ip6tables -h' or 'ip6tables --help' for more information.\n",
    );
  });

  test('make a rule of each pair of addresses', () => {
    expect(saved('-A INPUT -s 1.1.1.1,2.2.2.2 -d 3.3.3.3,4.4.4.0/24 -j DROP')).toEqual([
      '-A INPUT -s 1.1.1.1/32 -d 3.3.3.3/32 -j DROP',
      '-A INPUT -s 1.1.1.1/32 -d 4.4.4.0/24 -j DROP',
      '-A INPUT -s 2.2.2.2/32 -d 3.3.3.3/32 -j DROP',
      '-A INPUT -s 2.2.2.2/32 -d 4.4.4.0/24 -j DROP',
    ]);
  });

  test('may be cut to what no other option begins with, attached, and put together', () => {
    expect(saved('--append INPUT --proto tcp --so 1.1.1.1 --jump ACCEPT')).toEqual([
      '-A INPUT -s 1.1.1.1/32 -p tcp -j ACCEPT',
    ]);
    expect(parse('-tnat -vnLINPUT')).toMatchObject({ table: 'nat', chain: 'INPUT', verbose: 1, numeric: true });
    expect(parse('-w5 -L INPUT 3 -xZ')).toMatchObject({ command: 'list', number: 3, exact: true, zero: true });
  });

  test('warn of interfaces that no kernel has', () => {
    expect(parse("-A INPUT -i 'a b'").warnings).toEqual([
      "Warning: weird character in interface `a b' ('/' and ' ' are not allowed by the kernel).",
    ]);
  });
});
