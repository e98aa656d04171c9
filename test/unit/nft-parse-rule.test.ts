import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileRule, formatRule, NftSyntaxError, parseRule, type Statement } from '../../src/nftables/index.ts';

const P = (protocol: string, field: string) => ({ payload: { protocol, field } });
const M = (key: string) => ({ meta: { key } });
const m = (op: string, left: object, right: unknown) => ({ match: { op, left, right } });

function errorsOf(text: string, family: 'ip' | 'inet' = 'ip', version: '1.1.6' | '1.0.6' = '1.0.6') {
  try {
    parseRule(text, { family, version });
  } catch (error) {
    if (error instanceof NftSyntaxError)
      return error.errors.map(({ message, column, endColumn }) => [column, endColumn, message]);
    throw error;
  }
  return [];
}

function codeOf(work: () => unknown): string | undefined {
  try {
    work();
  } catch (error) {
    if (error instanceof NftSyntaxError) return error.code;
    throw error;
  }
  return undefined;
}

describe('parseRule', () => {
  test.each<[string, object]>([
    ['ip saddr 10.0.0.1-10.0.0.9', m('==', P('ip', 'saddr'), { range: ['10.0.0.1', '10.0.0.9'] })],
    ['ip saddr != 10.0.0.0/8', m('!=', P('ip', 'saddr'), { prefix: { addr: '10.0.0.0', len: 8 } })],
    ['tcp dport { 22, 80-90, https }', m('==', P('tcp', 'dport'), { set: [22, { range: [80, 90] }, 'https'] })],
    [
      'tcp sport . tcp dport { 1 . 2 }',
      m('==', { concat: [P('tcp', 'sport'), P('tcp', 'dport')] }, { set: [{ concat: [1, 2] }] }),
    ],
    ['ct state established,related', m('in', { ct: { key: 'state' } }, ['established', 'related'])],
    ['ct state == new', m('==', { ct: { key: 'state' } }, 'new')],
    ['tcp flags ! fin,rst', m('!', P('tcp', 'flags'), ['fin', 'rst'])],
    ['tcp flags syn / syn,ack', m('==', { '&': [P('tcp', 'flags'), ['syn', 'ack']] }, 'syn')],
    ['tcp flags fin,syn / fin,syn,rst', m('==', { '&': [P('tcp', 'flags'), ['fin', 'syn', 'rst']] }, ['fin', 'syn'])],
    ['meta mark & 1 | 2 == 3', m('==', { '|': [{ '&': [M('mark'), 1] }, 2] }, 3)],
    ['mark set 0x10', { mangle: { key: M('mark'), value: 16 } }],
    [
      'meta mark set ip saddr map { 1.1.1.1 : 0x1 }',
      { mangle: { key: M('mark'), value: { map: { key: P('ip', 'saddr'), data: { set: [['1.1.1.1', 1]] } } } } },
    ],
    [
      'tcp dport vmap { 22 : accept, 23 : jump c }',
      {
        vmap: {
          key: P('tcp', 'dport'),
          data: {
            set: [
              [22, { accept: null }],
              [23, { jump: { target: 'c' } }],
            ],
          },
        },
      },
    ],
    ['ip saddr @s', m('==', P('ip', 'saddr'), '@s')],
    ['meta priority set 1:2', { mangle: { key: M('priority'), value: '1:2' } }],
    ['ct original ip saddr 1.2.3.4', m('==', { ct: { key: 'ip saddr', dir: 'original' } }, '1.2.3.4')],
    ['ct count over 20', { 'ct count': { val: 20, inv: true } }],
    ['fib saddr . iif oif missing', m('==', { fib: { result: 'oif', flags: ['saddr', 'iif'] } }, false)],
    ['tcp option maxseg size 5', m('==', { 'tcp option': { name: 'maxseg', field: 'size' } }, 5)],
    ['exthdr frag missing', m('==', { exthdr: { name: 'frag' } }, false)],
    ['@nh,0,8 1', m('==', { payload: { base: 'nh', offset: 0, len: 8 } }, 1)],
    ['numgen random mod 100 offset 10 < 5', m('<', { numgen: { mode: 'random', mod: 100, offset: 10 } }, 5)],
    ['counter packets 1 bytes 2', { counter: { packets: 1, bytes: 2 } }],
    ['counter name "k"', { counter: 'k' }],
    ['limit rate over 10/minute', { limit: { rate: 10, burst: 5, per: 'minute', inv: true } }],
    [
      'limit rate 10 kbytes/second burst 20 kbytes',
      { limit: { rate: 10, rate_unit: 'kbytes', per: 'second', burst: 20, burst_unit: 'kbytes' } },
    ],
    ['quota over 25 bytes', { quota: { val: 25, val_unit: 'bytes', inv: true } }],
    ['log prefix "p" group 2 snaplen 9', { log: { prefix: 'p', group: 2, snaplen: 9 } }],
    ['log flags tcp sequence,options flags skuid', { log: { flags: ['tcp sequence', 'tcp options', 'skuid'] } }],
    ['reject with icmp type host-unreachable', { reject: { type: 'icmp', expr: 'host-unreachable' } }],
    ['reject with tcp reset', { reject: { type: 'tcp reset' } }],
    [
      'dnat to 10.0.0.1-10.0.0.9:1-2 random',
      { dnat: { addr: { range: ['10.0.0.1', '10.0.0.9'] }, port: { range: [1, 2] }, flags: 'random' } },
    ],
    ['dnat ip6 to [::1]:80', { dnat: { family: 'ip6', addr: '::1', port: 80 } }],
    ['redirect to :80', { redirect: { port: 80 } }],
    ['masquerade', { masquerade: null }],
    ['tproxy to :80', { tproxy: { port: 80 } }],
    ['dup to 10.0.0.1 device "eth0"', { dup: { addr: '10.0.0.1', dev: 'eth0' } }],
    ['queue flags bypass,fanout to 1-3', { queue: { num: { range: [1, 3] }, flags: ['bypass', 'fanout'] } }],
    [
      'add @s { ip saddr timeout 10s }',
      { set: { op: 'add', elem: { elem: { val: P('ip', 'saddr'), timeout: 10 } }, set: '@s' } },
    ],
    [
      'update @m { ip saddr counter : tcp dport }',
      {
        map: {
          op: 'update',
          elem: P('ip', 'saddr'),
          data: P('tcp', 'dport'),
          map: '@m',
          stmt: [{ counter: { packets: 0, bytes: 0 } }],
        },
      },
    ],
    ['ct helper set "ftp"', { 'ct helper': 'ftp' }],
    ['meta secmark set "x"', { secmark: 'x' }],
    ['synproxy mss 1 wscale 2 timestamp', { synproxy: { mss: 1, wscale: 2, flags: ['timestamp'] } }],
    ['jump { accept; }', { jump: { rules: [{ expr: [{ accept: null }] }] } }],
    ['set add ip saddr @s', { set: { op: 'add', elem: P('ip', 'saddr'), set: '@s' } }],
  ])('reads %j', (text, statement) => {
    expect(parseRule(text, { family: 'inet' })).toEqual([statement]);
  });

  test('puts the value of a variable in its place, and joins the sets of variables', () => {
    const variables = { port: 22, web: { set: [80, 443] } };
    const [statement] = parseRule('tcp dport { $port, $web }', { family: 'ip', variables });
    expect(statement).toEqual(m('==', P('tcp', 'dport'), { set: [22, 80, 443] }));
  });

  test.each<[string, [number, number, string][]]>([
    ['udp foo 1', [[5, 7, 'syntax error, unexpected string, expecting length or checksum or sport or dport']]],
    ['limit 5', [[7, 7, 'syntax error, unexpected number, expecting name or rate']]],
    [
      'counter comment "a" accept',
      [[21, 26, 'syntax error, unexpected accept, expecting end of file or newline or semicolon']],
    ],
    ['tcp dport { 1 2 }', [[15, 15, "syntax error, unexpected number, expecting comma or '}'"]]],
    ['tcp dport $p', [[12, 12, "unknown identifier 'p'"]]],
    ['@xx,1,2 3', [[2, 3, 'unknown raw payload base']]],
    ['log level foo', [[11, 13, 'invalid log level']]],
  ])('points at the error in %j with ERR_NFT_SYNTAX', (text, errors) => {
    expect(errorsOf(text)).toEqual(errors);
    expect(codeOf(() => parseRule(text, { family: 'ip', version: '1.0.6' }))).toBe('ERR_NFT_SYNTAX');
  });

  test('refuses whatever is no rule with ERR_NFT_SYNTAX, and never takes long', () => {
    const words =
      'ip tcp saddr dport { } ( ) , ; : . - / & | ^ << == != @ $ " 1 10.0.0.1 ::1 map vmap set accept jump ct state counter limit rate'.split(
        ' ',
      );
    const text = fc.oneof(
      fc.string(),
      fc.array(fc.constantFrom(...words), { maxLength: 40 }).map(all => all.join(' ')),
    );
    fc.assert(
      fc.property(text, rule => {
        try {
          parseRule(rule, { family: 'inet' });
        } catch (error) {
          expect(error).toBeInstanceOf(NftSyntaxError);
        }
      }),
      { numRuns: 2000 },
    );
    for (const part of ['(', '{', 'tcp dport {', 'jump {', 'jhash ', '@', 'ip saddr . ', '1 & ', '! ', '"']) {
      const deep = part.repeat(200_000 / part.length);
      for (const rule of [deep, `ip saddr ${deep}`])
        expect(codeOf(() => parseRule(`${rule} )`, { family: 'ip' }))).toBe('ERR_NFT_SYNTAX');
    }
  });

  test('reads what formatRule prints as the same rule', () => {
    const port = fc.integer({ min: 1, max: 65535 });
    const address = fc.ipV4();
    const matches = fc.constantFrom('==', '!=');
    const statement = fc.oneof(
      fc
        .record({ op: matches, left: fc.constantFrom(P('tcp', 'dport'), P('tcp', 'sport')), right: port })
        .map(match => ({ match })),
      fc
        .record({ op: matches, left: fc.constantFrom(P('ip', 'saddr'), P('ip', 'daddr')), right: address })
        .map(match => ({ match })),
      fc.uniqueArray(port, { minLength: 2, maxLength: 6 }).map(set => m('==', P('tcp', 'dport'), { set })),
      fc.record({ packets: fc.nat(), bytes: fc.nat() }).map(counter => ({ counter })),
      fc
        .record({
          rate: fc.integer({ min: 1, max: 1000 }),
          per: fc.constantFrom('second', 'minute', 'hour', 'day', 'week'),
          burst: fc.integer({ min: 1, max: 99 }),
        })
        .map(limit => ({ limit })),
      fc.integer({ min: 0, max: 0xffffffff }).map(value => ({ mangle: { key: M('mark'), value } })),
      fc.constantFrom('new', 'established', 'related').map(state => m('in', { ct: { key: 'state' } }, state)),
    );
    fc.assert(
      fc.property(fc.array(statement, { minLength: 1, maxLength: 5 }), given => {
        const statements = given as unknown as Statement[];
        const text = formatRule({ family: 'ip', statements });
        const back = parseRule(text, { family: 'ip' });
        const compiled = (of: Statement[]) => compileRule({ family: 'ip', statements: of });
        const { origin: _, ...once } = compiled(back);
        const { origin: __, ...twice } = compiled(
          parseRule(formatRule({ family: 'ip', statements: back }), { family: 'ip' }),
        );
        expect(once).toEqual(twice);
        expect(formatRule({ family: 'ip', statements: back })).toBe(text);
      }),
      { numRuns: 300 },
    );
  });
});
