import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { UnsupportedError } from '../../src/errors.ts';
import { filesLike, readLines } from '../conformance/corpus.ts';
import type { Case } from '../conformance/kernel.ts';
import { ETHERTYPES } from '../support/frames.ts';
import { anyFrame, type Frame, isFollowed } from '../support/packet-arbitrary.ts';
import { type Chains, chains, type RuleFamily, textOf } from '../support/packet-rules.ts';
import { PacketTwins } from '../support/packet-twins.ts';

/*
 * The kernel in memory is judged by the one that runs: the same rules, the same frames; the same frames out, answers, messages of NFLOG, traces,
 * and what rules, sets and objects have counted.
 */

const LONG = process.env.NETSTEER_LONG !== undefined;
const FRAMES = LONG ? 40 : 8;
const SEED = Number(process.env.NETSTEER_SEED ?? 20);

let twins: PacketTwins;
beforeAll(() => {
  twins = new PacketTwins();
});
afterAll(async () => {
  await twins.close();
});

/** What has been compared. */
class Tally {
  packets = 0;
  unmodelled = 0;
}

/** Lets both kernels have the frames, and compares all that can be seen. */
function compare(frames: readonly Frame[], tally: Tally, about: string): void {
  const { unmodelled } = tally;
  for (const { type, bytes } of frames) {
    const packet = Buffer.from(bytes).toString('hex');
    try {
      const [kernel, memory] = twins.receive(type, bytes);
      expect(memory, `${about}\n${packet}`).toEqual(kernel);
      tally.packets++;
    } catch (error) {
      if (!(error instanceof UnsupportedError)) throw error;
      tally.unmodelled++;
    }
  }
  // What one of them has not counted tells nothing.
  if (unmodelled < tally.unmodelled) return;
  const [kernel, memory] = twins.states();
  expect(memory, about).toEqual(kernel);
}

/** The chains without rules that the language does not have: two protocols at once and the like. */
function sound(wanted: Chains): Chains {
  const rulesOf = (part: 'base' | 'other') =>
    wanted[part].filter(each => twins.takes(textOf({ ...wanted, base: [], other: [], [part]: [each] })));
  return { ...wanted, base: rulesOf('base'), other: rulesOf('other') };
}

test('random packets through random rules come out of the kernel in memory as out of the real one', () => {
  const tally = new Tally();
  const frames = fc.array(anyFrame, { minLength: FRAMES, maxLength: FRAMES });
  fc.assert(
    fc.property(chains, frames, (wanted, all) => {
      const text = textOf(sound(wanted));
      const [kernel, memory] = twins.apply(text);
      expect(memory, text).toBe(kernel);
      if (kernel === 'ok') compare(all, tally, text);
    }),
    { numRuns: LONG ? 2500 : 130, seed: SEED, endOnFailure: true },
  );
  expect(tally.packets).toBeGreaterThan(LONG ? 90_000 : 900);
  expect(tally.unmodelled).toBeLessThan(tally.packets / 20);
});

/** Rules whose meaning differs from one moment or machine to the next. */
const UNSTEADY =
  /random|symhash|meta (time|hour|day|random|cpu)|jhash(?!.*seed)|rtclassid|cgroup|queue|limit|quota|device "lo"|ct count/;
const HOOKS = ['prerouting', 'input', 'forward', 'postrouting'] as const;

test('random packets through recorded rules come out of the kernel in memory as out of the real one', () => {
  const tally = new Tally();
  const recorded = filesLike(/^nft-1.1.6-rules/)
    .flatMap(file => readLines<Case>(file))
    .filter(({ rule, family }) => rule !== undefined && ['ip', 'ip6', 'inet'].includes(family ?? ''))
    .filter(({ rule }) => !UNSTEADY.test(rule!));
  const of = (family: RuleFamily) => recorded.filter(each => each.family === family).map(({ rule }) => rule!);
  const cases = fc
    .record({ family: fc.constantFrom<RuleFamily>('ip', 'ip6', 'inet'), hook: fc.constantFrom(...HOOKS) })
    .chain(({ family, hook }) =>
      fc.record({
        family: fc.constant(family),
        hook: fc.constant(hook),
        priority: fc.constantFrom(0, -300),
        policy: fc.constant('accept' as const),
        base: fc.array(fc.constantFrom(...of(family)), { minLength: 4, maxLength: 8 }),
        other: fc.constant([]),
        traced: fc.boolean(),
      }),
    );
  fc.assert(
    fc.property(
      cases,
      fc.array(anyFrame.filter(isFollowed), { minLength: FRAMES, maxLength: FRAMES }),
      (wanted, all) => {
        const counting = { ...wanted, base: wanted.base.map(each => `${each}\n    counter`) };
        const text = textOf(sound(counting));
        const [kernel, memory] = twins.apply(text, { tracks: true });
        expect(memory, text).toBe(kernel);
        if (kernel !== 'ok') return;
        twins.flush();
        compare(all, tally, text);
      },
    ),
    { numRuns: LONG ? 500 : 40, seed: SEED, endOnFailure: true },
  );
  expect(tally.packets).toBeGreaterThan(LONG ? 15_000 : 150);
});

