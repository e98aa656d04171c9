import { expect, it } from 'vitest';
import { patternOf, runSnippet, SnippetsOf } from '../support/snippets.ts';
import { kernelSuite } from '../support/where.ts';

const guide = new SnippetsOf('test/kernel/guide.test.ts');
/** A test of its own, for a namespace of its own. */
const IN_OWN_NAMESPACE = "import test from 'node:test'";

/* Each example of docs/guide as a reader runs it; the page says what it prints. */
kernelSuite('the pages of docs/guide', () => {
  it.each(guide.all.map(({ page, line, code }) => [`${page}:${line}`, code]))(
    'have examples that run: %s',
    async (_, code) => {
      const snippet = guide.take(code!.trimEnd());
      if (code!.includes(IN_OWN_NAMESPACE)) {
        const through = ['unshare', '--user', '--map-root-user', '--net'];
        expect(await runSnippet(snippet, { through })).toMatch(/^# pass 1$/m);
      } else {
        expect((await runSnippet(snippet)).trim()).toMatch(patternOf(snippet.prints!));
      }
    },
  );

  it('have no example that this file does not run', () => {
    expect(guide.left).toEqual([]);
  });
});
