import { formatRule, NftSyntaxError, parseRule, type Statement } from '../../../src/nftables/index.ts';
import { canonical, isTyped, refuseControl, type Target } from './judge.ts';
import { makeText } from './others.ts';

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

const FAMILIES = ['ip', 'ip6', 'inet', 'arp', 'bridge', 'netdev'] as const;
const VERSIONS = ['1.1.6', '1.0.6'] as const;

/** The text of a rule. If it is one, and compiles, its printed form is a rule again. */
export const nftRuleText: Target = {
  name: 'text of a rule',
  weight: 4,
  seeds: [
    'ip saddr 10.0.0.0/8 tcp dport { 22, 80-90, https } ct state established,related counter accept',
    'ip6 saddr . tcp dport { 2001:db8::1 . 22, ::/0 . 1-3 } limit rate over 10/minute burst 7 packets drop comment "a"',
    'tcp flags & (syn | ack) == syn tcp option maxseg size set 1360 log prefix "p" level info flags tcp sequence,options',
    'meta mark set ip saddr map { 10.0.0.1 : 0x10, 10.0.0.2-10.0.0.9 : 2 } meta l4proto tcp dnat ip to 10.0.0.1-10.0.0.2:80-90 random,persistent',
    'tcp dport vmap { 22 : jump a, 23 : goto b, * : drop }',
    'jump { ip saddr 10.0.0.1 accept; counter drop; }',
    'fib saddr . iif oif missing reject with icmpx type admin-prohibited',
    'meta hour "17:00"-"09:00" meta day "Monday" queue flags bypass,fanout to 1-3',
    'numgen random mod 100 offset 5 < 7 jhash ip saddr . tcp sport mod 2 seed 0xff 1 symhash mod 2 0',
    'udp dport 4789 vxlan ip saddr 1.2.3.4 @nh,8,12 & 0xff << 2 != 5 exthdr frag exists rt0 addr[1] ::1',
    'ct original ip saddr 1.2.3.4 ct count over 20 ct helper set "h" quota over 25 mbytes used 1 kbytes',
    'add @s { ip saddr timeout 1d2h limit rate 5 kbytes/second } synproxy mss 1460 wscale 7 timestamp sack-perm',
  ].map(encode),
  make: makeText,
  read(input, random) {
    const family = random.pick(FAMILIES);
    const version = random.pick(VERSIONS);
    let statements: Statement[];
    try {
      statements = parseRule(decode(input), { family, version });
    } catch (error) {
      if (!(error instanceof NftSyntaxError)) throw error;
      refuseControl(error.message);
      if (error.errors.length === 0 || error.errors.length > 10) throw new Error(`${error.errors.length} errors`);
      return;
    }
    canonical(statements);
    let text: string;
    try {
      text = formatRule({ family, statements }, { version });
    } catch (error) {
      if (isTyped(error)) return;
      throw error;
    }
    if (!text.startsWith('#') && text !== '') parseRule(text, { family, version });
  },
};
