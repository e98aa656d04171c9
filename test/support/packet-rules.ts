import fc from 'fast-check';
import { PORTS } from './packet-arbitrary.ts';

/* Random rules in the language of nft: each of them counts, so that it tells whether it has matched. */

const port = fc.constantFrom(...PORTS);
const op = fc.constantFrom('', '!= ');
const order = fc.constantFrom('', '!= ', '< ', '> ', '<= ', '>= ');
const text = (template: TemplateStringsArray, ...parts: fc.Arbitrary<string | number>[]): fc.Arbitrary<string> =>
  fc.tuple(...parts).map(values => template.reduce((all, part, i) => all + String(values[i - 1]) + part));
const one = (...all: string[]): fc.Arbitrary<string> => fc.constantFrom(...all);
const range = (low: number, high: number): fc.Arbitrary<string> =>
  fc
    .tuple(fc.integer({ min: low, max: high }), fc.nat(high - low))
    .map(([a, b]) => `${a}-${Math.min(high, a + b + 1)}`);

const four = one(
  '10.1.0.1',
  '10.1.0.2',
  '10.2.0.2',
  '10.1.0.0/24',
  '10.0.0.0/8',
  '10.1.0.1-10.1.0.2',
  '{ 10.1.0.1, 10.2.0.2 }',
  '{ 10.1.0.0/24, 10.2.0.1-10.2.0.9 }',
);
const six = one('fd00:1::1', 'fd00:2::2', 'fd00:1::/64', '{ fd00:1::1, fd00:2::2 }', 'fd00:1::1-fd00:1::ff');
const ports = fc.oneof(
  port.map(String),
  range(1, 60_000),
  fc.uniqueArray(port, { minLength: 1, maxLength: 3 }).map(all => `{ ${all.join(', ')} }`),
  one('{ 20-60, 443 }', '{ 1-1000, 3000-4000 }'),
);

