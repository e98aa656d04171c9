import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chainText, readBothWays, withOtherNumbers } from '../support/line-rules.ts';

/* Large chains: the lines of one form are not parsed, and give what the parser gives. */

const COUNT = 20;
/** Lines of one form. */
const FORMS: Readonly<Record<string, (index: number) => string>> = {
  redirects: i => `ip daddr 10.0.0.${i} tcp dport ${i} redirect to :${8000 + i}`,
  'destination NAT': i => `ip saddr 10.${i}.0.0/16 udp dport ${i} dnat to 192.0.2.${i}:${i}`,
  'ranges of ports and addresses': i => `ip saddr 10.0.0.${i}-10.0.1.${i} tcp sport ${i}-${1000 + i} accept`,
  marks: i => `meta mark ${i} ct mark set ${i + 100} counter`,
  'groups of the log': i => `tcp dport ${i} log prefix "port 10 " group ${i} accept`,
};
const textOf = (form: (index: number) => string, between: readonly string[] = []): string =>
  chainText('ip', Array.from({ length: COUNT }, (_, i) => [form(i + 1), ...between]).flat());

describe('lines of one form', () => {
  it.each(Object.keys(FORMS))('are not parsed from the second one on: %s', name => {
    expect(readBothWays(textOf(FORMS[name]!))).toEqual({ difference: undefined, skipped: COUNT - 1 });
  });

  it('are not parsed when lines of other forms, comments and empty lines stand between them', () => {
    const between = ['', '# 10.0.0.1', 'tcp dport 22 drop', 'accept comment "last"'];
    const { difference, skipped } = readBothWays(textOf(FORMS.redirects!, between));
    expect(difference).toBeUndefined();
    // Of the redirects, and of those of port 22.
    expect(skipped).toBe(2 * (COUNT - 1));
  });

  it('are read with the constants that only some of them share', () => {
    const text = textOf(i => `ip saddr 10.0.0.${i} ip ttl ${i >> 3} limit rate ${1 + (i >> 3)}/second accept`);
    const { difference, skipped } = readBothWays(text);
    expect(difference).toBeUndefined();
    expect(skipped).toBeGreaterThan(COUNT / 2);
  });

  it('give what the parser gives, whatever their numbers are', () => {
    const numbers = fc.array(fc.nat({ max: 0xffffffff }), { minLength: 1, maxLength: 60 });
    const forms = fc.array(fc.constantFrom(...Object.values(FORMS)), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(forms, numbers, (chosen, given) => {
        let at = 0;
        const next = () => given[at++ % given.length]!;
        const lines = [1, 2, 3, 4].flatMap(i =>
          chosen.map(form => (i < 3 ? form(i) : withOtherNumbers(form(i), next))),
        );
        expect(readBothWays(chainText('ip', lines)).difference).toBeUndefined();
      }),
      { numRuns: 200 },
    );
  });
});

describe('lines that only the parser can read', () => {
  it.each<[string, (index: number) => string]>([
    ['a variable, which may have changed', i => `define p = ${i}\n tcp dport $p ip saddr 10.0.0.${i} accept`],
    ['a set in braces', i => `tcp dport { ${i}, ${i + 1} } accept`],
    ['the name of a set', i => `ip saddr @s tcp dport ${i} accept`],
    ['two rules', i => `tcp dport ${i} accept; accept`],
    ['a comment', i => `tcp dport ${i} accept # ${i}`],
    ['a line that goes on', i => `tcp dport ${i} \\\n accept`],
    ['an octal number', i => `tcp dport 0${i % 8} accept`],
    ['a statement that no packet reaches', i => `tcp dport ${i} accept drop`],
  ])('are parsed: %s', (_, form) => {
    expect(readBothWays(textOf(form))).toEqual({ difference: undefined, skipped: 0 });
  });

  it('are parsed again with all others when the text has an error, which stands at its place', () => {
    const lines = Array.from({ length: COUNT }, (_, i) => FORMS.redirects!(i + 1));
    lines[10] = 'ip daddr 10.0.0.1 tcp dport 80 redirect to 8080';
    lines[15] = 'tcp dport 80 foo';
    expect(readBothWays(chainText('ip', lines))).toEqual({ difference: undefined, skipped: 0 });
  });

  it('are those whose values are refused: a port above 65,535, a range that ends before it begins', () => {
    const lines = Array.from({ length: COUNT }, (_, i) => `tcp dport ${i + 1}-${i + 10} accept`);
    lines[10] = 'tcp dport 1-65536 accept';
    lines[12] = 'tcp dport 90-80 accept';
    expect(readBothWays(chainText('ip', lines))).toEqual({ difference: undefined, skipped: COUNT - 3 });
  });
});
