import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { IptablesError, type IptablesFamily } from '../../src/iptables/index.ts';
import { restoreText } from '../../src/iptables/restore.ts';
import { RulesetState } from '../../src/iptables/state.ts';
import { Names } from '../../src/nftables/index.ts';

const names = new Names({ readFile: () => undefined });
const NOTHING = { generation: 1, tables: [], chains: [] };

interface Restored {
  bytes?: string;
  operations?: readonly unknown[];
  origins?: readonly unknown[];
  error?: string;
  line?: number | undefined;
}

/** What a text makes; `whole`: each line is read as a command, as is done where commands look at rules. */
function restored(text: string, family: IptablesFamily, counters: boolean, whole: boolean): Restored {
  const state = new RulesetState(family, names, whole ? { ...NOTHING, rules: [] } : NOTHING);
  try {
    restoreText(text, state, { counters });
  } catch (error) {
    if (!(error instanceof IptablesError)) throw error;
    return { error: error.message, line: state.line };
  }
  const { bytes } = state.transaction.encode();
  return {
    bytes: Buffer.from(bytes).toString('hex'),
    operations: state.transaction.operations.map(({ verb, kind, subject }) => ({
      verb,
      kind,
      subject: (subject as Record<string, unknown>)[kind],
    })),
    origins: state.origins.map(({ line, operation, table, chain }) => ({ line, operation, table, chain })),
  };
}

function sameAsCommands(lines: readonly string[], family: IptablesFamily, counters: boolean): Restored {
  const text = `*filter\n:INPUT ACCEPT [0:0]\n:ours - [0:0]\n:mine - [0:0]\n:them - [0:0]\n${lines.join('\n')}\nCOMMIT\n`;
  const fast = restored(text, family, counters, false);
  expect(fast).toEqual(restored(text, family, counters, true));
  return fast;
}

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
const forms = (family: IptablesFamily): fc.Arbitrary<string>[] => {
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

const isRight = (line: string, family: IptablesFamily): boolean =>
  restored(`*filter\n:ours -\n:mine -\n:them -\n${line}\nCOMMIT\n`, family, true, true).error === undefined;

describe('Lines of one form', () => {
  it.each(['ipv4', 'ipv6'] as const)('are the rules of %s that they are when each is read as a command', family => {
    const copied = vi.spyOn(RulesetState.prototype, 'appendWritten');
    const line = fc.oneof(...forms(family).map(each => fc.array(each, { minLength: 5, maxLength: 20 })));
    fc.assert(
      fc.property(line, line, fc.boolean(), (some, others, counters) => {
        // A wrong line ends the reading: the right ones are also read without it.
        const right = [...some, ...others].filter(each => isRight(each, family));
        sameAsCommands(right, family, counters);
        sameAsCommands([...right, ...right, ...some, ...others], family, counters);
      }),
      { numRuns: 50 },
    );
    expect(copied.mock.calls.length).toBeGreaterThan(1000);
    copied.mockRestore();
  });

  it('take the addresses, ports, texts, chains and counters of each line', () => {
    const lines = Array.from(
      { length: 50 },
      (_, i) =>
        `[${i}:${i * 100}] -A ${i % 3 === 0 ? 'mine' : 'ours'} -s 10.${i}.0.0/16 -p tcp -m tcp --dport ${i + 1} -m comment --comment "rule ${i}" -j ${i % 2 === 0 ? 'mine' : 'ours'}`,
    );
    const { bytes } = sameAsCommands(lines, 'ipv4', true);
    expect(bytes).toContain(Buffer.from('rule 49').toString('hex'));
  });

  it('are read as commands again after a command has removed a chain that they name', () => {
    const lines = Array.from({ length: 9 }, (_, i) => `-A INPUT -s 10.0.0.${i} -j mine`);
    const text = ['*filter', ':INPUT ACCEPT', ':mine -', ...lines, '-F', '-E mine yours', lines[0], 'COMMIT', ''].join(
      '\n',
    );
    const { error, line: number } = restored(text, 'ipv4', false, false);
    expect(error).toBe("Chain 'mine' does not exist");
    expect(number).toBe(15);
  });

  it('cost no command each: of 2,000 lines a few are read as a whole', () => {
    const state = new RulesetState('ipv4', names, NOTHING);
    const compiled = vi.spyOn(state, 'written');
    const lines = Array.from(
      { length: 2000 },
      (_, i) =>
        `-A INPUT -s 10.0.${i >> 8}.${i & 255} -p tcp --dport ${i + 1} -m comment --comment "rule ${i}" -j ACCEPT`,
    );
    restoreText(`*filter\n:INPUT ACCEPT\n${lines.join('\n')}\nCOMMIT\n`, state);
    expect(state.transaction.length).toBe(2003);
    expect(compiled.mock.calls.length).toBeLessThan(40);
  });
});
