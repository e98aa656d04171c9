import { describe, expect, it } from 'vitest';
import { compileRule } from '../../src/iptables/compile.ts';
import { decompileRule, type ListedRule } from '../../src/iptables/decompile.ts';
import { formatRule } from '../../src/iptables/format-rule.ts';
import { type IptablesFamily, parseIptables } from '../../src/iptables/index.ts';
import { decodeMessage, encodeMessage, Names } from '../../src/nftables/index.ts';

const names = new Names({ readFile: () => undefined });

/** A rule through all forms that it has: text, data, expressions, the bytes of a message, and back. */
function throughTheKernel(text: string, family: IptablesFamily): string {
  const { tables } = parseIptables(`*filter\n${text}\nCOMMIT\n`, { family, names });
  const { expressions, compat } = compileRule(tables[0]!.chains[0]!.rules[0]!, { family, names });
  const object = { table: 'filter', chain: 'INPUT', expressions, compat };
  const bytes = encodeMessage({ type: 'newrule', family: family === 'ipv4' ? 'ip' : 'ip6', object } as never);
  const listed = decodeMessage(bytes).object as unknown as ListedRule;
  // A structure that could not be read would be kept as hex, and its options would be lost.
  for (const expression of listed.expressions)
    if ('match' in expression) expect(expression.match).toMatchObject({ info: expect.any(Object) });
  return formatRule(decompileRule(listed, family)!, { family, names });
}

const BOTH = [
  '-p tcp -m tcp --sport 7 --dport 9',
  '-p tcp -m tcp ! --sport 7:8 --dport 0:9 ! --tcp-flags SYN,ACK SYN',
  '-p tcp -m tcp --dport 7 ! --tcp-option 5',
  '-p tcp -m tcp',
  '-p udp -m udp ! --dport 1024:65535',
  '-p tcp -m multiport ! --sports 7,9:11',
  '-p tcp -m tcpmss ! --mss 500:1400',
  '-p tcp -m ecn ! --ecn-tcp-ece --ecn-tcp-cwr --ecn-ip-ect 3',
  '-p esp -m esp ! --espspi 7:9',
  '-p 132 -m sctp ! --sport 7 --chunk-types only INIT,ABORT:t',
  '-p dccp -m dccp --sport 7:8 ! --dccp-types DATA,RESET,INVALID --dccp-option 9',
  '-m addrtype --src-type UNICAST,LOCAL ! --dst-type BROADCAST --limit-iface-in',
  '-m bpf --bytecode "2,48 0 0 9,6 0 0 1"',
  '-m cgroup ! --path "a/b"',
  '-m cgroup --cgroup 7',
  '-m cluster ! --cluster-local-nodemask 0x00000003 --cluster-total-nodes 4 --cluster-hash-seed 0x00000009',
  '-m comment --comment "it\\\'s a \\"remark\\""',
  '-m connbytes ! --connbytes 7:900 --connbytes-mode avgpkt --connbytes-dir reply',
  '-m connlabel ! --label "7" --set',
  '-m connlimit --connlimit-above 7 --connlimit-mask 20 --connlimit-daddr',
  '-m connmark ! --mark 0x7/0xf',
  '-m conntrack ! --ctstate NEW,SNAT --ctproto 6 --ctorigsrcport 7:9 ! --ctstatus ASSURED --ctexpire 7 --ctdir REPLY',
  '-m state --state INVALID,UNTRACKED',
  '-m cpu ! --cpu 7',
  '-m devgroup --src-group 0x7/0xf ! --dst-group 0x9',
  '-m dscp ! --dscp 0x2e',
  '-m hashlimit --hashlimit-above 7/min --hashlimit-burst 9 --hashlimit-mode srcip,dstport --hashlimit-name a --hashlimit-htable-max 9 --hashlimit-srcmask 20',
  '-m hashlimit --hashlimit-upto 64kb/s --hashlimit-burst 1mb --hashlimit-name b --hashlimit-rate-match --hashlimit-rate-interval 7',
  '-m helper ! --helper ftp-2121',
  '-m ipvs ! --vproto 6 --vport 7 --vdir REPLY --vmethod IPIP --vportctl 21',
  '-m length ! --length 7:900',
  '-m limit --limit 7/hour --limit-burst 9',
  '-m mac ! --mac-source 02:00:00:0a:0b:0c',
  '-m mark --mark 0x7 -m mark ! --mark 0x10/0xf0',
  '-m owner ! --uid-owner 7-9 --gid-owner 7 --suppl-groups',
  '-m physdev ! --physdev-in eth+ --physdev-is-bridged',
  '-m pkttype ! --pkt-type multicast',
  '-m policy --dir in --pol ipsec --strict --reqid 7 ! --spi 0x9 --proto esp --next --mode transport',
  '-m quota ! --quota 18446744073709551615',
  '-m rateest --rateest-delta --rateest RE1 --rateest-bps1 8bit ! --rateest-lt --rateest-bps2 16bit',
  '-m recent ! --update --seconds 7 --reap --hitcount 9 --rttl --name a',
  '-m rpfilter --loose --validmark --accept-local --invert',
  '-m socket --transparent --nowildcard --restore-skmark',
  '-m statistic --mode random ! --probability 0.25000000000',
  '-m statistic --mode nth --every 7 --packet 2',
  '-m string ! --string "a b" --algo bm --from 7 --to 900 --icase',
  '-m string --hex-string "|000d0aff|" --algo kmp',
  '-m time --timestart 07:08:09 --timestop 17:18:19 --monthdays 1,31 --weekdays Tue,Sun --datestart 2024-02-29T00:00:00 --datestop 2030-01-02T03:04:05 --kerneltz',
  '-m tos ! --tos 0x10/0x3f',
  '-m u32 ! --u32 "0x0>>0x16&0x3c@0x4=0x7:0x9,0xff&&0x6=0x1"',
];

