import { formatIptables, IptablesError, type IptablesRuleset, parseIptables } from '../../../src/iptables/index.ts';
import { canonical, refuseControl, type Target } from './judge.ts';
import { makeText } from './others.ts';

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const filter = (...rules: string[]): string =>
  `*filter\n:INPUT ACCEPT [0:0]\n:a - [0:0]\n${rules.join('\n')}\nCOMMIT\n`;

/** The text of iptables-save. If it is one, what is printed of it is read as the same. */
export const iptablesText: Target = {
  name: 'text of iptables-save',
  weight: 3,
  seeds: [
    filter('-A INPUT -s 10.0.0.0/8,1.2.3.4 ! -i eth+ -p tcp -m tcp --dport 22:80 ! --tcp-flags SYN,ACK SYN -j ACCEPT'),
    filter(
      '[3:180] -A INPUT -m comment --comment "a \\"b\\" c" -m conntrack --ctstate NEW,RELATED ! --ctorigdst 10.0.0.0/8 -g a',
    ),
    filter('-A INPUT -s fe80::/64 -p ipv6-icmp -m icmp6 --icmpv6-type 128/0 -m hl --hl-gt 254 -m rt --rt-segsleft 1:2'),
    filter(
      '-A INPUT -p udp -m multiport ! --ports 1,2:3 -m limit --limit 7/hour -m u32 --u32 "0>>22&0x3C@4=0:5,7&&6=1"',
    ),
    filter(
      '-A INPUT -m hashlimit --hashlimit-upto 5kb/s --hashlimit-burst 9kb --hashlimit-mode srcip --hashlimit-name x -j DROP',
    ),
    filter(
      '-A a -m time --datestart 2020-01-02T03:04:05 --weekdays Mon,Sun -m string --hex-string "|0d 0a|x" --algo bm --icase',
    ),
    filter('-A a -m policy --dir in --pol ipsec --strict --spi 0x1 --next --mode tunnel --tunnel-src 1.2.3.0/24'),
    filter('-A a -p sctp -m sctp --chunk-types any DATA:Be,INIT -m statistic --mode nth --every 3 --packet 1'),
    '*nat\n-A PREROUTING -p tcp -d 10.10.0.100 --dport 80 -j REDIRECT --to-ports 8080-8090 --random\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n',
    '*mangle\n:PREROUTING DROP [1:2]\n-A PREROUTING -j MARK --set-mark 0x1/0xff\n-A PREROUTING -j CT --notrack\nCOMMIT\n',
  ].map(encode),
  make: makeText,
  read(input) {
    const text = decode(input);
    let rules: IptablesRuleset;
    try {
      rules = parseIptables(text);
    } catch (error) {
      if (!(error instanceof IptablesError)) throw error;
      refuseControl(error.message);
      if (error.line === undefined) throw new Error('a refusal without a line');
      return;
    }
    canonical(rules);
    const printed = formatIptables(rules, { counters: true });
    // A word that ends without its quote has a new line in it, as in iptables: it cannot be printed on one line.
    if (text.split('\n').some(line => (line.replace(/\\./g, '').match(/"/g)?.length ?? 0) % 2 === 1)) return;
    const again = formatIptables(parseIptables(printed, { family: rules.family }), { counters: true });
    if (again !== printed) throw new Error(`printed ${printed}\nthen ${again}`);
  },
};
