import { NftSyntaxError, parseRuleset } from 'netsteer/nftables';
import { describe, expect, it } from 'vitest';
import { errorOf } from '../support/error-of.ts';

/* Whole texts of nft's language as commands of nft's JSON. */

const T = { family: 'ip', table: 't' } as const;
const drop = [{ drop: null }];
/** The errors of a text, each as nft's places and words. */
const errorsOf = (text: string, options = {}): string[] => {
  const error = errorOf(NftSyntaxError, () => parseRuleset(text, options));
  return error.errors.map(({ line, column, endColumn, message }) => `${line}:${column}-${endColumn} ${message}`);
};

describe('parseRuleset: commands', () => {
  it('takes a block apart in the order in which nft adds its parts', () => {
    const text = `table ip t {
      chain a { type filter hook input priority filter + 5; policy drop; jump b; comment "mine"; }
      set s { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.1 . 22 }; }
      set u { type mark; elements = { 1 }; }
      counter k { packets 1 bytes 2; }
      chain b { drop; }
    }`;
    expect(parseRuleset(text.replaceAll('}\n', '}\n')).nftables).toEqual([
      { add: { table: { family: 'ip', name: 't' } } },
      {
        add: {
          chain: { ...T, name: 'a', type: 'filter', hook: 'input', prio: 5, policy: 'drop', comment: 'mine' },
        },
      },
      { add: { chain: { ...T, name: 'b' } } },
      { add: { counter: { ...T, name: 'k', packets: 1, bytes: 2 } } },
      { add: { set: { ...T, name: 's', type: ['ipv4_addr', 'inet_service'], flags: ['interval'] } } },
      { add: { element: { ...T, name: 's', elem: { set: [{ concat: ['10.0.0.1', 22] }] } } } },
      { add: { set: { ...T, name: 'u', type: 'mark' } } },
      { add: { element: { ...T, name: 'u', elem: { set: [1] } } } },
      { add: { rule: { ...T, chain: 'a', expr: [{ jump: { target: 'b' } }] } } },
      { add: { rule: { ...T, chain: 'b', expr: drop } } },
    ]);
  });

  it.each<[string, object]>([
    ['add table inet t', { add: { table: { family: 'inet', name: 't' } } }],
    ['create chain t c', { create: { chain: { ...T, name: 'c' } } }],
    ['add rule t c drop', { add: { rule: { ...T, chain: 'c', expr: drop } } }],
    ['t c drop comment "x"', { add: { rule: { ...T, chain: 'c', expr: drop, comment: 'x' } } }],
    ['add rule ip t c position 4 drop', { add: { rule: { ...T, chain: 'c', position: 4, expr: drop } } }],
    ['add rule ip t c handle 4 drop', { add: { rule: { ...T, chain: 'c', position: 4, expr: drop } } }],
    ['insert rule ip t c index 0 drop', { insert: { rule: { ...T, chain: 'c', index: 0, expr: drop } } }],
    ['replace rule ip t c handle 4 drop', { replace: { rule: { ...T, chain: 'c', handle: 4, expr: drop } } }],
    ['delete rule ip t c handle 4', { delete: { rule: { ...T, chain: 'c', handle: 4 } } }],
    ['delete set ip t handle 4', { delete: { set: { ...T, handle: 4 } } }],
    ['destroy table ip t', { destroy: { table: { family: 'ip', name: 't' } } }],
    ['delete element t s { 1.1.1.1 }', { delete: { element: { ...T, name: 's', elem: { set: ['1.1.1.1'] } } } }],
    ['flush ruleset', { flush: { ruleset: null } }],
    ['flush ruleset ip6', { flush: { ruleset: { family: 'ip6' } } }],
    ['flush meter t m', { flush: { set: { ...T, name: 'm' } } }],
    ['rename chain t c d', { rename: { chain: { ...T, name: 'c', newname: 'd' } } }],
    ['list counters table ip t', { list: { counters: T } }],
    ['reset rules', { reset: { rules: null } }],
    [
      'add quota t q { over 2 kbytes used 1 bytes }',
      { add: { quota: { ...T, name: 'q', bytes: 2048, used: 1, inv: true } } },
    ],
    ['add counter t k', { add: { counter: { ...T, name: 'k', packets: 0, bytes: 0 } } }],
    ['add counter t k { comment "x"; }', { add: { counter: { ...T, name: 'k', packets: 0, bytes: 0, comment: 'x' } } }],
    [
      'add rule t c queue flags bypass,fanout num 1-3',
      {
        add: { rule: { ...T, chain: 'c', expr: [{ queue: { num: { range: [1, 3] }, flags: ['bypass', 'fanout'] } }] } },
      },
    ],
    [
      'define x = { 7 }; add rule t c jump $x',
      { add: { rule: { ...T, chain: 'c', expr: [{ jump: { target: '7' } }] } } },
    ],
    [
      'add ct timeout t x { protocol tcp; l3proto ip; policy = { established : 1m, close : 5 }; }',
      {
        add: {
          'ct timeout': { ...T, name: 'x', protocol: 'tcp', l3proto: 'ip', policy: { established: 60, close: 5 } },
        },
      },
    ],
    [
      'add ct helper t h { type "ftp" protocol tcp; }',
      { add: { 'ct helper': { ...T, name: 'h', type: 'ftp', protocol: 'tcp' } } },
    ],
    [
      'add flowtable t f { hook ingress priority 0; devices = { lo, "eth0" }; counter; }',
      { add: { flowtable: { ...T, name: 'f', hook: 'ingress', prio: 0, dev: ['lo', 'eth0'], flags: ['counter'] } } },
    ],
    [
      'add map t m { type mark : interval ipv4_addr; timeout 1d8ms; }',
      {
        add: {
          map: {
            ...T,
            name: 'm',
            type: 'mark',
            map: { interval: 'ipv4_addr' },
            flags: ['timeout'],
            timeout: 86_400.008,
          },
        },
      },
    ],
    [
      'add rule t c jump { accept; drop; }',
      {
        add: {
          rule: { ...T, chain: 'c', expr: [{ jump: { rules: [{ expr: [{ accept: null }] }, { expr: drop }] } }] },
        },
      },
    ],
  ])('reads %s', (text, command) => {
    expect(parseRuleset(text).nftables).toEqual([command]);
  });

  it.each<[string, object[]]>([
    [
      'meta l4proto tcp tcp dport { https } accept',
      [{ match: { op: '==', left: { payload: { protocol: 'tcp', field: 'dport' } }, right: 443 } }, { accept: null }],
    ],
    [
      'ct state & (new | related) != 0',
      [{ match: { op: 'in', left: { ct: { key: 'state' } }, right: ['related', 'new'] } }],
    ],
    // The listing would lose the mask, and with it a match of other bytes.
    [
      'ip saddr & 255.255.0.0 == 10.1.0.0',
      [
        {
          match: {
            op: '==',
            left: { '&': [{ payload: { protocol: 'ip', field: 'saddr' } }, '255.255.0.0'] },
            right: '10.1.0.0',
          },
        },
      ],
    ],
    ['iif "eth7" drop', [{ match: { op: '==', left: { meta: { key: 'iif' } }, right: 'eth7' } }, { drop: null }]],
  ])('gives the rule %s as nft lists it, if nothing is lost', (text, expr) => {
    expect(parseRuleset(`add rule t c ${text}`).nftables).toEqual([{ add: { rule: { ...T, chain: 'c', expr } } }]);
  });

  it('gives a set with a timeout its flag', () => {
    const text = 'add map t m { type ipv4_addr : ipv4_addr . inet_service; timeout 1m; }';
    const map = { ...T, name: 'm', type: 'ipv4_addr', flags: ['timeout'], timeout: 60 };
    expect(parseRuleset(text).nftables).toEqual([{ add: { map: { ...map, map: ['ipv4_addr', 'inet_service'] } } }]);
    expect(parseRuleset(text, { version: '1.0.6' }).nftables).toEqual([
      { add: { map: { ...map, map: 'ipv4_addr . inet_service' } } },
    ]);
  });

  it('separates commands by newlines and semicolons, joins lines at a backslash, and skips comments', () => {
    const text = '# first\n\nadd table t; add chain t \\\n  c # end\n;;\n';
    expect(parseRuleset(text).nftables).toEqual([
      { add: { table: { family: 'ip', name: 't' } } },
      { add: { chain: { ...T, name: 'c' } } },
    ]);
  });
});