/** Matches that any chain of an IP family may have. */
const common: fc.Arbitrary<string>[] = [
  text`tcp dport ${op}${ports}`,
  text`tcp sport ${op}${ports}`,
  text`udp dport ${op}${ports}`,
  text`udp sport ${order}${port}`,
  text`th dport ${op}${ports}`,
  text`udp length ${order}${fc.constantFrom(8, 9, 40)}`,
  text`udp checksum ${op}0`,
  text`tcp flags ${one('syn', '& (syn|ack) == syn', '& (fin|syn|rst|ack) == syn', '!= 0', '== syn', 'syn / syn,ack', '! fin,rst')}`,
  text`tcp sequence ${order}${fc.constantFrom(0, 1000)}`,
  text`tcp window ${order}${fc.constantFrom(1, 22, 65_535)}`,
  text`tcp doff ${order}${fc.constantFrom(5, 6)}`,
  text`tcp option ${one('maxseg size 1460', 'maxseg exists', 'sack-perm exists', 'timestamp missing', 'window count 7', 'window missing', 'maxseg size > 1000', 'timestamp tsval 1', '254 exists', 'nop exists')}`,
  text`meta l4proto ${one('tcp', 'udp', '!= tcp', '{ tcp, udp }', 'icmp', 'ipv6-icmp', 'sctp', '{ 50, 132, 47 }')}`,
  text`meta length ${order}${fc.constantFrom(28, 40, 60, 100)}`,
  text`meta protocol ${one('ip', 'ip6', '!= ip')}`,
  text`meta nfproto ${one('ipv4', 'ipv6')}`,
  text`meta mark ${order}${fc.constantFrom(0, 1, 5, '0x10/0xf0'.length)}`,
  text`meta mark & 0xf ${one('== 1', '!= 0', '== 5')}`,
  text`meta priority ${one('0', '!= 0', '1:2')}`,
  text`iifname ${one('"i0"', '!= "i0"', '"i*"', '"lo"', '{ "i0", "i1" }')}`,
  text`oifname ${one('"i1"', '!= "i1"', '"x*"', '""'.length.toString().replace('2', '"i1"'))}`,
  text`meta pkttype ${one('host', '!= host', 'unicast', 'multicast')}`,
  text`meta iiftype ${one('ether', 'loopback')}`,
  text`meta cpu ${one('>= 0', '< 64')}`,
  text`sctp ${one('dport 80', 'sport { 22, 53 }', 'chunk data exists', 'chunk init missing', 'vtag 77', 'chunk data flags 3')}`,
  text`dccp dport ${ports}`,
  text`@th,0,16 ${op}${port}`,
  text`@th,${fc.constantFrom(0, 8, 16, 24, 32)},${fc.constantFrom(8, 16, 24, 32, 64)} ${order}${fc.constantFrom(0, 22, 200)}`,
  text`@nh,${fc.constantFrom(0, 8, 16, 72, 96)},${fc.constantFrom(8, 16, 24, 32, 40, 64)} ${order}${fc.constantFrom(0, 64, 0x45)}`,
  text`@ll,${fc.constantFrom(0, 48, 96)},${fc.constantFrom(8, 16, 48)} ${order}${fc.constantFrom(2, 0x0800)}`,
  text`@ih,${fc.constantFrom(0, 8)},${fc.constantFrom(8, 16)} ${order}${fc.constantFrom(1, 8)}`,
  text`ether ${one('saddr 02:00:00:00:00:03', 'daddr 02:00:00:00:00:02', 'type ip', 'type != ip6', 'saddr != 02:00:00:00:00:03')}`,
  text`fib ${one('saddr type local', 'daddr type local', 'daddr type unicast', 'daddr type { local, broadcast }', 'daddr type != local')}`,
];
const ofFour: fc.Arbitrary<string>[] = [
  text`ip saddr ${op}${four}`,
  text`ip daddr ${op}${four}`,
  text`ip protocol ${one('tcp', '!= udp', '{ tcp, udp, icmp }', '> 6')}`,
  text`ip ttl ${order}${fc.constantFrom(1, 2, 63, 64)}`,
  text`ip id ${order}${fc.constantFrom(0, 1)}`,
  text`ip length ${order}${fc.constantFrom(40, 60)}`,
  text`ip hdrlength ${order}${fc.constantFrom(5, 6)}`,
  text`ip dscp ${one('0', '!= 0', 'ef', 'cs1')}`,
  text`ip ecn ${one('not-ect', 'ce')}`,
  text`ip frag-off & 0x1fff ${one('!= 0', '== 0')}`,
  text`ip option ${one('ra exists', 'ra missing', 'ra value 0', 'rr exists', 'lsrr missing')}`,
  text`icmp type ${one('echo-request', '{ echo-request, echo-reply }', '!= echo-reply', 'timestamp-request')}`,
  text`icmp code ${order}${fc.constantFrom(0, 1)}`,
  text`icmp id ${ports}`,
  text`ip saddr . tcp dport ${one('{ 10.1.0.1 . 80, 10.1.0.1 . 22 }', '{ 10.1.0.0/24 . 1-100 }', '!= { 10.1.0.1 . 443 }')}`,
  text`ip saddr . ip daddr ${one('{ 10.1.0.1 . 10.2.0.2 }', '{ 10.1.0.0/24 . 10.2.0.0/16, 10.1.0.1 . 10.1.0.2 }')}`,
  text`ip saddr & 0.0.0.255 ${one('== 0.0.0.1', '!= 0.0.0.77', '> 0.0.0.4')}`,
  text`ip daddr map ${one('{ 10.1.0.2 : 1, 10.2.0.2 : 5 }')} == 5`.map(
    () => 'meta mark set ip daddr map { 10.1.0.2 : 1, 10.2.0.2 : 5 }',
  ),
];
const ofSix: fc.Arbitrary<string>[] = [
  text`ip6 saddr ${op}${six}`,
  text`ip6 daddr ${op}${six}`,
  text`ip6 nexthdr ${one('tcp', '!= udp', '{ tcp, udp, ipv6-icmp }', '> 6')}`,
  text`ip6 hoplimit ${order}${fc.constantFrom(1, 2, 63, 64)}`,
  text`ip6 flowlabel ${order}${fc.constantFrom(0, 0x12345)}`,
  text`ip6 dscp ${one('0', '!= 0')}`,
  text`ip6 length ${order}${fc.constantFrom(20, 40)}`,
  text`icmpv6 type ${one('echo-request', '{ echo-request, echo-reply }', 'destination-unreachable')}`,
  text`icmpv6 id ${ports}`,
  text`exthdr ${one('hbh exists', 'frag exists', 'dst missing', 'rt exists', 'hbh missing')}`,
  text`${one('frag frag-off != 0', 'frag more-fragments 1', 'frag id 9', 'hbh nexthdr tcp', 'dst hdrlength 0', 'frag nexthdr udp')}`,
  text`ip6 saddr . udp dport ${one('{ fd00:1::1 . 53 }', '{ fd00:1::/64 . 1-100 }')}`,
];