const word = (...all: string[]): fc.Arbitrary<string> => fc.constantFrom(...all);
const not = word('', '! ');
const join = (...parts: fc.Arbitrary<string>[]): fc.Arbitrary<string> => fc.tuple(...parts).map(all => all.join(''));
const MATCHES = (isFour: boolean): fc.Arbitrary<string> =>
  fc.oneof(
    join(word('-p tcp -m tcp '), not, word('--dport 1:100', '--sport 22', '--tcp-flags SYN,ACK SYN', '--syn')),
    join(word('-p udp -m udp '), not, word('--dport 53', '--sport 1:1300')),
    join(word('-p tcp -m multiport '), not, word('--dports 22,80:90', '--sports 53,443', '--ports 1:60,3333')),
    join(word('-p udp -m multiport '), not, word('--dports 53,1000:2000', '--ports 80')),
    join(word('-m mark '), not, word('--mark 0x1/0xf', '--mark 5', '--mark 0')),
    join(word('-m connmark '), not, word('--mark 0x1', '--mark 0')),
    join(word('-m conntrack '), not, word('--ctstate NEW', '--ctstate INVALID', '--ctstate NEW,ESTABLISHED,RELATED')),
    join(word('-m state --state '), word('NEW', 'INVALID,RELATED', 'ESTABLISHED,UNTRACKED')),
    join(word('-m addrtype '), not, word('--dst-type LOCAL', '--src-type UNICAST', '--dst-type UNICAST,LOCAL')),
    join(word('-m length '), not, word('--length 0:60', '--length 100')),
    join(word('-m mac '), not, word('--mac-source 02:00:00:00:00:03')),
    join(word('-m pkttype '), not, word('--pkt-type unicast', '--pkt-type multicast')),
    join(word('-m dscp '), not, word('--dscp 0', '--dscp 46')),
    join(word('-m tos '), not, word('--tos 0x10', '--tos 0/3')),
    isFour
      ? join(word('-m iprange '), not, word('--src-range 10.1.0.1-10.1.0.9', '--dst-range 10.2.0.1-10.2.0.3'))
      : join(word('-m iprange '), not, word('--src-range fd00:1::1-fd00:1::9')),
    isFour
      ? word('-m ttl --ttl-gt 2', '-m ttl --ttl-lt 64', '-m ttl ! --ttl-eq 64')
      : word('-m hl --hl-gt 2', '-m hl ! --hl-eq 64'),
    isFour
      ? word('-p icmp -m icmp --icmp-type 8', '-p icmp -m icmp ! --icmp-type 0')
      : word('-p icmpv6 --icmpv6-type 128', '-p icmpv6 ! --icmpv6-type 129'),
    word('-m comment --comment "some words"', ''),
    join(word('-p tcp -m tcp '), not, word('--tcp-option 2', '--tcp-option 8')),
    join(word('-p tcp --tcp-flags SYN,RST SYN -m tcpmss '), not, word('--mss 500:1460', '--mss 1460')),
    join(word('-m conntrack '), not, word('--ctproto 17', '--ctorigdstport 80', '--ctreplsrcport 50:90')),
    join(word('-m conntrack '), not, word('--ctstatus NONE', '--ctstatus CONFIRMED', '--ctexpire 0:10')),
    word('-m conntrack --ctdir ORIGINAL', '-m conntrack --ctstate NEW --ctproto 6', '-m conntrack ! --ctdir ORIGINAL'),
    isFour
      ? join(
          word('-m conntrack '),
          not,
          word('--ctorigsrc 10.1.0.1', '--ctreplsrc 10.2.0.0/24', '--ctorigdst 10.1.0.2'),
        )
      : join(word('-m conntrack '), not, word('--ctorigsrc fd00:1::1', '--ctreplsrc fd00:2::/64')),
    join(
      word('-m addrtype '),
      not,
      word('--dst-type LOCAL --limit-iface-in', '--src-type LOCAL', '--src-type MULTICAST'),
    ),
    join(word('-m statistic --mode nth '), not, word('--every 2', '--every 3 --packet 1')),
    join(word('-m quota '), not, word('--quota 200', '--quota 1')),
    join(
      word('-m connbytes --connbytes '),
      word('0:100', '60', '1:2'),
      word(' --connbytes-dir both ', ' --connbytes-dir original '),
      word('--connbytes-mode bytes', '--connbytes-mode packets', '--connbytes-mode avgpkt'),
    ),
    join(word('-m devgroup '), not, word('--src-group 0', '--src-group 1/3')),
  );