const OF_FAMILY: Record<IptablesFamily, readonly string[]> = {
  ipv4: [
    '! -s 10.0.0.0/9 -d 10.0.0.1/255.0.0.255 ! -i eth+ ! -p udp',
    '! -f',
    '-p icmp -m icmp ! --icmp-type 3/1',
    '-p icmp -m icmp --icmp-type any',
    '-p ah -m ah ! --ahspi 7:9',
    '-m iprange ! --src-range 10.0.0.7-10.0.0.9 --dst-range 1.1.1.1-1.1.1.2',
    '-m realm ! --realm 0x7/0xf',
    '-m ttl ! --ttl-eq 7',
    '-m ttl --ttl-gt 7',
    '-m conntrack --ctorigsrc 10.0.0.0/8 ! --ctrepldst 10.0.0.7',
    '-m recent --set --name a --mask 255.255.255.0 --rdest',
  ],
  ipv6: [
    '! -s fe80::/10 -d 2001:db8::7/128 -i +',
    '-p ipv6-icmp -m icmp6 ! --icmpv6-type 1/3',
    '-p ah -m ah ! --ahspi 7 ! --ahlen 9 --ahres',
    '-m dst ! --dst-len 7 --dst-opts 7:9,11',
    '-m hbh --hbh-len 7 --hbh-opts 5',
    '-m eui64',
    '-m frag ! --fragid 7:9 --fraglen 11 --fragres --fragfirst --fraglast',
    '-m hl --hl-lt 7',
    '-m iprange --src-range fe80::7-fe80::9',
    '-m ipv6header --header hop-by-hop,ipv6-route --soft',
    '-p mobility-header -m mh ! --mh-type 2:5',
    '-m rt --rt-type 0 ! --rt-segsleft 7:9 --rt-len 11 --rt-0-res --rt-0-addrs fe80::7,fe80::9 --rt-0-not-strict',
    '-m srh ! --srh-next-hdr 6 --srh-hdr-len-gt 7 --srh-segs-left-lt 9 --srh-last-entry-eq 3 ! --srh-tag 5 --srh-psid a::/64 ! --srh-lsid c::1/128',
    '-m conntrack --ctorigsrc 2001:db8::/32',
  ],
};

/** What is printed otherwise, and what is always saved. */
const PRINTED: Readonly<Record<string, string>> = {
  '! -s fe80::/10 -d 2001:db8::7/128 -i +': '! -s fe80::/10 -d 2001:db8::7/128',
};
const ALWAYS = {
  ipv4: ' --mask 255.255.255.255 --rsource',
  ipv6: ' --mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff --rsource',
};

describe.each(['ipv4', 'ipv6'] as const)('a match of %s', family => {
  it.each([...BOTH, ...OF_FAMILY[family]])('survives its expressions and its bytes: %s', rule => {
    const added = rule.includes('--rttl') ? ALWAYS[family] : '';
    const written = throughTheKernel(`-A INPUT ${rule}`, family);
    expect(written).toBe(`-A INPUT ${(PRINTED[rule] ?? rule).replace('-p 132', '-p sctp')}${added}`);
  });
});