/** What changes the packet, its marks, or states of rules. */
const changes: fc.Arbitrary<string>[] = [
  text`meta mark set ${one('1', '5', '0xdeadbeef', 'meta mark | 0x10', 'meta mark & 0xf', 'meta mark ^ 0x3', 'meta mark << 4', 'meta mark >> 2')}`,
  text`meta priority set ${one('1:2', '0:5')}`,
  text`meta pkttype set ${one('host', 'broadcast', 'multicast')}`,
  text`tcp dport set ${port}`,
  text`udp sport set ${port}`,
  text`th dport set ${port}`,
  text`tcp option maxseg size set ${fc.constantFrom(500, 1460, 9000)}`,
  text`reset tcp option ${one('maxseg', 'sack-perm', 'timestamp', 'window', '254')}`,
  text`tcp window set ${fc.constantFrom(7, 65_535)}`,
  text`tcp flags set ${one('syn', 'ack')}`,
  text`quota ${one('until', 'over')} ${fc.constantFrom(100, 300)} bytes`,
  text`limit rate ${one('', 'over ')}${fc.constantFrom(1, 3)}/day burst ${fc.constantFrom(1, 3)} packets`,
  text`meta mark set numgen inc mod ${fc.constantFrom(2, 3, 7)} offset ${fc.constantFrom(0, 5)}`,
  text`meta mark set jhash ${one('tcp dport', 'udp sport', 'meta l4proto')} mod ${fc.constantFrom(2, 16, 1000)} seed 0x${fc.constantFrom('1', 'deadbeef')} offset ${fc.constantFrom(0, 100)}`,
  text`last`,
  text`log group 77 prefix "${one('x', 'some words ')}"`,
  text`log group 77 snaplen ${fc.constantFrom(0, 20, 33)}`,
  text`set update tcp dport @seen`.map(() => 'add @ports { tcp dport }'),
  text`update @ports { udp dport ${one('', 'timeout 1h')} }`,
  text`add @pairs { meta mark . th dport counter }`,
  text`add @few { th sport }`,
  text`delete @ports { tcp dport }`,
  text`tcp dport @ports`,
  text`th dport != @ports`,
  text`meter`.map(() => 'update @rates { tcp sport limit rate 2/day burst 2 packets }'),
  text`counter name "hits"`,
  text`quota name "cap"`,
  text`limit name "slow"`,
  text`meta nftrace set 1`,
];
const changesOfFour: fc.Arbitrary<string>[] = [
  text`ip ttl set ${fc.constantFrom(3, 9, 200)}`,
  text`ip dscp set ${one('cs1', 'ef', '0')}`,
  text`ip ecn set ce`,
  text`ip daddr set ${one('10.2.0.2', '10.2.0.77'.replace('77', '2'))}`,
  text`ip saddr set ${one('10.1.0.77', '10.3.0.1')}`,
  text`ip id set ${fc.constantFrom(0, 7)}`,
  text`icmp code set 2`,
  text`meta mark set jhash ip saddr . ip daddr mod ${fc.constantFrom(16, 1000)} seed 0x5`,
  text`meta mark set ip saddr map { 10.1.0.1 : 7, * : 9 }`,
  text`counter name ip daddr map { 10.2.0.2 : "hits" }`,
  text`update @sources { ip saddr timeout 1h : 0x1 }`.map(() => 'update @clients { ip saddr . tcp dport }'),
];
const changesOfSix: fc.Arbitrary<string>[] = [
  text`ip6 hoplimit set ${fc.constantFrom(3, 9, 200)}`,
  text`ip6 dscp set cs1`,
  text`ip6 saddr set fd00:1::77`,
  text`ip6 flowlabel set 5`,
  text`meta mark set jhash ip6 saddr mod 16 seed 0x5`,
  text`meta mark set ip6 daddr map { fd00:2::2 : 7 }`,
];