describe('parseRuleset: definitions and files', () => {
  const rulesOf = (text: string, options = {}) =>
    parseRuleset(text, options).nftables.flatMap(command => {
      const { rule } = (command as { add: { rule?: { expr: { match?: { right: unknown } }[] } } }).add;
      return rule === undefined ? [] : [rule.expr[0]!.match!.right];
    });

  it('sees what was defined before, and forgets what a block has defined at its end', () => {
    const text = `define a = 1
      table t { define b = { 2, 3 }
        chain c { redefine a = 4
          tcp dport $a
          tcp dport $b
        }
        chain d { tcp dport $a; }
      }
      undefine a
      define a = { $x }
`;
    expect(errorsOf(text)).toEqual(["10:21-21 unknown identifier 'x'"]);
    expect(rulesOf(text.replace('{ $x }', '5'))).toEqual([4, { set: [2, 3] }, 1]);
  });

  it('defines the variables that the caller gives before the text begins', () => {
    const options = { variables: { web: '{ 80, 443 }', more: '{ $web, 22 }' } };
    expect(rulesOf('t c tcp dport $more', options)).toEqual([{ set: [22, 80, 443] }]);
    expect(errorsOf('add table t', { variables: { x: '1; flush ruleset' } })).toEqual([
      'undefined:undefined-undefined syntax error, unexpected flush',
    ]);
  });

  it('includes the files that the caller finds, and nothing by itself', () => {
    const files: Record<string, string> = { 'a.nft': 't c tcp dport $p\n', 'b.nft': 'include "a.nft"\n' };
    const include = (pattern: string) => (pattern === '*.nft' ? [] : [{ name: pattern, text: files[pattern]! }]);
    const text = 'define p = 7\ninclude "*.nft"\ninclude "b.nft"; t c tcp dport 8\n';
    expect(rulesOf(text, { include })).toEqual([7, 8]);
    expect(errorsOf('include "/etc/passwd"\n')).toEqual(['1:1-22 File not found: /etc/passwd']);
    const own = errorOf(NftSyntaxError, () =>
      parseRuleset('include "b.nft"', { include: () => [{ name: 'b.nft', text: 'include "b.nft"\n' }] }),
    );
    expect(own.errors[0]!.message).toBe('syntax error, unexpected end of file, expecting newline or semicolon');
    const deep = errorOf(NftSyntaxError, () =>
      parseRuleset('include "b.nft"\n', { include: () => [{ name: 'b.nft', text: 'include "b.nft"\n' }] }),
    );
    const [problem] = deep.errors;
    expect(problem!.message).toBe('Include nested too deeply, max 16 levels');
    expect(problem!.includedFrom).toHaveLength(15);
  });
});