const TARGETS = (isFour: boolean): fc.Arbitrary<string> =>
  fc.oneof(
    word('-j MARK --set-xmark 0x1/0xf', '-j MARK --set-mark 5', '-j MARK --or-mark 0x10'),
    word('-j CONNMARK --save-mark', '-j CONNMARK --restore-mark', '-j CONNMARK --set-mark 1'),
    word('-j DSCP --set-dscp 10', '-j TOS --set-tos 0x08/0x3f', '-j CLASSIFY --set-class 1:2'),
    isFour
      ? word('-j TTL --ttl-set 9', '-j TTL --ttl-dec 1', '-j TTL --ttl-inc 200')
      : word('-j HL --hl-set 9', '-j HL --hl-dec 1'),
    word('-j NFLOG --nflog-group 77 --nflog-prefix "an xt "', '-j NFLOG --nflog-group 77 --nflog-size 30'),
    word('', '', '-j RETURN', '-j ACCEPT', '-j DROP', '-j NFQUEUE --queue-num 3'),
  );
/** Rules that have their match with them. */
const PAIRS: readonly (readonly [match: string, target: string])[] = [
  ['-p tcp --tcp-flags SYN,RST SYN', '-j TCPMSS --set-mss 500'],
  ['-p tcp --tcp-flags SYN,RST SYN', '-j TCPMSS --set-mss 40'],
  ['-p tcp --tcp-flags SYN,RST SYN', '-j TCPMSS --clamp-mss-to-pmtu'],
];
/** Translations that no two packets of a case get into each other's way with: those would get a port by chance. */
const TRANSLATIONS = (isFour: boolean): readonly string[] =>
  isFour
    ? [
        '-A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.2.0.2:8080',
        '-A PREROUTING -p udp -m udp --dport 53 -j DNAT --to-destination 10.2.0.2:5353-5353',
        '-A PREROUTING -p tcp -m tcp --dport 443 -j REDIRECT --to-ports 8443',
        '-A PREROUTING -p udp -m udp --dport 3333 -j REDIRECT',
        '-A POSTROUTING -o i1 -j MASQUERADE',
        '-A POSTROUTING -o i1 -p tcp -j SNAT --to-source 10.2.0.7',
        '-A POSTROUTING -o i1 -p udp -j NETMAP --to 10.7.0.0/16',
      ]
    : [
        '-A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00:2::2]:8080',
        '-A PREROUTING -p tcp -m tcp --dport 443 -j REDIRECT --to-ports 8443',
        '-A POSTROUTING -o i1 -j MASQUERADE',
        '-A POSTROUTING -o i1 -p tcp -j SNAT --to-source fd00:2::7',
        '-A POSTROUTING -o i1 -p udp -j NETMAP --to fd00:7::/32',
      ];
const ZONES = ['', '', '-A PREROUTING -p udp -j CT --notrack', '-A PREROUTING -j CT --zone 3'];

/** A packet of the client to the server: one source, so that no ports clash. */
const isOfClient = ({ type, bytes }: Frame): boolean =>
  type === ETHERTYPES.ip ? bytes[15] === 1 && bytes[14] === 0 && bytes[17] === 2 : bytes[23] === 1 && bytes[27] === 2;

test('random packets through random rules of iptables come out of the kernel in memory as out of the real one', () => {
  const tally = new Tally();
  const taken = new Set<string>();
  const cases = fc.boolean().chain(isFour =>
    fc.record({
      isFour: fc.constant(isFour),
      chain: fc.constantFrom('PREROUTING', 'FORWARD', 'INPUT'),
      rules: fc.array(
        fc.oneof(
          { weight: 12, arbitrary: fc.tuple(MATCHES(isFour), TARGETS(isFour)) },
          { weight: 1, arbitrary: fc.constantFrom(...PAIRS) },
        ),
        { minLength: 3, maxLength: 6 },
      ),
      zone: fc.constantFrom(...ZONES),
      translations: fc.oneof(
        { weight: 2, arbitrary: fc.constant([]) },
        { weight: 1, arbitrary: fc.shuffledSubarray([...TRANSLATIONS(isFour)], { minLength: 1 }) },
      ),
    }),
  );
  fc.assert(
    fc.property(
      cases,
      fc.array(anyFrame.filter(isFollowed), { minLength: FRAMES, maxLength: FRAMES }),
      (wanted, all) => {
        const { isFour, chain, rules, zone, translations } = wanted;
        const lines = rules.map(([match, target]) => `-A ${chain} ${match} ${target}`);
        const tables = { raw: zone === '' ? [] : [zone], mangle: lines, nat: translations };
        const text = Object.entries(tables)
          .filter(([, each]) => each.length > 0)
          .map(([table, each]) => `*${table}\n${each.join('\n')}\nCOMMIT\n`)
          .join('');
        const [kernel, memory] = twins.restore(text, isFour ? 'ipv4' : 'ipv6');
        expect(memory, text).toBe(kernel);
        if (kernel !== 'ok') return;
        for (const [match, target] of rules)
          for (const part of [match, target]) taken.add(part.replace(/.*-[mj] (\w+).*/, '$1'));
        twins.flush();
        compare(translations.length === 0 ? all : all.filter(isOfClient), tally, text);
      },
    ),
    { numRuns: LONG ? 400 : 40, seed: SEED, endOnFailure: true },
  );
  expect(tally.packets).toBeGreaterThan(LONG ? 10_000 : 150);
  expect(taken.size).toBeGreaterThan(15);
});
