import { describe, expect, test } from 'vitest';
import { NFT_1_1_6 } from '../../src/nft/data/dialects.ts';
import { Parser } from '../../src/nft/parse/parser.ts';
import { grammarOf } from '../../src/nft/parse/rule.ts';
import { NftSyntaxError, Source } from '../../src/nft/parse/source.ts';
import { T, TOKEN_NAMES } from '../../src/nft/parse/tokens.ts';

// The scanner is not public: its tokens are seen through the parser's cursor.
function parserOf(text: string): Parser {
  return new Parser(new Source('t', text), { dialect: NFT_1_1_6, grammar: grammarOf(NFT_1_1_6) });
}

/** The tokens of a text: words as they are, signs by their names. */
function tokens(text: string): string[] {
  const parser = parserOf(text);
  const found: string[] = [];
  for (; parser.kind !== T.EOF; parser.next())
    found.push(
      parser.kind === T.WORD || parser.kind === T.STAR_WORD
        ? parser.text
        : parser.kind === T.NUMBER
          ? `#${parser.value}`
          : parser.kind === T.QUOTED
            ? `"${parser.text}"`
            : TOKEN_NAMES[parser.kind]!,
    );
  return found;
}

describe('the scanner of the language of nft', () => {
  test.each([
    ['ip saddr 10.0.0.1-10.0.0.9', ['ip', 'saddr', '10.0.0.1', '-', '10.0.0.9']],
    ['10.0.0.0/8', ['10.0.0.0', '/', '#8']],
    ['ftp-data a/b 20-ssh', ['ftp-data', 'a/b', '#20', '-', 'ssh']],
    ['$a - 10 $a-10', ["'$'", 'a', '-', '#10', "'$'", 'a-10']],
    ['a.b . c', ['a.b', '.', 'c']],
    ['1d2h3m4s5ms 10ms 1m1m', ['1d2h3m4s5ms', '10ms', '1m', '1m']],
    ['0x10 010 08 18446744073709551616', ['#16', '#8', '08', '18446744073709551616']],
    ['18446744073709551615', ['#18446744073709551615']],
    ['fe80::1-fe80::9 ::1 :: ::ffff:1.2.3.4', ['fe80::1', '-', 'fe80::9', '::1', '::', '::ffff:1.2.3.4']],
    ['[::1]:80 1:2:3:4:5:6:7:8', ['::1', 'colon', '#80', '1:2:3:4:5:6:7:8']],
    ['00:01:02:0a:0b:0c aa:bb:cc:dd:ee:ff', ['00:01:02:0a:0b:0c', 'aa:bb:cc:dd:ee:ff']],
    ['1:2 1:2; {22:accept}', ['1:2', '#1', 'colon', '#2', 'semicolon', "'{'", '#22', 'colon', 'accept', "'}'"]],
    ['8021ad 8021q', ['8021ad', '8021q']],
    ['eth* eth\\* \\* a\\*b *', ['eth*', 'eth\\*', '\\*', 'a\\*b', '*']],
    ['"a;#{\n" x', ['"a;#{\n"', 'x']],
    ['a eq b ne c', ['a', '==', 'b', '!=', 'c']],
    ['== != < <= > >= << >> & | ^ !', ['==', '!=', '<', '<=', '>', '>=', '<<', '>>', '&', "'|'", '^', '!']],
    ['a # b\n  # c\nd', ['a', 'newline', 'd']],
    ['a \\\nb', ['a', 'b']],
    ['a # b', ['a', 'junk', 'b']],
    ['a\r\n', ['a', 'junk', 'newline']],
  ])('reads %j as nft does', (text, expected) => {
    expect(tokens(text)).toEqual(expected);
  });

  test('reads an included text before the token behind the include, and goes on without a token at its end', () => {
    const parser = parserOf('a\nb');
    parser.next();
    parser.next();
    parser.include(new Source('inner', 'x y'));
    const found: string[] = [];
    for (; parser.kind !== T.EOF; parser.next()) found.push(`${parser.source.name} ${parser.text}`);
    expect(found).toEqual(['inner x', 'inner y', 't b']);
  });

  test('reads two megabytes in one pass, whatever they are made of', () => {
    for (const part of ['a', '1', ':', '"', '1:', '[', '.', '\\', '#', 'f:', '1.', '\\*', '1d', ' ']) {
      const parser = parserOf(part.repeat(2_000_000 / part.length));
      let count = 0;
      for (; parser.kind !== T.EOF; parser.next()) count++;
      expect(count).toBeLessThanOrEqual(2_000_000);
    }
  });
});

describe('NftSyntaxError', () => {
  const errorOf = (work: () => void): NftSyntaxError => {
    try {
      work();
    } catch (error) {
      if (error instanceof NftSyntaxError) return error;
    }
    throw new Error('nothing was thrown');
  };

  test('shows lines and carets as nft does, and counts bytes, with ERR_NFT_SYNTAX', () => {
    const source = new Source('ruleset.nft', 'x\n\té foo "bar"\n');
    const at = source.text.indexOf('foo');
    const error = errorOf(() => {
      throw new NftSyntaxError([
        { message: 'no', span: { source, start: at, end: at + 3 }, others: [{ source, start: at + 4, end: at + 9 }] },
      ]);
    });
    expect(error.code).toBe('ERR_NFT_SYNTAX');
    expect(error.errors).toEqual([{ message: 'no', source: 'ruleset.nft', line: 2, column: 5, endColumn: 7 }]);
    expect(error.message).toBe('ruleset.nft:2:5-7: Error: no\n\té foo "bar"\n\t   ^^^ ~~~~~\n');
  });

  test('tells the includes that led to a file', () => {
    const outer = new Source('a.nft', 'include "b.nft"\n');
    const source = new Source('b.nft', 'x', { source: outer, start: 0, end: 16 });
    const error = new NftSyntaxError([{ message: 'no', span: { source, start: 0, end: 1 } }]);
    expect(error.errors[0]?.includedFrom).toEqual([{ source: 'a.nft', line: 1, column: 1, endColumn: 16 }]);
    expect(error.message).toBe('In file included from a.nft:1:1-16:\nb.nft:1:1-1: Error: no\nx\n^\n');
  });

  test('goes on behind the next separator, and stays quiet for three tokens', () => {
    const parser = parserOf('a\nb c\nd e f g\n');
    while (!parser.is(T.EOF)) parser.recover(() => parser.expectWord('q'));
    expect(parser.problems.map(({ message }) => message)).toEqual(['syntax error, unexpected string, expecting q']);
  });
});