describe('parseRuleset rejects a text with NftSyntaxError', () => {
  it('for each line that is wrong, with ERR_NFT_SYNTAX, up to ten', () => {
    expect(errorsOf('tabel ip t { }\nadd table\nadd table x y')).toEqual([
      '1:7-8 syntax error, unexpected ip, expecting string',
      '2:10-10 syntax error, unexpected newline, expecting string',
      '3:13-13 syntax error, unexpected string, expecting end of file or newline or semicolon',
    ]);
    const error = errorOf(NftSyntaxError, () => parseRuleset('add\n'.repeat(12)));
    expect(error).toMatchObject({ code: 'ERR_NFT_SYNTAX' });
    expect(error.errors).toHaveLength(10);
  });

  it('with the lines and carets of nft, parse errors first', () => {
    const text = 'table t {\n\tchain c {\n\t\tip saddr 1.2.3.4.5\n\t\ttcp dport 70000\n\t\tfoo bar baz\n\t}\n}\n';
    const error = errorOf(NftSyntaxError, () => parseRuleset(text, { source: 'rules.nft' }));
    expect(error.errors.map(({ line }) => line)).toEqual(
      [...error.errors.map(({ line }) => line)].sort((a, b) => (a === 4 ? 1 : b === 4 ? -1 : 0)),
    );
    expect(error.message).toContain('rules.nft:4:13-17: Error: ');
    expect(error.message).toContain('\t\ttcp dport 70000\n\t\t          ^^^^^\n');
  });

  it('where nft 1.0.6 lacks words of 1.1.6', () => {
    expect(errorsOf('destroy table t', { version: '1.0.6' })).toEqual([
      '1:9-13 syntax error, unexpected table, expecting string',
    ]);
  });
});