const verdicts = (isReject: boolean): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 12, arbitrary: fc.constant('') },
    { weight: 2, arbitrary: fc.constant('accept') },
    { weight: 2, arbitrary: fc.constant('drop') },
    { weight: 3, arbitrary: one('jump other', 'goto other', 'return', 'continue') },
    {
      weight: 2,
      arbitrary: one(
        'tcp dport vmap { 22 : drop, 80 : jump other, 443 : accept, 53 : goto other, 1-20 : return }',
        'meta l4proto vmap { tcp : jump other, udp : continue }',
      ),
    },
    ...(isReject
      ? [
          {
            weight: 2,
            arbitrary: one(
              'reject',
              'reject with tcp reset',
              'reject with icmpx admin-prohibited',
              'reject with icmpx host-unreachable',
            ),
          },
        ]
      : []),
  );

export type RuleFamily = 'ip' | 'ip6' | 'inet';

/** A rule for a chain of a family. */
export function rule(family: RuleFamily, hook: string): fc.Arbitrary<string> {
  const matches = fc.oneof(...common, ...(family === 'ip6' ? [] : ofFour), ...(family === 'ip' ? [] : ofSix));
  const effects = fc.oneof(
    ...changes,
    ...(family === 'ip6' ? [] : changesOfFour),
    ...(family === 'ip' ? [] : changesOfSix),
  );
  const statement = fc.oneof({ weight: 3, arbitrary: matches }, { weight: 2, arbitrary: effects });
  return fc
    .tuple(fc.array(statement, { minLength: 0, maxLength: 3 }), verdicts(hook !== 'postrouting'))
    .map(([statements, verdict]) => [...statements, 'counter', verdict].join(' ').trim());
}

export interface Chains {
  readonly family: RuleFamily;
  readonly hook: string;
  readonly priority: number;
  readonly policy: 'accept' | 'drop';
  readonly base: readonly string[];
  readonly other: readonly string[];
  readonly traced: boolean;
}

/** A table with a base chain and one that it may jump to. */
export const chains: fc.Arbitrary<Chains> = fc
  .record({
    family: fc.constantFrom<RuleFamily>('ip', 'ip6', 'inet'),
    hook: fc.constantFrom('prerouting', 'input', 'forward', 'postrouting'),
    priority: fc.constantFrom(0, -300, 50),
    policy: fc.constantFrom('accept' as const, 'accept' as const, 'accept' as const, 'drop' as const),
    traced: fc.constantFrom(true, false),
  })
  .chain(
    fixed =>
      fc.record({
        ...Object.fromEntries(Object.entries(fixed).map(([key, value]) => [key, fc.constant(value)])),
        base: fc.array(rule(fixed.family, fixed.hook), { minLength: 1, maxLength: 6 }),
        other: fc
          .array(rule(fixed.family, fixed.hook), { minLength: 0, maxLength: 3 })
          .map(all =>
            all.map(each => each.replace(/(jump|goto) other/g, 'return').replace(/ vmap .*/, ' vmap { 22 : drop }')),
          ),
      }) as unknown as fc.Arbitrary<Chains>,
  );

/** The chains as text. The kernel's own packets go past them: they have come in by no device, or by the one by which its reports of groups leave. */
export function textOf({ family, hook, priority, policy, base, other, traced }: Chains): string {
  return `table ${family} t {
  set ports { type inet_service; flags dynamic,timeout; timeout 1d; size 100; }
  set pairs { type mark . inet_service; flags dynamic; size 100; counter; }
  set few { type inet_service; flags dynamic; size 2; }
  set rates { type inet_service; flags dynamic; size 100; }
  ${family === 'ip6' ? '' : 'set clients { type ipv4_addr . inet_service; flags dynamic; size 100; }'}
  counter hits { }
  quota cap { over 200 bytes }
  limit slow { rate 2/day burst 2 packets }
  chain other {
    ${other.join('\n    ')}
  }
  chain base {
    type filter hook ${hook} priority ${priority}; policy ${policy};
    ${hook === 'postrouting' ? 'iifname != "i0" accept\n    oifname "i0" accept' : ''}
    ${traced ? 'meta nftrace set 1' : ''}
    ${base.join('\n    ')}
  }
}
`;
}
