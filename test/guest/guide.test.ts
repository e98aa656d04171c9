import { expect, it } from 'vitest';
import { patternOf, runSnippet, SnippetsOf } from '../support/snippets.ts';
import { kernelSuite } from '../support/where.ts';

const guide = new SnippetsOf('test/guest/guide.test.ts');

/* The examples of docs/guide that need IPVS, as a reader runs them; the page says what they print. */
kernelSuite('the guide about IPVS', () => {
  it.each(guide.all.map(({ page, line, code }) => [`${page}:${line}`, code]))(
    'has examples that run: %s',
    async (_, code) => {
      const snippet = guide.take(code!.trimEnd());
      expect((await runSnippet(snippet)).trim()).toMatch(patternOf(snippet.prints!));
    },
  );

  it('has no example that this file does not run', () => {
    expect(guide.left).toEqual([]);
  });
});
