import fc from 'fast-check';
import type { IptablesFamily } from '../../src/iptables/index.ts';

/** Mostly words of the first kind: a form is only learnt of lines that are right. */
const mostly = (usual: fc.Arbitrary<string>, others: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc.oneof({ arbitrary: usual, weight: 9 }, { arbitrary: others, weight: 1 });
const decimal = fc.integer({ min: 1, max: 65_535 }).map(String);
const port = mostly(decimal, fc.constantFrom('0', '65536', '080', '0x50', '1:2', '8:', 'x', '70000', '+9'));
const octet = fc.integer({ min: 0, max: 255 });
const ipv4 = mostly(
  fc.tuple(octet, octet, octet, octet).map(parts => parts.join('.')),
  fc.constantFrom('10.1', '010.0.0.1', '1.2.3.4,5.6.7.8', '0.0.0.0'),
);
const ipv6 = mostly(fc.ipV6(), fc.constantFrom('::', '::1.2.3.4', 'fe80::1%lo'));
const MASKS = {
  ipv4: ['', '/32', '/24', '/9', '/255.0.255.0', '/0'],
  ipv6: ['', '/128', '/64', '/9', '/ffff::ff00', '/0'],
};
const words = mostly(
  fc.stringMatching(/^[a-z -]{1,30}$/).map(text => `"${text}"`),
  fc.constantFrom('"a \\"b\\" c"', 'plain', '""', '"é"', '"open', '-x', '!', '"a"b', `"${'x'.repeat(300)}"`),
);
const mark = mostly(
  fc.integer({ min: 0, max: 2 ** 32 - 1 }).map(value => `0x${value.toString(16)}`),
  fc.constantFrom('7', '08', '4294967296', 'x', '1/2/3'),
);
const states = mostly(
  fc.subarray(['NEW', 'ESTABLISHED', 'RELATED', 'INVALID'], { minLength: 1 }).map(list => list.join()),
  fc.constantFrom('ODD', 'new', 'NEW,NEW'),
);
const chain = mostly(
  fc.constantFrom('ours', 'mine', 'them'),
  fc.constantFrom('INPUT', 'none', 'others', 'DROP', 'MARK'),
);
const counts = fc.oneof(
  fc.constant(''),
  fc.tuple(fc.bigInt({ min: 0n, max: 10n ** 20n }), octet).map(([a, b]) => `[${a}:${b}] `),
);

/** Lines of one form each, of words that are right and wrong. */
export const iptablesForms = (family: IptablesFamily): fc.Arbitrary<string>[] => {
  const address = family === 'ipv4' ? ipv4 : ipv6;
  return [
    ...MASKS[family].flatMap(bits => [
      fc
        .tuple(address, port, chain)
        .map(([ip, to, name]) => `-A INPUT -s ${ip}${bits} -p tcp -m tcp --dport ${to} -j ${name}`),
      fc
        .tuple(address, port, port)
        .map(([ip, a, b]) => `-A ours ! -d ${ip}${bits} -p udp --sport ${a} --dport ${b} -g mine`),
    ]),
    fc.tuple(port, port).map(([a, b]) => `-A FORWARD -i eth0 -p tcp --sport ${a} ! --dport ${b} -j RETURN`),
    fc
      .tuple(chain, states, words, counts)
      .map(
        ([name, list, text, count]) =>
          `${count}-A ${name} -m conntrack ! --ctstate ${list} -m comment --comment ${text} -j DROP`,
      ),
    fc
      .tuple(chain, mark, mark)
      .map(([name, a, b]) => `-A ${name} -p 47 -m connmark --mark ${a}/${b} -j MARK --set-xmark ${a}`),
    fc.tuple(port, mark).map(([a, b]) => `-A ours -p tcp -m multiport --dports ${a},22 -m mark --mark ${b} -g mine`),
    fc
      .tuple(address, port)
      .map(([ip, to]) => `-A mine -p tcp -m tcp --dport ${to} -j TPROXY --on-port ${to} --on-ip ${ip}`),
    fc
      .tuple(words, port)
      .map(([text, rate]) => `-A INPUT -i eth0 -m limit --limit ${rate}/min -j LOG --log-prefix ${text}`),
  ];
};
